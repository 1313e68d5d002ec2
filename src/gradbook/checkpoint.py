"""Checkpoint files: written whole, verified when read, and unable to run code.

A checkpoint is a dictionary of tensors, numbers, texts, lists and dictionaries, in PyTorch's own
format: `torch.load(path, weights_only=True)` reads it, too. The SHA-256 of the file stands at its
end, as the comment of the zip archive that such a file is. Within the file it cannot get out of
step with it: the two replace what was there in one rename.
"""

import hashlib
import io
import pickle
import re
import warnings
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import torch

from gradbook.errors import CheckpointError, ConfigError, CorruptFileError, text_of
from gradbook.lazy import listing
from gradbook.storage import check_path, write_atomically
from gradbook.untrusted import open_file, read_file

__all__ = ["FORMAT", "VERSION", "load", "save"]

__dir__ = listing(__all__)

FORMAT = "gradbook checkpoint"
VERSION = 1

_MARK = b"gradbook sha256 "
_COMMENT_BYTES = len(_MARK) + 64
_END = b"PK\x05\x06"  # the record that ends a zip archive: 22 bytes, then the comment
_END_BYTES = 22

#: What PyTorch reads back of an integer without running code: 255 bytes, one bit of them the sign.
_MAX_BITS = 255 * 8 - 1

#: How deep lists and dictionaries may be nested.
_MAX_DEPTH = 100

#: The layouts of tensors that can be written and read.
_LAYOUTS = (
    *(torch.strided, torch.sparse_coo, torch.sparse_csr, torch.sparse_csc),
    *(torch.sparse_bsr, torch.sparse_bsc),
)


def save(path: Path | str, state: dict[str, Any]) -> None:
    """Writes a checkpoint, or leaves what was there.

    Raises:
        CheckpointError: If `state` holds something that cannot be read back without running code.
        StorageError: If the file cannot be written.
    """
    write_atomically(path, encode(state))


def encode(state: dict[str, Any]) -> bytes:
    """A checkpoint as the content of a file."""
    wrong = _not_plain(state, "")
    if wrong:
        raise CheckpointError(
            f"A checkpoint holds only tensors, numbers, texts, lists and dictionaries of these, "
            f"but {wrong}. Keep it out of the state, or turn it into one of these."
        )
    buffer = io.BytesIO()
    torch.save(_own({"format": FORMAT, "version": VERSION, **state}, {}), buffer)
    buffer.seek(-2, io.SEEK_END)
    buffer.write(_COMMENT_BYTES.to_bytes(2, "little"))  # zip: how long the comment is
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    buffer.write(_MARK + digest.encode())
    # A view of the buffer would let Python 3.13 complain when both go in one cycle.
    return buffer.getvalue()


def _own(value: Any, copies: dict[tuple[Any, ...], torch.Tensor]) -> Any:
    """The same with tensors that have a memory of exactly their size, and nothing else.

    A file would hold the whole of a larger one that a tensor is a part of, and could not tell one
    that is expanded from one that claims more values than there are. What is attached to a tensor,
    as attributes and hooks, is not kept.

    Args:
        value: What is to be kept.
        copies: Those made so far, so that tensors that share values share a copy.
    """
    if isinstance(value, torch.Tensor):
        own = value.detach()
        if any(_claimed(part) != part.untyped_storage().nbytes() for part in dense_parts(value)):
            own = copies.setdefault(_place_of(value), _copy_of(own))
        return own.requires_grad_() if value.requires_grad else own
    if isinstance(value, dict):
        return {key: _own(item, copies) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_own(item, copies) for item in value)
    return value


def dense_parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The tensors with a memory of their own of which a tensor consists.

    They are the tensor itself, or the indices and values of a sparse one.
    """
    if tensor.layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return [tensor]


def _claimed(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _place_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """What two tensors have in common only if they are the same values in memory."""
    form = tensor.layout, tensor.dtype, tensor.shape, tensor.is_conj(), tensor.is_neg()
    parts = ((p.data_ptr(), p.shape, p.stride()) for p in dense_parts(tensor))
    return (*form, *parts)


def _copy_of(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.layout is not torch.strided or tensor.is_quantized:
        return tensor.clone()
    # A tensor that overlaps itself would otherwise be copied as it is, in too much memory.
    return tensor.clone(memory_format=torch.contiguous_format)


def load(path: Path | str, is_whole: bool = True) -> dict[str, Any]:
    """Reads and verifies a checkpoint. Tensors come to the CPU.

    No code that the file holds is run, whoever made it: only tensors and plain values are read.

    Args:
        path: The file.
        is_whole: Whether tensors are read, too, that several processes have written to files of
            their own, as with `Trainer(strategy="fsdp")`.

    Raises:
        ConfigError: If there is no such file.
        CorruptFileError: If it is truncated, damaged, or no checkpoint of gradbook's.
    """
    check_path(path, "A checkpoint's path", "runs/mlp-1/checkpoints/last.pt")
    path = Path(path)
    try:
        _check_end(path, _end_of(path))  # before much is read of what may be anything
        content = read_file(path)
    except FileNotFoundError:
        raise ConfigError(f"There is no checkpoint {str(path)!r}.") from None
    except MemoryError:
        raise CorruptFileError(f"{path} is larger than this machine's memory.") from None
    told = _check_end(path, content[-_END_BYTES - _COMMENT_BYTES :])
    if hashlib.sha256(content[:-_COMMENT_BYTES]).hexdigest().encode() != told:
        raise CorruptFileError(f"{path} is damaged: its checksum does not match.{_ADVICE}")
    if _is_packed(content):
        raise CorruptFileError(f"{path} claims more content than the file holds.")
    try:
        # Indices of sparse tensors are to stay within them; newer PyTorch warns that it looks.
        sparse = torch.sparse.check_sparse_tensor_invariants()  # type: ignore[no-untyped-call]
        with sparse, warnings.catch_warnings(action="ignore"):
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise CorruptFileError(
            f"{path} holds more than tensors and plain values, which loading it would run as "
            f"code; nothing of it was loaded. A file from somebody else is read only if it holds "
            f"no more than that.{f' It asks for {asked[1]}.' if asked else ''}"
        ) from error
    except Exception as error:  # a file that lies about itself may break PyTorch's reader anywhere
        raise CorruptFileError(f"{path} is no readable checkpoint: {error}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CorruptFileError(f"{path} is not a checkpoint that gradbook has written.")
    wrong = _not_plain(state, "")
    if wrong:
        raise CorruptFileError(f"{path} is no checkpoint that gradbook has written: {wrong}.")
    if not _is_real(state):
        raise CorruptFileError(f"{path} has tensors that claim more values than the file holds.")
    if state.get("version") != VERSION:
        raise CorruptFileError(
            f"{path} has version {state.get('version')!r} of the format, and this gradbook reads "
            f"version {VERSION}. Use the gradbook that wrote it."
        )
    if "shards" in state:
        from gradbook import shards

        state = shards.located(state, path)
        return shards.completed(state) if is_whole else state
    return state


def digest_of(path: Path | str) -> bytes:
    """The checksum with which a checkpoint's file ends, unverified; empty if there is none."""
    try:
        return _end_of(Path(path))[_END_BYTES:]
    except (OSError, CorruptFileError):
        return b""


def _end_of(path: Path) -> bytes:
    """The last bytes of a file: of a checkpoint, the end of the archive and the checksum."""
    with open_file(path) as stream:
        stream.seek(max(0, stream.seek(0, io.SEEK_END) - _END_BYTES - _COMMENT_BYTES))
        return stream.read()


def _check_end(path: Path, end: bytes) -> bytes:
    """The checksum with which a file ends; raises CorruptFileError if there is none."""
    match = re.fullmatch(re.escape(_MARK) + rb"([0-9a-f]{64})", end[_END_BYTES:])
    if match is None or not end.startswith(_END):
        what = "is truncated, or no checkpoint of gradbook's" if end else "is empty"
        raise CorruptFileError(f"{path} {what}: it does not end in a checksum.{_ADVICE}")
    return match[1]


_ADVICE = " Use another checkpoint of the run, or a copy."


def _is_packed(content: bytes) -> bool:
    """Whether an archive's files are larger than it is. Ours are not compressed."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return sum(file.file_size for file in archive.infolist()) > len(content)
    except Exception:  # PyTorch's reader says what is wrong with it
        return False


def _is_real(value: Any) -> bool:
    """Whether all tensors in `value` have a place for each of their values."""
    if isinstance(value, torch.Tensor):
        return all(_claimed(p) <= p.untyped_storage().nbytes() for p in dense_parts(value))
    if isinstance(value, dict):
        return all(map(_is_real, value.values()))
    return not isinstance(value, list | tuple) or all(map(_is_real, value))


def is_plain(value: Any) -> bool:
    """Whether a checkpoint can hold `value`."""
    return not _not_plain(value, "")


def _not_plain(value: Any, path: str, depth: int = 0) -> str:
    """Where `value` holds something else than tensors and plain values, in words; or nothing."""
    # Classes derived from these are not among what is read back without running code.
    if value is None or type(value) in (bool, float, str):
        return ""
    if type(value) is int:
        bits = value.bit_length()
        return f"{path} is an integer of {bits} bits" if bits > _MAX_BITS else ""
    if type(value) in (torch.Tensor, torch.nn.Parameter):
        return _without_values(value, path)
    if depth > _MAX_DEPTH:
        return f"{path[:60]}... is nested more than {_MAX_DEPTH} times"
    if type(value) in (list, tuple):
        wrongs = (_not_plain(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value))
        return next(filter(None, wrongs), "")
    if type(value) not in (dict, OrderedDict, Counter):
        return f"{path} is {type(value).__name__} {text_of(value, repr):.60}"
    for key, item in value.items():
        if type(key) not in (int, str) or _not_plain(key, ""):
            return f"{path or 'it'} has the key {text_of(key, repr):.60}"
        if wrong := _not_plain(item, f"{path}.{key}" if path else str(key), depth + 1):
            return wrong
    return ""


def _without_values(tensor: torch.Tensor, path: str) -> str:
    """Why a tensor has no values that a file can hold, in words; or nothing."""
    if tensor.is_meta:
        return f"{path} is a tensor on the device meta, which has no values"
    if tensor.is_nested:
        return f"{path} is a nested tensor"
    if tensor.layout not in _LAYOUTS:
        return f"{path} is a tensor of the layout {str(tensor.layout).removeprefix('torch.')}"
    return ""
