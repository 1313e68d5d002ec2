"""MNIST and CIFAR-10 in memory: found, fetched, or drawings in their place.

The book takes both from torchvision; `gradbook.torchvision_standin` gives them where that is not
installed.

Book: 14.1 (sec_image_augmentation), 22.9 (sec_naive_bayes).
"""

import functools
import os
from pathlib import Path
from typing import NamedTuple

import torch

from gradbook.datasets import stand_ins
from gradbook.datasets.archives import extract
from gradbook.datasets.files import fetch, has_checksum
from gradbook.datasets.hub import cache_folder
from gradbook.datasets.idx import corrupt, read_idx
from gradbook.errors import DownloadError

#: The MD5 checksums of MNIST's files, compressed, by their names without .gz.
_MNIST = {
    "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
}
_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
#: The form of CIFAR-10 that no code can hide in, as it can in the pickled one.
_CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
_CIFAR10_FOLDER = "cifar-10-batches-bin"
#: An image is a byte for its class, then red, green and blue, each 32 x 32.
_IMAGE_BYTES = 1 + 3 * 32 * 32
_FILE_BYTES = 10_000 * _IMAGE_BYTES

#: How many drawings stand in for the images for training and for testing.
NUM_DIGITS = (5_000, 1_000)
NUM_THINGS = (2_000, 500)


class LabeledImages(NamedTuple):
    """Images with their classes.

    Attributes:
        data: uint8 tensor (N, H, W), or (N, H, W, 3) with red, green and blue.
        targets: int64 tensor (N,).
    """

    data: torch.Tensor
    targets: torch.Tensor


def mnist(root: str | os.PathLike[str] = "../data", train: bool = True) -> LabeledImages:
    """MNIST: gray images, 28 x 28, of digits.

    Its files are looked for in `root/MNIST/raw`, compressed or not, and in the user's cache, to
    which they are fetched. Where they cannot be had, drawn digits stand in, with a warning.

    Args:
        root: The folder for data.
        train: Whether to take the 60,000 images for training, not the 10,000 for testing.

    Raises:
        CorruptFileError: If a file is damaged.
    """
    raw = Path(root) / "MNIST" / "raw"
    names = [name for name in _MNIST if name.startswith("train") == train]
    try:
        paths = [_mnist_file(name, raw) for name in names]
    except DownloadError as error:
        text = f"{NUM_DIGITS[0]:,} drawn digits for training and {NUM_DIGITS[1]:,} for testing"
        text += " instead of 60,000 and 10,000 handwritten ones"
        where, way = f"The true files were not found in {raw}", f"put {', '.join(_MNIST)} in {raw}"
        stand_ins.tell_of("mnist", "MNIST", text, where, way, error)
        return _drawn_digits(train)
    data, targets = (read_idx(path, num_dims=n) for path, n in zip(paths, (3, 1), strict=True))
    return LabeledImages(data, targets.to(torch.int64))


def _mnist_file(name: str, raw: Path) -> Path:
    for path in (raw / name, raw / f"{name}.gz"):
        if path.is_file():
            return path
    urls = [f"{mirror}{name}.gz" for mirror in _MNIST_MIRRORS]
    return fetch(urls, cache_folder() / "mnist" / f"{name}.gz", has_checksum("md5", _MNIST[name]))


@functools.cache
def _drawn_digits(train: bool) -> LabeledImages:
    from gradbook.datasets.makers.digits import digits

    data, targets = digits(seed=int(train), num_images=NUM_DIGITS[not train])
    return LabeledImages(torch.from_numpy(data), torch.from_numpy(targets))


def cifar10(root: str | os.PathLike[str] = "../data", train: bool = True) -> LabeledImages:
    """CIFAR-10: colored images, 32 x 32, of ten kinds of animals and vehicles.

    Its folder cifar-10-batches-bin is looked for in `root` and in the user's cache, to which the
    archive is fetched. Where it cannot be had, drawings of ten shapes stand in, with a warning.

    Args:
        root: The folder for data.
        train: Whether to take the 50,000 images for training, not the 10,000 for testing.

    Raises:
        CorruptFileError: If a file is damaged.
    """
    try:
        folder = _cifar10_folder(Path(root))
    except DownloadError as error:
        text = f"{NUM_THINGS[0]:,} drawings of ten shapes for training and {NUM_THINGS[1]:,} for"
        text += " testing instead of 50,000 and 10,000 photographs"
        where = f"The true {_CIFAR10_FOLDER} was not found in {root}"
        way = f"unpack {_CIFAR10_URL.rpartition('/')[2]} in {root}"
        stand_ins.tell_of("cifar10", "CIFAR-10", text, where, way, error)
        return _drawn_things(train)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] if train else ["test_batch.bin"]
    rows = torch.cat([_cifar10_rows(folder / name) for name in names])
    images = rows[:, 1:].reshape(-1, 3, 32, 32).permute(0, 2, 3, 1).contiguous()
    return LabeledImages(images, rows[:, 0].to(torch.int64))


def _cifar10_folder(root: Path) -> Path:
    own = cache_folder() / "cifar-10"
    for place in (root, own):
        if (place / _CIFAR10_FOLDER).is_dir():
            return place / _CIFAR10_FOLDER
    name = _CIFAR10_URL.rpartition("/")[2]
    archive = fetch([_CIFAR10_URL], own / name, has_checksum("md5", _CIFAR10_MD5))
    extract(archive)
    archive.unlink()  # it takes as much room as what it held
    return own / _CIFAR10_FOLDER


def _cifar10_rows(path: Path) -> torch.Tensor:
    try:
        content = bytearray(path.read_bytes())
    except FileNotFoundError:
        raise corrupt(path, f"a file of {_FILE_BYTES:,} bytes", "no file") from None
    if len(content) != _FILE_BYTES:
        raise corrupt(path, f"{_FILE_BYTES:,} bytes", f"{len(content):,}")
    return torch.frombuffer(content, dtype=torch.uint8).reshape(-1, _IMAGE_BYTES)


@functools.cache
def _drawn_things(train: bool) -> LabeledImages:
    from gradbook.datasets.makers.drawn_images import things

    data, targets = things(seed=int(train), num_images=NUM_THINGS[not train])
    return LabeledImages(torch.from_numpy(data), torch.from_numpy(targets))
