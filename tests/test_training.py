"""The live object: what a copy of it goes on with, and what it takes from elsewhere."""

import copy

import pytest
import torch
from torch import nn

from gradbook import Classifier, DataModule, Sink, Trainer
from gradbook.errors import DataError, NotTrainedError
from gradbook.resume import snapshot
from gradbook.seeds import random_state, restore_random_state, seed_everything
from gradbook.training import Training


class Blobs(DataModule):
    def __init__(self, batch_size=4):
        super().__init__()
        self.save_hyperparameters()
        generator = torch.Generator().manual_seed(0)
        self.X = torch.randn(24, 3, generator=generator)
        self.y = (self.X.sum(dim=1) > 0).long()

    def get_dataloader(self, train):
        rows = slice(0, 16) if train else slice(16, 24)
        return self.get_tensorloader((self.X, self.y), train, rows)


class Net(Classifier):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class Told(Sink):
    """Counts what it is told."""

    def __init__(self):
        self.count = 0

    def write(self, metric):
        self.count += 1

    def end_epoch(self, trainer):
        self.count += 1


def begun(**settings):
    seed_everything(0)
    trainer = Trainer(3, **{"display": "off", **settings})
    return Training(trainer, Net(), Blobs())


def run_epoch(training, epoch):
    training.begin_epoch(epoch)
    training.trainer.fit_epoch()
    training.end_epoch()


def state_of(training):
    return copy.deepcopy(snapshot.take(training, for_itself=True))


def assert_equal(one, other):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_equal(*pair)
    else:
        assert one == other or one != one


def test_a_trainer_has_its_training_and_asks_it():
    with begun() as training:
        assert training.trainer.training is training
        training.run()
    for name in ("history", "best", "position", "status", "findings"):
        assert getattr(training.trainer, name) is getattr(training, name)


def test_a_trainer_that_has_trained_nothing_has_answers_all_the_same():
    trainer = Trainer(1)
    assert (trainer.status, trainer.stopped_early, trainer.postmortem) == (None, False, None)
    assert (tuple(trainer.findings), trainer.gradients, trainer.num_steps) == ((), None, 0)
    for name in ("history", "best"):
        with pytest.raises(NotTrainedError, match=f"Trainer.{name} is not known yet"):
            getattr(trainer, name)


def test_after_a_fit_that_was_refused_the_best_is_missed_of_that_fit():
    trainer = Trainer(1, display="off")
    trainer.fit(Net(), Blobs())
    assert trainer.best.epoch == 1
    with pytest.raises(DataError):
        trainer.fit(Net(), 5)
    with pytest.raises(NotTrainedError, match="because its last training has not come to a first"):
        _ = trainer.best


def test_a_fork_goes_on_to_the_last_bit_as_its_training_does():
    with begun() as training:
        run_epoch(training, 0)
        kept, generators = state_of(training), random_state()
        fork = training.fork()
        snapshot.put_back(kept, fork, from_itself=True)
        run_epoch(fork, 1)
        its_state = state_of(fork)
        restore_random_state(generators)
        run_epoch(training, 1)
        assert_equal(its_state, state_of(training))


def test_a_fork_tells_nobody_and_leaves_its_training_as_it_is():
    told = Told()
    with begun(sinks=told) as training:
        run_epoch(training, 0)
        before, count = state_of(training), told.count
        generators = random_state()
        fork = training.fork()
        snapshot.put_back(copy.deepcopy(before), fork, from_itself=True)
        run_epoch(fork, 1)
        restore_random_state(generators)
        assert told.count == count
        assert_equal(before, state_of(training))
        assert fork.trainer is not training.trainer
        assert fork.trainer.model.trainer is fork.trainer
        assert training.trainer.model.trainer is training.trainer


def test_an_epoch_that_somebody_else_computed_is_recorded_as_if_it_had_been_run():
    told = Told()
    with begun(sinks=told) as training:
        training.lend_epoch(0)
        assert not training.position.between_steps
        training.record_epoch([4.0, 3.0, 2.0, 1.0], {"val_loss": [1.0, 2.0], "val_acc": [0.5, 1.0]})
        trainer = training.trainer
        assert trainer.history[-1] == {
            "epoch": 1,
            "train_loss": 2.5,
            "val_loss": 1.5,
            "val_acc": 0.75,
        }
        assert (trainer.train_batch_idx, trainer.val_batch_idx, trainer.num_steps) == (4, 2, 4)
        assert (training.position.epoch, training.position.between_steps) == (1, True)
        points = {label: len(line) for label, line in trainer.model.board.data.items()}
        assert points == {"train_loss": 2, "val_loss": 1, "val_acc": 1}
        assert told.count == 4 + 3 + 1
        run_epoch(training, 1)
        assert trainer.train_batch_idx == 8


def test_a_trainer_can_be_copied_while_it_trains():
    """As it is with a model of a learner's own that holds it."""
    with begun() as training:
        run_epoch(training, 0)
        other = copy.deepcopy(training.trainer)
        assert other.training is not training
        assert len(other.history) == 1
