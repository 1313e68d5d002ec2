"""Runs that were kept: loading one, and listing all."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradbook.errors import ConfigError, CorruptFileError, did_you_mean
from gradbook.escape import printable
from gradbook.history import History
from gradbook.labels import headline
from gradbook.runs.format import (
    CHECKPOINT_FILES,
    LOCK_FILE,
    METRICS_FILE,
    RUN_FILE,
    read_metrics,
    read_run,
    results_of,
)
from gradbook.runs.lines import Values
from gradbook.storage import check_path
from gradbook.untrusted import inside

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes


class StoredRun:
    """A run as its folder holds it.

    Settings are read at once, recorded values when they are first asked for. Load it again to see
    how a run that is being trained has gone on.

    Args:
        folder: The run's folder.
        values: Gives what metrics.jsonl holds, where somebody has read it already.

    Attributes:
        folder: The same.
        facts: What run.json says.
        status: "finished", "interrupted", "diverged", "failed"; "running" while it is trained, and
            "killed" if whoever trained it has ended without a word.

    Raises:
        ConfigError: If there is no run in the folder.
        CorruptFileError: If run.json is damaged.
    """

    def __init__(self, folder: Path | str, values: Callable[[], Values] | None = None) -> None:
        self.folder = Path(folder)
        self.facts = read_run(folder)
        self._values = values
        self.status: str = self.facts["status"]
        if self.status == "running" and not is_being_trained(folder):
            # Read again: it may have ended properly between the two looks.
            self.facts = read_run(folder)
            self.status = self.facts["status"].replace("running", "killed")

    @property
    def name(self) -> str:
        """The folder's name."""
        return Path(os.path.abspath(self.folder)).name

    @property
    def parent(self) -> Path:
        """The folder that it lies in; below the working folder, as it is written from there."""
        parent, here = Path(os.path.abspath(self.folder)).parent, Path.cwd()
        return parent.relative_to(here) if parent.is_relative_to(here) else parent

    @cached_property
    def history(self) -> History:
        """The exact means of every finished epoch.

        Raises:
            CorruptFileError: If metrics.jsonl is damaged.
        """
        history = History()
        history.rows = self._metrics.rows()
        history.diverged = self.facts["diverged"]
        # Folders of older versions tell the number of classes by the model's setting alone.
        model = self.facts["model"]
        classes = model.get("num_classes", model["hyperparameters"].get("num_outputs"))
        history.num_classes = classes if isinstance(classes, int) and classes >= 2 else None
        rate = model["hyperparameters"].get("lr")
        history.lr = float(rate) if isinstance(rate, float | int) else None
        return history

    @cached_property
    def points(self) -> dict[str, Values]:
        """The board's points: the mean of each window, by label.

        Raises:
            CorruptFileError: If metrics.jsonl is damaged.
        """
        return self._metrics.points()

    @property
    def seconds(self) -> float | None:
        """How long it was trained, in all sessions; None while run.json does not know it."""
        return None if self.status in ("running", "killed") else self.facts["seconds"]

    @property
    def epochs(self) -> int:
        """The number of finished epochs."""
        return int(self._results["epochs"])

    @property
    def final(self) -> dict[str, float | None]:
        """The last epoch's mean of each label; None is NaN or infinite."""
        return dict(self._results["final"])

    @property
    def best(self) -> dict[str, dict[str, Any]]:
        """The "value" and the "epoch" of the best mean of each loss and accuracy."""
        return dict(self._results["best"])

    @property
    def best_checkpoint(self) -> dict[str, Any] | None:
        """The "label", "epoch" and "value" by which checkpoints/best.pt was chosen, if known."""
        best: dict[str, Any] | None = self.facts.get("best_checkpoint")
        return best

    def checkpoint_epoch(self, which: str) -> int | None:
        """The epoch after which a checkpoint was taken, or None if run.json does not tell.

        Args:
            which: "best", "last" or "failed".
        """
        if which == "best" and self.best_checkpoint is not None:
            return int(self.best_checkpoint["epoch"])
        # Any other training may have been stopped within an epoch.
        ended = self.status in ("finished", "diverged")
        return self.epochs if which == "last" and ended else None

    def to_pandas(self) -> "pandas.DataFrame":
        """The epochs as a DataFrame with a column for each label, indexed by "epoch"."""
        return self.history.to_pandas()

    def plot(self, *labels: str, axes: "Axes | None" = None) -> "Axes":
        """Draws the epoch means against the epochs, as `History.plot` does."""
        return self.history.plot(*labels, axes=axes)

    def checkpoint_path(self, which: Literal["best", "last", "failed"] = "best") -> Path:
        """The file with a state: of the best epoch, the last one, or where the training failed.

        Raises:
            ConfigError: If there is no such checkpoint.
            CorruptFileError: If it is a link that leads out of the folder.
        """
        if which not in CHECKPOINT_FILES:
            raise ConfigError(
                f"There is no checkpoint {which!r}.{did_you_mean(which, CHECKPOINT_FILES)} "
                f"There are {', '.join(CHECKPOINT_FILES)}."
            )
        path = inside(self.folder, CHECKPOINT_FILES[which])
        if not path.exists():
            raise ConfigError(
                f"{path} does not exist: {self.name}, which is {self.status}, has kept no such "
                f"checkpoint."
            )
        return path

    def check_results(self) -> None:
        """Compares what run.json says was reached with the recorded values.

        Raises:
            CorruptFileError: If they contradict each other, or a file is damaged.
        """
        told = results_of(self.history)["best"]
        if not self._is_open and told != self.facts["best"]:
            raise CorruptFileError(
                f"{self.folder / RUN_FILE} and {METRICS_FILE} contradict each other about the best "
                f"epochs: one of them is not this run's, or was changed. A copy repairs it."
            )

    def __repr__(self) -> str:
        model, data = self.facts["model"]["name"], self.facts["data"]["name"]
        text = f"StoredRun {self.name}: {model} on {data}, {self.status}"
        if not self._is_open:  # or its results are elsewhere, and perhaps damaged
            text += f", {self.epochs} of {self.facts['max_epochs']} epochs"
            label = headline(self.best)
            if label is not None:
                best = self.best[label]
                text += f", best {label} {best['value']:.4g} in epoch {best['epoch']}"
        return printable(text)

    @cached_property
    def _metrics(self) -> Values:
        return read_metrics(self.folder, self.facts) if self._values is None else self._values()

    @property
    def _is_open(self) -> bool:
        """Whether run.json is from before the end of the training."""
        return bool(self.facts["status"] == "running")

    @cached_property
    def _results(self) -> dict[str, Any]:
        return results_of(self.history) if self._is_open else self.facts


@dataclass(frozen=True)
class DamagedRun:
    """A run that cannot be read.

    Attributes:
        folder: Its folder.
        reason: What is wrong, and what to do.
    """

    folder: Path
    reason: str

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name


def load(run: Path | str, runs: Path | str = "runs") -> StoredRun:
    """Loads a run.

    Args:
        run: Its name, such as "mlp-1", or the path of its folder.
        runs: The folder in which runs are looked for by name.

    Raises:
        ConfigError: If there is no such run.
        CorruptFileError: If its run.json is damaged.
    """
    return StoredRun(find_folder(run, runs))


def find_folder(run: Path | str, runs: Path | str = "runs") -> Path:
    """The folder that `load` would read; it need not hold a run.

    Raises:
        ConfigError: If there is no such folder.
    """
    check_path(run, "A run's name", "mlp-1")
    check_path(runs, "The folder of the runs", "runs")
    for folder in (Path(runs, run), Path(run)):
        if str(run) and os.path.isdir(folder):
            return folder
    near = did_you_mean(str(run), [folder.name for folder in _folders(runs)])
    raise ConfigError(
        f"There is no run {str(run)!r}, neither in the folder {str(runs)!r} nor as a path.{near} "
        f"`gradbook runs` lists the runs."
    )


def find_runs(root: Path | str = "runs") -> list[StoredRun | DamagedRun]:
    """All runs in a folder, by name; mlp-10 comes after mlp-9. Other folders are passed over.

    Raises:
        ConfigError: If the folder cannot be read. If it does not exist, there are no runs.
    """
    check_path(root, "The folder of the runs", "runs")
    runs: list[StoredRun | DamagedRun] = []
    for folder in sorted(_folders(root), key=natural_order):
        try:
            runs.append(StoredRun(folder))
        except CorruptFileError as error:
            if not _is_beginning(folder):
                runs.append(DamagedRun(folder, str(error)))
        except ConfigError:  # no run
            continue
    return runs


def is_being_trained(folder: Path | str) -> bool:
    """Whether a process trains this run: it then holds the folder's lock.

    Where the lock cannot be tried, because the file may not be written, it is taken to be held,
    except on a disk that nobody can write to.
    """
    path = inside(folder, LOCK_FILE)
    if not os.path.isfile(path):  # trying a lock would make the file
        return False
    from filelock import FileLock, Timeout

    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError as error:
        return error.errno != errno.EROFS


def _is_beginning(folder: Path) -> bool:
    """Whether a training has claimed this folder, and not yet written its run.json."""
    try:
        return not os.path.lexists(folder / RUN_FILE) and is_being_trained(folder)
    except CorruptFileError:  # its lock is elsewhere
        return False


def _folders(root: Path | str) -> Iterator[Path]:
    try:
        with os.scandir(root) as entries:
            yield from (Path(entry.path) for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(
            f"The folder {str(root)!r} cannot be read: {error.strerror or error}. Name the "
            f"folder that holds the runs."
        ) from error


def natural_order(folder: Path) -> list[tuple[int, str]]:
    """For sorting folders as a person counts: mlp-9 comes before mlp-10."""
    parts = re.split(r"(\d+)", folder.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
