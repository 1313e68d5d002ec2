"""The layers of a model: what each of its modules, or the model itself, holds of parameters."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from gradbook.lookalikes import held_by


@dataclass(frozen=True)
class Layer:
    """A layer's place, class and parameters.

    Attributes:
        name: Where it is in the model, as "net.1", or its parameter's name, as "W1".
        kind: Its class, as "Linear"; "" for a parameter of the model's own.
        params: Its parameters.
    """

    name: str
    kind: str
    params: list[torch.Tensor]


def layers_of(model: Any, optimizer: Any) -> list[Layer]:
    """The layers of a model: what each of its modules holds of its own.

    Where a module holds several matrices, as a scratch model's W1, b1, W2, b2 or an LSTM, each is
    a layer, with its vector. A lazy parameter belongs to none until it has a shape. The optimizer
    may know of parameters that a model does not list which only looks like a module.
    """
    layers: list[Layer] = []
    taken: set[int] = set()
    for path, kind, own in _owners_of(model, optimizer):
        params = {
            name: param
            for name, param in own.items()
            if id(param) not in taken
            and not is_lazy(param)
            and (param.is_floating_point() or param.is_complex())
            and (param.is_leaf or not param.requires_grad)
        }
        taken |= {id(param) for param in params.values()}
        matrices = [name for name, param in params.items() if param.dim() > 1]
        vectors = [name for name in params if name not in matrices]
        if len(matrices) < 2:
            if params:
                first = matrices[0] if matrices else vectors[0]
                layers.append(Layer(path or first, kind, list(params.values())))
            continue
        together = {name: [params[name]] for name in matrices}
        names = list(params)
        for place, name in enumerate(vectors):
            if len(vectors) == len(matrices):
                matrix = matrices[place]
            else:
                before = [each for each in matrices if names.index(each) < names.index(name)]
                matrix = before[-1] if before else matrices[0]
            together[matrix].append(params[name])
        for name, each in together.items():
            layers.append(Layer(f"{path}.{name}" if path else name, kind, each))
    return layers


def modules_held(model: Any) -> list[tuple[str, nn.Module]]:
    """The modules that a model holds, by name; a model that is one holds all in itself."""
    if isinstance(model, nn.Module):
        return [("", model)]
    return [(name, value) for name, value in vars(model).items() if isinstance(value, nn.Module)]


def _owners_of(model: Any, optimizer: Any) -> Iterator[tuple[str, str, dict[str, torch.Tensor]]]:
    """Place, class and parameters of all that holds parameters. A model may only look like one."""
    is_module = isinstance(model, nn.Module)
    if not is_module:
        own = {n: t for n, t in vars(model).items() if isinstance(t, torch.Tensor)}
        yield "", "", {name: tensor for name, tensor in own.items() if tensor.requires_grad}
    for name, module in modules_held(model):
        for path, inner in module.named_modules():
            place = f"{name}.{path}".strip(".").replace("_orig_mod.", "")  # what was compiled
            kind = type(inner).__name__ if place else ""
            yield place, kind, dict(inner.named_parameters(recurse=False))
    if not is_module:
        rest = enumerate(held_by(optimizer), start=1)
        yield "", "", {f"parameter {i}": param for i, param in rest}
