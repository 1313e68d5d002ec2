import copy
import io
import pickle
import warnings

import pytest
import torch
from tests.small import Scratch
from torch import nn

from gradbook import SGD, Module, SyntheticRegressionData, Trainer
from gradbook.errors import (
    GradbookWarning,
    ModelError,
)

# Tensors as parameters


def test_a_leaf_that_requires_a_gradient_is_a_parameter():
    assert [name for name, _ in Scratch().named_parameters()] == ["w", "b"]


def test_a_registered_tensor_remains_the_same_object():
    w = torch.zeros(2, requires_grad=True)
    model = Module()
    held = [w]
    model.w = w
    assert model.w is w
    assert held[0] is next(model.parameters())


def test_a_registered_tensor_is_an_nn_parameter():
    assert isinstance(Scratch().w, nn.Parameter)


def test_a_view_of_the_registered_tensor_s_data_sees_its_updates():
    model = Scratch()
    SGD([model.w], 1.0).zero_grad()
    (model.w.sum()).backward()
    before = model.w.detach().clone()
    SGD([model.w], 1.0).step()
    assert torch.equal(model.w, before - 1)


@pytest.mark.parametrize(
    "value",
    [torch.zeros(2), torch.zeros(2, dtype=torch.int64), torch.zeros(2, requires_grad=True) * 2],
    ids=["no gradient", "integers", "not a leaf"],
)
def test_other_tensors_are_plain_attributes(value):
    model = Module()
    model.t = value
    assert model.t is value
    assert list(model.parameters()) == []


def test_an_nn_parameter_is_one_as_ever():
    model = Module()
    model.w = nn.Parameter(torch.zeros(2))
    assert list(dict(model.named_parameters())) == ["w"]


def test_a_tensor_of_an_inner_module_is_found_by_the_outer():
    class Outer(Module):
        def __init__(self):
            super().__init__()
            self.inner = Scratch()

    assert list(Outer().state_dict()) == ["inner.w", "inner.b"]


def test_its_state_goes_round():
    first, second = Scratch(), Scratch()
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.w, second.w)


def test_its_state_can_be_saved_and_loaded_safely():
    first, second = Scratch(), Scratch()
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(first.w, second.w)


def test_its_state_can_be_pickled():
    state = pickle.loads(pickle.dumps(Scratch().state_dict()))
    assert list(state) == ["w", "b"]


def test_it_changes_its_dtype_and_keeps_its_tensors():
    model = Scratch()
    w = model.w
    model.to(torch.float64)
    assert model.w is w
    assert model.w.dtype == torch.float64


def test_it_moves_to_another_device():
    model = Scratch().to("meta")
    assert {param.device.type for param in model.parameters()} == {"meta"}


def test_it_takes_part_in_functional_calls():
    model, X = Scratch(), torch.ones(3, 2)
    weights = {"w": torch.ones(2, 1), "b": torch.tensor([5.0])}
    assert torch.func.functional_call(model, weights, (X,)).tolist() == [[7.0]] * 3


def test_several_can_be_stacked():
    params, _ = torch.func.stack_module_state([Scratch() for _ in range(4)])
    assert params["w"].shape == (4, 2, 1)


def test_a_copy_has_tensors_of_its_own():
    model = Scratch()
    twin = copy.deepcopy(model)
    assert twin.w is not model.w
    assert torch.equal(twin.w, model.w)
    assert isinstance(twin.w, nn.Parameter)


def test_a_trained_model_can_be_copied():
    model = Scratch()
    data = SyntheticRegressionData(num_train=8, num_val=4, batch_size=4)
    Trainer(max_epochs=1).fit(model, data)
    twin = copy.deepcopy(model)
    assert torch.equal(twin.w, model.w)
    assert not hasattr(twin, "trainer")  # which would hold the data


def test_a_parameter_cannot_be_replaced_by_a_plain_tensor():
    model = Scratch()
    with pytest.raises(ModelError, match=r"Scratch\.w is a parameter.*copy_"):
        model.w = torch.zeros_like(model.w)


# When a tensor becomes a parameter


class Late(Module):
    """Tells its tensors to require a gradient after they were set."""

    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.W = torch.randn(2, 1) * 0.01
        self.W.requires_grad_()
        self.b = torch.zeros(1)
        self.b.requires_grad = True
        self.scale = torch.ones(1)  # meant to stay

    def forward(self, X):
        return X @ self.W + self.b * self.scale

    def loss(self, y_hat, y):
        return ((y_hat - y) ** 2).mean()


@pytest.mark.parametrize(
    "names",
    [
        lambda model: [name for name, _ in model.named_parameters()],
        lambda model: list(model.state_dict()),
        lambda model: list(nn.Sequential(model).state_dict(prefix="")),
        lambda model: list(dict(model.double()._parameters)),
        lambda model: len(list(model.parameters())) and list(model._parameters),
        lambda model: model.load_state_dict({}, strict=False).missing_keys,
    ],
    ids=["named_parameters", "state_dict", "within another", "double", "parameters", "load"],
)
def test_a_tensor_that_requires_a_gradient_late_is_a_parameter_when_it_is_asked_for(names):
    model = Late()
    W = model.W
    assert [name.removeprefix("0.") for name in names(model)] == ["W", "b"]
    assert model.W is W
    assert isinstance(W, nn.Parameter)


def test_a_late_tensor_of_a_copy_is_a_parameter_too():
    assert [name for name, _ in copy.deepcopy(Late()).named_parameters()] == ["W", "b"]


def test_a_late_tensor_is_trained():
    model = Late()
    before = model.W.detach().clone()
    Trainer(max_epochs=1).fit(model, SyntheticRegressionData(num_train=32, num_val=32))
    assert not torch.equal(model.W, before)


def test_a_late_tensor_is_trained_by_an_optimizer_that_names_it():
    class Named(Late):
        def configure_optimizers(self):
            return SGD([self.W], self.lr)

    model = Named()
    with pytest.warns(GradbookWarning, match=r"\bb\b"):  # which it leaves out
        Trainer(max_epochs=1).fit(model, SyntheticRegressionData(num_train=32, num_val=32))
    assert list(model.state_dict()) == ["W", "b"]


def test_a_late_tensor_of_a_module_within_a_plain_one_is_trained():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Late()
            self.board, self.lr = self.inner.board, 0.1

        def training_step(self, batch):
            return self.inner.loss(self.inner(batch[0]), batch[1])

        def validation_step(self, batch):
            pass

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.lr)

    model = Plain()
    Trainer(max_epochs=1).fit(model, SyntheticRegressionData(num_train=32, num_val=32))
    assert list(model.state_dict()) == ["inner.W", "inner.b"]


class Caching(Module):
    """Keeps what it sees, in each place where a model's code runs."""

    def __init__(self, where, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Linear(2, 1)
        if where == "hook":
            self.net.register_forward_hook(lambda layer, args, output: self.keep(args[0]))
        if where == "backward hook":
            self.net.weight.register_hook(self.keep)

    def keep(self, X):
        self.last = (X * 1).detach().requires_grad_()

    def keep_in(self, where, X):
        if where == self.where:
            self.keep(X)

    def forward(self, X):
        self.keep_in("forward", X)
        return self.net(X)

    def loss(self, y_hat, y):
        self.keep_in("loss", y)
        return ((y_hat - y) ** 2).mean()

    def training_step(self, batch):
        self.keep_in("training_step", batch[0])
        return super().training_step(batch)

    def validation_step(self, batch):
        self.keep_in("validation_step", batch[0])
        super().validation_step(batch)


WHERE = ["forward", "loss", "training_step", "validation_step", "hook", "backward hook"]


@pytest.mark.parametrize("where", WHERE)
def test_a_batch_that_is_kept_while_training_is_no_parameter(where):
    model = Caching(where)
    trainer = Trainer(max_epochs=2, gradient_clip_val=1.0)
    trainer.fit(model, SyntheticRegressionData(num_train=64, num_val=32))
    assert type(model.last) is torch.Tensor
    assert list(dict(model.named_parameters())) == ["net.weight", "net.bias"]


def test_a_batch_that_a_trainer_keeps_on_the_model_is_no_parameter():
    class Keeping(Trainer):
        def prepare_batch(self, batch):
            self.model.last = (batch[0] * 1).requires_grad_()
            return super().prepare_batch(batch)

    model = Scratch()
    names = list(dict(model.named_parameters()))
    Keeping(max_epochs=1).fit(model, SyntheticRegressionData(num_train=64, num_val=32))
    assert type(model.last) is torch.Tensor
    assert list(dict(model.named_parameters())) == names


def test_a_call_from_outside_makes_no_parameters_either():
    model = Caching("forward")
    model(torch.ones(3, 2))
    model.apply_init([torch.ones(3, 2)])
    assert list(model.state_dict()) == ["net.weight", "net.bias"]


def test_inputs_that_are_told_to_require_a_gradient_stay_what_they_are():
    kinds = set()

    class Attacked(Scratch):
        def training_step(self, batch):
            X = self.last = batch[0]
            X.requires_grad_()
            (grad,) = torch.autograd.grad(self.loss(self(X), batch[1]), X)
            kinds.add(type(X))
            return super().training_step([(X + 0.1 * grad.sign()).detach(), batch[1]])

    model = Attacked()
    Trainer(max_epochs=2, gradient_clip_val=1.0).fit(
        model, SyntheticRegressionData(num_train=64, num_val=32)
    )
    assert kinds == {torch.Tensor}
    assert list(model.state_dict()) == ["w", "b"]


def test_data_that_a_model_holds_are_no_parameter_once_it_trains():
    class Holding(Scratch):
        def __init__(self):
            super().__init__()
            self.X = torch.randn(4, 2)

        def training_step(self, batch):
            (grad,) = torch.autograd.grad(self(self.X.requires_grad_()).sum(), self.X)
            self.X = self.X.detach()
            return super().training_step(batch) + 0 * grad.sum()

    model = Holding()
    Trainer(max_epochs=1, gradient_clip_val=1.0).fit(
        model, SyntheticRegressionData(num_train=64, num_val=32)
    )
    assert list(model.state_dict()) == ["w", "b"]


def test_a_parameter_may_be_replaced_by_another_within_a_step():
    class Manual(Scratch):
        def training_step(self, batch):
            self.w = (self.w - 0.1).detach().requires_grad_()
            return self.w.sum()

    model = Manual()
    model.training_step(None)
    assert isinstance(model.w, nn.Parameter)


def test_the_function_around_a_model_may_have_any_name():
    def loss(rate):
        model = Module()
        model.w = torch.zeros(2, requires_grad=True)
        return model

    assert list(loss(0.1).state_dict()) == ["w"]


def test_a_model_that_is_made_within_forward_has_parameters():
    class Outer(Module):
        def forward(self, X):
            return Scratch()

    assert list(Outer()(1).state_dict()) == ["w", "b"]


# What no optimizer can train


def made_with(make):
    class Mine(Module):
        def __init__(self):
            super().__init__()
            make(self)

    return Mine()


def scaled():
    return torch.randn(3, 2, requires_grad=True) * 0.01


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda model: setattr(model, "W", scaled()), r"Mine\.W "),
        (lambda model: setattr(model, "W", nn.Parameter(torch.ones(3, 2)) * 2), r"Mine\.W "),
        (lambda model: setattr(model, "W", scaled().double()), r"Mine\.W "),
        (lambda model: setattr(model, "W", scaled()[0]), r"Mine\.W "),
        (lambda model: setattr(model, "params", [scaled(), torch.ones(2)]), r"params\[0\]"),
        (lambda model: setattr(model, "params", {"W": (scaled(),)}), r"params\['W'\]\[0\]"),
    ],
    ids=["scaled", "parameter", "double", "view", "list", "nested"],
)
def test_a_tensor_that_is_no_leaf_is_refused_while_a_model_is_made(make, place):
    with pytest.raises(ModelError, match=rf"{place}.*requires_grad_\(\)"):
        made_with(make)


def test_what_follows_a_parameter_may_be_kept():
    def make(model):
        model.W = torch.ones(3, 2, requires_grad=True)
        model.V = model.W.T

    assert made_with(make).V.shape == (2, 3)


def test_what_pytorch_computes_anew_may_be_kept():
    def make(model):
        model.W = torch.ones(3, 2, requires_grad=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has a successor
            torch.nn.utils.weight_norm(model, "W")

    assert list(made_with(make).state_dict()) == ["W_g", "W_v"]


def test_results_may_be_kept_by_a_call_and_from_outside():
    class Attention(Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 2)
            self(torch.ones(1, 2))

        def forward(self, X):
            self.attention_weights = torch.softmax(self.net(X), dim=1)
            self.all_weights = [self.attention_weights]
            return self.attention_weights

    model = Attention()
    model.result = model(torch.ones(1, 2))
    assert not model.result.is_leaf
