"""What all trackers have in common, shown with a tool that keeps everything in lists."""

import math
import os
from types import SimpleNamespace

import pytest
import torch

from gradbook import LinearRegression, ProgressBoard
from gradbook.errors import GradbookWarning, MissingExtraError
from gradbook.record import Metric
from gradbook.trackers import Tracker, settings_of


class Lists(Tracker):
    module = package = extra = "json"
    variables = {"GRADBOOK_TEST_NEW": "1", "GRADBOOK_TEST_OLD": "2"}  # noqa: RUF012

    def __init__(self, fails_in=()):
        super().__init__()
        self.fails_in = fails_in
        self.runs, self.values, self.statuses = [], [], []
        self.num_failures = 0

    def _fail(self, place):
        if place in self.fails_in:
            self.num_failures += 1
            raise OSError("the disk is full")

    def _begin(self, name, settings):
        self._fail("begin")
        self.runs.append((name, settings))

    def _record(self, name, value, step):
        self._fail("record")
        self.values.append((name, value, step))

    def _end(self, status):
        self.statuses.append(status)
        self._fail("end")


@pytest.fixture
def lists():
    return Lists()


def test_a_run_is_named_after_the_model(fit, lists):
    fit(lists)
    assert [name for name, _ in lists.runs] == ["linear-regression"]


def test_points_stand_at_batches_and_means_at_epochs(fit, lists):
    trainer = fit(lists)
    steps = [(name, step) for name, _, step in lists.values]
    epoch = [("train_loss", 1), ("train_loss", 3), ("val_loss", 4)]
    means = [("epoch/train_loss", 1), ("epoch/val_loss", 1)]
    assert steps[:5] == epoch + means
    assert steps[5:] == [("train_loss", 5), ("train_loss", 7), ("val_loss", 8)] + [
        (name, 2) for name, _ in means
    ]
    means = [value for name, value, _ in lists.values if name == "epoch/train_loss"]
    assert means == trainer.history["train_loss"]


def test_a_training_that_goes_on_counts_on(lists):
    trainer = SimpleNamespace(
        model=LinearRegression(lr=0.1), data=None, train_dataloader=[], train_batch_idx=400
    )
    lists.open(ProgressBoard(), trainer)
    lists.write(Metric("train_loss", 4.0, 1.5))
    lists.write(Metric("train_loss", 5, 2.5, kind="epoch"))
    assert lists.values == [("train_loss", 1.5, 400), ("epoch/train_loss", 2.5, 5)]


def test_a_board_without_a_trainer_gives_its_own_positions(lists):
    lists.open(ProgressBoard())
    lists.write(Metric("y", 3.0, 1.5))
    assert lists.runs == [("board", {})]
    assert lists.values == [("y", 1.5, 3)]


def test_the_settings_of_model_data_and_trainer_are_recorded(fit, lists):
    fit(lists, lr=0.02)
    ((_, settings),) = lists.runs
    assert settings["model/class"] == "LinearRegression"
    assert settings["model/lr"] == 0.02
    assert settings["data/class"] == "Data"
    assert settings["data/batch_size"] == 2
    assert settings["trainer/max_epochs"] == 2


def test_only_plain_settings_are_recorded():
    class Model(LinearRegression):
        def __init__(self, num_hiddens, w, device=None):
            super().__init__(lr=0.1)
            self.save_hyperparameters()

    model = Model([256, 128], torch.ones(2))
    settings = settings_of(SimpleNamespace(model=model, data=None, train_dataloader=[]))
    assert settings["model/num_hiddens"] == "[256, 128]"
    assert not {"model/w", "model/device", "data/batch_size"} & set(settings)


def test_classes_without_hyperparameters_are_recorded_too():
    data = SimpleNamespace()
    trainer = SimpleNamespace(model=torch.nn.Linear(1, 1), data=data, train_dataloader=[])
    assert settings_of(trainer) == {"model/class": "Linear", "data/class": "SimpleNamespace"}


def test_the_batch_size_of_a_loader_of_the_learners_own_is_recorded():
    loader = SimpleNamespace(batch_size=7)
    trainer = SimpleNamespace(model=None, data=None, train_dataloader=loader)
    assert settings_of(trainer)["data/batch_size"] == 7


def test_settings_that_cannot_be_read_are_warned_of(lists):
    model = SimpleNamespace(hparams=3)
    trainer = SimpleNamespace(model=model, data=None, train_dataloader=[])
    with pytest.warns(GradbookWarning, match="Lists records nothing more"):
        lists.open(ProgressBoard(), trainer)


@pytest.mark.parametrize("place", ["begin", "record", "end"])
def test_a_tool_that_fails_is_warned_of_once_and_training_goes_on(fit, place):
    lists = Lists(fails_in={place, "end"})
    with pytest.warns(GradbookWarning, match="Lists records nothing more.*disk is full") as seen:
        trainer = fit(lists)
    assert trainer.status == "finished"
    assert len(trainer.history) == 2
    assert len(seen) == 1


def test_the_run_of_a_tool_that_failed_is_ended(fit):
    lists = Lists(fails_in={"record"})
    with pytest.warns(GradbookWarning):
        fit(lists)
    assert lists.statuses == ["finished"]


def test_a_tool_that_failed_is_given_nothing_more(fit):
    lists = Lists(fails_in={"record"})
    with pytest.warns(GradbookWarning):
        fit(lists)
    assert lists.num_failures == 1


def test_the_next_training_is_recorded_again(fit):
    lists = Lists(fails_in={"record"})
    with pytest.warns(GradbookWarning):
        fit(lists)
    lists.fails_in = ()
    fit(lists)
    assert lists.values


def test_ctrl_c_is_the_status_interrupted(fit, lists, interrupted_model):
    with pytest.raises(KeyboardInterrupt):
        fit(lists, model=interrupted_model)
    assert lists.statuses == ["interrupted"]


def test_values_that_are_no_numbers_are_handed_on(lists):
    lists.open(ProgressBoard())
    lists.write(Metric("y", 1, math.inf))
    assert lists.values == [("y", math.inf, 1)]


def test_the_environment_of_a_tool_is_set_only_while_it_runs(monkeypatch):
    monkeypatch.setenv("GRADBOOK_TEST_OLD", "mine")
    seen = {}

    class Looks(Lists):
        def _begin(self, name, settings):
            seen.update(os.environ)
            monkeypatch.setenv("GRADBOOK_TEST_ITS_OWN", "3")

    Looks().open(ProgressBoard())
    assert (seen["GRADBOOK_TEST_NEW"], seen["GRADBOOK_TEST_OLD"]) == ("1", "2")
    assert "GRADBOOK_TEST_NEW" not in os.environ
    assert os.environ["GRADBOOK_TEST_OLD"] == "mine"
    assert os.environ["GRADBOOK_TEST_ITS_OWN"] == "3"


def test_a_tool_that_is_not_installed_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(Lists, "module", "no_such_module")
    with pytest.raises(MissingExtraError, match=r"Recording with Lists needs .*pip install json"):
        Lists()
