"""How a report writes values."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradbook.table import Table

#: A setting's text is cut here: a report is for reading.
_LONGEST = 300

#: A table has at most so many rows; of more, some are shown, evenly spaced.
_MOST_ROWS = 200


def value(y: float | None) -> str:
    """A loss, an accuracy or another measure; None is one that was NaN or infinite."""
    if y is None or math.isnan(y):
        return "NaN"
    return f"{y:.6g}"


def setting(given: Any) -> str:
    """A setting's value, as the command line writes it."""
    if isinstance(given, list | tuple):
        text = ", ".join(map(setting, given)) or "[]"
    elif given is None or isinstance(given, bool):
        text = str(given).lower()
    else:
        text = f"{given:g}" if isinstance(given, float) and float(f"{given:g}") == given else ""
        text = text or str(given)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def settings(given: Mapping[str, Any]) -> str:
    """Settings by name, on one line."""
    return ", ".join(f"{name} {setting(each)}" for name, each in given.items())


def some_of(rows: Sequence[Any]) -> tuple[list[Any], str]:
    """At most so many rows, the first and the last among them, and what to say of the others."""
    if len(rows) <= _MOST_ROWS:
        return list(rows), ""
    last = len(rows) - 1
    shown = [rows[round(i * last / (_MOST_ROWS - 1))] for i in range(_MOST_ROWS)]
    return shown, f" ({_MOST_ROWS} of {len(rows):,}, evenly spaced)"


def columns(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table of texts and numbers."""
    return Table(
        heading,
        [[cell if isinstance(cell, str) else value(cell) for cell in row] for row in rows],
    )
