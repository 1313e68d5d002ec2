"""Trainings that are stacked, and what tells whether each has been trained as it would alone."""

import copy

import pytest
import torch
from tests.small import Blobs
from torch import nn

from gradbook import Classifier, DataModule, Sink, Trainer
from gradbook.data import TensorLoader
from gradbook.resume import snapshot
from gradbook.seeds import seed_everything
from gradbook.sweeps.candidate import Candidate
from gradbook.sweeps.stacked import fit_stacked


class Same(Blobs):
    """The same points for every seed."""

    def __init__(self, **arguments):
        super().__init__(content=9, **arguments)


class Images(Same):
    def get_dataloader(self, train):
        loader = super().get_dataloader(train)
        images = loader.tensors[0].repeat_interleave(16, 1).reshape(-1, 1, 8, 8)
        return TensorLoader((images, loader.tensors[1]), 8, train)


class Line(DataModule):
    """A linear function of two numbers, without noise."""

    def __init__(self, batch_size=8):
        super().__init__()
        self.save_hyperparameters()
        self.X = torch.randn(32, 2)
        self.y = self.X @ torch.tensor([[2.0], [-3.4]]) + 4.2

    def get_dataloader(self, train):
        return self.get_tensorloader(
            (self.X, self.y), train, slice(0, 24) if train else slice(24, 32)
        )


class Net(Classifier):
    """A small network; its optimizer is made by the function `optimizer`."""

    def __init__(self, lr=0.1, optimizer=None, **settings):
        super().__init__()
        self.save_hyperparameters(ignore=["optimizer"])
        self.optimizer, self.settings = optimizer, settings
        self.net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 3))

    def configure_optimizers(self):
        if self.optimizer is None:
            return super().configure_optimizers()
        return self.optimizer(self.parameters(), lr=self.lr, **self.settings)


class Keeper(Sink):
    """Keeps what a checkpoint would hold, after every epoch."""

    def __init__(self):
        self.states = []

    def end_epoch(self, trainer):
        self.states.append(copy.deepcopy(snapshot.take(trainer.training)))


def member(Model=Net, data=Same, seed=0, trainer=None, resume=None, **arguments):
    """A function that makes one training; each call makes it anew."""

    def build():
        seed_everything(seed)
        made = data() if callable(data) else data
        model = Model(**arguments)
        settings = {"max_epochs": 3, "display": "off", "sinks": Keeper(), **(trainer or {})}
        return Candidate(Trainer(**settings), model, made, resume)

    return build


def trained_alone(builders):
    candidates = []
    for build in builders:
        candidate = build()
        candidate.trainer.fit(candidate.model, candidate.data, candidate.resume)
        candidates.append(candidate)
    return candidates


def assert_close(one, other, path="state"):
    """Two states are equal, floating point numbers to rounding."""
    assert type(one) is type(other), path
    if isinstance(one, torch.Tensor):
        assert (one.shape, one.dtype) == (other.shape, other.dtype), path
        if one.is_floating_point():
            torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-6, equal_nan=True, msg=path)
        else:
            assert torch.equal(one, other), path
    elif isinstance(one, dict):
        assert list(one) == list(other), path
        for key in one:
            assert_close(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for place, pair in enumerate(zip(one, other, strict=True)):
            assert_close(*pair, f"{path}[{place}]")
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=2e-4, abs=2e-6, nan_ok=True), path
    else:
        assert one == other, path


def assert_same_training(one, other):
    assert one.trainer.status == other.trainer.status
    for name in ("epoch", "train_batch_idx", "val_batch_idx", "stopped_early"):
        assert getattr(one.trainer, name) == getattr(other.trainer, name)
    assert one.trainer.best.epoch == other.trainer.best.epoch
    assert_close(one.trainer.history.rows, other.trainer.history.rows)
    assert_close(
        {label: [(p.x, p.y) for p in points] for label, points in one.model.board.data.items()},
        {label: [(p.x, p.y) for p in points] for label, points in other.model.board.data.items()},
    )
    assert_close(dict(one.model.state_dict()), dict(other.model.state_dict()))
    states = [[vars(sink).get("states") for sink in t.trainer.sinks] for t in (one, other)]
    assert_close(*states)


def assert_stacked_as_alone(builders):
    alone = trained_alone(builders)
    stacked = fit_stacked(builders)
    for one, other in zip(alone, stacked, strict=True):
        assert other.error is None
        assert other.alone is None
        assert_same_training(one, other)
    return stacked


def assert_fallback(builders, reason):
    alone = trained_alone(builders)
    stacked = fit_stacked(builders)
    for one, other in zip(alone, stacked, strict=True):
        assert other.error is None
        assert reason in (other.alone or "stacked"), other.alone
        assert_same_training(one, other)
    return stacked
