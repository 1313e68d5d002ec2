"""What is tried out leaves no trace: afterwards all is put back that it has changed."""

import copy
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from gradbook.lookalikes import is_unshaped
from gradbook.seeds import generators_in, random_state, restore_random_state
from gradbook.tensors import copy_batch

#: What holds nothing to be put back, or what belongs to all.
_HOLDS_NOTHING = (str, bytes, int, float, type, ModuleType, FunctionType, MethodType)
#: How far is looked, into how long a list, and how long a list may be to be kept.
_DEEPEST, _LONGEST, _LARGEST = 6, 200, 10_000


@contextmanager
def untouched(owners: Iterable[Any], model: Any = None) -> Iterator[None]:
    """Afterwards all is as it was before: random generators, and what objects count or keep.

    What a model makes of itself stays: shapes of lazy layers, layers that its `forward` adds, and
    the random numbers that these drew.

    Args:
        owners: What may be changed: data, parts of loaders. Of them attributes, lists and
            dictionaries are put back, but no tensors, which may be large.
        model: A model that is run; its tensors are put back, too.
    """
    owners = list(owners)
    layers = list(model.modules()) if isinstance(model, nn.Module) else []
    lazy = [layer for layer in layers if is_unshaped(layer)]
    # Those with loaded parameters change their class too, and drop a hook, when they first run.
    settling = [layer for layer in layers if isinstance(layer, LazyModuleMixin)]
    structure = _structure(model)
    generators = generators_in([*owners, *layers])
    state = random_state(generators)
    # Of the model's own, but for what is the trainer's.
    others = [vars(model).get("trainer"), vars(model).get("board")] if layers else []
    own = _Kept(layers, map(id, [*lazy, *settling, *others]), with_tensors=True)
    data = _Kept(owners, own.seen, with_tensors=False)
    try:
        yield
    finally:
        data.put_back()
        is_the_same = _structure(model) == structure
        if is_the_same:
            own.put_back()
        if is_the_same and not lazy:
            restore_random_state(state, generators)


def _structure(model: Any) -> list[int]:
    layers = model.modules() if isinstance(model, nn.Module) else ()
    return [id(part) for layer in layers for part in (layer, *layer._parameters.values())]


class _Kept:
    """What objects hold, and lists, dictionaries and objects in them, to be put back.

    What has its id in `seen` is passed by.
    """

    def __init__(self, values: Iterable[Any], seen: Iterable[int], with_tensors: bool) -> None:
        self.seen, self._with_tensors = set(seen), with_tensors
        self._repairs: list[Callable[[], None]] = []
        # The nearest first, so that a long way to a thing does not hide what lies behind it.
        nearest = list(values)
        for _ in range(_DEEPEST + 1):
            nearest = [item for value in nearest for item in self._keep(value)]

    def _keep(self, value: Any) -> list[Any]:
        """Keeps what a value holds, and gives it."""
        if id(value) in self.seen or isinstance(value, _HOLDS_NOTHING):
            return []
        self.seen.add(id(value))
        if isinstance(value, torch.Tensor):
            if self._with_tensors and not is_lazy(value) and not value.is_inference():
                before = copy_batch(value.detach())
                self._repairs.append(partial(_give_values, value, value._version, before))
            return []
        if isinstance(value, np.ndarray):
            if self._with_tensors:
                self._repairs.append(partial(_give_numbers, value, value.copy()))
            return []
        held = getattr(value, "__dict__", None)
        containers: list[Any] = [held] if isinstance(held, dict) else []
        if isinstance(value, dict | list | set | deque):
            containers.append(value)
        for container in containers:
            if len(container) <= _LARGEST:
                self._repairs.append(partial(_give_items, container, copy.copy(container)))
        return [
            item
            for container in (*containers, value if isinstance(value, tuple) else ())
            if len(container) <= _LONGEST
            for item in (container.values() if isinstance(container, dict) else container)
        ]

    def put_back(self) -> None:
        """Gives everything that has changed what it held."""
        with torch.no_grad():
            for repair in self._repairs:
                repair()


def _give_items(value: Any, content: Any) -> None:
    if _items(value) == _items(content):
        return
    if isinstance(value, dict):  # by methods of its own, a Counter would add
        kind: Any = OrderedDict if isinstance(value, OrderedDict) else dict
        kind.clear(value)
        kind.update(value, content)
    else:
        value.clear()
        (value.update if isinstance(value, set) else value.extend)(content)


def _give_values(tensor: torch.Tensor, version: int, before: torch.Tensor) -> None:
    if (tensor.shape, tensor.dtype) != (before.shape, before.dtype):
        tensor.data = before
    elif tensor._version != version or not _are_equal(tensor, before):
        tensor.copy_(before)


def _give_numbers(array: Any, before: Any) -> None:
    if array.flags.writeable:
        array[...] = before


def _are_equal(tensor: torch.Tensor, before: torch.Tensor) -> bool:
    """Whether values are as before: PyTorch does not count what is written by way of `.data`."""
    with suppress(RuntimeError):  # sparse tensors, and those without values
        return torch.equal(tensor, before)
    return True


def _items(value: Any) -> list[Any]:
    """What a container holds, by identity."""
    return [(k, id(v)) for k, v in value.items()] if isinstance(value, dict) else [*map(id, value)]
