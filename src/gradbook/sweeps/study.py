"""The study in which Optuna keeps a search: where it is kept, and how it is opened."""

import json
import os
import re
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from gradbook import checks
from gradbook.errors import ConfigError, CorruptFileError, GradbookError, MissingExtraError, told
from gradbook.runs.format import unshare
from gradbook.untrusted import inside, open_file, read_file

#: The study, unless it is in a storage of the user's own: a log to which each process appends.
STUDY_FILE = "search.journal"

#: What may end a trial before its last epoch.
PRUNERS = ("median", "halving", "hyperband", "none")

#: The first trials, and the first epoch of each, are never judged against others.
_NUM_UNJUDGED_TRIALS, _NUM_UNJUDGED_EPOCHS = 5, 1

#: Who has held the study's lock for longer was killed: an entry takes milliseconds.
_LOCK_SECONDS = 5

#: So much is read at a time to find the end of the last whole line.
_TAIL_BYTES = 1 << 12

#: A study that is larger is not read: a million trials have less.
_MAX_BYTES = 1 << 30


class Study:
    """A study as it can be sent to another process, which opens it for itself.

    Args:
        storage: The URL of a database, such as "sqlite:///studies.db"; None keeps the study in
            the sweep's folder.
        pruner: What ends trials early that do badly, one of `PRUNERS`.

    Raises:
        ConfigError: If there is no such pruner, or the storage cannot be used.
        MissingExtraError: If Optuna is not installed.
    """

    def __init__(self, storage: str | None, pruner: str) -> None:
        checks.check_choice(pruner, "pruner", PRUNERS)
        self.pruner, self._url = pruner, storage
        self._folder, self._name = Path(), ""
        optuna()
        if storage is not None:
            if not isinstance(storage, str) or "://" not in storage:
                raise ConfigError(
                    f"storage is the URL of a database, such as 'sqlite:///studies.db', but it is "
                    f"{storage!r}."
                )
            self._storage()

    def create(self, folder: Path, direction: str) -> None:
        """Makes the study of a new sweep, to "maximize" or "minimize"."""
        self._folder, self._name = folder, f"{folder.name}-{uuid.uuid4().hex[:8]}"
        with quietly():
            optuna().create_study(
                study_name=self._name, storage=self._storage(), direction=direction
            )

    def find(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Finds the study of a sweep that was stopped, by what `facts` has told of it then.

        A last line of its file that a killed process left half written is cut off.

        Raises:
            ConfigError: If it is not where it should be.
            CorruptFileError: If its file is damaged otherwise.
        """
        if facts["in_folder"] != (self._url is None):
            place = "in a storage of your own. Give storage (--storage) as it was given then."
            place = "in its folder. Leave storage out." if facts["in_folder"] else place
            raise ConfigError(f"The study of {folder} is {place}")
        if facts["in_folder"] and not (folder / STUDY_FILE).is_file():
            raise ConfigError(f"{folder} has lost its study: there is no {STUDY_FILE}.")
        self._folder, self._name = folder, facts["name"]
        if facts["in_folder"]:
            backend = self._journal()
            backend.cut_torn()
            lines = read_file(backend.path, _MAX_BYTES).split(b"\n")[:-1]
            for number, line in enumerate(lines, 1):
                if not _is_entry(line):
                    self._report_damage(f"line {number} is none that Optuna has written")

    def facts(self) -> dict[str, Any]:
        """What has to be known to find it again; not the URL, in which a password may be."""
        return {"name": self._name, "in_folder": self._url is None}

    def open(self) -> Any:
        """Optuna's own study."""
        try:
            with quietly():
                return optuna().load_study(
                    study_name=self._name, storage=self._storage(), pruner=self._made_pruner()
                )
        except GradbookError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
            is_missing = isinstance(error, KeyError) and "Record does not exist" in str(error)
            if self._url is None and not is_missing:
                self._report_damage(f"{told(error)}, in reading it")
            if not isinstance(error, KeyError):
                raise
            raise ConfigError(
                f"The storage has no study {self._name!r}. Give that in which the search was begun."
            ) from None

    def _report_damage(self, reason: str) -> NoReturn:
        raise CorruptFileError(
            f"{self._folder / STUDY_FILE} is damaged: {reason}. Put a copy in its place, or begin "
            f"a new search. The runs that were trained stay as they are."
        ) from None

    def _storage(self) -> Any:
        with quietly():
            if self._url is None:
                return optuna().storages.JournalStorage(self._journal())
            try:
                # Each use opens a connection and closes it: nothing would close one that is kept.
                pool = import_module("sqlalchemy.pool").NullPool
                return optuna().storages.RDBStorage(self._url, engine_kwargs={"poolclass": pool})
            except Exception as error:  # that of whichever database it is
                shown = re.sub(r"//[^/]*@", "//", self._url)
                reason = str(error).replace(self._url, shown).strip().partition("\n")[0]
                raise ConfigError(
                    f"The storage {shown!r} cannot be used: {reason}. A URL that can is "
                    f"'sqlite:///studies.db'."
                ) from None

    def _journal(self) -> Any:
        """The file of the study, as Optuna reads and writes it."""
        journal = import_module("optuna.storages.journal")
        file = inside(self._folder, STUDY_FILE)
        with suppress(FileNotFoundError):  # Optuna opens it by name: we look before
            open_file(file, _MAX_BYTES).close()
            unshare(file)
        path = os.path.realpath(file)
        # It needs no links, which Windows has not for all, and no locks of a file system.
        lock = journal.JournalFileOpenLock(path, grace_period=_LOCK_SECONDS)

        class Journal(journal.JournalFileBackend):  # type: ignore[misc, name-defined]
            """Appends to whole lines only: a worker may have been killed within one."""

            def __init__(self) -> None:
                super().__init__(path, lock)
                self.path = path

            def append_logs(self, logs: list[dict[str, Any]]) -> None:
                self.cut_torn()
                super().append_logs(logs)

            def cut_torn(self) -> None:
                lock.acquire()
                try:
                    with open(path, "r+b") as stream:
                        size = stream.seek(0, os.SEEK_END)
                        end, part = size, b""
                        while end and b"\n" not in part:
                            start = max(end - _TAIL_BYTES, 0)
                            stream.seek(start)
                            part, end = stream.read(end - start), start
                        end += part.rfind(b"\n") + 1
                        if end < size:
                            stream.truncate(end)
                finally:
                    lock.release()

        return Journal()

    def _made_pruner(self) -> Any:
        pruners = optuna().pruners
        if self.pruner == "median":
            return pruners.MedianPruner(
                n_startup_trials=_NUM_UNJUDGED_TRIALS, n_warmup_steps=_NUM_UNJUDGED_EPOCHS + 1
            )
        names = {"halving": "SuccessiveHalvingPruner", "hyperband": "HyperbandPruner"}
        return getattr(pruners, names.get(self.pruner, "NopPruner"))()


def _is_entry(line: bytes) -> bool:
    """Whether a line may be one of a study's."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and type(entry.get("op_code")) is int


def optuna() -> Any:
    """The package, loaded when a search needs it."""
    try:
        return import_module("optuna")
    except ModuleNotFoundError:
        raise MissingExtraError.of("optuna", "A search", "optuna") from None


@contextmanager
def quietly() -> Iterator[None]:
    """Optuna says nothing meanwhile of its trials, and of what it may change one day."""
    logging, exceptions = optuna().logging, optuna().exceptions
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore", category=exceptions.ExperimentalWarning):
            yield
    finally:
        logging.set_verbosity(before)
