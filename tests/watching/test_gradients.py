"""Watching the gradients while a model trains: which steps are sampled, and what is told."""

import math

import pytest
import torch
from tests.small import book_s_epoch
from tests.watching.watched import Deep, Images, fit, hooks_left, kinds, row_of
from torch import nn

from gradbook import MLP, ProgressBoard, Trainer, seed_everything
from gradbook.errors import ConfigError, GradbookWarning, IgnoredSettingWarning
from gradbook.watching.gradients import GradientWatcher, _places


def test_the_default_is_a_few_steps_of_an_epoch_the_last_among_them():
    assert _places(235, None, is_first=False) == [0, 33, 67, 100, 134, 167, 201, 234]
    assert _places(32, None, is_first=True) == [0, 31]
    assert _places(32, None, is_first=False) == [31]
    assert _places(1, None, is_first=True) == [0]


@pytest.mark.parametrize(("num_train", "last"), [(1280, 39), (1290, 39), (1308, 40)])
def test_a_last_batch_of_less_than_half_the_size_is_not_the_one_that_is_sampled(num_train, last):
    trainer = fit(MLP(), Images(num_train))
    places = [round(x * -(-num_train // 32)) for x, _ in trainer.gradients.totals]
    assert places == [0, last]


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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.usefixtures("undo_patches")
def test_a_loop_that_the_reader_has_written_is_watched():
    book_s_epoch()
    trainer = fit(Deep(), gradient_clip_val=1)
    assert kinds(trainer) == {"vanishing"}
    assert row_of(trainer, "net.0").num_steps == 2


def test_of_a_compiled_network_only_gradients_and_weights_are_seen():
    model = Deep(num_layers=3)
    model._compiled_call_impl = model._call_impl  # as if it were: compiling takes long
    trainer = Trainer(1, watch="gradients")
    with pytest.warns(IgnoredSettingWarning, match="compiled"):
        trainer.fit(model, Images())
    row = row_of(trainer, "net.0")
    assert row.grad_norm > 0
    assert math.isnan(row.activation_rms)


def test_watching_two_trainings_keeps_them_apart():
    watcher = GradientWatcher()
    reports = []
    for _ in range(2):
        trainer = Trainer(1, sinks=[watcher])
        trainer.fit(MLP(), Images())
        reports.append(trainer.gradients)
    assert [len(report.rows) for report in reports] == [2, 2]


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_what_was_seen(tmp_path):
    data = Images()
    first = fit(MLP(), data, max_epochs=2, run=tmp_path / "runs")
    (folder,) = (tmp_path / "runs").iterdir()
    first.gradients.keep(folder)
    second = Trainer(3, watch="gradients", run=tmp_path / "runs")
    second.fit(MLP(), data, resume=folder)
    assert second.gradients.epochs == [1, 2, 3]
    # As texts: NaN equals nothing, and Python 3.13 no longer passes over that within a row.
    assert repr(second.gradients.rows[:4]) == repr(first.gradients.rows)


def test_what_is_wrong_is_a_warning_and_a_finding():
    trainer = Trainer(1, watch="gradients")
    with pytest.warns(GradbookWarning, match="Vanishing gradients in epoch 1") as caught:
        trainer.fit(Deep(), Images())
    assert list(trainer.findings) == [str(caught[0].message)]


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
