"""Why a step cannot be computed for several models at once, in words.

What PyTorch raises then speaks of its own inside; what a learner can do something about is which
function or layer it was, and what it did there.
"""

import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, resolve_name

from gradbook.sweeps.calls import is_foreign
from gradbook.sweeps.program import CannotTrace

#: Methods of tensors that tell a value, as Python calls them, and as people do.
_LOOKS = {
    **{f"__{name}__": f"{name}()" for name in ("bool", "int", "float", "complex")},
    **{name: f".{name}()" for name in ("item", "tolist", "numpy", "is_nonzero")},
    **{"__array__": "NumPy", "__index__": "an index", "__contains__": "in", "equal": "equal()"},
    **{"allclose": "allclose()", "__format__": "a text", "__repr__": "a text"},
}
#: Functions of which the shape of the result depends on values.
_SELECTS = {
    *("nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "_unique2"),
    *("_unique_impl", "_return_output", "_consecutive_return_output", "bincount"),
}
_INDEXING = ("__getitem__", "__setitem__")

_AT_ONCE = "cannot be computed for several models at once"


class Failing(TorchFunctionMode):
    """Notes the last function of PyTorch that failed while it is on.

    Attributes:
        function: The function; None if none failed.
        has_loss: Whether the loss was computed, and what fails now is its gradient.
    """

    def __init__(self) -> None:
        super().__init__()
        self.function: Any = None
        self.has_loss = False
        self._arguments: Any = ()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            return func(*args, **(kwargs or {}))
        except Exception:
            self.function, self._arguments = func, args
            raise

    def why(self, error: BaseException) -> str:
        """Why a step failed with this error, as what completes "alone, because ..."."""
        while (before := error.__cause__ or error.__context__) is not None:
            error = before  # the first of them, which others may have explained
        if isinstance(error, CannotTrace):
            return str(error)
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        for frame in reversed(frames):
            Class: Any = frame.f_locals.get("cls")
            is_function = isinstance(Class, type) and issubclass(Class, torch.autograd.Function)
            is_own = is_function and is_foreign(Class.__module__)
            if frame.f_code.co_name == "apply" and is_own:
                return f"{Class.__name__}, an autograd.Function of your own, {_AT_ONCE}"
        name = getattr(self.function, "__name__", "")
        if name in _LOOKS:
            return f"its steps look at the value of a tensor, with {_LOOKS[name]}"
        if name in _SELECTS or (name in _INDEXING and _has_mask(self._arguments[1])):
            how = "a mask" if name in _INDEXING else f"torch.{name.strip('_')}"
            return f"its steps select elements by their values, with {how}"
        is_writing = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
        if is_writing:
            how = "an assignment to its elements" if name == "__setitem__" else f"{name}()"
            return f"its steps write into a tensor in place, with {how}"
        if self.has_loss:
            return f"the gradients of its loss {_AT_ONCE}"
        layer = next(filter(None, map(_layer_of, reversed(frames))), None)
        if layer is not None:
            return f"{layer} {_AT_ONCE}"
        what = _called(self.function) if self.function is not None else _entered(frames)
        return f"{what or 'its step'} {_AT_ONCE}"


def _has_mask(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, torch.Tensor) and part.dtype == torch.bool for part in parts)


def _layer_of(frame: FrameType) -> str | None:
    """The name of PyTorch's own layer whose `forward` a frame runs."""
    layer = frame.f_locals.get("self")
    if frame.f_code.co_name != "forward" or not isinstance(layer, torch.nn.Module):
        return None
    is_torchs = (type(layer).__module__ or "").startswith("torch.nn.modules.")
    is_container = isinstance(layer, torch.nn.Sequential)
    return f"nn.{type(layer).__name__}" if is_torchs and not is_container else None


def _entered(frames: Sequence[FrameType]) -> str | None:
    """The function of PyTorch, written in Python, that a learner's code called last."""
    modules = [str(frame.f_globals.get("__name__")) for frame in frames]
    places = [place for place, module in enumerate(modules) if is_foreign(module)]
    for place in range(max(places, default=len(frames)) + 1, len(frames)):
        if modules[place].startswith("torch.") and not modules[place].startswith("torch._"):
            return f"{modules[place]}.{frames[place].f_code.co_name}"
    return None


def _called(function: Any) -> str:
    """A function of PyTorch as it is written in code."""
    name = resolve_name(function) or getattr(function, "__name__", "") or "a function of PyTorch"
    return str(name).replace("torch._C._nn.", "torch.nn.functional.")
