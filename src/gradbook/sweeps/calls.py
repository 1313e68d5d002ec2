"""What a learner's code calls, and what it writes into, while it runs."""

import dis
import gc
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

#: Libraries whose code has no effects of its own, but for those below.
LIBRARIES = ("torch", "numpy", "gradbook")

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
        *(
            "gradbook.module",
            "gradbook.leaf_parameters",
            "gradbook.models.",
            "gradbook.book.tensors",
            "gradbook.checks",
        ),
        *("gradbook.hparams", "gradbook.sweeps.calls", "gradbook.sweeps.stackable"),
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
_NAMES_ANY = {
    *("__dict__", "__getattribute__", "__getattr__", "__slots__"),
    *("attrgetter", "methodcaller", "asdict", "astuple", "fields"),
}

#: The same, of code that has not run yet.
_FORESEES_ANY = _READS_ANY | _NAMES_ANY | {"getattr", "eval", "exec", "globals", "locals"}

#: What changes only what a look puts back: the global random generators, the modes of layers.
_UNDONE = ("random", "numpy.random.mtrand", "torch.nn.modules.module")


def library_of(module: Any) -> str:
    """The package that a module's name begins with."""
    return str(module or "").partition(".")[0]


def is_foreign(module: Any) -> bool:
    """Whether code of such a module is a learner's, or of a library that is not known.

    Of both it is not known what they do, so that a file's place, as `libraries.is_library` looks
    at it, does not tell.
    """
    library = library_of(module)
    return library not in LIBRARIES and not _is_standard(library)


@lru_cache(maxsize=1024)
def _is_standard(library: str) -> bool:
    """Whether a package is the standard library's, and no file of a learner's of that name."""
    if library.startswith("namedtuple_"):  # of the code that `collections` makes for one
        return library not in sys.modules
    if library not in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(library), "__file__", None)
    folders = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    return file is None or (file.startswith(folders) and "site-packages" not in file)


class Names(NamedTuple):
    """The names in code."""

    used: frozenset[str]  # the global names that it reads or sets
    stored: frozenset[str]  # those that it sets
    every: frozenset[str]  # all names that it may mean, attributes and texts among them
    kept: frozenset[str]  # the attributes that it sets


@lru_cache(maxsize=4096)
def names_in(code: types.CodeType) -> Names:
    """The names in a function's code, and in that of the functions within it."""
    used, stored, kept = set(), set(), set()
    every = set(code.co_names) | set(code.co_freevars) - {"__class__"}
    for instruction in dis.get_instructions(code):
        if "GLOBAL" in instruction.opname or instruction.opname in ("LOAD_NAME", "IMPORT_NAME"):
            used.add(str(instruction.argval))
            if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                stored.add(str(instruction.argval))
        elif instruction.opname in ("STORE_ATTR", "DELETE_ATTR"):
            kept.add(str(instruction.argval))
    constants = list(code.co_consts)
    for constant in constants:
        if isinstance(constant, str):
            every.add(constant)
        elif isinstance(constant, tuple | frozenset):
            constants += constant
        elif isinstance(constant, types.CodeType):
            for names, inner in zip((used, stored, every, kept), names_in(constant), strict=True):
                names |= inner
    if "setattr" in every:
        kept |= every
    return Names(*map(frozenset, (used, stored, every, kept)))


def codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """Code, and that of the functions and classes that it defines."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_in(constant)


#: Where properties and the like keep their functions.
PARTS_OF_METHODS = ("fget", "fset", "fdel", "__func__", "func")


@lru_cache(maxsize=1024)
def names_of_class(Class: type) -> frozenset[str]:
    """All names that the methods of a class, without those of its bases, may mean."""
    found: set[str] = set()
    for value in vars(Class).values():
        parts = (getattr(value, name, None) for name in PARTS_OF_METHODS)
        for part in (value, *parts):
            code = getattr(part, "__code__", None)
            if isinstance(code, types.CodeType):
                found |= names_in(code).every
    return frozenset(found)


def _is_called_by_a_learner(frame: types.FrameType) -> bool:
    """Whether a library's code was called by a learner's, or by the standard library for it."""
    caller = frame.f_back
    while caller is not None:
        module = caller.f_globals.get("__name__")
        if is_foreign(module):
            return True
        if library_of(module) in LIBRARIES:
            return False
        caller = caller.f_back
    return False


class Writes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees which of some named tensors are written into, and keeps their names in `found`."""

    def __init__(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []
        self._names: dict[int | None, str] = {}
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
        for i, argument in enumerate(operation._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[i] if i < len(args) else kwargs.get(argument.name)
                tensors = value if isinstance(value, list | tuple) else [value]
                places = [_place_of(t) for t in tensors if isinstance(t, torch.Tensor)]
                self.found += [self._names[place] for place in places if place in self._names]
        return operation(*args, **kwargs)


def _place_of(tensor: torch.Tensor) -> int | None:
    """Where a tensor's memory is; tensors that look at the same have the same place."""
    if is_lazy(tensor) or tensor.layout != torch.strided:
        return None
    return tensor.untyped_storage().data_ptr() or None


class Doubtful(BaseException):
    """Raised in a step that is watched, before it calls what may have effects."""


class Foreseen:
    """What a learner's code may read and call, by the names in it, before it runs.

    It grows with the code that is found, so that one looks until nothing is added.
    """

    def __init__(self) -> None:
        self._own: set[str] = set()
        self._all: set[str] = set()

    def __len__(self) -> int:
        return len(self._all)

    def add(self, names: Iterable[str], is_own: bool) -> None:
        """Adds the names in some code: a learner's own, or that of a class of a library."""
        self._all.update(names)
        if is_own:
            self._own.update(names)

    def may_read(self, name: str) -> bool:
        """Whether an attribute of this name may be read."""
        return name in self._all or not self._own.isdisjoint(_FORESEES_ANY)

    @property
    def may_make_its_like(self) -> bool:
        """Whether an object's class may be called without being named."""
        return not self._own.isdisjoint({"type", "__class__"})


class Calls:
    """What a learner's code calls while a step runs.

    While it is watched, `Doubtful` stops it before a call of which nothing is known.

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
        named = {name for code in self.codes for name in names_in(code).every}
        return None if self._reads_any or named & _NAMES_ANY else named

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notes every call while it lasts."""
        before: Any = sys.getprofile()
        if before is not None and not callable(before):
            self.doubts.append("a profiler, beside which nothing else can see what they call")
            yield
            return
        collects = gc.isenabled()
        gc.disable()  # or what others let it call would count as called by the step
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(before)
            if collects:
                gc.enable()

    def _note(self, frame: types.FrameType, event: str, called: Any) -> None:
        if event == "call":
            module = frame.f_globals.get("__name__")
            if is_foreign(module):
                self.codes.add(frame.f_code)
            elif _is_called_by_a_learner(frame):
                # PyTorch's wrapper around what `torch.compile` is not to look into.
                inner = frame.f_locals.get("fn") if module == "torch._compile" else None
                name = getattr(inner, "__name__", frame.f_code.co_name)
                self._judge(getattr(inner, "__module__", module), name)
        elif event == "c_call" and is_foreign(frame.f_globals.get("__name__")):
            owner = getattr(called, "__self__", None)
            if owner is None or isinstance(owner, types.ModuleType):
                module = called.__module__ or getattr(owner, "__name__", "")
            else:
                module = (owner if isinstance(owner, type) else type(owner)).__module__
            self._reads_any |= called.__name__ in _READS_ANY
            self.gets_any |= called.__name__ == "getattr"
            self._judge(module, called.__name__)

    def _judge(self, module: Any, name: str) -> None:
        library = library_of(module)
        is_named = library.startswith("namedtuple_") and not is_foreign(library)
        harmless = is_named or library in _HARMLESS_MODULES
        for part in _HARMLESS_PARTS.get(library, ()):
            harmless |= module == part or (part.endswith(".") and module.startswith(part))
        if not harmless or name in _NOT_HARMLESS or name.startswith(_SETTERS):
            self.doubts.append(f"{module}.{name}".removeprefix("builtins."))
            if module not in _UNDONE:
                raise Doubtful
