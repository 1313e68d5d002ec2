"""The curves in a terminal: a text chart above a progress bar, redrawn in place."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, TextIO

from gradbook.display import chart
from gradbook.display.curves import curves_of, vertical_scale
from gradbook.display.progress import Progress
from gradbook.display.shell import afterwards
from gradbook.errors import told
from gradbook.record import Metric, Sink

if TYPE_CHECKING:
    from rich.console import Console
    from rich.segment import Segment, Segments

    from gradbook.board import ProgressBoard
    from gradbook.trainer import Trainer

#: A picture is drawn at most so often, and costs at most this part of the time.
_MIN_SECONDS = 0.2
_MAX_SHARE = 1 / 70

#: The largest chart, in characters: longer lines do not make a curve easier to read.
_MAX_WIDTH, _MAX_HEIGHT = 100, 20

#: What writing raises when the terminal is no longer there, or its stream is closed.
_GONE = (OSError, ValueError)

_COLORS = ("bright_blue", "yellow", "green", "magenta", "cyan", "red")


class TerminalDisplay(Sink):
    """Draws a board in a terminal: a chart, and while a model trains a progress bar below it.

    A thread of its own looks at the board and the trainer, so that training is told nothing
    and waits for nothing. It measures what a picture costs it, and draws at most five times a
    second and for at most a seventieth of the time.

    Outside training there is no thread, because a picture that moves would garble a prompt:
    the chart is printed once, when the cell ends or Python exits.

    Args:
        stream: The terminal; None is standard output.
        console: A `rich` console to use instead of `stream`.
        clock, cpu_clock: Give the time and this thread's processor time, in seconds.
        min_seconds: The shortest time between two pictures, in seconds.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        console: "Console | None" = None,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.thread_time,
        min_seconds: float = _MIN_SECONDS,
    ) -> None:
        self._stream = stream
        self._console: Any = console
        self._clock, self._cpu_clock, self._min_seconds = clock, cpu_clock, min_seconds
        self._live: Any = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._status: str | None = None
        self._chart: list[list[Segment]] = []
        self._chart_key: object = None
        self._shown: tuple[int, list[int]] = (0, [])

    def open(self, board: "ProgressBoard", trainer: "Trainer | None" = None) -> None:
        """Shows the first picture; in training, goes on until `close`."""
        from rich.console import Console

        self._board, self._trainer = board, trainer
        if self._console is None:
            self._console = Console(file=self._stream, force_jupyter=False)
        if trainer is None:
            return
        from rich.live import Live

        self._progress = Progress(trainer, self._clock)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            # What the learner prints goes above the picture, unless it goes to a file.
            redirect_stdout=_is_terminal(sys.stdout),
            redirect_stderr=_is_terminal(sys.stderr),
        )
        self._live.start()
        self.refresh()
        if self._console.is_interactive:
            self._thread = threading.Thread(
                target=self._keep_refreshing, name="gradbook-terminal", daemon=True
            )
            self._thread.start()

    def write(self, metric: Metric) -> None:
        """Outside training, sees to it that the chart is printed in the end."""
        if self._live is None:
            afterwards(self._print)

    def close(self, status: str) -> None:
        """Draws the last picture, which stays, and gives the cursor back."""
        self._over.set()
        self._status = status
        with suppress(*_GONE), ExitStack() as stack:
            if self._live is not None:  # stopped in any case, also by a second Ctrl-C
                stack.callback(self._live.stop)
            # Ctrl-C may come before it has begun; then it ends by itself, and soon.
            if self._thread is not None and self._thread.is_alive():
                self._thread.join()
            if self._live is not None:
                self.refresh()
        self._live = self._thread = None

    def refresh(self) -> float:
        """Draws one picture, and returns how long to wait before the next, in seconds."""
        begin = self._cpu_clock()
        size = self._size()
        lines = [*self._chart_lines(*size), self._bar(size[0])]
        self._clear_rest(size[0])
        self._live.update(_picture(lines), refresh=True)
        self._shown = size[0], [sum(len(segment.text) for segment in line) for line in lines]
        return max(self._min_seconds, (self._cpu_clock() - begin) / _MAX_SHARE)

    def _keep_refreshing(self) -> None:
        pause = self._min_seconds
        while not self._over.wait(pause):
            try:
                pause = self.refresh()
            except _GONE:  # training goes on
                return

    def _print(self) -> None:
        with suppress(*_GONE):
            self._console.print(_picture(self._chart_lines(*self._size())), end="")

    def _size(self) -> tuple[int, int]:
        """The room for a picture, a column and a line less than there is.

        A line that fills its row would make some terminals begin another.
        """
        width, height = self._console.size
        return min(width - 1, _MAX_WIDTH), min(height - 2, _MAX_HEIGHT)

    def _clear_rest(self, width: int) -> None:
        """Removes what remains of the last picture after a terminal became narrower.

        The terminal has then broken long lines in two, and the picture takes more rows than it
        has lines, which is all that rich goes up.
        """
        old_width, lengths = self._shown
        columns = self._console.width
        if width >= old_width or not lengths or not self._console.is_interactive:
            return
        rows = sum(max(1, -(-length // columns)) for length in lengths)
        if rows > len(lengths):
            up = min(rows, self._console.height) - 1
            self._console.file.write(f"\r\x1b[{up}A\x1b[J" + "\n" * (len(lengths) - 1))

    # What the picture holds

    def _chart_lines(self, width: int, height: int) -> list[list["Segment"]]:
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
        from rich.segment import Segment
        from rich.style import Style

        texts = self._progress.texts(self._status)
        while len(texts) > 1 and len("  ".join(texts)) > width - 12:
            texts.pop()
        length = max(0, min(width - len("  ".join(texts)) - 2, 40))
        full, rest = ("━", "─") if self._unicode() else ("#", "-")
        filled = int(self._progress.part(self._status) * length)
        color = {"failed": "red", "interrupted": "yellow", "diverged": "red"}
        done = Style.parse(color.get(self._status or "", "green"))
        return [
            Segment((texts[0] + " ")[:width]),
            Segment(full * filled, done),
            Segment(rest * (length - filled), Style.parse("dim")),
            Segment("  ".join(["", *texts[1:]])),
        ]

    def _unicode(self) -> bool:
        return bool(self._console.encoding.startswith("utf"))


def _picture(lines: Sequence[Sequence["Segment"]]) -> "Segments":
    from rich.segment import Segment, Segments

    return Segments(segment for line in lines for segment in (*line, Segment.line()))


def _segments(line: chart.Line) -> list["Segment"]:
    from rich.segment import Segment
    from rich.style import Style

    return [
        Segment(text, None if curve == chart.FRAME else Style.parse(_COLORS[curve % len(_COLORS)]))
        for text, curve in line
    ]


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False
