"""Numbers, times and settings in words: how many, how long, and what each training was given."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

#: Said where a chart and a table of epochs stand side by side: their last values differ.
CHART_AND_TABLE = "The chart shows means over parts of an epoch, the table over whole epochs."


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 node", "2 nodes"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(items: Sequence[str], word: str = "and") -> str:
    """Items with commas, and a word before the last one: "a, b and c"."""
    return f" {word} ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def bytes_text(num_bytes: float) -> str:
    """A number of bytes, such as "803 kB"."""
    unit, size = bytes_unit(num_bytes)
    return f"{num_bytes / size:.3g} {unit}"


def bytes_unit(num_bytes: float) -> tuple[str, float]:
    """The unit in which a number of bytes is written, and its size in bytes."""
    units = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
    return next((unit for unit in units if num_bytes >= unit[1]), ("bytes", 1.0))


def seconds_text(seconds: float | None) -> str:
    """A duration in seconds, without the unit; "-" if it is not known."""
    if seconds is None:
        return "-"
    return f"{seconds:.3g}" if seconds < 1000 else f"{seconds:.0f}"


def time_text(text: str) -> str:
    """A time of run.json as the clock here showed it, to the minute."""
    try:
        return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):  # run.json may hold any text
        return text


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings by name, such as "lr 0.1, num_hiddens 256"."""
    return ", ".join(f"{name} {value_text(value)}" for name, value in settings.items())


def value_text(value: Any) -> str:
    """A setting's value in at most 24 characters."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 24 else f"{text[:21]}..."
