"""What is said to be wrong with gradients, and of which models nothing is said."""

import math

import pytest
from tests.watching.watched import Deep, Images, fit, kinds, row_of
from torch import nn

from gradbook import (
    MLP,
    LinearRegression,
    LinearRegressionScratch,
    MLPScratch,
    Module,
    SoftmaxRegression,
    SyntheticRegressionData,
    Trainer,
    seed_everything,
)
from gradbook.watching.gradient_report import GradientReport
from gradbook.watching.gradient_rows import LayerRow

SEEDS = range(5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_ten_layers_of_sigmoids_vanish(seed):
    seed_everything(seed)
    trainer = fit(Deep(), seed=seed)
    assert kinds(trainer) == {"vanishing"}
    (symptom,) = trainer.gradients.findings
    assert symptom.layer in ("net.10", "net.12", "net.14")
    assert f"From the input up to {symptom.layer} (Linear), layer" in symptom.text
    assert "Xavier or He initialization" in symptom.text


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("clip", [0, 1])
def test_ten_layers_of_sigmoids_with_large_weights_explode(seed, clip):
    seed_everything(seed)
    trainer = fit(Deep(std=10.0), seed=seed, gradient_clip_val=clip)
    assert {"exploding", "saturated"} <= kinds(trainer)
    exploding = next(s for s in trainer.gradients.findings if s.kind == "exploding")
    assert ("before clipping to 1" in exploding.text) == bool(clip)
    assert ("gradient_clip_val=1" in exploding.text) == (not clip)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rate_that_is_too_large_leaves_dead_relus(seed):
    seed_everything(seed)
    trainer = fit(Deep(nn.ReLU, num_layers=3, lr=5.0), max_epochs=2, seed=seed)
    assert "dead" in kinds(trainer)
    dead = next(s for s in trainer.gradients.findings if s.kind == "dead")
    assert "smaller learning rate" in dead.text
    assert "Here lr=5." in dead.text


def test_a_regression_whose_rate_is_too_large_explodes_in_time():
    trainer = fit(LinearRegression(lr=3.0), SyntheticRegressionData(num_train=640))
    assert kinds(trainer) == {"exploding"}
    assert "in the first step and is" in trainer.gradients.findings[0].text


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "make",
    [
        lambda: MLP(),
        lambda: MLPScratch(48),
        lambda: MLP(num_hiddens=[64, 32]),
        lambda: SoftmaxRegression(),
        lambda: Deep(nn.Tanh, num_layers=4),
        lambda: Deep(nn.Sigmoid, num_layers=3),
    ],
)
def test_nothing_is_said_of_a_healthy_model(seed, make):
    seed_everything(seed)
    trainer = Trainer(4, watch="gradients")
    trainer.fit(make(), Images())  # a warning would be an error
    assert trainer.gradients.findings == []
    assert list(trainer.findings) == []


@pytest.mark.parametrize("Model", [LinearRegression, LinearRegressionScratch])
def test_nothing_is_said_of_a_linear_regression(Model):
    trainer = Trainer(4, watch="gradients")
    trainer.fit(Model(), SyntheticRegressionData())
    assert list(trainer.findings) == []


def symptoms_of(*sizes, **facts):
    """What is said of layers with gradients of such sizes."""
    defaults = {"function": "", "num_units": 0, "dead": math.nan, "saturated": math.nan}
    facts = defaults | {"num_examples": 1000} | facts
    return GradientReport(
        LayerRow(1, f"W{i}", "", 1, True, 1, size, *[1.0] * 3, **facts)
        for i, size in enumerate(sizes, start=1)
    ).findings


@pytest.mark.parametrize(
    ("sizes", "kind", "layer"),
    [
        ((1e-4, 1e-3, 1e-2, 1), "vanishing", "W1"),
        ((1e-6, 1e-5, 1e-4, 1), "vanishing", "W3"),
        ((0, 0, 1e-2, 1), "vanishing", "W2"),
        ((1e3, 1e2, 1e1, 1), "exploding", "W1"),
        ((0.1, 0.2, 0.5, 1), None, None),
        ((5, 3, 2, 1), None, None),
        # The first layer alone: the inputs are in another unit.
        ((1e-5, 1, 1, 1), None, None),
        ((1e5, 1, 1, 1), None, None),
        # Two layers say nothing about depth, and no gradient nothing about vanishing.
        ((1e-5, 1), None, None),
        ((0, 0, 0, 0), None, None),
        ((math.nan, math.nan, 1), None, None),
    ],
)
def test_gradients_vanish_or_explode_from_layer_to_layer(sizes, kind, layer):
    found = symptoms_of(*sizes)
    assert [(each.kind, each.layer) for each in found] == ([(kind, layer)] if kind else [])


@pytest.mark.parametrize(
    ("dead", "num_units", "kinds"),
    [(0.6, 64, ["dead"]), (0.3, 64, []), (0.45, 1000, ["dead"]), (0.45, 16, []), (0.5, 4, [])],
)
def test_the_narrower_a_layer_the_more_of_it_may_be_dead_by_chance(dead, num_units, kinds):
    found = symptoms_of(1, 1, 1, dead=dead, num_units=num_units, function="relu")
    assert [each.kind for each in found] == kinds


@pytest.mark.parametrize(
    ("lost", "num_examples", "is_told"),
    [(1.0, 1, False), (1.0, 8, False), (1.0, 16, True), (0.6, 16, False), (0.6, 100, True)],
)
@pytest.mark.parametrize("kind", ["dead", "saturated"])
def test_of_a_few_examples_only_more_is_said(kind, lost, num_examples, is_told):
    function = "relu" if kind == "dead" else "tanh"
    facts = {kind: lost, "num_examples": num_examples, "num_units": 64, "function": function}
    assert [each.kind for each in symptoms_of(1, 1, 1, **facts)] == ([kind] if is_told else [])


class Small(SyntheticRegressionData):
    """193 examples in batches of 16, of which the last one has a single example."""

    def __init__(self):
        super().__init__(w=[1.0, -2.0, 3.0, 0.5], num_train=193, num_val=16, batch_size=16)


class Regression(Module):
    def __init__(self, *layers):
        super().__init__()
        self.net, self.lr = nn.Sequential(*layers), 0.01

    def loss(self, y_hat, y):
        return (y_hat - y).square().mean()


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_said_of_a_healthy_model_on_a_small_last_batch(seed):
    seed_everything(seed)
    hidden = [nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
    trainer = Trainer(3, watch="gradients")
    trainer.fit(Regression(*hidden, nn.Linear(64, 1)), Small())  # a warning would be an error
    assert {row.num_examples for row in trainer.gradients.rows if row.function} == {16}


@pytest.mark.parametrize(
    ("function", "kind", "text"),
    [
        (nn.ReLU, "dead", "Dead ReLUs in epoch 1: 100% of the 64 units of net.0 (Linear) gave 0 "),
        (nn.ReLU6, "dead", "Dead ReLU6 units in epoch 1: 100% of the 64 units of net.0"),
        (nn.SiLU, "dead", "Dead SiLUs in epoch 1: 100% of the 64 units of net.0"),
        (nn.GELU, "dead", "Dead GELUs in epoch 1: 100% of the 64 units of net.0"),
        (nn.Mish, "dead", "Dead Mish units in epoch 1: 100% of the 64 units of net.0"),
        (nn.Hardtanh, "saturated", "Saturated Hardtanh units in epoch 1: 100% of the 64 units"),
    ],
)
def test_units_that_a_bias_of_minus_100_makes_flat_are_found(function, kind, text):
    model = Deep(function, num_layers=3)
    nn.init.constant_(model.net[0].bias, -100.0)
    (found,) = [each for each in fit(model).gradients.findings if each.kind == kind]
    assert found.layer == "net.0"
    assert found.text.startswith(text)


@pytest.mark.slow
@pytest.mark.parametrize("function", [nn.ReLU6, nn.SiLU, nn.GELU, nn.Mish, nn.Hardtanh])
def test_nothing_is_said_of_the_same_functions_in_a_healthy_model(function):
    assert kinds(fit(Deep(function, num_layers=3), max_epochs=4)) == set()


def test_what_dead_units_let_through_is_not_said_to_vanish_as_well():
    found = symptoms_of(0, 0, 1, dead=1.0, num_units=64, function="relu")
    assert [each.kind for each in found] == ["dead"]


def test_probabilities_at_the_end_may_saturate():
    class Binary(Module):
        def __init__(self):
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Sequential(nn.Linear(48, 1), nn.Sigmoid())
            nn.init.constant_(self.net[0].bias, 30.0)
            self.lr = 0.01

        def loss(self, y_hat, y):
            return ((y_hat - 1) ** 2).mean()

    trainer = fit(Binary())
    assert row_of(trainer, "net.0").saturated == 1
    assert kinds(trainer) == set()
