"""The steps of many optimizers at once, against each one's own."""

import pytest
import torch

import gradbook
from gradbook.sweeps.optimizers import OneByOne, StackedAdam, StackedSGD, form_of, stacked_optimizer

SHAPES = ((3, 2), (4,), ())


def models(make, settings):
    """Parameters of each model, its optimizer, and the stacks that they are views of."""
    stacked = [torch.randn(len(settings), *shape) for shape in SHAPES]
    parameters, optimizers = [], []
    for k, each in enumerate(settings):
        own = [torch.nn.Parameter(stack[k].clone()) for stack in stacked]
        for parameter, stack in zip(own, stacked, strict=True):
            parameter.data = stack[k]
        parameters.append(own)
        optimizers.append(make(own, **each))
    return parameters, optimizers, stacked


def assert_steps_agree(make, settings, Expected, num_steps=7):
    parameters, optimizers, stacked = models(make, settings)
    alone = [[torch.nn.Parameter(p.detach().clone()) for p in own] for own in parameters]
    references = [make(own, **each) for own, each in zip(alone, settings, strict=True)]
    together = stacked_optimizer(optimizers, parameters, stacked)
    assert type(together) is Expected
    for _ in range(num_steps):
        gradients = [torch.randn_like(stack) for stack in stacked]
        with torch.no_grad():
            together.step(gradients)
            for k, reference in enumerate(references):
                for parameter, gradient in zip(alone[k], gradients, strict=True):
                    parameter.grad = gradient[k].clone()
                reference.step()
        for own, expected in zip(parameters, alone, strict=True):
            torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-6)
    for optimizer, reference in zip(optimizers, references, strict=True):
        state, expected = optimizer.state_dict()["state"], reference.state_dict()["state"]
        assert state.keys() == expected.keys()
        for place in expected:
            for name, value in expected[place].items():
                torch.testing.assert_close(state[place][name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        [{"lr": 0.1}, {"lr": 0.3}],
        [{"lr": 0.1, "momentum": 0.9}, {"lr": 0.2, "momentum": 0.1}],
        [{"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": w} for w in (0, 0.3)],
        [{"lr": 0.1, "momentum": 0.9, "dampening": d} for d in (0.0, 0.5)],
    ],
)
def test_sgd(settings):
    assert_steps_agree(torch.optim.SGD, settings, StackedSGD)


@pytest.mark.parametrize("Class", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize(
    "settings",
    [
        [{"lr": 0.01}, {"lr": 0.1}],
        [{"lr": 0.01, "betas": b} for b in ((0.9, 0.999), (0.8, 0.9999), (0.0, 0.5))],
        [{"lr": 0.01, "weight_decay": w, "eps": e} for w, e in ((0.0, 1e-8), (0.5, 1e-3))],
    ],
)
def test_adam(Class, settings):
    assert_steps_agree(Class, settings, StackedAdam)


def test_our_own_sgd():
    assert_steps_agree(gradbook.SGD, [{"lr": 0.1}, {"lr": 0.2}], StackedSGD)


@pytest.mark.parametrize(
    ("Class", "settings"),
    [
        (torch.optim.RMSprop, {}),
        (torch.optim.Adam, {"amsgrad": True}),
        (torch.optim.SGD, {"maximize": True}),
        (torch.optim.Adagrad, {}),
    ],
)
def test_what_is_not_known_takes_its_own_steps(Class, settings):
    assert_steps_agree(Class, [{"lr": 0.1, **settings}, {"lr": 0.2, **settings}], OneByOne)


class Replacing(torch.optim.SGD):
    """Gives its parameters new memory, as some learners' do."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data = parameter.data - group["lr"] * parameter.grad


def test_one_that_gives_parameters_new_memory_keeps_the_stack_up_to_date():
    parameters, optimizers, stacked = models(Replacing, [{"lr": 0.1}, {"lr": 0.2}])
    before = [stack.clone() for stack in stacked]
    stacked_optimizer(optimizers, parameters, stacked).step([torch.ones_like(s) for s in stacked])
    for stack, old in zip(stacked, before, strict=True):
        torch.testing.assert_close(stack[1], old[1] - 0.2)
    assert parameters[1][0].data_ptr() == stacked[0][1].data_ptr()


def test_a_rate_that_was_changed_is_read_anew():
    parameters, optimizers, stacked = models(torch.optim.SGD, [{"lr": 0.1}, {"lr": 0.2}])
    together = stacked_optimizer(optimizers, parameters, stacked)
    optimizers[1].param_groups[0]["lr"] = 0.0
    together.read_settings()
    before = stacked[0].clone()
    with torch.no_grad():
        together.step([torch.ones_like(stack) for stack in stacked])
    torch.testing.assert_close(stacked[0][0], before[0] - 0.1)
    assert torch.equal(stacked[0][1], before[1])


def test_one_with_hooks_takes_its_own_steps():
    parameters, optimizers, stacked = models(torch.optim.SGD, [{"lr": 0.1}, {"lr": 0.2}])
    optimizers[1].register_step_post_hook(lambda *_: None)
    assert type(stacked_optimizer(optimizers, parameters, stacked)) is OneByOne


def test_the_form_tells_which_parameters_are_updated():
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    forms = [form_of(torch.optim.SGD([p], lr=0.1), parameters) for p in parameters]
    assert forms[0] != forms[1]
