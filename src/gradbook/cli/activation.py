"""`gradbook activation`: a function, its derivative, and what is left of it in a deep network."""

import argparse

from gradbook.cli.options import Parser, add_number, add_output_option, drawn
from gradbook.cli.outcome import Outcome

DESCRIPTION = """\
Draws an activation function and its derivative, and the same for the function of the function: what
is left of a gradient that passes through it several times.

examples:
  gradbook activation relu
  gradbook activation sigmoid --compose 3 --output sigmoid.svg"""


def run(arguments: list[str]) -> Outcome:
    """Draws the function that `arguments` name."""
    form = argparse.RawDescriptionHelpFormatter
    parser = Parser("activation", DESCRIPTION, formatter_class=form)
    parser.add_argument(
        "function", metavar="FUNCTION", help="relu, sigmoid, tanh, gelu, silu, leaky-relu, ..."
    )
    told = "the number of times that it is applied to its own result"
    add_number(parser, "--compose", int, told, 1, metavar="N")
    add_number(parser, "--low", float, "the lowest x", -8.0, metavar="X")
    add_number(parser, "--high", float, "the highest x", 8.0, metavar="X")
    add_output_option(parser, "activation")
    asked = parser.read_all(arguments)

    from gradbook.experiments.activations import activation

    found = activation(asked.function, asked.compose, low=asked.low, high=asked.high)
    return drawn(found, "activation", asked.output, found.facts())
