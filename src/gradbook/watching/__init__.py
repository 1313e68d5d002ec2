"""Looking at a training while it runs: at its gradients, and for the first value that is no number.

A watcher is a sink. It is closed before the recorder of the run, so that what it has found, in
`trainer.findings`, is kept there. One that `watch=` names has its line in `registry.py`, and puts
a `Report` of what it has seen into `trainer.reports`. Reading a report needs no PyTorch.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradbook.lazy import lazy_names, listing
from gradbook.record import Sink
from gradbook.registry import WATCHERS

if TYPE_CHECKING:
    from gradbook.watching.gradient_report import GradientReport as GradientReport
    from gradbook.watching.gradients import GradientWatcher as GradientWatcher
    from gradbook.watching.postmortem import DivergenceWatcher as DivergenceWatcher
    from gradbook.watching.postmortem import PostMortem as PostMortem

__all__ = ["DivergenceWatcher", "GradientReport", "GradientWatcher", "PostMortem", "watchers"]

_HOME_OF = {
    "DivergenceWatcher": "gradbook.watching.postmortem",
    "GradientReport": "gradbook.watching.gradient_report",
    "GradientWatcher": "gradbook.watching.gradients",
    "PostMortem": "gradbook.watching.postmortem",
}

__getattr__ = lazy_names(__name__, _HOME_OF)
__dir__ = listing(__all__)


def watchers(watch: Sequence[str]) -> list[Sink]:
    """The watchers of one training.

    Args:
        watch: What was asked for beyond the search for values that are no numbers.
    """
    from gradbook.watching.postmortem import DivergenceWatcher

    return [DivergenceWatcher(), *(WATCHERS[name].load()() for name in watch)]
