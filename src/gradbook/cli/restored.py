"""From a run's folder, and the words of a command, back to what the run trained.

`gradbook.runs.restored` rebuilds it. Here is what concerns command lines: a class that is not
gradbook's own is loaded only if the command line itself names it, with --model or --data.
`recorded.py` says what else is taken.
"""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from gradbook.cli import classes
from gradbook.cli.options import (
    Given,
    Option,
    Parser,
    add_runs_option,
    options_of,
    show,
    with_value,
)
from gradbook.cli.outcome import UsageError
from gradbook.cli.plan import Plan, add_recorded_options, add_train_options, read_plan
from gradbook.cli.recorded import Recorded, add_set_option
from gradbook.errors import ConfigError
from gradbook.registry import DATA, MODELS, known_name
from gradbook.runs.format import CHECKPOINT_FILES, RUN_FILE
from gradbook.runs.restored import GIVEN, GIVEN_TEXT, Restored, arguments_of, checkpoint_of, rebuild
from gradbook.runs.stored import StoredRun, load
from gradbook.storage import as_word, check_folder_name
from gradbook.untrusted import is_a_place

_KNOWN = {"model": MODELS, "data": DATA}


def add_run_options(parser: argparse._ActionsContainer) -> None:
    """Adds what every command takes that needs a run's model."""
    add_class_options(parser)
    parser.add_argument(
        "--checkpoint",
        choices=tuple(CHECKPOINT_FILES),
        help="the checkpoint to take parameters from (default: best, or last if there is no best)",
    )


def add_class_options(parser: argparse._ActionsContainer) -> None:
    """Adds the run, where runs are, and what may be loaded to rebuild one."""
    parser.add_argument("run", metavar="RUN", help="a run's name, or the path of its folder")
    add_runs_option(parser)
    for flag, what in (("--model", "model"), ("--data", "data set")):
        parser.add_argument(
            flag, metavar="FILE:CLASS", help=f"the run's {what}, if it is a class of your own"
        )
    add_set_option(parser)


def restore(asked: argparse.Namespace) -> Restored:
    """Rebuilds what a run trained, as the options of `add_run_options` ask for it.

    Raises:
        ConfigError: If there is no such run, or it has a class that the command line must name.
        CorruptFileError: If a file of the run is damaged.
        CheckpointError: If the parameters do not fit the model.
    """
    run = load(asked.run, asked.runs)
    checkpoint_of(run, asked.checkpoint)  # what is not there is said before any code is loaded
    return rebuild(run, plan_of(run, asked).recipe, asked.checkpoint)


def checkpoint_facts(restored: Restored) -> dict[str, Any]:
    """Which run and checkpoint are looked at, for --json."""
    which = restored.checkpoint.stem
    epoch = restored.run.checkpoint_epoch(which)
    return {"run": restored.run.name, "checkpoint": which, "epoch": epoch}


def plan_of(
    run: StoredRun,
    asked: argparse.Namespace,
    options: Sequence[str] = (),
    changed: Mapping[str, Given] = MappingProxyType({}),
) -> Plan:
    """The plan of the training that a run has kept.

    Args:
        run: The run.
        asked: The options of `add_class_options`.
        options: Those of `gradbook train`, which take precedence.
        changed: Settings of the trainer, by name, that replace the run's own.

    Raises:
        ConfigError: If the run has a class that the command line must name.
        CorruptFileError: If the run's command cannot be used.
    """
    facts = run.facts
    names = {
        kind: getattr(asked, kind) or known_name(facts[kind]["class"], known)
        for kind, known in _KNOWN.items()
    }
    unnamed = [kind for kind, name in names.items() if not name]
    if unnamed:
        told = [(kind, facts[kind]["class"], facts[kind]["name"]) for kind in unnamed]
        raise UsageError(must_be_named(run.name, told))
    words = facts["command"]
    recorded = Recorded(
        run.folder / RUN_FILE, (words or ())[2:], add_recorded_options, dict(asked.set)
    )
    if words is None:
        own, others = own_options(options)
        if others:
            raise UsageError(
                f"{run.name} was trained by a script or a notebook, so that there is no command "
                f"whose options could be changed: {' '.join(others)}. Change them there."
            )
        return _plan_of_a_script(run, recorded, names, changed, own)
    recorded.check_command(words, "train")
    arguments = [names["model"], *with_value("--data", names["data"])]
    arguments += with_value("--runs", str(run.parent))
    with suppress(ConfigError):
        arguments += with_value("--name", check_folder_name(_name_of(run)))
    for name, (text, value) in changed.items():
        flag = f"trainer-{name.replace('_', '-')}"
        is_switch = isinstance(value, bool)
        arguments += ["--" + "no-" * (not value) + flag] if is_switch else [f"--{flag}={text}"]
    try:
        return read_plan([*arguments, *options], recorded)
    except UsageError as error:
        if options or changed:
            raise
        recorded.refuse(str(error))


def own_options(options: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """What options say of where a training is shown and kept, and the others."""
    parser = Parser("rerun")
    add_train_options(parser)
    return parser.parse_known_args(options)


def run_command(
    command: str, run: StoredRun, named: Mapping[str, str] = MappingProxyType({})
) -> str:
    """A command that rebuilds a run, such as "resume". It names what is a learner's own code.

    Args:
        command: The command.
        run: The run.
        named: How the "model" and the "data" were named, where more is known than the run says.
    """
    words = ["gradbook", command, as_word(run.folder)]
    for kind, known in _KNOWN.items():
        if not known_name(run.facts[kind]["class"], known):
            words += with_value(f"--{kind}", as_written(named.get(kind, run.facts[kind]["name"])))
        for name, value in run.facts[kind]["hyperparameters"].items():
            if is_a_place(name, value) and _was_given(run, kind, name, value):
                words += ["--set", f"{name}={show(value)}"]
    return shlex.join(words)


def _was_given(run: StoredRun, kind: str, name: str, value: Any) -> bool:
    """Whether a run was given a setting, as far as can be known without its class."""
    if run.facts["command"] is None:
        return bool(value != "../data")  # the book's
    flag = name.strip("_").replace("_", "-")
    given = {word.partition("=")[0] for word in run.facts["command"]}
    return bool({f"--{flag}", f"--{kind}-{flag}"} & given)


def must_be_named(name: str, classes: Sequence[tuple[str, str, str]]) -> str:
    """Why code has to be named for a run or sweep, and how.

    The classes are "model" or "data", the class, and how it was named.
    """
    own = [(kind, where) for kind, where, _ in classes if where != GIVEN]
    told = " and ".join(f"its {kind} is {where}, a class of your own" for kind, where in own)
    flags = shlex.join(
        word for kind, _, named in classes for word in with_value(f"--{kind}", as_written(named))
    )
    given = ""
    if len(own) < len(classes):
        given = f"{name} {GIVEN_TEXT}. Write a class that makes these data (docs/own-data.md)"
    if not own:
        return f"{given}, and add: {flags}"
    return (
        f"{given}{'. ' if given else ''}"
        f"{name} needs you to name code: {told}. gradbook runs no code because a folder names "
        f"it. If you trust that file, add: {flags}"
    )


def as_written(name: str) -> str:
    """A class as a person names it, where run.json has only its own name."""
    if name in ("given", "GivenData"):  # a run's and a sweep's name for data that had no class
        name = "MyData"
    return name if ":" in name else f"my_file.py:{name}"


def _name_of(run: StoredRun) -> str:
    """What a new run beside this one is called, before its number."""
    return run.name.rpartition("-")[0] or run.name


def _plan_of_a_script(
    run: StoredRun,
    recorded: Recorded,
    names: Mapping[str, str],
    changed: Mapping[str, Given],
    own: argparse.Namespace,
) -> Plan:
    """The plan of a run that was kept by a script or a notebook: from its hyperparameters."""
    from gradbook.seeds import seed_everything
    from gradbook.trainer import Trainer

    model = classes.find(names["model"], classes.MODEL)
    data = classes.find(names["data"], classes.DATA_SET)
    options = [*options_of(model.Class, "model"), *options_of(data.Class, "data")]
    options += options_of(Trainer, "trainer")
    known = {(option.group, option.name): option for option in options}

    def trusted(group: str, name: str, value: Any, default: Any) -> Any:
        option = known.get((group, name)) or Option(name, group, Any, default)
        return Given.of(recorded.trusted(option, value)).value

    arguments = arguments_of(run, model.Class, data.Class, trusted)
    arguments["trainer"]["max_epochs"] = run.facts["max_epochs"]
    arguments["trainer"] |= {name: value for name, (_, value) in changed.items()}
    seed = seed_everything(run.facts["seed"])
    return Plan(
        model,
        data,
        arguments,
        arguments,
        seed,
        str(run.parent),
        own.name or _name_of(run),
        display="off" if own.quiet else own.display,
        yscale=own.yscale,
        checkpoint_steps=own.checkpoint_steps,
        num_processes=own.num_processes,
        max_restarts=own.max_restarts,
    )
