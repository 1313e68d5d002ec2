"""How a step is taken once the loss of a batch is known: backward, accumulate, clip, step."""

from typing import TYPE_CHECKING, Any

import torch

from gradbook import checks
from gradbook.errors import ModelError
from gradbook.execution import Precision
from gradbook.lookalikes import trained_tensors
from gradbook.resume.loader import ResumableLoader

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from gradbook.trainer import Trainer


class Stepper:
    """Takes the steps of `Trainer.fit_epoch`.

    Between the backward pass and the update, the gradients of all batches that belong to the
    update lie complete in the parameters' `grad`. Whatever is to be done with them then, as adding
    noise or averaging over processes, belongs into a `prepare_gradients` of a derived class:

        class Noisy(Stepper):
            def prepare_gradients(self):
                super().prepare_gradients()
                for parameter in self.trainer.model.parameters():
                    if parameter.grad is not None:
                        parameter.grad += 0.01 * torch.randn_like(parameter)

        Trainer.stepper_class = Noisy

    Args:
        trainer: The trainer, whose `model`, `optim` and settings are read at each step.
        arithmetic: How losses and gradients are computed.

    Attributes:
        waiting: The batches whose gradients wait for the rest of their group.
        is_used: Whether it was given a loss at all; a loop of the learner's own needs none.
        last_loss: The loss of the last batch of the last pass that came to its end.
    """

    def __init__(self, trainer: "Trainer", arithmetic: Precision) -> None:
        self.trainer, self.arithmetic = trainer, arithmetic
        self.waiting = 0
        self.is_used = False
        self.last_loss: torch.Tensor | None = None
        self._group = 1

    def begin(self) -> None:
        """A pass over the training set begins; what waits of one that was left is forgotten."""
        self.waiting = 0

    def autocast(self) -> "AbstractContextManager[Any]":
        """Within it, outputs and losses are computed in the precision that was asked for."""
        return self.arithmetic.autocast()

    def add(self, loss: torch.Tensor) -> None:
        """Adds a batch's gradients; when a group of batches is complete, takes a step.

        Raises:
            ModelError: If the loss is not one number that depends on parameters.
        """
        if not (isinstance(loss, torch.Tensor) and loss.requires_grad and loss.numel() == 1):
            raise ModelError(checks.useless_loss(self.trainer.model, loss))
        if not self.waiting:
            trainer = self.trainer
            self.is_used = True
            self._group = 1 if trainer.accumulate_grad_batches == 1 else self._size_of_group()
            trainer.optim.zero_grad()
        self.arithmetic.backward(loss if self._group == 1 else loss / self._group)
        self.waiting += 1
        if self.waiting == self._group:
            self._step()

    def finish(self, loss: torch.Tensor | None) -> None:
        """The pass is over. Takes the last step, if it gave fewer batches than its group needs.

        Args:
            loss: That of its last batch; None if it gave none.
        """
        trainer = self.trainer
        if loss is not None:
            self.last_loss = loss.detach()
        if not self.waiting:
            return
        too_small = self._group / self.waiting  # the gradient, which was divided by the group
        for parameter in trained_tensors(trainer.model, trainer.optim).values():
            if parameter.grad is not None:
                parameter.grad.mul_(too_small)
        self._step()
        # `Training.end_batch` has told nobody of this step, because gradients were waiting.
        if trainer.training is not None and isinstance(trainer.train_dataloader, ResumableLoader):
            trainer.training.end_step()

    def prepare_gradients(self) -> None:
        """All gradients of an update are there: clips them. No gradient is recorded meanwhile."""
        trainer = self.trainer
        if trainer.gradient_clip_val > 0:
            trainer.clip_gradients(trainer.gradient_clip_val, trainer.model)

    def _size_of_group(self) -> int:
        """How many batches the next update is to have."""
        trainer = self.trainer
        together, n = trainer.accumulate_grad_batches, trainer.num_train_batches
        in_fit = isinstance(trainer.train_dataloader, ResumableLoader)  # and not the book's fit
        left = n - (trainer.position.batches if in_fit else trainer.train_batch_idx % n)
        # A loader that gives more than it said gives nobody knows how many.
        return min(together, left) if left > 0 else together

    def _step(self) -> None:
        """Updates the parameters with the gradients of a group."""
        self.waiting = 0
        with torch.no_grad():
            self.arithmetic.unscale(self.trainer.optim)
            self.prepare_gradients()
            self.arithmetic.step(self.trainer.optim)
