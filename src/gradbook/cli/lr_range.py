"""`gradbook lr-range`: which learning rates a model can be trained with."""

import argparse

from gradbook.cli.options import add_number, add_output_option, add_quiet_option, drawn
from gradbook.cli.outcome import Outcome
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
        "lr-range", arguments, _add_options, title="Range test", summary=SUMMARY, with_trainer=False
    )

    from gradbook.experiments.rate_range import lr_range

    own = subject.own
    model, data = subject.recipe.make()
    found = lr_range(
        model, data, lowest=own.lowest, highest=own.highest, num_steps=own.steps, seed=subject.seed
    )
    facts = {**subject.facts, **found.facts()}
    return drawn(found, "lr-range", own.output, facts, str(subject))


def _add_options(group: argparse._ArgumentGroup) -> None:
    add_number(group, "--lowest", float, "the rate to begin with", 1e-5)
    add_number(group, "--highest", float, "the rate to end with", 10.0)
    add_number(
        group, "--steps", int, "the number of steps from the first rate to the last", default=100
    )
    add_output_option(group, "lr-range")
    add_quiet_option(group)
