"""Where a training goes on from: a run's folder, a checkpoint's file, or a state."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradbook import checkpoint
from gradbook.errors import ConfigError, shown
from gradbook.storage import Place
from gradbook.untrusted import inside


@dataclass
class Resumption:
    """A state to go on from, and the run that it belongs to.

    Attributes:
        state: What the checkpoint holds.
        file: The checkpoint's file, if there is one.
        place: The folder of the run that goes on; None if the state belongs to none.
    """

    state: dict[str, Any]
    file: Place | None = None
    place: Place | None = None
    _digest: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, resume: Any, runs: Path | None, is_whole: bool = True) -> "Resumption":
        """Reads what `fit(resume=...)` was given.

        Args:
            resume: A run's folder, or its name below `runs`; anything with such a folder as its
                `folder`; a checkpoint's file; or a state.
            runs: Where runs are looked for by name; None looks nowhere.
            is_whole: Whether the state has all tensors also where several processes have written
                them; otherwise, each of these reads its own.

        Raises:
            ConfigError: If there is no such checkpoint.
            CorruptFileError: If it is damaged, or a link that leads out of its run.
        """
        if isinstance(resume, dict):
            return cls(resume)
        given = getattr(resume, "folder", resume)
        if not isinstance(given, str | os.PathLike) or not os.fspath(given):
            raise ConfigError(_no_resumption(resume))
        path = Path(given)
        if runs is not None and not os.path.exists(path) and os.path.isdir(Path(runs, path)):
            path = Path(runs, path)
        folder = path if os.path.isdir(path) else None  # False for a name too long to be one
        if folder is not None:
            path = inside(folder, "checkpoints/last.pt")
            if not path.exists():
                raise ConfigError(
                    f"There is nothing to resume in the folder {str(folder)!r}: it has no "
                    f"checkpoints/last.pt. {_WHAT}."
                )
        elif not os.path.exists(path):
            raise ConfigError(f"There is no checkpoint {shown(str(path))}. {_WHAT}.")
        state = checkpoint.load(path, is_whole)
        # A checkpoint that was saved by hand belongs to no run, wherever it lies.
        if "recorded_lines" not in state:
            folder = None
        elif folder is None and os.path.isfile(path.parent.parent / "run.json"):
            folder = path.parent.parent
            inside(folder, f"{path.parent.name}/{path.name}")
        place = None if folder is None else Place(folder)
        return cls(state, Place(path), place, checkpoint.digest_of(path))

    @property
    def path(self) -> Path | None:
        """The checkpoint's file as it was given, while that leads there."""
        return None if self.file is None else self.file.shown

    @property
    def folder(self) -> Path | None:
        """The run's folder as it was given, while that leads there."""
        return None if self.place is None else self.place.shown

    def check_unchanged(self) -> None:
        """Raises ConfigError if another process has trained the run further meanwhile."""
        if self.file is not None and checkpoint.digest_of(self.file.path) != self._digest:
            raise ConfigError(f"{self.path} has just been written by another process. Try again.")


_WHAT = (
    "fit(model, data, resume=...) takes the folder of a run, such as 'runs/mlp-1', or the file of "
    "a checkpoint"
)


def _no_resumption(given: Any) -> str:
    """What to say of something that names no checkpoint."""
    if isinstance(given, bool):
        advice = f"{_WHAT}; to begin anew, leave it out."
    elif hasattr(given, "dataset") or (
        hasattr(given, "__len__") and not isinstance(given, str | bytes)
    ):
        advice = (
            f"As its third argument, {_WHAT}. Give data for training and for validation as one "
            f"argument: `fit(model, (train, val))`."
        )
    else:
        advice = f"{_WHAT}."
    return f"resume is {given!r:.60}, and names no checkpoint. {advice}"
