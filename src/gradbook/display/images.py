"""Figures among the outputs of a notebook: as a drawing and as pixels, each in its own output.

A browser shows the drawing, which is sharp at any size. The pixels are for what makes a document
of a notebook, or shows it in a repository, and cannot draw. Words stand in an output of their own,
so that they are not left out where a figure is taken.
"""

import io
from base64 import b64encode
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gradbook.display.shell import in_kernel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The pixels to the inch of a figure in a notebook.
DPI = 120

#: A drawing of more bytes, as one with thousands of marks, is left out of a notebook.
_LARGEST_DRAWING = 150_000


def bundle_of(svg: str, png: bytes | None, words: str) -> dict[str, str]:
    """A figure's output, by kind of content.

    Args:
        svg: The drawing, left out where it is large and there are pixels.
        png: The pixels, or None, as of a figure that will be replaced soon.
        words: What stands for the figure where no image can be shown.
    """
    bundle = {"text/plain": words}
    if png is not None:
        bundle["image/png"] = b64encode(png).decode()
    if png is None or len(svg) <= _LARGEST_DRAWING:
        bundle["image/svg+xml"] = svg
    return bundle


def bundle_of_figure(figure: "Figure", words: str) -> tuple[dict[str, str], dict[str, Any]]:
    """The output of a figure, and how large its pixels are shown."""
    files = {kind: io.BytesIO() for kind in ("svg", "png")}
    for kind, file in files.items():
        figure.savefig(file, format=kind, dpi=DPI)
    bundle = bundle_of(files["svg"].getvalue().decode(), files["png"].getvalue(), words)
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return bundle, {"image/png": {"width": width, "height": height}}


def show(found: Any, figures: "Iterable[Figure]") -> None:
    """Shows figures in a notebook, each as an output, and below them what was found in words.

    Args:
        found: What has them as text and as HTML; outside a notebook the text is printed.
        figures: The figures.
    """
    if not in_kernel():
        print(found)
        return
    from IPython.display import display

    for figure in figures:
        bundle, sizes = bundle_of_figure(figure, "a figure")
        display(bundle, metadata=sizes, raw=True)  # type: ignore[no-untyped-call]
    words = {"text/html": found._repr_html_(), "text/plain": repr(found)}
    display(words, raw=True)  # type: ignore[no-untyped-call]
