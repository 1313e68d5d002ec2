"""The runs that were kept in folders: how they are read, compared, rebuilt and written.

Reading needs no PyTorch. `Run`, which keeps a training, is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradbook.runs.restored import Restored as Restored
from gradbook.runs.restored import restore as restore
from gradbook.runs.stored import DamagedRun as DamagedRun
from gradbook.runs.stored import StoredRun as StoredRun
from gradbook.runs.stored import find_runs as find_runs
from gradbook.runs.stored import load as load

if TYPE_CHECKING:
    from gradbook.runs.recorder import Run as Run

__all__ = ["DamagedRun", "Restored", "Run", "StoredRun", "find_runs", "load", "restore"]


def __getattr__(name: str) -> Any:
    if name != "Run":
        raise AttributeError(f"module 'gradbook.runs' has no attribute {name!r}")
    return import_module("gradbook.runs.recorder").Run
