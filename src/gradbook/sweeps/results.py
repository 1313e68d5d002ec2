"""What a sweep has found: a table, curves with their spread over seeds, and the usable range."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradbook.display.finding import Finding
from gradbook.display.words import listed, settings_text, value_text
from gradbook.errors import ConfigError, CorruptFileError, did_you_mean
from gradbook.escape import printable
from gradbook.labels import headline, higher_is_better
from gradbook.runs.stored import StoredRun
from gradbook.sweeps.format import PICTURE_FILES, SWEEP_FILE, read_sweep
from gradbook.sweeps.member_results import MemberResult, SettingResult, with_spread
from gradbook.sweeps.picture import draw
from gradbook.sweeps.values import without
from gradbook.table import Table, data_frame
from gradbook.untrusted import inside
from gradbook.verdicts import SettingsComparison, compare_settings

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

#: A setting is usable if its loss ends within this part of the way from the best to the start.
USABLE_PART = 0.25

#: From so many seeds each on, settings that these cannot tell apart are called tied.
_FEWEST_FOR_TIES = 3

#: Of so many members that diverged it is said where they did.
_MOST_TOLD = 2


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
            told = facts["alone"], facts.get("pruned") is True, facts["seconds"]
            found.append(MemberResult(facts["values"], run, error, *told))
        return found

    @property
    def runs(self) -> list[StoredRun]:
        """The runs of all members that have one, in the order of the members."""
        return [member.run for member in self.members if member.run is not None]

    @cached_property
    def settings(self) -> list[SettingResult]:
        """The settings, each with the trainings of its seeds."""
        found: dict[int, SettingResult] = {}
        for member, facts in zip(self.members, self.facts["members"], strict=True):
            setting = SettingResult(without(member.values, "seed"), [])
            found.setdefault(facts["setting"], setting).members.append(member)
        return list(found.values())

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
        return next(iter(self._able(label)), None)

    def _able(self, label: str) -> list[SettingResult]:
        """The settings of which each seed came to its end with a value, the best first."""
        able = [s for s in self.settings if not s.is_pruned and math.isfinite(s.mean(label))]
        return sorted(able, key=lambda s: s.mean(label), reverse=bool(higher_is_better(label)))

    def compare(self, a: int, b: int, label: str | None = None) -> SettingsComparison:
        """Whether two settings differ by more than their seeds do.

        Args:
            a: The place of one in `settings`.
            b: The place of the other.
            label: What is compared; None takes `label` of the sweep.
        """
        one, other = (self._setting_at(place) for place in (a, b))
        label = label or self.label
        if label is None:
            raise ConfigError("There is nothing to compare: no run has finished an epoch.")
        known = {name for run in self.runs for name in run.final}
        if label not in known:
            raise ConfigError(
                f"{label!r} was not recorded in this sweep.{did_you_mean(label, known)} There are "
                f"{', '.join(sorted(known))}."
            )
        seeds, others = ([m.values.get("seed") for m in s.members] for s in (one, other))
        return compare_settings(
            one.finals(label),
            other.finals(label),
            label,
            paired=seeds == others and len(seeds) > 1,
            names=(one.name, other.name),
        )

    def _setting_at(self, place: Any) -> SettingResult:
        if type(place) is not int or not -len(self.settings) <= place < len(self.settings):
            raise ConfigError(
                f"A setting is named by its place in `settings`, from 0 to "
                f"{len(self.settings) - 1}, but got {place!r:.60}."
            )
        return self.settings[place]

    # Usable range

    @cached_property
    def usable_loss(self) -> float | None:
        """The largest final loss that counts as usable.

        It lies a quarter (`USABLE_PART`) of the way from the best final loss back to the loss with
        which training began, in its first recorded point.
        """
        label = self.loss_label
        if label is None or higher_is_better(label):
            return None
        able, start = self._able(label), self.start
        if start is None or not able:
            return None
        best = able[0].mean(label)
        return best + USABLE_PART * (start - best) if start > best else None

    @cached_property
    def start(self) -> float | None:
        """The loss with which training began: the median over the runs of their first point."""
        starts = [start for member in self.members if (start := member.start) is not None]
        return statistics.median(starts) if starts else None

    def is_usable(self, setting: SettingResult) -> bool:
        """Whether a setting's mean final loss is at most `usable_loss`, and no seed diverged.

        What a search has pruned is not.
        """
        limit, label = self.usable_loss, self.loss_label
        if limit is None or label is None or setting.is_pruned:
            return False
        mean = setting.mean(label)
        return math.isfinite(mean) and mean <= limit

    @property
    def axis(self) -> str | None:
        """The swept number that the final loss is drawn against: the learning rate if it is one."""
        for name in sorted(self.swept, key=lambda name: name != "lr"):
            if all(type(setting.values[name]) in (int, float) for setting in self.settings):
                return str(name)
        return None

    def usable_range(self) -> tuple[float, float] | None:
        """The lowest and highest usable value of `axis` around the best; None if there is none.

        Where something else is swept as well, it is that of the best setting: see `line`.
        """
        axis = self.axis
        line = self.line()
        usable = [self.is_usable(setting) for setting in line]
        if axis is None or not any(usable):
            return None
        first = last = line.index(self._lowest(line))
        while first > 0 and usable[first - 1]:
            first -= 1
        while last < len(line) - 1 and usable[last + 1]:
            last += 1
        return line[first].values[axis], line[last].values[axis]

    def line(self) -> list[SettingResult]:
        """The settings that differ from the one with the lowest loss in `axis` only, in order."""
        axis = self.axis
        able = [setting for setting in self.settings if self.is_usable(setting)]
        if axis is None or not able:
            return []
        others = without(self._lowest(able).values, axis)
        line = [s for s in self.settings if without(s.values, axis) == others]
        return sorted(line, key=lambda setting: float(setting.values[axis]))

    def _lowest(self, settings: Sequence[SettingResult]) -> SettingResult:
        """The usable one with the lowest final loss."""
        label = self.loss_label
        assert label is not None
        able = [setting for setting in settings if self.is_usable(setting)]
        return min(able, key=lambda setting: setting.mean(label))

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
            row = [value_text(setting.values[name]) for name in self.swept] or ["as it is"]
            if label is not None:
                row += [with_spread(setting.bests(label)), with_spread(setting.finals(label))]
                if level is not None:
                    epochs = setting.epochs_to(level, label)
                    row.append("-" if epochs is None else f"{epochs:.3g}")
            seconds = setting.seconds
            row.append(f"{seconds:.3g}" if math.isfinite(seconds) else "-")
            rows.append([*row, setting.verdict])
        return Table(heading, rows)

    def to_pandas(self) -> "pandas.DataFrame":
        """A row for each training: its values, status, last and best means, seconds, verdict."""
        return data_frame([self._row(member) for member in self.members])

    def _row(self, member: MemberResult) -> dict[str, Any]:
        run = member.run
        row = {**member.values, "run": None if run is None else str(run.folder)}
        row["status"] = "failed" if run is None else run.status
        if run is not None:
            row |= {label: member.final(label) for label in run.final}
            row |= {f"best_{label}": best["value"] for label, best in run.best.items()}
            row |= {"epochs": run.epochs, "seconds": member.seconds}
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
            "tied": [setting.values for setting in self.tied],
            "usable_range": None if usable is None else {self.axis or "": list(usable)},
        }

    def _words(self) -> str:
        return "\n".join([repr(self.table()), "", *self.findings()]).rstrip()

    def findings(self) -> list[str]:
        """What follows from the table, in sentences."""
        lines = self._conclusion()
        num_repeated = self.facts.get("study", {}).get("num_repeated", 0)
        if num_repeated:
            lines.append(
                f"Repeated: {num_repeated} trials chose settings that had been tried before."
            )
        num_pruned = sum(setting.is_pruned for setting in self.settings)
        if num_pruned:
            lines.append(
                f"Pruned: {num_pruned} of {len(self.settings)} settings ended early, because "
                f"others did better."
            )
        usable, axis = self.usable_range(), self.axis
        line = self.line()
        if usable and axis and len(line) > 1:
            low, high = usable
            span = f"{axis} from {low:g} to {high:g}" if low < high else f"{axis} {low:g}"
            others = settings_text(without(line[0].values, axis))
            beside = f" with {others}" if others else ""
            by = f" by {self.loss_label}" if self.loss_label != self.label else ""
            lines.append(f"Usable range{by}{beside}: {span}. {self._ends(axis, low, high)}.")
        diverged = [member for member in self.members if member.told == "diverged"]
        for member in (member for member in diverged[:_MOST_TOLD] if member.findings):
            lines.append(f"Diverged: {settings_text(member.values)}: {member.findings[-1]}")
        failed = [member for member in self.members if member.error]
        lines += [f"Failed: {settings_text(member.values)}: {member.error}" for member in failed]
        reasons = Counter(member.alone for member in self.members if member.alone)
        lines += [f"Trained alone ({n}), because {reason}." for reason, n in reasons.items()]
        return [printable(line) for line in lines]

    def _conclusion(self) -> list[str]:
        """Which setting is the best, or which are tied; nothing before there is a value."""
        best, label, tied = self.best, self.label, self.tied
        if best is None or label is None:
            return []
        if len(tied) > 1:
            reached = [f"{s.name} ({label} {with_spread(s.finals(label))})" for s in tied]
            fewest = min(len(setting.members) for setting in tied)
            told = f"Tied, as far as {fewest} seeds each can tell: {_listed(reached)}."
            calm = [setting.name for setting in tied if not setting.is_restless]
            if 0 < len(calm) < len(tied):
                calmer = f"{_listed(calm)} {'is' if len(calm) == 1 else 'are'}"
                others = [f"{s.name} is {s.verdict}" for s in tied if s.is_restless]
                told += f" {calmer} the calmer: {_listed(others)}."
            return [told]
        told = f"Best: {best.name}, with {label} {with_spread(best.finals(label))} at the end"
        lines = [told + (f", although it is {best.verdict}." if best.is_restless else ".")]
        if len(best.members) == 1 and len(self.settings) > 1 and not self.is_search:
            lines.append(
                "Each setting has one seed, and with another seed the order may be different. Try "
                "several: seed=range(3), or --seeds 3."
            )
        ranked = self._ranked()
        if len(ranked) > 1:
            found = self.compare(self.settings.index(ranked[0]), self.settings.index(ranked[1]))
            if found.better is not None:
                lines.append(found.reason)
            elif found.interval is None:
                lines.append(found.reason.replace("cannot tell:", "Other seeds may not agree:"))
            else:
                lines.append(
                    f"With two seeds each, it cannot be told whether it is better than "
                    f"{ranked[1].name}: take more: seed=range(5), or --seeds 5."
                )
        return lines

    @property
    def tied(self) -> list[SettingResult]:
        """The best setting and those next to it that the seeds cannot tell from it, as swept.

        Empty where there is no best. Of one or two seeds each nothing is called tied: they hide
        even large differences.
        """
        best = self.best
        if best is None:
            return []
        tied = [best]
        for setting in self._ranked()[1:]:
            if min(len(best.members), len(setting.members)) < _FEWEST_FOR_TIES:
                break
            found = self.compare(self.settings.index(best), self.settings.index(setting))
            if found.better is not None or found.interval is None:  # or the seeds tell nothing
                break
            tied.append(setting)
        return [setting for setting in self.settings if setting in tied]

    def _ranked(self) -> list[SettingResult]:
        """The settings whose seeds can be compared, the best first; none if the best has one."""
        best, label = self.best, self.label
        if best is None or label is None or len(best.members) < 2:
            return []
        return [setting for setting in self._able(label) if len(setting.members) > 1]

    def _ends(self, axis: str, low: float, high: float) -> str:
        """What happens beyond the usable range, as a sentence without its full stop."""
        told = []
        for side, beyond in (
            ("Below", [s for s in self.line() if s.values[axis] < low]),
            ("above", [s for s in self.line() if s.values[axis] > high]),
        ):
            counts = Counter(member.told for setting in beyond for member in setting.members)
            most = counts.most_common(1)[0][0] if counts else "not tried"
            told.append(f"{side} it: {most}")
        return ", ".join(told)

    def figure(self) -> "Figure":
        """The curves of all settings, and the final loss against the swept number.

        A line is the mean over a setting's seeds, and the band about it goes from the lowest to
        the highest. What is NaN or infinite is not drawn.

        Raises:
            ConfigError: If no run has finished an epoch.
        """
        return draw(self)


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


def _listed(names: Sequence[str]) -> str:
    """Items in words: "a, b and c", of more than five the first four and how many there are."""
    if len(names) > 5:
        names = [*names[:4], f"{len(names) - 4} others"]
    return listed(names)
