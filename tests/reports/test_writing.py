"""The page of a report, and its file."""

import os
from pathlib import Path

import pytest
from tests.reports.reading import Page, assert_harmless
from tests.runs.folders import make_run, metrics_of
from tests.sweeps.written import make_rates

import gradbook
from gradbook.errors import ConfigError, GradbookWarning, StorageError
from gradbook.record import Metric
from gradbook.reports import writing
from gradbook.runs import DamagedRun, StoredRun

pytestmark = pytest.mark.usefixtures("blank_figures")

HOSTILE = "<script>alert(1)</script>\"' onload=x \u202e{{ 7 * 7 }}</style><img src=http://a.b>"


def written(*runs, **options):
    """The page of a report without a look at the models."""
    path = gradbook.report(list(runs), inspect=False, **options)
    return assert_harmless(path.read_text(encoding="utf-8"))


def test_a_report_says_who_hands_it_in_and_when(monkeypatch):
    make_run()
    monkeypatch.setattr(writing, "today", lambda: "2026-03-01")
    page = written("mlp-1", title="Homework 3", author="Kim Minji")
    assert page.headings[0] == "Homework 3"
    assert "Kim Minji, 2026-03-01" in page.text


def test_without_a_title_the_run_is_named():
    make_run()
    assert written("mlp-1").headings[:2] == ["Report on mlp-1", "mlp-1"]


def test_a_report_is_on_one_run_without_a_list():
    make_run()
    assert gradbook.report("mlp-1", inspect=False) == Path("report.html")


def test_a_stored_run_is_taken_as_it_is():
    run = StoredRun(make_run())
    assert written(run).headings[1] == "mlp-1"


def test_of_several_parts_there_is_a_list():
    make_run("mlp-1")
    make_run("mlp-2", hyperparameters={"lr": 0.3})
    page = written("mlp-1", "mlp-2")
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    parts = [attributes["id"] for tag, attributes in page.elements if tag == "section"]
    assert links == [f"#{part}" for part in parts]
    assert len(parts) == 3


def test_a_sweep_stands_beside_a_run():
    make_run()
    sweep = make_rates()
    assert written("mlp-1", sweep.folder).headings[0] == "Report on 1 sweep and 1 run"


def test_the_same_runs_give_the_same_bytes(monkeypatch):
    make_run("mlp-1")
    make_run("mlp-2", hyperparameters={"lr": 0.3})
    monkeypatch.setattr(writing, "today", lambda: "2026-03-01")
    first, again = (
        gradbook.report(["mlp-1", "mlp-2"], name, inspect=False).read_bytes()
        for name in ("a.html", "b.html")
    )
    assert first == again


def test_texts_of_a_stranger_are_only_texts():
    metrics = [Metric(f"val_{HOSTILE}", 1, 0.5, kind) for kind in ("epoch", "point")]
    make_run(
        metrics=[*metrics_of(), *metrics],
        hyperparameters={HOSTILE: HOSTILE},
        findings=[HOSTILE],
        error=HOSTILE,
        platform=HOSTILE,
        device=HOSTILE,
        status="failed",
        command=["train", HOSTILE],
        git={"commit": HOSTILE, "dirty": True},
    )
    page = written("mlp-1", title=HOSTILE, author=HOSTILE)
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert page.headings[0] == shown
    assert f"Noticed: {shown}" in page.text
    assert f"val_{shown}" in page.tables["The means of each epoch"][0]
    assert shown in page.pairs["system"]


def test_the_name_of_a_folder_is_only_a_text():
    name = "<b onclick=alert(1)>&amp;"
    make_run().rename(f"runs/{name}")
    assert written(name).headings == [f"Report on {name}", name, *written(name).headings[2:]]


def test_a_damaged_run_is_shown_as_damaged_beside_the_others():
    make_run("mlp-1")
    Path(make_run("mlp-2"), "run.json").write_text("{}")
    with pytest.warns(GradbookWarning, match="mlp-2 is damaged"):
        page = written("mlp-1", "mlp-2")
    assert page.headings.count("mlp-2") == 1
    assert "run.json is damaged" in page.text
    assert "Verdict" in page.text


def test_values_that_are_damaged_leave_the_settings():
    folder = make_run()
    with open(folder / "metrics.jsonl", "ab") as stream:
        stream.write(b"rubbish\n")
    folder.joinpath("metrics.jsonl").write_bytes(b"rubbish\n")
    with pytest.warns(GradbookWarning, match="mlp-1 is damaged"):
        page = written("mlp-1")
    assert "This run is damaged" in page.text
    assert page.pairs["seed"] == ["1"]


def test_two_runs_of_one_name_are_told_apart():
    make_run()
    Path("runs").rename("other")
    make_run()
    assert written("mlp-1", "other/mlp-1").headings.count("mlp-1 (2)") == 1


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "Name a run or a sweep"),
        (["mlp-3"], "no run 'mlp-3'"),
        (["mlp-1", "runs/mlp-1"], "'mlp-1' is named more than once"),
    ],
)
def test_what_cannot_be_reported_on_is_said(runs, message):
    make_run()
    with pytest.raises(ConfigError, match=message):
        written(*runs)
    assert not Path("report.html").exists()


def test_an_earlier_report_is_replaced():
    make_run()
    written("mlp-1", title="first")
    assert written("mlp-1", title="second").headings[0] == "second"


@pytest.mark.parametrize("content", [b"", b"<!doctype html><title>mine</title>", b"\xff" * 3000])
def test_another_file_is_not_overwritten(content):
    make_run()
    Path("report.html").write_bytes(content)
    with pytest.raises(ConfigError, match="is no report of gradbook's"):
        written("mlp-1")
    assert Path("report.html").read_bytes() == content


def test_a_folder_in_the_files_place_is_refused():
    make_run()
    Path("report.html").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        written("mlp-1")


@pytest.mark.parametrize("path", ["report.pdf", "report", "", 3])
def test_the_files_name_ends_as_that_of_a_page(path):
    make_run()
    with pytest.raises(ConfigError):
        gradbook.report("mlp-1", path, inspect=False)


def test_a_missing_folder_is_made():
    make_run()
    assert gradbook.report("mlp-1", "new/folder/a.html", inspect=False).exists()


def test_a_full_disk_leaves_the_earlier_report(monkeypatch):
    make_run()
    written("mlp-1", title="first")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="Free some space"):
            written("mlp-1", title="second")
    assert Page(Path("report.html").read_text()).headings[0] == "first"
    assert sorted(os.listdir()) == ["report.html", "runs"]


def test_a_folder_that_was_found_damaged_can_be_given():
    page = assert_harmless(writing.page_of([DamagedRun(Path("x"), "why")], None, None, None))
    assert "This folder cannot be read: why" in page.text
