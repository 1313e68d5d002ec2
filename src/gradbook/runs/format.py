"""The files of a run's folder: how they are written, and how damage to them is noticed.

docs/runs.md describes the format. Nothing here needs PyTorch.
"""

import errno
import hashlib
import json
import math
import os
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from gradbook.errors import ConfigError, CorruptFileError, StorageError
from gradbook.history import History
from gradbook.record import Metric
from gradbook.registry import WATCHERS
from gradbook.runs.lines import Lines, Values, canonical, report_line, validate, with_crc
from gradbook.storage import as_word, finite, unwritable, write_atomically
from gradbook.untrusted import (
    MAX_SETTINGS_BYTES,
    inside,
    open_to_append,
    parsed,
    read_file,
    reason_of,
)

FORMAT = "gradbook run"
VERSION = 1

RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
CURVE_FILES = ("curve.svg", "curve.png")
CHECKPOINT_FOLDER = "checkpoints"
CHECKPOINT_FILES = {
    "last": f"{CHECKPOINT_FOLDER}/last.pt",
    "best": f"{CHECKPOINT_FOLDER}/best.pt",
    "failed": f"{CHECKPOINT_FOLDER}/failed.pt",
}
LOCK_FILE = "lock"

#: What each watcher may keep.
REPORT_FILES = tuple(f"{name}.{kind}" for name in WATCHERS for kind in ("svg", "png", "json"))

#: What `gradbook inspect` and `gradbook export` add to a run.
INSPECT_FOLDER = "inspect"
INSPECT_PICTURES = (
    "confusion",
    "calibration",
    "mistakes",
    "weights",
    "predicted",
    "residuals",
    "boundary",
)
EXPORT_FILES = ("model.safetensors", "model.onnx", "model.pt2")

#: Every file that a run may have. What else lies in its folder is somebody's own.
FILES = (
    *(RUN_FILE, METRICS_FILE, *CURVE_FILES, *REPORT_FILES, *CHECKPOINT_FILES.values()),
    *(LOCK_FILE, *EXPORT_FILES),
    *(
        f"{INSPECT_FOLDER}/{picture}{split}.{kind}"
        for picture in INSPECT_PICTURES
        for split in ("", "-train")
        for kind in ("svg", "png")
    ),
)

#: What several processes have written of a checkpoint, each to a file.
_PARTS_FOLDER = re.compile(rf"{CHECKPOINT_FOLDER}/shards-\d+")
_PARTS = re.compile(rf"{_PARTS_FOLDER.pattern}/shard-[\w-]+\.safetensors")

#: The folders that a run may have.
FOLDERS = (CHECKPOINT_FOLDER, INSPECT_FOLDER)

#: How the label of a loss or an accuracy begins. Others, as "lr", are of settings that change.
SPLITS = ("train_", "val_")

#: A metrics.jsonl that is larger is not read: some ten million values.
_MAX_METRICS_BYTES = 1 << 30

#: A run with one of these may have lost its last line, when its process or its disk gave up.
_CUT_SHORT = ("running", "interrupted", "failed")


def files_in(folder: Path | str) -> dict[str, int]:
    """The sizes in bytes of all files in a folder and below it, by name, as "checkpoints/last.pt".

    A link is listed as itself; none is followed.
    """
    return {
        path.relative_to(folder).as_posix(): path.lstat().st_size
        for path in Path(folder).rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def is_of_a_run(name: str) -> bool:
    """Whether a run may have this file. An interrupted write leaves one that ends in ".part"."""
    return re.sub(r"\.\d+\.part$", "", name) in FILES or _PARTS.fullmatch(name) is not None


def is_folder_of_a_run(name: str) -> bool:
    """Whether a run may have this folder, as "checkpoints"."""
    return name in FOLDERS or _PARTS_FOLDER.fullmatch(name) is not None


def remove_files(folder: Path | str) -> None:
    """Removes a run's files and the folders that this leaves empty, or raises StorageError."""
    # run.json is the last: until then, what is left over can still be removed as a run.
    names = sorted(filter(is_of_a_run, files_in(folder)), key=lambda name: name == RUN_FILE)
    try:
        for name in names:
            Path(folder, name).unlink()
        parts = sorted(Path(folder, CHECKPOINT_FOLDER).glob("shards-*"))
        for path in (*parts, *(Path(folder, name) for name in FOLDERS)):
            if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
                path.rmdir()
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder} cannot be removed: {error.strerror or error}."
        ) from error


def unshare(path: Path) -> None:
    """Gives a file a content of its own: what is added does not reach other names that it has."""
    if path.is_file() and path.stat().st_nlink > 1:
        write_atomically(path, read_file(path))


def remove_half_written(folder: Path | str) -> None:
    """Removes what a killed process was writing, as large as a checkpoint may be."""
    for name in files_in(folder):
        if name.endswith(".part") and is_of_a_run(name):
            with suppress(OSError):
                Path(folder, name).unlink()


# run.json


def write_run(folder: Path | str, facts: dict[str, Any]) -> None:
    """Writes run.json, whole, or raises StorageError. NaN and infinities become null."""
    facts = finite({key: value for key, value in facts.items() if key != "checksum"})
    facts["checksum"] = _checksum(facts)
    text = json.dumps(facts, indent=2, allow_nan=False) + "\n"
    write_atomically(inside(folder, RUN_FILE), text.encode())


def read_run(folder: Path | str) -> dict[str, Any]:
    """What run.json says, after everything about it was verified.

    Raises:
        ConfigError: If there is no run in the folder.
        CorruptFileError: If the file is missing, damaged, or of a newer format.
    """
    path = inside(folder, RUN_FILE)
    content = _content(path, MAX_SETTINGS_BYTES)
    if content is None:
        if os.path.lexists(path):
            _report_damage(path, "it is a link to nothing")
        if any(os.path.lexists(Path(folder, name)) for name in (METRICS_FILE, CHECKPOINT_FOLDER)):
            _report_damage(path, "it is missing")
        raise ConfigError(
            f"There is no run in {str(folder)!r}: it has no {RUN_FILE}. `gradbook runs` lists the "
            f"runs, and `gradbook train` makes one."
        )
    try:
        facts = parsed(content)
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            raise ValueError(f'it does not say "format": "{FORMAT}"')
        version = facts.get("version")
        if isinstance(version, int) and version > VERSION:
            raise CorruptFileError(
                f"{path} was written by a newer gradbook: its format has version {version}, and "
                f"this gradbook reads up to {VERSION}. Upgrade: pip install --upgrade gradbook"
            )
        rest = {key: value for key, value in facts.items() if key != "checksum"}
        if facts.get("checksum") != _checksum(rest):
            raise ValueError("it was changed after it was written (its checksum differs)")
        validate("run.schema.json", facts)
    except CorruptFileError:
        raise
    except (ValueError, RecursionError) as error:
        _report_damage(path, reason_of(error))
    return facts


def results_of(history: History) -> dict[str, Any]:
    """The keys of run.json that say what a training reached: epochs, final and best.

    `best` holds the best finite mean of each loss and accuracy that has one.
    """
    last = history[-1] if len(history) else {}
    best = {label: history.best(label) for label in history.labels if label.startswith(SPLITS)}
    return {
        "epochs": len(history),
        "final": {label: y for label, y in last.items() if label != "epoch"},
        "best": {
            label: {"value": row[label], "epoch": row["epoch"]}
            for label, row in best.items()
            if row is not None
        },
    }


def _report_damage(path: Path, reason: str) -> NoReturn:
    folder = path.parent
    whole = [name for name in CHECKPOINT_FILES.values() if os.path.isfile(folder / name)]
    rest = "There is no checkpoint to load the trained parameters from: train again."
    if whole:
        rest = f"The trained parameters can still be loaded from {' and '.join(whole)} there."
    raise CorruptFileError(
        f"{path} is damaged: {reason}. {rest} A copy of the file, if you have one, repairs the "
        f"run; `gradbook rm {shlex.quote(as_word(folder))}` removes it."
    )


def _checksum(facts: dict[str, Any]) -> str:
    return f"sha256:{hashlib.sha256(canonical(facts).encode()).hexdigest()}"


# metrics.jsonl


class MetricsLog:
    """Appends recorded values to a run's metrics.jsonl, each with one system call.

    The file is made if it does not exist. A last line that a killed process left half written is
    cut off. A training that is resumed goes on after `resume_at` lines: later ones are superseded.
    From then on the folder is found as `held`.

    Attributes:
        lines: The number of lines in the file.
        crc: The CRC of the last line, or an empty text.

    Raises:
        CorruptFileError: If what is there is damaged, or has fewer lines than `resume_at`.
        StorageError: If it cannot be written to.
    """

    def __init__(
        self, folder: Path | str, resume_at: int | None = None, held: Path | None = None
    ) -> None:
        self._path = inside(folder, METRICS_FILE)
        content = _content(self._path) or b""
        whole, _ = _split(content)
        lines = Lines(self._path, whole)
        self.lines = len(lines)
        self.crc = lines.crc(self.lines)
        if resume_at is not None and resume_at > self.lines:
            _report_lost(self._path, self.lines, resume_at)
        try:
            unshare(self._path)
            self._file = open_to_append(self._path)
        except OSError as error:
            raise unwritable(self._path, error) from error
        self._size = len(whole)
        self._is_open = True
        self._path = self._path if held is None else held / METRICS_FILE
        if len(whole) < len(content):
            os.ftruncate(self._file, self._size)
        if resume_at is not None:
            self._append({"event": "resume", "lines": resume_at})

    def append(self, metric: Metric) -> None:
        """Appends one value, which is at once visible to every reader.

        Raises:
            StorageError: If it cannot be written. The file then ends with the line before.
        """
        label, x, y, kind = metric
        self._append({"kind": kind, "label": label, "x": json_number(x), "y": json_number(y)})

    def sync(self) -> None:
        """Waits until everything has reached the disk, or raises StorageError."""
        try:
            os.fsync(self._file)
            if not os.path.samestat(os.fstat(self._file), os.stat(self._path)):
                raise OSError(errno.ESTALE, "another file has taken its place")
        except OSError as error:
            raise unwritable(self._path, error) from error

    def close(self) -> None:
        """Closes the file, after `sync`. May be called again."""
        if self._is_open:
            self._is_open = False
            try:
                self.sync()
            finally:
                os.close(self._file)

    def _append(self, entry: dict[str, Any]) -> None:
        if not self._is_open:
            raise StorageError(f"{self._path} is closed; nothing can be added to it.")
        crc, line = with_crc(self.crc, entry)
        try:
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise unwritable(self._path, error) from error
        self.lines, self.crc = self.lines + 1, crc
        self._size += len(line)


def read_metrics(folder: Path | str, facts: dict[str, Any]) -> Values:
    """The values that a run recorded, oldest first, after every line was verified.

    Values that a resumed training recorded anew are there once. Of a file that has grown since
    `read_run` gave `facts`, only what these speak of is given.

    Raises:
        CorruptFileError: If the file is missing or damaged.
    """
    path = inside(folder, METRICS_FILE)
    content = _content(path)
    status, closed = facts["status"], facts["metrics"]
    if content is None:
        if status == "running" and closed is None:  # it has only just begun
            return Values()
        report_line(path, None, "it is missing")
    whole, torn = _split(content)
    lines = Lines(path, whole)
    num_lines = len(lines)
    if torn and status not in _CUT_SHORT:
        report_line(path, num_lines + 1, "the line has no end")
    if closed is not None:
        check_closed(path, lines, closed)
        if status != "running":
            num_lines = closed["lines"]
    return lines.values(num_lines)


def check_closed(path: Path, lines: Lines, closed: Mapping[str, Any]) -> None:
    """Raises CorruptFileError unless lines are those of which run.json says when they ended.

    Args:
        path: The file, for messages.
        lines: All that it has.
        closed: The number of "lines", and the "crc" of the last.
    """
    if len(lines) < closed["lines"]:
        _report_lost(path, len(lines), closed["lines"])
    if closed["lines"] and lines.crc(closed["lines"]) != closed["crc"]:
        report_line(path, closed["lines"], f"{RUN_FILE} was written for another line")


def _split(content: bytes) -> tuple[bytes, bytes]:
    """The lines that have an end, and what follows them."""
    end = content.rfind(b"\n") + 1
    return content[:end], content[end:]


def _report_lost(path: Path, num_lines: int, expected: int) -> NoReturn:
    report_line(path, None, f"it ends after {num_lines} lines, and {expected} were written")


def json_number(value: float) -> float | str:
    """A value for JSON, which has words for NaN and infinities."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


# Both


def _content(path: Path, max_bytes: int = _MAX_METRICS_BYTES) -> bytes | None:
    """What a file holds, or None if it does not exist."""
    try:
        return read_file(path, max_bytes)
    except FileNotFoundError:
        return None
