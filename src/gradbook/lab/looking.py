"""A thread that looks at the runs' folder while any page listens, and sleeps otherwise."""

import asyncio
import itertools
import threading
import time
import traceback
from collections.abc import Callable

from gradbook.lab.catalogue import Catalogue

#: The seconds between two looks at the whole folder, and at what is trained or followed.
FOLDER_SECONDS, OPEN_SECONDS = 1.0, 0.25

#: A look that takes long is made more seldom, so that looking takes at most this part of the time,
#: or, where even that would be too seldom, every so many seconds.
_SHARE, _LONGEST_SECONDS = 0.02, 10.0

_numbers = itertools.count(1)


class Looking:
    """Looks at a folder again and again, in a thread of its own: a disk may answer late, or never.

    Args:
        catalogue: What looks, and keeps what is found.
        told: Is called in the event loop after each look, with the number of the look, which is
            higher than that of any before, and whether anything has changed; and with 0 for what a
            look has found that takes long.
    """

    def __init__(self, catalogue: Catalogue, told: Callable[[int, bool], None]) -> None:
        self._catalogue, self._told = catalogue, told
        self._loop = asyncio.get_running_loop()
        self._wake = threading.Event()
        self._is_wanted, self._is_asked = True, True
        self._number = 0
        threading.Thread(target=self._run, name="lab-looking", daemon=True).start()

    def ask(self) -> int:
        """Has the whole folder looked at now. Returns the number of a look that begins later."""
        self._is_asked = True
        number = self._number + 1
        self._wake.set()
        return number

    def end(self) -> None:
        """Ends the thread, after the look that it is at."""
        self._is_wanted = False
        self._wake.set()

    def _run(self) -> None:
        folder_at = 0.0
        while self._is_wanted:
            self._wake.clear()
            # In this order: who asks from now on is promised the look after this one.
            self._number = next(_numbers)
            is_asked, self._is_asked = self._is_asked, False
            begin = time.monotonic()
            is_whole = is_asked or begin >= folder_at
            if not self._tell(self._number, self._look(is_whole)):
                return
            if is_whole:
                folder_at = time.monotonic() + _pause(begin, FOLDER_SECONDS)
            pause = folder_at - time.monotonic()
            if self._catalogue.is_live:
                pause = min(pause, _pause(begin, OPEN_SECONDS))
            self._wake.wait(0 if self._catalogue.is_behind else max(pause, 0))

    def _look(self, is_whole: bool) -> bool:
        try:
            if is_whole:
                return self._catalogue.refresh(lambda: self._tell(0, True))
            return self._catalogue.refresh_open()
        except Exception:  # a fault of ours: the terminal shows it, and the next look may go well
            traceback.print_exc()
            return False

    def _tell(self, number: int, has_changed: bool) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._told, number, has_changed)
        except RuntimeError:  # the loop is closed: the server has ended
            return False
        return True


def _pause(begin: float, seconds: float) -> float:
    """How long to wait after a look that began then."""
    return min(max((time.monotonic() - begin) / _SHARE, seconds), _LONGEST_SECONDS)
