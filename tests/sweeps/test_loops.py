"""What a learner's training loop does, found out by listening."""

import pytest
import torch

from gradbook.sweeps.loops import is_usual_epoch, is_usual_preparation
from gradbook.trainer import Trainer


def epoch(
    *, zero="first", step_in_no_grad=True, validate=True, count=True, twice=False, skip=False
):
    """A loop in the book's style, and ways to write it otherwise."""

    def fit_epoch(self):
        self.model.train()
        for i, batch in enumerate(self.train_dataloader):
            if skip and i == 1:
                continue
            loss = self.model.training_step(self.prepare_batch(batch))
            if zero == "first":
                self.optim.zero_grad()
            with torch.no_grad() if step_in_no_grad else torch.enable_grad():
                loss.backward()
                if twice:
                    loss.backward()
                if self.gradient_clip_val > 0:
                    self.clip_gradients(self.gradient_clip_val, self.model)
                self.optim.step()
            if zero == "last":
                self.optim.zero_grad()
            if count:
                self.train_batch_idx += 1
        if self.val_dataloader is None or not validate:
            return
        self.model.eval()
        for batch in self.val_dataloader:
            with torch.no_grad():
                self.model.validation_step(self.prepare_batch(batch))
            self.val_batch_idx += 1

    return fit_epoch


@pytest.mark.parametrize("variant", [{}, {"zero": "last"}])
def test_the_usual_loop_is_recognized_however_it_is_written(variant):
    assert is_usual_epoch(epoch(**variant))


@pytest.mark.parametrize(
    "variant",
    [
        {"zero": "never"},
        {"step_in_no_grad": False},
        {"validate": False},
        {"count": False},
        {"twice": True},
        {"skip": True},
    ],
    ids=str,
)
def test_another_loop_is_not(variant):
    assert not is_usual_epoch(epoch(**variant))


def test_a_loop_that_looks_at_the_loss_is_not_usual():
    def fit_epoch(self):
        for batch in self.train_dataloader:
            loss = self.model.training_step(batch)
            if loss.item() > 3:
                loss.backward()

    assert not is_usual_epoch(fit_epoch)


def test_a_batch_that_stays_as_it_is_needs_no_preparation():
    assert is_usual_preparation(lambda self, batch: batch)
    assert not is_usual_preparation(lambda self, batch: [item + 1 for item in batch])
    assert not is_usual_preparation(Trainer.prepare_batch)  # it looks for a device first
