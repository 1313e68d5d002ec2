"""What `configure_optimizers` may return: an optimizer, alone or with learning-rate schedulers."""

import dis
import inspect
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from gradbook.checks import check_whole_number, missing_optimizer
from gradbook.errors import (
    CheckpointError,
    ConfigError,
    IgnoredSettingWarning,
    ModelError,
    did_you_mean,
    warn,
)
from gradbook.labels import higher_is_better
from gradbook.seeds import random_state, restore_random_state

_KEYS = ("scheduler", "interval", "frequency", "monitor")


@dataclass
class Schedule:
    """A learning-rate scheduler, and when it is asked for the next rate.

    Attributes:
        scheduler: A scheduler of PyTorch, or anything with `step()` and `state_dict()`.
        interval: "epoch" or "step", which is an update of the optimizer.
        frequency: It steps once in so many epochs or steps.
        monitor: The label that `ReduceLROnPlateau` watches.
        has_warned: Whether it was said that this label is not recorded.
    """

    scheduler: Any
    interval: str = "epoch"
    frequency: int = 1
    monitor: str = "val_loss"
    has_warned: bool = False

    def end(self, interval: str, count: int, row: Mapping[str, float] | None = None) -> None:
        """An epoch or a step is over; `count` of them are, and `row` has the epoch's means."""
        if interval != self.interval or count % self.frequency:
            return
        if not isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step()
        elif row is not None and self.monitor in row:
            self.scheduler.step(row[self.monitor])
        elif not self.has_warned:
            labels = [label for label in row or () if label != "epoch"]
            self.has_warned = True
            warn(
                f"The learning rate stays as it is: {type(self.scheduler).__name__} watches "
                f"{self.monitor!r}, which was not recorded.{did_you_mean(self.monitor, labels)} "
                f"There are {', '.join(labels) or 'no values'}.",
                IgnoredSettingWarning,
            )


@dataclass(frozen=True)
class Length:
    """How long a training is, for what is planned ahead.

    Attributes:
        epochs: All its epochs, those included that were done before it was resumed.
        updates: The updates of the optimizer in an epoch.
        is_cut: Whether the epochs are shorter than the data for a quick look.
        has_validation: Whether there is a validation set.
        is_resumed: Whether it goes on from a checkpoint.
    """

    epochs: int
    updates: int
    is_cut: bool = False
    has_validation: bool = True
    is_resumed: bool = False

    def steps(self, schedule: Schedule) -> int:
        """How often a scheduler is stepped in all."""
        per_epoch = self.updates if schedule.interval == "step" else 1
        return self.epochs * per_epoch // schedule.frequency


def check_schedules(optimizer: Any, schedules: Iterable[Schedule], length: Length) -> None:
    """Warns of schedules that cannot do what they were meant to, before the first step."""
    for schedule in schedules:
        for problem in _problems(optimizer, schedule, length):
            warn(problem, IgnoredSettingWarning)


def _problems(optimizer: Any, schedule: Schedule, length: Length) -> Iterator[str]:
    scheduler, name = schedule.scheduler, type(schedule.scheduler).__name__
    theirs = getattr(scheduler, "optimizer", None)
    if theirs is not None and not _share_groups(theirs, optimizer):
        yield (
            f"{name} sets the rate of another optimizer ({type(theirs).__name__}) than the one "
            f"that trains ({type(optimizer).__name__}), which keeps its own. Make it with the "
            f"optimizer that configure_optimizers returns."
        )
        return
    is_plateau = isinstance(scheduler, ReduceLROnPlateau)
    if is_plateau:
        yield from _problems_of_plateau(scheduler, schedule, length)
    done = getattr(scheduler, "last_epoch", 0)
    if not length.is_resumed and isinstance(done, int) and done > 0:
        yield (
            f"{name} was stepped {done} times before the training, and continues "
            f"from there. Make a new one in configure_optimizers, and let the Trainer step it."
        )
    elif not is_plateau:
        yield from _problems_of_length(scheduler, length.steps(schedule), schedule, length)


def _problems_of_plateau(scheduler: Any, schedule: Schedule, length: Length) -> Iterator[str]:
    monitor = schedule.monitor
    if monitor.startswith("val_") and not length.has_validation:
        schedule.has_warned = True
        yield (
            f"The learning rate stays as it is: ReduceLROnPlateau watches {monitor!r}, but there "
            f'is no validation set. Watch another value, such as "monitor": "train_loss".'
        )
        return
    is_highest = higher_is_better(monitor)
    wanted = None if is_highest is None else "max" if is_highest else "min"
    mode = getattr(scheduler, "mode", wanted)
    if wanted is not None and mode != wanted:
        best = "highest" if is_highest else "lowest"
        yield (
            f'ReduceLROnPlateau(mode="{mode}") watches {monitor!r}, whose {best} value is the '
            f"best, so that it lowers the learning rate while {monitor!r} improves. Make it with "
            f'mode="{wanted}".'
        )


def _problems_of_length(
    scheduler: Any, steps: int, schedule: Schedule, length: Length
) -> Iterator[str]:
    """What is wrong with a scheduler, or with its parts, that is stepped so many times."""
    name = type(scheduler).__name__
    parts = getattr(scheduler, "_schedulers", None)
    if isinstance(scheduler, ChainedScheduler) and parts:
        for part in parts:
            yield from _problems_of_length(part, steps, schedule, length)
        return
    if isinstance(scheduler, SequentialLR) and parts:
        ends = [*scheduler._milestones, steps]
        if steps <= ends[-2] and not length.is_cut:
            yield (
                f"{name} reaches its last scheduler after {ends[-2]} steps, but "
                f"{_to_come(steps, schedule, length)}. {_remedy(ends[-2], schedule, length)}."
            )
            return
        for part, begin, end in zip(parts, [0, *ends], ends, strict=False):
            if begin < steps:  # a cut training ends before the later parts begin
                yield from _problems_of_length(part, min(end, steps) - begin, schedule, length)
        return
    if isinstance(scheduler, LambdaLR | MultiplicativeLR):
        yield from _problems_of_factors(scheduler, steps)
        return
    found = next((k for k in _PLANNED if isinstance(scheduler, k)), None)
    if found is None or steps == 0:
        return
    setting, then, is_exact = _PLANNED[found]
    planned = getattr(scheduler, setting)
    is_warm_up = found is LinearLR and scheduler.start_factor < scheduler.end_factor
    # The rate that comes after the last update trains nothing, but a step too many may be an error.
    least = steps if is_exact else steps - 1
    if planned < least:
        if then is None or (found is LinearLR and scheduler.end_factor != 0):
            return
        problem = then
    elif planned <= steps or length.is_cut:
        return
    elif is_exact or 2 * steps < planned or is_warm_up:
        problem = "it does not reach its end"
    else:
        return
    yield (
        f"{name} has {setting}={planned}, but {_to_come(steps, schedule, length)}: {problem}. "
        f"{_remedy(planned, schedule, length, f'{setting}={steps}')}."
    )


def _problems_of_factors(scheduler: Any, steps: int) -> Iterator[str]:
    """What is wrong with the factors of functions. What may have a state is not asked."""
    name = type(scheduler).__name__
    asked = range(0, steps + 1, 1 + steps // _MOST_FACTORS)
    before = random_state()
    try:
        for function in scheduler.lr_lambdas:
            if not _leaves_no_trace(function):
                continue
            for step in asked:
                try:
                    factor = float(function(step))
                except Exception as error:
                    yield f"{name}'s function raises {type(error).__name__} at {step}: {error}."
                    break
                if not math.isfinite(factor) or factor < 0:
                    yield (
                        f"{name}'s function gives the factor {factor:g} at {step}, but a "
                        f"learning rate must be finite and at least 0. Bound the factor, as by "
                        f"max(0, factor)."
                    )
                    break
    finally:
        restore_random_state(before)


def check_goes_on(scheduler: Any) -> None:
    """Raises CheckpointError if a function of a resumed LambdaLR is another than it was.

    A checkpoint cannot hold the function, but it has the last rate that it gave.
    """
    if not isinstance(scheduler, LambdaLR):
        return
    step = scheduler.last_epoch
    rates = zip(scheduler.lr_lambdas, scheduler.base_lrs, scheduler.get_last_lr(), strict=True)
    for function, base, before in rates:
        code = getattr(function, "__code__", None)
        if not (_leaves_no_trace(function) or "max_epochs" in getattr(code, "co_names", ())):
            continue
        now = float(base * function(step))
        both_nan = math.isnan(now) and math.isnan(before)
        if not both_nan and not math.isclose(now, before, rel_tol=1e-6):
            raise CheckpointError(
                f"The function of {type(scheduler).__name__} is another than it was: its learning "
                f"rate after {step} steps was {before:g}, and is {now:g} now. If it is computed "
                f"from max_epochs, write a fixed number there instead, which stays as it is when "
                f"the training is made longer."
            )


def _leaves_no_trace(function: Any) -> bool:
    """Whether a call surely changes nothing: a function of numbers, modules and built-ins alone."""
    if not isinstance(function, FunctionType):
        return False
    outside = inspect.getclosurevars(function)
    reads = [*outside.nonlocals.values(), *outside.globals.values()]
    reads += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    has_functions = any(isinstance(constant, CodeType) for constant in function.__code__.co_consts)
    stores = any(step.opname in _STORES for step in dis.get_instructions(function))
    return not (has_functions or stores) and all(
        isinstance(value, int | float | BuiltinFunctionType)
        or (isinstance(value, ModuleType) and value.__name__ in ("math", "numpy", "torch"))
        for value in reads
    )


#: What code does that changes more than its own variables.
_STORES = {"STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR", "STORE_SUBSCR"}


def _to_come(steps: int, schedule: Schedule, length: Length) -> str:
    unit, updates, n = "epoch", "", schedule.frequency
    if schedule.interval == "step":
        unit, updates = "update", f" of {length.updates} updates"
    each = f"each {unit}" if n == 1 else f"every {n} {unit}s"
    times = "once" if steps == 1 else f"{steps} times"
    epochs = "1 epoch" if length.epochs == 1 else f"{length.epochs} epochs"
    return f"is stepped {times} (after {each}, in {epochs}{updates})"


def _remedy(planned: int, schedule: Schedule, length: Length, instead: str = "") -> str:
    """What to do: step it in the unit that it was planned in, or plan it anew."""
    if schedule.interval == "epoch" and length.epochs < planned <= length.epochs * length.updates:
        advice = 'Return it with "interval": "step" if updates are meant'
    elif schedule.interval == "step" and planned == length.epochs:
        advice = 'Return it with "interval": "epoch" if epochs are meant'
    else:
        return f"Give it {instead}" if instead else "Train longer, or give it earlier milestones"
    return f"{advice}, or give it {instead}" if instead else advice


def _share_groups(one: Any, other: Any) -> bool:
    """Whether two optimizers set the same rates; one may be wrapped in the other."""
    mine = {id(group) for group in getattr(other, "param_groups", ())}
    groups = getattr(one, "param_groups", None)
    return one is other or groups is None or any(id(group) in mine for group in groups)


#: The setting that says how long a scheduler is to be, what happens if the training is longer, and
#: whether it makes sense with no other length.
_PLANNED: dict[type, tuple[str, str | None, bool]] = {
    OneCycleLR: ("total_steps", "beyond total_steps it raises an error", True),
    CosineAnnealingLR: ("T_max", "beyond T_max the rate goes up again", False),
    PolynomialLR: ("total_iters", "beyond total_iters the rate is 0", False),
    LinearLR: ("total_iters", "beyond total_iters the rate is 0", False),
    CosineAnnealingWarmRestarts: ("T_0", None, False),
}

#: So many factors of a function are looked at.
_MOST_FACTORS = 10_000


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


def note_a_step(optimizer: Any) -> None:
    """Lets schedulers know that a step was taken elsewhere; they warn if one is missing."""
    optimizer._opt_called = True


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
