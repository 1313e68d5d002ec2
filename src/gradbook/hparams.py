"""Hyperparameters kept without writing each one out, what a class is made from, `add_to_class`.

Book: 3.2 (sec_oo-design).
"""

import ast
import dataclasses
import inspect
import math
import textwrap
import typing
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import PurePath
from typing import Any, NamedTuple, TypeVar

from gradbook.errors import ConfigError, text_of
from gradbook.escape import printable

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def add_to_class(Class: type) -> Callable[[F], F]:
    """Makes the decorated function a method of `Class`, for instances that already exist too.

    A property becomes a property; so it is with a static method and a class method. A second
    definition under the same name replaces the first. Book: 3.2.1.

    Raises:
        ConfigError: If `Class` is no class, as when the decorator was written without one, or one
            that Python lets nobody change; or if what is decorated has no name.
    """
    given: Any = Class
    if not isinstance(given, type):
        found, name = f"{given!r:.60}", "Module"
        if inspect.isroutine(given):  # the decorator itself, without parentheses
            found = f"the function {given.__name__!r}, which would then be added to nothing"
        elif isinstance(given, property):
            found = "a property: `@add_to_class(...)` stands above `@property`"
        elif isinstance(given, str):
            name = given if given.isidentifier() else name
        elif given is not None:
            found, name = f"an object of the class {type(given).__name__}", type(given).__name__
        raise ConfigError(
            f"add_to_class needs the class that is to have the method, but got {found}. Write the "
            f"class itself in parentheses, as in `@add_to_class({name})`."
        )

    def register(method: F) -> F:
        # A property, and a cached one, has the name of the function within.
        inner: Any = getattr(method, "fget", None) or method
        if hasattr(method, "__set_name__"):
            inner = getattr(method, "func", inner)
        name = getattr(inner, "__name__", "")
        if not name.isidentifier():
            found = "a lambda, which has no name" if name == "<lambda>" else f"{method!r:.60}"
            raise ConfigError(
                f"add_to_class adds a function under its name, but got {found}. Write a method "
                f"with `def` below `@add_to_class({Class.__name__})`; for any other value, write "
                f"`{Class.__name__}.name = value`."
            )
        try:
            setattr(Class, name, method)
        except TypeError:
            raise ConfigError(
                f"Python does not let anyone add a method to its own class {Class.__name__}. "
                f"Derive a class from it and add {name!r} to that."
            ) from None
        if hasattr(method, "__set_name__"):  # as Python calls it for what stands in a class
            method.__set_name__(Class, name)
        return method

    return register


class HyperParameters:
    """A base class whose `__init__` arguments become attributes. Book: 3.2.1."""

    hparams: dict[str, Any]

    #: Attributes that the class sets itself: the method that a value must have to stand there.
    _set_by_class: Mapping[str, str | None] = {"hparams": None}

    def __repr__(self) -> str:
        values = getattr(self, "hparams", {})
        with suppress(ConfigError):  # without what only a base was given
            values = constructor_of(type(self)).among(values)
        settings = (f"{name}={_short(value)}" for name, value in values.items())
        return printable(f"{type(self).__name__}({', '.join(settings)})")

    def save_hyperparameters(self, ignore: str | Iterable[str] = ()) -> None:
        """Saves the arguments of the calling `__init__` as attributes and in `hparams`.

        Not saved: the instance itself, the names in `ignore`, and names that begin with an
        underscore. A subclass that calls this after its base keeps what the base saved. What
        `**kwargs` has collected is one attribute, but stands in `hparams` name by name, so that
        the object can be made again from them: see `make`. In the `__post_init__` of a dataclass,
        its fields are saved.

        Args:
            ignore: Names of arguments that are not to be kept, or one such name.

        Raises:
            ConfigError: If an argument's value would take the place of a method. A function may:
                `loss=F.l1_loss` is then what `self.loss(...)` calls.
        """
        frame = inspect.currentframe()
        if frame is None or frame.f_back is None:  # pragma: no cover - CPython always has frames
            raise RuntimeError("save_hyperparameters() must be called from a method.")
        caller = inspect.getargvalues(frame.f_back)
        is_post_init = frame.f_back.f_code.co_name == "__post_init__"
        del frame  # a frame that refers to itself keeps all its arguments alive
        names = [name for name in (*caller.args, caller.varargs, caller.keywords) if name]
        given = {name: caller.locals[name] for name in names}
        made: Any = self
        fields: list[str] = []
        if is_post_init and dataclasses.is_dataclass(made):
            fields = [field.name for field in dataclasses.fields(made) if field.init]
            given = {name: getattr(made, name) for name in fields} | given
        skipped = {ignore} if isinstance(ignore, str) else set(ignore)

        def kept(values: dict[str, Any]) -> dict[str, Any]:
            named = {name: v for name, v in values.items() if not name.startswith("_")}
            return {name: v for name, v in named.items() if name not in skipped and v is not self}

        saved = kept(given)
        self._set_each(saved, fields)
        if caller.keywords in saved:
            saved = {**kept(saved.pop(caller.keywords)), **saved}
        # A new dictionary: the base's may be shared with code that already read it.
        self.hparams = {**getattr(self, "hparams", {}), **saved}

    def _set_each(self, values: Mapping[str, Any], fields: Iterable[str] = ()) -> None:
        """Sets attributes; those that are no fields of a dataclass may hide nothing."""
        for name, value in values.items():
            if name not in fields:  # whose class attribute is its default
                _check_hides_nothing(self, name, value)
            setattr(self, name, value)


def _check_hides_nothing(owner: HyperParameters, name: str, value: Any) -> None:
    """Raises ConfigError if `owner.name = value` would hide a method, or be overwritten itself."""
    Class = type(owner)
    found = inspect.getattr_static(Class, name, None)
    if name in owner._set_by_class:
        needs = owner._set_by_class[name]
        if needs is not None and hasattr(value, needs):
            return
        problem = f"{Class.__name__}.{name} is set by the library itself"
    elif isinstance(found, property) and found.fset is None:
        problem = f"{Class.__name__}.{name} is a property, which cannot be set"
    elif inspect.isroutine(found) or isinstance(found, staticmethod | classmethod):
        package = (getattr(found, "__module__", None) or "").partition(".")[0]
        if package == "gradbook" and isinstance(value, type):
            raise ConfigError(
                f"{name}={value.__name__} is a class, but self.{name}(...) is called as a "
                f"function. Give an object of the class, as in `{name}={value.__name__}()`."
            )
        if callable(value) and package != "torch":
            return  # one function in the place of another
        problem = f"it would hide the method {Class.__name__}.{name}"
    else:
        return
    other = f"{name}_name" if isinstance(value, str) else f"{name}_value"
    raise ConfigError(
        f"The hyperparameter {name}={value!r:.60} cannot be kept as self.{name}: {problem}. Give "
        f"the argument another name, such as {other!r}, or leave it out with "
        f"save_hyperparameters(ignore=[{name!r}])."
    )


@dataclasses.dataclass(frozen=True)
class Constructor:
    """What a class is made from: the arguments of its `__init__`.

    Attributes:
        parameters: What can be named, in the order of the signatures: that included which
            `**kwargs` or `*args` hand on to the `__init__` of a base. Annotations are evaluated
            where they can be. What only a base takes is marked as by keyword only or, where
            `*args` alone leads there, as by position only.
        args, kwargs: The names of `*args` and `**kwargs` in the class's own signature, or None.
        handed_on: The names of what `*args` fills in a base, in their order.
        is_open: Whether it takes further names, of which cannot be known what they are: those of
            `**kwargs` that is used in another way than to be handed on to a base.
        of_bases: The names that some class among the bases takes.
    """

    parameters: dict[str, inspect.Parameter]
    args: str | None = None
    kwargs: str | None = None
    handed_on: tuple[str, ...] = ()
    is_open: bool = False
    of_bases: frozenset[str] = frozenset()

    def among(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What of an object's `hparams` it can be made with; the rest its bases were given."""
        values = dict(values)
        if self.kwargs is not None and isinstance(values.get(self.kwargs), dict):
            values |= values.pop(self.kwargs)  # so older runs have it
        return {
            name: value
            for name, value in values.items()
            if name in self.parameters
            or name == self.args
            or (self.is_open and name not in self.of_bases)
        }

    def missing(self, values: Mapping[str, Any]) -> list[str]:
        """The parameters without a default that `values` lack."""
        filled = set(values) | set(self.handed_on[: len(values.get(self.args or "", ()))])
        return [
            name
            for name, parameter in self.parameters.items()
            if parameter.default is parameter.empty and name not in filled
        ]

    def bind(self, values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Arguments by name, as the places and the keywords of a call."""
        named = dict(values)
        rest = list(named.pop(self.args, ())) if self.args is not None else []
        for name in self.handed_on[: len(rest)]:
            named.pop(name, None)
        in_order = [p for p in self.parameters.values() if p.kind is not p.KEYWORD_ONLY]
        # By place only as far as something has to be given so.
        by_place = [
            i for i, p in enumerate(in_order) if p.kind is p.POSITIONAL_ONLY and p.name in named
        ]
        end = len(in_order) if rest else max(by_place, default=-1) + 1
        places = []
        for parameter in in_order[:end]:
            value = named.pop(parameter.name, parameter.default)
            if value is parameter.empty:
                raise ConfigError(f"{parameter.name} has no default, and is not given.")
            places.append(value)
        return [*places, *rest], named


def make(Class: Callable[..., T], arguments: Mapping[str, Any]) -> T:
    """An object of a class from its arguments by name, as its `hparams` have them."""
    places, named = constructor_of(Class).bind(arguments)
    return Class(*places, **named)


def constructor_of(Class: Any) -> Constructor:
    """Reads what a class is made from.

    Raises:
        ConfigError: If that cannot be known.
    """
    if not isinstance(Class, type):
        raise ConfigError(f"{Class!r:.60} is no class, so that its arguments cannot be read.")
    chain = [base for base in Class.__mro__ if {"__init__", "__signature__"} & set(vars(base))]
    first = chain[0]
    if "__signature__" not in vars(first):
        _check_made_by_init(Class)
    found: dict[str, inspect.Parameter] = {}
    args = kwargs = None
    handed_on: list[str] = []
    is_open = False
    call: _Call | None = _Call()  # what of the next base can still be given
    while call is not None and chain[0] is not object:
        base = chain.pop(0)
        try:
            parameters = _parameters_of(base)
        except (TypeError, ValueError):
            is_open = is_open or call.names
            break
        stars: dict[Any, str] = {p.kind: p.name for p in parameters if p.kind in _STARS}
        own = [p for p in parameters if p.kind not in _STARS]
        with_place = [p.name for p in own if p.kind is not p.KEYWORD_ONLY]
        given = call.given.union(with_place[: call.num_given])
        for parameter in own:
            name, kind = parameter.name, parameter.kind
            if name in given:
                continue
            named = call.names and kind is not parameter.POSITIONAL_ONLY
            placed = call.places and name in with_place
            if base is not first:
                if placed:
                    handed_on.append(name)
                kind = parameter.KEYWORD_ONLY if named else parameter.POSITIONAL_ONLY
            if named or placed:
                found.setdefault(name, parameter.replace(kind=kind))
        if base is first:
            args, kwargs = stars.get(_STARS[0]), stars.get(_STARS[1])
        by_place, by_name = call.places and _STARS[0] in stars, call.names and _STARS[1] in stars
        if not by_place and not by_name:
            break
        declared = "__signature__" in vars(base)
        call = None if declared else _handed_on(vars(base)["__init__"], Class, stars)
        if call is None or call.is_used_otherwise:
            is_open = is_open or by_name
        if call is not None:
            call = call._replace(places=by_place and call.places, names=by_name and call.names)
            chain = [one for one in chain if call.target is None or one in call.target.__mro__]
    of_bases: set[str] = set()
    for base in Class.__mro__[1:-1]:
        with suppress(KeyError, TypeError, ValueError):  # it may have no __init__ of its own
            of_bases |= {parameter.name for parameter in _parameters_of(base)}
    return Constructor(found, args, kwargs, tuple(handed_on), is_open, frozenset(of_bases))


#: The kinds of `*args` and of `**kwargs`.
_STARS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class _Call(NamedTuple):
    """How an `__init__` hands its `*args` and `**kwargs` on to that of a base."""

    target: type | None = None  # the base that it names; None is the next one
    places: bool = True  # whether `*args` are handed on
    names: bool = True  # whether `**kwargs` are
    num_given: int = 0  # how many arguments it gives the base itself by place
    given: frozenset[str] = frozenset()  # and which by name
    is_used_otherwise: bool = False  # whether `**kwargs` are used for something else, too


def _handed_on(function: Any, Class: type, stars: Mapping[Any, str]) -> _Call | None:
    """Where an `__init__` hands its `*args` and `**kwargs` on to; None if it is to no base."""
    try:
        lines = inspect.getsource(inspect.unwrap(function))
        tree = ast.parse(textwrap.dedent(lines)).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return _Call()  # the text of the code is not at hand: what nearly all do
    args, kwargs = (stars.get(kind) for kind in _STARS)
    nodes = list(ast.walk(tree))
    calls = []
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        starred = [_name(arg.value) for arg in node.args if isinstance(arg, ast.Starred)]
        spread = [_name(keyword.value) for keyword in node.keywords if keyword.arg is None]
        places = args is not None and args in starred
        names = kwargs is not None and kwargs in spread
        if places or names:
            calls.append((node, places, names))
    if len(calls) != 1:
        return None
    node, places, names = calls[0]
    if not isinstance(node.func, ast.Attribute) or node.func.attr != "__init__":
        return None
    owner = node.func.value
    target = None
    num_given = sum(not isinstance(arg, ast.Starred) for arg in node.args)
    if not (isinstance(owner, ast.Call) and _name(owner.func) == "super"):
        named = owner.attr if isinstance(owner, ast.Attribute) else _name(owner)
        target = next((base for base in Class.__mro__ if base.__name__ == named), None)
        if target is None:
            return None
        num_given = max(num_given - 1, 0)  # without the instance itself
    given = frozenset(keyword.arg for keyword in node.keywords if keyword.arg is not None)
    uses = sum(_name(node) == kwargs for node in nodes) if kwargs is not None else 0
    return _Call(target, places, names, num_given, given, uses > names)


def _name(node: ast.AST) -> str | None:
    return node.id if isinstance(node, ast.Name) else None


def _parameters_of(base: type) -> list[inspect.Parameter]:
    """The parameters of a class's own `__init__`, or what it declares instead, without `self`.

    Where there is no signature, that is a TypeError or a ValueError.
    """
    declared = vars(base).get("__signature__")
    if isinstance(declared, inspect.Signature):
        return list(declared.parameters.values())
    function = vars(base)["__init__"]
    parameters = _without_self(function)
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # an annotation that cannot be evaluated says nothing to us
        hints = {}
    return [p.replace(annotation=hints.get(p.name, p.empty)) for p in parameters]


def _without_self(function: Any) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(function).parameters.values())
    has_self = parameters and parameters[0].kind not in _STARS  # a wrapper may have it in *args
    return parameters[1:] if has_self else parameters


def _check_made_by_init(Class: type) -> None:
    """Raises ConfigError if something else than `__init__` says what a class is made from."""
    by = ""
    if type(Class).__call__ is not type.__call__:
        by = f"its metaclass {type(Class).__name__} has a __call__ of its own"
    elif next(base for base in Class.__mro__ if "__new__" in vars(base)) is not object:
        with suppress(TypeError, ValueError):
            if [p.kind for p in _without_self(Class.__new__)] != list(_STARS):
                by = "it has a __new__ with arguments of its own"
    if by:
        raise ConfigError(
            f"What {Class.__name__} is made from cannot be known, because {by}. Give it an "
            f"__init__ that names its arguments, and no other way to be made."
        )


def plain(value: Any) -> Any:
    """A hyperparameter as numbers, texts, lists and dictionaries, to be written down or compared.

    Small tensors and arrays become lists, large ones their shape, type and a checksum; classes,
    functions and other objects become their names.
    """
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)  # NumPy's numbers and the members of an enumeration are such, too
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(plain, value), key=repr)  # its own order differs between processes
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist") and hasattr(value, "shape"):  # a tensor or an array
        form = f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
        try:
            if math.prod(value.shape) <= 100:
                return value.tolist()
            values = value.reshape(-1)[:: 1 + math.prod(value.shape) // 1000]  # some stand for all
            crc = zlib.crc32(repr(values.tolist()).encode())
        except (RuntimeError, NotImplementedError):  # sparse, or without values
            return form
        return f"{form}, checksum {crc:08x}"
    if isinstance(value, PurePath):
        return str(value)
    named = value if hasattr(value, "__qualname__") else type(value)
    return qualified_name(named)


def _short(value: Any) -> str:
    """A hyperparameter in at most 40 characters."""
    text = text_of(plain(value), repr)
    return text if len(text) <= 40 else f"{text[:37]}..."


def qualified_name(Class: Any) -> str:
    """Where a class or function is defined and what it is called: "gradbook.models.mlp.MLP"."""
    return f"{Class.__module__}.{Class.__qualname__}"
