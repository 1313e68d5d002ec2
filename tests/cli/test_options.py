"""Options from signatures and docstrings."""

import argparse
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pytest
import torch

from gradbook.cli import options
from gradbook.cli.options import (
    Given,
    Option,
    Parser,
    add_common_options,
    add_display_options,
    add_options,
    add_runs_option,
    give_flags,
    normalized,
    options_of,
    show,
)
from gradbook.cli.outcome import HelpRequest, UsageError
from gradbook.cli.reading import REQUIRED
from gradbook.models import MLP


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([256, 128], "256,128"),
        ((28, 28), "28,28"),
        (0.1, "0.1"),
        (0.1234567890123, "0.1234567890123"),
        (True, "true"),
        (None, "none"),
        (torch.tensor([2.0, -3.5]), "2,-3.5"),
        ("text", "text"),
    ],
)
def test_a_value_is_shown_as_it_would_be_typed(value: Any, shown: str) -> None:
    assert show(value) == shown


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["--num_hiddens", "3"], ["--num-hiddens", "3"]),
        (["--num_hiddens=a_b"], ["--num-hiddens=a_b"]),
        (["--name", "a_b"], ["--name", "a_b"]),
        (["--lr", "-1e-3"], ["--lr=-1e-3"]),
        (["--w", "-1,2"], ["--w=-1,2"]),
        (["--lr=1", "-2"], ["--lr=1", "-2"]),
        (["-h"], ["-h"]),
        (["-1"], ["-1"]),
    ],
)
def test_arguments_are_brought_into_one_form(typed: list[str], meant: list[str]) -> None:
    assert normalized(typed) == meant


class Undeclared:
    """In the book's style.

    Args:
        num_outputs: Classes,
            on two lines.
        lr, rate: One text for two.
        unknown (int): With a type.

    Attributes:
        net: Not an argument.
    """

    def __init__(
        self,
        num_outputs,
        num_hiddens=256,
        lr=0.1,
        widths=(1, 2),
        name="x",
        on=False,
        _h=1,
        act=print,
    ):
        pass


def by_name(Class: type, **kwargs: Any) -> dict[str, Option]:
    return {option.name: option for option in options_of(Class, "model", **kwargs)}


def test_the_type_of_a_default_stands_for_a_declaration() -> None:
    found = by_name(Undeclared)
    kinds = {name: option.kind for name, option in found.items()}
    assert kinds == {
        "num_outputs": REQUIRED,
        "num_hiddens": int,
        "lr": float,
        "widths": tuple[int, ...],
        "name": str,
        "on": bool,
    }


def test_a_default_that_is_no_text_makes_no_option() -> None:
    assert "f" not in by_name(Undeclared)


def test_a_name_with_an_underscore_in_front_is_no_option() -> None:
    assert "_h" not in by_name(Undeclared)


def test_a_value_unlike_the_default_is_refused() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="a whole number, as its default 256 is"):
        by_name(Undeclared)["num_hiddens"].read("0.5")


def test_a_whole_number_will_do_for_a_float() -> None:
    assert by_name(Undeclared)["lr"].read("1").value == 1.0


def test_the_help_comes_from_the_docstring() -> None:
    assert by_name(MLP)["lr"].help == "The learning rate."


def test_the_help_of_an_argument_may_have_several_lines() -> None:
    assert by_name(Undeclared)["num_outputs"].help == "Classes, on two lines."


def test_the_section_of_arguments_ends_where_the_next_begins() -> None:
    assert "net" not in options._argument_help(Undeclared)


def test_one_text_may_serve_several_arguments() -> None:
    texts = options._argument_help(Undeclared)
    assert (texts["lr"], texts["rate"]) == ("One text for two.", "One text for two.")


def test_a_type_in_the_docstring_is_no_part_of_the_help() -> None:
    assert options._argument_help(Undeclared)["unknown"] == "With a type."


class WithRest(MLP):
    def __init__(self, dropout: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)


def test_what_is_handed_on_to_the_base_is_an_option() -> None:
    assert list(by_name(WithRest)) == ["dropout", "num_outputs", "num_hiddens", "lr", "activation"]


def test_the_help_of_the_base_serves_its_subclass() -> None:
    assert by_name(WithRest)["lr"].help == "The learning rate."


class Unfinished:
    def __init__(self, size: "Missing" = 3, n: "int" = 2) -> None:  # noqa: F821
        pass


def test_an_annotation_that_cannot_be_evaluated_is_as_none() -> None:
    assert by_name(Unfinished)["size"].kind is int


def test_a_class_without_constructor_has_no_options() -> None:
    assert options_of(object, "model") == []


def test_the_commands_own_default_replaces_the_class_s() -> None:
    assert by_name(MLP, defaults={"lr": 0.5})["lr"].default == 0.5


def option(name: str, group: str, kind: Any = int, default: Any = 1) -> Option:
    return Option(name, group, kind, default)


def test_the_first_group_gets_the_plain_name() -> None:
    flagged = give_flags([option("size", "model"), option("size", "data")])
    assert [o.flag for o in flagged] == ["--size", "--data-size"]


def test_what_several_have_is_written_with_its_owner() -> None:
    model, data = give_flags([option("size", "model"), option("size", "data")])
    assert (model.written, model.rivals) == ("--model-size", ("--data-size",))
    assert (data.written, data.rivals) == ("--data-size", ("--size",))


def test_what_one_has_alone_is_written_plainly_and_understood_with_its_owner() -> None:
    [alone] = give_flags([option("size", "model")])
    assert alone.written == "--size"
    parser = Parser("test")
    add_options(parser, "", [alone])
    assert vars(parser.read(["--model-size", "3"])) == {"model.size": Given("3", 3)}
    assert "--model-size" not in parser.format_help()


def test_the_commands_own_flags_go_before_a_model_s() -> None:
    assert give_flags([option("name", "model")], ["--name"])[0].flag == "--model-name"


def test_a_prefixed_name_that_is_in_use_gets_another_prefix() -> None:
    flagged = give_flags([option("size", "model"), option("data_size", "model")])
    (data,) = give_flags([option("size", "data")], [o.flag for o in flagged])
    assert data.flag == "--data-data-size"


def test_the_opposite_of_a_switch_is_in_use_too() -> None:
    flagged = give_flags([option("x", "model", bool, True), option("no_x", "data")])
    assert flagged[1].flag == "--data-no-x"


def parsed(options: list[Option], *arguments: str) -> dict[str, Any]:
    parser = Parser("test")
    add_options(parser, "Options", give_flags(options))
    return vars(parser.read(arguments))


def test_what_is_not_given_leaves_no_trace() -> None:
    assert parsed([option("size", "model")]) == {}


def test_a_switch_can_be_turned_off() -> None:
    assert parsed([option("x", "model", bool, True)], "--no-x") == {"model.x": False}


def test_a_percent_sign_in_the_help_is_shown() -> None:
    parser = Parser("test")
    add_options(parser, "Options", [Option("x", "model", int, 1, "Up to 100%.", "--x")])
    assert "Up to 100%. (default: 1)" in parser.format_help()


def test_a_required_option_says_so_in_the_help() -> None:
    parser = Parser("test")
    add_options(parser, "Options", [Option("x", "model", int, REQUIRED, "", "--x")])
    assert "(required)" in parser.format_help()


def test_an_option_is_not_abbreviated() -> None:
    with pytest.raises(UsageError, match=r"no option '--siz'. Did you mean '--size'\?"):
        parsed([option("size", "model")], "--siz", "3")


def test_a_word_that_is_no_option_is_refused() -> None:
    with pytest.raises(UsageError, match="'more' is neither an option nor the value of one"):
        parsed([option("size", "model")], "more")


def test_a_value_that_does_not_fit_names_its_option() -> None:
    with pytest.raises(UsageError, match="--size: expected a whole number, but got 'big'"):
        parsed([Option("size", "model", int, 1)], "--size", "big")


@pytest.mark.parametrize(
    ("kind", "placeholder"),
    [
        (int, "INT"),
        (int | Sequence[int] | None, "INT|INT,..."),
        (tuple[int, int], "INT,INT"),
        (Literal["a", "b"], "{a,b}"),
        (torch.Tensor, "FLOAT,..."),
        (Annotated[str, ""], "TEXT"),
        (REQUIRED, "VALUE"),
        (list, "VALUE,..."),
    ],
)
def test_the_help_shows_what_a_value_looks_like(kind: Any, placeholder: str) -> None:
    assert Option("x", "model", kind, None).metavar == placeholder


def test_a_switch_and_its_opposite_get_different_flags():
    switches = [Option(name, "model", bool, False) for name in ("no_bias", "bias")]
    assert [option.flag for option in give_flags(switches)] == ["--no-bias", "--model-bias"]


# Options of several commands


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_help_comes_before_what_is_wrong(flag: str) -> None:
    parser = Parser("data", "What it does.")
    parser.add_argument("run")
    add_common_options(parser)
    with pytest.raises(HelpRequest, match="What it does"):
        parser.read(["--unknown", flag])


def test_what_is_not_known_can_be_handed_on() -> None:
    parser = Parser("rerun")
    add_runs_option(parser)
    values, rest = parser.read_known(["--runs", "others", "--lr", "0.3"])
    assert (values.runs, rest) == ("others", ["--lr", "0.3"])


def test_runs_are_in_a_folder_of_that_name_unless_another_is_given() -> None:
    parser = Parser("runs")
    add_runs_option(parser)
    assert parser.read([]).runs == "runs"


def test_a_display_is_one_that_there_is() -> None:
    parser = Parser("resume")
    add_display_options(parser)
    assert parser.read(["--display", "lines", "--quiet"]).display == "lines"
    with pytest.raises(UsageError, match="--display: invalid choice: 'web'"):
        parser.read(["--display", "web"])


# Input that cannot be


MANY_NINES = "9" * 5000


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"9\.\.\.' \(5000 characters\)$") as error:
        Option("size", "model", int, 1).read(MANY_NINES)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("text", [MANY_NINES, str(2**64)])
def test_a_number_of_too_many_digits_says_so(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="of at most 18 digits, but got '"):
        options.positive_number(text)


@pytest.mark.parametrize(
    "words", [["--lr", "-inf"], ["--lr", "-Infinity"], ["--lr", "-nan"], ["--lr", "-1e5"]]
)
def test_a_negative_number_of_any_kind_is_a_value(words: list[str]) -> None:
    assert normalized(words) == [f"{words[0]}={words[1]}"]


@pytest.mark.parametrize("words", [["--on="], ["--on", ""], ["--on", "here", ""]])
def test_an_empty_text_is_no_value(words: list[str]) -> None:
    parser = Parser("test")
    parser.add_argument("--on")
    parser.add_argument_group("Own").add_argument("run", nargs="?")
    with pytest.raises(UsageError, match=r"(--on|run): expected a value, but got an empty text"):
        parser.read(words)


@pytest.mark.parametrize("default", [(), [], ""])
def test_an_empty_default_is_not_shown(default: Any) -> None:
    parser = Parser("test")
    add_options(parser, "Options", [Option("x", "model", Any, default, "What it is.", "--x")])
    assert parser.format_help().rstrip().endswith("What it is.")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("--learning-rate", "--lr"),
        ("--epochs", "--max-epochs"),
        ("--num-epochs", "--max-epochs"),
        ("--batchsize", "--batch-size"),
        ("--hidden", "--num-hiddens"),
        ("--output", "--runs"),
        ("--random-seed", "--seed"),
    ],
)
def test_what_others_call_an_option_leads_to_ours(theirs: str, ours: str) -> None:
    parser = Parser("test")
    for flag in ("--lr", "--max-epochs", "--batch-size", "--num-hiddens", "--runs", "--seed"):
        parser.add_argument(flag)
    with pytest.raises(UsageError, match=f"no option '{theirs}'. Did you mean '{ours}'"):
        parser.read([theirs, "3"])


def test_what_others_call_an_option_is_ours_where_there_is_one() -> None:
    parser = Parser("test")
    parser.add_argument("--epochs")
    with pytest.raises(UsageError, match="Did you mean '--epochs'"):
        parser.read(["--num-epochs", "3"])


@pytest.mark.parametrize("text", ["x", "1e400", ""])
def test_a_number_of_a_command_s_own_names_what_was_given(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"expected a number.*but got '{text}'"):
        options.any_number(text)
