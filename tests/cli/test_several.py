"""`--num-processes`: the command starts several processes itself."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.patience import LONGEST

from gradbook.cli.entry import main
from gradbook.errors import ConfigError
from gradbook.runs import load

MODEL = """
import os, time
import gradbook
from torch import nn

class Slow(gradbook.Classifier):
    def __init__(self, lr=0.1, fails=False):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))

    def training_step(self, batch):
        if self.fails and os.environ.get("RANK") == "1":
            raise ValueError("odd")
        is_first = os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0"
        is_killed = is_first and os.environ.get("KILLED") == os.environ["RANK"]
        if self.trainer.num_steps == 9 and is_killed:
            os.kill(os.getpid(), 9)
        if self.trainer.num_steps == 5 and "WAIT" in os.environ:
            print("in the middle", flush=True)
        time.sleep(0.02 if "WAIT" in os.environ else 0)
        return super().training_step(batch)
"""
DATA = ["--data", "moons", "--num-train", "41", "--num-val", "9", "--batch-size", "8"]


def command(*words, wait=False, **more):
    """Starts a command as a terminal does."""
    more |= {"WAIT": "1"} if wait else {}
    return subprocess.Popen(
        [sys.executable, "-m", "gradbook", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*number of processes")
def test_ctrl_c_ends_all_processes_and_one_goes_on_to_the_same_numbers(capsys):
    Path("mine.py").write_text(MODEL)
    words = ["train", "mine.py:Slow", *DATA, "--max-epochs", "5", "--display", "lines"]
    with command(*words, "--num-processes", "2", wait=True) as process:
        assert process.stdout.readline() == "in the middle\n"
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 130
    assert out.count("interrupted") == 1
    assert err.count("Stopping after this step.") == 1
    assert "Traceback" not in err
    (folder,) = Path("runs").iterdir()
    facts = load(folder).facts
    assert facts["status"] == "interrupted"
    assert facts["num_processes"] == 2
    assert facts["command"][-4:-1] == ["--num-processes", "2", "--seed"]

    resume = ["resume", str(folder), "--model", "mine.py:Slow", "--quiet"]
    assert main([*resume, "--num-processes", "1"]) == 0
    assert main([*words[:-2], "--quiet", "--seed", str(facts["seed"])]) == 0
    ours, whole = load(folder), load("slow-2")
    assert len(ours.history) == 5
    for mine, theirs in zip(ours.history, whole.history, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)
    capsys.readouterr()


@pytest.mark.slow
def test_a_run_of_two_is_repeated_by_two_and_an_error_is_told_once():
    Path("mine.py").write_text(MODEL)
    words = ["train", "mine.py:Slow", *DATA, "--max-epochs", "1", "--num-processes", "2", "--json"]
    with command(*words) as process:
        out, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, err
    told = json.loads(out)  # one object, and nothing else
    assert shlex.split(told["repeat"])[-4:-1] == ["--num-processes", "2", "--seed"]
    with command(*words[:-1], "--fails") as process:
        out, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 1
    assert err.count("ValueError: odd") == 1
    assert "Sending process" not in err


@pytest.mark.slow
def test_a_process_that_is_killed_costs_nothing_where_restarts_are_allowed():
    Path("mine.py").write_text(MODEL)
    words = ["train", "mine.py:Slow", *DATA, "--max-epochs", "3", "--num-processes", "2", "--json"]
    again = ["--max-restarts", "1"]
    for killed, more in (("", []), ("1", again), ("0", again)):
        with command(*words, "--seed", "1", *more, KILLED=killed) as process:
            out, err = process.communicate(timeout=LONGEST)
        assert process.returncode == 0, err
        assert json.loads(out)["status"] == "finished"  # one object, and nothing else
    assert err.count("started again") == 0  # nobody could say it: the first was killed
    first, *others = (load(f"slow-{i}") for i in (1, 2, 3))
    weights = [torch.load(run.folder / "checkpoints/last.pt")["model"] for run in (first, *others)]
    for run, theirs in zip(others, weights[1:], strict=True):
        assert list(run.history) == list(first.history)
        assert len(run.facts["sessions"]) == 2
        assert all(torch.equal(theirs[name], weights[0][name]) for name in theirs)
    assert sorted(path.name for path in Path("runs").iterdir()) == ["slow-1", "slow-2", "slow-3"]


@pytest.mark.slow
def test_a_run_of_two_is_resumed_by_three_which_says_that_digits_may_differ():
    Path("mine.py").write_text(MODEL)
    words = ["train", "mine.py:Slow", *DATA, "--seed", "1", "--num-processes", "2", "--quiet"]
    resume = ["resume", "runs/slow-1", "--model", "mine.py:Slow", "--max-epochs", "4"]
    resume += ["--display", "off"]
    told = []
    for each in (
        [*words, "--max-epochs", "2"],
        [*resume, "--num-processes", "3"],
        [*words, "--max-epochs", "4"],
    ):
        with command(*each) as process:
            told.append(" ".join(process.communicate(timeout=LONGEST)[1].split()))
        assert process.returncode == 0, told
    assert told[1].count("number of processes") == 1
    ours, whole = load("slow-1"), load("slow-2")
    assert len(ours.history) == 4
    for mine, theirs in zip(ours.history, whole.history, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--num-processes", "0"], "expected a whole number above 0"),
        (["--num-processes", "100000"], "more than a machine with"),
        (["--num-processes", "2", "--max-restarts", "0"], "expected a whole number above 0"),
        (["--max-restarts", "2"], "but this training has one. Give --num-processes 2 with it"),
        (["--num-gpus", "7"], "this machine offers 0 to PyTorch"),
        (["--num-gpus", "7", "--num-processes", "2"], "are two numbers"),
    ],
)
def test_what_cannot_be_started_is_said(words, told, capsys, monkeypatch):
    monkeypatch.setattr("gradbook.devices.num_gpus", lambda: 0)
    assert main(["train", "mlp", "--data", "moons", *words]) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_one_process_is_this_one(capsys):
    words = ["train", "mlp", *DATA, "--num-outputs", "2", "--max-epochs", "1", "--quiet"]
    assert main([*words, "--num-processes", "1"]) == 0
    assert load("mlp-1").facts["num_processes"] == 1


def test_a_started_process_must_be_one_of_as_many_as_are_asked_for(capsys, monkeypatch):
    for name, value in {"WORLD_SIZE": "3", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("gradbook.faults.tells", lambda error: True)
    assert main(["train", "mlp", "--data", "moons", "--num-processes", "2"]) == 2
    assert "started in 3 processes already" in capsys.readouterr().err
    assert main(["train", "mlp", "--data", "moons", "--max-restarts", "2"]) == 2
    assert "starts its processes again at most 0 times" in " ".join(capsys.readouterr().err.split())
    assert torch.distributed.is_initialized() is False


@pytest.mark.parametrize("rank", [0, 1])
def test_only_the_first_process_makes_the_folder_of_the_run(rank, monkeypatch):
    def look(*arguments):
        seen.append(Path("runs", "mlp-1").exists())
        raise ConfigError("that is all")

    seen = []
    for name, value in {"WORLD_SIZE": "2", "RANK": str(rank)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("gradbook.faults.tells", lambda error: False)
    monkeypatch.setattr("gradbook.cli.fit.make", look)
    assert main(["train", "mlp", "--data", "moons", "--num-processes", "2"]) != 0
    assert seen == [rank == 0]
