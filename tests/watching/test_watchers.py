"""A watcher is one file and one line of the registry: a made-up one is taken, kept and told of."""

import inspect
import json
import sys
from types import ModuleType

import pytest
from matplotlib.figure import Figure
from tests.small import Always

import gradbook
from gradbook import Sink, registry
from gradbook.cli import main
from gradbook.display.finding import Report
from gradbook.errors import ConfigError, GradbookWarning
from gradbook.runs.format import REPORT_FILES


class StepReport(Report):
    """How many steps were seen."""

    name = "steps"

    def __init__(self):
        self.steps = 0

    def __bool__(self):
        return self.steps > 0

    def _words(self):
        return f"{self.steps} steps"

    def summary(self):
        return f"{self.steps} steps were seen"

    def figure(self):
        return Figure()

    def facts(self):
        return {"steps": self.steps}


class StepWatcher(Sink):
    """Counts the steps."""

    def open(self, board, trainer=None):
        self.report = trainer.reports["steps"] = StepReport()

    def end_step(self, trainer):
        self.report.steps += 1


@pytest.fixture
def steps_can_be_watched(monkeypatch):
    module = ModuleType("step_watcher")
    module.StepWatcher = StepWatcher
    monkeypatch.setitem(sys.modules, "step_watcher", module)
    line = registry.Entry("step_watcher", "StepWatcher", "the steps")
    monkeypatch.setitem(registry.WATCHERS, "steps", line)


def trained(run, **settings):
    trainer = gradbook.Trainer(2, display="off", run=run, **settings)
    trainer.fit(gradbook.SoftmaxRegression(3, 0.1), Always())
    return trainer


def test_a_watcher_that_the_registry_names_can_be_asked_for(steps_can_be_watched, tmp_path):
    trainer = trained(tmp_path / "runs", watch="steps")

    assert trainer.reports["steps"].steps == trainer.num_steps > 0


def test_the_run_keeps_what_a_watcher_saw(steps_can_be_watched, tmp_path):
    trainer = trained(tmp_path / "runs", watch=["steps", "gradients"])

    (kept,) = tmp_path.glob("runs/*/steps.json")
    assert json.loads(kept.read_text()) == {"steps": trainer.num_steps}
    assert list(tmp_path.glob("runs/*/gradients.json"))


def test_the_files_of_every_watcher_belong_to_a_run():
    kinds = ("svg", "png", "json")
    names = tuple(registry.WATCHERS)
    assert {"gradients", "boundary", "weights"} <= {*names}  # of which runs have files
    assert tuple(f"{name}.{kind}" for name in names for kind in kinds) == REPORT_FILES


@pytest.mark.parametrize("name", registry.WATCHERS)
def test_the_trainer_and_so_the_command_s_help_tells_of_each_watcher(name):
    told = inspect.getdoc(gradbook.Trainer).partition("\n    watch: ")[2].partition("\n\n")[0]
    assert f'"{name}"' in told, f"the docstring of Trainer must name {name} at watch"


def test_the_command_takes_it_and_says_what_it_saw(
    steps_can_be_watched, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)

    words = "train linear-regression --watch steps --max-epochs 1 --display off"
    assert main(words.split()) == 0
    said = capsys.readouterr().out
    assert "  steps     32 steps were seen, see runs/linear-regression-1/steps.png" in said


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_the_command_s_help_lists_every_watcher(command, steps_can_be_watched, capsys):
    assert main([command, "--help"]) == 0
    said = capsys.readouterr().out
    for name, entry in registry.WATCHERS.items():
        assert f"  {name:<27} {entry.text}" in said


def test_a_command_that_does_not_train_lists_none(capsys):
    assert main(["summary", "--help"]) == 0
    assert "--watch" not in capsys.readouterr().out


def test_nothing_is_reported_of_what_was_not_watched(tmp_path):
    assert trained(None).reports == {}


class Points(Always):
    """Two inputs, which every watcher can look at."""

    def __init__(self):
        super().__init__()
        self.X = self.X[:, :2].clone()


def watched(name, max_epochs, run, resume=None):
    gradbook.seed_everything(1)
    trainer = gradbook.Trainer(max_epochs, display="off", watch=name, run=run)
    trainer.fit(gradbook.MLP(3, 4), Points(), resume)
    return trainer


@pytest.mark.parametrize("name", [*registry.WATCHERS, "steps"])
def test_a_resumed_training_s_report_is_that_of_one_that_was_never_stopped(
    name, steps_can_be_watched, tmp_path
):
    whole = watched(name, 4, tmp_path / "whole")
    half = watched(name, 2, tmp_path / "half")
    again = watched(name, 4, tmp_path / "half", half.training.recorder[0].folder)

    assert repr(again.reports[name].facts()) == repr(whole.reports[name].facts())


def test_what_was_seen_is_in_a_checkpoint_s_file_and_does_not_need_a_run(
    steps_can_be_watched, tmp_path
):
    half = watched("steps", 2, None)
    half.save_checkpoint(tmp_path / "half.pt")

    assert watched("steps", 4, None, tmp_path / "half.pt").reports["steps"].steps == 4 * 3


def test_a_state_that_is_resumed_twice_is_the_same_each_time(steps_can_be_watched, tmp_path):
    watched("gradients", 1, None).save_checkpoint(tmp_path / "one.pt")
    state = gradbook.checkpoint.load(tmp_path / "one.pt")

    once, twice = (watched("gradients", 2, None, state).reports["gradients"] for _ in range(2))
    assert once.epochs == twice.epochs == [1, 2]


def test_a_session_that_does_not_watch_loses_nothing_of_those_that_do(
    steps_can_be_watched, tmp_path
):
    first = watched("steps", 1, tmp_path / "runs")
    (folder,) = (tmp_path / "runs").iterdir()
    watched((), 2, tmp_path / "runs", folder)
    last = watched("steps", 3, tmp_path / "runs", folder)

    assert last.reports["steps"].steps == 2 * first.reports["steps"].steps


def test_a_state_that_a_report_cannot_take_over_is_told(steps_can_be_watched, tmp_path):
    watched("steps", 1, None).save_checkpoint(tmp_path / "one.pt")
    state = gradbook.checkpoint.load(tmp_path / "one.pt")
    state["reports"]["steps"] = {"counted": 3}  # as another version of the watcher wrote it

    with pytest.warns(GradbookWarning, match="watch='steps' saw before cannot be taken over"):
        trainer = watched("steps", 2, None, state)
    assert trainer.reports["steps"].steps == 3


def test_an_unknown_watcher_is_refused_with_those_that_there_are(steps_can_be_watched):
    with pytest.raises(ConfigError, match=r"steps"):
        gradbook.Trainer(1, watch="stepz")
