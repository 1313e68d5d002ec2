"""The loss over a sample: which examples, which parameters, and what it weighs them with."""

import copy
import math

import numpy as np
import pytest
import torch
from tests.experiments.nets import SmoothMLP, classes, covariance, full_hessian
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gradbook.data import TensorLoader
from gradbook.datasets import SyntheticRegressionData
from gradbook.errors import ModelError
from gradbook.experiments.hessian import sharpness
from gradbook.experiments.landscape import Landscape
from gradbook.experiments.trial import copy_to_try
from gradbook.models import LinearRegressionScratch


def test_several_batches_of_unequal_size_make_the_exact_mean():
    model, (X, y) = SmoothMLP(), classes(61)
    whole = sharpness(model, (X, y), tolerance=1e-5).eigenvalue
    parts = [(X[:40], y[:40]), (X[40:], y[40:])]
    loader = DataLoader(TensorDataset(X, y), batch_size=7, shuffle=True)
    for data in (parts, loader):
        assert sharpness(model, data, tolerance=1e-5).eigenvalue == pytest.approx(whole, rel=1e-4)


def test_a_summed_loss_is_as_sharp_as_its_training_batches():
    class Summed(LinearRegressionScratch):
        def loss(self, y_hat, y):
            return ((y_hat - y) ** 2 / 2).sum()

    data = SyntheticRegressionData(num_train=96, batch_size=32)
    found = sharpness(Summed(), data)
    expected = 32 * np.linalg.eigvalsh(covariance(data.X[:96]))[-1]
    assert found.eigenvalue == pytest.approx(expected, rel=1e-3)
    assert "for batches of 32" in str(found)


def test_a_penalty_in_the_loss_counts_once():
    class Decaying(LinearRegressionScratch):
        def loss(self, y_hat, y):
            return super().loss(y_hat, y) + 3 * (self.w**2).sum() / 2

    X = torch.randn(100, 2)
    expected = np.linalg.eigvalsh(covariance(X) + np.diag([3.0, 3.0, 0.0]))[-1]
    found = sharpness(Decaying(), (X, torch.randn(100, 1)))
    assert found.eigenvalue == pytest.approx(expected, rel=1e-3)


def test_frozen_parameters_are_held_fixed():
    model, (X, y) = SmoothMLP(), classes()
    for parameter in model.net[0].parameters():
        parameter.requires_grad_(False)
    last = copy.deepcopy(model)
    for parameter in last.parameters():
        parameter.requires_grad_(True)
    H = full_hessian(last, X, y)[16:, 16:]  # 3*4 + 4 numbers of the first layer come first
    found = sharpness(model, (X, y))
    assert found.eigenvalue == pytest.approx(np.linalg.eigvalsh(H)[-1], rel=1e-3)
    assert list(found.direction) == ["net.2.weight", "net.2.bias"]


def test_plain_tensors_of_a_class_beside_the_library_are_parameters():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.zeros(2, 1, requires_grad=True)

        def forward(self, X):
            return X @ self.w

        def loss(self, y_hat, y):
            return ((y_hat - y) ** 2 / 2).mean()

    X = torch.randn(100, 2)
    expected = np.linalg.eigvalsh((X.T @ X / 100).numpy())[-1]
    found = sharpness(Own(), (X, torch.randn(100, 1)))
    assert found.eigenvalue == pytest.approx(expected, rel=1e-3)
    assert found.lr is None


def test_a_sample_is_drawn_from_all_examples():
    X = torch.arange(1000.0).reshape(-1, 1)
    loader = TensorLoader((X, X), 10)
    trial = copy_to_try(LinearRegressionScratch(1), loader)
    landscape = Landscape(trial, loader, 100, seed=0)
    taken = torch.cat([batch[0] for batch in landscape._batches]).reshape(-1)
    assert landscape.num_examples == 100
    assert landscape.num_available == 1000
    assert len(set(taken.tolist())) == 100
    assert 300 < taken.mean() < 700


def test_a_data_loader_s_sample_is_drawn_from_all_examples_too():
    X = torch.arange(1000.0).reshape(-1, 1)
    loader = DataLoader(TensorDataset(X, X), 10)
    trial = copy_to_try(LinearRegressionScratch(1), loader)
    landscape = Landscape(trial, loader, 100, seed=0)
    taken = torch.cat([batch[0] for batch in landscape._batches]).reshape(-1)
    assert len(set(taken.tolist())) == 100
    assert 300 < taken.mean() < 700


def test_of_batches_that_cannot_be_indexed_the_first_are_taken():
    X, y = torch.randn(40, 2), torch.randn(40, 1)
    batches = [(X[i : i + 10], y[i : i + 10]) for i in range(0, 40, 10)]
    found = sharpness(LinearRegressionScratch(), batches, num_examples=20)
    expected = np.linalg.eigvalsh(covariance(X[:20]))[-1]
    assert found.eigenvalue == pytest.approx(expected, rel=1e-3)
    assert "measured on 20 training examples" in str(found)


def test_a_large_model_gets_a_sample_by_default(monkeypatch):
    monkeypatch.setattr("gradbook.experiments.landscape._CHEAP", 31 * 2345)
    found = sharpness(SmoothMLP(), classes(3000))
    assert (found.num_examples, found.num_available) == (2000, 3000)
    assert "2,000 of 3,000 training examples" in str(found)


def test_random_data_are_the_same_in_every_pass():
    class Jittered(LinearRegressionScratch):
        def forward(self, X):
            return super().forward(X + torch.randn_like(X))

    found = sharpness(Jittered(), (torch.randn(50, 2), torch.randn(50, 1)), tolerance=1e-5)
    assert found.converged


def test_a_frozen_model_has_nothing_to_measure():
    model = SmoothMLP()
    model.requires_grad_(False)
    with pytest.raises(ModelError, match="no parameter that requires a gradient"):
        sharpness(model, classes())


def test_a_detached_loss_has_nothing_to_measure():
    class Detached(LinearRegressionScratch):
        def loss(self, y_hat, y):
            return super().loss(y_hat, y).detach()

    with pytest.raises(ModelError, match="does not depend on a parameter"):
        sharpness(Detached(), SyntheticRegressionData())


def test_what_pytorch_says_of_a_missing_second_derivative_is_passed_on():
    class Slope(torch.autograd.Function):  # PyTorch's own gain theirs one after the other
        @staticmethod
        def forward(ctx, x, grad):
            return 2 * x * grad

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(ctx, grad):
            return Slope.apply(*ctx.saved_tensors, grad)

    class Rough(LinearRegressionScratch):
        def loss(self, y_hat, y):
            return Square.apply(y_hat - y).mean()

    with pytest.raises(ModelError, match=r"PyTorch says: You must implement"):
        sharpness(Rough(), (torch.randn(16, 2), torch.randn(16, 1)))


def test_a_diverged_model_is_called_that():
    model = LinearRegressionScratch()
    with torch.no_grad():
        model.w.fill_(math.nan)
    with pytest.raises(ModelError, match="loss of LinearRegressionScratch is nan"):
        sharpness(model, SyntheticRegressionData())
