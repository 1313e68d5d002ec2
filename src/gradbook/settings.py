"""The settings of a trainer: which of them change the result, and which a stack can have.

What reads a setting from afar asks here: a resumed training compares settings, and a stack of
models must do what each would do alone. A setting of which nothing is declared, such as one that
a learner's own trainer takes, is compared, and its training is never stacked: forgetting a line
here costs speed, and no result.
"""

import inspect
from dataclasses import dataclass
from typing import Any

from gradbook.hparams import plain

#: For `Setting.stacked`: every value.
_ANY = None


@dataclass(frozen=True)
class Setting:
    """What is known of one setting of `Trainer`.

    Attributes:
        changes_result: Whether a training that goes on must have it as it was.
        stacked: The values with which each model of a stack does what it does alone; None for
            every value.
    """

    changes_result: bool = True
    stacked: tuple[Any, ...] | None = ()


#: Every argument of `Trainer`.
SETTINGS = {
    "max_epochs": Setting(changes_result=False, stacked=_ANY),
    # The device, compiling and determinism are compared as the place of a training.
    "num_gpus": Setting(changes_result=False, stacked=_ANY),
    "gradient_clip_val": Setting(stacked=(0,)),
    "gradient_clip_algorithm": Setting(stacked=_ANY),
    "accumulate_grad_batches": Setting(stacked=(1,)),
    "precision": Setting(stacked=("32",)),
    "deterministic": Setting(changes_result=False, stacked=(False,)),
    "compile": Setting(changes_result=False, stacked=(False,)),
    "limit_batches": Setting(stacked=_ANY),
    "overfit_batches": Setting(stacked=_ANY),
    "monitor": Setting(stacked=_ANY),
    "mode": Setting(stacked=_ANY),
    "patience": Setting(stacked=(None,)),
    "min_delta": Setting(stacked=_ANY),
    "keep_best": Setting(stacked=_ANY),
    "display": Setting(changes_result=False, stacked=_ANY),
    "sinks": Setting(changes_result=False, stacked=_ANY),
    "run": Setting(changes_result=False, stacked=_ANY),
    "watch": Setting(changes_result=False, stacked=((), [])),
}

_UNKNOWN = Setting()


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


def compared_settings(trainer: Any) -> dict[str, Any]:
    """The settings on which the result depends, as plain values."""
    return {
        name: plain(value)
        for name, value in settings_of(trainer).items()
        if SETTINGS.get(name, _UNKNOWN).changes_result
    }


def unstackable_setting(trainer: Any) -> str | None:
    """A setting that works on one model at a time, in words; None if there is none."""
    for name, value in settings_of(trainer).items():
        known = SETTINGS.get(name, _UNKNOWN)
        if known.stacked is not None and not any(value == neutral for neutral in known.stacked):
            return f"its {name} is {plain(value)!r:.60}, which works on one model at a time"
    return None
