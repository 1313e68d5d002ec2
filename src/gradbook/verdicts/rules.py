"""The verdict on one training: rules, in the order in which they are asked."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from gradbook.escape import on_one_line
from gradbook.labels import higher_is_better
from gradbook.verdicts.recorded import Curve, Recorded, to_judge_by
from gradbook.verdicts.trends import GAINED, LARGE, TELLING_EPOCHS, Trend
from gradbook.wrapping import columns, html_text, wrapped

Label = Literal[
    "converged", "still improving", "oscillating", "diverged", "overfitting", "stuck", "cannot tell"
]

#: An explosion: a loss so many times its start; or so many times, where it rises beyond noise.
_EXPLODED, _RISEN = 10, 2
#: A training that stays behind its best has diverged if so much of what it gained is lost.
_LOST = 0.5
#: An accuracy by chance is at most so many times 1/number of classes, and at most so far above it.
_GUESSED, _ABOVE_GUESSED = 1.2, 0.05
#: Where the number of classes is not known: an accuracy above this is not one by chance, if the
#: classes are about as frequent.
_BY_CHANCE = 0.6
#: A training loss that is a smaller part of what guessing gives has learned something.
_LEARNED = 0.9
#: A loss that was so many times its level took steps that were too large.
_WILD = 1.5
#: The accuracies that are compared with guessing.
_SCORES = ("val_acc", "val_accuracy", "train_acc", "train_accuracy", "acc", "accuracy")


@dataclass(frozen=True, repr=False)
class Verdict:
    """A judgment on a training, and the curve that it rests on.

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
            positive loss) in the final phase; where swings decided, about the neighboring values.
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

    @property
    def sentence(self) -> str:
        """Label and reason, on one line."""
        # The reason of a "cannot tell" goes on from these words.
        begun = self.reason.startswith(self.label)
        return self.reason if begun else f"{self.label}: {self.reason}"

    def __str__(self) -> str:
        return wrapped(self.sentence, columns())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html_text(self.sentence)


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
    recorded = Recorded.of(training)
    with np.errstate(all="ignore"):  # a loss of 1e200 is for the verdict to tell
        found = explosion(recorded) or _judge(recorded)
    return replace(found, reason=on_one_line(found.reason))


def explosion(recorded: Recorded) -> Verdict | None:
    """The verdict on a loss that is not finite, or many times what it was at first."""
    epochs = recorded.epochs
    if recorded.diverged is not None:
        reason = f"A value became NaN or infinite: {recorded.diverged}."
        return Verdict("diverged", reason, epochs)
    train, val = to_judge_by(recorded.curves)
    curve = train or val
    start = _start_of(recorded, train, val)
    if curve is None or higher_is_better(curve.label) is not False or not start > 0:
        return None
    last = float(curve.ys[-1])
    if last < _EXPLODED * start:
        return None
    reason = f"{curve.label} began at {start:.4g} and is {last:.4g}, {last / start:.2g} times that."
    return Verdict("diverged", reason, epochs, curve=curve.label, start=start, level=last)


def _judge(recorded: Recorded) -> Verdict:
    epochs = recorded.epochs
    from_epochs = f"cannot tell from {epochs} epoch{'' if epochs == 1 else 's'}"
    judged = to_judge_by(recorded.curves)
    if judged == (None, None):
        names = ", ".join(recorded.curves) or "no values"
        reason = f"{from_epochs} without a loss or an accuracy. There are {names}."
        return Verdict("cannot tell", reason, epochs)
    start = _start_of(recorded, *judged)
    trends = _trends(recorded, *judged, start) if epochs >= 3 else []
    if not trends:
        reason = f"{from_epochs}. It takes at least 3 to see a trend."
        return Verdict("cannot tell", reason, epochs)
    found = _from_trends(recorded, trends)
    notes = [trend.spiked for trend in trends if trend.spikes]
    if epochs < TELLING_EPOCHS and found.label != "cannot tell":
        notes.append(f"{epochs} epochs tell almost nothing: train longer to be sure of it.")
    return replace(found, reason=" ".join([found.reason, *notes]))


def _from_trends(recorded: Recorded, trends: list[Trend]) -> Verdict:
    by_split = {trend.curve.label.startswith("val_"): trend for trend in trends}
    trained, validated = by_split.get(False), by_split.get(True)
    decisive = trends[::-1]  # validation is asked first
    if trained is not None and trained.rises and trained.level >= _RISEN * trained.start > 0:
        times = f"It is {trained.level / trained.start:.2g} times its start."
        return _told("diverged", trained, f"{trained.pace} over the last {trained.last}. {times}")
    chance = _chance(recorded, trained, validated)
    if chance is not None:
        return chance
    if trained and validated and _overfits(trained, validated):
        meanwhile = trained.pace if trained.is_falling else trained.went
        reason = f"{validated.worsening}, while {meanwhile}. {validated.turn}"
        return _told("overfitting", validated, reason)
    for trend in decisive:
        if trend.oscillates:
            reason = (
                f"{trend.curve.label} jumps up and down by about {trend.amount(trend.swing)} from "
                f"one value to the next, and the jumps do not die out. It began at "
                f"{trend.start:.4g} and is now about {trend.level:.4g}."
            )
            swing = trend.swing * trend.factor
            return replace(_told("oscillating", trend, reason), noise=swing)
    if _diverges(trained, validated):
        return _told("diverged", trends[0], f"{trends[0].worsening}. {trends[0].turn}")
    for trend in decisive:
        if trend.climbs or trend.climb > 0:
            beside = _beside(trend, trained if trend is validated else validated)
            return _cannot_tell(trend, f"{trend.worsening}{beside}. {trend.turn}")
    if trained and validated and _may_overfit(trained, validated):
        return _cannot_tell(
            validated,
            f"{validated.turn} Meanwhile the training loss has become lower, as when a model "
            f"overfits. But {validated.varies}, so this may be chance.",
        )
    for trend in decisive:
        if trend.spikes and trend.spikes[-1][0] > trend.curve.xs[-1]:
            return _cannot_tell(
                trend,
                f"The last value of {trend.curve.label} stands far above those before it, and only "
                f"more epochs can tell whether it comes back.",
            )
    for trend in decisive:
        if trend.is_far_behind and not trend.falls:
            return _cannot_tell(trend, f"{trend.turn} But {trend.varies}, so this may be chance.")
    decider = decisive[0]  # where both say the same
    if all(trend.is_no_better and not trend.is_falling for trend in trends):
        return _unmoved(recorded, decider)
    falling = [trend for trend in trends if trend.falls]
    if trained and validated and falling == [trained]:
        line = validated.line
        if line.slope - line.error > trained.line.slope:
            reason = f"{validated.leveled}. Meanwhile {trained.pace}."
            return _told("converged", validated, reason)
    if falling:
        first = falling[0]
        reason = f"{first.pace} over the last {first.last}, {first.evidence}."
        if len(falling) == 2:
            reason += f" Likewise, {falling[1].pace}."
        elif validated and validated not in falling:
            reason += f" {validated.varies}, which hides whether it still falls, too."
        return _told("still improving", first, reason)
    level = [trend for trend in decisive if trend.is_level]
    if level:
        rising = [f" Meanwhile {trend.pace}." for trend in trends if trend.rises]
        return _told("converged", level[0], f"{level[0].leveled}.{''.join(rising)}")
    if decider.rises:
        beside = _beside(decider, trained if decider is validated else None)
        return _cannot_tell(decider, f"{decider.pace} over the last {decider.last}{beside}.")
    reason = f"{decider.varies}, which could hide that it still becomes better or worse."
    return _cannot_tell(decider, reason)


def _chance(recorded: Recorded, trained: Trend | None, validated: Trend | None) -> Verdict | None:
    """The verdict on a classifier whose answers are no better than guessing."""
    epochs, classes = recorded.epochs, recorded.num_classes
    trends = [trend for trend in (trained, validated) if trend is not None]
    scores = [recorded.curves[name] for name in _SCORES if name in recorded.curves]
    if not scores or _diverges(trained, validated):
        return None
    for score in scores:
        if classes is None:
            guessed = bool((score.ys == score.ys[-1]).all()) and score.ys[-1] <= _BY_CHANCE
        else:
            most = min(_GUESSED / classes, 1 / classes + _ABOVE_GUESSED)
            guessed = bool(np.median(score.ys[-math.ceil(len(score.ys) / 2) :]) <= most)
        if not guessed:
            return None
    if any(trend.falls for trend in trends) or _has_learned(trained, validated, classes):
        return None
    score = scores[0]
    if classes is None:
        reason = (
            f"{score.label} is {score.ys[-1]:.3g} in every epoch: the model gives the same "
            f"answers, whatever it is trained on."
        )
    else:
        best, lasts = int(np.argmax(score.ys)), ""
        if score.ys[best] > 2 * _GUESSED / classes:
            lasts = f" that lasts (it was {score.ys[best]:.3g} in epoch {score.xs[best]:g})"
        reason = (
            f"{score.label} is {score.ys[-1]:.3g} after {epochs} epochs, and guessing among "
            f"{classes} classes gives {1 / classes:.3g}: the model has learned nothing{lasts}."
        )
    return _told("stuck", trends[-1], f"{reason} {_advice(recorded, trends)}")


def _has_learned(trained: Trend | None, validated: Trend | None, classes: int | None) -> bool:
    """Whether the training loss is clearly below that of guessing, as of examples known by heart.

    Where all classes are as likely, the cross-entropy is the logarithm of their number. Other
    losses are lower in training than in validation where something was learned.
    """
    if trained is None or higher_is_better(trained.curve.label) is not False:
        return False
    bounds = [] if classes is None else [_LEARNED * math.log(classes)]
    bounds += [] if validated is None else [0.8 * validated.level]
    return bool(bounds) and trained.level < min(bounds)


def _advice(recorded: Recorded, trends: list[Trend]) -> str:
    """What to try where nothing was learned, as far as the loss tells."""
    lr = recorded.lr
    values = [trends[0].start, *(float(trend.curve.ys.max()) for trend in trends)]
    points = (recorded.points.get(trend.curve.label) for trend in trends)
    values += [float(curve.ys.max()) for curve in points if curve is not None]
    level = min(trend.level for trend in trends)
    if level > 0 and max(values) > _WILD * level:
        rate = f": {lr / 10:.3g} instead of {lr:.3g}" if lr else ""
        return (
            f"Its loss has been as high as {max(values):.3g}, so the steps were too large: try a "
            f"tenth of the learning rate{rate}."
        )
    rate = f", {10 * lr:.3g} and {lr / 10:.3g} instead of {lr:.3g}" if lr else ""
    return (
        f"Try ten times the learning rate and a tenth of it{rate}. If neither helps, no gradient "
        f'may arrive: Trainer(watch="gradients") shows where.'
    )


def _overfits(trained: Trend, validated: Trend) -> bool:
    """Whether validation has become worse while training went on, or kept what it had gained."""
    if validated.rises:
        apart = validated.line.slope > trained.line.slope + trained.line.error
        return trained.is_falling or (apart and trained.has_fallen and not trained.rises)
    if validated.climb == 0 or not trained.has_fallen:
        return False
    return _fall_since(trained, validated) > -max(trained.doubt, GAINED * trained.unit)


def _fall_since(trained: Trend, validated: Trend) -> float:
    """By how much training is better at its end than where validation was best."""
    then = np.interp(validated.best_x, trained.curve.xs, trained.zs)
    return float(then) - float(trained.zs[-min(3, trained.phase) :].mean())


def _may_overfit(trained: Trend, validated: Trend) -> bool:
    """Whether validation ends far above its best, while training went on falling."""
    least = max(GAINED * trained.unit, 2 * trained.line.noise)
    went_on = trained.is_falling or _fall_since(trained, validated) > least
    return validated.is_behind and not validated.falls and trained.has_fallen and went_on


def _diverges(trained: Trend | None, validated: Trend | None) -> bool:
    """Whether training gets worse, and validation does not deny it, or gets worse than it began."""
    if trained is None:
        return validated is not None and validated.climbs and validated.fall < 0
    if validated is not None and validated.climb == 0 and validated.line.slope <= 0:
        return False
    lost = trained.climb > 0 and trained.climb > _LOST * (trained.fall + trained.climb)
    return trained.climbs or lost


def _beside(trend: Trend, other: Trend | None) -> str:
    """What the other curve does while one gets worse, as the end of a sentence."""
    if other is None:
        alone = trend.curve.label.startswith("val_")
        return ", and there is no curve of the training to tell why" if alone else ""
    if other.is_falling or other.rises:
        return f", while {other.pace}"
    return f", while {other.curve.label} is {other.level:.4g}"


def _cannot_tell(trend: Trend, reason: str) -> Verdict:
    return _told("cannot tell", trend, f"cannot tell from {trend.epochs} epochs. {reason}")


def _told(label: Label, trend: Trend, reason: str) -> Verdict:
    """The verdict that rests on a curve."""
    line = trend.line
    sign = -1.0 if higher_is_better(trend.curve.label) else 1.0
    return Verdict(
        label,
        reason,
        trend.epochs,
        curve=trend.curve.label,
        start=trend.start,
        level=trend.level,
        noise=line.noise * trend.factor,
        slope=sign * line.slope * trend.factor,
        p_value=line.p_value,
    )


def _start_of(recorded: Recorded, train: Curve | None, val: Curve | None) -> float:
    """The value at which the training began: of its first point, or else of its first epoch."""
    curve = _training_points(recorded, train) or train or val
    return float(curve.ys[0]) if curve is not None and len(curve.ys) else math.nan


def _training_points(recorded: Recorded, train: Curve | None) -> Curve | None:
    """The points of the training curve, where they are of the same training as its means."""
    points = recorded.points.get(train.label) if train is not None else None
    if points is None or not recorded.epochs - 1 < points.xs[-1] <= recorded.epochs:
        return None
    return points if np.isfinite(points.ys).all() else None


def _trends(
    recorded: Recorded, train: Curve | None, val: Curve | None, start: float
) -> list[Trend]:
    """The trends of training and validation, as far as they have the values for one."""
    points = _training_points(recorded, train)
    if points is not None and recorded.epochs < TELLING_EPOCHS:
        # In a longer training the means tell more: in each epoch they are of the same examples.
        train = points
    curves = [curve for curve in (train, val) if curve is not None and len(curve.ys) >= 3]
    sign = -1 if any(higher_is_better(curve.label) for curve in curves) else 1
    is_log = sign == 1 and start > 0 and all(curve.ys.min() > 0 for curve in curves)
    return [Trend.of(curve, recorded.epochs, start, is_log, sign) for curve in curves]


def _unmoved(recorded: Recorded, trend: Trend) -> Verdict:
    """The verdict on a training that is no better than in its first epoch."""
    name = trend.curve.label
    unsure = trend.gain if trend.epochs >= TELLING_EPOCHS else trend.doubt
    if unsure > LARGE * trend.unit:
        reason = f"{trend.varies}, which hides whether it is better than at first."
        return _cannot_tell(trend, reason)
    scores = [name for name in ("val_acc", "train_acc") if name in recorded.curves]
    score = float(recorded.curves[scores[0]].ys[-1]) if scores else math.nan
    same = (
        f"{name} was {trend.curve.ys[0]:.4g} at first and is {trend.level:.4g} over the last "
        f"{trend.last}"
    )
    # Where the number of classes is known, an accuracy by chance was told before.
    if (recorded.num_classes is not None and scores) or score > _BY_CHANCE:
        reason = f"{same}. With {scores[0]} at {score:.3g}, it got there in the first epoch."
        return _told("converged", trend, reason)
    if trend.gain < -max(GAINED * trend.unit, trend.doubt):
        reason = f"{same}, which is worse by {trend.amount(trend.gain)}"
    elif trend.gain <= GAINED * trend.unit:
        reason = f"{same}, which is no improvement of {GAINED:.0%} or more"
    else:
        reason = (
            f"{same}, but it varies by {trend.noise} around its trend, so that this is "
            f"no improvement that can be told from chance"
        )
    reason += f". {scores[0]} is {score:.3g}." if scores else "."
    return _told("stuck", trend, reason)
