"""From a run's folder back to its model and data.

No command runs code because a folder names it: a class that is not gradbook's own is loaded only
if the command line itself names it, with --model or --data. `recorded.py` says what else is taken.
"""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradbook.cli import classes
from gradbook.cli.options import (
    REQUIRED,
    Given,
    Option,
    add_runs_option,
    options_of,
    show,
    with_value,
)
from gradbook.cli.recorded import Recorded, add_set_option, is_a_place
from gradbook.cli.report import UsageError
from gradbook.cli.train import Plan, add_checkpoint_option, read_plan
from gradbook.errors import (
    CheckpointError,
    ConfigError,
    CorruptFileError,
    GradbookWarning,
    warn,
)
from gradbook.hparams import constructor_of, make
from gradbook.runs.format import CHECKPOINT_FILES, RUN_FILE
from gradbook.runs.stored import StoredRun, load
from gradbook.storage import as_word, check_folder_name


@dataclass
class Restored:
    """A run with its model and data.

    Attributes:
        run: The run.
        model: The model, in evaluation mode, with the parameters of the checkpoint.
        data: The data, or None if they were not asked for.
        checkpoint: The checkpoint's file.
    """

    run: StoredRun
    model: Any
    data: Any
    checkpoint: Path


def add_run_options(parser: argparse._ActionsContainer) -> None:
    """Adds what every command takes that needs a run's model."""
    parser.add_argument("run", metavar="RUN", help="a run's name, or the path of its folder")
    add_class_options(parser)
    parser.add_argument(
        "--checkpoint",
        choices=tuple(CHECKPOINT_FILES),
        help="the checkpoint to take parameters from (default: best, or last if there is no best)",
    )


def add_class_options(parser: argparse._ActionsContainer) -> None:
    """Adds where runs are, and what may be loaded to rebuild one."""
    add_runs_option(parser)
    for flag, what in (("--model", "model"), ("--data", "data set")):
        parser.add_argument(
            flag, metavar="FILE:CLASS", help=f"the run's {what}, if it is a class of your own"
        )
    add_set_option(parser)


def restore(asked: argparse.Namespace, need_data: bool = True) -> Restored:
    """Rebuilds what a run trained.

    Args:
        asked: The options of `add_run_options`.
        need_data: Whether the data are needed, too.

    Raises:
        ConfigError: If there is no such run, or it has a class that the command line must name.
        CorruptFileError: If a file of the run is damaged.
        CheckpointError: If the parameters do not fit the model.
    """
    from gradbook import checkpoint
    from gradbook.runs.recorder import check_same_run
    from gradbook.seeds import seed_everything
    from gradbook.snapshot import load_parameters

    run = load(asked.run, asked.runs)
    path = _checkpoint_path(run, asked.checkpoint)
    state = checkpoint.load(path)
    plan = plan_of(run, asked)
    seed_everything(plan.seed)  # data that are drawn are drawn again
    data = make(plan.data.Class, plan.arguments["data"]) if need_data else None
    model = make(plan.model.Class, plan.arguments["model"])
    check_same_run(state, run.facts, path)
    if state.get("loose"):
        raise CheckpointError(
            f"{path} has parameters that the model keeps where only its optimizer finds them, so "
            f"that the model cannot be rebuilt from here. Set them as attributes of the model."
        )
    if not isinstance(state.get("model"), dict):
        raise CorruptFileError(f"{path} has no parameters under the key 'model'.")
    load_parameters(model, state["model"])
    model.eval()
    _check_same_code(model, state)
    if data is not None:
        _check_same_data(data, state)
    return Restored(run, model, data, path)


def plan_of(
    run: StoredRun,
    asked: argparse.Namespace,
    options: Sequence[str] = (),
    max_epochs: int | None = None,
) -> Plan:
    """The plan of the training that a run has kept.

    Args:
        run: The run.
        asked: The options of `add_class_options`.
        options: Further options of `gradbook train`, which take precedence.
        max_epochs: What replaces the run's own, if it is to be trained further.

    Raises:
        ConfigError: If the run has a class that the command line must name.
        CorruptFileError: If the run's command cannot be used.
    """
    facts, model, data = run.facts, asked.model, asked.data
    names = {
        "model": model or known_name(facts["model"]["class"], classes.MODELS),
        "data": data or known_name(facts["data"]["class"], classes.DATA),
    }
    unnamed = [kind for kind, name in names.items() if not name]
    if unnamed:
        told = [(kind, facts[kind]["class"], facts[kind]["name"]) for kind in unnamed]
        raise UsageError(must_be_named(run.name, told))
    words, runs = facts["command"], str(run.parent)
    recorded = Recorded(
        run.folder / RUN_FILE, (words or ())[2:], add_checkpoint_option, dict(asked.set)
    )
    if words is None:
        return _plan_of_a_script(
            run, recorded, names, options, runs, max_epochs or facts["max_epochs"]
        )
    recorded.check_command(words, "train")
    arguments = [names["model"], *with_value("--data", names["data"]), *with_value("--runs", runs)]
    with suppress(ConfigError):
        arguments += with_value("--name", check_folder_name(_name_of(run)))
    if max_epochs is not None:
        arguments += ["--trainer-max-epochs", str(max_epochs)]
    try:
        plan = read_plan([*arguments, *options], recorded)
    except UsageError as error:
        if options:
            raise
        recorded.refuse(str(error))
    assert isinstance(plan, Plan)
    return plan


def resume_command(run: StoredRun) -> str:
    """The command that goes on with a run. It names what is a learner's own code."""
    words = ["gradbook", "resume", as_word(run.folder)]
    for kind, known in (("model", classes.MODELS), ("data", classes.DATA)):
        if not known_name(run.facts[kind]["class"], known):
            words += with_value(f"--{kind}", _as_written(run.facts[kind]["name"]))
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


def known_name(written: str, known: Mapping[str, tuple[str, str]]) -> str:
    """The name of the finished class that a file tells of; empty if it is none of these."""
    for name, (place, _) in known.items():
        module, _, class_name = place.partition(":")
        if written.startswith(f"{module}.") and written.endswith(f".{class_name}"):
            return name
    return ""


def must_be_named(name: str, classes: Sequence[tuple[str, str, str]]) -> str:
    """Why code has to be named, and how.

    Args:
        name: The run or sweep.
        classes: What has to be named: "model" or "data", the class, and how it was named.
    """
    told = " and ".join(f"its {kind} is {where}, a class of your own" for kind, where, _ in classes)
    flags = shlex.join(
        word for kind, _, named in classes for word in with_value(f"--{kind}", _as_written(named))
    )
    return (
        f"{name} needs you to name code: {told}. gradbook runs no code because a folder names "
        f"it. If you trust that file, add: {flags}"
    )


def _as_written(name: str) -> str:
    return name if ":" in name else f"my_file.py:{name}"


def _name_of(run: StoredRun) -> str:
    """What a new run beside this one is called, before its number."""
    return run.name.rpartition("-")[0] or run.name


def _plan_of_a_script(
    run: StoredRun,
    recorded: Recorded,
    names: Mapping[str, str],
    options: Sequence[str],
    runs: str,
    max_epochs: int,
) -> Plan:
    """The plan of a run that was kept by a script or a notebook: from its hyperparameters."""
    from gradbook.seeds import seed_everything
    from gradbook.trainer import Trainer

    if options:
        raise UsageError(
            f"{run.name} was trained by a script or a notebook, so that there is no command whose "
            f"options could be changed: {' '.join(options)}. Change them there."
        )
    found = {
        "model": classes.find(names["model"], classes.MODEL),
        "data": classes.find(names["data"], classes.DATA_SET),
    }
    arguments = {
        group: _arguments_of(Class, group, run.facts[group]["hyperparameters"], recorded)
        for group, Class in (
            ("model", found["model"].Class),
            ("data", found["data"].Class),
            ("trainer", Trainer),
        )
    }
    arguments["trainer"]["max_epochs"] = max_epochs
    return Plan(
        **found,
        arguments=arguments,
        settings=arguments,
        seed=seed_everything(run.facts["seed"]),
        runs=runs,
        name=_name_of(run),
        display="auto",
        checkpoint_steps=None,
        words=None,
    )


def _arguments_of(
    Class: type, group: str, hyperparameters: Mapping[str, Any], recorded: Recorded
) -> dict[str, Any]:
    """What a run's file keeps of the arguments that `Class` was made with."""
    constructor = constructor_of(Class)
    from gradbook.settings import PLACES

    skip = PLACES if group == "trainer" else ()
    options = {option.name: option for option in options_of(Class, group)}
    found = {}
    for name, value in constructor.among(hyperparameters).items():
        if name not in skip:
            option = options.get(name) or Option(name, group, Any, REQUIRED)
            value = recorded.trusted(option, value)
            found[name] = value.value if isinstance(value, Given) else value
    kept = {**found, **dict.fromkeys(skip)}
    missing = constructor.missing(kept)
    if missing:
        raise ConfigError(
            f"{Class.__name__} cannot be made again: {recorded.file} does not keep its "
            f"{', '.join(missing)}. Call save_hyperparameters() in {Class.__name__}.__init__, "
            f"and train again."
        )
    unkept = [name for name in constructor.parameters if name not in kept]
    if unkept and not Class.__module__.startswith("gradbook."):
        warn(
            f"{recorded.file} does not keep {', '.join(unkept)} of {Class.__name__}: the default "
            f"is taken, whatever it was trained with. Call save_hyperparameters() in "
            f"{Class.__name__}.__init__ to keep it.",
            GradbookWarning,
        )
    return found


def _checkpoint_path(run: StoredRun, asked: Any) -> Path:
    if asked is not None:
        return run.checkpoint_path(asked)
    try:
        return run.checkpoint_path("best")
    except ConfigError:
        return run.checkpoint_path("last")


def _check_same_code(model: Any, state: Mapping[str, Any]) -> None:
    """Says so if the methods of the model's classes are not those that it was trained with."""
    from gradbook.fingerprint import changed_classes, code_of

    before = state.get("setup", {}).get("code")
    changed = changed_classes(before, code_of({type(m) for m in model.modules()})) if before else []
    if changed:
        warn(
            f"The methods of {', '.join(changed)} have changed since the run was trained: what is "
            f"computed here is not what was learned.",
            GradbookWarning,
        )


def _check_same_data(data: Any, state: Mapping[str, Any]) -> None:
    """Says so if the data are not those that the run was trained with."""
    from gradbook.fingerprint import content_of

    before = state.get("setup", {}).get("data", {})
    for split, loader in (("train", data.train_dataloader()), ("val", data.val_dataloader())):
        if before.get(split) != content_of(loader):
            warn(
                f"The {'training' if split == 'train' else 'validation'} data here are not those "
                f"that the run was trained with, so that its figures cannot be found again.",
                GradbookWarning,
            )
            return
