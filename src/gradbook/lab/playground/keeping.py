"""A run that lies in memory until somebody wants to keep it."""

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from gradbook.board import ProgressBoard
from gradbook.errors import ConfigError, StorageError
from gradbook.record import Metric
from gradbook.runs.facts import first_facts
from gradbook.runs.format import MetricsLog, remove_files, write_run
from gradbook.runs.recorder import Run
from gradbook.storage import kebab_case

if TYPE_CHECKING:
    from pathlib import Path

    from gradbook.trainer import Trainer


class _Memory:
    """Recorded values before there is a file for them."""

    crc = ""

    def __init__(self) -> None:
        self.metrics: list[Metric] = []

    @property
    def lines(self) -> int:
        return len(self.metrics)

    def append(self, metric: Metric) -> None:
        self.metrics.append(metric)


class KeepableRun(Run):
    """A run of which nothing is written before `keep`, which writes what a `Run` would have.

    From then on it is as any other. A training that is over can be kept as well.

    Args:
        arguments: As of `Run`.

    Attributes:
        changes: What was done to the training that its settings do not say, in sentences.
    """

    def __init__(self, *args: Any, **arguments: Any) -> None:
        super().__init__(*args, **arguments)
        self.changes: list[str] = []
        self._memory = _Memory()
        self._contents: dict[str, bytes] = {}
        self._has_begun = False
        self._ended: str | None = None

    @property
    def is_kept(self) -> bool:
        """Whether it is in a folder."""
        return self._place is not None

    def open(self, board: ProgressBoard, trainer: "Trainer | None" = None) -> None:
        """Notes what run.json will say of the beginning."""
        assert trainer is not None
        self._board, self._trainer, self._num_provisional = board, trainer, 0
        self._begin, self._seconds_before = time.perf_counter(), 0.0
        self._facts = first_facts(trainer, "", self._command, self._model_name, self._data_name)
        self._has_begun = True
        self._log = cast(MetricsLog, self._memory)
        assert trainer.training is not None
        _ = trainer.training.setup  # which a checkpoint describes as it is before the first step

    def keep(self) -> "Path":
        """Makes the folder and writes all that there is. The training may go on, or be over.

        Returns:
            The folder.

        Raises:
            ConfigError: If it is kept already, or has not begun.
            StorageError: If it cannot be written. Nothing is left of it then, and the training can
                go on, and be kept later.
        """
        if self.is_kept:
            raise ConfigError("This training is kept already.")
        if not self._has_begun or self._trainer.num_steps == 0:
            raise ConfigError("There is nothing to keep before the first step.")
        status = self._ended
        if status is not None:
            self._begin = time.perf_counter()  # the time since its end was no training
        folder = self.claim(kebab_case(type(self._trainer.model).__name__))
        before = self._log
        try:
            self._hold()
            self._facts |= {"name": folder.name, "findings": list(self.changes)}
            write_run(folder, self._facts)
            log = self._log = MetricsLog(folder, held=self._held)
            for metric in self._memory.metrics:
                log.append(metric)
            for name, content in self._contents.items():
                self._write_checkpoints(log, content, [name])
            if status is None:
                self._save_checkpoint("last")
                self._wait()  # where there is no room for it, the training goes on without
            else:
                self.close(status)
        except BaseException:
            self._take_back(before)
            raise
        self._contents = {}
        return folder

    def _take_back(self, log: MetricsLog | None) -> None:
        """Removes what was written of a run that could not be kept; it can be tried once more."""
        assert self._place is not None
        if self._log is not None and self._log is not log:
            with suppress(StorageError):
                self._log.close()
        self._at_end.close()
        with suppress(StorageError, OSError):
            remove_files(self._place.path)
            self._place.path.rmdir()
        self._place, self._log = None, log

    def note(self, change: str) -> None:
        """Notes a change that the settings do not say."""
        self.changes.append(change)
        if self.is_kept:
            self._facts["findings"] = list(self.changes)
            write_run(self._held, self._facts)

    def close(self, status: str) -> None:
        """Ends a run that is kept; of another it remembers what `keep` will write."""
        if self.is_kept:
            super().close(status)
            return
        self._ended = status
        if self._log is None:  # it could not be opened
            return
        if self._trainer.num_steps:
            name = "last" if self._trainer.position.between_steps else "failed"
            self._contents[name] = self._state(name)
        self._seconds_before = self._seconds()
        self._log = None

    def _save_checkpoint(self, *names: str) -> None:
        if self.is_kept:
            super()._save_checkpoint(*names)
        elif "best" in names:
            self._contents["best"] = self._state("best")
