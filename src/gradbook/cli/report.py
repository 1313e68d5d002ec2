"""`gradbook report`: runs and sweeps as one page to hand in."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from gradbook.cli.options import Parser, add_runs_option
from gradbook.cli.outcome import Outcome, UsageError
from gradbook.cli.recorded import add_set_option
from gradbook.cli.restored import plan_of
from gradbook.display.words import bytes_text
from gradbook.errors import CorruptFileError
from gradbook.registry import DATA, MODELS, Entry, known_name
from gradbook.reports.run import Rebuild
from gradbook.reports.writing import check_target, damaged_among, page_of, subjects_of
from gradbook.runs.restored import Restored, checkpoint_of, rebuild
from gradbook.runs.stored import StoredRun
from gradbook.storage import write_atomically
from gradbook.wrapping import page


def run(arguments: list[str]) -> Outcome:
    """Writes a report on the runs and sweeps that `arguments` name."""
    parser = Parser(
        "report",
        "Runs and sweeps as one HTML file to hand in: configuration, curves, verdicts, results, "
        "and what the models get right and wrong. It opens without a network.",
    )
    parser.add_argument("run", metavar="RUN", nargs="*", help="a run's or a sweep's name or folder")
    parser.add_argument(
        *("-o", "--output"),
        metavar="FILE",
        default="report.html",
        help="the file; an earlier report there is replaced (default: report.html)",
    )
    add_runs_option(parser)
    parser.add_argument("--title", help="what stands above everything (default: the runs)")
    parser.add_argument("--author", help="who hands it in")
    parser.add_argument(
        "--inspect",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="rebuild the models, and measure them on their validation data (default: true)",
    )
    for flag, what in (("--model", "model"), ("--data", "data set")):
        parser.add_argument(
            flag,
            metavar="FILE:CLASS",
            action="append",
            default=[],
            help=f"a {what} of your own that a run was trained with; may be given several times",
        )
    add_set_option(parser)
    asked = parser.read_all(arguments)
    if not asked.run:
        raise UsageError("Name a run or a sweep, such as mlp-1. `gradbook runs` lists the runs.")
    subjects = subjects_of(asked.run, asked.runs)
    path = Path(asked.output)
    check_target(path)
    again = rebuilding(asked.model, asked.data, asked.set) if asked.inspect else None
    content = page_of(subjects, asked.title, asked.author, again).encode()
    write_atomically(path, content)
    damaged = [subject.name for subject in damaged_among(subjects)]
    facts = {
        "report": str(path),
        "num_bytes": len(content),
        "runs": [subject.name for subject in subjects],
        "damaged": damaged,
    }
    text = page(f"report: {path}  {bytes_text(len(content))}. Open it in a browser.")
    error = None
    if damaged:
        told = ", ".join(damaged)
        error = CorruptFileError(f"Damaged, as the report says with the reason: {told}.")
    return Outcome(facts, text, error=error)


def rebuilding(
    models: Sequence[str] = (),
    data: Sequence[str] = (),
    places: Sequence[tuple[str, str]] = (),
) -> Rebuild:
    """What gives the model and the data of a run, of classes that a person has named.

    Args:
        models: A learner's own models, such as "my_file.py:MyNet". A run takes the one that has
            the name of its class.
        data: Likewise data sets.
        places: Settings that are places, as `--set` gives them.
    """

    def rebuilt(run: StoredRun) -> Restored:
        checkpoint_of(run)  # what is not there is said before any code is loaded
        own = argparse.Namespace(
            model=_own(run, "model", models, MODELS), data=_own(run, "data", data, DATA), set=places
        )
        return rebuild(run, plan_of(run, own).recipe)

    return rebuilt


def _own(run: StoredRun, kind: str, named: Sequence[str], known: Mapping[str, Entry]) -> str | None:
    """The class among those named that has the name of a run's; a file without one may be it."""
    written = run.facts[kind]["class"]
    if known_name(written, known):
        return None
    name = written.rpartition(".")[2]
    others = [text for text in named if ":" not in text]
    return next((text for text in named if text.endswith(f":{name}")), next(iter(others), None))
