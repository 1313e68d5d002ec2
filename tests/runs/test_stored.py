import errno
import math
import os
from pathlib import Path

import filelock
import pytest
from tests.runs.folders import facts_of, make_run, metrics_of

from gradbook.errors import ConfigError, CorruptFileError
from gradbook.record import Metric
from gradbook.runs import stored
from gradbook.runs.format import read_run, write_run
from gradbook.runs.stored import (
    DamagedRun,
    StoredRun,
    find_folder,
    find_runs,
    is_being_trained,
    load,
)


@pytest.fixture
def held():
    """Holds a run's lock, as the process does that trains it."""
    locks = []

    def hold(folder):
        locks.append(filelock.FileLock(folder / "lock"))
        locks[-1].acquire()

    yield hold
    for lock in locks:
        lock.release()


def test_a_run_is_loaded_by_its_name_and_by_its_path():
    folder = make_run()
    assert load("mlp-1").folder == folder
    assert load(folder).folder == folder
    assert load(str(folder.absolute())).name == "mlp-1"
    assert load("mlp-1", runs=folder.parent.absolute()).name == "mlp-1"


def test_a_name_below_the_runs_comes_before_a_folder_here():
    folder = make_run()
    Path("mlp-1").mkdir()
    assert find_folder("mlp-1") == folder


def test_a_run_that_does_not_exist_is_explained():
    make_run()
    with pytest.raises(ConfigError, match=r"no run 'mpl-1'.*Did you mean 'mlp-1'\?"):
        load("mpl-1")


@pytest.mark.parametrize(
    ("run", "told"),
    [("", "name must be a text or a path.*''"), ("nothing/at/all", "There is no run")],
)
def test_no_name_is_no_run(run, told):
    with pytest.raises(ConfigError, match=told):
        load(run)


def test_the_name_is_the_folder_s_also_after_it_was_renamed(monkeypatch):
    make_run().rename("runs/best-one")
    assert load("best-one").name == "best-one"
    monkeypatch.chdir("runs/best-one")
    assert StoredRun(".").name == "best-one"


def test_the_history_holds_the_exact_means():
    history = StoredRun(make_run()).history
    expected = [m.y for m in metrics_of() if m.label == "val_acc" and m.kind == "epoch"]
    assert history["val_acc"] == expected
    assert [row["epoch"] for row in history] == [1, 2, 3]


def test_the_points_are_the_board_s():
    points = StoredRun(make_run()).points
    assert list(points) == ["train_loss", "val_loss", "val_acc"]
    assert points["val_acc"] == [
        m for m in metrics_of() if m.label == "val_acc" and m.kind == "point"
    ]


def test_where_a_run_diverged_is_in_its_history():
    folder = make_run(status="diverged", diverged="train_loss at step 3 (epoch 1)")
    assert StoredRun(folder).history.diverged == "train_loss at step 3 (epoch 1)"


def test_settings_can_be_read_where_the_values_are_damaged():
    folder = make_run()
    (folder / "metrics.jsonl").write_text("damaged\n")
    run = StoredRun(folder)
    assert (run.facts["seed"], run.epochs) == (1, 3)
    with pytest.raises(CorruptFileError, match=r"metrics\.jsonl"):
        _ = run.history


def test_the_results_of_a_closed_run_are_those_of_run_json():
    run = StoredRun(make_run(epochs=7))
    assert (run.epochs, run.final, run.best) == (7, run.facts["final"], run.facts["best"])


def test_the_results_of_a_killed_run_are_those_of_its_values():
    run = StoredRun(make_run(status="running"))
    assert (run.status, run.epochs) == ("killed", 3)
    assert run.final["val_acc"] == run.history[-1]["val_acc"]
    assert run.best["val_loss"]["epoch"] == 3


def test_a_run_whose_lock_is_held_is_running(held):
    folder = make_run(status="running")
    held(folder)
    assert StoredRun(folder).status == "running"


def test_a_lock_that_is_not_there_is_not_made():
    folder = make_run(status="running")
    (folder / "lock").unlink()
    assert StoredRun(folder).status == "killed"
    assert not (folder / "lock").exists()


def test_only_a_run_that_says_it_is_running_is_asked_for_its_lock(held):
    folder = make_run()
    held(folder)
    assert StoredRun(folder).status == "finished"


def test_a_run_that_ends_between_two_looks_is_not_killed(monkeypatch):
    folder = make_run(status="running")

    def end_meanwhile(folder):
        write_run(folder, read_run(folder) | {"status": "finished"})
        return False

    monkeypatch.setattr(stored, "is_being_trained", end_meanwhile)
    assert StoredRun(folder).status == "finished"


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.EROFS, "killed"), (errno.EACCES, "running")]
)
def test_a_lock_that_cannot_be_tried_is_free_only_where_nobody_can_write(
    monkeypatch, number, expected
):
    class Lock:
        def __init__(self, *args, **kwargs): ...

        def __enter__(self):
            raise OSError(number, os.strerror(number))

        def __exit__(self, *_): ...

    monkeypatch.setattr(filelock, "FileLock", Lock)
    assert StoredRun(make_run(status="running")).status == expected


def test_a_lock_that_leads_out_is_not_touched():
    folder = make_run(status="running")
    (folder / "lock").unlink()
    Path("target").touch()
    (folder / "lock").symlink_to(Path("target").absolute())
    with pytest.raises(CorruptFileError, match="leads out"):
        is_being_trained(folder)


def test_a_run_becomes_a_dataframe():
    frame = StoredRun(make_run()).to_pandas()
    assert list(frame.index) == [1, 2, 3]
    assert set(frame.columns) == {"train_loss", "val_loss", "val_acc"}


def test_a_run_draws_its_means():
    axes = StoredRun(make_run()).plot("val_acc")
    assert [line.get_label() for line in axes.lines] == ["val_acc"]


@pytest.mark.parametrize("which", ["best", "last"])
def test_a_checkpoint_is_found(which):
    folder = make_run()
    assert StoredRun(folder).checkpoint_path(which) == folder / f"checkpoints/{which}.pt"


def test_a_checkpoint_that_was_not_kept_is_explained():
    with pytest.raises(ConfigError, match=r"failed\.pt does not exist: mlp-1, which is finished"):
        StoredRun(make_run()).checkpoint_path("failed")


def test_a_checkpoint_of_another_name_is_refused():
    with pytest.raises(ConfigError, match=r"no checkpoint 'bset'\. Did you mean 'best'\?"):
        StoredRun(make_run()).checkpoint_path("bset")


def test_the_repr_says_what_was_reached():
    text = repr(StoredRun(make_run()))
    assert text == (
        "StoredRun mlp-1: mlp on fashion-mnist, finished, 3 of 3 epochs, "
        "best val_acc 0.8083 in epoch 3"
    )


def test_the_repr_of_a_run_that_was_killed_needs_no_values():
    folder = make_run(status="running")
    (folder / "metrics.jsonl").write_text("damaged\n")
    assert repr(StoredRun(folder)) == "StoredRun mlp-1: mlp on fashion-mnist, killed"


@pytest.mark.parametrize("status", ["finished", "running"])
def test_the_repr_has_no_control_characters(status):
    model = facts_of("a")["model"] | {"name": "evil\x1b[2J"}
    assert r"evil\x1b[2J on" in repr(StoredRun(make_run(model=model, status=status)))


def test_runs_are_listed_in_natural_order():
    for name in ("mlp-10", "mlp-9", "a-1"):
        make_run(name)
    assert [run.name for run in find_runs()] == ["a-1", "mlp-9", "mlp-10"]


def test_a_damaged_run_is_listed_with_its_reason():
    make_run("mlp-1")
    (make_run("mlp-2") / "run.json").write_text("")
    first, second = find_runs()
    assert first.status == "finished"
    assert isinstance(second, DamagedRun)
    assert second.name == "mlp-2"
    assert "run.json is damaged: it is empty" in second.reason


def test_what_is_no_run_is_passed_over():
    make_run()
    Path("runs/notes").mkdir()
    Path("runs/compare.svg").touch()
    assert [run.name for run in find_runs()] == ["mlp-1"]


def test_a_training_that_has_not_written_run_json_yet_is_passed_over(held):
    folder = make_run()
    (folder / "run.json").unlink()
    held(folder)
    assert find_runs() == []


def test_a_missing_run_json_is_damage_where_the_lock_leads_out():
    folder = make_run()
    (folder / "run.json").unlink()
    (folder / "lock").unlink()
    (folder / "lock").symlink_to("/")
    assert isinstance(find_runs()[0], DamagedRun)


def test_no_folder_for_runs_has_no_runs():
    assert find_runs("nowhere") == []


def test_a_file_in_place_of_the_folder_is_explained():
    Path("runs").touch()
    with pytest.raises(ConfigError, match=r"folder 'runs' cannot be read: Not a directory"):
        find_runs()


def test_a_value_that_is_not_finite_is_there_in_the_history():
    folder = make_run(metrics=[Metric("val_loss", 1, math.nan, "epoch")])
    run = StoredRun(folder)
    assert math.isnan(run.history["val_loss"][0])
    assert (run.final, run.best) == ({"val_loss": None}, {})


@pytest.mark.parametrize(("status", "seconds"), [("finished", 12.5), ("running", None)])
def test_the_seconds_of_a_run_that_never_ended_are_not_known(status, seconds):
    assert StoredRun(make_run(status=status)).seconds == seconds


CHOSEN = {"label": "val_acc", "epoch": 2, "value": 0.8}


@pytest.mark.parametrize(
    ("which", "changes", "epoch"),
    [
        ("best", {"best_checkpoint": CHOSEN}, 2),
        ("best", {"best_checkpoint": None}, None),
        ("best", {}, None),
        ("last", {}, 3),
        ("last", {"status": "diverged"}, 3),
        ("last", {"status": "interrupted"}, None),
        ("failed", {}, None),
    ],
)
def test_the_epoch_of_a_checkpoint_is_told_where_it_is_known(which, changes, epoch):
    assert StoredRun(make_run(**changes)).checkpoint_epoch(which) == epoch


def test_a_run_from_before_best_checkpoint_was_kept_has_none():
    assert StoredRun(make_run()).best_checkpoint is None


def test_what_run_json_says_is_held_against_the_values():
    folder = make_run()
    load("mlp-1").check_results()
    facts = read_run(folder)
    facts["best"]["val_acc"]["value"] = 0.999
    write_run(folder, facts)
    with pytest.raises(CorruptFileError, match=r"contradict each other about the best epochs"):
        load("mlp-1").check_results()


@pytest.mark.parametrize("given", [5, None, True, b"mlp-1", ["mlp-1"]])
def test_what_is_no_path_names_no_run(given):
    with pytest.raises(ConfigError, match=r"name must be a text or a path, such as 'mlp-1', but"):
        stored.load(given)
    with pytest.raises(
        ConfigError, match=r"folder of the runs must be .*such as 'runs', but it is"
    ):
        stored.find_runs(given)
