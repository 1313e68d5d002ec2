"""The IDX format of MNIST and its relatives: an array of bytes after a short header.

Two zero bytes, a byte for the type (8: unsigned bytes), a byte for the number of dimensions, each
dimension as four bytes with the highest first, then the values.
"""

import gzip
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import torch

from gradbook.errors import ConfigError, CorruptFileError

_UINT8 = 0x08
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 16
#: No deflate stream unpacks to more than this many times its size.
_MAX_RATIO = 1032


def read_idx(
    path: str | os.PathLike[str], *, num_dims: int | None = None, sha256: str | None = None
) -> torch.Tensor:
    """Reads an IDX file of unsigned bytes, compressed by gzip or not.

    Args:
        path: The file. Its content, not its name, tells whether it is compressed.
        num_dims: How many dimensions the array must have: 3 for images, 1 for labels.
        sha256: The SHA-256 checksum of the decompressed content, in hexadecimal digits.

    Returns:
        A writable uint8 tensor of the shape in the header.

    Raises:
        CorruptFileError: If the file is truncated, damaged, has bytes too many, or is not what
            `num_dims` and `sha256` say.
        OSError: If the file cannot be opened.
    """
    path = Path(path)
    with open(path, "rb") as file:
        chunks = _content(file, path)
        start = bytearray()
        shape = None
        while shape is None:
            chunk = next(chunks, None)
            if chunk is None:
                raise corrupt(path, "a header", f"only {len(start)} bytes")
            start += chunk
            shape = _shape(start, path, num_dims)
        if math.prod(filter(None, shape)) >= 2**63:  # too much even if another dimension is 0
            raise corrupt(path, "dimensions that a tensor can have", _describe(shape))
        header_bytes = 4 + 4 * len(shape)
        num_bytes = math.prod(shape)
        size = os.fstat(file.fileno()).st_size
        if num_bytes > _MAX_RATIO * size:  # before a damaged header takes all the memory
            raise corrupt(path, _describe(shape), f"a file of only {size} bytes")
        # One buffer, filled in place: the images must not be held twice.
        values = bytearray(num_bytes)
        filled = 0
        for piece in chain([start[header_bytes:]], chunks):
            end = filled + len(piece)
            if end > num_bytes:
                raise corrupt(path, _describe(shape), "more bytes than that")
            values[filled:end] = piece
            filled = end
    if filled < num_bytes:
        raise corrupt(path, _describe(shape), f"an end after {filled} bytes")
    if sha256 is not None:
        digest = hashlib.sha256(start[:header_bytes])
        digest.update(values)
        if digest.hexdigest() != sha256:
            raise corrupt(path, f"content with the SHA-256 checksum {sha256}", digest.hexdigest())
    if num_bytes == 0:
        return torch.empty(shape, dtype=torch.uint8)
    return torch.frombuffer(values, dtype=torch.uint8).reshape(shape)


def write_idx(path: str | os.PathLike[str], array: torch.Tensor) -> None:
    """Writes a uint8 tensor as an IDX file, compressed if the name ends in ".gz".

    The same tensor gives the same bytes on every day: no date is written.

    Raises:
        ConfigError: If the tensor is not uint8, or has no dimension.
    """
    if array.dtype != torch.uint8 or array.dim() == 0:
        raise ConfigError(
            f"An IDX file holds a uint8 tensor with dimensions, but this one is {array.dtype} "
            f"with shape {tuple(array.shape)}."
        )
    header = struct.pack(f">HBB{array.dim()}I", 0, _UINT8, array.dim(), *array.shape)
    content = header + array.contiguous().numpy().tobytes()
    path = Path(path)
    if path.suffix == ".gz":
        content = gzip.compress(content, compresslevel=9, mtime=0)
    path.write_bytes(content)


def _content(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """The decompressed content, piece by piece. Exhausting it checks the gzip checksum."""
    compressed = file.read(2) == _GZIP_MAGIC
    file.seek(0)
    if not compressed:
        yield from iter(lambda: file.read(_CHUNK_BYTES), b"")
        return
    decoder = zlib.decompressobj(wbits=31)
    num_bytes = 0
    while not decoder.eof:
        packed = decoder.unconsumed_tail or file.read(_CHUNK_BYTES)
        try:
            chunk = decoder.decompress(packed, 16 * _CHUNK_BYTES)
        except zlib.error as error:
            raise corrupt(path, "sound gzip data", f"{error} near byte {num_bytes}") from error
        num_bytes += len(chunk)
        if not packed and not chunk and not decoder.eof:
            raise corrupt(path, "gzip data with an end", f"a break after {num_bytes} bytes")
        yield chunk
    extra = len(decoder.unused_data) + len(file.read())
    if extra:
        raise corrupt(path, "nothing after the gzip data", f"{extra} more bytes")


def _shape(start: bytearray, path: Path, num_dims: int | None) -> tuple[int, ...] | None:
    """The shape in a header, or None if more of the file is needed."""
    if len(start) < 4:
        return None
    zeros, code, dims = struct.unpack_from(">HBB", start)
    if zeros != 0 or code != _UINT8 or dims == 0:
        form = "an IDX file of unsigned bytes, beginning with 00 00 08 and the number of dimensions"
        raise corrupt(path, form, start[:4].hex(" "))
    if num_dims is not None and dims != num_dims:
        raise corrupt(path, _kind(num_dims), f"{_kind(dims)}; were two files exchanged?")
    if len(start) < 4 + 4 * dims:
        return None
    return struct.unpack_from(f">{dims}I", start, 4)


def _kind(num_dims: int) -> str:
    known = {1: "labels (1 dimension)", 3: "images (3 dimensions)"}
    return known.get(num_dims, f"{num_dims} dimensions")


def _describe(shape: tuple[int, ...]) -> str:
    return f"{' x '.join(map(str, shape))} = {math.prod(shape)} values, as its header says"


def corrupt(path: Path, expected: str, found: str) -> CorruptFileError:
    """The error for a file that is not what it should be."""
    return CorruptFileError(
        f"{path} is damaged or not what its name says: expected {expected}; found {found}. "
        f"Delete it and run again, or put a good copy in its place."
    )
