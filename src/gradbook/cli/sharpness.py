"""`gradbook sharpness`: the largest learning rate that is stable, and why."""

import argparse

from gradbook.cli.options import add_display_options, add_number, add_output_option, drawn
from gradbook.cli.outcome import Outcome
from gradbook.cli.subject import read_subject
from gradbook.display.words import counted

SUMMARY = """\
Measures the sharpness of a model's training loss, the largest eigenvalue of its Hessian, and the
learning rate 2 / sharpness, beyond which gradient descent is unstable. With --steps it follows the
sharpness through full-batch training with the model's learning rate.

examples:
  gradbook sharpness linear-regression
  gradbook sharpness mlp --epochs 1
  gradbook sharpness mlp --lr 0.05 --steps 400 --num-examples 1000"""


def run(arguments: list[str]) -> Outcome:
    """Measures the sharpness of the model that `arguments` name."""
    subject = read_subject(
        "sharpness", arguments, _add_options, title="Sharpness", summary=SUMMARY, with_trainer=False
    )
    own = subject.own
    display = "off" if own.quiet else own.display

    from gradbook.display.choose import choose
    from gradbook.display.finding import Finding
    from gradbook.errors import ModelError
    from gradbook.experiments.edge_of_stability import edge_of_stability
    from gradbook.experiments.hessian import sharpness
    from gradbook.trainer import Trainer

    model, data = subject.recipe.make()
    if own.epochs:
        # Its curves are shown, and no summary: what it is trained for comes next.
        Trainer(own.epochs, display="off", sinks=[choose(display)]).fit(model, data)
    found: Finding
    if own.steps is None:
        found = sharpness(model, data, num_examples=own.num_examples, seed=subject.seed)
    else:
        lr = getattr(model, "lr", None)
        if lr is None:
            raise ModelError(
                f"{type(model).__name__} has no learning rate to follow. Give it an argument `lr`."
            )
        found = edge_of_stability(
            model,
            data,
            lr=lr,
            num_steps=own.steps,
            every=max(1, own.steps // 40),
            num_examples=own.num_examples or 1000,
            seed=subject.seed,
            display=display,
        )
    facts = {**subject.facts, "epochs": own.epochs or 0, **found.facts()}
    trained = f", after {counted(own.epochs, 'epoch')} of training" if own.epochs else ""
    return drawn(found, "sharpness", own.output, facts, f"{subject}{trained}")


def _add_options(group: argparse._ArgumentGroup) -> None:
    told = "the number of training examples to use (default: all where that is quick, otherwise "
    add_number(group, "--num-examples", int, told + "a sample; with --steps 1000)")
    told = "the number of epochs to train the model for first (default: none)"
    add_number(group, "--epochs", int, told)
    told = "follow the sharpness through this number of steps of full-batch gradient descent"
    add_number(group, "--steps", int, told)
    add_output_option(group, "sharpness")
    add_display_options(group)
