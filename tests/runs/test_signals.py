"""A training is stopped from outside, by Ctrl-C and its kin."""

import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.patience import await_true
from tests.runs.forked import (
    OUTPUT,
    ROOT,
    RUN,
    await_reports,
    can_go_on,
    check_same,
    reported,
    serving,
)

from gradbook import checkpoint
from gradbook.runs import load
from gradbook.runs.format import CHECKPOINT_FILES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()"),
]

CLASSES = Path(__file__).with_name("forked.py")
SETTINGS = ["--data", f"{CLASSES}:Blobs", "--seed", "1", "--lr", "0.02"]
COMMAND = ["train", f"{CLASSES}:Net", *SETTINGS]

#: The signals, and with which code each ends the command.
CODES = [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)]


@pytest.fixture(scope="module")
def server(request):
    with serving(request.config.rootpath / ".pytest_cache" / "matplotlib") as server:
        yield server


def the_command_to_go_on(text):
    """The words after "gradbook" of the command that a summary names."""
    whole = re.sub(r"\\\n *", "", text)  # of lines that go on
    return shlex.split(re.search(r"resume\s+gradbook (resume .*)", whole)[1])


@pytest.mark.parametrize(("name", "code"), CODES)
def test_a_signal_at_any_moment_loses_nothing(server, name, code):
    draw, whole = random.Random(name), Path("whole")
    assert server.do(whole, "command", *COMMAND) == 0
    num_values = len(reported(whole))
    for attempt in range(4):
        place = Path(f"stopped-{attempt}")
        process = server.start(place, "command", *COMMAND)
        await_true((place / RUN).exists)
        await_reports(place, draw.randint(0, num_values - 10))
        time.sleep(draw.uniform(0, 0.02))
        os.kill(process, getattr(signal, name))
        ended = server.wait(process)
        if not can_go_on(place):
            continue
        assert ended == code
        assert load(place / RUN).status == "interrupted"
        state = checkpoint.load(place / RUN / CHECKPOINT_FILES["last"])
        assert state["recorded_lines"] >= len(reported(place)) - 3
        words = the_command_to_go_on((place / OUTPUT).read_text())
        assert server.do(place, "command", *words) == 0
        check_same(place, whole)


@pytest.mark.parametrize(("name", "code"), CODES)
@pytest.mark.usefixtures("hang_ups")
def test_the_program_ends_with_the_code_of_its_signal(server, monkeypatch, name, code):
    monkeypatch.delenv("GRADBOOK_DISPLAY")
    # The third epoch waits for the signal to have been sent.
    words = ["train", f"{CLASSES}:Standing", *SETTINGS, "--name", "net", "--max-epochs", "5"]
    whole, place = Path("whole"), Path("stopped")
    for folder in (whole, place):
        folder.mkdir()
    (whole / "go").touch()
    assert server.do(whole, "command", *words) == 0
    command = [sys.executable, "-m", "gradbook", *words, "--display", "lines"]
    with subprocess.Popen(
        command,
        cwd=place,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as program:
        assert any(re.match(r"epoch +2/", line) for line in program.stdout)
        program.send_signal(getattr(signal, name))
        (place / "go").touch()
        text = program.stdout.read()
    assert program.returncode == code
    assert server.do(place, "command", *the_command_to_go_on(text)) == 0, (
        place / OUTPUT
    ).read_text()
    check_same(place, whole)


def test_a_second_ctrl_c_stops_a_hanging_step_at_once(server):
    whole, place = Path("whole"), Path("stopped")
    assert server.do(whole, "fit") == 0
    process = server.start(place, "fit_and_hang", 20)
    await_true((place / "hanging").exists)
    os.kill(process, signal.SIGINT)
    await_true(lambda: "Stopping after this step" in (place / OUTPUT).read_text())
    os.kill(process, signal.SIGINT)
    assert server.wait(process) == 1
    assert "KeyboardInterrupt" in (place / OUTPUT).read_text()
    assert load(place / RUN).status == "interrupted"
    assert checkpoint.load(place / RUN / CHECKPOINT_FILES["failed"])["position"]["batches"] == 4
    # The step had drawn random numbers, which it draws again.
    assert server.do(place, "fit", resume=str(RUN)) == 0
    check_same(place, whole)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_script_ends_by_the_signal_with_its_checkpoint_written(server, name):
    whole, place = Path("whole"), Path("stopped")
    assert server.do(whole, "fit") == 0
    process = server.start(place, "fit_and_wait", 10)
    await_reports(place, 10)
    os.kill(process, getattr(signal, name))
    (place / "go").touch()
    assert server.wait(process) == -getattr(signal, name)
    assert load(place / RUN).status == "interrupted"
    assert server.do(place, "fit", resume=str(RUN)) == 0
    check_same(place, whole)


def test_a_script_that_is_asked_to_end_while_its_curves_are_drawn_ends_when_they_are(server):
    place = Path("stopped")
    process = server.start(place, "fit_and_draw_slowly", max_epochs=2)
    await_true((place / "drawing").exists)
    os.kill(process, signal.SIGTERM)
    (place / "signaled").touch()
    assert server.wait(process) == -signal.SIGTERM
    assert not (place / "after").exists()
    assert load(place / RUN).status == "finished"
    assert (place / RUN / "curve.svg").exists()


def test_a_script_that_is_asked_to_end_when_the_last_epoch_is_over_finishes_first(server):
    whole, place = Path("whole"), Path("stopped")
    assert server.do(whole, "fit", max_epochs=2) == 0
    assert server.do(place, "fit_and_stop_at_the_end", max_epochs=2) == -signal.SIGTERM
    assert load(place / RUN).status == "finished"
    check_same(place, whole)
