"""A model layer by layer: output shapes, parameters, multiply-adds and bytes.

Book: 6.1 (sec_model_construction), 7.6 (sec_lenet).
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Dataset
from torch.utils.weak import WeakIdKeyDictionary

from gradbook import checks
from gradbook.checkpoint import dense_parts
from gradbook.data import are_examples, as_data, as_tensor, copy_batch, is_numbers
from gradbook.devices import cpu
from gradbook.display.words import bytes_text, counted, listed
from gradbook.errors import BatchError, GradbookError, ModelError, told
from gradbook.escape import printable
from gradbook.experiments.trial import copy_of, one_batch
from gradbook.lookalikes import drop_hooks
from gradbook.seeds import untouched_generators
from gradbook.table import Table, data_frame
from gradbook.untrained import place_of, tensors_in, trainable_in
from gradbook.watching.layers import modules_held

if TYPE_CHECKING:
    import pandas


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
        return printable("\n".join([self._head(), "", repr(self._table()), "", *self._totals()]))

    def _repr_html_(self) -> str:
        totals = "<br>".join(map(escape, self._totals()))
        table = self._table()._repr_html_()
        return f"<p>{escape(printable(self._head()))}</p>{table}<p>{totals}</p>"

    def _head(self) -> str:
        return self.model + (f" on an input of {_shapes_text(self.inputs)}" if self.inputs else "")

    def _table(self) -> Table:
        heading = ["layer", "class", "output", "parameters", "multiply-adds", "bytes"]
        rows = [self._cells(row) for row in self.rows]
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
    lazy = {path for path, layer in _named(model) if any(is_lazy(t) for _, t in _held(layer))}
    with untouched_generators():
        trial = copy_of(getattr(model, "_orig_mod", model))
        drop_hooks(trial)
        _undo_compiling(trial)
        counter = _Counter(trial)
        inputs: tuple[Any, ...] = ()
        if data is not None:
            places, named = _inputs_of(data, trial)
            inputs = tuple(_shapes(value) for value in (*places, *named.values()))
            with checks.at_rest(trial), _unfused():
                if lazy:
                    _called(trial, places, named)
                counter = _Counter(trial)
                counter.run(places, named)
        rows = tuple(_Rows(trial, counter, lazy, depth, bool(inputs)).made())
    return ModelSummary(type(trial).__name__, inputs, rows, tuple(sorted(counter.unknown_names)))


# What goes in


def _inputs_of(data: Any, model: Any) -> tuple[list[Any], dict[str, Any]]:
    """The inputs of one batch, by place and by name, on the model's device."""
    held = [tensor for _, layer in _named(model) for _, tensor in _held(layer)]
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
    for _, layer in list(_named(model)):
        for name, child in getattr(layer, "_modules", {}).items():
            layer._modules[name] = getattr(child, "_orig_mod", child)


def _called(model: Any, inputs: Sequence[Any], named: Mapping[str, Any]) -> Any:
    copies = [copy_batch(value) for value in inputs]
    try:
        return model(*copies, **copy_batch(dict(named)))
    except GradbookError:
        raise
    except Exception as error:
        is_module = isinstance(model, nn.Module)
        explained = checks.explain_forward(model, inputs, named, error) if is_module else None
        given = ", ".join(map(checks.describe, (*inputs, *named.values())))
        raise explained or BatchError(
            f"{type(model).__name__} cannot be run on {given}: {told(error)}. Give a batch as it "
            f"is trained with, (X, y), or its inputs."
        ) from error


@contextmanager
def _unfused() -> Iterator[None]:
    """While it lasts, an encoder's layers are run one by one."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


# What is counted

#: A layer, or the model; and the name of its parameter that an operation uses, if it does.
_Owner = tuple[Any, str | None]

#: Operations that add up products; of those that `_counted_in` does not know, it is said so.
_ADDS_PRODUCTS = re.compile(
    r"^(?!thnn_fused)(.*(linalg_(?!check|vector_norm)|fft_|cdist|rnn|lstm|gru|conv|corr|attention|"
    r"transformer|solve|cholesky|qr|svd|eig(?!ht)|inverse|mm|dot|trilinear)|mv$|addmv)"
)


def _counted_in(name: str, args: Any, out: Any) -> Any:
    """The multiply-adds of an operation of PyTorch's; None if they are not known."""
    if any(tensor.layout is not torch.strided for tensor in tensors_in([*args])):
        return None
    if name in ("mm", "bmm", "mv"):
        return out.numel() * args[0].shape[-1]
    if name in ("addmm", "addmm_activation", "baddbmm", "addmv"):
        return out.numel() * args[1].shape[-1]
    if name == "addbmm":
        return args[1].numel() * args[2].shape[-1]
    if name in ("dot", "vdot"):
        return args[0].numel()
    if name == "convolution":
        X, weight, is_transposed = args[0], args[1], args[6]
        places = (X if is_transposed else out).shape[2:].numel()  # of the kernel
        return len(X) * places * weight.numel()
    if name == "trilinear":  # of nn.Bilinear
        return args[0].numel() // args[0].shape[-1] * args[1].numel()
    if "scaled_dot_product" in name:
        query, key, value = args[:3]
        rows = query.shape[:-1].numel()
        return rows * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    if name in ("mkldnn_rnn_layer", "cudnn_rnn"):
        weights = tensors_in(args[1:5] if name == "mkldnn_rnn_layer" else args[1])
        per_step = sum(weight.numel() for weight in weights if weight.dim() == 2)
        return args[0].shape[:-1].numel() * per_step
    return None


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation while a model is run, and whose it is.

    An operation that uses a parameter belongs to it; any other to the layer that is running.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        self.running: list[Any] = [model]
        self.multiply_adds: Counter[_Owner] = Counter()
        self.unknown: set[_Owner] = set()
        self.unknown_names: set[str] = set()
        self.outputs: dict[Any, list[Any]] = {}
        self.num_calls, self.times = 0, dict[Any, list[int]]()  # of layers, in their order
        self.output_bytes: dict[Any, int] = {}
        self.used: set[_Owner] = set()
        self.holders: dict[int, list[_Owner]] = {}
        for _, layer in _named(model):
            for name, tensor in _own_parameters(layer).items():
                if not is_lazy(tensor) and (place := place_of(tensor)):
                    self.holders.setdefault(place, []).append((layer, name))
        for name, tensor in _loose(model):
            if place := place_of(tensor):
                self.holders.setdefault(place, []).append((None, name))
        self._products = WeakIdKeyDictionary()

    def run(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Runs the model on inputs by place and by name."""
        with ExitStack() as stack:
            for _, layer in _named(self.model):
                if isinstance(layer, nn.Module) and not isinstance(layer, torch.jit.ScriptModule):
                    stack.enter_context(layer.register_forward_pre_hook(self._begin))
                    stack.enter_context(layer.register_forward_hook(self._end))
            stack.enter_context(self)
            output = _called(self.model, inputs, named)
        if self.model not in self.outputs:  # which has no hooks
            self._begin(self.model, ())
            self._end(self.model, (), output)

    def _begin(self, layer: nn.Module, args: Any) -> None:
        self.running.append(layer)
        self.num_calls += 1
        self.times.setdefault(layer, []).append(self.num_calls)
        self.outputs.setdefault(layer, [])

    def _end(self, layer: nn.Module, args: Any, output: Any) -> None:
        self.running.pop()
        if not self.outputs[layer]:
            self.output_bytes[layer] = sum(map(_bytes_of, _tensors_within(output)))
        self.outputs[layer].append(_shapes(output))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        name = func.overloadpacket.__name__.strip("_")  # also of what works in place
        with self:  # in inference mode, PyTorch has not taken it apart yet
            out = func.decompose(*args, **given)
        if out is not NotImplemented:
            return out
        out = func(*args, **given)
        owner = self._owner(name, args)
        if _ADDS_PRODUCTS.match(name) or func.namespace not in ("aten", "prim", "prims"):
            number = _counted_in(name, args, out)
            if number is None:
                self.unknown.add(owner)
                self.unknown_names.add(name)
            else:
                self.multiply_adds[owner] += number
        elif name == "mul" and all(isinstance(a, torch.Tensor) and a.dim() for a in args):
            self._products[out] = owner
        elif name in ("sum", "mean") and args[0] in self._products:
            self.multiply_adds[self._products[args[0]]] += args[0].numel()
        return out

    def _owner(self, name: str, args: Any) -> _Owner:
        layer, found = self.running[-1], list[_Owner]()
        # In a product with something added to it, that comes first.
        for i, tensor in enumerate(tensors_in(list(args))):
            held = self.holders.get(place_of(tensor), ())
            self.used.update(held)
            found += held if i or not name.startswith(("add", "badd")) else ()
        own = [owner for owner in found if owner[0] is layer]
        if "rnn" in name:  # which multiplies several at once
            return layer, None
        return (*own, *found, (layer, None))[0]


# What a model holds


def _named(model: Any) -> Iterator[tuple[str, Any]]:
    """The layers of a model by place, itself included, each once."""
    if not isinstance(model, nn.Module):
        yield "", model
    for name, module in modules_held(model):
        for path, layer in module.named_modules():
            yield f"{name}.{path}".strip("."), layer


def _own_parameters(layer: Any) -> dict[str, torch.Tensor]:
    """What a layer holds itself, plain tensors that are trained included."""
    own: dict[str, torch.Tensor] = {}
    if isinstance(layer, nn.Module):
        own |= layer.named_parameters(recurse=False, remove_duplicate=False)
    plain = {n: t for n, t in vars(layer).items() if isinstance(t, torch.Tensor)}
    return own | {n: t for n, t in plain.items() if t.requires_grad and t.is_leaf}


def _held(layer: Any, with_parameters: bool = True) -> list[tuple[str, torch.Tensor]]:
    """The parameters and buffers that a layer holds itself."""
    held = list(_own_parameters(layer).items()) if with_parameters else []
    if isinstance(layer, nn.Module):
        held += layer.named_buffers(recurse=False, remove_duplicate=False)
    return held


def _loose(model: Any) -> list[tuple[str, torch.Tensor]]:
    """What a model trains and keeps where PyTorch does not list it, as in a list."""
    known = {id(t) for _, layer in _named(model) for t in _own_parameters(layer).values()}
    return [found for key, found in trainable_in(model).items() if key not in known]


class _Rows:
    """Makes the rows of a summary."""

    def __init__(
        self, model: Any, counter: _Counter, lazy: set[str], depth: int | None, has_run: bool
    ) -> None:
        self.model, self.counter, self.lazy = model, counter, lazy
        self.depth, self.has_run = depth, has_run
        self.tensors: dict[int, str] = {}  # where each parameter and buffer was first seen
        self.layers: dict[Any, str] = {}

    def made(self) -> Iterator[SummaryRow]:
        """The rows, the model's own first."""
        yield from self._of(self.model, "", 0)
        for name, tensor in _loose(self.model):
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
        is_layer = bool(path) or type(layer).__module__.startswith("torch.")
        listed = {} if is_folded or (is_layer and not children) else _own_parameters(layer)
        owners: list[_Owner] = [
            (each, name)
            for each in within
            for name in (None, *(() if listed else _own_parameters(each)))
        ]
        tensors = [
            (f"{path}.{name}".strip("."), tensor)
            for each in within
            for name, tensor in _held(each, with_parameters=not listed)
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
        self, owner: _Owner, path: str, tensor: torch.Tensor, notes: Sequence[str] = ()
    ) -> SummaryRow:
        row = self._row(path, "parameter", [owner], [(path, tensor)], list(notes))
        shape = () if is_lazy(tensor) else (tuple(tensor.shape),)
        return replace(row, outputs=shape)

    def _row(
        self,
        path: str,
        kind: str,
        owners: Sequence[_Owner],
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
            num_bytes=sum(map(_bytes_of, known)),
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


def _bytes_of(tensor: torch.Tensor) -> int:
    return sum(part.numel() * part.element_size() for part in dense_parts(tensor))


def _tensors_within(value: Any) -> list[torch.Tensor]:
    """The tensors in a value, also in the attributes of an object such as a dataclass."""
    if not isinstance(value, torch.Tensor | Mapping | list | tuple) and hasattr(value, "__dict__"):
        value = vars(value)
    return tensors_in(value)


def _shapes(value: Any) -> Any:
    """The shape of a tensor, or of those in a tuple, list, dictionary or other object."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape)
    if isinstance(value, Mapping):
        return {str(key): _shapes(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(map(_shapes, value))
    if value is None:
        return None
    if tensors := {n: t for n, t in getattr(value, "__dict__", {}).items() if tensors_in(t)}:
        return _shapes(tensors)
    return type(value).__name__


def _shapes_text(shapes: Any) -> str:
    if isinstance(shapes, Mapping):
        return ", ".join(f"{key} {_shapes_text(each)}" for key, each in shapes.items())
    if isinstance(shapes, tuple) and any(type(each) is not int for each in shapes):
        return ", ".join(map(_shapes_text, shapes))
    return str(shapes)


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
