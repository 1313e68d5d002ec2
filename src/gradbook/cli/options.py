"""Command-line options made from the signature and the docstring of a class.

jsonargparse was tried first. It costs 160 ms of start-up, takes no `256,128` for a list, accepts
any text for an argument without annotation, and names its options and errors in its own way;
what remained of it was smaller than what had to be built around it.
"""

import argparse
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from gradbook.cli.outcome import HelpRequest, Outcome, UsageError
from gradbook.cli.reading import (
    NO_ANNOTATION,
    REQUIRED,
    TooLargeError,
    kind_of,
    placeholder,
    read_value,
    readable,
)
from gradbook.constructors import constructor_of
from gradbook.display.choose import NAMES
from gradbook.display.file import PICTURE_KINDS
from gradbook.errors import did_you_mean, shown
from gradbook.record import YScale
from gradbook.wrapping import page

if typing.TYPE_CHECKING:
    from gradbook.display.finding import Finding


class Given(NamedTuple):
    """A value from the command line, and how it was written there."""

    text: str
    value: Any

    @classmethod
    def of(cls, value: Any) -> "Given":
        """The same of what argparse has read, which has no text for a switch."""
        return value if isinstance(value, cls) else cls(show(value), value)


@dataclass(frozen=True)
class Option:
    """One constructor argument, as an option.

    Attributes:
        group: "model", "data" or "trainer".
        kind: Its annotation, or the type of its default, or nothing.
        default: Its default, or REQUIRED.
        flag: How it is written on the command line.
        declared: Whether `kind` is an annotation.
        full: The flag with its group, by which it is known whoever has the same name.
        rivals: The flags of what has the same name: another owner's, or the command's own.
    """

    name: str
    group: str
    kind: Any
    default: Any
    help: str = ""
    flag: str = field(default="", compare=False)
    declared: bool = True
    full: str = field(default="", compare=False)
    rivals: tuple[str, ...] = field(default=(), compare=False)

    @property
    def plain(self) -> str:
        """The flag that it would have if nothing else were called so."""
        return "--" + self.name.strip("_").replace("_", "-")

    @property
    def written(self) -> str:
        """Its flag in a command that is to mean the same for everybody."""
        return self.full if self.rivals and self.full else self.flag

    @property
    def dest(self) -> str:
        """Where argparse keeps the value: no two groups meet there."""
        return f"{self.group}.{self.name}"

    @property
    def metavar(self) -> str:
        """What stands for the value in the help."""
        return placeholder(self.kind)

    def read(self, text: str) -> Given:
        """The value that `text` stands for, or argparse's error if it stands for none."""
        try:
            return Given(text, read_value(text, self.kind))
        except ValueError as error:
            told = self.declared or isinstance(error, TooLargeError)
            reason = "" if told else f", as its default {show(self.default)} is"
            raise unexpected(text, f"{error}{reason}") from None


#: What reads the text of an option.
Reader = Callable[[Option, str], Any]


class Parser(argparse.ArgumentParser):
    """argparse, with errors as exceptions and a suggestion for an option that does not exist."""

    def __init__(self, command: str, description: str | None = None, **more: Any) -> None:
        name = f"gradbook {command}"
        super().__init__(name, None, description, add_help=False, allow_abbrev=False, **more)
        self.register("type", None, _filled)  # what reads an option that names no type of its own

    def error(self, message: str) -> NoReturn:
        """Raises the error that argparse would print."""
        # "argument --lr: expected ..." reads better without its first word.
        raise UsageError(message.removeprefix("argument "))

    def read_known(
        self, arguments: Sequence[str], before: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parses what is known of `arguments`, and returns the rest.

        Raises:
            HelpRequest: If they ask for the help, whatever else they say.
        """
        if asks_for_help(arguments):
            raise HelpRequest(self.format_help().rstrip())
        return self.parse_known_args(arguments, before)

    def read(
        self, arguments: Sequence[str], before: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parses all of `arguments`, or says which of them is unknown; `before` is the default."""
        values, unknown = self.read_known(arguments, before)
        if not unknown:
            return values
        flag = unknown[0].partition("=")[0]
        if not flag.startswith("-"):
            raise UsageError(f"{shown(flag)} is neither an option nor the value of one.")
        raise UsageError(
            f"There is no option {shown(flag)}.{self._suggestion(flag)} "
            f"`{self.prog} --help` lists them."
        )

    def read_all(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The same, with the options that every command has."""
        add_common_options(self)
        return self.read(arguments)

    def _suggestion(self, flag: str) -> str:
        """The option that may have been meant: what others call it, or what is spelled like it."""
        known = self._option_string_actions
        for ours, theirs in _ELSEWHERE.items():
            if ours in known and flag.lower() in theirs:
                return f" Did you mean {ours!r}?"
        return did_you_mean(flag, known)


#: Our options, and what other libraries and programs call the same.
_ELSEWHERE = {
    "--lr": ("--learning-rate", "--learningrate", "--rate", "--eta", "--alpha", "--step-size"),
    "--max-epochs": ("--epochs", "--epoch", "--num-epochs", "--n-epochs", "--num-train-epochs"),
    "--batch-size": ("--batchsize", "--batch", "--bs", "--minibatch-size"),
    "--num-hiddens": (
        *("--hidden", "--hiddens", "--num-hidden", "--hidden-size", "--hidden-sizes"),
        *("--hidden-dim", "--hidden-units", "--n-hidden", "--hidden-layers", "--width"),
    ),
    "--num-outputs": ("--num-classes", "--n-classes", "--classes", "--out-features"),
    "--num-inputs": ("--num-features", "--n-features", "--in-features", "--input-size"),
    "--num-train": ("--n", "--num-examples", "--num-samples"),
    "--num-gpus": ("--gpu", "--gpus", "--cuda", "--device", "--devices", "--accelerator"),
    "--gradient-clip-val": ("--clip", "--grad-clip", "--clip-grad", "--clip-norm", "--max-norm"),
    "--seed": ("--random-seed", "--random-state", "--manual-seed"),
    "--data": ("--dataset", "--data-set"),
    "--runs": ("--output", "--output-dir", "--out", "--out-dir", "--log-dir", "--save-dir"),
    "--patience": ("--early-stopping", "--early-stop"),
    "--workers": ("--num-workers", "--jobs", "--n-jobs"),
}


def _filled(text: str) -> str:
    """The text that a command's own option takes, which is not empty."""
    if not text:
        raise argparse.ArgumentTypeError("expected a value, but got an empty text")
    return text


def add_common_options(group: argparse._ActionsContainer) -> None:
    """Adds the options that every command has."""
    group.add_argument("--json", action="store_true", help="print the result as one JSON object")
    group.add_argument("--traceback", action="store_true", help="show whole tracebacks of errors")
    group.add_argument("-h", "--help", action="store_true", help="show this")


def add_runs_option(group: argparse._ActionsContainer) -> None:
    """Adds the folder of the runs."""
    told = "folder for runs (default: runs)"
    group.add_argument("--runs", default="runs", metavar="DIR", help=told)


def add_display_options(group: argparse._ActionsContainer) -> None:
    """Adds how the progress of a training is shown."""
    group.add_argument(
        "--display",
        choices=[name for name in NAMES if name != "notebook"],
        default="auto",
        help="how progress is shown (default: auto)",
    )
    add_yscale_option(group)
    add_quiet_option(group)


def add_yscale_option(group: argparse._ActionsContainer) -> None:
    """Adds the vertical axis of the curves."""
    told = "vertical axis of the curves (default: auto, log where losses span decades)"
    group.add_argument("--yscale", choices=typing.get_args(YScale), default="auto", help=told)


def add_quiet_option(group: argparse._ActionsContainer) -> None:
    """Adds that nothing is shown."""
    group.add_argument("--quiet", action="store_true", help="print nothing but errors")


def add_output_option(
    group: argparse._ActionsContainer, name: str, where: str = "in this folder"
) -> None:
    """Adds where a command leaves its picture, which without it is called `name`."""
    group.add_argument(
        "--output",
        metavar="FILE",
        type=_picture,
        help=f"the picture, .svg or .png (default: {name}.svg and {name}.png {where})",
    )


def _picture(text: str) -> Path:
    path = Path(_filled(text))
    if path.suffix.lower().lstrip(".") not in PICTURE_KINDS:
        raise argparse.ArgumentTypeError(f"a picture ends in .svg or .png, but not {text!r}.")
    return path


def pictures(output: Path | None, name: str) -> list[Path]:
    """The files for a picture: what was given for --output, or both kinds in this folder."""
    return [Path(f"{name}.{kind}") for kind in PICTURE_KINDS] if output is None else [output]


def drawn(
    found: "Finding", name: str, output: Path | None, facts: dict[str, Any], *head: str
) -> Outcome:
    """Saves the picture of what a command has found, and says it.

    The picture is `output`, or called `name`; the facts are for --json, and `head` says what was
    looked at.
    """
    files = pictures(output, name)
    found.save(*files)
    facts["pictures"] = [str(file) for file in files]
    note = "" if output else " (the next one takes its place; --output FILE keeps it)"
    lines = [*head, *[""] * len(head), found.words, ""]
    lines.append(f"picture: {', '.join(facts['pictures'])}{note}")
    return Outcome(facts, page("\n".join(lines)))


def add_number(
    group: argparse._ActionsContainer,
    flag: str,
    kind: type[int | float],
    told: str,
    default: float | None = None,
    **more: Any,
) -> None:
    """Adds an option of a command's own: a whole number above 0, or with `float` any number."""
    note = "" if default is None else f" (default: {show(default)})"
    known: dict[str, Any] = {"metavar": placeholder(kind), "help": told + note, **more}
    reader = positive_number if kind is int else any_number
    group.add_argument(flag, type=reader, default=default, **known)


def unexpected(text: str, wanted: str) -> argparse.ArgumentTypeError:
    """Argparse's error for the text of an option that is not what was wanted."""
    return argparse.ArgumentTypeError(f"expected {wanted}, but got {shown(text)}")


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for help, whatever else it says."""
    return bool({"-h", "--help"} & set(arguments))


def positive_number(text: str) -> int:
    """The whole number above 0 that a command's own option takes."""
    if not text.isdecimal() or len(text) > 18 or int(text) == 0:
        limit = " of at most 18 digits" if text.isdecimal() and len(text) > 18 else ""
        raise unexpected(text, f"a whole number above 0{limit}")
    return int(text)


def any_number(text: str) -> float:
    """The number that a command's own option takes."""
    try:
        return float(read_value(text, float))
    except ValueError as error:
        raise unexpected(text, str(error)) from None


def options_of(
    Class: type, group: str, defaults: dict[str, Any] | None = None, skip: Collection[str] = ()
) -> list[Option]:
    """The options for what `Class` is constructed from, in the order of its signature.

    An argument that cannot be written as text is left out, if it has a default. `defaults` are the
    command's own, which replace those of the class.

    Raises:
        ConfigError: If it cannot be known what it is constructed from.
    """
    texts = _argument_help(Class)
    options = []
    for name, parameter in constructor_of(Class).parameters.items():
        annotation = parameter.annotation
        if name in skip or name.startswith("_"):
            continue
        default = (defaults or {}).get(name, parameter.default)
        declared = annotation is not NO_ANNOTATION and annotation is not Any
        kind = annotation if declared else kind_of(default)
        if not readable(kind) and default is not REQUIRED:
            continue
        options.append(Option(name, group, kind, default, texts.get(name, ""), declared=declared))
    return options


def give_flags(options: Iterable[Option], taken: Collection[str] = ()) -> list[Option]:
    """Gives every option its flag. The first to ask gets the plain name, later ones a prefix.

    With the prefix of its group each is known, too. Flags of the command itself are `taken`.
    """
    used = set(taken)
    flagged = []
    for option in options:
        flag = option.plain
        while (spellings := _spellings(flag, option.kind)) & used:
            flag = f"--{option.group}-{flag[2:]}"
        used |= spellings
        flagged.append(replace(option, flag=flag))
    return [_with_full_flag(option, flagged, taken, used) for option in flagged]


def _with_full_flag(
    option: Option, every: Iterable[Option], taken: Collection[str], used: set[str]
) -> Option:
    rivals = [other.flag for other in every if other.plain == option.plain and other != option]
    rivals += [option.plain] if option.plain in taken else []
    full = option.flag
    if full == option.plain:
        full = f"--{option.group}-{option.plain[2:]}"
        spellings = _spellings(full, option.kind)
        full = "" if spellings & used else full
        used |= spellings
    return replace(option, full=full, rivals=tuple(rivals))


def _spellings(flag: str, kind: Any) -> set[str]:
    return {flag, f"--no-{flag[2:]}"} if kind is bool else {flag}


def add_options(
    parser: argparse.ArgumentParser,
    title: str,
    options: Iterable[Option],
    read: Reader = Option.read,
) -> None:
    """Adds `options` to `parser` under a heading. Absent ones leave no trace in its result."""
    group = parser.add_argument_group(title)
    for option in options:
        notes = [f"not {', '.join(option.rivals)}"] if option.rivals else []
        if option.default is REQUIRED:
            notes.insert(0, "required")
        elif not (isinstance(option.default, str | list | tuple) and not option.default):
            notes.insert(0, f"default: {show(option.default)}")
        note = f"({'; '.join(notes)})" if notes else ""
        text = f"{option.help} {note}".strip().replace("%", "%%")
        flags = list(dict.fromkeys(flag for flag in (option.flag, option.full) if flag))
        # The full flag is shown where it tells options apart, and understood everywhere.
        _add_option(group, option, flags if option.rivals else flags[:1], text, read)
        if not option.rivals and flags[1:]:
            _add_option(group, option, flags[1:], argparse.SUPPRESS, read)


def _add_option(
    group: argparse._ActionsContainer, option: Option, flags: Sequence[str], text: str, read: Reader
) -> None:
    known: dict[str, Any] = {"dest": option.dest, "default": argparse.SUPPRESS, "help": text}
    if option.kind is bool and read is Option.read:
        group.add_argument(*flags, action=argparse.BooleanOptionalAction, **known)
        return
    if option.kind is bool:  # one of several values, or both
        known |= {"nargs": "?", "const": Given("true", True)}
    if option.metavar.endswith(",..."):
        known["action"] = _ListAction
    group.add_argument(*flags, type=partial(read, option), metavar=option.metavar, **known)


class _ListAction(argparse.Action):
    """An option that takes a list: given twice, the first value would be lost without a word.

    A value that holds from before, as that of a run which is trained again, may be replaced.
    """

    _read: Any = None

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, flag: str | None = None
    ) -> None:
        read: Any = getattr(namespace, self.dest, None)
        if read is not None and read is self._read:
            both = f"{flag} {read.text},{values.text}"
            raise argparse.ArgumentError(self, f"given twice; several values are one list: {both}")
        setattr(namespace, self.dest, values)
        self._read = values if isinstance(values, Given) else None


def with_value(flag: str, text: str) -> list[str]:
    """An option and its value as words of a command; a value that begins with a dash is joined."""
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def show(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, list | tuple):
        return ",".join(show(item) for item in value) or "[]"
    if hasattr(value, "tolist"):  # a tensor or an array
        return show(value.tolist())
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def normalized(arguments: Sequence[str]) -> list[str]:
    """Arguments in the one form that argparse is given.

    `--num_hiddens` becomes `--num-hiddens`, and a number that begins with a minus is tied to its
    option, because argparse would take `-1e-3`, `-1,2` or `-inf` for an option of its own.
    """
    tied: list[str] = []
    for argument in arguments:
        if argument.startswith("--"):
            flag, equals, value = argument.partition("=")
            tied.append(flag.replace("_", "-") + equals + value)
        elif _NEGATIVE.match(argument) and tied and re.fullmatch(r"--[^=]+", tied[-1]):
            tied[-1] += "=" + argument
        else:
            tied.append(argument)
    return tied


_NEGATIVE = re.compile(r"-([.\d]|(inf|infinity|nan)\b)", re.IGNORECASE)


# What a docstring says


def _argument_help(Class: type) -> dict[str, str]:
    """What the docstrings of `Class` and its bases say under `Args:`, by argument."""
    texts: dict[str, str] = {}
    for base in reversed(Class.__mro__):
        for documented in (base, vars(base).get("__init__")):
            texts.update(_section_of_arguments(getattr(documented, "__doc__", None) or ""))
    return texts


def _section_of_arguments(docstring: str) -> dict[str, str]:
    lines = iter(inspect.cleandoc(docstring).splitlines())
    for line in lines:
        if re.fullmatch(r"(Args|Arguments|Parameters):", line.strip()):
            break
    section = takewhile(lambda line: not line.strip() or line[0].isspace(), lines)
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in textwrap.dedent("\n".join(section)).splitlines():
        entry = re.match(r"(?!\s)([\w*, ]+?)\s*(\([^)]*\))?:\s*(.*)", line)
        if entry:
            names = [name.strip(" *") for name in entry[1].split(",")]
            texts.update(dict.fromkeys(names, entry[3]))
        else:
            for name in names:
                texts[name] = f"{texts[name]} {line.strip()}".strip()
    return texts
