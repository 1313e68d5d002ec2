import gzip
import hashlib
import pickle
import subprocess
import sys
import tempfile
import types
import warnings
from pathlib import Path

import numpy as np
import platformdirs
import pytest
import torch
from PIL import Image

from gradbook.datasets import FashionMNIST, fashion_mnist, locate, resizing, text_labels
from gradbook.datasets.fashion_mnist import FILES, SAMPLE_FOLDER
from gradbook.datasets.idx import read_idx, write_idx
from gradbook.errors import (
    ConfigError,
    CorruptFileError,
    DataError,
    GradbookWarning,
    SampleDataWarning,
)

SIZES = {"train": 60, "val": 20}
SYSTEM_FOLDER = fashion_mnist.SYSTEM_FOLDER  # before it is replaced


@pytest.fixture
def tiny(monkeypatch):
    """A set of few images of noise under the names of the full set; returns tensors by name."""
    generator = torch.Generator().manual_seed(0)
    tensors, files = {}, []
    for file in FILES:
        n = SIZES[file.split]
        if file.num_dims == 3:
            tensor = torch.randint(0, 256, (n, 28, 28), dtype=torch.uint8, generator=generator)
        else:
            tensor = (torch.arange(n) % 10).to(torch.uint8)
        header = bytes([0, 0, 8, file.num_dims])
        content = header + b"".join(size.to_bytes(4, "big") for size in tensor.shape)
        content += tensor.numpy().tobytes()
        tensors[file.name] = tensor
        sha256 = hashlib.sha256(content).hexdigest()
        files.append(file._replace(num_bytes=len(content), sha256=sha256))
    monkeypatch.setattr(fashion_mnist, "FILES", tuple(files))
    return tensors


def put(folder, tensors, suffix=".gz"):
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensor in tensors.items():
        write_idx(folder / f"{name}{suffix}", tensor)


@pytest.fixture
def root(tiny, folder):
    put(folder / "data" / "FashionMNIST" / "raw", tiny)
    return str(folder / "data")


# Items and batches --------------------------------------------------------------------------------


def test_an_item_is_an_image_and_an_integer(root, tiny):
    data = FashionMNIST(root=root)
    image, label = data.train[3]
    assert image.shape == (1, 28, 28)
    assert image.dtype == torch.float32
    assert type(label) is int
    assert label == 3
    torch.testing.assert_close(image[0], tiny["train-images-idx3-ubyte"][3].float() / 255)


def test_the_sets_have_a_length_and_can_be_iterated(root):
    data = FashionMNIST(root=root)
    assert len(data.train) == 60
    assert len(data.val) == 20
    assert [label for _, label in data.val] == [i % 10 for i in range(20)]


def test_an_index_that_is_too_large_ends_iteration(root):
    with pytest.raises(IndexError):
        FashionMNIST(root=root).val[20]


def test_the_sets_work_in_a_pytorch_loader(root):
    loader = torch.utils.data.DataLoader(FashionMNIST(root=root).val, batch_size=8)
    X, y = next(iter(loader))
    assert X.shape == (8, 1, 28, 28)
    assert y.dtype == torch.int64


def test_bytes_and_targets_can_be_seen(root, tiny):
    data = FashionMNIST(root=root)
    assert torch.equal(data.train.data, tiny["train-images-idx3-ubyte"])
    assert data.train.data.is_contiguous()
    assert data.train.targets.dtype == torch.int64


def test_validation_batches_come_in_the_order_of_the_file(root, tiny):
    X, y = next(iter(FashionMNIST(8, root=root).val_dataloader()))
    assert X.shape == (8, 1, 28, 28)
    assert X.dtype == torch.float32
    assert y.tolist() == list(range(8))
    torch.testing.assert_close(X[:, 0], tiny["t10k-images-idx3-ubyte"][:8].float() / 255)


def test_training_batches_are_shuffled_anew(root):
    data = FashionMNIST(60, root=root)
    loader = data.train_dataloader()
    first, second = (next(iter(loader))[1].tolist() for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(data.train.targets.tolist())


def test_black_and_white_are_exact(root):
    batch = [torch.tensor([[[0, 255]]], dtype=torch.uint8), torch.tensor([0])]
    assert fashion_mnist._prepare(batch, None)[0].tolist() == [[[[0.0, 1.0]]]]


@pytest.mark.slow
def test_loaders_and_sets_can_be_sent_to_another_process(root):
    data = FashionMNIST(4, root=root)
    loader = pickle.loads(pickle.dumps(data.val_dataloader()))
    assert torch.equal(next(iter(loader))[0], next(iter(data.val_dataloader()))[0])


def test_arguments_are_hyperparameters(root):
    data = FashionMNIST(32, 28, root=root, num_workers=2)
    assert data.hparams == {
        "batch_size": 32, "resize": (28, 28), "root": root, "num_workers": 2,
    }  # fmt: skip


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "64", True])
def test_a_batch_size_that_cannot_be_used_is_refused_at_once(root, batch_size):
    with pytest.raises(ConfigError, match="batch_size"):
        FashionMNIST(batch_size, root=root)


# Labels and pictures ------------------------------------------------------------------------------


def test_labels_have_names(root):
    data = FashionMNIST(root=root)
    assert data.text_labels(torch.tensor([0, 9])) == ["t-shirt", "ankle boot"]
    assert data.text_labels([5, 7]) == ["sandal", "sneaker"]


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_without_a_name_is_refused(label):
    with pytest.raises(DataError, match=f"this one is {label}"):
        text_labels([label])


@pytest.fixture
def shown(monkeypatch):
    calls = []
    figures = types.ModuleType("gradbook.book.figures")
    figures.show_images = lambda *args, **kwargs: calls.append((*args, kwargs["titles"]))
    monkeypatch.setitem(sys.modules, "gradbook.book.figures", figures)
    return calls


def test_a_batch_is_drawn_with_its_names(root, shown):
    data = FashionMNIST(root=root)
    data.visualize(next(iter(data.val_dataloader())))
    images, nrows, ncols, titles = shown[0]
    assert images.shape == (8, 28, 28)
    assert (nrows, ncols) == (1, 8)
    assert titles[:2] == ["t-shirt", "trouser"]


def test_a_batch_is_drawn_with_labels_of_ones_own(root, shown):
    data = FashionMNIST(root=root)
    X, y = next(iter(data.val_dataloader()))
    data.visualize([X, y], nrows=2, ncols=4, labels=["sneaker\nsandal"] * 20)
    assert shown[0][1:3] == (2, 4)
    assert shown[0][3] == ["sneaker\nsandal"] * 8


@pytest.mark.parametrize(
    ("num_images", "asked", "drawn"),
    [(3, (1, 8), (1, 3)), (5, (2, 4), (2, 4)), (4, (2, 4), (1, 4))],
)
def test_fewer_images_than_places_take_fewer_places(root, shown, num_images, asked, drawn):
    data = FashionMNIST(root=root)
    X, y = next(iter(data.val_dataloader()))
    data.visualize([X[:num_images], y[:num_images]], *asked)
    assert len(shown[0][0]) == num_images
    assert shown[0][1:3] == drawn


def test_no_image_cannot_be_drawn(root, shown):
    with pytest.raises(DataError, match="empty"):
        FashionMNIST(root=root).visualize([torch.zeros(0, 1, 28, 28), torch.zeros(0)])


# Resizing -----------------------------------------------------------------------------------------


def pillow(images, size):
    resized = [
        np.asarray(Image.fromarray(image.numpy()).resize(size[::-1], Image.Resampling.BILINEAR))
        for image in images
    ]
    return torch.from_numpy(np.stack(resized)).int()


@pytest.mark.parametrize("size", [28, 32, 64, 96, 224, 14, (20, 45), (5, 1), (1, 5)])
def test_resizing_agrees_with_pillow_to_one_gray_level(root, tiny, size):
    data = FashionMNIST(20, size, root=root)
    X, _ = next(iter(data.val_dataloader()))
    expected = pillow(tiny["t10k-images-idx3-ubyte"], data.resize)
    assert X.shape[2:] == data.resize
    assert (X[:, 0] * 255 - expected).abs().max() <= 1.001


@pytest.mark.parametrize("size", [32, 64, 96, 224, 14, (20, 45), (5, 1), (1, 5)])
def test_resizing_on_another_device_agrees_with_pillow_too(tiny, size):
    images = tiny["t10k-images-idx3-ubyte"]
    size = fashion_mnist._check_resize(size)
    resized = resizing.resize_by_products(images, size)
    assert resized.dtype == torch.uint8
    assert (resized.int() - pillow(images, size)).abs().max() <= 1


def test_kept_and_batchwise_resizing_give_the_same(root, monkeypatch):
    kept = FashionMNIST(20, 64, root=root)
    assert kept.val.data.shape == (20, 64, 64)
    monkeypatch.setattr(fashion_mnist, "MAX_KEPT_BYTES", 80 * 64 * 64 - 1)
    batchwise = FashionMNIST(20, 64, root=root)
    assert batchwise.val.data.shape == (20, 28, 28)
    assert torch.equal(
        next(iter(kept.val_dataloader()))[0], next(iter(batchwise.val_dataloader()))[0]
    )
    assert torch.equal(kept.val[3][0], batchwise.val[3][0])


def test_large_images_of_the_full_set_would_not_be_kept():
    assert 70_000 * 32 * 32 <= fashion_mnist.MAX_KEPT_BYTES < 70_000 * 96 * 96


@pytest.mark.parametrize("resize", [0, -5, 2.5, "28", (28,), (28, 28, 1), (28, 0), True, None])
def test_a_size_that_cannot_be_used_is_refused(root, resize):
    with pytest.raises(ConfigError, match="resize"):
        FashionMNIST(resize=resize, root=root)


# Finding ------------------------------------------------------------------------------------------


def statuses(root):
    return {place.name: place.status for place in locate(root)}


def test_the_root_comes_first(root, tiny, folder):
    put(folder / "system", tiny)
    assert FashionMNIST(root=root).source == folder / "data" / "FashionMNIST" / "raw"


def test_files_without_compression_are_found(tiny, folder):
    put(folder / "FashionMNIST" / "raw", tiny, suffix="")
    assert len(FashionMNIST(root=str(folder)).train) == 60


def test_the_system_folder_comes_second(tiny, folder):
    put(folder / "system", tiny)
    put(folder / "cache" / "fashion-mnist", tiny)
    assert FashionMNIST(root=str(folder)).source == folder / "system"


def test_the_cache_comes_third(tiny, folder):
    put(folder / "cache" / "fashion-mnist", tiny)
    data = FashionMNIST(root=str(folder))
    assert data.source == folder / "cache" / "fashion-mnist"
    assert not data.is_sample


def test_an_incomplete_folder_is_passed_over(root, tiny, folder):
    put(folder / "system", tiny)
    (folder / "data/FashionMNIST/raw/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.warns(GradbookWarning, match="not there: t10k-labels-idx1-ubyte.*system is used"):
        assert FashionMNIST(root=root).source == folder / "system"
    place = locate(root)[0]
    assert place.status == "incomplete"
    assert place.detail == "not there: t10k-labels-idx1-ubyte"


def test_the_cache_folder_is_that_of_the_system(monkeypatch, folder):
    monkeypatch.delenv("GRADBOOK_CACHE")
    monkeypatch.setattr(platformdirs, "user_cache_dir", folder.joinpath)
    assert fashion_mnist.cache_folder() == folder / "gradbook" / "fashion-mnist"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pwd")
def test_without_a_home_directory_the_cache_is_temporary(monkeypatch):
    import pwd

    def unknown(uid):
        raise KeyError(uid)

    for name in ("GRADBOOK_CACHE", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert fashion_mnist.cache_folder() == Path(tempfile.gettempdir(), "gradbook/fashion-mnist")


def test_the_cache_is_not_consulted_when_another_place_has_all(root, monkeypatch):
    monkeypatch.delenv("GRADBOOK_CACHE")
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert len(FashionMNIST(root=root).train) == 60


def test_locate_looks_everywhere_without_a_word(tiny, folder):
    places = locate(folder)
    assert [place.name for place in places] == ["root", "system", "cache", "sample"]
    assert statuses(folder) == {
        "root": "missing", "system": "missing", "cache": "missing", "sample": "found",
    }  # fmt: skip
    assert "dataset-fashion-mnist" in places[1].advice
    assert str(folder / "FashionMNIST" / "raw") in places[0].advice


def test_locate_sees_a_wrong_size(root, folder):
    (folder / "data/FashionMNIST/raw/train-images-idx3-ubyte.gz").write_bytes(b"")
    place = locate(root)[0]
    assert place.status == "corrupt"
    assert "train-images-idx3-ubyte.gz" in place.detail


def test_locate_sees_wrong_content_if_asked_to(root, tiny, folder):
    path = folder / "data/FashionMNIST/raw/train-images-idx3-ubyte.gz"
    write_idx(path, tiny["train-images-idx3-ubyte"] ^ 1)
    assert locate(root)[0].status == "found"
    assert locate(root, verify=True)[0].status == "corrupt"


# Damaged files ------------------------------------------------------------------------------------


def test_a_damaged_file_is_refused_though_another_place_has_a_good_one(root, tiny, folder):
    put(folder / "system", tiny)
    path = folder / "data/FashionMNIST/raw/train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"train-images-idx3-ubyte\.gz is damaged"):
        FashionMNIST(root=root)


def test_a_truncated_file_is_refused(root, folder):
    path = folder / "data/FashionMNIST/raw/train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptFileError, match="break after"):
        FashionMNIST(root=root)


def test_exchanged_files_are_refused(root, tiny, folder):
    raw = folder / "data/FashionMNIST/raw"
    (raw / "train-images-idx3-ubyte.gz").write_bytes(
        (raw / "train-labels-idx1-ubyte.gz").read_bytes()
    )
    with pytest.raises(CorruptFileError, match="found labels"):
        FashionMNIST(root=root)


def test_sound_files_of_another_data_set_are_refused(root, tiny, folder):
    path = folder / "data/FashionMNIST/raw/train-labels-idx1-ubyte.gz"
    write_idx(path, tiny["train-labels-idx1-ubyte"].flip(0))
    with pytest.raises(CorruptFileError, match="SHA-256"):
        FashionMNIST(root=root)


# Reading once -------------------------------------------------------------------------------------


def test_a_second_set_in_the_process_shares_the_memory(root):
    first, second = FashionMNIST(root=root), FashionMNIST(128, root=root)
    assert first.train.data.data_ptr() == second.train.data.data_ptr()


def test_resized_images_are_shared_too(root):
    first, second = (FashionMNIST(resize=32, root=root) for _ in range(2))
    assert first.train.data.data_ptr() == second.train.data.data_ptr()


def test_files_that_changed_are_read_again(root, tiny, folder):
    FashionMNIST(root=root)
    (folder / "data/FashionMNIST/raw/train-labels-idx1-ubyte.gz").write_bytes(b"")
    with pytest.raises(CorruptFileError):
        FashionMNIST(root=root)


# Fetching -----------------------------------------------------------------------------------------


@pytest.fixture
def mirror(server, tiny, monkeypatch):
    for name, tensor in tiny.items():
        header = bytes([0, 0, 8, tensor.dim()])
        header += b"".join(size.to_bytes(4, "big") for size in tensor.shape)
        server.files[f"/good/{name}.gz"] = gzip.compress(header + tensor.numpy().tobytes())
        server.files[f"/bad/{name}.gz"] = b"<html>log in to the network first</html>"
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (server.url + "bad/", server.url + "good/"))
    return server


@pytest.mark.slow
def test_the_files_are_fetched_into_the_cache(mirror, folder):
    data = FashionMNIST(root=str(folder))
    assert data.source == folder / "cache" / "fashion-mnist"
    assert len(data.train) == 60
    assert statuses(folder)["cache"] == "found"


def test_what_is_in_the_cache_is_not_fetched_again(mirror, folder):
    FashionMNIST(root=str(folder))
    mirror.requested.clear()
    FashionMNIST(root=str(folder))
    assert mirror.requested == []


def test_a_mirror_with_wrong_content_leaves_the_sample_and_no_file(mirror, folder, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (mirror.url + "bad/",))
    with pytest.warns(SampleDataWarning, match=r"bad/.*is damaged or not what its name says"):
        FashionMNIST(root=str(folder))
    assert list((folder / "cache" / "fashion-mnist").iterdir()) == []


def test_a_network_that_failed_slowly_is_not_asked_again_at_once(monkeypatch, folder, mirror):
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (mirror.url + "absent/",))
    clock = iter([0.0, 9.0, 9.0, 20.0, 100.0, 100.1])
    monkeypatch.setattr(fashion_mnist, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    for num_requests in (1, 1, 2):
        with pytest.warns(SampleDataWarning, match="404"):
            FashionMNIST(root=str(folder))
        assert len(mirror.requested) == num_requests


# The sample ---------------------------------------------------------------------------------------


def test_offline_the_sample_is_used_with_a_warning(folder):
    with pytest.warns(SampleDataWarning) as caught:
        data = FashionMNIST(root=str(folder))
    message = str(caught[0].message)
    assert "10,000 training and 2,000 validation images" in message
    assert "GRADBOOK_OFFLINE" in message
    assert "sudo apt install dataset-fashion-mnist" in message
    assert str(folder / "FashionMNIST" / "raw") in message
    assert caught[0].filename == __file__
    assert data.is_sample
    assert (len(data.train), len(data.val)) == (10_000, 2_000)


def test_the_warning_lists_the_files_and_one_way_a_line(server, folder, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (server.url + "a/", server.url + "b/"))
    with pytest.warns(SampleDataWarning) as caught:
        FashionMNIST(root=str(folder))
    message = str(caught[0].message)
    *_, reason, heading, put, install, again = message.splitlines()
    assert reason.endswith(": HTTP 404 Not Found")
    assert heading == "Each of these gets all of it:"
    assert all(file.name in put for file in FILES)
    assert install == "  sudo apt install dataset-fashion-mnist (Debian)"
    assert again == "  run again with a network"


def test_the_warning_of_the_sample_names_what_an_incomplete_root_lacks(root, folder):
    (folder / "data/FashionMNIST/raw/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.warns(SampleDataWarning, match="raw: not there: t10k-labels-idx1-ubyte\n"):
        FashionMNIST(root=root)


def test_the_sample_has_as_many_images_of_each_class(folder):
    with warnings.catch_warnings(action="ignore", category=SampleDataWarning):
        data = FashionMNIST(root=str(folder))
    assert data.train.targets.bincount().tolist() == [1000] * 10
    assert data.val.targets.bincount().tolist() == [200] * 10


def test_the_sample_comes_with_its_licence():
    assert "Copyright (c) 2017 Zalando SE" in (SAMPLE_FOLDER / "LICENSE").read_text()


def test_the_sample_is_small():
    assert sum(path.stat().st_size for path in SAMPLE_FOLDER.iterdir()) < 6_000_000


# The full set -------------------------------------------------------------------------------------

full = pytest.mark.skipif(not SYSTEM_FOLDER.is_dir(), reason="the full set is not installed")


@pytest.mark.slow
@full
def test_the_full_set_is_what_it_says(monkeypatch, folder):
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", SYSTEM_FOLDER)
    data = FashionMNIST(root=str(folder))
    assert (len(data.train), len(data.val)) == (60_000, 10_000)
    assert data.train.data.float().mean().item() / 255 == pytest.approx(0.2860, abs=1e-4)


@full
def test_the_sample_is_a_part_of_the_full_set():
    for file in FILES:
        if file.num_dims == 3 and file.split == "val":
            some = read_idx(SAMPLE_FOLDER / f"{file.name}.gz").flatten(1)
            every = read_idx(SYSTEM_FOLDER / f"{file.name}.gz").flatten(1)
            known = {row.numpy().tobytes() for row in every}
            assert all(row.numpy().tobytes() in known for row in some)


@pytest.mark.slow
def test_importing_the_data_sets_loads_nothing_heavy():
    code = (
        "import sys, gradbook.datasets;"
        "heavy = 'pandas matplotlib rich IPython requests torchvision PIL'.split();"
        "print([name for name in heavy if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("label", ["a", None, float("inf")])
def test_a_label_that_is_no_number_is_refused(label):
    with pytest.raises(DataError, match="numbers from 0 to 9, but one is"):
        text_labels([label])


def test_a_root_that_is_no_path_is_refused():
    with pytest.raises(ConfigError, match=r"root must be a text or a path.*None"):
        FashionMNIST(root=None)
