"""Ctrl-C and its kin while a model trains: the running step is finished first."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from gradbook.launched import speaks

#: What asks a process to end. A terminal that is closed sends SIGHUP, which not every system has.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

#: Whether a first Ctrl-C is answered on the terminal. Where many work, one says it for all.
is_announced = True


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM, or by another signal than Ctrl-C's."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.number = number

    @property
    def hung_up(self) -> bool:
        """Whether the terminal has gone, so that nothing can be shown on it."""
        return self.number == getattr(signal, "SIGHUP", None)


class Interrupts:
    """While entered, a first signal waits until it is asked for; a second one acts at once.

    Between two steps `raise_pending` turns a signal that came meanwhile into the exception that
    it stands for. A signal that is ignored stays ignored, as `nohup` asks for. Signals can only
    be handled in the main thread; in another one this does nothing.

    Args:
        terminations: Whether to wait also for SIGTERM and SIGHUP where they would end the process
            without a word, because there is something to be saved first. The process then ends
            by the same signal when this is left.
        unit: What is finished before the training stops, for the message.
        is_patient: Whether a second signal waits as well: an agent passes each on that came to
            all, so that it comes twice.

    Attributes:
        is_held: Whether a signal is to wait even if it is asked for.
    """

    def __init__(
        self, terminations: bool = False, unit: str = "step", is_patient: bool = False
    ) -> None:
        self._terminations, self._unit, self._is_patient = terminations, unit, is_patient
        self.is_held = False
        self._before: dict[int, Any] = {}
        self._pending: int | None = None
        self._process = os.getpid()

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler) or (self._terminations and handler is signal.SIG_DFL):
                    self._before[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._restore()
        late = None
        if error is None and self._pending is not None:
            error = late = _exception(self._pending)
        # Nobody handles it above: without this, a script would outlive the request to end.
        if isinstance(error, Terminated) and self._before.get(error.number) is signal.SIG_DFL:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            os.kill(os.getpid(), error.number)
        if late is not None:
            raise late

    @property
    def pending(self) -> int | None:
        """The number of the signal that waits; None if none does, or it is held."""
        return None if self.is_held else self._pending

    def raise_pending(self, number: int | None = None) -> None:
        """Raises KeyboardInterrupt or Terminated if a signal has come.

        Args:
            number: That of a signal which has come to another process, and acts here, too.
        """
        number = self.pending if number is None else number
        if number is not None:
            self._pending = None
            raise _exception(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        handler = self._before[number]
        if os.getpid() != self._process:  # a loader's worker has inherited this, and is to end
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if self._pending is not None and self._is_patient:
            return
        if self._pending is not None:  # the second one: whatever runs is left at once
            self._restore()
            if callable(handler):
                handler(number, frame)
            raise _exception(number)
        self._pending = number
        # The parent of a worker process tells it for all, and so does the first of several.
        is_heard = is_announced and speaks() and multiprocessing.parent_process() is None
        if number == signal.SIGINT and is_heard:
            again = "" if self._is_patient else "; Ctrl-C again stops at once"
            # print() is not safe in a handler that may have interrupted a print().
            tell(f"\nStopping after this {self._unit}{again}.\n")

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed(later: bool = False) -> Iterator[None]:
    """Keeps Ctrl-C, and its kin, away while what was reached is kept.

    Args:
        later: Whether what came meanwhile acts when this is left. Otherwise it is forgotten, as
            an impatient second Ctrl-C should be.
    """
    came: list[int] = []
    with handled(SIGNALS, lambda number, _: came.append(number)):
        yield
    if later and came:
        signal.raise_signal(came[0])


@contextmanager
def handled(
    numbers: Iterable[int], handler: Callable[[int, FrameType | None], Any]
) -> Iterator[None]:
    """Has signals handled in another way meanwhile, where that can be said: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


def show_instead(stop: BaseException, *lines: str) -> None:
    """Has IPython end a cell with these lines, and not with a traceback through the library.

    A script, and who catches the exception, see no difference.
    """
    # Where IPython looks; a partial, because exceptions travel between processes.
    stop._render_traceback_ = partial(list, lines)  # type: ignore[attr-defined]


@contextmanager
def interruptible(told: str = "Interrupted. The model is as it was.") -> Iterator[None]:
    """Has an interrupt end a notebook's cell with a line, if nobody within has said more.

    Also a decorator, for the functions that a learner calls and that may take long.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        if not hasattr(stop, "_render_traceback_"):
            show_instead(stop, told)
        raise


def _exception(number: int) -> KeyboardInterrupt:
    stop = KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)
    show_instead(stop, "Interrupted.")
    return stop


def say_at_once(text: str, write: Callable[[int, bytes], int] = os.write) -> None:
    """Writes to standard error, past Python's own streams."""
    try:
        write(sys.stderr.fileno(), text.encode())
    except (OSError, ValueError, AttributeError):  # closed, or a notebook's stream
        return


#: Says at once that a signal has come. What draws in place on a terminal takes its place, as lines
#: that it does not know of would leave parts of its picture behind.
tell: Callable[[str], object] = say_at_once
