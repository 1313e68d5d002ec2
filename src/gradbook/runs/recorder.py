"""The sink that keeps a training in a folder: settings, values, checkpoints and curves."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from gradbook import checkpoint
from gradbook.board import ProgressBoard
from gradbook.checks import check_whole_number
from gradbook.display.file import save_curve
from gradbook.errors import ConfigError, told
from gradbook.interrupts import undisturbed
from gradbook.record import Metric, Sink
from gradbook.resume import snapshot
from gradbook.resume.start import Resumption
from gradbook.runs.facts import check_same_run, first_facts, now_text, resumed_facts
from gradbook.runs.format import (
    CHECKPOINT_FILES,
    FILES,
    LOCK_FILE,
    MetricsLog,
    read_run,
    remove_half_written,
    results_of,
    write_run,
)
from gradbook.runs.stored import StoredRun, find_runs
from gradbook.shards import remove_unused, without_parts
from gradbook.storage import (
    Place,
    check_path,
    claim_folder,
    kebab_case,
    link_atomically,
    new_folder,
    unwritable,
    write_atomically,
)
from gradbook.untrusted import check_file, inside

if TYPE_CHECKING:
    from gradbook.trainer import Trainer


class Run(Sink):
    """Keeps a training in the new folder `root/NAME-N`. docs/runs.md says what is in it.

    A checkpoint is taken before the first step, after each epoch, and when Ctrl-C or SIGTERM ends
    the training. It is taken between two steps, and written while the training goes on; the next
    one waits until it is on the disk.

    Args:
        root: The folder for runs.
        name: What the folder is called, before its number; None takes the model's class.
        folder: A folder without a run to take instead; `root` and `name` then say nothing.
        every_n_steps: Take a checkpoint also after so many updates of the optimizer; None does not.
        command: The words of the command that repeats it, if one does.
        model_name, data_name: What the command calls them; None takes their classes.
        pictures: Whether the curves are drawn when the training ends.

    Attributes:
        folder: The folder, once it is made.

    Raises:
        ConfigError: If the folder cannot be made, or another process trains there.
        StorageError: If a file cannot be written. Earlier checkpoints are untouched.
    """

    keeps_curves = True

    def __init__(
        self,
        root: "Path | str | os.PathLike[str]" = "runs",
        name: str | None = None,
        *,
        folder: "Path | str | None" = None,
        every_n_steps: int | None = None,
        command: Sequence[str] | None = None,
        model_name: str | None = None,
        data_name: str | None = None,
        pictures: bool = True,
    ) -> None:
        check_path(root if folder is None else folder, "The folder of runs", "runs")
        if every_n_steps is not None:
            check_whole_number(every_n_steps, "every_n_steps", at_least=1)
        self._exactly = None if folder is None else Place(folder)
        self._root = Place(root if folder is None else Path(folder).parent)
        self.name, self.every_n_steps = name, every_n_steps
        self._place: Place | None = None
        self._command = None if command is None else list(command)
        self._model_name, self._data_name = model_name, data_name
        self._pictures = pictures
        self._is_claimed = False
        # While a training runs:
        self._at_end = ExitStack()
        self._writing: Future[None] | None = None
        self._sharding: Any = None
        self._log: MetricsLog | None = None

    @property
    def root(self) -> Path:
        """The folder for runs."""
        return self._root.shown

    @property
    def folder(self) -> Path | None:
        """The run's folder, wherever it is by now, once it is made."""
        return None if self._place is None else self._place.shown

    def claim(self, name: str) -> Path:
        """Makes the folder before the training, so that one that cannot be made costs no work."""
        if self._exactly is None:
            self._place = self._root / claim_folder(self.root, self.name or name).name
        else:
            new_folder(self._exactly.shown, FILES)
            self._place = self._exactly
        self._is_claimed = True
        return self._place.shown

    def prepare(self, trainer: "Trainer") -> Path:
        """Finds the folder of a training that begins; a new one is made."""
        resumption = trainer.resumption
        if resumption is not None and resumption.place is not None:
            self.discard()
            self._place = resumption.place
        elif not self._is_claimed:
            self.claim(kebab_case(type(trainer.model).__name__))
        assert self._place is not None
        return self._place.shown

    def discard(self) -> None:
        """Removes a claimed folder in which nothing was kept."""
        if self._is_claimed and self._place is not None:
            with suppress(OSError):
                self._place.path.rmdir()
            self._place, self._is_claimed = None, False

    def open(self, board: ProgressBoard, trainer: "Trainer | None" = None) -> None:
        """Makes the folder, or goes on in that of the run that is resumed."""
        if trainer is None:
            raise ConfigError("A Run keeps a training. Give it to a Trainer: Trainer(run=...).")
        self._board, self._trainer, self._num_provisional = board, trainer, 0
        self._sharding = getattr(trainer.training, "sharding", None)
        self._at_end.callback(setattr, self, "_sharding", None)  # it cannot be copied with the run
        self.prepare(trainer)
        resumption = trainer.resumption
        folder = self._hold()
        self._begin = time.perf_counter()
        if resumption is not None and resumption.place is not None:
            self._go_on(resumption, folder)
        else:
            self._start(folder)

    def _hold(self) -> Path:
        """Takes the folder that was made for this training alone, until `close`."""
        self._is_claimed = False
        assert self._place is not None
        folder = self._place.shown
        self._at_end.callback(self._place.release)
        lock = locked(folder)
        if lock is not None:
            self._at_end.callback(lock.release)
        self._place.hold()
        loaders = (self._trainer.train_dataloader, self._trainer.val_dataloader)
        # Loaders fork their worker processes, which is safe only while no other thread runs.
        self._has_workers = any(getattr(loader, "num_workers", 0) for loader in loaders)
        self._writer, self._writing = ThreadPoolExecutor(1, thread_name_prefix="gradbook"), None
        self._at_end.callback(delattr, self, "_writer")  # a thread cannot be copied with the run
        self._at_end.callback(self._writer.shutdown)
        return folder

    def _start(self, folder: Path) -> None:
        self._facts = first_facts(
            self._trainer, folder.name, self._command, self._model_name, self._data_name
        )
        self._seconds_before = 0.0
        write_run(folder, self._facts)
        self._log = MetricsLog(folder, held=self._held)
        self._write_what_was_recorded(self._log)
        self._save_checkpoint("last")
        self._wait()  # where there is no room for one, no training is to begin

    def _go_on(self, resumption: Resumption, folder: Path) -> None:
        """Changes nothing in the folder before everything in it was found right."""
        resumption.check_unchanged()  # it was read before the lock was there
        self._facts = resumed_facts(self._trainer, read_run(folder), self._command)
        check_same_run(resumption.state, self._facts, resumption.path)
        recorded = resumption.state.get("recorded_seconds", 0.0)
        self._seconds_before = max(self._facts["seconds"], recorded)
        log = MetricsLog(folder, resumption.state["recorded_lines"], self._held)
        write_run(folder, self._facts)
        self._log = log
        remove_half_written(folder)

    def write(self, metric: Metric) -> None:
        """Appends a value to metrics.jsonl."""
        if self._log is not None:
            self._log.append(metric)
            # A training that goes on records these points anew, and whole.
            self._num_provisional += getattr(self._board, "is_flushing", False)

    def end_step(self, trainer: "Trainer") -> None:
        """Takes a checkpoint in the middle of an epoch, if these are wanted."""
        if self.every_n_steps and trainer.num_steps % self.every_n_steps == 0:
            self._save_checkpoint("last")

    def end_epoch(self, trainer: "Trainer") -> None:
        """Takes a checkpoint, which is also that of the best epoch if this is the best."""
        is_best = trainer.best.epoch == trainer.position.epoch
        # The best first: a process that is killed in between goes on from the last.
        self._save_checkpoint(*(["best"] if is_best else []), "last")

    def close(self, status: str) -> None:
        """Writes how it ended, the last checkpoint and the curves; a signal cannot prevent it.

        What fails does not keep the rest from being written. The first failure is raised, unless
        the training has failed itself.
        """
        error, log = sys.exception(), self._log
        if log is None:  # it could not be opened
            self._at_end.close()
            return
        failures: list[Exception] = []

        def attempt(step: Callable[..., None], *arguments: Any) -> None:
            try:
                step(*arguments)
            except Exception as failure:
                failures.append(failure)

        with undisturbed(later=status != "interrupted"):
            if status == "interrupted" and self._trainer.position.between_steps:
                if self._sharding is None or self._sharding.kept is not None:
                    attempt(self._save_checkpoint, "last")
            elif status in ("interrupted", "failed"):
                if self._sharding is None:  # whose parts all ranks would write
                    attempt(self._save_checkpoint, "failed")
            else:
                attempt(lambda: self._checkpoint("failed").unlink(missing_ok=True))
            attempt(self._wait)
            attempt(log.close)
            if failures and status != "failed":  # the folder lacks what was reached
                attempt(self._write_last_facts, log, "failed", failures[0])
            else:
                attempt(self._write_last_facts, log, status, error)
            attempt(self._save_curves)
            attempt(self._save_reports)
            self._log = None
            self._at_end.close()
        if failures and status != "failed":
            raise failures[0]

    @property
    def _held(self) -> Path:
        """The folder for what is written while the training runs, wherever it may go."""
        assert self._place is not None
        return self._place.path

    # Checkpoints

    def _save_checkpoint(self, *names: str) -> None:
        log = self._log
        assert log is not None
        content = self._state(*names)
        self._wait()
        self._writing = self._writer.submit(self._write_checkpoints, log, content, names)
        if self._has_workers:
            self._wait()

    def _state(self, *names: str) -> bytes:
        """The content of the checkpoint for these files, as the training is now."""
        assert self._log is not None
        state = {
            **snapshot.take(self._trainer.training),
            "recorded_lines": self._log.lines - self._num_provisional,
            "recorded_seconds": self._seconds(),
            "run": self._facts.get("id"),
        }
        if names == ("failed",):
            state["is_exact"] = False  # the step that failed may have drawn random numbers
        if self._sharding is not None:
            if self._sharding.kept is None:
                raise ConfigError(
                    'With strategy="fsdp", all processes write checkpoints together, of the run '
                    "that the trainer keeps. Give it as Trainer(run=...), not among sinks."
                )
            state = {**without_parts(state)[0], "shards": self._sharding.kept}
        return checkpoint.encode(state)

    def _write_checkpoints(self, log: MetricsLog, content: bytes, names: Sequence[str]) -> None:
        log.sync()  # the values that the checkpoint counts on come before it
        first, *others = map(self._checkpoint, names)
        write_atomically(first, content)
        for path in others:
            link_atomically(first, path, content)
        if self._sharding is not None or any(first.parent.glob("shards-*")):
            every = [self._checkpoint(name) for name in CHECKPOINT_FILES]
            states = [checkpoint.load(path, is_whole=False) for path in every if path.exists()]
            used = [Path(each["shards"]["folder"]).name for each in states if "shards" in each]
            remove_unused(first.parent, used, is_written=self._sharding is not None)

    def _wait(self) -> None:
        """Waits for the writing thread, and raises what went wrong there."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _checkpoint(self, name: str) -> Path:
        return inside(self._held, CHECKPOINT_FILES[name])

    def _seconds(self) -> float:
        return float(self._seconds_before + time.perf_counter() - self._begin)

    # run.json

    def _write_last_facts(self, log: MetricsLog, status: str, error: BaseException | None) -> None:
        trainer, facts, now, best = self._trainer, self._facts, now_text(), self._trainer.best
        chosen = {"label": best.label, "epoch": best.epoch, "value": best.value}
        facts["sessions"][-1] |= {"ended": now, "status": status}
        message = told(error) if status == "failed" and error is not None else None
        write_run(
            self._held,
            {
                **facts,
                **results_of(trainer.history),
                "status": status,
                "error": message,
                "ended": now,
                "seconds": self._seconds(),
                "steps": trainer.num_steps,
                "best_checkpoint": None if best.epoch is None else chosen,
                "diverged": trainer.history.diverged,
                # Each once, also those of the sessions before.
                "findings": list(dict.fromkeys([*facts.get("findings", ()), *trainer.findings])),
                "metrics": {"lines": log.lines, "crc": log.crc},
            },
        )

    def _write_what_was_recorded(self, log: MetricsLog) -> None:
        """What a training had recorded that goes on from a checkpoint elsewhere."""
        for points in getattr(self._board, "data", {}).values():
            for point in points:
                log.append(point)
        for row in self._trainer.history:
            for label, y in row.items():
                if label != "epoch":
                    log.append(Metric(label, row["epoch"], y, kind="epoch"))

    def _save_curves(self) -> None:
        if self._pictures and isinstance(self._board, ProgressBoard) and self._board.data:
            save_curve(self._board, self._held)

    def _save_reports(self) -> None:
        """Keeps what the watchers have seen."""
        for report in self._trainer.reports.values():
            if report:
                report.keep(self._held)


def begun_by(run: Run, launch: str | None) -> Path | None:
    """The folder that a training had begun before all its processes were started again, if any.

    Args:
        run: The run that is to be kept.
        launch: What tells the training from others.
    """
    for found in reversed(find_runs(run.root)):
        if isinstance(found, StoredRun) and found.facts.get("launch") == launch is not None:
            return found.folder if (found.folder / CHECKPOINT_FILES["last"]).exists() else None
    return None


class _Lock(FileLock):
    """A lock that a process forked meanwhile, which has inherited it, does not release."""

    process = 0

    def _acquire(self) -> None:
        super()._acquire()
        self.process = os.getpid()

    def _release(self) -> None:
        if os.getpid() == self.process:
            super()._release()


def locked(folder: Path) -> FileLock | None:
    """The lock of a run's folder, held; None where the file system has no locks.

    A ConfigError says if another process holds it.
    """
    path = inside(folder, LOCK_FILE)
    check_file(path)
    lock = _Lock(path, timeout=1)  # who lists runs holds it for a moment
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(
            f"{folder} is being trained by another process. Wait until it has ended; in the "
            f"playground of a lab, press Reset or close the page."
        ) from None
    except NotImplementedError:
        return None
    except OSError as error:
        raise unwritable(path, error) from error
    return lock
