"""`gradbook compare`."""

import json
import os
from pathlib import Path

import pytest
from tests.runs.folders import make_run, metrics_of

from gradbook.cli import main


def make(*rates, **changes):
    for number, rate in enumerate(rates, start=1):
        make_run(f"mlp-{number}", metrics_of(rate=rate), {"lr": rate}, **changes)


@pytest.mark.slow
def test_only_what_differs_is_shown(capsys):
    make(0.1, 0.3)
    assert main(["compare", "mlp-1", "mlp-2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:3]] == [["mlp-1", "mlp-2"], ["lr", "0.1", "0.3"], []]


@pytest.mark.slow
def test_a_setting_that_a_run_lacks_is_a_dash(capsys):
    make_run("mlp-1")
    make_run("mlp-2", git=None)
    main(["compare", "mlp-1", "mlp-2"])
    assert "git_commit  1a2b3c4      -\n" in capsys.readouterr().out


@pytest.mark.slow
def test_runs_without_a_difference_are_told_so(capsys):
    make(0.1, 0.1)
    main(["compare", "mlp-1", "mlp-2"])
    assert "Nothing differs in model, data, hyperparameters, seed" in capsys.readouterr().out


@pytest.mark.slow
def test_the_results_are_a_table(capsys):
    make(0.1, 0.3)
    main(["compare", "mlp-1", "mlp-2"])
    lines = capsys.readouterr().out.splitlines()
    head = next(line for line in lines if "status" in line)
    assert "best val_acc (epoch)" in head
    assert "best train_loss" not in head
    row = lines[lines.index(head) + 1].split()
    assert row[:4] == ["mlp-1", "finished", "3/3", "12.5"]
    assert row[-2:] == ["0.8083", "(3)"]


@pytest.mark.slow
def test_a_label_that_a_run_lacks_is_a_dash(capsys):
    make_run("mlp-1")
    make_run("mlp-2", [m for m in metrics_of() if m.label != "val_acc"])
    main(["compare", "mlp-1", "mlp-2"])
    row = next(line for line in capsys.readouterr().out.splitlines() if "mlp-2  finished" in line)
    assert row.split()[-2:] == ["-", "-"]


@pytest.mark.slow
def test_a_narrow_terminal_gets_several_tables(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    make(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    main(["compare", *(f"mlp-{i}" for i in range(1, 8))])
    tables = capsys.readouterr().out.split("\n\n")
    assert max(len(line) for table in tables[:-1] for line in table.splitlines()) <= 40
    assert tables[0].split()[:5] == ["mlp-1", "mlp-2", "mlp-3", "mlp-4", "mlp-5"]
    assert tables[1].split() == ["mlp-6", "mlp-7", "lr", "0.6", "0.7"]


@pytest.mark.slow
def test_the_picture_is_beside_the_first_run_in_two_kinds(capsys):
    make(0.1, 0.3)
    main(["compare", "mlp-1", "mlp-2"])
    assert Path("runs/compare.svg").read_bytes().startswith(b"<?xml")
    assert Path("runs/compare.png").read_bytes().startswith(b"\x89PNG")
    told = " ".join(capsys.readouterr().out.split())
    files = f"{Path('runs/compare.svg')}, {Path('runs/compare.png')}"
    assert f" picture: {files} (the next comparison takes their place" in told


@pytest.mark.slow
def test_a_run_that_is_the_working_folder_has_the_picture_beside_it(monkeypatch):
    make(0.1, 0.3)
    monkeypatch.chdir("runs/mlp-1")
    assert main(["compare", ".", "../mlp-2"]) == 0
    assert Path("../compare.svg").exists()


@pytest.mark.slow
def test_the_picture_can_be_put_elsewhere(capsys):
    make(0.1, 0.3)
    assert main(["compare", "mlp-1", "mlp-2", "--output", "a.png"]) == 0
    assert Path("a.png").exists()
    assert not Path("runs/compare.svg").exists()
    assert capsys.readouterr().out.splitlines()[-1] == "picture: a.png"


def test_another_kind_of_picture_is_bad_usage(capsys):
    make(0.1, 0.3)
    assert main(["compare", "mlp-1", "mlp-2", "--output", "a.pdf"]) == 2
    assert "a picture ends in .svg or .png, but not 'a.pdf'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_tables_are_shown_where_the_picture_cannot_be_written(capsys):
    make(0.1, 0.3)
    Path("file").touch()
    assert main(["compare", "mlp-1", "mlp-2", "--output", "file/a.png"]) == 1
    told = capsys.readouterr()
    assert "lr" in told.out
    assert "a.png cannot be written" in told.err


def test_runs_without_an_epoch_have_no_picture(capsys):
    make_run("mlp-1", [])
    make_run("mlp-2", [])
    assert main(["compare", "mlp-1", "mlp-2"]) == 0
    assert "No picture: none of these runs" in capsys.readouterr().out


@pytest.mark.slow
def test_the_facts_are_there_as_json(capsys):
    make(0.1, 0.3)
    assert main(["compare", "mlp-1", "mlp-2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["differences"] == {"lr": {"mlp-1": 0.1, "mlp-2": 0.3}}
    assert [each["name"] for each in told["results"]] == ["mlp-1", "mlp-2"]
    assert [Path(path).name for path in told["pictures"]] == ["compare.svg", "compare.png"]


@pytest.mark.slow
def test_runs_of_the_same_name_are_told_apart(capsys):
    make(0.1)
    os.rename("runs", "others")
    make(0.3)
    main(["compare", "mlp-1", "others/mlp-1", "--json"])
    told = json.loads(capsys.readouterr().out)
    names = [str(Path("runs/mlp-1")), str(Path("others/mlp-1"))]
    assert list(told["differences"]["lr"]) == names


@pytest.mark.parametrize("names", [[], ["mlp-1"]])
def test_fewer_than_two_runs_are_bad_usage(capsys, names):
    make(0.1)
    assert main(["compare", *names]) == 2
    assert "Name two runs or more" in capsys.readouterr().err


def test_a_run_that_is_named_twice_is_bad_usage(capsys):
    make(0.1, 0.3)
    assert main(["compare", "mlp-1", "mlp-2", "runs/mlp-1"]) == 2
    assert "'mlp-1' is named more than once" in capsys.readouterr().err


def test_the_help_is_there(capsys):
    assert main(["compare", "--help"]) == 0
    assert "usage: gradbook compare" in capsys.readouterr().out
