"""Looking at a training while it runs: at its gradients, and for the first value that is no number.

A watcher is a sink. It is closed before the recorder of the run, so that what it has found, in
`trainer.findings`, is kept there. One that `watch=` names has its line in `registry.py`, and puts
a `Report` of what it has seen into `trainer.reports`.
"""

from collections.abc import Sequence

from gradbook.lazy import listing
from gradbook.record import Sink
from gradbook.registry import WATCHERS
from gradbook.watching.gradient_report import GradientReport
from gradbook.watching.gradients import GradientWatcher
from gradbook.watching.postmortem import DivergenceWatcher, PostMortem

__all__ = ["DivergenceWatcher", "GradientReport", "GradientWatcher", "PostMortem", "watchers"]

__dir__ = listing(__all__)


def watchers(watch: Sequence[str]) -> list[Sink]:
    """The watchers of one training.

    Args:
        watch: What was asked for beyond the search for values that are no numbers.
    """
    return [DivergenceWatcher(), *(WATCHERS[name].load()() for name in watch)]
