"""Which runs and sweeps a folder has, looked at again and again, and cheaply."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from gradbook.errors import ConfigError, CorruptFileError
from gradbook.labels import headline
from gradbook.runs.comparison import summary_of
from gradbook.runs.format import RUN_FILE
from gradbook.runs.lines import Values
from gradbook.runs.stored import StoredRun, natural_order
from gradbook.runs.tail import News, Tail
from gradbook.storage import finite
from gradbook.sweeps.format import SWEEP_FILE, read_sweep

#: So many of the runs whose values were asked for last are kept in memory.
_NUM_TAILS = 100

#: What tells whether a file has changed: its size, the time of its last change, and which file.
_Signature = tuple[int, int, int]


class Item(NamedTuple):
    """A run or a sweep.

    Attributes:
        folder: Its folder.
        kind: "run" or "sweep".
        signature: That of its run.json or sweep.json.
        summary: What a list says of it, plain values for JSON.
        version: The catalogue's when this was last changed.
    """

    folder: Path
    kind: str
    signature: _Signature | None
    summary: dict[str, Any]
    version: int


class Catalogue:
    """The runs in a folder, and in the sweeps in it.

    An id is the path of a run's folder below the root, with what an address cannot have written as
    in addresses. Only ids that a look has found lead to a folder, so that none leads out of it.

    Args:
        root: The folder. It may not exist yet.

    Attributes:
        root: The same.
        version: Grows with each change.
        items: All runs and sweeps by id, in natural order of their names.
        error: Why the folder cannot be read; None if it can.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.version = 0
        self.items: dict[str, Item] = {}
        self.error: str | None = None
        self._gone: dict[str, int] = {}
        self._tails: dict[str, Tail] = {}
        self._lock = threading.RLock()

    def refresh(self) -> bool:
        """Looks again. Returns whether anything has changed."""
        with self._lock:
            before = self.version
            found: dict[str, Item] = {}
            try:
                self._look(self.root, found)
                error = None
            except ConfigError as raised:
                error = str(raised)
            if error != self.error:
                self.error, self.version = error, self.version + 1
            for item_id in self.items.keys() - found.keys():
                self.version += 1
                self._gone[item_id] = self.version
                self._tails.pop(item_id, None)
            for item_id in found:
                self._gone.pop(item_id, None)
            self.items = found
            return self.version != before

    def changed_since(self, version: int) -> tuple[list[dict[str, Any]], list[str]]:
        """The summaries that are new or different since a version, and the ids that are gone."""
        with self._lock:
            changed = [item.summary for item in self.items.values() if item.version > version]
            return changed, [name for name, when in self._gone.items() if when > version]

    def folder(self, item_id: str, kind: str = "run") -> Path:
        """The folder of a run or a sweep.

        Raises:
            ConfigError: If there is none with this id.
        """
        item = self.items.get(item_id)
        if item is None or item.kind != kind:
            raise ConfigError(f"There is no {kind} {item_id!r:.200} in this folder any more.")
        return item.folder

    def news(self, item_id: str, position: str = "") -> tuple[News, str | None]:
        """What a run has recorded after a position, and what is wrong with its file, if anything.

        Raises:
            ConfigError: If there is no such run.
        """
        with self._lock:
            tail = self._tail(item_id)
            tail.read()
            return tail.since(position), tail.damage

    def _tail(self, item_id: str) -> Tail:
        folder = self.folder(item_id)
        tail = self._tails.pop(item_id, None) or Tail(folder)
        self._tails[item_id] = tail  # the last that was asked for stands last
        while len(self._tails) > _NUM_TAILS:
            del self._tails[next(iter(self._tails))]
        return tail

    # Looking

    def _look(self, folder: Path, found: dict[str, Item], sweep: str | None = None) -> None:
        for path in sorted(_folders(folder), key=natural_order):
            item_id = _id_of(path, self.root)
            signature = _signature(path / RUN_FILE)
            if signature is not None:
                found[item_id] = self._run(item_id, path, signature, sweep)
                continue
            signature = _signature(path / SWEEP_FILE) if sweep is None else None
            if signature is not None:
                found[item_id] = self._sweep(item_id, path, signature)
                self._look(path, found, item_id)

    def _run(self, item_id: str, folder: Path, signature: _Signature, sweep: str | None) -> Item:
        before = self.items.get(item_id)
        is_known = before is not None and before.signature == signature and before.kind == "run"
        if is_known and before is not None and before.summary["status"] != "running":
            return before
        try:
            summary = self._summary(item_id, folder)
        except (ConfigError, CorruptFileError) as error:
            summary = {"status": "damaged", "reason": str(error), "name": folder.name}
        summary = finite({**summary, "id": item_id, "kind": "run", "sweep": sweep})
        return self._item(before, folder, "run", signature, summary)

    def _summary(self, item_id: str, folder: Path) -> dict[str, Any]:
        run = StoredRun(folder)
        if run.facts["status"] == "running":  # its results are in its values, read so far
            tail = self._tails.setdefault(item_id, Tail(folder))
            tail.read()
            run = StoredRun(folder, Values() if tail.damage else tail.since().values)
        summary = summary_of(run)
        del summary["folder"]
        label = headline(run.best)
        return {**summary, "headline": label, "diverged": run.facts["diverged"]}

    def _sweep(self, item_id: str, folder: Path, signature: _Signature) -> Item:
        before = self.items.get(item_id)
        if before is not None and before.signature == signature and before.kind == "sweep":
            return before
        summary: dict[str, Any] = {"name": folder.name, "id": item_id, "kind": "sweep"}
        try:
            facts = read_sweep(folder)
            summary["swept"] = sorted(facts["swept"])
            summary["num_members"] = len(facts["members"])
            summary["status"] = "whole"
        except (ConfigError, CorruptFileError) as error:
            summary |= {"status": "damaged", "reason": str(error)}
        return self._item(before, folder, "sweep", signature, finite(summary))

    def _item(
        self,
        before: Item | None,
        folder: Path,
        kind: str,
        signature: _Signature,
        summary: dict[str, Any],
    ) -> Item:
        if before is not None and before.summary == summary and before.folder == folder:
            return before._replace(signature=signature)
        self.version += 1
        return Item(folder, kind, signature, summary, self.version)


def _folders(root: Path) -> Iterator[Path]:
    """The folders in a folder. A link is none: it may lead out of the runs."""
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield Path(entry.path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(
            f"The folder {str(root)!r} cannot be read: {error.strerror or error}."
        ) from error


def _signature(path: Path) -> _Signature | None:
    """That of a file; None if there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def _id_of(folder: Path, root: Path) -> str:
    return quote(os.fsencode(folder.relative_to(root)))
