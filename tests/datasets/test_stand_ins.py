import gzip
import os
import random
import sys
import tarfile
import time
import types
import zipfile
from pathlib import Path

import pytest
import torch

from gradbook.datasets import download, download_extract, files, hub, stand_ins
from gradbook.errors import ConfigError, DownloadError, SampleDataWarning

REAL = dict(stand_ins.STAND_INS)
NAME = "fra-eng"  # whose true file is fra-eng.zip


@pytest.fixture(autouse=True)
def maker(monkeypatch, folder):
    """A stand-in of this test's own: `maker.calls` counts how often it was made."""
    module = types.ModuleType("makes_a_stand_in")
    module.calls = 0

    def write(path):
        module.calls += 1
        stand_ins.write_zip(path, [("fra-eng/fra.txt", b"Go.\tVa !\n")])

    module.write = write
    source = folder / "makes_a_stand_in.py"
    source.write_text("# the first edition")
    module.__spec__ = types.SimpleNamespace(origin=str(source))
    monkeypatch.setitem(sys.modules, "makes_a_stand_in", module)
    entry = stand_ins.StandIn("makes_a_stand_in", "write", "a pair of sentences")
    monkeypatch.setattr(stand_ins, "STAND_INS", {NAME: entry})
    return module


def test_a_file_that_cannot_be_fetched_is_replaced_with_a_warning(folder):
    with pytest.warns(SampleDataWarning) as warned:
        path = Path(download(NAME, folder / "data"))
    text = str(warned[0].message)
    for part in ("fra-eng.zip", "a pair of sentences", str(folder / "data"), "GRADBOOK_OFFLINE"):
        assert part in text
    assert path.name == "fra-eng.zip"
    assert zipfile.ZipFile(path).namelist() == ["fra-eng/fra.txt"]


def test_a_stand_in_never_lies_where_the_true_file_would(folder):
    with pytest.warns(SampleDataWarning):
        path = Path(download(NAME, folder / "data"))
    assert (folder / "cache" / "stand-ins") in path.parents
    assert not (folder / "data").exists()


def test_the_true_file_is_used_where_it_is(folder, monkeypatch, maker):
    monkeypatch.setattr(files, "DATA_HUB", {NAME: (files.DATA_HUB[NAME][0], None)})
    (folder / "fra-eng.zip").write_bytes(b"true")
    assert download(NAME, folder) == str(folder / "fra-eng.zip")
    assert maker.calls == 0


def test_a_file_that_is_another_is_said_to_be(folder):
    (folder / "fra-eng.zip").write_bytes(b"other")
    with pytest.warns(SampleDataWarning, match=r"fra-eng\.zip is not the true file"):
        download(NAME, folder)
    assert (folder / "fra-eng.zip").read_bytes() == b"other"


def test_the_url_and_the_checksum_know_the_stand_in_too(folder):
    url, checksum = hub.BOOKS_FILES[NAME]
    with pytest.warns(SampleDataWarning):
        by_url = download(url, folder / "data")
    assert download("http://elsewhere/x.zip", folder / "data", checksum) == by_url
    with pytest.raises(DownloadError):
        download("http://elsewhere/fra-eng.zip", folder / "data")


def test_download_extract_unpacks_it_where_it_lies(folder):
    with pytest.warns(SampleDataWarning):
        path = Path(download_extract(NAME))
    assert (path / "fra.txt").read_bytes() == b"Go.\tVa !\n"
    assert stand_ins.is_stand_in(path)
    assert not stand_ins.is_stand_in(folder)


def test_it_is_said_once(folder, recwarn):
    download(NAME, folder)
    download(NAME, folder)
    assert len(recwarn) == 1


def test_it_is_made_once_and_anew_when_its_maker_has_changed(folder, maker):
    first = stand_ins.stand_in(NAME)
    assert stand_ins.stand_in(NAME) == first
    assert maker.calls == 1
    (folder / "makes_a_stand_in.py").write_text("# the second edition")
    assert stand_ins.stand_in(NAME) != first


def aged(path):
    """The folder of a path, which was made two days ago."""
    two_days_ago = time.time() - 2 * 24 * 60 * 60
    os.utime(path.parent, (two_days_ago, two_days_ago))
    return path.parent


def test_a_new_edition_removes_the_old_one_and_nothing_else(folder):
    old = aged(stand_ins.stand_in(NAME))
    others = [old.with_name(name) for name in ("fra-eng-mine", "ptb-01234567", "fra-eng-0123456")]
    link = old.with_name("fra-eng-01234567")
    for other in others:
        other.mkdir()
        aged(other / "file")
    link.symlink_to(folder, target_is_directory=True)
    (folder / "makes_a_stand_in.py").write_text("# the second edition")
    new = stand_ins.stand_in(NAME)
    assert set(old.parent.iterdir()) == {new.parent, link, *others}


def test_an_old_edition_of_today_stays_for_whoever_reads_it(folder):
    old = stand_ins.stand_in(NAME)
    (folder / "makes_a_stand_in.py").write_text("# the second edition")
    stand_ins.stand_in(NAME)
    assert old.is_file()


@pytest.mark.parametrize("damage", [b"", b"PK half of it"])
def test_one_that_was_damaged_is_made_anew(folder, maker, damage):
    path = stand_ins.stand_in(NAME)
    path.write_bytes(damage)
    assert zipfile.ZipFile(stand_ins.stand_in(NAME)).namelist() == ["fra-eng/fra.txt"]
    stand_ins.stand_in(NAME)
    assert maker.calls == 2


def test_one_whose_checksum_is_gone_is_made_anew(folder, maker):
    path = stand_ins.stand_in(NAME)
    path.with_name("fra-eng.zip.sha1").unlink()
    assert stand_ins.stand_in(NAME) == path
    assert maker.calls == 2


@pytest.fixture
def linked(monkeypatch, maker):
    """As above, with a link to what is unpacked from it."""
    entry = stand_ins.STAND_INS[NAME]._replace(unpacked="fra-eng")
    monkeypatch.setattr(stand_ins, "STAND_INS", {NAME: entry})


@pytest.mark.parametrize("cache", ["cache/stand-ins", "gradbook-stand-ins-x"])
def test_a_link_to_an_earlier_stand_in_is_renewed(folder, linked, cache, recwarn):
    link = folder / "data" / "fra-eng"
    link.parent.mkdir()
    link.symlink_to(folder / cache / "fra-eng-0123abcd" / "fra-eng", True)
    path = Path(download(NAME, folder / "data"))
    assert link.readlink() == path.parent / "fra-eng"


def test_a_link_to_another_cache_makes_place_for_the_true_file(folder, linked):
    link = folder / "fra-eng"
    link.symlink_to(folder / "old" / "stand-ins" / "fra-eng-0123abcd" / "fra-eng", True)
    stand_ins.remove_link(NAME, folder)
    assert not link.is_symlink()


def test_a_link_that_the_user_has_made_stays(folder, linked, recwarn):
    link = folder / "fra-eng"
    link.symlink_to(folder / "mine" / "fra-eng", True)
    download(NAME, folder)
    stand_ins.remove_link(NAME, folder)
    assert link.readlink() == folder / "mine" / "fra-eng"


def test_what_fails_while_it_is_made_leaves_nothing(monkeypatch, maker, folder):
    monkeypatch.setattr(maker, "write", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stand_ins.stand_in(NAME)
    assert not [path for path in (folder / "cache").rglob("*") if path.is_file()]


def test_a_cache_that_cannot_be_written_is_replaced_by_a_temporary_folder(monkeypatch, folder):
    (folder / "cache").write_text("no folder")
    monkeypatch.setattr(stand_ins, "_own_folder", [])
    monkeypatch.setattr(stand_ins.tempfile, "mkdtemp", lambda prefix: str(folder / "own"))
    path = stand_ins.stand_in(NAME)
    assert folder / "own" in path.parents
    assert stand_ins.is_stand_in(path)


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(ConfigError, match="Did you mean 'fra-eng'"):
        stand_ins.stand_in("fra-eg")


def test_archives_are_the_same_whenever_they_are_made(folder, monkeypatch):
    members = [("a/x.txt", b"x" * 100), ("a/y.txt", b"")]
    for write, kinds in (
        (stand_ins.write_zip, [{}]),
        (stand_ins.write_tar, [{}, {"gzipped": True}]),
    ):
        for kind in kinds:
            made = []
            for day, path in enumerate((folder / "one", folder / "two")):
                monkeypatch.setattr("time.time", lambda day=day: 1e9 + 86400 * day)
                write(path, members, **kind)
                made.append(path.read_bytes())
            assert made[0] == made[1]
    with gzip.open(folder / "two") as file, tarfile.open(fileobj=file) as archive:
        assert archive.getnames() == ["a/x.txt", "a/y.txt"]


@pytest.mark.parametrize("name", REAL)
def test_each_is_for_a_file_of_the_book(name):
    assert name in hub.BOOKS_FILES


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_each_is_made_the_same_and_draws_no_number_that_a_seed_decides(name, monkeypatch, folder):
    monkeypatch.setattr(stand_ins, "STAND_INS", REAL)
    state = random.getstate(), torch.get_rng_state()
    made = []
    for place in ("one", "two"):
        monkeypatch.setenv("GRADBOOK_CACHE", str(folder / place))
        made.append(stand_ins.stand_in(name).read_bytes())
    assert made[0] == made[1]
    assert random.getstate() == state[0]
    assert torch.equal(torch.get_rng_state(), state[1])
