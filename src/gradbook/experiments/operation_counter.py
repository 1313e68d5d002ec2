"""A model run once: what each of its layers gives, and how many multiply-adds that takes."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from gradbook import checks
from gradbook.checkpoint import dense_parts
from gradbook.errors import BatchError, GradbookError, told
from gradbook.tensors import copy_batch
from gradbook.untrained import place_of, tensors_in, trainable_in
from gradbook.watching.layers import modules_held

#: A layer, or the model; and the name of its parameter that an operation uses, if it does.
Owner = tuple[Any, str | None]

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


class OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation while a model is run, and whose it is.

    An operation that uses a parameter belongs to it; any other to the layer that is running.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        self.running: list[Any] = [model]
        self.multiply_adds: Counter[Owner] = Counter()
        self.unknown: set[Owner] = set()
        self.unknown_names: set[str] = set()
        self.outputs: dict[Any, list[Any]] = {}
        self.num_calls, self.times = 0, dict[Any, list[int]]()  # of layers, in their order
        self.output_bytes: dict[Any, int] = {}
        self.used: set[Owner] = set()
        self.holders: dict[int, list[Owner]] = {}
        for _, layer in named_layers(model):
            for name, tensor in own_parameters(layer).items():
                if not is_lazy(tensor) and (place := place_of(tensor)):
                    self.holders.setdefault(place, []).append((layer, name))
        for name, tensor in loose_tensors(model):
            if place := place_of(tensor):
                self.holders.setdefault(place, []).append((None, name))
        self._products = WeakIdKeyDictionary()

    def run(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Runs the model on inputs by place and by name."""
        with ExitStack() as stack:
            for _, layer in named_layers(self.model):
                if isinstance(layer, nn.Module) and not isinstance(layer, torch.jit.ScriptModule):
                    stack.enter_context(layer.register_forward_pre_hook(self._begin))
                    stack.enter_context(layer.register_forward_hook(self._end))
            stack.enter_context(self)
            output = called(self.model, inputs, named)
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
            self.output_bytes[layer] = sum(map(bytes_of, _tensors_within(output)))
        self.outputs[layer].append(shapes_of(output))

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

    def _owner(self, name: str, args: Any) -> Owner:
        layer, found = self.running[-1], list[Owner]()
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


def named_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """The layers of a model by place, itself included, each once."""
    if not isinstance(model, nn.Module):
        yield "", model
    for name, module in modules_held(model):
        for path, layer in module.named_modules():
            yield f"{name}.{path}".strip("."), layer


def own_parameters(layer: Any) -> dict[str, torch.Tensor]:
    """What a layer holds itself, plain tensors that are trained included."""
    own: dict[str, torch.Tensor] = {}
    if isinstance(layer, nn.Module):
        own |= layer.named_parameters(recurse=False, remove_duplicate=False)
    plain = {n: t for n, t in vars(layer).items() if isinstance(t, torch.Tensor)}
    return own | {n: t for n, t in plain.items() if t.requires_grad and t.is_leaf}


def held_tensors(layer: Any, with_parameters: bool = True) -> list[tuple[str, torch.Tensor]]:
    """The parameters and buffers that a layer holds itself."""
    held = list(own_parameters(layer).items()) if with_parameters else []
    if isinstance(layer, nn.Module):
        held += layer.named_buffers(recurse=False, remove_duplicate=False)
    return held


def loose_tensors(model: Any) -> list[tuple[str, torch.Tensor]]:
    """What a model trains and keeps where PyTorch does not list it, as in a list."""
    known = {id(t) for _, layer in named_layers(model) for t in own_parameters(layer).values()}
    return [found for key, found in trainable_in(model).items() if key not in known]


# Running it


def called(model: Any, inputs: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """The output of a model for copies of these; a BatchError says it if they do not fit."""
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


# Shapes and bytes


def bytes_of(tensor: torch.Tensor) -> int:
    """The size of a tensor's values, and of the indices of a sparse one."""
    return sum(part.numel() * part.element_size() for part in dense_parts(tensor))


def _tensors_within(value: Any) -> list[torch.Tensor]:
    """The tensors in a value, also in the attributes of an object such as a dataclass."""
    if not isinstance(value, torch.Tensor | Mapping | list | tuple) and hasattr(value, "__dict__"):
        value = vars(value)
    return tensors_in(value)


def shapes_of(value: Any) -> Any:
    """The shape of a tensor, or of those in a tuple, list, dictionary or other object."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape)
    if isinstance(value, Mapping):
        return {str(key): shapes_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(map(shapes_of, value))
    if value is None:
        return None
    if tensors := {n: t for n, t in getattr(value, "__dict__", {}).items() if tensors_in(t)}:
        return shapes_of(tensors)
    return type(value).__name__
