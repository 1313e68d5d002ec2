"""Whether a change helps a training that went wrong: it is trained once more on a copy with it."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from gradbook.watching.repetition import Change, Repetition

if TYPE_CHECKING:
    from gradbook.trainer import Trainer

#: All trials of a post-mortem together take at most so long.
_LIMIT_SECONDS = 20.0
#: So many are expected, where it is judged whether the time suffices to begin at the beginning.
_NUM_EXPECTED = 5
#: A trial goes on for so many steps beyond the one that went wrong.
_NUM_MORE_STEPS = 50
#: A loss that has become so many times larger will not come back.
_BLOWN_UP = 1e3
#: Nothing is trained where the loss changes by no more than this part of it.
_FROZEN = 1e-3
#: The losses of so many steps are averaged.
_NUM_AVERAGED = 8


@dataclass(frozen=True)
class Trial:
    """What came of a change.

    Attributes:
        change: The change.
        is_done: Whether the time sufficed.
        failed_at: The step in which a number was NaN or infinite all the same.
        num_steps: The steps that were taken.
        first: The loss at the beginning.
        last: The mean loss of the last steps.
    """

    change: Change
    is_done: bool
    failed_at: int | None
    num_steps: int
    first: float
    last: float

    @property
    def is_of_use(self) -> bool:
        """Whether nothing went wrong any more, and the training went anywhere."""
        is_well = self.is_done and self.failed_at is None
        return is_well and not self.is_blowing_up and not self.is_frozen

    @property
    def is_learning(self) -> bool:
        """Whether the loss fell besides."""
        return self.is_of_use and self.last < self.first

    @property
    def is_blowing_up(self) -> bool:
        """Whether the loss has grown so much that it would only have taken a little longer."""
        return abs(self.last) > _BLOWN_UP * max(abs(self.first), 1.0)

    @property
    def is_frozen(self) -> bool:
        """Whether the loss hardly changed: all is finite where nothing is trained."""
        return abs(self.last - self.first) <= _FROZEN * abs(self.first)


class Trials:
    """Tries changes, and tells what came of them.

    Args:
        trainer: The trainer whose training went wrong.
        states: States of it, oldest first: that of the beginning, and the last one kept.
        repetition: The repetition that found the wrong number, from the last state.
        share: How many trainings go on at once, among which the time is divided.
    """

    def __init__(
        self,
        trainer: "Trainer",
        states: Sequence[dict[str, Any]],
        repetition: Repetition,
        share: int = 1,
    ) -> None:
        assert repetition.at is not None
        self._trainer, self._at = trainer, repetition.at.step
        seconds = _LIMIT_SECONDS / share
        self._ends_at = time.perf_counter() + seconds
        self._done: dict[Change, Trial] = {}
        # What is tried is tried as the learner will: from the beginning, if there is time for it.
        per_step = repetition.seconds / max(len(repetition.losses), 1)
        from_beginning = per_step * (self._at + _NUM_MORE_STEPS) * _NUM_EXPECTED
        self._state = states[0 if from_beginning <= seconds else -1]
        self._epoch: int = self._state["position"]["epoch"]

    @property
    def is_from_first_step(self) -> bool:
        """Whether trials begin before the first step of all."""
        return not self._state["position"]["steps"]

    def first_that_helps(self, changes: Sequence[Change]) -> Change | None:
        """The first change with which the loss falls, or else with which all stays finite.

        What comes after one with which the loss falls is not tried.
        """
        finite = None
        for change in changes:
            trial = self._try(change)
            if trial.is_learning:
                return change
            if trial.is_of_use:
                finite = finite or change
        return finite

    def told(self, changes: Sequence[Change]) -> str:
        """What came of some changes, in a sentence; empty if there was no time for any."""
        done = [self._done[change] for change in changes if change in self._done]
        done = [trial for trial in done if trial.is_done]
        start = f"the end of epoch {self._epoch}" if self._epoch else "the beginning"
        helped = next((t for t in done if t.is_learning), None)
        helped = helped or next((t for t in done if t.is_of_use), None)
        if helped is not None:
            fell = "and the loss fell" if helped.is_learning else "but the loss went up"
            loss = f", {fell} from {helped.first:.3g} to {helped.last:.3g}"
            loss = loss if math.isfinite(helped.first + helped.last) else ""
            return (
                f"This was tried on a copy of the training, from {start} on: nothing became NaN or "
                f"infinite in {helped.num_steps} step{'s' if helped.num_steps > 1 else ''}{loss}."
            )
        if not done:
            return ""
        names = _listed([_spoken(trial.change) for trial in done])
        return (
            f"It does not help to train with {names}: that was tried on a copy of the training, "
            f"from {start} on, and {_came_of(done)}."
        )

    def _try(self, change: Change) -> Trial:
        if change not in self._done:
            self._done[change] = self._trained_with(change)
        return self._done[change]

    def _trained_with(self, change: Change) -> Trial:
        left = self._ends_at - time.perf_counter()
        if left <= 0:
            return Trial(change, False, None, 0, math.nan, math.nan)
        again = Repetition(self._trainer, self._state, change)
        is_done = again.run_until(self._at + _NUM_MORE_STEPS, left)
        losses = again.losses
        first = losses[0] if losses else math.nan
        last = fmean(losses[-min(_NUM_AVERAGED, len(losses) // 2 + 1) :]) if losses else math.nan
        failed_at = again.at.step if again.phase is not None and again.at is not None else None
        return Trial(change, is_done, failed_at, len(losses), first, last)


def _spoken(change: Change) -> str:
    if change.name == "inputs":
        return "the inputs and targets divided by their largest number"
    if change.name == "weights":
        return "initial weights by Xavier's rule"
    if change.name == "precision":
        return f'precision="{change.value}"'
    value = f"{change.value:g}" if isinstance(change.value, float) else change.value
    return f"{change.name}={value}"


def _came_of(trials: Sequence[Trial]) -> str:
    """What came of changes none of which is of use."""
    broke = [trial for trial in trials if trial.failed_at is not None or trial.is_blowing_up]
    parts = ["the numbers became NaN, infinite or far larger all the same"] if broke else []
    if len(broke) < len(trials):
        parts.append("the loss did not change")
    return ", or ".join(parts)


def _listed(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
