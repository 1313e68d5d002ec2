"""`gradbook rm`."""

import io
import json
import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from tests.runs.folders import make_run

from gradbook.cli import main


@pytest.fixture
def answer(monkeypatch):
    """Puts a person with an answer at the terminal."""

    def give(text):
        stream = io.StringIO(text)
        stream.isatty = lambda: True
        monkeypatch.setattr("sys.stdin", stream)

    return give


def test_a_run_is_removed_with_all_its_files(capsys):
    folder = make_run()
    make_run("mlp-2")
    assert main(["rm", "mlp-1", "--yes"]) == 0
    assert not folder.exists()
    assert Path("runs/mlp-2/run.json").exists()
    assert capsys.readouterr().out == f"removed {folder}\n"


def test_several_runs_are_removed_at_once(capsys):
    make_run("mlp-1")
    make_run("mlp-2")
    assert main(["rm", "mlp-1", "runs/mlp-2", "mlp-1", "--yes", "--json"]) == 0
    removed = [str(Path("runs/mlp-1")), str(Path("runs/mlp-2"))]
    assert json.loads(capsys.readouterr().out)["removed"] == removed


@pytest.mark.parametrize("text", ["y\n", "YES\n"])
def test_a_yes_removes(answer, capsys, text):
    folder = make_run()
    answer(text)
    assert main(["rm", "mlp-1"]) == 0
    assert not folder.exists()
    assert capsys.readouterr().err == f"Remove {folder} for good? [y/N] "


@pytest.mark.parametrize("text", ["", "\n", "n\n", "yep\n"])
def test_anything_else_removes_nothing(answer, capsys, text):
    folder = make_run()
    answer(text)
    assert main(["rm", "mlp-1"]) == 0
    assert (folder / "run.json").exists()
    assert capsys.readouterr().out == "Nothing was removed.\n"


def test_what_changed_before_the_answer_came_is_noticed(capsys, monkeypatch):
    folder = make_run()

    class Slow(io.StringIO):
        def isatty(self):
            return True

        def readline(self):
            (folder / "notes.txt").touch()
            return "y\n"

    monkeypatch.setattr("sys.stdin", Slow())
    assert main(["rm", "mlp-1"]) == 1
    assert "notes.txt. Nothing was removed" in capsys.readouterr().err
    assert (folder / "run.json").exists()


def test_without_a_terminal_nothing_is_removed(capsys, monkeypatch):
    folder = make_run()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(["rm", "mlp-1"]) == 2
    assert (folder / "run.json").exists()
    assert "Give --yes to remove without a question" in capsys.readouterr().err


def test_a_run_that_is_being_trained_is_kept(capsys):
    folder = make_run(status="running")
    with FileLock(folder / "lock"):
        assert main(["rm", "mlp-1", "--yes"]) == 1
    assert "is being trained. Nothing was removed." in capsys.readouterr().err
    assert (folder / "metrics.jsonl").exists()


def test_one_run_that_cannot_go_keeps_all(capsys):
    first, second = make_run("mlp-1"), make_run("mlp-2")
    with FileLock(second / "lock"):
        assert main(["rm", "mlp-1", "mlp-2", "--yes"]) == 1
    assert first.exists()


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "checkpoints/mine.pt", "run.json.txt", "sub/run.json", "inspect/mine.png"],
)
def test_a_file_that_is_not_a_run_s_keeps_everything(capsys, name):
    folder = make_run()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    assert main(["rm", "mlp-1", "--yes"]) == 1
    assert name in capsys.readouterr().err
    assert (folder / "run.json").exists()
    assert (folder / "checkpoints/last.pt").exists()


@pytest.mark.parametrize("name", ["inspect", "checkpoints"])
def test_a_file_in_the_place_of_a_run_s_folder_keeps_everything(capsys, name):
    folder = make_run()
    if (folder / name).is_dir():
        shutil.rmtree(folder / name)
    (folder / name).touch()
    before = sorted(folder.rglob("*"))
    assert main(["rm", "mlp-1", "--yes"]) == 1
    assert f"holds what is not of a run: {name}." in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


def test_many_unknown_files_are_not_all_listed(capsys):
    folder = make_run()
    for index in range(9):
        (folder / f"notes-{index}").touch()
    main(["rm", "mlp-1", "--yes"])
    assert ", ..." in capsys.readouterr().err


def test_what_an_interrupted_write_left_is_removed():
    folder = make_run()
    (folder / "run.json.123.part").touch()
    (folder / "checkpoints/last.pt.123.part").touch()
    assert main(["rm", "mlp-1", "--yes"]) == 0
    assert not folder.exists()


def test_a_run_without_checkpoints_is_removed():
    folder = make_run()
    for path in (folder / "checkpoints").iterdir():
        path.unlink()
    (folder / "checkpoints").rmdir()
    assert main(["rm", "mlp-1", "--yes"]) == 0
    assert not folder.exists()


def test_a_folder_that_is_no_run_is_kept(capsys):
    Path("runs/mine").mkdir(parents=True)
    Path("runs/mine/metrics.jsonl").touch()
    assert main(["rm", "mine", "--yes"]) == 2
    assert "has no run.json, so that it may be no run" in capsys.readouterr().err
    assert Path("runs/mine/metrics.jsonl").exists()


def test_a_link_to_a_run_is_not_followed(capsys):
    folder = make_run()
    Path("link").symlink_to(folder)
    assert main(["rm", "link", "--yes"]) == 2
    assert "is a link to" in capsys.readouterr().err
    assert (folder / "run.json").exists()


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints"])
def test_what_a_link_in_a_run_leads_to_is_kept(name):
    folder = make_run()
    os.rename(folder / name, "elsewhere")
    (folder / name).symlink_to(Path("elsewhere").absolute())
    content = [path.name for path in Path("elsewhere").rglob("*")]
    assert main(["rm", "mlp-1", "--yes"]) == 0
    assert not folder.exists()
    assert Path("elsewhere").exists()
    assert [path.name for path in Path("elsewhere").rglob("*")] == content


def test_a_file_that_cannot_be_removed_is_named_and_run_json_stays(capsys, monkeypatch):
    folder = make_run()
    make_run("mlp-2")
    unlink = Path.unlink

    def refuse(path, *arguments):
        if path.name == "curve.svg" and "mlp-2" in str(path):
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, *arguments)

    monkeypatch.setattr(Path, "unlink", refuse)
    assert main(["rm", "mlp-1", "mlp-2", "--yes"]) == 1
    told = capsys.readouterr()
    assert "curve.svg cannot be removed: Operation not permitted" in told.err
    assert told.out == f"removed {folder}\n"
    assert Path("runs/mlp-2/run.json").exists()


def test_a_run_must_be_named(capsys):
    assert main(["rm", "--yes"]) == 2
    assert "Name a run" in capsys.readouterr().err


def test_a_run_that_does_not_exist_is_bad_usage(capsys):
    assert main(["rm", "mlp-1", "--yes"]) == 2
    assert "There is no run 'mlp-1'" in capsys.readouterr().err


def test_the_help_is_there(capsys):
    assert main(["rm", "--help"]) == 0
    assert "usage: gradbook rm" in capsys.readouterr().out


def test_what_inspect_and_export_added_goes_too():
    folder = make_run()
    (folder / "inspect").mkdir()
    for name in ("inspect/confusion.svg", "inspect/weights.png", "model.onnx", "model.pt2"):
        (folder / name).touch()
    assert main(["rm", "mlp-1", "--yes"]) == 0
    assert not folder.exists()
