"""How steps are taken, and the one place between the gradients and the update."""

import pytest
import torch
from tests.sweeps.stacking import member

from gradbook import DataModule, LinearRegression, Trainer, add_to_class
from gradbook.errors import CheckpointError
from gradbook.steps import Stepper
from gradbook.sweeps.stacked import fit_stacked


class Line(DataModule):
    def __init__(self, batch_size=4):
        super().__init__()
        self.save_hyperparameters()
        self.X = torch.arange(16.0).reshape(8, 2) / 16

    def get_dataloader(self, train):
        return self.get_tensorloader((self.X, self.X[:, :1]), train)


def model():
    torch.manual_seed(0)
    made = LinearRegression()
    made.net = torch.nn.Linear(2, 1)
    return made


class Noting(Stepper):
    """Notes the gradients of each update when all of them are there."""

    def prepare_gradients(self):
        super().prepare_gradients()
        assert not torch.is_grad_enabled()
        gradients = [p.grad.clone() for p in self.trainer.model.parameters()]
        vars(self.trainer).setdefault("seen", []).append(gradients)


class Halving(Stepper):
    def prepare_gradients(self):
        super().prepare_gradients()
        for parameter in self.trainer.model.parameters():
            parameter.grad *= 0.5


class NotingTrainer(Trainer):
    stepper_class = Noting


class HalvingTrainer(Trainer):
    stepper_class = Halving


def test_gradients_are_ready_once_for_each_update():
    trainer = NotingTrainer(2, accumulate_grad_batches=2, display="off")
    trainer.fit(model(), Line(batch_size=2))
    assert len(trainer.seen) == trainer.num_steps == 4


def test_gradients_of_all_batches_of_an_update_are_there_together():
    whole, parts = (
        NotingTrainer(1, display="off"),
        NotingTrainer(1, accumulate_grad_batches=2, display="off"),
    )
    whole.fit(model(), Line(batch_size=8))
    parts.fit(model(), Line(batch_size=4))
    torch.testing.assert_close(parts.seen[0], whole.seen[0])


def test_gradients_are_clipped_by_then():
    trainer = NotingTrainer(1, gradient_clip_val=0.01, display="off")
    trainer.fit(model(), Line())
    for gradients in trainer.seen:
        norm = torch.cat([gradient.reshape(-1) for gradient in gradients]).norm()
        assert norm == pytest.approx(0.01, rel=1e-3)


def test_what_is_done_to_the_gradients_is_what_the_optimizer_sees():
    halved, slower = model(), model()
    slower.lr /= 2
    HalvingTrainer(1, display="off").fit(halved, Line(batch_size=8))
    Trainer(1, display="off").fit(slower, Line(batch_size=8))
    for one, other in zip(halved.parameters(), slower.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_fit_of_the_book_takes_the_same_steps(undo_patches):
    with_ours = NotingTrainer(1, display="off")
    with_ours.fit(model(), Line(batch_size=8))

    @add_to_class(Trainer)
    def fit(self, model, data):
        self.prepare_data(data)
        self.prepare_model(model)
        self.optim = model.configure_optimizers()
        self.epoch = self.train_batch_idx = self.val_batch_idx = 0
        self.fit_epoch()

    with_the_books = NotingTrainer(1)
    with_the_books.fit(model(), Line(batch_size=8))
    torch.testing.assert_close(with_the_books.seen, with_ours.seen)


def test_a_stepper_of_ones_own_trains_alone():
    one, other = fit_stacked([member(seed=0), member(seed=1)])
    assert one.alone is other.alone is None
    stepped = [member(seed=seed) for seed in (0, 1)]

    def build(make):
        candidate = make()
        candidate.trainer.__class__ = HalvingTrainer
        return candidate

    trained = fit_stacked([lambda make=make: build(make) for make in stepped])
    reason = "Halving.prepare_gradients is a method of your own"
    assert [candidate.alone for candidate in trained] == [reason] * 2


def test_a_training_resumes_only_with_the_stepper_that_it_began_with(tmp_path):
    trainer = Trainer(1, display="off")
    trainer.fit(model(), Line())
    trainer.save_checkpoint(tmp_path / "last.pt")
    other = Trainer(2, display="off")
    other.stepper_class = Halving
    with pytest.raises(CheckpointError, match=r"trainer\.stepper: None in the checkpoint"):
        other.fit(model(), Line(), tmp_path / "last.pt")
