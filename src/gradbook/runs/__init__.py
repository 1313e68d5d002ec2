"""The runs that were kept in folders: how they are read, compared, rebuilt and written.

Reading needs no PyTorch. `Run`, which keeps a training, and `restore`, which rebuilds one, are
loaded when they are first used.
"""

from typing import TYPE_CHECKING

from gradbook.lazy import lazy_names, listing
from gradbook.runs.stored import DamagedRun as DamagedRun
from gradbook.runs.stored import StoredRun as StoredRun
from gradbook.runs.stored import find_runs as find_runs
from gradbook.runs.stored import load as load

if TYPE_CHECKING:
    from gradbook.runs.recorder import Run as Run
    from gradbook.runs.restored import Restored as Restored
    from gradbook.runs.restored import restore as restore

__all__ = ["DamagedRun", "Restored", "Run", "StoredRun", "find_runs", "load", "restore"]

_HOME_OF = {
    "Restored": "gradbook.runs.restored",
    "Run": "gradbook.runs.recorder",
    "restore": "gradbook.runs.restored",
}

__getattr__ = lazy_names(__name__, _HOME_OF)
__dir__ = listing(__all__)
