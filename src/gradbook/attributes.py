"""What objects keep in plain attributes: taken between two steps, and put back in place.

A model, its data and its loaders may count, collect and average in attributes that PyTorch does not
know. `Keeper.take` copies them, so that later steps do not change what was taken, and `to_plain`
turns that into what a checkpoint can hold. A checkpoint names no class to make an object of: it
fills the objects that are there. Only where one of them has to become two is a copy made of it.

It is long because what is taken of a kind of value and how that is put back change together.
"""

import ast
import dis
import io
import itertools
import operator
import os
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from enum import Enum
from functools import lru_cache
from importlib import import_module
from inspect import getattr_static
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.data import Dataset

from gradbook.libraries import is_library
from gradbook.parts import part_here

#: The most things kept in one attribute: of a model, and of anything else, which may be data.
LONGEST, LONGEST_OF_DATA = 100_000, 1_000
#: A tensor or an array of a model with more elements than this is not kept.
LARGEST = 2**24
#: The most things kept within one another. Each takes up to two of a checkpoint's 100 levels.
DEEPEST = 40

#: Attributes that are no state, by what the class of their owner has: they lead elsewhere, or say
#: where things are on this machine. Other objects may use these names for what they like.
_NO_STATE = {
    "training_step": {"trainer", "board", "training_step", "_may_be_trained"},  # a model
    "save_hyperparameters": {"hparams"},
    "train_dataloader": {"root", "num_workers"},  # data
}
_OF_EVERY_MODULE = vars(nn.Module()).keys() - {"training"}

_PLAIN = (type(None), bool, int, float, str)
_SEQUENCES: dict[str, Any] = {c.__name__: c for c in (list, tuple, deque, set, frozenset)}
_MAPPINGS: dict[str, Any] = {c.__name__: c for c in (dict, OrderedDict, Counter, defaultdict)}
#: Of each kind of number the type that PyTorch has, too, in Python's own order of bytes.
_WIDE = {"u": np.int64, "i": np.int64, "b": np.bool_, "f": np.float64}
#: Numbers that a text makes, by name, because to import their modules would take time.
_WRITTEN = ("builtins.complex", "decimal.Decimal", "fractions.Fraction")


class Kept:
    """A copy of a tensor that was taken, or an object itself: what is no plain value."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        mine, theirs = self.value, getattr(other, "value", None)
        if mine is theirs or not isinstance(mine, torch.Tensor):
            return mine is theirs
        if not isinstance(theirs, torch.Tensor) or _form(mine) != _form(theirs):
            return False
        return bool(((mine == theirs) | ((mine != mine) & (theirs != theirs))).all())


class _Lost(Exception):  # noqa: N818 - no error: the rest is put back
    """Something that is not there any more, and that nothing of a checkpoint can make anew."""


class _TooMuch(Exception):  # noqa: N818
    """An attribute that holds more than is kept: by what, if it is to be told."""


class Keeper:
    """Takes what owners keep in plain attributes, and puts it back.

    Owners are the data, the parts of the loaders and the model's layers; `elsewhere` is what is
    kept in another way, such as the optimizer. What could not be kept when it was last taken is in
    `unkept`, in words.
    """

    def __init__(self, owners: Any, elsewhere: Any = ()) -> None:
        self._owners = list(owners)
        self.unkept: list[str] = []
        self._known = {id(thing) for thing in (*owners, *elsewhere)}

    def take(self) -> list[dict[str, Any]]:
        """The state of each owner, which later steps do not change."""
        self.unkept = []
        registered = self._registered()
        known, memories = self._known | set(map(id, registered)), _memories_of(registered)
        return [self._of(owner, known, memories) for owner in self._owners]

    def _registered(self) -> list[torch.Tensor]:
        """The parameters and buffers, which are kept in another way."""
        return [
            tensor
            for owner in self._owners
            if isinstance(owner, nn.Module)
            for tensor in (*owner._parameters.values(), *owner._buffers.values())
            if tensor is not None
        ]

    def written_globals(self) -> list[str]:
        """The global variables that the owners' methods set, in words."""
        classes = dict.fromkeys(base for o in self._owners for base in type(o).__mro__)
        return [text for base in classes if is_learners(base) for text in _globals_written(base)]

    def put_back(self, states: list[dict[str, Any]]) -> list[str]:
        """Puts back what `take` gave, and returns the names of what there is no place for."""
        lost: list[str] = []
        places = _Places(self._registered(), self._known)
        for owner, state in zip(self._owners, states, strict=True):
            if "source" in state:
                places.note(state, owner)
        for owner, state in zip(self._owners, states, strict=True):
            restoring = _Restoring(lost, owner, isinstance(state.get("source"), Kept), places)
            restoring.attributes(owner, state["attributes"], type(owner).__name__)
            classes = {_name(base): base for base in type(owner).__mro__ if is_learners(base)}
            for name, kept in state["classes"].items():
                if name in classes:
                    restoring.of_class(classes[name], kept)
                else:
                    lost += [f"{name}.{attribute}" for attribute in kept]
        return lost

    def _of(self, owner: Any, known: set[int], memories: dict[int, int]) -> dict[str, Any]:
        # A layer with a `get_extra_state` of its own keeps by it what is left out here.
        is_model = isinstance(owner, nn.Module)
        extra = is_model and type(owner).get_extra_state is not nn.Module.get_extra_state
        taking = _Taking(known, memories, [] if extra else self.unkept, is_model)
        own, bases = _attributes(owner), [b for b in type(owner).__mro__ if is_learners(b)]
        if _root(type(owner)) == "torch":
            # A layer of PyTorch's counts in numbers, if at all.
            own, bases = {k: v for k, v in own.items() if _is_number(v)}, []
        classes = {_name(b): taking.attributes(_of_class(b), b.__name__) for b in bases}
        states = taking.attributes(own, type(owner).__name__)
        return {"attributes": states, "classes": classes, "source": Kept(owner)}


def _is_number(value: Any) -> bool:
    return type(value) in (int, float, bool) or isinstance(value, np.generic)


def _name(Class: type) -> str:
    return f"{Class.__module__}.{Class.__qualname__}"


def _root(Class: type) -> str:
    return (Class.__module__ or "").partition(".")[0]


@lru_cache(maxsize=1024)
def is_learners(Class: type) -> bool:
    """Whether a class was written by a learner, and not by Python, a library or us."""
    root = _root(Class)
    if root in ("torch", "numpy", "gradbook", "d2l"):
        return False
    file = getattr(sys.modules.get(root), "__file__", None)
    if root == "__main__" or file is None:  # a script, a notebook, or what is built into Python
        return root not in sys.stdlib_module_names
    # By its place, because a learner's file may be called test.py, as one of Python's own is.
    return not is_library(file)


def _is_entered(Class: type) -> bool:
    """Whether objects of a class are looked into: a learner's own, but no trainer or board."""
    is_ours = any(
        _root(base) == "gradbook" and base.__module__ != "gradbook.hparams"
        for base in Class.__mro__
    )
    is_own = is_learners(Class) and not is_ours and not issubclass(Class, type)
    return is_own or Class is types.SimpleNamespace


def _attributes(thing: Any) -> dict[str, Any]:
    """The attributes of an object that may be state, those in slots too."""
    own = dict(getattr(thing, "__dict__", {}))
    for name, slot in slots_of(_class_of(thing)).items():
        with suppress(AttributeError):  # it is not set
            own.setdefault(name, slot.__get__(thing))
    left_out = _left_out(_class_of(thing))
    return {name: value for name, value in own.items() if name not in left_out}


def _class_of(thing: Any) -> type:
    return type(thing)  # whose own type is no key of a cache for mypy


@lru_cache(maxsize=1024)
def slots_of(Class: type) -> dict[str, types.MemberDescriptorType]:
    """The slots of a class by the names that they really have: `_Class__n` of `__n`."""
    return {
        name: slot
        for base in reversed(Class.__mro__)
        if "__slots__" in vars(base)
        for name, slot in vars(base).items()
        if isinstance(slot, types.MemberDescriptorType)
    }


@lru_cache(maxsize=1024)
def _left_out(Class: type) -> set[str]:
    """The names of attributes that are no state of an object of this class."""
    names = set().union(*(names for method, names in _NO_STATE.items() if hasattr(Class, method)))
    if issubclass(Class, Dataset):
        names.add("root")
    return names | _OF_EVERY_MODULE if issubclass(Class, nn.Module) else names


def _of_class(Class: type) -> dict[str, Any]:
    """What a class itself counts or collects in."""
    return {
        name: value
        for name, value in vars(Class).items()
        if not name.startswith("__") and _is_taken(value)
    }


#: What is looked at at all; other values, such as functions and layers, are no state.
_TAKEN = {*_PLAIN, list, tuple, deque, set, frozenset, *_MAPPINGS.values(), np.ndarray}
_TAKEN |= {torch.Tensor, nn.Parameter, itertools.count, bytes, bytearray}


def _is_taken(value: Any) -> bool:
    return type(value) in _TAKEN or isinstance(value, np.generic) or _name(type(value)) in _WRITTEN


class _Taking:
    """One look at an owner."""

    def __init__(
        self, known: set[int], memories: dict[int, int], unkept: list[str], is_model: bool
    ) -> None:
        self._known, self._memories = known, memories
        self._unkept, self._is_model = unkept, is_model
        self._inside: set[int] = set()
        self._left = 0

    def attributes(self, own: dict[str, Any], of: str) -> dict[str, Any]:
        """Values by name."""
        states = {}
        for name, value in own.items():
            self._left = LONGEST if self._is_model else LONGEST_OF_DATA
            self._is_too_deep = False
            place = f"{of}.{name}"
            try:
                state = self.value(value, place)
                if self._is_too_deep:
                    raise _TooMuch(f"more than {DEEPEST} things within one another")
            except _TooMuch as why:
                state = self._say(value, place, str(why)) if str(why) else _other(value)
            if state is not None:
                states[name] = state
        return states

    def _say(self, value: Any, place: str, why: str) -> dict[str, Any]:
        """The state of what could not be kept, which is told."""
        self._unkept.append(f"{place} ({why})")
        return _other(value)

    def _count(self, number: int) -> None:
        self._left -= number
        if self._left < 0:
            raise _TooMuch(f"more than {LONGEST:,} values" if self._is_model else "")

    def value(self, value: Any, place: str) -> Any:
        """A value as plain values and `Kept`; None of what is no state."""
        kind = type(value)
        self._count(1)
        other = _other(value)
        if kind in _PLAIN:
            if kind is str and not self._is_model:
                is_place = os.sep in value or "/" in value  # on this machine
                if is_place or len(value) > LONGEST_OF_DATA:
                    return other
            return value if value is not None else {"is": "None"}
        if isinstance(value, np.generic):
            if value.dtype.kind not in "biuf":
                return other
            return {"is": "number", "dtype": value.dtype.str, "value": value.item()}
        if _name(kind) in _WRITTEN:
            return {"is": kind.__name__, "value": str(value)}
        if kind in (bytes, bytearray):
            self._count(len(value))
            return {"is": kind.__name__, "value": value.hex(), "source": Kept(value)}
        if isinstance(value, Enum):
            return {"is": "enum", "name": value.name, "source": Kept(value)}
        if id(value) in self._known or id(value) in self._inside:
            return other
        if isinstance(value, torch.Tensor | np.ndarray):
            return self._array(value, place)
        if len(self._inside) == DEEPEST:
            # The rest is counted first: of data, too much to be kept is no news.
            self._is_too_deep = True
            return other
        self._inside.add(id(value))
        try:
            return self._holder(value, place)
        finally:
            self._inside.discard(id(value))

    def _array(self, value: Any, place: str) -> Any:
        if not self._is_model:
            return _other(value)  # data, which no checkpoint repeats
        if isinstance(value, np.ndarray):
            if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8 or value.size > LARGEST:
                return self._say(value, place, f"an array {value.shape} of {value.dtype}")
            state = {"is": "array", "dtype": value.dtype.str}
            content = torch.from_numpy(value.astype(_WIDE[value.dtype.kind]))
        elif is_lazy(value) or value.layout is not torch.strided or value.numel() > LARGEST:
            return self._say(value, place, f"a tensor {tuple(value.shape)}")
        else:
            requires = value.requires_grad and value.is_leaf
            on_cpu = value.device.type == "cpu"
            state = {"is": "tensor", "requires": requires, "on_cpu": on_cpu}
            content = value.detach().clone()
        memory = self._memories.setdefault(_memory_of(value), len(self._memories))
        return {**state, "memory": memory, "content": Kept(content), "source": Kept(value)}

    def _holder(self, value: Any, place: str) -> Any:
        kind, source = type(value), Kept(value)
        is_record = isinstance(value, tuple) and hasattr(value, "_fields")
        if is_record or kind is _SEQUENCES.get(kind.__name__):
            items = sorted(value, key=repr) if kind in (set, frozenset) else list(value)
            states = items
            if set(map(type, items)) <= {bool, int, float}:  # a long record of losses is quick
                self._count(len(items))
            else:
                states = [self._item(item, f"{place}[{i}]") for i, item in enumerate(items)]
            if is_record:
                return {"is": "record", "class": _name(kind), "items": states, "source": source}
            more = {"maxlen": value.maxlen} if kind is deque else {}
            return {"is": kind.__name__, "items": states, "source": source, **more}
        if kind is _MAPPINGS.get(kind.__name__):
            keys = [self._item(key, place) for key in value]
            values = [self._item(item, f"{place}[{key!r:.30}]") for key, item in value.items()]
            return {"is": kind.__name__, "keys": keys, "values": values, "source": source}
        if kind is itertools.count:
            numbers = ast.literal_eval(f"({repr(value)[len('count(') : -1]},)")
            return {"is": "count", "value": [*numbers, 1][:2], "source": source}
        if isinstance(value, io.IOBase):
            if value.closed or not value.readable():
                return None
            return self._say(value, place, "an open file")
        if hasattr(kind, "__next__"):
            return self._say(value, place, f"a {kind.__name__}, which cannot be taken apart")
        if hasattr(kind, "state_dict") and hasattr(kind, "load_state_dict"):
            inner = value.state_dict()
            inner = self.value(dict(inner) if isinstance(inner, dict) else inner, place)
            return {"is": "state", "class": _name(kind), "state": inner, "source": source}
        if not _is_entered(kind):
            return None
        if isinstance(value, list | dict | set | deque):
            why = f"a {kind.__name__}, which is derived from a collection"
            return self._say(value, place, why)
        states_of = {
            name: state
            for name, item in _attributes(value).items()
            if (state := self.value(item, f"{place}.{name}")) is not None
        }
        return {"is": "object", "class": _name(kind), "attributes": states_of, "source": source}

    def _item(self, item: Any, place: str) -> Any:
        state = self.value(item, place)
        return _other(item) if state is None else state


def _other(value: Any) -> dict[str, Any]:
    """The state of what is not taken apart."""
    return {"is": "other", "source": Kept(value)}


def _memory_of(value: torch.Tensor | np.ndarray) -> int:
    """Where the memory lies of which a tensor or an array shows all or a part."""
    while isinstance(value, np.ndarray):
        if not isinstance(value.base, np.ndarray | torch.Tensor):
            return int(value.__array_interface__["data"][0])
        value = value.base
    return part_here(value).untyped_storage().data_ptr()


def _memories_of(registered: list[torch.Tensor]) -> dict[int, int]:
    """A number below zero for each memory of parameters and buffers."""
    memories: dict[int, int] = {}
    for i, tensor in enumerate(registered):
        if not is_lazy(tensor) and tensor.layout is torch.strided:
            memories.setdefault(_memory_of(tensor), -1 - i)
    return memories


class _Places:
    """Which object of now stands for which one of a state, so that two never become one.

    The state of an object names it by its source: the object itself, or, of a checkpoint, a number.
    Parameters and buffers (`registered`) have their values already, as has what is `known`.
    """

    def __init__(self, registered: list[torch.Tensor], known: set[int]) -> None:
        self._by_source: dict[int, Any] = {}
        self._sources: dict[int, int | None] = dict.fromkeys({*map(id, registered), *known})
        self._memories = _memories_of(registered)

    def note(self, state: dict[str, Any], thing: Any) -> Any:
        """From here on, `thing` stands for the object of this state."""
        source = state["source"]
        if not isinstance(source, Kept):
            self._by_source[source] = thing
            self._sources[id(thing)] = source
        return thing

    def find(self, state: dict[str, Any], current: Any) -> Any:
        """What stands for the object of a state: `current`, if nothing does yet."""
        source = state["source"]
        return source.value if isinstance(source, Kept) else self._by_source.get(source, current)

    def is_free(self, state: dict[str, Any], thing: Any) -> bool:
        """Whether `thing` stands for no other object than that of this state."""
        source = state["source"]
        return isinstance(source, Kept) or self._sources.get(id(thing), source) == source

    def may_fill(self, state: dict[str, Any], thing: torch.Tensor | np.ndarray) -> bool:
        """Whether a tensor or an array, and the memory that it shows a part of, are free."""
        if isinstance(state["source"], Kept):
            return True
        memory = self._memories.setdefault(_memory_of(thing), state["memory"])
        return self.is_free(state, thing) and memory == state["memory"]


class _Restoring:
    """Puts the state of one owner back."""

    def __init__(self, lost: list[str], owner: Any, is_same_process: bool, places: _Places) -> None:
        self._lost, self._owner, self._is_same_process = lost, owner, is_same_process
        self._places = places

    def attributes(self, thing: Any, states: dict[str, Any], place: str) -> None:
        now = _attributes(thing)
        for name, value in self._changed(now, states, place):
            _check_is_attribute(thing, name)
            _set(thing, name, value)
        if not self._is_same_process or _root(type(thing)) == "torch":
            return
        for name, value in now.items():
            if name not in states and _is_taken(value):  # it was not there yet
                _delete(thing, name)

    def of_class(self, Class: type, states: dict[str, Any]) -> None:
        now = _of_class(Class)
        for name, value in self._changed(now, states, Class.__name__):
            if name not in now and getattr_static(Class, name, _MISSING) is not _MISSING:
                raise ValueError(f"{Class.__name__}.{name} is no attribute that is kept")
            setattr(Class, name, value)

    def _changed(
        self, now: dict[str, Any], states: dict[str, Any], place: str
    ) -> Iterator[tuple[str, Any]]:
        """The values that are to be set, by name: those that are not the same objects as now."""
        for name, state in states.items():
            current = now.get(name, _MISSING)
            try:
                value = self.value(current, state, f"{place}.{name}")
            except _Lost:
                if not (isinstance(state, dict) and state.get("is") == "other"):
                    self._lost.append(f"{place}.{name}")
            else:
                if value is not current:
                    yield name, value

    def value(self, current: Any, state: Any, place: str) -> Any:
        if type(state) in _PLAIN and state is not None:
            return current if type(current) is type(state) and current == state else state
        kind = state["is"]
        if kind == "None":
            return None
        if kind == "number":
            return _dtype(state["dtype"]).type(state["value"])
        if kind == "complex":
            return complex(state["value"])
        if kind == "Decimal":
            return import_module("decimal").Decimal(state["value"])
        if kind == "Fraction":
            return import_module("fractions").Fraction(*map(int, state["value"].split("/")))
        target = self._places.find(state, current)
        if kind == "other":
            if target is _MISSING:
                raise _Lost
            return target
        if kind == "bytes":
            return bytes.fromhex(state["value"])
        if kind == "bytearray":
            content = bytearray.fromhex(state["value"])
            if type(target) is bytearray and self._places.is_free(state, target):
                target[:], content = content, target
            return self._places.note(state, content)
        if kind == "enum":
            if not isinstance(target, Enum):
                raise _Lost
            return type(target)[state["name"]]
        if kind == "count":
            new = itertools.count(*state["value"])
            same = type(target) is itertools.count and repr(target) == repr(new)
            same = same and self._places.is_free(state, target)
            return self._places.note(state, target if same else new)
        if kind == "tensor":
            return self._places.note(state, self._tensor(target, state))
        if kind == "array":
            return self._places.note(state, self._array(target, state))
        if kind in _SEQUENCES:
            return self._sequence(target, state, _SEQUENCES[kind], place)
        if kind in _MAPPINGS:
            return self._mapping(target, state, _MAPPINGS[kind], place)
        if target is _MISSING or _name(type(target)) != state["class"]:
            raise _Lost
        if kind == "record" and isinstance(target, tuple):
            return type(target)(*self._items(target, state["items"], place))
        is_free = self._places.is_free(state, target)
        if kind == "state":
            if not is_free:
                raise _Lost
            self._places.note(state, target)
            target.load_state_dict(self.value(_MISSING, state["state"], place))
        elif kind == "object":
            if not _is_entered(type(target)):
                raise ValueError(f"{place} is no object that is kept")
            target = self._places.note(state, target if is_free else copy(target))
            self.attributes(target, state["attributes"], place)
        else:
            raise ValueError(f"{place} is of the unknown kind {kind!r}")
        return target

    def _array(self, target: Any, state: dict[str, Any]) -> Any:
        array = state["content"].value.numpy().astype(_dtype(state["dtype"]))
        is_fitting = type(target) is np.ndarray and _form(target) == _form(array)
        if not is_fitting or not self._places.may_fill(state, target):
            return array
        if not np.array_equal(target, array, equal_nan=array.dtype.kind == "f"):
            target[...] = array
        return target

    def _tensor(self, target: Any, state: dict[str, Any]) -> Any:
        saved: torch.Tensor = state["content"].value
        is_fitting = isinstance(target, torch.Tensor) and _form(target) == _form(saved)
        if is_fitting and self._places.may_fill(state, target):
            if Kept(target.detach()) == Kept(saved.to(target.device)):
                return target  # unchanged, and perhaps part of a graph that is still needed
            if target.is_leaf and not target.is_inference():
                with torch.no_grad():
                    return target.copy_(saved)
        device = torch.device("cpu")
        if not state["on_cpu"] and isinstance(self._owner, nn.Module):
            device = next((tensor.device for tensor in self._owner.parameters()), device)
        return saved.to(device, copy=True).requires_grad_(state["requires"])

    def _items(self, target: Any, states: list[Any], place: str) -> list[Any]:
        if set(map(type, states)) <= {bool, int, float}:
            return states
        current = list(target) if isinstance(target, list | tuple | deque) else []
        return [
            self.value(current[i] if i < len(current) else _MISSING, state, f"{place}[{i}]")
            for i, state in enumerate(states)
        ]

    def _sequence(self, target: Any, state: Any, kind: Any, place: str) -> Any:
        is_filled = type(target) is kind and self._places.is_free(state, target)
        if kind in (tuple, frozenset):
            new = kind(self._items(target, state["items"], place))
            if is_filled and (new == target if kind is frozenset else _same_items(new, target)):
                new = target
            return self._places.note(state, new)
        filled: Any = target
        if not is_filled or (kind is deque and target.maxlen != state["maxlen"]):
            filled = deque(maxlen=state["maxlen"]) if kind is deque else kind()
        self._places.note(state, filled)  # before its items, one of which may be it
        items = self._items(target, state["items"], place)
        if filled == kind(items) if kind is set else _same_items(filled, items):
            return filled
        filled.clear()
        (filled.update if kind is set else filled.extend)(items)
        return filled

    def _mapping(self, target: Any, state: Any, kind: Any, place: str) -> Any:
        is_there = type(target) is kind
        if not is_there and kind is defaultdict:
            raise _Lost  # what makes its values is not known
        mapping = target
        if not is_there or not self._places.is_free(state, target):
            mapping = defaultdict(target.default_factory) if kind is defaultdict else kind()
        self._places.note(state, mapping)
        keys = [self.value(_MISSING, key, place) for key in state["keys"]]
        now = dict(target) if is_there else {}
        values = [
            self.value(now.get(key, _MISSING), item, f"{place}[{key!r:.30}]")
            for key, item in zip(keys, state["values"], strict=True)
        ]
        if list(mapping) != keys or not _same_items(mapping.values(), values):
            mapping.clear()
            mapping.update(dict(zip(keys, values, strict=True)))
        return mapping


def _same_items(some: Any, others: Any) -> bool:
    return len(some) == len(others) and all(map(operator.is_, some, others))


_MISSING = object()


def _dtype(name: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(name)
    if dtype.kind not in "biuf":  # a forged file may ask for enormous ones
        raise ValueError(f"{name!r} is no type of a number")
    return dtype


def _form(tensor: torch.Tensor | np.ndarray) -> tuple[Any, ...]:
    """What two tensors or arrays have in common when one can take the values of the other."""
    return tuple(tensor.shape), tensor.dtype


def _check_is_attribute(thing: Any, name: Any) -> None:
    """Raises ValueError for a name under which no state is kept, as a forged file may have one."""
    of_class = getattr_static(type(thing), name, None) if isinstance(name, str) else None
    is_slot = isinstance(of_class, types.MemberDescriptorType)
    wrong = not is_slot and (callable(of_class) or hasattr(type(of_class), "__set__"))
    wrong = wrong or not isinstance(name, str) or name.startswith("__")
    wrong = wrong or name in _left_out(_class_of(thing))
    if isinstance(thing, nn.Module):
        places = (thing._parameters, thing._buffers, thing._modules)
        wrong = wrong or any(name in place for place in places)
    if wrong:
        raise ValueError(f"{type(thing).__name__}.{name} is no attribute that is kept")


def _set(thing: Any, name: str, value: Any) -> None:
    # Beside `__setattr__`, which would make a tensor a parameter, and refuses to change a frozen
    # dataclass.
    if hasattr(thing, "__dict__") and name not in slots_of(_class_of(thing)):
        vars(thing)[name] = value
    else:
        object.__setattr__(thing, name, value)


def _delete(thing: Any, name: str) -> None:
    if name in getattr(thing, "__dict__", {}):
        del vars(thing)[name]
    else:
        object.__delattr__(thing, name)


def _globals_written(Class: type) -> Iterator[str]:
    """The global variables that methods of a class set."""
    for name, value in vars(Class).items():
        function = getattr(value, "__func__", value)
        if isinstance(function, types.FunctionType):
            for instruction in dis.get_instructions(function):
                if instruction.opname == "STORE_GLOBAL":
                    where = f"{Class.__name__}.{name}"
                    yield f"{instruction.argval} (a global variable, which {where} sets)"


# In a checkpoint


def to_plain(states: Any) -> Any:
    """What `Keeper.take` gave, as plain values and tensors, and a number for each source."""
    numbers: dict[int, int] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, Kept):
            return value.value
        if isinstance(value, dict):
            return {
                key: numbers.setdefault(id(item.value), len(numbers))
                if key == "source" and isinstance(item, Kept)
                else plain(item)
                for key, item in value.items()
            }
        return [plain(item) for item in value] if isinstance(value, list) else value

    return plain(states)


def from_plain(value: Any) -> Any:
    """The opposite of `to_plain`, but for what only this process knows."""
    if isinstance(value, torch.Tensor):
        return Kept(value)
    if isinstance(value, dict):
        return {key: from_plain(item) for key, item in value.items()}
    return [from_plain(item) for item in value] if isinstance(value, list) else value
