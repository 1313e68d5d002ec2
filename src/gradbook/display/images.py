"""Figures among the outputs of a notebook: as a drawing and as pixels, each in its own output.

A browser shows the drawing, which is sharp at any size. The pixels are for what shows a notebook
and cannot draw, such as a repository's preview. For LaTeX, nbconvert has Inkscape convert each SVG,
whatever stands beside it, unless that is a PDF. Words stand in an output of their own, so that they
are not left out where a figure is taken.
"""

import io
import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from gradbook.display.shell import in_kernel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The pixels to the inch of a figure in a notebook.
DPI = 120

#: A drawing of more bytes, as one with thousands of marks, is left out of a notebook.
_LARGEST_DRAWING = 150_000

#: A notebook's page is often no wider, in its own pixels.
_USUAL_PAGE = 760


def bundle_of(svg: str, words: str, save: Callable[[str], bytes] | None = None) -> dict[str, str]:
    """A figure's output, by kind of content.

    Args:
        svg: The drawing. It is left out where it is large and there are pixels.
        words: What stands for the figure where no image can be shown.
        save: Gives the figure as "png" or "pdf"; None for one that will be replaced soon.
    """
    bundle = {"text/plain": words}
    is_drawn = save is None or len(svg) <= _LARGEST_DRAWING
    if is_drawn:
        bundle["image/svg+xml"] = svg
    if save is not None:
        bundle["image/png"] = b64encode(save("png")).decode()
        if is_drawn:
            bundle["application/pdf"] = b64encode(save("pdf")).decode()
    return bundle


def bundle_of_figure(figure: "Figure", words: str) -> tuple[dict[str, str], dict[str, Any]]:
    """The output of a figure, and how large its pixels are shown."""

    def save(kind: str) -> bytes:
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=DPI)
        return file.getvalue()

    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    svg = save("svg").decode()
    if width > _USUAL_PAGE:  # JupyterLab shrinks pixels to its page, and a drawing only so
        svg = re.sub(r'(<svg .*?)width="\S+pt" height="\S+pt"', r'\1width="100%"', svg, count=1)
    bundle = bundle_of(svg, words, save)
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
