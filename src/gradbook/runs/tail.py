"""A run's metrics.jsonl, followed while it grows: each of its bytes is read and verified once."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gradbook.errors import CorruptFileError
from gradbook.runs.format import METRICS_FILE, check_closed
from gradbook.runs.lines import Lines, Values, report_line
from gradbook.untrusted import inside, open_file

#: So many bytes are read in one go, so that a very long file keeps nobody waiting.
_READ_BYTES = 1 << 22

#: A file that is larger is not followed: more than a million values.
_MAX_BYTES = 1 << 27


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
    """Follows the recorded values of one run. Several threads may use it.

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
        # What is known can be asked for while a disk that answers late is waited for.
        self._reading, self._knowing = threading.Lock(), threading.Lock()
        self._begin()

    def _begin(self, identity: tuple[int, int] | None = None) -> None:
        with self._knowing:
            self._lines = Lines(self._folder / METRICS_FILE)
            self._identity, self._size = identity, 0
            self._seen: tuple[int, int] | None = None
            self.damage: str | None = None
            self.is_behind = False

    def read(self) -> bool:
        """Reads what was added, or the first part of it. Returns whether anything has changed."""
        with self._reading:
            try:
                path = inside(self._folder, METRICS_FILE)
                status = os.stat(path)
            except (OSError, CorruptFileError) as error:
                return self._lose(error)
            identity, seen = (status.st_dev, status.st_ino), (status.st_size, status.st_mtime_ns)
            is_another = identity != self._identity or status.st_size < self._size
            if is_another:
                self._begin(identity)
            elif seen == self._seen and not self.is_behind:
                return False
            self._seen = seen
            if self.damage is not None:
                return False
            return self._read_on(path) or is_another

    def _read_on(self, path: Path) -> bool:
        try:
            with open_file(path) as stream:
                size = os.fstat(stream.fileno()).st_size
                if size > _MAX_BYTES:
                    raise CorruptFileError(
                        f"{path} has {size:,} bytes, and is followed up to {_MAX_BYTES:,}."
                    )
                stream.seek(self._size)
                content = stream.read(_READ_BYTES)
            whole = content[: content.rfind(b"\n") + 1]
            is_behind = len(content) == _READ_BYTES
            if is_behind and not whole:
                raise CorruptFileError(f"{path} has a line of more than {_READ_BYTES:,} bytes.")
            with self._knowing:
                self._lines.add(whole)
                self._size += len(whole)
                self.is_behind = is_behind
            return bool(whole)
        except (OSError, CorruptFileError) as error:
            if self._size and isinstance(error, CorruptFileError):
                # Another content may have been written over what was read: once more, from 0.
                self._begin(self._identity)
                return self._read_on(path) or True
            self.damage, self.is_behind = str(error), False
            return True

    def _lose(self, error: Exception) -> bool:
        """The file is not there, or cannot be reached. Returns whether that is new."""
        had, before = self._identity is not None, self.damage
        self._begin()
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            self.damage = str(error)
        return had or self.damage != before

    def since(self, position: str = "") -> News:
        """What was read and comes after a position; an empty one is the beginning."""
        with self._knowing:
            lines = self._lines
            num_lines = len(lines)
            now = f"{num_lines}.{lines.crc(num_lines)}"
            number, _, crc = position.partition(".")
            seen = int(number) if number.isdecimal() and len(number) < 12 else 0
            starts_anew = (
                not 0 < seen <= num_lines or lines.crc(seen) != crc or lines.is_superseded(seen)
            )
            return News(now, starts_anew, lines.values(num_lines, 0 if starts_anew else seen))

    def fault(self, closed: Mapping[str, Any] | None) -> str | None:
        """What is wrong with the file, if anything.

        Args:
            closed: What run.json says of it once the training has ended: its "lines" and "crc".
        """
        with self._knowing:
            if self.damage is not None or self.is_behind or closed is None:
                return self.damage
            path = self._folder / METRICS_FILE
            try:
                if self._identity is None:
                    report_line(path, None, "it is missing")
                check_closed(path, self._lines, closed)
            except CorruptFileError as error:
                return str(error)
            return None
