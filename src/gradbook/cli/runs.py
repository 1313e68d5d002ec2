"""`gradbook runs`: the runs in a folder, as a table."""

import argparse
import operator
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gradbook.cli.options import Parser, add_common_options, show
from gradbook.cli.report import Outcome, UsageError
from gradbook.errors import CorruptFileError, did_you_mean
from gradbook.runs.comparison import PROMINENT, differing, hyperparameters_of, settings_of
from gradbook.runs.stored import Damaged, StoredRun, find_runs, headline

EPILOG = """\
KEY is name, model, data, status, epochs, seconds, started, seed, best, last, a hyperparameter
such as lr, a label such as val_acc (its last value) or best_val_acc, or any other setting that
`gradbook compare` shows. EXPR is KEY, one of = != < <= > >=, and a value:

  gradbook runs --filter model=mlp "lr<0.3" --sort best --reverse
  gradbook runs --filter status=killed
  gradbook runs --filter "val_acc>=0.8" "started>=2025-03-01"
"""

#: The longest value of a setting that is shown whole.
_WIDEST = 20

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Filter:
    """A condition on a run.

    Attributes:
        key: What is looked at.
        sign: How it is compared.
        text: With what.
    """

    key: str
    sign: str
    text: str

    @classmethod
    def of(cls, text: str) -> "Filter":
        """The filter that is written as `text`, or argparse's error if none is."""
        match = re.fullmatch(r"([\w-]+)\s*(!=|<=|>=|=|<|>)\s*(.*)", text.strip())
        if match is None:
            raise argparse.ArgumentTypeError(
                f'expected a condition such as model=mlp or "lr<0.3", but got {text!r}'
            )
        return cls(*match.groups())

    def admits(self, values: dict[str, Any]) -> bool:
        """Whether a run with these values meets the condition. Without a value it is unequal."""
        value = values.get(self.key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                return _OPERATORS[self.sign](value, float(self.text))
            except ValueError:
                raise UsageError(
                    f"--filter: {self.key} is a number, such as {show(value)}, but "
                    f"{self.text!r} is none."
                ) from None
        if value is None and self.sign not in ("=", "!="):
            return False
        return _OPERATORS[self.sign](show(value), self.text)


def run(arguments: list[str]) -> Outcome:
    """Lists the runs in a folder."""
    parser = Parser("runs", "The runs in a folder, damaged ones too.")
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--sort", metavar="KEY", help="order by this (default: by name)")
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument(
        "--filter",
        metavar="EXPR",
        type=Filter.of,
        nargs="+",
        action="extend",
        default=[],
        help="only runs that meet all conditions",
    )
    add_runs_option(parser)
    add_common_options(parser)
    asked = parser.read(arguments)
    if asked.help:
        return Outcome(text=parser.format_help().rstrip())

    rows, damaged = [], []
    for found in find_runs(asked.runs):
        try:
            if isinstance(found, Damaged):
                damaged.append(found)
            else:
                rows.append((found, values_of(found)))
        except CorruptFileError as error:
            damaged.append(Damaged(found.folder, str(error)))
    for key in [*(each.key for each in asked.filter), *filter(None, [asked.sort])]:
        _check_key(key, [values for _, values in rows])
    num_runs = len(rows)
    rows = [row for row in rows if all(each.admits(row[1]) for each in asked.filter)]
    if asked.sort:
        rows.sort(key=lambda row: _sortable(row[1].get(asked.sort)), reverse=asked.reverse)
        # Whichever way round, what has no value comes last.
        rows.sort(key=lambda row: row[1].get(asked.sort) is None)
    elif asked.reverse:
        rows.reverse()

    facts = {
        "runs": [summary(stored) for stored, _ in rows],
        "damaged": [
            {"name": each.name, "folder": str(each.folder), "reason": each.reason}
            for each in damaged
        ],
    }
    lines = []
    if rows or damaged:
        lines += [line.rstrip() for line in _listing(rows, damaged)]
    if num_runs and not rows:
        lines.append(f"None of the runs in {asked.runs!r} meets the conditions.")
    if not num_runs and not damaged:
        lines.append(f"There are no runs in {asked.runs!r} yet. Make one: gradbook train mlp")
    for each in damaged:
        lines += ["", f"damaged: {printable(each.reason)}"]
    return Outcome(facts, "\n".join(lines), code=1 if damaged else 0)


def add_runs_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option for the folder of the runs."""
    parser.add_argument(
        "--runs", default="runs", metavar="DIR", help="folder for runs (default: runs)"
    )


def summary(stored: StoredRun) -> dict[str, Any]:
    """What a list says of a run, for --json."""
    facts = stored.facts
    return {
        "name": stored.name,
        "folder": str(stored.folder),
        "status": stored.status,
        "model": facts["model"]["name"],
        "data": facts["data"]["name"],
        "hyperparameters": hyperparameters_of(stored),
        "epochs": stored.epochs,
        "max_epochs": facts["max_epochs"],
        "seconds": seconds_of(stored),
        "final": stored.final,
        "best": stored.best,
        "started": facts["started"],
        "ended": facts["ended"],
    }


def seconds_of(stored: StoredRun) -> float | None:
    """How long it was trained, or None while run.json does not know it."""
    return None if stored.status in ("running", "killed") else stored.facts["seconds"]


def values_of(stored: StoredRun) -> dict[str, Any]:
    """What --filter and --sort may name."""
    best = {label: each["value"] for label, each in stored.best.items()}
    label = headline(stored.final) or ""
    told = summary(stored)
    return {
        **stored.final,
        **{f"best_{label}": value for label, value in best.items()},
        # After the figures: "lr" is the setting, also where a schedule changes it.
        **settings_of(stored),
        "best": best.get(label),
        "last": stored.final.get(label),
        **{key: value for key, value in told.items() if not isinstance(value, dict)},
    }


def _check_key(key: str, values: Sequence[dict[str, Any]]) -> None:
    known = dict.fromkeys(name for each in values for name in each)
    if known and key not in known:
        raise UsageError(
            f"The runs have no {key!r}.{did_you_mean(key, known)} There are {', '.join(known)}."
        )


def _sortable(value: Any) -> tuple[bool, Any]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (False, value) if is_number else (True, show(value))


# The table


def _listing(
    rows: Sequence[tuple[StoredRun, dict[str, Any]]], damaged: Sequence[Damaged]
) -> list[str]:
    """The table, without the columns for which a terminal is too narrow."""
    hyperparameters = [hyperparameters_of(stored) for stored, _ in rows]
    settings = [name for name in differing(hyperparameters) if name != "max_epochs"]
    known = {name for each in hyperparameters for name in each}
    settings += [name for name in PROMINENT if name in known and name not in settings]
    columns = {
        "name": [stored.name for stored, _ in rows],
        "model": [values["model"] for _, values in rows],
    }
    for name in settings:
        columns[name] = [shortened(each[name]) if name in each else "-" for each in hyperparameters]
    columns["epochs"] = [f"{values['epochs']}/{values['max_epochs']}" for _, values in rows]
    labels = [headline(stored.final) for stored, _ in rows]
    judged = list(zip(rows, labels, strict=True))
    kinds = list(dict.fromkeys(filter(None, labels)))
    for key in ("best", "last"):
        cells = [figure(values, key) if label else "-" for (_, values), label in judged]
        if len(kinds) > 1:  # one name does not fit the whole column
            cells = [f"{cell} {label or ''}" for cell, label in zip(cells, labels, strict=True)]
        columns[" ".join([key, *kinds]) if len(kinds) == 1 else key] = cells
    columns["seconds"] = [duration(values["seconds"]) for _, values in rows]
    columns["status"] = [stored.status for stored, _ in rows]
    columns["started"] = [when(values["started"]) for _, values in rows]
    for name, cells in columns.items():
        told = {"name": [each.name for each in damaged], "status": ["damaged"] * len(damaged)}
        cells += told.get(name, ["-"] * len(damaged))

    room = shutil.get_terminal_size((sys.maxsize, 24)).columns
    dispensable = ["model", *settings[:2], "seconds", "started", *settings[2:]]
    shown = dict(columns)
    while len((lines := table(shown))[0]) > room and dispensable:
        del shown[dispensable.pop()]
    if len(shown) < len(columns):
        left_out = ", ".join(name for name in columns if name not in shown)
        lines += ["", f"No room for {left_out}; --json has everything."]
    return lines


def table(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Columns, by their headings, as aligned lines. Numbers stand on the right."""
    aligned = []
    for heading, cells in columns.items():
        texts = [printable(text) for text in (heading, *cells)]
        width = max(map(len, texts))
        right = all(re.match(r"[-+]?[.\d]|-$|NaN", text) for text in texts[1:])
        aligned.append([text.rjust(width) if right else text.ljust(width) for text in texts])
    return ["  ".join(line) for line in zip(*aligned, strict=True)]


def printable(text: str) -> str:
    """A text without control characters: a run may come from anywhere."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def figure(values: Mapping[str, Any], key: str) -> str:
    """A loss or accuracy for a table; "-" if there is none, "NaN" if it was not finite."""
    if key not in values:
        return "-"
    value = values[key]
    if value is None:
        return "NaN"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """Seconds for a table."""
    if seconds is None:
        return "-"
    return f"{seconds:.3g}" if seconds < 1000 else f"{seconds:.0f}"


def shortened(value: Any, widest: int = _WIDEST) -> str:
    """A setting for a table."""
    text = show(value)
    return text if len(text) <= widest else f"{text[: widest - 3]}..."


def when(text: str) -> str:
    """A time of run.json as the clock here showed it, to the minute."""
    try:
        return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):  # run.json may hold any text
        return text
