import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.patience import LONGEST

from gradbook.errors import ConfigError, DivergenceWarning, GradbookWarning, MissingExtraError
from gradbook.trackers.wandb import WandB

# It takes seconds to import: no test run that leaves these out is to wait for it.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed"),
]


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Its process has as long to begin as it needs."""
    monkeypatch.setenv("WANDB_X_SERVICE_WAIT", str(LONGEST))


def records(folder):
    """What the only run below `folder` holds, record by record.

    A .wandb file is a log of protocol buffers: 7 bytes that name the format, then for each record
    its checksum (4 bytes), its length (2 bytes) and its kind (1 byte). Here everything fits into
    one block, so that there are only whole records, of kind 1.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    found, at = [], 7
    while at < len(content):
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        assert kind == 1
        found.append(Record.FromString(content[at + 7 : at + 7 + size]))
        at += 7 + size
    return found


def rows(folder):
    return [
        {item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        for record in records(folder)
        if record.HasField("history")
    ]


def points(folder, name, x="_step"):
    return [(row[x], row[name]) for row in rows(folder) if name in row]


@pytest.fixture
def processes(monkeypatch):
    """The processes that are started."""
    started = []

    class Popen(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    return started


def test_points_are_in_the_run_at_their_batches(fit):
    trainer = fit(WandB())
    board = [point.y for point in trainer.model.board.data["train_loss"]]
    assert points(Path("runs"), "train_loss") == list(zip([1, 3, 5, 7], board, strict=True))


def test_means_are_in_the_run_at_their_epochs(fit, tmp_path):
    trainer = fit(WandB(folder=tmp_path))
    means = list(zip([1, 2], trainer.history["val_loss"], strict=True))
    assert points(tmp_path, "epoch/val_loss", x="epoch") == means
    axes = [record.metric for record in records(tmp_path) if record.HasField("metric")]
    # Older ones write besides what follows for each of the names.
    axes = [(axis.glob_name, axis.step_metric) for axis in axes if axis.glob_name]
    assert axes == [("epoch/*", "epoch")]


def test_nan_and_infinity_are_recorded(fit, tmp_path):
    with pytest.warns(DivergenceWarning):
        fit(WandB(folder=tmp_path), lr=1e30)
    assert any(not math.isfinite(loss) for _, loss in points(tmp_path, "train_loss"))


def test_project_name_and_settings_are_recorded(fit, tmp_path):
    fit(WandB(project="homework", folder=tmp_path), lr=0.25)
    run = next(record.run for record in records(tmp_path) if record.HasField("run"))
    settings = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (run.project, run.display_name) == ("homework", "linear-regression")
    assert (settings["model/class"], settings["model/lr"]) == ("LinearRegression", 0.25)


def ending(folder):
    (code,) = [record.exit.exit_code for record in records(folder) if record.HasField("exit")]
    summaries = [item for record in records(folder) for item in record.summary.update]
    (status,) = [json.loads(item.value_json) for item in summaries if item.key == "status"]
    return code, status


def test_a_finished_training_exits_with_0(fit, tmp_path):
    fit(WandB(folder=tmp_path))
    assert ending(tmp_path) == (0, "finished")


def test_a_training_that_diverges_exits_with_1(fit, tmp_path):
    with pytest.warns(DivergenceWarning):
        fit(WandB(folder=tmp_path), lr=1e30)
    assert ending(tmp_path) == (1, "diverged")


def test_an_interrupted_training_exits_with_130(fit, tmp_path, interrupted_model):
    with pytest.raises(KeyboardInterrupt):
        fit(WandB(folder=tmp_path), model=interrupted_model)
    assert ending(tmp_path) == (130, "interrupted")


def test_afterwards_the_process_is_as_before(fit, processes):
    hooks = sys.exit, sys.excepthook
    environment = dict(os.environ)
    fit(WandB())
    assert processes
    assert all(process.poll() is not None for process in processes)
    assert (sys.exit, sys.excepthook) == hooks
    assert dict(os.environ) == environment


def test_nothing_is_printed(fit, capfd):
    fit(WandB())
    assert capfd.readouterr() == ("", "")


def test_neither_code_nor_facts_about_the_machine_are_recorded(fit, tmp_path):
    fit(WandB(folder=tmp_path))
    assert list(tmp_path.glob("wandb/offline-run-*/files/*")) == []


def test_a_run_of_the_learners_own_goes_on(fit, tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    for hook in ("exit", "excepthook"):  # which the learner's run puts its own in the place of
        monkeypatch.setattr(sys, hook, getattr(sys, hook))
    own = wandb.init(mode="offline", dir=str(tmp_path), settings=wandb.Settings(silent=True))
    try:
        fit(WandB())
        assert wandb.run is own
        own.log({"loss": 0.5})
        own.finish()
    finally:
        wandb.teardown()
    assert points(tmp_path, "loss") == [(0, 0.5)]


def test_a_folder_that_cannot_be_made_stops_no_training(fit, tmp_path, processes):
    (tmp_path / "file").touch()
    with pytest.warns(GradbookWarning, match="WandB records nothing more"):
        trainer = fit(WandB(folder=tmp_path / "file"))
    assert trainer.status == "finished"
    assert all(process.poll() is not None for process in processes)


def test_a_mode_that_is_not_known_is_refused():
    with pytest.raises(ConfigError, match="'offline' or 'online', but is 'of'"):
        WandB(mode="of")


def test_without_wandb_the_way_to_install_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"'wandb'.*pip install wandb"):
        WandB()
