"""Folders, names and settings that begin with a dash: each command that is printed can be used."""

import re
import shlex
from pathlib import Path

import pytest

from gradbook import cli, runs

pytestmark = pytest.mark.usefixtures("blank_figures")

TRAIN = [
    "train",
    "linear-regression",
    "--max-epochs=2",
    "--num-train=32",
    "--num-val=16",
    "--display=off",
]
LEARNER = """
from pathlib import Path
from gradbook import LinearRegression

class Net(LinearRegression):
    def __init__(self, lr=0.03, note="a"):
        super().__init__()
        self.save_hyperparameters()

    def training_step(self, batch):
        if self.trainer.epoch == 1 and not Path("is_over").exists():
            raise ValueError("once")
        return super().training_step(batch)
"""


def words_after(name, said):
    """The words of a command that was printed beside a name, without `gradbook`."""
    whole = re.sub(r"\\\n *", "", said)  # of lines that go on
    return shlex.split(re.search(rf"^ *{name}:?\s+gradbook (.*)$", whole, re.MULTILINE)[1])


@pytest.fixture
def said(capsys):
    """Runs a command, and gives what it printed."""

    def run(*words, code=0):
        assert cli.main(list(words)) == code, capsys.readouterr()
        return capsys.readouterr().out

    return run


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["-d", "--runs", "-1", "-d x"])
def test_a_run_in_such_a_folder_is_repeated_shown_and_gone_on_with(said, folder):
    Path("my.py").write_text(LEARNER)
    words = [*TRAIN, f"--runs={folder}"]
    words[1:2] = ["my.py:Net", "--data=synthetic-regression", "--note=-b"]
    told = said(*words, code=1)
    resume, repeat = words_after("resume", told), words_after("repeat", told)
    shown = said("show", *resume[1:2])
    assert words_after("resume", shown) == resume
    assert words_after("repeat", shown) == repeat
    Path("is_over").touch()
    said(*resume)
    assert runs.load(Path(folder, "net-1")).status == "finished"
    said(*repeat)
    again = runs.load(Path(folder, "net-2"))
    assert again.history.rows == runs.load(Path(folder, "net-1")).history.rows
    assert again.facts["model"]["hyperparameters"]["note"] == "-b"
    said("rm", *resume[1:2], "--yes")
    assert not Path(folder, "net-1").exists()


@pytest.mark.slow
def test_a_name_with_a_dash_is_repeated(said):
    told = said(*TRAIN, "--name=-n")
    said(*words_after("repeat", told))
    assert [run.name for run in runs.find_runs()] == ["-n-1", "-n-2"]
    said("resume", "runs/-n-1", "--max-epochs=3")
    assert runs.load("-n-1").epochs == 3


@pytest.mark.slow
def test_a_sweep_in_such_a_folder_is_listed_and_shown(said):
    words = [*TRAIN, "--lr=0.01,0.02", "--runs=-d", "--name=-s"]
    words[0] = "sweep"
    members = words_after("members", said(*words))
    assert len(re.findall(r"^ *member-", said(*members), re.MULTILINE)) == 2
    listed = said("runs", "--runs=-d")
    show = shlex.split(re.search(r"\(`gradbook (.*)`\)", listed)[1])
    assert words_after("members", said(*show)) == members


def test_damage_to_such_a_run_names_a_command_that_removes_it(said, capsys):
    said(*TRAIN, "--runs=-d")
    Path("-d/linear-regression-1/run.json").write_text("{")
    assert cli.main(["show", "./-d/linear-regression-1"]) == 1
    words = re.search(r"`gradbook (rm .*?)`", capsys.readouterr().err)[1]
    said(*shlex.split(words), "--yes")
    assert not Path("-d/linear-regression-1").exists()
