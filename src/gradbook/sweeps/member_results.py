"""What one training of a sweep has come to, and one setting over the seeds of its trainings."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gradbook.display.words import settings_text
from gradbook.errors import GradbookError
from gradbook.escape import printable
from gradbook.labels import headline, higher_is_better
from gradbook.runs.stored import StoredRun
from gradbook.verdicts import Verdict, verdict


@dataclass(frozen=True, repr=False)
class MemberResult:
    """One training of a sweep.

    Attributes:
        values: What it was given, by name, its seed included.
        run: Its run, or None if there is none to read.
        error: What ended it, in words, or None.
        alone: Why it was not trained in a stack with others, or None.
        is_pruned: Whether a search ended it early, because others did better.
        share: Its share of the seconds that a stack took, or None.
    """

    values: dict[str, Any]
    run: StoredRun | None
    error: str | None
    alone: str | None
    is_pruned: bool = False
    share: float | None = None

    def __repr__(self) -> str:
        return printable(f"{settings_text(self.values)}: {self.told}")

    @property
    def seconds(self) -> float | None:
        """How long it took; of a stack, its share. None if that is not known."""
        if self.share is not None or self.run is None:
            return self.share
        return self.run.seconds

    @property
    def findings(self) -> list[str]:
        """What was noticed about it, in words."""
        return [] if self.run is None else list(self.run.facts.get("findings", ()))

    @cached_property
    def verdict(self) -> Verdict | None:
        """The judgment on its curve; None if there is no curve."""
        try:
            return None if self.run is None else verdict(self.run)
        except GradbookError:  # the record of its values is damaged
            return None

    @property
    def told(self) -> str:
        """Its verdict in words, or how it ended before it had a curve."""
        if self.run is None:
            return "failed" if self.error else "not begun"
        if self.is_pruned:
            return f"pruned (epoch {self.run.epochs})"
        if self.run.status in ("finished", "diverged") and self.verdict is not None:
            return self.verdict.label
        return "damaged" if self.run.status == "finished" else self.run.status

    @property
    def start(self) -> float | None:
        """The loss with which it began, in its first recorded point; None if there is none."""
        try:
            points = self.run.points if self.run is not None else {}
        except GradbookError:
            return None
        losses = points.get("train_loss") or points.get("val_loss")
        return losses[0].y if losses and math.isfinite(losses[0].y) else None

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


@dataclass(frozen=True, repr=False)
class SettingResult:
    """What one setting reached, over its seeds.

    Attributes:
        values: The setting, by name, without the seed.
        members: Its trainings, one for each seed.
    """

    values: dict[str, Any]
    members: list[MemberResult]

    def __repr__(self) -> str:
        label = headline(label for m in self.members if m.run is not None for label in m.run.final)
        reached = "" if label is None else f"{label} {self.mean(label):.4g}, "
        return printable(f"{self.name}: {reached}{self.verdict}")

    @property
    def name(self) -> str:
        """The setting in words, such as "lr 0.1"."""
        return printable(settings_text(self.values) or "as it is")

    @property
    def is_pruned(self) -> bool:
        """Whether a search ended it early."""
        return any(member.is_pruned for member in self.members)

    def finals(self, label: str) -> list[float]:
        """The last epoch's mean for each seed; NaN where there is none."""
        return [member.final(label) for member in self.members]

    def mean(self, label: str) -> float:
        """The mean of `finals`; it is not finite if one of them is not."""
        return statistics.fmean(self.finals(label))

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
        """The judgments on its curves, with how many each where they differ."""
        labels = [member.told for member in self.members]
        counts = Counter(labels)
        if len(counts) == 1:
            return labels[0]
        return ", ".join(f"{label} ({count})" for label, count in counts.most_common())

    @property
    def is_restless(self) -> bool:
        """Whether one of its trainings swings or has diverged, by its verdict."""
        return any(member.told in ("oscillating", "diverged") for member in self.members)

    @property
    def seconds(self) -> float:
        """The mean duration of its trainings; in a stack, their share of it."""
        known = [member.seconds for member in self.members]
        return statistics.fmean([s for s in known if s is not None] or [math.nan])


def with_spread(values: Sequence[float]) -> str:
    """A mean, with the standard deviation where there are several."""
    finite = list(filter(math.isfinite, values))
    if not finite:
        return "-"
    mean = f"{statistics.fmean(finite):.4g}"
    if len(finite) < len(values):
        return f"{mean} ({len(finite)} of {len(values)})"
    return mean if len(finite) < 2 else f"{mean} ± {statistics.stdev(finite):.1g}"
