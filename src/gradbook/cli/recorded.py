"""What is taken from the file of a run or a sweep, which may be a stranger's: settings, no more.

The settings of model, data set and trainer, and what is tried of them. What names code, a place to
read or write, an address or an engine comes from the command line alone.
"""

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NoReturn

from gradbook.cli.options import Given, Option, Parser, Reader, add_options, with_value
from gradbook.cli.outcome import UsageError
from gradbook.errors import ConfigError, CorruptFileError
from gradbook.untrusted import is_a_place

#: What a command that was recorded may also say. It is passed over: the command line says it anew.
_PASSED_OVER = ("--data", "--runs", "--name")


@dataclass(frozen=True)
class Recorded:
    """The options, `words`, of a command as `file`, a run.json or sweep.json, holds them.

    Attributes:
        add_own: Adds those of the command's own options that are taken from the file.
        given: Settings by name that the command line gives with --set, as texts; None where it
            can give each as an option.
    """

    file: PurePath
    words: Sequence[str]
    add_own: Callable[[argparse._ActionsContainer], None]
    given: Mapping[str, str] | None = None

    def check_command(self, command: Sequence[str], verb: str) -> None:
        """Raises CorruptFileError unless a command is `gradbook VERB MODEL` with options."""
        if len(command) < 2 or command[0] != verb:
            self.refuse(f"it is not one of `gradbook {verb}`.")

    def read(self, options: Sequence[Option], read: Reader) -> argparse.Namespace:
        """The values of what is taken from the file; an option that it lacks leaves no trace.

        Raises:
            CorruptFileError: If the file says anything else.
        """
        parser = Parser("")
        parser.add_argument(*_PASSED_OVER, "--seed", dest="passed_over")
        self.add_own(parser)
        for action in parser._actions:
            action.default = argparse.SUPPRESS
        add_options(parser, "", options, read)
        values, unknown = self._parse(parser)
        if unknown:
            self.refuse(
                f"it says {unknown[0]!r}, which is no setting of the model, the data set or the "
                f"trainer. Only those are taken from a file."
            )
        vars(values).pop("passed_over", None)
        return values

    def seed(self, kind: Callable[[str], int]) -> int | None:
        """The seed, which is needed before it is known which other options there are."""
        parser = Parser("")
        parser.add_argument("--seed", type=kind)
        seed: int | None = self._parse(parser)[0].seed
        return seed

    def _parse(self, parser: Parser) -> tuple[argparse.Namespace, list[str]]:
        try:
            return parser.parse_known_args(self.words)
        except UsageError as error:
            self.refuse(str(error))

    def trusted(self, option: Option, value: Any) -> Any:
        """A setting's value from the file; that of --set in its stead where it is a place.

        Raises:
            ConfigError: If it is a place, and nobody else has named one.
        """
        text, plain = Given.of(value)
        if not is_a_place(option.name, plain) or plain == option.default:
            return value
        if self.given is None:
            words = with_value(option.flag, text)
        elif option.name in self.given:
            return option.read(self.given[option.name])
        else:
            words = ["--set", f"{option.name}={text}"]
        raise ConfigError(
            f"{self.file} names a place: {option.name} is {text!r}. gradbook reads and writes "
            f"nowhere because a folder names it. If you trust it, add: {shlex.join(words)}"
        )

    def refuse(self, reason: str) -> NoReturn:
        """Raises the error for a command that cannot be used."""
        raise CorruptFileError(
            f"{self.file} holds a command that cannot be used: {reason} If its code has changed "
            f"since, bring back the code that it was trained with."
        )


def add_set_option(group: argparse._ActionsContainer) -> None:
    """Adds how a place that a run was trained with is given once more."""
    told = "a file, a folder or an address that the run was given: none is taken from its file"
    kind: dict[str, Any] = {"type": _name_and_value, "action": "append", "default": []}
    group.add_argument("--set", metavar="NAME=VALUE", help=told, **kind)


def _name_and_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, but got {text!r}")
    return name.replace("-", "_"), value
