"""Sharpness against closed forms, NumPy's eigenvalues and simulated descents."""

import copy
import math
import signal

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.utils.data import DataLoader, TensorDataset

from gradbook.board import ProgressBoard
from gradbook.data import TensorLoader
from gradbook.datasets import SyntheticRegressionData
from gradbook.errors import BatchError, ConfigError, DataError, ModelError
from gradbook.experiments.hessian import (
    Landscape,
    copy_to_try,
    critical_rate,
    edge_of_stability,
    largest_eigenpair,
    sharpness,
)
from gradbook.models import MLP, LinearRegression, LinearRegressionScratch
from gradbook.module import Classifier, Module
from gradbook.trainer import Trainer


def covariance(X):
    """E[x x^T], with a one for the bias at the end of each x."""
    X = np.c_[X.double().numpy(), np.ones(len(X))]
    return X.T @ X / len(X)


def classes(num_examples=60, num_inputs=3):
    X = torch.randn(num_examples, num_inputs)
    return X, torch.randint(0, 3, (num_examples,))


class SmoothMLP(Classifier):
    def __init__(self, lr=0.1, num_inputs=3):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(num_inputs, 4), nn.Tanh(), nn.Linear(4, 3))


def full_hessian(model, X, y):
    """The Hessian in float64, from central differences of the gradient."""
    model = copy.deepcopy(model).double()
    X = X.double()
    parameters = list(model.parameters())
    begin = parameters_to_vector(parameters).detach()

    def gradient(weights):
        vector_to_parameters(weights, parameters)
        loss = model.loss(model(X), y)
        return parameters_to_vector(torch.autograd.grad(loss, parameters)).numpy()

    step = 1e-5
    rows = []
    for i in range(len(begin)):
        move = torch.zeros_like(begin)
        move[i] = step
        rows.append((gradient(begin + move) - gradient(begin - move)) / (2 * step))
    H = np.array(rows)
    return (H + H.T) / 2


def state_of(model):
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    return tensors, modes, [p.grad for p in model.parameters()]


# Closed forms


def test_linear_regression_has_the_largest_eigenvalue_of_its_data_s_covariance():
    data = SyntheticRegressionData(w=[1.0, 2.0, -1.0])
    found = sharpness(LinearRegressionScratch(3), data)
    expected = np.linalg.eigvalsh(covariance(data.X[:1000]))[-1]
    assert found.eigenvalue == pytest.approx(expected, rel=1e-3)
    assert found.critical_lr == pytest.approx(2 / expected, rel=1e-3)
    assert found.num_examples == found.num_available == 1000


def test_the_squared_error_without_a_half_is_twice_as_sharp():
    data = SyntheticRegressionData()
    expected = 2 * np.linalg.eigvalsh(covariance(data.X[:1000]))[-1]
    assert sharpness(LinearRegression(), data).eigenvalue == pytest.approx(expected, rel=1e-3)


def test_features_of_another_mean_and_scale_count_with_the_bias():
    X = 3 + 2 * torch.randn(500, 4)
    found = sharpness(LinearRegressionScratch(4), (X, torch.randn(500, 1)), tolerance=1e-5)
    expected = np.linalg.eigvalsh(covariance(X))[-1]
    assert found.eigenvalue == pytest.approx(expected, rel=1e-4)


def test_on_many_standard_normal_inputs_about_2_is_the_edge():
    data = SyntheticRegressionData(num_train=20_000, num_val=0)
    assert sharpness(LinearRegressionScratch(), data).critical_lr == pytest.approx(2, rel=0.03)


def test_gradient_descent_breaks_where_the_critical_rate_says():
    data = SyntheticRegressionData(num_train=200, num_val=0)
    X, y = data.X, data.y
    critical = sharpness(LinearRegressionScratch(), data).critical_lr
    for part, stays in ((0.98, True), (1.02, False)):
        model = LinearRegressionScratch()
        for _ in range(500):
            loss = model.loss(model(X), y)
            with torch.no_grad():
                for p, g in zip(
                    [model.w, model.b], torch.autograd.grad(loss, [model.w, model.b]), strict=True
                ):
                    p -= part * critical * g
        assert (loss.item() < 1e-3) == stays


def test_a_network_has_the_largest_eigenvalue_of_its_whole_hessian():
    model, (X, y) = SmoothMLP(), classes()
    values, vectors = np.linalg.eigh(full_hessian(model, X, y))
    found = sharpness(model, (X, y))
    assert found.eigenvalue == pytest.approx(values[-1], rel=1e-3)
    assert found.converged
    direction = torch.cat([part.reshape(-1) for part in found.direction.values()])
    assert abs(direction.double().numpy() @ vectors[:, -1]) == pytest.approx(1, abs=1e-3)


def test_relu_is_measured_as_the_network_is_around_its_weights():
    X, y = classes()
    model = MLP(num_outputs=3, num_hiddens=5)
    model.apply_init([X])
    values = np.linalg.eigvalsh(full_hessian(model, X, y))
    assert sharpness(model, (X, y)).eigenvalue == pytest.approx(values[-1], rel=1e-3)


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


def test_a_loss_without_curvature_has_no_edge():
    class Straight(LinearRegressionScratch):
        def loss(self, y_hat, y):
            return (y_hat - y).mean()

    found = sharpness(Straight(), (torch.randn(9, 2), torch.randn(9, 1)))
    assert found.eigenvalue == 0
    assert math.isinf(found.critical_lr)
    assert "curves upward in no direction" in str(found)
    found.figure()


def test_a_loss_that_curves_downward_only_has_a_negative_sharpness():
    class Hill(LinearRegressionScratch):
        def loss(self, y_hat, y):
            return -((y_hat - y) ** 2).mean()

    X = torch.randn(50, 2)
    found = sharpness(Hill(), (X, torch.randn(50, 1)))
    expected = -2 * np.linalg.eigvalsh(covariance(X))[0]
    assert found.eigenvalue == pytest.approx(expected, rel=1e-3)
    assert math.isinf(found.critical_lr)


# Lanczos


def matrix_of(values):
    Q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((len(values), len(values))))
    return torch.from_numpy(Q @ np.diag(values) @ Q.T)


def start_for(A):
    return torch.randn(len(A), dtype=A.dtype, generator=torch.Generator().manual_seed(1))


def test_the_largest_is_found_beside_a_larger_negative_one():
    A = matrix_of([-50.0, *np.linspace(0, 1, 60), 3.0])
    found = largest_eigenpair(lambda v: A @ v, start_for(A), 1e-6, 60)
    assert found.value == pytest.approx(3, rel=1e-9)
    assert torch.linalg.norm(A @ found.vector - 3 * found.vector) < 1e-5


def test_the_residual_bounds_the_error_when_products_run_out():
    A = matrix_of(np.linspace(0, 1, 200))
    found = largest_eigenpair(lambda v: A @ v, start_for(A), 1e-9, 12)
    assert not found.converged
    assert found.num_products == 12
    assert 0 < 1 - found.value <= found.residual
    residual = torch.linalg.norm(A @ found.vector - found.value * found.vector).item()
    assert found.residual == pytest.approx(residual, rel=1e-6)


def test_a_short_memory_starts_anew_and_arrives(monkeypatch):
    A = matrix_of([*np.linspace(0, 1, 100), 2.0])
    monkeypatch.setattr("gradbook.experiments.hessian._BASIS_NUMBERS", 5 * len(A))
    found = largest_eigenpair(lambda v: A @ v, start_for(A), 1e-4, 200)
    assert found.converged
    assert found.value == pytest.approx(2, rel=1e-4)


def test_too_few_products_are_said_to_be_too_few():
    found = sharpness(SmoothMLP(), classes(), tolerance=1e-6, max_products=2)
    assert not found.converged
    assert "not converged" in str(found)


# The verdict


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"momentum": 0.9},
        {"momentum": 0.5, "nesterov": True},
        {"weight_decay": 0.7},
        {"momentum": 0.6, "dampening": 0.3},
    ],
)
def test_the_critical_rate_is_where_torch_s_sgd_stops_converging(settings):
    curvature = 1.7
    critical = critical_rate(curvature, **settings)
    for part, falls in ((0.95, True), (1.05, False)):
        x = torch.ones(1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([x], lr=part * critical, **settings)
        for _ in range(300):
            optimizer.zero_grad()
            (curvature / 2 * x**2).sum().backward()
            optimizer.step()
        assert (abs(x.item()) < 1) == falls


def test_momentum_and_weight_decay_of_the_optimizer_move_the_edge():
    class Heavy(LinearRegressionScratch):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), self.lr, momentum=0.9, weight_decay=0.5)

    found = sharpness(Heavy(lr=2.0), SyntheticRegressionData())
    assert found.optimizer_critical_lr == pytest.approx(3.8 / (found.eigenvalue + 0.5))
    assert "that its momentum and weight decay make of it: stable here" in str(found)


def test_a_rate_beyond_the_edge_is_called_that():
    assert "beyond the edge" in str(sharpness(LinearRegression(lr=3), SyntheticRegressionData()))


def test_of_another_optimizer_nothing_is_claimed():
    class Adaptive(LinearRegressionScratch):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), self.lr)

    found = sharpness(Adaptive(), SyntheticRegressionData())
    assert found.optimizer_critical_lr is None
    assert "is of Adam" in str(found)


def test_the_verdict_is_left_out_where_groups_have_rates_of_their_own():
    class Two(LinearRegressionScratch):
        def configure_optimizers(self):
            return torch.optim.SGD(
                [{"params": [self.w], "lr": 1.0}, {"params": [self.b], "lr": 2.0}]
            )

    assert sharpness(Two(), SyntheticRegressionData()).optimizer_critical_lr is None


# What is taken, and what stays as it was


def test_the_model_and_the_random_numbers_stay_as_they_were():
    class Noisy(Classifier):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(
                nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 3)
            )
            self.lr = 0.1

    model, data = Noisy(), classes()
    model.net[1].eval()
    model.trainer = trainer = object()
    hooked = []
    hook = model.net[0].register_forward_hook(lambda *_: hooked.append(1))
    before, generators = state_of(model), torch.get_rng_state()
    board, numbers = model.board, np.random.get_state()[1].copy()
    found = sharpness(model, DataLoader(TensorDataset(*data), 16, shuffle=True))
    after = state_of(model)
    assert before[1:] == after[1:]
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert torch.equal(generators, torch.get_rng_state())
    assert np.array_equal(numbers, np.random.get_state()[1])
    assert model.trainer is trainer
    assert model.board is board
    assert not board.data
    assert list(model.net[0]._forward_hooks) == [hook.id]
    assert "without dropout" in str(found)
    assert "running statistics" in str(found)


def test_a_lazy_model_is_measured_with_the_weights_that_training_begins_with():
    X, y = classes()
    model = MLP(num_outputs=3, num_hiddens=4)
    found = sharpness(model, (X, y))
    assert isinstance(model.net[1], nn.LazyLinear)
    model.apply_init([X])
    assert sharpness(model, (X, y)).eigenvalue == found.eigenvalue


def test_the_same_call_gives_the_same_figures():
    model, data = SmoothMLP(), classes()
    first = sharpness(model, data, num_examples=20)
    torch.randn(3)
    assert sharpness(model, data, num_examples=20).facts() == first.facts()


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
    monkeypatch.setattr("gradbook.experiments.hessian._CHEAP", 31 * 2345)
    found = sharpness(SmoothMLP(), classes(3000))
    assert (found.num_examples, found.num_available) == (2000, 3000)
    assert "2,000 of 3,000 training examples" in str(found)


def test_weights_that_a_model_keeps_to_be_looked_at_do_not_hinder_it():
    class Attentive(LinearRegressionScratch):
        def forward(self, X):
            self.seen = super().forward(X)
            return self.seen

    model, data = Attentive(), (torch.randn(9, 2), torch.randn(9, 1))
    model(data[0])
    seen = model.seen
    sharpness(model, data)
    assert model.seen is seen


def test_a_loss_that_plots_draws_on_no_curve_of_the_model_s():
    class Plotting(LinearRegressionScratch):
        def loss(self, y_hat, y):
            loss = super().loss(y_hat, y)
            self.plot("own", loss, train=True)
            return loss

    model = Plotting()
    sharpness(model, SyntheticRegressionData())
    assert not model.board.data
    assert not hasattr(model, "trainer")


def test_random_data_are_the_same_in_every_pass():
    class Jittered(LinearRegressionScratch):
        def forward(self, X):
            return super().forward(X + torch.randn_like(X))

    found = sharpness(Jittered(), (torch.randn(50, 2), torch.randn(50, 1)), tolerance=1e-5)
    assert found.converged


def test_the_direction_is_where_the_loss_curves_as_the_eigenvalue_says():
    model, (X, y) = SmoothMLP(), classes()
    found = sharpness(model, (X, y))
    step = 0.02
    losses = []
    for t in (-step, 0, step):
        moved = copy.deepcopy(model).double()
        with torch.no_grad():
            for name, parameter in moved.named_parameters():
                parameter += t * found.direction[name]
            losses.append(moved.loss(moved(X.double()), y).item())
    curvature = (losses[0] - 2 * losses[1] + losses[2]) / step**2
    assert curvature == pytest.approx(found.eigenvalue, rel=1e-2)
    assert (losses[2] - losses[0]) / (2 * step) == pytest.approx(found.slope, rel=0.02, abs=1e-4)


def test_of_a_quadratic_the_drawn_loss_is_the_parabola():
    found = sharpness(LinearRegressionScratch(), SyntheticRegressionData())
    t = np.array(found.distances)
    parabola = found.loss + found.slope * t + found.eigenvalue / 2 * t**2
    assert np.allclose(found.losses, parabola, rtol=1e-4)
    assert found.to_pandas()["loss"].tolist() == list(found.losses)


def test_it_is_drawn_and_told_in_a_notebook():
    html = sharpness(SmoothMLP(), classes())._repr_html_()
    assert html.startswith("<div><svg")
    assert "critical learning rate 2 / " in html


# Errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tolerance": 0}, "tolerance must be above 0"),
        ({"max_products": 0}, "max_products must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"num_examples": 0}, "num_examples must be a whole number of at least 1"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        sharpness(SmoothMLP(), classes(), **settings)


@pytest.mark.parametrize("model", [SmoothMLP, 3, None])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(ModelError, match="A model is needed"):
        sharpness(model, classes())


@pytest.mark.parametrize("data", [SyntheticRegressionData, 3, None, torch.ones(3, 2), iter([])])
def test_what_are_no_data_are_refused(data):
    with pytest.raises(DataError, match="Data are"):
        sharpness(LinearRegression(), data)


def test_no_batch_is_no_data():
    with pytest.raises(DataError, match="no examples"):
        sharpness(LinearRegression(), [])


def test_a_model_without_a_loss_is_told_to_have_one():
    with pytest.raises(ModelError, match="does not define a loss"):
        sharpness(nn.Linear(2, 1), SyntheticRegressionData())


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


def test_a_part_without_a_second_derivative_is_named_as_the_reason():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, grad):
            return 2 * ctx.saved_tensors[0] * grad

    class Rough(LinearRegressionScratch):
        def loss(self, y_hat, y):
            return (Once.apply(y_hat - y) ** 2).mean()

    # PyTorch gives zero where nothing but such a part leads to the parameters.
    with pytest.raises(ModelError, match="without a second derivative"):
        sharpness(Rough(), SyntheticRegressionData())


def test_what_pytorch_says_of_a_missing_second_derivative_is_passed_on():
    class Far(LinearRegressionScratch):
        def loss(self, y_hat, y):
            return nn.functional.pdist(y_hat).mean()

    with pytest.raises(ModelError, match=r"PyTorch says: .*not implemented"):
        sharpness(Far(), (torch.randn(16, 2), torch.randn(16, 1)))


def test_a_diverged_model_is_called_that():
    model = LinearRegressionScratch()
    with torch.no_grad():
        model.w.fill_(math.nan)
    with pytest.raises(ModelError, match="loss of LinearRegressionScratch is nan"):
        sharpness(model, SyntheticRegressionData())


def test_an_infinite_second_derivative_is_refused():
    class Root(Module):
        def __init__(self):
            super().__init__()
            self.w = torch.zeros(1, requires_grad=True)

        def forward(self, X):
            return X * self.w

        def loss(self, y_hat, y):
            return (y_hat.abs() ** 1.5).mean()

    with pytest.raises(ModelError, match="second derivative of the loss of Root is not finite"):
        sharpness(Root(), (torch.ones(3, 1), torch.ones(3, 1)))


def test_a_batch_that_does_not_fit_is_explained():
    with pytest.raises(BatchError):
        sharpness(SmoothMLP(num_inputs=5), classes())


def test_a_model_that_cannot_be_copied_is_refused():
    class Holding(LinearRegressionScratch):
        def __init__(self):
            super().__init__()
            self.numbers = (number for number in range(3))

    with pytest.raises(ModelError, match="Holding cannot be copied"):
        sharpness(Holding(), SyntheticRegressionData())


# The edge of stability


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


def test_an_epoch_of_training_changes_what_is_measured():
    data = SyntheticRegressionData()
    model = LinearRegression()
    begin = sharpness(model, data)
    Trainer(1, display=False).fit(model, data)
    end = sharpness(model, data)
    assert end.loss < begin.loss
    assert end.eigenvalue == pytest.approx(begin.eigenvalue, rel=1e-3)  # of a quadratic it stays
