"""`gradbook lr-range`: which learning rates a model can be trained with."""

import argparse

from gradbook.cli.options import (
    add_common_options,
    add_output_option,
    any_number,
    drawn,
    picture_files,
    positive_number,
)
from gradbook.cli.report import Outcome
from gradbook.cli.subject import read_subject

SUMMARY = """\
Trains a model for a hundred steps while the learning rate grows with each, and suggests a rate:
half of the one at which the loss was lowest.

examples:
  gradbook lr-range mlp
  gradbook lr-range linear-regression --lowest 1e-3 --highest 3 --steps 200"""


def run(arguments: list[str]) -> Outcome:
    """Tests the learning rates of the model that `arguments` name."""
    subject = read_subject(
        "lr-range",
        arguments,
        _add_options,
        title="Range test",
        summary=SUMMARY,
        with_trainer=False,
    )
    if isinstance(subject, Outcome):
        return subject
    own = subject.own
    paths = picture_files(own.output, "lr-range")

    from gradbook.experiments.rate_range import lr_range

    model, data = subject.recipe.make()
    found = lr_range(
        model,
        data,
        lowest=own.lowest,
        highest=own.highest,
        num_steps=own.steps,
        seed=subject.seed,
    )
    return drawn(found, paths, own.output, {**subject.facts, **found.facts()}, str(subject))


def _add_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--lowest",
        type=any_number,
        default=1e-5,
        metavar="FLOAT",
        help="the rate to begin with (default: 1e-05)",
    )
    group.add_argument(
        "--highest",
        type=any_number,
        default=10.0,
        metavar="FLOAT",
        help="the rate to end with (default: 10)",
    )
    group.add_argument(
        "--steps",
        type=positive_number,
        default=100,
        metavar="INT",
        help="the number of steps from the first rate to the last (default: 100)",
    )
    add_output_option(group, "lr-range")
    group.add_argument("--quiet", action="store_true", help="print nothing but errors")
    add_common_options(group)
