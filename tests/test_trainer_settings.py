"""What the settings of a trainer do, each compared with the same thing done by hand."""

import copy
import inspect
import math
import random
import re
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from tests.small import Always, book_s_epoch
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import gradbook
from gradbook import (
    Classifier,
    DataModule,
    LinearRegression,
    LinearRegressionScratch,
    Module,
    ProgressBoard,
    Sink,
    SoftmaxRegression,
    Trainer,
    add_to_class,
    checkpoint,
    checks,
    execution,
    seed_everything,
)
from gradbook.errors import (
    BatchError,
    ConfigError,
    DataError,
    IgnoredSettingWarning,
    ModelError,
    ShapeError,
)
from gradbook.resume.loader import ResumableLoader
from gradbook.settings import Settings, declares_settings, setting


class Data(DataModule):
    """Examples of a regression in memory, in a fixed order; the last `num_val` for validation."""

    def __init__(self, num_train=8, num_val=4, batch_size=4, shuffle=False):
        super().__init__()
        self.save_hyperparameters()
        generator = torch.Generator().manual_seed(1)
        self.X = torch.randn(num_train + num_val, 2, generator=generator)
        self.y = self.X @ torch.tensor([[2.0], [-3.4]]) + 4.2

    def get_dataloader(self, train):
        if not train and not self.num_val:
            return None
        rows = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train and self.shuffle, rows)


class TorchData(Data):
    """The same from PyTorch's own loaders."""

    def get_dataloader(self, train):
        loader = super().get_dataloader(train)
        return DataLoader(loader.dataset, self.batch_size, shuffle=train and self.shuffle)


class Scored(LinearRegression):
    """A model whose validation gives, epoch by epoch, the values that it was told."""

    def __init__(self, *values, key="loss"):
        super().__init__(lr=0.01)
        self.values, self.key = values, key

    def validation_step(self, batch):
        self.plot(self.key, self.values[self.trainer.epoch], train=False)


class Quiet(LinearRegression):
    """A model that plots nothing."""

    def training_step(self, batch):
        return self.loss(self(batch[0]), batch[1])

    def validation_step(self, batch):
        pass


class Watch(Sink):
    """Keeps what `look(trainer)` gives after each step, or after each epoch."""

    def __init__(self, look, after="epoch"):
        self.look, self.after, self.seen = look, after, []

    def end_step(self, trainer):
        if self.after == "step":
            self.seen.append(self.look(trainer))

    def end_epoch(self, trainer):
        if self.after == "epoch":
            self.seen.append(self.look(trainer))


def fit(model, data=None, max_epochs=1, **settings):
    trainer = Trainer(max_epochs, **settings)
    trainer.fit(model, data or Data())
    return trainer


def twins(**settings):
    """Two scratch models with the same parameters."""
    model = LinearRegressionScratch(2, **settings)
    return model, copy.deepcopy(model)


def assert_same(model, twin, **tolerance):
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def sgd_by_hand(model, batches, change=lambda params: None):
    """Trains by a loop written out; `change` may touch the gradients before the step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=model.lr)
    for X, y in batches:
        optimizer.zero_grad()
        model.loss(model(X), y).backward()
        change(list(model.parameters()))
        optimizer.step()


# Early stopping


@pytest.mark.parametrize(
    ("values", "patience", "epochs"),
    [
        ([3, 2, 2.5, 1, 2, 3, 4, 5], 2, 6),
        ([3, 2, 2.5, 1, 2, 3, 4, 5], 1, 3),
        ([5, 4, 3, 2, 1, 0, -1, -2], 1, 8),
        ([1, 1, 1, 1, 1, 1, 1, 1], 3, 4),
    ],
)
def test_training_stops_when_patience_ends(values, patience, epochs):
    trainer = fit(Scored(*values), max_epochs=8, patience=patience)
    assert len(trainer.history) == epochs
    assert trainer.stopped_early == (epochs < 8)
    assert trainer.status == "finished"


def test_without_patience_training_goes_on():
    trainer = fit(Scored(1, 2, 3, 4), max_epochs=4)
    assert (len(trainer.history), trainer.stopped_early) == (4, False)


def test_the_best_epoch_is_known_without_patience_too():
    trainer = fit(Scored(3, 1, 2), max_epochs=3)
    assert (trainer.best.epoch, trainer.best.value) == (2, 1)


def test_an_accuracy_is_best_when_it_is_highest():
    trainer = fit(Scored(0.5, 0.9, 0.7, 0.8, key="acc"), max_epochs=4, monitor="val_acc")
    assert trainer.best.epoch == 2


def test_the_mode_turns_the_best_round():
    trainer = fit(Scored(1, 3, 2, 1), max_epochs=4, mode="max", monitor="val_loss", patience=2)
    assert trainer.best.epoch == 2
    assert (len(trainer.history), trainer.best.value) == (4, 3)


def test_small_gains_do_not_renew_the_patience():
    trainer = fit(Scored(1, 0.95, 0.91, 0.5), max_epochs=4, patience=2, min_delta=0.1)
    assert len(trainer.history) == 3


def test_a_label_that_is_not_recorded_warns_once_and_trains_on():
    with pytest.warns(IgnoredSettingWarning, match=r"'val_acc'.*not stop early") as seen:
        trainer = fit(LinearRegression(), max_epochs=4, monitor="val_acc", patience=1)
    assert len(seen) == 1
    assert (len(trainer.history), trainer.stopped_early) == (4, False)


def test_patience_with_a_model_that_plots_nothing_warns_and_trains_on():
    with pytest.warns(IgnoredSettingWarning, match="patience=1 stops nothing"):
        trainer = fit(Quiet(), max_epochs=3, patience=1)
    assert trainer.train_batch_idx == 6


class StopAfter(Sink):
    """Asks the training to stop in the given epoch, counted from 1."""

    def __init__(self, epoch):
        self.epoch = epoch

    def end_epoch(self, trainer):
        if trainer.epoch + 1 == self.epoch:
            trainer.stop()


def test_a_sink_can_stop_the_training_after_its_epoch():
    trainer = fit(Scored(4, 3, 2, 1), max_epochs=4, sinks=[StopAfter(2)])
    assert (len(trainer.history), trainer.stopped_early, trainer.status) == (2, True, "finished")


def test_a_stop_in_the_last_epoch_has_stopped_nothing():
    trainer = fit(Scored(2, 1), max_epochs=2, sinks=[StopAfter(2)])
    assert (len(trainer.history), trainer.stopped_early) == (2, False)


def test_a_training_after_a_stopped_one_is_not_stopped():
    trainer = Trainer(2)
    trainer.stop()
    trainer.fit(Scored(2, 1), Data())
    assert len(trainer.history) == 2


@declares_settings
class LimitedSettings(Settings):
    max_steps: int = setting(default=None, check=checks.check_number, read_by=("fit",))


class StopAtStep(Sink):
    def end_step(self, trainer):
        if trainer.num_steps == trainer.max_steps:
            trainer.stop(f"max_steps is {trainer.max_steps}", within_epoch=True)


class Limited(LimitedSettings, Trainer):
    """A trainer with a made-up setting that ends a training within an epoch."""


def limited(max_steps, run=None, resume=None, **others):
    seed_everything(1)
    sinks = [StopAtStep(), *others.pop("sinks", [])]
    trainer = Limited(4, max_steps=max_steps, sinks=sinks, run=run, display="off", **others)
    trainer.fit(SoftmaxRegression(3, 0.1), Always(), resume)
    return trainer


@pytest.mark.parametrize(("max_steps", "num_epochs"), [(1, 1), (3, 1), (4, 2), (99, 4)])
def test_a_training_can_be_stopped_within_an_epoch_whose_validation_is_still_done(
    max_steps, num_epochs
):
    trainer = limited(max_steps)  # an epoch has 3
    assert trainer.num_steps == min(max_steps, 12)
    assert [row["val_loss"] > 0 for row in trainer.history] == [True] * num_epochs
    assert trainer.stopped_early == (num_epochs < 4)
    assert trainer.num_train_batches == 3


def test_a_stop_within_an_epoch_holds_for_a_loop_of_the_learner_s_own(undo_patches):
    book_s_epoch()
    assert limited(4).num_steps == 4


def test_what_was_stopped_has_nothing_left_and_says_why(tmp_path):
    run = limited(4, tmp_path / "runs").training.recorder[0].folder
    with pytest.raises(ConfigError, match="2 finished epochs, and max_steps is 4"):
        limited(4, tmp_path / "runs", run)


def test_a_stop_within_an_epoch_is_kept_by_a_checkpoint_within_it(tmp_path):
    class Save(Sink):
        def end_step(self, trainer):
            if trainer.num_steps == 4:
                trainer.save_checkpoint(tmp_path / "four.pt")

    whole = limited(4, sinks=[Save()])
    again = limited(4, resume=tmp_path / "four.pt")
    assert (again.num_steps, again.stopped_early) == (4, True)
    assert again.history.rows == whole.history.rows


def test_a_second_training_begins_with_new_patience():
    trainer = Trainer(4, patience=1)
    trainer.fit(Scored(1, 2, 3, 4), Data())
    assert trainer.stopped_early
    trainer.fit(Scored(4, 3, 2, 1), Data())
    assert (trainer.stopped_early, len(trainer.history), trainer.best.epoch) == (False, 4, 4)


def test_patience_that_ends_with_the_last_epoch_has_stopped_nothing():
    trainer = fit(Scored(1, 2, 3), max_epochs=3, patience=2)
    assert len(trainer.history) == 3
    assert not trainer.stopped_early


# The best parameters


def parameters_of(trainer):
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def test_the_model_ends_with_the_parameters_of_its_best_epoch():
    model, watch = Scored(3, 1, 2, 4), Watch(parameters_of)
    fit(model, max_epochs=4, keep_best=True, sinks=[watch])
    assert_state(model.state_dict(), watch.seen[1])
    assert not torch.equal(watch.seen[1]["net.weight"], watch.seen[3]["net.weight"])


def assert_state(state, expected):
    assert state.keys() == expected.keys()
    for name in state:
        torch.testing.assert_close(state[name], expected[name], rtol=0, atol=0)


def test_buffers_are_those_of_the_best_epoch_too():
    class Mine(Scored):
        def __init__(self, *values):
            super().__init__(*values)
            self.net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))

    model, watch = Mine(1, 2), Watch(parameters_of)
    fit(model, max_epochs=2, keep_best=True, sinks=[watch])
    assert_state(model.state_dict(), watch.seen[0])


def test_the_best_epoch_is_kept_when_training_stops_early():
    model, watch = Scored(2, 1, 3, 4, 5), Watch(parameters_of)
    trainer = fit(model, max_epochs=5, keep_best=True, patience=2, sinks=[watch])
    assert len(trainer.history) == 4
    assert_state(model.state_dict(), watch.seen[1])


def test_without_keep_best_the_model_ends_with_the_last_parameters():
    model, watch = Scored(1, 2, 3), Watch(parameters_of)
    fit(model, max_epochs=3, sinks=[watch])
    assert_state(model.state_dict(), watch.seen[2])


def test_the_best_of_no_finite_epoch_is_the_last():
    class Mine(Scored):
        def validation_step(self, batch):
            self.plot("loss", math.nan, train=False)

    model, watch = Mine(), Watch(parameters_of)
    with (
        pytest.warns(UserWarning, match="val_loss became NaN"),
        pytest.warns(UserWarning, match="keep_best=True, but no epoch has a finite value"),
    ):
        fit(model, max_epochs=2, keep_best=True, sinks=[watch])
    assert_state(model.state_dict(), watch.seen[1])


def test_plain_tensors_of_a_model_of_the_learner_s_own_are_kept_too():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.board = ProgressBoard()
            self.w = torch.zeros(2, 1, requires_grad=True)

        def training_step(self, batch):
            return F.mse_loss(batch[0] @ self.w, batch[1])

        def validation_step(self, batch):
            self.board.draw(self.trainer.epoch + 1, float(self.trainer.epoch), "val_loss")

        def configure_optimizers(self):
            return torch.optim.SGD([self.w], lr=0.1)

    model, watch = Own(), Watch(lambda trainer: trainer.model.w.detach().clone())
    fit(model, max_epochs=2, keep_best=True, sinks=[watch])
    assert torch.equal(model.w, watch.seen[0])


def test_keep_best_with_a_model_that_plots_nothing_warns():
    with pytest.warns(IgnoredSettingWarning, match="keep_best"):
        fit(Quiet(), keep_best=True)


# Schedulers


class Scheduled(LinearRegressionScratch):
    """A model whose `configure_optimizers` returns what `form(optimizer)` makes."""

    def __init__(self, form, make=torch.optim.SGD):
        super().__init__(2, lr=0.1)
        self.form, self.make = form, make

    def configure_optimizers(self):
        return self.form(self.make(self.parameters(), lr=0.1))


def halving(optimizer):
    return lr_scheduler.StepLR(optimizer, 2, gamma=0.5)


def rate_of(trainer):
    return trainer.optim.param_groups[0]["lr"]


def rates_by_hand(make, steps, every=1):
    """The rate after each of so many steps, where the scheduler steps at every n-th."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    scheduler, rates = make(optimizer), []
    for count in range(1, steps + 1):
        optimizer.step()
        if count % every == 0:
            scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize(
    "form",
    [
        lambda o: (o, halving(o)),
        lambda o: ([o], [halving(o)]),
        lambda o: ([o], [{"scheduler": halving(o)}]),
        lambda o: {"optimizer": o, "lr_scheduler": halving(o)},
        lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": halving(o)}},
    ],
)
def test_a_scheduler_in_every_form_steps_once_an_epoch(form):
    watch = Watch(rate_of)
    fit(Scheduled(form), max_epochs=5, sinks=[watch])
    assert watch.seen == rates_by_hand(halving, 5)


@pytest.mark.parametrize(
    "make",
    [
        halving,
        lambda o: lr_scheduler.ExponentialLR(o, 0.9),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 6),
        lambda o: lr_scheduler.OneCycleLR(o, 0.4, total_steps=12),
    ],
)
@pytest.mark.parametrize("frequency", [1, 3])
@pytest.mark.parametrize(("interval", "count"), [("epoch", 5), ("step", 10)])
@pytest.mark.filterwarnings("ignore:(OneCycleLR|CosineAnnealingLR) has")  # of another length
def test_rates_are_those_of_the_scheduler_stepped_by_hand(make, frequency, interval, count):
    def form(optimizer):
        settings = {"scheduler": make(optimizer), "interval": interval, "frequency": frequency}
        return {"optimizer": optimizer, "lr_scheduler": settings}

    watch = Watch(rate_of, after=interval)
    fit(Scheduled(form), max_epochs=5, sinks=[watch])
    assert watch.seen == rates_by_hand(make, count, frequency)


def test_our_own_optimizer_follows_a_scheduler():
    watch = Watch(rate_of)
    fit(Scheduled(lambda o: (o, halving(o)), make=gradbook.SGD), max_epochs=4, sinks=[watch])
    assert watch.seen == rates_by_hand(halving, 4)


def test_several_schedulers_act_together():
    def both(optimizer):
        slow = {"scheduler": lr_scheduler.ExponentialLR(optimizer, 0.5), "frequency": 2}
        return [optimizer], [lr_scheduler.ExponentialLR(optimizer, 0.9), slow]

    watch = Watch(rate_of)
    fit(Scheduled(both), max_epochs=4, sinks=[watch])
    assert watch.seen == pytest.approx([0.09, 0.0405, 0.03645, 0.0164025])


class Plateau(Scored):
    """Its rate falls when the mean that `settings` watch no longer does."""

    def __init__(self, *values, key="loss", **settings):
        super().__init__(*values, key=key)
        self.settings = settings

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.8)
        plateau = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        return optimizer, {"scheduler": plateau, **self.settings}


@pytest.mark.parametrize(("key", "settings"), [("loss", {}), ("error", {"monitor": "val_error"})])
def test_a_plateau_watches_the_epoch_means(key, settings):
    trainer = fit(Plateau(3, 2, 2.5, 1, 4, key=key, **settings), max_epochs=5)
    assert trainer.history["lr"] == [0.8, 0.8, 0.8, 0.4, 0.4]
    assert rate_of(trainer) == 0.2


def test_a_plateau_that_watches_what_is_not_recorded_warns():
    with pytest.warns(IgnoredSettingWarning, match=r"'val_error', which was not recorded"):
        trainer = fit(Plateau(3, 2, monitor="val_error"), max_epochs=2)  # said once
    assert rate_of(trainer) == 0.8


def one_cycle(total):
    def form(optimizer):
        cycle = lr_scheduler.OneCycleLR(optimizer, 0.4, total_steps=total)
        return optimizer, {"scheduler": cycle, "interval": "step"}

    return form


def test_a_schedule_of_the_length_of_the_training_gets_no_word():
    fit(Scheduled(one_cycle(10)), max_epochs=5)  # a warning would be an error
    fit(Scheduled(one_cycle(5)), max_epochs=5, accumulate_grad_batches=2)
    fit(Scheduled(one_cycle(20)), max_epochs=2, limit_batches=1)  # a quick look


def test_updates_are_counted_and_not_batches():
    said = r"total_steps=10, but is stepped 5 times \(after each update, in 5 epochs of 1 updates\)"
    with pytest.warns(IgnoredSettingWarning, match=said):
        fit(Scheduled(one_cycle(10)), max_epochs=5, accumulate_grad_batches=2)


def test_a_schedule_that_is_too_short_is_told_before_the_first_step():
    watch = Watch(rate_of, after="step")
    said = "is stepped 6 times .* beyond total_steps it raises an error. Give it total_steps=6"
    with pytest.warns(IgnoredSettingWarning, match=said), pytest.raises(ValueError, match="step 5"):
        fit(Scheduled(one_cycle(4)), max_epochs=3, sinks=[watch])


def test_a_training_that_is_resumed_for_longer_is_told_too(tmp_path):
    def cosine(optimizer):
        return optimizer, lr_scheduler.CosineAnnealingLR(optimizer, 2)

    first = fit(Scheduled(cosine), max_epochs=2)
    first.save_checkpoint(tmp_path / "two.pt")
    with pytest.warns(IgnoredSettingWarning, match="T_max=2, but is stepped 4 times"):
        Trainer(4).fit(Scheduled(cosine), Data(), resume=tmp_path / "two.pt")


def test_the_rate_with_which_an_epoch_ended_is_recorded():
    kept = []

    class Keep(Sink):
        def write(self, metric):
            if metric.label == "lr":
                kept.append((metric.x, metric.y, metric.kind))

    trainer = fit(Scheduled(lambda o: (o, halving(o))), max_epochs=4, sinks=[Keep()])
    assert trainer.history["lr"] == [0.1, 0.1, 0.05, 0.05]
    assert kept == [(1, 0.1, "epoch"), (2, 0.1, "epoch"), (3, 0.05, "epoch"), (4, 0.05, "epoch")]


def test_without_a_scheduler_no_rate_is_recorded():
    assert "lr" not in fit(LinearRegression()).history.labels


@pytest.mark.parametrize("frequency", [1, 2])
def test_a_step_is_an_update_when_batches_are_accumulated(frequency):
    def form(optimizer):
        return optimizer, {
            "scheduler": halving(optimizer),
            "interval": "step",
            "frequency": frequency,
        }

    watch = Watch(rate_of, after="step")
    data = Data(num_train=10, batch_size=2)
    fit(Scheduled(form), data, max_epochs=2, accumulate_grad_batches=2, sinks=[watch])
    assert watch.seen == rates_by_hand(halving, 6, frequency)  # 2 + 2 + 1 batches, twice


@pytest.mark.parametrize(
    "form",
    [
        lambda o: [],
        lambda o: [o, o],
        lambda o: 0.1,
        lambda o: halving(o),
        lambda o: {"optim": o},
        lambda o: (o, 3),
        lambda o: (o, {"scheduler": 3}),
    ],
)
def test_a_wrong_form_is_explained_before_any_step(form):
    model, watch = Scheduled(form), Watch(rate_of, after="step")
    with pytest.raises(ModelError, match=r"Scheduled\.configure_optimizers returned .*It returns"):
        fit(model, sinks=[watch])
    assert watch.seen == []


# Clipping


@pytest.mark.parametrize(
    ("algorithm", "clip"),
    [("norm", nn.utils.clip_grad_norm_), ("value", nn.utils.clip_grad_value_)],
)
@pytest.mark.parametrize("limit", [0.01, 1.0, 1e6])
def test_gradients_are_clipped_as_torch_does_it(algorithm, clip, limit):
    (model, twin), data = twins(lr=0.1), Data()
    fit(model, data, 2, gradient_clip_val=limit, gradient_clip_algorithm=algorithm)
    batches = [*data.train_dataloader()] * 2
    sgd_by_hand(twin, batches, lambda params: clip(params, limit))
    assert_same(model, twin)


def test_clipping_by_value_and_by_norm_differ():
    model, twin = twins(lr=0.1)
    fit(model, gradient_clip_val=0.5, gradient_clip_algorithm="value")
    fit(twin, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
    assert not torch.equal(model.w, twin.w)


# Accumulation


@pytest.mark.parametrize("num_train", [8, 10, 16], ids=["whole", "ragged", "several"])
def test_accumulated_batches_are_one_large_batch(num_train):
    model, twin = twins(lr=0.1)
    fit(model, Data(num_train, batch_size=2), 3, accumulate_grad_batches=4)
    fit(twin, Data(num_train, batch_size=8), 3)
    assert_same(model, twin)


def test_accumulated_gradients_are_clipped_together():
    (model, twin), settings = twins(lr=0.1), {"gradient_clip_val": 0.5}
    fit(model, Data(8, batch_size=2), 2, accumulate_grad_batches=4, **settings)
    fit(twin, Data(8, batch_size=8), 2, **settings)
    assert_same(model, twin)


def test_more_batches_than_an_epoch_has_make_one_step():
    model, twin = twins(lr=0.1)
    fit(model, Data(8, batch_size=2), 2, accumulate_grad_batches=99)
    fit(twin, Data(8, batch_size=8), 2)
    assert_same(model, twin)


def test_a_step_is_over_when_its_batches_are():
    watch = Watch(lambda trainer: trainer.train_batch_idx, after="step")
    fit(LinearRegression(), Data(10, batch_size=2), 2, accumulate_grad_batches=2, sinks=[watch])
    assert watch.seen == [2, 4, 5, 7, 9, 10]


# Precision


class Dtypes(LinearRegression):
    """Keeps the dtypes of what its network computes."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def forward(self, X):
        y_hat = super().forward(X)
        self.seen.add((self.training, y_hat.dtype))
        return y_hat


def test_bfloat16_is_used_in_the_forward_pass_alone():
    class Look(Trainer):
        def fit_epoch(self):
            self.model.seen.clear()  # of the rehearsal
            super().fit_epoch()

    model, trainer = Dtypes(), Look(1, precision="bf16-mixed")
    trainer.fit(model, Data())
    assert model.seen == {(True, torch.bfloat16), (False, torch.bfloat16)}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}


def test_training_in_bfloat16_learns():
    trainer = fit(LinearRegression(lr=0.1), Data(64), 5, precision="bf16-mixed")
    assert trainer.history[-1]["train_loss"] < trainer.history[0]["train_loss"] / 10


def test_float16_on_the_cpu_warns_and_trains_in_32_bits():
    model, twin = twins(lr=0.1)
    with pytest.warns(IgnoredSettingWarning, match="16-mixed.*Training in 32 bits"):
        fit(model, precision="16-mixed")
    fit(twin)
    assert_same(model, twin, rtol=0, atol=0)


def test_float16_with_an_optimizer_of_the_learner_s_own_warns(monkeypatch):
    class Own:
        def __init__(self, params, lr):
            self.params, self.lr = list(params), lr

        def step(self):
            for param in self.params:
                param -= self.lr * param.grad

        def zero_grad(self):
            for param in self.params:
                param.grad = None

    monkeypatch.setattr(execution, "_is_offered", lambda dtype, device: True)
    with pytest.warns(IgnoredSettingWarning, match="needs an optimizer of PyTorch, and Own"):
        trainer = fit(Scheduled(lambda o: o, make=Own), precision="16-mixed")
    assert trainer.arithmetic.dtype is None
    assert trainer.status == "finished"


def test_float16_clips_gradients_of_their_true_size(monkeypatch):
    monkeypatch.setattr(execution, "_is_offered", lambda dtype, device: True)
    scaler = partial(torch.amp.GradScaler, init_scale=8.0)
    monkeypatch.setattr(torch.amp, "GradScaler", scaler)
    model = LinearRegressionScratch(2, lr=1.0)
    before = [param.detach().clone() for param in model.parameters()]
    fit(model, Data(4), precision="16-mixed", gradient_clip_val=0.01)
    moved = [(a - b).norm() for a, b in zip(model.parameters(), before, strict=True)]
    assert torch.stack(moved).norm().item() == pytest.approx(0.01, rel=1e-2)


# Determinism


@pytest.fixture
def undo_determinism(monkeypatch):
    """Puts PyTorch's switches, and what cuBLAS reads, back as they were."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    yield
    torch.use_deterministic_algorithms(False)


def switches(trainer=None):
    return torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark


@pytest.mark.usefixtures("undo_determinism")
def test_only_deterministic_algorithms_are_used_while_it_trains():
    watch = Watch(switches)
    fit(LinearRegression(), deterministic=True, sinks=[watch])
    assert watch.seen == [(True, False)]
    assert switches() == (False, True)


@pytest.mark.usefixtures("undo_determinism")
def test_the_last_of_several_that_end_in_any_order_puts_the_switches_back():
    first, second = execution.deterministic(), execution.deterministic()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert switches() == (True, False)
    second.__exit__(None, None, None)
    assert switches() == (False, True)


@pytest.mark.usefixtures("undo_determinism")
def test_unless_asked_for_any_algorithm_is_used():
    watch = Watch(switches)
    fit(LinearRegression(), sinks=[watch])
    assert watch.seen == [(False, True)]


@pytest.mark.usefixtures("undo_determinism")
def test_after_an_error_the_switches_are_as_they_were():
    class Breaks(LinearRegression):
        def training_step(self, batch):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fit(Breaks(), deterministic=True)
    assert switches() == (False, True)


@pytest.mark.usefixtures("undo_determinism")
def test_a_session_that_was_deterministic_stays_so():
    torch.use_deterministic_algorithms(True)
    fit(LinearRegression(), deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.usefixtures("undo_determinism")
def test_a_session_that_only_warns_goes_on_to_only_warn():
    torch.use_deterministic_algorithms(True, warn_only=True)
    fit(LinearRegression(), deterministic=True)
    assert torch.is_deterministic_algorithms_warn_only_enabled()


# A quick look


@pytest.mark.parametrize("make", [Data, TorchData])
@pytest.mark.parametrize(
    ("limit", "num_train", "num_val"),
    [(2, 2, 2), (1, 1, 1), (4, 4, 3), (99, 5, 3), (0.5, 2, 1), (0.01, 1, 1), (0.99, 4, 2)],
)
def test_an_epoch_has_no_more_batches_than_the_limit(make, limit, num_train, num_val):
    trainer = fit(LinearRegression(), make(10, 6, batch_size=2), 2, limit_batches=limit)
    assert (trainer.num_train_batches, trainer.num_val_batches) == (num_train, num_val)
    assert (trainer.train_batch_idx, trainer.val_batch_idx) == (2 * num_train, 2 * num_val)


class Mean(Module):
    """A model that does not learn, whose loss is the mean of y."""

    def __init__(self):
        super().__init__()
        self.lr = 0.0
        self.net = nn.Linear(2, 1)

    def loss(self, y_hat, y):
        return y.mean() + 0 * y_hat.sum()


@pytest.mark.parametrize("make", [Data, TorchData])
@pytest.mark.parametrize(("limit", "num_examples"), [(1, 4), (2, 8), (3, 9)])
def test_the_means_of_a_limited_epoch_count_each_example_once(make, limit, num_examples):
    data = make(9, 9, batch_size=4)
    row = fit(Mean(), data, limit_batches=limit).history[0]
    train, val = data.y[:9][:num_examples], data.y[9:][:num_examples]
    assert row["train_loss"] == pytest.approx(train.mean().item(), rel=1e-5)
    assert row["val_loss"] == pytest.approx(val.mean().item(), rel=1e-5)


def test_curves_of_a_limited_epoch_end_at_its_end():
    model = LinearRegression()
    fit(model, Data(10, 6, batch_size=2), 2, limit_batches=2)
    assert [point.x for point in model.board.data["train_loss"]] == [0, 0.5, 1, 1.5]


def test_after_a_limited_training_the_loaders_are_whole_again():
    trainer = fit(LinearRegression(), Data(10, batch_size=2), limit_batches=2)
    assert len(list(trainer.train_dataloader)) == 5
    assert not isinstance(trainer.train_dataloader, ResumableLoader)


# Learning a few batches by heart


@pytest.mark.parametrize("make", [Data, TorchData])
def test_the_same_batches_are_trained_on_and_validated_in_every_epoch(make):
    seen = []

    class Mine(LinearRegression):
        def training_step(self, batch):
            seen.append(("train", batch[0].tolist()))
            return super().training_step(batch)

        def validation_step(self, batch):
            seen.append(("val", batch[0].tolist()))
            super().validation_step(batch)

    data = make(16, batch_size=4, shuffle=True)
    trainer = fit(Mine(), data, 2, overfit_batches=2)
    batches = [data.X[:4].tolist(), data.X[4:8].tolist()]
    assert seen == [(split, X) for split in ("train", "val") for X in batches] * 2
    assert (trainer.num_train_batches, trainer.num_val_batches) == (2, 2)


@pytest.mark.slow
def test_a_few_batches_are_learned_by_heart():
    history = fit(LinearRegression(lr=0.3), Data(64), 100, overfit_batches=1).history
    assert history[-1]["train_loss"] < history[0]["train_loss"] / 1000
    assert history[-1]["val_loss"] <= history[-1]["train_loss"]


def test_data_without_a_validation_set_are_overfitted_without_one():
    trainer = fit(LinearRegression(), Data(16, num_val=0), overfit_batches=1)
    assert trainer.val_dataloader is None
    assert list(trainer.history[0]) == ["epoch", "train_loss"]


# Validating without training


@pytest.mark.parametrize("make", [Data, TorchData])
def test_validation_gives_the_exact_means(make):
    model, data = LinearRegressionScratch(2), make(num_val=5)
    y_hat = data.X[8:] @ model.w + model.b
    expected = ((y_hat - data.y[8:]) ** 2 / 2).mean().item()
    assert Trainer(1).validate(model, data) == {"val_loss": pytest.approx(expected)}


def test_validation_gives_what_the_last_epoch_recorded():
    model, data = LinearRegression(), Data(num_val=5)
    trainer = fit(model, data, 2)
    assert trainer.validate(model, data)["val_loss"] == trainer.history[-1]["val_loss"]


def test_validation_gives_everything_that_is_plotted():
    class Net(Classifier):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 3)

    data = Data(num_val=5)
    data.y = torch.arange(13) % 3
    model = Net()
    means = Trainer(1).validate(model, data)
    assert list(means) == ["val_loss", "val_acc"]
    right = model(data.X[8:]).argmax(1) == data.y[8:]
    assert means["val_acc"] == pytest.approx(right.float().mean().item())


@pytest.mark.parametrize("training", [True, False])
def test_validation_leaves_the_model_as_it_was(training):
    model, data = LinearRegression(), Data()
    fit(model, data)
    model.train(training)
    before = model.board, copy.deepcopy(model.board.data), model.trainer
    Trainer(1).validate(model, data)
    assert model.training is training
    assert (model.board, model.board.data, model.trainer) == before


def test_validation_leaves_the_trainer_as_it_was():
    def counters():
        counts = trainer.epoch, trainer.num_val_batches, trainer.val_batch_idx
        return trainer.history.rows[:], trainer.status, trainer.train_batch_idx, counts

    model, data = LinearRegression(), Data(num_val=8)
    trainer = fit(model, data, 2, limit_batches=1)
    before = counters()
    trainer.validate(model, data)
    assert counters() == before


def test_validation_draws_no_random_number():
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    model, before = LinearRegressionScratch(2), states()
    Trainer(1).validate(model, Data(shuffle=True))
    assert states() == before


def test_validation_that_fails_leaves_everything_as_it_was():
    class Breaks(LinearRegression):
        def validation_step(self, batch):
            raise RuntimeError("mine")

    model = Breaks()
    board = model.board
    with pytest.raises(RuntimeError, match="mine"):
        Trainer(1).validate(model, Data())
    assert model.board is board
    assert model.training


def test_validation_drops_nothing_out_and_changes_no_statistics():
    class Mine(LinearRegression):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5), nn.Linear(2, 1))

    model, trainer = Mine(), Trainer(1)
    state = copy.deepcopy(model.state_dict())
    assert trainer.validate(model, Data()) == trainer.validate(model, Data())
    assert_state(model.state_dict(), state)


def test_a_training_may_validate_another_model_meanwhile():
    other, data = LinearRegression(), Data()
    watch = Watch(lambda trainer: trainer.validate(other, data)["val_loss"])
    model, twin = twins(lr=0.1)
    fit(model, data, 2, sinks=[watch])
    fit(twin, data, 2)
    assert watch.seen[0] == watch.seen[1]
    assert_same(model, twin, rtol=0, atol=0)


def test_without_a_validation_set_there_is_nothing_to_validate():
    with pytest.raises(DataError, match="Data has no validation set"):
        Trainer(1).validate(LinearRegression(), Data(num_val=0))


def test_validation_explains_what_is_no_model_and_no_data():
    with pytest.raises(ModelError, match="the class LinearRegression itself"):
        Trainer(1).validate(LinearRegression, Data())
    with pytest.raises(DataError, match="got list"):
        Trainer(1).validate(LinearRegression(), [1, 2])


@pytest.mark.parametrize("method", ["validate", "predict"])
def test_a_layer_that_was_frozen_stays_frozen(method):
    class Mine(LinearRegression):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))

    model = Mine()
    model.net[0].eval()
    getattr(Trainer(1), method)(model, Data())
    assert model.training
    assert not model.net[0].training


@pytest.mark.parametrize("method", ["validate", "predict"])
def test_a_data_loader_of_torch_draws_no_random_number(method):
    model, before = LinearRegressionScratch(2), torch.get_rng_state()
    getattr(Trainer(1), method)(model, TorchData())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_that_had_no_trainer_has_none_afterwards():
    model = LinearRegression()
    Trainer(1).validate(model, Data())
    assert "trainer" not in vars(model)


# Predicting


@pytest.mark.parametrize("make", [Data, TorchData])
def test_predictions_for_a_data_module_are_those_of_its_validation_set(make):
    model, data = LinearRegressionScratch(2), make(num_val=9)
    torch.testing.assert_close(Trainer(1).predict(model, data), model(data.X[8:]).detach())


def test_predictions_for_batches_leave_the_labels_out():
    model, data = LinearRegressionScratch(2), Data(num_val=9)
    batches = list(data.val_dataloader())
    expected = model(data.X[8:]).detach()
    torch.testing.assert_close(Trainer(1).predict(model, batches), expected)
    torch.testing.assert_close(Trainer(1).predict(model, iter(batches)), expected)


@pytest.mark.parametrize("n", [1, 1024, 2500])
def test_predictions_for_a_tensor_are_in_its_order(n):
    model, X = LinearRegressionScratch(2), torch.randn(n, 2)
    torch.testing.assert_close(Trainer(1).predict(model, X), model(X).detach())


def test_predictions_have_no_gradients_and_leave_the_mode_as_it_was():
    class Mine(LinearRegression):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 1))

    model, X = Mine(), torch.ones(50, 2)
    y_hat = Trainer(1).predict(model, X)
    assert not y_hat.requires_grad
    assert model.training
    assert torch.equal(y_hat, model.eval()(X))


def test_predictions_use_the_precision_of_the_trainer():
    model, X = LinearRegression(), torch.randn(3, 2)
    assert Trainer(1, precision="bf16-mixed").predict(model, X).dtype == torch.bfloat16


@pytest.mark.parametrize("data", [Data(num_val=0), [], iter([])], ids=["no set", "list", "iter"])
def test_without_a_batch_there_is_nothing_to_predict(data):
    with pytest.raises(DataError, match="nothing to predict"):
        Trainer(1).predict(LinearRegressionScratch(2), data)


X_NEW = torch.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize(
    "data",
    [
        X_NEW.numpy().astype(np.float64),
        pd.DataFrame(X_NEW.numpy()),
        X_NEW.tolist(),
        TensorDataset(X_NEW),
        TensorDataset(X_NEW, torch.zeros(6)),
        DataLoader(TensorDataset(X_NEW), 4),
        DataLoader(list(X_NEW), 4),
        (batch for batch in X_NEW.split(4)),
        [(X_NEW,)],
    ],
    ids=lambda data: type(data).__name__,
)
def test_predictions_for_inputs_in_other_forms_are_those_for_the_tensor(data):
    model, trainer = LinearRegressionScratch(2), Trainer(1)
    torch.testing.assert_close(trainer.predict(model, data), trainer.predict(model, X_NEW))


def test_one_example_is_told_its_batch_dimension():
    class Images(Classifier):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))

    trainer, image = Trainer(1), torch.ones(2, 3)
    with pytest.raises(BatchError, match=r"shape \(2,\).*single example.*`X\[None\]`"):
        trainer.predict(linear(2, 3), X_NEW[0])
    with pytest.raises(ShapeError, match=r"shape \(2, 3\).*as a single one.*`X\[None\]`"):
        trainer.predict(Images(), image)
    assert trainer.predict(Images(), image[None]).shape == (1, 3)


def linear(num_inputs, num_outputs):
    model = Classifier()
    model.net = nn.Linear(num_inputs, num_outputs)
    return model


def test_an_input_that_fits_in_no_way_is_not_told_to_be_one_example():
    with pytest.raises(ShapeError) as raised:
        Trainer(1).predict(linear(2, 3), torch.ones(4, 5))
    assert "X[None]" not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([X_NEW, torch.zeros(6)], "list of tensors may be .*torch.stack"),
        ((X_NEW, torch.zeros(6)), r"tuple of tensors may be .*\[\(X, y\)\]"),
        ({"X": X_NEW}, "got dict"),
        ("file.csv", "got str 'file.csv'"),
        (3, "got int 3"),
        (Data, "class Data itself. Make an instance"),
        (["a", "b"], "holds 'a', a text"),
    ],
)
def test_what_gives_no_batches_to_predict_is_refused_with_what_to_give(data, reason):
    with pytest.raises(DataError, match=reason):
        Trainer(1).predict(linear(2, 3), data)


@pytest.mark.parametrize("method", ["predict", "validate"])
def test_batches_that_are_dictionaries_are_refused_with_their_keys(method):
    batches = [{"X": X_NEW, "y": torch.zeros(6).long()}]
    with pytest.raises(BatchError, match="a dict with 'X', 'y'"):
        getattr(Trainer(1), method)(linear(2, 3), batches)


def test_a_batch_that_is_a_dictionary_is_refused_before_the_training():
    data = Data()
    data.get_dataloader = lambda train: [{"X": X_NEW, "y": torch.zeros(6, 1)}]
    with pytest.raises(BatchError, match="the data gave a dict with 'X', 'y'"):
        Trainer(1, display="off").fit(LinearRegression(), data)


def test_a_validation_step_of_one_s_own_may_take_a_dictionary():
    class Mine(LinearRegression):
        def validation_step(self, batch):
            self.plot("loss", self.loss(self(batch["X"]), batch["y"]), train=False)

    model, y = Mine(), torch.zeros(6, 1)
    means = Trainer(1).validate(model, [{"X": X_NEW, "y": y}])
    assert means == pytest.approx({"val_loss": model.loss(model(X_NEW), y).item()})


def test_batches_of_arrays_name_the_conversion():
    with pytest.raises(ShapeError, match=r"ndarray of shape \(6, 2\).*`torch\.as_tensor\(X"):
        Trainer(1).predict(linear(2, 3), [(X_NEW.numpy(), np.zeros(6))])


def test_model_and_data_exchanged_are_told_apart():
    with pytest.raises(ModelError, match="got a Data as the model"):
        Trainer(1).predict(Data(), linear(2, 3))


def test_an_output_of_several_tensors_is_named():
    class Two(LinearRegression):
        def forward(self, X):
            return X, X

    with pytest.raises(ModelError, match=r"Two\.forward must be one tensor here"):
        Trainer(1).predict(Two(), X_NEW)


@pytest.mark.parametrize("make", [list, iter, lambda batches: DataLoader(DataSet(), 4)])
def test_validation_takes_batches_and_data_sets_too(make):
    model, data = LinearRegressionScratch(2), Data(num_val=8)
    expected = Trainer(1).validate(model, data)
    assert Trainer(1).validate(model, make(list(data.val_dataloader()))) == pytest.approx(expected)


class DataSet(TensorDataset):
    def __init__(self):
        data = Data(num_val=8)
        super().__init__(data.X[8:], data.y[8:])


def test_validation_takes_a_data_set():
    model = LinearRegressionScratch(2)
    expected = Trainer(1).validate(model, Data(num_val=8))
    assert Trainer(1).validate(model, DataSet()) == pytest.approx(expected)


@pytest.mark.parametrize("data", [X_NEW, X_NEW.numpy(), X_NEW.tolist()])
def test_inputs_alone_cannot_be_validated(data):
    with pytest.raises(DataError, match=r"validate\(\) needs data, .* labels, `\(X, y\)`"):
        Trainer(1).validate(LinearRegression(), data)


def test_batches_without_labels_cannot_be_validated():
    with pytest.raises(BatchError, match="DataLoader gave a list of 1"):
        Trainer(1).validate(LinearRegression(), DataLoader(TensorDataset(X_NEW), 4))


def test_predictions_for_a_stream_of_batches():
    class Stream(IterableDataset):
        def __iter__(self):
            yield from TensorDataset(torch.ones(3, 2), torch.ones(3, 1))

    y_hat = Trainer(1).predict(LinearRegressionScratch(2), DataLoader(Stream(), 2))
    assert y_hat.shape == (3, 1)


# Keeping


def test_before_a_training_there_is_nothing_to_save(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing to save yet\. Call fit"):
        Trainer(1).save_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "a.pt").exists()


def test_after_a_training_its_state_can_be_saved(tmp_path):
    model = LinearRegression()
    fit(model).save_checkpoint(tmp_path / "a.pt")
    assert torch.equal(checkpoint.load(tmp_path / "a.pt")["model"]["net.weight"], model.net.weight)


def test_a_training_that_kept_its_best_goes_on_as_if_it_had_not_stopped(tmp_path):
    values = (1, 2, 3, 4)
    torch.manual_seed(2)
    whole = Watch(parameters_of)
    fit(Scored(*values), max_epochs=3, keep_best=True, sinks=[whole])
    torch.manual_seed(2)
    fit(Scored(*values), max_epochs=2, keep_best=True).save_checkpoint(tmp_path / "a.pt")
    rest = Watch(parameters_of)
    trainer = Trainer(3, keep_best=True, sinks=[rest])
    trainer.fit(Scored(*values), Data(), resume=tmp_path / "a.pt")
    assert_state(rest.seen[-1], whole.seen[-1])


def test_a_learning_rate_of_numpy_can_be_saved(tmp_path):
    fit(LinearRegression(lr=np.float64(0.1))).save_checkpoint(tmp_path / "a.pt")


# Methods replaced as the book does


SETTINGS = [
    {"limit_batches": 2},
    {"limit_batches": 0.5},
    {"overfit_batches": 1},
    {"gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"},
    {"patience": 1, "min_delta": 1e9},
    {"keep_best": True, "monitor": "train_loss", "mode": "max"},
    {"deterministic": True},
]


@pytest.mark.usefixtures("undo_patches", "undo_determinism")
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_settings_do_the_same_with_the_book_s_loop(settings):
    (model, twin), data = twins(lr=0.1), Data(16, batch_size=4)
    ours = fit(model, data, 4, **settings)
    book_s_epoch()
    book = fit(twin, data, 4, **settings)
    assert_same(model, twin, rtol=0, atol=0)
    assert book.history.rows == ours.history.rows
    assert book.stopped_early == ours.stopped_early
    assert book.train_batch_idx == ours.train_batch_idx


@pytest.mark.usefixtures("undo_patches")
@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_schedulers_step_with_the_book_s_loop(interval):
    book_s_epoch()
    watch = Watch(rate_of, after=interval)
    form = lambda o: (o, {"scheduler": halving(o), "interval": interval})  # noqa: E731
    fit(Scheduled(form), max_epochs=3, sinks=[watch])
    assert watch.seen == rates_by_hand(halving, {"epoch": 3, "step": 6}[interval])


@pytest.mark.usefixtures("undo_patches")
@pytest.mark.parametrize(
    "settings", [{"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}], ids=str
)
def test_settings_that_the_book_s_loop_cannot_follow_warn(settings):
    book_s_epoch()
    with pytest.warns(IgnoredSettingWarning, match=next(iter(settings))):
        fit(LinearRegression(), **settings)


@pytest.mark.usefixtures("undo_patches")
def test_the_book_s_constructor_leaves_the_settings_at_their_defaults():
    @add_to_class(Trainer)
    def __init__(self, max_epochs, num_gpus=0, gradient_clip_val=0):
        self.save_hyperparameters()

    model, data = LinearRegression(), Data()
    trainer = fit(model, data, 2)
    assert (trainer.status, len(trainer.history)) == ("finished", 2)
    assert list(trainer.validate(model, data)) == ["val_loss"]
    assert trainer.predict(model, data).shape == (4, 1)


@pytest.mark.usefixtures("undo_patches")
def test_the_book_s_preparation_of_data_is_limited_too():
    @add_to_class(Trainer)
    def prepare_data(self, data):
        self.train_dataloader = data.train_dataloader()
        self.val_dataloader = data.val_dataloader()
        self.num_train_batches = len(self.train_dataloader)
        self.num_val_batches = len(self.val_dataloader) if self.val_dataloader is not None else 0

    trainer = fit(LinearRegression(), Data(10, 6, batch_size=2), limit_batches=2)
    assert (trainer.train_batch_idx, trainer.val_batch_idx) == (2, 2)


@pytest.mark.usefixtures("undo_patches")
def test_the_book_s_fit_trains_with_our_epoch():
    @add_to_class(Trainer)
    def fit(self, model, data):
        self.prepare_data(data)
        self.prepare_model(model)
        self.optim = model.configure_optimizers()
        self.epoch = self.train_batch_idx = self.val_batch_idx = 0
        for epoch in range(self.max_epochs):
            self.epoch = epoch
            self.fit_epoch()

    (model, twin), data = twins(lr=0.1), Data()
    trainer = Trainer(2)
    trainer.fit(model, data)
    sgd_by_hand(twin, [*data.train_dataloader()] * 2)
    assert_same(model, twin)
    assert len(model.board.data["val_loss"]) == 2


def test_a_loop_of_the_learner_s_own_may_validate_first():
    class Mine(Trainer):
        def fit_epoch(self):
            for split in ("val", "train"):
                for _ in getattr(self, f"{split}_dataloader"):
                    order.append(split)

    order = []
    Mine(2).fit(LinearRegression(), Data())
    assert order == ["val", "train", "train"] * 2


# Settings that cannot apply, and values that cannot be used


def test_clipping_by_value_without_a_limit_warns():
    with pytest.warns(IgnoredSettingWarning, match='"value" clips nothing while gradient_clip_val'):
        Trainer(1, gradient_clip_algorithm="value")


def test_a_smallest_gain_that_nobody_asks_for_warns():
    with pytest.warns(IgnoredSettingWarning, match=r"min_delta=0\.1 changes nothing"):
        Trainer(1, min_delta=0.1)


@pytest.mark.parametrize("settings", [{"patience": 2}, {"keep_best": True}], ids=str)
def test_a_smallest_gain_that_is_used_does_not_warn(settings):
    Trainer(1, min_delta=0.1, **settings)  # a warning would be an error


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gradient_clip_algorithm", "nrom"),
        ("accumulate_grad_batches", 0),
        ("accumulate_grad_batches", 1.5),
        ("precision", "16"),
        ("precision", 32),
        ("mode", "highest"),
        ("min_delta", -0.1),
        ("min_delta", math.nan),
        ("patience", 0),
        ("patience", "3"),
        ("patience", True),
        ("overfit_batches", 0),
        ("overfit_batches", 0.5),
        ("limit_batches", 0),
        ("limit_batches", -1),
        ("limit_batches", 1.5),
        ("limit_batches", True),
        ("limit_batches", "2"),
        ("limit_batches", math.inf),
        ("keep_best", "no"),
        ("keep_best", None),
        ("compile", "no"),
        ("deterministic", 1),
        ("monitor", 3),
        ("run", ""),
    ],
)
def test_a_value_that_cannot_be_used_is_shown(name, value):
    with pytest.raises(ConfigError, match=rf"{name} .*but it is {value!r}"):
        Trainer(1, **{name: value})


def test_a_misspelled_choice_is_corrected():
    with pytest.raises(ConfigError, match="Did you mean 'norm'"):
        Trainer(1, gradient_clip_algorithm="nrom")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"epochs": 3}, "'epochs'. It is called 'max_epochs' here."),
        ({"num_epochs": 3}, "'num_epochs'. It is called 'max_epochs' here."),
        ({"gpus": 1}, "'gpus'. It is called 'num_gpus' here."),
        ({"lr": 0.1}, "'lr'. It belongs to the model, as in `MLP(..., lr=0.1)`"),
        ({"batch_size": 8}, "'batch_size'. It belongs to the data"),
        ({"betas": (0.9, 0.99)}, "'betas'. It belongs to the model"),
        ({"optim": "adam"}, "'optim'. It is called 'optimizer' here."),
        ({"lr_scheduler": "cosine"}, "'lr_scheduler'. It is called 'scheduler' here."),
        ({"seed": 1}, "'seed'. Before the model is made, write `gradbook.seed_everything(0)`."),
        ({"model": None}, "'model'. It belongs to fit"),
        ({"patienc": 3}, "'patienc'. Did you mean 'patience'?"),
        ({"foo": 3}, "'foo'. It has max_epochs, num_gpus, gradient_clip_val, "),
        ({"lr": 0.1, "epochs": 3}, "Trainer has no setting 'epochs'. It is called 'max_epochs'"),
    ],
)
def test_an_unknown_setting_is_told_what_it_is_called_or_belongs_to(given, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        Trainer(**given)


def test_a_trainer_needs_its_epochs():
    with pytest.raises(ConfigError, match=r"needs max_epochs, as in `Trainer\(max_epochs=10\)`"):
        Trainer()


@pytest.mark.parametrize("places", [(LinearRegression(0.1), None), (1, 0, 0, "value")])
def test_model_and_data_belong_to_fit(places):
    with pytest.raises(ConfigError, match=r"in this order.*`Trainer\(.*\)\.fit\(model, data\)`"):
        Trainer(*places)


def test_a_trainer_s_signature_is_that_of_its_settings():
    names = list(inspect.signature(Trainer).parameters)
    assert names[:3] == ["max_epochs", "num_gpus", "gradient_clip_val"]
    assert "patience" in names


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("epochs", r"no 'epochs'\. It belongs to the trainer, as `Trainer\(max_epochs=\.\.\.\)`"),
        ("max_epochs", r"`Trainer\(max_epochs=\.\.\.\)`"),
        ("lr", "no 'lr'. It belongs to the model"),
        ("batch_size", "It belongs to the data"),
        ("qqq", "no 'qqq'.$"),
    ],
)
def test_fit_says_where_a_setting_belongs(name, told):
    with pytest.raises(ConfigError, match=told):
        Trainer(max_epochs=1).fit(None, None, **{name: 3})


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"run": True}, r"run must be a text or a path, such as 'runs', but it is True"),
        ({"run": 3}, "run must be a text or a path"),
        ({"run": "a\0b"}, "run must be a text or a path"),
        ({"watch": True}, "watch is one of gradients, boundary, weights, but it is True"),
        ({"sinks": True}, "sinks must be a list of Sink objects, but holds True"),
        ({"device": "gpu"}, "called 'num_gpus' here. Write num_gpus=1"),
    ],
)
def test_a_setting_of_another_kind_is_told_what_it_is(setting, told):
    with pytest.raises(ConfigError, match=told):
        Trainer(max_epochs=1, **setting)


# The vertical axis


def test_a_models_board_chooses_its_scale_unless_the_trainer_says_it():
    model = LinearRegression(lr=0.03)
    assert model.board.yscale == "auto"
    Trainer(max_epochs=1, display="off").fit(model, Data())
    assert model.board.yscale == "auto"
    Trainer(max_epochs=1, display="off", yscale="log").fit(model, Data())
    assert model.board.yscale == "log"


def test_a_scale_that_the_learner_gave_the_board_is_kept():
    model = LinearRegression(lr=0.03)
    model.board.yscale = "log"
    Trainer(max_epochs=1, display="off").fit(model, Data())
    assert model.board.yscale == "log"


def test_a_scale_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="yscale is one of auto, linear, log"):
        Trainer(max_epochs=1, yscale="symlog")
