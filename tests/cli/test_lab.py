"""`gradbook lab`: the command itself. What its server does is tested in tests/lab."""

import os
import re
import subprocess
import sys
import threading
import webbrowser
from pathlib import Path

import pytest
from tests.patience import await_true

from gradbook.cli import lab, main
from gradbook.interrupts import Terminated
from gradbook.lab import server

ADDRESS = "http://127.0.0.1:8517/?token=x"


@pytest.fixture
def served(monkeypatch):
    """What the server is asked to do; it tells its address and ends as `served.end` says."""

    class Served:
        end = None

        def __call__(self, root, classes, port, told):
            self.asked = (root, classes, port)
            told(ADDRESS)
            if self.end is not None:
                raise self.end

    served = Served()
    monkeypatch.setattr(server, "serve", served)
    return served


@pytest.fixture
def opened(monkeypatch):
    """The addresses that a browser was to open, on a machine with a screen."""
    opened = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", opened.append)
    return opened


def test_the_address_is_told_and_opened(served, opened, capsys):
    assert main(["lab"]) == 0
    await_true(lambda: opened)
    assert opened == [ADDRESS]
    assert ADDRESS in capsys.readouterr().out
    assert served.asked == ("runs", [], None)


def test_a_browser_that_is_waited_for_keeps_no_server_waiting(served, monkeypatch, opened):
    release = threading.Event()
    monkeypatch.setattr(webbrowser, "open", lambda address: release.wait())
    assert main(["lab"]) == 0
    release.set()


def test_no_browser_is_opened_if_none_is_wanted(served, opened):
    assert main(["lab", "--no-browser"]) == 0
    assert opened == []


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there is always a screen")
def test_no_browser_takes_over_a_terminal_without_a_screen(served, opened, monkeypatch):
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert main(["lab"]) == 0
    assert opened == []


def test_folder_port_and_classes_are_passed_on(served, opened):
    words = ["my_file.py:MyNet", "b.py:Data", "--runs", "elsewhere", "--port", "0"]
    assert main(["lab", *words, "--no-browser"]) == 0
    assert served.asked == ("elsewhere", words[:2], 0)


@pytest.mark.parametrize("port", ["x", "-1", "65536", "1e3", "", "8517.0", "²"])
def test_a_port_that_is_none_is_refused(served, capsys, port):
    assert main(["lab", f"--port={port}"]) == 2
    assert "a port, a whole number up to 65535" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        (KeyboardInterrupt(), 0, "Stopped."),
        (Terminated(), 143, "terminated."),
        (Terminated(1), 129, ""),
    ],
)
def test_the_code_tells_how_it_was_ended(served, opened, capsys, end, code, said):
    served.end = end
    assert main(["lab", "--no-browser"]) == code
    told = capsys.readouterr()
    assert said in told.out + told.err


def test_a_file_in_the_place_of_the_folder_is_told(capsys):
    Path("runs").write_text("")
    assert main(["lab", "--no-browser"]) == 2
    assert "'runs' is not a folder" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(capsys, tmp_path):
    with server._opened(0) as taken:
        port = taken.getsockname()[1]
        assert main(["lab", "--no-browser", "--port", str(port)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert re.search(rf"Port {port} is not free .*Is there another lab\?", told)


def test_the_next_free_port_is_taken_if_none_is_named(monkeypatch):
    with server._opened(0) as taken:
        monkeypatch.setattr(server, "PORT", taken.getsockname()[1])
        with server._opened(None) as next_one:
            assert 0 < next_one.getsockname()[1] - server.PORT < 20


def test_ports_that_are_all_taken_are_told(monkeypatch, capsys):
    with server._opened(0) as taken:
        monkeypatch.setattr(server, "PORT", taken.getsockname()[1])
        monkeypatch.setattr(server, "_NUM_PORTS", 1)
        assert main(["lab", "--no-browser"]) == 2
    assert "are all not free" in " ".join(capsys.readouterr().err.split())


def test_help_says_what_it_is_and_how_it_ends(capsys):
    assert main(["lab", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in ("this machine only", "Ctrl-C", "--port", "--no-browser", "my_file.py:MyNet"):
        assert word in text


@pytest.mark.slow
def test_what_serves_is_loaded_without_pytorch_and_what_draws():
    code = (
        "import sys, gradbook.lab.server\n"
        "heavy = {'torch', 'matplotlib', 'pandas', 'IPython', 'requests', 'joblib', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_terminal_is_left_to_the_browser_only_where_it_has_a_window(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert lab._has_window()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "environ", {"WAYLAND_DISPLAY": "wayland-0"})
    assert lab._has_window()
    monkeypatch.setattr(os, "environ", {})
    assert not lab._has_window()
