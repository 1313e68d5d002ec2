"""The trend of a curve in its final phase, its noise and its swings."""

import math
from dataclasses import dataclass

import numpy as np

from gradbook.labels import higher_is_better
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
#: How often noise may seem to leave a best level for good, or to take a step down.
_LEAVES = 0.01
#: A spike rises so far above both its neighbors: as a part of the level, and as a multiple of the
#: noise of the other values. There is at most one in so many epochs; more are swings.
_SPIKE, _SPIKE_IN_NOISE, _EPOCHS_A_SPIKE = 0.5, 8, 6
#: So many spikes are named one by one.
_SPIKES_NAMED = 3
#: A curve may have left its best if its last three values are worse by the first part of the
#: level, or its last one by the second, and by so many times the noise. Where there are few
#: values the best is one of few, and their noise is hardly known: of n, n / 6 times, too.
_ALL_BEHIND, _LAST_BEHIND, _BEHIND_IN_NOISE = 0.1, 0.05, 3
#: The part of the level for the last of 3 or 4 values, of which no noise is known.
_FEW_BEHIND = 0.3
#: How many values a trend after a step needs: three are in a line too often.
_VALUES_OF_A_TREND = 4
#: The variance of the median of three values, as a part of that of one; and how many second
#: differences of a curve are worth a degree of freedom in their median.
_MEDIAN_OF_3, _DIFFERENCES = 0.45, 3
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
    """A curve in the scale of its judgment, z, which falls as the curve gets better.

    For positive losses z is the logarithm, so that its changes are parts of the level.

    Attributes:
        curve: The curve.
        zs: Its values in that scale.
        is_log: Whether they are logarithms.
        phase: How many values the final phase has.
        line: The line through the final phase.
        fall: By how much z fell from the start of the training to the mean of the final phase.
        epochs, start: How long the training was, and the value at which it began.
        swings_from: The number of values at the beginning that count for no swing: the first, in
            which most curves fall, or all before a step to a lower level.
        spikes: The epochs and values that were left out of the curve.
    """

    curve: Curve
    zs: np.ndarray
    is_log: bool
    phase: int
    line: Line
    fall: float
    epochs: int
    start: float
    swings_from: int
    spikes: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, curve: Curve, epochs: int, start: float, is_log: bool, sign: int) -> "Trend":
        """The trend of a curve of at least 3 values in a training that began at `start`."""
        begin = float(curve.ys[0])
        zs = np.log(curve.ys) if is_log else sign * curve.ys
        spikes: list[int] = []
        if epochs >= TELLING_EPOCHS:
            spikes = _spikes(zs, 1.0 if is_log else abs(float(np.median(curve.ys))))
        left_out = tuple((float(curve.xs[i]), float(curve.ys[i])) for i in sorted(spikes))
        zs, curve = np.delete(zs, spikes), curve.without(spikes)
        first = max(start, begin) if sign == 1 else min(start, begin)
        first = math.log(first) if is_log else sign * first
        length = max(math.ceil(epochs / 2), min(epochs - 1, 4))
        phase = max(3, int(np.sum(curve.xs > epochs - length)))
        since = (
            _after_step(curve.xs[-phase:], zs[-phase:], is_log) if epochs >= TELLING_EPOCHS else 0
        )
        phase -= since
        line = Line.through(curve.xs[-phase:], zs[-phase:])
        fall = first - float(zs[-phase:].mean())
        swings_from = len(zs) - phase if since else 1
        return cls(curve, zs, is_log, phase, line, fall, epochs, start, swings_from, left_out)

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
        return self._is_trend(-1)

    @property
    def rises(self) -> bool:
        """Whether the curve gets worse beyond noise, and by more than a trifle."""
        return self._is_trend(1)

    def _is_trend(self, sign: int) -> bool:
        """Whether noise would seldom give so steep a line, or values so in order."""
        is_short = self.swings_from > 1 and self.phase < _VALUES_OF_A_TREND
        if is_short or sign * self.change <= _TRIFLE * self.unit:
            return False
        # The first value is left out: most curves fall after it, whatever they do then. Steps
        # that become smaller may be the last ones on the way to a level.
        steps = sign * np.diff(self.zs[1:])
        in_order = len(steps) >= _IN_ORDER - 1 and steps.min() > 0 and steps[0] < steps[-1]
        return self.line.p_value < _SIGNIFICANT or bool(in_order)

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
        return self.gain <= max(GAINED * self.unit, self.doubt)

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
        """By how much the end of the curve is worse than the best three values in a row before it.

        The end is the final phase, or the last sixth of the values, where the best is short before
        it. The climb is 0 if there were no three values before, if the best of them may have been
        best by noise, or if the curve is on its way back.
        """
        if not self.is_falling:
            climb = self._climb_over(self.phase, self.line.noise, self.phase - 2)
            if climb > 0:
                return climb
        length = max(2, round(len(self.zs) / 6))
        if length >= self.phase:
            return 0.0
        # Of a median of dependent differences, about a third are worth a degree of freedom.
        climb = self._climb_over(length, 0.0, max(1, (len(self.zs) - 4) // _DIFFERENCES))
        returns = self.zs[-1] <= self.zs[-1 - length :].min() + LARGE * self.unit
        return 0.0 if returns else climb

    def _climb_over(self, length: int, noise: float, freedom: int) -> float:
        before = self.zs[:-length]
        if len(before) < 3:
            return 0.0
        # Of each three the mean or the median, whichever is worse: one lucky epoch, whose logarithm
        # may be anything, is no level.
        threes = np.lib.stride_tricks.sliding_window_view(before, 3)
        levels = np.maximum(threes.mean(axis=1), np.median(threes, axis=1))
        climb = float(self.zs[-length:].mean() - levels.min())
        for some in (self.zs[1:], self.zs[-max(4, self.phase) :]):  # noise may begin late
            noise = max(noise, _usual_roughness(some))
        # The best was chosen: each of those that it was chosen from could have been it by noise.
        quantile = t_quantile(_LEAVES / len(levels), freedom)
        error = quantile * noise * math.sqrt(_MEDIAN_OF_3 + 1 / length)
        return climb if climb > max(error, LARGE * self.unit) else 0.0

    @property
    def is_behind(self) -> bool:
        """Whether the curve ends above its best by so much that it may have left it.

        Either the last three values are all worse than the best one, or the last value is worse
        than the best two in a row, by more than noise often gives.
        """
        if len(self.zs) > 3:
            behind = self.zs[-3:].min() - self.zs[:-3].min()
            if behind >= self._part(_ALL_BEHIND):
                return True
        pairs = (self.zs[:-1] + self.zs[1:]) / 2
        if len(self.zs) < TELLING_EPOCHS:
            least = self._part(_FEW_BEHIND)
        else:
            times = min(_BEHIND_IN_NOISE, len(self.zs) / 6)
            least = max(self._part(_LAST_BEHIND), times * _usual_roughness(self.zs[1:]))
        return bool(self.zs[-1] - pairs[:-1].min() >= least)

    @property
    def is_far_behind(self) -> bool:
        """Whether the last three values are worse than the best one by far more than noise."""
        if len(self.zs) < TELLING_EPOCHS:
            return False
        # The first value is left out: what is best there has not improved at all.
        behind = float(self.zs[-3:].min() - self.zs[1:-3].min())
        noise = max(self.line.noise, _roughness(self.zs[1:]))
        return behind > max(self._part(_ALL_BEHIND), _BEHIND_IN_NOISE * noise)

    def _part(self, part: float) -> float:
        """A part of the level in the scale of z."""
        return math.log1p(part) if self.is_log else part * self.unit

    @property
    def swing(self) -> float:
        """The size of the swings about the neighboring epochs; 0 if there are too few to tell.

        Swings that have become smaller than half have twice the size that they have at last. Where
        one value makes more than half of them, they are those that remain without it.
        """
        zs = self.zs[self.swings_from :]
        if len(zs) < TELLING_EPOCHS - 1:
            return 0.0
        steps = np.sign(np.diff(zs))
        if _turns(steps) < max(2, len(steps) / 3):
            return 0.0
        swing = min(_swings(zs), 2 * _roughness(zs[-max(4, self.phase) :]))
        # One large step, as of a rate that was lowered, turns nowhere.
        return swing if _turns(steps[np.abs(np.diff(zs)) >= swing / 2]) >= 2 else 0.0

    @property
    def oscillates(self) -> bool:
        """Whether swings are large against the level, and against the whole fall or huge."""
        large = max(LARGE * self.unit, _LARGE_IN_FALL * self.fall)
        return self.swing >= min(large, _HUGE * self.unit) > 0

    @property
    def factor(self) -> float:
        """What a small change of z is multiplied by to be one of the curve itself."""
        return self.level if self.is_log else 1.0

    @property
    def last(self) -> str:
        """How many epochs the final phase has, in words."""
        return f"{self.epochs - math.ceil(self.curve.xs[-self.phase]) + 1} of {self.epochs} epochs"

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
    def varies(self) -> str:
        """How much noise the curve has, in words."""
        return f"{self.curve.label} varies by {self.noise} around its trend"

    @property
    def evidence(self) -> str:
        """Why the trend of the final phase is one, in words."""
        if self.line.p_value < _SIGNIFICANT:
            return f"which is more than its noise of {self.noise} can explain"
        return "from each of them to the next"

    @property
    def pace(self) -> str:
        """How the curve moves in the final phase, in words."""
        up = (self.line.slope > 0) == (higher_is_better(self.curve.label) is False)
        text = f"{self.curve.label} {'rises' if up else 'falls'} by {self.amount(self.line.slope)}"
        return f"{text} an epoch"

    @property
    def worsening(self) -> str:
        """That the curve gets worse, or is worse than it was, in words."""
        if self.rises:
            return f"{self.pace} over the last {self.last}, {self.evidence}"
        return (
            f"{self.curve.label} is {self.level:.4g} over the last {self.last}, worse by "
            f"{self.amount(self.climb)} than over its best three in a row"
        )

    @property
    def turn(self) -> str:
        """Where the curve was best, as a sentence that follows one about the curve."""
        best = self.curve.ys[np.argmin(self.zs)]
        text = f"{self.curve.label} was best in epoch {self.best_x:.3g}, with {best:.4g}"
        return f"{text}, and is now {self.curve.ys[-1]:.4g}."

    @property
    def spiked(self) -> str:
        """Which values were left out, as a sentence."""
        if len(self.spikes) > _SPIKES_NAMED:
            first, last = (f"{self.spikes[place][0]:g}" for place in (0, -1))
            return (
                f"{self.curve.label} has {len(self.spikes)} spikes from epoch {first} to epoch "
                f"{last}, and is judged without them."
            )
        values = " and ".join(f"{y:.4g} in epoch {x:g}" for x, y in self.spikes)
        has, it = ("spikes", "them") if len(self.spikes) > 1 else ("a spike", "it")
        return f"{self.curve.label} has {has} of {values}, and is judged without {it}."

    @property
    def went(self) -> str:
        """Where the curve began and is now, in words."""
        return f"{self.curve.label} went from {self.start:.4g} to {self.level:.4g}"

    @property
    def leveled(self) -> str:
        """That the curve has come to a level, in words."""
        if self.is_falling:
            return f"{self.went}, and hardly improves any more at the end of {self.epochs} epochs"
        text = f"{self.went}, and has leveled off in the last {self.last}"
        steps = np.sign(np.diff(self.zs[-self.phase :]))
        is_monotone = bool((steps[1:] == steps[:-1]).all())
        if is_monotone or self.line.noise < _NOISY * self.unit:
            return text
        return f"{text} on a noisy floor: it still varies by {self.noise} around its trend"


def _turns(signs: np.ndarray) -> int:
    """How often steps of these signs change their direction."""
    return int(np.sum(signs[1:] * signs[:-1] < 0))


def _roughness(zs: np.ndarray) -> float:
    """The standard deviation of independent noise, from second differences.

    A straight trend leaves no trace in them, and noise of variance v has second differences of
    variance 6v.
    """
    return math.sqrt(float(np.mean(np.diff(zs, n=2) ** 2)) / 6)


def _swings(zs: np.ndarray) -> float:
    """The roughness, or what remains of it without a value that makes more than half of it."""
    whole = _roughness(zs)
    rest = min(_roughness(np.delete(zs, i)) for i in range(len(zs)))
    return whole if rest >= whole / 2 else rest


def _usual_roughness(zs: np.ndarray) -> float:
    """The same from their median, in which a few turns of the curve leave no trace.

    Half of what is normally distributed is within 0.6745 standard deviations.
    """
    return float(np.median(np.abs(np.diff(zs, n=2)))) / (0.6745 * math.sqrt(6))


def _spikes(zs: np.ndarray, unit: float) -> list[int]:
    """Where single values stand far above both their neighbors; none where these are swings.

    The last value, which has one neighbor, is compared with all after the first.
    """
    found: list[int] = []
    kept = np.arange(len(zs))
    for _ in range(max(1, len(zs) // _EPOCHS_A_SPIKE) + 1):
        z = zs[kept]
        if len(z) < 4:
            break
        above = np.append(z[1:-1] - np.maximum(z[:-2], z[2:]), z[-1] - z[1:-1].max())
        top = int(np.argmax(above)) + 1
        noise = _usual_roughness(np.delete(z, [0, top])) if len(z) > 4 else 0.0
        if above[top - 1] <= max(_SPIKE * unit, _SPIKE_IN_NOISE * noise):
            return found
        found.append(int(kept[top]))
        kept = np.delete(kept, top)
    return []


def _after_step(xs: np.ndarray, zs: np.ndarray, is_log: bool) -> int:
    """How many of the values stand before a step down to a level, as of a rate that was lowered.

    It is 0 where a straight line fits better, where noise may give such a step, or where the curve
    still falls after it.
    """
    splits = range(1, len(zs) - 2)
    if not splits:
        return 0
    squares = [len(part) * part.var() for i in splits for part in (zs[:i], zs[i:])]
    rests = np.add(squares[::2], squares[1::2])
    split = splits[int(np.argmin(rests))]
    before, after, freedom = zs[:split], zs[split:], len(zs) - 2
    noise = math.sqrt(max(0.0, float(rests.min())) / freedom)
    error = noise * math.sqrt(1 / len(before) + 1 / len(after))
    step = float(before.mean() - after.mean())
    unit = 1.0 if is_log else abs(float(after.mean()))
    if step <= max(LARGE * unit, t_quantile(_LEAVES / len(splits), freedom) * error):
        return 0
    if noise >= Line.through(xs, zs).noise:
        return 0
    if len(after) < _VALUES_OF_A_TREND:
        return split
    line = Line.through(xs[split:], after)
    falls_on = line.p_value < _SIGNIFICANT and -line.slope * line.span > _TRIFLE * unit
    return 0 if falls_on else split
