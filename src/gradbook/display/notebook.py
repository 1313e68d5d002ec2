"""The curves in a notebook: one figure below the cell, updated in place."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradbook.display.curves import curves_of, short
from gradbook.display.images import bundle_of
from gradbook.display.progress import Progress
from gradbook.display.shell import afterwards
from gradbook.errors import GradbookWarning, told, warn
from gradbook.escape import on_one_line
from gradbook.record import Metric, Sink

if TYPE_CHECKING:
    from gradbook.board import ProgressBoard
    from gradbook.display.picture import Picture
    from gradbook.trainer import Trainer

#: A figure is drawn at most so often, and drawing takes at most this part of the time. Training
#: loses up to twice as much as the drawing takes, because the caches are cold afterwards.
_MIN_SECONDS = 0.2
_MAX_SHARE = 0.05
#: Where no point comes, it is drawn anew after so many seconds, to say how far training has come.
_MAX_SECONDS = 2.0


class NotebookDisplay(Sink):
    """Draws a board below the running cell, in one output that is updated in place.

    While a model trains, a line above the curves says how far it has come, and how fast. It is
    drawn at most five times a second and for at most a twentieth of the time, by the measured cost,
    and always once more at the end: when training is over, or, for a board outside training, when
    the cell ends. Then the next cell gets a figure of its own.

    Args:
        new_handle: Makes a place for a figure; None is IPython's `DisplayHandle`.
        clock: Gives the time in seconds.
    """

    def __init__(
        self,
        new_handle: Callable[[], Any] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._new_handle, self._clock = new_handle, clock
        self._handle: Any = None
        self._picture: Picture | None = None
        self._next_draw = 0.0
        self._broken = False

    def open(self, board: "ProgressBoard", trainer: "Trainer | None" = None) -> None:
        """Notes what is to be drawn. There is no figure before there is a point."""
        self._board, self._trainer = board, trainer
        if trainer is not None:
            self._progress = Progress(trainer, self._clock)
            self._next_look = self._clock() + _MAX_SECONDS

    def end_step(self, trainer: "Trainer") -> None:
        """Draws where there was no point for a while, as in a long epoch."""
        if self._clock() >= self._next_look:
            self._draw()

    def write(self, metric: Metric) -> None:
        """Draws, unless it is too early to draw again."""
        if metric.kind != "point":
            return
        if self._trainer is None:
            afterwards(self._end_cell)
        if self._clock() >= self._next_draw:
            self._draw()

    def close(self, status: str) -> None:
        """Draws the last state, which is what the saved notebook keeps."""
        if self._board.data or self._handle is not None:
            self._draw(status)
        self._handle = None

    def _end_cell(self) -> None:
        self.close("finished")
        self._next_draw = 0.0

    def _draw(self, status: str | None = None) -> None:
        """Draws what there is; at the end, with the `status`, for every program that shows it."""
        if self._broken:
            return
        try:
            picture = self._picture = self._picture or _new_picture(self._board)
            begin = self._clock()  # loading Matplotlib happens once, and is no cost of drawing
            far = [] if self._trainer is None else self._progress.texts(status)
            picture.update(", ".join(far))
            save = None if status is None else picture.saved
            bundle = bundle_of(picture.svg(), self._in_words(), save)
            if self._handle is None:
                self._handle = (self._new_handle or _ipython_handle)()
                self._handle.display(bundle, raw=True)
            else:
                self._handle.update(bundle, raw=True)
        except Exception as error:
            # Hours of training are worth more than their picture.
            self._broken = True
            warn(
                f"The curves cannot be drawn any more ({told(error)}). "
                f"Training continues; the points are in `board.data`.",
                GradbookWarning,
            )
            return
        end = self._clock()
        pause = (end - begin) / _MAX_SHARE
        self._next_draw = end + max(_MIN_SECONDS, pause)
        self._next_look = end + max(_MAX_SECONDS, pause)

    def _in_words(self) -> str:
        """What stands in for the figure where no image can be shown."""
        finals = [f"{c.label} {short(float(c.y[-1]))}" for c in curves_of(self._board) if len(c.y)]
        return on_one_line(", ".join(finals))


def _new_picture(board: "ProgressBoard") -> "Picture":
    from gradbook.display.picture import Picture

    picture = Picture(board)
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:  # it would show a figure of its own a second time when the cell ends
        pyplot.close(picture.figure)
    return picture


def _ipython_handle() -> Any:
    from IPython.display import DisplayHandle

    return DisplayHandle()  # type: ignore[no-untyped-call]
