"""`gradbook train`: from the command line to a plan of a training."""

import argparse
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gradbook.cli import classes
from gradbook.cli.options import (
    REQUIRED,
    Given,
    Option,
    Parser,
    add_common_options,
    add_display_options,
    add_options,
    add_runs_option,
    asks_for_help,
    give_flags,
    options_of,
    positive_number,
    show,
)
from gradbook.cli.report import Outcome, UsageError

#: What the command takes where the book's classes have another default, or none.
TRAINER_DEFAULTS = {"max_epochs": 10}
DATA_DEFAULTS = {"fashion-mnist": {"batch_size": 256}}  # book 5.2

#: Arguments of the trainer that are not options: the command has its own.
NOT_OPTIONS = ("display", "sinks", "run")

USAGE = "usage: gradbook train MODEL [options]"


@dataclass
class Plan:
    """A training as the command line asks for it.

    Attributes:
        model, data: The classes.
        arguments: What was given for each: the constructor arguments under "model", "data" and
            "trainer". What was not given is left to the class, save the command's own defaults.
        settings: The same with all defaults.
        seed: The seed, drawn if none was given.
        runs, name: The folder for runs, and the name of this one.
        display: Where the curves are drawn.
        checkpoint_steps: The steps between two checkpoints within an epoch; None takes none.
        words: The command that repeats it, without its first word, which is `gradbook`; None if
            there is none.
    """

    model: classes.Found
    data: classes.Found
    arguments: dict[str, dict[str, Any]]
    settings: dict[str, dict[str, Any]]
    seed: int
    runs: str
    name: str
    display: str
    checkpoint_steps: int | None
    words: list[str] | None

    @property
    def repeat(self) -> str | None:
        """The command that repeats it."""
        return None if self.words is None else shlex.join(["gradbook", *self.words])


def run(arguments: list[str]) -> Outcome:
    """Trains the model that `arguments` name."""
    if arguments and arguments[0] in ("-h", "--help"):
        return Outcome(text=help_text())
    if not arguments or arguments[0].startswith("-"):
        raise UsageError(
            f"Name the model first.\n{USAGE}\nThere are {', '.join(classes.MODELS)}; a class of "
            f"your own is written my_file.py:MyNet."
        )
    plan = read_plan(arguments)
    if isinstance(plan, str):
        return Outcome(text=plan)
    from gradbook.cli.fit import fit

    return fit(plan)


def help_text() -> str:
    """What there is to train, without a model named yet."""
    models = "\n".join(f"  {name:<27} {text}" for name, (_, text) in classes.MODELS.items())
    data = "\n".join(f"  {name:<27} {text}" for name, (_, text) in classes.DATA.items())
    return f"""\
{USAGE}

Trains a model, and keeps the run in a new folder runs/NAME-N: settings, values, checkpoints and
curves.

models:
{models}
  my_file.py:MyNet            a class in a file of your own; also package.module:MyNet,
                              or my_file.py if it defines one model

data sets (--data):
{data}
  my_file.py:MyData           a class in a file of your own

Every argument of the model, the data set and the trainer is an option. To see them:
  gradbook train mlp --help"""


def read_plan(arguments: list[str]) -> Plan | str:
    """The plan that the arguments ask for, or its help if they ask for that."""
    model_name, *rest = arguments
    early = Parser("train")
    early.add_argument("--data")
    early.add_argument("--seed", type=_seed)
    asked, _ = early.parse_known_args(rest)
    from gradbook.seeds import seed_everything

    # Before a learner's file is loaded: what it draws meanwhile is to be repeated too.
    seed = seed_everything(asked.seed)
    model = classes.find(model_name, classes.MODEL)
    usual_data = _usual_data(model.Class)
    data = classes.find(asked.data or usual_data, classes.DATA_SET)

    from gradbook.trainer import Trainer

    parser = Parser(f"train {model_name}")
    run_flags = _add_run_options(parser, usual_data)
    defaults = {"data": DATA_DEFAULTS.get(data.name, {}), "trainer": TRAINER_DEFAULTS}
    groups = give_flags(
        [
            options_of(model.Class, "model"),
            options_of(data.Class, "data", defaults["data"]),
            options_of(Trainer, "trainer", defaults["trainer"], NOT_OPTIONS),
        ],
        run_flags,
    )
    titles = (f"Model: {model.name}", f"Data: {data.name}", "Trainer")
    for title, options in zip(titles, groups, strict=True):
        add_options(parser, title, options)
    every = [option for options in groups for option in options]
    if asks_for_help(rest):
        return f"usage: gradbook train {model.name} [options]\n\n{_in_order(parser)}"

    values = parser.read(rest)
    given = vars(values)
    _check_complete(every, given, {"model": model.Class, "data": data.Class})
    chosen: dict[str, dict[str, Any]] = {"model": {}, **{k: dict(v) for k, v in defaults.items()}}
    settings = {group: {o.name: o.default for o in every if o.group == group} for group in chosen}
    repeat = ["train", model.name]
    if data.name != usual_data:
        repeat += ["--data", data.name]
    for option in every:
        if option.dest not in given:
            continue
        text, value = _text_and_value(given[option.dest])
        chosen[option.group][option.name] = settings[option.group][option.name] = value
        if not _same(value, option.default):
            repeat += _words(option, text, value)
    name = values.name or model.slug
    if values.runs != "runs":
        repeat += ["--runs", values.runs]
    if name != model.slug:
        repeat += ["--name", name]
    if values.checkpoint_steps is not None:
        repeat += ["--checkpoint-steps", str(values.checkpoint_steps)]
    return Plan(
        model,
        data,
        chosen,
        settings,
        seed,
        values.runs,
        name,
        display="off" if values.quiet else values.display,
        checkpoint_steps=values.checkpoint_steps,
        words=[*repeat, "--seed", str(seed)],
    )


def _add_run_options(parser: argparse.ArgumentParser, usual_data: str) -> list[str]:
    group = parser.add_argument_group("Run")
    group.add_argument("--data", metavar="DATA", help=f"the data set (default: {usual_data})")
    group.add_argument(
        "--seed", type=_seed, metavar="INT", help="makes the run repeatable (default: drawn)"
    )
    add_runs_option(group)
    group.add_argument(
        "--name", type=_folder_name, help="name of the run's folder (default: the model's)"
    )
    group.add_argument(
        "--checkpoint-steps",
        type=positive_number,
        metavar="INT",
        help="take a checkpoint also after so many steps (default: after each epoch)",
    )
    add_display_options(group)
    add_common_options(group)
    return [flag for action in group._group_actions for flag in action.option_strings]


def _in_order(parser: argparse.ArgumentParser) -> str:
    """The groups as help, the run's last: what is particular to a model comes first."""
    formatter = parser._get_formatter()
    groups = [group for group in parser._action_groups if group._group_actions]
    for group in sorted(groups, key=lambda group: group.title == "Run"):
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
        raise argparse.ArgumentTypeError(
            f"expected a whole number from 0 to {SEED_LIMIT - 1}, but got {text!r}"
        )
    return int(text)


def _folder_name(text: str) -> str:
    if not text.strip() or text in (".", "..") or set(text) & set('/\\:*?"<>|\0'):
        raise argparse.ArgumentTypeError(f"expected a plain name for a folder, but got {text!r}")
    return text


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


def _text_and_value(given: Any) -> tuple[str, Any]:
    return given if isinstance(given, Given) else (show(given), given)


def _words(option: Option, text: str, value: Any) -> list[str]:
    """An option as it is written in a command."""
    if option.kind is bool:
        return [option.flag if value else f"--no-{option.flag[2:]}"]
    return [f"{option.flag}={text}"] if text.startswith("-") else [option.flag, text]


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, list | tuple) and isinstance(default, list | tuple):
        return list(value) == list(default)
    try:
        return type(value) is type(default) and bool(value == default)
    except (RuntimeError, TypeError, ValueError):  # tensors of several elements
        return False
