"""What a training leaves in its folder."""

import json
import shutil
import threading
from pathlib import Path

import jsonschema
import pytest
import torch
from tests.small import Always
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gradbook
from gradbook import Classifier, Trainer, checkpoint, runs, watching
from gradbook.errors import (
    CheckpointError,
    ConfigError,
    CorruptFileError,
    GradbookWarning,
    StorageError,
)
from gradbook.record import Sink
from gradbook.runs import recorder
from gradbook.runs.format import read_run, write_run
from gradbook.runs.recorder import Run

pytestmark = pytest.mark.usefixtures("blank_figures")

SCHEMAS = Path(runs.__file__).parent


class Net(Classifier):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


class Failing(Net):
    """Raises in the second epoch."""

    def training_step(self, batch):
        if self.trainer.train_batch_idx == 4:
            raise ZeroDivisionError("by hand")
        return super().training_step(batch)


class Interrupted(Net):
    """A signal comes in the second epoch."""

    def training_step(self, batch):
        if self.trainer.train_batch_idx == 4:
            self.trainer.training.interrupts._pending = 2
        return super().training_step(batch)


def train(Model=Net, epochs=2, run="runs", resume=None, **settings):
    gradbook.seed_everything(1)
    trainer = Trainer(epochs, run=run, **settings)
    trainer.fit(Model(), Always(), resume=resume)
    return trainer


def facts(name="net-1"):
    return read_run(Path("runs", name))


def test_a_run_has_all_its_files():
    train()
    found = {p.relative_to("runs/net-1").as_posix() for p in Path("runs/net-1").rglob("*")}
    assert found - {"lock"} == {
        "run.json",
        "metrics.jsonl",
        "curve.svg",
        "curve.png",
        "checkpoints",
        "checkpoints/last.pt",
        "checkpoints/best.pt",
    }


def test_without_a_run_nothing_is_written():
    Trainer(1).fit(Net(), Always())
    assert list(Path().iterdir()) == []


def test_run_json_follows_its_schema():
    train()
    schema = json.loads((SCHEMAS / "run.schema.json").read_text())
    jsonschema.validate(json.loads(Path("runs/net-1/run.json").read_text()), schema)


def test_each_line_of_the_metrics_follows_its_schema():
    train()
    schema = json.loads((SCHEMAS / "metric.schema.json").read_text())
    for line in Path("runs/net-1/metrics.jsonl").read_text().splitlines():
        jsonschema.validate(json.loads(line), schema)


def test_settings_are_kept():
    train(lambda: Net(lr=0.2), gradient_clip_val=1.5)
    told = facts()
    assert told["model"]["hyperparameters"]["lr"] == 0.2
    assert told["model"]["class"].endswith("test_recorder.Net")
    assert told["model"]["num_parameters"] == 6 * 8 + 8 + 8 * 3 + 3
    assert told["data"]["hyperparameters"]["batch_size"] == 8
    assert (told["data"]["num_train"], told["data"]["num_val"]) == (24, 12)
    assert told["trainer"]["hyperparameters"]["gradient_clip_val"] == 1.5
    assert told["optimizer"] == {"class": "gradbook.optim.SGD", "settings": {"lr": 0.2}}
    assert told["seed"] == 1
    assert told["device"] == "cpu"
    assert told["versions"]["torch"] == torch.__version__
    assert told["command"] is None


def test_results_are_kept():
    trainer = train(epochs=3)
    told = facts()
    assert (told["status"], told["epochs"], told["steps"]) == ("finished", 3, 9)
    assert told["final"]["val_acc"] == trainer.history[-1]["val_acc"]
    best = trainer.history.best("val_loss")
    assert told["best"]["val_loss"] == {"value": best["val_loss"], "epoch": best["epoch"]}
    assert told["ended"] >= told["started"]
    assert told["seconds"] > 0


def test_the_values_are_those_of_the_history_and_the_board():
    trainer = train()
    stored = runs.load("net-1")
    assert stored.history.rows == trainer.history.rows
    assert stored.points == trainer.model.board.data


def test_the_checkpoints_hold_the_last_and_the_best_parameters():
    kept = {}

    class Keep(gradbook.Sink):
        def end_epoch(self, trainer):
            kept[trainer.position.epoch] = {
                name: tensor.clone() for name, tensor in trainer.model.state_dict().items()
            }

    trainer = train(epochs=4, monitor="val_loss", mode="max", sinks=[Keep()])
    assert trainer.best.epoch < 4  # the worst loss, in truth
    for name, epoch in (("last", 4), ("best", trainer.best.epoch)):
        path = runs.load("net-1").checkpoint_path(name)
        tensors = torch.load(path, weights_only=True)["model"]
        assert all(torch.equal(tensors[key], kept[epoch][key]) for key in kept[epoch])


def test_there_is_a_checkpoint_before_the_first_step():
    class Look(Net):
        def training_step(self, batch):
            if self.trainer.train_batch_idx == 0:
                listeners = self.trainer.training.listeners
                run = next(sink for sink in listeners if isinstance(sink, recorder.Run))
                run._wait()
                seen.append(checkpoint.load(run.folder / "checkpoints/last.pt")["position"])
            return super().training_step(batch)

    seen = []
    train(Look, epochs=1)
    assert (seen[0]["epoch"], seen[0]["batches"]) == (0, 0)


def test_checkpoints_can_be_taken_within_an_epoch():
    positions = []
    write = recorder.write_atomically

    def note(path, content):
        write(path, content)
        if path.suffix == ".pt":  # the other name of the same checkpoint is a link
            position = checkpoint.load(path)["position"]
            positions.append((position["epoch"], position["batches"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "write_atomically", note)
        train(epochs=1, run=Run("runs", every_n_steps=2))
    assert positions == [(0, 0), (0, 2), (1, 0)]


def test_a_run_as_one_of_the_sinks_is_the_same():
    Trainer(1, sinks=[Run("elsewhere", "mine")]).fit(Net(), Always())
    assert runs.load("mine-1", "elsewhere").status == "finished"


def test_a_failed_training_says_why():
    with pytest.raises(ZeroDivisionError):
        train(Failing)
    told = facts("failing-1")
    assert (told["status"], told["epochs"]) == ("failed", 1)
    assert told["error"] == "ZeroDivisionError: by hand"


class Speechless(Exception):
    """An error that cannot be told."""

    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


def test_an_error_that_cannot_be_told_ends_the_run_too():
    class Failing(Net):
        def training_step(self, batch):
            raise Speechless

    with pytest.raises(Speechless):
        train(Failing)
    told = facts("failing-1")
    assert told["status"] == "failed"
    assert told["error"].startswith("Speechless: <Speechless, whose text cannot be made")
    assert runs.load("failing-1").status == "failed"


def test_a_failed_training_keeps_what_it_had_learned():
    trainer = Trainer(2, run="runs")
    model = Failing()
    with pytest.raises(ZeroDivisionError):
        trainer.fit(model, Always())
    state = checkpoint.load("runs/failing-1/checkpoints/failed.pt")
    assert state["position"]["train_batch_idx"] == 4
    assert all(torch.equal(state["model"][n], t) for n, t in model.state_dict().items())
    assert checkpoint.load("runs/failing-1/checkpoints/last.pt")["position"]["epoch"] == 1


def test_an_interrupted_training_is_kept_where_it_was_stopped():
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted)
    assert facts("interrupted-1")["status"] == "interrupted"
    position = checkpoint.load("runs/interrupted-1/checkpoints/last.pt")["position"]
    assert (position["epoch"], position["batches"]) == (1, 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::gradbook.errors.DivergenceWarning")
def test_a_training_that_diverges_is_kept_whole():
    train(lambda: Net(lr=1e30), epochs=3)
    told = facts()
    assert (told["status"], told["epochs"]) == ("diverged", 3)
    assert told["final"]["val_loss"] is None
    assert told["diverged"].startswith("train_loss at step")


# Going on


@pytest.mark.slow
def test_a_resumed_run_is_one_run():
    whole = train(epochs=4, run="whole")
    train(epochs=2)
    resumed = train(epochs=4, resume="runs/net-1")
    assert [path.name for path in Path("runs").iterdir()] == ["net-1"]
    stored = runs.load("net-1")
    assert stored.history.rows == whole.history.rows
    assert stored.points == whole.model.board.data
    assert resumed.history.rows == whole.history.rows
    told = facts()
    assert (told["status"], told["epochs"], told["max_epochs"]) == ("finished", 4, 4)
    assert [s["first_epoch"] for s in told["sessions"]] == [0, 2]


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_every_value_once():
    whole = train(epochs=3, run="whole")
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted, epochs=3)
    gradbook.seed_everything(1)
    model = Interrupted()
    model.training_step = lambda batch: Classifier.training_step(model, batch)
    Trainer(3, run="runs").fit(model, Always(), resume="runs/interrupted-1")
    stored = runs.load("interrupted-1")
    assert stored.history.rows == whole.history.rows
    assert stored.points == whole.model.board.data


@pytest.mark.slow
def test_seconds_are_those_of_all_sessions():
    train(epochs=2)
    before = facts()["seconds"]
    train(epochs=4, resume="runs/net-1")
    assert facts()["seconds"] > before


@pytest.mark.slow
def test_an_earlier_checkpoint_may_be_gone_on_with():
    trainer = train(epochs=4, monitor="val_loss", mode="max")
    whole = runs.load("net-1").history.rows
    assert trainer.best.epoch < 4
    train(epochs=4, monitor="val_loss", mode="max", resume="runs/net-1/checkpoints/best.pt")
    assert runs.load("net-1").history.rows == whole


@pytest.mark.slow
def test_a_checkpoint_from_elsewhere_begins_a_run_with_what_it_recorded(tmp_path):
    trainer = Trainer(2)
    gradbook.seed_everything(1)
    trainer.fit(Net(), Always())
    trainer.save_checkpoint(tmp_path / "a.pt")
    resumed = train(epochs=4, resume=tmp_path / "a.pt")
    stored = runs.load("net-1")
    assert stored.history.rows == resumed.history.rows
    assert stored.points == resumed.model.board.data


@pytest.mark.slow
def test_a_run_that_another_process_trains_is_refused():
    train()
    with recorder.FileLock("runs/net-1/lock"), pytest.raises(ConfigError, match="another process"):
        train(epochs=4, resume="runs/net-1")
    train(epochs=4, resume="runs/net-1")


# What goes wrong


def test_a_checkpoint_that_cannot_be_written_ends_the_training(monkeypatch):
    write = recorder.write_atomically

    def full(path, content):
        if path.suffix == ".pt" and (path.parent / "last.pt").exists():
            raise StorageError("The disk is full.")
        write(path, content)

    monkeypatch.setattr(recorder, "write_atomically", full)
    trainer = Trainer(5, run="runs")
    with pytest.raises(StorageError, match="disk is full"):
        trainer.fit(Net(), Always())
    assert len(trainer.history) in (1, 2)  # it is noticed when the next one is to be written
    assert facts()["status"] == "failed"
    assert facts()["error"] == "StorageError: The disk is full."
    assert checkpoint.load("runs/net-1/checkpoints/last.pt")["position"]["epoch"] == 0


def test_curves_that_cannot_be_drawn_do_not_keep_the_rest_from_being_written(monkeypatch):
    def fail(*_):
        raise RuntimeError("odd")

    monkeypatch.setattr(recorder, "save_curve", fail)
    trainer = Trainer(1, run="runs")
    with pytest.raises(RuntimeError, match="odd"):
        trainer.fit(Net(), Always())
    assert facts()["status"] == "finished"


def test_a_run_leaves_no_thread_behind():
    before = threading.active_count()
    train()
    assert threading.active_count() == before


def test_a_board_without_training_has_no_run():
    with pytest.raises(ConfigError, match=r"Trainer\(run="):
        Run("runs").open(gradbook.ProgressBoard())


def test_a_run_that_cannot_be_kept_fails_before_training():
    Path("runs").write_text("a file")
    trainer = Trainer(1, run="runs")
    with pytest.raises(ConfigError, match="No folder for a run can be made"):
        trainer.fit(Net(), Always())
    assert trainer.train_batch_idx == 0


@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_checkpoints_come_after_a_whole_number_of_steps(value):
    with pytest.raises(ConfigError, match="every_n_steps"):
        Run("runs", every_n_steps=value)


# What a cold reader asked for


@pytest.mark.slow
def test_a_recorder_used_again_on_a_locked_run_leaves_that_run_as_it_is():
    train()
    before = Path("runs/net-1/run.json").read_bytes()
    run = Run("runs", "other")
    train(run=run)
    with recorder.FileLock("runs/net-1/lock"), pytest.raises(ConfigError, match="another process"):
        train(epochs=4, run=run, resume="runs/net-1")
    assert Path("runs/net-1/run.json").read_bytes() == before


def test_a_resume_that_fails_leaves_what_run_json_says():
    train()
    before = Path("runs/net-1/run.json").read_bytes()
    path = Path("runs/net-1/metrics.jsonl")
    path.write_bytes(path.read_bytes().replace(b"val_loss", b"val_lost", 1))
    with pytest.raises(CorruptFileError, match=r"metrics\.jsonl"):
        train(epochs=4, resume="runs/net-1")
    assert Path("runs/net-1/run.json").read_bytes() == before


def test_steps_are_updates_of_the_optimizer():
    train(epochs=2, accumulate_grad_batches=2)  # of three batches each
    assert facts()["steps"] == 4


def test_checkpoints_within_an_epoch_come_after_so_many_updates():
    steps = []

    class Watched(Run):
        def _save_checkpoint(self, *names):
            steps.append(self._trainer.num_steps)
            super()._save_checkpoint(*names)

    train(epochs=2, run=Watched("runs", every_n_steps=3), accumulate_grad_batches=2)
    assert steps == [0, 2, 3, 4]


def test_the_best_checkpoint_says_why_it_is_the_best():
    trainer = train(epochs=3)
    best = trainer.best
    assert facts()["best_checkpoint"] == {
        "label": "val_acc",
        "epoch": best.epoch,
        "value": best.value,
    }
    state = checkpoint.load("runs/net-1/checkpoints/best.pt")
    assert state["position"]["epoch"] == best.epoch


@pytest.mark.slow
def test_a_session_that_was_killed_is_told_when_the_run_goes_on():
    train()
    told = facts()
    told["sessions"][0] |= {"status": "running", "ended": None}
    write_run("runs/net-1", {**told, "status": "running", "seconds": 0.0, "metrics": None})
    recorded = checkpoint.load("runs/net-1/checkpoints/last.pt")["recorded_seconds"]
    train(epochs=4, resume="runs/net-1")
    assert [session["status"] for session in facts()["sessions"]] == ["killed", "finished"]
    assert facts()["seconds"] > recorded > 0


def test_a_failure_s_checkpoint_cannot_be_gone_on_with():
    with pytest.raises(ZeroDivisionError):
        train(Failing)
    with pytest.raises(CheckpointError, match="taken within a step"):
        train(Failing, resume="runs/failing-1/checkpoints/failed.pt")


@pytest.mark.slow
def test_a_failure_s_checkpoint_goes_when_the_run_is_finished():
    with pytest.raises(ZeroDivisionError):
        train(Failing)
    gradbook.seed_everything(1)
    model = Failing()
    model.training_step = lambda batch: Classifier.training_step(model, batch)
    Trainer(2, run="runs").fit(model, Always(), resume="runs/failing-1")
    assert not Path("runs/failing-1/checkpoints/failed.pt").exists()


@pytest.mark.slow
def test_going_on_from_a_run_without_keeping_it_is_told():
    train()
    gradbook.seed_everything(1)
    with pytest.warns(GradbookWarning, match=r"resumes from runs/net-1, but is not kept there"):
        Trainer(3).fit(Net(), Always(), resume="runs/net-1")


def test_a_finished_class_has_the_name_that_the_command_knows():
    data = gradbook.SyntheticRegressionData(num_train=8, num_val=8)
    Trainer(1, run="runs").fit(gradbook.LinearRegressionScratch(), data)
    told = facts("linear-regression-scratch-1")
    assert told["model"]["name"] == "linear-regression-scratch"
    assert told["data"]["name"] == "synthetic-regression"


class WorkerData(Always):
    """The same through worker processes."""

    def get_dataloader(self, train):
        rows = slice(0, 24) if train else slice(24, None)
        dataset = TensorDataset(self.X[rows], self.y[rows])
        return DataLoader(dataset, self.batch_size, shuffle=train, num_workers=1)


@pytest.mark.slow
def test_a_run_may_have_loaders_with_worker_processes():
    gradbook.seed_everything(1)
    Trainer(3, run="runs").fit(Net(), WorkerData())
    assert facts()["epochs"] == 3


@pytest.mark.slow
def test_another_run_s_checkpoint_is_not_gone_on_with():
    train()
    train()
    shutil.copy("runs/net-1/checkpoints/last.pt", "runs/net-2/checkpoints/last.pt")
    with pytest.raises(
        CorruptFileError, match=r"last\.pt is a checkpoint of another run, not of net-2"
    ):
        train(epochs=4, resume="runs/net-2")
    assert facts("net-2")["status"] == "finished"


@pytest.mark.slow
def test_a_watched_training_keeps_what_was_seen_of_its_gradients(tmp_path):
    torch.manual_seed(0)
    trainer = gradbook.Trainer(max_epochs=1, run=tmp_path, watch="gradients", display="off")
    trainer.fit(gradbook.LinearRegressionScratch(2), gradbook.SyntheticRegressionData())
    (folder,) = tmp_path.glob("linear-regression-scratch-1")
    assert {path.name for path in folder.glob("gradients.*")} == {
        "gradients.svg",
        "gradients.png",
        "gradients.json",
    }


def test_findings_are_kept_in_the_facts_each_once(tmp_path, monkeypatch):
    class Noticing(Sink):
        def close(self, status):
            self.trainer.findings = [*self.trainer.findings, "It is slow.", "It is slow."]

        def open(self, board, trainer=None):
            self.trainer = trainer

    run = Run(tmp_path)
    trainer = gradbook.Trainer(max_epochs=1, run=run, display="off")
    monkeypatch.setattr(watching, "watchers", lambda watch: [Noticing()])
    trainer.fit(gradbook.LinearRegressionScratch(2), gradbook.SyntheticRegressionData())
    assert read_run(run.folder)["findings"] == ["It is slow."]
