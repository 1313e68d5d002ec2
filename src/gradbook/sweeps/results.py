"""What a sweep has found: a table, curves with their spread over seeds, and the usable range."""

import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradbook.display.escape import printable
from gradbook.display.finding import Finding
from gradbook.display.table import Table
from gradbook.errors import ConfigError, CorruptFileError, GradbookError, MissingExtraError
from gradbook.record import headline, higher_is_better
from gradbook.runs.stored import StoredRun
from gradbook.storage import inside, write_atomically
from gradbook.verdicts import SettingsComparison, Verdict, compare_settings, verdict

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMAT, VERSION = "gradbook sweep", 1
SWEEP_FILE = "sweep.json"
PICTURE_FILES = ("sweep.svg", "sweep.png")

#: A setting is usable if its loss ends within this part of the way from the best to the start.
USABLE_PART = 0.25

#: Curves are drawn up to so many times the loss with which training began.
_CEILING = 10

_MOST_IN_LEGEND = 14
_STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class MemberResult:
    """One training of a sweep.

    Attributes:
        values: What it was given, by name, its seed included.
        run: Its run, or None if there is none to read.
        error: What ended it, in words, or None.
        alone: Why it was not trained in a stack with others, or None.
        is_pruned: Whether a search ended it early, because others did better.
    """

    values: dict[str, Any]
    run: StoredRun | None
    error: str | None
    alone: str | None
    is_pruned: bool = False

    @cached_property
    def verdict(self) -> Verdict | None:
        """The judgement on its curve; None if there is no curve."""
        try:
            return None if self.run is None else verdict(self.run)
        except GradbookError:  # the record of its values is damaged
            return None

    def final(self, label: str) -> float:
        """The last epoch's mean of `label`, NaN if there is none."""
        value = None if self.run is None else self.run.final.get(label)
        return math.nan if value is None else value

    def best(self, label: str) -> float:
        """The best epoch's mean of `label`, NaN if there is none."""
        best = None if self.run is None else self.run.best.get(label)
        return math.nan if best is None else float(best["value"])

    def curve(self, label: str) -> list[float]:
        """The mean of each epoch, empty if it was not recorded."""
        try:
            history = None if self.run is None else self.run.history
            return [] if history is None or label not in history.labels else history[label]
        except GradbookError:
            return []


@dataclass(frozen=True)
class SettingResult:
    """What one setting reached, over its seeds.

    Attributes:
        values: The setting, by name, without the seed.
        members: Its trainings, one for each seed.
    """

    values: dict[str, Any]
    members: list[MemberResult]

    @property
    def name(self) -> str:
        """The setting in words, such as "lr 0.1"."""
        told = ", ".join(f"{name} {_short(value)}" for name, value in self.values.items())
        return printable(told or "as it is")

    @property
    def is_pruned(self) -> bool:
        """Whether a search ended it early."""
        return any(member.is_pruned for member in self.members)

    def finals(self, label: str) -> list[float]:
        """The last epoch's mean for each seed; NaN where there is none."""
        return [member.final(label) for member in self.members]

    def bests(self, label: str) -> list[float]:
        """The best epoch's mean for each seed; NaN where there is none."""
        return [member.best(label) for member in self.members]

    def epochs_to(self, level: float, label: str) -> float | None:
        """After how many epochs `label` reached a level, as the seeds' mean; None if it did not."""
        sign = 1 if higher_is_better(label) else -1
        needed = []
        for member in self.members:
            reached = [y for y in member.curve(label) if sign * y >= sign * level]
            if not reached:
                return None
            needed.append(member.curve(label).index(reached[0]) + 1)
        return statistics.fmean(needed) if needed else None

    @property
    def verdict(self) -> str:
        """The judgements on its curves, with how many each where they differ."""
        labels = [_told(member) for member in self.members]
        counts = Counter(labels)
        if len(counts) == 1:
            return labels[0]
        return ", ".join(f"{label} ({count})" for label, count in counts.most_common())

    @property
    def seconds(self) -> float:
        """The mean duration of its trainings; in a stack, of the whole stack."""
        known = [m.run.seconds for m in self.members if m.run is not None]
        return statistics.fmean([s for s in known if s is not None] or [math.nan])


class Sweep(Finding):
    """A sweep as its folder holds it. Load it again to see how one that runs has gone on.

    Args:
        folder: The sweep's folder.

    Attributes:
        folder: The same.
        facts: What sweep.json says.
        swept: The names of what was varied, without the seed.

    Raises:
        ConfigError: If there is no sweep in the folder.
        CorruptFileError: If sweep.json is damaged.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.facts = read_sweep(self.folder)
        self.swept = [name for name in self.facts["swept"] if name != "seed"]

    @property
    def is_search(self) -> bool:
        """Whether each setting was chosen by what earlier ones reached."""
        return self.facts.get("search") is not None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def pictures(self) -> list[Path]:
        """The files of its figure, those that there are."""
        return [path for name in PICTURE_FILES if (path := self.folder / name).is_file()]

    @cached_property
    def members(self) -> list[MemberResult]:
        """The trainings, those included that have left no run."""
        found = []
        for facts in self.facts["members"]:
            run, error = None, facts["error"]
            try:
                run = StoredRun(inside(self.folder, facts["folder"]))
            except ConfigError:  # not begun, or it could not be
                pass
            except CorruptFileError as damage:
                error = error or str(damage)
            is_pruned = facts.get("pruned") is True
            found.append(MemberResult(facts["values"], run, error, facts["alone"], is_pruned))
        return found

    @property
    def runs(self) -> list[StoredRun]:
        """The runs of all members that have one, in the order of the members."""
        return [member.run for member in self.members if member.run is not None]

    @cached_property
    def settings(self) -> list[SettingResult]:
        """The settings, each with the trainings of its seeds."""
        found: list[SettingResult] = []
        for member in self.members:
            values = {name: value for name, value in member.values.items() if name != "seed"}
            for setting in found:
                if setting.values == values:
                    setting.members.append(member)
                    break
            else:
                found.append(SettingResult(values, [member]))
        return found

    @cached_property
    def label(self) -> str | None:
        """The label by which settings are judged, such as "val_acc"; None before the first."""
        return headline(label for run in self.runs for label in run.final)

    @cached_property
    def loss_label(self) -> str | None:
        """The loss that is drawn against the swept values."""
        labels = {label for run in self.runs for label in run.final}
        return next((label for label in ("val_loss", "train_loss") if label in labels), self.label)

    @property
    def best(self) -> SettingResult | None:
        """The setting with the best mean at the end; one in which a seed failed is none.

        Nor is one that a search has pruned.
        """
        label = self.label
        if label is None:
            return None
        able = [s for s in self.settings if all(map(math.isfinite, s.finals(label)))]
        able = [s for s in able if not s.is_pruned]
        pick = max if higher_is_better(label) else min
        return pick(able, key=lambda s: statistics.fmean(s.finals(label)), default=None)

    def compare(self, a: int, b: int, label: str | None = None) -> SettingsComparison:
        """Whether two settings differ by more than their seeds do.

        Args:
            a: The place of one in `settings`.
            b: The place of the other.
            label: What is compared; None takes `label` of the sweep.
        """
        one, other = self.settings[a], self.settings[b]
        label = label or self.label
        if label is None:
            raise ConfigError("There is nothing to compare: no run has finished an epoch.")
        paired = [m.values.get("seed") for m in one.members] == [
            m.values.get("seed") for m in other.members
        ]
        return compare_settings(
            one.finals(label),
            other.finals(label),
            label,
            paired=paired and len(one.members) > 1,
            names=(one.name, other.name),
        )

    # Usable range

    @property
    def usable_loss(self) -> float | None:
        """The largest final loss that counts as usable.

        It lies a quarter (`USABLE_PART`) of the way from the best final loss back to the loss with
        which training began, in its first recorded point.
        """
        label = self.loss_label
        if label is None or higher_is_better(label):
            return None
        finals = [statistics.fmean(setting.finals(label)) for setting in self.settings]
        finals = [final for final in finals if math.isfinite(final)]
        start = self.start
        if start is None or not finals:
            return None
        best = min(finals)
        return best + USABLE_PART * (start - best) if start > best else None

    @cached_property
    def start(self) -> float | None:
        """The loss with which training began: the median over the runs of their first point."""
        starts = [start for run in self.runs if (start := _start(run)) is not None]
        return statistics.median(starts) if starts else None

    def is_usable(self, setting: SettingResult) -> bool:
        """Whether a setting's mean final loss is at most `usable_loss`, and no seed diverged."""
        limit, label = self.usable_loss, self.loss_label
        if limit is None or label is None:
            return False
        return all(map(math.isfinite, setting.finals(label))) and (
            statistics.fmean(setting.finals(label)) <= limit
        )

    @property
    def axis(self) -> str | None:
        """The swept number that the final loss is drawn against: the learning rate if it is one."""
        numeric = [
            name
            for name in self.swept
            if all(_is_number(setting.values[name]) for setting in self.settings)
        ]
        return "lr" if "lr" in numeric else next(iter(numeric), None)

    def usable_range(self) -> tuple[float, float] | None:
        """The lowest and highest usable value of `axis` around the best; None if there is none."""
        axis, label = self.axis, self.loss_label
        if axis is None or label is None:
            return None
        usable: dict[float, bool] = {}
        finals: dict[float, float] = {}
        for setting in self.settings:
            value = setting.values[axis]
            usable[value] = usable.get(value, False) or self.is_usable(setting)
            if self.is_usable(setting):
                final = statistics.fmean(setting.finals(label))
                finals[value] = min(final, finals.get(value, math.inf))
        if not finals:
            return None
        values = sorted(usable)
        first = last = values.index(min(finals, key=lambda value: finals[value]))
        while first > 0 and usable[values[first - 1]]:
            first -= 1
        while last < len(values) - 1 and usable[values[last + 1]]:
            last += 1
        return values[first], values[last]

    # Tables

    def level(self) -> float | None:
        """The level for "epochs to": what sweep.json names, or the median of the settings' best."""
        given = self.facts["level"]
        if given is not None or self.label is None:
            return None if given is None else float(given)
        label = self.label
        bests = [statistics.fmean(setting.bests(label)) for setting in self.settings]
        bests = [best for best in bests if math.isfinite(best)]
        return statistics.median(bests) if bests else None

    def table(self) -> Table:
        """A row for each setting: what it reached, how soon, in what time, and the verdict."""
        label, level = self.label, self.level()
        heading = [*(self.swept or ["setting"])]
        if label is not None:
            heading += [f"best {label}", f"last {label}"]
            if level is not None:
                heading.append(f"epochs to {level:.4g}")
        heading += ["seconds", "verdict"]
        rows = []
        for setting in self.settings:
            row = [printable(_short(setting.values[name])) for name in self.swept] or ["as it is"]
            if label is not None:
                row += [_with_spread(setting.bests(label)), _with_spread(setting.finals(label))]
                if level is not None:
                    epochs = setting.epochs_to(level, label)
                    row.append("-" if epochs is None else f"{epochs:.3g}")
            seconds = setting.seconds
            row.append(f"{seconds:.3g}" if math.isfinite(seconds) else "-")
            rows.append([*row, setting.verdict])
        return Table(heading, rows)

    def to_pandas(self) -> "pandas.DataFrame":
        """A row for each training: its values, status, last and best means, seconds, verdict.

        Raises:
            MissingExtraError: If pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise MissingExtraError.of("pandas", "A table as a DataFrame", "tabular") from None
        return pd.DataFrame([self._row(member) for member in self.members])

    def _row(self, member: MemberResult) -> dict[str, Any]:
        run = member.run
        row = {**member.values, "run": None if run is None else str(run.folder)}
        row["status"] = "failed" if run is None else run.status
        if run is not None:
            row |= {label: member.final(label) for label in run.final}
            row |= {f"best_{label}": best["value"] for label, best in run.best.items()}
            row |= {"epochs": run.epochs, "seconds": run.seconds}
        if self.is_search:
            row["pruned"] = member.is_pruned
        row["verdict"] = None if member.verdict is None else member.verdict.label
        return row

    def summary(self) -> dict[str, Any]:
        """All of it as JSON values."""
        usable = self.usable_range()
        best = self.best
        return {
            "name": self.name,
            "folder": str(self.folder),
            "swept": self.swept,
            "label": self.label,
            "members": [
                {
                    **self._row(member),
                    "error": member.error,
                    "alone": member.alone,
                    "reason": None if member.verdict is None else member.verdict.reason,
                }
                for member in self.members
            ],
            "best": None if best is None else best.values,
            "usable_range": None if usable is None else {self.axis or "": list(usable)},
        }

    def __str__(self) -> str:
        lines = [repr(self.table()), ""]
        lines += self.findings()
        return "\n".join(lines).rstrip()

    def findings(self) -> list[str]:
        """What follows from the table, in sentences."""
        lines = []
        best, label = self.best, self.label
        if best is not None and label is not None:
            lines.append(
                f"Best: {best.name}, with {label} {_with_spread(best.finals(label))} at the end."
            )
            rival = self._rival(best, label)
            if rival is not None:
                a, b = self.settings.index(best), self.settings.index(rival)
                lines.append(str(self.compare(a, b)))
        num_repeated = self.facts.get("study", {}).get("num_repeated", 0)
        if num_repeated:
            lines.append(f"Repeated: {num_repeated} trials chose what had been tried before.")
        num_pruned = sum(setting.is_pruned for setting in self.settings)
        if num_pruned:
            lines.append(
                f"Pruned: {num_pruned} of {len(self.settings)} settings ended early, because "
                f"others did better."
            )
        usable, axis = self.usable_range(), self.axis
        if usable and axis and len({setting.values[axis] for setting in self.settings}) > 1:
            low, high = usable
            span = f"{axis} from {low:g} to {high:g}" if low < high else f"{axis} {low:g}"
            lines.append(f"Usable: {span}; {self._ends(axis, low, high)}.")
        failed = [member for member in self.members if member.error]
        lines += [f"Failed: {_named(member.values)}: {member.error}" for member in failed]
        reasons = Counter(member.alone for member in self.members if member.alone)
        lines += [f"Trained alone ({n}), because {reason}." for reason, n in reasons.items()]
        return [printable(line) for line in lines]

    def _rival(self, best: SettingResult, label: str) -> SettingResult | None:
        """The second best setting, if there are seeds to compare the two by."""
        if len(best.members) < 2:
            return None
        sign = 1 if higher_is_better(label) else -1
        others = [s for s in self.settings if s is not best and len(s.members) > 1]
        others = [s for s in others if all(map(math.isfinite, s.finals(label)))]
        return max(others, key=lambda s: sign * statistics.fmean(s.finals(label)), default=None)

    def _ends(self, axis: str, low: float, high: float) -> str:
        """What happens beyond the usable range."""
        told = []
        for side, beyond in (
            ("below", [s for s in self.settings if s.values[axis] < low]),
            ("above", [s for s in self.settings if s.values[axis] > high]),
        ):
            if beyond:
                counts = Counter(_told(member) for setting in beyond for member in setting.members)
                told.append(f"{side} it: {counts.most_common(1)[0][0]}")
            else:
                told.append(f"no value {side} it was tried")
        return ", ".join(told)

    # Figure

    def figure(self) -> "Figure":
        """The curves of all settings, and the final loss against the swept number.

        A line is the mean over a setting's seeds, and the band about it goes from the lowest to
        the highest. What is NaN or infinite is not drawn.
        """
        from matplotlib.figure import Figure

        labels = list(dict.fromkeys(filter(None, (self.loss_label, self.label))))
        if not labels:
            raise ConfigError(
                "There is nothing to draw: no run of the sweep has finished an epoch."
            )
        panels = len(labels) + (self.axis is not None and len(self.settings) > 1)
        colors = _colors(self.settings, self.axis)
        listed, axis = self.settings, self.axis
        if self.is_search and axis is not None:  # its order is that in which they were tried
            listed = sorted(listed, key=lambda setting: setting.values[axis])
        shown = _evenly(listed, _MOST_IN_LEGEND)
        room = 0.085 * max(len(setting.name) for setting in shown) + 0.6
        figure = Figure(figsize=(3.3 * panels + room, 3.2), layout="constrained")
        for place, label in enumerate(labels, start=1):
            self._draw_curves(figure.add_subplot(1, panels, place), label, colors)
        if panels > len(labels):
            self._draw_finals(figure.add_subplot(1, panels, panels), colors)
        handles = [
            figure.axes[0].plot(
                [], [], color=colors[self.settings.index(setting)], linestyle=self._style(setting)
            )[0]
            for setting in shown
        ]
        names = [setting.name for setting in shown]
        legend = figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=8)
        for text in legend.get_texts():
            text.set_parse_math(False)
        return figure

    def _draw_curves(self, axes: "Axes", label: str, colors: Sequence[Any]) -> None:
        import numpy as np
        from matplotlib.ticker import MaxNLocator

        for setting, color in zip(self.settings, colors, strict=True):
            curves = [curve for member in setting.members if (curve := member.curve(label))]
            if not curves:
                continue
            length = max(map(len, curves))
            table = np.full((len(curves), length), np.nan)
            for row, curve in zip(table, curves, strict=True):
                row[: len(curve)] = curve
            table[~np.isfinite(table)] = np.nan
            drawn = np.isfinite(table).any(axis=0)
            if not drawn.any():
                continue
            epochs = np.arange(1, length + 1)[drawn]
            low, mean, high = (
                function(table[:, drawn], axis=0) for function in (np.nanmin, np.nanmean, np.nanmax)
            )
            marker = "o" if len(epochs) == 1 else ""
            style = self._style(setting)
            axes.plot(
                epochs, mean, color=color, linestyle=style, marker=marker, ms=4, linewidth=1.5
            )
            if len(curves) > 1:
                axes.fill_between(epochs, low, high, color=color, alpha=0.2, linewidth=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        _dress(axes, label, ceiling=self._ceiling(label))

    def _ceiling(self, label: str) -> float:
        """The largest value that is drawn: a run that diverges would flatten the others."""
        if self.start is None or higher_is_better(label) is not False or self.start <= 0:
            return math.inf
        return _CEILING * self.start

    def _draw_finals(self, axes: "Axes", colors: Sequence[Any]) -> None:
        axis, label = self.axis, self.loss_label
        assert axis is not None
        assert label is not None
        usable, limit = self.usable_range(), self.usable_loss
        if usable is not None and usable[0] < usable[1]:
            axes.axvspan(*usable, color="0.92", zorder=0, label="usable")
        if limit is not None:
            axes.axhline(limit, color="0.6", linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        lines: dict[int, list[SettingResult]] = {}
        for setting in self.settings:
            if not setting.is_pruned:  # its value is that of an earlier epoch
                lines.setdefault(self._kind(setting), []).append(setting)
        for settings in lines.values():
            style = self._style(settings[0])
            settings = sorted(settings, key=lambda setting: setting.values[axis])
            means = [(s.values[axis], statistics.fmean(s.finals(label))) for s in settings]
            finite = [(x, y) for x, y in means if math.isfinite(y) and y <= self._ceiling(label)]
            if finite:
                axes.plot(*zip(*finite, strict=True), color="0.5", linestyle=style, linewidth=1)
        ceiling = self._ceiling(label)
        for setting, color in zip(self.settings, colors, strict=True):
            x = setting.values[axis]
            for y in setting.finals(label):
                if math.isfinite(y) and y <= ceiling:
                    inside = "white" if setting.is_pruned else color
                    axes.plot([x], [y], "o", color=color, markersize=4, markerfacecolor=inside)
                else:  # at the upper edge, wherever that is
                    axes.plot(
                        [x],
                        [1],
                        "x",
                        color=color,
                        markersize=6,
                        clip_on=False,
                        transform=axes.get_xaxis_transform(),
                    )
        values = sorted({setting.values[axis] for setting in self.settings})
        if values[0] > 0 and values[-1] / values[0] >= 8:
            axes.set_xscale("log")
        axes.set_xlabel(printable(axis), parse_math=False)
        _dress(axes, label, "final ", ceiling)
        told = []
        if usable is not None:
            low, high = usable
            told.append(f"usable {low:g} to {high:g}" if low < high else f"usable {low:g}")
        if any(setting.is_pruned for setting in self.settings):
            told.append("hollow: pruned")
        if told:
            axes.set_title("; ".join(told), fontsize=9)

    def _style(self, setting: SettingResult) -> str:
        """A line style for what else than the axis and the seed tells settings apart."""
        num_kinds = len(set(map(self._kind, self.settings)))
        # Where each setting is of its own kind, four styles would tell nothing.
        if self.axis is None or num_kinds == len(self.settings) > len(_STYLES):
            return "-"
        return _STYLES[self._kind(setting) % len(_STYLES)]

    def _kind(self, setting: SettingResult) -> int:
        """A number for what else than the axis and the seed tells settings apart."""
        others = [
            {name: value for name, value in s.values.items() if name != self.axis}
            for s in self.settings
        ]
        kinds = [other for i, other in enumerate(others) if other not in others[:i]]
        return kinds.index(others[self.settings.index(setting)])


def load(sweep: Path | str, runs: Path | str = "runs") -> Sweep:
    """Loads a sweep.

    Args:
        sweep: Its name, such as "mlp-sweep-1", or the path of its folder.
        runs: The folder in which sweeps are looked for by name.

    Raises:
        ConfigError: If there is no such sweep.
        CorruptFileError: If its sweep.json is damaged.
    """
    for folder in (Path(runs, sweep), Path(sweep)):
        if (folder / SWEEP_FILE).is_file():
            return Sweep(folder)
    raise ConfigError(
        f"There is no sweep {str(sweep)!r}, neither in the folder {str(runs)!r} nor as a path."
    )


# sweep.json


def write_sweep(folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes sweep.json, whole or not at all.

    Raises:
        StorageError: If it cannot be written.
    """
    content = {"format": FORMAT, "version": VERSION, **facts}
    write_atomically(folder / SWEEP_FILE, (json.dumps(content, indent=2) + "\n").encode())


def read_sweep(folder: Path) -> dict[str, Any]:
    """What sweep.json says, checked.

    Raises:
        ConfigError: If there is no sweep in the folder.
        CorruptFileError: If the file is damaged, or of a newer format.
    """
    path = inside(folder, SWEEP_FILE)
    try:
        facts = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(
            f"There is no sweep in {str(folder)!r}: it has no {SWEEP_FILE}."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptFileError(f"{path} cannot be read: {error}. A copy repairs it.") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise CorruptFileError(f"{path} is not the file of a sweep.")
    if facts.get("version") != VERSION:
        raise CorruptFileError(
            f"{path} is of version {facts.get('version')!r}; this gradbook reads {VERSION}."
        )
    members = facts.get("members")
    is_whole = (
        isinstance(members, list)
        and isinstance(facts.get("swept"), dict)
        and isinstance(facts.get("level"), int | float | None)
        and all(_is_member(member, facts["swept"]) for member in members)
    )
    if not is_whole:
        raise CorruptFileError(f"{path} is damaged: its members or values are missing.")
    return facts


def _is_member(member: Any, swept: Mapping[str, Any]) -> bool:
    return (
        isinstance(member, dict)
        and isinstance(member.get("values"), dict)
        and isinstance(member.get("folder"), str)
        and re.fullmatch(r"[\w-]+", member["folder"]) is not None
        and isinstance(member.get("error"), str | None)
        and isinstance(member.get("alone"), str | None)
        and set(swept) <= {*member["values"], "seed"}
    )


# Words and colours


def _told(member: MemberResult) -> str:
    """A training's verdict, or how it ended before it had a curve."""
    if member.run is None:
        return "failed" if member.error else "not begun"
    if member.is_pruned:
        return f"pruned (epoch {member.run.epochs})"
    if member.run.status in ("finished", "diverged") and member.verdict is not None:
        return member.verdict.label
    return member.run.status


def _start(run: StoredRun) -> float | None:
    """The loss with which a training began, in its first recorded point."""
    try:
        points = run.points.get("train_loss") or run.points.get("val_loss") or []
    except GradbookError:
        return None
    return points[0].y if points and math.isfinite(points[0].y) else None


def _with_spread(values: Sequence[float]) -> str:
    """A mean, with the standard deviation where there are several."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < len(values):
        return (
            "-"
            if not finite
            else f"{statistics.fmean(finite):.4g} ({len(finite)} of {len(values)})"
        )
    mean = statistics.fmean(finite)
    return f"{mean:.4g}" if len(finite) < 2 else f"{mean:.4g} ± {statistics.stdev(finite):.1g}"


def _named(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in values.items())


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 24 else f"{text[:21]}..."


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _evenly(settings: Sequence[SettingResult], most: int) -> list[SettingResult]:
    if len(settings) <= most:
        return list(settings)
    return [settings[round(i * (len(settings) - 1) / (most - 1))] for i in range(most)]


def _colors(settings: Sequence[SettingResult], axis: str | None) -> list[Any]:
    """A colour for each setting: in the order of the numbers where there are some."""
    import matplotlib as mpl

    if axis is None:
        return [f"C{i % 10}" for i in range(len(settings))]
    values = sorted({setting.values[axis] for setting in settings})
    colors = mpl.colormaps["viridis"]
    places = {value: i / max(1, len(values) - 1) for i, value in enumerate(values)}
    return [colors(0.85 * places[setting.values[axis]]) for setting in settings]


def _dress(axes: "Axes", label: str, prefix: str = "", ceiling: float = math.inf) -> None:
    import numpy as np

    lines = [line for line in axes.lines if line.get_transform() == axes.transData]
    y = np.concatenate(
        [np.ravel(line.get_ydata()).astype(float) for line in lines] or [np.zeros(1)]
    )
    y = y[np.isfinite(y)]
    shown = y[y <= ceiling]
    is_log = not higher_is_better(label) and bool(len(shown)) and shown.min() > 0
    is_log = is_log and shown.max() / shown.min() > 30
    if is_log:
        axes.set_yscale("log")
    if len(shown) < len(y):
        axes.set_ylim(shown.min() / 2 if is_log else 0, ceiling)
    axes.set_ylabel(printable(prefix + label), parse_math=False)
    axes.grid(True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
