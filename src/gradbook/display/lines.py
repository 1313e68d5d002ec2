"""The curves of a script without a terminal: a line an epoch, and a picture in a file."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from gradbook.display.curves import short
from gradbook.display.file import save_curve
from gradbook.display.shell import afterwards
from gradbook.errors import ConfigError, GradbookWarning, StorageError, warn
from gradbook.escape import printable
from gradbook.record import Metric, Sink
from gradbook.storage import Place, claim_folder, kebab_case

if TYPE_CHECKING:
    from gradbook.board import ProgressBoard
    from gradbook.trainer import Trainer


class LinesDisplay(Sink):
    """Prints a line after each epoch, and saves the curves in a new folder at the end.

    For a board outside training there are no lines, and the curves are saved when Python exits.

    Args:
        stream: Where the lines go; None is standard output.
        root: Where the folder for the curves is made; None saves nothing.
        name: The folder's name, before its number; None is the model's class.
        clock: Gives the time in seconds.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        root: Path | str | None = None,
        name: str | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._stream, self._name, self._clock = stream, name, clock
        self._root = None if root is None else Place(root)
        self._means: dict[str, float] = {}
        self._epoch = 0.0

    def open(self, board: "ProgressBoard", trainer: "Trainer | None" = None) -> None:
        """Notes when the first epoch begins."""
        self._board, self._trainer = board, trainer
        if trainer is not None and trainer.keeps_curves:
            self._root = None
        self._begin = self._clock()

    def write(self, metric: Metric) -> None:
        """Prints the line of an epoch once all its means are there."""
        if self._trainer is None:
            afterwards(self._save)
            return
        if metric.kind != "epoch":
            return
        if metric.x != self._epoch:
            self._end_line()
            self._epoch = metric.x
        self._means[metric.label] = metric.y
        history = self._trainer.history
        if len(history) and self._means.keys() >= history[-1].keys() - {"epoch"}:
            self._end_line()

    def close(self, status: str) -> None:
        """Saves the curves."""
        self._end_line()
        self._save()

    def _end_line(self) -> None:
        if not self._means:
            return
        assert self._trainer is not None
        now = self._clock()
        last = str(self._trainer.max_epochs)
        parts = [f"epoch {self._epoch:{len(last)}.0f}/{last}"]
        parts += [f"{label} {short(y)}" for label, y in self._means.items()]
        parts.append(f"{now - self._begin:.3g} s/epoch")
        self._print("  ".join(parts))
        self._begin = now
        self._means.clear()

    def _save(self) -> None:
        """Saves the curves. What fails here is only said: the model has been trained."""
        if self._root is None or not self._board.data:
            return
        model = getattr(self._trainer, "model", None)
        name = self._name or ("board" if model is None else kebab_case(type(model).__name__))
        try:
            paths = save_curve(self._board, claim_folder(self._root.shown, name))
        except (ConfigError, StorageError) as error:
            warn(f"The curves were not saved. {error}", GradbookWarning)
            return
        self._print("curves: " + ", ".join(map(str, paths)))

    def _print(self, text: str) -> None:
        stream = self._stream or sys.stdout
        if stream is not None:  # or it is a program without any output, such as pythonw
            print(printable(text), file=stream, flush=True)
