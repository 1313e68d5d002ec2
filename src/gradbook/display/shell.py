"""What Python runs in: a notebook's kernel, IPython in a terminal, or neither."""

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

#: What waits for the cell's end or the interpreter's exit, oldest first.
_waiting: list[Callable[[], None]] = []


def running_shell() -> Any | None:
    """The IPython shell that runs this code, or None. IPython is not imported for the question."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_ipython() if get_ipython is not None else None


def in_kernel() -> bool:
    """Whether this code runs in a kernel: Jupyter, VS Code, Colab."""
    return getattr(running_shell(), "kernel", None) is not None


def can_move_cursor(stream: Any) -> bool:
    """Whether a stream is a terminal on which what was written can be written over."""
    # A kernel's `!python train.py` gives its child a terminal whose cursor cannot move up.
    if "JPY_PARENT_PID" in os.environ or os.environ.get("TERM") in ("dumb", "unknown"):
        return False
    return is_terminal(stream)


def is_terminal(stream: Any) -> bool:
    """Whether a stream, or what stands for one, is a terminal."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # none, closed, or something that only has write()
        return False


def afterwards(callback: Callable[[], None]) -> None:
    """Calls `callback` once, when the running cell ends; outside IPython, at exit.

    Several callbacks are called in the order in which they came; one that waits already is not
    called twice.
    """
    if callback in _waiting:
        return
    _waiting.append(callback)
    shell = running_shell()
    if shell is None:
        atexit.unregister(_run_at_exit)
        atexit.register(_run_at_exit)
        return

    def when_cell_ends(result: object = None) -> None:
        shell.events.unregister("post_run_cell", when_cell_ends)
        _waiting.remove(callback)
        callback()

    shell.events.register("post_run_cell", when_cell_ends)


def _run_at_exit() -> None:
    with ExitStack() as stack:  # one that fails does not keep the others from being called
        for callback in reversed(_waiting):
            stack.callback(callback)
        _waiting.clear()
