"""Whether a training loop that a learner wrote does what the library's own does.

The book's readers replace `Trainer.fit_epoch` and `prepare_batch` by what they have just learned
to write. Mostly it takes the same steps in the same order, and then a stack may take them as well.
Whether it does is seen by letting it run over a few batches that are no batches, with a model that
is no model, and listening to what it asks of them.
"""

from collections.abc import Callable
from typing import Any

import torch

_TRAINING, _VALIDATION = ("batch 1", "batch 2", "batch 3"), ("batch 4", "batch 5")


def is_usual_epoch(fit_epoch: Callable[[Any], Any]) -> bool:
    """Whether a method does one usual epoch: a step for each batch, then the validation.

    Args:
        fit_epoch: As it stands in the class of a trainer, before it is bound.
    """
    heard: list[Any] = []
    trainer = _Listener(heard)
    try:
        fit_epoch(trainer)
    except Exception:  # it asks for something that a usual epoch does not need
        return False
    counts = (trainer.train_batch_idx, trainer.val_batch_idx)
    return heard == _usual() and counts == (len(_TRAINING), len(_VALIDATION))


def is_usual_preparation(prepare_batch: Callable[[Any, Any], Any]) -> bool:
    """Whether a method returns a batch as it is, which is all that the CPU needs."""
    batch = [torch.zeros(1), torch.zeros(1)]
    try:
        return prepare_batch(_Listener([]), batch) is batch
    except Exception:  # it asks for more than a batch
        return False


def _usual() -> list[Any]:
    heard: list[Any] = ["train"]
    for batch in _TRAINING:
        heard += [("training_step", batch), "backward", "step"]
    heard.append("eval")
    return heard + [("validation_step", batch, "without gradients") for batch in _VALIDATION]


class _Listener:
    """Stands for a trainer, its model, its optimizer and a loss, and notes what they are asked."""

    gradient_clip_val = 0

    def __init__(self, heard: list[Any]) -> None:
        self.heard = heard
        self.model = self.optim = self
        self.train_dataloader, self.val_dataloader = _TRAINING, _VALIDATION
        self.num_train_batches, self.num_val_batches = len(_TRAINING), len(_VALIDATION)
        self.train_batch_idx = self.val_batch_idx = self.epoch = 0
        self.has_gradients = False

    # As a trainer

    def prepare_batch(self, batch: Any) -> Any:
        return batch

    # As a model

    def train(self) -> None:
        self.heard.append("train")

    def eval(self) -> None:
        self.heard.append("eval")

    def training_step(self, batch: Any) -> Any:
        if not torch.is_grad_enabled():
            self.heard.append("without gradients")
        self.heard.append(("training_step", batch))
        return self

    def validation_step(self, batch: Any) -> None:
        kind = "with gradients" if torch.is_grad_enabled() else "without gradients"
        self.heard.append(("validation_step", batch, kind))

    # As an optimizer, and as a loss

    def zero_grad(self) -> None:
        self.has_gradients = False

    def backward(self) -> None:
        if self.has_gradients:
            self.heard.append("gradients are added up")
        self.has_gradients = True
        self.heard.append("backward")

    def step(self) -> None:
        if torch.is_grad_enabled():
            self.heard.append("a step is recorded")
        self.heard.append("step")
