"""What differs between runs, what each reached, and their curves in one picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradbook.display.file import check_picture_names, save_figure
from gradbook.display.palette import COLORS, color_of
from gradbook.display.words import settings_text, value_text
from gradbook.errors import ConfigError
from gradbook.escape import printable
from gradbook.labels import higher_is_better
from gradbook.runs.format import SPLITS
from gradbook.runs.stored import StoredRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Settings by which a reader tells runs apart, the most telling first.
PROMINENT = ("lr", "num_hiddens", "batch_size", "seed")

#: More runs than there are colors get theirs from a color map.
_NUM_COLORS = len(COLORS)

#: Line style and width by split.
_STYLES: dict[str, tuple[Any, float]] = {"val": ("-", 1.6), "train": ((0, (4, 2)), 1.0)}

#: A panel whose values differ by more than this factor has a logarithmic scale.
_MANY_TIMES = 100

_NAMES = {"acc": "accuracy", "train": "training", "val": "validation"}


def hyperparameters_of(run: StoredRun) -> dict[str, Any]:
    """The hyperparameters of model, data and trainer, and the seed, by name.

    A name that an earlier one of them has too carries its owner's, as "data_batch_size".
    """
    found: dict[str, Any] = {}
    for owner in ("model", "data", "trainer"):
        for name, value in run.facts[owner]["hyperparameters"].items():
            found[f"{owner}_{name}" if name in found else name] = value
    found["seed"] = run.facts["seed"]
    return found


def settings_of(run: StoredRun) -> dict[str, Any]:
    """Everything that may make one run differ from another, by name."""
    facts = run.facts
    settings = {
        "model": facts["model"]["name"],
        "model_class": facts["model"]["class"],
        "data": facts["data"]["name"],
        "data_class": facts["data"]["class"],
        "trainer_class": facts["trainer"]["class"],
        **hyperparameters_of(run),
        "num_parameters": facts["model"]["num_parameters"],
        "num_train": facts["data"]["num_train"],
        "num_val": facts["data"]["num_val"],
        "is_sample": facts["data"]["is_sample"],
    }
    if facts["optimizer"] is not None:
        settings["optimizer"] = facts["optimizer"]["class"]
        for name, value in facts["optimizer"]["settings"].items():
            if settings.get(name) != value:  # most often it is the model's own lr
                settings[f"optimizer_{name}"] = value
    settings["device"] = facts["device"]
    settings["num_processes"] = facts.get("num_processes", 1)
    settings["platform"] = facts["platform"]
    settings |= {f"{name}_version": version for name, version in facts["versions"].items()}
    if facts["git"] is not None:
        settings["git_commit"] = facts["git"]["commit"]
        if facts["git"]["dirty"] is not None:
            settings["git_dirty"] = facts["git"]["dirty"]
    return settings


def summary_of(run: StoredRun) -> dict[str, Any]:
    """What a list says of a run."""
    facts = run.facts
    return {
        "name": run.name,
        "folder": str(run.folder),
        "status": run.status,
        "model": facts["model"]["name"],
        "data": facts["data"]["name"],
        "hyperparameters": hyperparameters_of(run),
        "epochs": run.epochs,
        "max_epochs": facts["max_epochs"],
        "seconds": run.seconds,
        "final": run.final,
        "best": run.best,
        "started": facts["started"],
        "ended": facts["ended"],
    }


def differing(settings: Sequence[dict[str, Any]]) -> list[str]:
    """The names whose values are not the same everywhere, the prominent ones first."""
    names = dict.fromkeys(chain.from_iterable(settings))
    differ = [
        name
        for name in names
        if any(name not in each or each[name] != settings[0].get(name) for each in settings)
    ]
    # Sorting keeps the order of those that are not prominent.
    return sorted(differ, key=lambda name: (*PROMINENT, name).index(name))


@dataclass(frozen=True)
class ComparedEpochs:
    """Whether a run repeats another one's epochs to the last bit.

    Attributes:
        first: The name of the one that was trained first.
        num_epochs: The epochs that both have.
        epoch: The first of them whose means differ, from 1; None if none does.
        values: What differs there, by label: the mean then, and now; None where there is none.
        others: What else differs between the two.
    """

    first: str
    num_epochs: int
    epoch: int | None
    values: Mapping[str, tuple[float | None, float | None]]
    others: Sequence[str]

    def __str__(self) -> str:
        if not self.num_epochs:
            return f"{self.first} has no epoch to compare with"
        if self.epoch is None:
            num = f"{self.num_epochs} epoch" + "s" * (self.num_epochs != 1)
            return f"equal to {self.first} to the last bit in {num}"
        told = ", ".join(_difference(label, *pair) for label, pair in self.values.items())
        why = f"; other things that differ: {', '.join(self.others)}" if self.others else ""
        return f"differs from {self.first} first in epoch {self.epoch}: {told}{why}"

    def facts(self) -> dict[str, Any]:
        """The same for JSON."""
        return {"with": self.first, "equal": self.num_epochs > 0 and self.epoch is None} | {
            name: getattr(self, name) for name in ("num_epochs", "epoch", "values", "others")
        }


def compared_epochs(first: StoredRun, again: StoredRun) -> ComparedEpochs:
    """Whether a run repeats another one's epochs.

    Raises:
        CorruptFileError: If the recorded values of one of them are damaged.
    """
    pairs = list(zip(first.history.rows, again.history.rows, strict=False))
    for number, (then, now) in enumerate(pairs, start=1):
        both = {label: (then.get(label), now.get(label)) for label in {**then, **now}}
        values = {label: pair for label, pair in both.items() if repr(pair[0]) != repr(pair[1])}
        if values:
            others = differing([settings_of(first), settings_of(again)])
            return ComparedEpochs(first.name, len(pairs), number, values, others)
    return ComparedEpochs(first.name, len(pairs), None, {}, ())


def _difference(label: str, then: float | None, now: float | None) -> str:
    if then is None or now is None:
        return f"{label} is only in one of them"
    return f"{label} by {now - then:.3g} ({now:.4g} instead of {then:.4g})"


def names_of(runs: Sequence[StoredRun]) -> list[str]:
    """A name for each run that no other one has: its folder's, or else its path."""
    names = [run.name for run in runs]
    return [run.name if names.count(run.name) == 1 else str(run.folder) for run in runs]


def overlay(runs: Sequence[StoredRun]) -> "Figure":
    """The epoch means of several runs in one figure: a color for each run.

    Losses have one panel and accuracies another. Training is dashed, validation is not. What
    cannot be drawn (NaN, infinity) is a gap.

    Args:
        runs: What to draw. A run without a finished epoch has only its name in the legend.

    Returns:
        A figure that pyplot does not know of.

    Raises:
        CorruptFileError: If the metrics.jsonl of one of them is damaged.
        ConfigError: If none of them has a finished epoch.
    """
    quantities = _quantities(runs)
    if not quantities:
        raise ConfigError(
            f"There is nothing to draw: no epoch is finished in {', '.join(names_of(runs))}."
        )
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    colors, texts = _colors(len(runs)), _legend_texts(runs)
    # The panels keep their size, however much room the legend needs.
    width = 3.2 * len(quantities) + 0.6 + 0.085 * max(map(len, texts))
    height = max(3, 0.21 * (len(runs) + len(_STYLES)) + 0.2)
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(1, len(quantities), squeeze=False)[0]
    for axes, quantity in zip(panels, quantities, strict=True):
        for run, color in zip(runs, colors, strict=True):
            _draw(axes, run, quantity, color)
        _dress(axes, quantity)
    handles = [Line2D([], [], color=color) for color in colors]
    for split, (style, width) in _STYLES.items():
        handles.append(Line2D([], [], color="0.35", linestyle=style, linewidth=width))
        texts.append(_NAMES[split])
    legend = figure.legend(handles, texts, loc="outside right upper", frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name may hold a $
    return figure


def save_overlay(runs: Sequence[StoredRun], paths: Sequence[Path]) -> None:
    """Saves `overlay(runs)`, which says what it raises, in files that end in .svg or .png."""
    check_picture_names(paths)
    save_figure(overlay(runs), paths)


def _quantities(runs: Sequence[StoredRun]) -> list[str]:
    """What is measured, such as "loss" and "acc", in whichever split; these two come first."""
    labels = [label for run in runs for label in run.history.labels if label.startswith(SPLITS)]
    found = dict.fromkeys(label.partition("_")[2] for label in labels)
    return sorted(found, key=lambda name: ("loss", "acc", name).index(name))


def _draw(axes: "Axes", run: StoredRun, quantity: str, color: Any) -> None:
    import numpy as np

    epochs = [row["epoch"] for row in run.history]
    for label in run.history.labels:
        split, _, name = label.partition("_")
        if name != quantity or split not in _STYLES:
            continue
        style, width = _STYLES[split]
        y = np.array(run.history[label], float)
        y[~np.isfinite(y)] = np.nan
        # Alone, a point makes no line.
        marker = "o" if np.isfinite(y).sum() == 1 else ""
        axes.plot(epochs, y, color=color, ls=style, lw=width, marker=marker, markersize=4)


def _dress(axes: "Axes", quantity: str) -> None:
    """Names and scales the axes, and leaves of them what a reader needs."""
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    from gradbook.display.ticks import plain_ticks

    y = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    y = y[np.isfinite(y)]
    # A run that diverged, or one that reached far less than the others, would flatten them.
    spread = y.max() / y.min() if len(y) and y.min() > 0 else 1
    if not higher_is_better(quantity) and spread > _MANY_TIMES:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain_ticks(axes)
    axes.set_xlabel("epoch")
    axes.set_ylabel(printable(_NAMES.get(quantity, quantity)), parse_math=False)
    axes.grid(True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend_texts(runs: Sequence[StoredRun]) -> list[str]:
    """The runs' names, each with up to two hyperparameters that tell them apart."""
    settings = [hyperparameters_of(run) for run in runs]
    differ = differing(settings)
    # A seed that was drawn always differs, and says nothing where something else does.
    telling = [name for name in differ if name != "seed"][:2] or differ
    texts, paths = [], [run.folder.absolute().parts for run in runs]
    # There is room only for what tells the paths apart.
    shared = list(takewhile(lambda at: len(set(at)) == 1, zip(*paths, strict=False)))
    for run, name, path, setting in zip(runs, names_of(runs), paths, settings, strict=True):
        if name != run.name:
            name = "/".join(path[len(shared) :])
        told = settings_text({key: setting[key] for key in telling if key in setting})
        texts.append(printable(f"{value_text(name)} ({told})" if told else value_text(name)))
    return texts


def _colors(count: int) -> list[Any]:
    if count <= _NUM_COLORS:
        return [color_of(f"C{index}") for index in range(count)]
    import matplotlib as mpl

    colors = mpl.colormaps["turbo"]
    return [colors(0.05 + 0.9 * index / (count - 1)) for index in range(count)]
