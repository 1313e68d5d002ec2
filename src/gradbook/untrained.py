"""What takes part in the loss of a training, and is not trained: told after the first step.

The optimizer holds what it was given. A layer in a plain list, a tensor in a dictionary or a second
network are not among a model's parameters, and stay as they are without a word from PyTorch.
"""

import dis
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

from gradbook.errors import GradbookWarning, warn

#: How deep is looked for names, and into how large collections.
_DEEPEST, _LONGEST = 8, 200

#: Attributes that lead out of a model.
_NOT_ITS_OWN = ("trainer", "board", "hparams", "training_step")


@contextmanager
def told(
    model: Any, optimizer: Any, first: Callable[[Any, Any, Any, Any], None] | None = None
) -> Iterator[None]:
    """While it lasts, the first loss is looked at, in whatever loop it is computed.

    A tensor that was not there before the first step may be made anew in each, as the change of an
    attacked input is: it is told only when the second loss depends on it, too. `first` is called
    with the model, its step, its batch and the first loss.
    """
    held = _reachable(optimizer, "", longest=None)
    if not held:  # it keeps them where nobody can look, so that nothing is known
        yield
        return
    look = _Look(model, held, first)
    vars(model)["training_step"] = look
    try:
        yield
        if not look.num_losses:  # a loop that computes the loss in another way
            look.tell([tensor for _, tensor in look.there.values() if tensor.grad is not None])
    finally:
        look.leave()


class _Look:
    """Stands before a model's `training_step` until it has seen enough of what that returns."""

    def __init__(
        self,
        model: Any,
        held: Mapping[int, tuple[str, torch.Tensor]],
        first: Callable[[Any, Any, Any, Any], None] | None,
    ) -> None:
        self.model, self.step, self.first = model, model.training_step, first
        # Where a learner replaced it on the model itself.
        self.before = {k: v for k, v in vars(model).items() if k == "training_step"}
        self.there = trainable_in(model)
        self.num_held, self.held = len(held), set(held)
        for value in list(vars(model).values()):
            # A second one, for a part of the model.
            if "param_groups" in getattr(value, "__dict__", ()):
                self.held |= _reachable(value, "", longest=None).keys()
        self.num_losses = 0
        self.doubtful: dict[int, torch.Tensor] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy of the model has a step of its own."""
        return _own_step, (self.model, self.before.get("training_step"))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        loss = self.step(*args, **kwargs)
        self.num_losses += 1
        leaves, is_whole = _leaves_of(loss)
        inputs = {place_of(tensor) for tensor in tensors_in([*args, *kwargs.values()])}
        foreign = {
            key: tensor
            for key, tensor in leaves.items()
            if key not in self.held and place_of(tensor) not in inputs
        }
        if self.num_losses == 1:
            if self.first is not None and args:
                self.first(self.model, self.step, args[0], loss)
            nothing = is_whole and bool(leaves) and not leaves.keys() & self.held
            self.doubtful = {k: t for k, t in foreign.items() if k not in self.there}
            self.tell([foreign[k] for k in self.there if k in foreign], nothing=nothing)
        else:
            self.tell([foreign[k] for k in self.doubtful if k in foreign])
            first = [t for t in self.doubtful.values() if isinstance(t, nn.Parameter)]
            new = [t for k, t in foreign.items() if k not in {**self.doubtful, **self.there}]
            if first and any(isinstance(tensor, nn.Parameter) for tensor in new):
                warn(
                    f"{type(self.model).__name__} makes new layers in each step, such as one with "
                    f"a parameter of shape {tuple(first[0].shape)}, and nothing trains them. Make "
                    f"them once, in __init__, as attributes of the model.",
                    GradbookWarning,
                )
            self.doubtful = {}
        if not self.doubtful:
            self.leave()
        return loss

    def leave(self) -> None:
        """Makes way for the step itself."""
        attributes = vars(self.model)
        if attributes.get("training_step") is self:
            del attributes["training_step"]
            attributes.update(self.before)

    def tell(self, tensors: Iterable[torch.Tensor], nothing: bool = False) -> None:
        """Warns that these are not trained; with `nothing`, that no tensor at all is."""
        tensors = [tensor for tensor in tensors if id(tensor) not in self.held]
        name = type(self.model).__name__
        if nothing:
            warn(
                f"{name} learns nothing: none of the {self.num_held} tensors that its optimizer "
                f"holds takes part in the loss. Make the optimizer in configure_optimizers, of "
                f"`self.parameters()`.",
                GradbookWarning,
            )
        if not tensors:
            return
        is_module = isinstance(self.model, nn.Module)
        registered = set(map(id, self.model.parameters() if is_module else ()))
        loose = [tensor for tensor in tensors if id(tensor) not in registered]
        advice = ["give the optimizer all of `self.parameters()`"] * (len(loose) < len(tensors))
        kinds = {isinstance(tensor, nn.Parameter) for tensor in loose}
        for is_layer, what, kind in ((True, "layers", "Module"), (False, "tensors", "Parameter")):
            if is_layer in kinds:
                advice.append(
                    f"set {what} as attributes in __init__, or keep them in an nn.{kind}List or "
                    f"nn.{kind}Dict"
                )
        places = {**trainable_in(self.model), **self.there}
        unnamed = [f"a tensor of shape {tuple(tensor.shape)}" for tensor in tensors]
        listed = [places.get(id(t), (text,))[0] for t, text in zip(tensors, unnamed, strict=True)]
        more = f" and {len(listed) - 6} more" if len(listed) > 6 else ""
        warn(
            f"The loss of {name} depends on tensors that its optimizer does not train: "
            f"{', '.join(listed[:6])}{more}. To train it, {'; '.join(advice)}. If it is meant to "
            f"stay as it is, call requires_grad_(False) on it.",
            GradbookWarning,
        )


def _own_step(model: Any, step: Any) -> Any:
    """What a copy of a model does as its step."""
    return model.training_step if step is None else step


def nodes_behind(value: Any) -> Iterator[Any]:
    """The nodes of the graphs that autograd keeps of the tensors in a value, each once."""
    waiting: list[Any] = [tensor.grad_fn for tensor in tensors_in(value)]
    seen: set[Any] = {None}
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            yield node
            waiting += [inner for inner, _ in node.next_functions]


def _leaves_of(loss: Any) -> tuple[dict[int, torch.Tensor], bool]:
    """The tensors that a backward pass from here would reach, and whether these are all."""
    leaves, is_whole = {}, True
    for node in nodes_behind(loss):
        variable = getattr(node, "variable", None)
        if isinstance(variable, torch.Tensor):
            leaves[id(variable)] = variable
        # Whose inside is computed anew in the backward pass.
        is_whole &= not type(node).__name__.startswith("CheckpointFunction")
    return leaves, is_whole


def place_of(tensor: torch.Tensor) -> int:
    """Where a tensor's values are: the same for what shares them."""
    return tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else id(tensor)


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors in lists, tuples and dictionaries."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    items = value if isinstance(value, list | tuple) else ()
    return [tensor for item in items for tensor in tensors_in(item)]


# Where a tensor is kept


def trainable_in(model: Any) -> dict[int, tuple[str, torch.Tensor]]:
    """The trainable tensors that a model holds, or its methods use, with their names."""
    found = _reachable(model, "")
    for Class in type(model).__mro__:
        for function in vars(Class).values():
            if isinstance(function, types.FunctionType) and not _is_closed(function.__module__):
                for name, value in _outside(function):
                    if isinstance(value, torch.Tensor | nn.Module | list | tuple | dict):
                        found = {**_reachable(value, name), **found}
    return found


def _outside(function: types.FunctionType) -> list[tuple[str, Any]]:
    """The globals that a function uses, and the variables of the functions around it."""
    known, names = function.__globals__, function.__code__.co_names  # of attributes, too
    used = [(name, known[name]) for name in names if name in known]
    if any(isinstance(value, torch.Tensor | nn.Module) for _, value in used):
        code = dis.get_instructions(function.__code__)
        are_global = {each.argval for each in code if each.opname == "LOAD_GLOBAL"}
        used = [(name, value) for name, value in used if name in are_global]
    return [*used, *closed_over(function).items()]


def closed_over(function: types.FunctionType) -> dict[str, Any]:
    """The variables that a function has from the one around it."""
    values = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        with suppress(ValueError):  # one that is empty yet
            values[name] = cell.cell_contents
    return values


def _reachable(
    root: Any, name: str, longest: int | None = _LONGEST
) -> dict[int, tuple[str, torch.Tensor]]:
    """The tensors that require a gradient which an object holds, by identity, with names."""
    found: dict[int, tuple[str, torch.Tensor]] = {}
    seen: set[int] = set()
    # The nearest first, so that a long way to a thing does not hide what lies behind it.
    waiting: deque[tuple[Any, str, int]] = deque([(root, name, 0)])
    while waiting:
        value, name, depth = waiting.popleft()
        if id(value) in seen or depth > _DEEPEST:
            continue
        seen.add(id(value))
        if not isinstance(value, torch.Tensor):
            inner = _items_of(value, name, longest)
            waiting += [(v, n, depth + 1) for v, n in inner if not isinstance(v, _HOLDS_NONE)]
        elif value.is_leaf and value.requires_grad:
            found[id(value)] = name, value
        elif value.grad_fn is not None:  # a result, whose source nothing else may hold
            for key, leaf in _leaves_of(value)[0].items():
                found.setdefault(key, (f"what {name} was computed from", leaf))
    return found


def _items_of(value: Any, name: str, longest: int | None) -> Iterator[tuple[Any, str]]:
    """What an object holds, with names."""
    attributes: Mapping[str, Any] = {}
    if isinstance(value, nn.Module):
        own = {k: v for k, v in vars(value).items() if k not in _OF_EVERY_MODULE}
        attributes = {**value._parameters, **value._modules, **own}
    elif isinstance(value, Mapping | list | tuple | set | frozenset):
        if longest is None or len(value) <= longest:
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            for key, item in list(items):
                yield key, name
                yield item, f"{name}[{key!r:.40}]"
    elif isinstance(value, types.FunctionType | types.MethodType):
        function = getattr(value, "__func__", value)
        if isinstance(function, types.FunctionType):
            yield from ((variable, name) for variable in closed_over(function).values())
        yield getattr(value, "__self__", None), name
    elif not _is_closed(type(value).__module__) or hasattr(value, "param_groups"):
        attributes = getattr(value, "__dict__", {})
    for key, item in list(attributes.items()):
        if key not in _NOT_ITS_OWN:
            yield item, _attribute(name, key)


_OF_EVERY_MODULE = vars(nn.Module())
_HOLDS_NONE = (str, bytes, int, float, type, types.ModuleType, types.NoneType)


def _attribute(of: str, name: str) -> str:
    """An attribute's name: "net.weight", and "net[0]" for a layer that has a number."""
    if name.isdecimal():
        return f"{of}[{name}]"
    return f"{of}.{name}" if of else name


def _is_closed(module: str | None) -> bool:
    """Whether nothing is looked for in objects and functions of such a module."""
    return (module or "").partition(".")[0] in ("torch", "numpy", "builtins")
