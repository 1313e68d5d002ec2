"""Fashion-MNIST: found on this machine or fetched, and kept in memory as bytes.

Book: 4.2 (sec_fashion_mnist).
"""

import functools
import operator
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch.utils.data import Dataset

from gradbook.checks import check_whole_number
from gradbook.data import Batch, DataModule, TensorLoader
from gradbook.datasets import hub
from gradbook.datasets.files import fetch
from gradbook.datasets.hub import is_offline
from gradbook.datasets.idx import corrupt, read_idx
from gradbook.datasets.resizing import resize_images
from gradbook.errors import (
    ConfigError,
    DataError,
    DownloadError,
    GradbookWarning,
    SampleDataWarning,
    shown,
    warn,
)
from gradbook.storage import check_path
from gradbook.upward import above

#: The names of the ten classes, by label.
LABELS = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)


class File(NamedTuple):
    """One of the four files: its name without .gz, its decompressed size and checksum.

    The checksum is of the content before compression, because the same content is in circulation
    under different compressions.
    """

    name: str
    split: Literal["train", "val"]
    num_dims: int
    num_bytes: int
    sha256: str


#: The labels come first: they are small, so that a fetch that must fail does so soon.
_FILES = """
t10k-labels-idx1-ubyte     10008 0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34
train-labels-idx1-ubyte    60008 bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9
t10k-images-idx3-ubyte   7840016 5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b
train-images-idx3-ubyte 47040016 c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888
"""
FILES = tuple(
    File(
        name,
        "train" if name.startswith("train") else "val",
        int(name.partition("-idx")[2][0]),
        int(num_bytes),
        sha256,
    )
    for name, num_bytes, sha256 in map(str.split, _FILES.strip().splitlines())
)

MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
SAMPLE_FOLDER = Path(__file__).parent / "sample"

#: Resized images of both splits are kept if they take no more than this; otherwise each batch is
#: resized when it is asked for. At 224 x 224 all of them would take 3.3 GiB.
MAX_KEPT_BYTES = 256 << 20
#: Seconds for which a network that failed is not asked again.
_PATIENCE_SECONDS = 60.0


_PlaceName = Literal["root", "system", "cache", "sample"]
_Status = Literal["found", "missing", "incomplete", "corrupt"]


@dataclass(frozen=True)
class Place:
    """A folder in which Fashion-MNIST was looked for.

    Attributes:
        name: "root", "system", "cache" or "sample", in the order in which they are used.
        folder: The folder.
        status: "found"; "missing", if it has none of the four files; "incomplete", if it has
            some; "corrupt", if it has all, but one cannot be right.
        detail: What was found or is wrong, in words.
        advice: How to get the data there.
        files: The files that are there, in the order of `FILES`.
    """

    name: _PlaceName
    folder: Path
    status: _Status
    detail: str
    advice: str
    files: tuple[Path, ...]


def locate(root: str | os.PathLike[str] = "../data", verify: bool = False) -> list[Place]:
    """Looks for Fashion-MNIST in every place, in the order in which the places are used.

    The first place with all four files is used, and refused if one of them is corrupt. When there
    is none, the files are downloaded to the place "cache", and when that fails too, the bundled
    place "sample" is used.

    Args:
        root: The folder for data, as `FashionMNIST` takes it.
        verify: Whether to read every file and compare its checksum (about 0.3 s a place).
            Otherwise only its size is looked at.
    """
    return list(_places(root, verify))


def cache_folder() -> Path:
    """The folder for downloaded files: below `GRADBOOK_CACHE` or the user's cache folder."""
    return hub.cache_folder() / "fashion-mnist"


class ImageDataset(Dataset[tuple[torch.Tensor, int]]):
    """Images and labels in memory: `dataset[i]` is (float32 tensor (1, H, W) in [0, 1], int).

    Attributes:
        data: uint8 tensor (N, h, w). The data sets of one process share it: do not change it.
        targets: int64 tensor (N,).
    """

    def __init__(
        self, data: torch.Tensor, targets: torch.Tensor, resize: tuple[int, int] | None = None
    ) -> None:
        self.data = data
        self.targets = targets
        self._prepare = functools.partial(_prepare, resize=resize)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        i = operator.index(index)
        images, _ = self._prepare([self.data[i].unsqueeze(0), self.targets])
        return images.squeeze(0), int(self.targets[i])

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        return (self[i] for i in range(len(self)))

    def loader(self, batch_size: int, shuffle: bool) -> TensorLoader:
        """Minibatches of (float32 (B, 1, H, W) in [0, 1], int64 (B,))."""
        return TensorLoader((self.data, self.targets), batch_size, shuffle, self._prepare)


def text_labels(indices: Sequence[int] | torch.Tensor) -> list[str]:
    """The names of labels.

    Args:
        indices: Labels from 0 to 9: a sequence of integers or a tensor (n,).

    Raises:
        DataError: If a label is not one of 0 to 9.

    Book: 4.2.1.
    """
    names = []
    for value in indices.tolist() if isinstance(indices, torch.Tensor) else indices:
        try:
            label = int(value)
        except (TypeError, ValueError, OverflowError):
            raise DataError(
                f"The labels of Fashion-MNIST are numbers from 0 to 9, but one is {shown(value)}."
            ) from None
        if not 0 <= label < len(LABELS):
            raise DataError(f"Fashion-MNIST has the labels 0 to 9, but this one is {value}.")
        names.append(LABELS[label])
    return names


class FashionMNIST(DataModule):
    """Ten kinds of clothing in gray images: 60,000 for training, 10,000 for validation.

    The files are looked for in `root/FashionMNIST/raw`, in the system's folder and in the user's
    cache (see `locate`), and downloaded into the cache if they are nowhere. When that fails, a
    sample of 10,000 and 2,000 of the images stands in, with a warning.

    Args:
        batch_size: Images in a batch.
        resize: Height and width of the images in pixels, or one number for both. Sizes other
            than (28, 28) are interpolated bilinearly, with antialiasing where they are smaller.
        root: The folder for data.
        num_workers: Has no effect; see `DataModule`.

    Attributes:
        train, val: The two `ImageDataset`s.
        source: The folder from which the data came.
        is_sample: Whether the bundled sample stands in for the full set.

    Raises:
        ConfigError: If `batch_size` or `resize` cannot be used.
        CorruptFileError: If a file is found, but is damaged or not what its name says.

    Book: 4.2.1.
    """

    resize: tuple[int, int]

    def __init__(
        self,
        batch_size: int = 64,
        resize: int | tuple[int, int] = (28, 28),
        *,
        root: str = "../data",
        num_workers: int = 4,
    ) -> None:
        super().__init__(root, num_workers)
        resize = _check_resize(resize)
        batch_size = check_whole_number(batch_size, "batch_size", at_least=1)
        self.save_hyperparameters()
        place = _find(root)
        arrays = _load(place)
        self.source = place.folder
        self.is_sample = place.name == "sample"
        num_images = sum(len(labels) for _, labels in arrays.values())
        if num_images * resize[0] * resize[1] <= MAX_KEPT_BYTES:
            arrays = _resized(arrays, resize)
        self.train, self.val = (ImageDataset(*arrays[split], resize) for split in ("train", "val"))

    text_labels = staticmethod(text_labels)

    def get_dataloader(self, train: bool) -> TensorLoader:
        """Minibatches of (float32 (B, 1, H, W) in [0, 1], int64 (B,)).

        Args:
            train: Whether to take the training images, in a new random order each time; otherwise
                the validation images come in the order of the file.

        Book: 4.2.2.
        """
        dataset = self.train if train else self.val
        return dataset.loader(self.batch_size, shuffle=train)

    def visualize(
        self, batch: Batch, nrows: int = 1, ncols: int = 8, labels: Sequence[str] = ()
    ) -> None:
        """Draws the first images of a batch in a grid.

        Args:
            batch: Images (B, 1, H, W) and labels (B,). There may be fewer than places.
            nrows: Rows of the grid.
            ncols: Columns of the grid.
            labels: A text above each image; without them, the names of the labels.

        Book: 4.2.3.
        """
        show_images = above("book.figures").show_images

        X, y = batch[0], batch[-1]
        num_images = min(len(X), nrows * ncols)
        if num_images == 0:
            raise DataError("There is no image to draw: the batch is empty.")
        ncols = min(ncols, num_images)  # no empty places where there are fewer images
        nrows = -(-num_images // ncols)
        titles = list(labels)[:num_images] if len(labels) else text_labels(y[:num_images])
        show_images(X[:num_images].squeeze(1), nrows, ncols, titles=titles)


def _check_resize(resize: Any) -> tuple[int, int]:
    sizes = resize if isinstance(resize, Sequence) else (resize, resize)
    try:
        height, width = (operator.index(size) for size in sizes)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1 or any(isinstance(size, bool) for size in sizes):
        raise ConfigError(
            f"resize must be a positive number of pixels, or two of them as (height, width), but "
            f"it is {resize!r}."
        )
    return height, width


# Where the files are ------------------------------------------------------------------------------


def _places(root: str | os.PathLike[str], verify: bool = False) -> Iterator[Place]:
    """The places in the order of use; each is looked at only when it is asked for."""
    check_path(root, "root", "../data")
    raw = Path(root) / "FashionMNIST" / "raw"
    names = ", ".join(file.name for file in FILES)
    yield _look("root", raw, f"put {names} in {raw}, with .gz or without", verify)
    debian = "sudo apt install dataset-fashion-mnist (Debian)"
    yield _look("system", SYSTEM_FOLDER, debian, verify)
    again = f"run again with a network{', without GRADBOOK_OFFLINE' if is_offline() else ''}"
    yield _look("cache", cache_folder(), again, verify)
    yield _look("sample", SAMPLE_FOLDER, "install gradbook again", verify)


def _look(name: _PlaceName, folder: Path, advice: str, verify: bool = False) -> Place:
    found: list[Path] = []
    missing, wrong = [], []
    for file in FILES:
        path = folder / file.name  # the plain file first: it is read faster
        if not path.is_file():
            path = folder / f"{file.name}.gz"
        if not path.is_file():
            missing.append(file.name)
            continue
        found.append(path)
        try:
            # The sample is ours, and its files differ from the full set's.
            if name != "sample":
                _check_size(path, file)
            if verify:
                _read(path, file, name)
        except (DataError, OSError) as error:
            wrong.append(str(error))
    status: _Status = "found"
    detail = "60,000 training and 10,000 validation images"
    if not found:
        status, detail = "missing", "none of the four files is there"
    elif missing:
        status, detail = "incomplete", f"not there: {', '.join(missing)}"
    elif wrong:
        status, detail = "corrupt", "; ".join(wrong)
    elif name == "sample":
        detail = "10,000 training and 2,000 validation images, bundled"
    return Place(name, folder, status, detail, advice, tuple(found))


def _check_size(path: Path, file: File) -> None:
    """Compares the decompressed size, which a gzip file holds in its last four bytes."""
    with open(path, "rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
        num_bytes = stream.seek(0, os.SEEK_END)
        if compressed:
            stream.seek(max(num_bytes - 4, 0))
            num_bytes = int.from_bytes(stream.read(4), "little")
    if num_bytes != file.num_bytes:
        raise corrupt(path, f"{file.num_bytes} bytes", str(num_bytes))


def _find(root: str | os.PathLike[str]) -> Place:
    """The place to read from: the first with all files, the cache after a download, the sample."""
    passed: list[Place] = []
    for place in _places(root):
        if place.name == "sample":
            break
        if place.status in ("found", "corrupt"):  # reading a corrupt one says all about it
            _warn_of_incomplete(passed, place)
            return place
        passed.append(place)
    sample, cache = place, passed[-1]
    try:
        _download(cache.folder)
    except DownloadError as error:
        looked = "\n".join(f"  {place.folder}: {place.detail}" for place in passed)
        ways = "\n".join(f"  {place.advice}" for place in passed)
        warn(
            f"Only a sample of Fashion-MNIST is used: 10,000 training and 2,000 validation "
            f"images instead of 60,000 and 10,000, so that accuracies will be lower than with "
            f"all. The full set was not found:\n{looked}\n{error}\n"
            f"Each of these gets all of it:\n{ways}",
            SampleDataWarning,
        )
        return sample
    _warn_of_incomplete(passed, cache)
    return _look("cache", cache.folder, cache.advice)


def _warn_of_incomplete(passed: Sequence[Place], used: Place) -> None:
    """Says which files are missing where someone has put some, and what is used instead."""
    for place in passed:
        if place.status == "incomplete" and place.name != "cache":
            warn(
                f"Fashion-MNIST in {place.folder} is incomplete ({place.detail}), so {used.folder} "
                f"is used instead.",
                GradbookWarning,
            )


#: When the network last failed, and how. Only failures that took long are kept.
_last_failure: tuple[float, str] | None = None


def _download(folder: Path) -> None:
    """Fetches all four files, and does not wait for a dead network again and again."""
    global _last_failure
    start = time.monotonic()
    if _last_failure is not None and start - _last_failure[0] < _PATIENCE_SECONDS:
        raise DownloadError(_last_failure[1])
    try:
        for file in FILES:
            fetch(
                [f"{mirror}{file.name}.gz" for mirror in MIRRORS],
                folder / f"{file.name}.gz",
                verify=functools.partial(read_idx, num_dims=file.num_dims, sha256=file.sha256),
            )
    except DownloadError as error:
        if time.monotonic() - start > 1:
            _last_failure = (time.monotonic(), str(error))
        raise


# From files to tensors ----------------------------------------------------------------------------

Arrays = dict[str, tuple[torch.Tensor, torch.Tensor]]

#: What was read last, so that a second FashionMNIST in the process costs nothing: by the files with
#: their sizes and dates, and by the size of resized images if there are any.
_kept: dict[object, Arrays] = {}


def _read(path: Path, file: File, place: str) -> torch.Tensor:
    sha256 = None if place == "sample" else file.sha256
    return read_idx(path, num_dims=file.num_dims, sha256=sha256)


def _load(place: Place) -> Arrays:
    """The images (N, 28, 28) as uint8 and the labels (N,) as int64, by split."""
    stats = [path.stat() for path in place.files]
    key = (place.files, *((stat.st_size, stat.st_mtime_ns, stat.st_ino) for stat in stats))
    if key not in _kept:
        _kept.clear()  # let go of the old before there is the new
        tensors = {
            (file.split, file.num_dims): _read(path, file, place.name)
            for path, file in zip(place.files, FILES, strict=True)
        }
        _kept[key] = {
            split: (tensors[split, 3], tensors[split, 1].to(torch.int64))
            for split in ("train", "val")
        }
    return _kept[key]


def _resized(arrays: Arrays, size: tuple[int, int]) -> Arrays:
    """The same with images of another size; those of the last size are remembered."""
    if all(images.shape[1:] == size for images, _ in arrays.values()):
        return arrays
    if size not in _kept:
        for key in [key for key, other in _kept.items() if other is not arrays]:
            del _kept[key]
        _kept[size] = {
            split: (resize_images(images, size), labels)
            for split, (images, labels) in arrays.items()
        }
    return _kept[size]


def _prepare(batch: list[torch.Tensor], resize: tuple[int, int] | None) -> list[torch.Tensor]:
    """Turns bytes (B, h, w) into float32 (B, 1, H, W) in [0, 1]; the labels stay."""
    images, labels = batch
    if resize is not None and images.shape[1:] != resize:
        images = resize_images(images, resize)
    # A conversion and a product in place: of the forms tried, the fastest. For 256 x 784 on one
    # thread of a 2.6 GHz Xeon, gather included: this 58 us, `.float().div_(255)` 74 us,
    # `torch.mul(images, 1 / 255)` 76 us (mixed types defeat the vector instructions),
    # `.float() / 255` 85 us (a second allocation). A product instead of a quotient costs at most
    # one unit in the last place, 6e-8; 0 and 255 still become exactly 0 and 1.
    return [images.unsqueeze(1).to(torch.float32).mul_(1 / 255), labels]
