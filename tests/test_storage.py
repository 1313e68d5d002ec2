import os
import threading

import pytest

from gradbook.errors import ConfigError, StorageError
from gradbook.storage import claim_folder, kebab_case, write_atomically


def test_a_file_is_written_whole(tmp_path):
    write_atomically(tmp_path / "a", b"first")
    write_atomically(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a"]


def test_the_content_reaches_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("sync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("replace"), replace(a, b)))
    write_atomically(tmp_path / "a", b"content")
    assert order[:2] == ["sync", "replace"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    write_atomically(tmp_path / "a", b"first")

    def fill_the_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill_the_disk)
    with pytest.raises(StorageError, match=r"a cannot be written: No space left .*Free some space"):
        write_atomically(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a"]


def test_folders_are_numbered(tmp_path):
    names = [claim_folder(tmp_path / "runs", "mlp").name for _ in range(3)]
    assert names == ["mlp-1", "mlp-2", "mlp-3"]


def test_the_number_follows_the_highest_there_is(tmp_path):
    for name in ("mlp-7", "mlp-scratch-9", "mlp-x"):
        (tmp_path / name).mkdir()
    assert claim_folder(tmp_path, "mlp").name == "mlp-8"


def test_many_at_once_get_different_folders(tmp_path):
    folders = []
    threads = [
        threading.Thread(target=lambda: folders.append(claim_folder(tmp_path, "a")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(folders)) == 8


def test_a_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"No folder .*file.*: .*exists"):
        claim_folder(tmp_path / "file", "mlp")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MLP", "mlp"),
        ("MLPScratch", "mlp-scratch"),
        ("SoftmaxRegression", "softmax-regression"),
        ("LeNet5", "le-net5"),
        ("my_model", "my-model"),
    ],
)
def test_kebab_case(name, expected):
    assert kebab_case(name) == expected
