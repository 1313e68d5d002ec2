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
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import torch

from gradbook.errors import CheckpointError, ConfigError, CorruptFileError
from gradbook.storage import write_atomically
from gradbook.untrusted import open_file, read_file

FORMAT = "gradbook checkpoint"
VERSION = 1

_MARK = b"gradbook sha256 "
_COMMENT_BYTES = len(_MARK) + 64
_END = b"PK\x05\x06"  # the record that ends a zip archive: 22 bytes, then the comment
_END_BYTES = 22


def save(path: Path | str, state: dict[str, Any]) -> None:
    """Writes a checkpoint, or leaves what was there.

    Raises:
        CheckpointError: If `state` holds something that cannot be read back without running code.
        StorageError: If the file cannot be written.
    """
    write_atomically(path, encode(state))


def encode(state: dict[str, Any]) -> memoryview:
    """A checkpoint as the content of a file."""
    wrong = _not_plain(state, "")
    if wrong:
        raise CheckpointError(
            f"A checkpoint holds only tensors, numbers, texts, lists and dictionaries of these, "
            f"but {wrong}. Keep it out of the state, or turn it into one of these."
        )
    buffer = io.BytesIO()
    torch.save(_own({"format": FORMAT, "version": VERSION, **state}), buffer)
    buffer.seek(-2, io.SEEK_END)
    buffer.write(_COMMENT_BYTES.to_bytes(2, "little"))  # zip: how long the comment is
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    buffer.write(_MARK + digest.encode())
    return buffer.getbuffer()


def _own(value: Any) -> Any:
    """The same without tensors that are parts of larger ones, which a file would hold whole."""
    if isinstance(value, torch.Tensor):
        is_dense = value.layout is torch.strided
        is_part = (
            is_dense and value.numel() * value.element_size() < value.untyped_storage().nbytes()
        )
        return value.detach().clone() if is_part else value
    if isinstance(value, dict):
        return {key: _own(item) for key, item in value.items()}
    return type(value)(map(_own, value)) if type(value) in (list, tuple) else value


def load(path: Path | str) -> dict[str, Any]:
    """Reads and verifies a checkpoint. Tensors come to the CPU.

    No code that the file holds is run, whoever made it: only tensors and plain values are read.

    Raises:
        ConfigError: If there is no such file.
        CorruptFileError: If it is truncated, damaged, or no checkpoint of gradbook's.
    """
    path = Path(path)
    try:
        content = read_file(path)
    except FileNotFoundError:
        raise ConfigError(f"There is no checkpoint {str(path)!r}.") from None
    except MemoryError:
        raise CorruptFileError(f"{path} is larger than this machine's memory.") from None
    _verify(path, content)
    if _is_packed(content):
        raise CorruptFileError(f"{path} claims more content than the file holds.")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CorruptFileError(
            f"{path} holds more than tensors and plain values, which loading it would run as "
            f"code; nothing of it was loaded. A file from somebody else is read only if it holds "
            f"no more than that.{_refused(error)}"
        ) from error
    except Exception as error:  # a file that lies about itself may break PyTorch's reader anywhere
        raise CorruptFileError(f"{path} is no readable checkpoint: {error}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CorruptFileError(f"{path} is not a checkpoint that gradbook has written.")
    if not _is_real(state):
        raise CorruptFileError(f"{path} has tensors that claim more values than the file holds.")
    if state.get("version") != VERSION:
        raise CorruptFileError(
            f"{path} has version {state.get('version')!r} of the format, and this gradbook reads "
            f"version {VERSION}. Use the gradbook that wrote it."
        )
    return state


def digest_of(path: Path | str) -> bytes:
    """The checksum with which a checkpoint's file ends, unverified; empty if there is none."""
    try:
        with open_file(path) as stream:
            stream.seek(-_COMMENT_BYTES, io.SEEK_END)
            return stream.read()
    except (OSError, CorruptFileError):
        return b""


def _verify(path: Path, content: bytes) -> None:
    """Raises CorruptFileError unless the checksum at the end is that of what is before it."""
    size = len(content) - _COMMENT_BYTES
    comment = content[size:] if size > 0 else b""
    whole = (
        content[size - _END_BYTES : size - _END_BYTES + 4] == _END if size > _END_BYTES else False
    )
    match = re.fullmatch(re.escape(_MARK) + rb"([0-9a-f]{64})", comment)
    if not whole or match is None:
        what = "is empty" if not content else "is truncated, or no checkpoint of gradbook's"
        raise CorruptFileError(f"{path} {what}: it does not end in a checksum.{_ADVICE}")
    if hashlib.sha256(content[:size]).hexdigest().encode() != match[1]:
        raise CorruptFileError(f"{path} is damaged: its checksum does not match.{_ADVICE}")


_ADVICE = " Use another checkpoint of the run, or a copy."


def _refused(error: Exception) -> str:
    name = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f" It asks for {name[1]}." if name else ""


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
        return value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    if isinstance(value, dict):
        return all(map(_is_real, value.values()))
    return not isinstance(value, list | tuple) or all(map(_is_real, value))


def is_plain(value: Any) -> bool:
    """Whether a checkpoint can hold `value`."""
    return not _not_plain(value, "")


def _not_plain(value: Any, path: str) -> str:
    """Where `value` holds something else than tensors and plain values, in words; or nothing."""
    # Classes derived from these are not among what is read back without running code.
    if value is None or type(value) in (bool, int, float, str, torch.Tensor, torch.nn.Parameter):
        return ""
    if type(value) in (dict, OrderedDict, Counter):
        for key, item in value.items():
            if type(key) not in (int, str):
                return f"{path or 'it'} has the key {key!r}"
            wrong = _not_plain(item, f"{path}.{key}" if path else str(key))
            if wrong:
                return wrong
        return ""
    if type(value) in (list, tuple):
        return next(filter(None, (_not_plain(v, f"{path}[{i}]") for i, v in enumerate(value))), "")
    return f"{path} is {type(value).__name__} {value!r:.60}"
