import io
import subprocess
import sys
from pathlib import Path

import pytest

from gradbook.display.lines import LinesDisplay
from gradbook.errors import GradbookWarning
from gradbook.record import Metric


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def display(stream, clock, board, trainer, tmp_path):
    display = LinesDisplay(stream, tmp_path / "curves", clock=clock)
    display.open(board, trainer)
    return display


def end_epoch(display, trainer, clock, **means):
    clock.now += 1.25
    epoch = len(trainer.history) + 1
    trainer.history.append({"epoch": epoch, **means})
    for label, y in means.items():
        display.write(Metric(label, epoch, y, kind="epoch"))


def test_a_line_follows_its_epoch_at_once(display, stream, trainer, clock):
    end_epoch(display, trainer, clock, train_loss=0.5123, val_acc=0.823)
    assert stream.getvalue() == "epoch 1/4  train_loss 0.5123  val_acc 0.8230  1.25 s/epoch\n"


def test_each_epoch_has_one_line(display, stream, trainer, clock):
    for _ in range(3):
        end_epoch(display, trainer, clock, train_loss=1.0, val_loss=2.0)
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["1/4", "2/4", "3/4"]


def test_without_a_history_a_line_waits_for_the_next_epoch(display, stream):
    display.write(Metric("a", 1, 2, kind="epoch"))
    display.write(Metric("a", 2, 2, kind="epoch"))
    assert stream.getvalue().count("epoch 1/4") == 1
    display.close("finished")
    assert stream.getvalue().count("epoch 2/4") == 1


def test_points_print_nothing(display, stream, point):
    display.write(point(1, 2))
    assert stream.getvalue() == ""


def test_the_curve_is_saved_in_a_folder_with_the_models_name(display, stream, point, tmp_path):
    point(1, 2)
    display.close("finished")
    folder = tmp_path / "curves" / "mlp-scratch-1"
    assert sorted(path.name for path in folder.iterdir()) == ["curve.png", "curve.svg"]
    assert str(folder / "curve.svg") in stream.getvalue()


@pytest.mark.slow
def test_a_name_can_be_given(stream, board, trainer, point, tmp_path):
    display = LinesDisplay(stream, tmp_path, name="test")
    display.open(board, trainer)
    point(1, 2)
    display.close("finished")
    assert (tmp_path / "test-1" / "curve.svg").exists()


def test_without_runs_there_is_no_file(stream, board, trainer, point, tmp_path):
    display = LinesDisplay(stream)
    display.open(board, trainer)
    point(1, 2)
    display.close("finished")
    assert stream.getvalue() == ""


def test_without_points_there_is_no_folder(display, tmp_path):
    display.close("failed")
    assert not (tmp_path / "curves").exists()


def test_how_it_ended_is_left_to_the_summary(display, stream, trainer, clock):
    end_epoch(display, trainer, clock, train_loss=1.0)
    display.close("interrupted")
    assert [line[:9] for line in stream.getvalue().splitlines()] == ["epoch 1/4"]


def test_a_folder_that_cannot_be_made_does_not_lose_the_model(
    stream, board, trainer, tmp_path, point
):
    (tmp_path / "curves").touch()
    display = LinesDisplay(stream, tmp_path / "curves")
    display.open(board, trainer)
    point(1, 2)
    with pytest.warns(GradbookWarning, match=r"curves were not saved.*curves"):
        display.close("finished")


def test_nan_is_printed(display, stream, trainer, clock):
    end_epoch(display, trainer, clock, train_loss=float("nan"))
    assert "train_loss nan" in stream.getvalue()


@pytest.mark.slow
def test_outside_training_the_curve_is_saved_at_exit(tmp_path):
    code = (
        "from gradbook.board import ProgressBoard\n"
        "board = ProgressBoard('x', display='lines')\n"
        "for x in range(9): board.draw(x, x, 'line')\n"
        "print('before')"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    first, last = run.stdout.splitlines()
    assert first == "before"
    assert last.startswith("curves: ")
    assert (tmp_path / "curves" / "board-1" / "curve.png").exists()


def test_the_curves_of_a_run_are_not_saved_twice(board, trainer, point, clock):
    trainer.keeps_curves = True
    display = LinesDisplay(io.StringIO(), root="curves", clock=clock)
    display.open(board, trainer)
    point(1, 2)
    display.close("finished")
    assert not Path("curves").exists()
