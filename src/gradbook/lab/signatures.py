"""What tells whether files have changed."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

#: Of each file its size, the time of its last change, and which file it is; None if there is none.
Signature = tuple[tuple[int, int, int] | None, ...]


def signature_of(paths: Iterable[Path | str]) -> Signature:
    """What changes with any of the files."""
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            status = os.stat(path)
            found.append((status.st_size, status.st_mtime_ns, status.st_ino))
        except (OSError, ValueError):
            found.append(None)
    return tuple(found)


def code_signature(classes: Sequence[str]) -> Signature:
    """What changes with the files of the learner's own classes, such as "my_file.py:MyNet"."""
    return signature_of(path for text in classes for path in (text, text.rpartition(":")[0]))
