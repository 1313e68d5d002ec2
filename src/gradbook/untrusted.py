"""The one way to a file that somebody else may have made: in a run's folder, or named by a person.

A pipe or a device in a file's place would be waited for, or never end; a link may lead anywhere;
and a file may be larger than the memory. Every file of a run or a sweep is opened here, whether it
is read or added to.
"""

import json
import os
import re
import stat
from pathlib import Path, PurePath
from typing import Any, BinaryIO, NoReturn

from gradbook.errors import CorruptFileError

#: What a file of settings may have, in bytes: as JSON a hundred times what any has.
MAX_SETTINGS_BYTES = 1 << 26

# Nothing is waited for, no link is followed, and bytes stay what they are. Windows lacks the first.
_FLAGS = (
    getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def inside(folder: Path | str, name: str) -> Path:
    """The path of a file in a folder from somewhere else. The file may not exist.

    Args:
        folder: The folder.
        name: The file, such as "checkpoints/best.pt".

    Raises:
        CorruptFileError: If symbolic links lead out of the folder.
    """
    path = Path(folder, name)
    while True:
        root, real = os.path.realpath(folder), os.path.realpath(path)
        if Path(real).is_relative_to(root):
            return path
        if os.path.realpath(folder) == root:  # it was not renamed between the two looks
            break
    if str(folder).startswith("/proc/self/fd/"):  # a folder that is held
        path = Path(root, name)
    raise CorruptFileError(
        f"{path} is a link that leads out of the run's folder, to {real}. It is not followed. If "
        f"you trust it, put the file itself in its place."
    )


def open_file(path: str | os.PathLike[str], max_bytes: int | None = None) -> BinaryIO:
    """Opens a file to read it. One in a run's or sweep's folder is named by `inside`.

    Args:
        path: The file.
        max_bytes: The largest size, in bytes; None takes any that fits into this machine's memory.

    Raises:
        FileNotFoundError: If there is no such file, or it is a link to nothing.
        CorruptFileError: If it is a pipe, a device or a folder, is too large, or cannot be read.
    """
    try:
        descriptor = _opened(path, os.O_RDONLY)
        size = os.fstat(descriptor).st_size
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error
    if size > (memory_bytes() if max_bytes is None else max_bytes):
        os.close(descriptor)
        what = "more than any such file" if max_bytes else "more than this machine's memory"
        raise CorruptFileError(
            f"{path} has {size:,} bytes, {what}. Put a copy of the right file in its place."
        )
    return os.fdopen(descriptor, "rb")


def read_file(path: str | os.PathLike[str], max_bytes: int | None = None) -> bytes:
    """The content of a file, opened by `open_file`, whose errors it raises."""
    with open_file(path, max_bytes) as stream:
        try:
            return stream.read()
        except OSError as error:
            raise _unreadable(path, error) from error


def open_to_append(path: str | os.PathLike[str]) -> int:
    """The descriptor of a file to which each write is added; it is made if it does not exist.

    Raises:
        CorruptFileError: If it is a pipe, a device or a folder.
        OSError: If it cannot be written to.
    """
    return _opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def check_file(path: str | os.PathLike[str]) -> Path:
    """The path, for a library that opens a file itself. It may not exist.

    Returns:
        The path of the file that it leads to, without links.

    Raises:
        CorruptFileError: If it is a pipe, a device or a folder.
    """
    real = Path(os.path.realpath(path))
    try:
        mode = os.stat(real, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return real
    except OSError as error:
        raise _unreadable(path, error) from error
    _check_regular(path, mode)
    return real


def _opened(path: str | os.PathLike[str], flags: int) -> int:
    # Looked at twice: opening a device can already do something, and only what is open stays the
    # same while it is looked at.
    real = check_file(path)
    descriptor = os.open(real, flags | _FLAGS, 0o666)
    try:
        _check_regular(path, os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _unreadable(path: str | os.PathLike[str], error: OSError) -> CorruptFileError:
    return CorruptFileError(
        f"{path} cannot be read: {error.strerror or error}. See to it that it can be, or put a "
        f"copy in its place."
    )


def _check_regular(path: str | os.PathLike[str], mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFLNK: "a link to itself"}
    what = kinds.get(stat.S_IFMT(mode), "a device or a socket")
    raise CorruptFileError(
        f"{path} is not a file, but {what}, so that it cannot be read or written as one. Name "
        f"a file."
    )


def memory_bytes() -> int:
    """The memory of the machine; where the system does not tell, a terabyte."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # as on Windows
        return 1 << 40


# Settings that may be anything

#: Words in the name of a setting whose text is a place or an address.
_PLACES = {"root", "path", "dir", "directory", "folder", "file", "filename", "cache"}
_PLACES |= {"url", "uri", "address", "host", "storage"}


def is_a_place(name: str, value: Any) -> bool:
    """Whether a setting's value may be a file, a folder or an address."""
    if isinstance(value, list | tuple | set | frozenset):
        return any(is_a_place(name, item) for item in value)
    if isinstance(value, dict):
        inner = value.items()
        return any(is_a_place(name, key) or is_a_place(f"{name}_{key}", v) for key, v in inner)
    if not isinstance(value, str):
        return isinstance(value, PurePath)
    says_so = bool(_PLACES & set(name.lower().split("_")))
    return says_so or re.search(r"[/\\:]|^~", value) is not None


# JSON that may be anything


def parsed(content: bytes, what: str = "a run", has_nan: bool = False) -> Any:
    """The JSON value in `content`.

    Args:
        content: The text in UTF-8.
        what: What it is of, for messages.
        has_nan: Whether NaN and infinities, which JSON lacks, are taken as well.

    Raises:
        ValueError: If it is not JSON.
        RecursionError: If it is nested too deeply.
    """
    if not content:
        raise ValueError("it is empty")

    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    def whole_number(text: str) -> int:
        if len(text) > 18:
            raise ValueError(f"a number of {len(text)} digits is none that {what} has")
        return int(text)

    refusing = None if has_nan else refuse
    return json.loads(content.decode(), parse_constant=refusing, parse_int=whole_number)


def reason_of(error: Exception) -> str:
    """What is wrong with a JSON value, in words."""
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON ({error.msg} at character {error.pos + 1})"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error)
