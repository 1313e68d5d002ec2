"""How far a training has come, for every display that tells it."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradbook.trainer import Trainer


class Progress:
    """Epoch, time and speed of a training that begins now.

    Args:
        trainer: What trains.
        clock: Gives the time in seconds.
    """

    def __init__(self, trainer: "Trainer", clock: Callable[[], float]) -> None:
        self._trainer: Any = trainer
        self._clock, self._begin = clock, clock()
        # A training that goes on has done these before the clock began.
        self._steps_before, self._part_before = trainer.train_batch_idx, self.part()
        self._speed = deque([(0.0, self._steps_before)], maxlen=200)

    def part(self, status: str | None = None) -> float:
        """How much of the training is behind us, from 0 to 1, by the number of batches."""
        trainer = self._trainer
        if status in ("finished", "diverged"):
            return 1.0
        batches = getattr(trainer, "train_batch_idx", 0) + getattr(trainer, "val_batch_idx", 0)
        in_epoch = trainer.num_train_batches + trainer.num_val_batches
        # A fit_epoch of the learner's own may count no batches.
        part = max(batches / max(in_epoch, 1), trainer.epoch) / trainer.max_epochs
        return float(min(part, 1.0))

    def texts(self, status: str | None = None) -> list[str]:
        """The epoch, the time gone by and left, and the speed, in the order of their weight.

        Args:
            status: How the training ended, if it has.
        """
        trainer, elapsed = self._trainer, self._clock() - self._begin
        epoch = min(trainer.epoch + 1, trainer.max_epochs)
        texts = [f"epoch {epoch}/{trainer.max_epochs}"]
        if status is not None:
            texts += [status, duration(elapsed)]
        else:
            part = self.part()
            now = part - self._part_before
            left = f" < {duration(elapsed / now * (1 - part))}" if now > 0 and part < 1 else ""
            texts.append(duration(elapsed) + left)
        speed = self._steps_per_second(getattr(trainer, "train_batch_idx", 0), elapsed, status)
        return [*texts, f"{speed:.0f} steps/s" if speed >= 100 else f"{speed:.3g} steps/s"]

    def _steps_per_second(self, steps: int, elapsed: float, status: str | None) -> float:
        """The speed over the last ten seconds or more; at the end, over the whole training."""
        self._speed.append((elapsed, steps))
        while len(self._speed) > 2 and elapsed - self._speed[1][0] > 10:
            self._speed.popleft()
        since, before = self._speed[0] if status is None else (0.0, self._steps_before)
        return (steps - before) / (elapsed - since) if elapsed > since else 0.0


def duration(seconds: float) -> str:
    """A time as 1:05 or 2:03:04."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
