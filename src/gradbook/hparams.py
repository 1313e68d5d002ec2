"""Hyperparameters kept without writing each one out, and `add_to_class`.

Book: 3.2 (sec_oo-design).
"""

import dataclasses
import inspect
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import PurePath
from typing import Any, TypeVar

from gradbook.constructors import constructor_of
from gradbook.errors import ConfigError, text_of
from gradbook.escape import printable

F = TypeVar("F", bound=Callable[..., Any])


def add_to_class(Class: type) -> Callable[[F], F]:
    """Makes the decorated function a method of `Class`, for instances that already exist too.

    A property becomes a property; so it is with a static method and a class method. A second
    definition under the same name replaces the first. Book: 3.2.1.

    Raises:
        ConfigError: If `Class` is no class, as when the decorator was written without one, or one
            that Python lets nobody change; or if what is decorated has no name.
    """
    given: Any = Class
    if not isinstance(given, type):
        found, name = f"{given!r:.60}", "Module"
        if inspect.isroutine(given):  # the decorator itself, without parentheses
            found = f"the function {given.__name__!r}, which would then be added to nothing"
        elif isinstance(given, property):
            found = "a property: `@add_to_class(...)` stands above `@property`"
        elif isinstance(given, str):
            name = given if given.isidentifier() else name
        elif given is not None:
            found, name = f"an object of the class {type(given).__name__}", type(given).__name__
        raise ConfigError(
            f"add_to_class needs the class that is to have the method, but got {found}. Write the "
            f"class itself in parentheses, as in `@add_to_class({name})`."
        )

    def register(method: F) -> F:
        # A property, and a cached one, has the name of the function within.
        inner: Any = getattr(method, "fget", None) or method
        if hasattr(method, "__set_name__"):
            inner = getattr(method, "func", inner)
        name = getattr(inner, "__name__", "")
        if not name.isidentifier():
            found = "a lambda, which has no name" if name == "<lambda>" else f"{method!r:.60}"
            raise ConfigError(
                f"add_to_class adds a function under its name, but got {found}. Write a method "
                f"with `def` below `@add_to_class({Class.__name__})`; for any other value, write "
                f"`{Class.__name__}.name = value`."
            )
        try:
            setattr(Class, name, method)
        except TypeError:
            raise ConfigError(
                f"Python does not let anyone add a method to its own class {Class.__name__}. "
                f"Derive a class from it and add {name!r} to that."
            ) from None
        if hasattr(method, "__set_name__"):  # as Python calls it for what stands in a class
            method.__set_name__(Class, name)
        return method

    return register


class HyperParameters:
    """A base class whose `__init__` arguments become attributes. Book: 3.2.1."""

    hparams: dict[str, Any]

    #: Attributes that the class sets itself: the method that a value must have to stand there.
    _set_by_class: Mapping[str, str | None] = {"hparams": None}

    def __repr__(self) -> str:
        values = getattr(self, "hparams", {})
        with suppress(ConfigError):  # without what only a base was given
            values = constructor_of(type(self)).among(values)
        settings = (f"{name}={shortened(value)}" for name, value in values.items())
        return printable(f"{type(self).__name__}({', '.join(settings)})")

    def save_hyperparameters(self, ignore: str | Iterable[str] = ()) -> None:
        """Saves the arguments of the calling `__init__` as attributes and in `hparams`.

        Not saved: the instance itself, the names in `ignore`, and names that begin with an
        underscore. A subclass that calls this after its base keeps what the base saved. What
        `**kwargs` has collected is one attribute, but stands in `hparams` name by name, so that
        the object can be made again from them: see `make`. In the `__post_init__` of a dataclass,
        its fields are saved.

        Args:
            ignore: Names of arguments that are not to be kept, or one such name.

        Raises:
            ConfigError: If an argument's value would take the place of a method. A function may:
                `loss=F.l1_loss` is then what `self.loss(...)` calls.
        """
        frame = inspect.currentframe()
        if frame is None or frame.f_back is None:  # pragma: no cover - CPython always has frames
            raise RuntimeError("save_hyperparameters() must be called from a method.")
        caller = inspect.getargvalues(frame.f_back)
        is_post_init = frame.f_back.f_code.co_name == "__post_init__"
        del frame  # a frame that refers to itself keeps all its arguments alive
        names = [name for name in (*caller.args, caller.varargs, caller.keywords) if name]
        given = {name: caller.locals[name] for name in names}
        made: Any = self
        fields: list[str] = []
        if is_post_init and dataclasses.is_dataclass(made):
            fields = [field.name for field in dataclasses.fields(made) if field.init]
            given = {name: getattr(made, name) for name in fields} | given
        skipped = {ignore} if isinstance(ignore, str) else set(ignore)

        def kept(values: dict[str, Any]) -> dict[str, Any]:
            named = {name: v for name, v in values.items() if not name.startswith("_")}
            return {name: v for name, v in named.items() if name not in skipped and v is not self}

        saved = kept(given)
        self._set_each(saved, fields)
        if caller.keywords in saved:
            saved = {**kept(saved.pop(caller.keywords)), **saved}
        # A new dictionary: the base's may be shared with code that already read it.
        self.hparams = {**getattr(self, "hparams", {}), **saved}

    def _set_each(self, values: Mapping[str, Any], fields: Iterable[str] = ()) -> None:
        """Sets attributes; those that are no fields of a dataclass may hide nothing."""
        for name, value in values.items():
            if name not in fields:  # whose class attribute is its default
                _check_hides_nothing(self, name, value)
            setattr(self, name, value)


def _check_hides_nothing(owner: HyperParameters, name: str, value: Any) -> None:
    """Raises ConfigError if `owner.name = value` would hide a method, or be overwritten itself."""
    Class = type(owner)
    found = inspect.getattr_static(Class, name, None)
    if name in owner._set_by_class:
        needs = owner._set_by_class[name]
        if needs is not None and hasattr(value, needs):
            return
        problem = f"{Class.__name__}.{name} is set by the library itself"
    elif isinstance(found, property) and found.fset is None:
        problem = f"{Class.__name__}.{name} is a property, which cannot be set"
    elif inspect.isroutine(found) or isinstance(found, staticmethod | classmethod):
        package = (getattr(found, "__module__", None) or "").partition(".")[0]
        if package == "gradbook" and isinstance(value, type):
            raise ConfigError(
                f"{name}={value.__name__} is a class, but self.{name}(...) is called as a "
                f"function. Give an object of the class, as in `{name}={value.__name__}()`."
            )
        if callable(value) and package != "torch":
            return  # one function in the place of another
        problem = f"it would hide the method {Class.__name__}.{name}"
    else:
        return
    other = f"{name}_name" if isinstance(value, str) else f"{name}_value"
    raise ConfigError(
        f"The hyperparameter {name}={value!r:.60} cannot be kept as self.{name}: {problem}. Give "
        f"the argument another name, such as {other!r}, or leave it out with "
        f"save_hyperparameters(ignore=[{name!r}])."
    )


def plain(value: Any) -> Any:
    """A hyperparameter as numbers, texts, lists and dictionaries, to be written down or compared.

    Small tensors and arrays become lists, large ones their shape, type and a checksum; classes,
    functions and other objects become their names.
    """
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)  # NumPy's numbers and the members of an enumeration are such, too
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(plain, value), key=repr)  # its own order differs between processes
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist") and hasattr(value, "shape"):  # a tensor or an array
        form = f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
        try:
            if math.prod(value.shape) <= 100:
                return value.tolist()
            values = value.reshape(-1)[:: 1 + math.prod(value.shape) // 1000]  # some stand for all
            crc = zlib.crc32(repr(values.tolist()).encode())
        except (RuntimeError, NotImplementedError):  # sparse, or without values
            return form
        return f"{form}, checksum {crc:08x}"
    if isinstance(value, PurePath):
        return str(value)
    named = value if hasattr(value, "__qualname__") else type(value)
    return qualified_name(named)


def shortened(value: Any, length: int = 40) -> str:
    """A value in at most so many characters."""
    text = text_of(plain(value), repr)
    return text if len(text) <= length else f"{text[: length - 3]}..."


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two collections of plain values differ: "model.lr", and both values; None is none."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            inner = f"{path}.{key}" if path else str(key)
            yield from differences(old.get(key), new.get(key), inner)
    elif _are_dicts(old) and _are_dicts(new) and len(old) == len(new):
        for place, pair in enumerate(zip(old, new, strict=True)):
            yield from differences(*pair, f"{path}[{place}]")
    elif repr(old) != repr(new):
        yield path, old, new


def _are_dicts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, dict) for item in value)


def qualified_name(Class: Any) -> str:
    """Where a class or function is defined and what it is called: "gradbook.models.mlp.MLP"."""
    return f"{Class.__module__}.{Class.__qualname__}"
