"""What a command says: its result as text or JSON, errors, and warnings."""

import json
import os
import re
import signal
import sys
import textwrap
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TextIO

from gradbook.errors import ConfigError, GradbookError, text_of, without_frames
from gradbook.escape import printable
from gradbook.interrupts import Terminated
from gradbook.libraries import is_library
from gradbook.storage import finite
from gradbook.wrapping import columns, wrapped


class UsageError(ConfigError):
    """A command line that cannot be understood."""


class HelpRequest(Exception):  # noqa: N818 - no error
    """The command line asks for a command's help, which is the message."""


# Results


@dataclass
class Outcome:
    """What a command has to say.

    Attributes:
        facts: For --json.
        text: For a person.
        code: The exit code, if there is no error.
        error: What ended it early.
        is_told: Whether all has been said, by processes that it has started.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    code: int = 0
    error: BaseException | None = None
    is_told: bool = False


def print_json(value: dict[str, Any], stream: TextIO) -> None:
    """Writes one JSON object: a line of its own, or indented when a person reads it.

    NaN and infinities are null there, sets lists, and what JSON does not have is text.
    """
    indent = 2 if stream.isatty() else None
    text = json.dumps(finite(value), indent=indent, allow_nan=False, default=_as_json)
    print(text, file=stream, flush=True)


def _as_json(value: Any) -> Any:
    if hasattr(value, "tolist"):  # a tensor or an array
        return finite(value.tolist())
    return finite(list(value)) if isinstance(value, set) else str(value)


# Warnings


@contextmanager
def plain_warnings(quiet: bool) -> Iterator[None]:
    """Shows warnings as they are worded, or not at all, instead of with a line of source."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if not quiet:
            first, newline, rest = printable(str(message)).strip().partition("\n")
            rest = textwrap.indent(textwrap.dedent(rest), "  ")
            told = f"warning: {first}{newline}{rest}"
            print(wrapped(told, columns(sys.stderr)), file=sys.stderr, flush=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


# Errors


def ending(error: BaseException) -> BaseException:
    """What really ended a command: a signal, if `error` is only what it led to.

    SIGTERM often goes to a whole group of processes, so that a loader's workers end as well.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Terminated):
            return cause
        if re.search(r"DataLoader worker.* killed by signal: Terminated", text_of(cause)):
            return Terminated()
        cause = cause.__cause__ or cause.__context__
    return error


def exit_code(error: BaseException) -> int:
    """The exit code that goes with what ended a command."""
    if isinstance(error, ConfigError):
        return 2
    if isinstance(error, Terminated):
        return 128 + error.number
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, BrokenPipeError):
        return 128 + 13  # SIGPIPE, which not every system names
    return 1


def describe(error: BaseException, arguments: Sequence[str] = ()) -> str:
    """An error as a message: one that says what to do, or the learner's part of a traceback.

    One of the command's words, the `arguments`, may be what is too large.
    """
    if isinstance(error, Terminated):
        return "terminated."
    if isinstance(error, KeyboardInterrupt):
        return "interrupted."
    if isinstance(error, SystemExit):
        code = text_of(error.code, repr)
        return f"the code that was run ended the program with sys.exit({code})."
    frames = learners_frames(error)
    if isinstance(error, GradbookError):
        where = ""
        if frames:
            where = f"\n  in {frames[-1].filename}, line {frames[-1].lineno}, in {frames[-1].name}"
        return f"{text_of(error)}{where}"
    last = without_frames("".join(traceback.format_exception_only(error)).strip())
    if isinstance(error, SyntaxError):
        return f"this file is not valid Python:\n{last}"
    hint = _hint(error)
    too_large = _too_large(error, last, arguments)
    if too_large:
        last, hint = too_large, ""
    if frames:
        listed = "".join(traceback.StackSummary.from_list(frames).format()).rstrip()
        return f"{last}{hint}\nIn your code:\n{listed}"
    if isinstance(error, OSError) and error.strerror:
        file = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{file}"
    return f"{last}{hint}\nRun it again with --traceback to see where."


def learners_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The steps to an error that are neither in gradbook nor in an installed library."""
    return [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and not is_library(frame.filename)
    ]


def wants_traceback(arguments: list[str]) -> bool:
    """Whether whole tracebacks were asked for."""
    return "--traceback" in arguments or os.environ.get("GRADBOOK_DEBUG", "0") not in ("", "0")


#: What PyTorch and Python say when there is too little memory.
_NO_MEMORY = re.compile(r"you tried to allocate (\d+) bytes|(CUDA|MPS backend) out of memory")

#: The same when a number does not fit.
_OVERFLOW = re.compile(
    r"Storage size calculation overflowed|Overflow when unpacking|multiplication overflow"
    r"|represented as a SymInt|int too (big|large) to convert|cannot fit 'int'|without overflow"
)

#: Options whose numbers are no sizes.
_NO_SIZES = {"--seed", "--max-epochs", "--patience", "--runs", "--name", "--set", "--output"}


def _too_large(error: BaseException, said: str, arguments: Sequence[str]) -> str:
    """What to say where a size or another number was too large, or nothing."""
    memory, overflow = _NO_MEMORY.search(said), _OVERFLOW.search(said)
    largest, culprit = _largest_number(arguments)
    if memory or isinstance(error, MemoryError):
        size = f" for a tensor of {int(memory[1]) / 1e9:,.1f} GB" if memory and memory[1] else ""
        advice = "Choose smaller sizes, or a smaller batch."
        if largest >= 1000:
            advice = f"The largest number in this command is {culprit}: choose a smaller one."
        return f"There is not enough memory{size}. {advice}"
    if overflow and largest >= 1e9:
        return f"A number is too large. That may be {culprit}: choose a smaller one.\n{said}"
    return ""


def _largest_number(arguments: Sequence[str]) -> tuple[float, str]:
    """The largest number of a command line, and the option with all that was given for it."""
    found = [(0.0, "")]
    flag = ""
    for word in arguments:
        if word.startswith("--"):
            flag, _, word = word.partition("=")
        for part in re.split(r"[][(),:\s]", word) if flag and flag not in _NO_SIZES else ():
            with suppress(ValueError):
                found.append((float(part), f"{flag} {word}"))
    return max(found)


def _hint(error: BaseException) -> str:
    text = text_of(error)
    unneeded = "or do without it. gradbook itself never needs it."
    if isinstance(error, ModuleNotFoundError) and error.name:
        package, here = error.name.partition(".")[0], f"for this Python ({sys.executable}), "
        if package == "torchvision":
            return f"\nInstall 'torchvision' from the same index as torch {here}{unneeded}"
        return f"\nInstall {package!r} {here}or do without it."
    if "torchvision::" in text:
        return (
            "\nThe torchvision that is installed was built for another torch: install both from "
            f"the same index, {unneeded}"
        )
    return ""
