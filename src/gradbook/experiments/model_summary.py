"""A model layer by layer: output shapes, parameters, multiply-adds and bytes.

Book: 6.1 (sec_model_construction), 7.6 (sec_lenet).
"""

import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.data import Dataset

from gradbook import checks
from gradbook.data import are_examples, as_data, is_numbers
from gradbook.devices import cpu
from gradbook.display.words import bytes_text, counted, listed
from gradbook.errors import ModelError
from gradbook.escape import printable
from gradbook.experiments.operation_counter import (
    OperationCounter,
    Owner,
    bytes_of,
    called,
    held_tensors,
    loose_tensors,
    named_layers,
    own_parameters,
    shapes_of,
)
from gradbook.experiments.trial import copy_of, one_batch
from gradbook.interrupts import interruptible
from gradbook.lookalikes import drop_hooks
from gradbook.seeds import untouched_generators
from gradbook.table import Table, data_frame
from gradbook.tensors import as_tensor, copy_batch
from gradbook.watching.layers import modules_held
from gradbook.wrapping import columns

if TYPE_CHECKING:
    import pandas

#: What is tried until a table has room: names of so many characters, and so many columns. The last
#: column, the bytes, tells the least.
_FORMS = (*((most, 6) for most in (sys.maxsize, 32, 24, 20)), (24, 5), (20, 5), (16, 5), (12, 5))


@dataclass(frozen=True)
class SummaryRow:
    """A layer, or a parameter that a model or a layer with other layers in it holds itself.

    What it counts is its own: that of the layers within it stands in their rows.

    Attributes:
        name: Its place in the model, such as "net.1"; empty for the model itself.
        kind: Its class, such as "Linear", or "parameter".
        outputs: The shapes of its output at each call, each shape once: of one tensor a tuple
            of numbers, of several in a tuple or dictionary the same with a shape for each. Of a
            parameter, its own shape.
        calls: How often it was called.
        parameters: The numbers in its parameters, but for those that an earlier row has.
        trained: How many of them require a gradient.
        multiply_adds: For the whole batch; None where it cannot be known.
        num_bytes: Of its parameters and buffers, in memory.
        output_bytes: Of the tensors that it gave in its first call.
        notes: What is particular, such as "frozen" or "called 2 times".
    """

    name: str
    kind: str
    outputs: tuple[Any, ...] = ()
    calls: int = 0
    parameters: int | None = 0
    trained: int = 0
    multiply_adds: int | None = 0
    num_bytes: int = 0
    output_bytes: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class ModelSummary:
    """What `summary` gives: a table when printed, and in a notebook.

    Attributes:
        model: The model's class.
        inputs: The shapes of the inputs; empty if no data were given.
        rows: The layers, in the order in which they are first called.
        uncounted: Operations whose multiply-adds are not known, such as "fft_r2c".
    """

    model: str
    inputs: tuple[Any, ...]
    rows: tuple[SummaryRow, ...]
    uncounted: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """The numbers in all parameters that have a shape, each counted once."""
        return sum(row.parameters or 0 for row in self.rows)

    @property
    def trained(self) -> int:
        """How many of them require a gradient."""
        return sum(row.trained for row in self.rows)

    @property
    def multiply_adds(self) -> int | None:
        """Those of one batch; None if some cannot be known."""
        each = [row.multiply_adds for row in self.rows]
        return None if None in each else sum(filter(None, each))

    @property
    def num_bytes(self) -> int:
        """The memory of all parameters and buffers."""
        return sum(row.num_bytes for row in self.rows)

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        totals = ("parameters", "trained", "multiply_adds", "num_bytes")
        return {**asdict(self), **{name: getattr(self, name) for name in totals}}

    def to_pandas(self) -> "pandas.DataFrame":
        """The rows as a DataFrame, indexed by "name"."""
        return data_frame([asdict(row) for row in self.rows], "name")

    def __repr__(self) -> str:
        room = columns() or sys.maxsize
        for most, num_columns in _FORMS:
            table = repr(self._table(most, num_columns))
            if max(map(len, table.split("\n"))) <= room:
                break
        return printable("\n".join([self._head(), "", table, "", *self._totals()]))

    def _repr_html_(self) -> str:
        totals = "<br>".join(map(escape, self._totals()))
        table = self._table()._repr_html_()
        return f"<p>{escape(printable(self._head()))}</p>{table}<p>{totals}</p>"

    def _head(self) -> str:
        return self.model + (f" on an input of {_shapes_text(self.inputs)}" if self.inputs else "")

    def _table(self, most: int = sys.maxsize, num_columns: int = 6) -> Table:
        """The table, its layers' and classes' names of so many characters at most."""
        heading = ["layer", "class", "output", "parameters", "multiply-adds", "bytes"][:num_columns]
        rows = []
        for row in self.rows:  # of a place the end tells more, of a class the beginning
            name, kind, *cells = self._cells(row)[:num_columns]
            name = name if len(name) <= most else f"...{name[3 - most :]}"
            kind = kind if len(kind) <= most else f"{kind[: most - 3]}..."
            rows.append([name, kind, *cells])
        notes = [", ".join(row.notes) for row in self.rows]
        if any(notes):
            heading.append("")
            rows = [[*cells, note] for cells, note in zip(rows, notes, strict=True)]
        return Table(heading, rows)

    def _cells(self, row: SummaryRow) -> list[str]:
        output = " or ".join(map(_shapes_text, row.outputs)) or "-"
        adds = row.multiply_adds if self.inputs else 0
        cells = ["?" if n is None else f"{n:,}" if n else "-" for n in (row.parameters, adds)]
        kept = bytes_text(row.num_bytes) if row.num_bytes else "-"
        return [row.name or self.model, row.kind, _shortened(output), *cells, kept]

    def _totals(self) -> list[str]:
        frozen = self.parameters - self.trained
        lines = [
            f"{'at least ' * any(row.parameters is None for row in self.rows)}"
            f"{counted(self.parameters, 'parameter')}"
            + (f", of which {self.trained:,} are trained" if frozen else "")
            + f"; parameters and buffers take {bytes_text(self.num_bytes)}"
        ]
        if not self.inputs:
            return [*lines, "Output shapes and multiply-adds need data, or the shape of an input."]
        total = self.multiply_adds
        if total is None:
            least = sum(row.multiply_adds or 0 for row in self.rows)
            why = f"those of {listed(self.uncounted)} are not known" if self.uncounted else ""
            lines.append("; ".join(filter(None, [f"at least {least:,} multiply-adds", why])))
        else:
            lines.append(counted(total, "multiply-add"))
        outputs = sum(row.output_bytes for row in self.rows)
        return [*lines, f"the outputs of the layers take {bytes_text(outputs)}"]


@interruptible()
def summary(model: Any, data: Any = None, *, depth: int | None = None) -> ModelSummary:
    """Lists the layers of a model: output shapes, parameters, multiply-adds, bytes.

    The network is run once on the data, in evaluation mode and without gradients. That happens to
    a copy: the model stays as it is, lazy layers included, and so do the random generators.
    A model written out with tensors is listed tensor by tensor.

    Multiply-adds are counted where products are added up: in matrix products, convolutions,
    attention and recurrent layers, whether a layer or a function computes them, and in
    `(a * b).sum()`. What is done element by element, such as an activation function, a
    normalization or pooling, is not among them, nor are the additions of biases. Padding counts as
    if it were data. Of a function that cannot be counted it is said so.

    Book: 6.1, 7.6.

    Args:
        model: The model: any `nn.Module`, or a class of your own that can be called.
        data: What a batch is taken from: a DataModule, a data set of PyTorch, a DataLoader; a
            batch `(X, ..., y)`, whose labels are not used and may be None; inputs alone, as one
            tensor, or by name as a dictionary. Or the shape of an input with its batch dimension,
            such as (256, 1, 28, 28), or a list of such tuples for several inputs. None lists what
            is known without: the parameters.
        depth: How deep layers within layers are listed; those below are counted in the layer that
            they are in. None lists all.

    Raises:
        ModelError: If the model is none, or cannot be copied.
        BatchError: If the data do not fit it.
        DataError: If there is no batch.
    """
    if isinstance(model, type):
        raise ModelError(f"summary() needs a model, but {checks.only_a_class(model)}")
    if not callable(model) or not hasattr(model, "__dict__"):
        checks.check_order(model, data, "summary")
        raise ModelError(
            f"summary(model, data) needs a model, but got {checks.describe(model):.80}."
        )
    if depth is not None:
        checks.check_whole_number(depth, "depth", at_least=1)
    lazy = {
        path
        for path, layer in named_layers(model)
        if any(is_lazy(t) for _, t in held_tensors(layer))
    }
    with untouched_generators():
        trial = copy_of(getattr(model, "_orig_mod", model))
        drop_hooks(trial)
        _undo_compiling(trial)
        counter = OperationCounter(trial)
        inputs: tuple[Any, ...] = ()
        if data is not None:
            places, named = _inputs_of(data, trial)
            inputs = tuple(shapes_of(value) for value in (*places, *named.values()))
            with checks.at_rest(trial), _unfused():
                if lazy:
                    called(trial, places, named)
                counter = OperationCounter(trial)
                counter.run(places, named)
        rows = tuple(_Rows(trial, counter, lazy, depth, bool(inputs)).made())
    return ModelSummary(type(trial).__name__, inputs, rows, tuple(sorted(counter.unknown_names)))


# What goes in


def _inputs_of(data: Any, model: Any) -> tuple[list[Any], dict[str, Any]]:
    """The inputs of one batch, by place and by name, on the model's device."""
    held = [tensor for _, layer in named_layers(model) for _, tensor in held_tensors(layer)]
    device = held[0].device if held else cpu()
    if _is_shape(data) or (isinstance(data, list) and data and all(map(_is_shape, data))):
        shapes = [data] if _is_shape(data) else data
        floats = [tensor.dtype for tensor in held if tensor.is_floating_point()]
        dtype = floats[0] if floats else torch.get_default_dtype()
        return [torch.rand(*shape, dtype=dtype, device=device) for shape in shapes], {}
    if isinstance(data, Mapping):
        return [], copy_batch(dict(data), device)
    if is_numbers(data):
        return [copy_batch(as_tensor(data, "The data"), device)], {}
    first = data[0] if isinstance(data, list | tuple) and data else data
    if isinstance(first, Dataset) or not isinstance(first, list | tuple | torch.Tensor):
        data = data if are_examples(data) else as_data(data, "summary")
    batch = one_batch(data)
    if isinstance(batch, Mapping):
        return [], copy_batch(dict(batch), device)
    if isinstance(batch, torch.Tensor):
        return [copy_batch(batch, device)], {}
    items = [as_tensor(part, "The batch") if hasattr(part, "__array__") else part for part in batch]
    return [copy_batch(part, device) for part in items[: max(1, len(items) - 1)]], {}


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(type(size) is int for size in value)


def _undo_compiling(model: Any) -> None:
    """Puts layers that `torch.compile` has wrapped in the place of what wraps them."""
    for _, layer in list(named_layers(model)):
        for name, child in getattr(layer, "_modules", {}).items():
            layer._modules[name] = getattr(child, "_orig_mod", child)


@contextmanager
def _unfused() -> Iterator[None]:
    """While it lasts, an encoder's layers are run one by one."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _Rows:
    """Makes the rows of a summary."""

    def __init__(
        self,
        model: Any,
        counter: OperationCounter,
        lazy: set[str],
        depth: int | None,
        has_run: bool,
    ) -> None:
        self.model, self.counter, self.lazy = model, counter, lazy
        self.depth, self.has_run = depth, has_run
        self.tensors: dict[int, str] = {}  # where each parameter and buffer was first seen
        self.layers: dict[Any, str] = {}

    def made(self) -> Iterator[SummaryRow]:
        """The rows, the model's own first."""
        yield from self._of(self.model, "", 0)
        for name, tensor in loose_tensors(self.model):
            if not self.has_run or (None, name) in self.counter.used:
                yield self._of_tensor((None, name), name, tensor, ("in no layer",))

    def _of(self, layer: Any, path: str, depth: int) -> Iterator[SummaryRow]:
        if layer in self.layers:
            told_before = f"the same as {self.layers[layer]}"
            yield SummaryRow(path, type(layer).__name__, notes=(told_before,))
            return
        self.layers[layer] = path
        children = self._children(layer)
        is_folded = depth == self.depth and bool(children)
        inner = dict.fromkeys(self._within(layer)) if is_folded else ()
        within = [layer, *(each for each in inner if each not in self.layers)]
        self.layers |= dict.fromkeys(within, path)
        is_layer = bool(path) or (type(layer).__module__ or "").startswith("torch.")
        listed = {} if is_folded or (is_layer and not children) else own_parameters(layer)
        owners: list[Owner] = [
            (each, name)
            for each in within
            for name in (None, *(() if listed else own_parameters(each)))
        ]
        tensors = [
            (f"{path}.{name}".strip("."), tensor)
            for each in within
            for name, tensor in held_tensors(each, with_parameters=not listed)
        ]
        calls = self.counter.outputs.get(layer, [])
        is_lazy_here = self.has_run and any(
            place == path or (is_folded and place.startswith(f"{path}.")) for place in self.lazy
        )
        notes = ["lazy"] * is_lazy_here
        notes += [f"called {len(calls)} times"] * (len(calls) > 1)
        if self.has_run and not self._is_used(layer):
            notes.append("not called")
        row = self._row(path, type(layer).__name__, owners, tensors, notes)
        outputs = tuple({repr(shapes): shapes for shapes in calls}.values())
        num_bytes = self.counter.output_bytes.get(layer, 0) if not children or is_folded else 0
        yield replace(row, outputs=outputs, calls=len(calls), output_bytes=num_bytes)
        for name, tensor in listed.items():
            yield self._of_tensor((layer, name), f"{path}.{name}".strip("."), tensor)
        if not is_folded:
            for name, child in children:
                yield from self._of(child, f"{path}.{name}".strip("."), depth + 1)

    def _of_tensor(
        self, owner: Owner, path: str, tensor: torch.Tensor, notes: Sequence[str] = ()
    ) -> SummaryRow:
        row = self._row(path, "parameter", [owner], [(path, tensor)], list(notes))
        shape = () if is_lazy(tensor) else (tuple(tensor.shape),)
        return replace(row, outputs=shape)

    def _row(
        self,
        path: str,
        kind: str,
        owners: Sequence[Owner],
        tensors: Sequence[tuple[str, torch.Tensor]],
        notes: list[str],
    ) -> SummaryRow:
        new: list[torch.Tensor] = []
        for name, tensor in tensors:
            before = self.tensors.setdefault(id(tensor), name)
            if before == name:
                new.append(tensor)
            else:
                notes.append(f"shares {before}")
        known = [tensor for tensor in new if not is_lazy(tensor)]
        parameters = [t for t in known if isinstance(t, nn.Parameter) or t.requires_grad]
        number = sum(tensor.numel() for tensor in parameters)
        trained = sum(tensor.numel() for tensor in parameters if tensor.requires_grad)
        if number > trained:
            notes.append("frozen" if not trained else "partly frozen")
        adds = sum(self.counter.multiply_adds[owner] for owner in owners)
        is_known = self.has_run and not self.counter.unknown.intersection(owners)
        return SummaryRow(
            name=path,
            kind=kind,
            parameters=number if len(known) == len(new) else None,
            trained=trained,
            multiply_adds=adds if is_known else None,
            num_bytes=sum(map(bytes_of, known)),
            notes=tuple(notes),
        )

    def _children(self, layer: Any) -> list[tuple[str, Any]]:
        """The layers within one, in the order in which they are first called."""
        if not isinstance(layer, nn.Module):
            return modules_held(layer)
        children = [(n, child) for n, child in layer._modules.items() if child is not None]
        seen: Counter[Any] = Counter()

        def turn(named: tuple[str, Any]) -> float:  # one that stands twice is called twice
            seen[named[1]] += 1
            return self._turn(named[1], seen[named[1]] - 1)

        return sorted(children, key=turn)

    def _within(self, layer: Any) -> Iterator[Any]:
        yield layer
        for _, child in self._children(layer):
            yield from self._within(child)

    def _turn(self, layer: Any, number: int = 0) -> float:
        """When a layer, or else one within it, is called for the first time, or for a later one."""
        times = self.counter.times.get(layer, [])
        if number < len(times):
            return times[number]
        return min((self._turn(child) for _, child in self._children(layer)), default=math.inf)

    def _is_used(self, layer: Any) -> bool:
        used = {id(each) for each, _ in self.counter.used} | set(map(id, self.counter.outputs))
        if layer is self.model or isinstance(layer, torch.jit.ScriptModule):  # called unseen
            return True
        return any(id(each) in used for each in self._within(layer))


# Shapes and bytes


def _shapes_text(shapes: Any) -> str:
    if isinstance(shapes, Mapping):
        return ", ".join(f"{key} {_shapes_text(each)}" for key, each in shapes.items())
    if isinstance(shapes, tuple) and any(type(each) is not int for each in shapes):
        return ", ".join(map(_shapes_text, shapes))
    return str(shapes)


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
