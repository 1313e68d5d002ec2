"""A word on the terminal while a command has nothing to show yet: PyTorch takes seconds to load."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from gradbook.display.shell import can_move_cursor

#: So many characters may stand behind the word: a terminal shows a Ctrl-C as ^C.
_ECHO = 8


@contextmanager
def told_while_waiting(quiet: bool) -> Iterator[None]:
    """From when PyTorch is first imported, says so on standard error, if that is a terminal.

    The word goes when anything else is written. A command that loads no PyTorch shows none.
    """
    if quiet or "torch" in sys.modules or not can_move_cursor(sys.stderr):
        yield
        return
    word = _Word(sys.stderr)
    finder = _Finder(word)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        with suppress(ValueError):  # it has taken itself away
            sys.meta_path.remove(finder)
        word.clear()


class _Word:
    """A word on a terminal, until something else is written."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._text = stream, ""
        self._watched: list[Any] = []

    def show(self, text: str) -> None:
        """Shows it."""
        # Attributes of the streams themselves, so that nobody has a stream of another kind.
        self._watched = [stream for stream in {sys.stdout, sys.stderr} if stream is not None]
        for stream in self._watched:
            stream.write = self._clearing(stream)
        self._text = text
        self._write(text)

    def change(self, text: str) -> None:
        """Shows another in its place, if it is still there."""
        if self._watched:
            self.clear()
            self.show(text)

    def clear(self) -> None:
        """Removes it, if it is still there."""
        watched, self._watched = self._watched, []
        for stream in watched:
            del stream.write
        if watched:  # with spaces, which every terminal understands
            self._write(f"\r{' ' * (len(self._text) + _ECHO)}\r")

    def _clearing(self, stream: Any) -> Callable[[str], Any]:
        def write(text: str) -> Any:
            self.clear()
            return stream.write(text)

        return write

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # the terminal has gone
            type(self._stream).write(self._stream, text)
            self._stream.flush()


class _Finder:
    """Sees to a word while PyTorch is imported, and for what is computed then."""

    def __init__(self, word: _Word) -> None:
        self._word = word

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """PyTorch as the other finders find it; nothing else."""
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        loader: Any = spec and spec.loader
        if loader is not None:

            def exec_module(module: ModuleType) -> None:
                del loader.exec_module
                self._word.show("loading PyTorch ...")
                loader.exec_module(module)
                self._word.change("working ...")

            loader.exec_module = exec_module
        return spec
