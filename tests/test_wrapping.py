"""Text whose lines end at words."""

import io
import os
import shlex
import sys
import warnings
from types import SimpleNamespace

import pytest

from gradbook.errors import GradbookWarning
from gradbook.wrapping import USUAL_WIDTH, broken_at_words, columns, html_text, page, wrapped

SENTENCE = "The loss fell by half in every epoch, and falls no more."


class Terminal(io.StringIO):
    """A stream that says that it is a terminal, and is one if it has a file descriptor."""

    def __init__(self, descriptor=None):
        super().__init__()
        self._descriptor = descriptor

    def isatty(self):
        return True

    def fileno(self):
        return super().fileno() if self._descriptor is None else self._descriptor


def test_lines_end_at_words():
    lines = wrapped(SENTENCE, 30).split("\n")
    assert lines == ["The loss fell by half in every", "  epoch, and falls no more."]


def test_no_line_is_longer_than_wanted():
    for width in range(10, 60):
        assert max(map(len, wrapped(f"  {SENTENCE}", width).split("\n"))) <= width


def test_no_word_is_lost():
    assert wrapped(SENTENCE, 12).split() == SENTENCE.split()


def test_what_is_short_enough_stays_as_it_is():
    text = "a\n\n  b  \n"
    assert wrapped(text, 20) == text


def test_without_a_width_a_text_stays_as_it_is():
    assert wrapped(SENTENCE, None) == SENTENCE


def test_a_text_beside_its_name_goes_on_below_itself():
    first, *rest = wrapped(f"  verdict   {SENTENCE}", 40).split("\n")
    assert first.startswith("  verdict   The")
    assert all(line[:12].isspace() and line[12] != " " for line in rest)


def test_a_row_of_a_table_stays_whole():
    row = "mlp-1    0.1    64    0.8123    finished"
    assert wrapped(row, 20) == row


@pytest.mark.parametrize("word", ["/a/path/that/is/longer/than/the/line", "--max-epochs"])
def test_a_path_or_an_option_is_not_broken(word):
    assert word in wrapped(f"It is {word} here", 12)
    assert word in broken_at_words(f"It is {word} here", 12)


def test_a_page_has_80_columns_where_there_is_no_terminal():
    assert 70 < max(map(len, page(" ".join([SENTENCE] * 9)).split("\n"))) <= 80


def test_the_environment_can_say_how_wide_a_page_is(monkeypatch):
    monkeypatch.setenv("COLUMNS", "33")
    assert columns() == 33


def test_no_page_is_wider_than_a_reader_s_eye(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    assert columns() == 100


def test_what_goes_into_a_file_has_no_width():
    assert columns(io.StringIO()) is None


@pytest.mark.skipif(os.name == "nt", reason="terminals of POSIX")
def test_a_terminal_says_how_wide_it_is():
    import termios

    parent, child = os.openpty()
    try:
        termios.tcsetwinsize(child, (24, 72))
        assert columns(Terminal(child)) == 72
    finally:
        os.close(parent)
        os.close(child)


def test_what_only_claims_to_be_a_terminal_has_no_width():
    assert columns(Terminal()) is None


def test_no_stream_has_no_width(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    assert columns() is None


def test_html_is_broken_by_the_page_and_not_by_us():
    html = html_text(f"a < b\n{SENTENCE * 9}")
    assert "white-space: pre-wrap" in html
    assert "word-break: normal" in html
    assert "a &lt; b\n" in html
    assert SENTENCE * 9 in html


def test_a_warning_of_ours_is_printed_in_lines_that_end_at_words(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = warnings.formatwarning(SENTENCE * 3, GradbookWarning, "file.py", 7, "fit()")
    assert max(map(len, text.split("\n"))) <= 40
    assert text.startswith("file.py:7: GradbookWarning: The loss\n")
    assert text.endswith("\n  fit()\n")


def test_another_warning_is_printed_as_python_prints_it(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = warnings.formatwarning(SENTENCE * 3, UserWarning, "file.py", 7, "fit()")
    assert text == f"file.py:7: UserWarning: {SENTENCE * 3}\n  fit()\n"


def test_only_a_notebook_has_a_usual_width(monkeypatch):
    """Not a program that has loaded what a kernel is made of."""
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    assert columns(io.StringIO()) is None
    in_kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1))
    monkeypatch.setitem(sys.modules, "IPython", in_kernel)
    assert columns(io.StringIO()) == USUAL_WIDTH


COMMAND = "gradbook train mlp --num-hiddens 256,128 --name 'a long name' --set root=/some/where"


@pytest.mark.parametrize(
    "beginning", ["", "  repeat    ", "resume: ", "It is trusted nowhere because of it. Add it: "]
)
def test_a_command_that_is_too_long_can_be_pasted_into_a_shell(beginning):
    lines = wrapped(beginning + COMMAND, 50).split("\n")
    begin = next(index for index, line in enumerate(lines) if "gradbook" in line)
    pasted = "\n".join(lines[begin:]).removeprefix(beginning)
    assert max(map(len, lines)) <= 50
    assert shlex.split(pasted.replace("\\\n", "")) == shlex.split(COMMAND)
    assert "--name 'a long name'" in pasted


@pytest.mark.parametrize(
    "command", ["--set root=/some/where --set other=/else", "pip install onnx onnxscript runtime"]
)
def test_what_is_to_be_added_or_installed_can_be_pasted_too(command):
    *said, last = wrapped(
        f"It is needed for what you do. If you want it, add: {command}", 52
    ).split("\n")
    assert said[-1].endswith("add:")
    assert last.strip() == command


def test_a_command_stays_whole_where_shells_know_no_backslash(monkeypatch):
    monkeypatch.setattr("gradbook.wrapping.os.name", "nt")
    assert f"  repeat    {COMMAND}" == wrapped(f"  repeat    {COMMAND}", 50)


def test_what_is_quoted_stays_whole():
    assert "`gradbook runs --runs there`" in wrapped(f"{SENTENCE} `gradbook runs --runs there`", 62)


def test_a_sentence_about_gradbook_is_no_command():
    assert "\\" not in wrapped("gradbook runs no code because a folder names it.", 20)
