"""From the command line to a plan of a training: what `train`, `resume` and `rerun` carry out."""

import argparse
import shlex
from dataclasses import dataclass

from gradbook.cli.options import add_display_options, add_number, add_runs_option, with_value
from gradbook.cli.recorded import Recorded
from gradbook.cli.subject import Chosen, read_subject
from gradbook.errors import ConfigError
from gradbook.record import YScale
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
        yscale: The scale of their vertical axis.
        checkpoint_steps: The steps between two checkpoints within an epoch; None takes none.
        num_processes: How many processes train together; None if the command does not say.
        max_restarts: How often all of them may be started again, because one was lost.
        words: The command that repeats it, without its first word, which is `gradbook`; None if
            there is none.
    """

    runs: str
    name: str
    display: str = "auto"
    yscale: YScale = "auto"
    checkpoint_steps: int | None = None
    num_processes: int | None = None
    max_restarts: int | None = None
    words: list[str] | None = None

    @property
    def repeat(self) -> str | None:
        """The command that repeats it."""
        return None if self.words is None else shlex.join(["gradbook", *self.words])


def read_plan(arguments: list[str], before: Recorded | None = None) -> Plan:
    """The plan that the words after `gradbook train` ask for, as `read_subject` reads them."""
    subject = read_subject(
        "train", arguments, add_train_options, title="Run", summary=SUMMARY, before=before
    )
    own, model, repeat = subject.own, subject.model, subject.words
    name = own.name or model.slug
    if own.runs != "runs":
        repeat += with_value("--runs", own.runs)
    if name != model.slug:
        repeat += with_value("--name", name)
    if own.checkpoint_steps is not None:
        repeat += ["--checkpoint-steps", str(own.checkpoint_steps)]
    if own.num_processes is not None:
        repeat += ["--num-processes", str(own.num_processes)]
    return Plan(
        model,
        subject.data,
        subject.arguments,
        subject.settings,
        subject.seed,
        own.runs,
        name,
        display="off" if own.quiet else own.display,
        yscale=own.yscale,
        checkpoint_steps=own.checkpoint_steps,
        num_processes=own.num_processes,
        max_restarts=own.max_restarts,
        words=[*repeat, "--seed", str(subject.seed)],
    )


def add_train_options(group: argparse._ActionsContainer) -> None:
    """Adds what `gradbook train` takes beside the settings of model, data and trainer."""
    add_runs_option(group)
    add_name_option(group, "name of the run's folder (default: the model's)")
    add_recorded_options(group)
    add_display_options(group)


def add_checkpoint_option(group: argparse._ActionsContainer) -> None:
    """Adds how often a checkpoint is taken."""
    told = "also save a checkpoint every so many steps, not only after each epoch"
    add_number(group, "--checkpoint-steps", int, told)


def add_recorded_options(group: argparse._ActionsContainer) -> None:
    """Adds what a run's command says besides the settings of model, data and trainer."""
    add_checkpoint_option(group)
    add_processes_option(group)


def add_processes_option(group: argparse._ActionsContainer) -> None:
    """Adds how many processes train together, and how often they may be started again."""
    told = "train in so many processes, each on a part of every batch (docs/several-devices.md)"
    add_number(group, "--num-processes", int, told)
    told = (
        "when one of several processes fails or is killed, start all again, at most so often; they "
        "resume from the last checkpoint (default: never)"
    )
    add_number(group, "--max-restarts", int, told)


def add_name_option(group: argparse._ActionsContainer, told: str) -> None:
    """Adds the plain name of a new folder."""
    group.add_argument("--name", type=_folder_name, help=told)


def _folder_name(text: str) -> str:
    try:
        return check_folder_name(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
