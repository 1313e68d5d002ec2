"""What the sampled steps of an epoch come to."""

import torch
from tests.watching.watched import Deep, fit
from torch import nn

from gradbook import Classifier, seed_everything
from gradbook.watching.gradients import _places


def test_layers_stand_in_the_order_in_which_they_are_called():
    class Reversed(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.last, self.first = nn.Linear(8, 10), nn.Linear(48, 8)

        def forward(self, X):
            return self.last(torch.relu(self.first(X)))

    assert [row.layer for row in fit(Reversed()).gradients.rows] == ["first", "last"]


def test_a_dead_unit_is_one_of_the_epochs_end():
    """In the first step all units live; a rate that is too large kills them with it."""
    seed_everything(0)
    trainer = fit(Deep(nn.ReLU, num_layers=3, lr=5.0))
    assert _places(40, None, is_first=True) == [0, 39]
    assert max(row.dead for row in trainer.gradients.rows if row.function) > 0.4
