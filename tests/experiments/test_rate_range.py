"""The range test: its steps, its suggestion and its words."""

import math
import signal

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gradbook import seeds
from gradbook.datasets import FashionMNIST, SyntheticRegressionData, fashion_mnist
from gradbook.errors import ConfigError, DataError, ModelError
from gradbook.experiments.rate_range import lr_range
from gradbook.models import (
    MLP,
    LinearRegression,
    LinearRegressionScratch,
    SoftmaxRegression,
)
from gradbook.trainer import Trainer


@pytest.fixture
def images(monkeypatch, tmp_path):
    """The bundled sample of Fashion-MNIST."""
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", tmp_path / "nowhere")
    with pytest.warns(fashion_mnist.SampleDataWarning):
        return FashionMNIST(batch_size=256)


class Constant(LinearRegressionScratch):
    """Its loss is noise, whatever its weights are."""

    def loss(self, y_hat, y):
        return 0 * y_hat.sum() + y.abs().mean()


def batch(num_examples=20):
    X = torch.randn(num_examples, 2)
    return X, X @ torch.tensor([[2.0], [-3.4]]) + 4.2


# The steps


def test_the_rates_grow_by_the_same_factor_from_the_lowest_to_the_highest():
    found = lr_range(LinearRegressionScratch(), batch(), lowest=1e-4, highest=1e-1, num_steps=31)
    assert found.status == "finished"
    assert found.rates == pytest.approx(np.geomspace(1e-4, 1e-1, 31))


def test_the_losses_are_those_of_gradient_descent_with_these_rates():
    X, y = batch()
    model = LinearRegressionScratch()
    found = lr_range(model, (X, y), lowest=1e-3, highest=0.5, num_steps=12)
    w, b = model.w.detach().double().numpy().copy(), np.zeros(1)
    inputs, targets = X.double().numpy(), y.double().numpy()
    losses = []
    for rate in np.geomspace(1e-3, 0.5, 12):
        error = inputs @ w + b - targets
        losses.append((error**2 / 2).mean())
        w = w - rate * inputs.T @ error / len(inputs)
        b = b - rate * error.mean()
    assert found.losses == pytest.approx(losses, rel=1e-4)


def test_the_batches_go_round_in_the_order_of_the_seed():
    seen = []

    class Watching(LinearRegressionScratch):
        def training_step(self, batch):
            seen.append(batch[0][:, 0].tolist())
            return super().training_step(batch)

    X, y = batch(8)
    data = DataLoader(TensorDataset(X, y), 4, shuffle=True)
    lr_range(Watching(), data, num_steps=10, seed=3)
    first, seen[:] = list(seen), []
    lr_range(Watching(), data, num_steps=10, seed=3)
    assert seen == first
    assert sorted(seen[2] + seen[3]) == sorted(X[:, 0].tolist())
    lr_range(Watching(), data, num_steps=10, seed=4)
    assert seen[10:] != first


def test_the_model_s_own_optimizer_is_used_and_groups_keep_their_proportions():
    rates = []

    class Two(LinearRegressionScratch):
        def configure_optimizers(self):
            groups = [{"params": [self.w], "lr": 0.2}, {"params": [self.b], "lr": 0.1}]
            optimizer = torch.optim.Adam(groups)
            optimizer.register_step_pre_hook(
                lambda taken, *_: rates.append([g["lr"] for g in taken.param_groups])
            )
            return optimizer

    found = lr_range(Two(), batch(), num_steps=10)
    assert [first for first, _ in rates] == pytest.approx(list(found.rates)[: len(rates)])
    assert all(second == pytest.approx(first / 2) for first, second in rates)


@pytest.mark.slow
def test_an_optimizer_of_a_learner_s_own_is_given_its_rate():
    class Own:
        def __init__(self, params, lr):
            self.params, self.lr = params, lr

        def step(self):
            with torch.no_grad():
                for param in self.params:
                    param -= self.lr * param.grad

        def zero_grad(self):
            for param in self.params:
                param.grad = None

    class Learner(LinearRegressionScratch):
        def configure_optimizers(self):
            return Own([self.w, self.b], self.lr)

    model, data = Learner(), batch()
    ours = LinearRegressionScratch()
    ours.load_state_dict(model.state_dict())
    expected = lr_range(ours, data).losses
    assert lr_range(model, data).losses == pytest.approx(expected, rel=1e-3)


def test_it_stops_when_the_loss_has_exploded():
    found = lr_range(LinearRegression(), SyntheticRegressionData(), highest=1e3)
    assert found.status == "exploded"
    assert found.rates[-1] < 10
    assert found.losses[-1] > 4 * found.losses[0]


def test_it_stops_when_the_loss_is_not_finite():
    class Breaking(LinearRegressionScratch):
        def loss(self, y_hat, y):
            self.calls = getattr(self, "calls", 0) + 1
            return super().loss(y_hat, y) * (math.nan if self.calls == 80 else 1)

    found = lr_range(Breaking(), SyntheticRegressionData(), highest=1)
    assert found.status == "diverged"
    assert not math.isfinite(found.losses[-1])
    assert np.isfinite(found.losses[:-1]).all()
    assert found.suggestion is not None
    assert "NaN or infinite" in str(found)
    found.figure()


def test_ctrl_c_keeps_the_steps_so_far():
    class Interrupted(LinearRegressionScratch):
        def loss(self, y_hat, y):
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 15:
                signal.raise_signal(signal.SIGINT)
            return super().loss(y_hat, y)

    found = lr_range(Interrupted(), SyntheticRegressionData())
    assert found.status == "interrupted"
    assert 10 < len(found.rates) < 20
    assert found.suggestion is None
    assert "too few steps" in str(found)


# The suggestion


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("Model", "low", "high"), [(LinearRegressionScratch, 0.1, 1), (LinearRegression, 0.05, 0.5)]
)
def test_for_linear_regression_it_is_below_the_edge_of_2_over_the_sharpness(Model, low, high, seed):
    torch.manual_seed(seed)
    found = lr_range(Model(), SyntheticRegressionData(), seed=seed)
    assert low <= found.suggestion <= high
    assert found.steepest < found.largest < 2 * high
    assert found.suggestion == found.largest / 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("Model", "low", "high"), [(SoftmaxRegression, 0.04, 0.3), (MLP, 0.08, 0.4)]
)
def test_for_classifiers_it_is_a_rate_that_the_book_trains_with(images, Model, low, high, seed):
    torch.manual_seed(seed)
    found = lr_range(Model(), images, seed=seed)
    assert low <= found.suggestion <= high


def test_training_with_it_succeeds_and_with_four_times_as_much_fails():
    data = SyntheticRegressionData(num_val=0)
    found = lr_range(LinearRegressionScratch(), data)
    ends = []
    for rate in (found.suggestion, 4 * found.suggestion):
        trainer = Trainer(1, display=False)
        trainer.fit(LinearRegressionScratch(lr=rate), data)
        ends.append(trainer.history[-1]["train_loss"])
    assert ends[0] < 1 < ends[1]


def test_without_a_fall_there_is_no_suggestion():
    found = lr_range(Constant(), SyntheticRegressionData())
    assert found.suggestion is found.steepest is found.largest is None
    assert "no suggestion: the loss never fell" in str(found)
    found.figure()


def test_a_loss_that_still_falls_at_the_highest_rate_asks_for_a_higher_one():
    found = lr_range(LinearRegressionScratch(), SyntheticRegressionData(), highest=0.01)
    assert "raise `highest`" in str(found)


def test_a_loss_below_zero_is_judged_as_it_is():
    class Shifted(LinearRegressionScratch):
        def loss(self, y_hat, y):
            return super().loss(y_hat, y) - 100

    found = lr_range(Shifted(), SyntheticRegressionData())
    assert 0.01 < found.suggestion < 2
    assert max(found.losses[:50]) < 0
    found.figure()


def test_the_smoothed_loss_is_a_mean_of_the_logarithms_around_each():
    found = lr_range(LinearRegressionScratch(), SyntheticRegressionData())
    logs, place = np.log(found.losses), 40
    weights = np.exp(-(((np.arange(len(logs)) - place) / 2) ** 2) / 2)
    expected = math.exp((weights * logs).sum() / weights.sum())
    assert found.smoothed[place] == pytest.approx(expected)


# What comes out, and what stays as it was


def test_it_is_a_table_and_plain_values():
    found = lr_range(LinearRegressionScratch(), SyntheticRegressionData())
    table = found.to_pandas()
    assert table.index.name == "rate"
    assert table["loss"].tolist() == list(found.losses)
    assert table["smoothed"].tolist() == list(found.smoothed)
    assert found.facts()["suggestion"] == found.suggestion
    assert f"suggestion: lr={found.suggestion:.2g}, half the rate" in str(found)
    text = " ".join(str(found).split())
    assert "sharpness may call this rate too large: it looks at many examples together" in text


def test_the_figure_has_a_logarithmic_axis_and_marks_the_suggestion():
    found = lr_range(LinearRegressionScratch(), SyntheticRegressionData())
    figure = found.figure()
    assert figure.axes[0].get_xscale() == "log"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert f"suggestion: {found.suggestion:.2g}" in labels


def test_model_random_numbers_and_the_last_seed_stay_as_they_were():
    class Net(MLP):
        def __init__(self):
            super().__init__(num_outputs=3, num_hiddens=4)
            self.net.append(nn.BatchNorm1d(3))

    X, y = torch.randn(40, 3), torch.randint(0, 3, (40,))
    model = Net()
    model.apply_init([X])
    model.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seeds.seed_everything(11)
    generators, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    lr_range(model, DataLoader(TensorDataset(X, y), 8, shuffle=True), seed=5)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module.training for module in model.modules())
    assert torch.equal(generators, torch.get_rng_state())
    assert np.array_equal(numbers, np.random.get_state()[1])
    assert seeds.last_seed() == 11
    assert not hasattr(model, "trainer")
    assert not model.board.data


# Errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lowest": 0}, "lowest must be above 0"),
        ({"highest": math.inf}, "highest must be a finite number"),
        ({"lowest": 1, "highest": 0.1}, "highest must be above lowest=1, but it is 0.1"),
        ({"num_steps": 9}, "num_steps must be a whole number of at least 10"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        lr_range(LinearRegressionScratch(), SyntheticRegressionData(), **settings)


def test_an_optimizer_that_needs_a_closure_is_refused():
    class Newton(LinearRegressionScratch):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters())

    with pytest.raises(ModelError, match="LBFGS calls a closure to compute the loss several times"):
        lr_range(Newton(), SyntheticRegressionData())


def test_an_optimizer_without_a_rate_is_refused():
    class Rateless:
        def step(self):
            pass

        def zero_grad(self):
            pass

    class Learner(LinearRegressionScratch):
        def configure_optimizers(self):
            return Rateless()

    with pytest.raises(ModelError, match="Rateless has no learning rate that could be set"):
        lr_range(Learner(), SyntheticRegressionData())


def test_a_step_that_returns_no_loss_is_refused():
    class Silent(LinearRegressionScratch):
        def training_step(self, batch):
            super().training_step(batch)

    with pytest.raises(ModelError, match="training_step must return the loss"):
        lr_range(Silent(), SyntheticRegressionData())


def test_a_step_that_returns_a_loss_for_every_example_is_refused():
    class Each(LinearRegressionScratch):
        def training_step(self, batch):
            return (self(batch[0]) - batch[1]) ** 2

    with pytest.raises(ModelError, match=r"`return loss\.mean\(\)`"):
        lr_range(Each(), SyntheticRegressionData())


def test_batches_that_come_once_only_are_refused():
    with pytest.raises(DataError, match="but got a generator, which gives its batches only once"):
        lr_range(LinearRegressionScratch(), (batch for batch in []))


def test_no_batch_is_no_data():
    with pytest.raises(DataError, match="no examples"):
        lr_range(LinearRegressionScratch(), [])


def test_model_and_data_the_other_way_round_are_told_their_order():
    with pytest.raises(ModelError, match=r"Write `lr_range\(model, data\)`"):
        lr_range(SyntheticRegressionData(num_val=8), LinearRegression(0.1))
