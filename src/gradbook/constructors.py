"""What a class is made from: its constructor's arguments, read through its bases."""

import ast
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from gradbook.errors import ConfigError

T = TypeVar("T")


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
