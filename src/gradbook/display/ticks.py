"""The numbers at the ticks of a figure: plain ones, without powers of ten beside the axis."""

import math
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import Formatter, LogFormatterMathtext, ScalarFormatter

#: Within these, the numbers of a logarithmic axis are written out.
_SMALLEST, _LARGEST = 1e-4, 1e6


class PlainTicks(Formatter):
    """Each number in full, as 2e-5; Matplotlib writes 2 there, and 1e-5 at the axis' end."""

    def format_ticks(self, values: Any) -> list[str]:
        """The numbers with as many digits as tell them apart."""
        values = [float(value) for value in values]
        near = min((abs(b - a) for a, b in pairwise(values)), default=0) / 100
        if all(abs(value) < _LARGEST for value in values):
            for digits in range(5):
                if all(abs(round(value, digits) - value) <= near for value in values):
                    # A rounded zero may be negative.
                    texts = [f"{round(value, digits) + 0.0:.{digits}f}" for value in values]
                    return list(map(self.fix_minus, texts))
        for digits in range(9):
            texts = [_scientific(value, digits) for value in values]
            pairs = zip(texts, values, strict=True)
            if all(abs(float(text) - value) <= near for text, value in pairs):
                break
        return list(map(self.fix_minus, texts))

    def __call__(self, x: Any, pos: int | None = None) -> str:
        """A number alone, as for a reader's pointer."""
        return f"{x:g}"


class PlainLogTicks(LogFormatterMathtext):
    """0.6, where Matplotlib writes 6 x 10^-1; the powers of ten on axes with many of them."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The text of one tick; an empty one where neighbors leave no room."""
        text = super().__call__(x, pos)
        if not text:  # it has no room for this one
            return text
        low, high = sorted(self.axis.get_view_interval())  # type: ignore[union-attr]
        if low >= _SMALLEST and high <= _LARGEST:
            return f"{x:g}"
        power = math.log10(x)
        return text if math.isclose(power, round(power), abs_tol=1e-9) else _scientific(x, 0)


def _scientific(value: float, digits: int) -> str:
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if value else "0"


def plain_ticks(axes: Axes) -> None:
    """Has the ticks of both axes say plain numbers; call it once their scales are set."""
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_formatter(PlainLogTicks())
            axis.set_minor_formatter(PlainLogTicks())
        elif type(axis.get_major_formatter()) is ScalarFormatter:  # not one that somebody chose
            axis.set_major_formatter(PlainTicks())
