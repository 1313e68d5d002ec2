"""The best epoch so far, and when to stop because no better one comes."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from gradbook.errors import ConfigError, IgnoredSettingWarning, did_you_mean, warn
from gradbook.escape import printable
from gradbook.labels import headline, higher_is_better

Mode = Literal["auto", "min", "max"]

#: What a checkpoint keeps of the best so far.
_KEPT = ("label", "value", "epoch", "waited")


class BestSoFar:
    """Watches one of the epoch means. Book: 5.5 (sec_generalization_deep), early stopping.

    Args:
        monitor: Its label; None takes the one that `record.headline` names.
        mode: Whether the best is the lowest ("min") or the highest ("max"); "auto" goes by the
            label's name, as `record.higher_is_better` does.
        min_delta: By how much a value must be better to count.
        patience: After how many epochs without a better one to stop; None never stops.

    Attributes:
        label: What is watched; None before anything was recorded.
        value, epoch: The best value, and the number of its epoch from 1; None before there is one.
        waited: The epochs since then.
    """

    def __init__(
        self, monitor: str | None, mode: Mode, min_delta: float, patience: int | None
    ) -> None:
        if monitor is not None and mode == "auto" and higher_is_better(monitor) is None:
            raise ConfigError(
                f"The name in monitor={monitor!r} does not tell whether high or low values are "
                f'better. Give mode="max" or mode="min".'
            )
        self.monitor, self.mode = monitor, mode
        self.min_delta, self.patience = min_delta, patience
        self.label: str | None = None
        self.value: float | None = None
        self.epoch: int | None = None
        self.waited = 0
        self._warned = False

    def __repr__(self) -> str:
        if self.value is None:
            return "no best epoch yet"
        return printable(f"epoch {self.epoch}: {self.label} {self.value:.4g}")

    @property
    def is_spent(self) -> bool:
        """Whether the patience is at its end."""
        return self.patience is not None and self.waited >= self.patience

    def update(self, row: Mapping[str, float]) -> bool:
        """Looks at the means of an epoch, and returns whether it is the best one."""
        label = self.label = self._label(row)
        if label is None:
            return False
        value = row[label]
        if self._is_better(value, label):
            self.value, self.epoch, self.waited = value, int(row["epoch"]), 0
            return True
        self.waited += 1
        return False

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: getattr(self, name) for name in _KEPT}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        for name in _KEPT:
            setattr(self, name, state[name])

    def _label(self, row: Mapping[str, float]) -> str | None:
        labels = [label for label in row if label != "epoch"]
        if self.monitor is None:
            found = headline(labels)
            if found is None and self.patience is not None:
                self._warn_once(
                    f"patience={self.patience} stops nothing, because no value is recorded. Plot "
                    f"one in validation_step, or leave patience out."
                )
            return found
        if self.monitor in labels:
            return self.monitor
        stops = "" if self.patience is None else " and training will not stop early"
        self._warn_once(
            f"monitor={self.monitor!r} is not recorded, so that no epoch is the best one"
            f"{stops}.{did_you_mean(self.monitor, labels)} "
            f"There are {', '.join(labels) or 'no values'}."
        )
        return None

    def _warn_once(self, message: str) -> None:
        if not self._warned:
            self._warned = True
            warn(message, IgnoredSettingWarning)

    def _is_better(self, value: float, label: str) -> bool:
        if not math.isfinite(value):
            return False
        if self.value is None:
            return True
        highest = higher_is_better(label) if self.mode == "auto" else self.mode == "max"
        gain = value - self.value if highest else self.value - value
        return gain > self.min_delta
