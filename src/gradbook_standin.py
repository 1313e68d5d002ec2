"""`import torchvision` in your own code, where torchvision is not installed.

Section 4.2 of the book begins with `import torchvision`, uses three of its parts, and only then
imports the book's library. gradbook does not need torchvision, so that line would be the only one
to fail. This module appends a finder to `sys.meta_path` that answers it with a stand-in: what the
book uses of it, but for the models (`gradbook.torchvision_standin`), nothing else.

It stays out of everybody's way:

- It is the last finder, so a torchvision that is installed always wins. One that is installed but
  broken keeps its own error.
- It answers only an import statement in `__main__`: a notebook, the prompt, the script that is
  being run. A library that tries whether torchvision is there finds that it is not. When the next
  module is imported, the stand-in leaves `sys.modules` again; your variables keep it. (Until
  then, a library that was loaded before and looks for torchvision only now would see it.)
- It warns that it is a stand-in. Whatever it does not have is an error that says so.
- `GRADBOOK_NO_STANDIN=1` in the environment turns it off.

It is installed by `import gradbook` and `from d2l import torch`, and, because 4.2 writes
`import torchvision` first, when Python starts: pip puts `gradbook_torchvision.pth` beside this
module, with one line that calls `install()` if this module is there. For that it stands outside
the package and imports nothing that Python has not loaded by then: it costs a fraction of a
millisecond.
"""

import os
import sys

_NAME = "torchvision"
#: Where the import machinery itself runs; whoever asked stands below it.
_MACHINERY = (
    "importlib",
    "importlib._bootstrap",
    "importlib._bootstrap_external",
    "_frozen_importlib",  # their names before anybody imports importlib
    "_frozen_importlib_external",
    __name__,
)


class Finder:
    """The last entry of `sys.meta_path`: finds the stand-in for torchvision."""

    @staticmethod
    def find_spec(name, path=None, target=None):  # type: ignore[no-untyped-def]
        """Returns where the stand-in comes from, or None if this import is not ours to answer."""
        if name != _NAME and not name.startswith(_NAME + "."):
            return None
        if _turned_off() or not _asked_by_main():
            return None
        parent = sys.modules.get(_NAME)
        if name != _NAME and not getattr(parent, "__standin__", False):
            return None  # a part that the real torchvision does not have
        from gradbook import torchvision_standin

        return torchvision_standin.spec(name)


class Leave:
    """Takes the stand-in out of `sys.modules` as soon as any other module is looked for."""

    @staticmethod
    def find_spec(name, path=None, target=None):  # type: ignore[no-untyped-def]
        """Finds nothing, ever."""
        if name.partition(".")[0] != _NAME:
            # A new list: the import that asks is walking through the old one.
            sys.meta_path = [finder for finder in sys.meta_path if finder is not Leave]
            for loaded in [key for key in sys.modules if key.partition(".")[0] == _NAME]:
                if getattr(sys.modules[loaded], "__standin__", False):
                    del sys.modules[loaded]


def install() -> None:
    """Appends the finder, unless it is there already or turned off."""
    if Finder not in sys.meta_path and not _turned_off():
        sys.meta_path.append(Finder)


def leave_soon() -> None:
    """Sees to it that the stand-in does not stay in `sys.modules`."""
    if Leave not in sys.meta_path:
        sys.meta_path = [Leave, *sys.meta_path]


def _turned_off() -> bool:
    return os.environ.get("GRADBOOK_NO_STANDIN", "0") not in ("", "0")


def _asked_by_main() -> bool:
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") in _MACHINERY:
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None and frame.f_globals.get("__name__") == "__main__"
