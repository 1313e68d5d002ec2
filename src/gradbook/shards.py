"""Checkpoints that several processes write together, each what it holds of the tensors.

A checkpoint's file then says in which folder beside it the tensors are, and the checksums of the
files there. PyTorch's distributed checkpoints write and read these, as safetensors: they hold
numbers only, and any number of processes can read them.
"""

import hashlib
import os
import re
import shutil
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from gradbook.errors import CorruptFileError, MissingExtraError, StorageError, told
from gradbook.parts import is_sharded, part_here
from gradbook.storage import unwritable
from gradbook.untrusted import check_file, inside

#: What stands in a checkpoint for a tensor whose values are in the files of the ranks.
_MARK = "sharded tensor"

_FOLDER = re.compile(r"shards-(\d{1,9})")
_FILE = re.compile(r"shard-[\w-]+\.safetensors")


def write(state: dict[str, Any], checkpoints: Callable[[], Path] | None) -> dict[str, Any]:
    """Writes this rank's part of all sharded tensors in a state; all ranks have to be here.

    Args:
        state: What a checkpoint is to hold, or all of that in which sharded tensors are.
        checkpoints: Gives, on the first rank, the folder of the checkpoint's file. All see it.

    Returns:
        What the checkpoint has to say of them, as "shards".

    Raises:
        StorageError: If a file cannot be written, or rank 0 does not see what others have written.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    rank = dist.get_rank()
    held: list[Any] = [None]
    if checkpoints is not None:
        try:
            held = [new_folder(checkpoints()).resolve()]
        except OSError as error:
            held = [str(unwritable(error.filename or checkpoints(), error))]
    dist.broadcast_object_list(held)
    folder: Any = held[0]
    if isinstance(folder, str):
        raise StorageError(folder)
    _, tensors = without_parts(state)
    places: set[int] = set()
    for name, tensor in tensors.items():  # a file of safetensors has each memory but once
        place = part_here(tensor).untyped_storage().data_ptr()
        if place in places:
            tensors[name] = tensor.clone()
        places.add(place)
    try:
        save(tensors, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except CheckpointException as error:
        reasons = {told(failure[0]) for failure in error.failures.values()}
        raise StorageError(
            f"A part of a checkpoint cannot be written to {folder}: {'; '.join(reasons)}."
        ) from error
    mine = sorted(folder.glob(f"shard-{rank + 1:05}-*"))
    every: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(every, {path.name: _digest(path) for path in mine})
    files = {name: digest for digests in every for name, digest in digests.items()}
    unseen = [[name for name in files if not (folder / name).is_file()] if rank == 0 else []]
    dist.broadcast_object_list(unseen)
    if unseen[0]:
        raise StorageError(
            f"Rank 0 does not see {folder / unseen[0][0]}, which another process has written: each "
            f"machine has a folder of its own there. Keep the run in a folder that all see."
        )
    return {"folder": folder.name, "files": files}


def without_parts(state: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """A state without its sharded tensors, in whose place stands a name; and these by name."""
    parts: dict[str, torch.Tensor] = {}

    def replaced(value: Any, path: str) -> Any:
        if isinstance(value, torch.Tensor) and is_sharded(value):
            parts[path] = value.detach()
            return {_MARK: path}
        if isinstance(value, dict):
            return {key: replaced(item, f"{path}.{key}") for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(replaced(item, f"{path}.{i}") for i, item in enumerate(value))
        return value

    plain = {key: replaced(value, key) for key, value in state.items()}
    return plain, parts


def located(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """A state that was read from a file and lacks tensors, with the true place of their folder."""
    shards = state["shards"]
    name = shards.get("folder") if isinstance(shards, dict) else None
    files = shards.get("files") if isinstance(shards, dict) else None
    if not (isinstance(name, str) and _FOLDER.fullmatch(name) and isinstance(files, dict)):
        raise CorruptFileError(f"{path} does not say where its tensors are.")
    return {**state, "shards": {"folder": str(inside(path.parent, name)), "files": files}}


def completed(
    state: dict[str, Any], place_for: Callable[..., torch.Tensor] = torch.zeros
) -> dict[str, Any]:
    """A state with the tensors that it lacks.

    Args:
        state: What `located` gave, or one that lacks none.
        place_for: Makes what a tensor of a shape and a dtype is read into.

    Raises:
        CorruptFileError: If their files are missing or damaged.
    """
    shards = state.get("shards")
    if shards is None:
        return state
    folder = Path(shards["folder"])
    tensors = _read(folder, shards["files"], place_for)

    def put_back(value: Any) -> Any:
        if isinstance(value, dict):
            if value.keys() == {_MARK}:
                return tensors[value[_MARK]]
            return {key: put_back(item) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(map(put_back, value))
        return value

    try:
        return {key: put_back(value) for key, value in state.items() if key != "shards"}
    except (KeyError, TypeError) as error:
        raise CorruptFileError(
            f"A checkpoint names a tensor that is in no file of {folder}: {error}."
        ) from error


def _read(
    folder: Path, files: Mapping[str, str], place_for: Callable[..., torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The tensors in a folder, each read into a place for its shape and dtype."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    for name, digest in files.items():
        if not _FILE.fullmatch(str(name)):
            raise CorruptFileError(f"{folder} cannot have the file {name!r:.60}.")
        path = check_file(inside(folder, name))
        if not path.exists():
            raise CorruptFileError(f"{folder / name} is missing, a part of a checkpoint.{_ADVICE}")
        if _digest(path) != digest:
            raise CorruptFileError(
                f"{folder / name} is damaged: its checksum does not match.{_ADVICE}"
            )
    if not files:
        return {}
    for path in folder.glob("*.safetensors"):  # all of which PyTorch reads
        if path.name not in files:
            raise CorruptFileError(f"{path} is no part of the checkpoint. Put it elsewhere.")
    try:
        reader = HuggingFaceStorageReader(str(folder))
        known: dict[str, Any] = reader.read_metadata().state_dict_metadata
        claimed = sum(one.size.numel() * one.properties.dtype.itemsize for one in known.values())
        if not 0 <= claimed <= sum(os.path.getsize(folder / name) for name in files):
            raise ValueError("it claims more values than its files hold")
        tensors = {n: place_for(one.size, dtype=one.properties.dtype) for n, one in known.items()}
        with warnings.catch_warnings(action="ignore"):  # each process reads by itself, as is meant
            load(tensors, storage_reader=reader, no_dist=True)
    except ImportError:
        raise MissingExtraError.of("safetensors", str(folder), "safetensors") from None
    except Exception as error:  # as of a file that lies about itself
        raise CorruptFileError(
            f"{folder} is no readable part of a checkpoint: {told(error)}"
        ) from error
    return tensors


_ADVICE = " Use another checkpoint of the run, or a copy."


def _digest(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def new_folder(checkpoints: Path) -> Path:
    """A new folder beside checkpoints for the parts of the next one."""
    checkpoints.mkdir(exist_ok=True)
    numbers = [int(found[1]) for found in map(_FOLDER.fullmatch, os.listdir(checkpoints)) if found]
    folder = checkpoints / f"shards-{max(numbers, default=0) + 1}"
    folder.mkdir()
    return folder


def remove_unused(checkpoints: Path, used: Collection[str], is_written: bool = True) -> None:
    """Removes the folders of parts to which no checkpoint refers any more.

    Args:
        checkpoints: The folder of checkpoints.
        used: The names of those that are needed.
        is_written: Whether later ones than these are being written.
    """
    last = max((int(name.rpartition("-")[2]) for name in used), default=0)
    for name in os.listdir(checkpoints):
        found = _FOLDER.fullmatch(name)
        if found and name not in used and (int(found[1]) < last or not is_written):
            shutil.rmtree(checkpoints / name, ignore_errors=True)
