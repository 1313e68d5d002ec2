"""`gradbook summary`: a model layer by layer."""

import argparse

from gradbook.cli.options import add_number
from gradbook.cli.outcome import Outcome
from gradbook.cli.subject import read_subject

SUMMARY = """\
Lists a model's layers: the shapes of their outputs for one batch, their parameters, multiply-adds
and bytes.

example:
  gradbook summary mlp --num-hiddens 256,128"""


def run(arguments: list[str]) -> Outcome:
    """Lists the layers of the model that `arguments` name."""
    subject = read_subject(
        "summary", arguments, _add_options, title="Summary", summary=SUMMARY, with_trainer=False
    )

    from gradbook.experiments.model_summary import summary

    model, data = subject.recipe.make()
    found = summary(model, data, depth=subject.own.depth)
    return Outcome({**found.facts(), **subject.facts}, repr(found))


def _add_options(group: argparse._ArgumentGroup) -> None:
    told = "how deep layers within layers are listed (default: all)"
    add_number(group, "--depth", int, told)
