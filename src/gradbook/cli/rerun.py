"""`gradbook rerun`: trains once more what a run trained, in a new folder."""

from gradbook.cli.options import Parser, add_common_options
from gradbook.cli.outcome import Outcome, UsageError
from gradbook.cli.restored import add_class_options, own_options, plan_of
from gradbook.cli.several import launch, num_processes_of
from gradbook.errors import GradbookError, GradbookWarning, warn
from gradbook.launched import is_launched
from gradbook.wrapping import page

HELP = """\
Trains once more what a run trained, with the same seed, in a new folder beside it, and says whether
the figures are the same. Every option of `gradbook train` may be given as well, as in
`gradbook rerun mlp-1 --lr 0.3 --quiet`; `gradbook train mlp --help` lists those for an MLP. A run
of a script or a notebook takes those that say where it is shown and kept."""


def run(arguments: list[str]) -> Outcome:
    """Trains from the beginning, with the options of the run and those given here."""
    parser = Parser("rerun", HELP)
    add_class_options(parser)
    add_common_options(parser)
    asked, options = parser.read_known(arguments)
    if arguments[0].startswith("-"):
        raise UsageError("Name the run first: gradbook rerun RUN [options]")

    from gradbook.runs.stored import load

    run = load(asked.run, asked.runs)
    plan = plan_of(run, asked, options)
    if run.facts["seed"] is None:
        warn(
            f"{run.name} was trained without a seed: this training draws other numbers, so that "
            f"its figures will differ. A run comes again to the last digit if "
            f"gradbook.seed_everything(1) was called before its data and model were made.",
            GradbookWarning,
        )
    before = 1 if run.facts["command"] else run.facts.get("num_processes", 1)
    num_processes = num_processes_of(plan, before)
    if num_processes > 1 and not is_launched():
        return launch(["rerun", *arguments], num_processes, plan.max_restarts)
    from gradbook.cli.fit import fit

    outcome = fit(plan, repeated=None if own_options(options)[1] else run)
    if outcome.facts["folder"] is not None and outcome.facts["epochs"]:
        from gradbook.runs.comparison import compared_epochs

        try:
            compared = compared_epochs(run, load(outcome.facts["folder"]))
        except GradbookError as damage:
            warn(f"The figures cannot be compared: {damage}", GradbookWarning)
            return outcome
        outcome.facts["compared"] = compared.facts()
        outcome.text += page(f"\n  compared  {compared}")
    return outcome
