"""The imports that go up: which file asks for what stands above it, when, and why.

Everything else imports only from floors below its own. What is listed here is asked for by name,
and loaded when it is first needed. The classes that registry.py names are the one other case.
"""

from importlib import import_module
from types import ModuleType

#: The file that asks, and why, by the module that it asks for.
UPWARD = {
    "book.figures": ("datasets", "images show themselves with the book's function"),
    "display.choose": ("board", "a board opens its display when it draws its first point"),
    "display.epochs": ("history", "a history draws itself when it is asked to"),
    "lab.server": ("cli", "the command starts the lab, which makes its controls of options"),
    "runs.ending": ("training", "how a training ended is told where its curves are drawn"),
    "runs.format": ("preparation", "how a run ended is asked when it is resumed"),
    "runs.recorder": ("training", "a training keeps a run when its trainer is given a folder"),
    "watching": ("training", "a training is watched by what stands above it"),
}


def above(name: str) -> ModuleType:
    """A module from a floor above.

    Args:
        name: One of `UPWARD`.
    """
    if name not in UPWARD:
        raise LookupError(f"upward.py does not list {name!r}: say there who needs it, and why.")
    return import_module(f"gradbook.{name}")
