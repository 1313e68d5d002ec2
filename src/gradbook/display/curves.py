"""The curves of a board as arrays, and what is wrong with them, for every display alike."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from gradbook.board import ProgressBoard

Array = npt.NDArray[np.float64]


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
