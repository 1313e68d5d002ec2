"""The computational graph of a model's loss: what is computed forward, and what follows backward.

Book: 5.3 (sec_backprop).
"""

import copy
import math
import weakref
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate, combinations, pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef as Storage
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from gradbook.board import ProgressBoard
from gradbook.checks import check_choice, first_batch, missing_loss, rehearse, useless_loss
from gradbook.data import to_device
from gradbook.display.finding import Finding
from gradbook.errors import DataError, MissingExtraError, ModelError
from gradbook.seeds import untouched_generators

if TYPE_CHECKING:
    import networkx
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: With more operations than this, `group="auto"` draws a box for each layer.
_MANY = 40

Group = Literal["auto", "operations", "modules"]
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
    """A summary of a tensor's elements; of a single one, all three are its value."""

    min: float
    mean: float
    max: float

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
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    dtype: str
    requires_grad: bool
    num_bytes: int
    values: Values | None = None
    gradient_norm: float | None = None


@dataclass(frozen=True)
class Operation:
    """One function of PyTorch, as the model's code calls it.

    Attributes:
        name: The function, with a number from the second call on: "relu", "relu_2".
        function: The function alone; with a "_" at its end if it works in place.
        number: The number that it is given beside a tensor, as the 2 in `X ** 2`, or None.
        layers: The calls of layers in which it runs, the outermost first.
        inputs: The names of the operations and variables that it takes.
        parameters: Those of them that are parameters.
        shape: The shape of its result; of its first one if there are several.
        dtype: The dtype of that.
        backward: The nodes of the backward graph that it leaves, in the order in which they run,
            such as "ReluBackward0". There are none where no gradient passes.
        saved: What it keeps for the backward pass: its own name for its result, the names of its
            inputs, and the shape of what exists only inside it, as "inner (256, 10)".
        saved_bytes: The memory of what is kept because of it: of what is in `saved`, but is no
            variable, and was not kept by an operation before it.
        values: A summary of the result's values, if it was asked for.
        gradient_norm: The norm of the loss's gradient with respect to its result, if it was asked
            for; None where no gradient comes.
    """

    name: str
    function: str
    number: float | None
    layers: tuple[LayerCall, ...]
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    backward: tuple[str, ...]
    saved: tuple[str, ...]
    saved_bytes: int
    values: Values | None = None
    gradient_norm: float | None = None

    @property
    def layer(self) -> str:
        """The name of the innermost layer in which it runs; empty outside all layers."""
        return self.layers[-1].name if self.layers else ""


@dataclass(frozen=True, repr=False, eq=False)
class ComputationGraph(Finding):
    """The operations that lead from a batch to the loss, and their way back.

    Attributes:
        model: The name of the model's class.
        batch_size: The number of examples in the batch.
        operations: The operations that the loss depends on, in the order in which they ran.
        variables: The tensors that these begin with: batch, parameters, buffers and constants.
        loss: The loss.
        group: What the figure has a box for: "auto", "operations" or "modules".
    """

    model: str
    batch_size: int
    operations: tuple[Operation, ...]
    variables: tuple[Variable, ...]
    loss: float
    group: Group = "auto"

    @property
    def parameters(self) -> tuple[Variable, ...]:
        """The variables that are parameters."""
        return tuple(variable for variable in self.variables if variable.kind == "parameter")

    @property
    def saved_bytes(self) -> int:
        """The memory of all results that are kept for the backward pass, each counted once."""
        return sum(operation.saved_bytes for operation in self.operations)

    @property
    def longest_path(self) -> tuple[str, ...]:
        """The names of the operations on the longest path from a variable to the loss."""
        paths: dict[str, tuple[str, ...]] = {}
        for operation in self.operations:
            before = [paths[name] for name in operation.inputs if name in paths]
            paths[operation.name] = (*max(before, key=len, default=()), operation.name)
        return paths[self.operations[-1].name]

    def __str__(self) -> str:
        operations, parameters = self.operations, self.parameters
        num_numbers = sum(math.prod(variable.shape) for variable in parameters)
        with_gradient = [operation for operation in operations if operation.backward]
        num_nodes = sum(len(operation.backward) for operation in operations)
        loss = "" if math.isnan(self.loss) else f"; the loss is {self.loss:.4g}"
        lines = [
            f"{self.model} on a batch of {self.batch_size}{loss}",
            f"  forward     {counted(len(operations), 'operation')}, "
            f"{len(self.longest_path)} of them on the longest path",
            f"  parameters  {counted(len(parameters), 'tensor')} with {num_numbers:,} numbers",
            f"  backward    {counted(num_nodes, 'node')}, for {len(with_gradient)} of the "
            f"{counted(len(operations), 'operation')}",
        ]
        saved = f"  saved       {bytes_text(self.saved_bytes)} for the backward pass"
        most = max(operations, key=lambda operation: operation.saved_bytes)
        if most.saved_bytes:
            where = f" in {most.layer}" if most.layer else ""
            saved += f"; {most.name}{where} uses most, {bytes_text(most.saved_bytes)}"
        lines.append(saved)
        norms = [o for o in operations if o.gradient_norm is not None]
        if norms:
            by_norm = sorted(norms, key=lambda operation: operation.gradient_norm or 0.0)
            low, high = by_norm[0], by_norm[-1]
            lines.append(
                f"  gradients   norms from {low.gradient_norm:.3g} at {low.name} to "
                f"{high.gradient_norm:.3g} at {high.name}"
            )
        return "\n".join(lines)

    def facts(self) -> dict[str, Any]:
        """The graph as plain values, for JSON."""
        return {
            "model": self.model,
            "batch_size": self.batch_size,
            "loss": self.loss,
            "saved_bytes": self.saved_bytes,
            "longest_path": list(self.longest_path),
            "operations": [
                {**_plain(operation), "layers": list(map(str, operation.layers))}
                for operation in self.operations
            ],
            "variables": [_plain(variable) for variable in self.variables],
        }

    def to_pandas(self) -> "pandas.DataFrame":
        """The operations as a DataFrame, a row each, indexed by "name".

        Raises:
            MissingExtraError: If pandas is not installed.
        """
        rows = []
        for operation in self.operations:
            row = {**_plain(operation), "layer": operation.layer}
            del row["layers"], row["values"]
            rows.append({**row, **(operation.values._asdict() if operation.values else {})})
        return data_frame(rows, "name")

    def to_networkx(self) -> "networkx.DiGraph":
        """The forward graph: a node for each operation and variable, an edge for each use.

        The node named "relu" has an attribute for each field of its `Operation` or `Variable`.
        """
        import networkx as nx

        graph = nx.DiGraph()
        for variable in self.variables:
            graph.add_node(variable.name, **vars(variable))
        for operation in self.operations:
            graph.add_node(operation.name, **vars(operation))
        for operation in self.operations:
            graph.add_edges_from((name, operation.name) for name in operation.inputs)
        return graph

    def figure(self) -> "Figure":
        """Draws the graph: forward from top to bottom, backward beside it from bottom to top."""
        return _draw(self)


def graph(
    model: Any,
    batch: Any,
    *,
    group: Group = "auto",
    values: bool = False,
    gradients: bool = False,
) -> ComputationGraph:
    """The computational graph of a model's loss on one batch, forward and backward.

    The network and the loss are run once in training mode, and every function of PyTorch that
    they call is noted. What the loss does not depend on is left out. All of it happens to a copy:
    the model is left as it is, and so are the random generators. Layers that have no shape yet
    get one in the copy.

    Book: 5.3.2 (the figure of forward propagation), 5.3.3.

    Args:
        model: The model, with a `loss(y_hat, y)` of one element.
        batch: The inputs and then the labels, as a list or tuple; or a DataModule or an iterable
            of batches, of which the first is taken.
        group: What the figure has a box for: "operations", or "modules", which are the calls of
            layers, the outer ones if there are too many of the inner. "auto" draws up to 40
            operations, and then modules.
        values: Whether to keep the smallest, mean and largest value of every result.
        gradients: Whether to compute the norm of the gradient with respect to every result and
            parameter.

    Returns:
        The graph, with words and a figure.

    Raises:
        ModelError: If the model is none, cannot be copied, or has no loss to differentiate.
        BatchError: If the batch does not fit it.
        DataError: If there is no batch.
        ConfigError: If `group` is none of the three.
    """
    check_choice(group, "group", ("auto", "operations", "modules"))
    with trial_of(model, batch) as (trial, tensors):
        recorder = Recorder(trial, tensors, values)
        loss = recorder.run()
        if gradients:
            recorder.measure_gradients(loss)
        rows = recorder.rows(loss)
        kept = recorder.kept(rows)
    used = {name for row in rows for name in row.inputs}
    return ComputationGraph(
        model=type(model).__name__,
        batch_size=batch_size_of(tensors),
        operations=tuple(
            Operation(
                name=row.name,
                function=row.function,
                number=row.number,
                layers=row.layers,
                inputs=tuple(row.inputs),
                parameters=tuple(n for n in row.inputs if recorder.kind_of(n) == "parameter"),
                shape=row.shape,
                dtype=row.dtype,
                backward=row.backward,
                saved=kept[row.name].names,
                saved_bytes=kept[row.name].new_bytes,
                values=row.values,
                gradient_norm=row.gradient_norm,
            )
            for row in rows
        ),
        variables=tuple(v for name, v in recorder.variables.items() if name in used),
        loss=math.nan if loss.is_meta else loss.item(),
        group=group,
    )


# A model and a batch to try


@contextmanager
def trial_of(model: Any, batch: Any) -> Iterator[tuple[Any, list[Any]]]:
    """A copy of a model in training mode, and a batch of its own on the model's device.

    Afterwards the random generators are as they were before.

    Args:
        model: The model.
        batch: What `graph` takes.

    Raises:
        ModelError: If the model is none, cannot be copied, or has no loss.
        BatchError: If the batch does not fit it.
        DataError: If there is no batch.
    """
    if not isinstance(model, nn.Module):
        what = f"the class {model.__name__} itself" if isinstance(model, type) else repr(model)
        raise ModelError(f"A model is needed, an instance of Module, but got {what:.80}.")
    if not hasattr(model, "loss"):
        raise ModelError(missing_loss(model))
    with untouched_generators(), torch.enable_grad():
        parameter = next(model.parameters(), None)
        device = torch.device("cpu") if parameter is None else parameter.device
        trial, tensors = _copied(model), to_device(_one_batch(batch), device)
        rehearse(trial, tensors)
        # Own storages: a batch may be a piece of a data set's tensor, which is many times as large.
        owned = [t.detach().clone() if isinstance(t, torch.Tensor) else t for t in tensors]
        trial.train()
        yield trial, owned


def batch_size_of(batch: Sequence[Any]) -> int:
    """The number of examples in a batch, as its labels count them."""
    labels = batch[-1]
    return len(labels) if isinstance(labels, torch.Tensor) and labels.dim() else 1


def _one_batch(batch: Any) -> Any:
    if isinstance(batch, list | tuple | torch.Tensor):
        return batch
    loader = batch.train_dataloader() if hasattr(batch, "train_dataloader") else batch
    if isinstance(batch, type) or not hasattr(loader, "__iter__"):
        raise DataError(
            f"A batch (X, y) is needed, or a DataModule or an iterable that gives one, but got "
            f"{batch!r:.80}."
        )
    found = first_batch(loader)
    if found is None:
        found = next(iter(loader), None)
    if found is None:
        raise DataError(f"{type(batch).__name__} gives no batch: it is empty.")
    return found


def _copied(model: nn.Module) -> Any:
    """A copy, without the trainer and its data, that draws on a board of its own."""
    memo: dict[int, Any] = {}
    own = vars(model)
    if own.get("trainer") is not None:
        memo[id(own["trainer"])] = None
    if "board" in own:
        memo[id(own["board"])] = ProgressBoard(display=False)
    for tensor in tensors_of(model):
        if is_lazy(tensor):  # a lazy buffer refuses to be copied
            Lazy: Any = type(tensor)
            memo[id(tensor)] = Lazy(tensor.requires_grad, tensor.device, tensor.dtype)
        elif not tensor.is_leaf:  # as attention weights that a model keeps to be looked at
            memo[id(tensor)] = tensor.detach().clone()
    try:
        return copy.deepcopy(model, memo)
    except (RuntimeError, TypeError) as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied, and only a copy is measured, so that the "
            f"model stays as it is. Python says: {error}"
        ) from error


def tensors_of(model: nn.Module) -> Iterator[torch.Tensor]:
    """A model's parameters, its buffers, and tensors that are plain attributes."""
    yield from model.parameters()
    yield from model.buffers()
    for module in model.modules():
        yield from (value for value in vars(module).values() if isinstance(value, torch.Tensor))


# What happens


class Kept(NamedTuple):
    """What an operation keeps for the backward pass.

    Attributes:
        names: Its own name, those of its inputs, and descriptions of what is neither.
        storages: The size in bytes of each storage that it refers to.
        new_bytes: The size of those that no operation before it refers to, and that are no
            variables.
    """

    names: tuple[str, ...]
    storages: dict[Storage, int]
    new_bytes: int


@dataclass(eq=False)
class Row:
    """A function of PyTorch that was called.

    Attributes:
        storages: The names of its inputs and its own, by the storages where these are.
        outputs: Its results.
        before, after: The nodes of the backward graph that its inputs and its results come from.
        output_nr: Which output of its node the first result is.
        saved: What it keeps for the backward pass.
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
    gradient_norm: float | None = None


class Recorder(TorchFunctionMode):
    """Notes what a model computes on its way to the loss, function by function.

    Args:
        model: The model.
        batch: The inputs and then the labels.
        values: Whether to keep summaries of the results.

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

    def run(self) -> torch.Tensor:
        """Runs the model and its loss, and returns the loss.

        Raises:
            ModelError: If no gradient can be computed from it.
        """
        enter = register_module_forward_pre_hook(self._enter)
        leave = register_module_forward_hook(self._leave, always_call=True)
        try:
            with saved_tensors_hooks(self._pack, lambda packed: packed), self:
                *inputs, labels = self._batch
                loss: torch.Tensor = self._model.loss(self._model(*inputs), labels)
        finally:
            enter.remove()
            leave.remove()
        if not loss.requires_grad:
            raise ModelError(useless_loss(self._model, loss))
        return loss

    def kind_of(self, name: str) -> Kind | None:
        """What kind of variable a name stands for; None if it is that of an operation."""
        return self.variables[name].kind if name in self.variables else None

    def measure_gradients(self, loss: torch.Tensor) -> None:
        """Notes the norm of the loss's gradient with respect to each result and variable."""

        def watch(row: Row) -> Any:
            def note(gradients: Sequence[torch.Tensor | None]) -> None:
                row.gradient_norm = _norm(gradients[row.output_nr])

            # At its node, because the tensor itself may have been changed in place since.
            return _ends_of(row)[0].register_prehook(note)

        hooks = [watch(row) for row in self._rows.values() if _ends_of(row)]
        leaves = {
            self._names[id(tensor)]: tensor
            for tensor in self._alive
            if tensor.requires_grad and tensor.is_leaf
        }
        try:
            found = torch.autograd.grad(
                loss, list(leaves.values()), retain_graph=True, allow_unused=True
            )
        finally:
            for hook in hooks:
                hook.remove()
        for name, gradient in zip(leaves, found, strict=True):
            self.variables[name] = replace(self.variables[name], gradient_norm=_norm(gradient))

    def rows(self, loss: torch.Tensor) -> list[Row]:
        """The calls that the loss depends on, in their order, with their final names.

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

    def kept(self, rows: Iterable[Row]) -> dict[str, Kept]:
        """What each of the rows keeps for the backward pass, which must still be possible."""
        counted = set(self._variable_storages)
        kept = {}
        for row in rows:
            names: dict[Storage, str] = {}
            sizes: dict[Storage, int] = {}
            for tensor in _alive(row.saved):
                ref = storage_of(tensor)
                name = row.storages.get(ref, f"inner {tuple(tensor.shape)}")
                names.setdefault(ref, name)
                sizes[ref] = tensor.untyped_storage().nbytes()
            new_bytes = sum(size for ref, size in sizes.items() if ref not in counted)
            kept[row.name] = Kept(tuple(names.values()), sizes, new_bytes)
            counted |= sizes.keys()
        return kept

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Calls a function of PyTorch, and notes it if it gives tensors."""
        kwargs = kwargs or {}
        inputs = list(tensors_in([args, kwargs]))
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
        changed = inputs[:1] if function == "setitem" else result
        outputs = list(tensors_in(changed))
        # What gives its argument as it was, such as X.float() of floats, has done nothing.
        outputs = [t for t in outputs if versions.get(id(t)) != t._version]
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
        *inputs, labels = self._batch
        names = ["X"] if len(list(tensors_in(inputs))) == 1 else []
        for number, tensor in enumerate(tensors_in(inputs), start=1):
            self._add_variable(names[0] if names else f"X{number}", "batch", tensor)
        for tensor in tensors_in(labels):
            self._add_variable("y", "batch", tensor)
        for name, tensor in self._model.named_parameters():
            self._add_variable(name, "parameter", tensor)
        for name, tensor in self._model.named_buffers():
            self._add_variable(name, "buffer", tensor)
        for path, module in self._model.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, torch.Tensor) and id(value) not in self._names:
                    kind: Kind = "parameter" if value.requires_grad else "constant"
                    self._add_variable(f"{path}.{name}" if path else name, kind, value)

    def _add_variable(self, name: str, kind: Kind, tensor: torch.Tensor) -> str:
        name = self._unique(name)
        self.variables[name] = Variable(
            name=name,
            kind=kind,
            shape=tuple(tensor.shape),
            dtype=_dtype_of(tensor),
            requires_grad=tensor.requires_grad,
            num_bytes=tensor.numel() * tensor.element_size(),
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


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in lists, tuples and dictionaries."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def _alive(references: Iterable["weakref.ref[torch.Tensor]"]) -> list[torch.Tensor]:
    return [tensor for reference in references if (tensor := reference()) is not None]


def _ends_of(row: Row) -> list[Any]:
    """The nodes of the backward graph that a call's results come from."""
    # A result of an autograd.Function gets its node when the function is left.
    ends = row.after or [tensor.grad_fn for tensor in row.outputs]
    return [node for node in ends if node is not None]


def _nodes_of(row: Row) -> Iterator[str]:
    """The nodes of the backward graph between a call's results and its inputs."""
    waiting, seen = _ends_of(row), {None, *row.before}
    while waiting:
        node = waiting.pop(0)
        if node in seen or node.name() == "torch::autograd::AccumulateGrad":
            continue
        seen.add(node)
        yield node.name()
        waiting += [following for following, _ in node.next_functions]


def storage_of(tensor: torch.Tensor) -> Storage:
    """Where a tensor's elements are. Equal for tensors that share them, and expired when freed."""
    return Storage(tensor.untyped_storage())  # type: ignore[no-untyped-call]


def is_freed(storage: Storage) -> bool:
    """Whether no tensor has its elements there any more."""
    return bool(storage.expired())  # type: ignore[no-untyped-call]


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
        return Values(numbers.min().item(), numbers.mean().item(), numbers.max().item())


def bytes_text(num_bytes: float) -> str:
    """A number of bytes, such as "803 kB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.3g} {unit}"
    return f"{num_bytes:.0f} B"


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 node", "2 nodes"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def data_frame(rows: Sequence[Mapping[str, Any]], index: str) -> "pandas.DataFrame":
    """Rows as a DataFrame, indexed by one of their columns.

    Raises:
        MissingExtraError: If pandas is not installed.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError:
        raise MissingExtraError.of("pandas", "A table as a DataFrame", "tabular") from None
    return pd.DataFrame(rows).set_index(index)


def _plain(item: Operation | Variable) -> dict[str, Any]:
    plain = asdict(item)
    plain["values"] = None if item.values is None else item.values._asdict()
    return plain


# The picture

#: Sizes of text, in points.
_HEADING, _TITLE, _TEXT = 10, 8.5, 7.5
#: The height of a line of text, and the space around texts, in inches.
_LINE, _PADDING = 0.135, 0.055
#: Gaps between rows, between what stands beside each other in a cell, between cells, between
#: parameters, and between the two directions of an edge that passes a row.
_ROW_GAP, _BESIDE, _BETWEEN, _STACK_GAP, _ASIDE = 0.3, 0.28, 0.45, 0.06, 0.07
#: The height of heading and legend, the gap within the legend, and the margin of the picture.
_HEAD, _LEGEND_GAP, _MARGIN = 0.75, 0.12, 0.1
#: The longest name that is written out, the most names in a list, the most boxes beside another.
_LONGEST_NAME, _MOST_NAMES, _MOST_BESIDE = 26, 3, 4

#: Background and edge of each kind of box.
_COLORS = {
    "forward": ("#dbe9f6", "#1f5f99"),
    "backward": ("#fde5cf", "#b35806"),
    "parameter": ("#e2f0d9", "#3f7f2b"),
    "batch": ("#ffffff", "#000000"),
    "constant": ("#eeeeee", "#777777"),
}


@dataclass(eq=False)
class _Block:
    """Texts in a frame; the first line is its title."""

    kind: str
    lines: list[str]
    is_loss: bool = False

    @property
    def width(self) -> float:
        """In inches."""
        title, *rest = self.lines
        widths = [_text_width(title, _TITLE, bold=True)]
        widths += [_text_width(line, _TEXT) for line in rest]
        return max(widths) + 3 * _PADDING

    @property
    def height(self) -> float:
        """In inches."""
        return len(self.lines) * _LINE + 2 * _PADDING

    def draw(self, axes: "Axes", x: float, y: float, width: float | None = None) -> None:
        """Draws it around the centre (x, y)."""
        from matplotlib.patches import FancyBboxPatch

        width = self.width if width is None else width
        face, edge = _COLORS[self.kind]
        is_operation = self.kind in ("forward", "backward")
        style = "round,pad=0,rounding_size=0.07" if is_operation else "square,pad=0"
        corner = (x - width / 2, y - self.height / 2)
        axes.add_patch(
            FancyBboxPatch(
                corner,
                width,
                self.height,
                boxstyle=style,
                facecolor=face,
                edgecolor=edge,
                linewidth=2.2 if self.is_loss else 0.9,
            )
        )
        top = y + self.height / 2 - _PADDING
        for number, line in enumerate(self.lines):
            axes.text(
                x,
                top - (number + 0.5) * _LINE,
                line,
                ha="center",
                va="center_baseline",
                fontsize=_TEXT if number else _TITLE,
                fontweight="normal" if number else "bold",
                parse_math=False,
                in_layout=False,
            )


@dataclass(eq=False)
class _Cell:
    """What stands together: an operation or variable, its parameters and its way back.

    Attributes:
        name: Its name among all cells.
        forward: The operations, or the variable.
        backward: The nodes that they leave; None where no gradient passes.
        beside: Parameters and labels, one above the other, on the left.
        inputs: The names of the cells before it.
        x, y: Its place, in inches: the middle of `forward`.
    """

    name: str
    forward: _Block
    backward: _Block | None = None
    beside: list[_Block] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0

    @property
    def height(self) -> float:
        blocks = [self.forward] if self.backward is None else [self.forward, self.backward]
        stack = sum(block.height for block in self.beside) + _STACK_GAP * (len(self.beside) - 1)
        return max(stack, *(block.height for block in blocks))


@dataclass
class _Bend:
    """Where an edge passes a row on its way to a later one."""

    x: float = 0.0


_Stop = _Cell | _Bend


def _draw(graph: ComputationGraph) -> "Figure":
    from matplotlib.figure import Figure

    cells = _cells(graph)
    rows, routes = _rows_and_routes(cells)
    sizes = _Sizes(
        max(cell.forward.width for cell in cells if cell.forward.kind == "forward"),
        max(cell.backward.width for cell in cells if cell.backward is not None),
    )
    ends = _place(rows, routes, sizes)
    stops = [(stop.x, *sizes.reach(stop)) for row in rows for stop in row]
    left = min(x - reach for x, reach, _ in stops)
    right = max(x + reach for x, _, reach in stops)
    heading = f"{graph.model} on a batch of {graph.batch_size}"
    legend = _legend(graph)
    length = sum(block.width + _LEGEND_GAP for block in legend)
    right = max(right, left + length, left + _text_width(heading, _HEADING, bold=True))
    top, bottom = _HEAD, ends[-1][1]
    size = (right - left + 2 * _MARGIN, top - bottom + 2 * _MARGIN)
    figure = Figure(figsize=size, layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0, h_pad=0)
    # One unit is one inch, so that texts are as wide as they were measured.
    axes = figure.subplots()
    axes.set(xlim=(left - _MARGIN, right + _MARGIN), ylim=(bottom - _MARGIN, top + _MARGIN))
    axes.set_axis_off()
    style: dict[str, Any] = {"fontsize": _HEADING, "fontweight": "bold", "in_layout": False}
    axes.text(left, top, heading, va="top", parse_math=False, **style)
    x = left
    for block in legend:
        block.draw(axes, x + block.width / 2, top - 0.37)
        x += block.width + _LEGEND_GAP
    _draw_routes(axes, routes, rows, ends, sizes)
    for cell in cells:
        _draw_cell(axes, cell, sizes)
    return figure


def _legend(graph: ComputationGraph) -> list[_Block]:
    named = {
        "forward": "operation, forward ↓",
        "backward": "its backward nodes ↑",
        "parameter": "parameter",
        "batch": "batch",
        "constant": "other tensor",
    }
    kinds = {"forward", "backward"}
    kinds |= {"constant" if v.kind == "buffer" else v.kind for v in graph.variables}
    return [_Block(kind, [text]) for kind, text in named.items() if kind in kinds]


def _cells(graph: ComputationGraph) -> list[_Cell]:
    """A cell for each operation or module, and for each variable that stands alone."""
    variables = {variable.name: variable for variable in graph.variables}
    groups = _groups(graph)
    cell_of = {o.name: key for key, group in groups.items() for o in group}
    buffers = {variable.name for variable in graph.variables if variable.kind == "buffer"}
    users: dict[str, list[str]] = {}
    for key, group in groups.items():
        for name in dict.fromkeys(name for o in group for name in o.inputs if name in variables):
            users.setdefault(name, []).append(key)
    cells: dict[str, _Cell] = {}
    for key, group in groups.items():
        taken = [name for operation in group for name in operation.inputs]
        before = dict.fromkeys(cell_of[name] for name in taken if name in cell_of)
        inputs = [name for name in before if name != key]
        beside = []
        for name in dict.fromkeys(name for name in taken if name in variables):
            variable = variables[name]
            if variable.kind == "batch" and (not inputs or len(users[name]) > 1):
                alone = f"{name} "  # no operation's name ends in a space
                cells.setdefault(alone, _Cell(alone, _variable_block(variable)))
                inputs.append(alone)
            else:
                beside.append(_variable_block(variable, shared=len(users[name]) > 1))
        if len(beside) > _MOST_BESIDE:
            beside = [_summary_block([variables[name] for name in taken if name in variables])]
        cells[key] = _Cell(
            key, _forward_block(graph, group), _backward_block(group, buffers), beside, inputs
        )
    return list(cells.values())


def _groups(graph: ComputationGraph) -> dict[str, list[Operation]]:
    """The operations of each box, by a name of its own."""
    operations = graph.operations
    grouped = {operation.name: [operation] for operation in operations}
    if graph.group == "operations" or (graph.group == "auto" and len(operations) <= _MANY):
        return grouped
    holders = {o.layers[:depth] for o in operations for depth in range(len(o.layers))}
    for depth in range(max(len(o.layers) for o in operations), 0, -1):
        grouped = {}
        for operation in operations:
            layers = operation.layers
            # What a layer does between those that it holds stands for itself.
            whole = len(layers) >= depth or layers not in holders
            key = " ".join(map(str, layers[:depth])) if layers and whole else operation.name
            grouped.setdefault(key, []).append(operation)
        if len(grouped) <= _MANY:
            break
    return grouped


def _forward_block(graph: ComputationGraph, group: Sequence[Operation]) -> _Block:
    last = group[-1]
    if len(group) == 1:
        number = "" if last.number is None else f"(·, {last.number:.3g})"
        lines = [f"{last.name}{number}"]
        if last.layers:
            layer = last.layers[-1]
            lines.append(f"{_shortened(layer.name)} {layer.what}")
    else:
        layer = _common_layer(group)
        lines = [_shortened(layer.name), layer.what, counted(len(group), "operation")]
    lines.append(f"→ {_form(last.shape, last.dtype)}")
    if last is graph.operations[-1]:
        lines.append(f"loss {graph.loss:.4g}")
    elif last.values is not None:
        lines.append(str(last.values))
    return _Block("forward", lines, is_loss=last is graph.operations[-1])


def _backward_block(group: Sequence[Operation], buffers: Collection[str]) -> _Block | None:
    last = group[-1]
    if not last.backward:
        return None
    if len(group) == 1:
        lines = list(last.backward[:_MOST_NAMES])
        if len(last.backward) > _MOST_NAMES:
            lines.append(f"and {len(last.backward) - _MOST_NAMES} more")
    else:
        lines = [counted(sum(len(operation.backward) for operation in group), "node")]
    norm = "" if last.gradient_norm is None else f", norm {last.gradient_norm:.3g}"
    lines.append(f"gradient {_form(last.shape)}{norm}")
    kept = [_kept_name(last, name) for name in last.saved if name not in buffers]
    kept = [name for name in kept if name != "inner ()"] if len(group) == 1 else []
    if len(kept) > _MOST_NAMES:
        kept = [*kept[:_MOST_NAMES], "..."]
    num_bytes = sum(operation.saved_bytes for operation in group)
    if num_bytes:
        kept = [f"{', '.join(kept)} (+{bytes_text(num_bytes)})".lstrip()]
    if kept:
        lines.append(f"keeps {', '.join(kept)}")
    return _Block("backward", lines)


def _kept_name(operation: Operation, name: str) -> str:
    if name == operation.name:
        return "its result"
    return _shortened(name.removeprefix(f"{operation.layer}."))


def _variable_block(variable: Variable, shared: bool = False) -> _Block:
    kind = "constant" if variable.kind == "buffer" else variable.kind
    lines = [_shortened(variable.name), _form(variable.shape, variable.dtype)]
    if shared:
        lines.append("used again" if variable.kind == "constant" else "shared")
    if variable.kind == "parameter" and not variable.requires_grad:
        lines.append("frozen")
    if variable.values is not None:
        lines.append(str(variable.values))
    if variable.gradient_norm is not None:
        lines.append(f"gradient norm {variable.gradient_norm:.3g}")
    return _Block(kind, lines)


def _summary_block(variables: Sequence[Variable]) -> _Block:
    parameters = {v.name: v for v in variables if v.kind == "parameter"}
    num_numbers = sum(math.prod(variable.shape) for variable in parameters.values())
    return _Block(
        "parameter",
        [counted(len(parameters), "parameter"), f"{num_numbers:,} numbers"],
    )


def _common_layer(group: Sequence[Operation]) -> LayerCall:
    """The innermost layer in which all operations run."""
    levels = zip(*(operation.layers for operation in group), strict=False)
    shared: list[LayerCall] = [calls[0] for calls in levels if len(set(calls)) == 1]
    return shared[-1]


def _form(shape: Sequence[int], dtype: str = "float32") -> str:
    text = str(tuple(shape)) if shape else "scalar"
    return text if dtype == "float32" else f"{text} {dtype}"


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"...{name[3 - _LONGEST_NAME :]}"


def _text_width(text: str, size: float, bold: bool = False) -> float:
    """In inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72


# The layout: Sugiyama, Tagawa and Toda (1981), "Methods for Visual Understanding of Hierarchical
# System Structures". Rows by the longest path, few crossings by barycentres, then places.


def _rows_and_routes(cells: Sequence[_Cell]) -> tuple[list[list[_Stop]], list[list[_Stop]]]:
    """The cells in rows, and the way of each edge through them, with a bend in each row passed."""
    by_name = {cell.name: cell for cell in cells}
    above_end = dict.fromkeys(by_name, 0)
    for cell in reversed(cells):  # each cell after those that it takes from
        for name in cell.inputs:
            above_end[name] = max(above_end[name], above_end[cell.name] + 1)
    last = max(above_end.values())
    rows: list[list[_Stop]] = [[] for _ in range(last + 1)]
    for cell in cells:
        rows[last - above_end[cell.name]].append(cell)
    routes: list[list[_Stop]] = []
    for cell in cells:
        end = last - above_end[cell.name]
        for name in cell.inputs:
            bends = [_Bend() for _ in range(last - above_end[name] + 1, end)]
            for number, bend in enumerate(bends):
                rows[end - len(bends) + number].append(bend)
            routes.append([by_name[name], *bends, cell])
    _order(rows, routes)
    return rows, routes


def _order(rows: list[list[_Stop]], routes: Sequence[Sequence[_Stop]]) -> None:
    """Orders each row so that few edges cross."""
    before, after = _neighbours(routes)
    best, fewest = [list(row) for row in rows], _num_crossings(rows, after)
    for sweep in range(8):
        down = sweep % 2 == 0
        neighbours = before if down else after
        for row in rows if down else reversed(rows):
            places = {id(stop): place for each in rows for place, stop in enumerate(each)}
            centres = {}
            for stop in row:
                near = [places[id(other)] for other in neighbours.get(id(stop), [stop])]
                centres[id(stop)] = sum(near) / len(near)
            row.sort(key=lambda stop: centres[id(stop)])
        crossings = _num_crossings(rows, after)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    rows[:] = best


def _neighbours(
    routes: Sequence[Sequence[_Stop]],
) -> tuple[dict[int, list[_Stop]], dict[int, list[_Stop]]]:
    before: dict[int, list[_Stop]] = {}
    after: dict[int, list[_Stop]] = {}
    for route in routes:
        for upper, lower in pairwise(route):
            after.setdefault(id(upper), []).append(lower)
            before.setdefault(id(lower), []).append(upper)
    return before, after


def _num_crossings(rows: Sequence[Sequence[_Stop]], after: Mapping[int, Sequence[_Stop]]) -> int:
    crossings = 0
    for row, following in pairwise(rows):
        places = {id(stop): place for place, stop in enumerate(following)}
        edges = [
            (place, places[id(lower)])
            for place, upper in enumerate(row)
            for lower in after.get(id(upper), [])
        ]
        crossings += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(edges, 2))
    return crossings


def _place(
    rows: Sequence[Sequence[_Stop]], routes: Sequence[Sequence[_Stop]], sizes: "_Sizes"
) -> list[tuple[float, float]]:
    """Gives every stop its place, and returns the upper and lower end of each row."""
    ends, top = [], 0.0
    for row in rows:
        height = max(stop.height for stop in row if isinstance(stop, _Cell))
        ends.append((top, top - height))
        for stop in row:
            if isinstance(stop, _Cell):
                stop.y = top - height / 2
        top -= height + _ROW_GAP
    before, after = _neighbours(routes)
    for neighbours, order in [(before, rows), (after, rows[::-1])] * 4 + [(before, rows)]:
        for row in order:
            wanted = []
            for stop in row:
                near = [other.x for other in neighbours.get(id(stop), [])]
                wanted.append(sum(near) / len(near) if near else stop.x)
            reaches = [sizes.reach(stop) for stop in row]
            gaps = [a[1] + b[0] + _BETWEEN for a, b in pairwise(reaches)]
            for stop, x in zip(row, spread(wanted, gaps), strict=True):
                stop.x = x
    return ends


def spread(wanted: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The places nearest to those wanted, in their order, with at least `gaps` between them.

    Nearest in squares: the pool-adjacent-violators algorithm, Barlow et al. (1972), sec. 1.2.

    Args:
        wanted: n places.
        gaps: n - 1 distances, each between a place and the next.
    """
    offsets = list(accumulate(gaps, initial=0.0))
    pools: list[tuple[float, int]] = []  # a mean, and of how many
    for place, offset in zip(wanted, offsets, strict=True):
        mean, count = place - offset, 1
        while pools and pools[-1][0] > mean:
            other, number = pools.pop()
            mean, count = (mean * count + other * number) / (count + number), count + number
        pools.append((mean, count))
    means = [mean for mean, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


@dataclass
class _Sizes:
    """The widths that all operations, and all ways back, have in common, in inches."""

    forward: float
    backward: float

    def width(self, cell: _Cell) -> float:
        """How wide a cell's operation or variable is."""
        return self.forward if cell.forward.kind == "forward" else cell.forward.width

    def backward_x(self, cell: _Cell) -> float:
        """The middle of a cell's way back."""
        return cell.x + self.forward / 2 + _BESIDE + self.backward / 2

    def reach(self, stop: _Stop) -> tuple[float, float]:
        """How far a stop reaches to the left and to the right of its place."""
        if isinstance(stop, _Bend):
            return 0.1, 0.1
        half = self.width(stop) / 2
        beside = max((block.width + _BESIDE for block in stop.beside), default=0.0)
        back = 0.0 if stop.backward is None else _BESIDE + self.backward
        return half + beside, half + back


def _draw_cell(axes: "Axes", cell: _Cell, sizes: _Sizes) -> None:
    half = sizes.width(cell) / 2
    cell.forward.draw(axes, cell.x, cell.y, 2 * half)
    if cell.backward is not None:
        x = sizes.backward_x(cell)
        cell.backward.draw(axes, x, cell.y, sizes.backward)
        ends = [cell.x + half, x - sizes.backward / 2]
        axes.plot(ends, [cell.y, cell.y], ":", color="#777777", linewidth=1)
    height = sum(block.height for block in cell.beside) + _STACK_GAP * (len(cell.beside) - 1)
    y = cell.y + height / 2
    width = max((block.width for block in cell.beside), default=0.0)
    for block in cell.beside:
        y -= block.height / 2
        x = cell.x - half - _BESIDE - width / 2
        block.draw(axes, x, y, width)
        target = min(max(y, cell.y - cell.forward.height / 3), cell.y + cell.forward.height / 3)
        _draw_arrow(axes, [(x + width / 2, y), (cell.x - half, target)], "beside")
        y -= block.height / 2 + _STACK_GAP


def _draw_routes(
    axes: "Axes",
    routes: Sequence[Sequence[_Stop]],
    rows: Sequence[Sequence[_Stop]],
    ends: Sequence[tuple[float, float]],
    sizes: _Sizes,
) -> None:
    row_of = {id(stop): number for number, row in enumerate(rows) for stop in row}
    for route in routes:
        upper, *bends, lower = route
        if not isinstance(upper, _Cell) or not isinstance(lower, _Cell):
            continue
        leaving = _port(route, [other for other in routes if other[0] is upper], 1)
        coming = _port(route, [other for other in routes if other[-1] is lower], -2)
        passed = [(bend.x, *ends[row_of[id(bend)]]) for bend in bends]
        first, last = ends[row_of[id(upper)]][1], ends[row_of[id(lower)]][0]
        for kind in ("forward", "backward"):
            back = kind == "backward"
            above = upper.backward if back else upper.forward
            below = lower.backward if back else lower.forward
            if above is None or below is None:
                continue
            x = leaving + (sizes.backward_x(upper) if back else upper.x)
            points = [(x, upper.y - above.height / 2), (x, first)]
            for middle, top, bottom in passed:
                x = middle + (_ASIDE if back else -_ASIDE)
                points += [(x, top), (x, bottom)]
            x = coming + (sizes.backward_x(lower) if back else lower.x)
            points += [(x, last), (x, lower.y + below.height / 2)]
            _draw_arrow(axes, points[::-1] if back else points, kind)


def _port(route: Sequence[_Stop], siblings: list[Sequence[_Stop]], index: int) -> float:
    """How far from the middle of a box an edge ends, so that several do not end in one point."""
    siblings = sorted(siblings, key=lambda sibling: sibling[index].x)
    place = next(place for place, sibling in enumerate(siblings) if sibling is route)
    return 0.16 * (place - (len(siblings) - 1) / 2)


def _draw_arrow(axes: "Axes", points: Sequence[tuple[float, float]], kind: str) -> None:
    """Draws an arrow through points, straight down or else in bows that begin and end upright."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    # An end of no length would hide the arrow's head.
    points = list(dict.fromkeys((round(x, 4), round(y, 4)) for x, y in points))
    vertices, codes = [points[0]], [Path.MOVETO]
    for (x, y), (to_x, to_y) in pairwise(points):
        if kind == "beside" or x == to_x:
            vertices.append((to_x, to_y))
            codes.append(Path.LINETO)
        else:
            middle = (y + to_y) / 2
            vertices += [(x, middle), (to_x, middle), (to_x, to_y)]
            codes += [Path.CURVE4] * 3
    axes.add_patch(
        FancyArrowPatch(
            path=Path(vertices, codes),
            arrowstyle="-|>",
            mutation_scale=7,
            color=_COLORS["backward" if kind == "backward" else "forward"][1],
            linestyle="--" if kind == "backward" else "-",
            linewidth=0.9,
            shrinkA=0,
            shrinkB=0,
        )
    )
