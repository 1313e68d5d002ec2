"""`gradbook compare`: what differs between runs, and their curves in one picture."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from gradbook.cli.options import Parser, add_output_option, add_runs_option, pictures
from gradbook.cli.outcome import Outcome, UsageError
from gradbook.cli.texts import rounded, shortened, table
from gradbook.display.words import seconds_text
from gradbook.errors import GradbookError
from gradbook.runs import comparison
from gradbook.runs.format import SPLITS
from gradbook.runs.stored import StoredRun, load
from gradbook.verdicts import verdict
from gradbook.wrapping import page

#: The longest value of a setting that is shown whole: the name of a class is longer than most.
_WIDEST = 40


def run(arguments: list[str]) -> Outcome:
    """Compares the runs that `arguments` name."""
    parser = Parser("compare", "What differs between runs, and their curves in one picture.")
    parser.add_argument("run", metavar="RUN", nargs="*", help="a run's name, or its folder")
    where = "beside the first run, in place of those of the last comparison"
    add_output_option(parser, "compare", where)
    add_runs_option(parser)
    asked = parser.read_all(arguments)
    if len(asked.run) < 2:
        raise UsageError("Name two runs or more, such as mlp-1 mlp-2. `gradbook runs` lists them.")
    runs = [load(name, asked.runs) for name in asked.run]
    folders = [os.path.realpath(stored.folder) for stored in runs]
    for name, folder in zip(asked.run, folders, strict=True):
        if folders.count(folder) > 1:
            raise UsageError(f"{name!r} is named more than once. Name each run once.")
    names = comparison.names_of(runs)
    settings = [comparison.settings_of(stored) for stored in runs]
    named, differ = list(zip(names, settings, strict=True)), comparison.differing(settings)
    facts: dict[str, Any] = {
        "differences": {
            key: {name: each[key] for name, each in named if key in each} for key in differ
        },
        "results": [
            {**comparison.summary_of(stored), "name": name}
            for name, stored in zip(names, runs, strict=True)
        ],
        "pictures": [],
    }
    lines = [*_differences(names, settings, differ), "", *_results(names, runs), ""]
    paths, note = pictures(asked.output, "compare"), ""
    if not asked.output:
        paths = [runs[0].parent / path for path in paths]
        note = " (the next comparison takes their place; --output FILE keeps one)"
    error = None
    if any(len(stored.history) for stored in runs):
        try:
            comparison.save_overlay(runs, paths)
            facts["pictures"] = [str(path) for path in paths]
            lines.append(page(f"picture: {', '.join(facts['pictures'])}{note}"))
        except GradbookError as raised:  # the tables are worth having all the same
            error = raised
    else:
        lines.append("No picture: none of these runs has finished an epoch.")
    return Outcome(facts, "\n".join(lines), error=error)


def _differences(
    names: Sequence[str], settings: Sequence[Mapping[str, Any]], differ: Sequence[str]
) -> list[str]:
    if not differ:
        return ["Nothing differs in model, data, hyperparameters, seed and versions."]
    columns = {"": list(differ)}
    for name, each in zip(names, settings, strict=True):
        columns[name] = [shortened(each[s], _WIDEST) if s in each else "-" for s in differ]
    return _in_blocks(columns)


def _results(names: Sequence[str], runs: Sequence[StoredRun]) -> list[str]:
    columns: dict[str, Sequence[str]] = {
        "": list(names),
        "status": [stored.status for stored in runs],
        "epochs": [f"{stored.epochs}/{stored.facts['max_epochs']}" for stored in runs],
        "seconds": [seconds_text(stored.seconds) for stored in runs],
        "verdict": [verdict(stored).label for stored in runs],
    }
    labels = dict.fromkeys(chain.from_iterable(stored.final for stored in runs))
    for label in labels:
        if label.startswith(SPLITS):
            columns[label] = [rounded(stored.final, label) for stored in runs]
        if not label.startswith("val_"):
            continue
        bests = [stored.best.get(label) for stored in runs]
        columns[f"best {label} (epoch)"] = [
            f"{rounded(best, 'value')} ({best['epoch']})" if best else "-" for best in bests
        ]
    return _in_blocks(columns)


def _in_blocks(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """A table; where a terminal is too narrow for it, several below each other."""
    room = shutil.get_terminal_size((sys.maxsize, 24)).columns
    first, *rest = columns
    lines: list[str] = []
    while rest:
        for num_fitting in range(len(rest), 0, -1):  # the first column and one more at least
            block = table({name: columns[name] for name in (first, *rest[:num_fitting])})
            if max(map(len, block)) <= room:
                break
        lines += ["", *block] if lines else block
        rest = rest[num_fitting:]
    return lines
