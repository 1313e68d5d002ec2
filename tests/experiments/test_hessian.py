"""Sharpness against closed forms, NumPy's eigenvalues and simulated descents."""

import copy
import math

import numpy as np
import pytest
import torch
from tests.experiments.nets import SmoothMLP, classes, covariance, full_hessian, state_of
from tests.small import Net
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gradbook.datasets import SyntheticRegressionData
from gradbook.errors import BatchError, ConfigError, DataError, ModelError
from gradbook.experiments.hessian import critical_rate, sharpness
from gradbook.models import MLP, LinearRegression, LinearRegressionScratch
from gradbook.module import Classifier, Module
from gradbook.trainer import Trainer

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_network_has_the_largest_eigenvalue_of_its_whole_hessian():
    model, (X, y) = SmoothMLP(), classes()
    values, vectors = np.linalg.eigh(full_hessian(model, X, y))
    found = sharpness(model, (X, y))
    assert found.eigenvalue == pytest.approx(values[-1], rel=1e-3)
    assert found.converged
    direction = torch.cat([part.reshape(-1) for part in found.direction.values()])
    assert abs(direction.double().numpy() @ vectors[:, -1]) == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_relu_is_measured_as_the_network_is_around_its_weights():
    X, y = classes()
    model = MLP(num_outputs=3, num_hiddens=5)
    model.apply_init([X])
    values = np.linalg.eigvalsh(full_hessian(model, X, y))
    assert sharpness(model, (X, y)).eigenvalue == pytest.approx(values[-1], rel=1e-3)


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


def test_too_few_products_are_said_to_be_too_few():
    found = sharpness(SmoothMLP(), classes(), tolerance=1e-6, max_products=2)
    assert not found.converged
    assert "not converged" in str(found)


# The verdict


@pytest.mark.slow
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
    text = " ".join(str(found).split())
    assert "the critical rate with its momentum and weight decay: stable here" in text


def test_a_rate_beyond_the_edge_is_called_that():
    assert "beyond the edge" in str(sharpness(LinearRegression(lr=3), SyntheticRegressionData()))


def test_it_says_how_it_relates_to_the_range_test():
    text = " ".join(str(sharpness(LinearRegression(lr=3), SyntheticRegressionData())).split())
    assert "too large at these weights, beyond the edge of stability" in text
    assert "lr_range may suggest another rate: it trains with minibatches" in text


class Saddle(Module):
    """A loss of the curvatures 3 and c, wherever the weights are."""

    def __init__(self, c):
        super().__init__()
        self.save_hyperparameters()
        self.w = torch.ones(2, requires_grad=True)
        self.lr = 0.1

    def forward(self, X):
        return X @ self.w

    def loss(self, y_hat, y):
        return 1.5 * self.w[0] ** 2 + self.c / 2 * self.w[1] ** 2


@pytest.mark.parametrize("c", [-4.0, -1.0, 1.0])
def test_a_loss_that_falls_without_bound_is_not_called_stable(c):
    found = sharpness(Saddle(c), (torch.randn(5, 2), torch.randn(5)))
    assert found.eigenvalue == pytest.approx(3)
    assert found.smallest == pytest.approx(c)
    assert found.facts()["smallest"] == found.smallest
    text = " ".join(str(found).split())
    assert ("but not in every direction. Along the direction of the eigenvalue -4" in text) == (
        c == -4
    )
    assert ("stable along the sharpest direction" in text) == (c < 0)
    downward = (
        f"the smallest eigenvalue is {c:g}, with an error of about 1%: along its direction the "
        f"loss curves"
    )
    assert (f"{downward} downward" in text) == (c < 0)
    assert (
        "is 1, with an error of about 1%: the loss curves upward in every direction" in text
    ) == (c > 0)
    assert ("critical rate: stable here" in text) == (c > 0)


def exact_eigenvalues(model, X, y):
    """Those of the whole Hessian by automatic differentiation in float64, the smallest first."""
    parameters = {name: p.detach().double() for name, p in model.named_parameters()}
    sizes = [p.numel() for p in parameters.values()]

    def loss(weights):
        parts = zip(parameters.items(), weights.split(sizes), strict=True)
        moved = {name: part.view_as(p) for (name, p), part in parts}
        return model.loss(torch.func.functional_call(model, moved, (X.double(),)), y)

    begin = torch.cat([p.reshape(-1) for p in parameters.values()])
    return np.linalg.eigvalsh(torch.autograd.functional.hessian(loss, begin).numpy())


@pytest.mark.slow
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("act", [nn.Tanh, nn.ReLU, nn.Sigmoid])
@pytest.mark.parametrize(("num_examples", "num_hiddens"), [(60, 4), (100, 16)])
def test_both_ends_are_those_of_the_whole_hessian_and_a_bound_is_called_one(
    num_examples, num_hiddens, act, trained
):
    torch.manual_seed(0)
    X, y = classes(num_examples, 8)
    width = num_hiddens
    model = Net(nn.Linear(8, width), act(), nn.Linear(width, width), act(), nn.Linear(width, 3))
    if trained:
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for _ in range(100):
            optimizer.zero_grad()
            model.loss(model(X), y).backward()
            optimizer.step()
    values = exact_eigenvalues(model, X, y)
    found = sharpness(model, (X, y))
    text = " ".join(str(found).split())
    print(f"from {values[0]:.6g} to {values[-1]:.6g}; found {found.smallest:.6g}: {text}")
    assert found.eigenvalue == pytest.approx(values[-1], rel=2e-6)
    assert values[0] < 0
    assert found.smallest >= values[0] - 1e-5 * values[-1]
    assert "curves downward" in text
    if "(only a bound)" in text:
        assert f"is at most {found.smallest:.3g}" in text
    else:
        assert found.smallest == pytest.approx(values[0], rel=0.01)
        assert f"the smallest eigenvalue is {found.smallest:.3g}, with an error of about 1%" in text


@pytest.mark.slow
def test_of_a_loss_that_is_nearly_level_in_many_directions_only_a_bound_is_known():
    X = torch.randn(500, 80) * torch.logspace(0, -3, 80)
    found = sharpness(LinearRegressionScratch(80), (X, torch.randn(500, 1)))
    assert 0 < np.linalg.eigvalsh(covariance(X))[0] < found.smallest
    text = " ".join(str(found).split())
    assert f"smallest eigenvalue is at most {found.smallest:.3g} (only a bound)" in text
    assert "it is not known whether the loss curves downward in some direction" in text
    assert "stable along the sharpest direction" in text


def test_a_direction_in_which_the_loss_is_level_is_known_of_few_weights():
    X = torch.randn(50, 1).expand(50, 2)  # two columns that are the same
    text = str(sharpness(LinearRegressionScratch(2), (X, torch.randn(50, 1))))
    assert "the smallest eigenvalue is 0 up to rounding: no direction was found in which" in text


@pytest.mark.slow
def test_the_smallest_is_looked_for_within_the_products_that_are_allowed():
    X, y = classes(200, 30)
    found = sharpness(Net(nn.Linear(30, 3)), (X, y), max_products=9)
    assert found.num_products == 9
    assert sharpness(Net(nn.Linear(30, 3)), (X, y)).num_products <= 40


def test_of_another_optimizer_nothing_is_claimed():
    class Adaptive(LinearRegressionScratch):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), self.lr)

    found = sharpness(Adaptive(), SyntheticRegressionData())
    assert found.optimizer_critical_lr is None
    assert "is the learning rate of Adam" in str(found)


def test_the_verdict_is_left_out_where_groups_have_rates_of_their_own():
    class Two(LinearRegressionScratch):
        def configure_optimizers(self):
            return torch.optim.SGD(
                [{"params": [self.w], "lr": 1.0}, {"params": [self.b], "lr": 2.0}]
            )

    assert sharpness(Two(), SyntheticRegressionData()).optimizer_critical_lr is None


# What is taken, and what stays as it was


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_lazy_model_is_measured_with_the_weights_that_training_begins_with():
    X, y = classes()
    model = MLP(num_outputs=3, num_hiddens=4)
    found = sharpness(model, (X, y))
    assert isinstance(model.net[1], nn.LazyLinear)
    model.apply_init([X])
    assert sharpness(model, (X, y)).eigenvalue == found.eigenvalue


@pytest.mark.slow
def test_the_same_call_gives_the_same_figures():
    model, data = SmoothMLP(), classes()
    first = sharpness(model, data, num_examples=20)
    torch.randn(3)
    assert sharpness(model, data, num_examples=20).facts() == first.facts()


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


@pytest.mark.slow
def test_it_is_drawn_and_told_in_a_notebook():
    found = sharpness(SmoothMLP(), classes())
    assert len(found.figure().axes) == 2
    assert "critical learning rate 2 / " in found._repr_html_()


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
    with pytest.raises(DataError, match=r"^sharpness\(\) needs data"):
        sharpness(LinearRegression(), data)


def test_a_generator_of_batches_is_told_to_come_once_only():
    class Generated(SyntheticRegressionData):
        def train_dataloader(self):
            yield from super().train_dataloader()

    message = r"Generated\.train_dataloader\(\) gave a generator, which gives its batches only once"
    with pytest.raises(DataError, match=message):
        sharpness(LinearRegression(), Generated())


def test_no_batch_is_no_data():
    with pytest.raises(DataError, match="no examples"):
        sharpness(LinearRegression(), [])


def test_a_model_without_a_loss_is_told_to_have_one():
    with pytest.raises(ModelError, match="does not define a loss"):
        sharpness(nn.Linear(2, 1), SyntheticRegressionData())


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


@pytest.mark.slow
def test_an_epoch_of_training_changes_what_is_measured():
    data = SyntheticRegressionData()
    model = LinearRegression()
    begin = sharpness(model, data)
    Trainer(1, display=False).fit(model, data)
    end = sharpness(model, data)
    assert end.loss < begin.loss
    assert end.eigenvalue == pytest.approx(begin.eigenvalue, rel=1e-3)  # of a quadratic it stays
