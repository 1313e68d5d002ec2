import io
import os
import re
import sys
import threading
from pathlib import Path

import pexpect
import pytest
from rich.console import Console
from tests.patience import LONGEST

from gradbook import interrupts
from gradbook.display.terminal import TerminalDisplay


class Screen:
    """A terminal kept in memory: it follows the few control sequences that rich writes."""

    def __init__(self):
        self.rows, self.row = [""], 0

    def feed(self, text):
        for piece in re.findall(r"\x1b\[[0-9;?]*[a-zA-Z]|[^\x1b]", text):
            if piece == "\n":
                self.row += 1
                self.column = 0
                self.rows += [""] * (self.row + 1 - len(self.rows))
            elif piece == "\r":
                self.column = 0
            elif piece.endswith("A") and piece[0] == "\x1b":
                self.row -= int(piece[2:-1] or 1)
                assert self.row >= 0
            elif piece.endswith("K"):
                self.rows[self.row] = ""
            elif piece.endswith("J"):
                self.rows[self.row :] = [""]
            elif piece[0] != "\x1b":
                self.rows[self.row] += piece

    def text(self):
        return "\n".join(self.rows)


def console(width=80, height=30, encoding="utf-8", **kwargs):
    class Stream(io.StringIO):
        pass

    Stream.encoding = encoding
    return Console(
        file=Stream(),
        force_terminal=True,
        force_jupyter=False,
        width=width,
        height=height,
        legacy_windows=False,
        _environ={"TERM": "xterm-256color", **kwargs.pop("env", {})},
        **kwargs,
    )


@pytest.fixture
def make(board, trainer, clock):
    """Makes displays whose thread never wakes up by itself, and closes them."""
    displays = []

    def make(cpu_clock=clock, **kwargs):
        display = TerminalDisplay(
            console=console(**kwargs), clock=clock, cpu_clock=cpu_clock, min_seconds=3600
        )
        display.open(board, trainer)
        displays.append(display)
        return display

    yield make
    for display in displays:
        display.close("finished")


def seen(display):
    screen = Screen()
    screen.feed(display._console.file.getvalue())
    return screen.text()


def test_the_first_picture_is_there_at_once(make):
    assert "epoch 1/4" in seen(make())


def test_the_picture_is_replaced_and_not_repeated(make, trainer, point):
    display = make()
    for step in range(1, 4):
        point(step, 1 / step)
        trainer.epoch = step
        display.refresh()
    text = seen(display)
    assert text.count("epoch 4/4") == 1
    assert "epoch 1/4" not in text
    assert "train_loss 0.3333" in text


def test_the_bar_has_time_and_speed(make, trainer, clock):
    display = make()
    clock.now, trainer.epoch, trainer.train_batch_idx, trainer.val_batch_idx = 65, 1, 20, 4
    display.refresh()
    assert "epoch 2/4" in seen(display)
    assert "1:05 < 1:05" in seen(display)
    assert "0.308 steps/s" in seen(display)


def test_a_training_that_goes_on_counts_only_what_it_does_itself(make, trainer, clock):
    trainer.epoch, trainer.train_batch_idx, trainer.val_batch_idx = 2, 20, 4
    display = make()
    clock.now, trainer.epoch, trainer.train_batch_idx, trainer.val_batch_idx = 10, 3, 30, 6
    display.refresh()
    assert "0:10 < 0:10" in seen(display)
    display.close("interrupted")
    assert "1 steps/s" in seen(display)


def test_the_speed_is_that_of_the_last_seconds(make, trainer, clock):
    display = make()
    for now, steps in ((30, 10), (42, 20), (44, 24)):
        clock.now, trainer.train_batch_idx = now, steps
        display.refresh()
    assert "1 steps/s" in seen(display)


def test_a_loop_that_counts_no_batches_still_moves_the_bar(make, trainer, clock):
    display = make()
    clock.now, trainer.epoch = 10, 2
    display.refresh()
    assert "0:10 < 0:10" in seen(display)


@pytest.mark.parametrize("status", ["finished", "interrupted", "diverged", "failed"])
def test_the_last_picture_stays_and_says_how_it_ended(make, point, status):
    display = make()
    point(1, 0.5)
    display.close(status)
    assert status in seen(display)
    assert "train_loss 0.5000" in seen(display)
    assert display._console.file.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is back


def test_closing_leaves_no_thread(make):
    before = threading.active_count()
    display = make()
    assert threading.active_count() == before + 1
    display.close("finished")
    assert threading.active_count() == before


def test_the_streams_are_given_back(make):
    before = sys.stdout, sys.stderr
    make().close("interrupted")
    assert (sys.stdout, sys.stderr) == before


def test_what_is_printed_stands_above_the_picture(make, point):
    display = make()
    display._console.print("hello")
    point(1, 2)
    display.refresh()
    rows = seen(display).splitlines()
    assert rows[0] == "hello"
    assert "epoch 1/4" in rows[-1]


def test_what_ctrl_c_says_stands_above_the_picture(make):
    display = make()
    interrupts.tell("\nStopping after this [step].\n")
    assert "Stopping" not in seen(display)  # it is not safe to draw in a signal's handler
    rows = len(seen(display).splitlines())
    display.close("interrupted")
    after = seen(display).splitlines()
    assert after[:2] == ["", "Stopping after this [step]."]
    assert len(after) == rows + 2
    assert interrupts.tell is interrupts.say_at_once


def test_the_chart_is_made_again_only_for_new_points(make, point, monkeypatch):
    display = make()
    point(1, 2)
    display.refresh()
    monkeypatch.setattr("gradbook.display.chart.render", None)
    display.refresh()


@pytest.mark.parametrize(("width", "height"), [(30, 12), (80, 8), (80, 24), (200, 60), (20, 4)])
def test_every_size_fits(make, point, width, height):
    point(1, 2)
    rows = seen(make(width=width, height=height)).splitlines()
    assert len(rows) < height
    assert max(map(len, rows)) < width


def test_a_narrower_terminal_is_cleared_of_what_it_broke(make, point):
    display = make()
    point(1, 2)
    display.refresh()
    begin = len(display._console.file.getvalue())
    num_lines = len(seen(display).splitlines())
    display._console.size = (40, 30)
    display.refresh()
    ups = re.match(r"\r\x1b\[(\d+)A\x1b\[J", display._console.file.getvalue()[begin:])
    assert int(ups[1]) + 1 > num_lines


def test_without_utf8_all_is_ascii(make, point):
    point(1, 2)
    display = make(encoding="ascii")
    display.refresh()
    assert display._console.file.getvalue().isascii()


def test_no_color_is_respected(make, point):
    point(1, 2)
    display = make(env={"NO_COLOR": "1"})
    colors = re.findall(r"\x1b\[([\d;]*)m", display._console.file.getvalue())
    assert not [code for code in colors if re.search(r"(^|;)(3\d|9\d|38)", code)]


def test_colors_tell_the_curves_apart(make, point):
    point(1, 2, "a")
    point(1, 3, "b")
    colors = set(re.findall(r"\x1b\[(\d+)m●|\x1b\[(\d+)m◆", make()._console.file.getvalue()))
    assert len(colors) == 2


def test_any_number_of_curves_and_nan(make, point):
    for k in range(30):
        point(1, float("nan") if k % 2 else k, f"curve{k}")
    assert "NaN from epoch 1" in seen(make())


def test_a_costly_picture_makes_the_next_one_wait(board, trainer, clock):
    times = iter(range(1000))
    display = TerminalDisplay(
        console=console(), clock=clock, cpu_clock=lambda: next(times) * 0.05, min_seconds=0.2
    )
    display._keep_refreshing = lambda: None
    display.open(board, trainer)
    assert display.refresh() == pytest.approx(0.05 * 70)
    display.close("finished")


def test_a_cheap_picture_is_drawn_five_times_a_second(board, trainer, clock):
    display = TerminalDisplay(console=console(), clock=clock, cpu_clock=clock)
    display._keep_refreshing = lambda: None
    display.open(board, trainer)
    assert display.refresh() == 0.2
    display.close("finished")


def test_a_terminal_that_is_gone_does_not_stop_the_training(board, trainer, monkeypatch):
    display = TerminalDisplay(console=console(), min_seconds=0)
    monkeypatch.setattr(display, "_keep_refreshing", lambda: None)
    display.open(board, trainer)
    monkeypatch.undo()
    display._console.file.close()
    display._keep_refreshing()  # returns
    display.close("finished")


def test_outside_training_the_chart_is_printed_when_the_cell_ends(board, point, shell):
    display = TerminalDisplay(console=console())
    display.open(board)
    for x in range(5):
        display.write(point(x, x))
    assert display._console.file.getvalue() == ""
    shell.end_cell()
    assert seen(display).count("train_loss 4.0000") == 1
    assert not shell.events.callbacks


def test_each_cell_prints_the_chart(board, point, shell):
    display = TerminalDisplay(console=console())
    display.open(board)
    for x in range(2):
        display.write(point(x, x))
        shell.end_cell()
    assert seen(display).count("train_loss") == 2


def test_a_stream_that_is_no_terminal_gets_the_last_picture_only(board, trainer, point):
    stream = io.StringIO()
    display = TerminalDisplay(stream)
    threads = threading.active_count()
    display.open(board, trainer)
    assert threading.active_count() == threads
    point(1, 2)
    display.close("finished")
    assert stream.getvalue().count("epoch 1/4") == 1
    assert "\x1b" not in stream.getvalue()


SCRIPT = """
import sys, time
from types import SimpleNamespace
from gradbook.board import ProgressBoard
from gradbook.display.terminal import TerminalDisplay
board = ProgressBoard(xlabel="epoch", xlim=[0, 9])
trainer = SimpleNamespace(max_epochs=9, epoch=0, num_train_batches=1, num_val_batches=0,
                          train_batch_idx=0, val_batch_idx=0, model=None, history=[])
display = TerminalDisplay()
display.open(board, trainer)
board.sinks = [display]
try:
    for line in sys.stdin:
        print("learner says", line.strip())
        board.draw(trainer.epoch, 1 / (1 + trainer.epoch), "train_loss")
        trainer.train_batch_idx += 1
        trainer.epoch += 1
except KeyboardInterrupt:
    display.close("interrupted")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_in_a_real_terminal_it_follows_a_resize_and_an_interrupt(tmp_path):
    script = tmp_path / "train.py"
    Path(script).write_text(SCRIPT)
    env = {**os.environ, "TERM": "xterm-256color"}
    env.pop("COLUMNS", None)
    env.pop("LINES", None)
    child = pexpect.spawn(
        sys.executable,
        [str(script)],
        env=env,
        dimensions=(30, 80),
        encoding="utf-8",
        timeout=LONGEST,
    )
    child.expect("epoch 1/9")
    child.sendline("one")
    child.expect("learner says one")
    child.expect("epoch 2/9 [^\r\n]{60,}")
    child.setwinsize(20, 40)
    child.expect("\x1b\\[J")
    child.expect(r"epoch 2/9 [^\r\n]+")
    child.sendline("two")
    child.expect("epoch 3/9")
    child.sendintr()
    child.expect("interrupted")
    child.expect(r"\?25h")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
