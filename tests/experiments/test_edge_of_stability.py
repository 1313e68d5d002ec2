"""Sharpness along full-batch gradient descent, against closed forms and steps by hand."""

import signal

import numpy as np
import pytest
import torch
from tests.experiments.nets import SmoothMLP, classes, covariance, state_of
from torch import nn

from gradbook.board import ProgressBoard
from gradbook.datasets import SyntheticRegressionData
from gradbook.errors import ConfigError
from gradbook.experiments.edge_of_stability import edge_of_stability
from gradbook.models import LinearRegression, LinearRegressionScratch
from gradbook.module import Module


def test_of_linear_regression_the_sharpness_stays():
    data = SyntheticRegressionData(num_train=100)
    found = edge_of_stability(
        LinearRegressionScratch(), data, lr=0.5, num_steps=10, every=5, display=False
    )
    expected = np.linalg.eigvalsh(covariance(data.X[:100]))[-1]
    assert found.steps == (0, 5, 10)
    assert found.sharpness == pytest.approx([expected] * 3, rel=1e-3)
    assert found.edge == 4
    assert found.reached is None
    assert "stayed below 2 / lr = 4" in str(found)


def test_the_losses_are_those_of_gradient_descent():
    X, y = classes()
    model = SmoothMLP()
    found = edge_of_stability(model, (X, y), lr=0.3, num_steps=7, every=3, display=False)
    losses = []
    for _ in range(8):
        loss = model.loss(model(X), y)
        losses.append(loss.item())
        with torch.no_grad():
            for p, g in zip(
                model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True
            ):
                p -= 0.3 * g
    assert found.losses == pytest.approx(losses, rel=1e-5)
    assert found.steps == (0, 3, 6, 7)
    table = found.to_pandas()
    assert table["loss"].tolist() == list(found.losses)
    assert table["sharpness"].notna().sum() == 4


@pytest.mark.slow
def test_a_network_sharpens_until_2_over_lr_and_hovers_there():
    torch.manual_seed(0)
    X = torch.randn(100, 10)
    y = torch.sin(3 * X[:, :1])

    class Net(Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(10, 50), nn.Tanh(), nn.Linear(50, 1))

        def loss(self, y_hat, y):
            return ((y_hat - y) ** 2).mean()

    found = edge_of_stability(Net(), (X, y), lr=0.25, num_steps=500, every=25, display=False)
    assert found.sharpness[0] < 0.7 * found.edge
    assert found.reached is not None
    assert np.median(found.sharpness[-6:]) == pytest.approx(found.edge, rel=0.15)
    assert "the edge of stability" in " ".join(str(found).split())
    found.figure()


def test_a_rate_that_is_too_large_keeps_what_was_measured_before_it_diverged():
    data = SyntheticRegressionData(num_train=100)
    found = edge_of_stability(
        LinearRegression(), data, lr=1e4, num_steps=100, every=1, display=False
    )
    assert found.status == "diverged"
    assert 0 < len(found.steps) < 100
    assert found.reached == 0
    assert "where this rate is unstable: the loss" in str(found)
    found.figure()


def test_ctrl_c_keeps_what_was_measured():
    class Interrupted(LinearRegressionScratch):
        def loss(self, y_hat, y):
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 30:
                signal.raise_signal(signal.SIGINT)
            return super().loss(y_hat, y)

    data = SyntheticRegressionData(num_train=100)
    found = edge_of_stability(Interrupted(), data, lr=0.1, num_steps=500, every=2, display=False)
    assert found.status == "interrupted"
    assert 0 < len(found.steps) < 20


def test_the_edge_leaves_model_and_random_numbers_as_they_were():
    model, data = SmoothMLP(), classes()
    before, generators, board = state_of(model), torch.get_rng_state(), model.board
    edge_of_stability(model, data, lr=0.1, num_steps=3, display=False)
    after = state_of(model)
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert before[1:] == after[1:]
    assert torch.equal(generators, torch.get_rng_state())
    assert model.board is board
    assert not board.data


def test_both_curves_are_drawn_while_it_goes_on(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        ProgressBoard,
        "draw",
        lambda self, x, y, label, every_n=1: drawn.append((label, x, y)),
    )
    data = SyntheticRegressionData(num_train=50)
    found = edge_of_stability(
        LinearRegressionScratch(), data, lr=0.5, num_steps=4, every=2, display=False
    )
    assert [point for point in drawn if point[0] == "2 / lr"] == [
        ("2 / lr", step, 4.0) for step in (0, 2, 4)
    ]
    assert [y for label, _, y in drawn if label == "sharpness"] == list(found.sharpness)


@pytest.mark.slow
def test_a_script_gets_the_curves_in_a_file(capsys):
    data = SyntheticRegressionData(num_train=50)
    edge_of_stability(LinearRegressionScratch(), data, lr=0.5, num_steps=4, display="lines")
    assert "curves: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "settings", [{"lr": 0}, {"lr": 0.1, "num_steps": 0}, {"lr": 0.1, "every": 0}]
)
def test_steps_that_cannot_be_taken_are_refused(settings):
    with pytest.raises(ConfigError):
        edge_of_stability(SmoothMLP(), classes(), display=False, **settings)
