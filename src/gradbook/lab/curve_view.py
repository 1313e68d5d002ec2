"""A piece of one curve, as finely as a page asks for it."""

import math
from typing import Any

import numpy as np

from gradbook.errors import ConfigError
from gradbook.lab.catalogue import Catalogue
from gradbook.lab.thinning import thinned
from gradbook.runs.format import json_number

#: The most points that one answer has.
MAX_POINTS = 10_000


def curve_view(
    catalogue: Catalogue,
    run: str,
    kind: str,
    label: str,
    limits: tuple[float | None, float | None],
    num_points: int,
    weight: float = 0,
) -> dict[str, Any]:
    """The points of one curve between two places, and the one before and the one after.

    Args:
        catalogue: The runs.
        run: The run's id.
        kind: "point" or "epoch".
        label: The curve's label.
        limits: The places; None is the curve's own end.
        num_points: More points are thinned to about so many.
        weight: How much of each value is kept by the next, from 0 for no smoothing to less than 1.

    Returns:
        "x" and "y", values as metrics.jsonl has them; "num", how many points the piece has; and
        "damage", what is wrong with the file, or None.

    Raises:
        ConfigError: If there is no such run or curve.
    """
    found = catalogue.news(run)
    assert found is not None  # as it is read now
    (_, _, values), damage = found
    numbers = {(str(kind), label): number for number, (kind, label) in enumerate(values.names)}
    number = numbers.get((kind, label))
    if number is None:
        raise ConfigError(f"The run has recorded no {kind} values of {label!r:.60}.")
    name, x, y = (np.asarray(part) for part in (values.name, values.x, values.y))
    x, y = x[name == number], y[name == number]
    if weight:
        y = smoothed(y, weight)
    low, high = limits
    begin = 0 if low is None else max(int(np.searchsorted(x, low)) - 1, 0)
    end = len(x) if high is None else min(int(np.searchsorted(x, high, "right")) + 1, len(x))
    x, y = x[begin:end], y[begin:end]
    kept = thinned(x, y, num_points)
    return {
        "x": x[kept].tolist(),
        "y": [json_number(value) for value in y[kept].tolist()],
        "num": len(x),
        "damage": damage,
    }


def smoothed(y: np.ndarray, weight: float) -> np.ndarray:
    """Exponential smoothing, corrected for its beginning. What is not finite is passed over.

    Args:
        y: Values, of shape (n,).
        weight: How much of each value is kept by the next.

    Returns:
        As many, float64.
    """
    found, total, share = [], 0.0, 0.0
    for value in y.tolist():
        if not math.isfinite(value):
            found.append(value)
            continue
        total = weight * total + (1 - weight) * value
        share = weight * share + (1 - weight)
        found.append(total / share)
    return np.array(found, np.float64)
