"""Values of options: what a text stands for, and which types can be written as text."""

import ast
import inspect
import math
import re
import sys
import types
import typing
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Union

#: Marks an argument without a default.
REQUIRED: Any = inspect.Parameter.empty

#: Marks an argument of which no type is declared.
NO_ANNOTATION = inspect.Parameter.empty
_SEQUENCES = (Sequence, Collection, Iterable, list, tuple)


def _taken_apart(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """What a type is at heart, and what stands in its brackets: a union is one however written."""
    arguments = typing.get_args(kind)
    origin = typing.get_origin(kind) or kind
    if origin is typing.Annotated:
        return _taken_apart(arguments[0])
    return (Union if origin is types.UnionType else origin), arguments


def read_value(text: str, kind: Any) -> Any:
    """The value of type `kind` that `text` stands for.

    Raises:
        ValueError: If it stands for none; the message says what was expected.
    """
    origin, arguments = _taken_apart(kind)
    if origin is NO_ANNOTATION or origin is Any:
        return _guess(text)
    if origin is Union:
        return _first_reading(text, arguments)
    if origin is Literal:
        for choice in arguments:
            if text == str(choice):
                return choice
        raise ValueError("one of " + ", ".join(str(choice) for choice in arguments))
    if origin is None or origin is type(None):
        if text.lower() in ("none", "null"):
            return None
        raise ValueError("none")
    if origin is bool:
        if text.lower() in ("true", "yes", "on", "1", "false", "no", "off", "0"):
            return text.lower() in ("true", "yes", "on", "1")
        raise ValueError("true or false")
    if origin in (int, float):
        return _read_number(text, origin)
    if origin is str or origin is Path:
        return origin(text)
    if _is_tensor(origin):
        import torch

        return torch.tensor(_numbers(text))
    if origin in _SEQUENCES:
        return _read_list(text, origin, arguments)
    raise ValueError("a value that cannot be written on the command line")


def _first_reading(text: str, kinds: Sequence[Any]) -> Any:
    # A text reads as anything, so it is tried last.
    expected = []
    for kind in sorted(kinds, key=lambda kind: kind is str):
        try:
            return read_value(text, kind)
        except TooLargeError:
            if str not in kinds:
                raise  # nothing else would be said of it
        except ValueError as error:
            expected.append(str(error))
    raise ValueError(" or ".join(dict.fromkeys(expected)))


class TooLargeError(ValueError):
    """A number that has the right form."""


#: The largest whole number that PyTorch can count to.
_LARGEST_COUNT = 2**63 - 1


def _read_number(text: str, kind: type) -> int | float:
    is_whole = kind is int and re.fullmatch(r"\s*[+-]?\d+(_\d+)*\s*", text)
    # Python itself reads no more than some thousands of digits.
    if is_whole and (len(text) > 1000 or abs(int(text)) > _LARGEST_COUNT):
        raise TooLargeError(f"a whole number of at most {_LARGEST_COUNT} in size")
    try:
        number: int | float = kind(text)
    except ValueError:
        raise ValueError("a whole number" if kind is int else "a number") from None
    if math.isinf(number) and "inf" not in text.lower():
        raise TooLargeError(f"a number of at most {sys.float_info.max:.1e} in size")
    return number


def _read_list(text: str, kind: Any, arguments: Sequence[Any]) -> Any:
    items = _items(text)
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(items) != len(arguments) or not all(items):
            raise ValueError(
                f"{len(arguments)} values with commas between them, such as {_example(arguments)}"
            )
        return tuple(read_value(item, each) for item, each in zip(items, arguments, strict=True))
    each = arguments[0] if arguments else Any
    wanted = f"several values with commas between them, such as {_example((each, each))}"
    if not all(items):
        raise ValueError(wanted)
    try:
        values = [read_value(item, each) for item in items]
    except TooLargeError:
        raise
    except ValueError as error:
        raise ValueError(f"{wanted}, each {error}") from None
    return tuple(values) if kind is tuple else values


def _items(text: str) -> list[str]:
    """What stands between the commas of a list; `[]` is empty, and `256,` has one, as in Python."""
    text = text.strip()
    inner = text[1:-1] if text[:1] + text[-1:] in ("[]", "()") else text
    if not inner.strip() and inner is not text:
        return []
    items = [item.strip() for item in inner.split(",")]
    return items[:1] if len(items) == 2 and not items[1] else items


def _example(kinds: Sequence[Any]) -> str:
    """A list with one value for each of `kinds`."""
    examples = {int: ("256", "128"), float: ("0.1", "0.5"), str: ("a", "b")}
    named = [examples.get(kind, ("1", "2")) for kind in kinds]
    return ",".join(pair[place % 2] for place, pair in enumerate(named))


#: What Python says of a text that is no value, or one that is nested too deeply.
_NO_VALUE = (ValueError, SyntaxError, MemoryError, RecursionError)


def _numbers(text: str) -> Any:
    try:
        values = ast.literal_eval(text)
    except _NO_VALUE:
        raise ValueError("numbers with commas between them") from None
    return _as_floats(values)


def _as_floats(values: Any) -> Any:
    if isinstance(values, list | tuple):
        return [_as_floats(value) for value in values]
    if isinstance(values, bool) or not isinstance(values, int | float):
        raise ValueError("numbers with commas between them")
    if abs(values) > sys.float_info.max:
        raise TooLargeError(f"numbers of at most {sys.float_info.max:.1e} in size")
    return float(values)


def _guess(text: str) -> Any:
    """What a learner means who did not say which type an argument has."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        value = ast.literal_eval(text)
    except _NO_VALUE:
        if re.fullmatch(r"\s*[+-]?\d+\s*", text):
            return _read_number(text, int)
        if re.fullmatch(r"[\s\d.eE+,-]*\d[\s\d.eE+,-]*", text) and not all(_items(text)):
            raise ValueError("values with commas between them, such as 256,128") from None
        return text
    items = value if isinstance(value, list | tuple) else (value,)
    if any(type(item) is int and abs(item) > _LARGEST_COUNT for item in items):
        raise TooLargeError(f"a whole number of at most {_LARGEST_COUNT} in size")
    # 256,128 is a tuple to Python, but a list to everybody else.
    return list(value) if isinstance(value, tuple) and not text.startswith("(") else value


def kind_of(default: Any) -> Any:
    """The type that a default stands for, where nothing was declared."""
    if default is REQUIRED or default is None:
        return NO_ANNOTATION
    if isinstance(default, list | tuple):
        kinds = {type(item) for item in default}
        each: Any = Any
        if kinds and kinds <= {int, float}:
            each = float if float in kinds else int
        elif kinds == {str}:
            each = str
        return tuple[each, ...] if isinstance(default, tuple) else list[each]
    return type(default)


def _is_tensor(kind: Any) -> bool:
    return getattr(kind, "__module__", "") == "torch" and kind.__name__ == "Tensor"


def readable(kind: Any) -> bool:
    """Whether a value of type `kind` can be written as text."""
    origin, arguments = _taken_apart(kind)
    if origin is Union:
        return any(readable(each) for each in arguments if each is not type(None))
    if origin in _SEQUENCES:
        return all(readable(each) for each in arguments if each is not Ellipsis)
    plain = (NO_ANNOTATION, Any, bool, int, float, str, Path, type(None), Literal)
    return origin in plain or _is_tensor(origin)


def placeholder(kind: Any) -> str:
    """What stands for a value of type `kind` in the help."""
    origin, arguments = _taken_apart(kind)
    if origin is Union:
        named = [placeholder(each) for each in arguments if each is not type(None)]
        return "|".join(dict.fromkeys(named))
    if origin is Literal:
        return "{" + ",".join(str(choice) for choice in arguments) + "}"
    if _is_tensor(origin):
        return "FLOAT,..."
    if origin in _SEQUENCES:
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            return ",".join(placeholder(each) for each in arguments)
        return (placeholder(arguments[0]) if arguments else "VALUE") + ",..."
    named_types = {bool: "BOOL", int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH"}
    return named_types.get(origin, "VALUE")
