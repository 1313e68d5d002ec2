"""Whether a change helps a training that went wrong: it is trained once more on a copy with it."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from gradbook.display.words import listed
from gradbook.watching.repetition import Change, Repetition

if TYPE_CHECKING:
    from gradbook.trainer import Trainer

#: The most that all trials of a post-mortem may take together.
_LIMIT_SECONDS = 20.0
#: How many trials to expect when deciding whether there is time to start from the beginning.
_NUM_EXPECTED = 5
#: How many steps a trial trains after the one that went wrong.
_NUM_MORE_STEPS = 50
#: A loss that has grown by this factor will not recover.
_BLOWN_UP = 1e3
#: A loss that changes by less than this part of itself shows that nothing is learned.
_FROZEN = 1e-3
#: A state whose loss is so many times the first one is no place to start a trial from.
_LOST = 10


@dataclass(frozen=True)
class Trial:
    """What came of training with a change, and the mean losses of its first and last steps.

    Attributes:
        outcome: "broken" if numbers became NaN, infinite or far too large, "frozen" if the loss
            did not change, "learning" if it fell, below that of the first step, too, "finite" if
            not; empty if the time was over before.
        num_averaged: How many losses `first` and `last` are the means of: those of an epoch, or of
            half the trial, whichever is less. Single batches differ too much to be compared.
    """

    change: Change
    outcome: str = ""
    num_steps: int = 0
    num_averaged: int = 0
    first: float = math.nan
    last: float = math.nan


class Trials:
    """Tries changes on a copy of a training, in a time that is divided among `share` trainings.

    The repetition began at the last of the states, the first of which is that of the beginning.
    """

    def __init__(
        self,
        trainer: "Trainer",
        states: Sequence[dict[str, Any]],
        repetition: Repetition,
        share: int = 1,
    ) -> None:
        self._trainer, self._at = trainer, repetition.at.step
        seconds = _LIMIT_SECONDS / share
        self._ends_at = time.perf_counter() + seconds
        self._done: dict[Change, Trial] = {}
        # The learner will start anew with the change. So does a trial, if there is time.
        per_step = repetition.seconds / max(len(repetition.losses), 1)
        from_beginning = per_step * (self._at + _NUM_MORE_STEPS) * _NUM_EXPECTED
        may_begin = from_beginning <= seconds or self._is_lost(states[0], repetition)
        self._state = states[0 if may_begin else -1]
        self._epoch: int = self._state["position"]["epoch"]

    def _is_lost(self, beginning: dict[str, Any], repetition: Repetition) -> bool:
        """Whether the loss had grown so much by the last state that even a good setting fails."""
        first = Repetition(self._trainer, beginning)
        first.run_until(1, _LIMIT_SECONDS)
        if not first.losses or not repetition.losses:
            return False
        return abs(repetition.losses[0]) > _LOST * max(abs(first.losses[0]), 1.0)

    @property
    def is_from_first_step(self) -> bool:
        """Whether trials start from before the first step of the training."""
        return not self._state["position"]["steps"]

    def first_that_helps(self, changes: Sequence[Change]) -> Change | None:
        """The first change with which the loss falls, or else the first of use; None without one.

        Changes after one with which the loss falls are not tried.
        """
        finite = None
        for change in changes:
            if change not in self._done:
                self._done[change] = self._trained_with(change)
            trial = self._done[change]
            if trial.outcome == "learning":
                return change
            if trial.outcome == "finite":
                finite = finite or change
        return finite

    def told(self, changes: Sequence[Change]) -> str:
        """The outcomes of some changes as a sentence; empty if there was no time for any."""
        done = [self._done[change] for change in changes if change in self._done]
        done = [trial for trial in done if trial.outcome]
        start = f"the end of epoch {self._epoch}" if self._epoch else "the beginning"
        first_with = {trial.outcome: trial for trial in reversed(done)}
        helped = first_with.get("learning") or first_with.get("finite")
        if helped is not None:
            loss = ""
            if math.isfinite(helped.first + helped.last):
                fell = helped.last < helped.first
                loss = (
                    f", {'and' if fell else 'but'} the mean loss {'fell' if fell else 'rose'} from "
                    f"{helped.first:.3g} in the first {helped.num_averaged} of them to "
                    f"{helped.last:.3g} in the last {helped.num_averaged}"
                )
            steps = f"{helped.num_steps} step{'s' if helped.num_steps > 1 else ''}"
            return (
                f"This was tried on a copy of the training, starting from {start}: nothing became "
                f"NaN or infinite in {steps}{loss}."
            )
        if not done:
            return ""
        names = listed([_spoken(trial.change) for trial in done], "or")
        broke = [trial.outcome == "broken" for trial in done]
        came = ["numbers still became NaN, infinite or far too large"] if any(broke) else []
        came += [] if all(broke) else ["the loss did not change"]
        return (
            f"Training with {names} does not help: this was tried on a copy of the training, "
            f"starting from {start}, and {', or '.join(came)}."
        )

    def _trained_with(self, change: Change) -> Trial:
        left = self._ends_at - time.perf_counter()
        if left <= 0:
            return Trial(change)
        again = Repetition(self._trainer, self._state, change)
        is_done = again.run_until(self._at + _NUM_MORE_STEPS, left)
        losses = again.losses
        num = max(1, min(self._trainer.num_train_batches, len(losses) // 2))
        first, last = fmean(losses[:num] or [math.nan]), fmean(losses[-num:] or [math.nan])
        start = losses[0] if losses else math.nan
        if not is_done:
            outcome = ""
        elif again.phase is not None or abs(last) > _BLOWN_UP * max(abs(start), 1.0):
            outcome = "broken"
        elif abs(last - start) <= _FROZEN * abs(start):
            outcome = "frozen"
        else:
            outcome = "learning" if last < min(start, first) else "finite"
        return Trial(change, outcome, len(losses), num, first, last)


def _spoken(change: Change) -> str:
    texts = {
        "inputs": "the inputs and targets divided by their largest number",
        "weights": "initial weights by Xavier's rule",
        "precision": f'precision="{change.value}"',
    }
    value = f"{change.value:g}" if isinstance(change.value, float) else change.value
    return texts.get(change.name, f"{change.name}={value}")
