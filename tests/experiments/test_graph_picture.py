"""The picture of a graph: how it is grouped, and that it can be read."""

import pytest
import torch
from tests.experiments.nets import Residual
from tests.small import Net
from torch import nn

from gradbook import (
    MLP,
    MLPScratch,
)
from gradbook.experiments.graph_picture import _cells
from gradbook.experiments.graphs import graph


@pytest.fixture
def images():
    return torch.rand(8, 1, 4, 4), torch.arange(8) % 3


@pytest.fixture
def features():
    return torch.randn(8, 4), torch.arange(8) % 3


def deep(depth):
    return Net(*[layer for _ in range(depth) for layer in (Residual(), nn.Linear(4, 4))])


@pytest.mark.parametrize(
    ("depth", "num_operations", "titles"),
    [
        (2, 9, ["X", "linear", "relu", "add"]),
        (10, 41, ["X", "net.0", "linear_2"]),
        (25, 101, ["X", "net", "cross_entropy"]),
    ],
)
def test_larger_nets_are_drawn_by_module(depth, num_operations, titles, features):
    found = graph(deep(depth), features)
    assert len(found.operations) == num_operations
    cells = _cells(found)
    assert [cell.forward.lines[0] for cell in cells][: len(titles)] == titles
    assert len(cells) <= 41


def test_what_a_layer_does_between_those_that_it_holds_stands_for_itself(features):
    found = graph(Net(Residual(), nn.Linear(4, 3)), features, group="modules")
    titles = [cell.forward.lines[0] for cell in _cells(found)]
    assert titles == ["X", "linear", "relu", "add", "linear_2", "cross_entropy"]


@pytest.mark.slow
@pytest.mark.parametrize("group", ["operations", "modules"])
@pytest.mark.parametrize("model", [MLPScratch(16, 3, 5), MLP(3, [6] * 9), deep(3)], ids=type)
def test_no_two_boxes_overlap(model, group, images, features):
    batch = features if isinstance(model, Net) else images
    figure = graph(model, batch, group=group, values=True, gradients=True).figure()
    figure.draw_without_rendering()
    boxes = [
        patch.get_window_extent()
        for patch in figure.axes[0].patches
        if type(patch).__name__ == "FancyBboxPatch"
    ]
    assert len(boxes) > 8
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[place + 1 :])


@pytest.mark.slow
def test_texts_fit_into_their_boxes(images):
    figure = graph(MLP(3, [6, 6]), images, values=True, gradients=True).figure()
    figure.draw_without_rendering()
    [axes] = figure.axes
    boxes = [p.get_window_extent() for p in axes.patches if type(p).__name__ == "FancyBboxPatch"]
    for text in axes.texts[1:]:  # the first is the heading
        extent = text.get_window_extent()
        assert any(
            box.x0 <= extent.x0 and extent.x1 <= box.x1 and box.y0 <= extent.y0 <= box.y1
            for box in boxes
        ), text.get_text()


@pytest.mark.slow
def test_names_are_never_read_as_formulas(features):
    class Odd(nn.Linear):
        pass

    Odd.__name__ = "$\\frac$"
    figure = graph(Net(Odd(4, 3)), features).figure()
    figure.draw_without_rendering()
    assert any("$\\frac$" in text.get_text() for text in figure.axes[0].texts)
