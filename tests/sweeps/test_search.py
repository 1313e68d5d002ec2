"""The search with Optuna: what it tries, what it ends early, and how it is gone on with."""

import json
import math
import os
import re
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import optuna
import pytest
import torch
from tests.patience import await_true

from gradbook import LinearRegressionScratch, Module, SyntheticRegressionData, checkpoint
from gradbook.cli import main
from gradbook.errors import ConfigError, CorruptFileError, MissingExtraError
from gradbook.runs.format import CHECKPOINT_FILES
from gradbook.sweeps import lin_range, load, log_range, sweep
from gradbook.sweeps.format import write_sweep
from gradbook.sweeps.members import train_members
from gradbook.sweeps.study import STUDY_FILE, Study

pytestmark = pytest.mark.usefixtures("blank_figures")

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Quadratic(Module):
    """Records (log10(lr) + 1)^2 + 1 / epoch: the best rate is 0.1, in every epoch."""

    def __init__(self, lr=0.1, num=1, shape=(1,), fails=False):
        super().__init__()
        self.save_hyperparameters()
        self.layer = LinearRegressionScratch(2)

    @property
    def score(self):
        return (math.log10(self.lr) + 1) ** 2 + 1 / (self.trainer.epoch + 1)

    def forward(self, X):
        return self.layer(X)

    def training_step(self, batch):
        if self.fails:
            raise RuntimeError("this one cannot be trained")
        *X, y = batch
        return self.layer.loss(self(*X), y)

    def validation_step(self, batch):
        self.plot("loss", self.score, train=False)

    def configure_optimizers(self):
        return self.layer.configure_optimizers()


class Diverging(Quadratic):
    """Above a rate of 1 it records NaN from the second epoch on."""

    @property
    def score(self):
        if self.lr > 1 and self.trainer.epoch > 0:
            return math.nan
        return super().score


class Accurate(Quadratic):
    """Records an accuracy, which is highest where the loss is lowest."""

    def validation_step(self, batch):
        self.plot("acc", -self.score, train=False)


#: The trainings that Ctrl-C may still stop: outside the model, whose own counts are resumed.
TRAINED = count()


class Stopping(Quadratic):
    """Ctrl-C comes in the second epoch of the fourth training, once."""

    def validation_step(self, batch):
        super().validation_step(batch)
        if self.trainer.epoch == 1 and self.trainer.max_epochs > 1 and next(TRAINED) == 3:
            raise KeyboardInterrupt


class Killed(Quadratic):
    """Kills its process in the run that a variable names, where a second one says.

    That is when its first checkpoint is taken, or after that of its first epoch is written.
    """

    def state_dict(self, *args, **kwargs):
        self._fall("before")
        return super().state_dict(*args, **kwargs)

    def validation_step(self, batch):
        super().validation_step(batch)
        if self.trainer.epoch == 1:
            self._fall("after")

    def _fall(self, moment):
        folder = Path(os.environ.get("KILLED_IN", "nowhere"))
        if folder.exists() and os.environ["KILLED"] == moment:
            last = folder / CHECKPOINT_FILES["last"]
            if moment == "after":  # it is written while the second epoch is trained
                await_true(lambda: checkpoint.load(last)["position"]["epoch"] == 1)
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def data():
    torch.manual_seed(0)
    return SyntheticRegressionData(w=[2, -3.4], b=4.2, num_train=8, num_val=4, batch_size=4)


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """What is drawn of each member takes most of the time, and is tested elsewhere."""
    monkeypatch.setattr("gradbook.runs.recorder.save_curve", lambda board, folder: None)
    monkeypatch.setattr("gradbook.sweeps.results.Sweep.save", lambda self, *paths: None)


def search(data, Model=Quadratic, **changes):
    given = {"lr": log_range(1e-3, 10.0), "max_epochs": 3, "num_trials": 8, **changes}
    return sweep(Model, data, search="optuna", **given)


def study_of(found):
    backend = optuna.storages.journal.JournalFileBackend(str(found.folder / STUDY_FILE))
    return optuna.load_study(
        study_name=found.facts["study"]["name"], storage=optuna.storages.JournalStorage(backend)
    )


def rates(found):
    return [member.values["lr"] for member in found.members]


# What it shows


def shown(capsys):
    """What the lines say of each trial, without the times."""
    lines = [line for line in capsys.readouterr().out.splitlines() if ": " in line]
    return [re.sub(r"lr [\d.e+-]+", "lr LR", line.partition(" (")[0]) for line in lines]


@pytest.mark.slow
def test_each_trial_is_told_with_what_it_tried_and_what_became_of_it(data, capsys):
    settings = {"lr": [0.1, 0.01], "num_trials": 3, "max_epochs": 1, "display": "lines"}
    found = search(data, **settings)
    told = shown(capsys)
    assert told[
        0
    ] == "  1/3  trial 1: lr LR: val_loss " + f"{found.runs[0].final['val_loss']:.4g}" + (
        ", the best so far"
    )
    assert [line[:12] for line in told] == ["  1/3  trial", "  2/3  trial", "  3/3  trial"]
    assert sum("tried before, nothing to train" in line for line in told) == 3 - len(found.members)
    assert any("tried before" in line for line in told)
    search(data, **settings | {"num_trials": 4}, resume=found.folder)
    assert [line[:16] for line in shown(capsys)] == ["  4/4  trial 4: "]


# What it finds


@pytest.mark.slow
def test_it_finds_a_better_rate_than_the_first(data):
    data = SyntheticRegressionData(w=[2, -3.4], b=4.2, num_train=64, num_val=32, noise=0.01)
    found = search(data, LinearRegressionScratch, num_trials=15, max_epochs=2)
    assert len(found.members) == 15
    first, best = found.settings[0].finals("val_loss"), found.best.finals("val_loss")
    assert best[0] < first[0] / 10


@pytest.mark.slow
def test_each_trial_is_a_run_like_any_other(data):
    found = search(data, num_trials=3)
    assert [run.name for run in found.runs] == ["member-1", "member-2", "member-3"]
    assert [run.status for run in found.runs] == ["finished"] * 3
    assert [run.facts["model"]["hyperparameters"]["lr"] for run in found.runs] == rates(found)


@pytest.mark.slow
def test_the_study_knows_values_and_results(data):
    found = search(data, num_trials=4)
    study = study_of(found)
    assert study.direction.name == "MINIMIZE"
    for trial, member in zip(study.trials, found.members, strict=True):
        assert trial.params["lr"] == pytest.approx(member.values["lr"], rel=1e-3)
        assert trial.value == pytest.approx((math.log10(member.values["lr"]) + 1) ** 2 + 1 / 3)
        assert list(trial.intermediate_values) == [1, 2, 3]


@pytest.mark.slow
def test_an_accuracy_is_maximized(data):
    found = search(data, Accurate, num_trials=6)
    assert study_of(found).direction.name == "MAXIMIZE"
    nearest = min(rates(found), key=lambda rate: abs(math.log10(rate) + 1))
    assert found.best.values == {"lr": nearest}


@pytest.mark.slow
def test_rates_are_written_as_people_write_them_and_stay_in_their_range(data):
    found = search(data, lr=lin_range(0.123456, 0.123457), num_trials=3)
    assert all(0.123456 <= rate <= 0.123457 for rate in rates(found))
    assert all(rate == float(f"{rate:.4g}") for rate in rates(search(data, num_trials=3)))


@pytest.mark.slow
def test_whole_numbers_lists_and_choices_that_are_lists_are_searched(data):
    found = search(data, num=lin_range(1, 50), shape=[[1], [2, 3]], num_trials=6)
    for member in found.members:
        assert type(member.values["num"]) is int
        assert 1 <= member.values["num"] <= 50
        assert member.values["shape"] in ([1], [2, 3])


@pytest.mark.slow
def test_a_setting_is_not_trained_twice(data):
    found = search(data, lr=[0.1, 0.3], num_trials=9)
    assert sorted(rates(found)) == [0.1, 0.3]
    values = {trial.params["lr"]: set() for trial in study_of(found).trials}
    for trial in study_of(found).trials:
        values[trial.params["lr"]].add(trial.value)
    assert len(study_of(found).trials) == 9
    assert "Repeated: 7 trials chose settings that had been tried before." in str(found)
    assert all(len(each) == 1 for each in values.values())


@pytest.mark.slow
def test_a_trial_of_several_seeds_is_worth_their_mean(data):
    found = search(data, LinearRegressionScratch, seed=[0, 1], num_trials=2, max_epochs=1)
    assert [member.values["seed"] for member in found.members] == [0, 1, 0, 1]
    for trial, setting in zip(study_of(found).trials, found.settings, strict=True):
        assert trial.value == pytest.approx(sum(setting.finals("val_loss")) / 2)


@pytest.mark.slow
def test_the_same_seed_tries_the_same_and_another_one_does_not(data):
    first, again = search(data, num_trials=12), search(data, num_trials=12)
    assert rates(first) == rates(again)
    assert not set(rates(first)) & set(rates(search(data, num_trials=3, seed=1)))


# What ends early


@pytest.mark.slow
def test_what_does_badly_is_pruned_and_marked(data):
    found = search(data, num_trials=14)
    pruned = [member for member in found.members if member.is_pruned]
    assert 0 < len(pruned) < 10
    assert not any(member.is_pruned for member in found.members[:5])
    states = [trial.state.name for trial in study_of(found).trials]
    assert [state == "PRUNED" for state in states] == [m.is_pruned for m in found.members]
    for member in pruned:
        assert (member.run.status, member.run.epochs) == ("finished", 2)
        assert math.isfinite(member.final("val_loss"))
    assert "pruned (epoch 2)" in repr(found.table())
    assert f"Pruned: {len(pruned)} of 14 settings ended early" in str(found)


@pytest.mark.slow
def test_without_a_pruner_every_trial_comes_to_its_end(data):
    found = search(data, num_trials=14, pruner="none")
    assert {run.epochs for run in found.runs} == {3}


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
def test_other_pruners_work(data, pruner):
    found = search(data, num_trials=10, max_epochs=6, pruner=pruner)
    assert any(member.is_pruned for member in found.members)
    assert not found.best.is_pruned


@pytest.mark.slow
def test_a_pruned_setting_is_never_the_best(data):
    found = search(data, num_trials=2)
    best = found.best.values
    found.facts["members"][rates(found).index(best["lr"])]["pruned"] = True
    write_sweep(found.folder, found.facts)
    assert load(found.folder).best.values not in (best, None)


@pytest.mark.slow
def test_a_trial_that_diverges_is_stopped_and_counts_as_pruned_without_a_value(data):
    found = search(data, Diverging, num_trials=10)
    wild = [m for m in found.members if m.values["lr"] > 1]
    assert {(m.run.status, m.run.epochs, m.is_pruned) for m in wild} == {("diverged", 2, False)}
    for trial in study_of(found).trials:
        assert (trial.state.name == "PRUNED" and trial.value is None) == (trial.params["lr"] > 1)


@pytest.mark.slow
def test_a_failing_trial_does_not_end_the_search(data):
    found = search(data, fails=[False, True], num_trials=8)
    assert len(found.members) == 8
    failed = [member for member in found.members if member.values["fails"]]
    assert 0 < len(failed) < 8
    assert all("this one cannot be trained" in member.error for member in failed)
    assert not found.best.values["fails"]
    states = {trial.params["fails"]: trial.state.name for trial in study_of(found).trials}
    assert states[True] == "FAIL"


@pytest.mark.slow
def test_a_trial_whose_worker_is_lost_does_not_end_the_search(data, monkeypatch):
    def train(members):
        if members[0].index == 1:
            raise MemoryError("the worker was lost")
        return train_members(members)

    monkeypatch.setattr("gradbook.sweeps.search.train_members", train)
    found = search(data, num_trials=3)
    assert [member.error is None for member in found.members] == [True, False, True]
    assert "the worker was lost" in found.members[1].error
    assert [trial.state.name for trial in study_of(found).trials] == [
        "COMPLETE",
        "FAIL",
        "COMPLETE",
    ]


@pytest.mark.slow
def test_the_seeds_after_a_pruned_one_are_not_trained(data):
    found = search(data, seed=[0, 1], num_trials=10)
    for setting in found.settings:
        assert len(setting.members) == (1 if setting.is_pruned else 2)
    assert any(setting.is_pruned for setting in found.settings)


# Going on


@pytest.mark.slow
def test_a_search_that_ctrl_c_stopped_goes_on_as_it_would_have(data, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "TRAINED", count())
    with pytest.raises(KeyboardInterrupt):
        search(data, Stopping, num_trials=12, name="stopped")
    folder = "runs/stopped-sweep-1"
    facts = json.loads(Path(folder, "sweep.json").read_text())
    assert len(facts["members"]) == 4
    before = {i: os.stat(f"{folder}/member-{i}/run.json").st_mtime_ns for i in (1, 2, 3)}
    found = search(data, Stopping, num_trials=12, resume=folder)
    assert {i: os.stat(f"{folder}/member-{i}/run.json").st_mtime_ns for i in before} == before
    assert len(found.runs[3].facts["sessions"]) == 2
    assert rates(found) == rates(search(data, Quadratic, num_trials=12))
    assert len(study_of(found).trials) == 12
    assert all(trial.state.is_finished() for trial in study_of(found).trials)


_KILLED = """
import os, torch
from tests.sweeps import test_search
from gradbook import SyntheticRegressionData

os.environ["KILLED_IN"] = "runs/killed-sweep-1/member-4"
torch.manual_seed(0)
data = SyntheticRegressionData(w=[2, -3.4], b=4.2, num_train=8, num_val=4, batch_size=4)
test_search.search(data, test_search.Killed, display="off", name="killed")
"""


@pytest.mark.slow
def test_nothing_is_written_to_another_name_of_the_study(data):
    found = search(data, num_trials=2)
    os.link(found.folder / STUDY_FILE, "target")
    before = Path("target").read_bytes()
    again = search(data, num_trials=4, resume=found.folder)
    assert len(study_of(again).trials) == 4
    assert Path("target").read_bytes() == before


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize(
    ("killed", "num_sessions"),
    [
        pytest.param("after", 2, id="the trial too"),
        pytest.param("before", 1, id="the trial begins anew"),
    ],
)
def test_a_search_that_was_killed_goes_on(data, request, killed, num_sessions):
    done = subprocess.run(
        [sys.executable, "-c", _KILLED],
        env={**os.environ, "PYTHONPATH": str(request.config.rootpath), "KILLED": killed},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    last = Path("runs/killed-sweep-1/member-4", CHECKPOINT_FILES["last"])
    assert last.exists() == (killed == "after")
    found = search(data, Killed, resume="runs/killed-sweep-1")
    assert len(found.members) == len(study_of(found).trials) == 8
    assert [member.error for member in found.members] == [None] * 8
    sessions = [len(run.facts["sessions"]) for run in found.runs]
    assert sessions == [1, 1, 1, num_sessions, 1, 1, 1, 1]
    assert rates(found) == rates(search(data))


@pytest.mark.slow
def test_more_trials_go_on_from_those_that_are_done(data):
    found = search(data, num_trials=3)
    more = search(data, num_trials=5, resume=found.folder)
    assert rates(more)[:3] == rates(found)
    assert len(more.members) == len(study_of(more).trials) == 5


@pytest.mark.slow
def test_a_choice_that_was_never_completed_is_made_anew(data):
    found = search(data, num_trials=2)
    study_of(found).ask()
    more = search(data, num_trials=3, resume=found.folder)
    assert [trial.state.name for trial in study_of(more).trials] == ["COMPLETE"] * 2 + [
        "FAIL",
        "COMPLETE",
    ]
    assert len(more.members) == 3


@pytest.mark.slow
def test_another_search_is_not_gone_on_with(data):
    found = search(data, num_trials=1)
    with pytest.raises(ConfigError, match="another sweep: the swept values"):
        search(data, num_trials=1, lr=[0.1, 0.2], resume=found.folder)
    with pytest.raises(ConfigError, match="another sweep: search was optuna there, but None now"):
        sweep(Quadratic, data, lr=log_range(1e-3, 10.0), max_epochs=3, resume=found.folder)


@pytest.mark.slow
def test_a_lost_and_a_damaged_study_are_told(data):
    found = search(data, num_trials=1)
    path = found.folder / STUDY_FILE
    path.write_bytes(b"{nothing\n" + path.read_bytes())
    with pytest.raises(CorruptFileError, match=f"{STUDY_FILE} is damaged"):
        search(data, num_trials=2, resume=found.folder)
    path.unlink()
    with pytest.raises(ConfigError, match="has lost its study"):
        search(data, num_trials=2, resume=found.folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "torn", [b"{", b'{"op_code":4,"worker_id":"not a worker', b"\0" * 9000, b"\xff", b"x" * 5000]
)
def test_a_study_whose_last_line_is_torn_goes_on(data, torn):
    whole = search(data, num_trials=3, name="whole")
    found = search(data, num_trials=2)
    path = found.folder / STUDY_FILE
    before = path.read_bytes()
    path.write_bytes(before + torn)
    more = search(data, num_trials=3, resume=found.folder)
    assert path.read_bytes().startswith(before)
    assert torn not in path.read_bytes()[len(before) :] or len(torn) == 1
    assert rates(more) == rates(whole)
    again = search(data, num_trials=4, resume=found.folder)
    assert len(again.members) == 4


def test_a_line_that_a_killed_worker_left_torn_is_cut_off_by_the_next(data):
    found = search(data, num_trials=1)
    path = found.folder / STUDY_FILE
    study = Study(None, "none")
    study.find(found.folder, found.facts["study"])
    opened = study.open()
    path.write_bytes(path.read_bytes() + b'{"op_code":4,"work')
    opened.ask()
    assert all(json.loads(line) for line in path.read_bytes().splitlines())
    assert len(study.open().trials) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", [b"{nothing", b"", b"5", b"[]", b"{}", b'{"op_code":"x"}', b"[" * 5000, b"\xff"]
)
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_damaged_line_of_a_study_is_named(data, line, place):
    found = search(data, num_trials=1)
    path = found.folder / STUDY_FILE
    lines = path.read_bytes().splitlines()
    number = {"first": 0, "middle": len(lines) // 2, "last": len(lines)}[place]
    path.write_bytes(b"\n".join([*lines[:number], line, *lines[number:]]) + b"\n")
    before = path.read_bytes()
    with pytest.raises(CorruptFileError, match=f"{STUDY_FILE} is damaged: line {number + 1} "):
        search(data, num_trials=2, resume=found.folder)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("number", "error", "said"),
    [(0, ConfigError, "has no study"), (2, CorruptFileError, "damaged")],
)
def test_a_study_that_lacks_what_it_or_a_trial_needs_is_told(data, number, error, said):
    found = search(data, num_trials=1)
    path = found.folder / STUDY_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:number], *lines[number + 1 :]]))
    with pytest.raises(error, match=said):
        search(data, num_trials=2, resume=found.folder)


# Where


@pytest.mark.slow
def test_two_workers_train_exactly_so_many_trials(data):
    found = search(data, LinearRegressionScratch, num_trials=7, num_workers=2, max_epochs=2)
    assert len(found.members) == 7
    assert [trial.state.is_finished() for trial in study_of(found).trials] == [True] * 7
    assert os.getpid() not in {run.facts["process"]["pid"] for run in found.runs}


@pytest.mark.slow
def test_a_study_in_a_storage_of_ones_own(data):
    url = "sqlite:///studies.db"
    found = search(data, num_trials=2, storage=url)
    assert not (found.folder / STUDY_FILE).exists()
    assert url not in (found.folder / "sweep.json").read_text()
    with pytest.raises(ConfigError, match="in a storage of your own"):
        search(data, num_trials=3, resume=found.folder)
    more = search(data, num_trials=3, storage=url, resume=found.folder)
    storage = optuna.storages.RDBStorage(url)
    study = optuna.load_study(study_name=more.facts["study"]["name"], storage=storage)
    assert len(study.trials) == len(more.members) == 3
    storage.engine.dispose()
    with pytest.raises(ConfigError, match="has no study"):
        search(data, num_trials=4, storage="sqlite:///other.db", resume=found.folder)


@pytest.mark.slow
def test_optuna_says_nothing_and_keeps_its_settings(data, capfd):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    search(data, num_trials=2)
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    assert capfd.readouterr() == ("", "")


# Bad input


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": 0.1}, "nothing to sweep: no setting has several values"),
        ({"lr": 0.1, "seed": [0, 1]}, "nothing to search"),
        ({"search": "optunna"}, "Did you mean 'optuna'?"),
        ({"seed": lin_range(0, 5)}, "does not say how many values it has"),
        ({"num_trials": 0}, "num_trials must be a whole number of at least 1, but it is 0"),
        ({"num_samples": 3}, "give one of the two"),
        ({"search": None}, "num_trials=2, but nothing is searched"),
        ({"search": None, "num_trials": None, "storage": "sqlite:///x"}, "but nothing is searched"),
        ({"search": None, "num_trials": None, "pruner": "none"}, "but nothing is searched"),
        ({"pruner": "mediann"}, "Did you mean 'median'?"),
        ({"storage": "studies.db"}, "storage is the URL of a database"),
        ({"storage": "no-such://me:secret@host/x"}, "The storage 'no-such://host/x' cannot be"),
        ({"fails": True}, "No trial could be trained.*this one cannot be trained"),
    ],
)
def test_bad_input_is_told_before_anything_is_made(data, given, message):
    given = {"search": "optuna", "lr": log_range(1e-3, 1.0), "num_trials": 2, **given}
    with pytest.raises(ConfigError, match=message) as told:
        sweep(Quadratic, data, **given)
    assert "secret" not in str(told.value)
    assert not os.path.exists("runs")


def test_a_model_that_records_nothing_cannot_be_searched(data):
    class Silent(Quadratic):
        def validation_step(self, batch):
            pass

    with pytest.raises(ConfigError, match="Silent records nothing"):
        search(data, Silent)


@pytest.mark.slow
def test_twenty_settings_are_tried_if_nobody_says_how_many(data):
    found = search(data, lr=[0.1, 0.2], num_trials=None)
    assert len(study_of(found).trials) == 20


def test_without_optuna_the_command_that_installs_it_is_told(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match="pip install optuna"):
        search(data)


# The command


@pytest.mark.slow
def test_the_command_searches_and_tells_its_trials_as_json(capsys):
    words = "sweep linear-regression-scratch --lr log:0.001:10 --num-train 64 --max-epochs 2"
    status = main([*words.split(), "--search", "optuna", "--trials", "8", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert status == 0
    assert len(facts["members"]) == 8
    assert {member["pruned"] for member in facts["members"]} <= {True, False}
    assert facts["best"]["lr"] in [member["lr"] for member in facts["members"]]


def test_the_command_tells_that_nothing_has_several_values(capsys):
    assert main(["sweep", "linear-regression-scratch", "--search", "optuna"]) == 2
    assert "There is nothing to sweep" in capsys.readouterr().err
