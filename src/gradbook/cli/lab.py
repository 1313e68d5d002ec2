"""`gradbook lab`: the page that shows every run of a folder, live, and tries models out."""

import os
import sys
import threading
import webbrowser

from gradbook.cli.options import Parser, add_runs_option, unexpected
from gradbook.cli.outcome import Outcome
from gradbook.interrupts import Terminated
from gradbook.upward import above


def run(arguments: list[str]) -> Outcome:
    """Serves the page until Ctrl-C."""
    parser = Parser(
        "lab",
        "A page in your browser: every run of a folder, live, and a playground. The server answers "
        "this machine only. Ctrl-C stops it.",
    )
    parser.add_argument(
        "classes",
        nargs="*",
        metavar="CLASS",
        help="models and data sets of your own for the playground, such as my_file.py:MyNet",
    )
    add_runs_option(parser)
    parser.add_argument("--port", type=_port, help="the port (default: 8517, or the next free one)")
    parser.add_argument(
        "--no-browser", action="store_true", help="only print the address, do not open it"
    )
    asked = parser.read_all(arguments)

    def told(address: str) -> None:
        print(f"The lab shows the runs in {asked.runs!r}. Open\n\n  {address}\n", flush=True)
        print("Ctrl-C stops it.", flush=True)
        if not asked.no_browser and _has_window():
            # Some browsers are waited for, and the server has yet to begin.
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()

    try:
        above("lab.server").serve(asked.runs, asked.classes, asked.port, told)
    except Terminated:
        raise
    except KeyboardInterrupt:  # which is how it is meant to end
        return Outcome(text="Stopped.")
    return Outcome()


def _port(text: str) -> int:
    if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise unexpected(text, "a port, a whole number up to 65535")
    return int(text)


def _has_window() -> bool:
    """Whether a browser would have a window of its own, and not take over the terminal."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
