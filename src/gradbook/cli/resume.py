"""`gradbook resume`: goes on with a run that was stopped, as if it never had been."""

from dataclasses import replace

from gradbook import launched
from gradbook.cli.options import (
    Given,
    Parser,
    add_display_options,
    add_options,
    give_flags,
    options_of,
)
from gradbook.cli.outcome import Outcome
from gradbook.cli.plan import add_processes_option
from gradbook.cli.restored import add_class_options, plan_of
from gradbook.cli.several import launch, num_processes_of


def run(arguments: list[str]) -> Outcome:
    """Trains on, in the run's own folder."""
    from gradbook.settings import FREE
    from gradbook.trainer import Trainer

    parser = Parser("resume", "Goes on with a run from its last checkpoint.")
    add_class_options(parser)
    add_display_options(parser)
    add_processes_option(parser)
    # Without a default: what is not given stays as the run has it.
    free = [replace(o, default="") for o in options_of(Trainer, "trainer") if o.name in FREE]
    free = give_flags(free)
    add_options(parser, "settings that may change (default: as the run has them)", free)
    asked = parser.read_all(arguments)
    given = vars(asked)
    changed = {o.name: Given.of(given[o.dest]) for o in free if o.dest in given}

    from gradbook.runs.stored import load

    stored = load(asked.run, asked.runs)
    plan = plan_of(stored, asked, changed=changed)
    plan.display, plan.yscale = "off" if asked.quiet else asked.display, asked.yscale
    plan.num_processes, plan.max_restarts = asked.num_processes, asked.max_restarts
    num_gpus = changed["num_gpus"].value if "num_gpus" in changed else 0
    before = num_gpus or stored.facts.get("num_processes", 1)
    if asked.num_processes is None and launched.is_launched():
        before = launched.size()
    num_processes = asked.num_processes or before
    plan.num_processes = num_processes if num_processes > 1 else None
    num_processes = num_processes_of(plan)
    if num_processes > 1 and not launched.is_launched():
        words = ["resume", *arguments, "--num-processes", str(num_processes)]
        return launch(words, num_processes, plan.max_restarts)
    from gradbook.cli.fit import fit

    return fit(plan, resume=stored.folder)
