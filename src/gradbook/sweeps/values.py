"""The values that a sweep tries: lists, ranges, grids and random samples of them."""

import math
import random
import sys
from collections import defaultdict
from collections.abc import (
    Callable,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    MappingView,
    Sequence,
    Set,
)
from dataclasses import dataclass
from itertools import islice, product
from typing import Any, TypeVar

from gradbook.errors import ConfigError, shown

T = TypeVar("T")

#: How many trainings a sweep has at most. Each has a folder and a line in a table.
MOST_MEMBERS = 10_000


@dataclass(frozen=True)
class Range:
    """Values between two numbers, both included.

    Attributes:
        low, high: The ends; low < high. If both are whole numbers, so are the values.
        num: How many values a grid takes; None if they are only sampled.
        is_log: Whether values are evenly spaced by their ratio instead of their difference.
    """

    low: float
    high: float
    num: int | None = None
    is_log: bool = False

    def __post_init__(self) -> None:
        for end in (self.low, self.high):
            is_number = isinstance(end, int | float) and not isinstance(end, bool)
            if not is_number or not abs(end) <= sys.float_info.max:
                raise ConfigError(
                    f"The ends of a range must be finite numbers, of {sys.float_info.max:.1e} at "
                    f"most, but one is {shown(end)}."
                )
        if not self.low < self.high:
            raise ConfigError(
                f"A range must go from a lower to a higher number, but this one goes from "
                f"{self.low:g} to {self.high:g}."
            )
        if self.is_log and self.low <= 0:
            raise ConfigError(
                f"A range on a log scale must begin above 0, but this one begins at {self.low:g}."
            )
        if self.num is not None and (type(self.num) is not int or self.num < 2):
            raise ConfigError(f"A range must have at least 2 values, but num is {self.num!r}.")
        if self.num is not None and self.num > MOST_MEMBERS:
            raise ConfigError(
                f"A sweep tries at most {MOST_MEMBERS:,} settings, but this range has {self.num:,} "
                f"values. Give it fewer."
            )

    def values(self) -> list[float]:
        """The `num` values of a grid, each once.

        Raises:
            ConfigError: If the range has no `num`.
        """
        if self.num is None:
            raise ConfigError(
                f"The range from {self.low:g} to {self.high:g} does not say how many values it "
                f"has. Add their number, or give num_samples to draw values at random."
            )
        return list(dict.fromkeys(self.at(i / (self.num - 1)) for i in range(self.num)))

    def at(self, place: float) -> float:
        """The value at a place from 0 to 1."""
        if place in (0, 1):
            return self.high if place else self.low
        if self.is_log:
            value = math.exp(math.log(self.low) * (1 - place) + math.log(self.high) * place)
        else:
            value = self.low * (1 - place) + self.high * place
        if self.is_whole:
            return min(max(round(value), int(self.low)), int(self.high))
        # As people write rates, with as many digits more as a narrow range needs.
        largest = max(abs(self.low), abs(self.high))
        digits = 4 + math.ceil(max(0.0, math.log10(largest / (self.high - self.low))))
        return min(max(float(f"{value:.{digits}g}"), self.low), self.high)

    @property
    def is_whole(self) -> bool:
        """Whether the values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


def log_range(low: float, high: float, num: int | None = None) -> Range:
    """Values evenly spaced by ratio, as learning rates are tried.

    Args:
        low: The lowest, above 0.
        high: The highest.
        num: How many; None for a range that is sampled or searched.
    """
    return Range(low, high, num, is_log=True)


def lin_range(low: float, high: float, num: int | None = None) -> Range:
    """Values evenly spaced. If both ends are whole numbers, the values are.

    Args:
        low: The lowest.
        high: The highest.
        num: How many; None for a range that is sampled or searched.
    """
    return Range(low, high, num)


#: What is tried for one name: some values, or a range of them.
Values = Sequence[Any] | Range


def is_swept(value: Any) -> bool:
    """Whether an argument names several values. What can be iterated over may yet be one value."""
    if isinstance(value, str | bytes):
        return False
    is_array = (type(value).__module__ or "").partition(".")[0] in ("numpy", "pandas") and bool(
        getattr(value, "shape", ())
    )
    return is_array or isinstance(value, Range | Sequence | Set | MappingView | Iterator)


def are_equal(a: Any, b: Any) -> bool:
    """Whether two values are the same, tensors and arrays in every element."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    try:
        if hasattr(a, "shape") and hasattr(a, "dtype"):
            return bool(a.shape == b.shape and a.dtype == b.dtype and (a == b).all())
        return bool(a == b)
    except Exception:  # a learner's class may compare as it likes
        return False


def as_list(name: str, value: Any) -> list[Any]:
    """What a swept argument names, as a list; not if it is longer than `MOST_MEMBERS`."""
    values = list(islice(value.tolist() if hasattr(value, "tolist") else value, MOST_MEMBERS + 1))
    if len(values) > MOST_MEMBERS:
        count = f"{len(value):,}" if hasattr(value, "__len__") else "more"
        raise ConfigError(
            f"A sweep has at most {MOST_MEMBERS:,} trainings, but {name} alone has {count} values. "
            f"Give it fewer."
        )
    return values


def read_values(name: str, value: Any) -> Values:
    """The values of a swept argument, of which there are some, and each comes once."""
    if isinstance(value, Range):
        return value
    values = as_list(name, value)
    if not values:
        raise ConfigError(f"{name} has no values to try: the list is empty.")
    is_plain = all(type(item) in (int, float, str) for item in values)
    if is_plain and len(set(values)) == len(values):  # quick, where there are thousands
        return values
    for index, item in enumerate(values):
        if any(are_equal(item, other) for other in values[:index]):
            raise ConfigError(f"{name} names {item!r} twice. Name each value once.")
    return values


def without(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The values but for that of one name."""
    return {key: value for key, value in values.items() if key != name}


def grouped(
    items: Iterable[T],
    are_alike: Callable[[T, T], bool] = lambda one, other: True,
    key: Callable[[T], Hashable] = lambda item: None,
) -> list[list[T]]:
    """The items in groups, in order: each joins the first group whose first one it is like.

    Args:
        items: The items.
        are_alike: Whether two belong together; without it, those of the same key do.
        key: What those that belong together have alike; only such are compared, so that thousands
            of groups take no time.
    """
    groups: list[list[T]] = []
    of_key: defaultdict[Hashable, list[list[T]]] = defaultdict(list)
    for item in items:
        near = of_key[key(item)]
        group = next((group for group in near if are_alike(group[0], item)), None)
        if group is None:
            groups.append(group := [])
            near.append(group)
        group.append(item)
    return groups


def count_of(values: Values) -> int:
    """How many values a grid takes of these; 1 for a range that does not say how many."""
    return (values.num or 1) if isinstance(values, Range) else len(values)


def grid(values: Mapping[str, Values]) -> list[dict[str, Any]]:
    """Every combination, the last name varying fastest."""
    lists = [v.values() if isinstance(v, Range) else v for v in values.values()]
    return [dict(zip(values, combination, strict=True)) for combination in product(*lists)]


def sampled(values: Mapping[str, Values], num_samples: int, seed: int) -> list[dict[str, Any]]:
    """Random combinations, fewer than `num_samples` if there are not as many.

    Each value is drawn on its own, evenly from its list or range.
    """
    generator = random.Random(seed)
    found: list[dict[str, Any]] = []
    for _ in range(20 * num_samples):  # a small grid may be exhausted
        drawn = {
            name: each.at(generator.random()) if isinstance(each, Range) else generator.choice(each)
            for name, each in values.items()
        }
        if drawn not in found:
            found.append(drawn)
        if len(found) == num_samples:
            break
    return found
