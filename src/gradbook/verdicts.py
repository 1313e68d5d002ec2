"""What a learning curve says, in words and with its evidence.

`verdict` judges one training, `compare_settings` two settings by the values that they reach with
several seeds. The rules and their limits are described in docs/verdicts.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from numbers import Real
from typing import Any, Literal

import numpy as np

from gradbook.errors import ConfigError, did_you_mean
from gradbook.record import headline, higher_is_better

Label = Literal[
    "converged",
    "still improving",
    "oscillating",
    "diverged",
    "overfitting",
    "stuck",
    "cannot tell",
]

#: A trend counts if noise gives one as steep less often than this. Half of these trends go the
#: same way, and there may be two curves: a level training seems to improve in 4 of 100 cases.
_SIGNIFICANT = 0.04
#: An explosion: a loss so many times its start; or so many times, where it rises beyond noise.
_EXPLODED, _RISEN = 10, 2
#: The part of the level that a curve must gain not to be stuck, and from which on a change in
#: the final phase is no trifle. Where nothing else can be learned, the frequencies of the classes
#: are, and give the first percent.
_GAINED, _TRIFLE = 0.02, 0.01
#: The part of the whole fall that the end of a curve must gain for it to be improving.
_WORTHWHILE = 0.02
#: Swings: their least size as parts of the level and of the whole fall; as a part of the level
#: alone; and how many epochs show them.
_LARGE, _LARGE_IN_FALL, _HUGE, _TELLING_EPOCHS = 0.1, 0.15, 1, 5
#: The largest part of the whole fall that noise may hide in the final phase of a level curve.
_HIDDEN = 0.5
#: From this noise on, as a part of the level, a floor is called noisy.
_NOISY = 0.05
#: What is written out of changes: no less in percent, and no more as a logarithm.
_LEAST_PERCENT, _LARGEST = 0.01, 700
#: An accuracy above this is not one by chance, if the classes are about as frequent.
_BY_CHANCE = 0.6


@dataclass(frozen=True, repr=False)
class Verdict:
    """A judgement on a training, and the curve that it rests on.

    Numbers are in the curve's own unit, and None where there are too few epochs to know them.

    Attributes:
        label: "converged", "still improving", "oscillating", "diverged", "overfitting", "stuck",
            or "cannot tell".
        reason: Why, in one or two sentences.
        epochs: The number of finished epochs.
        curve: The label of the curve that decided, such as "val_loss".
        start: The loss at which the training began, as far back as it is known.
        level: The median in the final phase, which is the later half of the epochs.
        noise: The standard deviation of the curve about the straight line (of the logarithm of a
            positive loss) in the final phase; where swings decided, about the neighbouring values.
        slope: The change per epoch in the final phase.
        p_value: How often noise alone would give a slope as steep, from 0 to 1.
    """

    label: Label
    reason: str
    epochs: int
    curve: str | None = None
    start: float | None = None
    level: float | None = None
    noise: float | None = None
    slope: float | None = None
    p_value: float | None = None

    def __str__(self) -> str:
        # The reason of a "cannot tell" goes on from these words.
        begun = self.reason.startswith(self.label)
        return self.reason if begun else f"{self.label}: {self.reason}"

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, repr=False)
class SettingsComparison:
    """Whether two settings differ by more than their seeds do.

    Attributes:
        label: What was compared, such as "val_acc".
        difference: The mean of the first setting minus that of the second, or None if one of them
            has no finite value.
        interval: The lowest and the highest difference that the values allow, or None if there
            are too few of them.
        p_value: How often seeds alone would give a difference as large, from 0 to 1, or None.
        better: "a" or "b", or None where the seeds do not tell.
        reason: The same in words.
    """

    label: str
    difference: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    better: Literal["a", "b"] | None
    reason: str

    def __str__(self) -> str:
        return self.reason

    def __repr__(self) -> str:
        return self.reason


def verdict(training: Any) -> Verdict:
    """Judges the learning curve of one training.

    The loss is judged, because it is what training lowers: in validation where there is one, and
    in training. Where no loss was recorded, an accuracy is.

    Args:
        training: A `History`, or what has one as `history`, such as a `Trainer` or a stored run;
            or a mapping from labels, such as "val_loss", to lists of epoch means.

    Raises:
        ConfigError: If it is none of these.
    """
    recorded = _Recorded.of(training)
    epochs = recorded.epochs
    if recorded.diverged is not None:
        reason = f"A value became NaN or infinite: {recorded.diverged}."
        return Verdict("diverged", reason, epochs)
    judged = _judged(recorded.curves)
    if judged is None:
        names = ", ".join(recorded.curves) or "no values"
        reason = (
            f"cannot tell from {_count(epochs)} without a loss or an accuracy. There are {names}."
        )
        return Verdict("cannot tell", reason, epochs)
    with np.errstate(all="ignore"):  # a loss of 1e200 is for the verdict to tell
        return _judge(recorded, *judged)


def compare_settings(
    a: Sequence[Any],
    b: Sequence[Any],
    label: str | None = None,
    *,
    paired: bool = False,
    alpha: float = 0.05,
    names: tuple[object, object] = ("a", "b"),
) -> SettingsComparison:
    """Says whether the difference of two settings is beyond the spread of their seeds.

    The final values are compared with Welch's t-test, or, where they are pairs, with the t-test
    of their differences: it takes them to be about normally distributed. A permutation test would
    not, but with 3 seeds each even its rarest outcome comes 1 time in 10.

    Args:
        a: The trainings of the first setting, one per seed, as `verdict` takes them, or their
            final values as numbers.
        b: The same of the second setting.
        label: What to compare, such as "val_acc"; None takes the headline of the trainings. With
            numbers it must be given, because it says which way is better.
        paired: Whether the two settings were trained with the same seeds, given in the same
            order.
        alpha: How often a difference may be found where there is none, between 0 and 1.
        names: What the settings are called in words, such as (0.1, 0.3).

    Raises:
        ConfigError: If there is nothing to compare, the label is not recorded, its name does not
            tell which way is better, or pairs are incomplete.
    """
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha must be between 0 and 1, such as 0.05, but it is {alpha!r}.")
    if len(a) == 0 or len(b) == 0:
        raise ConfigError(
            f"Two settings are compared by at least one training each, but there are {len(a)} "
            f"and {len(b)}."
        )
    if paired and len(a) != len(b):
        raise ConfigError(
            f"paired=True needs both settings with the same seeds, but there are {len(a)} and "
            f"{len(b)} trainings. Leave out those without a partner, or take paired=False."
        )
    if label is None:
        label = _common_headline([*a, *b])
    rises = higher_is_better(label)
    if rises is None:
        raise ConfigError(
            f"{label!r} does not tell whether more of it is better. Compare a label that ends in "
            f"a word such as loss, error or acc."
        )
    finals = [[_final_value(training, label) for training in group] for group in (a, b)]
    return _compare(finals, label, rises, paired, alpha, names)


# Reading what was recorded


@dataclass(frozen=True)
class _Curve:
    """A recorded curve: its values, and where they stand in epochs."""

    label: str
    xs: np.ndarray
    ys: np.ndarray


@dataclass(frozen=True)
class _Recorded:
    """What is known of a training; its curves hold finite values only if `diverged` is None."""

    curves: dict[str, _Curve]
    epochs: int
    points: dict[str, _Curve]
    diverged: str | None

    @classmethod
    def of(cls, training: Any) -> "_Recorded":
        points: dict[str, _Curve] = {}
        diverged = None
        if isinstance(training, Mapping):
            values = {str(name): _numbers(name, training[name]) for name in training}
            curves = {
                name: _Curve(name, np.arange(1.0, len(ys) + 1), ys) for name, ys in values.items()
            }
        else:
            history = getattr(training, "history", training)
            if not hasattr(history, "rows"):
                raise ConfigError(
                    f"A verdict needs a training: a History, a Trainer after fit(), a run, or a "
                    f"mapping such as {{'val_loss': [0.9, 0.5]}}, but got "
                    f"{type(training).__name__} {training!r:.60}."
                )
            curves = _curves_of(history.rows)
            points = _points_of(training)
            diverged = getattr(history, "diverged", None)
        curves = {
            name: curve
            for name, curve in curves.items()
            if name not in ("epoch", "lr") and len(curve.ys)
        }
        if diverged is None:
            diverged = _first_nonfinite(curves)
        epochs = round(max((curve.xs[-1] for curve in curves.values()), default=0))
        return cls(curves, epochs, points, diverged)


def _numbers(name: Any, values: Any) -> np.ndarray:
    listed = list(values) if isinstance(values, Sequence | np.ndarray) else None
    if listed is None or any(not isinstance(y, Real) or isinstance(y, bool) for y in listed):
        raise ConfigError(
            f"{name!r} must be a list of numbers, one for each epoch, but it is {values!r}."
        )
    return np.array(listed, float)


def _curves_of(rows: Sequence[Mapping[str, float]]) -> dict[str, _Curve]:
    labels = dict.fromkeys(name for row in rows for name in row if name != "epoch")
    # A label that is not in a row was not measured in that epoch, and is no NaN.
    found = {
        name: np.array([(row["epoch"], row[name]) for row in rows if name in row], float)
        for name in labels
    }
    return {name: _Curve(name, xy[:, 0], xy[:, 1]) for name, xy in found.items()}


def _points_of(training: Any) -> dict[str, _Curve]:
    """The board's points, which tell more of a short training than the means of its epochs."""
    points = getattr(training, "points", None)
    if points is None:
        board = getattr(getattr(training, "model", None), "board", None)
        points = getattr(board, "data", None) or {}
    found = {name: np.array([(p.x, p.y) for p in curve], float) for name, curve in points.items()}
    return {name: _Curve(name, xy[:, 0], xy[:, 1]) for name, xy in found.items() if len(xy)}


def _first_nonfinite(curves: Mapping[str, _Curve]) -> str | None:
    places = [
        (curve.xs[np.argmin(np.isfinite(curve.ys))], name)
        for name, curve in curves.items()
        if not np.isfinite(curve.ys).all()
    ]
    if not places:
        return None
    epoch, name = min(places)
    return f"{name} in epoch {epoch:g}"


def _judged(curves: Mapping[str, _Curve]) -> tuple[_Curve | None, _Curve | None] | None:
    """The curves of training and validation to judge by; None if none has a known direction."""
    quantities = list(dict.fromkeys(map(_quantity, curves)))
    losses = [name for name in quantities if higher_is_better(name) is False]
    scores = [name for name in quantities if higher_is_better(name)]
    if not losses and not scores:
        return None
    quantity = "loss" if "loss" in losses else (losses or scores)[0]
    train = curves.get(f"train_{quantity}") or curves.get(quantity)
    return train, curves.get(f"val_{quantity}")


def _quantity(label: str) -> str:
    return label.removeprefix("train_").removeprefix("val_")


# The lines and swings of a curve


@dataclass(frozen=True)
class _Line:
    """The straight line that fits best, and how far it can be trusted.

    Attributes:
        slope: Its slope.
        noise: The standard deviation of the values about it.
        scale: The standard error of the slope; 0 where two values leave no doubt.
        error: How far the slope may be off by noise; infinite for fewer than 3 values.
        p_value: How often noise alone would give a slope as steep.
        span: From the first x to the last.
    """

    slope: float
    noise: float
    scale: float
    error: float
    p_value: float
    span: float

    @classmethod
    def through(cls, xs: np.ndarray, zs: np.ndarray) -> "_Line":
        x, z = xs - xs.mean(), zs - zs.mean()
        slope = float(x @ z / (x @ x))
        span, freedom = float(xs[-1] - xs[0]), len(xs) - 2
        if freedom < 1:
            return cls(slope, 0.0, 0.0, math.inf, 1.0, span)
        noise = math.sqrt(float(np.sum((z - slope * x) ** 2)) / freedom)
        scale = noise / math.sqrt(float(x @ x))
        p_value = t_test(slope / scale, freedom) if scale > 0 else float(slope == 0)
        error = t_quantile(_SIGNIFICANT, freedom) * scale
        return cls(slope, noise, scale, error, p_value, span)


@dataclass(frozen=True)
class _Trend:
    """A curve in the scale of its judgement, z, which falls as the curve gets better.

    For positive losses z is the logarithm, so that its changes are parts of the level.

    Attributes:
        curve: The curve.
        zs: Its values in that scale.
        is_log: Whether they are logarithms.
        phase: How many values the final phase has.
        line: The line through the final phase.
        fall: By how much z fell from the start of the training to the mean of the final phase.
    """

    curve: _Curve
    zs: np.ndarray
    is_log: bool
    phase: int
    line: _Line
    fall: float

    @classmethod
    def of(cls, curve: _Curve, epochs: int, start: float, is_log: bool, sign: int) -> "_Trend":
        """The trend of a curve of at least 3 values in a training that began at `start`."""
        zs = np.log(curve.ys) if is_log else sign * curve.ys
        first = math.log(start) if is_log else sign * start
        length = max(math.ceil(epochs / 2), min(epochs - 1, 4))
        phase = max(3, int(np.sum(curve.xs > epochs - length)))
        line = _Line.through(curve.xs[-phase:], zs[-phase:])
        return cls(curve, zs, is_log, phase, line, first - float(zs[-phase:].mean()))

    @property
    def level(self) -> float:
        """The median of the curve itself in the final phase."""
        return float(np.median(self.curve.ys[-self.phase :]))

    @property
    def unit(self) -> float:
        """What the level is in the scale of z."""
        return 1.0 if self.is_log else abs(self.level)

    @property
    def falls(self) -> bool:
        """Whether the curve gets better beyond noise, and still does so at its end."""
        if not self.is_falling:
            return False
        count = min(len(self.zs) - 1, max(3, round(len(self.zs) / 6)))
        end = _Line.through(self.curve.xs[-count:], self.zs[-count:])
        return (end.scale - end.slope) * end.span >= _WORTHWHILE * self.fall

    @property
    def rises(self) -> bool:
        """Whether the curve gets worse beyond noise, and by more than a trifle."""
        change = self.line.slope * self.line.span
        return self.line.p_value < _SIGNIFICANT and change > _TRIFLE * self.unit

    @property
    def gain(self) -> float:
        """By how much the final phase is better than the first value of the curve."""
        return float(self.zs[0] - self.zs[-min(self.phase, len(self.zs) - 1) :].mean())

    @property
    def doubt(self) -> float:
        """The largest gain that is no more than noise."""
        quantile = t_quantile(_SIGNIFICANT, self.phase - 2)
        return quantile * self.line.noise * math.sqrt(1 + 1 / self.phase)

    @property
    def is_no_better(self) -> bool:
        """Whether the final phase is no better than the first value, as far as can be seen."""
        return self.gain < max(_GAINED * self.unit, self.doubt)

    @property
    def is_level(self) -> bool:
        """Whether the final phase has no trend worth a mention, and noise could not hide one."""
        most = (self.line.error - self.line.slope) * self.line.span
        return not self.rises and most < _HIDDEN * self.fall

    @property
    def returns(self) -> bool:
        """Whether the final phase rises by a good part of the whole fall."""
        return self.line.slope * self.line.span > _LARGE_IN_FALL * abs(self.fall)

    @property
    def swing(self) -> float:
        """The size of the swings about the neighbouring epochs; 0 if there are too few to tell.

        The first epoch, in which most curves fall, is left out. Swings that have become smaller
        than half have twice the size that they have at last.
        """
        zs = self.zs[1:]
        if len(zs) < _TELLING_EPOCHS - 1:
            return 0.0
        steps = np.sign(np.diff(zs))
        turns = int(np.sum(steps[1:] * steps[:-1] < 0))
        if turns < max(2, len(steps) / 3):
            return 0.0
        return min(_roughness(zs), 2 * _roughness(zs[-max(4, self.phase) :]))

    @property
    def oscillates(self) -> bool:
        """Whether swings are large against the level, and against the whole fall or huge."""
        large = max(_LARGE * self.unit, _LARGE_IN_FALL * self.fall)
        return self.swing >= min(large, _HUGE * self.unit) > 0

    @property
    def is_falling(self) -> bool:
        """Whether the curve gets better beyond noise, and by more than a trifle."""
        change = self.line.slope * self.line.span
        return self.line.p_value < _SIGNIFICANT and change < -_TRIFLE * self.unit

    @property
    def factor(self) -> float:
        """What a small change of z is multiplied by to be one of the curve itself."""
        return self.level if self.is_log else 1.0

    def last(self, epochs: int) -> int:
        """How many epochs the final phase has."""
        return epochs - math.ceil(float(self.curve.xs[-self.phase])) + 1

    def amount(self, change: float) -> str:
        """The size of a change of z, in words."""
        if not self.is_log:
            return f"{abs(change):.2g}"
        if abs(change) > math.log(2):
            return f"a factor of {math.exp(min(abs(change), _LARGEST)):.2g}"
        percent = 100 * abs(math.expm1(change))
        return f"{percent:.2g}%" if percent >= _LEAST_PERCENT else f"less than {_LEAST_PERCENT}%"

    @property
    def noise(self) -> str:
        """The noise in words."""
        return self.amount(self.line.noise)

    def pace(self, epochs: int | None = None) -> str:
        """How the curve moves in the final phase, which is named if `epochs` are given."""
        up = (self.line.slope > 0) == (higher_is_better(self.curve.label) is False)
        text = f"{self.curve.label} {'rises' if up else 'falls'} by {self.amount(self.line.slope)}"
        text += " an epoch"
        if epochs is None:
            return text
        return f"{text} over the last {self.last(epochs)} of {epochs} epochs"

    def levelled(self, epochs: int, start: float) -> str:
        """That the curve has come to a level, in words."""
        text = f"{self.curve.label} went from {start:.4g} to {self.level:.4g}, and "
        if self.is_falling:
            return f"{text}has come to a halt at the end of {epochs} epochs"
        text += f"has levelled off in the last {self.last(epochs)} of {epochs} epochs"
        steps = np.sign(np.diff(self.zs[-self.phase :]))
        is_monotone = bool((steps[1:] == steps[:-1]).all())
        if is_monotone or self.line.noise < _NOISY * self.unit:
            return text
        return f"{text} on a noisy floor, with a noise of {self.noise}"

    def to_verdict(self, label: Label, reason: str, epochs: int, start: float) -> Verdict:
        """The verdict that rests on this curve."""
        line = self.line
        sign = -1.0 if higher_is_better(self.curve.label) else 1.0
        return Verdict(
            label,
            reason,
            epochs,
            curve=self.curve.label,
            start=start,
            level=self.level,
            noise=line.noise * self.factor,
            slope=sign * line.slope * self.factor,
            p_value=line.p_value,
        )


def _roughness(zs: np.ndarray) -> float:
    """The standard deviation of independent noise, from second differences.

    A straight trend leaves no trace in them, and noise of variance v has second differences of
    variance 6v.
    """
    return math.sqrt(float(np.mean(np.diff(zs, n=2) ** 2)) / 6)


# The rules, in the order in which they are asked


def _judge(recorded: _Recorded, train: _Curve | None, val: _Curve | None) -> Verdict:
    epochs, start = recorded.epochs, _start_of(recorded, train, val)
    exploded = _explosion(train or val, start, epochs)
    if exploded is not None:
        return exploded
    trends = _trends(recorded, train, val, start) if epochs >= 3 else []
    if not trends:
        reason = f"cannot tell from {_count(epochs)}. It takes 3 to know a trend from noise."
        return Verdict("cannot tell", reason, epochs)
    by_split = {trend.curve.label.startswith("val_"): trend for trend in trends}
    trained, validated = by_split.get(False), by_split.get(True)
    decider = validated or trends[0]  # where both say the same

    def told(label: Label, trend: _Trend, reason: str) -> Verdict:
        return trend.to_verdict(label, reason, epochs, start)

    if trained is not None and trained.rises and trained.level >= _RISEN * start > 0:
        reason = f"{trained.pace(epochs)}, and is {trained.level / start:.2g} times its start."
        return told("diverged", trained, reason)
    if trained and validated and validated.rises and trained.is_falling:
        best = int(np.argmin(validated.zs))
        reason = (
            f"{validated.pace(epochs)}, beyond its noise of {validated.noise}, while "
            f"{trained.pace()}. It was best in epoch {validated.curve.xs[best]:g}, with "
            f"{validated.curve.ys[best]:.4g}, and is now {validated.curve.ys[-1]:.4g}."
        )
        return told("overfitting", validated, reason)
    for trend in (validated, trained):
        if trend is not None and trend.oscillates:
            reason = (
                f"{trend.curve.label} swings by {trend.amount(trend.swing)} from one value to the "
                f"next, and goes on doing so, on its way from {start:.4g} to {trend.level:.4g}."
            )
            swing = trend.swing * trend.factor
            return replace(told("oscillating", trend, reason), noise=swing)
    if all(trend.is_no_better and not trend.is_falling for trend in trends):
        return _unmoved(recorded, decider, start)
    if trained is not None and trained.rises and trained.returns:
        best = int(np.argmin(trained.zs))
        reason = (
            f"{trained.pace(epochs)}, back towards its start: it was best in epoch "
            f"{trained.curve.xs[best]:.3g}, with {trained.curve.ys[best]:.4g}."
        )
        return told("oscillating", trained, reason)
    falling = [trend for trend in (trained, validated) if trend is not None and trend.falls]
    if trained and validated and falling == [trained]:
        line = validated.line
        if line.slope - line.error > trained.line.slope:
            reason = f"{validated.levelled(epochs, start)}. Meanwhile {trained.pace()}."
            return told("converged", validated, reason)
    if falling:
        reason = f"{falling[0].pace(epochs)}, beyond its noise of {falling[0].noise}"
        if len(falling) == 2:
            reason += f"; {falling[1].pace()}"
        elif validated and validated not in falling:
            reason += f"; {validated.curve.label}, with a noise of {validated.noise}, may follow"
        return told("still improving", falling[0], f"{reason}.")
    level = [trend for trend in (validated, trained) if trend and trend.is_level]
    if level:
        return told("converged", level[0], f"{level[0].levelled(epochs, start)}.")
    why = (
        f"{decider.pace(epochs)}, while no training loss falls"
        if decider.rises
        else f"The noise of {decider.curve.label}, {decider.noise}, could hide a trend"
    )
    reason = f"cannot tell from {epochs} epochs. {why}."
    return told("cannot tell", decider, reason)


def _count(epochs: int) -> str:
    return f"{epochs} epoch{'' if epochs == 1 else 's'}"


def _start_of(recorded: _Recorded, train: _Curve | None, val: _Curve | None) -> float:
    """The value at which the training began: of its first point, or else of its first epoch."""
    points = _training_points(recorded, train)
    curve = points or train or val
    return float(curve.ys[0]) if curve is not None and len(curve.ys) else math.nan


def _training_points(recorded: _Recorded, train: _Curve | None) -> _Curve | None:
    """The points of the training curve, where they are of the same training as its means."""
    points = recorded.points.get(train.label) if train is not None else None
    if points is None or not recorded.epochs - 1 < points.xs[-1] <= recorded.epochs:
        return None
    return points if np.isfinite(points.ys).all() else None


def _explosion(curve: _Curve | None, start: float, epochs: int) -> Verdict | None:
    """The verdict on a loss that is finite, but many times what it was at first."""
    if curve is None or higher_is_better(curve.label) is not False or not start > 0:
        return None
    last = float(curve.ys[-1])
    if last < _EXPLODED * start:
        return None
    reason = f"{curve.label} began at {start:.4g} and is {last:.4g}, {last / start:.2g} times that."
    return Verdict("diverged", reason, epochs, curve=curve.label, start=start, level=last)


def _trends(
    recorded: _Recorded, train: _Curve | None, val: _Curve | None, start: float
) -> list[_Trend]:
    """The trends of training and validation, as far as they have the values for one."""
    points = _training_points(recorded, train)
    if points is not None and recorded.epochs < _TELLING_EPOCHS:
        # In a longer training the means tell more: in each epoch they are of the same examples.
        train = points
    curves = [curve for curve in (train, val) if curve is not None and len(curve.ys) >= 3]
    sign = -1 if any(higher_is_better(curve.label) for curve in curves) else 1
    is_log = sign == 1 and start > 0 and all(curve.ys.min() > 0 for curve in curves)
    worst = max if sign == 1 else min
    return [
        _Trend.of(curve, recorded.epochs, worst(start, float(curve.ys[0])), is_log, sign)
        for curve in curves
    ]


def _unmoved(recorded: _Recorded, trend: _Trend, start: float) -> Verdict:
    """The verdict on a training that is no better than in its first epoch."""
    epochs = recorded.epochs
    name = trend.curve.label
    unsure = trend.gain if epochs >= _TELLING_EPOCHS else trend.doubt
    if unsure > _LARGE * trend.unit:
        reason = (
            f"cannot tell from {epochs} epochs. {name} is no better than at first, but its noise "
            f"of {trend.noise} could hide that."
        )
        return trend.to_verdict("cannot tell", reason, epochs, start)
    scores = [name for name in ("val_acc", "train_acc") if name in recorded.curves]
    score = float(recorded.curves[scores[0]].ys[-1]) if scores else math.nan
    same = (
        f"{name} was {trend.curve.ys[0]:.4g} at first and is {trend.level:.4g} over the last "
        f"{trend.last(epochs)} of {epochs} epochs"
    )
    if score > _BY_CHANCE:
        reason = f"{same}. With {scores[0]} at {score:.3g}, it got there in the first epoch."
        return trend.to_verdict("converged", reason, epochs, start)
    reason = f"{same}: no improvement beyond {_GAINED:.0%} and its noise of {trend.noise}"
    reason += f", and {scores[0]} is {score:.3g}." if scores else "."
    return trend.to_verdict("stuck", reason, epochs, start)


# Comparing settings


def _final_value(training: Any, label: str) -> float:
    """The last epoch's mean of a training, NaN if it diverged; or the number that is given."""
    if isinstance(training, Real):
        return float(training)
    judged = verdict(training)
    curves = _Recorded.of(training).curves
    if label not in curves:
        raise ConfigError(
            f"{label!r} was not recorded in every training.{did_you_mean(label, curves)} "
            f"There are {', '.join(curves) or 'no values'}."
        )
    return math.nan if judged.label == "diverged" else float(curves[label].ys[-1])


def _common_headline(trainings: Sequence[Any]) -> str:
    """The headline of the labels that all trainings have."""
    if any(isinstance(training, Real) for training in trainings):
        raise ConfigError(
            "Numbers do not tell whether more of them is better: say what they are, as in "
            'label="val_loss" or label="val_acc".'
        )
    recorded = [_Recorded.of(training).curves for training in trainings]
    common = [name for name in recorded[0] if all(name in curves for curves in recorded)]
    label = headline(common)
    if label is None:
        raise ConfigError("The trainings have no label in common, so nothing can be compared.")
    return label


def _compare(
    finals: Sequence[Sequence[float]],
    label: str,
    rises: bool,
    paired: bool,
    alpha: float,
    names: tuple[object, object],
) -> SettingsComparison:
    lost = _losses_of_seeds(finals, names)
    rows: list[Any] = list(zip(*finals, strict=True)) if paired else []
    if paired:  # a pair that has lost one is none
        rows = [row for row in rows if all(map(math.isfinite, row))]
        a, b = (np.array([row[place] for row in rows], float) for place in (0, 1))
    else:
        a, b = (np.array([y for y in group if math.isfinite(y)]) for group in finals)
    if len(a) == 0 or len(b) == 0:
        reason = f"cannot tell: there is nothing to compare in {label}{lost}."
        return SettingsComparison(label, None, None, None, None, reason)
    difference = float(a.mean() - b.mean())
    if len(a) < 2 or len(b) < 2:
        one = "one seed" if max(len(a), len(b)) == 1 else "one seed of a setting"
        reason = (
            f"cannot tell from {one}: {names[0]} gives {a.mean():.4g} and {names[1]} "
            f"{b.mean():.4g} in {label}, and how far seeds spread is not known{lost}."
        )
        return SettingsComparison(label, difference, None, None, None, reason)
    error, freedom = _paired_error(a - b) if paired else _unpaired_error(a, b)
    if error == 0:
        every = "every pair of seeds differs by as much" if paired else "every seed gives the same"
        reason = (
            f"cannot tell: {every} ({names[0]} {a.mean():.4g}, {names[1]} {b.mean():.4g} in "
            f"{label}). Were they different seeds?{lost}"
        )
        return SettingsComparison(label, difference, None, None, None, reason)
    p_value = t_test(difference / error, freedom)
    half = t_quantile(alpha, freedom) * error
    interval = (difference - half, difference + half)
    percent = f"{100 * (1 - alpha):.4g}%"
    seeds = f"{len(a)}" if len(a) == len(b) else f"{len(a)} and {len(b)}"
    seeds += " pairs of seeds" if paired else " seeds"
    if p_value >= alpha:
        reason = (
            f"cannot tell: the seeds' spread hides any difference up to "
            f"{max(map(abs, interval)):.2g} in {label} over {seeds} ({names[0]} minus {names[1]} "
            f"is {difference:.2g} ± {half:.2g}, {percent} interval){lost}."
        )
        return SettingsComparison(label, difference, interval, p_value, None, reason)
    better: Literal["a", "b"] = "a" if (difference > 0) == rises else "b"
    winner, loser = names if better == "a" else reversed(names)
    reason = (
        f"{winner} is better than {loser} by {abs(difference):.2g} ± {half:.2g} ({percent} "
        f"interval) in {label} over {seeds}{lost}."
    )
    return SettingsComparison(label, difference, interval, p_value, better, reason)


def _losses_of_seeds(finals: Sequence[Sequence[float]], names: tuple[object, object]) -> str:
    """How many trainings of each setting diverged, as the end of a sentence."""
    counts = [
        f"{num} of {len(group)} seeds of {name} diverged"
        for name, group in zip(names, finals, strict=True)
        if (num := sum(not math.isfinite(y) for y in group))
    ]
    return f"; left out: {', '.join(counts)}" if counts else ""


def _paired_error(differences: np.ndarray) -> tuple[float, float]:
    """The standard error of a mean of differences, with its degrees of freedom."""
    count = len(differences)
    return float(differences.std(ddof=1)) / math.sqrt(count), count - 1


def _unpaired_error(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The standard error of a difference of means, with its degrees of freedom.

    The two settings may have different spreads: Welch (1947). His degrees of freedom are an
    estimate, which promises too much where one setting has few values and the other many: there
    those of the smaller one are taken, which cannot.
    """
    parts = [float(group.var(ddof=1)) / len(group) for group in (a, b)]
    total = sum(parts)
    if len(a) != len(b) or total == 0:
        return math.sqrt(total), min(len(a), len(b)) - 1
    shares = [part / total for part in parts]  # squares of the parts themselves may underflow
    return math.sqrt(total), (len(a) - 1) / sum(share**2 for share in shares)


# Student's t distribution


def t_test(t: float, freedom: float) -> float:
    """The probability that Student's t is further from 0 than `t`.

    With t = sqrt(freedom) tan(angle), its density is proportional to cos(angle)^(freedom - 1).

    Args:
        t: A number.
        freedom: The degrees of freedom, at least 1; need not be whole.
    """
    angle = math.atan(abs(t) / math.sqrt(freedom))
    nodes, weights = _gauss_legendre()
    inside = angle / 2 * float(weights @ np.cos(angle / 2 * (nodes + 1)) ** (freedom - 1))
    log_beta = math.lgamma(freedom / 2) + math.lgamma(0.5) - math.lgamma((freedom + 1) / 2)
    return min(1.0, max(0.0, 1 - 2 * inside * math.exp(-log_beta)))


@lru_cache(maxsize=256)
def t_quantile(p_value: float, freedom: float) -> float:
    """The t from 0 up that `t_test` gives `p_value` for, by bisection."""
    low, high = 0.0, math.pi / 2
    while high - low > 1e-13:
        middle = (low + high) / 2
        if t_test(math.tan(middle), freedom) > p_value:
            low = middle
        else:
            high = middle
    return math.tan(low)


@cache
def _gauss_legendre() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of numerical integration from -1 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(100)
    return nodes, weights
