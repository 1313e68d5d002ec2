"""Which runs a folder has, whatever lies in it."""

import errno
import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from filelock import FileLock
from tests.runs.folders import facts_of, make_run, metrics_of

from gradbook.errors import ConfigError
from gradbook.lab import catalogue as catalogue_module
from gradbook.lab.catalogue import MAX_ITEMS, Catalogue
from gradbook.record import Metric
from gradbook.runs.format import MetricsLog, read_run, write_run
from gradbook.sweeps.format import write_sweep


@pytest.fixture
def runs():
    return Catalogue(Path("runs"))


def make_sweep(name="lr-sweep", members=("mlp-1", "mlp-2")):
    folder = Path("runs", name)
    folder.mkdir(parents=True)
    told = [
        {"values": {"lr": 0.1}, "folder": member, "setting": 0, "seconds": 1.0}
        | {"error": None, "alone": None}
        for member in members
    ]
    write_sweep(folder, {"members": told, "swept": {"lr": [0.1]}, "seconds": 2.0, "level": None})
    for member in members:
        make_run(f"{name}/{member}")
    return folder


def listed(catalogue):
    """The statuses by id, after a look."""
    catalogue.refresh()
    return {name: item.summary["status"] for name, item in catalogue.items.items()}


@pytest.fixture
def training():
    """Begins trainings, `training("mlp-1")`: folders whose lock is held; ended with the test."""
    held = []

    def begin(name="mlp-1", epochs=1):
        folder = make_run(name, metrics=metrics_of(epochs), status="running")
        lock = FileLock(folder / "lock")
        lock.acquire()
        held.append(lock)
        return folder, lock

    yield begin
    for lock in held:
        lock.release()


# Finding


def test_runs_are_listed_as_a_person_counts(runs):
    for number in (10, 9, 1):
        make_run(f"mlp-{number}")
    assert list(listed(runs)) == ["mlp-1", "mlp-9", "mlp-10"]


def test_a_folder_that_is_absent_has_no_runs_until_it_is_made(runs):
    assert listed(runs) == {}
    assert runs.error is None
    make_run()
    assert listed(runs) == {"mlp-1": "finished"}


def test_a_file_in_the_place_of_the_folder_is_told(runs):
    Path("runs").write_text("")
    assert listed(runs) == {}
    assert "cannot be read: Not a directory" in runs.error
    Path("runs").unlink()
    runs.refresh()
    assert runs.error is None


def test_a_folder_that_may_not_be_read_is_told(runs, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    make_run()
    runs.refresh()
    monkeypatch.setattr(os, "scandir", refuse)
    runs.refresh()
    assert "Permission denied" in runs.error


def test_a_sweep_has_its_members_behind_it(runs):
    make_sweep()
    make_run("mlp-3")
    assert list(listed(runs)) == ["lr-sweep", "lr-sweep/mlp-1", "lr-sweep/mlp-2", "mlp-3"]
    assert runs.items["lr-sweep"].summary["swept"] == ["lr"]
    assert runs.items["lr-sweep"].summary["num_members"] == 2
    assert runs.items["lr-sweep/mlp-1"].summary["sweep"] == "lr-sweep"
    assert runs.items["mlp-3"].summary["sweep"] is None
    assert runs.folder("lr-sweep/mlp-1") == Path("runs/lr-sweep/mlp-1")
    assert runs.folder("lr-sweep", "sweep") == Path("runs/lr-sweep")


def test_a_member_that_comes_later_is_found(runs):
    make_sweep()
    runs.refresh()
    make_run("lr-sweep/mlp-3")
    assert "lr-sweep/mlp-3" in listed(runs)


def test_runs_deeper_down_are_not_looked_for(runs):
    make_run("class/mlp-1")
    make_sweep("lr-sweep", ["a"])
    make_run("lr-sweep/deeper/mlp-1")
    assert list(listed(runs)) == ["lr-sweep", "lr-sweep/a"]


def test_other_folders_and_files_are_passed_over(runs):
    make_run()
    Path("runs/notes").mkdir()
    Path("runs/notes.txt").write_text("run.json")
    Path("runs/notes/readme.md").write_text("")
    assert list(listed(runs)) == ["mlp-1"]


def test_a_folder_that_becomes_a_run_is_one(runs):
    Path("runs/mlp-1").mkdir(parents=True)
    assert listed(runs) == {}
    assert listed(runs) == {}
    shutil.rmtree("runs/mlp-1")
    make_run()
    assert listed(runs) == {"mlp-1": "finished"}


# Changes


def test_a_look_that_finds_nothing_new_changes_nothing(runs):
    make_run()
    make_sweep()
    assert runs.refresh()
    version = runs.version
    assert not runs.refresh()
    assert runs.version == version


def test_what_is_new_since_a_version_is_told(runs):
    make_run("mlp-1")
    runs.refresh()
    version = runs.version
    make_run("mlp-2")
    runs.refresh()
    changed, gone = runs.changed_since(version)
    assert [summary["id"] for summary in changed] == ["mlp-2"]
    assert gone == []


def test_what_has_gone_is_told(runs):
    folder = make_run("mlp-1")
    runs.refresh()
    version = runs.version
    shutil.rmtree(folder)
    assert runs.refresh()
    assert runs.changed_since(version) == ([], ["mlp-1"])
    make_run("mlp-1")
    runs.refresh()
    changed, gone = runs.changed_since(version)
    assert ([summary["id"] for summary in changed], gone) == (["mlp-1"], [])


def test_what_has_long_gone_is_forgotten_and_the_list_starts_anew(runs, monkeypatch):
    monkeypatch.setattr(catalogue_module, "_NUM_GONE", 2)
    folders = [make_run(f"mlp-{number}") for number in range(4)]
    runs.refresh()
    version = runs.version
    for folder in folders:
        shutil.rmtree(folder)
    runs.refresh()
    assert len(runs.changed_since(version)[1]) == 2
    assert version < runs.oldest <= runs.version


def test_another_run_of_the_same_name_takes_its_place(runs):
    folder = make_run("mlp-1")
    runs.refresh()
    shutil.rmtree(folder)
    make_run("mlp-1", epochs=7, seed=9)
    assert runs.refresh()
    assert runs.items["mlp-1"].summary["hyperparameters"]["seed"] == 9


def test_a_run_that_is_damaged_and_repaired_is_shown_so(runs):
    folder = make_run()
    whole = (folder / "run.json").read_bytes()
    runs.refresh()
    (folder / "run.json").write_bytes(whole[:-10])
    assert listed(runs) == {"mlp-1": "damaged"}
    (folder / "run.json").write_bytes(whole)
    assert listed(runs) == {"mlp-1": "finished"}


# While they are trained


def test_a_run_that_is_trained_shows_how_far_it_is(runs, training):
    folder, _lock = training(epochs=1)
    assert listed(runs) == {"mlp-1": "running"}
    assert runs.is_live
    assert runs.items["mlp-1"].summary["epochs"] == 1
    log = MetricsLog(folder)
    log.append(Metric("train_loss", 2, 0.25, "epoch"))
    log.close()
    assert runs.refresh_open()
    assert runs.items["mlp-1"].summary["epochs"] == 2
    assert runs.items["mlp-1"].summary["best"]["train_loss"] == {"value": 0.25, "epoch": 2}
    assert not runs.refresh_open()


def test_a_run_whose_process_was_killed_is_shown_so(runs, training):
    _folder, lock = training(epochs=2)
    runs.refresh()
    lock.release()
    assert runs.refresh_open()
    assert runs.items["mlp-1"].summary["status"] == "killed"
    assert runs.items["mlp-1"].summary["epochs"] == 2
    assert not runs.is_live


def test_a_run_that_ends_is_shown_so(runs, training):
    folder, _lock = training(epochs=3)
    runs.refresh()
    log = MetricsLog(folder)
    log.close()
    closed = {"lines": log.lines, "crc": log.crc}
    write_run(folder, {**read_run(folder), "status": "finished", "metrics": closed})
    assert runs.refresh_open()
    assert runs.items["mlp-1"].summary["status"] == "finished"
    assert runs.items["mlp-1"].closed == closed


def test_a_run_that_is_removed_while_it_is_trained_goes_with_a_look_at_all(runs, training):
    folder, _lock = training()
    runs.refresh()
    shutil.rmtree(folder)
    runs.refresh_open()
    runs.refresh()
    assert runs.items == {}


def test_a_training_whose_values_are_damaged_is_listed_so(runs, training):
    folder, _lock = training()
    (folder / "metrics.jsonl").write_bytes(b"no line\n")
    assert listed(runs) == {"mlp-1": "damaged"}
    assert "line 1 is damaged" in runs.items["mlp-1"].summary["reason"]


def test_a_folder_that_a_training_has_just_claimed_is_no_run_yet(runs, training):
    folder, lock = training()
    (folder / "run.json").unlink()
    assert listed(runs) == {}
    lock.release()
    assert listed(runs) == {"mlp-1": "damaged"}
    assert "is missing" in runs.items["mlp-1"].summary["reason"]


# Values


def test_the_values_of_a_run_are_those_of_its_file(runs):
    make_run()
    runs.refresh()
    news, damage = runs.news("mlp-1")
    assert list(news.values) == metrics_of()
    assert damage is None
    again, _ = runs.news("mlp-1", news.position)
    assert (again.starts_anew, list(again.values)) == (False, [])


def test_only_runs_that_are_followed_are_read_by_a_look(runs):
    make_run()
    runs.refresh()
    assert runs.news("mlp-1", reads=False) is None
    runs.follow(["mlp-1", "mlp-2"])
    assert runs.refresh()
    assert len(runs.news("mlp-1", reads=False)[0].values) == len(metrics_of())
    assert not runs.refresh()
    assert runs.is_live
    runs.forget(["mlp-1", "mlp-2"])
    assert not runs.is_live


def test_two_pages_may_follow_the_same_run(runs):
    make_run()
    runs.follow(["mlp-1"])
    runs.follow(["mlp-1"])
    runs.forget(["mlp-1"])
    runs.refresh()
    assert runs.news("mlp-1", reads=False) is not None


def test_a_finished_run_that_lacks_values_is_told(runs):
    folder = make_run()
    (folder / "metrics.jsonl").unlink()
    runs.refresh()
    assert "is missing" in runs.news("mlp-1")[1]


def test_only_so_many_runs_are_kept_in_memory(runs, monkeypatch):
    monkeypatch.setattr(catalogue_module, "_NUM_TAILS", 2)
    for number in range(5):
        make_run(f"mlp-{number}")
    runs.refresh()
    runs.follow(["mlp-0"])
    runs.refresh()
    for number in range(5):
        runs.news(f"mlp-{number}")
    assert list(runs._tails) == ["mlp-0", "mlp-4"]


def test_of_many_runs_that_say_they_are_trained_only_so_many_are_kept(runs, training, monkeypatch):
    monkeypatch.setattr(catalogue_module, "_NUM_TAILS", 2)
    for number in range(4):
        training(f"mlp-{number}")
    assert set(listed(runs).values()) == {"running"}
    assert len(runs._tails) == 2


# Ids


@pytest.mark.parametrize(
    "item_id", ["../secret", "..", ".", "", "/etc", "mlp-1/..", "mlp-1/../mlp-1", "mlp-1/", "MLP-1"]
)
def test_an_id_that_no_look_has_found_leads_nowhere(runs, item_id):
    make_run()
    runs.refresh()
    for ask in (runs.folder, runs.news):
        with pytest.raises(ConfigError, match="There is no run"):
            ask(item_id)
    with pytest.raises(ConfigError, match="There is no sweep"):
        runs.folder("mlp-1", "sweep")


NAMES = [
    "<img src=x onerror=alert(1)>",
    "'\"`;&$",
    "a\nb\r\tc",
    "\u202egpj.exe\u2066",
    "한글 이름",
    "%2e%2e",
    "a,b?c#d&e=f",
    "-rf",
    "x" * 255,
    "한" * 85,
    " ",
    "...",
    "a\\b",
    "NUL",
    os.fsdecode(b"\xff\xfe"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_may_have_any_name(runs, name):
    make_run("mlp-1")
    Path("runs/mlp-1").rename(Path("runs", name))
    (item_id,) = listed(runs)
    assert item_id.isascii()
    assert not set(item_id) & set(" ,?#&=<>\"'\n\\")
    assert runs.folder(item_id) == Path("runs", name)
    assert runs.items[item_id].summary["name"] == name
    json.dumps(runs.items[item_id].summary).encode()


def test_different_names_have_different_ids(runs):
    for name in NAMES:
        make_run("mlp-1")
        Path("runs/mlp-1").rename(Path("runs", name))
    assert len(listed(runs)) == len(NAMES)


# What may lie there


def test_links_are_not_followed(runs, tmp_path):
    make_run("mlp-1").rename(tmp_path / "elsewhere")
    Path("runs/mlp-2").symlink_to(tmp_path / "elsewhere")
    Path("runs/all").symlink_to(tmp_path)
    Path("runs/round").symlink_to("..")
    assert listed(runs) == {}


def test_a_folder_that_was_replaced_by_a_link_leads_nowhere(runs, tmp_path):
    folder = make_run("mlp-1")
    runs.refresh()
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="leads out"):
        runs.folder("mlp-1")


def damaged(runs, *others):
    """The reason of the one damaged run beside a good one."""
    make_run("good-1")
    found = listed(runs)
    assert found.pop("good-1") == "finished"
    assert set(found.values()) == {"damaged"}
    (item_id,) = found
    return runs.items[item_id].summary["reason"]


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "link out", "link to itself"])
def test_a_run_json_that_is_no_file_is_damaged(runs, tmp_path, kind):
    folder = make_run()
    path = folder / "run.json"
    path.rename(tmp_path / "run.json")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"device": "/dev/zero", "link out": tmp_path / "run.json"}.get(kind, path))
    assert damaged(runs)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"null", b"[]", b"\xff", b"\0" * 1000, b"1" * 10_000, b'"' + b"x" * 100_000),
        *(b"[" * 1_000_000, b'{"a":' * 100_000, b'{"format": "gradbook run", "version": 99}'),
        *(b'{"format": "gradbook run"}', b"NaN", b'{"format": "gradbook run", "format": 1}'),
    ],
)
def test_a_run_json_of_any_content_is_damaged(runs, content):
    (make_run() / "run.json").write_bytes(content)
    assert damaged(runs)


def test_a_gigantic_run_json_is_not_read(runs, monkeypatch):
    with open(make_run() / "run.json", "wb") as stream:
        stream.truncate(60 << 20)
    monkeypatch.setattr(catalogue_module, "StoredRun", lambda *_: pytest.fail("it is read"))
    runs.refresh()
    assert "62,914,560 bytes" in runs.items["mlp-1"].summary["reason"]


def test_a_run_json_that_may_not_be_read_is_damaged(runs, monkeypatch):
    make_run("mlp-1")
    lstat = os.lstat

    def refuse(path, **options):
        if str(path).endswith(os.path.join("mlp-1", "run.json")):
            raise PermissionError(errno.EACCES, "Permission denied")
        return lstat(path, **options)

    monkeypatch.setattr(os, "lstat", refuse)
    assert "Permission denied" in damaged(runs)


def test_a_sweep_json_that_is_wrong_is_damaged(runs):
    folder = make_sweep()
    make_run("mlp-1")
    (folder / "sweep.json").write_text("{}")
    assert listed(runs)["lr-sweep"] == "damaged"
    assert listed(runs)["lr-sweep/mlp-1"] == "finished"
    with open(folder / "sweep.json", "wb") as stream:
        stream.truncate(60 << 20)
    assert listed(runs)["lr-sweep"] == "damaged"


def test_a_folder_of_a_sweep_that_may_not_be_read_spoils_no_other(runs, monkeypatch):
    make_sweep()
    make_run("mlp-9")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("lr-sweep"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert listed(runs) == {"lr-sweep": "whole", "mlp-9": "finished"}
    assert "lr-sweep' cannot be read: Permission denied" in runs.error


def test_a_run_that_vanishes_between_look_and_read_is_passed_over(runs, monkeypatch):
    make_run("mlp-1")
    make_run("mlp-2")
    read = catalogue_module.StoredRun

    def vanish(folder, *values):
        if folder.name == "mlp-1":
            shutil.rmtree(folder)
        return read(folder, *values)

    monkeypatch.setattr(catalogue_module, "StoredRun", vanish)
    assert listed(runs) == {"mlp-2": "finished"}


def test_a_fault_that_nobody_has_thought_of_spoils_one_run_only(runs, monkeypatch):
    make_run("mlp-1")
    summary = catalogue_module.summary_of

    def fail(run):
        if run.name == "mlp-1":
            raise ZeroDivisionError("by nothing")
        return summary(run)

    monkeypatch.setattr(catalogue_module, "summary_of", fail)
    assert "by nothing" in damaged(runs)


def test_what_the_list_says_of_a_run_has_a_bound(runs):
    many = {f"label-{number}" * 20: float(number) for number in range(10_000)}
    huge = {"a": "x" * 10_000_00, "b": list(range(100_000)), "c": {"d": "y" * 1000}, "lr": 0.5}
    folder = make_run()
    facts = facts_of("mlp-1", final=many, metrics={"lines": 18, "crc": "0" * 8})
    facts["model"]["name"] = "<b>" * 10_000
    facts["model"]["hyperparameters"] = huge
    facts["best"] = {"val_acc": {"value": 0.9, "epoch": 2}}
    write_run(folder, facts)
    runs.refresh()
    summary = runs.items["mlp-1"].summary
    assert len(json.dumps(summary)) < 20_000
    assert summary["hyperparameters"]["lr"] == 0.5
    assert summary["best"] == {"val_acc": {"value": 0.9, "epoch": 2}}
    assert (summary["id"], summary["status"]) == ("mlp-1", "finished")


def test_a_reason_has_a_bound(runs, monkeypatch):
    def fail(run):
        raise ValueError("x" * 1_000_000)

    make_run("mlp-1")
    monkeypatch.setattr(catalogue_module, "summary_of", fail)
    runs.refresh()
    assert len(runs.items["mlp-1"].summary["reason"]) < 1100


def test_many_other_folders_hide_no_run(runs):
    make_run("mlp-1")
    for number in range(300):
        Path("runs", f"folder-{number}").mkdir()
    assert list(listed(runs)) == ["mlp-1"]
    assert not runs.refresh()


def test_of_too_many_runs_some_are_shown_and_that_is_said(runs, monkeypatch):
    monkeypatch.setattr(catalogue_module, "MAX_ITEMS", 3)
    for number in range(5):
        make_run(f"mlp-{number}")
    assert len(listed(runs)) == 3
    assert "more than 3 runs" in runs.error
    assert MAX_ITEMS >= 1000


# Looks that take long


def test_a_look_that_takes_long_tells_what_it_has_found(runs, monkeypatch):
    monkeypatch.setattr(catalogue_module, "_PART_SECONDS", -1)
    for number in range(3):
        make_run(f"mlp-{number}")
    parts = []
    runs.refresh(lambda: parts.append((list(runs.items), runs.version)))
    names = [f"mlp-{number}" for number in range(3)]
    assert parts == [(names[:1], 1), (names[:2], 2), (names, 3)]


def test_what_is_known_can_be_asked_for_while_a_look_waits(runs, monkeypatch):
    make_run("mlp-1")
    runs.refresh()
    reached, release = threading.Event(), threading.Event()
    scandir = os.scandir

    def slow(path):
        reached.set()
        release.wait()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", slow)
    look = threading.Thread(target=runs.refresh)
    look.start()
    reached.wait()
    assert len(runs.changed_since(-1)[0]) == 1
    assert runs.folder("mlp-1") == Path("runs/mlp-1")
    runs.follow(["mlp-1"])
    runs.forget(["mlp-1"])
    release.set()
    look.join()
