"""`gradbook activation`: a function, its derivative, and what is left of it in a deep network."""

import argparse

from gradbook.cli.options import (
    Parser,
    add_common_options,
    add_output_option,
    any_number,
    drawn,
    picture_files,
    positive_number,
)
from gradbook.cli.report import Outcome

DESCRIPTION = """\
Draws an activation function and its derivative, and the same for the function of the function: what
is left of a gradient that passes through it several times.

examples:
  gradbook activation relu
  gradbook activation sigmoid --compose 3 --output sigmoid.svg"""


def run(arguments: list[str]) -> Outcome:
    """Draws the function that `arguments` name."""
    parser = Parser("activation", DESCRIPTION)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "function", metavar="FUNCTION", help="relu, sigmoid, tanh, gelu, silu, leaky-relu, ..."
    )
    parser.add_argument(
        "--compose",
        type=positive_number,
        default=1,
        metavar="N",
        help="the number of times that it is applied to its own result (default: 1)",
    )
    parser.add_argument(
        "--low", type=any_number, default=-8.0, metavar="X", help="the lowest x (default: -8)"
    )
    parser.add_argument(
        "--high", type=any_number, default=8.0, metavar="X", help="the highest x (default: 8)"
    )
    add_output_option(parser, "activation")
    add_common_options(parser)
    asked = parser.read(arguments)
    files = picture_files(asked.output, "activation")

    from gradbook.experiments.activations import activation

    found = activation(asked.function, asked.compose, low=asked.low, high=asked.high)
    return drawn(found, files, asked.output, found.facts())
