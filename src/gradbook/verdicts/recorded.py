"""The curves of a training, read from wherever they were recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from gradbook.errors import ConfigError
from gradbook.labels import higher_is_better, is_loss


@dataclass(frozen=True)
class Curve:
    """A recorded curve: its values, and where they stand in epochs."""

    label: str
    xs: np.ndarray
    ys: np.ndarray

    def without(self, left_out: Any) -> "Curve":
        """The curve without some of its values, by their places or by truth values."""
        return Curve(self.label, np.delete(self.xs, left_out), np.delete(self.ys, left_out))


@dataclass(frozen=True)
class Recorded:
    """What is known of a training; its curves hold finite values only if `diverged` is None.

    A value that was NaN or infinite without a divergence, as an F1 without positives, is left out.
    The number of classes and the learning rate are None for a mapping, which does not know them.
    """

    curves: dict[str, Curve]
    epochs: int
    points: dict[str, Curve]
    diverged: str | None
    num_classes: int | None = None
    lr: float | None = None

    @classmethod
    def of(cls, training: Any) -> "Recorded":
        """What `verdict` takes, read.

        Raises:
            ConfigError: If it is no training.
        """
        history = getattr(training, "history", training)
        if isinstance(training, Mapping):
            values = {str(name): _numbers(name, training[name]) for name in training}
            curves = {
                name: Curve(name, np.arange(1.0, len(ys) + 1), ys) for name, ys in values.items()
            }
            points, went_on = {}, False
        elif hasattr(history, "rows"):
            curves, points = _curves_of(history.rows), _points_of(training)
            went_on = getattr(training, "status", None) != "diverged"
        else:
            raise ConfigError(
                f"A verdict needs a training: a History, a Trainer after fit(), a run, or a "
                f"mapping such as {{'val_loss': [0.9, 0.5]}}, but got "
                f"{type(training).__name__} {training!r:.60}."
            )
        diverged = getattr(history, "diverged", None)
        curves = {
            name: curve
            for name, curve in curves.items()
            if name not in ("epoch", "lr") and len(curve.ys)
        }
        if diverged is None:
            # A History knows whether its training went on in spite of a validation loss. Of a
            # mapping it is only known whether that was lost for good, or in some epochs.
            losses = {
                name: curve
                for name, curve in curves.items()
                if is_loss(name)
                and not (name.startswith("val_") and (went_on or not _is_lost(curve.ys)))
            }
            diverged = _first_nonfinite(losses)
        if diverged is None:
            kept = [curve.without(~np.isfinite(curve.ys)) for curve in curves.values()]
            curves = {curve.label: curve for curve in kept if len(curve.ys)}
        epochs = round(max((curve.xs[-1] for curve in curves.values()), default=0))
        classes, lr = getattr(history, "num_classes", None), getattr(history, "lr", None)
        return cls(curves, epochs, points, diverged, classes, lr)


def listed(values: Any) -> Any:
    """A tensor, an array or a list with some in it, as a list; anything else as it is."""
    if hasattr(values, "tolist"):
        return values.tolist()
    return list(map(listed, values)) if isinstance(values, list | tuple) else values


def _numbers(name: Any, values: Any) -> np.ndarray:
    ys = listed(values)
    if not isinstance(ys, list) or any(not isinstance(y, Real) or isinstance(y, bool) for y in ys):
        raise ConfigError(
            f"{name!r} must be a list of numbers, one for each epoch, but it is {values!r:.200}."
        )
    try:
        return np.array(ys, float)
    except OverflowError:
        raise ConfigError(f"{name!r} holds a whole number that no float can hold.") from None


def _curves_of(rows: Sequence[Mapping[str, float]]) -> dict[str, Curve]:
    labels = dict.fromkeys(name for row in rows for name in row if name != "epoch")
    # A label that is not in a row was not measured in that epoch, and is no NaN.
    curves = {}
    for name in labels:
        xs, ys = (
            np.fromiter((row[key] for row in rows if name in row), float) for key in ("epoch", name)
        )
        curves[name] = Curve(name, xs, ys)
    return curves


def _points_of(training: Any) -> dict[str, Curve]:
    """The board's points, which tell more of a short training than the means of its epochs."""
    points = getattr(training, "points", None)
    if points is None:
        board = getattr(getattr(training, "model", None), "board", None)
        points = getattr(board, "data", None) or {}
    curves = {}
    for name, curve in points.items():
        if len(curve):
            # A run that was kept has its points as columns.
            xs = getattr(curve, "x", None) or [point.x for point in curve]
            ys = getattr(curve, "y", None) or [point.y for point in curve]
            curves[name] = Curve(name, np.array(xs, float), np.array(ys, float))
    return curves


def _is_lost(ys: np.ndarray) -> bool:
    """Whether values that were finite at some time are so no more."""
    known = np.isfinite(ys)
    return bool(known.any() and not known[-1])


def _first_nonfinite(curves: Mapping[str, Curve]) -> str | None:
    places = [
        (curve.xs[np.argmin(np.isfinite(curve.ys))], name)
        for name, curve in curves.items()
        if not np.isfinite(curve.ys).all()
    ]
    if not places:
        return None
    epoch, name = min(places)
    return f"{name} in epoch {epoch:g}"


def to_judge_by(curves: Mapping[str, Curve]) -> tuple[Curve | None, Curve | None]:
    """The curves of training and validation to judge by, if one has a known direction."""
    parts = [label.removeprefix("train_").removeprefix("val_") for label in curves]
    quantities = dict.fromkeys(parts)
    losses = [name for name in quantities if higher_is_better(name) is False]
    scores = [name for name in quantities if higher_is_better(name)]
    if not losses and not scores:
        return None, None
    quantity = "loss" if "loss" in losses else (losses or scores)[0]
    train = curves.get(f"train_{quantity}") or curves.get(quantity)
    return train, curves.get(f"val_{quantity}")
