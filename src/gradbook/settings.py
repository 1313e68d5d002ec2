"""The settings of a trainer, each declared once.

A `Trainer` is made from the fields of `Settings`. What is said of a field here is all that the rest
of the library knows of it: the signature of `Trainer.__init__`, its checks, the defaults that the
class has, what a resumed training compares, what a stack of models may have, what the command and
a sweep offer, and the warning where a replaced method never reads it.

To add a setting: a field here, its use, a line in the docstring of `Trainer`, and a test.
"""

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar, dataclass_transform, get_type_hints

from gradbook import checks
from gradbook.errors import ConfigError, IgnoredSettingWarning, shown, warn
from gradbook.execution import NAMES as PRECISIONS
from gradbook.execution import Name as Precision
from gradbook.hparams import HyperParameters, plain
from gradbook.optim import OPTIMIZERS, SCHEDULERS, WITH_MOMENTUM
from gradbook.record import Sink, YScale
from gradbook.registry import WATCHERS
from gradbook.stopping import BestSoFar, Mode
from gradbook.storage import check_path

T = TypeVar("T")

#: Raises ConfigError unless a value, given first, can be that of the setting of a name.
Check = Callable[[Any, str], Any]

OptimizerName = Literal["sgd", "adagrad", "rmsprop", "adadelta", "adam", "adamw"]
SchedulerName = Literal["cosine", "onecycle", "plateau"]
Strategy = Literal["ddp", "fsdp"]

#: For `Setting.stacked`: every value.
ANY = None

_BY_PLACE = inspect.Parameter.POSITIONAL_OR_KEYWORD


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of one setting.

    A new one that says no more than it must is compared on resume, and its training is never
    stacked: forgetting something costs speed, and no result.

    Attributes:
        default: Its value where none is given; without one it has to be.
        kw_only: Whether it is given by name only.
        check: What a value must fulfill. None is checked where it is not the default.
        read: Makes of what is given what is kept.
        read_by: The methods that read it, of those of the trainer, and of the model's
            `configure_optimizers`, that a learner may replace: it has no effect then.
        changes_result: Whether a training that goes on must have it as it was.
        stacked: The values with which each model of a stack does what it does alone; None for
            every value.
        is_place: Whether it says where a training is shown and kept, which the command and a sweep
            decide themselves, and a run does not note.
        is_recorded: Whether a run notes it among its hyperparameters.
    """

    default: Any = inspect.Parameter.empty
    kw_only: bool = True
    check: Check
    read: Callable[[Any], Any] | None = None
    read_by: tuple[str, ...]
    changes_result: bool = True
    stacked: tuple[Any, ...] | None = ()
    is_place: bool = False
    is_recorded: bool = True


def setting(**known: Any) -> Any:
    """A field of a class that `declares_settings` decorates, with what is known of it."""
    return Setting(**known)


def place(**known: Any) -> Any:
    """The same for one that says where a training is shown and kept."""
    return Setting(changes_result=False, stacked=ANY, is_place=True, **known)


def settings_declared(Class: type) -> dict[str, Setting]:
    """What is known of the settings of a class of trainers, by name."""
    return dict(getattr(Class, "declared_settings", {}))


@dataclass_transform(kw_only_default=True, field_specifiers=(setting, place))
def declares_settings(Class: type[T]) -> type[T]:
    """Gives a class an `__init__` that takes its settings, checks them and keeps them.

    The defaults stay on the class, because the book replaces `__init__` by one that knows only its
    own settings. Type checkers and editors see the signature as they see a dataclass's.

    Args:
        Class: A class whose fields have an annotation and a `setting`. Those of a base that was
            decorated come first.
    """
    own = {name: value for name, value in vars(Class).items() if isinstance(value, Setting)}
    for name, declared in own.items():
        if declared.default is inspect.Parameter.empty:
            delattr(Class, name)
        else:
            setattr(Class, name, declared.default)
    made: Any = Class
    made.declared_settings = {**settings_declared(Class), **own}
    hints = get_type_hints(Class)
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY if one.kw_only else _BY_PLACE,
            default=one.default,
            annotation=hints[name],
        )
        for name, one in made.declared_settings.items()
    ]
    signature = inspect.Signature(parameters, return_annotation=None)

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it becomes that
        self._take(_bound(signature, args, kwargs))

    init: Any = __init__
    me = inspect.Parameter("self", _BY_PLACE)
    init.__signature__ = signature.replace(parameters=[me, *parameters])
    init.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    init.__qualname__, init.__module__ = f"{Class.__qualname__}.__init__", Class.__module__
    made.__init__ = init
    return Class


def _bound(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The value of each setting; ConfigError says what arguments that are none are called."""
    parameters = signature.parameters
    num_places = sum(one.kind is not one.KEYWORD_ONLY for one in parameters.values())
    known = list(parameters)
    unknown = [name for name in kwargs if name not in known]
    if unknown:
        raise ConfigError(checks.unknown_settings(unknown, known))
    if len(args) > num_places or (args and checks.is_model(args[0])):
        raise ConfigError(
            f"Trainer takes {', '.join(known[:num_places])} in this order, and everything else "
            f"by name. Model and data belong to fit, as in "
            f"`Trainer(max_epochs=10).fit(model, data)`."
        )
    if not args and "max_epochs" not in kwargs:
        raise ConfigError("Trainer needs max_epochs, as in `Trainer(max_epochs=10)`.")
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:  # as one that is given twice
        raise ConfigError(f"Trainer cannot be made: {error}.") from None
    bound.apply_defaults()
    return dict(bound.arguments)


def _whole(at_least: int) -> Check:
    return partial(checks.check_whole_number, at_least=at_least)


def _one_of(*choices: str) -> Check:
    return partial(checks.check_choice, choices=choices)


def _anything(value: Any, name: str) -> None:
    """Whoever uses it says what is wrong with it."""


def _check_limit(value: Any, name: str) -> None:
    checks.check_positive(value, name)
    if value >= 1:
        checks.check_whole_number(value, name, at_least=1)


def _check_label(value: Any, name: str) -> None:
    if not isinstance(value, str):
        raise ConfigError(
            f"{name} is the label of a curve, such as 'val_loss', but it is {shown(value)}."
        )


def _check_watched(value: Any, name: str) -> None:
    for watched in value:
        checks.check_choice(watched, name, tuple(WATCHERS))


def _check_sinks(value: Any, name: str) -> None:
    for sink in value:
        if not isinstance(sink, Sink):
            raise ConfigError(f"{name} must be a list of Sink objects, but holds {sink!r}.")


def _check_run(value: Any, name: str) -> None:
    if not isinstance(value, Sink):
        check_path(value, name, "runs")


def _as_list(given: Any) -> list[Any]:
    """A list of one value, or of several; its check looks at any other value."""
    is_one = isinstance(given, str | Sink) or not isinstance(given, Iterable)
    return [given] if is_one else list(given)


@declares_settings
class Settings(HyperParameters):
    """All that a `Trainer` is made from. Its docstring says what each setting means."""

    max_epochs: int = setting(
        kw_only=False, check=_whole(1), read_by=(), changes_result=False, stacked=ANY
    )
    # The device, compiling and determinism are compared as the place of a training.
    num_gpus: int = setting(
        default=0, kw_only=False, check=_whole(0), read_by=(), changes_result=False, stacked=ANY
    )
    gradient_clip_val: float = setting(
        default=0, kw_only=False, check=checks.check_number, read_by=(), stacked=(0,)
    )
    gradient_clip_algorithm: Literal["norm", "value"] = setting(
        default="norm", check=_one_of("norm", "value"), read_by=(), stacked=ANY
    )
    accumulate_grad_batches: int = setting(
        default=1, check=_whole(1), read_by=("fit_epoch",), stacked=(1,)
    )
    optimizer: OptimizerName | None = setting(
        default=None, check=_one_of(*OPTIMIZERS), read_by=("configure_optimizers",), stacked=ANY
    )
    momentum: float = setting(
        default=0, check=checks.check_number, read_by=("configure_optimizers",), stacked=ANY
    )
    weight_decay: float = setting(
        default=0, check=checks.check_number, read_by=("configure_optimizers",), stacked=ANY
    )
    scheduler: SchedulerName | None = setting(
        default=None, check=_one_of(*SCHEDULERS), read_by=("configure_optimizers",), stacked=ANY
    )
    precision: Precision = setting(
        default="32", check=_one_of(*PRECISIONS), read_by=("fit", "fit_epoch"), stacked=("32",)
    )
    deterministic: bool = setting(
        default=False,
        check=checks.check_switch,
        read_by=("fit",),
        changes_result=False,
        stacked=(False,),
    )
    compile: bool = setting(
        default=False,
        check=checks.check_switch,
        read_by=("fit",),
        changes_result=False,
        stacked=(False,),
    )
    strategy: Strategy = setting(
        default="ddp",
        check=_one_of("ddp", "fsdp"),
        read_by=("fit",),
        changes_result=False,
        stacked=ANY,
    )
    sync_batchnorm: bool = setting(
        default=False, check=checks.check_switch, read_by=("fit",), stacked=(False,)
    )
    limit_batches: int | float | None = setting(
        default=None, check=_check_limit, read_by=("fit",), stacked=ANY
    )
    overfit_batches: int | None = setting(
        default=None, check=_whole(1), read_by=("fit",), stacked=ANY
    )
    monitor: str | None = setting(default=None, check=_check_label, read_by=("fit",), stacked=ANY)
    mode: Mode = setting(
        default="auto", check=_one_of("auto", "min", "max"), read_by=("fit",), stacked=ANY
    )
    patience: int | None = setting(default=None, check=_whole(1), read_by=("fit",), stacked=(None,))
    min_delta: float = setting(
        default=0.0, check=checks.check_number, read_by=("fit",), stacked=ANY
    )
    keep_best: bool = setting(
        default=False, check=checks.check_switch, read_by=("fit",), stacked=ANY
    )
    # A board outside any training draws itself, so that nothing is without effect.
    display: bool | str | None = place(default=None, check=_anything, read_by=())
    yscale: YScale | None = place(
        default=None, check=_one_of("auto", "linear", "log"), read_by=("fit",)
    )
    sinks: Sequence[Sink] = place(default=(), check=_check_sinks, read=_as_list, read_by=("fit",))
    run: "str | os.PathLike[str] | Sink | None" = place(
        default=None, check=_check_run, read_by=("fit",)
    )
    watch: str | Sequence[str] = setting(
        default=(),
        check=_check_watched,
        read=_as_list,
        read_by=("fit",),
        changes_result=False,
        stacked=((), []),
        is_recorded=False,
    )

    def _take(self, values: dict[str, Any]) -> None:
        """Checks the settings and keeps them."""
        declared = settings_declared(type(self))
        for name, value in values.items():
            read = declared[name].read
            values[name] = value if read is None else read(value)
        self._set_each(values)
        self.hparams = {**getattr(self, "hparams", {}), **values}
        for name, value in values.items():
            if value is not None or declared[name].default is not None:
                declared[name].check(value, name)
        BestSoFar(self.monitor, self.mode, self.min_delta, self.patience)  # which go together
        self._settled()

    def _settled(self) -> None:
        """Called when all settings are there, each of them as it should be."""
        if self.gradient_clip_algorithm == "value" and not self.gradient_clip_val:
            warn(
                'gradient_clip_algorithm="value" clips nothing while gradient_clip_val is 0. '
                "Set gradient_clip_val to the largest size that an element may have.",
                IgnoredSettingWarning,
            )
        if self.momentum and self.optimizer not in (None, *WITH_MOMENTUM):
            raise ConfigError(
                f"momentum={self.momentum:g} is a setting of {' and '.join(WITH_MOMENTUM)}, and "
                f"{self.optimizer} has none of that name. Leave it out."
            )
        if self.min_delta and self.patience is None and not self.keep_best and self.run is None:
            warn(
                f"min_delta={self.min_delta:g} changes nothing without patience, keep_best or run.",
                IgnoredSettingWarning,
            )


#: The settings of the library's own `Trainer`.
SETTINGS = settings_declared(Settings)

#: Those that the command and a sweep decide themselves, and those that a run does not note.
PLACES = tuple(name for name, known in SETTINGS.items() if known.is_place)
#: Those that a resumed training may have otherwise than it began with.
FREE = tuple(
    name for name, known in SETTINGS.items() if not (known.changes_result or known.is_place)
)
UNRECORDED = tuple(
    name for name, known in SETTINGS.items() if known.is_place or not known.is_recorded
)

#: What is taken to hold of a setting of which nothing is declared, as of a learner's own trainer.
_UNKNOWN = Setting(check=_anything, read_by=())


def settings_of(trainer: Any) -> dict[str, Any]:
    """All settings of a trainer by name, those included that only its own class takes."""
    kept = getattr(trainer, "hparams", {})
    names, bundles = [*SETTINGS, *kept], set()
    for base in type(trainer).__mro__:
        if "__init__" in vars(base) and base is not object:
            parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
            names += [parameter.name for parameter in parameters]
            bundles |= {p.name for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    return {
        name: getattr(trainer, name, kept.get(name))
        for name in dict.fromkeys(names)
        if name not in bundles and (hasattr(trainer, name) or name in kept)
    }


def _known_settings(trainer: Any) -> Iterator[tuple[str, Any, Setting]]:
    declared = settings_declared(type(trainer))
    for name, value in settings_of(trainer).items():
        yield name, value, declared.get(name, _UNKNOWN)


def compared_settings(trainer: Any) -> dict[str, Any]:
    """The settings on which the result depends, as plain values."""
    return {
        name: plain(value)
        for name, value, known in _known_settings(trainer)
        if known.changes_result
    }


def unstackable_setting(trainer: Any) -> str | None:
    """A setting that works on one model at a time, in words; None if there is none."""
    for name, value, known in _known_settings(trainer):
        if known.stacked is not None and not any(value == neutral for neutral in known.stacked):
            return f"its {name} is {plain(value)!r:.60}, which works on one model at a time"
    return None


def warn_of_ignored(trainer: Any, method: str) -> None:
    """Says which settings are without effect because a method was replaced that reads them."""
    for name, known in settings_declared(type(trainer)).items():
        if method not in known.read_by:
            continue
        value = getattr(trainer, name)
        if value and value != known.default:
            warn(
                f"{name}={value!r} has no effect, because {method} has been replaced by a "
                f"method that does not know it. Bring back the library's own, or do without.",
                IgnoredSettingWarning,
            )
