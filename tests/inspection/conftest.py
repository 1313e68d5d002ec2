"""Small data and models, so that what is measured can be known beforehand."""

import pytest
import torch
from torch import nn

from gradbook import Classifier, DataModule


class Points(DataModule):
    """Examples in memory: the first `num_train` are for training."""

    def __init__(self, X, y, num_train=0, batch_size=4):
        super().__init__()
        self.save_hyperparameters()

    def get_dataloader(self, train):
        rows = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, rows)


class Given(Classifier):
    """A classifier whose inputs already are its outputs."""

    def forward(self, X):
        return X


class Linear(Classifier):
    """A softmax regression on images."""

    def __init__(self, num_inputs=30, num_outputs=3):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(num_inputs, num_outputs))


@pytest.fixture
def points():
    return Points


@pytest.fixture
def given():
    return Given()


@pytest.fixture
def linear():
    return Linear()


@pytest.fixture
def images():
    """Twenty images of 6 x 5 gray pixels in three classes, half of them for training."""
    return Points(torch.rand(20, 1, 6, 5), torch.arange(20) % 3, num_train=10)
