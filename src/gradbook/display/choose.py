"""Chooses where a board's curves are drawn."""

import os
import sys
from pathlib import Path

from gradbook.display.shell import can_move_cursor, in_kernel
from gradbook.errors import ConfigError, IgnoredSettingWarning, did_you_mean, warn
from gradbook.record import Sink

#: Where it is used, "auto" gives way to it.
VARIABLE = "GRADBOOK_DISPLAY"

#: What settings, the variable and the command may say; `choose` has a branch for each place.
NAMES = ("auto", "notebook", "terminal", "lines", "off")


def choose(display: bool | str) -> Sink:
    """The display for a board, from its setting and from where Python runs.

    "auto" (or True) follows the environment variable GRADBOOK_DISPLAY where it is set. Otherwise
    it is "notebook" in a kernel, "terminal" where standard output is a terminal that can move
    its cursor, and "lines" elsewhere. False is "off".

    Args:
        display: "auto" or True, "notebook", "terminal", "lines", "off" or False.

    Raises:
        ConfigError: If the display is none of the known names.
    """
    name = place(display)
    # Each is imported when it is chosen, so that a script does not wait for a notebook's packages.
    if name == "notebook":
        from gradbook.display.notebook import NotebookDisplay

        return NotebookDisplay()
    if name == "terminal":
        from gradbook.display.terminal import TerminalDisplay

        return TerminalDisplay()
    if name == "lines":
        from gradbook.display.lines import LinesDisplay

        return LinesDisplay(root=Path("curves"))
    return Sink()


def place(display: bool | str) -> str:
    """The name of the place where `choose` draws: "notebook", "terminal", "lines" or "off"."""
    name = _name(display, "display")
    if name == "auto":
        name = _name(os.environ.get(VARIABLE) or "auto", VARIABLE)
    if name == "notebook" and not in_kernel():
        name = _surroundings()
        warn(
            "The display 'notebook' needs a notebook's kernel, and this Python runs in none. "
            f"Using {name!r} instead.",
            IgnoredSettingWarning,
        )
    return _surroundings() if name == "auto" else name


def _name(display: bool | str, setting: str) -> str:
    if isinstance(display, bool) or display is None:
        return "auto" if display else "off"
    if display not in NAMES:
        raise ConfigError(
            f"{setting}={display!r} is no display. It is one of {', '.join(NAMES)}."
            + did_you_mean(str(display), NAMES)
        )
    return display


def _surroundings() -> str:
    if in_kernel():
        return "notebook"
    return "terminal" if can_move_cursor(sys.stdout) else "lines"
