"""Pictures within a page: figures drawn anew, and files that a run has kept.

All of them are images for the browser, and none becomes part of the page's own content: whatever a
file from a stranger's folder holds, an image runs nothing and asks nobody for anything.
"""

import io
import re
import struct
import warnings
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradbook.errors import CorruptFileError
from gradbook.reports.blocks import Image
from gradbook.untrusted import inside, read_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: A drawing of more bytes, as one with thousands of marks, becomes pixels.
_LARGEST_DRAWING = 120_000

#: The pixels to the inch of a figure that became pixels.
_DPI = 120

#: The largest file of a picture that is taken into a report, and the largest picture.
_MAX_BYTES, _MAX_PIXELS = 600_000, 20_000_000

#: Each text of a drawing names a dozen fonts, half of a small figure's bytes.
_FONTS = re.compile(rb"font-family: [^;\"<>]+")
_FONT = b"font-family: 'DejaVu Sans', sans-serif"

_PNG = b"\x89PNG\r\n\x1a\n"


def image_of(figure: "Figure") -> Image:
    """A figure as an image; the same figure gives the same bytes."""
    import matplotlib as mpl

    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    # Letters stay letters, which is small, and lets the reader's machine write in any script.
    look: Any = {"svg.fonttype": "none", "svg.hashsalt": "gradbook"}
    with mpl.rc_context(look), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # it is laid out
        content, kind = _saved(figure, "svg"), "svg+xml"
        if len(content) > _LARGEST_DRAWING:
            content, kind = _saved(figure, "png"), "png"
    return Image(_address(content, kind), width, height)


def kept_image(folder: Path, name: str) -> Image | None:
    """A PNG file of a run's folder; None if there is none.

    Raises:
        CorruptFileError: If it is no such picture, or too large.
    """
    path = inside(folder, name)
    try:
        content = read_file(path, _MAX_BYTES)
    except FileNotFoundError:
        return None
    if not content.startswith(_PNG) or content[12:16] != b"IHDR" or len(content) < 24:
        raise CorruptFileError(f"{path} is not a PNG image.")
    width, height = struct.unpack(">II", content[16:24])
    if not 0 < width * height <= _MAX_PIXELS:
        raise CorruptFileError(f"{path} has {width:,} times {height:,} pixels, which is too many.")
    return Image(_address(content, "png"), width // 2, height // 2)  # ours have 200 to the inch


def _saved(figure: "Figure", kind: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(buffer, format=kind, dpi=_DPI, metadata=metadata)
    content = buffer.getvalue()
    return content if kind == "png" else _FONTS.sub(_FONT, content)


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{b64encode(content).decode()}"
