"""One member of a sweep as its folder shows it, wherever it is trained."""

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

from gradbook.display.words import counted
from gradbook.errors import CorruptFileError, GradbookError
from gradbook.labels import higher_is_better, is_loss
from gradbook.runs.format import METRICS_FILE, read_run
from gradbook.runs.stored import StoredRun
from gradbook.sweeps.member_results import MemberResult
from gradbook.sweeps.members import Member
from gradbook.untrusted import inside, open_file

#: Of a record that is larger, nothing is shown.
_MAX_BYTES = 1 << 30


class Watched:
    """One member: what was recorded of it, and what became of it.

    Args:
        member: The member.
        setting: The place of its setting.
        values_in: What the facts of its run tell of its values, if those are not known before.

    Attributes:
        setting, max_epochs: Its setting, and how many epochs it is to have.
        seed, values: What it was given; no values before they are known.
        last, best: The last and the best epoch's mean of each label, NaN if it is not finite.
        epochs: How many epochs have ended.
        is_ended: Whether it will not be trained any more.
        is_begun: Whether it has begun, or been resumed, since this was made.
        is_running: Whether it is being trained: it has recorded something since then.
        is_dropped: Whether it was not wanted any more before it began.
        repeats: What it was to be given, if another had been tried with the same.
    """

    def __init__(
        self,
        member: Member,
        setting: int,
        values_in: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        self.setting, self.seed, self._folder = setting, member.seed, member.folder
        self.max_epochs = int(member.trainer_arguments.get("max_epochs", 1))
        self.values = member.values if values_in is None else {}
        self._values_in = values_in
        self.last: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self._error: str | None = None
        self._is_pruned = self.is_dropped = False
        self.repeats: Mapping[str, Any] | None = None
        self.is_ended = member.is_done
        self.epochs = self._offset = 0
        self.is_begun, self._is_new = False, True
        self.read()
        self._is_new = not self.is_begun
        # What was recorded before now is of one that waits, or has ended.
        self.is_begun = self.is_running = False

    def read(self) -> None:
        """Reads what was added to the member's metrics since the last look."""
        try:
            with open_file(inside(self._folder, METRICS_FILE), _MAX_BYTES) as stream:
                stream.seek(self._offset)
                content = stream.read()
        except (OSError, CorruptFileError):  # not begun, or nothing that can be shown
            return
        self.is_begun = self.is_begun or self._is_new or bool(content)
        if not content:
            return
        self.is_running = not self.is_ended
        if self._values_in is not None and not self.values:
            with suppress(GradbookError):
                self.values = self._values_in(read_run(self._folder))
        lines = content.split(b"\n")
        self._offset += len(content) - len(lines[-1])
        for line in lines[:-1]:
            if b'"epoch"' not in line:  # most are points
                continue
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            x = entry.get("x") if isinstance(entry, dict) else None
            if isinstance(x, int | float) and math.isfinite(x) and entry.get("kind") == "epoch":
                self.epochs = max(self.epochs, int(x))
                self._add(str(entry.get("label")), entry.get("y"))

    def _add(self, label: str, y: Any) -> None:
        value = self.last[label] = float(y) if isinstance(y, int | float) else math.nan
        if math.isfinite(value):
            pick = max if higher_is_better(label) else min
            self.best[label] = pick(self.best.get(label, value), value)

    def end(
        self,
        error: str | None,
        pruned: bool = False,
        values: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """It has ended, with an error or without; of a search, pruned or not, and given these."""
        self.read()
        self._error, self._is_pruned = error, pruned
        self.values = dict(values or self.values)
        self.is_ended, self.is_running = True, False

    def drop(self, repeats: Mapping[str, Any] | None) -> None:
        """It will not be trained, because it repeats another, or is not wanted any more."""
        self.is_ended = self.is_dropped = True
        self.repeats, self.values = repeats, dict(repeats or self.values)

    @property
    def is_through(self) -> bool:
        """Whether it has ended, or only waits for the others that are trained with it."""
        return self.is_ended or self.epochs >= self.max_epochs

    @property
    def is_able(self) -> bool:
        """Whether it has come to its end, so that its setting may be the best."""
        return self.is_through and not (self._error or self._is_pruned or self.is_dropped)

    @property
    def epochs_behind(self) -> int:
        """How many of its epochs need not be waited for."""
        return self.max_epochs if self.is_ended else self.epochs

    @property
    def epoch(self) -> str:
        """The epoch in which it is, and of how many."""
        return f"epoch {min(self.epochs + 1, self.max_epochs)}/{self.max_epochs}"

    @cached_property
    def result(self) -> MemberResult:
        """What it has come to. Not of one that is being trained, because its lock is tried."""
        run = None
        with suppress(GradbookError):
            run = StoredRun(self._folder)
        return MemberResult(self.values, run, self._error, None, self._is_pruned)

    @property
    def told(self) -> str:
        """What it has reached, or what ended it."""
        if self._error:
            return f"failed: {self._error}"
        if self.repeats is not None:
            return "tried before, nothing to train"
        values = [
            f"{label} {value:.4g}"
            if math.isfinite(value)
            else f"{label} {'diverged' if is_loss(label) else 'nan'}"
            for label, value in self.last.items()
        ]
        pruned = [f"pruned after {counted(self.epochs, 'epoch')}"] if self._is_pruned else []
        return ", ".join(pruned + values) or "nothing recorded"
