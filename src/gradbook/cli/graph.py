"""`gradbook graph`: a model's computation as a picture, forward and backward."""

import argparse

from gradbook.cli.options import add_output_option, drawn
from gradbook.cli.outcome import Outcome
from gradbook.cli.subject import read_subject

SUMMARY = """\
Draws the computational graph of a model's loss on one batch: the operations from the inputs to the
loss, the nodes that lead the gradient back, and what is kept in memory for them.

example:
  gradbook graph mlp --num-hiddens 256,128 --gradients --output mlp.svg"""


def run(arguments: list[str]) -> Outcome:
    """Draws the graph of the model that `arguments` name."""
    subject = read_subject(
        "graph", arguments, _add_options, title="Graph", summary=SUMMARY, with_trainer=False
    )

    from gradbook.experiments.graphs import graph

    own = subject.own
    model, data = subject.recipe.make()
    found = graph(model, data, group=own.group, values=own.values, gradients=own.gradients)
    return drawn(found, "graph", own.output, {**found.facts(), "seed": subject.seed})


def _add_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--group",
        choices=("auto", "operations", "modules"),
        default="auto",
        help="draw a box for each operation or for each module (default: auto, which draws "
        "operations if there are at most 40)",
    )
    told = "show the smallest, the largest and the mean value of each result"
    group.add_argument("--values", action="store_true", help=told)
    group.add_argument("--gradients", action="store_true", help="show the norms of the gradients")
    add_output_option(group, "graph")
