"""How far the members of a sweep have come, as their folders tell it."""

import re
from pathlib import Path

import pytest

from gradbook import LinearRegressionScratch, SyntheticRegressionData
from gradbook.record import Metric
from gradbook.runs.format import MetricsLog
from gradbook.sweeps.members import Member
from gradbook.sweeps.progress import Progress


def member(index, lr):
    folder = Path("sweep", f"member-{index + 1}").absolute()
    return Member(
        index,
        {"lr": lr, "seed": 0},
        LinearRegressionScratch,
        SyntheticRegressionData,
        {"lr": lr},
        {},
        {"max_epochs": 3},
        0,
        folder,
    )


def record(one, *losses, label="val_loss"):
    one.folder.mkdir(parents=True, exist_ok=True)
    log = MetricsLog(one.folder)
    for epoch, loss in enumerate(losses, start=1):
        log.append(Metric(label, epoch, loss, kind="epoch"))
    log.close()


@pytest.fixture
def members():
    return [member(0, 0.1), member(1, 0.2)]


def test_it_says_how_many_runs_are_done_and_which_is_best(members, capsys):
    with Progress(members, Path("sweep"), "terminal") as progress:
        record(members[0], 0.5, 0.4)
        record(members[1], 0.3, 0.2, 0.1)
        progress.note(1, None)
    text = capsys.readouterr().out
    assert text.startswith("2 runs in sweep\n")
    assert "0 of 2 runs done, 0 of 6 epochs" in text
    assert text.endswith(
        "1 of 2 runs done, 5 of 6 epochs, best so far: val_loss 0.1 (lr 0.2, seed 0)\n"
    )


def test_where_lines_are_shown_each_member_has_one_when_it_has_ended(members, capsys):
    with Progress(members, Path("sweep"), "lines") as progress:
        record(members[0], 0.5)
        progress.note(0, None)
        progress.note(1, "ValueError: no")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "2 runs in sweep",
        "  lr 0.1, seed 0: val_loss 0.5",
        "  lr 0.2, seed 0: failed: ValueError: no",
    ]


def test_off_shows_nothing(members, capsys):
    with Progress(members, Path("sweep"), "off") as progress:
        progress.note(0, None)
    assert capsys.readouterr().out == ""


def test_a_value_that_is_not_finite_has_diverged(members, capsys):
    with Progress(members, Path("sweep"), "lines") as progress:
        record(members[0], 0.5, float("nan"))
        progress.note(0, None)
    assert "val_loss diverged" in capsys.readouterr().out


def test_another_value_that_is_not_finite_is_no_divergence(members, capsys):
    with Progress(members, Path("sweep"), "lines") as progress:
        record(members[0], 0.5, float("nan"), label="val_f1")
        progress.note(0, None)
    assert "val_f1 nan" in capsys.readouterr().out


def test_a_line_that_is_half_written_is_read_when_it_is_whole(members, capsys):
    with Progress(members, Path("sweep"), "lines") as progress:
        record(members[0], 0.5, 0.4)
        path = members[0].folder / "metrics.jsonl"
        whole = path.read_bytes()
        path.write_bytes(whole[:-5])
        progress._watched[0].read()
        assert progress._watched[0].epochs == 1
        path.write_bytes(whole)
        progress._watched[0].read()
        assert progress._watched[0].epochs == 2


def test_lines_that_are_damaged_are_passed_over(members):
    record(members[0], 0.5)
    with open(members[0].folder / "metrics.jsonl", "ab") as file:
        file.write(b'[1]\nnull\n{"kind":"epoch","x":"NaN","label":3}\n{"kind":"epoch","x":[1]}\n')
    with Progress(members, Path("sweep"), "off") as progress:
        assert progress._watched[0].epochs == 1


def test_control_characters_do_not_reach_the_terminal(capsys):
    named = member(0, "\x1b[2J")
    with Progress([named], Path("sweep"), "lines") as progress:
        record(named, 0.5, label="val_\x1b[31m")
        progress.note(0, None)
        progress.note(0, "bad \x1b[2J")
    assert "\x1b" not in capsys.readouterr().out


def test_a_notebook_has_a_table(members, monkeypatch):
    shown = []
    display = pytest.importorskip("IPython.display")

    class Handle:
        def update(self, html):
            shown.append(html.data)

    def show(html, display_id):
        shown.append(html.data)
        return Handle()

    monkeypatch.setattr(display, "display", show)
    monkeypatch.setattr("gradbook.sweeps.progress.place", str)
    with Progress(members, Path("sweep"), "notebook"):
        pass
    assert re.search(r"<td>lr 0.1, seed 0</td><td>0/3</td><td>waiting</td>", shown[0])
