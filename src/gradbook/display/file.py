"""Curves and other figures as files."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gradbook.errors import ConfigError
from gradbook.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gradbook.board import ProgressBoard

#: What a figure can be saved as.
PICTURE_KINDS = ("svg", "png")


def save_curve(board: "ProgressBoard", folder: Path | str) -> list[Path]:
    """Draws a board into the files curve.svg and curve.png of `folder`, and returns these."""
    from gradbook.display.picture import Picture

    picture = Picture(board)
    picture.update()
    svg, png = Path(folder, "curve.svg"), Path(folder, "curve.png")
    write_atomically(svg, picture.svg(text=False).encode())
    write_atomically(png, picture.png())
    return [svg, png]


def check_picture_names(paths: Iterable[Path]) -> None:
    """Raises ConfigError unless each name ends in one of `PICTURE_KINDS`, in any case."""
    for path in paths:
        if path.suffix.lower().lstrip(".") not in PICTURE_KINDS:
            raise ConfigError(f"A picture's name ends in .svg or .png, but {str(path)!r} does not.")


def new_figure(width: float, height: float) -> "Figure":
    """A figure that pyplot does not know of, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: "Figure", paths: Iterable[Path]) -> None:
    """Writes a figure into files whose names end as `check_picture_names` wants it."""
    layout = figure.get_layout_engine()
    figure.draw_without_rendering()  # once, instead of twice for each file
    figure.set_layout_engine(None)
    try:
        for path in paths:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=path.suffix.lower().lstrip("."), dpi=200)
            write_atomically(path, buffer.getvalue())
    finally:
        figure.set_layout_engine(layout)
