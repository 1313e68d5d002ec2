import os
import sys
import threading
from pathlib import Path

import pytest

from gradbook.errors import ConfigError, StorageError
from gradbook.storage import (
    Place,
    as_word,
    claim_folder,
    kebab_case,
    link_atomically,
    write_atomically,
)


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


def test_what_stands_in_the_place_of_a_file_is_to_be_moved(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(StorageError, match=r"a cannot be written: .*Name a file that is no folder"):
        write_atomically(tmp_path / "a", b"content")
    (tmp_path / "b").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        write_atomically(tmp_path / "b" / "file", b"content")


@pytest.fixture(params=["links", "no links"])
def pair(request, tmp_path, monkeypatch):
    """A file and a second name for it, on a file system with links and on one without."""
    if request.param == "no links":

        def refuse(source, target):
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    source, target = tmp_path / "last", tmp_path / "best"
    write_atomically(source, b"first")
    link_atomically(source, target, b"first")
    return source, target


def test_a_second_name_has_the_same_content(pair):
    assert pair[1].read_bytes() == b"first"


@pytest.mark.parametrize("written", [0, 1], ids=["the first name", "the second name"])
def test_what_is_written_to_one_name_does_not_reach_the_other(pair, written):
    write_atomically(pair[written], b"second")
    assert pair[written].read_bytes() == b"second"
    assert pair[1 - written].read_bytes() == b"first"


def test_a_name_can_be_given_again(pair):
    source, target = pair
    link_atomically(source, target, b"first")
    write_atomically(source, b"second")
    link_atomically(source, target, b"second")
    assert target.read_bytes() == b"second"
    assert sorted(path.name for path in source.parent.glob("*") if path.is_file()) == [
        "best", "last",
    ]  # fmt: skip


def test_where_there_are_links_the_content_is_not_written_twice(tmp_path):
    write_atomically(tmp_path / "a", b"first")
    link_atomically(tmp_path / "a", tmp_path / "b", b"first")
    assert os.path.samefile(tmp_path / "a", tmp_path / "b")


def test_a_rest_of_a_killed_process_is_no_obstacle(tmp_path):
    write_atomically(tmp_path / "a", b"first")
    (tmp_path / f"b.{os.getpid()}.part").write_bytes(b"rest")
    link_atomically(tmp_path / "a", tmp_path / "b", b"first")
    assert (tmp_path / "b").read_bytes() == b"first"


def test_a_second_name_in_a_folder_that_is_gone_makes_the_folder(tmp_path):
    write_atomically(tmp_path / "a", b"first")
    link_atomically(tmp_path / "a", tmp_path / "new" / "b", b"first")
    assert (tmp_path / "new" / "b").read_bytes() == b"first"


def test_a_second_name_that_cannot_be_given_is_explained(tmp_path):
    write_atomically(tmp_path / "a", b"first")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="b cannot be written"):
        link_atomically(tmp_path / "a", tmp_path / "file" / "b", b"first")


def test_a_second_name_for_a_file_that_is_gone_has_its_content(tmp_path):
    link_atomically(tmp_path / "gone", tmp_path / "b", b"first")
    assert (tmp_path / "b").read_bytes() == b"first"


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


# A folder that is found again


def test_a_place_is_shown_as_it_was_given_while_that_leads_there(tmp_path, monkeypatch):
    Path("runs").mkdir()
    place, here = Place("runs") / "net-1", Path.cwd()
    place.path.mkdir()
    assert (place.shown, place.path) == (Path("runs/net-1"), here / "runs/net-1")
    monkeypatch.chdir(tmp_path)
    assert place.shown == place.path == here / "runs/net-1"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a folder cannot be followed")
def test_a_place_that_is_held_is_followed():
    Path("a").mkdir()
    place = Place("a")
    place.hold()
    Path("a").rename("b")
    (place.path / "file").write_text("text")
    assert place.shown == Path("b").absolute()
    assert (place / "file").shown == Path("b/file").absolute()
    place.release()
    assert place.path == Path("b").absolute()
    assert Path("b/file").read_text() == "text"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a folder cannot be followed")
def test_a_place_that_was_removed_is_said_to_be():
    Path("a").mkdir()
    place = Place("a")
    place.hold()
    Path("a").rmdir()
    with pytest.raises(StorageError, match=r"^a/file cannot .* its folder was removed"):
        write_atomically(place.path / "file", b"")
    place.release()
    assert place.shown == Path("a")
    assert not Path("a").exists()


def test_a_place_that_cannot_be_held_is_known_by_its_path(monkeypatch):
    monkeypatch.delattr(os, "O_PATH", raising=False)
    Path("a").mkdir()
    place = Place("a")
    place.hold()
    assert place.path == Path("a").absolute()
    place.release()


def test_a_path_that_looks_like_an_option_is_written_as_a_path():
    assert [as_word(path) for path in ("-d/a", Path("runs/-d"), "a")] == ["./-d/a", "runs/-d", "a"]
