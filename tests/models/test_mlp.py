import numpy as np
import pytest
import torch
from torch import nn

from gradbook import (
    MLP,
    LinearRegressionScratch,
    MLPScratch,
    SoftmaxRegressionScratch,
    SyntheticRegressionData,
)
from gradbook.errors import ConfigError
from gradbook.models.mlp import ACTIVATIONS, hidden_widths, relu


def test_relu_is_torch_s():
    X = torch.randn(5, 4)
    assert torch.equal(relu(X), torch.relu(X))


def test_the_parameters_have_the_book_s_shapes_and_names():
    shapes = {name: tuple(param.shape) for name, param in MLPScratch(6, 3, 4).named_parameters()}
    assert shapes == {"W1": (6, 4), "b1": (4,), "W2": (4, 3), "b2": (3,)}


def test_several_hidden_layers_go_on_counting():
    shapes = {name: tuple(p.shape) for name, p in MLPScratch(6, 3, [5, 4]).named_parameters()}
    assert shapes == {
        "W1": (6, 5), "b1": (5,), "W2": (5, 4), "b2": (4,), "W3": (4, 3), "b3": (3,),
    }  # fmt: skip


def test_the_weights_begin_small_and_the_biases_at_0():
    model = MLPScratch(100, 10, 100, sigma=0.3)
    assert model.W1.std().item() == pytest.approx(0.3, rel=0.05)
    assert not model.b1.any()
    assert not model.b2.any()


@pytest.mark.parametrize(
    ("num_hiddens", "widths"),
    [(256, [256]), ([256], [256]), ((64, 32), [64, 32]), (np.int64(8), [8]), ([], [])],
)
def test_hidden_layers_are_a_width_or_a_list_of_widths(num_hiddens, widths):
    assert hidden_widths(num_hiddens) == widths


@pytest.mark.parametrize("num_hiddens", [0, -1, 1.5, "256", None, True, [8, 0], [8, 2.5], ["8"]])
@pytest.mark.parametrize("make", [MLP, lambda **options: MLPScratch(6, **options)])
def test_widths_that_are_no_positive_whole_numbers_are_refused(make, num_hiddens):
    with pytest.raises(ConfigError, match="num_hiddens must be a whole number of at least 1"):
        make(num_outputs=3, num_hiddens=num_hiddens)


@pytest.mark.parametrize("num_hiddens", [4, [5, 4], []])
def test_both_are_the_same_function_of_the_same_weights(num_hiddens):
    scratch, concise = MLPScratch(6, 3, num_hiddens, sigma=1.0), MLP(3, num_hiddens)
    X, y = torch.randn(8, 1, 2, 3), torch.randint(0, 3, (8,))
    concise.apply_init([X])
    linears = [layer for layer in concise.net if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for i, linear in enumerate(linears, start=1):
            # No bias is 0: at an input of exactly 0 the two forms of ReLU differ in gradient.
            getattr(scratch, f"b{i}").normal_()
            linear.weight.copy_(getattr(scratch, f"W{i}").T)
            linear.bias.copy_(getattr(scratch, f"b{i}"))
    torch.testing.assert_close(scratch(X), concise(X))
    for model in (scratch, concise):
        model.loss(model(X), y).backward()
    for i, linear in enumerate(linears, start=1):
        torch.testing.assert_close(getattr(scratch, f"W{i}").grad, linear.weight.grad.T)
        torch.testing.assert_close(getattr(scratch, f"b{i}").grad, linear.bias.grad)


def test_arguments_are_hyperparameters():
    model = MLPScratch(6, 3, 4, lr=0.5, sigma=0.1)
    assert {name: model.hparams[name] for name in ("num_inputs", "num_outputs", "num_hiddens")} == {
        "num_inputs": 6,
        "num_outputs": 3,
        "num_hiddens": 4,
    }
    assert MLP(3, 4, 0.5).lr == model.lr == 0.5


def test_the_layers_are_listed_for_an_image(capsys):
    MLP(10, 256).layer_summary((1, 1, 28, 28))
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["Flatten", "Linear", "ReLU", "Linear"]


def test_a_state_goes_round():
    first, second = MLPScratch(6, 3, 4), MLPScratch(6, 3, 4)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.W2, second.W2)


@pytest.mark.parametrize("size", [2**50, 2**62])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda n: LinearRegressionScratch(n), "num_inputs"),
        (lambda n: SoftmaxRegressionScratch(n), "num_inputs"),
        (lambda n: MLPScratch(num_hiddens=[4, n]), r"num_hiddens=\[4, "),
        (lambda n: MLP(num_hiddens=n)(torch.zeros(2, 3)), "num_hiddens"),
        (lambda n: SyntheticRegressionData(num_train=n), "num_train"),
    ],
)
def test_a_size_beyond_the_memory_is_named(make, name, size):
    with pytest.raises(ConfigError, match=rf"not enough memory for what \w+ computes with {name}"):
        make(size)


@pytest.mark.parametrize("make", [LinearRegressionScratch, SoftmaxRegressionScratch, MLPScratch])
@pytest.mark.parametrize("sigma", [-1, float("nan"), None, "a"])
def test_a_sigma_that_is_no_standard_deviation_is_refused(make, sigma):
    with pytest.raises(ConfigError, match=f"sigma must be a finite number .* it is {sigma!r}"):
        make(sigma=sigma)


@pytest.mark.parametrize("activation", ["tanh", nn.Tanh, torch.tanh])
def test_an_activation_is_a_name_a_class_or_a_function(activation):
    torch.manual_seed(0)
    model = MLP(3, [8, 4], activation=activation)
    X = torch.randn(5, 6)
    y_hat = model(X)
    H = X
    for layer in (model.net[1], model.net[3]):
        H = layer(H).tanh()
    torch.testing.assert_close(y_hat, model.net[5](H))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_named_activation_has_a_layer_of_its_own_behind_each_hidden_layer(name):
    model = MLP(3, [8, 4], activation=name)
    assert [type(model.net[i]) for i in (2, 4)] == [ACTIVATIONS[name]] * 2
    assert model.net[2] is not model.net[4]


def test_dropout_stands_behind_each_activation_and_only_where_it_was_asked_for():
    kinds = [type(layer).__name__ for layer in MLP(3, [8, 4], dropout=0.25).net]
    behind = ["LazyLinear", "ReLU", "Dropout"]
    assert kinds == ["Flatten", *behind, *behind, "LazyLinear"]
    assert MLP(3, 8, dropout=0.25).net[3].p == 0.25
    kinds = [type(layer).__name__ for layer in MLP(3, 8).net]
    assert kinds == ["Flatten", "LazyLinear", "ReLU", "LazyLinear"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"activation": "rleu"}, "Did you mean 'relu'"),
        ({"activation": nn.PReLU()}, "give a name"),
        ({"activation": 3}, "give a name"),
        ({"dropout": 1}, "below 1"),
        ({"dropout": -0.1}, "dropout"),
    ],
)
def test_an_activation_or_dropout_that_cannot_be_used_is_an_error(arguments, problem):
    with pytest.raises(ConfigError, match=problem):
        MLP(3, 8, **arguments)
