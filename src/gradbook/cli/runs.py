"""`gradbook runs`: the runs in a folder, as a table."""

import argparse
import operator
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradbook.cli.options import Parser, add_runs_option, show
from gradbook.cli.outcome import Outcome, UsageError
from gradbook.cli.texts import rounded, shortened, table
from gradbook.display.words import seconds_text, time_text
from gradbook.errors import CorruptFileError, did_you_mean
from gradbook.labels import headline, higher_is_better
from gradbook.runs import comparison
from gradbook.runs.format import RUN_FILE
from gradbook.runs.stored import DamagedRun, StoredRun, find_runs
from gradbook.storage import as_word
from gradbook.sweeps.format import SWEEP_FILE
from gradbook.wrapping import page

EPILOG = """\
KEY is name, model, data, status, epochs, seconds, started, seed, best, last, a hyperparameter
such as lr, a label such as val_acc (its last value) or best_val_acc, or any other setting that
`gradbook compare` shows. EXPR is KEY, one of = != < <= > >=, and a value:

  gradbook runs --filter model=mlp "lr<0.3" --sort best
  gradbook runs --filter status=killed
  gradbook runs --filter "val_acc>=0.8" "started>=2025-03-01"
"""

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
    """A condition on a run: what is looked at, how it is compared, and with what."""

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
        if _is_number(value):
            try:
                return _OPERATORS[self.sign](value, float(self.text))
            except ValueError:
                if self.sign in ("=", "!="):  # another run may have a list here, or a word
                    return self.sign == "!="
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
    told = "sort by KEY; with best, the best run comes first (default: name)"
    parser.add_argument("--sort", metavar="KEY", help=told)
    parser.add_argument("--reverse", action="store_true", help="reverse the order")
    parser.add_argument(
        "--filter",
        metavar="EXPR",
        type=Filter.of,
        nargs="+",
        action="extend",
        default=[],
        help="list only the runs that meet all these conditions",
    )
    add_runs_option(parser)
    asked = parser.read_all(arguments)

    rows, damaged = [], []
    for found in find_runs(asked.runs):
        if isinstance(found, DamagedRun):
            damaged.append(found)
            continue
        try:
            rows.append((found, values_of(found)))
        except CorruptFileError as error:
            damaged.append(DamagedRun(found.folder, str(error)))
    for key in [*(each.key for each in asked.filter), *filter(None, [asked.sort])]:
        check_key(key, [values for _, values in rows])
    num_runs = len(rows)
    rows = [row for row in rows if all(each.admits(row[1]) for each in asked.filter)]
    if asked.sort:
        known = [row for row in rows if row[1].get(asked.sort) is not None]
        known.sort(key=lambda row: _rank(asked.sort, *row), reverse=asked.reverse)
        # Whichever way round, what has no value comes last.
        rows = [*known, *(row for row in rows if row[1].get(asked.sort) is None)]
    elif asked.reverse:
        rows.reverse()

    sweeps = sorted(path.parent.name for path in Path(asked.runs).glob(f"*/{SWEEP_FILE}"))
    told_of_damaged = [
        {"name": each.name, "folder": str(each.folder), "reason": each.reason} for each in damaged
    ]
    facts = {
        "sweeps": sweeps,
        "runs": [comparison.summary_of(stored) for stored, _ in rows],
        "damaged": told_of_damaged,
    }
    lines = _listing(rows, damaged) if rows or damaged else []
    if num_runs and not rows:
        lines.append(f"None of the runs in {asked.runs!r} meets the conditions.")
    if sweeps:
        last = sweeps[-1] if asked.runs == "runs" else Path(asked.runs, sweeps[-1])
        show_it = shlex.join(["gradbook", "show", as_word(last)])
        lines += [*[""] * bool(lines), page(f"sweeps: {', '.join(sweeps)} (`{show_it}`)")]
    elif not num_runs and not damaged:
        lines.append(_no_runs(asked.runs))
    for each in damaged:
        lines += ["", page(f"damaged: {each.reason}")]
    return Outcome(facts, "\n".join(lines), code=1 if damaged else 0)


def _no_runs(root: str) -> str:
    """What is said of a folder without runs. What a class hands in may lie a folder deeper."""
    folders = sorted({path.parent.parent for path in Path(root).glob(f"*/*/{RUN_FILE}")})
    if not folders:
        return f"There are no runs in {root!r} yet. Make one: gradbook train mlp"
    lines = [f"There are no runs in {root!r} itself, but in folders of it:"]
    commands = [shlex.join(["gradbook", "runs", "--runs", as_word(path)]) for path in folders]
    return page("\n".join(lines + [f"  {command}" for command in commands]))


def values_of(stored: StoredRun) -> dict[str, Any]:
    """What --filter and --sort may name."""
    return values_from(comparison.summary_of(stored), comparison.settings_of(stored))


def values_from(summary: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The same, from what a list says of a run and from its settings."""
    final = summary["final"]
    best = {label: each["value"] for label, each in summary["best"].items()}
    label = headline(final) or ""
    return {
        **final,
        **{f"best_{label}": value for label, value in best.items()},
        # After the figures: "lr" is the setting, also where a schedule changes it.
        **settings,
        "best": best.get(label),
        "last": final.get(label),
        **{key: value for key, value in summary.items() if not isinstance(value, dict)},
    }


def check_key(key: str, values: Sequence[dict[str, Any]]) -> None:
    """Raises UsageError if none of the runs has a value of this name."""
    known = dict.fromkeys(name for each in values for name in each)
    if known and key not in known:
        raise UsageError(
            f"The runs have no {key!r}.{did_you_mean(key, known)} There are {', '.join(known)}."
        )


def _rank(key: str, stored: StoredRun, values: dict[str, Any]) -> tuple[Any, ...]:
    """What a run is sorted by: numbers come before words."""
    value = values[key]
    if key == "best":  # runs that are judged by different labels cannot be ranked together
        label = headline(stored.final) or ""
        return label, -value if higher_is_better(label) else value
    return (False, value) if _is_number(value) else (True, show(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# The table


def _listing(
    rows: Sequence[tuple[StoredRun, dict[str, Any]]], damaged: Sequence[DamagedRun]
) -> list[str]:
    """The table, without the columns for which a terminal is too narrow."""
    hyperparameters = [comparison.hyperparameters_of(stored) for stored, _ in rows]
    settings = [name for name in comparison.differing(hyperparameters) if name != "max_epochs"]
    known = {name for each in hyperparameters for name in each}
    settings += [name for name in comparison.PROMINENT if name in known and name not in settings]
    # What few of the runs have tells least of them, as the noise of data among images.
    settings.sort(key=lambda name: -sum(name in each for each in hyperparameters))
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
        cells = [rounded(values, key) if label else "-" for (_, values), label in judged]
        if len(kinds) > 1:  # one name does not fit the whole column
            cells = [f"{cell} {label or ''}" for cell, label in zip(cells, labels, strict=True)]
        columns[" ".join([key, *kinds]) if len(kinds) == 1 else key] = cells
    columns["seconds"] = [seconds_text(values["seconds"]) for _, values in rows]
    columns["status"] = [stored.status for stored, _ in rows]
    columns["started"] = [time_text(values["started"]) for _, values in rows]
    for each in damaged:
        told = {"name": each.name, "status": "damaged"}
        for name, cells in columns.items():
            cells.append(told.get(name, "-"))

    room = shutil.get_terminal_size((sys.maxsize, 24)).columns
    last = next(name for name in columns if name.partition(" ")[0] == "last")
    dispensable = ["model", *settings[:2], "seconds", "started", last, *settings[2:]]
    shown = dict(columns)
    while max(map(len, lines := table(shown))) > room and dispensable:
        del shown[dispensable.pop()]
    if len(shown) < len(columns):
        left_out = ", ".join(name for name in columns if name not in shown)
        advice = "--filter narrows the list; --json has all."
        lines += ["", page(f"No room for {left_out}. {advice}")]
    return lines
