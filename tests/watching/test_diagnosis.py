"""Causes: each injected into several models."""

import math

import pytest
import torch
from tests.watching.trainings import Blobs, BookSoftmax, Normed, examined, fit, regression
from torch import nn
from torch.nn import functional as F

from gradbook import (
    MLP,
    Classifier,
    LinearRegression,
    LinearRegressionScratch,
    MLPScratch,
    Module,
    SoftmaxRegression,
    SoftmaxRegressionScratch,
)
from gradbook.watching import postmortem


@pytest.fixture(autouse=True)
def repeated_from_the_beginning(monkeypatch):
    """No state is kept later, however slow the machine is."""
    monkeypatch.setattr(postmortem, "_INTERVAL_SECONDS", math.inf)


# A rate that is too high


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (lambda lr: LinearRegressionScratch(2, lr), regression),
        (LinearRegression, regression),
        (lambda lr: MLP(3, 16, lr), Blobs),
        (lambda lr: MLPScratch(4, 3, 16, lr), Blobs),
    ],
    ids=["linear scratch", "linear", "MLP", "MLP scratch"],
)
@pytest.mark.parametrize("times", [0.01, 1, 10])
def test_a_rate_too_high_is_recognised_and_the_proposed_one_trains(make, data, times):
    rate = max(times, 1) * 3.0 if data is regression else times * 1e4
    found = examined(make(rate), data(), max_epochs=8)
    assert (found.cause, found.phase, found.lr) == ("rate too high", "forward", rate)
    assert "The gradient norm grew by a factor of" in found.reason
    proposed = float(found.edit.partition("lr=")[2].partition(",")[0])
    assert proposed <= rate / 10
    trainer = fit(make(proposed), data(), max_epochs=8)
    assert trainer.status == "finished"
    assert trainer.postmortem is None


def test_the_proposed_rate_is_a_tenth_where_that_is_enough():
    found = examined(LinearRegression(3.0), regression(), max_epochs=8)
    assert found.edit == "lr=0.3, a tenth of 3."


def test_an_update_that_overflows_is_the_rate_s_fault():
    model = SoftmaxRegressionScratch(4, 3, lr=3e38)
    found = examined(model, Blobs(scale=30), max_epochs=1)
    assert (found.phase, found.cause, found.step) == ("update", "rate too high", 1)
    assert found.what.startswith("the parameter ")


# The other causes


@pytest.mark.parametrize("scale", [1e4, 1e5])
def test_an_exponential_that_overflows(scale):
    data = Blobs(scale)
    model = BookSoftmax()
    largest = (data.X @ model.W).max().item()
    found = examined(model, data)
    assert (found.cause, found.phase, found.operation) == ("exp overflow", "forward", "exp")
    assert found.line.text == "E = torch.exp(X @ self.W + self.b)"
    assert "float32 overflows beyond 88.7" in found.reason
    reached = float(found.reason.partition("reached ")[2].partition(",")[0])
    assert 88.7 < reached <= largest * 1.01
    assert "amax" in found.edit


class Poisson(Module):
    """Counts, whose logarithm is linear."""

    def __init__(self):
        super().__init__()
        self.lr = 0.01
        self.w = torch.zeros(2, 1, requires_grad=True)

    def forward(self, X):
        return X @ self.w + 100

    def loss(self, y_hat, y):
        return (torch.exp(y_hat) - y * y_hat).mean()


def test_an_exponential_without_rows_is_to_be_bounded():
    found = examined(Poisson(), regression())
    assert (found.cause, found.step) == ("exp overflow", 1)
    assert "clamp" in found.edit


@pytest.mark.parametrize("kind", ["book", "concise"])
def test_a_logarithm_of_zero(kind):
    class Concise(SoftmaxRegression):
        def loss(self, y_hat, y):
            return F.nll_loss(y_hat.softmax(dim=1).log(), y)

    class Book(BookSoftmax):
        def forward(self, X):
            return torch.softmax(X @ self.W + self.b, dim=1)

    model = Book() if kind == "book" else Concise(3, 0.1)
    found = examined(model, Blobs(scale=1e5))
    assert (found.cause, found.operation) == ("log of zero", "log")
    assert "F.cross_entropy" in found.edit


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "make",
    [
        lambda: SoftmaxRegression(3),
        lambda: BookSoftmax(),
        lambda: MLPScratch(4, 3, 8),
        lambda: MLP(3, 8),
    ],
    ids=["softmax", "book", "MLP scratch", "MLP"],
)
def test_a_bad_input_value_is_found_in_the_batch_and_in_the_data(make, value):
    class InOrder(Blobs):
        def get_dataloader(self, train):
            return self.get_tensorloader((self.X, self.y), train=False)

    data = InOrder()
    data.X[77, 2] = value
    found = examined(make(), data)
    assert (found.cause, found.split, found.step) == ("bad input value", "train", 77 // 16 + 1)
    assert f"X[{77 % 16}, 2] of the batch is {value}; it is in row 77 of the tr" in found.reason


@pytest.mark.parametrize("make", [LinearRegression, LinearRegressionScratch])
def test_an_infinite_target(make):
    data = regression()
    data.y[5] = math.inf
    found = examined(make(lr=0.03), data)
    assert found.cause == "bad input value"
    assert "y[" in found.reason
    assert "row 5 of the training set" in found.reason


def test_a_bad_value_of_the_validation_set():
    class Apart(Blobs):
        def get_dataloader(self, train):
            X = self.X if train else self.X.masked_fill(torch.arange(128)[:, None] == 3, math.nan)
            return self.get_tensorloader((X, self.y), train)

    found = examined(SoftmaxRegression(3), Apart())
    assert (found.split, found.cause) == ("val", "bad input value")
    assert "X[3, 0] of the batch is nan" in found.reason
    assert "row 3 of the validation set" in found.reason
    assert "in the validation of epoch 1" in str(found)


def test_an_extreme_value_of_one_batch():
    data = regression()
    data.X[200] = 1e25
    found = examined(LinearRegression(0.03), data)
    assert found.cause == "bad input value"
    assert "1e+25" in found.reason


class Powered(Normed):
    def length(self, moved):
        return (moved**2).sum() ** 0.5


class Masked(Normed):
    def length(self, moved):
        square = (moved**2).sum()
        return torch.where(square > 0, square.sqrt(), square)


@pytest.mark.parametrize("model", [Normed, Powered, Masked])
def test_the_derivative_of_a_root_at_zero(model):
    found = examined(model(0.01), regression())
    assert (found.cause, found.phase, found.step) == ("root of zero", "backward", 1)
    assert found.what == "the gradient of net.weight"
    assert found.operation == ("PowBackward0" if model is Powered else "SqrtBackward0")
    assert "1 of 1 arguments" in found.reason
    assert "def length" not in found.line.text
    assert "square" in found.line.text or "moved**2" in found.line.text


class Standardized(Classifier):
    """Divides by a deviation that is 0 where a feature is the same for the whole batch."""

    def __init__(self):
        super().__init__()
        self.lr = 0.1
        self.scale = nn.Parameter(torch.ones(4))
        self.net = nn.LazyLinear(3)

    def forward(self, X):
        return self.net(self.scale * (X - X.mean(0)) / X.std(0))


class Relative(LinearRegression):
    def loss(self, y_hat, y):
        return ((y_hat - y).abs() / y).mean()


def test_a_statistic_of_the_batch_that_is_zero():
    data = Blobs()
    data.X[:, 1] = 3.0
    found = examined(Standardized(), data)
    assert (found.cause, found.operation, found.step) == ("division by zero", "/", 1)
    assert found.reason == "1 of 4 divisors are 0."


def test_a_target_of_zero_that_is_divided_by():
    data = regression()
    data.y[9] = 0
    found = examined(Relative(0.001), data)
    assert found.cause == "division by zero"
    assert found.line.text == "return ((y_hat - y).abs() / y).mean()"
