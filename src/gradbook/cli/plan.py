"""From the command line to a plan of a training: what `train`, `resume` and `rerun` carry out."""

import argparse
import shlex
from dataclasses import dataclass

from gradbook.cli.options import (
    add_common_options,
    add_display_options,
    add_runs_option,
    positive_number,
    with_value,
)
from gradbook.cli.recorded import Recorded
from gradbook.cli.report import Outcome
from gradbook.cli.subject import Chosen, read_subject
from gradbook.errors import ConfigError
from gradbook.storage import check_folder_name

SUMMARY = """\
Trains a model, and keeps the run in a new folder runs/NAME-N: settings, values, checkpoints and
curves."""


@dataclass
class Plan(Chosen):
    """A training as the command line asks for it.

    Attributes:
        runs, name: The folder for runs, and the name of this one.
        display: Where the curves are drawn.
        checkpoint_steps: The steps between two checkpoints within an epoch; None takes none.
        words: The command that repeats it, without its first word, which is `gradbook`; None if
            there is none.
    """

    runs: str
    name: str
    display: str
    checkpoint_steps: int | None
    words: list[str] | None

    @property
    def repeat(self) -> str | None:
        """The command that repeats it."""
        return None if self.words is None else shlex.join(["gradbook", *self.words])


def read_plan(arguments: list[str], before: Recorded | None = None) -> Plan | Outcome:
    """The plan that the arguments ask for, or the help if they ask for that.

    Args:
        arguments: The words after `gradbook train`.
        before: What holds for options that these do not name.
    """
    subject = read_subject(
        "train", arguments, _add_options, title="Run", summary=SUMMARY, before=before
    )
    if isinstance(subject, Outcome):
        return subject
    own, model = subject.own, subject.model
    repeat = subject.words
    name = own.name or model.slug
    if own.runs != "runs":
        repeat += with_value("--runs", own.runs)
    if name != model.slug:
        repeat += with_value("--name", name)
    if own.checkpoint_steps is not None:
        repeat += ["--checkpoint-steps", str(own.checkpoint_steps)]
    return Plan(
        model,
        subject.data,
        subject.arguments,
        subject.settings,
        subject.seed,
        own.runs,
        name,
        display="off" if own.quiet else own.display,
        checkpoint_steps=own.checkpoint_steps,
        words=[*repeat, "--seed", str(subject.seed)],
    )


def _add_options(group: argparse._ArgumentGroup) -> None:
    add_runs_option(group)
    group.add_argument(
        "--name", type=folder_name, help="name of the run's folder (default: the model's)"
    )
    add_checkpoint_option(group)
    add_display_options(group)
    add_common_options(group)


def add_checkpoint_option(group: argparse._ActionsContainer) -> None:
    """Adds how often a checkpoint is taken."""
    group.add_argument(
        "--checkpoint-steps",
        type=positive_number,
        metavar="INT",
        help="also save a checkpoint every so many steps, not only after each epoch",
    )


def folder_name(text: str) -> str:
    """The plain name that an option for a new folder takes."""
    try:
        return check_folder_name(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
