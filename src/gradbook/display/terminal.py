"""The curves in a terminal: a text chart above a progress bar, redrawn in place."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from gradbook.display import chart
from gradbook.display.block import GONE, Block, picture_of
from gradbook.display.curves import curves_of, vertical_scale
from gradbook.display.progress import Progress
from gradbook.display.shell import afterwards
from gradbook.errors import told
from gradbook.record import Metric, Sink

if TYPE_CHECKING:
    from rich.segment import Segment

    from gradbook.board import ProgressBoard
    from gradbook.trainer import Trainer

_COLORS = ("bright_blue", "yellow", "green", "magenta", "cyan", "red")


class TerminalDisplay(Block, Sink):
    """Draws a board in a terminal: a chart, and while a model trains a progress bar below it.

    Its thread looks at the board and the trainer, so that training is told nothing and waits for
    nothing.

    Outside training there is no thread, because a picture that moves would garble a prompt:
    the chart is printed once, when the cell ends or Python exits.

    Args: Those of a `Block`.
    """

    #: Longer lines do not make a curve easier to read.
    max_width, max_height = 100, 20

    _status: str | None = None
    _chart: Sequence[Sequence["Segment"]] = ()
    _chart_key: object = None

    def open(self, board: "ProgressBoard", trainer: "Trainer | None" = None) -> None:
        """Shows the first picture; in training, goes on until `close`."""
        self._board, self._trainer = board, trainer
        if trainer is None:
            return
        self._progress = Progress(trainer, self._clock)
        self._begin_drawing()

    def write(self, metric: Metric) -> None:
        """Outside training, sees to it that the chart is printed in the end."""
        if self._live is None:
            afterwards(self._print)

    def close(self, status: str) -> None:
        """Draws the last picture, which stays, and gives the cursor back."""
        self._status = status
        self._end_drawing()

    def _lines(self, width: int, height: int) -> list[Sequence["Segment"]]:
        return [*self._chart_lines(width, height), self._bar(width)]

    def _print(self) -> None:
        self._open_console()
        with suppress(*GONE):
            self._console.print(picture_of(self._chart_lines(*self._size())), end="")

    # What the picture holds

    def _chart_lines(self, width: int, height: int) -> Sequence[Sequence["Segment"]]:
        """The chart, made again only when there are new points or another size."""
        board = self._board
        counts = [(label, len(points)) for label, points in list(board.data.items())]
        key = (counts, width, height, board.xlabel, board.xlim, board.ylim, board.yscale)
        if key == self._chart_key:
            return self._chart
        self._chart_key = key
        try:
            curves = curves_of(board)
            lines = chart.render(
                curves,
                width,
                height,
                xlabel=board.xlabel,
                ylabel=board.ylabel,
                xlim=board.xlim,
                ylim=board.ylim,
                xscale=board.xscale,
                yscale=vertical_scale(board.yscale, curves),
                unicode=self._unicode(),
            )
            self._chart = [_segments(line) for line in lines]
        except Exception as error:
            # Hours of training are worth more than their picture.
            reason = f"the chart cannot be drawn: {told(error)}"
            self._chart = [_segments([chart.Span(reason[:width], chart.FRAME)])]
        return self._chart

    def _bar(self, width: int) -> list["Segment"]:
        """The progress of the training in one line; what matters less gives way to the width."""
        color = {"failed": "red", "interrupted": "yellow", "diverged": "red"}
        texts, part = self._progress.texts(self._status), self._progress.part(self._status)
        return self._drawn_bar(texts, part, width, color.get(self._status or "", "green"))


def _segments(line: chart.Line) -> list["Segment"]:
    from rich.segment import Segment
    from rich.style import Style

    return [
        Segment(text, None if curve == chart.FRAME else Style.parse(_COLORS[curve % len(_COLORS)]))
        for text, curve in line
    ]
