"""`gradbook train`: trains a model, and keeps the run."""

from gradbook.cli.outcome import Outcome
from gradbook.cli.plan import read_plan


def run(arguments: list[str]) -> Outcome:
    """Trains the model that `arguments` name."""
    plan = read_plan(arguments)
    from gradbook.cli.fit import fit  # which loads PyTorch

    return fit(plan)
