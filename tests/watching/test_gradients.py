"""Gradients, weights and activations of each layer, sampled while a model trains."""

import contextlib
import copy
import io
import json
import math
import warnings

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from torch import nn
from torch.nn.modules import module as torch_module
from torch.overrides import _get_current_function_mode_stack as function_modes

from gradbook import (
    MLP,
    Classifier,
    DataModule,
    LinearRegression,
    LinearRegressionScratch,
    MLPScratch,
    Module,
    ProgressBoard,
    Sink,
    SoftmaxRegression,
    SyntheticRegressionData,
    Trainer,
    add_to_class,
    seed_everything,
)
from gradbook.errors import ConfigError, CorruptFileError, GradbookWarning, IgnoredSettingWarning
from gradbook.watching.gradients import GradientWatcher, _places
from gradbook.watching.gradient_report import GradientReport
from gradbook.watching.gradient_rows import LayerRow

SEEDS = range(5)


class Images(DataModule):
    """Ten classes of numbers from 0 to 1, most of them small, as the pixels of an image are."""

    def __init__(self, num_train=1280, num_features=48, batch_size=32):
        super().__init__()
        self.save_hyperparameters()
        generator = torch.Generator().manual_seed(1)
        means = torch.rand(10, num_features, generator=generator) ** 2
        self.y = torch.randint(0, 10, (num_train + 64,), generator=generator)
        noise = torch.rand(num_train + 64, num_features, generator=generator)
        self.X = (0.7 * means[self.y] + 0.3 * noise).clamp(0, 1)

    def get_dataloader(self, train):
        rows = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, rows)


class Deep(Classifier):
    """Layers of equal width with an activation function between them."""

    def __init__(self, function=nn.Sigmoid, num_layers=10, width=64, std=None, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        layers, inputs = [], 48
        for _ in range(num_layers - 1):
            layers += [nn.Linear(inputs, width), function()]
            inputs = width
        self.net = nn.Sequential(*layers, nn.Linear(inputs, 10))
        if std is not None:
            for layer in self.net:
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=std)


class Keeps(Sink):
    """Keeps what `look(trainer)` gives after each step."""

    def __init__(self, look):
        self.look, self.seen = look, []

    def end_step(self, trainer):
        self.seen.append(self.look(trainer))


def fit(model, data=None, max_epochs=1, every_n_steps=None, seed=0, **settings):
    """Trains and watches; the warnings are what other tests ask for."""
    seed_everything(seed)
    sinks = [*settings.pop("sinks", []), GradientWatcher(every_n_steps)]
    trainer = Trainer(max_epochs, sinks=sinks, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GradbookWarning)
        trainer.fit(model, data or Images())
    return trainer


def kinds(trainer):
    return {symptom.kind for symptom in trainer.gradients.findings}


def row_of(trainer, layer, epoch=1):
    (row,) = [r for r in trainer.gradients.rows if (r.layer, r.epoch) == (layer, epoch)]
    return row


def hooks_left(model):
    """What a watcher may have left on a model or in PyTorch."""
    return [
        *torch_module._global_forward_hooks,
        *torch_module._global_forward_pre_hooks,
        *function_modes(),
        *[hook for m in model.modules() for hook in (*m._forward_hooks, *m._forward_pre_hooks)],
        *[hook for p in model.parameters() for hook in (p._post_accumulate_grad_hooks or ())],
    ]


# What must be recognised


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_layers_of_sigmoids_vanish(seed):
    seed_everything(seed)
    trainer = fit(Deep(), seed=seed)
    assert kinds(trainer) == {"vanishing"}
    (symptom,) = trainer.gradients.findings
    assert symptom.layer in ("net.10", "net.12", "net.14")
    assert f"It begins at {symptom.layer} (Linear), layer" in symptom.text
    assert "Xavier or He initialization" in symptom.text


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
    facts = {"function": "", "num_units": 0, "dead": math.nan, "saturated": math.nan} | facts
    return GradientReport(
        LayerRow(1, f"W{i}", "", 1, True, 1, size, *[1.0] * 3, num_examples=32, **facts)
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


def test_what_is_wrong_is_a_warning_and_a_finding():
    trainer = Trainer(1, watch="gradients")
    with pytest.warns(GradbookWarning, match="Vanishing gradients in epoch 1") as caught:
        trainer.fit(Deep(), Images())
    assert list(trainer.findings) == [str(caught[0].message)]


# What is measured


def test_norms_are_those_of_a_step_by_hand():
    seed_everything(3)
    data = Images(num_train=32)
    model = Deep(num_layers=3)
    twin = copy.deepcopy(model)
    trainer = fit(model, data, every_n_steps=1)
    X, y = data.X[:32], data.y[:32]
    twin.loss(twin(X), y).backward()
    with torch.no_grad():
        H = torch.sigmoid(twin.net[0](X))
    layer = twin.net[0]
    grads = torch.cat([layer.weight.grad.reshape(-1), layer.bias.grad]).numpy()
    weights = torch.cat([layer.weight.data.reshape(-1), layer.bias.data]).numpy()
    row = row_of(trainer, "net.0")
    assert row.kind == "Linear"
    assert row.num_weights == grads.size
    assert row.grad_norm == pytest.approx(np.linalg.norm(grads), rel=1e-5)
    assert row.grad_rms == pytest.approx(np.sqrt(np.mean(grads**2)), rel=1e-5)
    assert row.weight_norm == pytest.approx(np.linalg.norm(weights), rel=1e-5)
    ratio = 0.1 * np.linalg.norm(grads) / np.linalg.norm(weights)
    assert row.update_ratio == pytest.approx(ratio, rel=1e-3)
    assert row.activation_rms == pytest.approx(np.sqrt(np.mean(H.numpy() ** 2)), rel=1e-5)
    assert row.num_examples == 32
    everything = np.concatenate([p.grad.reshape(-1).numpy() for p in twin.parameters()])
    ((place, total),) = trainer.gradients.totals
    assert place == 0
    assert total == pytest.approx(np.linalg.norm(everything), rel=1e-5)


def test_the_gradient_is_seen_before_it_is_clipped():
    seed_everything(0)
    free, clipped = Deep(num_layers=3), None
    clipped = copy.deepcopy(free)
    data = Images(num_train=32)
    rows = [
        row_of(fit(model, data, every_n_steps=1, gradient_clip_val=clip), "net.0")
        for model, clip in ((free, 0), (clipped, 1e-3))
    ]
    assert rows[1].grad_norm == pytest.approx(rows[0].grad_norm)
    assert rows[1].update_ratio < rows[0].update_ratio / 10


def test_accumulated_gradients_are_those_of_the_whole_group():
    seed_everything(0)
    model = Deep(num_layers=3)
    twin = copy.deepcopy(model)
    data = Images(num_train=64)
    trainer = fit(model, data, every_n_steps=1, accumulate_grad_batches=2)
    twin.loss(twin(data.X[:64]), data.y[:64]).backward()
    expected = math.hypot(twin.net[4].weight.grad.norm(), twin.net[4].bias.grad.norm())
    assert row_of(trainer, "net.4").grad_norm == pytest.approx(expected, rel=1e-5)
    assert row_of(trainer, "net.4").num_steps == 1


@pytest.mark.parametrize(
    "relu",
    [
        torch.relu,
        nn.functional.relu,
        lambda X: torch.max(X, torch.zeros_like(X)),
        lambda X: torch.maximum(X, torch.tensor(0.0)),
        lambda X: X.clamp(min=0),
        lambda X: torch.clamp(X, 0),
        lambda X: torch.relu_(X),
    ],
)
def test_a_relu_is_known_however_it_is_written(relu):
    class Scratch(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.001
            self.W1 = (torch.randn(48, 8) * 0.01).requires_grad_()
            self.b1 = torch.tensor([1.0] * 6 + [-10.0] * 2, requires_grad=True)
            self.W2 = torch.randn(8, 10).requires_grad_()
            self.b2 = torch.zeros(10, requires_grad=True)

        def forward(self, X):
            return relu(X @ self.W1 + self.b1) @ self.W2 + self.b2

    row = row_of(fit(Scratch()), "W1")
    assert (row.function, row.dead, row.num_units) == ("relu", 0.25, 8)


@pytest.mark.parametrize(
    ("function", "flat"), [(torch.sigmoid, 4.5), (torch.tanh, 2.3), (nn.Tanh(), 2.3)]
)
def test_saturated_units_are_counted(function, flat):
    class Flat(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 1e-6
            self.hidden, self.out = nn.Linear(48, 4), nn.Linear(4, 10)
            nn.init.zeros_(self.hidden.weight)
            self.hidden.bias.data = torch.tensor([flat, -flat, 0.8 * flat, 0.0])

        def forward(self, X):
            return self.out(function(self.hidden(X)))

    assert row_of(fit(Flat()), "hidden").saturated == 0.5


def test_the_units_of_a_convolution_are_its_channels():
    class Net(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 1e-6
            self.net = nn.Sequential(
                nn.Unflatten(1, (3, 4, 4)), nn.Conv2d(3, 5, 3), nn.ReLU(inplace=True),
                nn.Flatten(), nn.Linear(20, 10),
            )  # fmt: skip
            self.net[1].bias.data[0] = -100

    row = row_of(fit(Net()), "net.1")
    assert (row.num_units, row.dead) == (5, 0.2)


def test_a_dead_unit_is_one_of_the_epochs_end():
    """In the first step all units live; a rate that is too large kills them with it."""
    seed_everything(0)
    trainer = fit(Deep(nn.ReLU, num_layers=3, lr=5.0))
    assert _places(40, None, is_first=True) == [0, 39]
    assert max(row.dead for row in trainer.gradients.rows if row.function) > 0.4


def test_a_scratch_models_parameters_are_layers_with_their_biases():
    trainer = fit(MLPScratch(48))
    assert [row.layer for row in trainer.gradients.rows] == ["W1", "W2"]
    assert [row.num_weights for row in trainer.gradients.rows] == [48 * 256 + 256, 2560 + 10]


def test_layers_stand_in_the_order_in_which_they_are_called():
    class Reversed(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.last, self.first = nn.Linear(8, 10), nn.Linear(48, 8)

        def forward(self, X):
            return self.last(torch.relu(self.first(X)))

    assert [row.layer for row in fit(Reversed()).gradients.rows] == ["first", "last"]


def test_a_frozen_layer_has_no_gradient():
    model = Deep(num_layers=3)
    model.net[0].requires_grad_(False)
    row = row_of(fit(model), "net.0")
    assert math.isnan(row.grad_norm)
    assert row.update_ratio == 0
    assert row.activation_rms > 0


def test_shared_weights_are_one_layer():
    class Shared(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.first, self.out = nn.Linear(48, 48), nn.Linear(48, 10)
            self.again = self.first

        def forward(self, X):
            return self.out(torch.relu(self.again(torch.relu(self.first(X)))))

    trainer = fit(Shared())
    assert [row.layer for row in trainer.gradients.rows] == ["first", "out"]


def test_each_matrix_of_a_recurrent_layer_is_seen():
    class Recurrent(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.rnn, self.out = nn.LSTM(12, 6, batch_first=True), nn.Linear(6, 10)

        def forward(self, X):
            return self.out(self.rnn(X.reshape(-1, 4, 12))[0][:, -1])

    rows = fit(Recurrent()).gradients.rows
    assert [row.layer for row in rows] == ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "out"]
    assert all(row.grad_norm > 0 for row in rows)


# What must not be changed


@pytest.mark.parametrize("settings", [{}, {"gradient_clip_val": 0.1}, {"precision": "bf16-mixed"}])
def test_the_training_is_the_same_to_the_last_bit(settings):
    class Noisy(Deep):
        def __init__(self):
            super().__init__(nn.ReLU, num_layers=3)
            self.net.insert(1, nn.Dropout(0.2))
            self.net.insert(1, nn.BatchNorm1d(64))

    models = []
    for watch in ((), "gradients"):
        seed_everything(1)
        model = Noisy()
        Trainer(2, watch=watch, **settings).fit(model, Images())
        models.append((model.state_dict(), torch.get_rng_state()))
    (free, before), (watched, after) = models
    assert all(torch.equal(free[name], watched[name]) for name in free)
    assert torch.equal(before, after)


def test_nothing_is_left_on_the_model():
    model = MLP()
    fit(model, max_epochs=2)
    assert hooks_left(model) == []


def test_nothing_hangs_on_the_model_in_a_step_that_is_not_sampled():
    class Looking(MLP):
        seen = ()

        def training_step(self, batch):
            loss = super().training_step(batch)
            self.seen = [*self.seen, bool(hooks_left(self))]
            return loss

    model = Looking()
    fit(model, every_n_steps=10)
    assert [step for step, watched in enumerate(model.seen) if watched] == [0, 10, 20, 30]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["forward", "loss"])
def test_nothing_is_left_when_a_sampled_step_fails(error, place):
    class Failing(MLP):
        num_calls = 0

        def fail(self):
            self.num_calls += self.training and torch.is_grad_enabled()
            if self.num_calls == 3:
                raise error

        def forward(self, X):
            if place == "forward":
                self.fail()
            return super().forward(X)

        def loss(self, y_hat, y):
            if place == "loss":
                self.fail()
            return super().loss(y_hat, y)

    model = Failing()
    with pytest.raises(error):
        fit(model, every_n_steps=1)
    assert hooks_left(model) == []


def test_a_model_can_be_copied_and_saved_in_the_middle_of_a_sampled_step():
    class Copied(MLP):
        copies = ()

        def loss(self, y_hat, y):
            if torch.is_grad_enabled():
                buffer = io.BytesIO()
                torch.save(self.net, buffer)
                self.copies = [*self.copies, copy.deepcopy(self.net)]
            return super().loss(y_hat, y)

    model = Copied()
    fit(model, Images(num_train=64), every_n_steps=1)
    assert model.copies
    assert all(hooks_left(net) == [] for net in model.copies)


def test_validation_is_not_sampled():
    class Counted(MLP):
        modes = ()

        def forward(self, X):
            self.modes = [*self.modes, (torch.is_grad_enabled(), len(function_modes()))]
            return super().forward(X)

    model = Counted()
    fit(model, every_n_steps=1, max_epochs=2)
    assert {modes for has_grad, modes in model.modes if not has_grad} == {0}
    assert {modes for has_grad, modes in model.modes if has_grad} == {1}


# Whatever loop, model and optimizer


@pytest.mark.usefixtures("undo_patches")
def test_a_loop_that_the_reader_has_written_is_watched():
    @add_to_class(Trainer)
    def fit_epoch(self):
        self.model.train()
        for batch in self.train_dataloader:
            loss = self.model.training_step(self.prepare_batch(batch))
            self.optim.zero_grad()
            with torch.no_grad():
                loss.backward()
                if self.gradient_clip_val > 0:
                    self.clip_gradients(self.gradient_clip_val, self.model)
                self.optim.step()
            self.train_batch_idx += 1

    trainer = fit(Deep(), gradient_clip_val=1)
    assert kinds(trainer) == {"vanishing"}
    assert row_of(trainer, "net.0").num_steps == 2


def test_a_network_that_is_called_past_the_model_is_seen():
    class Direct(Deep):
        def training_step(self, batch):
            loss = self.loss(self.net(batch[0]), batch[1])
            self.plot("loss", loss, train=True)
            return loss

    assert row_of(fit(Direct(nn.ReLU, num_layers=2)), "net.0").function == "relu"


class OwnOptimizer:
    """The homework's: a list of parameters and a rate."""

    def __init__(self, params, lr):
        self.params, self.lr = list(params), lr

    def step(self):
        for param in self.params:
            param -= self.lr * param.grad

    def zero_grad(self):
        for param in self.params:
            if param.grad is not None:
                param.grad.zero_()


class Lookalike:
    """A model that only looks like Module: no PyTorch module, hence no hooks."""

    def __init__(self):
        self.board = ProgressBoard(display=False)
        self.w = torch.zeros(2, 1).normal_().requires_grad_()
        self.inner = nn.Linear(1, 1)
        self.loose = [torch.zeros(1, requires_grad=True)]

    def train(self):
        pass

    eval = train

    def training_step(self, batch):
        return ((self.inner(batch[0] @ self.w) + self.loose[0] - batch[1]) ** 2).mean()

    def validation_step(self, batch):
        pass

    def parameters(self):
        return [self.w, *self.inner.parameters(), *self.loose]

    def configure_optimizers(self):
        return OwnOptimizer(self.parameters(), 0.01)


def test_of_a_model_that_only_looks_like_one_gradients_and_weights_are_reported():
    trainer = fit(Lookalike(), SyntheticRegressionData(num_train=64))
    rows = {row.layer: row for row in trainer.gradients.rows}
    assert set(rows) == {"w", "inner", "parameter 4"}
    assert all(row.grad_norm > 0 for row in rows.values())
    assert rows["w"].update_ratio > 0
    assert rows["inner"].activation_rms > 0


def test_several_groups_and_adam_are_watched():
    class Groups(Deep):
        def configure_optimizers(self):
            groups = [{"params": self.net[0].parameters()}, {"params": self.net[2].parameters()}]
            return torch.optim.Adam(groups, lr=0.01)

    rows = fit(Groups(nn.ReLU, num_layers=2)).gradients.rows
    assert all(row.update_ratio > 0 for row in rows)


def test_lazy_layers_are_watched_once_they_have_a_shape():
    class Untried(MLP):
        def training_step(self, batch):  # which no rehearsal tries
            loss = self.loss(self(batch[0]), batch[1])
            self.plot("loss", loss, train=True)
            return loss

    trainer = fit(Untried(), max_epochs=2)
    assert [row.layer for row in trainer.gradients.rows if row.epoch == 2] == ["net.1", "net.3"]


def test_of_a_compiled_network_only_gradients_and_weights_are_seen():
    model = Deep(num_layers=3)
    model._compiled_call_impl = model._call_impl  # as if it were: compiling takes long
    trainer = Trainer(1, watch="gradients")
    with pytest.warns(IgnoredSettingWarning, match="compiled"):
        trainer.fit(model, Images())
    row = row_of(trainer, "net.0")
    assert row.grad_norm > 0
    assert math.isnan(row.activation_rms)


def test_what_was_seen_of_a_training_that_failed_is_reported():
    class Failing(Deep):
        def training_step(self, batch):
            if self.trainer.train_batch_idx == 5:
                raise OSError("no data")
            return super().training_step(batch)

    trainer = Trainer(1, watch="gradients")
    with pytest.raises(OSError, match="no data"):  # a warning would come in its place
        trainer.fit(Failing(), Images())
    assert "Vanishing" in trainer.findings[0]


# When


def test_the_default_is_a_few_steps_of_an_epoch_the_last_among_them():
    assert _places(235, None, is_first=False) == [0, 33, 67, 100, 134, 167, 201, 234]
    assert _places(32, None, is_first=True) == [0, 31]
    assert _places(32, None, is_first=False) == [31]
    assert _places(1, None, is_first=True) == [0]


def test_an_interval_can_be_given():
    trainer = fit(MLP(), every_n_steps=10)
    assert [round(40 * x) for x, _ in trainer.gradients.totals] == [0, 10, 20, 30]


@pytest.mark.parametrize("every", [0, 2.5, True])
def test_an_interval_that_makes_no_sense_is_refused(every):
    with pytest.raises(ConfigError, match="every_n_steps"):
        GradientWatcher(every)


def test_a_board_without_a_training_is_refused():
    with pytest.raises(ConfigError, match="watch='gradients'"):
        GradientWatcher().open(ProgressBoard())


def test_watching_two_trainings_keeps_them_apart():
    watcher = GradientWatcher()
    reports = []
    for _ in range(2):
        trainer = Trainer(1, sinks=[watcher])
        trainer.fit(MLP(), Images())
        reports.append(trainer.gradients)
    assert [len(report.rows) for report in reports] == [2, 2]


# The report


@pytest.fixture
def report():
    with contextlib.suppress(GradbookWarning):
        return fit(Deep(num_layers=4), max_epochs=7).gradients


def test_printed_it_is_a_table_of_the_last_epoch(report):
    lines = str(report).splitlines()
    assert lines[0] == "gradients in epoch 7, means of 1 sampled step"
    assert lines[2].split() == [
        *("layer", "gradient", "weight", "update/weight", "activation", "dead", "saturated")
    ]
    assert len(lines) == 7
    assert lines[3].startswith("net.0 (Linear)")


def test_without_a_step_it_says_so():
    assert str(GradientReport()) == "Gradients: no step was sampled."


def test_as_a_data_frame_it_has_a_row_for_each_layer_and_epoch(report):
    frame = report.to_pandas()
    assert len(frame) == 7 * 4
    assert frame["grad_norm"].gt(0).all()
    assert {"epoch", "layer", "grad_rms", "update_ratio", "dead"} <= set(frame.columns)


def test_the_figure_has_the_layers_and_at_most_five_epochs(report):
    figure = report.figure()
    axes, names = figure.axes[0], [each.get_text() for each in figure.axes[2].get_xticklabels()]
    assert names == ["net.0", "net.2", "net.4", "net.6"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "epoch 1"
    assert labels[-1] == "epoch 7"
    assert len({to_hex(line.get_color()) for line in axes.lines}) == 5
    assert len({line.get_linestyle() for line in axes.lines}) >= 4
    heights = axes.lines[0].get_ydata()
    expected = [row.grad_rms for row in report.rows if row.epoch == 1]
    np.testing.assert_allclose(heights, expected)


def test_nan_is_drawn_as_nothing():
    row = LayerRow(1, "w", "", 2, True, 1, *[math.nan] * 4, "", 0, 0, math.nan, math.nan)
    figure = GradientReport([row]).figure()
    assert "no finite gradient" in figure.legends[0].get_texts()[0].get_text()
    figure.savefig(io.BytesIO(), format="png")


def test_it_is_kept_and_read_again(report, tmp_path):
    report.keep(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("gradients.*")) == [
        *("gradients.json", "gradients.png", "gradients.svg")
    ]
    again = GradientReport.read(tmp_path)
    assert str(again) == str(report)
    assert again.totals == report.totals
    json.loads((tmp_path / "gradients.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("content", ["", "[]", '{"rows": [{}]}'])
def test_a_damaged_file_is_explained(tmp_path, content):
    (tmp_path / "gradients.json").write_text(content)
    with pytest.raises(CorruptFileError, match="damaged"):
        GradientReport.read(tmp_path)


def test_a_resumed_run_goes_on_with_what_was_seen(tmp_path):
    data = Images()
    first = fit(MLP(), data, max_epochs=2, run=tmp_path / "runs")
    (folder,) = (tmp_path / "runs").iterdir()
    first.gradients.keep(folder)
    second = Trainer(3, watch="gradients", run=tmp_path / "runs")
    second.fit(MLP(), data, resume=folder)
    assert second.gradients.epochs == [1, 2, 3]
    assert second.gradients.rows[:4] == first.gradients.rows
