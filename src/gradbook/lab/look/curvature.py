"""The loss along the sharpest direction, and the learning rate beyond which steps grow there."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from gradbook.experiments.hessian import sharpness
from gradbook.lab.look.subject import Subject
from gradbook.runs.restored import Restored

#: So many examples are taken unless others are asked for: a look should take seconds.
NUM_EXAMPLES = 1000


def sharpness_of(subject: Subject, options: Mapping[str, Any]) -> dict[str, Any]:
    """What `gradbook.sharpness` measures at the weights of a checkpoint."""
    restored = subject.restored
    num_examples = options.get("num_examples", NUM_EXAMPLES)
    if num_examples is not None:
        num_examples = min(num_examples, _num_training_examples(restored.data) or num_examples)
    with _optimized_as_trained(restored):
        found = sharpness(restored.model, restored.data, num_examples=num_examples)
    return {
        **found.facts(),
        "distances": found.distances,
        "losses": found.losses,
        "slope": found.slope,
        "words": found.words,
        "epoch": subject.epoch,
    }


@contextmanager
def _optimized_as_trained(restored: Restored) -> Iterator[None]:
    """The model has the optimizer that its run's trainer named, with the settings of that."""
    model, given = restored.model, restored.recipe.arguments["trainer"]
    before = getattr(model, "trainer", None)
    names = ("optimizer", "momentum", "weight_decay")
    model.trainer = SimpleNamespace(**{name: given[name] for name in names if name in given})
    try:
        yield
    finally:
        model.trainer = before


def _num_training_examples(data: Any) -> int | None:
    """How many there are, where that is known."""
    tensors = getattr(data.train_dataloader(), "tensors", None)
    return len(tensors[-1]) if tensors else None
