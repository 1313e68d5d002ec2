"""Makes the README's pictures from real trainings, in docs/images."""

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

from gradbook import MLP, FashionMNIST, Sink, Trainer
from gradbook.display.picture import Picture
from gradbook.display.progress import Progress
from gradbook.display.terminal import TerminalDisplay

IMAGES = Path(__file__).parent.parent / "docs" / "images"

#: The session of the README: commands, and after which output Ctrl-C is pressed.
SESSION = (
    ("gradbook train mlp --max-epochs 6 --seed 1", "epoch 3/6"),
    ("gradbook resume mlp-1", None),
    ("gradbook rerun mlp-1 --lr 0.5 --quiet", None),
    ("gradbook compare mlp-1 mlp-2", None),
)


class LastPicture(Sink):
    """Keeps what a terminal shows in the middle of the ninth epoch, and nothing before it."""

    def __init__(self) -> None:
        self.console = Console(
            record=True, width=80, height=24, file=io.StringIO(), force_terminal=True
        )
        self.display = TerminalDisplay(console=self.console, min_seconds=1e9)

    def open(self, board, trainer=None):
        """Opens the display that is to be photographed."""
        self.trainer, self.progress = trainer, Progress(trainer, time.perf_counter)
        self.display.open(board, trainer)

    def write(self, metric):
        """Takes the picture when the moment has come."""
        if metric.label == "train_loss" and metric.kind == "point" and self.trainer.epoch == 8:
            self.console.export_text()  # empties the record
            self.display.refresh()
            self.svg = self.console.export_svg(title="gradbook train mlp")

    def close(self, status):
        """Closes the display."""
        self.display.close(status)


def make_displays() -> None:
    """Trains the MLP of section 5.2 and saves what a terminal and a notebook show."""
    torch.manual_seed(1)
    terminal = LastPicture()
    model = MLP(num_outputs=10, num_hiddens=256, lr=0.1)
    Trainer(max_epochs=10, display="off", sinks=[terminal]).fit(model, FashionMNIST(256))
    (IMAGES / "terminal.svg").write_text(terminal.svg, encoding="utf-8")
    picture = Picture(model.board)
    picture.update(", ".join(terminal.progress.texts("finished")))
    (IMAGES / "notebook.svg").write_text(picture.svg(text=False), encoding="utf-8")


def run(command: str, folder: str, interrupt_at: str | None = None) -> str:
    """What a command prints; Ctrl-C is pressed after a line that begins with `interrupt_at`."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command.split()],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "112"},
    )
    printed = []
    for line in process.stdout:
        printed.append(line)
        if interrupt_at and line.startswith(interrupt_at):
            process.send_signal(signal.SIGINT)
    process.wait()
    return "".join(printed)


def make_session() -> None:
    """Runs the README's session, and saves it with the pictures that it leaves."""
    console = Console(record=True, width=112, file=io.StringIO(), force_terminal=True)
    with tempfile.TemporaryDirectory() as folder:
        for command, interrupt_at in SESSION:
            console.print(Text(f"$ {command}", style="bold cyan"))
            console.print(Text(run(command, folder, interrupt_at).strip("\n")), soft_wrap=True)
            console.print()
        (IMAGES / "session.svg").write_text(
            console.export_svg(title="train, Ctrl-C, resume, compare"), encoding="utf-8"
        )
        run("gradbook train softmax-scratch --seed 1 --quiet", folder)
        run("gradbook inspect softmax-regression-scratch-1", folder)
        runs = Path(folder, "runs")
        shutil.copy(runs / "compare.svg", IMAGES / "compare.svg")
        for name in ("confusion.svg", "mistakes.png", "weights.png"):
            shutil.copy(runs / "softmax-regression-scratch-1" / "inspect" / name, IMAGES / name)


if __name__ == "__main__":
    make_displays()
    make_session()
