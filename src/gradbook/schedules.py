"""What `configure_optimizers` may return: an optimizer, alone or with learning-rate schedulers."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.optim.lr_scheduler import ReduceLROnPlateau

from gradbook.checks import check_whole_number, missing_optimizer
from gradbook.errors import ConfigError, IgnoredSettingWarning, ModelError, did_you_mean, warn

_KEYS = ("scheduler", "interval", "frequency", "monitor")


@dataclass
class Schedule:
    """A learning-rate scheduler, and when it is asked for the next rate.

    Attributes:
        scheduler: A scheduler of PyTorch, or anything with `step()` and `state_dict()`.
        interval: "epoch" or "step", which is an update of the optimizer.
        frequency: It steps once in so many epochs or steps.
        monitor: The label that `ReduceLROnPlateau` watches.
    """

    scheduler: Any
    interval: str = "epoch"
    frequency: int = 1
    monitor: str = "val_loss"

    def end(self, interval: str, count: int, row: Mapping[str, float] | None = None) -> None:
        """An epoch or a step is over; `count` of them are, and `row` has the epoch's means."""
        if interval != self.interval or count % self.frequency:
            return
        if not isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step()
        elif row is not None and self.monitor in row:
            self.scheduler.step(row[self.monitor])
        else:
            labels = [label for label in row or () if label != "epoch"]
            warn(
                f"The learning rate stays as it is: {type(self.scheduler).__name__} watches "
                f"{self.monitor!r}, which was not recorded.{did_you_mean(self.monitor, labels)} "
                f"There are {', '.join(labels) or 'no values'}.",
                IgnoredSettingWarning,
            )


def read_optimizers(returned: Any, model: Any) -> tuple[Any, list[Schedule]]:
    """The optimizer and the schedules in what a model's `configure_optimizers` returned.

    The forms are the usual ones: an optimizer; an optimizer and a scheduler; a list of one
    optimizer and a list of schedulers; or a dictionary {"optimizer": ..., "lr_scheduler": ...}.
    Wherever a scheduler may stand, a dictionary with the keys of `Schedule` may, too.

    Raises:
        ModelError: If it is none of these.
        ConfigError: If a schedule's settings cannot be used.
    """
    schedulers: list[Any] = []
    optimizer = returned
    if isinstance(returned, Mapping):
        unknown = set(returned) - {"optimizer", "lr_scheduler", "monitor"}
        if unknown or "optimizer" not in returned:
            raise ModelError(_form(model, f"a dictionary with the keys {list(returned)}"))
        optimizer = returned["optimizer"]
        given = returned.get("lr_scheduler")
        schedulers = [] if given is None else [given]
        if "monitor" in returned and given is not None:
            as_dict = given if isinstance(given, Mapping) else {"scheduler": given}
            schedulers = [{"monitor": returned["monitor"], **as_dict}]
    elif isinstance(returned, list | tuple):
        first, rest = returned[:1], returned[1:]
        if rest and isinstance(first[0], list | tuple) and len(rest) == 1:
            first, rest = first[0], rest[0]
            rest = rest if isinstance(rest, list | tuple) else [rest]
        if len(first) != 1 or any(hasattr(item, "zero_grad") for item in rest):
            raise ModelError(_form(model, "several optimizers" if first else "no optimizer"))
        optimizer, schedulers = first[0], list(rest)
    if optimizer is None:
        raise ModelError(missing_optimizer(model))
    if not _has(optimizer, "step", "zero_grad"):
        raise ModelError(_form(model, f"{type(optimizer).__name__} {optimizer!r:.60}"))
    return optimizer, [_schedule(given, model) for given in schedulers]


def needs_closure(step: Any) -> bool:
    """Whether an optimizer's step has to be given a function that computes the loss anew."""
    try:
        closure = inspect.signature(step).parameters.get("closure")
    except (TypeError, ValueError):
        return False
    return closure is not None and closure.default is closure.empty


def learning_rate(optimizer: Any) -> float | None:
    """The learning rate of an optimizer, of its first group of parameters if it has several."""
    groups = getattr(optimizer, "param_groups", None)
    rate = groups[0].get("lr") if groups else getattr(optimizer, "lr", None)
    return None if rate is None else float(rate)


def _schedule(given: Any, model: Any) -> Schedule:
    is_dict = isinstance(given, Mapping) and "scheduler" in given
    settings = given if is_dict else {"scheduler": given}
    for key in settings:
        if key not in _KEYS:
            raise ConfigError(
                f"A scheduler's dictionary has no key {key!r}.{did_you_mean(str(key), _KEYS)} "
                f"It has {', '.join(_KEYS)}."
            )
    schedule = Schedule(**settings)
    scheduler = schedule.scheduler
    if not _has(scheduler, "step", "state_dict"):
        found = f"{type(scheduler).__name__} {scheduler!r:.60} as a scheduler"
        raise ModelError(_form(model, found))
    if schedule.interval not in ("epoch", "step"):
        raise ConfigError(
            f'The interval of a scheduler is "epoch" or "step", but it is {schedule.interval!r}.'
        )
    if schedule.interval == "step" and isinstance(scheduler, ReduceLROnPlateau):
        raise ConfigError(
            f'The interval of {type(scheduler).__name__} is "epoch", because it watches the means '
            f'of epochs, but it is "step".'
        )
    check_whole_number(schedule.frequency, "frequency", at_least=1)
    return schedule


def _has(value: Any, *methods: str) -> bool:
    """Whether `value` has all of these methods, and is no class that nobody made an object of."""
    return not isinstance(value, type) and all(hasattr(value, name) for name in methods)


def _form(model: Any, found: str) -> str:
    return (
        f"{type(model).__name__}.configure_optimizers returned {found}. It returns one optimizer, "
        f"or `[optimizer], [scheduler]`, or "
        f'{{"optimizer": ..., "lr_scheduler": {{"scheduler": ..., "interval": "step"}}}}.'
    )
