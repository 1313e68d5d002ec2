"""The tensors, hooks and copies of models and optimizers, of those too that only look like ours.

A learner's model may be no `nn.Module` and keep its parameters as plain tensors; a learner's
optimizer may have a list `params` in the place of PyTorch's groups.
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.parameter import is_lazy

# The tensors of a model


def layers_of(model: Any) -> list[Any]:
    """A model and the layers within it; one that only looks like ours stands alone."""
    return list(model.modules()) if isinstance(model, torch.nn.Module) else [model]


def is_unshaped(layer: torch.nn.Module) -> bool:
    """Whether a layer has no shape yet, as a lazy one before its first batch."""
    tensors: list[Any] = [*layer._parameters.values(), *layer._buffers.values()]
    return any(map(is_lazy, tensors))


def named_parameters(model: Any) -> list[tuple[str, torch.Tensor]]:
    """The parameters that PyTorch knows by name; a model that only looks like ours has none."""
    return list(model.named_parameters()) if isinstance(model, torch.nn.Module) else []


def parameters_of(model: Any) -> dict[str, torch.Tensor]:
    """A model's parameters by name; a class of a learner's own may keep plain tensors."""
    named = dict(named_parameters(model))
    for name, value in _plain_parameters(model):
        named.setdefault(name, value)
    return named


def _plain_parameters(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """What is trained, and kept as a plain attribute, which PyTorch does not list."""
    for name, value in vars(model).items():
        if isinstance(value, torch.Tensor) and value.requires_grad and value.is_leaf:
            yield name, value


def frozen_in(model: Any) -> list[str]:
    """The names of the parameters that are not trained."""
    return [name for name, parameter in named_parameters(model) if not parameter.requires_grad]


def model_tensors(model: Any) -> dict[str, torch.Tensor]:
    """The parameters and buffers of a model, by name, with the values they have now."""
    tensors: dict[str, Any] = dict(model.state_dict()) if hasattr(model, "state_dict") else {}
    for name, value in _plain_parameters(model):
        tensors.setdefault(name, value.detach())
    # What has no shape yet has no value either.
    return {
        name: value
        for name, value in tensors.items()
        if isinstance(value, torch.Tensor) and not is_lazy(value)
    }


def tensors_of(model: Any) -> Iterator[torch.Tensor]:
    """A model's parameters, its buffers, and tensors that are plain attributes."""
    if isinstance(model, torch.nn.Module):
        yield from model.parameters()
        yield from model.buffers()
    for layer in layers_of(model):
        yield from (value for value in vars(layer).values() if isinstance(value, torch.Tensor))


# What an optimizer holds


def held_by(optimizer: Any) -> list[torch.Tensor]:
    """The tensors that an optimizer updates."""
    groups = getattr(optimizer, "param_groups", None)
    own = getattr(optimizer, "params", None)
    listed = [p for group in groups for p in group["params"]] if groups else own
    if not isinstance(listed, Iterable):
        return []
    return [tensor for tensor in listed if isinstance(tensor, torch.Tensor)]


def trained_tensors(model: Any, optimizer: Any) -> dict[str, torch.Tensor]:
    """What is trained, by name: a model's parameters, and what else its optimizer holds."""
    named = parameters_of(model)
    known = set(map(id, named.values()))
    loose = [tensor for tensor in held_by(optimizer) if id(tensor) not in known]
    named |= {f"number {i} of the optimizer": tensor for i, tensor in enumerate(loose)}
    return {name: p for name, p in named.items() if p.requires_grad and not is_lazy(p)}


def groups_of(optimizer: Any) -> list[dict[str, Any]]:
    """Where the settings of an optimizer are; of a learner's own, its attributes."""
    groups: list[dict[str, Any]] | None = getattr(optimizer, "param_groups", None)
    return groups or ([vars(optimizer)] if hasattr(optimizer, "__dict__") else [])


# Gradients, hooks and copies


@contextmanager
def keeping_gradients(tensors: Iterable[torch.Tensor]) -> Iterator[None]:
    """Afterwards these have the gradients that they had before."""
    gradients = [(tensor, tensor.grad) for tensor in tensors]
    try:
        yield
    finally:
        for tensor, gradient in gradients:
            tensor.grad = gradient


def hooks_of(layer: Any) -> list[dict[int, Any]]:
    """What is called before and after a layer, and its backward pass, in PyTorch's dictionaries."""
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [getattr(layer, name) for name in names if hasattr(layer, name)]


def copied_model(model: Any, known: dict[int, Any]) -> Any:
    """A copy of a model without what a learner, or a watcher, has hung on its layers.

    Args:
        model: The model.
        known: What is to stand in the copy for parts of it, by their id; its layers are added.
    """
    for layer in layers_of(model):
        known |= {id(hook): hook for hooks in hooks_of(layer) for hook in hooks.values()}
        for value in vars(layer).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                known[id(value)] = value.detach()  # PyTorch copies no other
    again = copy.deepcopy(model, known)
    for layer in layers_of(again):
        vars(layer).pop("_compiled_call_impl", None)  # as execution.stop_compiling does
    drop_hooks(again)
    return again


def drop_hooks(model: Any) -> None:
    """Takes the hooks off a model that are not PyTorch's own.

    A learner's record something, as a watcher's do; PyTorch's compute.
    """
    for hooks in (hooks for layer in layers_of(model) for hooks in hooks_of(layer)):
        for key, hook in list(hooks.items()):
            if not (getattr(hook, "__module__", None) or "").startswith("torch."):
                del hooks[key]
