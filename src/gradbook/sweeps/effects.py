"""What a step of a model does beside its result, and what it depends on.

A stack traces a step once, and Python code does not run again. That is right only for steps that
change nothing and read nothing that changes, which nobody can prove of any code. So a step is
watched while it runs: what its code can reach is noted before and compared after, and every call
that it makes is seen. What is not known to be harmless counts as doubt.
"""

import dis
import enum
import sys
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache, partial, partialmethod
from pathlib import PurePath
from re import Pattern
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

_MISSING = object()

#: More than this is not looked through, and a longer list or dictionary not looked into.
_MOST_OBJECTS, _LONGEST = 20_000, 2_000

#: A tensor with more numbers is compared by PyTorch's count of its changes, and not copied.
_LARGE = 2**20

#: Libraries whose code has no effects of its own, but for those below.
_LIBRARIES = ("torch", "numpy", "gradbook")

#: What of them a step may call by itself: the beginnings of the modules' names.
_HARMLESS_PARTS = {
    "torch": (
        *("torch", "torch.nn.", "torch.functional", "torch._tensor", "torch._jit_internal"),
        *("torch.autograd.", "torch.amp.", "torch._ops", "torch.overrides"),
        *("torch.utils._contextlib", "torch.utils.checkpoint", "torch.distributions."),
        *("torch.return_types", "torch.types", "torch._utils", "torch._C", "torch._C."),
    ),
    "numpy": ("numpy", "numpy._core.", "numpy.core.", "numpy.linalg.", "numpy.lib._function_base"),
    "gradbook": (
        *("gradbook.module", "gradbook.models.", "gradbook.tensors", "gradbook.checks"),
        *("gradbook.hparams", "gradbook.sweeps.effects", "gradbook.sweeps.stackable"),
    ),
}

#: The standard library's, likewise.
_HARMLESS_MODULES = {
    *("abc", "builtins", "cmath", "collections", "contextlib", "dataclasses", "enum", "functools"),
    *("fractions", "decimal", "heapq", "bisect", "itertools", "math", "numbers", "operator"),
    *("statistics", "string", "types", "typing", "_abc", "_bisect", "_collections"),
    *("_collections_abc", "_functools", "_heapq", "_operator", "_typing", "_weakref", "weakref"),
}

#: Built-in functions that do something, and methods of harmless types that write.
_NOT_HARMLESS = {
    *("print", "input", "open", "exec", "eval", "compile", "breakpoint", "globals", "__import__"),
    *("tofile", "dump"),
}

#: How the functions begin with which code sets what holds for all of PyTorch.
_SETTERS = ("set_", "use_", "_set_")

#: With these, code may read attributes that it does not name, also past `Calls.heard`.
_READS_ANY = {"vars", "dir"}
_NAMES_ANY = {"__dict__", "__getattribute__", "__getattr__", "__slots__"}

#: Values that never change.
_CONSTANTS = (
    *(type(None), bool, int, float, complex, str, bytes, range, slice, type(...)),
    *(type(NotImplemented), Decimal, Fraction, date, time, timedelta, tzinfo, PurePath, Pattern),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format, torch.finfo, torch.iinfo),
    *(np.generic, np.dtype, np.ufunc, types.CodeType, types.GenericAlias, types.UnionType),
    *(types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType),
    *(types.ClassMethodDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType),
    types.MethodWrapperType,
)
_COMPARED = (bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)

#: Classes of C whose instances are noted whole, or have nothing to note.
_KNOWN_BASES = {
    *(object, dict, OrderedDict, defaultdict, list, set, tuple, frozenset, deque),
    *(int, float, str, bytes, complex),
    *(types.SimpleNamespace, BaseException, Exception),
}
_IS_IMMUTABLE_TYPE, _IS_HEAP_TYPE = 1 << 8, 1 << 9


@dataclass
class _Note:
    """What an object held, and how it is read and put back."""

    label: str
    read: Callable[[], list[tuple[Any, Any]]]
    write: Callable[[dict[Any, Any]], None]
    is_attribute: bool = False
    before: list[tuple[Any, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.before = self.read()

    def changed(self) -> str | None:
        """What is not as it was, in words; None if all is."""
        before, now = dict(self.before), dict(self.read())
        for key in [*before, *(key for key in now if key not in before)]:
            if not _is_same(before.get(key, _MISSING), now.get(key, _MISSING)):
                name = f"{self.label}.{key}" if self.is_attribute else f"{self.label}[{key!r:.30}]"
                return name if isinstance(key, str) or not self.is_attribute else self.label
        return None if list(before) == list(now) else self.label

    def put_back(self) -> None:
        """Makes it what it was."""
        self.write(dict(self.before))


class _TensorNote:
    """The values of a tensor."""

    def __init__(self, label: str, tensor: torch.Tensor, is_exact: bool) -> None:
        self.label, self.tensor = label, tensor
        self._grad, self._requires_grad = tensor.grad, tensor.requires_grad
        self._version = tensor._version
        with torch.no_grad():
            self._values = tensor.detach().clone() if is_exact else None

    def changed(self) -> str | None:
        """Its name, if it is not as it was."""
        tensor = self.tensor
        if (tensor.grad, tensor.requires_grad) != (self._grad, self._requires_grad):
            return self.label
        if self._values is None:
            return None if tensor._version == self._version else self.label
        own = tensor.detach()
        if own.shape != self._values.shape or own.dtype != self._values.dtype:
            return self.label
        same = torch.equal(own, self._values) or bool(
            ((own == self._values) | ((own != own) & (self._values != self._values))).all()
        )
        return None if same else self.label

    def put_back(self) -> None:
        """Gives it its values again."""
        tensor = self.tensor
        if tensor.is_leaf and tensor.requires_grad != self._requires_grad:
            tensor.requires_grad_(self._requires_grad)
        tensor.grad = self._grad
        if self._values is not None:
            with torch.no_grad():
                if tensor.shape == self._values.shape and tensor.dtype == self._values.dtype:
                    tensor.copy_(self._values)
                else:  # by way of `.data`
                    tensor.data = self._values.clone()


class _ArrayNote:
    """The values of a NumPy array."""

    def __init__(self, label: str, array: Any) -> None:
        self.label, self.array, self._values = label, array, array.copy()

    def changed(self) -> str | None:
        """Its name, if it is not as it was."""
        # By their bytes, so that NaN is equal to NaN.
        return None if self.array.tobytes() == self._values.tobytes() else self.label

    def put_back(self) -> None:
        """Gives it its values again."""
        if self.array.flags.writeable:
            self.array[...] = self._values


def _is_same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) in _COMPARED:
        return bool(a == b or (a != a and b != b))
    if type(a) is tuple:
        return len(a) == len(b) and all(map(_is_same, a, b))
    return False


def _library_of(module: Any) -> str:
    """The package that a module's name begins with."""
    return str(module or "").partition(".")[0]


def _is_foreign(module: Any) -> bool:
    """Whether code of such a module is a learner's, and of no library that is known."""
    library = _library_of(module)
    return library not in _LIBRARIES and library not in sys.stdlib_module_names


@lru_cache(maxsize=4096)
def _names_in(code: types.CodeType) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The global names that code reads or sets, those that it sets, and all names it may mean."""
    used, stored, every = set(), set(), set(code.co_names) | set(code.co_freevars)
    for instruction in dis.get_instructions(code):
        if "GLOBAL" in instruction.opname or instruction.opname in ("LOAD_NAME", "IMPORT_NAME"):
            used.add(str(instruction.argval))
            if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                stored.add(str(instruction.argval))
    for constant in code.co_consts:
        if isinstance(constant, str):
            every.add(constant)
        elif isinstance(constant, types.CodeType):
            for names, inner in zip((used, stored, every), _names_in(constant), strict=True):
                names |= inner
    return frozenset(used), frozenset(stored), frozenset(every)


def _codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes_in(constant)


class Reached:
    """All that code can reach from some objects, noted as it is now.

    Args:
        roots: The objects, each with its name.
        calls: What a step has called, if only what that could reach is to be looked at.
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
        calls: "Calls | None" = None,
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
        self._slots: dict[type, dict[str, Any]] = {}
        self._calls, self._parameters = calls, set(parameters)
        self._waiting = deque(roots)
        self._seen: dict[int, Any] = dict.fromkeys(unseen)
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
                self.doubts.append("more hangs on its code than can be looked through")
                break
            self._look(label, value)

    def changed(self) -> str | None:
        """The first thing that is not as it was, in words; None if all is."""
        return next((what for note in self._notes if (what := note.changed()) is not None), None)

    def put_back(self) -> None:
        """Makes everything what it was."""
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
            self._look_at_class(value)
        elif isinstance(value, types.FunctionType):
            self._look_at_function(value)
        elif isinstance(value, types.MethodType):
            self._wait(label, value.__self__, value.__func__)
        elif isinstance(value, types.ModuleType):
            pass  # the names that a function takes from it are looked at with the function
        elif isinstance(value, property):
            self._wait(label, value.fget, value.fset, value.fdel)
        elif isinstance(value, staticmethod | classmethod):
            self._wait(label, value.__func__)
        elif isinstance(value, cached_property):
            self._wait(label, value.func)
        elif isinstance(value, partial | partialmethod):
            self._wait(label, value.func, value.args, value.keywords)
        elif isinstance(value, weakref.ReferenceType):
            self._wait(label, value())
        elif isinstance(value, types.CellType):
            self._note_cell(label, value)
        elif type(value) in (tuple, frozenset):
            if self._is_short(label, value):
                self._wait(label, *value)
        elif _library_of(type(value).__module__) != "typing":
            self._look_at_object(label, value)

    def _wait(self, label: str, *values: Any) -> None:
        self._waiting.extend((label, value) for value in values)

    def _is_short(self, label: str, value: Any) -> bool:
        if len(value) <= _LONGEST:
            return True
        self.doubts.append(f"{label}, which is too long to be looked through")
        return False

    def _look_at_tensor(self, label: str, tensor: torch.Tensor) -> None:
        is_own = id(tensor) in self._parameters
        self.tensors.append((label, tensor))
        if not is_own:
            self.held.add(id(tensor))
        if not (is_own and self._calls):  # a step of the optimizer is to change it
            is_exact = is_own or tensor.numel() <= _LARGE
            if tensor.layout != torch.strided:
                self.doubts.append(f"{label}, a sparse tensor")
            elif not torch.nn.parameter.is_lazy(tensor):
                self._notes.append(_TensorNote(label, tensor, is_exact))
        if vars(tensor):
            self._note_dict(label, vars(tensor), is_attribute=True)
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
            self._wait(label, type(tensor))

    def _look_at_array(self, label: str, array: Any) -> None:
        self.held.add(id(array))
        if array.size > _LARGE or array.dtype.hasobject:
            self.doubts.append(f"{label}, an array that is not compared")
        else:
            self._notes.append(_ArrayNote(label, array))

    def _look_at_class(self, Class: type) -> None:
        for base in Class.__mro__:
            is_foreign = _is_foreign(base.__module__)
            if not is_foreign and _library_of(base.__module__) != "gradbook":
                continue
            attributes = {n: v for n, v in vars(base).items() if not _is_special(n)}
            if is_foreign and id(base) not in self._seen:
                self._seen[id(base)] = base
                self.held.add(id(base))
            self._note_class(base, attributes)
            for name, value in vars(base).items():
                is_code = isinstance(
                    value, types.FunctionType | property | staticmethod | classmethod
                )
                if is_code or (not _is_special(name) and self._may_read(name)):
                    self._wait(f"{base.__name__}.{name}", value)

    def _note_class(self, Class: type, attributes: dict[str, Any]) -> None:
        def read() -> list[tuple[str, Any]]:
            return [(n, v) for n, v in vars(Class).items() if not _is_special(n)]

        def write(before: dict[str, Any]) -> None:
            for name in [n for n in vars(Class) if not _is_special(n) and n not in before]:
                type.__delattr__(Class, name)
            for name, value in before.items():
                if vars(Class).get(name, _MISSING) is not value:
                    type.__setattr__(Class, name, value)

        if attributes or _is_foreign(Class.__module__):
            self._notes.append(_Note(Class.__name__, read, write, is_attribute=True))

    def _look_at_function(self, function: types.FunctionType) -> None:
        namespace, code = function.__globals__, function.__code__
        if not _is_foreign(namespace.get("__name__")):
            if _is_foreign(function.__module__):  # a library's, around a learner's
                self._wait(function.__qualname__, *(function.__closure__ or ()))
                self._wait(function.__qualname__, *vars(function).values())
            return
        if self._calls is not None and not self._calls.codes.intersection(_codes_in(code)):
            return
        self.codes.update(_codes_in(code))
        name = function.__qualname__
        for cell, free in zip(function.__closure__ or (), code.co_freevars, strict=True):
            self._wait(free, cell)
        self._note_function(function)
        self._wait(f"a default of {name}", *(function.__defaults__ or ()))
        for key, value in (function.__kwdefaults__ or {}).items():
            self._wait(f"{name}'s {key}", value)
        for key, value in vars(function).items():
            self._wait(f"{name}.{key}", value)
        used, stored, every = _names_in(code)
        self._look_at_names(namespace, used, every)
        self.stored |= {(id(namespace), stored_name) for stored_name in stored}

    def _note_function(self, function: types.FunctionType) -> None:
        def read() -> list[tuple[str, Any]]:
            return [
                ("__code__", function.__code__),
                ("__defaults__", function.__defaults__),
                *(function.__kwdefaults__ or {}).items(),
                *vars(function).items(),
            ]

        def write(before: dict[str, Any]) -> None:
            function.__code__, function.__defaults__ = before["__code__"], before["__defaults__"]
            named = function.__kwdefaults__ or {}
            named.update({name: before[name] for name in named})
            known = {"__code__", "__defaults__", *named}
            vars(function).clear()
            vars(function).update({k: v for k, v in before.items() if k not in known})

        self._notes.append(_Note(function.__qualname__, read, write, is_attribute=True))

    def _look_at_names(
        self, namespace: dict[str, Any], names: frozenset[str], every: frozenset[str]
    ) -> None:
        """Notes what names mean in a module, and in the modules that it has from others."""
        label = str(namespace.get("__name__", ""))
        new = [name for name in names if (id(namespace), name) not in self.globals]
        self.globals |= {(id(namespace), name) for name in new}

        def read() -> list[tuple[str, Any]]:
            return [(name, namespace.get(name, _MISSING)) for name in new]

        def write(before: dict[str, Any]) -> None:
            for name, value in before.items():
                if value is _MISSING:
                    namespace.pop(name, None)
                else:
                    namespace[name] = value

        if new:
            self._notes.append(_Note(label, read, write, is_attribute=True))
        package = str(namespace.get("__package__") or "")
        for name in names:
            value = namespace.get(name, sys.modules.get(name, sys.modules.get(f"{package}.{name}")))
            if isinstance(value, types.ModuleType):
                if _is_foreign(value.__name__) and id(value) not in self._seen:
                    self._seen[id(value)] = value
                    self._look_at_names(vars(value), every & vars(value).keys(), every)
            elif name in new and value is not None:
                self._wait(name, value)

    def _note_cell(self, label: str, cell: types.CellType) -> None:
        def read() -> list[tuple[str, Any]]:
            try:
                return [("", cell.cell_contents)]
            except ValueError:  # it is empty
                return []

        def write(before: dict[str, Any]) -> None:
            if before:
                cell.cell_contents = before[""]

        note = _Note(label, read, write)
        self.held.add(id(cell))
        self._notes.append(_Named(note, label))
        self._wait(label, *(value for _, value in note.before))

    def _note_dict(self, label: str, content: dict[Any, Any], is_attribute: bool = False) -> None:
        # Whether a layer trains is set from outside, before each pass.
        free = "training" if is_attribute and "_parameters" in content else _MISSING

        def read() -> list[tuple[Any, Any]]:
            return [(k, None if k == free else v) for k, v in content.items()]

        def write(before: dict[Any, Any]) -> None:
            kept = {k: content.get(k) if k == free else v for k, v in before.items()}
            content.clear()
            content.update(kept)

        self.held.add(id(content))
        self._notes.append(_Note(label, read, write, is_attribute))

    def _look_at_object(self, label: str, value: Any) -> None:
        """An object of any other class: what it holds, attributes, and slots."""
        Class = type(value)
        if isinstance(value, enum.Enum) or Class is object:
            return
        if self._is_unknown(value):
            kind = f"{Class.__module__}.{Class.__qualname__}".removeprefix("builtins.")
            if hasattr(Class, "__next__") and not hasattr(Class, "seekable"):
                self.iterators.append(f"{label}, of the type {kind}")
            self.doubts.append(f"{label}, of the type {kind}")
            return
        self.held.add(id(value))
        name = Class.__name__
        if isinstance(value, dict):
            if self._is_short(label, value):
                self._note_dict(label, value)
                for key, item in list(value.items()):
                    self._wait(label, key)
                    self._wait(f"{label}[{key!r:.30}]", item)
        elif isinstance(value, list | set | deque):
            if self._is_short(label, value):
                self._note_sequence(label, value)
                for item in list(value):
                    self._wait(f"{label}[...]", item)
        elif isinstance(value, tuple | frozenset):
            self._wait(label, *value)
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict) and Class is not OrderedDict:
            self._note_dict(name, attributes, is_attribute=True)
            for key, item in list(attributes.items()):
                if self._may_read(key, value):
                    self._wait(f"{name}.{key}", item)
        self._look_at_slots(value)
        self._waiting.append((name, Class))

    def _note_sequence(self, label: str, value: Any) -> None:
        def read() -> list[tuple[Any, Any]]:
            return list(enumerate(value))

        def write(before: dict[Any, Any]) -> None:
            value.clear()
            (value.update if isinstance(value, set) else value.extend)(before.values())

        self._notes.append(_Note(label, read, write))

    def _look_at_slots(self, value: Any) -> None:
        members = self._slots.get(type(value))
        if members is None:
            members = self._slots[type(value)] = {
                name: member
                for base in type(value).__mro__
                for name, member in vars(base).items()
                if isinstance(member, types.MemberDescriptorType) and _is_written_in_python(base)
            }
        if not members:
            return

        def read() -> list[tuple[str, Any]]:
            found = []
            for name, member in members.items():
                try:
                    found.append((name, member.__get__(value)))
                except AttributeError:  # it is not set
                    found.append((name, _MISSING))
            return found

        def write(before: dict[str, Any]) -> None:
            for name, kept in before.items():
                if kept is not _MISSING:
                    members[name].__set__(value, kept)

        note = _Note(type(value).__name__, read, write, is_attribute=True)
        self._notes.append(note)
        for name, kept in note.before:
            if kept is not _MISSING:
                self._wait(f"{type(value).__name__}.{name}", kept)

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
        calls = self._calls
        if calls is None or calls.names is None or name in calls.names:
            return True
        place = None if owner is None else calls.places.get(id(owner))
        if place is not None:
            return (place, name) in calls.heard or name in ("_parameters", "_buffers", "_modules")
        if owner is None:
            return calls.gets_any
        bases = type(owner).__mro__[:-1]
        return calls.gets_any or not all(_is_foreign(base.__module__) for base in bases)


class _Named:
    """A note whose name says all: of one variable."""

    def __init__(self, note: _Note, label: str) -> None:
        self._note, self.label = note, label
        self.put_back = note.put_back

    def changed(self) -> str | None:
        """Its name, if it is not as it was."""
        return None if self._note.changed() is None else self.label


def _is_special(name: str) -> bool:
    return (name.startswith("__") and name.endswith("__")) or name == "_abc_impl"


def _is_written_in_python(Class: type) -> bool:
    return bool(Class.__flags__ & _IS_HEAP_TYPE) and not Class.__flags__ & _IS_IMMUTABLE_TYPE


# What is called


def _is_called_by_a_learner(frame: types.FrameType) -> bool:
    """Whether a library's code was called by a learner's, or by the standard library for it."""
    caller = frame.f_back
    while caller is not None:
        module = caller.f_globals.get("__name__")
        if _is_foreign(module):
            return True
        if _library_of(module) in _LIBRARIES:
            return False
        caller = caller.f_back
    return False


class Writes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees which tensors that were there before are written into, whatever is written.

    Args:
        tensors: Those that are watched, each with its name.

    Attributes:
        found: The names of those that were written into.
    """

    def __init__(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []
        self._names: dict[int, str] = {}
        self._watched: list[torch.Tensor] = []  # alive, so that no other gets their memory
        for name, tensor in tensors:
            self.add(name, tensor)

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Watches one tensor more."""
        place = _place_of(tensor)
        if place is not None:
            self._names[place] = name
            self._watched.append(tensor)

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if operation._schema.is_mutable:
            for argument, value in zip(operation._schema.arguments, args, strict=False):
                self._hear(argument, value)
            for argument in operation._schema.arguments:
                self._hear(argument, kwargs.get(argument.name))
        return operation(*args, **kwargs)

    def _hear(self, argument: Any, value: Any) -> None:
        if argument.alias_info is None or not argument.alias_info.is_write:
            return
        for tensor in value if isinstance(value, list | tuple) else [value]:
            place = _place_of(tensor) if isinstance(tensor, torch.Tensor) else None
            if place is not None and place in self._names:
                self.found.append(self._names[place])


def _place_of(tensor: torch.Tensor) -> int | None:
    """Where a tensor's memory is; tensors that look at the same have the same place."""
    if torch.nn.parameter.is_lazy(tensor) or tensor.layout != torch.strided:
        return None
    return tensor.untyped_storage().data_ptr() or None


class Calls:
    """What a learner's code calls while a step runs.

    Attributes:
        codes: The code of its own that ran.
        doubts: What it called of which nothing is known, in words.
        heard: The attributes of layers that were read: the layer's place, and the name.
        places: The place of each layer, by its id.
        gets_any: Whether it may read attributes, of other objects than layers, by names that it
            makes as it goes.
    """

    def __init__(self, layers: Sequence[torch.nn.Module] = ()) -> None:
        self.codes: set[types.CodeType] = set()
        self.doubts: list[str] = []
        self.heard: set[tuple[int, str]] = set()
        self.places = {id(layer): place for place, layer in enumerate(layers)}
        self.gets_any = self._reads_any = False

    @property
    def names(self) -> set[str] | None:
        """The names that it may read by; None if those are not known."""
        named = {name for code in self.codes for name in _names_in(code)[2]}
        return None if self._reads_any or named & _NAMES_ANY else named

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notes every call while it lasts."""
        before: Any = sys.getprofile()
        if before is not None and not callable(before):
            self.doubts.append("a profiler, beside which nothing else can see what they call")
            yield
            return
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(before)

    def _note(self, frame: types.FrameType, event: str, called: Any) -> None:
        if event == "call":
            module = frame.f_globals.get("__name__")
            if _is_foreign(module):
                self.codes.add(frame.f_code)
            elif _is_called_by_a_learner(frame):
                self._judge(module, frame.f_code.co_name)
        elif event == "c_call" and _is_foreign(frame.f_globals.get("__name__")):
            owner = getattr(called, "__self__", None)
            if owner is None or isinstance(owner, types.ModuleType):
                module = called.__module__ or getattr(owner, "__name__", "")
            else:
                module = (owner if isinstance(owner, type) else type(owner)).__module__
            self._reads_any |= called.__name__ in _READS_ANY
            self.gets_any |= called.__name__ == "getattr"
            self._judge(module, called.__name__)

    def _judge(self, module: Any, name: str) -> None:
        library = _library_of(module)
        harmless = library in _HARMLESS_MODULES or any(
            module == part or (part.endswith(".") and module.startswith(part))
            for part in _HARMLESS_PARTS.get(library, ())
        )
        if not harmless or name in _NOT_HARMLESS or name.startswith(_SETTERS):
            self.doubts.append(f"{module}.{name}".removeprefix("builtins."))
