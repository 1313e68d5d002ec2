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
    """The outcome of training with a change: whether it was done in time, and the losses.

    Attributes:
        num_averaged: How many losses `first` and `last` are the means of: those of an epoch, or of
            half the trial, whichever is less. Single batches differ too much to be compared.
    """

    change: Change
    is_done: bool = False
    has_failed: bool = False
    num_steps: int = 0
    start: float = math.nan
    num_averaged: int = 0
    first: float = math.nan
    last: float = math.nan

    @property
    def is_of_use(self) -> bool:
        """Whether all numbers stayed finite and bounded, and the loss changed."""
        is_bad = self.has_failed or self.is_blowing_up or self.is_frozen
        return self.is_done and not is_bad

    @property
    def is_learning(self) -> bool:
        """Whether the loss also fell, below that of the first step, too."""
        return self.is_of_use and self.last < min(self.start, self.first)

    @property
    def is_blowing_up(self) -> bool:
        """Whether the loss has grown so much that it would soon be infinite, too."""
        return abs(self.last) > _BLOWN_UP * max(abs(self.start), 1.0)

    @property
    def is_frozen(self) -> bool:
        """Whether the loss hardly changed: numbers stay finite also where nothing is learned."""
        return abs(self.last - self.start) <= _FROZEN * abs(self.start)


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
            if trial.is_learning:
                return change
            if trial.is_of_use:
                finite = finite or change
        return finite

    def told(self, changes: Sequence[Change]) -> str:
        """The outcomes of some changes as a sentence; empty if there was no time for any."""
        done = [self._done[change] for change in changes if change in self._done]
        done = [trial for trial in done if trial.is_done]
        start = f"the end of epoch {self._epoch}" if self._epoch else "the beginning"
        useful = sorted(
            (trial for trial in done if trial.is_of_use), key=lambda t: not t.is_learning
        )
        if useful:
            helped = useful[0]
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
        broke = [trial.has_failed or trial.is_blowing_up for trial in done]
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
        start, has_failed = losses[0] if losses else math.nan, again.phase is not None
        return Trial(change, is_done, has_failed, len(losses), start, num, first, last)


def _spoken(change: Change) -> str:
    texts = {
        "inputs": "the inputs and targets divided by their largest number",
        "weights": "initial weights by Xavier's rule",
        "precision": f'precision="{change.value}"',
    }
    value = f"{change.value:g}" if isinstance(change.value, float) else change.value
    return texts.get(change.name, f"{change.name}={value}")
