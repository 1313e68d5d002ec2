"""The curves as files."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradbook.storage import write_atomically

if TYPE_CHECKING:
    from gradbook.board import ProgressBoard


def save_curve(board: "ProgressBoard", folder: Path | str) -> list[Path]:
    """Draws a board into the files curve.svg and curve.png of `folder`.

    Returns:
        The files.

    Raises:
        StorageError: If they cannot be written.
    """
    from gradbook.display.picture import Picture

    picture = Picture(board)
    picture.update()
    files = {
        Path(folder, "curve.svg"): picture.svg(text=False).encode(),
        Path(folder, "curve.png"): picture.png(),
    }
    for path, content in files.items():
        write_atomically(path, content)
    return list(files)
