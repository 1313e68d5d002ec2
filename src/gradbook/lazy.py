"""Names of a module that are imported when they are first used."""

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def listing(names: Iterable[str]) -> Callable[[], list[str]]:
    """The `__dir__` of a module: its public names, also those that are not imported yet."""
    listed = sorted(names)
    return listed.copy


def lazy_names(module: str, home_of: Mapping[str, str | None]) -> Callable[[str], Any]:
    """The `__getattr__` of a module whose names live elsewhere.

    What needs no PyTorch (`gradbook --help`) does not wait two seconds for it so.

    Args:
        module: The module's own name.
        home_of: The module in which each name lives; None for a module within the module.
    """

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home = home_of[name]
        if home is None:
            return import_module(f"{module}.{name}")
        value = getattr(import_module(home), name)
        setattr(sys.modules[module], name, value)
        return value

    return get
