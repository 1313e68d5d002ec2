"""Which commit a working folder has checked out, read from git's own files.

git itself is not asked. In a repository lie settings that name programs to run (filters, monitors,
hooks, remotes), in files that include others, and the repository may be a stranger's. Without
running them nobody can say whether files differ from the commit, so that this is not said.
"""

import os
import re
from pathlib import Path

from gradbook.untrusted import read_file

#: A reference is a line. The packed ones of a large repository are some hundred thousand lines.
_MAX_BYTES = 1 << 26

#: A reference may name another, as HEAD does; in a circle, too.
_MAX_LEAPS = 5

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_NAME = re.compile(r"refs/[^\s\\:?*\[~^\x00-\x20\x7f]+")


def checked_out(folder: Path | str = ".") -> str | None:
    """The commit that is checked out in a folder or above it, as hexadecimal digits.

    None: where there is no repository, no commit, or references are kept in a way that is not
    known here.
    """
    try:
        place = Path(os.path.abspath(folder))
    except OSError:  # the working folder was removed
        return None
    found = (parent / ".git" for parent in (place, *place.parents))
    home = next(filter(os.path.lexists, found), None)
    if home is not None and not home.is_dir():  # of a work tree or a submodule: it names the folder
        kind, _, named = (_text(home) or "").strip().partition(": ")
        home = home.parent / named if kind == "gitdir" else None
    return None if home is None else _commit(home)


def _commit(home: Path) -> str | None:
    shared = home / (_text(home / "commondir") or "").strip()  # of a work tree: that of all
    told = (_text(home / "HEAD") or "").strip()
    for _ in range(_MAX_LEAPS):
        if _COMMIT.fullmatch(told):
            return told
        kind, _, name = told.partition(": ")
        if kind != "ref" or not _NAME.fullmatch(name) or ".." in name:
            return None
        own = _text(home / name) or _text(shared / name)
        told = own.strip() if own else _packed(shared, name)
    return None


def _packed(shared: Path, name: str) -> str:
    for line in (_text(shared / "packed-refs") or "").splitlines():
        commit, _, packed = line.partition(" ")
        if packed == name:
            return commit
    return ""


def _text(path: Path) -> str | None:
    """What a file says, if it is one and no larger than it may be."""
    try:
        return read_file(path, _MAX_BYTES).decode()
    except (OSError, ValueError):  # ValueError: no file, a name with a zero byte, or not UTF-8
        return None
