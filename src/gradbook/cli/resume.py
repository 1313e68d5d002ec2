"""`gradbook resume`: goes on with a run that was stopped, as if it never had been."""

from gradbook.cli.options import Parser, add_display_options, add_number
from gradbook.cli.report import Outcome
from gradbook.cli.restored import add_class_options, plan_of


def run(arguments: list[str]) -> Outcome:
    """Trains on, in the run's own folder."""
    parser = Parser("resume", "Goes on with a run from its last checkpoint.")
    add_class_options(parser)
    told = "the number of epochs in all, those done before included (default: as planned)"
    add_number(parser, "--max-epochs", int, told)
    add_display_options(parser)
    asked = parser.read_all(arguments)

    from gradbook.runs.stored import load

    stored = load(asked.run, asked.runs)
    plan = plan_of(stored, asked, max_epochs=asked.max_epochs)
    plan.display, plan.yscale = "off" if asked.quiet else asked.display, asked.yscale
    from gradbook.cli.fit import fit

    return fit(plan, resume=stored.folder)
