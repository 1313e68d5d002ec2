"""Where a wrong number comes from: traced through the operations of a step."""

import math

import pytest
import torch
from tests.watching.trainings import Blobs, examined
from torch import nn

from gradbook import (
    Classifier,
)
from gradbook.watching import postmortem


@pytest.fixture(autouse=True)
def repeated_from_the_beginning(monkeypatch):
    """No state is kept later, however slow the machine is."""
    monkeypatch.setattr(postmortem, "_INTERVAL_SECONDS", math.inf)


def test_a_mask_of_infinities_is_not_taken_for_the_cause():
    class Attention(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.net = nn.LazyLinear(3)

        def forward(self, X):
            mask = torch.zeros(4).masked_fill(torch.arange(4) == 3, -math.inf)
            return self.net(X * (X + mask).softmax(dim=1)) * torch.exp(100 + self.net.bias)

    found = examined(Attention(), Blobs())
    assert (found.cause, found.operation) == ("exp overflow", "exp")


def test_what_is_no_number_is_followed_before_what_is_infinite():
    class Masked(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.net = nn.LazyLinear(3)

        def forward(self, X):
            mask = torch.zeros(4).masked_fill(torch.arange(4) == 3, -math.inf)
            return self.net((torch.sqrt(-1 - X**2) + mask).softmax(dim=1))

    found = examined(Masked(), Blobs())
    assert (found.operation, found.phase) == ("sqrt", "forward")
    assert "64 of 64 arguments of `sqrt` are negative" in found.reason


def test_the_layer_is_named():
    class Exp(nn.Module):
        def forward(self, X):
            return torch.exp(X * 1000)

    class Net(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.net = nn.Sequential(nn.LazyLinear(8), Exp(), nn.LazyLinear(3))

    found = examined(Net(), Blobs())
    assert (found.layer, found.operation) == ("net.1", "exp")
    assert "`exp` of layer net.1 in line" in str(found)
