"""The layout of a graph: its rows, and places against other feasible ones."""

import numpy as np
import pytest
import torch
from tests.experiments.nets import Residual
from tests.small import Net
from torch import nn

from gradbook.experiments.graph_layout import rows_and_routes, spread
from gradbook.experiments.graph_picture import _cells
from gradbook.experiments.graphs import graph


@pytest.fixture
def features():
    return torch.randn(8, 4), torch.arange(8) % 3


def test_edges_run_from_the_batch_to_the_loss(features):
    found = graph(Net(nn.Linear(4, 4), Residual(), nn.Linear(4, 3)), features)
    rows, routes = rows_and_routes(_cells(found))
    row_of = {id(stop): number for number, row in enumerate(rows) for stop in row}
    for route in routes:
        numbers = [row_of[id(stop)] for stop in route]
        assert numbers == list(range(numbers[0], numbers[0] + len(route)))
    assert [cell.name for cell in rows[-1]] == ["cross_entropy"]
    assert rows[0][0].forward.lines[0] == "X"


@pytest.mark.parametrize("num_places", [1, 2, 7])
def test_places_are_the_nearest_with_the_gaps(num_places):
    wanted = np.random.randn(num_places)
    gaps = np.random.rand(num_places - 1)
    places = np.array(spread(list(wanted), list(gaps)))
    assert (np.diff(places) >= gaps - 1e-9).all()
    # No feasible place beside is nearer.
    best = ((places - wanted) ** 2).sum()
    for _ in range(300):
        other = np.cumsum(np.concatenate([[np.random.randn()], gaps + np.random.rand(len(gaps))]))
        assert ((other - wanted) ** 2).sum() >= best - 1e-9


def test_places_that_are_far_enough_apart_stay():
    assert spread([0, 2, 5], [1, 3]) == [0, 2, 5]
