import argparse
import io
import subprocess
import sys
from types import SimpleNamespace

import pytest

from gradbook import ProgressBoard, Trainer
from gradbook.cli.options import add_display_options
from gradbook.display.choose import NAMES, choose
from gradbook.display.lines import LinesDisplay
from gradbook.display.notebook import NotebookDisplay
from gradbook.display.terminal import TerminalDisplay
from gradbook.errors import ConfigError, IgnoredSettingWarning
from gradbook.record import Sink


class Terminal(io.StringIO):
    def isatty(self):
        return True


def stdout(monkeypatch, stream):
    # Not sys.stdout itself, which pytest sets anew before each test.
    monkeypatch.setattr("gradbook.display.choose.sys", SimpleNamespace(stdout=stream))


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch):
    monkeypatch.delenv("GRADBOOK_DISPLAY", raising=False)
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    stdout(monkeypatch, io.StringIO())


@pytest.fixture
def terminal(monkeypatch):
    stdout(monkeypatch, Terminal())


def chosen(display=True):
    return type(choose(display))


@pytest.mark.parametrize("display", [True, "auto"])
def test_a_kernel_has_a_notebook(shell, terminal, display):
    assert chosen(display) is NotebookDisplay


def test_ipython_in_a_terminal_has_a_terminal(shell, terminal):
    shell.kernel = None
    assert chosen() is TerminalDisplay


def test_a_terminal(terminal):
    assert chosen() is TerminalDisplay


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(terminal, monkeypatch, term):
    monkeypatch.setenv("TERM", term)
    assert chosen() is LinesDisplay


def test_a_program_that_a_notebook_starts_gets_lines(terminal, monkeypatch):
    monkeypatch.setenv("JPY_PARENT_PID", "123")
    assert chosen() is LinesDisplay


def test_a_pipe_gets_lines():
    assert chosen() is LinesDisplay


def test_no_output_at_all_gets_lines(monkeypatch):
    stdout(monkeypatch, None)
    assert chosen() is LinesDisplay


@pytest.mark.parametrize("display", [False, "off"])
def test_off(terminal, display):
    assert chosen(display) is Sink


def test_a_name_is_obeyed(terminal):
    assert chosen("lines") is LinesDisplay


def test_the_variable_wins_over_auto(terminal, monkeypatch):
    monkeypatch.setenv("GRADBOOK_DISPLAY", "lines")
    assert chosen() is LinesDisplay


def test_a_name_wins_over_the_variable(monkeypatch):
    monkeypatch.setenv("GRADBOOK_DISPLAY", "lines")
    assert chosen("terminal") is TerminalDisplay


def test_a_notebook_without_a_kernel_falls_back(terminal):
    with pytest.warns(IgnoredSettingWarning, match=r"Using 'terminal' instead"):
        assert chosen("notebook") is TerminalDisplay


def test_an_unknown_name():
    with pytest.raises(ConfigError, match=r"display='termnal' .* Did you mean 'terminal'\?"):
        chosen("termnal")


def test_an_unknown_name_in_the_variable(monkeypatch):
    monkeypatch.setenv("GRADBOOK_DISPLAY", "paper")
    with pytest.raises(ConfigError, match="GRADBOOK_DISPLAY='paper'"):
        chosen()


@pytest.mark.parametrize("name", sorted({*NAMES} - {"auto", "off"}))
def test_each_name_has_a_display_of_its_own(name, shell):
    assert chosen(name) is not Sink


@pytest.mark.parametrize("name", NAMES)
def test_the_trainer_and_the_board_tell_of_each_name(name):
    assert f'"{name}"' in Trainer.__doc__
    assert f'"{name}"' in ProgressBoard.__doc__


def test_the_command_offers_every_name_but_the_notebook_s():
    parser = argparse.ArgumentParser()
    add_display_options(parser)
    (option,) = (action for action in parser._actions if action.dest == "display")
    assert {*option.choices} == {*NAMES} - {"notebook"}


@pytest.mark.slow
def test_choosing_loads_no_heavy_module():
    code = (
        "import sys, gradbook.display.choose, gradbook.book.figures, gradbook.display.notebook, "
        "gradbook.display.terminal, gradbook.display.lines, gradbook.display.animator\n"
        "print({'rich', 'matplotlib', 'IPython'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
