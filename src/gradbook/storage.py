"""Files that are whole or absent, and new folders that two programs never share."""

import errno
import math
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from gradbook.errors import ConfigError, StorageError


def finite(value: Any) -> Any:
    """A value for JSON: NaN and infinities become None, tuples lists, and all keys texts."""
    if isinstance(value, dict):
        # As text already here, because keys of several types have another order, or none.
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_path(value: Any, name: str, example: str) -> None:
    """Raises ConfigError unless `value` can be the path of a file or folder."""
    if not isinstance(value, str | os.PathLike) or "\0" in str(value):
        raise ConfigError(
            f"{name} must be a text or a path, such as {example!r}, but it is {value!r:.60}."
        )


def write_atomically(path: Path | str, content: bytes) -> None:
    """Writes a whole file, or leaves what was there.

    The content goes to a temporary file beside it, which reaches the disk before it takes the
    file's place: neither a killed process nor a power failure leaves half a file. The folder is
    made if it does not exist, or no longer does.

    Raises:
        StorageError: If it cannot be written. What was there before is untouched.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        with open(part, "xb") as stream:  # never through a link that somebody has put there
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


class Place:
    """A folder, found again when the working folder has changed, or it has another name itself.

    Args:
        given: Its path as a person wrote it.
        absolute: The same from the root, if the working folder is another by now.
    """

    def __init__(self, given: "str | os.PathLike[str]", absolute: Path | None = None) -> None:
        self.given = Path(given)
        self._absolute = Path(os.path.abspath(given)) if absolute is None else absolute
        self._held: int | None = None

    def __truediv__(self, name: str) -> "Place":
        return Place(self.given / name, self._now / name)

    def hold(self) -> None:
        """Keeps a hand on the folder, so that it may be renamed and moved until `release`."""
        if not hasattr(os, "O_PATH"):  # Linux has it
            return
        with suppress(OSError):
            held = os.open(self._absolute, os.O_PATH | os.O_DIRECTORY)
            if os.path.isdir(_through(held)):
                self._held = held
            else:
                os.close(held)

    def release(self) -> None:
        """Lets go of the folder."""
        if self._held is not None:
            self._absolute = self._now
            os.close(self._held)
            self._held = None

    @property
    def path(self) -> Path:
        """The folder for opening what is in it; while it is held, wherever it has gone."""
        return self._absolute if self._held is None else _through(self._held)

    @property
    def shown(self) -> Path:
        """The folder for a person: as it was given, while that leads there."""
        now = self._now
        with suppress(OSError):  # the working folder was removed
            if os.path.realpath(self.given) == os.path.realpath(now):
                return self.given
        return now

    @property
    def _now(self) -> Path:
        if self._held is None:
            return self._absolute
        now = os.readlink(_through(self._held))
        return self._absolute if now.endswith(_REMOVED) else Path(now)


#: What Linux adds to the name of a folder that is held and no longer there.
_REMOVED = " (deleted)"


def _through(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}")


def as_word(path: Path | str) -> str:
    """A path as a word of a command, where one that begins with a dash would be an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def link_atomically(source: Path, target: Path, content: bytes) -> None:
    """Makes `target` the same file as `source`, or writes its content where there are no links.

    With links it is not written twice. Neither name sees what `write_atomically` does to the other.

    Raises:
        StorageError: If that cannot be done. What was there before is untouched.
    """
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        part.unlink(missing_ok=True)
        os.link(source, part)
        os.replace(part, target)
        part.unlink(missing_ok=True)  # renaming a link to the same file does nothing
    except OSError:  # a file system without links, perhaps
        with suppress(OSError):
            part.unlink(missing_ok=True)
        write_atomically(target, content)


def unwritable(path: Path | str, error: OSError) -> StorageError:
    """The error for a file that cannot be written."""
    if str(path).startswith("/proc/self/fd/"):  # a folder that is held
        real = os.path.realpath(path)
        path = real.replace(_REMOVED, "", 1)
        with suppress(OSError, ValueError):  # ValueError: it is not below the working folder
            path = Path(path).relative_to(os.getcwd())
        if _REMOVED in real or error.errno == errno.ENOENT:
            return StorageError(
                f"{path} cannot be written: it or its folder was removed. What was learned is in "
                f"the model, and save_checkpoint() of its trainer can keep it elsewhere."
            )
    advice = "Choose a folder that can be written to"
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
        advice = "Free some space there, or choose another folder"
    elif error.errno in (errno.EISDIR, errno.ENOTDIR):
        advice = "Name a file that is no folder, in a folder that is no file"
    return StorageError(
        f"{path} cannot be written: {error.strerror or error}. {advice}. Files written before are "
        f"untouched."
    )


def claim_folder(root: Path | str, name: str) -> Path:
    """Makes the new folder `root/name-N` with the next free N, counted from 1.

    Two programs that ask at the same time get different folders.

    Args:
        root: Where the folder is made; it is made too if it does not exist.
        name: What the folder is called, before its number.

    Returns:
        The folder, which is empty.

    Raises:
        ConfigError: If it cannot be made.
    """
    root = Path(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        taken = re.compile(re.escape(name) + r"-(\d+)")
        matches = (taken.fullmatch(path.name) for path in root.iterdir())
        number = max((int(match[1]) for match in matches if match), default=0) + 1
        while True:
            folder = root / f"{name}-{number}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:  # another program was faster
                number += 1
    except OSError as error:
        raise ConfigError(
            f"No folder for a run can be made in {str(root)!r}: {error.strerror or error}. "
            f"Choose a folder that can be written to."
        ) from error


def new_folder(path: Path | str, names: Iterable[str]) -> Path:
    """Makes a folder, which may exist if nothing lies there under one of `names`.

    Raises:
        ConfigError: If it cannot be made, or something does.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        held = next((name for name in names if os.path.lexists(path / name)), None)
    except OSError as error:
        raise ConfigError(
            f"The folder {str(path)!r} cannot be made: {error.strerror or error}. "
            f"Choose a folder that can be written to."
        ) from error
    if held is not None:
        raise ConfigError(f"The folder {str(path)!r} is taken: it holds {held}.")
    return path


def check_folder_name(name: str) -> str:
    """The plain name of a folder.

    Raises:
        ConfigError: If it would lead elsewhere, or cannot be written.
    """
    is_plain = name.strip() and name not in (".", "..") and name.isprintable()
    if not is_plain or set(name) & set('/\\:*?"<>|'):
        raise ConfigError(f"expected a plain name for a folder, but got {name!r}")
    return name


def kebab_case(name: str) -> str:
    """A class's name as a folder's: SoftmaxRegression becomes softmax-regression."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+", "-", name).lower()
