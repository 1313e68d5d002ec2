"""Which runs and sweeps a folder has, looked at again and again, and cheaply."""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from gradbook.errors import ConfigError, CorruptFileError, told
from gradbook.labels import headline
from gradbook.runs.comparison import summary_of
from gradbook.runs.format import CHECKPOINT_FOLDER, METRICS_FILE, RUN_FILE
from gradbook.runs.lines import Values
from gradbook.runs.stored import StoredRun, is_being_trained, natural_order
from gradbook.runs.tail import News, Tail
from gradbook.storage import finite
from gradbook.sweeps.format import SWEEP_FILE, read_sweep

#: A folder of more is shown in part.
MAX_ITEMS = 10_000

#: A run.json or sweep.json that is larger is not read: some thousand times what a run has.
_MAX_BYTES = 1 << 23

#: What the list says of one run, in bytes of JSON. Of more, each text has so many characters, and
#: each group so many entries, none of them longer than that.
_MAX_SUMMARY_BYTES, _MAX_TEXT, _MAX_ENTRIES, _MAX_ENTRY_BYTES = 1 << 14, 1000, 40, 120

#: So many runs are followed at a time, and those that were asked for last a while longer.
_NUM_TAILS = 100

#: So many ids of what is gone are remembered, for pages that have not heard of it.
_NUM_GONE = 1000

#: A look that takes long tells what it has found after so many seconds.
_PART_SECONDS = 0.25

#: What tells whether a file has changed: its size, the time of its last change, and which file.
_Signature = tuple[int, int, int]


class Item(NamedTuple):
    """A run or a sweep.

    Attributes:
        folder: Its folder.
        kind: "run" or "sweep".
        signature: That of its run.json or sweep.json; None if that is not there.
        summary: What a list says of it, plain values for JSON.
        version: The catalogue's when this was last changed.
        is_open: Whether it is being trained.
        closed: What run.json says of metrics.jsonl once the training has ended.
    """

    folder: Path
    kind: str
    signature: _Signature | None
    summary: dict[str, Any]
    version: int = 0
    is_open: bool = False
    closed: Mapping[str, Any] | None = None


class _Place(NamedTuple):
    """A folder that may be a run's or a sweep's, with all that a look at it needs made once."""

    name: str
    path: str
    id: str
    run_file: str
    sweep_file: str

    @classmethod
    def of(cls, folder: str, name: str, sweep: str | None) -> "_Place":
        path, item_id = os.path.join(folder, name), quote(os.fsencode(name))
        item_id = item_id if sweep is None else f"{sweep}/{item_id}"
        files = (os.path.join(path, file) for file in (RUN_FILE, SWEEP_FILE))
        return cls(name, path, item_id, *files)


class Catalogue:
    """The runs in a folder, and in the sweeps in it.

    An id is the path of a run's folder below the root, with what an address cannot have written as
    in addresses. Only ids that a look has found lead to a folder, so that none leads out of it.

    One look is made at a time. What is known can be asked for meanwhile, by any thread: it is not
    kept waiting by a disk that answers late.

    Args:
        root: The folder. It may not exist yet.

    Attributes:
        root: The same.
        version: Grows with each change of the list.
        oldest: What has gone before this version is forgotten.
        items: All runs and sweeps by id, in natural order of their names.
        error: Why the folder cannot be read, or not all of it is shown; None if nothing is wrong.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.version = self.oldest = 0
        self._newest = 0  # the version of what a look has found; it is the list's when that is told
        self.items: dict[str, Item] = {}
        self.error: str | None = None
        self._places: dict[str, dict[str, _Place]] = {}
        self._empty: dict[str, _Signature | None] = {}
        self._gone: dict[str, int] = {}
        self._tails: dict[str, Tail] = {}
        self._followed: Counter[str] = Counter()
        self._looking, self._knowing = threading.RLock(), threading.RLock()
        self._part_told: Callable[[], object] | None = None
        self._part_at = 0.0

    # Asking

    def changed_since(self, version: int) -> tuple[list[dict[str, Any]], list[str]]:
        """The summaries that are new or different since a version, and the ids that are gone."""
        with self._knowing:
            changed = [item.summary for item in self.items.values() if item.version > version]
            return changed, [name for name, when in self._gone.items() if when > version]

    def folder(self, item_id: str, kind: str = "run") -> Path:
        """The folder of a run or a sweep.

        Raises:
            ConfigError: If there is none with this id, or links lead out of the root by now.
        """
        item = self._item_of(item_id, kind)
        real = os.path.realpath(item.folder)
        if not Path(real).is_relative_to(os.path.realpath(self.root)):
            raise ConfigError(f"The {kind} {item_id!r:.200} is a link that leads out of the runs.")
        return item.folder

    def folder_now(self, item_id: str, kinds: Sequence[str] = ("run",)) -> Path:
        """The same of a run or a sweep that may be new: if need be, the whole folder is looked at.

        Raises:
            ConfigError: If there is none of these kinds, as of `folder`.
        """
        if item_id not in self.items:
            self.refresh()
        item = self.items.get(item_id)
        return self.folder(item_id, item.kind if item and item.kind in kinds else kinds[0])

    def _item_of(self, item_id: str, kind: str = "run") -> Item:
        item = self.items.get(item_id)
        if item is None or item.kind != kind:
            raise ConfigError(f"There is no {kind} {item_id!r:.200} in this folder any more.")
        return item

    def news(self, item_id: str, position: str = "") -> tuple[News, str | None]:
        """What a run has recorded after a position, and what is wrong with its file, if anything.

        Its file is read now.

        Args:
            item_id: The run.
            position: Where the last news ended; empty for all.

        Raises:
            ConfigError: If there is no such run.
        """
        item = self._item_of(item_id)
        with self._knowing:
            tail = self._tails.get(item_id)
        tail = tail or self._tail(item_id, item.folder)
        tail.read()
        while tail.is_behind:
            tail.read()
        return tail.since(position), tail.fault(item.closed)

    def news_found(self, item_id: str, position: str = "") -> tuple[News, str | None] | None:
        """The same as the last look has found it; None of a run that is not followed, or not yet.

        Raises:
            ConfigError: If there is no such run.
        """
        item = self._item_of(item_id)
        with self._knowing:
            tail = self._tails.get(item_id)
        return None if tail is None else (tail.since(position), tail.fault(item.closed))

    def follow(self, item_ids: Iterable[str]) -> None:
        """Has looks read the values of runs, until `forget` as often. A run may not exist yet."""
        with self._knowing:
            self._followed.update(item_ids)

    def forget(self, item_ids: Iterable[str]) -> None:
        """Takes back a `follow`."""
        with self._knowing:
            self._followed.subtract(item_ids)
            self._followed = +self._followed

    @property
    def is_behind(self) -> bool:
        """Whether there are values to read at once."""
        with self._knowing:
            return any(tail.is_behind for tail in self._tails.values())

    @property
    def is_live(self) -> bool:
        """Whether anything is worth a look several times a second."""
        with self._knowing:
            return bool(self._followed) or any(item.is_open for item in self.items.values())

    # Looking

    def refresh(self, part_told: Callable[[], object] | None = None) -> bool:
        """Looks at the whole folder. Returns whether anything has changed.

        Args:
            part_told: Is called whenever a look that takes long has found more.
        """
        with self._looking:
            before, found = self.version, dict[str, Item]()
            self._part_told, self._part_at = part_told, time.monotonic() + _PART_SECONDS
            error = self._look(str(self.root), None, found)
            if len(found) >= MAX_ITEMS:
                error = f"There are more than {MAX_ITEMS:,} runs here. Only so many are shown."
            for known in (self._places, self._empty):
                if len(known) > 2 * MAX_ITEMS:  # of folders that are gone
                    known.clear()
            with self._knowing:
                for item_id in self.items.keys() - found.keys():
                    self._newest += 1
                    self._gone[item_id] = self._newest
                    self._tails.pop(item_id, None)
                while len(self._gone) > _NUM_GONE:
                    self.oldest = self._gone.pop(next(iter(self._gone)))
                if error != self.error:
                    self._newest += 1
                self.items, self.error, self.version = found, error, self._newest
            return self._read_followed() or self.version != before

    def refresh_open(self) -> bool:
        """Looks at what is being trained and at what is followed. Returns as `refresh` does."""
        with self._looking:
            before = self.version
            for item_id, item in [pair for pair in self.items.items() if pair[1].is_open]:
                folder, name = os.path.split(item.folder)
                place = _Place.of(folder, name, item.summary["sweep"])
                looked = self._run(place, item.summary["sweep"])
                if looked is not None:  # that it has gone is seen by a look at all
                    with self._knowing:
                        self.items[item_id], self.version = looked, self._newest
            return self._read_followed() or self.version != before

    def _read_followed(self) -> bool:
        with self._knowing:
            followed = [name for name in self._followed if name in self.items]
        has_changed = False
        for item_id in followed:
            item = self.items[item_id]
            if item.kind == "run":
                has_changed |= item_id not in self._tails
                # One that is open was read with its item, but may have gone on since.
                has_changed |= self._tail(item_id, item.folder).read()
        return has_changed

    def _tail(self, item_id: str, folder: Path) -> Tail:
        """What follows a run that somebody asks for; another one is let go for it."""
        with self._knowing:
            tail = self._tails.pop(item_id, None) or Tail(folder)
            self._tails[item_id] = tail  # the last that was asked for stands last
            free = [
                name
                for name in self._tails
                if name != item_id and name not in self._followed and not self._is_open(name)
            ]
            for name in free[: max(len(self._tails) - _NUM_TAILS, 0)]:
                del self._tails[name]
            return tail

    def _is_open(self, item_id: str) -> bool:
        item = self.items.get(item_id)
        return item is not None and item.is_open

    def _look(self, folder: str, sweep: str | None, found: dict[str, Item]) -> str | None:
        """Puts what lies in a folder into `found`. Returns what is wrong with it."""
        try:
            places = self._folders(folder, sweep)
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"The folder {folder!r} cannot be read: {error.strerror or error}."
        wrong = None
        for place in places:
            if len(found) >= MAX_ITEMS:
                break
            item = self._unchanged(place) or self._run(place, sweep)
            if item is None and sweep is None:
                item = self._sweep(place)
            if item is None:
                continue
            found[place.id] = item
            if item.kind == "sweep":
                wrong = self._look(place.path, place.id, found) or wrong
            if time.monotonic() > self._part_at:
                self._tell_part(found)
        return wrong

    def _tell_part(self, found: dict[str, Item]) -> None:
        if self._part_told is not None and found.keys() - self.items.keys():
            with self._knowing:
                self.items, self.version = {**self.items, **found}, self._newest
            self._part_told()
        self._part_at = time.monotonic() + _PART_SECONDS

    def _folders(self, folder: str, sweep: str | None) -> Iterable[_Place]:
        """The folders in a folder, in natural order. A link is none: it may lead anywhere."""
        known = self._places.get(folder, {})
        with os.scandir(folder) as entries:
            names = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
        if names != known.keys():
            places = [known.get(name) or _Place.of(folder, name, sweep) for name in names]
            places.sort(key=lambda place: natural_order(Path(place.name)))
            known = {place.name: place for place in places}
            self._places[folder] = known
        return known.values()

    def _unchanged(self, place: _Place) -> Item | None:
        """A run that is not trained and whose run.json is as it was: of thousands, most are."""
        before = self.items.get(place.id)
        if before is None or before.kind != "run" or before.is_open:
            return None
        try:
            status = os.lstat(place.run_file)
        except OSError:
            return None
        signature = (status.st_size, status.st_mtime_ns, status.st_ino)
        return before if before.signature == signature else None

    def _run(self, place: _Place, sweep: str | None) -> Item | None:
        """A run as it is now; None where there is none."""
        before = self.items.get(place.id)
        folder = Path(place.path) if before is None else before.folder
        facts: dict[str, Any] = {"name": place.name}
        signature, is_open, closed = None, False, None
        try:
            signature = _signature(place.run_file)
            if signature is None:
                if not self._is_damaged(place):
                    return None
            elif before is not None and before.kind == "run" and before.signature == signature:
                if not self._has_gone_on(place.id, folder):
                    return before
            elif signature[0] > _MAX_BYTES:
                raise CorruptFileError(
                    f"{place.run_file} has {signature[0]:,} bytes. The lab reads it up to "
                    f"{_MAX_BYTES:,}."
                )
            run = StoredRun(folder, lambda: self._epochs(place.id, run))
            is_open, closed = run.status == "running", run.facts["metrics"]
            facts |= summary_of(run)
            del facts["folder"]
            facts |= {"headline": headline(run.best), "diverged": run.facts["diverged"]}
            facts = finite(facts)
        except ConfigError:  # it was removed just now
            return None
        # What a stranger has written may be wrong in any way. The other runs are shown.
        except Exception as error:
            reason = str(error) if isinstance(error, CorruptFileError) else told(error)
            facts = {"status": "damaged", "reason": reason, "name": place.name}
        facts |= {"id": place.id, "kind": "run", "sweep": sweep}
        return self._as_item(before, Item(folder, "run", signature, facts, 0, is_open, closed))

    def _is_damaged(self, place: _Place) -> bool:
        """Whether a folder without a run.json is a run's all the same, and no training's yet."""
        signature = _signature(place.path)
        if self._empty.get(place.id, 0) == signature:  # nothing has come into it
            return False
        files = (os.path.join(place.path, name) for name in (METRICS_FILE, CHECKPOINT_FOLDER))
        if any(os.path.lexists(file) for file in files):
            return not is_being_trained(place.path)
        self._empty[place.id] = signature
        return False

    def _has_gone_on(self, item_id: str, folder: Path) -> bool:
        """Whether a run that was being trained has new values, or is no longer trained."""
        tail = self._tails.get(item_id)
        return (tail is not None and tail.read()) or not is_being_trained(folder)

    def _epochs(self, item_id: str, run: StoredRun) -> Values:
        """The means of the epochs of a run whose run.json is from before its end."""
        with self._knowing:
            tail = self._tails.get(item_id)
            if tail is None:
                tail = Tail(run.folder)
                if run.status == "running" and len(self._tails) < _NUM_TAILS:
                    self._tails[item_id] = tail
        tail.read()
        while tail.is_behind and run.status != "running":  # this is the last look at it
            tail.read()
        if tail.damage is not None:
            raise CorruptFileError(tail.damage)
        return _epochs_of(tail.since().values)

    def _sweep(self, place: _Place) -> Item | None:
        before = self.items.get(place.id)
        folder = Path(place.path) if before is None else before.folder
        facts: dict[str, Any] = {"name": place.name, "id": place.id, "kind": "sweep"}
        signature = None
        try:
            signature = _signature(place.sweep_file)
            if signature is None:
                return None
            if before is not None and before.kind == "sweep" and before.signature == signature:
                return before
            if signature[0] > _MAX_BYTES:
                raise CorruptFileError(f"{place.sweep_file} has {signature[0]:,} bytes.")
            sweep = read_sweep(folder)
            facts |= {"swept": sorted(sweep["swept"]), "num_members": len(sweep["members"])}
            facts = finite({**facts, "status": "whole"})
        except ConfigError:
            return None
        except Exception as error:  # as of a run
            reason = str(error) if isinstance(error, CorruptFileError) else told(error)
            facts |= {"status": "damaged", "reason": reason}
        return self._as_item(before, Item(folder, "sweep", signature, facts))

    def _as_item(self, before: Item | None, item: Item) -> Item:
        summary = _bounded(item.summary)
        with self._knowing:
            self._gone.pop(summary["id"], None)
            version = before.version if before is not None else 0
            if before is None or before.summary != summary:
                self._newest = version = self._newest + 1
            return item._replace(summary=summary, version=version)


def _signature(path: str) -> _Signature | None:
    """That of a file; None if there is none.

    Raises:
        CorruptFileError: If that cannot be told.
    """
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error.strerror or error}.") from error
    return status.st_size, status.st_mtime_ns, status.st_ino


def _epochs_of(values: Values) -> Values:
    """Only the means of epochs."""
    found = Values(values.names)
    is_epoch = np.array([kind == "epoch" for kind, _ in values.names], bool)
    if is_epoch.any():
        chosen = is_epoch[np.asarray(values.name)]
        for name in ("name", "x", "y"):
            kept = np.asarray(getattr(values, name))[chosen]
            getattr(found, name).frombytes(kept.tobytes())
    return found


def _bounded(summary: dict[str, Any]) -> dict[str, Any]:
    """The same, without what makes it longer than a list of thousands can have of each."""
    if len(json.dumps(summary)) <= _MAX_SUMMARY_BYTES:
        return summary
    return {
        key: value if key in ("id", "sweep") else _short(value) for key, value in summary.items()
    }


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _MAX_TEXT else f"{value[:_MAX_TEXT]}..."
    if isinstance(value, list):
        return [item for item in value if _is_short(item)][:_MAX_ENTRIES]
    if isinstance(value, dict):
        kept = (key for key, item in value.items() if _is_short(key) and _is_short(item))
        return {key: value[key] for key in islice(kept, _MAX_ENTRIES)}
    return value


def _is_short(value: Any) -> bool:
    return len(json.dumps(value)) <= _MAX_ENTRY_BYTES
