"""Activation functions, their derivatives, and their compositions."""

import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from torch import nn

from gradbook.errors import ConfigError
from gradbook.experiments.activations import FUNCTIONS, activation


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_the_slope_of_a_sigmoid_is_a_quarter_at_zero():
    found = activation("sigmoid")
    assert found.maximum_derivative == [pytest.approx(0.25, abs=1e-12)]
    assert found.slopes[0].x == pytest.approx(0, abs=1e-9)


def test_the_maximum_is_found_between_the_places_of_the_grid():
    # Its derivative is highest at x = 0.1234567, and 1 there.
    found = activation(lambda x: torch.tanh(x - 0.1234567))
    assert found.maximum_derivative == [pytest.approx(1, abs=1e-12)]
    assert found.slopes[0].x == pytest.approx(0.1234567, abs=1e-6)


def test_the_slope_of_gelu_is_highest_at_the_root_of_two():
    # gelu' = Phi(x) + x phi(x), and gelu'' = (2 - x^2) phi(x)
    root = math.sqrt(2)
    largest = 0.5 * (1 + math.erf(1)) + root * math.exp(-1) / math.sqrt(2 * math.pi)
    (slope, *_) = activation("gelu").slopes
    assert slope.largest == pytest.approx(largest, abs=1e-12)
    assert slope.x == pytest.approx(root, abs=1e-5)


def test_a_sigmoid_of_a_sigmoid_has_the_chain_rules_derivative():
    found = activation("sigmoid", compose=2)
    x = found.x.numpy()
    inner = sigmoid(x)
    outer = sigmoid(inner)
    np.testing.assert_allclose(found.values[1].numpy(), outer, atol=1e-12)
    slope = outer * (1 - outer) * inner * (1 - inner)
    np.testing.assert_allclose(found.derivatives[1].numpy(), slope, atol=1e-12)


@pytest.mark.parametrize("name", ["tanh", "silu", "softplus", "mish"])
def test_derivatives_agree_with_finite_differences(name):
    found = activation(name, compose=3)
    values, x = found.values[2].numpy(), found.x.numpy()
    differences = np.gradient(values, x, edge_order=2)
    np.testing.assert_allclose(found.derivatives[2].numpy(), differences, atol=1e-4)


@pytest.mark.slow
def test_the_largest_slope_of_a_composition_agrees_with_a_fine_grid():
    x = np.linspace(-2, 2, 2_000_001)
    slope, value = np.ones_like(x), x
    for _ in range(3):
        value = sigmoid(value)
        slope = slope * value * (1 - value)
    found = activation("sigmoid", compose=3)
    assert found.maximum_derivative[2] == pytest.approx(slope.max(), rel=1e-11)


def test_ten_sigmoids_are_told_of_whatever_is_drawn():
    text = str(activation("sigmoid"))
    assert "sigmoid, 10 times   max slope 3.901e-07" in text
    assert "one sigmoid multiplies a gradient by at most 0.25" in text
    assert "vanish" in text


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_what_keeps_its_slope_is_not_said_to_vanish(name):
    found = activation(name, compose=10)
    assert found.maximum_derivative == [pytest.approx(1)] * 10
    assert "vanish" not in str(found)


def test_what_grows_is_said_to_explode():
    assert "explode" in str(activation(lambda x: 3 * x))


def test_a_plateau_has_no_single_steepest_place():
    assert activation("relu").slopes[0].x is None


@pytest.mark.slow
def test_no_more_than_four_depths_are_drawn():
    assert activation("sigmoid", compose=4).depths == [1, 2, 3, 4]
    assert activation("sigmoid", compose=10).depths == [1, 2, 3, 10]


def test_the_legend_gives_the_largest_slope():
    left, right = activation("sigmoid", compose=2).figure().axes
    assert [text.get_text() for text in left.get_legend().get_texts()] == [
        "sigmoid",
        "sigmoid of sigmoid",
    ]
    assert right.get_legend().get_texts()[0].get_text() == "sigmoid: max slope 0.25"


def test_curves_differ_in_color_and_in_line_style():
    axes = activation("sigmoid", compose=10).figure().axes[0]
    assert len({to_hex(line.get_color()) for line in axes.lines}) == 4
    assert len({line.get_linestyle() for line in axes.lines}) == 4


def test_labeled_axes():
    for axes in activation("relu").figure().axes:
        assert axes.get_xlabel() == "x"
        assert axes.get_ylabel()


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_named_function_can_be_drawn(name):
    assert len(activation(name, compose=2).figure().axes) == 2


def test_names_are_taken_as_python_writes_them():
    assert activation("leaky_relu").name == "leaky-relu"


def test_a_module_is_a_function_and_stays_in_its_mode():
    module = nn.PReLU().double()
    found = activation(module)
    assert found.name == "PReLU"
    assert found.maximum_derivative == [1]
    assert module.weight.grad is None
    assert module.training


@pytest.mark.slow
def test_a_function_that_changes_its_argument_is_none_the_worse():
    torch.testing.assert_close(
        activation(torch.relu_).derivatives[0], activation("relu").derivatives[0]
    )


def test_random_numbers_are_as_before():
    state = torch.get_rng_state()
    with pytest.raises(ConfigError, match="depends on the other elements"):
        activation(nn.Dropout())
    assert torch.equal(state, torch.get_rng_state())


def test_places_without_a_value_are_gaps_and_counted():
    found = activation(torch.log)
    assert "no finite value at 50% of these x" in str(found)
    line = found.figure().axes[0].lines[0]
    assert np.isnan(line.get_ydata()[:1000]).all()


@pytest.mark.parametrize(
    ("f", "low", "reason"),
    [
        (torch.log, -8.0, "log has no finite value at 99.9% of these x"),
        (torch.log, 0.5, "applied up to 10 times, log has no finite value"),
        (torch.sqrt, 0.0, "the slope of sqrt is unbounded"),
        (torch.reciprocal, -8.0, "the slope of reciprocal is unbounded"),
    ],
)
def test_nothing_is_concluded_where_there_is_no_value_or_no_largest_slope(f, low, reason):
    text = str(activation(f, low=low))
    assert "How depth changes the size of a gradient cannot be told from these slopes: " in text
    assert reason in text.splitlines()[-1]
    assert "vanish" not in text
    assert "explode" not in text


def test_what_overflows_has_values_and_explodes():
    assert "explode" in str(activation(lambda x: x - x**3))


def test_where_there_is_no_value_there_is_no_slope():
    found = activation(torch.log, compose=10)
    assert found.derivatives[0][:1000].isnan().all()
    np.testing.assert_allclose(found.derivatives[0][1001:], 1 / found.x[1001:])
    assert math.isnan(found.maximum_derivative[9])
    assert "log, 10 times  no finite slope" in str(found)
    assert "no finite slope" in found.figure().axes[1].get_legend().get_texts()[3].get_text()


def test_a_name_of_a_formula_is_not_read_as_mathematics():
    def f(x):
        return x

    f.__name__ = "$x_1"
    assert activation(f).figure().axes[0].get_legend().get_texts()[0].get_parse_math() is False


@pytest.mark.parametrize(
    ("f", "message"),
    [
        ("sigmod", "no activation function 'sigmod'. Did you mean 'sigmoid'"),
        (3, "but got 3"),
        (nn.Sigmoid, r"the class Sigmoid itself.*`Sigmoid\(\)`"),
        (lambda x: x.sum(), r"its input's shape .*, but it gave \(\)"),
        (lambda x: 1.0, "but it gave float"),
        (lambda x: math.exp(x), "cannot be applied.*torch.exp, not"),
        (nn.PReLU(), r"cannot be applied.*module\.double\(\)"),
        (lambda x: torch.softmax(x, 0), "depends on the other elements"),
        (torch.zeros_like, "no derivative"),
        (lambda x: x.detach() ** 2, "no derivative"),
        (lambda x: x / 0 * 0, "NaN or infinity everywhere"),
    ],
)
def test_what_cannot_be_drawn_is_explained(f, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        activation(f)


def test_a_step_function_has_no_slope():
    assert activation(torch.sign).maximum_derivative == [0]


@pytest.mark.parametrize("compose", [0, 1.5, 101])
def test_a_depth_that_makes_no_sense_is_refused(compose):
    with pytest.raises(ConfigError, match=f"compose.*{compose}"):
        activation("relu", compose=compose)


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, -2), (math.nan, 1), (0, math.inf)])
def test_a_range_that_is_none_is_refused(low, high):
    with pytest.raises(ConfigError, match="low must be less than high"):
        activation("relu", low=low, high=high)


def test_facts_are_plain_values():
    facts = activation("sigmoid", compose=2, low=-1, high=2).facts()
    assert facts["range"] == [-1, 2]
    assert facts["maximum_derivative"][0] == pytest.approx(0.25)
    assert [slope["depth"] for slope in facts["slopes"]] == [1, 2, 3, 10]
