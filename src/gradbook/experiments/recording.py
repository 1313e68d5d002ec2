"""What a model computes on its way to the loss: the functions of PyTorch that it calls, in order.

Book: 5.3 (sec_backprop).
"""

import math
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef as Storage
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from gradbook.checkpoint import dense_parts
from gradbook.checks import useless_loss
from gradbook.errors import ModelError
from gradbook.untrained import tensors_in

Kind = Literal["parameter", "buffer", "batch", "constant"]


class LayerCall(NamedTuple):
    """One call of a layer. A layer that is used twice has two.

    Attributes:
        name: The layer's name in the model, such as "net.1".
        kind: Its class, such as "Linear".
        number: Which call of it, from 1.
    """

    name: str
    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.name} {self.what}"

    @property
    def what(self) -> str:
        """Its class, and which call it is if it is not the first."""
        return self.kind if self.number == 1 else f"{self.kind}, call {self.number}"


class Values(NamedTuple):
    """A summary of a tensor's elements; of a single one, the first three are its value.

    Attributes:
        min, mean, max: The smallest element, their mean, and the largest.
        norm: The Euclidean norm of all.
    """

    min: float
    mean: float
    max: float
    norm: float

    def __str__(self) -> str:
        if self.min == self.max:
            return f"{self.min:.3g}"
        return f"{self.min:.3g} to {self.max:.3g}, mean {self.mean:.3g}"


@dataclass(frozen=True)
class Variable:
    """A tensor that the computation begins with.

    Attributes:
        name: A parameter's or buffer's name in the model; "X" and "y" for the batch, and "X1",
            "X2", ... where it has several inputs.
        kind: "parameter", "buffer" or "batch"; "constant" for any other tensor.
        shape: Its shape.
        dtype: Its dtype, such as "float32".
        requires_grad: Whether the backward pass computes its gradient.
        num_bytes: The size of its elements.
        values: A summary of its values, if it was asked for.
        gradient_norm: The norm of the loss's gradient with respect to it, if it was asked for.
        gradient: A summary of that gradient.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    dtype: str
    requires_grad: bool
    num_bytes: int
    values: Values | None = None
    gradient_norm: float | None = None
    gradient: Values | None = None


@dataclass(eq=False)
class Row:
    """A function of PyTorch that was called.

    Attributes:
        storages: The names of its inputs and its own, by the storages where these are.
        before, after: The nodes of the backward graph that its inputs and its results come from.
        output_nr: Which output of its node the first result is.
        saved: What it keeps for the backward pass, and with `sizes` in bytes where that is.
        kept: Its own name, those of its inputs, and descriptions of what is neither.
        new_bytes: The size of what no call before it keeps, and that is no variable.
    """

    name: str
    function: str
    number: float | None
    layers: tuple[LayerCall, ...]
    inputs: list[str]
    storages: dict[Storage, str]
    before: set[Any]
    outputs: list[torch.Tensor] = field(default_factory=list)
    after: list[Any] = field(default_factory=list)
    output_nr: int = 0
    shape: tuple[int, ...] = ()
    dtype: str = ""
    values: Values | None = None
    backward: tuple[str, ...] = ()
    saved: list["weakref.ref[torch.Tensor]"] = field(default_factory=list)
    sizes: dict[Storage, int] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    new_bytes: int = 0
    gradient_norm: float | None = None
    gradient: Values | None = None

    @property
    def ends(self) -> list[Any]:
        """The nodes of the backward graph that its results come from."""
        # A result of an autograd.Function gets its node when the function is left.
        ends = self.after or [tensor.grad_fn for tensor in self.outputs]
        return [node for node in ends if node is not None]

    def note_gradient(self, gradients: Sequence[torch.Tensor | None]) -> None:
        """Notes what is to be said of the gradient that comes to its node."""
        gradient = gradients[self.output_nr]
        self.gradient_norm = _norm(gradient)
        self.gradient = None if gradient is None else _summary(gradient)


class Recorder(TorchFunctionMode):
    """Notes what a model computes on its way to the loss, function by function.

    Attributes:
        variables: The tensors that the computation may begin with, by name.
    """

    def __init__(self, model: Any, batch: Sequence[Any], values: bool = False) -> None:
        super().__init__()
        self._model, self._batch, self._values = model, batch, values
        self.variables: dict[str, Variable] = {}
        self._rows: dict[str, Row] = {}
        self._running: Row | None = None
        self._layers: list[LayerCall] = []
        self._layer_names = {id(layer): name for name, layer in model.named_modules()}
        self._num_calls: Counter[str] = Counter()
        self._num_names: Counter[str] = Counter()
        self._names: dict[int, str] = {}
        self._alive: list[torch.Tensor] = []  # while a tensor is, no other has its id
        self._variable_storages: set[Storage] = set()
        self._add_variables()

    def run(self, gradients: bool = False) -> tuple[torch.Tensor, list[Row]]:
        """Runs the model and its loss; gives the loss and, in their order, the calls behind it.

        Raises:
            ModelError: If no gradient can be computed from it.
        """
        with (
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
            saved_tensors_hooks(self._pack, lambda packed: packed),
            self,
        ):
            *inputs, labels = self._batch
            loss: torch.Tensor = self._model.loss(self._model(*inputs), labels)
        if not loss.requires_grad:
            raise ModelError(useless_loss(self._model, loss))
        if gradients:
            self._measure_gradients(loss)
        rows = self._rows_behind(loss)
        self._note_kept(rows)
        return loss, rows

    def _measure_gradients(self, loss: torch.Tensor) -> None:
        """Notes the loss's gradient with respect to each result and variable."""
        known = [tensor for tensor in self._alive if tensor.requires_grad and tensor.is_leaf]
        leaves = {self._names[id(tensor)]: tensor for tensor in known}
        with ExitStack() as hooks:
            for row in self._rows.values():
                if row.ends:  # the tensor itself may have been changed in place since
                    hooks.enter_context(row.ends[0].register_prehook(row.note_gradient))
            found = torch.autograd.grad(
                loss, list(leaves.values()), retain_graph=True, allow_unused=True
            )
        for name, gradient in zip(leaves, found, strict=True):
            summary = None if gradient is None else _summary(gradient)
            self.variables[name] = replace(
                self.variables[name], gradient_norm=_norm(gradient), gradient=summary
            )

    def _rows_behind(self, loss: torch.Tensor) -> list[Row]:
        """The calls that the loss depends on, with their final names.

        Afterwards the recorder holds no result any more, so that what is still there is what the
        backward pass needs.
        """
        rows = list(self._rows.values())
        for row in rows:
            row.backward = tuple(_nodes_of(row))
        for row in rows:
            row.outputs.clear()
            row.after.clear()
            row.before.clear()
        waiting = [self._names.get(id(loss), rows[-1].name)]
        self._alive.clear()
        needed = set()
        while waiting:
            name = waiting.pop()
            if name in self._rows and name not in needed:
                needed.add(name)
                waiting += self._rows[name].inputs
        # What happens inside an autograd.Function may have no visible way to the loss.
        rows = [row for row in rows if row.name in needed or _alive(row.saved)]
        final = {row.name: self._unique(row.function.rstrip("_")) for row in rows}
        for row in rows:
            row.name = final[row.name]
            row.inputs = [final.get(name, name) for name in row.inputs]
            row.storages = {ref: final.get(name, name) for ref, name in row.storages.items()}
        return rows

    def _note_kept(self, rows: Iterable[Row]) -> None:
        """Notes what each of the rows keeps for the backward pass, which must still be possible."""
        counted = set(self._variable_storages)
        for row in rows:
            names: dict[Storage, str] = {}
            for tensor in _alive(row.saved):
                ref = storage_of(tensor)
                names.setdefault(ref, row.storages.get(ref, f"inner {tuple(tensor.shape)}"))
                row.sizes[ref] = storage_bytes(tensor)
            row.kept = tuple(names.values())
            row.new_bytes = sum(size for ref, size in row.sizes.items() if ref not in counted)
            counted |= row.sizes.keys()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Calls a function of PyTorch, and notes it if it gives tensors."""
        kwargs = kwargs or {}
        inputs = tensors_in([args, kwargs])
        versions = {id(tensor): tensor._version for tensor in inputs}
        function = _name_of(func)
        numbers = [a for a in args[1:] if isinstance(a, int | float) and not isinstance(a, bool)]
        row = Row(
            name="",
            function=function,
            number=numbers[0] if len(args) == 2 and numbers else None,
            layers=tuple(self._layers),
            inputs=list(dict.fromkeys(map(self._name, inputs))),
            storages={storage_of(tensor): self._name(tensor) for tensor in inputs},
            before={tensor.grad_fn for tensor in inputs},
        )
        self._running = row
        try:
            result = func(*args, **kwargs)
        finally:
            self._running = None
        # An assignment to a part, X[0] = 1, gives nothing, and changes X.
        changed = inputs[:1] if function == "setitem" else tensors_in(result)
        # What gives its argument as it was, such as X.float() of floats, has done nothing.
        outputs = [t for t in changed if versions.get(id(t)) != t._version]
        if outputs:
            self._add_row(row, outputs)
        return result

    def _add_row(self, row: Row, outputs: list[torch.Tensor]) -> None:
        row.name = f"#{len(self._rows)}"  # until it is known which of them are needed
        row.outputs = outputs
        row.shape, row.dtype = tuple(outputs[0].shape), _dtype_of(outputs[0])
        if torch.is_grad_enabled():
            row.after = [tensor.grad_fn for tensor in outputs]
            row.output_nr = outputs[0].output_nr
        row.values = _summary(outputs[0]) if self._values else None
        self._rows[row.name] = row
        for tensor in outputs:
            self._alive.append(tensor)
            self._names[id(tensor)] = row.name
            row.storages[storage_of(tensor)] = row.name

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        row = self._running or next(reversed(self._rows.values()), None)
        # A result that its own node held with its node would never be freed.
        packed = tensor.detach()
        if row is not None:
            row.saved.append(weakref.ref(packed))
        return packed

    def _enter(self, layer: nn.Module, inputs: Any) -> None:
        if layer is self._model:
            return
        kind = type(layer).__name__
        name = self._layer_names.get(id(layer), kind)
        self._num_calls[name] += 1
        self._layers.append(LayerCall(name, kind, self._num_calls[name]))

    def _leave(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        if layer is not self._model:
            self._layers.pop()

    def _add_variables(self) -> None:
        inputs = tensors_in(self._batch[:-1])
        for number, tensor in enumerate(inputs, start=1):
            self._add_variable("X" if len(inputs) == 1 else f"X{number}", "batch", tensor)
        for tensor in tensors_in(self._batch[-1]):
            self._add_variable("y", "batch", tensor)
        for name, tensor in self._model.named_parameters():
            self._add_variable(name, "parameter", tensor)
        for name, tensor in self._model.named_buffers():
            self._add_variable(name, "buffer", tensor)
        for path, module in self._model.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, torch.Tensor) and id(value) not in self._names:
                    kind: Kind = "parameter" if value.requires_grad else "constant"
                    self._add_variable(f"{path}.{name}".lstrip("."), kind, value)

    def _add_variable(self, name: str, kind: Kind, tensor: torch.Tensor) -> str:
        name = self._unique(name)
        self.variables[name] = Variable(
            name=name,
            kind=kind,
            shape=tuple(tensor.shape),
            dtype=_dtype_of(tensor),
            requires_grad=tensor.requires_grad,
            num_bytes=sum(part.numel() * part.element_size() for part in dense_parts(tensor)),
            values=_summary(tensor) if self._values else None,
        )
        self._alive.append(tensor)
        self._names[id(tensor)] = name
        self._variable_storages.add(storage_of(tensor))
        return name

    def _name(self, tensor: torch.Tensor) -> str:
        known = self._names.get(id(tensor))
        return self._add_variable("constant", "constant", tensor) if known is None else known

    def _unique(self, name: str) -> str:
        self._num_names[name] += 1
        number = self._num_names[name]
        return name if number == 1 else f"{name}_{number}"


def _alive(references: Iterable["weakref.ref[torch.Tensor]"]) -> list[torch.Tensor]:
    return [tensor for reference in references if (tensor := reference()) is not None]


def _nodes_of(row: Row) -> Iterator[str]:
    """The nodes of the backward graph between a call's results and its inputs."""
    waiting, seen = row.ends, {None, *row.before}
    while waiting:
        node = waiting.pop(0)
        if node in seen or node.name() == "torch::autograd::AccumulateGrad":
            continue
        seen.add(node)
        yield node.name()
        waiting += [following for following, _ in node.next_functions]


def storage_bytes(tensor: torch.Tensor) -> int:
    """The size of a tensor's storage; of a sparse one's, that of indices and values."""
    return sum(part.untyped_storage().nbytes() for part in dense_parts(tensor))


def storage_of(tensor: torch.Tensor) -> Storage:
    """Where a tensor's elements are. Equal for tensors that share them, and expired when freed."""
    values = dense_parts(tensor)[-1]
    return Storage(values.untyped_storage())  # type: ignore[no-untyped-call]


def _norm(gradient: torch.Tensor | None) -> float | None:
    if gradient is None:
        return None
    return math.nan if gradient.is_meta else gradient.detach().norm().item()


def _name_of(function: Any) -> str:
    name = str(getattr(function, "__name__", function))
    if name == "__get__":  # an attribute that computes, such as X.T
        name = function.__self__.__name__
    return name[2:-2] if name.startswith("__") and name.endswith("__") else name


def _dtype_of(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _summary(tensor: torch.Tensor) -> Values | None:
    if tensor.is_meta or tensor.numel() == 0 or tensor.is_complex():
        return None
    with torch.no_grad():
        numbers = tensor.detach().double()
        if numbers.layout is not torch.strided:
            numbers = numbers.to_dense()
        ends = numbers.min().item(), numbers.max().item()
        return Values(ends[0], numbers.mean().item(), ends[1], numbers.norm().item())
