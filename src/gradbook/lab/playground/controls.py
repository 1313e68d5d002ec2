"""What can be set in the playground: controls made from the signatures of the model and the data.

A setting is a text, as on the command line, and means the same there: the settings of a training
are the words of a `gradbook train`. What is set here comes from a page: no setting is a file or an
address, and none is so large that the machine would suffer.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from gradbook.cli.classes import Found
from gradbook.cli.options import Option, give_flags, options_of, show
from gradbook.cli.reading import REQUIRED
from gradbook.cli.subject import TRAINER_DEFAULTS
from gradbook.data import inmost
from gradbook.datasets.toy import ToyData
from gradbook.errors import ConfigError, did_you_mean, shown
from gradbook.models.mlp import ACTIVATIONS
from gradbook.registry import DATA, MODELS
from gradbook.seeds import SEED_LIMIT
from gradbook.trainer import Trainer
from gradbook.untrusted import is_a_place

#: The trainer's settings that are offered. The others need more than a page, or slow it down.
_OF_TRAINER = (
    *("max_epochs", "optimizer", "momentum", "weight_decay"),
    *("gradient_clip_val", "scheduler"),
)

#: Arguments of models that follow from the data, and are no settings where they do.
FITTED = ("num_inputs", "num_outputs")

#: The largest whole numbers, by name, and that of every other name.
_LARGEST = {
    **{"batch_size": 8192, "num_train": 20_000, "num_val": 20_000, "max_epochs": 10_000},
    **{"num_classes": 20, "seed": SEED_LIMIT - 1},
}
_LARGEST_OTHER, _MOST_ITEMS, _LONGEST_TEXT = 4096, 8, 200
_LARGEST_FLOAT = 1e6


@dataclass(frozen=True)
class Slider:
    """How a number is slid: from where to where, "linear" or "log"."""

    low: float
    high: float
    scale: str = "linear"


_SLIDERS = {
    "lr": Slider(1e-4, 10, "log"),
    "learning_rate": Slider(1e-4, 10, "log"),
    "sigma": Slider(1e-4, 1, "log"),
    "noise": Slider(0, 1),
    "dropout": Slider(0, 0.9),
    "momentum": Slider(0, 0.99),
    "weight_decay": Slider(0, 0.1),
    "gradient_clip_val": Slider(0, 10),
    "batch_size": Slider(1, 512, "log"),
    "num_train": Slider(10, 2000, "log"),
    "num_val": Slider(0, 1000),
    "max_epochs": Slider(1, 5000, "log"),
    "num_classes": Slider(2, 8),
}
#: The width of a hidden layer.
_WIDTH = Slider(1, 64)

#: What the playground begins with where another value shows more there: networks small enough to
#: be seen through, and time to look.
_BEGIN_ON_POINTS = {"num_hiddens": "8,8", "max_epochs": "1000"}
_BEGIN_ELSEWHERE = {"num_hiddens": "64"}


@dataclass(frozen=True)
class Control:
    """One setting, as the page shows it.

    Attributes:
        name: By which it is set.
        group: "model", "data", "trainer" or "run", which is the seed.
        kind: "int", "float", "bool", "choice", "widths" (whole numbers, a layer each) or "text".
        default: The class's own; None if it has none.
        begin: What the playground begins with, if that is another.
        help: What the docstring says of it.
        choices: Of a choice, all values.
        slider: Of a number, how it is slid.
        largest: The largest number that is taken.
        option: How the command knows it.
    """

    name: str
    group: str
    kind: str
    default: str | None
    begin: str | None = None
    help: str = ""
    choices: tuple[str, ...] = ()
    slider: Slider | None = None
    largest: float | None = None
    option: Option | None = field(default=None, repr=False)

    @property
    def plain(self) -> dict[str, Any]:
        """For JSON."""
        told = asdict(self)
        del told["option"]
        return told

    def check(self, text: str) -> None:
        """Raises ConfigError if a value is none that the playground takes."""
        name = f"The setting {self.name}"
        if len(text) > _LONGEST_TEXT:
            raise ConfigError(f"{name} has {len(text)} characters, and may have {_LONGEST_TEXT}.")
        if is_a_place(self.name, text):
            raise ConfigError(f"{name} is {shown(text)}: no file or address can be set here.")
        if self.kind == "choice" and text not in self.choices:
            listed = ", ".join(self.choices)
            raise ConfigError(f"{name} is {shown(text)}, but it is one of {listed}.")
        items = text.strip("[]() ").split(",")
        if len(items) > _MOST_ITEMS:
            raise ConfigError(f"{name} has {len(items)} values, and may have {_MOST_ITEMS}.")
        largest = _LARGEST_FLOAT if self.largest is None else self.largest
        for item in items:
            try:
                number = float(item)
            except ValueError:
                continue  # the command's own reading says what is wrong with it
            if not math.isfinite(number) or abs(number) > largest:
                raise ConfigError(f"{name} is {shown(text)}: at most {largest:g} is taken here.")


def controls_of(model: Found, data: Found) -> list[Control]:
    """All that can be set for a model on a data set, the seed first.

    Raises:
        ConfigError: If it cannot be known what a class is made from.
    """
    on_points = issubclass(data.Class, ToyData)
    begins = _BEGIN_ON_POINTS if on_points else _BEGIN_ELSEWHERE
    every = options_of(model.Class, "model", _defaults(model, MODELS))
    every += options_of(data.Class, "data", _defaults(data, DATA))
    trainer = options_of(Trainer, "trainer", TRAINER_DEFAULTS)
    every += [option for option in trainer if option.name in _OF_TRAINER]
    seed = Control(
        "seed", "run", "int", "1", help="The same seed gives the same training.", largest=2**32 - 1
    )
    controls = [
        _control(option, begins.get(option.name))
        for option in give_flags(every, ("--seed", "--model", "--data", "--lr-at"))
        if not is_a_place(option.name, "a name") and "PATH" not in option.metavar
    ]
    return [seed, *controls]


def _defaults(found: Found, known: Mapping[str, Any]) -> dict[str, Any]:
    return dict(known[found.name].defaults) if found.name in known else {}


def _control(option: Option, begin: str | None) -> Control:
    name = option.flag.removeprefix("--").replace("-", "_")
    default = None if option.default is REQUIRED else show(option.default)
    kind, choices = _kind_of(option)
    slider = largest = None
    if kind in ("int", "float", "widths"):
        is_whole = kind != "float"
        number = option.default if isinstance(option.default, int | float) else None
        largest = _LARGEST.get(option.name, _LARGEST_OTHER) if is_whole else _LARGEST_FLOAT
        largest = max(largest, abs(number or 0))
        slider = _WIDTH if kind == "widths" else _slider(option.name, number, is_whole)
    if begin == default or (begin is not None and default is None):
        begin = None
    return Control(
        name, option.group, kind, default, begin, option.help, choices, slider, largest, option
    )


def _kind_of(option: Option) -> tuple[str, tuple[str, ...]]:
    written = option.metavar
    if option.name == "activation" and option.default in ACTIVATIONS:
        return "choice", tuple(ACTIVATIONS)
    if written.startswith("{") and written.endswith("}"):
        choices = tuple(written[1:-1].split(","))
        return "choice", ("none", *choices) if option.default is None else choices
    if written == "INT|INT,...":
        return "widths", ()
    kinds = {"INT": "int", "FLOAT": "float", "BOOL": "bool"}
    return ("text" if option.default is None else kinds.get(written, "text")), ()


def _slider(name: str, default: float | None, is_whole: bool) -> Slider | None:
    if name in _SLIDERS:
        return _SLIDERS[name]
    if default is None or default < 0 or not math.isfinite(default):
        return None
    if not is_whole and default <= 1:
        return Slider(0, 1)
    high = max(8, 4 * default)
    return Slider(1 if is_whole and default else 0, high, "log" if high > 200 else "linear")


def completed(controls: Collection[Control], given: Mapping[str, str]) -> dict[str, str]:
    """The settings with what the playground begins with where nothing is given, checked.

    Raises:
        ConfigError: If there is no such setting, or a value is none that is taken.
    """
    known = {control.name: control for control in controls}
    for name, text in given.items():
        if name not in known:
            raise ConfigError(
                f"There is no setting {shown(name)} for this model and these data."
                f"{did_you_mean(name, known)}"
            )
        known[name].check(text)
    begin = {c.name: c.begin for c in controls if c.begin is not None}
    return {"seed": "1", **begin, **given}


def words_of(
    model: str, data: str, controls: Collection[Control], settings: Mapping[str, str]
) -> list[str]:
    """The words after `gradbook train` that ask for the same."""
    words = [model, f"--data={data}"]
    for control in controls:
        if control.name not in settings:
            continue
        text, option = settings[control.name], control.option
        flag = "--seed" if option is None else option.written
        if option is not None and control.kind == "bool":
            is_on = text.lower() in ("true", "yes", "on", "1")
            words.append(flag if is_on else f"--no-{flag[2:]}")
        else:
            words.append(f"{flag}={text}")
    return words


def fitted(data: Any, names: Collection[str]) -> dict[str, int]:
    """What follows from the data for arguments of a model that `FITTED` names.

    Args:
        data: The data.
        names: The arguments that the model has.
    """
    wanted = [name for name in FITTED if name in names]
    if not wanted:
        return {}
    loader = inmost(data.train_dataloader())
    tensors = getattr(loader, "tensors", None)
    X, y = (
        (tensors[0], tensors[-1])
        if tensors
        else (lambda batch: (batch[0], batch[-1]))(next(iter(loader)))
    )
    if not isinstance(X, torch.Tensor) or not isinstance(y, torch.Tensor) or not len(X):
        return {}
    found = {"num_inputs": X[0].numel()}
    if y.dim() == 1 and not y.is_floating_point():
        found["num_outputs"] = int(y.max()) + 1
    elif y.is_floating_point():
        found["num_outputs"] = y[0].numel()
    return {name: found[name] for name in wanted if name in found}
