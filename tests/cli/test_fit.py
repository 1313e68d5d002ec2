"""`gradbook train`: the training itself, and every way in which it ends."""

import io
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.patience import LONGEST

from gradbook import timing
from gradbook.cli import fit, main
from gradbook.errors import StorageError
from gradbook.runs import recorder

pytestmark = pytest.mark.usefixtures("blank_figures")

#: A model and data that take no time. `HOOK` is put into the training step.
OWN = """
import random, signal, time, os
from pathlib import Path
import torch
from torch import nn
import gradbook

print("loading")
drawn = random.random()

class MyNet(gradbook.Module):
    def __init__(self, lr=0.1, sigma=0.0):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Linear(2, 1)

    def loss(self, y_hat, y):
        return ((y_hat - y) ** 2).mean() + drawn * 0

    def training_step(self, batch):
        HOOK
        return super().training_step(batch)

def wait_for(name):
    while not Path(name).exists():
        time.sleep(0.01)

class MyData(gradbook.DataModule):
    def __init__(self, batch_size=4, num_inputs=2):
        super().__init__()
        self.save_hyperparameters()
        self.X = torch.randn(8, num_inputs)
        self.y = self.X.sum(dim=1, keepdim=True)

    def get_dataloader(self, train):
        return self.get_tensorloader((self.X, self.y), train)
"""
FAST = ["linear-regression", "--num-train", "64", "--num-val", "32", "--max-epochs", "2"]


@pytest.fixture
def own(write):
    """The arguments that train a learner's own model, with a line in its training step."""

    def arguments(hook: str = "pass", **changes: str) -> list[str]:
        text = OWN.replace("HOOK", hook)
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        write(text)
        return ["train", "my_file.py", "--data", "my_file.py:MyData", "--max-epochs", "3"]

    return arguments


@pytest.fixture
def trained(capsys):
    """Trains with --json and returns the exit code, the result and what stderr got."""

    def run(*arguments: str):
        code = main(["train", *arguments, "--json"])
        captured = capsys.readouterr()
        return code, json.loads(captured.out), captured.err

    return run


def test_a_training_that_finishes_says_what_was_reached(trained):
    code, told, _ = trained(*FAST)
    assert (code, told["exit_code"], told["status"], told["epochs"]) == (0, 0, "finished", 2)
    assert set(told["final"]) == {"train_loss", "val_loss"}
    assert told["best"]["val_loss"] == {"value": told["final"]["val_loss"], "epoch": 2}
    assert len(told["epoch_seconds"]) == 2
    assert told["seconds_per_epoch"] == pytest.approx(sum(told["epoch_seconds"]) / 2)
    assert told["seconds"] > sum(told["epoch_seconds"])
    assert told["device"] == "cpu"
    assert told["settings"]["data"]["num_train"] == 64


def test_the_summary_is_for_a_person(capsys):
    assert main(["train", *FAST, "--seed", "3"]) == 0
    text = capsys.readouterr().out
    assert "linear-regression on synthetic-regression: finished, 2 of 2 epochs" in text
    assert "(epoch 2)" in text
    assert f"run       {Path('runs/linear-regression-1')}" in text
    repeat = "  repeat" + text.replace(" \\\n           ", "").rstrip().rpartition("\n  repeat")[2]
    assert repeat == f"  repeat    gradbook train {shlex.join(FAST)} --seed 3".replace(
        f"{FAST[1]} 64 {FAST[3]} 32 {FAST[5]} 2", "--num-train 64 --num-val 32 --max-epochs 2"
    )


@pytest.mark.parametrize(("display", "said"), [("terminal", 1), ("lines", 0), ("off", 0)])
def test_beside_a_chart_it_is_said_why_the_table_ends_with_other_values(capsys, display, said):
    main(["train", *FAST, "--display", display])
    text = capsys.readouterr().out
    assert text.count("The chart shows means over parts of an epoch, the table over") == said


def test_the_curves_are_written(trained):
    _, told, _ = trained(*FAST)
    svg, png = (Path(file) for file in told["curves"])
    assert svg.read_text(encoding="utf-8").lstrip().startswith("<?xml")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert svg.parent == Path("runs/linear-regression-1")


def test_every_run_gets_a_folder_of_its_own(trained):
    folders = [trained(*FAST)[1]["folder"] for _ in range(2)]
    assert [Path(f).name for f in folders] == ["linear-regression-1", "linear-regression-2"]


def test_the_folder_can_be_chosen(trained):
    _, told, _ = trained(*FAST, "--runs", "elsewhere", "--name", "mine")
    assert Path(told["folder"]) == Path("elsewhere/mine-1")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(trained):
    first, second = (trained(*FAST, "--seed", "5")[1]["final"] for _ in range(2))
    assert first == second


@pytest.mark.slow
def test_another_seed_gives_other_numbers(trained):
    first, second = (trained(*FAST, "--seed", seed)[1]["final"] for seed in "56")
    assert first != second


@pytest.mark.slow
def test_a_drawn_seed_can_be_repeated(trained):
    _, told, _ = trained(*FAST)
    _, again, _ = trained(*shlex.split(told["repeat"])[2:])
    assert again["final"] == told["final"]


@pytest.mark.slow
def test_what_a_file_draws_while_it_loads_is_repeated_too(own):
    command = [sys.executable, "-m", "gradbook", *own("print(drawn)"), "--seed", "1", "--display"]
    first, second = (
        subprocess.run([*command, "off"], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert first.split()[:4] == second.split()[:4]


def test_what_a_learner_prints_is_not_among_the_json(own, capsys):
    assert main([*own(), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["model"] == "my_file.py:MyNet"
    assert captured.err == "loading\n"


def test_lines_go_to_stdout(capsys):
    main(["train", *FAST, "--display", "lines"])
    assert capsys.readouterr().out.startswith("epoch 1/2  train_loss ")


def test_lines_go_to_stderr_when_stdout_is_for_json(trained):
    code, _, err = trained(*FAST, "--display", "lines")
    assert code == 0
    assert err.startswith("epoch 1/2  train_loss ")


def test_lines_make_no_second_folder(capsys):
    main(["train", *FAST, "--display", "lines"])
    assert [path.name for path in Path("runs").iterdir()] == ["linear-regression-1"]


def test_quiet_prints_nothing_but_keeps_the_curves(capsys):
    assert main(["train", *FAST, "--quiet"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert Path("runs/linear-regression-1/curve.png").exists()


def test_a_training_without_validation_has_no_best(trained):
    _, told, _ = trained(*FAST, "--num-val", "0")
    assert (set(told["final"]), told["best"]) == ({"train_loss"}, {})


@pytest.mark.filterwarnings("default")
def test_a_training_that_diverges_has_failed(trained):
    code, told, err = trained(*FAST, "--lr", "1e30")
    assert (code, told["status"]) == (1, "diverged")
    assert told["final"]["val_loss"] is None
    assert told["diverged"].startswith("train_loss at step")
    assert err.startswith("warning: train_loss became NaN or infinite at step")
    assert len(told["curves"]) == 2


@pytest.mark.filterwarnings("default")
def test_the_summary_says_where_it_diverged(capsys):
    main(["train", *FAST, "--lr", "1e30"])
    text = " ".join(capsys.readouterr().out.split())
    assert "verdict diverged noticed train_loss became NaN or infinite at step" in text
    assert text.count("became NaN or infinite at step") == 1


@pytest.mark.filterwarnings("default")
def test_the_summary_of_a_divergence_has_its_post_mortem(capsys):
    main(["train", *FAST, "--lr", "1e30"])
    captured = capsys.readouterr()
    assert "Likely cause: the learning rate is too high." in captured.out
    assert captured.err.endswith("The post-mortem says why.\n")


def test_the_summary_says_what_can_be_looked_at(own, capsys):
    assert main(own()) == 0
    text = capsys.readouterr().out
    assert "\n  curve     runs/my-net-1/curve.png\n" in text
    command = "gradbook inspect runs/my-net-1 --model my_file.py:MyNet --data my_file.py:MyData"
    assert f"\n  next      {command}\n" in text.replace(" \\\n           ", "")
    assert main(shlex.split(command)[1:]) == 0


@pytest.mark.parametrize("width", ["40", "60"])
def test_the_summary_is_as_wide_as_the_terminal(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    main(["train", *FAST])
    lines = capsys.readouterr().out.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("  verdict"))
    assert int(width) - 15 < len(lines[begin]) <= int(width)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_summary_says_that_only_a_sample_was_used(capsys, monkeypatch):
    monkeypatch.setattr("gradbook.datasets.fashion_mnist.SYSTEM_FOLDER", Path("nowhere"))
    main(["train", "softmax", "--max-epochs", "1"])
    assert "data      a sample only; `gradbook data` says how to get all" in capsys.readouterr().out


def test_the_summary_says_where_the_data_came_from(own, capsys):
    main(own(**{"self.X = ": "self.source = 'my folder'; self.X = "}))
    assert "  data      my_file.py:MyData, my folder\n" in capsys.readouterr().out


# Interrupted


def test_an_interrupted_training_keeps_what_was_reached(own, trained):
    hook = "if self.trainer.epoch == 2: raise KeyboardInterrupt"
    code, told, err = trained(*own(hook)[1:])
    assert (code, told["exit_code"], told["status"], told["epochs"]) == (130, 130, "interrupted", 2)
    assert len(told["curves"]) == 2
    assert err.endswith("interrupted.\n")


def test_an_interrupted_training_has_a_summary(own, capsys):
    assert main(own("if self.trainer.epoch == 2: raise KeyboardInterrupt")) == 130
    text, err = capsys.readouterr()
    assert "interrupted" not in err  # which the summary says
    assert "my_file.py:MyNet on my_file.py:MyData: interrupted, 2 of 3 epochs" in text


def test_a_training_interrupted_in_its_first_step_can_be_gone_on_with(own, trained):
    _, told, _ = trained(*own("raise KeyboardInterrupt")[1:])
    assert (told["folder"], told["epochs"]) == ("runs/my-net-1", 0)
    assert told["resume"] == (
        "gradbook resume runs/my-net-1 --model my_file.py:MyNet --data my_file.py:MyData"
    )


def test_the_summary_of_an_interrupted_training_ends_with_how_to_go_on(own, capsys):
    main(own("if self.trainer.epoch == 2: raise KeyboardInterrupt"))
    *_, resume, last = capsys.readouterr().out.splitlines()
    assert resume == "  resume    gradbook resume runs/my-net-1 --model my_file.py:MyNet \\"
    assert last == "            --data my_file.py:MyData"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
@pytest.mark.usefixtures("hang_ups")
def test_a_signal_ends_a_training_in_order(own, number, code):
    hook = f"if self.trainer.epoch == 2: os.kill(os.getpid(), signal.{number}); time.sleep(9)"
    command = [sys.executable, "-m", "gradbook", *own(hook), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert (done.returncode, told["status"], told["epochs"]) == (code, "interrupted", 2)
    assert all(Path(file).exists() for file in told["curves"])


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_second_ctrl_c_costs_no_curve(own, trained, monkeypatch, number):
    save = recorder.save_curve

    def impatient(*arguments):
        signal.raise_signal(getattr(signal, number))
        return save(*arguments)

    monkeypatch.setattr(recorder, "save_curve", impatient)
    before = signal.getsignal(signal.SIGINT)
    code, told, _ = trained(*own("if self.trainer.epoch == 2: raise KeyboardInterrupt")[1:])
    assert (code, told["status"], len(told["curves"])) == (130, "interrupted", 2)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="terminals of POSIX")
def test_ctrl_c_gives_the_cursor_back(own):
    import pexpect

    arguments = own("print('step', flush=True); wait_for('interrupted')")
    child = pexpect.spawn(
        sys.executable,
        ["-m", "gradbook", *arguments, "--display", "terminal"],
        encoding="utf-8",
        timeout=LONGEST,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    child.logfile_read = io.StringIO()
    child.expect("step")
    child.sendintr()
    Path("interrupted").touch()
    child.expect(pexpect.EOF)
    child.close()
    shown = child.logfile_read.getvalue()
    assert child.exitstatus == 130
    assert "\x1b[?25l" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_reader_that_goes_away_costs_no_curve(own):
    reader, writer = os.pipe()
    hook = "if self.trainer.epoch: wait_for('closed')"
    command = [sys.executable, "-m", "gradbook", *own(hook), "--display", "lines"]
    with os.fdopen(writer, "wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.PIPE)
    with os.fdopen(reader, "rb") as stream:
        while not stream.readline().startswith(b"epoch 1"):
            pass
    Path("closed").touch()
    _, err = process.communicate()
    assert (process.returncode, err) == (141, b"")
    assert Path("runs/my-net-1/curve.svg").exists()


# Failed


def message(capsys) -> str:
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return err


def test_a_folder_that_cannot_be_made_fails_before_any_work(own, capsys):
    Path("runs").write_text("a file")
    arguments = own(**{"torch.randn(8, num_inputs)": "1 / 0"})
    assert main(arguments) == 2
    assert message(capsys).startswith("error: No folder for a run can be made in 'runs'")


def test_a_setting_that_cannot_be_used_is_bad_usage(capsys):
    assert main(["train", *FAST, "--lr", "-1"]) == 2
    assert "error: lr must be a finite number of at least 0" in message(capsys)


def test_what_fails_early_leaves_no_folder(capsys):
    main(["train", *FAST, "--lr", "-1"])
    assert list(Path("runs").iterdir()) == []


def test_what_fails_early_has_no_summary(capsys):
    main(["train", *FAST, "--lr", "-1"])
    assert capsys.readouterr().out == ""


def test_an_error_in_a_learner_s_model_shows_their_line_only(own, capsys):
    assert main(own("1 / 0")) == 1
    text = message(capsys)
    assert text.startswith("error: ZeroDivisionError: division by zero\nIn your code:\n")
    assert "in training_step\n    1 / 0" in text
    assert "trainer.py" not in text


def test_an_error_in_the_middle_keeps_the_curves(own, trained):
    code, told, _ = trained(*own("if self.trainer.epoch == 2: 1 / 0")[1:])
    assert (code, told["status"], told["epochs"]) == (1, "failed", 2)
    assert told["error"].startswith("ZeroDivisionError: division by zero")
    assert len(told["curves"]) == 2


def test_data_that_do_not_fit_the_model_are_explained(own, capsys):
    assert main([*own(), "--num-inputs", "3"]) == 1
    text = message(capsys)
    assert "Layer 'net'" in text
    assert "received (4, 3) float32" in text


def test_a_constructor_that_fails_shows_the_learner_s_line(own, capsys):
    assert main(own(**{"nn.Linear(2, 1)": "nn.Linear(2, 1) + 1"})) == 1
    assert "in __init__\n    self.net = nn.Linear(2, 1) + 1" in message(capsys)


def test_a_file_that_is_no_python_shows_the_line(write, capsys):
    assert main(["train", write("x = 1\nclass MyNet(:\n")]) == 1
    text = message(capsys)
    assert "not valid Python" in text
    assert 'my_file.py", line 2\n    class MyNet(:' in text


def test_a_file_that_fails_shows_the_line(write, capsys):
    assert main(["train", write("x = 1\ny = nothing\n")]) == 1
    assert "line 2, in <module>\n    y = nothing" in message(capsys)


def test_a_library_that_is_missing_is_told(write, capsys):
    assert main(["train", write("import no_such_library\n")]) == 1
    text = message(capsys)
    assert "Install 'no_such_library' for this Python" in text
    assert "line 1, in <module>\n    import no_such_library" in text


def test_a_missing_torchvision_is_told(write, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert main(["train", write("import torchvision\n")]) == 1
    assert "gradbook itself never needs it" in message(capsys)


def test_a_file_that_ends_the_program_is_told(write, capsys):
    assert main(["train", write("import sys\nsys.exit()\n")]) == 1
    assert "ended the program with sys.exit(None)" in message(capsys)


def test_a_model_without_a_loss_is_explained(own, capsys):
    assert main(own(**{"def loss": "def another"})) == 1
    assert "MyNet does not define a loss" in message(capsys)


def test_curves_that_cannot_be_written_cost_no_numbers(capsys, monkeypatch):
    def fail(*_):
        raise StorageError("The disk is full.")

    monkeypatch.setattr(recorder, "save_curve", fail)
    assert main(["train", *FAST]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: The disk is full.\n")
    assert "(epoch 2)" in captured.out


def test_a_fault_in_drawing_costs_no_numbers(capsys, monkeypatch):
    def fail(*_):
        raise RuntimeError("odd")

    monkeypatch.setattr(recorder, "save_curve", fail)
    assert main(["train", *FAST]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: RuntimeError: odd")
    assert "finished, 2 of 2 epochs" in captured.out


def test_an_exception_outside_the_tree_of_exception_is_told(own, capsys):
    assert main(own("raise BaseException('x')")) == 1
    assert "BaseException: x\nIn your code:" in message(capsys)


def test_the_traceback_is_there_for_who_wants_it(own, capsys):
    assert main([*own("1 / 0"), "--traceback"]) == 1
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "trainer.py" in err


# The clock


def test_every_epoch_is_timed(monkeypatch):
    times = iter([0.0, 1.0, 1.0, 3.0, 3.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(times))
    clock = fit.Clock()
    clock.open(None)
    clock.end_epoch(None)
    clock.end_epoch(None)
    assert clock.timer.times == [1.0, 2.0]
