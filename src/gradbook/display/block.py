"""Lines at the end of a terminal that are redrawn in place, whatever they show."""

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, TextIO

from gradbook import interrupts
from gradbook.display.shell import is_terminal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.segment import Segment, Segments

#: A picture is drawn at most so often, and costs at most this part of the time.
MIN_SECONDS = 0.2
_MAX_SHARE = 1 / 70

#: What writing raises when the terminal is no longer there, or its stream is closed.
GONE = (OSError, ValueError)


class Block(ABC):
    """Lines that a thread of its own draws again and again, so that nobody waits for them.

    It measures what a picture costs it, and draws at most five times a second and for at most a
    seventieth of the time. Where the stream is no terminal there is the last picture only.

    Args:
        stream: The terminal; None is standard output.
        console: A `rich` console to use instead of `stream`.
        clock, cpu_clock: Give the time and this thread's processor time, in seconds.
        min_seconds: The shortest time between two pictures, in seconds.
    """

    #: The largest picture, in characters.
    max_width = max_height = 100

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        console: "Console | None" = None,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.thread_time,
        min_seconds: float = MIN_SECONDS,
    ) -> None:
        self._stream = stream
        self._console: Any = console
        self._clock, self._cpu_clock, self._min_seconds = clock, cpu_clock, min_seconds
        self._live: Any = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._shown: tuple[int, list[int]] = (0, [])
        #: What a signal's handler had to say.
        self._notes: deque[str] = deque()

    @abstractmethod
    def _lines(self, width: int, height: int) -> Sequence[Sequence["Segment"]]:
        """The lines, none of them longer than `width`; `height` and a few if that is needed."""

    def _open_console(self) -> None:
        from rich.console import Console

        if self._console is None:
            self._console = Console(file=self._stream, force_jupyter=False)

    def _begin_drawing(self) -> None:
        """Shows the first picture, and goes on until `_end_drawing`."""
        from rich.live import Live

        self._open_console()
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            # What the learner prints goes above the picture, unless it goes to a file.
            redirect_stdout=is_terminal(sys.stdout),
            redirect_stderr=is_terminal(sys.stderr),
        )
        self._live.start()
        self.refresh()
        if self._console.is_interactive:
            interrupts.tell = self._notes.append
            self._thread = threading.Thread(
                target=self._keep_refreshing, name="gradbook-terminal", daemon=True
            )
            self._thread.start()

    def _end_drawing(self) -> None:
        """Draws the last picture, which stays, and gives the cursor back."""
        self._over.set()
        interrupts.tell = interrupts.say_at_once
        with suppress(*GONE), ExitStack() as stack:
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
        while self._notes:
            self._console.print(self._notes.popleft(), end="", markup=False, highlight=False)
        size = self._size()
        lines = self._lines(*size)
        self._clear_rest(size[0])
        self._live.update(picture_of(lines), refresh=True)
        self._shown = size[0], [sum(len(segment.text) for segment in line) for line in lines]
        return max(self._min_seconds, (self._cpu_clock() - begin) / _MAX_SHARE)

    def _keep_refreshing(self) -> None:
        pause = self._min_seconds
        while not self._over.wait(pause):
            try:
                pause = self.refresh()
            except GONE:  # the work goes on
                return

    def _size(self) -> tuple[int, int]:
        """The room for a picture, a column and a line less than there is.

        A line that fills its row would make some terminals begin another.
        """
        width, height = self._console.size
        return min(width - 1, self.max_width), min(height - 2, self.max_height)

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

    def _drawn_bar(self, texts: list[str], part: float, width: int, color: str) -> list["Segment"]:
        """A bar after the first text and before the others; the last ones give way to the width."""
        from rich.segment import Segment
        from rich.style import Style

        while len(texts) > 1 and len("  ".join(texts)) > width - 12:
            texts.pop()
        length = max(0, min(width - len("  ".join(texts)) - 2, 40))
        full, rest = ("━", "─") if self._unicode() else ("#", "-")
        filled = int(part * length)
        return [
            Segment((texts[0] + " ")[:width]),
            Segment(full * filled, Style.parse(color)),
            Segment(rest * (length - filled), Style.parse("dim")),
            Segment("  ".join(["", *texts[1:]])),
        ]

    def _unicode(self) -> bool:
        return bool(self._console.encoding.startswith("utf"))


def picture_of(lines: Sequence[Sequence["Segment"]]) -> "Segments":
    """Lines as rich draws them."""
    from rich.segment import Segment, Segments

    return Segments(segment for line in lines for segment in (*line, Segment.line()))
