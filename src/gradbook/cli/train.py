"""`gradbook train`: trains a model, and keeps the run."""

from gradbook.cli.outcome import Outcome
from gradbook.cli.plan import read_plan
from gradbook.cli.several import launch, num_processes_of
from gradbook.launched import is_launched


def run(arguments: list[str]) -> Outcome:
    """Trains the model that `arguments` name."""
    plan = read_plan(arguments)
    num_processes = num_processes_of(plan)
    if num_processes > 1 and not is_launched():
        words = ["train", *arguments, "--seed", str(plan.seed)]
        return launch(words, num_processes, plan.max_restarts)
    from gradbook.cli.fit import fit  # which loads PyTorch

    return fit(plan)
