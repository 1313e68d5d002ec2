"""The word while PyTorch is loaded, with a module that stands in for it."""

import io
import sys

import pytest

from gradbook.cli.waiting import told_while_waiting

LOADING, WORKING = "loading PyTorch ...", "working ..."


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def begin(monkeypatch, tmp_path):
    """Makes standard error a terminal, where `import torch` reads the file torch.py."""
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "torch.py").write_text("import sys\nseen = sys.stderr.getvalue()\n")

    def begin_now():  # pytest sets both anew between the fixtures and the test
        monkeypatch.setattr(sys, "stdout", Terminal())
        monkeypatch.setattr(sys, "stderr", Terminal())
        return sys.stderr

    return begin_now


def seen(stream):
    """What is left on a line that was written over."""
    shown = ""
    for part in stream.getvalue().split("\r"):
        shown = part + shown[len(part) :]
    return shown.rstrip(" ")


def test_it_is_said_before_pytorch_is_loaded_and_while_it_computes(begin):
    stream = begin()
    with told_while_waiting(quiet=False):
        assert stream.getvalue() == ""
        import torch

        assert torch.seen == LOADING
        assert seen(stream) == WORKING
    assert seen(stream) == ""


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_what_follows_clears_it(begin, name):
    stream = begin()
    with told_while_waiting(quiet=False):
        import torch  # noqa: F401

        print("done", file=getattr(sys, name))
        print("more", file=getattr(sys, name))
        assert seen(stream) == ("done\nmore\n" if name == "stderr" else "")
    assert getattr(sys, name).getvalue().endswith("done\nmore\n")
    assert "write" not in vars(sys.stdout) | vars(sys.stderr)


def test_what_is_said_while_it_is_loaded_stays(begin, tmp_path):
    stream = begin()
    (tmp_path / "torch.py").write_text("print('a warning', file=__import__('sys').stderr)")
    with told_while_waiting(quiet=False):
        import torch  # noqa: F401

        assert seen(stream) == "a warning\n"
    assert seen(stream) == "a warning\n"


def test_where_it_cannot_be_loaded_the_word_goes(begin, tmp_path):
    stream = begin()
    (tmp_path / "torch.py").write_text("raise ImportError('broken')")
    with pytest.raises(ImportError, match="broken"), told_while_waiting(quiet=False):
        import torch  # noqa: F401
    assert seen(stream) == ""


def test_a_command_that_loads_no_pytorch_says_nothing(begin):
    stream = begin()
    finders = list(sys.meta_path)
    with told_while_waiting(quiet=False):
        pass
    assert stream.getvalue() == ""
    assert sys.meta_path == finders


@pytest.mark.parametrize("why", ["quiet", "pipe", "dumb"])
def test_nothing_is_said_where_nobody_would_see_it_go(begin, monkeypatch, why):
    begin()
    if why == "pipe":
        monkeypatch.setattr(sys, "stderr", io.StringIO())
    if why == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    with told_while_waiting(quiet=why == "quiet"):
        import torch  # noqa: F401
    assert sys.stderr.getvalue() == ""
