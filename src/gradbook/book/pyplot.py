"""Matplotlib's pyplot as the book uses it: `d2l.plt`.

It is pyplot, name by name, but for `stem`: the cells of the book's appendix on mathematics give it
`use_line_collection`, an argument that Matplotlib removed in version 3.8. What others see of
Matplotlib stays as it is.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from matplotlib import pyplot


def stem(*args: Any, use_line_collection: bool = True, **kwargs: Any) -> Any:
    """`matplotlib.pyplot.stem`, which draws its lines as one collection anyway. Book: 22.8."""
    return pyplot.stem(*args, **kwargs)


class _Pyplot(ModuleType):
    """A module whose other names, also those that are set or deleted, are those of pyplot."""

    def __getattr__(self, name: str) -> Any:
        return getattr(pyplot, name)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value) if name in vars(self) else setattr(pyplot, name, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name) if name in vars(self) else delattr(pyplot, name)

    def __dir__(self) -> list[str]:
        return dir(pyplot)

    def __reduce__(self) -> tuple[Any, ...]:
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Pyplot
