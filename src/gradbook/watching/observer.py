"""One training step, looked at operation by operation: where its first wrong number comes from."""

import linecache
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode, resolve_name

from gradbook.errors import module_of
from gradbook.untrained import place_of, tensors_in

#: How the folders are called in which the kernels of notebooks say that their cells lie.
_FOLDERS_OF_CELLS = ("ipykernel_", "xpython_")


@dataclass(frozen=True)
class CodeLine:
    """A line of code: its file, its number from 1, and its text."""

    file: str
    number: int
    text: str

    def __str__(self) -> str:
        # A cell of a notebook has a file name that says nothing.
        path = Path(self.file)
        name = path.name if path.suffix == ".py" else "the cell"
        if path.parent.name.startswith(_FOLDERS_OF_CELLS):
            name = "a notebook's cell"
        text = f", `{self.text}`" if self.text else ""
        return f"line {self.number} of {name}{text}"


class Stop(BaseException):
    """Ends a step or a training, through whatever loop a learner wrote."""


@dataclass
class Call:
    """A call of one of PyTorch's functions."""

    index: int
    name: str
    args: Sequence[Any]
    kwargs: dict[str, Any]
    inputs: list[torch.Tensor]
    wrong_inputs: list[torch.Tensor]
    results: list[torch.Tensor]
    is_wrong: bool
    layer: str | None
    line: CodeLine | None

    @property
    def numbers(self) -> list[float]:
        """The numbers that the code itself gives to the operation."""
        given = (*self.args, *self.kwargs.values())
        return [n for n in given if isinstance(n, int | float) and not isinstance(n, bool)]

    @property
    def is_intended(self) -> bool:
        """Whether the code asked for the infinity that is in the result."""
        return not self.inputs or any(math.isinf(number) for number in self.numbers)

    @property
    def is_first(self) -> bool:
        """Whether its result is wrong, its arguments are not, and it makes no mask."""
        makes_mask = self.is_intended and all(map(_is_masked, self.results))
        return self.is_wrong and not self.wrong_inputs and not makes_mask

    @property
    def is_misled(self) -> bool:
        """Whether it turns the infinities of a mask, -inf, into something else."""
        of_a_mask = bool(self.wrong_inputs) and all(map(_is_masked, self.wrong_inputs))
        return of_a_mask and self.is_wrong and not all(map(_is_masked, self.results))


class Observer(TorchFunctionMode):
    """Notes every call of a PyTorch function, until the gradients are there.

    The search for a learner's line ends at the `outermost` code, which runs the step. With
    `sees_update` the step goes on to the optimizer's update of the `parameters`.
    """

    def __init__(self, outermost: CodeType, sees_update: bool = False) -> None:
        super().__init__()
        self._outermost, self._sees_update = outermost, sees_update
        self.num_before_update = 0
        self.parameters: list[torch.Tensor] = []
        self.calls: list[Call] = []
        self.root: torch.Tensor | None = None
        self.node: Any = None
        self.incoming: list[torch.Tensor] = []
        self._layers: list[str] = []
        self._caller_of: dict[Any, Call] = {}

    @contextmanager
    def at_layers(self, model: Any) -> Iterator[None]:
        """While it lasts, it is known in which layer a call is made."""
        hooks = []
        for name, layer in model.named_modules() if isinstance(model, nn.Module) else ():
            if name:
                enter = partial(self._enter, name)
                hooks.append(layer.register_forward_pre_hook(enter))
                hooks.append(layer.register_forward_hook(lambda *_: self._layers.pop() and None))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, name: str, *_: Any) -> None:
        self._layers.append(name)

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.backward:
            return self._backward(*args, **kwargs)
        inputs = tensors_in([args, kwargs])
        wrong = [tensor for tensor in inputs if not are_finite([tensor])]
        output = func(*args, **kwargs)
        name = _name_of(func)
        results = tensors_in(output)
        if name == "setitem":
            results = inputs[:1]
        layer = self._layers[-1] if self._layers else None
        call = Call(
            *(len(self.calls), name, args, kwargs, inputs, wrong, results),
            is_wrong=not are_finite(results),
            layer=layer,
            line=_calling_line(self._outermost, with_ours=layer is None),
        )
        self.calls.append(call)
        for tensor in results:
            self._assign(tensor.grad_fn, call)
        return output

    def _assign(self, node: Any, call: Call) -> None:
        """The nodes of the graph that came with a call are the call's."""
        left = [node]
        while left:
            node = left.pop()
            if node is not None and node not in self._caller_of:
                self._caller_of[node] = call
                left += [following for following, _ in node.next_functions]

    def _backward(self, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        if self._sees_update:
            loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]
            self.num_before_update = len(self.calls)
            return
        if not are_finite([loss]):
            self.root = loss
            raise Stop
        self._assign(loss.grad_fn, self.calls[-1])
        for node in self._caller_of:
            node.register_hook(partial(self._watch, node))
        loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]
        raise Stop

    def _watch(self, node: Any, outgoing: Sequence[Any], incoming: Sequence[Any]) -> None:
        if self.node is None and are_finite(incoming) and not are_finite(outgoing):
            self.node, self.incoming = node, [t for t in incoming if t is not None]

    def origin(self) -> "Call | torch.Tensor | None":
        """Where the first wrong number came from: a call, or a tensor that no call made.

        From the loss it is traced back through what is wrong. A call whose result is infinite,
        but does not reach the loss, is none: a mask may be made of infinities. Nor is the call
        that makes a mask, if a later one cannot work with it. A node that was given NaN forward,
        where the loss did not need it, has it from another call.
        """
        call = self.caller
        if call is not None:
            given = [tensor for tensor in call.wrong_inputs if bool(tensor.isnan().any())]
            return self._traced(given[0], call.index) if given else call
        if self.root is None:
            return next((c for c in self.calls if c.is_misled or c.is_first), None)
        return self._traced(self.root, len(self.calls))

    def origin_in_update(self) -> Call | None:
        """The call in a learner's code that made a parameter wrong after finite gradients.

        It is one of the optimizer's, or one that writes into a parameter before. What PyTorch's and
        our own optimizers compute with is not told: there only the settings can be wrong.
        """
        theirs = [call for call in self.calls if call.is_first and call.line is not None]
        memory = set(map(place_of, self.parameters))
        return next(
            (
                call
                for call in theirs
                if call.index >= self.num_before_update or memory & set(map(place_of, call.results))
            ),
            None,
        )

    def upstream(self, call: Call) -> list[Call]:
        """The calls from whose results a call was computed, in their order."""
        found: dict[int, Call] = {}
        wanted = {id(tensor) for tensor in call.inputs}
        for earlier in reversed(self.calls[: call.index]):
            if any(id(tensor) in wanted for tensor in earlier.results):
                found[earlier.index] = earlier
                wanted |= {id(tensor) for tensor in earlier.inputs}
        return [found[index] for index in sorted(found)]

    @property
    def caller(self) -> "Call | None":
        """The call that the wrong node of the graph belongs to."""
        return None if self.node is None else self._caller_of[self.node]

    def _traced(self, tensor: torch.Tensor, index: int) -> "Call | torch.Tensor":
        """Where a tensor that the first calls gave has its wrong number from."""
        misled = None
        while True:
            call = self._maker(tensor, index)
            if call is None:
                return misled if misled is not None and _is_masked(tensor) else tensor
            if not call.wrong_inputs:
                return misled if misled is not None and call.is_intended else call
            if call.is_misled:
                misled = call
            index = call.index
            tensor = min(call.wrong_inputs, key=lambda t: self._rank(t, index))

    def _rank(self, tensor: torch.Tensor, index: int) -> tuple[bool, int]:
        """NaN before infinity, which may be a mask; then what was made first."""
        call = self._maker(tensor, index)
        return not bool(tensor.isnan().any()), -1 if call is None else call.index

    def _maker(self, tensor: torch.Tensor, index: int) -> Call | None:
        """The last of the first calls that gave a tensor."""
        earlier = reversed(self.calls[:index])
        return next((call for call in earlier if any(t is tensor for t in call.results)), None)


def are_finite(values: Any) -> bool:
    """Whether all numbers of all tensors are finite."""
    return all(
        bool(value.isfinite().all())
        for value in values
        if isinstance(value, torch.Tensor) and not is_lazy(value)
    )


def _is_masked(tensor: torch.Tensor) -> bool:
    """Whether all that is not finite is -inf."""
    return bool((tensor.isfinite() | (tensor == -math.inf)).all())


def largest(tensors: Any) -> float:
    """The largest size of a number in floating-point tensors; NaN without any."""
    sizes = [
        float(tensor.detach().abs().max())
        for tensor in tensors
        if tensor.is_floating_point() and tensor.numel() and not is_lazy(tensor)
    ]
    return max(sizes) if sizes else math.nan


def norm_of(tensor: torch.Tensor) -> float:
    """The norm in 64 bits, where the squares of float32 cannot overflow."""
    return float(tensor.detach().to_dense().cpu().double().norm())


def _name_of(func: Any) -> str:
    """The name of one of PyTorch's functions, without what marks it as in place or reversed."""
    path = str(resolve_name(func) or getattr(func, "__name__", func)).split(".")
    return path[-2 if path[-1] == "__get__" and len(path) > 1 else -1].strip("_")


def _calling_line(outermost: CodeType, with_ours: bool) -> CodeLine | None:
    """The line of the learner's code that led here; of a finished model, the library's."""
    frame: FrameType | None = sys._getframe(1)
    ours: FrameType | None = None
    while frame is not None and frame.f_code is not outermost:
        module = module_of(frame)
        top = module.partition(".")[0]
        if module.startswith(("torch.optim.", "gradbook.optim")):
            return None
        if top == "gradbook" and not module.startswith("gradbook.watching."):
            ours = ours or frame
        elif top not in ("torch", "gradbook", "contextlib"):
            return _line_of(frame)
        frame = frame.f_back
    return _line_of(ours) if with_ours and ours is not None else None


def _line_of(frame: FrameType) -> CodeLine:
    file, number = frame.f_code.co_filename, frame.f_lineno
    return CodeLine(file, number, linecache.getline(file, number).strip())
