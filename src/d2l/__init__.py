"""The package name that the book's code imports: `from d2l import torch as d2l`.

It holds names only. What they stand for is in `gradbook`.
"""

import dis
import sys
import types

_OTHERS = ("jax", "mxnet", "paddle", "tensorflow")


def __getattr__(name: str) -> object:
    if name in _OTHERS:
        raise ImportError(
            f"gradbook works on PyTorch only, so there is no d2l.{name}. Write: "
            f"from d2l import torch as d2l",
            name=f"d2l.{name}",
        )
    told = f"module 'd2l' has no attribute {name!r}"
    if not name.startswith("_"):  # Python itself asks for those
        told += ". Its names are in d2l.torch: write `from d2l import torch as d2l`"
    raise _error_of(sys._getframe(1), AttributeError(told, name=name))


def _error_of(asking: types.FrameType, error: AttributeError) -> Exception:
    """The error of a name that is not there, for a frame: a `from` import shows no other's text."""
    if asking.f_code.co_code[asking.f_lasti] == dis.opmap["IMPORT_FROM"]:
        return ImportError(str(error), name=error.name)
    return error
