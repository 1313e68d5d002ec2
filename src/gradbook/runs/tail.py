"""A run's metrics.jsonl, followed while it grows: each of its bytes is read and verified once."""

import os
from pathlib import Path
from typing import NamedTuple

from gradbook.errors import CorruptFileError
from gradbook.runs.format import METRICS_FILE
from gradbook.runs.lines import Lines, Values
from gradbook.untrusted import inside, open_file

#: So many bytes are read in one go, so that a very long file keeps nobody waiting.
_MAX_BYTES = 1 << 24


class News(NamedTuple):
    """What a reader has not seen yet.

    Attributes:
        position: Where the reader stands afterwards, for the next `Tail.since`.
        starts_anew: Whether all that it had seen no longer holds: `values` are all that count.
        values: The values.
    """

    position: str
    starts_anew: bool
    values: Values


class Tail:
    """Follows the recorded values of one run.

    A position is "N.CRC": the number of lines that a reader has seen, and the CRC of the last of
    them, which depends on all before it. So a position stays valid when whoever follows is started
    anew, and that of another file is known to be one.

    Args:
        folder: The run's folder.

    Attributes:
        damage: What is wrong with the file; None while nothing is.
        is_behind: Whether there is more to read at once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begin()

    def _begin(self, identity: tuple[int, int] | None = None) -> None:
        self._lines = Lines(self._folder / METRICS_FILE)
        self._identity, self._size = identity, 0
        self._seen: tuple[int, int] | None = None
        self.damage: str | None = None
        self.is_behind = False

    def read(self) -> bool:
        """Reads what was added. Returns whether there was anything new."""
        try:
            path = inside(self._folder, METRICS_FILE)
            status = os.stat(path)
        except (OSError, CorruptFileError) as error:
            return self._lost(error)
        identity, seen = (status.st_dev, status.st_ino), (status.st_size, status.st_mtime_ns)
        if identity != self._identity or status.st_size < self._size:
            self._begin(identity)
        elif seen == self._seen and not self.is_behind:
            return False
        self._seen = seen
        if self.damage is not None:
            return False
        try:
            with open_file(path) as stream:
                stream.seek(self._size)
                content = stream.read(_MAX_BYTES)
            self.is_behind = len(content) == _MAX_BYTES
            whole = content[: content.rfind(b"\n") + 1]
            if self.is_behind and not whole:
                raise CorruptFileError(f"{path} has a line of more than {_MAX_BYTES:,} bytes.")
            self._lines.add(whole)
            self._size += len(whole)
            return bool(whole)
        except (OSError, CorruptFileError) as error:
            self.damage, self.is_behind = str(error), False
            return True

    def since(self, position: str = "") -> News:
        """What was read and comes after a position; an empty one is the beginning."""
        num_lines = len(self._lines)
        now = f"{num_lines}.{self._lines.crc(num_lines)}"
        number, _, crc = position.partition(".")
        seen = int(number) if number.isdecimal() and len(number) < 12 else 0
        starts_anew = (
            not 0 < seen <= num_lines
            or self._lines.crc(seen) != crc
            or self._lines.is_superseded(seen)
        )
        if starts_anew:
            return News(now, True, self._lines.values(num_lines))
        return News(now, False, self._lines.values(num_lines, seen))

    def _lost(self, error: Exception) -> bool:
        """The file is not there, or leads elsewhere. Returns whether that is new."""
        had, damage = self._identity is not None, self.damage
        self._begin()
        if isinstance(error, CorruptFileError):
            self.damage = str(error)
        return had or self.damage != damage
