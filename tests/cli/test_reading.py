"""What the text of an option stands for, and which types can be written so."""

import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch

from gradbook.cli import reading
from gradbook.cli.options import (
    show,
)
from gradbook.cli.reading import REQUIRED, read_value

MANY_NINES = "9" * 5000


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", int, 3),
        ("-3", int, -3),
        ("1e-3", float, 0.001),
        ("3", float, 3.0),
        ("false", bool, False),
        ("yes", bool, True),
        ("256", str, "256"),
        ("a/b", Path, Path("a/b")),
        ("256", int | Sequence[int], 256),
        ("256,128", int | Sequence[int], [256, 128]),
        ("[256, 128]", int | Sequence[int], [256, 128]),
        ("(256,128)", list[int], [256, 128]),
        ("256,", Sequence[int], [256]),
        ("28,28", tuple[int, int], (28, 28)),
        ("1,2,3", tuple[int, ...], (1, 2, 3)),
        ("1,a", list, [1, "a"]),
        ("none", int | None, None),
        ("3", typing.Optional[int], 3),  # noqa: UP045
        ("3", str | int, 3),
        ("x", str | int, "x"),
        ("adam", Literal["sgd", "adam"], "adam"),
        ("2", Literal[1, 2], 2),
        ("0.5", Annotated[float, "a share"], 0.5),
        ("3", Any, 3),
        ("0.5", Any, 0.5),
        ("256,128", Any, [256, 128]),
        ("[256,128]", Any, [256, 128]),
        ("(1,2)", Any, (1, 2)),
        ("true", Any, True),
        ("none", Any, None),
        ("relu", Any, "relu"),
    ],
)
def test_text_is_read_as_the_type_that_is_declared(text: str, kind: Any, value: Any) -> None:
    read = read_value(text, kind)
    assert (read, type(read)) == (value, type(value))


def test_a_tensor_is_read_from_numbers() -> None:
    assert torch.equal(read_value("2,-3.4", torch.Tensor), torch.tensor([2.0, -3.4]))


def test_a_tensor_of_two_dimensions_is_read_from_nested_lists() -> None:
    assert read_value("[[1,2],[3,4]]", torch.Tensor).shape == (2, 2)


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("0.5", int, "a whole number"),
        ("fast", float, "a number"),
        ("maybe", bool, "true or false"),
        ("2,x", int | Sequence[int], "a whole number or several values"),
        ("1,2,3", tuple[int, int], "2 values"),
        ("rms", Literal["sgd", "adam"], "one of sgd, adam"),
        ("x", int | None, "a whole number or none"),
        ("a", torch.Tensor, "numbers with commas"),
        ("['a']", torch.Tensor, "numbers with commas"),
        ("x", typing.Callable[[], int], "cannot be written"),
    ],
)
def test_text_that_does_not_fit_says_what_was_expected(text: str, kind: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_value(text, kind)


@pytest.mark.parametrize(
    ("default", "kind"),
    [(None, REQUIRED), ([0.5, 1], list[float]), (["a"], list[str]), ([], list[Any])],
)
def test_a_default_says_what_it_can(default: Any, kind: Any) -> None:
    assert reading.kind_of(default) == kind


@pytest.mark.parametrize(
    ("kind", "readable"),
    [
        (Annotated[int, ""], True),
        (Annotated[print, ""], False),
        (dict[str, int], False),
        (list[dict], False),
        (Sequence[int] | None, True),
        (typing.Callable[[], int] | None, False),
    ],
)
def test_only_what_can_be_written_is_an_option(kind: Any, readable: bool) -> None:
    assert reading.readable(kind) is readable


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (str(2**64), int),
        (MANY_NINES, int),
        (f"-{MANY_NINES}", int),
        (str(2**64), int | Sequence[int]),
        (f"3,{MANY_NINES}", list[int]),
        (MANY_NINES, int | float | None),
        (str(2**64), Any),
        (MANY_NINES, Any),
        (f"3,{2**64}", Any),
    ],
)
def test_a_whole_number_that_cannot_be_counted_to_is_too_large(text: str, kind: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^a whole number of at most 9223372036854775807 in size$"
    ):
        read_value(text, kind)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("1e400", float), (MANY_NINES, float), ("1e400", torch.Tensor), ("9" * 400, torch.Tensor)],
)
def test_a_number_that_would_become_infinite_is_too_large(text: str, kind: Any) -> None:
    with pytest.raises(ValueError, match=r"numbers? of at most 1\.8e\+308 in size"):
        read_value(text, kind)


def test_an_infinity_that_is_written_out_reaches_the_check() -> None:
    assert read_value("-inf", float) == -float("inf")


@pytest.mark.parametrize("text", ["", " ", "256,,128", "256,128,", ",", ",256", ",,"])
@pytest.mark.parametrize("kind", [Sequence[int], list, tuple[int, ...], int | Sequence[int]])
def test_a_list_with_a_gap_is_refused_with_an_example(text: str, kind: Any) -> None:
    with pytest.raises(ValueError, match=r"several values with commas between them, such as \d+,"):
        read_value(text, kind)


@pytest.mark.parametrize("text", ["256,,128", "256,128,,", ",256"])
def test_numbers_with_a_gap_are_no_text_where_nothing_was_declared(text: str) -> None:
    with pytest.raises(ValueError, match="values with commas between them, such as 256,128"):
        read_value(text, Any)


def test_a_pair_with_a_gap_is_refused_with_an_example() -> None:
    with pytest.raises(ValueError, match="2 values with commas between them, such as 256,128"):
        read_value("28,", tuple[int, int])


@pytest.mark.parametrize("text", ["[]", "()", "[ ]"])
def test_an_empty_list_is_written_with_brackets(text: str) -> None:
    assert read_value(text, Sequence[int]) == []


def test_an_empty_list_is_shown_as_it_is_read() -> None:
    assert read_value(show([]), list[int]) == []
