"""Line charts in text: Braille dots, or plain characters where a terminal has no others.

A chart is made many times while a model trains, so that all points of a curve are placed at
once, with NumPy; see `render` for what it gives.
"""

import math
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gradbook.display.curves import Array, Curve, limits, short

#: The span belongs to no curve: axes, ticks and names.
FRAME = -1


class Span(NamedTuple):
    """A piece of a line.

    Attributes:
        text: What is written.
        curve: The number of the curve whose color it has, or `FRAME`.
    """

    text: str
    curve: int = FRAME


Line = list[Span]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Ends = tuple[float, float]


class _Look(NamedTuple):
    """The characters of a chart."""

    glyphs: str
    trouble: str
    vertical: str
    tick_left: str
    horizontal: str
    tick_below: str
    corner: str
    cut: str
    #: Dots in a character, across and down.
    dots: tuple[int, int]


_UNICODE = _Look("●◆▲■○◇△□★✚", "×", "│", "┤", "─", "┬", "└", "…", (2, 4))
_ASCII = _Look("*o+#@%&$=~", "!", "|", "+", "-", "+", "+", "~", (1, 1))

#: The bit of each dot of a Braille character, as rows of (left, right).
_BITS = np.array([[1, 8], [2, 16], [4, 32], [64, 128]], np.int64)

#: From so many points for each column of dots, those that would not show are left out.
_MANY_POINTS = 8

#: Dots drawn and left out along a curve, so that curves differ without color too.
_DASHES = ((1, 0), (5, 3), (1, 2), (7, 2, 1, 2))


def render(
    curves: Sequence[Curve],
    width: int = 80,
    height: int = 18,
    *,
    xlabel: str | None = None,
    ylabel: str | None = None,
    xlim: Sequence[float] | None = None,
    ylim: Sequence[float] | None = None,
    xscale: str = "linear",
    yscale: str = "linear",
    unicode: bool = True,
) -> list[Line]:
    """Draws curves as lines of text, each a list of spans.

    A point that is NaN or infinite, or that has no logarithm on a log scale, is a mark on the
    chart's edge, and the legend says where the trouble begins. The legend gives the last value.
    The room is for everything together, in characters and in lines; names and ticks give way where
    there is little. The settings of the axes are those of a `ProgressBoard`. Without `unicode`,
    there is no Braille and no box drawing, only ASCII.
    """
    look = _UNICODE if unicode else _ASCII
    xlog, ylog = xscale == "log", yscale == "log"
    width, height = max(width, 10), max(height, 1)

    legend = _legend(curves, width, max(1, height // 3), look, xlabel, ylog)
    num_rows = height - len(legend) - 2
    name_x, name_y = bool(xlabel) and num_rows >= 7, bool(ylabel) and num_rows >= 8
    num_rows -= name_x + name_y
    if num_rows < 3:  # no room for a chart
        return legend[:height]

    shown = [curve.drawable(ylog) for curve in curves]
    x_range = _range([curve.x for curve in curves], xlim, xlog)
    y_range = _range([c.y[mask] for c, mask in zip(curves, shown, strict=True)], ylim, ylog)
    y_ticks = _ticks(*y_range, max(3, num_rows // 3), ylog)
    margin = max((len(text) for _, text in y_ticks), default=0)
    num_columns = width - margin - 1
    if num_columns < 8:
        return legend[:height]

    size = (num_rows, num_columns)
    codes, owner = _raster(curves, shown, x_range, y_range, size, look, xlog, ylog)
    rows: dict[int, str] = {}
    for value, text in y_ticks:
        row = num_rows - 1 - _cell(value, y_range, num_rows, ylog)
        rows.setdefault(row, text)
    lines: list[Line] = []
    if name_y:
        lines.append([Span(_fit(_clean(str(ylabel), look), width, look))])
    for row in range(num_rows):
        text = rows.get(row, "")
        edge = look.tick_left if text else look.vertical
        lines.append([Span(f"{text:>{margin}}{edge}"), *_spans(codes[row], owner[row])])

    # A label of an x tick takes its own width and a space on both sides.
    x_ticks = _ticks(*x_range, max(2, num_columns // 10), xlog)
    places = [(_cell(value, x_range, num_columns, xlog), text) for value, text in x_ticks]
    axis, below = [look.horizontal] * num_columns, [" "] * width
    end = 0
    for column, text in sorted(places):
        axis[column] = look.tick_below
        begin = min(max(margin + 1 + column - len(text) // 2, 0), width - len(text))
        if begin >= end:
            below[begin : begin + len(text)] = text
            end = begin + len(text) + 1
    lines.append([Span(" " * margin + look.corner + "".join(axis))])
    lines.append([Span("".join(below).rstrip())])
    if name_x:
        name = _fit(_clean(str(xlabel), look), num_columns, look)
        lines.append([Span(" " * (margin + 1 + (num_columns - _width(name)) // 2) + name)])
    return lines + legend


def plain(lines: Sequence[Line]) -> str:
    """The chart without colors, as one text."""
    return "\n".join("".join(span.text for span in line).rstrip() for line in lines)


# Where points fall


def _range(values: Sequence[Array], given: Sequence[float] | None, log: bool) -> Ends:
    """The ends of an axis; they are never equal, and positive on a log scale."""
    ends = limits(given, log)
    if ends is not None:
        return ends
    every = np.concatenate([np.empty(0), *values])
    kept = every[every > 0] if log else every
    if not len(kept):
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = float(kept.min()), float(kept.max())
    if low < high:
        return low, high
    if log:
        return max(low / 2, 5e-324), min(high * 2, 1.7e308)
    pad = abs(low) / 20 or 0.5
    return max(low - pad, -1.7e308), min(high + pad, 1.7e308)


def _fraction(values: Array, ends: Ends, log: bool) -> Array:
    """How far along an axis values are, from 0 to 1, and a little beyond for those outside."""
    low, high = ends
    with np.errstate(all="ignore"):
        if log:
            values, low, high = np.log10(values), math.log10(low), math.log10(high)
        # Halves, because the whole span of two huge ends would overflow.
        span = high / 2 - low / 2
        part = (values / 2 - low / 2) / span if span else np.full(len(values), 0.5)
        return np.clip(part, -1.0, 2.0)


def _cell(value: float, ends: Ends, count: int, log: bool) -> int:
    part = float(_fraction(np.array([value]), ends, log)[0])
    return min(max(round(part * (count - 1)), 0), count - 1)


def _raster(
    curves: Sequence[Curve],
    shown: Sequence[Mask],
    x_range: Ends,
    y_range: Ends,
    size: tuple[int, int],
    look: _Look,
    xlog: bool,
    ylog: bool,
) -> tuple[npt.NDArray[np.int32], Ints]:
    """The character of every cell, and whose it is; both of shape `size` (rows, columns)."""
    num_rows, num_columns = size
    across, down = look.dots
    bits = np.zeros(size, np.int64)
    codes = np.full(size, ord(" "), np.int32)
    owner = np.full(size, FRAME, np.int64)
    marks = []
    for index, (curve, mask) in enumerate(zip(curves, shown, strict=True)):
        drawn = mask = mask & (curve.x > 0) if xlog else mask
        part_x = _fraction(curve.x, x_range, xlog)
        part_y = _fraction(curve.y, y_range, ylog)
        x = np.rint(part_x * (num_columns * across - 1))
        y = np.rint((1 - part_y) * (num_rows * down - 1))
        whole_x, whole_y = (np.where(mask, part, 0).astype(np.int64) for part in (x, y))
        if len(mask) > _MANY_POINTS * num_columns * across:
            whole_x, whole_y, mask = _thinned(whole_x, whole_y, mask)
        dot_x, dot_y = _strokes(whole_x, whole_y, mask, index if look is _UNICODE else 0)
        inside = (dot_x >= 0) & (dot_x < num_columns * across)
        inside &= (dot_y >= 0) & (dot_y < num_rows * down)
        dots = np.zeros((num_rows * down, num_columns * across), bool)
        dots[dot_y[inside], dot_x[inside]] = True
        blocks = dots.reshape(num_rows, down, num_columns, across).transpose(0, 2, 1, 3)
        own = (blocks * _BITS[:down, :across]).sum((2, 3))
        bits |= own
        glyph = look.glyphs[index % len(look.glyphs)]
        codes[own > 0], owner[own > 0] = ord(glyph), index
        # The last point carries the curve's sign, as in the legend. It also shows a lone point.
        last = np.flatnonzero(drawn)[-1:]
        if len(last) and 0 <= part_x[last[0]] <= 1 and 0 <= part_y[last[0]] <= 1:
            place = (int(y[last[0]]) // down, int(x[last[0]]) // across)
            marks.append((place, glyph, index))
        for positions, row in ((curve.high(), 0), (curve.low(ylog), num_rows - 1)):
            part = _fraction(positions, x_range, xlog)
            columns = np.rint(part[(part >= 0) & (part <= 1)] * (num_columns - 1))
            marks += [((row, int(column)), look.trouble, index) for column in set(columns)]
    if look is _UNICODE:
        codes[bits > 0] = 0x2800 + bits[bits > 0]
    for place, glyph, index in marks:
        codes[place] = ord(glyph)
        owner[place] = index
    return codes, owner


def _thinned(x: Ints, y: Ints, mask: Mask) -> tuple[Ints, Ints, Mask]:
    """Fewer points that leave the same line.

    Of points one after the other in a column of dots, only the first, the lowest, the highest and
    the last show.
    """
    changes = (x[1:] != x[:-1]) | (mask[1:] != mask[:-1])
    first = np.append(0, np.flatnonzero(changes) + 1)
    last = np.append(first[1:], len(x)) - 1
    lowest, highest = np.minimum.reduceat(y, first), np.maximum.reduceat(y, first)
    rows = np.stack([y[first], lowest, highest, y[last]], axis=1)
    return np.repeat(x[first], 4), rows.reshape(-1), np.repeat(mask[first], 4)


def _strokes(x: Ints, y: Ints, mask: Mask, style: int) -> tuple[Ints, Ints]:
    """The dots of the lines that join neighboring points, where both can be drawn."""
    joined = mask[:-1] & mask[1:]
    from_x, from_y = x[:-1][joined], y[:-1][joined]
    by_x, by_y = x[1:][joined] - from_x, y[1:][joined] - from_y
    lengths = np.maximum(np.abs(by_x), np.abs(by_y))
    total = int(lengths.sum())
    # For each dot: its number along the whole curve, and how far it is along its own line.
    along = np.arange(total)
    step = along - np.repeat(np.cumsum(lengths) - lengths, lengths)
    part = step / np.repeat(lengths, lengths)
    dot_x = np.repeat(from_x, lengths) + np.rint(part * np.repeat(by_x, lengths)).astype(np.int64)
    dot_y = np.repeat(from_y, lengths) + np.rint(part * np.repeat(by_y, lengths)).astype(np.int64)
    dashes = _DASHES[style % len(_DASHES)]
    pattern = np.repeat(np.arange(len(dashes)) % 2 == 0, dashes)
    kept = pattern[along % len(pattern)]
    # Points without a neighbor are joined to nothing, and still are to be seen.
    lonely = mask.copy()
    lonely[:-1] &= ~joined
    lonely[1:] &= ~joined
    return np.append(dot_x[kept], x[lonely]), np.append(dot_y[kept], y[lonely])


def _spans(codes: npt.NDArray[np.int32], owner: Ints) -> Line:
    """One row's characters, those of the same curve together."""
    text = codes.astype("<u4").tobytes().decode("utf-32-le")
    cuts = [0, *(np.flatnonzero(owner[1:] != owner[:-1]) + 1).tolist(), len(text)]
    return [Span(text[a:b], int(owner[a])) for a, b in pairwise(cuts)]


# Names and numbers


def _ticks(low: float, high: float, most: int, log: bool) -> list[tuple[float, str]]:
    """At most about `most` round values between the ends, with their texts."""
    low, high = min(low, high), max(low, high)
    if log:
        decades = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
        if len(decades) >= 2:
            every = math.ceil(len(decades) / most)
            return [(10.0**power, _number(10.0**power, 0)) for power in decades[::every]]
    span = high / most - low / most  # divided first: the whole span may overflow
    power = 10.0 ** math.floor(math.log10(span)) if span > 0 else 0.0
    if power == 0 or not math.isfinite(low / power):
        return [(low, f"{low:.3g}")]
    step = next((size * power for size in (1, 2, 5, 10) if size * power >= span * 0.999), 0)
    if not math.isfinite(step):
        return [(low, f"{low:.3g}"), (high, f"{high:.3g}")]
    first = math.ceil(low / step - 1e-9)
    values = [(first + k) * step for k in range(most + 1)]
    # The last may exceed the end by a rounding error.
    kept = [v for v in values if v <= high or math.isclose(v, high, abs_tol=step * 1e-9)]
    return [(value, _number(value, step)) for value in kept]


def _number(value: float, step: float) -> str:
    """A tick's text with as many digits as its neighbors need; step 0 is a power of ten."""
    if step == 0:
        return f"{value:g}" if 1e-3 <= value < 1e5 else _scientific(value, 0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(value) < step / 2:
        return "0"
    if decimals <= 4 and abs(value) < 1e5:
        return f"{value:.{decimals}f}"
    digits = max(0, math.floor(math.log10(abs(value)) + 1e-9) - math.floor(math.log10(step) + 1e-9))
    return _scientific(value, min(digits, 8))


def _scientific(value: float, digits: int) -> str:
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _legend(
    curves: Sequence[Curve], width: int, most: int, look: _Look, xlabel: str | None, ylog: bool
) -> list[Line]:
    """The curves' signs, names and last values, as many on a line as there is room for."""
    lines: list[Line] = []
    used = 0
    for index, curve in enumerate(curves):
        trouble = curve.trouble(xlabel, ylog)
        last = short(float(curve.y[-1])) if len(curve.y) and math.isfinite(curve.y[-1]) else ""
        name = _clean(" ".join(filter(None, [curve.label, last])), look)
        text = f"{name} ({_clean(trouble, look)})" if trouble else name
        text = _fit(text, width - 2, look)
        length = _width(text) + 2
        if not lines or used + 3 + length > width:
            if len(lines) == most:
                lines[-1] = _with_rest(lines[-1], len(curves) - index, width)
                break
            lines.append([])
            used = -3
        if lines[-1]:
            lines[-1].append(Span("   "))
        lines[-1] += [Span(look.glyphs[index % len(look.glyphs)], index), Span(" " + text)]
        used += 3 + length
    return lines


def _with_rest(line: Line, num_left: int, width: int) -> Line:
    """A legend's last line, which also says how many curves have no room in it."""
    while True:
        more = f" + {num_left} more"
        if sum(_width(span.text) for span in line) + len(more) <= width:
            return [*line, Span(more)]
        if len(line) <= 2:  # one entry is worth more than the count
            return line
        line, num_left = line[:-3], num_left + 1


def _clean(text: str, look: _Look) -> str:
    """A text without what would break a line or, in ASCII, could not be written."""
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if look is _UNICODE else text.encode("ascii", "replace").decode()


def _width(text: str) -> int:
    """How many columns a text takes; many Asian characters take two."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def _fit(text: str, width: int, look: _Look) -> str:
    if _width(text) <= width:
        return text
    while text and _width(text) > width - 1:
        text = text[:-1]
    return text + look.cut
