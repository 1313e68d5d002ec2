"""Archives, whole and damaged, and those that would write elsewhere."""

import gzip
import io
import os
import stat
import tarfile
import zipfile

import pytest

from gradbook.datasets import archives
from gradbook.errors import ConfigError, CorruptFileError, DataError


def make_zip(path, members, link=None):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
        if link is not None:
            info = zipfile.ZipInfo(link[0])
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(info, link[1])


def make_tar(path, members, mode="w"):
    """Members: name -> bytes, or ("link" | "hard", target)."""
    if not hasattr(tarfile, "data_filter"):
        pytest.skip("before 3.11.4 Python could not unpack a tar file safely, and we refuse to")
    write_tar(path, members, mode)


def write_tar(path, members, mode):
    with tarfile.open(path, mode) as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
            else:
                info.type = tarfile.SYMTYPE if content[0] == "link" else tarfile.LNKTYPE
                info.linkname = content[1]
                file.addfile(info)


def test_extract_zip(folder):
    make_zip(folder / "a.zip", {"a/b.txt": b"hello"})
    archives.extract(folder / "a.zip")
    assert (folder / "a" / "b.txt").read_bytes() == b"hello"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_extract_tar_with_any_compression(folder, mode):
    make_tar(folder / "a.tar.any", [("./a/b.txt", b"hello")], mode)
    archives.extract(folder / "a.tar.any", folder / "there")
    assert (folder / "there" / "a" / "b.txt").read_bytes() == b"hello"


def test_extract_a_single_file_in_gzip(folder):
    (folder / "x.csv.gz").write_bytes(gzip.compress(b"1,2"))
    archives.extract(folder / "x.csv.gz")
    assert (folder / "x.csv").read_bytes() == b"1,2"


def test_a_tar_that_ends_in_a_zip_is_a_tar(folder):
    make_zip(folder / "x.npz", {"inner": b"x"})
    make_tar(folder / "a.tar", [("a", b"hello"), ("x.npz", (folder / "x.npz").read_bytes())])
    archives.extract(folder / "a.tar", folder / "in")
    assert sorted(path.name for path in (folder / "in").iterdir()) == ["a", "x.npz"]


def test_links_within_a_tar_are_kept(folder):
    make_tar(folder / "a.tar", [("a/b.txt", b"hello"), ("a/c.txt", ("link", "b.txt"))])
    archives.extract(folder / "a.tar")
    assert (folder / "a" / "c.txt").read_bytes() == b"hello"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "..\\evil", "C:\\evil"])
def test_a_zip_that_writes_outside_is_refused(folder, name):
    make_zip(folder / "a.zip", {"good": b"", name: b"x"})
    with pytest.raises(DataError, match="refused"):
        archives.extract(folder / "a.zip", folder / "in")
    assert list((folder / "in").iterdir()) == []


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", b"x")],
        [("/evil", b"x")],
        [("out", ("link", "..")), ("out/evil", b"x")],
        [("out", ("link", "/"))],
        [("out", ("hard", "../evil"))],
        [("sub", ("link", "safe")), ("sub/evil", b"x")],
        [("evil", ("link", "safe")), ("EVIL", b"x")],
    ],
    ids=["dots", "root", "through link", "link out", "hard link out", "below link", "at link"],
)
def test_a_tar_that_writes_outside_or_through_its_links_is_refused(folder, members):
    make_tar(folder / "a.tar", [("good", b""), *members])
    with pytest.raises(DataError, match="refused"):
        archives.extract(folder / "a.tar", folder / "in")
    assert list((folder / "in").iterdir()) == []
    assert not (folder / "evil").exists()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_link_on_the_disk_does_not_lead_outside(folder, kind):
    outside = folder / "outside"
    outside.mkdir()
    (folder / "in").mkdir()
    (folder / "in" / "a").symlink_to(outside)
    archive = folder / f"x.{kind}"
    if kind == "zip":
        make_zip(archive, {"a/evil": b"x"})
    else:
        make_tar(archive, [("a/evil", b"x")])
    with pytest.raises(DataError, match="refused"):
        archives.extract(archive, folder / "in")
    assert list(outside.iterdir()) == []


def test_a_link_in_a_zip_is_refused(folder):
    make_zip(folder / "a.zip", {}, link=("out", "/etc"))
    with pytest.raises(DataError, match="symbolic link"):
        archives.extract(folder / "a.zip")


def test_a_python_that_cannot_unpack_a_tar_file_safely_does_not(folder, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    write_tar(folder / "a.tar", [("a", b"hello")], "w")
    with pytest.raises(DataError, match=r"Python 3\.11\.4 or newer is needed"):
        archives.extract(folder / "a.tar")
    assert not (folder / "a").exists()


def test_a_truncated_archive_is_corrupt(folder):
    make_tar(folder / "a.tar.gz", [("a", os.urandom(50_000))], "w:gz")
    whole = (folder / "a.tar.gz").read_bytes()
    (folder / "a.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match="Delete it and run again"):
        archives.extract(folder / "a.tar.gz")


def test_a_damaged_zip_member_is_corrupt(folder):
    make_zip(folder / "a.zip", {"a": b"hello world"})
    content = (folder / "a.zip").read_bytes().replace(b"hello", b"jello", 1)
    (folder / "a.zip").write_bytes(content)
    with pytest.raises(CorruptFileError, match="CRC"):
        archives.extract(folder / "a.zip")


def change_zip(path, at, value):
    """Sets a field in the local header and in the directory, where it is two bytes later."""
    content = bytearray(path.read_bytes())
    for start in (at, content.index(b"PK\1\2") + at + 2):
        content[start] = value
    path.write_bytes(content)


@pytest.mark.parametrize(("at", "value"), [(6, 1), (8, 99)], ids=["password", "method"])
def test_a_zip_that_python_cannot_unpack_is_refused(folder, at, value):
    make_zip(folder / "a.zip", {"a": b"hello"})
    change_zip(folder / "a.zip", at, value)
    with pytest.raises(DataError, match=r"password|method"):
        archives.extract(folder / "a.zip")


def test_a_flipped_bit_in_bzip2_is_corrupt(folder):
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("a", b"hello" * 50)
    content = (folder / "a.zip").read_bytes().replace(b"BZh", b"CZh")
    (folder / "a.zip").write_bytes(content)
    with pytest.raises(CorruptFileError, match="Invalid data stream"):
        archives.extract(folder / "a.zip")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_that_is_both_file_and_folder_is_refused(folder, kind):
    archive = folder / f"x.{kind}"
    if kind == "zip":
        make_zip(archive, {"a": b"x", "a/b": b"x"})
    else:
        make_tar(archive, [("a", b"x"), ("a/b", b"x")])
    with pytest.raises(DataError, match="cannot be unpacked"):
        archives.extract(archive)


def test_what_is_no_file_cannot_be_unpacked(folder):
    for path in (folder, folder / "absent.zip"):
        with pytest.raises(ConfigError, match="there is no such file"):
            archives.extract(path)


def test_a_file_in_the_place_of_the_folder_is_named(folder):
    make_zip(folder / "a.zip", {"a": b"x"})
    with pytest.raises(ConfigError, match=r"a\.zip cannot be made a folder"):
        archives.extract(folder / "a.zip", folder / "a.zip")


def test_an_empty_file_is_corrupt(folder):
    (folder / "x.gz").write_bytes(b"")
    with pytest.raises(CorruptFileError, match="it is empty"):
        archives.extract(folder / "x.gz")


def test_half_a_zip_is_corrupt(folder):
    make_zip(folder / "a.zip", {"a": b"hello world"})
    (folder / "a.zip").write_bytes((folder / "a.zip").read_bytes()[:30])
    with pytest.raises(CorruptFileError, match="truncated or damaged"):
        archives.extract(folder / "a.zip")


def test_a_damaged_gzip_file_leaves_nothing_behind(folder):
    (folder / "x.gz").write_bytes(gzip.compress(os.urandom(1000))[:500])
    with pytest.raises(CorruptFileError):
        archives.extract(folder / "x.gz")
    assert [path.name for path in folder.iterdir()] == ["x.gz"]


def test_what_is_no_archive_is_refused(folder):
    (folder / "x.csv").write_text("1,2")
    with pytest.raises(DataError, match="not a zip, tar or gzip file"):
        archives.extract(folder / "x.csv")
