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

#: What a listener hears: of steps also whether gradients are recorded, and of a loss whether there
#: are some to which its own are added.
_USUAL: list[tuple[Any, ...]] = [("train",)]
for _batch in _TRAINING:
    _USUAL += [("training_step", _batch, True), ("backward", False), ("step", False)]
_USUAL += [("eval",), *(("validation_step", batch, False) for batch in _VALIDATION)]


def is_usual_epoch(fit_epoch: Callable[[Any], Any]) -> bool:
    """Whether a method of a trainer does a usual epoch: a step each batch, then the validation."""
    trainer = _Listener()
    try:
        fit_epoch(trainer)
    except Exception:  # it asks for something that a usual epoch does not need
        return False
    counts = (trainer.train_batch_idx, trainer.val_batch_idx)
    return trainer.heard == _USUAL and counts == (len(_TRAINING), len(_VALIDATION))


def is_usual_preparation(prepare_batch: Callable[[Any, Any], Any]) -> bool:
    """Whether a method returns a batch as it is, which is all that the CPU needs."""
    batch = [torch.zeros(1), torch.zeros(1)]
    try:
        return prepare_batch(_Listener(), batch) is batch
    except Exception:  # it asks for more than a batch
        return False


class _Listener:
    """Stands for a trainer, its model, its optimizer and a loss, and notes what they are asked."""

    train_dataloader, val_dataloader = _TRAINING, _VALIDATION
    num_train_batches, num_val_batches = len(_TRAINING), len(_VALIDATION)
    gradient_clip_val = train_batch_idx = val_batch_idx = epoch = 0

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.model = self.optim = self
        self.has_gradients = False

    # As a trainer

    def prepare_batch(self, batch: Any) -> Any:
        return batch

    # As a model

    def train(self) -> None:
        self.heard.append(("train",))

    def eval(self) -> None:
        self.heard.append(("eval",))

    def training_step(self, batch: Any) -> Any:
        self.heard.append(("training_step", batch, torch.is_grad_enabled()))
        return self

    def validation_step(self, batch: Any) -> None:
        self.heard.append(("validation_step", batch, torch.is_grad_enabled()))

    # As an optimizer, and as a loss

    def zero_grad(self) -> None:
        self.has_gradients = False

    def backward(self) -> None:
        self.heard.append(("backward", self.has_gradients))
        self.has_gradients = True

    def step(self) -> None:
        self.heard.append(("step", torch.is_grad_enabled()))
