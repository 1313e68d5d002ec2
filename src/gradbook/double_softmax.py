"""A softmax before a loss that takes the softmax itself: found in the graph of a first loss.

A network that ends with a softmax, and a cross-entropy of logits after it, train slowly and stop
far from the best, and nothing fails. The graph that autograd keeps of a loss tells it for sure,
whoever computes it: outputs that are positive and sum to 1 by chance are none.
"""

import linecache
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from gradbook.checks import at_rest
from gradbook.errors import GradbookWarning, module_of, warn
from gradbook.no_trace import untouched
from gradbook.rehearsal import rehearsing
from gradbook.tensors import copy_batch
from gradbook.untrained import nodes_behind

#: What takes logits, by the name of its gradient, and what it does with them itself.
_TAKES = {"LogSoftmax": "softmax", "LogSigmoid": "sigmoid", "SoftMarginLoss": "sigmoid"}
_TAKES |= {"BinaryCrossEntropyWithLogits": "sigmoid"}
_TAKES |= dict.fromkeys(("NllLoss", "NllLoss2D", "NllLossNd"), "logarithms")
#: What gives probabilities.
_GIVES = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
#: What only looks at its input in another way, or copies or selects parts of it.
_SAME_VALUES = {
    *("View", "UnsafeView", "ReshapeAlias", "T", "Transpose", "Permute", "Squeeze", "Unsqueeze"),
    *("ToCopy", "Clone", "Alias", "Index", "Slice", "Select", "Expand"),
}

#: The same for functions, as a learner calls them.
_LOSSES = {
    *("cross_entropy", "log_softmax", "nll_loss", "binary_cross_entropy_with_logits"),
    *("soft_margin_loss", "multilabel_soft_margin_loss", "logsigmoid"),
}
_SOURCES = {"softmax", "softmin", "gumbel_softmax", "sigmoid", "div", "truediv", "true_divide"}
_LOOK_ALIKE = {
    *("view", "reshape", "flatten", "t", "T", "transpose", "permute", "squeeze", "unsqueeze"),
    *("float", "double", "to", "clone", "contiguous", "getitem", "get"),
}


@dataclass(frozen=True)
class Doubled:
    """What gives probabilities, and what takes them for something else.

    Attributes:
        gives: "softmax", "sigmoid", or "division" where a softmax is written out.
        takes: What the loss takes by itself: "softmax" or "sigmoid"; "logarithms" if it expects
            those of probabilities.
    """

    gives: str
    takes: str


def find(loss: Any) -> Doubled | None:
    """What is doubled on the way to a loss, a tensor with its graph; None if nothing is."""
    for node in nodes_behind(loss):
        takes = _TAKES.get(_name(node))
        gives = None if takes is None else _gives(_input(node))
        if takes is not None and gives is not None:
            return Doubled(gives, takes)
    return None


def _name(node: Any) -> str:
    return re.sub(r"Backward\d*$", "", type(node).__name__)


def _input(node: Any) -> Any:
    return node.next_functions[0][0] if node.next_functions else None


def _gives(node: Any) -> str | None:
    """What probabilities come from a node, if they do."""
    while node is not None and _name(node) in _SAME_VALUES:
        node = _input(node)
    if node is not None and _name(node) == "Div" and _is_softmax(node):
        return "division"
    return None if node is None else _GIVES.get(_name(node))


def _is_softmax(division: Any) -> bool:
    """Whether a division is of exponentials, by their sums."""
    if _input(division) is None or _name(_input(division)) != "Exp":
        return False
    with suppress(Exception):  # they are freed after the backward pass
        above, below = division._saved_self, division._saved_other
        sums = [above.sum(dim, keepdim=True) for dim in range(above.dim())]
        return any(below.shape == s.shape and torch.allclose(below, s) for s in sums)
    return False


def tell(model: Any, step: Callable[[Any], Any], batch: Any, loss: Any) -> None:
    """Warns if the first loss of a training takes a softmax or sigmoid twice."""
    found = find(loss)
    if found is None:
        return
    place = None
    if isinstance(model, nn.Module):
        with suppress(Exception), rehearsing(model.trainer), untouched([], model), at_rest(model):
            place = located(lambda: step(copy_batch(batch)), model)
    warn(words(found, type(model).__name__, place), GradbookWarning)


def words(found: Doubled, name: str, place: "Place | None" = None) -> str:
    """What is doubled in the model of a name, and what to delete, in sentences."""
    gives = "softmax" if found.gives == "division" else found.gives
    where = "" if place is None else f" ({place.text})"
    if found.takes == "logarithms":
        what = f"{name} gives probabilities to a loss that takes their logarithms"
        advice = f"Replace the {gives}{where} by its logarithm, such as F.log_softmax."
        return f"{what}, so that it does not learn what it should. {advice}"
    loss = "cross-entropy" if found.takes == "softmax" else "binary cross-entropy"
    if gives == found.takes:
        what = f"{name} takes the {gives} twice: its loss, a {loss} of logits, takes it itself"
    else:
        what = (
            f"{name} takes a {gives} before its loss, a {loss} of logits, which takes the "
            f"{found.takes} itself"
        )
    advice = f"Delete the {gives}{where}"
    if found.gives == "division":
        advice = f"Use the logits instead of the softmax that is written out{where}"
    elif place is not None and place.is_layer:
        advice = f"Delete layer {place.text}"
    return f"{what}, so that it learns slowly and stays unsure. {advice}."


# Where


@dataclass(frozen=True)
class Place:
    """Where a function was called: a layer as "net[3] (Softmax)", or a line."""

    text: str
    is_layer: bool


def located(compute: Callable[[], Any], model: nn.Module) -> Place | None:
    """Where probabilities come from that a loss gets, as it is computed once more."""
    following = _Following(model)
    with following, suppress(Exception):
        compute()
    return following.place


class _Following(TorchFunctionMode):
    """Follows probabilities from the function that gives them into a loss."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.place: Place | None = None
        self._model = model
        self._from: dict[int, Place] = {}
        self._alive: list[Any] = []  # so that no other gets their ids

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").strip("_").removesuffix("_")
        given = next(iter((*args, *kwargs.values())), None)
        output = func(*args, **kwargs)
        if name in _LOSSES and self.place is None:
            self.place = self._from.get(id(given))
        place = self._from.get(id(given)) if name in _LOOK_ALIKE else None
        if name in _SOURCES:
            place = _place(sys._getframe(1), self._model)
        if place is not None:
            self._from[id(output)] = place
            self._alive.append(output)
        return output


def _place(frame: FrameType | None, model: nn.Module) -> Place | None:
    """The layer or the learner's line that called, nearest first."""
    names = {id(layer): name for name, layer in model.named_modules()}
    while frame is not None:
        layer, module = frame.f_locals.get("self"), module_of(frame)
        if module.startswith("torch.nn.modules.") and names.get(id(layer)):
            parts: Sequence[str] = names[id(layer)].split(".")
            text = "".join(f"[{p}]" if p.isdecimal() else f".{p}" for p in parts).lstrip(".")
            return Place(f"{text} ({type(layer).__name__})", is_layer=True)
        if module.partition(".")[0] not in ("torch", "gradbook"):
            file, number = frame.f_code.co_filename, frame.f_lineno
            line = linecache.getline(file, number, frame.f_globals).strip()
            shown = f": `{line}`" if line else ""
            return Place(f"line {number} of {Path(file).name}{shown}", is_layer=False)
        frame = frame.f_back
    return None
