"""The curves as files, in a folder of their own."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from gradbook.errors import ConfigError

if TYPE_CHECKING:
    from gradbook.board import ProgressBoard


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


def save_curve(board: "ProgressBoard", folder: Path | str) -> list[Path]:
    """Draws a board into the files curve.svg and curve.png of `folder`.

    The folder is made if it does not exist, or no longer does.

    Returns:
        The files.

    Raises:
        ConfigError: If they cannot be written.
    """
    from gradbook.display.picture import Picture

    picture = Picture(board)
    picture.update()
    files = {
        Path(folder, "curve.svg"): picture.svg(text=False).encode(),
        Path(folder, "curve.png"): picture.png(),
    }
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            _write(path, content)
    except OSError as error:
        raise ConfigError(
            f"The curve cannot be written to {str(folder)!r}: {error.strerror or error}. "
            f"Choose a folder that can be written to."
        ) from error
    return list(files)


def _write(path: Path, content: bytes) -> None:
    """Writes a whole file, or none."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def kebab_case(name: str) -> str:
    """A class's name as a folder's: SoftmaxRegression becomes softmax-regression."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+", "-", name).lower()
