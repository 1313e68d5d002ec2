"""What a report says of one run."""

import math
import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gradbook.display.words import CHART_AND_TABLE, counted, listed, seconds_text, time_text
from gradbook.errors import ConfigError, CorruptFileError
from gradbook.reports import texts
from gradbook.reports.blocks import Block, Figure, Pairs, Rows, Section, Text
from gradbook.reports.images import image_of
from gradbook.reports.inspected import inspected
from gradbook.runs.overview import overview
from gradbook.runs.restored import Restored
from gradbook.runs.stored import DamagedRun, StoredRun
from gradbook.untrusted import inside, read_file
from gradbook.verdicts import Verdict

#: Rebuilds what a run trained.
Rebuild = Callable[[StoredRun], Restored]

#: The files in which a learner may have written about a run, and how long they may be, in bytes.
NOTES_FILES = ("notes.md", "notes.txt")
_MAX_NOTES_BYTES = 100_000

#: What a post-mortem says first, and a finding of another kind does not.
_POST_MORTEM = "became NaN or infinite"


def section_of_run(run: StoredRun, title: str, rebuild: Rebuild | None) -> Section:
    """A run, from what came of it to what it was trained with.

    Args:
        run: The run.
        title: What it is called.
        rebuild: Gives its model and data to be looked at; None if they are not to be.
    """
    section = Section(title, [Text(_status(run))])
    view = overview(run)
    if view.verdict is None:  # the settings are worth having all the same
        section.blocks.append(Text(f"This run is damaged: {view.error}", "problem"))
    else:
        section.blocks += _judgment(run, view.verdict)
        section.parts.append(_results(run))
    notes = _notes(run)
    if notes is not None:
        section.parts.append(Section("Notes", [notes]))
    if view.verdict is not None and run.epochs:
        section.parts += _gradients(run)
        section.parts.append(inspected(run, rebuild))
    section.parts.append(Section("Configuration", configuration(run)))
    return section


def section_of_damage(run: DamagedRun, title: str) -> Section:
    """What is said of a run or a sweep that cannot be read."""
    return Section(title, [Text(f"This folder cannot be read: {run.reason}", "problem")])


def is_damaged(run: StoredRun) -> bool:
    """Whether the record of a run's values cannot be used."""
    try:
        run.check_results()
    except CorruptFileError:
        return True
    return False


def _status(run: StoredRun) -> str:
    model, data = run.facts["model"]["name"], run.facts["data"]["name"]
    parts = [f"{model} on {data}", run.status]
    with suppress(CorruptFileError):
        parts.append(f"{run.epochs} of {run.facts['max_epochs']} epochs")
    if run.seconds is not None:
        parts.append(f"{seconds_text(run.seconds)} seconds")
    if run.status == "running":
        parts.append("still being trained when this report was made")
    return ", ".join(parts)


def _judgment(run: StoredRun, verdict: Verdict) -> list[Block]:
    """The verdict, and what was noticed while it trained."""
    blocks: list[Block] = [Text(f"Verdict: {verdict.sentence}", "verdict")]
    if run.facts["error"]:
        blocks.append(Text(f"It ended in an error: {run.facts['error']}", "problem"))
    for finding in run.facts.get("findings", ()):
        name = "Post-mortem" if _POST_MORTEM in finding else "Noticed"
        blocks.append(Text(f"{name}: {finding}", "problem"))
    return blocks


# Results


def _results(run: StoredRun) -> Section:
    section = Section("Results")
    if run.final:
        rows = [
            [label, last, *_best(run, label)]
            for label, last in run.final.items()
            if label != "epoch"
        ]
        table = texts.columns(["measure", "last epoch", "best", "in epoch"], rows)
        section.blocks.append(Rows("The means of the last epoch, and of the best", table))
    tables = [epochs_table(run)] if len(run.history) else []
    if run.points:
        section.blocks.append(_curves(run, tables))
    elif tables:
        section.blocks += tables
    else:
        section.blocks.append(Text("Nothing was recorded: no epoch is finished."))
    return section


def _best(run: StoredRun, label: str) -> list[str]:
    best = run.best.get(label)
    return ["-", "-"] if best is None else [texts.value(best["value"]), str(best["epoch"])]


def epochs_table(run: StoredRun) -> Rows:
    """The means of each epoch."""
    labels = run.history.labels
    rows, more = texts.some_of(run.history.rows)
    table = texts.columns(
        ["epoch", *labels],
        [[str(row["epoch"]), *(row.get(label, "-") for label in labels)] for row in rows],
    )
    return Rows(f"The means of each epoch{more}", table, is_folded=True)


def _curves(run: StoredRun, tables: list[Rows]) -> Figure:
    """The points of the board, drawn as while it trained, and as a table."""
    from gradbook.board import ProgressBoard
    from gradbook.display.picture import Picture

    board = ProgressBoard(xlabel="epoch", yscale="auto", figsize=(6.4, 3.6), display=False)
    board.data.update({label: list(points) for label, points in run.points.items()})
    picture = Picture(board)
    picture.update()
    told = []
    for label, points in run.points.items():
        first, last = (texts.value(y) for y in (points.y[0], points.y[-1]))
        told.append(f"{label} from {first} to {last}")
    every = [
        (label, x, y)
        for label, points in run.points.items()
        for x, y in zip(points.x, points.y, strict=True)
    ]
    shown, more = texts.some_of(every)
    points_table = Rows(
        f"The points of the curves{more}",
        texts.columns(["curve", "epoch", "value"], shown),
        is_folded=True,
    )
    note = f" {CHART_AND_TABLE}" if tables else ""
    return Figure(
        image_of(picture.figure),
        f"Curves.{note}",
        f"Curves against the epoch: {listed(told)}.",
        [*tables, points_table],
    )


# What else a run has kept


def _notes(run: StoredRun) -> Text | None:
    """What a learner has written beside a run."""
    for name in NOTES_FILES:
        try:
            content = read_file(inside(run.folder, name), _MAX_NOTES_BYTES)
        except FileNotFoundError:
            continue
        except CorruptFileError as error:
            return Text(f"The notes cannot be shown: {error}", "problem")
        return Text(content.decode(errors="replace").strip(), "own")
    return None


def _gradients(run: StoredRun) -> list[Section]:
    """What was seen of the gradients, if they were watched."""
    try:
        if not os.path.lexists(inside(run.folder, "gradients.json")):
            return []
        from gradbook.watching.gradient_report import GradientReport

        seen = GradientReport.read(run.folder)
    except (CorruptFileError, ConfigError) as error:
        return [Section("Gradients", [Text(f"They cannot be shown: {error}", "problem")])]
    if not seen:
        return []
    findings = [symptom.text for symptom in seen.findings]
    blocks: list[Block] = [Text(text, "problem") for text in findings]
    if not findings:
        blocks.append(Text(f"Nothing is wrong with them in {counted(len(seen.epochs), 'epoch')}."))
    rows, more = texts.some_of(seen.rows)
    table = texts.columns(
        ["epoch", "layer", *_GRADIENT_COLUMNS.values()],
        [
            [str(row.epoch), row.title, *(_known(getattr(row, name)) for name in _GRADIENT_COLUMNS)]
            for row in rows
        ],
    )
    rows_block = Rows(f"What was seen of each layer{more}", table, is_folded=True)
    if seen.has_figure:
        caption = "Gradients, updates, activations and lost units against the layers."
        told = f"{caption} {' '.join(findings) or 'Nothing is wrong with them.'}"
        blocks.append(Figure(image_of(seen.figure()), caption, told, [rows_block]))
    else:
        blocks.append(rows_block)
    return [Section("Gradients", blocks)]


#: What a gradient report's rows have, and what a reader is told.
_GRADIENT_COLUMNS = {
    "grad_norm": "gradient norm",
    "weight_norm": "weight norm",
    "update_ratio": "update/weight",
    "activation_rms": "activation (RMS)",
    "dead": "dead",
    "saturated": "saturated",
}


def _known(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:.4g}"


# Configuration


def configuration(run: StoredRun) -> list[Block]:
    """What was trained, with what, on what machine, and how to repeat it."""
    facts = run.facts
    model, data, optimizer = facts["model"], facts["data"], facts["optimizer"]
    size = f", {model['num_parameters']:,} parameters" if model["num_parameters"] else ""
    counts = (("training", data["num_train"]), ("validation", data["num_val"]))
    about_data = [f"{data['name']} ({data['class']})"]
    about_data += [f"{n:,} {split} examples" for split, n in counts if n is not None]
    about_data += [f"from {data['source']}"] if data["source"] else []
    about_data += ["a sample only"] if data["is_sample"] else []
    rows = [
        ("model", f"{model['name']} ({model['class']}){size}"),
        ("its settings", texts.settings(model["hyperparameters"])),
        ("data", ", ".join(about_data)),
        ("their settings", texts.settings(data["hyperparameters"])),
        ("trainer", texts.settings(facts["trainer"]["hyperparameters"])),
    ]
    if optimizer is not None:
        told = ", ".join(filter(None, [optimizer["class"], texts.settings(optimizer["settings"])]))
        rows.append(("optimizer", told))
    best = run.best_checkpoint
    if best is not None:
        told = f"after epoch {best['epoch']}, by {best['label']} {texts.value(best['value'])}"
        rows.append(("best state", told))
    rows += [("seed", texts.setting(facts["seed"])), ("device", facts["device"] or "unknown")]
    if facts["git"] is not None:
        changed = ", with changes that were not committed" if facts["git"]["dirty"] else ""
        rows.append(("git", f"{facts['git']['commit']}{changed}"))
    rows += [
        ("versions", texts.settings(facts["versions"])),
        ("system", facts["platform"]),
        ("started", _started(facts)),
        ("to repeat it", _repeat(run)),
    ]
    return [Pairs([(name, told or "none") for name, told in rows])]


def _started(facts: dict[str, Any]) -> str:
    again = [
        f"again after epoch {session['first_epoch']} on {time_text(session['started'])}"
        for session in facts["sessions"][1:]
    ]
    return ", ".join([time_text(facts["started"]), *again])


def _repeat(run: StoredRun) -> str:
    """The command that repeats a run."""
    command = run.facts["command"]
    if command:
        return shlex.join(["gradbook", *command])
    return (
        "it was trained by a script or a notebook, which repeats it. With the run's folder, so "
        f"does: {shlex.join(['gradbook', 'rerun', run.name])}"
    )
