"""Two settings compared by the final values of several seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Literal

import numpy as np

from gradbook.errors import ConfigError, did_you_mean
from gradbook.escape import on_one_line
from gradbook.labels import headline, higher_is_better
from gradbook.verdicts.recorded import Recorded, listed
from gradbook.verdicts.rules import explosion
from gradbook.verdicts.student_t import t_quantile, t_test
from gradbook.wrapping import columns, html_text, wrapped

#: A standard error that is no larger, as a part of the largest value, comes from rounding alone.
_ROUNDING = 1e-12


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
        return wrapped(self.reason, columns())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html_text(self.reason)


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

    The final values are compared with Welch's t-test, or, where they are pairs, with the t-test of
    their differences. Both assume values that are about normally distributed, or two settings whose
    values have the same distribution but for their mean: then they err at most 6 times in 100 at
    alpha=0.05. Of skewed values that spread three times as much in one setting, or whose tails lie
    on opposite sides, they err up to 15 times in 100, and the sample seldom shows it. A permutation
    test cannot help: with 3 seeds each even its rarest outcome comes 1 time in 10.

    Args:
        a: The trainings of the first setting, one per seed, as `verdict` takes them, or their
            final values as numbers, in a list, an array or a tensor.
        b: The same of the second setting.
        label: What to compare, such as "val_acc"; None takes the headline of the trainings. With
            numbers it must be given, because it says which way is better.
        paired: Whether the two settings were trained with the same seeds, given in the same
            order.
        alpha: How often a difference may be found where there is none, between 0 and 1, if the
            assumption holds.
        names: What the settings are called in words, such as (0.1, 0.3).

    Raises:
        ConfigError: If there is nothing to compare, the label is not recorded, its name does not
            tell which way is better, pairs are incomplete, or there are not two names.
    """
    a, b = listed(a), listed(b)
    for group in (a, b):
        if not isinstance(group, Sequence) or isinstance(group, str):
            raise ConfigError(
                f"A setting is compared by a list of its trainings, or of their final values, but "
                f"got {type(group).__name__} {group!r:.60}. One alone stands in a list, too."
            )
    if not isinstance(names, Sequence) or isinstance(names, str) or len(names) != 2:
        raise ConfigError(f"names must be two, one for each setting, but it is {names!r}.")
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
    with np.errstate(all="ignore"):  # a difference may be too large for a float
        found = _compare(finals, label, rises, paired, alpha, names)
    return replace(found, reason=on_one_line(found.reason))


def _final_value(training: Any, label: str) -> float:
    """The last epoch's mean of a training, NaN if it exploded; or the number that is given."""
    if isinstance(training, Real):
        return float(training)
    recorded = Recorded.of(training)
    curves = recorded.curves
    if label not in curves:
        raise ConfigError(
            f"{label!r} was not recorded in every training.{did_you_mean(label, curves)} "
            f"There are {', '.join(curves) or 'no values'}."
        )
    return float(curves[label].ys[-1]) if explosion(recorded) is None else math.nan


def _common_headline(trainings: Sequence[Any]) -> str:
    """The headline of the labels that all trainings have."""
    if any(isinstance(training, Real) for training in trainings):
        raise ConfigError(
            "Numbers do not tell whether more of them is better: say what they are, as in "
            'label="val_loss" or label="val_acc".'
        )
    recorded = [Recorded.of(training).curves for training in trainings]
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
    a, b = (np.array(group) for group in finals)
    in_a, in_b = np.isfinite(a), np.isfinite(b)
    if paired:  # a pair that has lost one is none
        in_a = in_b = in_a & in_b
    a, b = a[in_a], b[in_b]
    if len(a) == 0 or len(b) == 0:
        reason = f"cannot tell: there is nothing to compare in {label}{lost}."
        return SettingsComparison(label, None, None, None, None, reason)
    # Squares of large or small values are no floats: all is computed in a unit that fits them.
    exponent = int(np.frexp(max(abs(a).max(), abs(b).max()))[1])
    a, b = np.ldexp(a, -exponent), np.ldexp(b, -exponent)

    def in_full(scaled: float) -> float:
        return float(np.ldexp(scaled, exponent))

    mean_a, mean_b = in_full(a.mean()), in_full(b.mean())
    scaled_difference = float(a.mean() - b.mean())
    difference = in_full(scaled_difference)
    if len(a) < 2 or len(b) < 2:
        one = "one seed" if max(len(a), len(b)) == 1 else "one seed of a setting"
        reason = (
            f"cannot tell from {one}: {names[0]} gives {mean_a:.4g} and {names[1]} "
            f"{mean_b:.4g} in {label}, but nobody knows how much of that is the seed{lost}."
        )
        return SettingsComparison(label, difference, None, None, None, reason)
    error, freedom = _error(a, b, paired)
    if error < _ROUNDING:
        every = "every pair of seeds differs by as much" if paired else "every seed gives the same"
        reason = (
            f"cannot tell: {every} ({names[0]} {mean_a:.4g}, {names[1]} {mean_b:.4g} in "
            f"{label}). Were they different seeds?{lost}"
        )
        return SettingsComparison(label, difference, None, None, None, reason)
    p_value = t_test(scaled_difference / error, freedom)
    reach = t_quantile(alpha, freedom) * error
    half = in_full(reach)
    interval = (in_full(scaled_difference - reach), in_full(scaled_difference + reach))
    percent = f"{100 * (1 - alpha):.4g}%"
    seeds = f"{len(a)}" if len(a) == len(b) else f"{len(a)} and {len(b)}"
    seeds += " pairs of seeds" if paired else " seeds"
    if p_value >= alpha:
        reason = (
            f"cannot tell: {names[0]} minus {names[1]} is {difference:.2g} ± {half:.2g} in {label} "
            f"({percent} interval) over {seeds}, which may be no difference at all{lost}."
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


def _error(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[float, float]:
    """The standard error of a difference of means, with its degrees of freedom.

    Two settings that are no pairs may have different spreads: Welch (1947). His degrees of freedom
    are an estimate, which promises too much where one setting has few values and the other many:
    there those of the smaller one are taken, which of normally distributed values cannot.
    """
    if paired:
        return float((a - b).std(ddof=1)) / math.sqrt(len(a)), len(a) - 1
    parts = [float(group.var(ddof=1)) / len(group) for group in (a, b)]
    total = sum(parts)
    if len(a) != len(b) or total == 0:
        return math.sqrt(total), min(len(a), len(b)) - 1
    shares = [part / total for part in parts]  # squares of the parts themselves may underflow
    return math.sqrt(total), (len(a) - 1) / sum(share**2 for share in shares)
