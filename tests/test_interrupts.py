"""Signals while a model trains: the first waits, the second does not."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import torch
from tests.patience import LONGEST

import gradbook
from gradbook.datasets.files import download
from gradbook.inspection import boundary, inspect, predictions
from gradbook.inspection.export import export
from gradbook.interrupts import SIGNALS, Interrupts, Terminated, interruptible, undisturbed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture(autouse=True)
def handlers():
    """Each test finds Python's own handlers, and what it changed is put back."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        own = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, own)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(code):
    """Runs a script in another process."""
    head = "import os, signal, sys, threading\nfrom gradbook.interrupts import *\n"
    return subprocess.run(
        [sys.executable, "-c", head + code], capture_output=True, text=True, timeout=LONGEST
    )


# Ctrl-C


def test_the_first_ctrl_c_waits_until_it_is_asked_for(capfd):
    done = []

    def train():
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
            done.append("the step")
            interrupts.raise_pending()
            done.append("the next step")

    with pytest.raises(KeyboardInterrupt) as caught:
        train()
    assert done == ["the step"]
    assert type(caught.value) is KeyboardInterrupt
    assert "Ctrl-C again stops at once" in capfd.readouterr().err


def test_a_second_ctrl_c_acts_at_once():
    done = []

    def train():
        with Interrupts():
            signal.raise_signal(signal.SIGINT)
            done.append("the step")
            signal.raise_signal(signal.SIGINT)
            done.append("after the second")

    with pytest.raises(KeyboardInterrupt):
        train()
    assert done == ["the step"]


def test_after_a_second_ctrl_c_the_handlers_are_python_s_again():
    after = []

    def train():
        with Interrupts():
            signal.raise_signal(signal.SIGINT)
            try:
                signal.raise_signal(signal.SIGINT)
            finally:
                after.append(signal.getsignal(signal.SIGINT))

    with pytest.raises(KeyboardInterrupt):
        train()
    assert after == [signal.default_int_handler]


def test_a_ctrl_c_that_nobody_asked_for_comes_at_the_end():
    with pytest.raises(KeyboardInterrupt), Interrupts():
        signal.raise_signal(signal.SIGINT)


def test_without_a_signal_nothing_is_raised():
    with Interrupts() as interrupts:
        interrupts.raise_pending()


def test_a_signal_is_raised_once():
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupts.raise_pending()
        interrupts.raise_pending()


def test_the_learner_s_own_handler_has_its_turn_at_the_second_signal():
    told = []
    signal.signal(signal.SIGINT, lambda number, frame: told.append(number))

    def train():
        with Interrupts():
            signal.raise_signal(signal.SIGINT)
            told.append("the step")
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train()
    assert told == ["the step", signal.SIGINT]


def test_ctrl_c_with_a_stream_that_is_no_file_says_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(KeyboardInterrupt), Interrupts():
        signal.raise_signal(signal.SIGINT)


# What is left alone


@pytest.mark.parametrize("terminations", [False, True])
def test_the_handlers_are_as_they_were_afterwards(terminations):
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupts(terminations):
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_the_handlers_are_as_they_were_after_an_error():
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(ValueError, match="mine"), Interrupts(terminations=True):
        raise ValueError("mine")
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_only_ctrl_c_is_waited_for_where_nothing_is_to_be_saved():
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_is_ignored_stays_ignored(number):
    signal.signal(number, signal.SIG_IGN)
    with Interrupts(terminations=True) as interrupts:
        assert signal.getsignal(number) is signal.SIG_IGN
        signal.raise_signal(number)
        interrupts.raise_pending()


def test_in_another_thread_nothing_is_touched():
    before, during = [signal.getsignal(number) for number in SIGNALS], []

    def work():
        with Interrupts(terminations=True) as interrupts, undisturbed():
            during.extend(signal.getsignal(number) for number in SIGNALS)
            interrupts.raise_pending()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert during == before


def test_handlers_of_an_outer_wait_get_what_comes_after_the_inner_one():
    with Interrupts() as outer:
        with Interrupts():
            pass
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            outer.raise_pending()


# SIGTERM and SIGHUP


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_termination_waits_for_the_step_and_then_ends_the_process_by_its_signal(name):
    ended = run(f"""
with Interrupts(terminations=True) as interrupts:
    try:
        signal.raise_signal(signal.{name})
        print("the step")
        interrupts.raise_pending()
        print("the next step")
    except Terminated as error:
        print("saved", error.hung_up)
        raise
print("after")
""")
    assert ended.returncode == -getattr(signal, name)
    assert ended.stdout.splitlines() == ["the step", f"saved {name == 'SIGHUP'}"]
    assert ended.stderr == ""


@pytest.mark.slow
def test_a_termination_that_nobody_asked_for_ends_the_process_at_the_end():
    ended = run("""
with Interrupts(terminations=True):
    signal.raise_signal(signal.SIGTERM)
    print("the step")
print("after")
""")
    assert (ended.returncode, ended.stdout) == (-signal.SIGTERM, "the step\n")


@pytest.mark.slow
def test_a_second_termination_ends_the_process_by_its_signal_at_once():
    ended = run("""
with Interrupts(terminations=True):
    signal.raise_signal(signal.SIGTERM)
    print("the step")
    signal.raise_signal(signal.SIGTERM)
    print("after the second")
""")
    assert (ended.returncode, ended.stdout) == (-signal.SIGTERM, "the step\n")


@pytest.mark.slow
def test_a_termination_that_the_learner_handles_does_not_end_the_process():
    ended = run("""
signal.signal(signal.SIGTERM, lambda number, frame: print("mine"))
try:
    with Interrupts(terminations=True) as interrupts:
        signal.raise_signal(signal.SIGTERM)
        interrupts.raise_pending()
except Terminated as error:
    print("passed on", error.number == signal.SIGTERM)
""")
    assert (ended.returncode, ended.stdout) == (0, "passed on True\n")


@pytest.mark.slow
def test_without_terminations_the_process_ends_at_once():
    ended = run("""
with Interrupts():
    os.kill(os.getpid(), signal.SIGTERM)
    print("the step")
""")
    assert (ended.returncode, ended.stdout) == (-signal.SIGTERM, "")


def test_a_termination_is_a_kind_of_ctrl_c():
    error = Terminated()
    assert isinstance(error, KeyboardInterrupt)
    assert (error.number, error.hung_up) == (signal.SIGTERM, False)


# While something is saved


@pytest.mark.parametrize("number", SIGNALS)
def test_nothing_disturbs_what_is_being_saved(number):
    before = [signal.getsignal(n) for n in SIGNALS]
    with undisturbed():
        signal.raise_signal(number)
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_a_failure_to_save_leaves_the_handlers_as_they_were():
    before = [signal.getsignal(n) for n in SIGNALS]
    with pytest.raises(OSError, match="full"), undisturbed():
        raise OSError("full")
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_what_came_meanwhile_is_forgotten_unless_it_is_to_act_later():
    with undisturbed():
        signal.raise_signal(signal.SIGINT)


def test_what_came_meanwhile_acts_later_where_it_should():
    done = []

    def save():
        with undisturbed(later=True):
            signal.raise_signal(signal.SIGINT)
            done.append("saved")

    with pytest.raises(KeyboardInterrupt):
        save()
    assert done == ["saved"]


def test_where_nothing_came_nothing_acts_later():
    with undisturbed(later=True):
        pass


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes of POSIX")
def test_a_forked_process_ends_at_once():
    code = """
import os, signal, time
from gradbook.interrupts import Interrupts
with Interrupts():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"begun")
        time.sleep(600)
    os.read(reader, 5)
    os.kill(child, signal.SIGTERM)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM)
"""
    code = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: None)\n" + code
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=LONGEST
    )
    assert done.stdout == "True\n", done.stderr


# In a notebook


def press(*_, **__):
    raise KeyboardInterrupt


class Pressed(gradbook.Classifier):
    """A model on which Ctrl-C is pressed when it is first run."""

    forward = press


X, y = torch.randn(4, 2), torch.tensor([0, 1, 0, 1])

LONG = {
    "fit": lambda model: gradbook.Trainer(1).fit(model, (X, y)),
    "validate": lambda model: gradbook.Trainer(1).validate(model, (X, y)),
    "predict": lambda model: gradbook.Trainer(1).predict(model, X),
    "inspect": lambda model: inspect(model, (X, y)),
    "predictions": lambda model: predictions(model, (X, y)),
    "boundary": lambda model: boundary(model, (X, y)),
    "export": lambda model: export(model, "net.onnx", "torch-export", [X]),
    "lr_range": lambda model: gradbook.lr_range(model, (X, y)),
    "sharpness": lambda model: gradbook.sharpness(model, (X, y)),
    "edge_of_stability": lambda model: gradbook.edge_of_stability(model, (X, y), lr=0.1),
    "graph": lambda model: gradbook.graph(model, (X, y)),
    "memory": lambda model: gradbook.memory(model, (X, y)),
    "summary": lambda model: gradbook.summary(model, (X, y)),
    "compare_models": lambda model: gradbook.compare_models(model, Pressed(), (X, y)),
}


@pytest.mark.parametrize("name", LONG)
def test_a_cell_that_is_interrupted_ends_with_a_line(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt) as caught:
        LONG[name](Pressed())
    (line,) = caught.value._render_traceback_()
    assert line.startswith("Interrupted")


def test_an_interrupted_download_ends_with_a_line(monkeypatch, tmp_path):
    monkeypatch.setattr("gradbook.datasets.files._transfer", press)
    monkeypatch.delenv("GRADBOOK_OFFLINE", raising=False)
    with pytest.raises(KeyboardInterrupt) as caught:
        download("http://localhost/file.csv", tmp_path)
    (line,) = caught.value._render_traceback_()
    assert line == "The download was interrupted, and nothing of it is kept."


def test_who_knows_more_has_said_it_already():
    with pytest.raises(KeyboardInterrupt) as caught, interruptible("less"), interruptible("more"):
        raise KeyboardInterrupt
    assert caught.value._render_traceback_() == ["more"]
