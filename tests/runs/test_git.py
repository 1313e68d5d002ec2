"""The commit that is checked out, as git itself says it; and nothing that a repository can do."""

import os
import subprocess
from pathlib import Path

import pytest

from gradbook.runs import facts
from gradbook.runs.git import checked_out

pytestmark = pytest.mark.slow


def git(*words, folder="."):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    allowed = ["-c", "protocol.file.allow=always"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *allowed, *words],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def commit(folder="."):
    """Commits something, and returns the commit as git names it."""
    git("commit", "-q", "--allow-empty", "-m", "one", folder=folder)
    return git("rev-parse", "HEAD", folder=folder)


@pytest.fixture
def repository():
    """The working folder as a repository, and its commit."""
    git("init", "-q", "-b", "main")
    return commit()


def test_the_commit_is_kept_and_that_nobody_knows_whether_files_differ(repository):
    assert facts.git_state() == {"commit": repository, "dirty": None}


def test_a_folder_below_has_the_repository_s_commit(repository):
    Path("a/b").mkdir(parents=True)
    assert checked_out("a/b") == repository


def test_a_later_commit_is_told(repository):
    later = commit()
    assert later != repository
    assert checked_out() == later


def test_a_packed_reference_is_found(repository):
    git("pack-refs", "--all")
    assert not Path(".git/refs/heads/main").exists()
    assert checked_out() == repository


def test_a_reference_that_changed_after_it_was_packed_is_told_as_it_is_now(repository):
    git("pack-refs", "--all")
    later = commit()
    assert checked_out() == later != repository


def test_a_commit_without_a_branch_is_told(repository):
    commit()
    git("checkout", "-q", repository)
    assert checked_out() == repository


@pytest.mark.parametrize("packed", [True, False])
def test_a_further_work_tree_has_a_commit_of_its_own(repository, packed):
    git("worktree", "add", "-q", "tree")
    own = commit("tree")
    if packed:
        git("pack-refs", "--all")
    assert checked_out("tree") == own != repository
    assert checked_out() == repository


def test_a_submodule_has_a_commit_of_its_own(repository):
    Path("other").mkdir()
    git("init", "-q", folder="other")
    own = commit("other")
    git("submodule", "-q", "add", "./other", "sub")
    assert Path("sub/.git").is_file()
    assert checked_out("sub") == own


def test_a_symbolic_branch_is_followed(repository):
    git("symbolic-ref", "refs/heads/alias", "refs/heads/main")
    git("symbolic-ref", "HEAD", "refs/heads/alias")
    assert checked_out() == repository


def test_outside_a_repository_there_is_no_commit():
    assert facts.git_state() is None


def test_before_the_first_commit_there_is_none():
    git("init", "-q")
    assert checked_out() is None


def test_a_removed_working_folder_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    try:
        assert checked_out() is None
    finally:
        os.chdir(tmp_path)


@pytest.mark.parametrize(
    "head",
    [
        "ref: refs/../../secret",
        "ref: /etc/passwd",
        "ref: refs/heads/.invalid",  # what a repository with a table of references says
        "ref: HEAD",
        "0123",
        "",
        "ref: refs/heads/\0",
        "\xff",
    ],
)
def test_a_head_that_names_no_commit_is_unknown(repository, head):
    Path("secret").write_text("0" * 40)
    Path(".git/HEAD").write_bytes(head.encode("latin-1"))
    assert checked_out() is None


def test_references_in_a_circle_are_unknown(repository):
    Path(".git/refs/heads/main").write_text("ref: refs/heads/main\n")
    assert checked_out() is None


@pytest.mark.parametrize("name", ["HEAD", "refs/heads/main", "packed-refs", "commondir"])
@pytest.mark.parametrize("kind", ["pipe", "zeros", "folder"])
def test_what_is_no_file_is_not_waited_for(repository, name, kind):
    path = Path(".git", name)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "zeros":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    assert checked_out() in (None, repository)


def test_a_file_that_is_too_large_is_not_read(repository, monkeypatch):
    monkeypatch.setattr("gradbook.runs.git._MAX_BYTES", 40)  # without the end of the line
    assert checked_out() is None


# Nothing is run

_TOUCH = "touch {place}/was_run; cat"


def _filter(path):
    """Settings that have git run a program for each file, monitor, hook, page and fetch."""
    touch = _TOUCH.format(place=Path.cwd())
    Path(path).write_text(
        f'[filter "own"]\n\tclean = {touch}\n\tsmudge = {touch}\n\tprocess = {touch}\n'
        f"[core]\n\tfsmonitor = {touch}\n\thooksPath = {Path.cwd()}/hooks\n\tpager = {touch}\n"
        f"\tsshCommand = {touch}\n[alias]\n\trev-parse = !{touch}\n\tstatus = !{touch}\n"
        f'[diff "own"]\n\ttextconv = {touch}\n\tcommand = {touch}\n'
    )


def _included(where):
    _filter("evil")
    with open(".git/config", "a") as stream:
        stream.write(f"[{where}]\n\tpath = {Path.cwd()}/evil\n")


def _in_a_submodule():
    Path("other").mkdir()
    git("init", "-q", folder="other")
    Path("other/net.py").write_text("1")
    Path("other/.gitattributes").write_text("*.py filter=own diff=own\n")
    git("add", ".", folder="other")
    commit("other")
    git("submodule", "-q", "add", "./other", "sub")
    commit()
    _filter("evil")
    with open(".git/modules/sub/config", "a") as stream:
        stream.write(Path("evil").read_text())
    Path("sub/net.py").write_text("22")


def _in_a_work_tree_s_config():
    git("config", "extensions.worktreeConfig", "true")
    _filter(".git/config.worktree")


def _a_program_called_git():
    for path in (Path("git"), Path("git.exe")):
        path.write_text(f"#!/bin/sh\ntouch {Path.cwd()}/was_run\n")
        path.chmod(0o755)


@pytest.mark.parametrize(
    "prepare",
    [
        lambda: _filter(".git/config"),
        lambda: _included("include"),
        lambda: _included('includeIf "gitdir:**"'),
        _in_a_submodule,
        _in_a_work_tree_s_config,
        _a_program_called_git,
    ],
)
def test_nothing_in_a_repository_is_run(repository, prepare, monkeypatch):
    Path("net.py").write_text("1")
    Path(".gitattributes").write_text("*.py filter=own diff=own\n")
    git("add", ".")
    expected = commit()
    prepare()
    expected = expected if not Path("sub").exists() else git("log", "-1", "--format=%H")
    Path("net.py").write_text("22")
    Path("hooks").mkdir()
    Path("was_run").unlink(missing_ok=True)
    monkeypatch.setenv("PATH", f".{os.pathsep}{os.environ['PATH']}")
    assert facts.git_state() == {"commit": expected, "dirty": None}
    assert not Path("was_run").exists()


def test_no_program_is_started(repository, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(os, "posix_spawn", refuse)
    monkeypatch.setattr(os, "system", refuse)
    assert checked_out() == repository
