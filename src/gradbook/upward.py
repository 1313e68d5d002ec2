"""The imports that go up: which file asks for what stands above it, when, and why.

Everything else imports only from floors below its own. What is listed here is asked for by name,
and loaded when it is first needed. The classes that registry.py names are the one other case.
"""

from importlib import import_module
from types import ModuleType

#: The file that asks, and why, by the module that it asks for.
UPWARD = {
    "display.choose": ("board", "a board opens its display when it draws its first point"),
    "display.epochs": ("record", "a history draws itself when it is asked to"),
    "runs.format": ("trainer", "a trainer asks how the run ended that it is to resume"),
    "runs.recorder": ("trainer", "a trainer keeps a run when it is given a folder for it"),
    "watching": ("trainer", "a trainer is watched by what stands above it"),
    "watching.repetition": ("trainer", "a trainer asks which parameters are to be finite"),
}


def above(name: str) -> ModuleType:
    """A module from a floor above.

    Args:
        name: One of `UPWARD`.
    """
    if name not in UPWARD:
        raise LookupError(f"upward.py does not list {name!r}: say there who needs it, and why.")
    return import_module(f"gradbook.{name}")
