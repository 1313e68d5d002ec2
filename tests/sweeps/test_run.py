"""Sweeps from beginning to end."""

import copy
import json
import math
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import cloudpickle
import numpy as np
import psutil
import pytest
import torch
from tests.patience import LONGEST, await_true
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gradbook
from gradbook import (
    Classifier,
    DataModule,
    LinearRegression,
    LinearRegressionScratch,
    SyntheticRegressionData,
)
from gradbook.cli import main
from gradbook.errors import ConfigError
from gradbook.runs.recorder import locked
from gradbook.sweeps import load, log_range, sweep
from gradbook.sweeps import run as runner
from gradbook.sweeps.plan import Plan

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("blank_figures")]


@pytest.fixture(autouse=True)
def classes_travel_as_copies():
    """A worker need not import this file."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


class Blobs(DataModule):
    def __init__(self, batch_size=8):
        super().__init__()
        self.save_hyperparameters()
        self.y = torch.arange(40) % 3
        self.X = torch.randn(40, 4) + 2 * torch.eye(4)[self.y]

    def get_dataloader(self, train):
        rows = slice(0, 32) if train else slice(32, None)
        return self.get_tensorloader((self.X, self.y), train, rows)


class Net(Classifier):
    def __init__(self, num_hiddens=5, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        if num_hiddens > 1000:
            raise ValueError("too wide")
        self.net = nn.Sequential(nn.Linear(4, num_hiddens), nn.ReLU(), nn.Linear(num_hiddens, 3))


class Dropping(Net):
    def __init__(self, lr=0.1):
        super().__init__(lr=lr)
        self.net.append(nn.Dropout(0.1))


class StoppingSGD(torch.optim.SGD):
    """Presses Ctrl-C in its sixth step, where a file asks for that."""

    num_steps = 0

    def step(self, closure=None):
        super().step(closure)
        self.num_steps += 1
        if self.num_steps == 6 and Path("stop").exists():
            Path("stop").unlink()
            os.kill(os.getpid(), signal.SIGINT)


class Stopping(Net):
    def configure_optimizers(self):
        return StoppingSGD(self.parameters(), self.lr)


def run(Model=Net, data=Blobs, **settings):
    return sweep(Model, data, **{"max_epochs": 2, "on": "here", "display": "off", **settings})


def test_thousands_of_settings_are_told_apart_without_comparing_each_with_each(monkeypatch):
    compared = []
    monkeypatch.setattr(runner, "are_equal", lambda a, b: compared.append(a) or a == b)
    plan = Plan(Net, Blobs, {"num_hiddens": list(range(1, 1001)), "seed": [0, 1]})
    members = [plan.member(i, v, Path()) for i, v in enumerate(plan.combinations())]
    assert runner._settings_of(members) == [i // 2 for i in range(2000)]
    assert len(compared) == 1000


def finals(done):
    label = done.label
    return [member.final(label) for member in done.members]


def parameters(done):
    return [
        torch.load(r.folder / "checkpoints/last.pt", weights_only=True)["model"] for r in done.runs
    ]


def test_a_grid_has_a_run_for_each_combination():
    done = run(lr=[0.1, 0.3], num_hiddens=[4, 6], seed=range(2))
    assert len(done.members) == 8
    assert len(done.settings) == 4
    assert {run.status for run in done.runs} == {"finished"}
    values = [(m.values["lr"], m.values["num_hiddens"], m.values["seed"]) for m in done.members]
    assert values == [(lr, h, s) for lr in (0.1, 0.3) for h in (4, 6) for s in (0, 1)]


def test_the_folder_has_the_runs_the_table_and_the_figure():
    done = run(lr=[0.1, 0.3])
    assert done.folder == Path("runs/net-sweep-1")
    assert sorted(path.name for path in done.folder.iterdir()) == [
        "lock",
        "member-1",
        "member-2",
        "sweep.json",
        "sweep.png",
        "sweep.svg",
    ]
    assert (done.folder / "member-2/checkpoints/last.pt").is_file()
    assert json.loads((done.folder / "sweep.json").read_text())["swept"] == {"lr": [0.1, 0.3]}
    assert run(lr=[0.1]).folder == Path("runs/net-sweep-2")


def test_results_are_the_same_however_it_is_trained():
    usual, single, sent = (
        run(lr=[0.1, 0.3], num_hiddens=[4, 6], **settings)
        for settings in ({}, {"stack": False}, {"on": "processes", "num_workers": 1})
    )
    assert os.getpid() not in {run.facts["process"]["pid"] for run in sent.runs}
    for other in (single, sent):
        assert finals(other) == pytest.approx(finals(usual), rel=1e-4)
        for one, two in zip(parameters(usual), parameters(other), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_each_member_is_what_a_script_with_its_seed_gives():
    done = run(lr=[0.1, 0.3], seed=[4, 5])
    gradbook.seed_everything(5)
    data, model = Blobs(), Net(lr=0.3)
    gradbook.Trainer(2, display="off").fit(model, data)
    torch.testing.assert_close(parameters(done)[3], dict(model.state_dict()), rtol=1e-4, atol=1e-6)


def test_random_samples_lie_in_their_range():
    done = run(lr=log_range(0.01, 1.0), num_samples=3, seed=range(2))
    rates = {member.values["lr"] for member in done.members}
    assert len(done.members) == 6
    assert len(rates) == 3
    assert all(0.01 <= rate <= 1 for rate in rates)


def test_data_that_exist_are_shared_by_all():
    data = Blobs()
    done = run(data=data, lr=[0.1, 0.3], seed=[0, 1])
    assert len(done.runs) == 4


class Lively(Blobs):
    """Its labels change with every loader, by generators and a counter of its own."""

    def __init__(self, batch_size=8):
        super().__init__(batch_size)
        self.torch, self.numpy = torch.Generator().manual_seed(1), np.random.default_rng(1)
        self.python, self.loaders = random.Random(1), [0]

    def get_dataloader(self, train):
        self.loaders[0] += 1
        X = self.X + torch.rand(self.X.shape, generator=self.torch)
        X = X * self.numpy.uniform(0.5, 2) * self.python.uniform(0.5, 2) + self.loaders[0]
        rows = slice(0, 32) if train else slice(32, None)
        return self.get_tensorloader((X, self.y), train, rows)


class Drawing(Blobs):
    """Its batches are drawn with a generator of its own, by one loader that it keeps."""

    def __init__(self, batch_size=8):
        super().__init__(batch_size)
        generator = torch.Generator().manual_seed(1)
        examples = TensorDataset(self.X, self.y)
        self.loader = DataLoader(examples, batch_size, shuffle=True, generator=generator)

    def get_dataloader(self, train):
        return self.loader


@pytest.mark.parametrize("Data", [Lively, Drawing])
def test_data_that_exist_come_to_each_member_as_they_were(Data):
    settings = {"data": Data(), "lr": [0.1, 0.3], "num_hiddens": [4, 5]}
    sweeps = [run(**settings), run(**settings, stack=False)]
    sweeps.append(run(**settings, on="processes", num_workers=1))
    for done in sweeps[1:]:
        assert finals(done) == pytest.approx(finals(sweeps[0]), rel=1e-4)
    gradbook.seed_everything(0)
    model = Net(num_hiddens=5, lr=0.3)
    trainer = gradbook.Trainer(2, display="off")
    trainer.fit(model, copy.deepcopy(settings["data"]))
    final = trainer.history[sweeps[0].label][-1]
    assert final == pytest.approx(finals(sweeps[0])[-1], rel=1e-4)


def test_an_interrupted_sweep_goes_on_with_data_that_exist_as_they_were():
    data = Drawing()
    whole = run(Stopping, data=data, lr=[0.1, 0.3], max_epochs=3)
    Path("stop").touch()
    with pytest.raises(KeyboardInterrupt):
        run(Stopping, data=data, lr=[0.1, 0.3], max_epochs=3)
    folder = Path("runs/stopping-sweep-2")
    done = run(Stopping, data=data, lr=[0.1, 0.3], max_epochs=3, resume=folder)
    assert finals(done) == pytest.approx(finals(whole), rel=1e-4)


def test_arguments_of_the_data_are_swept_where_their_class_is_given():
    done = run(batch_size=[8, 16])
    assert [r.facts["steps"] for r in done.runs] == [8, 4]


def test_a_member_that_cannot_be_made_leaves_the_others_as_they_are():
    done = run(num_hiddens=[5, 2000], lr=[0.1, 0.3])
    assert [m.error for m in done.members] == [None, None] + ["ValueError: too wide"] * 2
    assert len(done.runs) == 2
    assert "too wide" in str(done)


def test_a_member_that_diverges_leaves_the_others_as_they_are():
    done = run(LinearRegressionScratch, SyntheticRegressionData, lr=[0.03, 1e20], max_epochs=2)
    assert [run.status for run in done.runs] == ["finished", "diverged"]
    assert math.isfinite(done.members[0].final("val_loss"))
    assert done.best.values == {"lr": 0.03}


def test_why_members_were_trained_alone_is_told():
    done = run(Dropping, lr=[0.1, 0.3])
    assert all("random numbers" in member.alone for member in done.members)
    assert "Trained alone (2), because its steps draw random numbers" in str(done)


def test_an_interrupted_sweep_goes_on_where_it_stopped():
    whole = run(Stopping, lr=[0.1, 0.3], max_epochs=3)
    Path("stop").touch()
    with pytest.raises(KeyboardInterrupt):
        run(Stopping, lr=[0.1, 0.3], max_epochs=3)
    folder = Path("runs/stopping-sweep-2")
    stopped = load(folder).runs
    assert [(run.status, run.epochs) for run in stopped] == [("interrupted", 2)] * 2
    done = run(Stopping, lr=[0.1, 0.3], max_epochs=3, resume=folder)
    assert finals(done) == pytest.approx(finals(whole), rel=1e-4)
    assert [r.epochs for r in done.runs] == [3, 3]


def test_members_that_were_not_yet_at_work_go_on_from_their_own_beginning(monkeypatch):
    monkeypatch.setattr("gradbook.sweeps.stackable._LARGE_BATCH", 0)  # a stack for each seed
    settings = {"lr": [0.1, 0.3], "seed": [1, 2], "max_epochs": 3}
    whole = run(Stopping, **settings)
    Path("stop").touch()
    with pytest.raises(KeyboardInterrupt) as stop:
        run(Stopping, **settings)
    folder = Path("runs/stopping-sweep-2")
    assert stop.value.__notes__ == [f"Resume the sweep with resume='{folder}'."]
    assert stop.value._render_traceback_() == [  # in a notebook
        "The sweep was interrupted. What it has trained is kept.",
        *stop.value.__notes__,
    ]
    assert [run.epochs for run in load(folder).runs] == [2, 0, 2, 0]
    assert finals(run(Stopping, **settings, resume=folder)) == pytest.approx(
        finals(whole), rel=1e-5
    )


def test_two_programs_cannot_train_one_sweep():
    done = run(lr=[0.1, 0.3])
    lock = locked(done.folder)
    try:
        with pytest.raises(ConfigError, match="trained by another process"):
            run(lr=[0.1, 0.3], resume=done.folder)
    finally:
        lock.release()


def test_data_arguments_that_look_alike_give_each_member_its_own_data():
    class Scaled(SyntheticRegressionData):
        def __init__(self, scale=None, **rest):
            super().__init__(**rest)
            self.y = scale(self.y)

    done = sweep(
        LinearRegression,
        Scaled,
        scale=[lambda y: y, lambda y: 100 * y],
        lr=0.01,
        max_epochs=1,
        display="off",
        on="here",
    )
    assert len(done.settings) == 2
    small, large = (setting.finals("val_loss")[0] for setting in done.settings)
    assert large > 1000 * small


def test_what_making_a_member_changes_for_all_does_not_reach_the_others():
    class Penalized(LinearRegression):
        weight = 0.0

        def __init__(self, penalty=0.0, lr=0.01):
            super().__init__(lr)
            type(self).weight = penalty

        def loss(self, y_hat, y):
            return super().loss(y_hat, y) + type(self).weight * (y_hat**2).mean()

    settings = {"data": SyntheticRegressionData, "penalty": [0.0, 1.0], "max_epochs": 1}
    done, alone = run(Penalized, **settings), run(Penalized, **settings, stack=False)
    assert finals(done) == finals(alone)
    assert "making another member changes" in done.members[0].alone


def test_looking_at_members_leaves_no_trace_in_what_they_share():
    class Warmed(LinearRegression):
        calls: ClassVar = [0]

        def loss(self, y_hat, y):
            self.calls[0] += 1
            return super().loss(y_hat, y) * (1 + 0.01 * self.calls[0])

    settings = {"data": SyntheticRegressionData, "lr": [0.01, 0.02], "max_epochs": 1}
    alone = run(Warmed, **settings, stack=False)
    Warmed.calls[0] = 0
    done = run(Warmed, **settings)
    assert "change Warmed.calls[0]" in done.members[0].alone
    assert finals(done) == finals(alone)


def test_a_member_that_ends_the_program_is_only_a_member_that_failed():
    class Exiting(LinearRegression):
        def __init__(self, lr=0.1, code=0):
            super().__init__(lr)
            if code:
                sys.exit(code)

    done = run(Exiting, data=SyntheticRegressionData, code=[0, 3], on="here")
    assert [member.error for member in done.members] == [
        None,
        "its code ended the program with sys.exit(3)",
    ]


def test_what_is_done_is_not_trained_again():
    done = run(lr=[0.1, 0.3], stack=False)
    before = [(r.folder / "run.json").read_bytes() for r in done.runs]
    again = run(lr=[0.1, 0.3], resume=done.folder)
    assert [(r.folder / "run.json").read_bytes() for r in again.runs] == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lr": [0.1, 0.4]}, "the swept values were"),
        ({"max_epochs": 3}, "the other settings were"),
        ({"Model": Dropping}, "the model was"),
        ({"data": SyntheticRegressionData}, "the data set was"),
        ({"resume": "elsewhere"}, "no sweep in"),
    ],
)
def test_another_sweep_is_not_gone_on_with(changes, words):
    done = run(lr=[0.1, 0.3], stack=False)
    with pytest.raises(ConfigError, match=words):
        run(**{"lr": [0.1, 0.3], "resume": done.folder, **changes})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lr": []}, "lr has no values"),
        ({"num_hidens": [4]}, "Did you mean 'num_hiddens'"),
        ({"lr": ["fast"]}, "fast"),
        ({"lr": [0.1], "on": "spark"}, "spark"),
        ({"lr": [0.1], "level": "high"}, "level"),
        ({"lr": log_range(0.1, 1)}, "num_samples"),
    ],
)
def test_bad_input_is_refused_before_a_folder_is_made(settings, words):
    with pytest.raises(ConfigError, match=words):
        run(**settings)
    assert not Path("runs").exists()


def test_members_are_runs_for_every_command(capsys):
    done = run(LinearRegressionScratch, SyntheticRegressionData, lr=[0.03, 0.1])
    one, other = (str(r.folder) for r in done.runs)
    assert main(["show", one]) == 0
    assert main(["compare", one, other]) == 0
    assert main(["inspect", one]) == 0
    assert main(["runs", "--runs", str(done.folder)]) == 0
    text = capsys.readouterr().out
    assert "member-1" in text
    assert "member-2" in text


SCRIPT = """
import json, sys, time
from pathlib import Path
import torch
from gradbook import LinearRegressionScratch, SyntheticRegressionData
from gradbook.sweeps import sweep

class Slow(LinearRegressionScratch):
    def __init__(self, lr=0.1):
        super().__init__(lr=lr)

    def validation_step(self, batch):
        super().validation_step(batch)
        while self.trainer.epoch == 3 and Path("slow").exists():
            time.sleep(0.01)

def train(on, resume=None):
    torch.manual_seed(0)
    data = SyntheticRegressionData(num_train=64, num_val=8, batch_size=8)
    done = sweep(
        Slow, data, lr=[0.03, 0.1], max_epochs=8, on=on, num_workers=2, display="off",
        resume=resume,
    )
    assert not any(member.error for member in done.members), str(done)
    return [member.final("val_loss") for member in done.members]

if __name__ == "__main__":
    on, *resume = sys.argv[1:]
    if resume:
        print(json.dumps([train(on, *resume), train("here")]))
    else:
        train(on)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="kills processes")
@pytest.mark.parametrize("on", ["here", "processes"])
def test_after_sigkill_a_sweep_goes_on_to_the_same_results(on):
    Path("script.py").write_text(SCRIPT)
    Path("slow").touch()
    process = subprocess.Popen([sys.executable, "script.py", on], start_new_session=True)
    first = Path("runs/slow-sweep-1/member-1")
    last = first / "checkpoints/last.pt"
    await_true(lambda: last.is_file() and gradbook.checkpoint.load(last)["position"]["epoch"] == 3)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    Path("slow").unlink()
    psutil.wait_procs(workers, timeout=LONGEST)  # each keeps what it has, and ends
    again = subprocess.run(
        [sys.executable, "script.py", on, "runs/slow-sweep-1"],
        capture_output=True,
        text=True,
        check=True,
    )
    resumed, whole = json.loads(again.stdout)
    assert resumed == whole
    assert len(json.loads((first / "run.json").read_text())["sessions"]) == 2


@pytest.mark.parametrize("given", [{"runs": 3}, {"resume": True}])
def test_a_folder_that_is_no_path_is_refused(given):
    with pytest.raises(ConfigError, match=rf"{next(iter(given))} must be a text or a path"):
        gradbook.sweep(gradbook.MLP, gradbook.SyntheticRegressionData(), lr=[0.1, 0.2], **given)


def test_the_command_s_name_of_an_argument_leads_to_it():
    with pytest.raises(ConfigError, match="Did you mean 'num_workers'"):
        gradbook.sweep(gradbook.MLP, gradbook.SyntheticRegressionData(), lr=[0.1, 0.2], workers=2)


def test_a_sweep_that_several_processes_would_train_is_refused(monkeypatch):
    for name, value in {"WORLD_SIZE": "3", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"started in 3 processes.*Start it once"):
        sweep(gradbook.MLP, gradbook.Moons(), num_outputs=2, num_hiddens=4, lr=[0.1, 0.2])
