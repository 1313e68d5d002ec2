"""Hyperparameters kept without writing each one out, and methods added to a finished class.

Book: 3.2 (sec_oo-design).
"""

import inspect
import math
import zlib
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Any, TypeVar

from gradbook.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])


def add_to_class(Class: type) -> Callable[[F], F]:
    """Makes the decorated function a method of `Class`, for instances that already exist too.

    A second definition under the same name replaces the first. Book: 3.2.1.

    Raises:
        ConfigError: If `Class` is no class, as when the decorator was written without one.
    """
    given: Any = Class
    if not isinstance(given, type):
        found, name = f"{given!r:.60}", "Module"
        if inspect.isroutine(given):  # the decorator itself, without parentheses
            found = f"the function {given.__name__!r}, which would then be added to nothing"
        elif isinstance(given, str):
            name = given if given.isidentifier() else name
        elif given is not None:
            found, name = f"an object of the class {type(given).__name__}", type(given).__name__
        raise ConfigError(
            f"add_to_class needs the class that is to have the method, but got {found}. Write the "
            f"class itself in parentheses, as in `@add_to_class({name})`."
        )

    def register(method: F) -> F:
        setattr(Class, method.__name__, method)
        return method

    return register


class HyperParameters:
    """A base class whose `__init__` arguments become attributes. Book: 3.2.1."""

    hparams: dict[str, Any]

    def save_hyperparameters(self, ignore: str | Iterable[str] = ()) -> None:
        """Saves the arguments of the calling `__init__` as attributes and in `hparams`.

        Not saved: the instance itself, the names in `ignore`, and names that begin with an
        underscore. A subclass that calls this after its base keeps what the base saved.

        Args:
            ignore: Names of arguments that are not to be kept, or one such name.
        """
        frame = inspect.currentframe()
        if frame is None or frame.f_back is None:  # pragma: no cover - CPython always has frames
            raise RuntimeError("save_hyperparameters() must be called from a method.")
        caller = inspect.getargvalues(frame.f_back)
        names = [*caller.args, caller.varargs, caller.keywords]
        del frame  # a frame that refers to itself keeps all its arguments alive
        skipped = {ignore} if isinstance(ignore, str) else set(ignore)
        saved = {
            name: caller.locals[name]
            for name in names
            if name is not None
            and not name.startswith("_")
            and name not in skipped
            and caller.locals[name] is not self
        }
        # A new dictionary: the base's may be shared with code that already read it.
        self.hparams = {**getattr(self, "hparams", {}), **saved}
        for name, value in saved.items():
            setattr(self, name, value)


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
        if math.prod(value.shape) <= 100:
            return value.tolist()
        values = value.reshape(-1)[:: 1 + math.prod(value.shape) // 1000]  # some stand for all
        crc = zlib.crc32(repr(values.tolist()).encode())
        form = f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
        return f"{form}, checksum {crc:08x}"
    if isinstance(value, PurePath):
        return str(value)
    named = value if hasattr(value, "__qualname__") else type(value)
    return qualified_name(named)


def qualified_name(Class: Any) -> str:
    """Where a class or function is defined and what it is called: "gradbook.models.mlp.MLP"."""
    return f"{Class.__module__}.{Class.__qualname__}"
