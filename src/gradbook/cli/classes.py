"""What MODEL and --data name: finished classes of gradbook, or classes in a learner's own file."""

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from gradbook.errors import ConfigError, did_you_mean
from gradbook.registry import DATA, MODELS, Entry
from gradbook.storage import kebab_case


@dataclass(frozen=True)
class Kind:
    """What is looked for: models or data sets.

    Attributes:
        noun: What to call one in a message.
        known: The finished ones.
        methods: What a class must have to be one.
        base: The class of gradbook to derive one from.
    """

    noun: str
    known: Mapping[str, Entry]
    methods: tuple[str, ...]
    base: str

    @property
    def aliases(self) -> dict[str, str]:
        """The names of the finished ones by each further name."""
        return {alias: name for name, entry in self.known.items() for alias in entry.aliases}

    def fits(self, value: Any) -> bool:
        """Whether `value` is a class of this kind. It need not be derived from ours."""
        return isinstance(value, type) and all(
            callable(getattr(value, method, None)) for method in self.methods
        )


MODEL = Kind("model", MODELS, ("training_step", "configure_optimizers"), "Module")
DATA_SET = Kind("data set", DATA, ("train_dataloader", "val_dataloader"), "DataModule")


@dataclass(frozen=True)
class Found:
    """A class that was asked for by name, and the name to ask for it again."""

    name: str
    Class: type

    @property
    def slug(self) -> str:
        """A name for a folder."""
        return self.name if self.name in MODELS else kebab_case(self.Class.__name__)


def find(text: str, kind: Kind) -> Found:
    """The class that `text` names: ours, `file.py`, `file.py:Class`, `module:Class` or `module`.

    Raises:
        ConfigError: If there is no such thing, or it is of another kind.
    """
    name = kebab_case(text)
    name = kind.aliases.get(name, name)
    if name in kind.known:
        return Found(name, kind.known[name].load())
    place, colon, class_name = text.rpartition(":")
    if not colon or not (class_name.isidentifier() or not class_name):
        place, class_name = text, ""
    if place.endswith(".py") or "/" in place or "\\" in place or Path(place).suffix == ".ipynb":
        return _pick(place, _load_file(place), class_name, kind)
    if (colon or "." in place) and all(place.split(".")):
        return _pick(place, _load_module(place), class_name, kind)
    raise ConfigError(_unknown(text, name, kind))


def _unknown(text: str, name: str, kind: Kind) -> str:
    hint = did_you_mean(name, [*kind.known, *kind.aliases])
    if not hint and Path(f"{text}.py").is_file():
        hint = f" Did you mean '{text}.py'?"
    return (
        f"There is no {kind.noun} {text!r}.{hint} There are {', '.join(kind.known)}; a class of "
        f"your own is written my_file.py:MyClass."
    )


def _pick(place: str, module: ModuleType, class_name: str, kind: Kind) -> Found:
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__
    ]
    fitting = [Class.__name__ for Class in own if kind.fits(Class)]
    if class_name:
        value = getattr(module, class_name, None)
        if value is None:
            listed = f" Its {kind.noun}s: {', '.join(fitting)}." if fitting else ""
            hint = did_you_mean(class_name, [Class.__name__ for Class in own])
            raise ConfigError(f"{place} has no class {class_name!r}.{hint}{listed}")
        if not kind.fits(value):
            raise ConfigError(_unfit(f"{class_name} in {place}", value, kind))
        return Found(f"{place}:{class_name}", value)
    if not fitting:
        others = ", ".join(Class.__name__ for Class in own)
        raise ConfigError(
            f"{place} defines no {kind.noun}: no class derived from gradbook.{kind.base}"
            + (f" (its classes: {others})." if others else ".")
        )
    if len(fitting) > 1:
        raise ConfigError(
            f"{place} defines {len(fitting)} {kind.noun}s: {', '.join(fitting)}. "
            f"Say which, for example {place}:{fitting[-1]}."
        )
    return Found(f"{place}:{fitting[0]}", getattr(module, fitting[0]))


def _unfit(what: str, value: Any, kind: Kind) -> str:
    if not isinstance(value, type):
        return f"{what} is not a class, but {type(value).__name__} {value!r:.60}."
    lacking = next(m for m in kind.methods if not callable(getattr(value, m, None)))
    bases = "gradbook.Module or gradbook.Classifier" if kind is MODEL else "gradbook.DataModule"
    plain = kind is MODEL and issubclass(value, importlib.import_module("torch.nn").Module)
    also = " It is a plain torch.nn.Module." if plain else ""
    return f"{what} is not a {kind.noun}: it has no `{lacking}`.{also} Derive it from {bases}."


# Loading a learner's code


_loaded: dict[Path, ModuleType] = {}


def _load_file(place: str) -> ModuleType:
    path = Path(place).expanduser()
    if path.suffix != ".py":
        advice = " Copy the class from the notebook into one." if path.suffix == ".ipynb" else ""
        raise ConfigError(f"{place} is not a Python file (.py).{advice}")
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        neighbors = [str(p) for p in folder.glob("*.py")]
        raise ConfigError(f"There is no file {place!r}.{did_you_mean(str(path), neighbors)}")
    path = path.resolve()
    if path in _loaded:
        return _loaded[path]
    # Under its own name other processes can import it too, but not if that name is in use.
    name = path.stem if path.stem not in sys.modules else f"gradbook_loaded_{path.stem}"
    spec: Any = importlib.util.spec_from_file_location(name, path)  # None only without an ending
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _search_in(path.parent)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    _loaded[path] = module
    return module


def _load_module(place: str) -> ModuleType:
    _search_in(Path.cwd())
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not (place + ".").startswith(error.name + "."):
            raise  # something that the module itself imports
        raise ConfigError(
            f"There is no module {error.name!r} here, which {place!r} would need. A file is "
            f"written with its ending: my_file.py:MyClass."
        ) from None


def _search_in(folder: Path) -> None:
    # It stays: what the learner's code imports later, in a method, is found as well.
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
