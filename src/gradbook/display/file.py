"""Curves and other figures as files."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gradbook.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gradbook.board import ProgressBoard

#: What a figure can be saved as.
PICTURE_KINDS = ("svg", "png")


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


def save_figure(figure: "Figure", paths: Iterable[Path]) -> None:
    """Writes a figure into files.

    Args:
        figure: The figure.
        paths: The files. The ending of each is one of `PICTURE_KINDS`, in any case.

    Raises:
        StorageError: If one cannot be written.
    """
    layout = figure.get_layout_engine()
    figure.draw_without_rendering()  # once, instead of twice for each file
    figure.set_layout_engine(None)
    try:
        for path in paths:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=path.suffix.lower().lstrip("."), dpi=200)
            write_atomically(path, buffer.getbuffer())
    finally:
        figure.set_layout_engine(layout)
