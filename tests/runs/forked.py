"""Trainings in processes of their own, which a test can kill.

A server imports PyTorch once and forks a process for each training, because an import costs
seconds and a training here a tenth of one.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import chdir, contextmanager, redirect_stdout, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tests.patience import LONGEST, await_true

from gradbook import checkpoint, cli, runs
from gradbook.data import DataModule
from gradbook.module import Classifier
from gradbook.record import Metric
from gradbook.runs import recorder
from gradbook.runs.format import CHECKPOINT_FILES, files_in
from gradbook.seeds import seed_everything
from gradbook.trainer import Trainer

#: In the folder of a training: what it has recorded, and what it prints.
REPORT, OUTPUT = "report.jsonl", "output.txt"

#: The run of a training there.
RUN = Path("runs", "net-1")

ROOT = Path(__file__).parents[2]


class Blobs(DataModule):
    """Two clouds of points in a plane, a class each, shuffled for training."""

    def __init__(self, num_train=128, num_val=64, batch_size=16):
        super().__init__()
        self.save_hyperparameters()
        self.y = torch.arange(num_train + num_val) % 2
        self.X = torch.randn(len(self.y), 2) + self.y.reshape(-1, 1)

    def get_dataloader(self, train):
        rows = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, rows)


class Net(Classifier):
    """A network that draws random numbers in each step, with an optimizer that has a state."""

    def __init__(self, lr=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(8, 2)
        )

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class Standing(Net):
    """The same; in its third epoch it stands still until there is a file "go"."""

    def training_step(self, batch):
        if self.trainer.epoch == 2:
            await_true(Path("go").exists)
        return super().training_step(batch)


# What a process can do


def fit(max_epochs=8, every_n_steps=None, num_train=128, resume=None, **settings):
    """Trains as a script does."""
    seed_everything(1)
    run = runs.Run("runs", every_n_steps=every_n_steps)
    trainer = Trainer(max_epochs, run=run, **settings)
    trainer.fit(Net(), Blobs(num_train), resume=resume)


def command(*words):
    """Trains as `gradbook` does."""
    sys.exit(cli.main(words))


def fit_and_fall(change, **arguments):
    """Trains, and is killed at a change of the disk: before it, or in the middle of a line.

    Args:
        change: How many changes are made before.
        arguments: Those of `fit`.
    """
    left, write = change, os.write

    def count():
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counting_write(file, content):
        if left == 0:
            write(file, content[: len(content) // 2])
        count()
        return write(file, content)

    def look(event, details):
        made = event == "open" and isinstance(details[2], int) and details[2] & os.O_CREAT
        if made or event in ("os.mkdir", "os.rename", "os.link", "os.remove", "os.truncate"):
            count()

    os.write = counting_write
    sys.addaudithook(look)
    fit(**arguments)


def fit_and_fall_within(step, **arguments):
    """Trains, and is killed after a step, with all checkpoints until then on the disk."""
    end_step = recorder.Run.end_step

    def fall(run, trainer):
        end_step(run, trainer)
        if trainer.num_steps == step:
            run._wait()
            os.kill(os.getpid(), signal.SIGKILL)

    recorder.Run.end_step = fall
    fit(**arguments)


def fit_and_fall_at_the_end(**arguments):
    """Trains to the end, and is killed when the last checkpoint is written."""

    def fall(run, status):
        run._finish_writing()
        os.kill(os.getpid(), signal.SIGKILL)

    recorder.Run.close = fall
    fit(**arguments)


def fit_and_hang(step, **arguments):
    """Trains, and makes the file "hanging" when a step has drawn and does not come to its end."""
    left, drop = step, torch.nn.functional.dropout

    def hang(X, p, training, inplace):
        nonlocal left
        dropped = drop(X, p, training, inplace)
        left -= training
        if left < 0:
            Path("hanging").touch()
            time.sleep(2 * LONGEST)
        return dropped

    torch.nn.functional.dropout = hang
    fit(**arguments)


def fit_and_wait(num_values, **arguments):
    """Trains, and stands still when so many values are recorded, until there is a file "go"."""
    report, recorded = recorder.Run.write, count(1)

    def wait(run, metric):
        report(run, metric)
        if next(recorded) == num_values:
            await_true(Path("go").exists)

    recorder.Run.write = wait
    fit(**arguments)


def fit_and_draw_slowly(**arguments):
    """Trains, makes the file "drawing" while the curves are drawn, and "after" in the end.

    It draws until there is a file "signaled".
    """
    save_curve = recorder.save_curve

    def draw(*where):
        Path("drawing").touch()
        await_true(Path("signaled").exists)
        return save_curve(*where)

    recorder.save_curve = draw
    fit(**arguments)
    Path("after").touch()


def fit_and_stop_at_the_end(**arguments):
    """Trains, and is asked to end when the last step has been made."""
    end_epoch = recorder.Run.end_epoch

    def stop(run, trainer):
        end_epoch(run, trainer)
        if trainer.position.epoch == trainer.max_epochs:
            os.kill(os.getpid(), signal.SIGTERM)

    recorder.Run.end_epoch = stop
    fit(**arguments)


_TASKS = {
    task.__name__: task
    for task in (
        fit,
        command,
        fit_and_fall,
        fit_and_fall_within,
        fit_and_fall_at_the_end,
        fit_and_hang,
        fit_and_stop_at_the_end,
        fit_and_draw_slowly,
        fit_and_wait,
    )
}


# The server


def serve():
    """Does what is asked for on the standard input, a line each."""
    if hasattr(signal, "SIGHUP"):  # which whoever started the tests may have had them ignore
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder, chdir(folder), redirect_stdout(sys.stderr):
        fit(max_epochs=1)  # loads whatever is loaded when it is first used
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        process = os.fork()
        if process == 0:
            _run(**asked)
        print(process, flush=True)


def _run(folder, task, words, arguments):
    code = 1
    try:
        os.chdir(folder)
        output = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(output, 1)
        os.dup2(output, 2)
        _report_what_is_written()
        _TASKS[task](*words, **arguments)
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _report_what_is_written():
    report = os.open(REPORT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    write, append = os.write, recorder.Run.write

    def append_and_report(self, metric):
        append(self, metric)
        write(report, json.dumps(metric).encode() + b"\n")

    recorder.Run.write = append_and_report


# Its client


class Server:
    """Starts, awaits and kills processes of a server."""

    def __init__(self, pipes):
        self._pipes = pipes

    def start(self, folder, task, *words, **arguments):
        """Begins a task in a folder, and returns its process's id."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / REPORT).unlink(missing_ok=True)
        asked = {"folder": str(Path(folder).absolute()), "task": task}
        return self._ask({**asked, "words": words, "arguments": arguments})

    def wait(self, process):
        """Waits for the end of a process, and returns its exit code, or minus the signal."""
        return self._ask({"wait": process})

    def do(self, folder, task, *words, **arguments):
        """A task from its beginning to its end; returns what `wait` does."""
        return self.wait(self.start(folder, task, *words, **arguments))

    def kill(self, process):
        """Kills a process, if it has not ended before; returns what `wait` does."""
        os.kill(process, signal.SIGKILL)
        return self.wait(process)

    def _ask(self, question):
        self._pipes.stdin.write(json.dumps(question) + "\n")
        self._pipes.stdin.flush()
        return int(self._pipes.stdout.readline())


@contextmanager
def serving(fonts):
    """A server for as long as this is entered.

    Args:
        fonts: The folder in which Matplotlib keeps its cache of fonts.
    """
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    code += "from tests.runs.forked import serve; serve()"
    environment = {
        **os.environ,
        "GRADBOOK_DISPLAY": "off",
        "GRADBOOK_OFFLINE": "1",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": str(fonts),
        "OMP_NUM_THREADS": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as pipes:
        yield Server(pipes)
        pipes.stdin.close()


def reported(folder):
    """The values that the last training in a folder has said to be recorded."""
    lines = []
    with suppress(FileNotFoundError):
        lines = (Path(folder) / REPORT).read_bytes().split(b"\n")[:-1]
    return [Metric(*json.loads(line)) for line in lines]


def await_reports(folder, number):
    """Waits until a training has recorded so many values."""
    await_true(lambda: len(reported(folder)) >= number, pause=0.001)


# What is left in a folder


def can_go_on(place):
    """Whether there is a checkpoint before the end."""
    last = place / RUN / CHECKPOINT_FILES["last"]
    if not last.exists():
        return False
    return checkpoint.load(last)["position"]["epoch"] < runs.load(place / RUN).facts["max_epochs"]


def check_same(place, whole):
    """A run has ended as one that was never stopped."""
    ended, expected = runs.load(place / RUN), runs.load(whole / RUN)
    assert ended.status == "finished", (place / OUTPUT).read_text()
    assert ended.history.rows == expected.history.rows
    assert ended.points == expected.points
    for name in ("last", "best"):
        model, of_whole = (
            checkpoint.load(run.checkpoint_path(name))["model"] for run in (ended, expected)
        )
        assert model.keys() == of_whole.keys()
        assert all(torch.equal(model[key], of_whole[key]) for key in model)
    left = files_in(ended.folder).keys() - {CHECKPOINT_FILES["failed"]}
    assert left == files_in(expected.folder).keys()
