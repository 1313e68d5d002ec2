"""The trend of a curve in its final phase, its noise and its swings."""

import math
from dataclasses import dataclass

import numpy as np

from gradbook.record import higher_is_better
from gradbook.verdicts.recorded import Curve
from gradbook.verdicts.student_t import t_quantile, t_test

#: A trend counts if noise gives one as steep less often than this. Half of these trends go the
#: same way, and there may be two curves: a level training seems to improve in 4 of 100 cases.
_SIGNIFICANT = 0.04
#: A change in the final phase from which on it is no trifle, as a part of the level, and the part
#: of the level that a curve must gain not to be stuck. Where nothing else can be learned, the
#: frequencies of the classes are, and give the first percent.
_TRIFLE, GAINED = 0.01, 0.02
#: The part of the whole fall that the end of a curve must gain for it to be improving.
_WORTHWHILE = 0.02
#: Swings: their least size as parts of the level and of the whole fall; as a part of the level
#: alone; and how many epochs show them.
LARGE, _LARGE_IN_FALL, _HUGE, TELLING_EPOCHS = 0.1, 0.15, 1, 5
#: So many values after the first, each better than the one before, are a trend that need not be
#: straight: noise orders so many in that way once in 120 cases.
_IN_ORDER = 5
#: How often noise may seem to leave a best level for good.
_LEAVES = 0.01
#: The largest part of the whole fall that noise may hide in the final phase of a level curve.
_HIDDEN = 0.5
#: From this noise on, as a part of the level, a floor is called noisy.
_NOISY = 0.05
#: What is written out of changes: no less in percent, and no more as a logarithm.
_LEAST_PERCENT, _LARGEST = 0.01, 700


@dataclass(frozen=True)
class Line:
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
    def through(cls, xs: np.ndarray, zs: np.ndarray) -> "Line":
        """The line through at least 2 points."""
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
class Trend:
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

    curve: Curve
    zs: np.ndarray
    is_log: bool
    phase: int
    line: Line
    fall: float

    @classmethod
    def of(cls, curve: Curve, epochs: int, start: float, is_log: bool, sign: int) -> "Trend":
        """The trend of a curve of at least 3 values in a training that began at `start`."""
        zs = np.log(curve.ys) if is_log else sign * curve.ys
        first = math.log(start) if is_log else sign * start
        length = max(math.ceil(epochs / 2), min(epochs - 1, 4))
        phase = max(3, int(np.sum(curve.xs > epochs - length)))
        line = Line.through(curve.xs[-phase:], zs[-phase:])
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
        end = Line.through(self.curve.xs[-count:], self.zs[-count:])
        return (end.scale - end.slope) * end.span >= _WORTHWHILE * self.fall

    @property
    def change(self) -> float:
        """By how much the line through the final phase rises from its start to its end."""
        return self.line.slope * self.line.span

    @property
    def is_falling(self) -> bool:
        """Whether the curve gets better beyond noise, and by more than a trifle."""
        return self._is_trend(-1) and self.change < -_TRIFLE * self.unit

    @property
    def rises(self) -> bool:
        """Whether the curve gets worse beyond noise, and by more than a trifle."""
        return self._is_trend(1) and self.change > _TRIFLE * self.unit

    def _is_trend(self, sign: int) -> bool:
        """Whether noise would seldom give so steep a line, or values so in order."""
        return self.line.p_value < _SIGNIFICANT or self._is_in_order(sign)

    def _is_in_order(self, sign: int) -> bool:
        # The first value is left out: most curves fall after it, whatever they do then. Steps
        # that become smaller may be the last ones on the way to a level.
        steps = sign * np.diff(self.zs[1:])
        return len(steps) >= _IN_ORDER - 1 and steps.min() > 0 and steps[0] < steps[-1]

    @property
    def climbs(self) -> bool:
        """Whether the curve rises, by much of its level and a good part of the whole fall."""
        return self.rises and self.change > max(LARGE * self.unit, _LARGE_IN_FALL * abs(self.fall))

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
    def has_fallen(self) -> bool:
        """Whether the final phase is better than the start, by more than a trifle or noise."""
        return self.fall > max(GAINED * self.unit, self.doubt)

    @property
    def is_no_better(self) -> bool:
        """Whether the final phase is no better than the first value, as far as can be seen."""
        return self.gain < max(GAINED * self.unit, self.doubt)

    @property
    def is_level(self) -> bool:
        """Whether the final phase has no trend worth a mention, and noise could not hide one."""
        most = (self.line.error - self.line.slope) * self.line.span
        return not self.rises and most < _HIDDEN * self.fall

    @property
    def best_x(self) -> float:
        """Where the best value stands, in epochs."""
        return float(self.curve.xs[np.argmin(self.zs)])

    @property
    def climb(self) -> float:
        """By how much the final phase is worse than the best three values in a row before it.

        It is 0 if there were not as many, if the best of them may have been best by noise, or if
        the curve is on its way back.
        """
        before = self.zs[: -self.phase]
        if len(before) < 3 or self.is_falling:
            return 0.0
        means = np.convolve(before, np.full(3, 1 / 3), "valid")
        climb = float(self.zs[-self.phase :].mean() - means.min())
        noise = max(self.line.noise, _usual_roughness(self.zs[1:]))
        # The best was chosen: each of those that it was chosen from could have been it by noise.
        quantile = t_quantile(_LEAVES / len(means), self.phase - 2)
        error = quantile * noise * math.sqrt(1 / 3 + 1 / self.phase)
        return climb if climb > max(error, LARGE * self.unit) else 0.0

    @property
    def swing(self) -> float:
        """The size of the swings about the neighbouring epochs; 0 if there are too few to tell.

        The first epoch, in which most curves fall, is left out. Swings that have become smaller
        than half have twice the size that they have at last.
        """
        zs = self.zs[1:]
        if len(zs) < TELLING_EPOCHS - 1:
            return 0.0
        steps = np.sign(np.diff(zs))
        turns = int(np.sum(steps[1:] * steps[:-1] < 0))
        if turns < max(2, len(steps) / 3):
            return 0.0
        return min(_roughness(zs), 2 * _roughness(zs[-max(4, self.phase) :]))

    @property
    def oscillates(self) -> bool:
        """Whether swings are large against the level, and against the whole fall or huge."""
        large = max(LARGE * self.unit, _LARGE_IN_FALL * self.fall)
        return self.swing >= min(large, _HUGE * self.unit) > 0

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

    @property
    def evidence(self) -> str:
        """Why the trend of the final phase is one, in words."""
        if self.line.p_value < _SIGNIFICANT:
            return f"beyond its noise of {self.noise}"
        return "in every one of them"

    def pace(self, epochs: int | None = None) -> str:
        """How the curve moves in the final phase, which is named if `epochs` are given."""
        up = (self.line.slope > 0) == (higher_is_better(self.curve.label) is False)
        text = f"{self.curve.label} {'rises' if up else 'falls'} by {self.amount(self.line.slope)}"
        text += " an epoch"
        if epochs is None:
            return text
        return f"{text} over the last {self.last(epochs)} of {epochs} epochs"

    def worsening(self, epochs: int) -> str:
        """That the curve gets worse, or is worse than it was, in words."""
        if self.rises:
            return f"{self.pace(epochs)}, {self.evidence}"
        text = f"{self.curve.label} is {self.level:.4g} over the last {self.last(epochs)} of"
        return f"{text} {epochs} epochs, {self.amount(self.climb)} worse than over its best three"

    @property
    def turn(self) -> str:
        """Where the curve was best, as a sentence that follows one about the curve."""
        best = self.curve.ys[np.argmin(self.zs)]
        text = f"{self.curve.label} was best in epoch {self.best_x:.3g}, with {best:.4g}"
        return f"{text}, and is now {self.curve.ys[-1]:.4g}."

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


def _roughness(zs: np.ndarray) -> float:
    """The standard deviation of independent noise, from second differences.

    A straight trend leaves no trace in them, and noise of variance v has second differences of
    variance 6v.
    """
    return math.sqrt(float(np.mean(np.diff(zs, n=2) ** 2)) / 6)


def _usual_roughness(zs: np.ndarray) -> float:
    """The same from their median, in which a few turns of the curve leave no trace.

    Half of what is normally distributed is within 0.6745 standard deviations.
    """
    return float(np.median(np.abs(np.diff(zs, n=2)))) / (0.6745 * math.sqrt(6))
