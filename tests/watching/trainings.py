"""Trainings that turn out badly, and their post-mortems."""

import warnings

import torch
from tests import small
from torch.nn import functional as F

from gradbook import (
    Classifier,
    LinearRegression,
    SyntheticRegressionData,
    Trainer,
)
from gradbook.errors import DivergenceWarning


def regression(**kwargs):
    torch.manual_seed(0)
    settings = {"num_train": 256, "num_val": 64, **kwargs}
    return SyntheticRegressionData(torch.tensor([2, -3.4]), 4.2, **settings)


class Blobs(small.Blobs):
    """Three clouds of points, the same ones always."""

    def __init__(self, scale=1.0):
        super().__init__(num_train=128, num_val=None, batch_size=16, scale=scale, content=1)


class Passing(Blobs):
    """Blobs whose training batches go through `one_pass`, a generator to be written anew."""

    def one_pass(self, batches):
        yield from batches

    def get_dataloader(self, train):
        if not train:
            return super().get_dataloader(train)
        batches, one_pass = list(super().get_dataloader(train)), self.one_pass

        class Loader:
            def __len__(self):
                return len(batches)

            def __iter__(self):
                return one_pass(batches)

        return Loader()


class BookSoftmax(Classifier):
    """Softmax regression as the book writes it: nothing is taken off before the exponential."""

    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.W = torch.normal(0, 0.01, (4, 3), requires_grad=True)
        self.b = torch.zeros(3, requires_grad=True)

    def forward(self, X):
        E = torch.exp(X @ self.W + self.b)
        return E / E.sum(1, keepdim=True)

    def loss(self, y_hat, y):
        return -torch.log(y_hat[range(len(y_hat)), y]).mean()


def fit(model, data, max_epochs=4, seed=0, **kwargs):
    torch.manual_seed(seed)
    trainer = Trainer(max_epochs=max_epochs, display="off", **kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        trainer.fit(model, data)
    return trainer


def examined(model, data, **kwargs):
    found = fit(model, data, **kwargs).postmortem
    assert found is not None
    return found


class Normed(LinearRegression):
    """A penalty whose derivative is not defined at the beginning."""

    def loss(self, y_hat, y):
        moved = self.net.weight - self.net.weight.detach()
        return F.mse_loss(y_hat, y) + self.length(moved)

    def length(self, moved):
        return torch.sqrt((moved**2).sum())
