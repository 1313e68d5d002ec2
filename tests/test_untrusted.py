"""The one way to a file that somebody else may have made."""

import os
import socket
from pathlib import Path

import pytest

from gradbook.errors import CorruptFileError
from gradbook.untrusted import check_file, inside, open_file, open_to_append, read_file

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")


def test_a_file_is_read():
    Path("a").write_bytes(b"content")
    assert read_file("a", 7) == b"content"


def test_a_file_that_is_not_there_is_that():
    with pytest.raises(FileNotFoundError):
        open_file("a")


def test_a_file_that_is_too_large_is_not_read():
    Path("a").write_bytes(b"content")
    with pytest.raises(CorruptFileError, match=r"a has 7 bytes, more than any such file"):
        read_file("a", 6)


def test_a_file_that_is_larger_than_the_memory_is_not_read():
    Path("a").touch()
    os.truncate("a", 1 << 43)
    with pytest.raises(CorruptFileError, match="more than this machine's memory"):
        read_file("a")


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="only Linux holds a folder")
def test_a_link_out_of_a_folder_that_is_held_is_named_by_its_own_path():
    Path("a").mkdir()
    Path("a/link").symlink_to("/etc/hostname")
    held = os.open("a", os.O_PATH)
    with pytest.raises(CorruptFileError) as error:
        inside(f"/proc/self/fd/{held}", "link")
    os.close(held)
    assert str(error.value).startswith(f"{Path('a/link').absolute()} is a link that leads out")


@needs_pipes
@pytest.mark.parametrize("use", [open_file, open_to_append, check_file])
@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a device or a socket", "a link to itself"])
def test_what_is_no_file_is_neither_opened_nor_waited_for(use, kind):
    if kind == "a pipe":
        os.mkfifo("a")
    elif kind == "a folder":
        Path("a").mkdir()
    elif kind == "a link to itself":
        Path("a").symlink_to("a")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("a")
    with pytest.raises(CorruptFileError, match=f"a is not a file, but {kind}"):
        use("a")


@needs_pipes
@pytest.mark.parametrize("use", [open_file, open_to_append])
def test_a_pipe_that_takes_the_place_after_the_look_is_noticed(monkeypatch, use):
    Path("a").touch()
    open_it = os.open

    def swap(path, *arguments):
        os.unlink("a")
        os.mkfifo("a")
        return open_it(path, os.O_RDWR | os.O_NONBLOCK)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(CorruptFileError, match="a is not a file, but a pipe"):
        use("a")


@needs_pipes
@pytest.mark.parametrize("use", [open_file, open_to_append])
def test_a_link_that_takes_the_place_after_the_look_is_not_followed(monkeypatch, use):
    Path("a").touch()
    Path("secret").touch()
    open_it = os.open

    def swap(*arguments):
        os.unlink("a")
        os.symlink("secret", "a")
        return open_it(*arguments)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises((CorruptFileError, OSError)):
        use("a")


def test_what_is_added_comes_after_what_was_there():
    Path("a").write_bytes(b"1")
    descriptor = open_to_append("a")
    os.write(descriptor, b"2")
    os.close(descriptor)
    assert Path("a").read_bytes() == b"12"


def test_links_inside_the_folder_are_followed_and_others_are_not():
    Path("folder").mkdir()
    Path("folder/file").write_bytes(b"inside")
    Path("folder/link").symlink_to("file")
    Path("folder/out").symlink_to("../file")
    assert read_file(inside("folder", "link")) == b"inside"
    with pytest.raises(CorruptFileError, match="leads out"):
        inside("folder", "out")
