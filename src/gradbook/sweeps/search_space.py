"""What a search can try, as the study knows it: a distribution for each swept setting."""

from collections.abc import Mapping
from typing import Any

from gradbook.errors import CorruptFileError
from gradbook.hparams import plain
from gradbook.sweeps.study import optuna
from gradbook.sweeps.values import Range, Values


class SearchSpace:
    """The settings among which a search chooses: by name, what is tried of each."""

    def __init__(self, swept: Mapping[str, Values]) -> None:
        self.swept = dict(swept)

    def distributions(self) -> dict[str, Any]:
        """What the study draws from, by name."""
        kinds = optuna().distributions
        found: dict[str, Any] = {}
        for name, each in self.swept.items():
            if not isinstance(each, Range) or each.num is not None:
                found[name] = kinds.CategoricalDistribution(_choices(each))
            elif each.is_whole:
                found[name] = kinds.IntDistribution(int(each.low), int(each.high), log=each.is_log)
            else:
                found[name] = kinds.FloatDistribution(each.low, each.high, log=each.is_log)
        return found

    def values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The values that a trial's parameters stand for."""
        found = {}
        for name, each in self.swept.items():
            if name not in params:
                raise CorruptFileError(
                    f"The study is damaged: one of its trials has no value of {name!r}. Put a copy "
                    f"of its file in its place, or begin a new search."
                )
            value = params[name]
            if not isinstance(each, Range) or each.num is not None:
                found[name] = listed(each)[_choices(each).index(value)]
            elif each.is_whole:
                found[name] = min(max(int(value), int(each.low)), int(each.high))
            else:  # as people write rates, so that what a table shows is what was tried
                found[name] = min(max(float(f"{value:.4g}"), each.low), each.high)
        return found


def end_of(values: Values, lowest: bool) -> Any:
    """The lowest value of a range or the first of a list; or the highest, or the last."""
    if isinstance(values, Range):
        return values.low if lowest else values.high
    return values[0 if lowest else -1]


def listed(values: Values) -> list[Any]:
    """The values of a list, or of a range that says how many it has."""
    return values.values() if isinstance(values, Range) else list(values)


def _choices(values: Values) -> list[Any]:
    """What stands for a list's values in the study, where each is a number, a text or None."""
    each = listed(values)
    is_simple = all(isinstance(value, bool | int | float | str | None) for value in each)
    if is_simple and len(set(each)) == len(each):  # 1 and True are the same to the study
        return each
    return [f"{place}: {plain(value)}" for place, value in enumerate(each, start=1)]
