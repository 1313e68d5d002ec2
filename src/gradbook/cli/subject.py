"""What a command is about: the model, the data set and the settings that its words name."""

import argparse
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from gradbook.cli import classes
from gradbook.cli.options import (
    Given,
    Option,
    Parser,
    Reader,
    add_common_options,
    add_options,
    asks_for_help,
    give_flags,
    options_of,
    unexpected,
    with_value,
)
from gradbook.cli.outcome import HelpRequest, UsageError
from gradbook.cli.reading import REQUIRED
from gradbook.cli.recorded import Recorded
from gradbook.errors import GradbookWarning, warn
from gradbook.registry import DATA, MODELS, WATCHERS
from gradbook.runs.restored import Recipe

#: What the command takes where the book's trainer has no default.
TRAINER_DEFAULTS = {"max_epochs": 10}

#: Options of the commands that rebuild a run, which take those of `train` as well.
_OF_OTHER_COMMANDS = ("--model", "--set")

#: Adds the options of a command's own to a group of the parser.
AddOptions = Callable[[argparse._ArgumentGroup], None]


@dataclass
class Chosen:
    """A model, a data set and their settings.

    Attributes:
        model, data: The classes.
        arguments: What was given for each: the constructor arguments under "model", "data" and
            "trainer". What was not given is left to the class, save the command's own defaults.
        settings: The same with all defaults.
        seed: The seed, drawn if none was given.
    """

    model: classes.Found
    data: classes.Found
    arguments: dict[str, dict[str, Any]]
    settings: dict[str, dict[str, Any]]
    seed: int

    @property
    def recipe(self) -> Recipe:
        """What its model and data are made from."""
        return Recipe(self.model.Class, self.data.Class, self.arguments, self.seed)


@dataclass
class Subject(Chosen):
    """What a command line names.

    Attributes:
        words: The command that names the same, without its first word, which is `gradbook`, and
            without the command's own options and the seed.
        own: The values of the command's own options.
        is_seed_given: Whether the seed was not drawn.
    """

    words: list[str]
    own: argparse.Namespace
    is_seed_given: bool

    @property
    def facts(self) -> dict[str, Any]:
        """What it is, for --json."""
        return {"model": self.model.name, "data": self.data.name, "seed": self.seed}

    def __str__(self) -> str:
        return f"{self.model.name} on {self.data.name}, seed {self.seed}"


def read_subject(
    command: str,
    arguments: list[str],
    add_own: AddOptions,
    *,
    title: str,
    summary: str,
    with_trainer: bool = True,
    read: Reader = Option.read,
    before: Recorded | None = None,
) -> Subject:
    """What the words after `gradbook COMMAND` name: MODEL, and options for all its parts.

    Args:
        command: The command's name.
        arguments: The words.
        add_own: Adds the command's own options, but those that every command has.
        title: The heading of these in the help.
        summary: What the command does, for the help where no model is named.
        with_trainer: Whether the trainer's settings are options as well.
        read: Reads an option's text.
        before: What holds for options that the words do not name: those of a run or sweep that
            is trained again.

    Raises:
        HelpRequest: If they ask for help.
        UsageError: If they cannot be understood.
        ConfigError: If there is no such model or data set.
    """
    usage = f"usage: gradbook {command} MODEL [options]"
    if arguments and arguments[0] in ("-h", "--help"):
        raise HelpRequest(f"{usage}\n\n{summary}\n\n{_what_there_is(command, with_trainer)}")
    if not arguments or arguments[0].startswith("-"):
        raise UsageError(
            f"Name the model first.\n{usage}\nThere are {', '.join(MODELS)}; a class of "
            f"your own is written my_file.py:MyNet."
        )
    model_name, *rest = arguments
    early = Parser(command)
    early.add_argument("--data")
    early.add_argument("--seed", type=_seed)
    asked, _ = early.parse_known_args(rest)
    if before is not None and asked.seed is None:
        asked.seed = before.seed(_seed)
    from gradbook.seeds import seed_everything

    # Before a learner's file is loaded: what it draws meanwhile is to be repeated too.
    seed = seed_everything(asked.seed)
    model = classes.find(model_name, classes.MODEL)
    usual_data = _usual_data(model.Class)
    data = classes.find(asked.data or usual_data, classes.DATA_SET)

    parser = Parser(f"{command} {model_name}")
    group = parser.add_argument_group(title)
    group.add_argument("--data", metavar="DATA", help=f"the data set (default: {usual_data})")
    told = "the random seed: the same seed gives the same result (default: a random one)"
    group.add_argument("--seed", type=_seed, metavar="INT", help=told)
    add_own(group)
    add_common_options(group)
    own_flags = [flag for action in group._group_actions for flag in action.option_strings]
    own_flags += _OF_OTHER_COMMANDS
    defaults: dict[str, dict[str, Any]] = {
        kind: dict(known[found.name].defaults) if found.name in known else {}
        for kind, found, known in (("model", model, MODELS), ("data", data, DATA))
    }
    defaults["trainer"] = TRAINER_DEFAULTS
    owners = {"model": model.Class, "data": data.Class}
    every = options_of(model.Class, "model", defaults["model"])
    every += options_of(data.Class, "data", defaults["data"])
    if with_trainer:
        from gradbook.settings import PLACES
        from gradbook.trainer import Trainer

        every += options_of(Trainer, "trainer", defaults["trainer"], PLACES)
    every = give_flags(every, own_flags)
    titles = {"model": f"Model: {model.name}", "data": f"Data: {data.name}", "trainer": "Trainer"}
    for kind, heading in titles.items():
        add_options(parser, heading, [o for o in every if o.group == kind], read)
    if asks_for_help(rest):
        usage = f"usage: gradbook {command} {model.name} [options]"
        raise HelpRequest(f"{usage}\n\n{_in_order(parser, title)}")

    if before is None:
        values = parser.read(rest)
    else:
        recorded = before.read(every, read)
        values = parser.read(rest, argparse.Namespace(**vars(recorded)))
        for option in every:
            value = getattr(recorded, option.dest, None)
            if value is not None and getattr(values, option.dest) is value:
                setattr(values, option.dest, before.trusted(option, value))
    # What holds from before brings options of the command's own that nobody has written here.
    _tell_whose(every, rest, owners, () if before is None else own_flags)
    given = vars(values)
    _check_complete(every, given, owners)
    chosen = {kind: dict(values) for kind, values in defaults.items()}
    settings = {group: {o.name: o.default for o in every if o.group == group} for group in chosen}
    words = [command, model.name]
    if data.name != usual_data:
        words += with_value("--data", data.name)
    for option in every:
        if option.dest in given:
            text, value = Given.of(given[option.dest])
            chosen[option.group][option.name] = settings[option.group][option.name] = value
            if not _same(value, option.default):
                words += _words(option, text, value)
    return Subject(model, data, chosen, settings, seed, words, values, asked.seed is not None)


def _what_there_is(command: str, with_trainer: bool) -> str:
    models = "\n".join(f"  {name:<27} {entry.text}" for name, entry in MODELS.items())
    data = "\n".join(f"  {name:<27} {entry.text}" for name, entry in DATA.items())
    watchers = "\n".join(f"  {name:<27} {entry.text}" for name, entry in WATCHERS.items())
    watched = f"\n\nwhat can be watched (--watch):\n{watchers}" if with_trainer else ""
    owners = "the model, the data set and the trainer" if with_trainer else "the model and the data"
    return f"""\
models:
{models}
  my_file.py:MyNet            a class in a file of your own; also package.module:MyNet,
                              or my_file.py if it defines one model

data sets (--data):
{data}
  my_file.py:MyData           a class in a file of your own{watched}

Every argument of {owners} is an option. To see them:
  gradbook {command} mlp --help"""


def _in_order(parser: argparse.ArgumentParser, title: str) -> str:
    """The groups as help, the command's own last: what is particular to a model comes first."""
    formatter = parser._get_formatter()
    groups = [group for group in parser._action_groups if group._group_actions]
    for group in sorted(groups, key=lambda group: group.title == title):
        formatter.start_section(group.title)
        formatter.add_arguments(group._group_actions)
        formatter.end_section()
    return formatter.format_help().rstrip()


def _usual_data(Model: type) -> str:
    """A classifier learns Fashion-MNIST, any other model a regression."""
    from gradbook.module import Classifier

    return "fashion-mnist" if issubclass(Model, Classifier) else "synthetic-regression"


def _seed(text: str) -> int:
    from gradbook.seeds import SEED_LIMIT

    # A text that is too long for a seed may be too long for int() as well.
    if not text.isdecimal() or len(text) > 20 or int(text) >= SEED_LIMIT:
        raise unexpected(text, f"a whole number from 0 to {SEED_LIMIT - 1}")
    return int(text)


def _check_complete(
    options: Iterable[Option], given: dict[str, Any], owners: dict[str, type]
) -> None:
    missing = [o for o in options if o.default is REQUIRED and o.dest not in given]
    if not missing:
        return
    owner = owners[missing[0].group].__name__
    missing = [option for option in missing if option.group == missing[0].group]
    names = ", ".join(option.name for option in missing)
    example = " ".join(f"{option.flag} {option.metavar}" for option in missing)
    has = "has no default" if len(missing) == 1 else "have no defaults"
    raise UsageError(
        f"{owner} needs {names}, which {has}. Give {example}, or give {owner}.__init__ a default."
    )


def _tell_whose(
    options: list[Option], words: list[str], owners: dict[str, type], skipped: Collection[str]
) -> None:
    """Says which of several owners got an option that was written without saying whose it is."""
    flags = {word.partition("=")[0].replace("--no-", "--", 1) for word in words}
    flags -= set(skipped)
    for plain in dict.fromkeys(option.plain for option in options):
        shared = [option for option in options if option.plain == plain]
        others = [option for option in shared if option.flag != plain]
        if plain not in flags or not others or all(option.flag in flags for option in others):
            continue
        taker = next((option for option in shared if option.flag == plain), None)
        whose = "is the command's own"
        if taker is not None:
            whose = f"was given to {_owner(taker, owners)} ({taker.written})"
        theirs = ", ".join(f"{option.flag} for {_owner(option, owners)}" for option in others)
        warn(f"{plain} {whose}. Write {theirs}.", GradbookWarning)


def _owner(option: Option, owners: dict[str, type]) -> str:
    kinds = {"model": "the model", "data": "the data set", "trainer": "the trainer"}
    named = f", {owners[option.group].__name__}" if option.group in owners else ""
    return kinds[option.group] + named


def _words(option: Option, text: str, value: Any) -> list[str]:
    """An option as it is written in a command."""
    if option.kind is bool:
        return [option.written if value else f"--no-{option.written[2:]}"]
    return with_value(option.written, text)


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, list | tuple) and isinstance(default, list | tuple):
        return list(value) == list(default)
    try:
        return type(value) is type(default) and bool(value == default)
    except (RuntimeError, TypeError, ValueError):  # tensors of several elements
        return False
