"""What a report says of several runs together: what differs, what each reached, what that shows."""

import re
import statistics
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from gradbook.display.words import listed, seconds_text
from gradbook.labels import headline, higher_is_better
from gradbook.reports import texts
from gradbook.reports.blocks import Block, Figure, Rows, Section, Text
from gradbook.reports.images import image_of
from gradbook.runs.comparison import differing, overlay, settings_of
from gradbook.runs.format import SPLITS
from gradbook.runs.stored import StoredRun
from gradbook.table import Table
from gradbook.verdicts import compare_settings, verdict

#: What may differ without making another setting: where and with what it ran, and the seed.
_SURROUNDINGS = ("seed", "device", "platform", "git_commit", "git_dirty")

#: What says which examples a run was validated on.
_VALIDATION = ("data", "data_class", "num_val", "is_sample")

#: A setting: its name, and its runs.
_Group = tuple[str, list[StoredRun]]


def section_of_comparison(runs: Sequence[StoredRun], names: Sequence[str]) -> Section:
    """Several runs, none of them damaged, side by side; `names` are what they are called."""
    settings = [settings_of(run) for run in runs]
    differ = differing(settings)
    blocks: list[Block] = [_differences(names, settings, differ), _results(names, runs)]
    if any(len(run.history) for run in runs):
        blocks.append(_overlay(runs, names))
    section = Section("Comparison", blocks)
    section.parts.append(Section("What it shows", conclusions(runs, settings, differ)))
    return section


def _differences(
    names: Sequence[str], settings: Sequence[Mapping[str, Any]], differ: Sequence[str]
) -> Block:
    if not differ:
        return Text("Nothing differs in model, data, hyperparameters, seed and versions.")
    rows = [
        [name, *(texts.setting(each[name]) if name in each else "-" for each in settings)]
        for name in differ
    ]
    return Rows("What differs", Table(["setting", *names], rows))


def _results(names: Sequence[str], runs: Sequence[StoredRun]) -> Rows:
    labels = dict.fromkeys(chain.from_iterable(run.final for run in runs))
    labels = {label: None for label in labels if label.startswith(SPLITS)}
    heading = ["run", "status", "epochs", "seconds", "verdict"]
    rows = [
        [
            name,
            run.status,
            f"{run.epochs}/{run.facts['max_epochs']}",
            seconds_text(run.seconds),
            verdict(run).label,
        ]
        for name, run in zip(names, runs, strict=True)
    ]
    for label in labels:
        heading.append(f"last {label}")
        for row, run in zip(rows, runs, strict=True):
            row.append(texts.value(run.final[label]) if label in run.final else "-")
        if not label.startswith("val_"):
            continue
        heading.append(f"best {label} (epoch)")
        for row, run in zip(rows, runs, strict=True):
            best = run.best.get(label)
            row.append(f"{texts.value(best['value'])} ({best['epoch']})" if best else "-")
    return Rows("What each reached", Table(heading, rows))


def _overlay(runs: Sequence[StoredRun], names: Sequence[str]) -> Figure:
    """All curves in one figure; the sections of the runs have their tables."""
    label = headline(chain.from_iterable(run.final for run in runs))
    told = [
        f"{name} ends with {label} {texts.value(run.final[label])}"
        for name, run in zip(names, runs, strict=True)
        if label is not None and label in run.final
    ]
    caption = "The means of each epoch, a color for each run; those of training are dashed."
    alternative = f"{caption} {listed(told)}.".replace(" .", "")
    figure = Figure(image_of(overlay(runs)), caption, alternative)
    if label is None:
        return figure
    num_epochs = max(len(run.history) for run in runs)
    curves = [{row["epoch"]: row[label] for row in run.history if label in row} for run in runs]
    shown, more = texts.some_of(range(1, num_epochs + 1))
    rows = [[str(n), *(curve.get(n, "-") for curve in curves)] for n in shown]
    table = texts.columns(["epoch", *names], rows)
    return Figure(
        figure.image,
        caption,
        alternative,
        [Rows(f"{label} in each epoch{more}", table, is_folded=True)],
    )


# Conclusions


def conclusions(
    runs: Sequence[StoredRun], settings: Sequence[Mapping[str, Any]], differ: Sequence[str]
) -> list[Block]:
    """What the runs allow to say, and what they do not."""
    blocks: list[Block] = []
    unfinished = [run.name for run in runs if run.status not in ("finished", "diverged")]
    if unfinished:
        are = "is" if len(unfinished) == 1 else "are"
        blocks.append(Text(f"{listed(unfinished)} {are} not finished, which favors the others."))
    if any(name in _VALIDATION for name in differ):
        told = "They were validated on different data, so that their values cannot be compared."
        return [*blocks, Text(told)]
    label = _common_label(runs)
    if label is None:
        return [*blocks, Text("They have recorded no measure in common to be compared by.")]
    telling = [name for name in differ if not _is_surrounding(name)]
    groups = _groups(runs, settings, telling)
    if len(groups) == 1:
        return [*blocks, *_of_seeds(runs, differ, label)]
    return [*blocks, *_of_groups(groups, label)]


def _is_surrounding(name: str) -> bool:
    return name in _SURROUNDINGS or name.endswith("_version")


def _common_label(runs: Sequence[StoredRun]) -> str | None:
    """The headline of the labels that all of them have, if its name tells what is better."""
    common = [label for label in runs[0].final if all(label in run.final for run in runs)]
    label = headline(common)
    return None if label is None or higher_is_better(label) is None else label


def _groups(
    runs: Sequence[StoredRun], settings: Sequence[Mapping[str, Any]], telling: Sequence[str]
) -> list[_Group]:
    """The runs by their settings, the seed and where they ran apart."""
    found: list[tuple[dict[str, Any], list[StoredRun]]] = []
    for run, each in zip(runs, settings, strict=True):
        own = {name: each[name] for name in telling if name in each}
        known = next((group for values, group in found if values == own), None)
        if known is None:
            found.append((own, [run]))
        else:
            known.append(run)
    # What follows from another setting, as the number of parameters does, need not be said.
    shown = [name for name in telling if not name.startswith(("num_parameters", "optimizer_"))]
    shown = (shown or list(telling))[:3]
    return [
        (texts.settings({n: values[n] for n in shown if n in values}) or group[0].name, group)
        for values, group in found
    ]


def _of_seeds(runs: Sequence[StoredRun], differ: Sequence[str], label: str) -> list[Block]:
    """One setting, trained several times."""
    if "seed" not in differ:
        return [Text("They were trained with the same settings and the same seed.")]
    finals = [y for run in runs if (y := run.final[label]) is not None]
    if len(finals) < 2:
        return []
    mean, spread = statistics.fmean(finals), statistics.stdev(finals)
    return [
        Text(
            f"They are one setting with {len(runs)} seeds: {label} is {mean:.4g} ± {spread:.1g} at "
            f"the end (mean and standard deviation). A difference between two settings that is "
            f"not larger than that may be the seed's."
        )
    ]


def _of_groups(groups: Sequence[_Group], label: str) -> list[Block]:
    """Several settings: the best one against each of the others."""
    rises = bool(higher_is_better(label))
    able = [(name, group) for name, group in groups if _mean(group, label) is not None]
    lost = [name for name, group in groups if _mean(group, label) is None]
    blocks: list[Block] = []
    if lost:
        blocks.append(Text(f"Of {listed(lost)} a training ended with no finite {label}."))
    if len(able) < 2:
        return [*blocks, *(Text(f"That leaves {name} alone.") for name, _ in able)]
    able.sort(key=lambda pair: _mean(pair[1], label) or 0.0, reverse=rises)
    best_name, best = able[0]
    if all(len(group) == 1 for _, group in able):
        reached = ", ".join(f"{name}: {_mean(group, label):.4g}" for name, group in able)
        blocks.append(
            Text(
                f"By {label} at the end, the best first: {reached}. Each setting has one seed, and "
                f"with another seed the order may be different: train each with several."
            )
        )
        return blocks
    for name, group in able[1:]:
        found = compare_settings(
            best, group, label, paired=_paired(best, group), names=(best_name, name)
        )
        reason = found.reason
        blocks.append(Text(re.sub("^cannot", "Cannot", reason)))
    return blocks


def _paired(a: Sequence[StoredRun], b: Sequence[StoredRun]) -> bool:
    """Whether two settings were trained with the same seeds, in the same order."""
    seeds = [run.facts["seed"] for run in a]
    return len(a) > 1 and None not in seeds and seeds == [run.facts["seed"] for run in b]


def _mean(group: Sequence[StoredRun], label: str) -> float | None:
    """The mean of the last values; None if one is not finite."""
    finals = [run.final[label] for run in group]
    known = [y for y in finals if y is not None]
    return statistics.fmean(known) if len(known) == len(finals) else None
