"""The curves of a board as arrays, and what is wrong with them, for every display alike."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np
import numpy.typing as npt

from gradbook.errors import ConfigError, did_you_mean, shown
from gradbook.labels import is_loss
from gradbook.record import YScale

if TYPE_CHECKING:
    from gradbook.board import ProgressBoard

Array = npt.NDArray[np.float64]

#: Losses that differ by more than this factor could not all be read on a linear axis.
_MANY_TIMES = 100


@dataclass(frozen=True)
class Curve:
    """A named curve.

    Attributes:
        label: Its name.
        x, y: Its points, of shape (n,), float64. y may be NaN or infinite.
    """

    label: str
    x: Array
    y: Array

    @classmethod
    def of(cls, label: str, x: Sequence[float], y: Sequence[float]) -> "Curve":
        """A curve from numbers. Points without a position are left out."""
        x_array, y_array = np.asarray(x, np.float64), np.asarray(y, np.float64)
        placed = np.isfinite(x_array)
        return cls(label, x_array[placed], y_array[placed])

    def drawable(self, log: bool = False) -> npt.NDArray[np.bool_]:
        """Which points have a place on a linear, or on a logarithmic, y axis."""
        finite = np.isfinite(self.y)
        return finite & (self.y > 0) if log else finite

    def high(self) -> Array:
        """The positions of points that are marked at the upper edge: NaN and infinity."""
        high: Array = self.x[np.isnan(self.y) | (self.y == np.inf)]
        return high

    def low(self, log: bool = False) -> Array:
        """The positions marked at the lower edge: minus infinity, and what has no logarithm."""
        low: Array = self.x[self.y <= 0 if log else self.y == -np.inf]
        return low

    def trouble(self, xlabel: str | None = None, log: bool = False) -> str:
        """What to say of points that cannot be drawn, as "NaN from epoch 2.5", or nothing."""
        missing = ~self.drawable(log)
        if not missing.any():
            return ""
        first = int(missing.argmax())
        y = float(self.y[first])
        kind = "NaN" if math.isnan(y) else f"{y:g}" if math.isinf(y) else "not positive"
        rest = "from" if missing[first:].all() else "at"
        # "from epoch 2.5", but "from x = 2.5"
        place = f"{xlabel} " if xlabel and len(xlabel) > 2 else f"{xlabel or 'x'} = "
        return f"{kind} {rest} {place}{self.x[first]:.3g}"


def curves_of(board: "ProgressBoard") -> list[Curve]:
    """The curves of a board, in the order of their labels. Safe while another thread draws."""
    curves = [(label, list(points)) for label, points in list(board.data.items())]
    return [
        Curve.of(label, [p.x for p in points], [p.y for p in points]) for label, points in curves
    ]


def vertical_scale(given: str, curves: Sequence[Curve]) -> str:
    """The scale of the vertical axis: what was given, or what "auto" comes to.

    That is "log" where losses span decades and every value that is drawn has a logarithm, and
    otherwise "linear".
    """
    if given != "auto":
        return given
    drawn = [curve.y[curve.drawable()] for curve in curves]
    losses = [y for curve, y in zip(curves, drawn, strict=True) if is_loss(curve.label) and len(y)]
    if not losses or min(y.min(initial=np.inf) for y in drawn) <= 0:
        return "linear"
    low, high = min(y.min() for y in losses), max(y.max() for y in losses)
    return "log" if high / _MANY_TIMES > low else "linear"


def check_scale(yscale: str) -> None:
    """Raises ConfigError unless it is one that there is."""
    scales = get_args(YScale)
    if yscale not in scales:
        raise ConfigError(
            f"yscale is one of {', '.join(scales)}, but it is {shown(yscale)}."
            f"{did_you_mean(str(yscale), scales)}"
        )


def limits(given: Sequence[float] | None, log: bool) -> tuple[float, float] | None:
    """The ends of an axis as a learner gave them, or None where they cannot be used."""
    if given is None:
        return None
    try:
        low, high = (float(end) for end in given)
    except (TypeError, ValueError):  # such as (0, None)
        return None
    usable = math.isfinite(low) and math.isfinite(high) and low != high
    return (low, high) if usable and not (log and min(low, high) <= 0) else None


def combination(index: int, num_first: int, num_second: int) -> tuple[int, int]:
    """Which of two lists' items curve number `index` takes.

    Both lists are gone through together, as the book does. When they come round, the second is
    shifted by one, so that no two curves look alike before all combinations are used.
    """
    round_trip = math.lcm(num_first, num_second)
    return index % num_first, (index + index // round_trip) % num_second


def short(value: float) -> str:
    """A value for the reader: four decimals where these say something."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"
