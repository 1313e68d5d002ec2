"""The secret is kept where nobody else can read it, and never taken from another's hand."""

import os
import stat

import pytest

from gradbook.lab import secret as secret_module
from gradbook.lab.secret import secret_of


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "lab-secret"


def test_a_secret_stays_the_same(path):
    secret = secret_of(path)
    assert len(secret) == 43
    assert secret_of(path) == secret


def test_two_users_have_two_secrets(path, tmp_path):
    assert secret_of(path) != secret_of(tmp_path / "other")


def test_only_the_owner_may_read_it(path):
    before = os.umask(0)
    try:
        secret_of(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["lab-secret"]


def test_nobody_can_read_it_at_any_moment(path, monkeypatch):
    modes = []
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda a, b: (modes.append(stat.S_IMODE(os.stat(a).st_mode)), replace(a, b))
    )
    before = os.umask(0)
    try:
        secret_of(path)
    finally:
        os.umask(before)
    assert modes == [0o600]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o601])
def test_one_that_others_could_have_read_or_written_is_replaced(path, mode):
    secret = secret_of(path)
    path.chmod(mode)
    assert secret_of(path) != secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_one_of_another_owner_is_replaced(path, monkeypatch):
    secret = secret_of(path)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert secret_of(path) != secret


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 44, b"x" * 42 + b"\n\xff", b"\0" * 43])
def test_what_is_no_secret_is_replaced(path, content):
    secret_of(path)
    path.write_bytes(content)
    path.chmod(0o600)
    assert len(secret_of(path)) == 43
    assert path.read_bytes() != content


def test_one_that_a_link_leads_to_is_not_taken(path, tmp_path):
    secret = secret_of(tmp_path / "others")
    path.parent.mkdir()
    path.symlink_to(tmp_path / "others")
    assert secret_of(path) != secret
    assert not path.is_symlink()
    assert (tmp_path / "others").read_text() == secret  # nothing was written through the link


def test_a_pipe_is_not_waited_for(path):
    path.parent.mkdir()
    os.mkfifo(path, 0o600)
    assert len(secret_of(path)) == 43
    assert path.is_file()


@pytest.mark.parametrize("place", ["a folder in its place", "a file in its folder's place"])
def test_where_it_cannot_be_kept_it_holds_for_once(path, place):
    if place == "a folder in its place":
        path.mkdir(parents=True)
    else:
        path.parent.write_text("")
    assert len(secret_of(path)) == 43
    assert secret_of(path) != secret_of(path)


def test_where_nothing_can_be_written_it_holds_for_once(path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(secret_module, "_made", refuse)
    assert len(secret_of(path)) == 43
