"""`gradbook show`: one run, from its settings to its files."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from gradbook.cli.options import Parser, add_runs_option, add_yscale_option, show
from gradbook.cli.outcome import Outcome, UsageError
from gradbook.cli.restored import run_command
from gradbook.cli.texts import rounded, sweep_lines, table
from gradbook.display.words import CHART_AND_TABLE, bytes_text, seconds_text, time_text
from gradbook.errors import CorruptFileError
from gradbook.runs.format import CHECKPOINT_FILES, CURVE_FILES
from gradbook.runs.overview import overview
from gradbook.runs.stored import StoredRun, load
from gradbook.sweeps.format import SWEEP_FILE
from gradbook.untrusted import inside
from gradbook.wrapping import USUAL_WIDTH, broken_at_words, columns, wrapped

#: Of more epochs than this, only the first and the last are listed.
_MANY_EPOCHS = 14
_NUM_FIRST, _NUM_LAST = 5, 6

#: The width of the names.
_MARGIN = 11

#: The rows that are sentences.
_PROSE = ("verdict", "noticed")

#: The largest chart, in characters.
_MAX_WIDTH, _MAX_HEIGHT = 100, 18


def run(arguments: list[str]) -> Outcome:
    """Shows the run that `arguments` name."""
    parser = Parser("show", "One run: its settings, curve, figures and files. Or one sweep.")
    parser.add_argument("run", metavar="RUN", nargs="?", help="a run's name, or its folder")
    add_runs_option(parser)
    add_yscale_option(parser)
    asked = parser.read_all(arguments)
    if asked.run is None:
        raise UsageError("Name a run, such as mlp-1. `gradbook runs` lists them.")
    folders = (Path(asked.runs, asked.run), Path(asked.run))
    if any((folder / SWEEP_FILE).is_file() for folder in folders):
        return _sweep(asked.run, asked.runs)
    stored = load(asked.run, asked.runs)
    told = overview(stored)
    facts, judged, error = told.facts, told.verdict, told.error
    sizes = facts["files"]
    lines = [f"{stored.name}: {_status(stored, facts.get('epochs'))}", ""]
    diverged, judgment = stored.facts["diverged"], []
    if judged is not None:  # what was noticed tells what became NaN
        judgment = [("verdict", [judged.label if told.is_told else judged.sentence])]
    elif diverged:
        judgment = [("diverged", [diverged])]
    lines += [*_texts([*judgment, *_settings(stored)]), ""]
    if error is None:
        lines += [*_results(stored, asked.yscale), ""]
    lines += _texts([("files", [f"{name} {bytes_text(sizes[name])}" for name in sorted(sizes)])])
    return Outcome(facts, "\n".join(lines), error=error or _unusable(stored))


def _sweep(name: str, runs: str) -> Outcome:
    """What a sweep has found, drawn once more."""
    from gradbook.sweeps.results import load as load_sweep

    found = load_sweep(name, runs)
    lines = [f"{found.name}: a sweep of {len(found.members)} runs", "", *sweep_lines(found)]
    return Outcome(found.summary(), "\n".join(lines))


def _settings(stored: StoredRun) -> list[tuple[str, list[str]]]:
    """The rows above the chart: names, and what goes with them."""
    facts = stored.facts
    model, data, optimizer = facts["model"], facts["data"], facts["optimizer"]
    rows: list[tuple[str, list[str]]] = []
    if facts["error"]:
        rows.append(("error", [facts["error"]]))
    rows += [("noticed", [finding]) for finding in facts.get("findings", ())]
    if stored.status in ("killed", "interrupted", "failed"):
        rows.append(("resume", [_advice(stored)]))
    best = stored.best_checkpoint
    if best is not None:
        told = f"of epoch {best['epoch']}, by {best['label']} {rounded(best, 'value')}"
        rows.append(("best.pt", [told]))
    if facts["command"]:
        rows.append(("repeat", [shlex.join(["gradbook", *facts["command"]])]))
    size = f", {model['num_parameters']:,} parameters" if model["num_parameters"] else ""
    counts = (("training", data["num_train"]), ("validation", data["num_val"]))
    source = [f"from {data['source']}"] if data["source"] else []
    rows += [
        ("model", [f"{model['name']} ({model['class']}){size}"]),
        ("", _pairs(model["hyperparameters"])),
        (
            "data",
            [f"{data['name']} ({data['class']})"]
            + [f"{count:,} {split} examples" for split, count in counts if count is not None]
            + source
            + ["a sample only"] * data["is_sample"],
        ),
        ("", _pairs(data["hyperparameters"])),
        ("trainer", _pairs(facts["trainer"]["hyperparameters"])),
    ]
    if optimizer is not None:
        rows.append(("optimizer", [optimizer["class"], *_pairs(optimizer["settings"])]))
    count = facts.get("num_processes", 1)
    together = [f"{count} processes when it began"] * (count > 1)
    rows += [
        ("seed", [show(facts["seed"])]),
        ("device", [facts["device"] or "unknown", *together]),
    ]
    if facts["git"] is not None:
        changed = ["with changes that were not committed"] * bool(facts["git"]["dirty"])
        rows.append(("git", [facts["git"]["commit"], *changed]))
    again = [
        f"again after epoch {session['first_epoch']} on {time_text(session['started'])}"
        for session in facts["sessions"][1:]
    ]
    rows += [
        ("versions", _pairs(facts["versions"])),
        ("system", [facts["platform"]]),
        ("started", [time_text(facts["started"]), *again]),
    ]
    return rows


def _status(stored: StoredRun, epochs: int | None) -> str:
    parts = [stored.status]
    if epochs is not None:
        parts.append(f"{epochs} of {stored.facts['max_epochs']} epochs")
    if stored.seconds is not None:
        parts.append(f"{seconds_text(stored.seconds)} seconds")
    return ", ".join(parts)


def _advice(stored: StoredRun) -> str:
    if os.path.isfile(stored.folder / CHECKPOINT_FILES["last"]):
        return run_command("resume", stored)
    return "not possible: it was stopped before it had kept a checkpoint"


def _results(stored: StoredRun, yscale: str) -> list[str]:
    """The chart, the table of epochs, and the best."""
    lines = []
    if stored.points:
        from gradbook.display import chart
        from gradbook.display.curves import Curve, vertical_scale

        curves = [Curve.of(label, points.x, points.y) for label, points in stored.points.items()]
        width, height = shutil.get_terminal_size()
        drawn = chart.render(
            curves,
            min(width - 1, _MAX_WIDTH),
            min(height - 2, _MAX_HEIGHT),
            xlabel="epoch",
            yscale=vertical_scale(yscale, curves),
            unicode="utf" in (getattr(sys.stdout, "encoding", None) or "").lower(),
        )
        lines += [*chart.plain(drawn).splitlines(), ""]
        if stored.history.rows:
            lines += [CHART_AND_TABLE, ""]
    rows = stored.history.rows
    num_hidden = len(rows) - _NUM_FIRST - _NUM_LAST if len(rows) > _MANY_EPOCHS else 0
    listed = [*rows[:_NUM_FIRST], *rows[-_NUM_LAST:]] if num_hidden else rows
    epochs = repr(stored.history.table(listed) if rows else stored.history).splitlines()
    if num_hidden:
        epochs.insert(1 + _NUM_FIRST, f"{'...':>5}  {num_hidden} more epochs")
    lines += epochs
    if stored.best:
        bests = stored.best.values()
        values = [rounded(best, "value") for best in bests]
        epochs = [str(best["epoch"]) for best in bests]
        lines += ["", *table({"": list(stored.best), "best": values, "epoch": epochs})]
    return lines


def _unusable(stored: StoredRun) -> CorruptFileError | None:
    """The error for a picture or checkpoint that is there and cannot be one."""
    for name in (*CURVE_FILES, *CHECKPOINT_FILES.values()):
        try:
            path = inside(stored.folder, name)
        except CorruptFileError as error:
            return error
        if not os.path.lexists(path):
            continue
        if not os.path.isfile(path):
            reason = "is not a file"
        elif path.stat().st_size == 0:
            reason = "is empty"
        elif not os.access(path, os.R_OK):
            reason = "cannot be read"
        else:
            continue
        return CorruptFileError(
            f"{path} {reason}. The figures above do not depend on it; put a copy in its place, "
            f"or do without it."
        )
    return None


def _pairs(settings: dict[str, Any]) -> list[str]:
    return [f"{name} {show(value)}" for name, value in settings.items()]


def _texts(rows: list[tuple[str, list[str]]]) -> list[str]:
    """Rows with aligned names; those of several parts are broken where the terminal ends."""
    width = max(columns() or USUAL_WIDTH, 40)
    lines = []
    for name, parts in rows:
        text = ", ".join(parts)
        if text.startswith("gradbook "):
            lines.append(wrapped(f"{name:<{_MARGIN}}{text}", width))
            continue
        is_whole = len(parts) == 1 and name not in _PROSE
        broken = text.splitlines() if is_whole else broken_at_words(text, width - _MARGIN)
        for index, line in enumerate(broken):
            lines.append(f"{'' if index else name:<{_MARGIN}}{line}")
    return lines
