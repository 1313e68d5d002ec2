"""What a step of a model does beside its result, and what it depends on.

A stack traces a step once, and Python code does not run again. That is right only for steps that
change nothing and read nothing that changes, which nobody can prove of any code. So a step is
watched while it runs: what its code can reach is noted before and compared after, and every call
that it makes is seen. What is not known to be harmless counts as doubt.
"""

import enum
import sys
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, partial, partialmethod
from pathlib import PurePath
from re import Pattern
from typing import Any

import numpy as np
import torch
from torch.nn.parameter import is_lazy

from gradbook.attributes import slots_of
from gradbook.sweeps.calls import (
    PARTS_OF_METHODS,
    Calls,
    Foreseen,
    codes_in,
    is_foreign,
    library_of,
    names_in,
    names_of_class,
)
from gradbook.sweeps.notes import MISSING, ArrayNote, Note, TensorNote, note_variables

#: More than this is not looked through, and a longer list or dictionary not looked into.
_MOST_OBJECTS, _LONGEST = 20_000, 2_000

#: Before a step is watched, a longer one is noted if nothing in it can change.
_LONGEST_FLAT = 200_000

#: A tensor with more numbers is copied only where it may be changed by a look; else it is compared
#: by PyTorch's count of its changes. An array with more is not compared.
_LARGE = 2**20

#: Values that never change.
_CONSTANTS = (
    *(type(None), bool, int, float, complex, str, bytes, range, slice, type(...)),
    *(type(NotImplemented), Decimal, Fraction, date, time, timedelta, tzinfo, PurePath, Pattern),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format, torch.finfo, torch.iinfo),
    torch.Size,
    *(np.generic, np.dtype, np.ufunc, types.CodeType, types.GenericAlias, types.UnionType),
    *(types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType),
    *(types.ClassMethodDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType),
    types.MethodWrapperType,
)

#: Classes of C whose instances are noted whole, or have nothing to note.
_KNOWN_BASES = {
    *(object, dict, OrderedDict, defaultdict, list, set, tuple, frozenset, deque),
    *(int, float, str, bytes, complex),
    *(types.SimpleNamespace, BaseException, Exception),
}
_IS_IMMUTABLE_TYPE, _IS_HEAP_TYPE = 1 << 8, 1 << 9

#: Containers, whose own methods read and write them past those of a learner's subclass.
_CONTAINERS = (OrderedDict, dict, list, set, deque)

#: What is noted of a function beside its attributes, and of a variable that functions share.
_PARTS_OF_FUNCTIONS = {
    name: vars(types.FunctionType)[name] for name in ("__code__", "__defaults__", "__kwdefaults__")
}
_PARTS_OF_CELLS = {"cell_contents": vars(types.CellType)["cell_contents"]}

#: In what a layer holds its parameters, buffers and layers.
_OF_LAYERS = ("_parameters", "_buffers", "_modules")

#: What in a class is code that may run.
_CODE_OF_CLASSES = (types.FunctionType, property, staticmethod, classmethod)

#: What a class runs when it is called.
_MAKES = {"__new__", "__init__", "__post_init__"}


class Reached:
    """All that code can reach from some objects, noted as it is now.

    Args:
        roots: The objects, each with its name.
        calls: What a step has called, or may call, if only what that could reach is to be looked
            at.
        parameters: The ids of tensors that are to change.
        unseen: The ids of objects that are not looked into.

    Attributes:
        doubts: What is reached of which nothing is known, in words.
        iterators: What is reached and can only be used up.
        codes: The code of all functions of a learner's.
        held: The ids of what can change, without modules.
        tensors: All tensors, each with its name.
        globals, stored: The ids of modules' contents, with the names in them that are used, and
            that are set.
    """

    def __init__(
        self,
        roots: Iterable[tuple[str, Any]],
        calls: Calls | Foreseen | None = None,
        parameters: Iterable[int] = (),
        unseen: Iterable[int] = (),
    ) -> None:
        self.doubts: list[str] = []
        self.iterators: list[str] = []
        self.codes: set[types.CodeType] = set()
        self.held: set[int] = set()
        self.globals: set[tuple[int, str]] = set()
        self.stored: set[tuple[int, str]] = set()
        self.tensors: list[tuple[str, torch.Tensor]] = []
        self._notes: list[Any] = []
        self._calls = calls if isinstance(calls, Calls) else None
        self._foreseen = calls if isinstance(calls, Foreseen) else None
        self._parameters = set(parameters)
        self._waiting = deque(roots)
        self._seen: dict[int, Any] = dict.fromkeys(unseen)
        self._types: set[type] = set()
        self._modules: set[tuple[Any, ...]] = set()
        with torch._C.DisableTorchFunctionSubclass():  # which would run a learner's code
            self._look_at_all()

    def _look_at_all(self) -> None:
        while self._waiting:
            label, value = self._waiting.popleft()
            if isinstance(value, types.BuiltinFunctionType | types.MethodWrapperType):
                if not isinstance(value.__self__, types.ModuleType | type):
                    self._wait(label, value.__self__)
                continue
            is_constant = isinstance(value, _CONSTANTS) and not hasattr(value, "__dict__")
            if is_constant or id(value) in self._seen:
                continue
            self._seen[id(value)] = value  # alive, so that no other gets its id
            if len(self._seen) > _MOST_OBJECTS:
                self.doubts.append("more objects than can be looked through")
                break
            self._look(label, value)

    def changed(self) -> str | None:
        """The first thing that is not as it was, in words; None if all is."""
        with torch._C.DisableTorchFunctionSubclass():
            found = (note.changed() for note in self._notes)
            return next((what for what in found if what is not None), None)

    def put_back(self) -> None:
        """Makes everything what it was."""
        with torch._C.DisableTorchFunctionSubclass():
            for note in self._notes:
                if note.changed() is not None:
                    note.put_back()

    def shares_with(self, other: "Reached") -> bool:
        """Whether the two reach something that one of them may change."""
        common = (self.held & other.held) - self._parameters
        return bool(common or self.globals & other.stored or self.stored & other.globals)

    # One object

    def _look(self, label: str, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            self._look_at_tensor(label, value)
        elif isinstance(value, np.ndarray):
            self._look_at_array(label, value)
        elif isinstance(value, type):
            self._look_at_class(value, is_called=True)
        elif isinstance(value, types.FunctionType):
            self._look_at_function(value)
        elif isinstance(value, types.MethodType):
            self._wait(label, value.__self__, value.__func__)
        elif isinstance(value, types.ModuleType):
            # What a function takes from one that it names is looked at with the function.
            if not is_foreign(value.__name__):
                return
            if self._calls is None and self._foreseen is None:  # whatever it is, it may be set
                self.stored |= {(id(vars(value)), name) for name in vars(value)}
            else:
                names = frozenset(filter(self._may_read, vars(value).keys()))
                self._look_at_names(vars(value), names, names)
        elif isinstance(value, property | staticmethod | classmethod | cached_property):
            self._wait(label, *(getattr(value, part, None) for part in PARTS_OF_METHODS))
        elif isinstance(value, partial | partialmethod):
            self._wait(label, value.func, value.args, value.keywords)
            self._look_at_attributes(label, value)
        elif isinstance(value, weakref.ReferenceType):
            self._wait(label, value())
        elif isinstance(value, types.CellType):
            self.held.add(id(value))
            content = self._note_members(label, value, _PARTS_OF_CELLS, form="").before
            self._wait(label, *(held for held in content.values() if held is not MISSING))
        elif type(value) in (tuple, frozenset):
            if self._is_short(label, value):
                self._wait(label, *value)
        elif library_of(type(value).__module__) != "typing":
            self._look_at_object(label, value)

    def _wait(self, label: str, *values: Any) -> None:
        self._waiting.extend((label, value) for value in values)

    def _is_short(self, label: str, value: Any) -> bool:
        if len(value) <= _LONGEST or (self._foreseen is not None and _is_flat(value)):
            return True
        self.doubts.append(f"{label}, which is too long to be looked through")
        return False

    def _look_at_tensor(self, label: str, tensor: torch.Tensor) -> None:
        is_own = id(tensor) in self._parameters
        self.tensors.append((label, tensor))
        if not is_own:
            self.held.add(id(tensor))
        if not (is_own and self._calls):  # a step of the optimizer is to change it
            is_exact = is_own or self._foreseen is not None or tensor.numel() <= _LARGE
            if tensor.layout != torch.strided:
                self.doubts.append(f"{label}, a sparse tensor")
            elif not is_lazy(tensor):
                self._notes.append(TensorNote(label, tensor, is_exact))
        self._look_at_attributes(label, tensor)

    def _look_at_array(self, label: str, array: Any) -> None:
        self.held.add(id(array))
        if array.size > _LARGE or array.dtype.hasobject:
            self.doubts.append(f"{label}, an array that is not compared")
        else:
            self._notes.append(ArrayNote(label, array))
        self._look_at_attributes(label, array)

    def _look_at_class(self, Class: type, is_called: bool = False) -> None:
        for base in Class.__mro__:
            is_own = is_foreign(base.__module__)
            if not is_own and self._foreseen is not None:
                self._foreseen.add(names_of_class(base), is_own=False)
            if not is_own and library_of(base.__module__) != "gradbook":
                continue
            if is_own:
                self.held.add(id(base))
            self._note_class(base)
            for name, value in vars(base).items():
                if isinstance(value, _CODE_OF_CLASSES):
                    is_reached = self._may_run(name, is_called)
                else:
                    is_reached = not _is_special(name) and self._may_read(name)
                if is_reached:
                    self._wait(f"{base.__name__}.{name}", value)

    def _note_class(self, Class: type) -> None:
        def read() -> dict[str, Any]:
            return {n: v for n, v in vars(Class).items() if not _is_special(n)}

        write = partial(type.__setattr__, Class), partial(type.__delattr__, Class)
        self._notes.append(note_variables(Class.__name__, read, *write))

    def _look_at_function(self, function: types.FunctionType) -> None:
        namespace, code = function.__globals__, function.__code__
        if not is_foreign(namespace.get("__name__")):
            if is_foreign(function.__module__):  # a library's, around a learner's
                self._wait(function.__qualname__, *(function.__closure__ or ()))
                self._wait(function.__qualname__, *vars(function).values())
            return
        if self._calls is not None and not self._calls.codes.intersection(codes_in(code)):
            return
        self.codes.update(codes_in(code))
        name = function.__qualname__
        for cell, free in zip(function.__closure__ or (), code.co_freevars, strict=True):
            if free != "__class__":  # of `super()`: that of an object that is looked at
                self._wait(free, cell)
        self._note_members(name, function, _PARTS_OF_FUNCTIONS)
        if function.__kwdefaults__:
            self._note_dict(f"{name}.__kwdefaults__", function.__kwdefaults__, form="")
        self._note_dict(name, vars(function), form=".{}")
        self._wait(f"a default of {name}", *(function.__defaults__ or ()))
        for key, value in (function.__kwdefaults__ or {}).items():
            self._wait(f"{name}'s {key}", value)
        for key, value in vars(function).items():
            self._wait(f"{name}.{key}", value)
        used, stored, every, kept = names_in(code)
        if self._foreseen is not None:
            self._foreseen.add(every, is_own=True)
        self._look_at_names(namespace, used, every, kept)
        self.stored |= {(id(namespace), stored_name) for stored_name in stored}

    def _look_at_names(
        self,
        namespace: dict[str, Any],
        names: frozenset[str],
        every: frozenset[str],
        kept: frozenset[str] = frozenset(),
    ) -> None:
        """Notes what names mean in a module, and in the modules that it has from others.

        In those, names of `every` may mean something, and those of `kept` are set.
        """
        asked = (id(namespace), names, every, kept)
        if asked in self._modules:
            return
        self._modules.add(asked)
        label = str(namespace.get("__name__", ""))
        new = [name for name in names if (id(namespace), name) not in self.globals]
        self.globals |= {(id(namespace), name) for name in new}

        def read() -> dict[str, Any]:
            return {name: namespace.get(name, MISSING) for name in new}

        if new:
            write = namespace.__setitem__, namespace.__delitem__
            self._notes.append(note_variables(label, read, *write))
        package = str(namespace.get("__package__") or "")
        for name in names:
            value = namespace.get(name, sys.modules.get(name, sys.modules.get(f"{package}.{name}")))
            if isinstance(value, types.ModuleType):
                if is_foreign(value.__name__):
                    own = vars(value)
                    self.stored |= {(id(own), kept_name) for kept_name in kept}
                    self._look_at_names(own, every.intersection(own), every, kept)
            elif name in new and value is not None:
                self._wait(name, value)

    def _note_members(
        self, label: str, value: Any, members: Mapping[str, Any], form: str = ".{}"
    ) -> Note:
        """Notes slots, or what an object of Python's own keeps in the same way."""

        def read() -> dict[str, Any]:
            found = dict.fromkeys(members, MISSING)
            for name, member in members.items():
                with suppress(AttributeError, ValueError):  # it is not set, or an empty cell
                    found[name] = member.__get__(value)
            return found

        note = note_variables(
            label,
            read,
            lambda name, kept: members[name].__set__(value, kept),
            lambda name: members[name].__delete__(value),
            form,
        )
        self._notes.append(note)
        return note

    def _note_dict(self, label: str, content: dict[Any, Any], form: str = "[{!r:.30}]") -> None:
        # Whether a layer trains is set from outside, before each pass.
        free = "training" if form == ".{}" and "_parameters" in content else MISSING
        own: Any = _container_of(content)

        def read() -> dict[Any, Any]:
            return {k: None if k is free else v for k, v in own.items(content)}

        def write(before: dict[Any, Any]) -> None:
            kept = {k: own.get(content, k) if k is free else v for k, v in before.items()}
            own.clear(content)
            for k, v in kept.items():
                own.__setitem__(content, k, v)

        if content:  # parameters have such dictionaries, and anyone has parameters
            self.held.add(id(content))
        self._notes.append(Note(label, read, write, form))

    def _look_at_object(self, label: str, value: Any) -> None:
        """An object of any other class: what it holds, attributes, and slots."""
        Class = type(value)
        if Class is object:
            return
        if isinstance(value, enum.Enum):  # not its class, which makes members as they are asked for
            self._note_attributes(Class.__name__, value)
            return
        if self._is_unknown(value):
            kind = f"{Class.__module__}.{Class.__qualname__}".removeprefix("builtins.")
            if hasattr(Class, "__next__") and not hasattr(Class, "seekable"):
                self.iterators.append(f"{label}, of the type {kind}")
            self.doubts.append(f"{label}, of the type {kind}")
            return
        self.held.add(id(value))
        own: Any = _container_of(value)
        if isinstance(value, dict):
            if isinstance(value, defaultdict):
                self._wait(label, value.default_factory)
            if self._is_short(label, value):
                self._note_dict(label, value)
                for key, item in list(own.items(value)):
                    self._wait(label, key)
                    self._wait(f"{label}[{key!r:.30}]", item)
        elif isinstance(value, list | set | deque):
            if self._is_short(label, value):
                self._note_sequence(label, value)
                for item in list(own.__iter__(value)):
                    self._wait(f"{label}[...]", item)
        elif isinstance(value, tuple | frozenset) and self._is_short(label, value):
            self._wait(label, *value)
        self._look_at_attributes(Class.__name__, value)

    def _look_at_attributes(self, name: str, value: Any) -> None:
        """What an object holds beside its content: attributes, slots, and its class."""
        Class: type = type(value)
        if Class not in self._types:
            self._types.add(Class)
            self._look_at_class(Class)
        self._note_attributes(name, value)
        members = slots_of(Class)
        if members:
            note = self._note_members(Class.__name__, value, members)
            for key, kept in note.before.items():
                if kept is not MISSING:
                    self._wait(f"{Class.__name__}.{key}", kept)

    def _note_attributes(self, name: str, value: Any) -> None:
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict) and type(value) is not OrderedDict:
            self._note_dict(name, attributes, form=".{}")
            for key, item in list(attributes.items()):
                if self._may_read(key, value):
                    self._wait(f"{name}.{key}", item)

    def _note_sequence(self, label: str, value: Any) -> None:
        own: Any = _container_of(value)

        def read() -> dict[int, Any]:
            return dict(enumerate(own.__iter__(value)))

        def write(before: dict[int, Any]) -> None:
            own.clear(value)
            (own.update if own is set else own.extend)(value, before.values())

        self._notes.append(Note(label, read, write))

    def _is_unknown(self, value: Any) -> bool:
        """Whether an object may hold something that cannot be seen from Python."""
        bases = type(value).__mro__
        if any(base not in _KNOWN_BASES and not _is_written_in_python(base) for base in bases):
            return True
        if hasattr(value, "__dict__"):
            return False
        own = [base for base in bases if base not in _KNOWN_BASES]
        return any("__slots__" not in vars(base) for base in own)

    def _may_read(self, name: str, owner: Any = None) -> bool:
        """Whether the calls may read an attribute of this name; without calls, all may be read."""
        if self._foreseen is not None:
            is_a_library_s = owner is not None and not is_foreign(type(owner).__module__)
            return is_a_library_s or name in _OF_LAYERS or self._foreseen.may_read(name)
        calls = self._calls
        if calls is None or calls.names is None or name in calls.names:
            return True
        place = None if owner is None else calls.places.get(id(owner))
        if place is not None:
            return (place, name) in calls.heard or name in _OF_LAYERS
        if owner is None:
            return calls.gets_any
        bases = type(owner).__mro__[:-1]
        return calls.gets_any or not all(is_foreign(base.__module__) for base in bases)

    def _may_run(self, name: str, is_called: bool) -> bool:
        """Whether code of a class may run; of what has run, the functions are known anyway."""
        if self._foreseen is None:
            return True
        if name in _MAKES:
            return is_called or self._foreseen.may_make_its_like
        return _is_special(name) or self._may_read(name)


def foresee(
    roots: Sequence[tuple[str, Any]], parameters: Sequence[int] = (), unseen: Sequence[int] = ()
) -> Reached:
    """All that code may reach from some objects when it runs, as far as the names in it tell.

    What of it cannot be put back is among `Reached.doubts`. The arguments are those of `Reached`.
    """
    names = Foreseen()
    while True:
        known = len(names)
        reached = Reached(roots, names, parameters, unseen)
        if len(names) == known:
            return reached


def _is_flat(value: Any) -> bool:
    """Whether a long container holds nothing that can change, so that it can be put back."""
    items = [*value, *dict.values(value)] if isinstance(value, dict) else value
    return len(value) <= _LONGEST_FLAT and all(isinstance(item, _CONSTANTS) for item in items)


def _container_of(value: Any) -> type | None:
    return next((base for base in _CONTAINERS if isinstance(value, base)), None)


def _is_special(name: str) -> bool:
    return (name.startswith("__") and name.endswith("__")) or name == "_abc_impl"


def _is_written_in_python(Class: type) -> bool:
    return bool(Class.__flags__ & _IS_HEAP_TYPE) and not Class.__flags__ & _IS_IMMUTABLE_TYPE
