import copy

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from gradbook import SGD
from gradbook.errors import ConfigError


def pair(lr=0.1):
    """Two equal networks, one with our optimizer and one with PyTorch's."""
    ours = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    theirs = copy.deepcopy(ours)
    return (ours, SGD(ours.parameters(), lr)), (theirs, torch.optim.SGD(theirs.parameters(), lr))


def train_step(net, optim, X):
    loss = net(X).square().mean()
    optim.zero_grad()
    loss.backward()
    optim.step()
    return loss.detach()


def assert_same(ours, theirs):
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_every_step_is_that_of_torch():
    (ours, our_optim), (theirs, their_optim) = pair()
    for _ in range(5):
        X = torch.randn(6, 3)
        train_step(ours, our_optim, X)
        train_step(theirs, their_optim, X)
        assert_same(ours, theirs)


def test_a_step_goes_against_the_gradient_by_the_learning_rate():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    (3 * w).sum().backward()
    SGD([w], 0.5).step()
    assert w.tolist() == [-0.5, 0.5]


def test_a_tensor_without_a_gradient_stays_as_it_is():
    w, unused = (torch.ones(2, requires_grad=True) for _ in range(2))
    w.sum().backward()
    SGD([w, unused], 0.5).step()
    assert unused.tolist() == [1, 1]


def test_no_gradient_needs_to_be_switched_off_around_a_step():
    w = torch.ones(2, requires_grad=True)
    w.sum().backward()
    SGD([w], 0.5).step()
    assert w.is_leaf
    assert w.grad_fn is None


def test_gradients_are_forgotten():
    w = torch.ones(2, requires_grad=True)
    w.sum().backward()
    SGD([w], 0.1).zero_grad()
    assert w.grad is None


def test_gradients_can_be_kept_as_zeros():
    w = torch.ones(2, requires_grad=True)
    w.sum().backward()
    grad = w.grad
    SGD([w], 0.1).zero_grad(set_to_none=False)
    assert w.grad is grad
    assert grad.tolist() == [0, 0]


def test_the_parameters_and_the_rate_can_be_read():
    w, b = torch.ones(2, requires_grad=True), torch.ones(1, requires_grad=True)
    optim = SGD([w, b], 0.03)
    assert optim.lr == 0.03
    assert [param is given for param, given in zip(optim.params, (w, b), strict=True)] == [True] * 2


def test_groups_have_their_own_rates():
    w, b = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    optim = SGD([{"params": [w]}, {"params": [b], "lr": 0.5}], lr=0.1)
    (w + b).backward()
    optim.step()
    assert (w.item(), b.item()) == (pytest.approx(0.9), 0.5)


def test_a_closure_computes_the_gradients_anew():
    w = torch.ones(1, requires_grad=True)
    optim = SGD([w], 0.25)

    def closure():
        optim.zero_grad()
        loss = w.square().sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optim.step(closure).item() == 1
    assert w.item() == 0.5


@pytest.mark.parametrize(
    "make",
    [
        lambda optim: lr_scheduler.StepLR(optim, step_size=2, gamma=0.1),
        lambda optim: lr_scheduler.CosineAnnealingLR(optim, T_max=5),
        lambda optim: lr_scheduler.LambdaLR(optim, lambda step: 1 / (1 + step)),
    ],
    ids=["StepLR", "CosineAnnealingLR", "LambdaLR"],
)
def test_schedulers_of_torch_steer_it(make):
    (ours, our_optim), (theirs, their_optim) = pair()
    schedules = make(our_optim), make(their_optim)
    for _ in range(5):
        X = torch.randn(6, 3)
        train_step(ours, our_optim, X)
        train_step(theirs, their_optim, X)
        for schedule in schedules:
            schedule.step()
    assert our_optim.lr == their_optim.param_groups[0]["lr"]
    assert our_optim.lr != 0.1
    assert_same(ours, theirs)


def test_its_state_goes_round():
    w = torch.ones(1, requires_grad=True)
    state = SGD([w], 0.7).state_dict()
    other = SGD([w], 0.1)
    other.load_state_dict(state)
    assert other.lr == 0.7
    assert other.state_dict() == state


def test_its_state_is_taken_by_torch_s_optimizer_s_format():
    state = SGD([torch.ones(1, requires_grad=True)], 0.7).state_dict()
    assert set(state) == {"state", "param_groups"}
    assert state["param_groups"][0]["params"] == [0]


def test_it_can_be_copied():
    w = torch.ones(1, requires_grad=True)
    twin = copy.deepcopy(SGD([w], 0.7))
    assert twin.lr == 0.7
    assert twin.params[0] is not w


def test_params_may_be_a_generator():
    optim = SGD(nn.Linear(2, 1).parameters(), 0.1)
    assert len(optim.params) == 2


def test_a_parameter_group_can_be_added():
    optim = SGD([torch.ones(1, requires_grad=True)], 0.1)
    optim.add_param_group({"params": [torch.ones(2, requires_grad=True)]})
    assert len(optim.params) == 2


@pytest.mark.parametrize("lr", [-1, float("nan"), float("inf"), "0.1", None, True])
def test_a_rate_that_is_no_number_of_at_least_0_is_refused(lr):
    with pytest.raises(ConfigError, match="lr must be a finite number"):
        SGD([torch.ones(1, requires_grad=True)], lr)


@pytest.mark.parametrize("name", ["register_step_pre_hook", "register_step_post_hook"])
def test_step_hooks_are_refused_rather_than_never_called(name):
    optim = SGD([torch.ones(1, requires_grad=True)], 0.1)
    with pytest.raises(NotImplementedError, match=r"torch\.optim\.SGD has"):
        getattr(optim, name)(lambda *args: None)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ([], r"no tensor to update. Give it `model.parameters\(\)`"),
        (nn.Linear(2, 1).parameters, r"got a function .*`SGD\(model.parameters\(\), lr\)`"),
        (nn.Linear(2, 1), r"got a model .*`SGD\(model.parameters\(\), lr\)`"),
        (torch.zeros(2, requires_grad=True), r"one tensor. Write `SGD\(\[w\], lr\)`"),
        (["w"], r"got list of 1\. PyTorch says"),
        (3, r"got int 3\. PyTorch says"),
    ],
)
def test_what_holds_no_parameters_is_told_what_to_write(params, told):
    with pytest.raises(ConfigError, match=told):
        SGD(params, 0.1)
