"""MNIST and CIFAR-10: found, fetched, or drawings in their place."""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest
import torch

from gradbook.datasets import labeled_images
from gradbook.datasets.idx import write_idx
from gradbook.errors import CorruptFileError, SampleDataWarning

ROW_BYTES = 3073


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Only a few drawings, and files of two images."""
    monkeypatch.setattr(labeled_images, "NUM_DIGITS", (20, 10))
    monkeypatch.setattr(labeled_images, "NUM_THINGS", (20, 10))
    for name in ("_drawn_digits", "_drawn_things"):
        monkeypatch.setattr(labeled_images, name, getattr(labeled_images, name).__wrapped__)
    monkeypatch.setattr(labeled_images, "_FILE_BYTES", 2 * ROW_BYTES)


def put_mnist(folder, ending=""):
    folder.mkdir(parents=True)
    images = torch.randint(256, (3, 28, 28), dtype=torch.uint8)
    labels = torch.tensor([7, 0, 9], dtype=torch.uint8)
    for split in ("train", "t10k"):
        write_idx(folder / f"{split}-images-idx3-ubyte{ending}", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte{ending}", labels)
    return images, labels


def cifar10_rows(first):
    """Two images: the first red, of class `first`; the second blue, of class 9."""
    red = bytes([first]) + bytes([200] * 1024 + [0] * 2048)
    return red + bytes([9]) + bytes([0] * 2048 + [100] * 1024)


CIFAR10 = {f"data_batch_{i}.bin": cifar10_rows(i) for i in range(1, 6)}
CIFAR10["test_batch.bin"] = cifar10_rows(0)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist_is_read_from_root_compressed_or_not(folder, ending):
    images, labels = put_mnist(folder / "MNIST" / "raw", ending)
    for train in (True, False):
        found = labeled_images.mnist(folder, train)
        assert found.data.equal(images)
        assert found.targets.equal(labels.long())


def test_mnist_is_fetched_to_the_cache_once(server, folder, monkeypatch):
    images, _ = put_mnist(folder / "served", ".gz")
    checksums = {}
    for path in (folder / "served").iterdir():
        server.files[f"/{path.name}"] = path.read_bytes()
        checksums[path.name.removesuffix(".gz")] = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(labeled_images, "_MNIST", dict(sorted(checksums.items())))
    monkeypatch.setattr(labeled_images, "_MNIST_MIRRORS", (server.url,))
    for _ in range(2):
        assert labeled_images.mnist(folder / "root", train=False).data.equal(images)
    assert len(server.requested) == 2


def test_a_file_with_another_checksum_is_not_taken(server, folder, monkeypatch):
    put_mnist(folder / "served", ".gz")
    for path in (folder / "served").iterdir():
        server.files[f"/{path.name}"] = path.read_bytes()
    monkeypatch.setattr(labeled_images, "_MNIST_MIRRORS", (server.url,))
    with pytest.warns(SampleDataWarning, match="expected MD5 9fb629c4189551a2d022fa330f9573f3"):
        assert len(labeled_images.mnist(folder / "root", train=False).data) == 10


def test_mnist_without_its_files_is_drawn_and_told_once(folder, recwarn):
    train, test = (labeled_images.mnist(folder, train) for train in (True, False))
    assert (train.data.shape, train.data.dtype) == ((20, 28, 28), torch.uint8)
    assert (test.data.shape, test.targets.dtype) == ((10, 28, 28), torch.int64)
    (warning,) = recwarn
    text = str(warning.message)
    assert "A stand-in for MNIST is used: 20 drawn digits for training and 10 for testing" in text
    assert (
        f"put train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, \
t10k-labels-idx1-ubyte in {Path(folder) / 'MNIST' / 'raw'}"
        in text
    )


def test_cifar10_is_read_from_root(folder):
    (folder / "cifar-10-batches-bin").mkdir()
    for name, content in CIFAR10.items():
        (folder / "cifar-10-batches-bin" / name).write_bytes(content)
    train, test = (labeled_images.cifar10(folder, train) for train in (True, False))
    assert train.targets.tolist() == [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    assert test.data.shape == (2, 32, 32, 3)
    assert test.data[:, 5, 7].tolist() == [[200, 0, 0], [0, 0, 100]]


def test_cifar10_is_fetched_to_the_cache_once(server, folder, monkeypatch):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, rows in CIFAR10.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(rows)
            archive.addfile(member, io.BytesIO(rows))
    server.files["/cifar-10-binary.tar.gz"] = content.getvalue()
    url, checksum = f"{server.url}cifar-10-binary.tar.gz", hashlib.md5(content.getvalue())
    monkeypatch.setattr(labeled_images, "_CIFAR10_URL", url)
    monkeypatch.setattr(labeled_images, "_CIFAR10_MD5", checksum.hexdigest())
    for _ in range(2):
        assert len(labeled_images.cifar10(folder, train=True).data) == 10
    assert server.requested == ["/cifar-10-binary.tar.gz"]


@pytest.mark.parametrize("content", [None, b"", cifar10_rows(0)[:-1]])
def test_a_damaged_file_of_cifar10_is_named(folder, content):
    (folder / "cifar-10-batches-bin").mkdir()
    if content is not None:
        (folder / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"test_batch\.bin is damaged"):
        labeled_images.cifar10(folder, train=False)


def test_a_damaged_file_of_mnist_is_named(folder):
    put_mnist(folder / "MNIST" / "raw")
    with gzip.open(folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte", "wb") as file:
        file.write(b"\0\0\x08\3")
    with pytest.raises(CorruptFileError, match="t10k-images-idx3-ubyte is damaged"):
        labeled_images.mnist(folder, train=False)


def test_cifar10_without_its_files_is_drawn_and_told(folder):
    with pytest.warns(SampleDataWarning, match="20 drawings of ten shapes for training and 10"):
        train = labeled_images.cifar10(folder, train=True)
    assert (train.data.shape, train.targets.dtype) == ((20, 32, 32, 3), torch.int64)
