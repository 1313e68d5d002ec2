"""A training whose working folder changes, or whose run's folder is renamed or removed."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from tests.small import Always
from torch import nn

import gradbook
from gradbook import Classifier, Trainer, checkpoint, runs
from gradbook.errors import StorageError
from gradbook.runs.recorder import Run
from gradbook.sweeps import sweep
from gradbook.trackers.tensorboard import TensorBoard

pytestmark = pytest.mark.usefixtures("blank_figures")

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a folder cannot be followed")


#: At which step something happens, and what; outside the class, whose code a run knows.
PLAN = {"at_step": None, "happens": None}


class Moving(Classifier):
    """Has something happen at a step; at 0, when it is looked at before the first one."""

    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Linear(6, 3)

    def forward(self, X):
        if self.trainer.train_batch_idx == PLAN["at_step"]:
            PLAN["at_step"] = None
            PLAN["happens"]()
        return super().forward(X)


@pytest.fixture
def elsewhere(tmp_path):
    """Another folder; afterwards the working folder is as it was."""
    here, folder = Path.cwd(), tmp_path / "elsewhere"
    folder.mkdir()
    yield folder
    os.chdir(here)


def train(epochs=3, at_step=4, resume=None, happens=lambda: None, **settings):
    PLAN.update(at_step=at_step, happens=happens)
    gradbook.seed_everything(1)
    trainer = Trainer(epochs, **{"run": "runs", **settings})
    trainer.fit(Moving(), Always(), resume=resume)
    return trainer


def whole():
    return train(at_step=None, run="whole").history.rows


def check_whole(folder, rows):
    stored = runs.load(folder)
    assert (stored.status, stored.history.rows) == ("finished", rows)
    assert checkpoint.load(folder / "checkpoints/last.pt")["position"]["epoch"] == 3
    assert (folder / "curve.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("at_step", [0, 4])  # at 0 it is when the model is rehearsed
@pytest.mark.parametrize("make", [str, Run])
def test_a_training_goes_on_when_the_working_folder_changes(elsewhere, at_step, make):
    rows, here = whole(), Path.cwd()
    run = make("runs")
    train(at_step=at_step, run=run, happens=lambda: os.chdir(elsewhere))
    check_whole(here / "runs/moving-1", rows)
    assert not list(elsewhere.iterdir())


@pytest.mark.slow
def test_a_resumed_training_goes_on_when_the_working_folder_changes(elsewhere):
    rows, here = whole(), Path.cwd()
    train(epochs=1)
    train(resume="runs/moving-1", happens=lambda: os.chdir(elsewhere))
    check_whole(here / "runs/moving-1", rows)


def test_the_folder_is_told_as_it_can_be_found(elsewhere):
    run, here = Run("runs"), Path.cwd()
    train(run=run, at_step=None)
    assert run.folder == Path("runs/moving-1")
    os.chdir(elsewhere)
    assert run.folder == here / "runs/moving-1"
    os.chdir(here)
    assert run.folder == Path("runs/moving-1")


@pytest.mark.slow
@linux
@pytest.mark.parametrize(
    ("old", "new"), [("runs/moving-1", "runs/other"), ("runs", "kept"), ("runs", "a/b/kept")]
)
def test_a_training_goes_on_when_its_folder_is_renamed(old, new):
    rows, run = whole(), Run("runs")

    def rename():
        Path(new).parent.mkdir(parents=True, exist_ok=True)
        os.rename(old, new)

    train(run=run, happens=rename)
    folder = Path(new) if old != "runs" else Path(new, "moving-1")
    check_whole(folder, rows)
    assert run.folder == folder.absolute()
    assert not Path("runs/moving-1").exists()


@linux
def test_a_folder_that_is_renamed_while_it_is_trained_is_locked():
    def rename():
        os.rename("runs/moving-1", "runs/other")
        assert runs.load("runs/other").status == "running"

    train(happens=rename)
    assert runs.load("runs/other").status == "finished"


@linux
def test_a_folder_that_is_removed_ends_the_training_with_the_model_as_it_is():
    trainer = Trainer(3, run="runs")

    def remove():
        while Path("runs/moving-1").exists():  # a checkpoint may be written into it meanwhile
            shutil.rmtree("runs/moving-1", ignore_errors=True)

    PLAN.update(at_step=4, happens=remove)
    model = Moving()
    with pytest.raises(StorageError, match=r"runs/moving-1/.* its folder was removed") as caught:
        trainer.fit(model, Always())
    assert "save_checkpoint" in str(caught.value)
    assert not Path("runs/moving-1").exists()
    assert trainer.history


@pytest.mark.slow
def test_no_descriptor_is_left_open():
    train(at_step=None)
    before = set(os.listdir("/proc/self/fd")) if sys.platform == "linux" else set()
    train(at_step=None)
    train(epochs=4, at_step=None, resume="runs/moving-1")
    after = set(os.listdir("/proc/self/fd")) if sys.platform == "linux" else set()
    assert len(after) == len(before)


@pytest.mark.slow
@pytest.mark.parametrize("stack", [True, False])
def test_a_sweep_goes_on_when_the_working_folder_changes(elsewhere, stack):
    PLAN.update(at_step=4, happens=lambda: os.chdir(elsewhere))
    here = Path.cwd()
    done = sweep(Moving, Always, lr=[0.1, 0.2], max_epochs=2, on="here", stack=stack, display="off")
    assert [run.status for run in done.runs] == ["finished"] * 2
    assert (here / "runs/moving-sweep-1/sweep.json").exists()
    assert not list(elsewhere.iterdir())


def test_the_curves_of_a_script_lie_where_it_was_begun(elsewhere, monkeypatch):
    monkeypatch.setenv("GRADBOOK_DISPLAY", "lines")
    here = Path.cwd()
    train(run=None, happens=lambda: os.chdir(elsewhere))
    assert (here / "curves/moving-1").is_dir()
    assert not list(elsewhere.iterdir())


def test_a_tracker_records_where_it_was_made(elsewhere):
    pytest.importorskip("tensorboard")
    tracker, here = TensorBoard("boards"), Path.cwd()
    train(run=None, sinks=[tracker], happens=lambda: os.chdir(elsewhere))
    assert list((here / "boards/moving-1").iterdir())
    assert not list(elsewhere.iterdir())
