"""The curves as files, in a folder of their own."""

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

    Returns:
        The files.

    Raises:
        ConfigError: If they cannot be written.
    """
    from gradbook.display.picture import Picture

    picture = Picture(board)
    picture.update()
    paths = [Path(folder, "curve.svg"), Path(folder, "curve.png")]
    try:
        paths[0].write_text(picture.svg(text=False), encoding="utf-8")
        paths[1].write_bytes(picture.png())
    except OSError as error:
        raise ConfigError(
            f"The curve cannot be written to {str(folder)!r}: {error.strerror or error}. "
            f"Choose a folder that can be written to."
        ) from error
    return paths


def kebab_case(name: str) -> str:
    """A class's name as a folder's: SoftmaxRegression becomes softmax-regression."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+", "-", name).lower()
