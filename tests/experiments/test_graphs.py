"""The computational graph: what it says, and that the model stays as it is."""

import copy
import json
import math
import re

import pytest
import torch
from tests.experiments.nets import Residual
from tests.small import Net
from torch import nn

from gradbook import (
    MLP,
    LinearRegressionScratch,
    SyntheticRegressionData,
)
from gradbook.errors import ConfigError, ModelError
from gradbook.experiments.graphs import graph
from gradbook.storage import finite


@pytest.fixture
def images():
    return torch.rand(8, 1, 4, 4), torch.arange(8) % 3


@pytest.fixture
def features():
    return torch.randn(8, 4), torch.arange(8) % 3


def by_name(found):
    return {operation.name: operation for operation in found.operations}


def test_the_longest_path_is_found(features):
    found = graph(Net(nn.Linear(4, 4), Residual(), nn.Linear(4, 3)), features)
    assert found.longest_path == ("linear", "linear_2", "relu", "add", "linear_3", "cross_entropy")


# The model stays as it is


def test_a_model_is_left_as_it_is(images):
    model = Net(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8, 3)
    )
    model.loss(model(images[0]), images[1]).backward()
    model.eval()
    model.net[2].train()
    before = copy.deepcopy(model.state_dict())
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    state = torch.get_rng_state()
    graph(model, images, values=True, gradients=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    pairs = zip(gradients, model.parameters(), strict=True)
    assert all(torch.equal(gradient, parameter.grad) for gradient, parameter in pairs)
    assert [module.training for module in model.net] == [False, False, True, False, False]
    assert not model.board.data


def test_the_computation_is_that_of_training(features):
    model = Net(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 3)).eval()
    assert by_name(graph(model, features))["dropout"].backward == ("MulBackward0",)


def test_within_no_grad_there_is_a_graph_all_the_same(features):
    with torch.no_grad():
        found = graph(Net(nn.Linear(4, 3)), features)
    assert by_name(found)["cross_entropy"].backward


# The batch


def test_a_data_module_gives_its_first_batch_and_draws_nothing():
    model, data = LinearRegressionScratch(), SyntheticRegressionData(num_train=50, batch_size=7)
    state = torch.get_rng_state()
    assert graph(model, data).batch_size == 7
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_no_model_is_refused(features):
    with pytest.raises(ModelError, match="the class MLP itself"):
        graph(MLP, features)
    with pytest.raises(ModelError, match="Linear does not define a loss"):
        graph(nn.Linear(4, 3), features)


def test_a_model_that_cannot_be_copied_is_named(features):
    model = Net(nn.Linear(4, 3))
    model.lines = (line for line in "ab")
    with pytest.raises(ModelError, match="Net cannot be copied"):
        graph(model, features)


def test_a_grouping_that_there_is_not_is_refused(features):
    with pytest.raises(ConfigError, match="Did you mean 'modules'"):
        graph(Net(nn.Linear(4, 3)), features, group="module")


# Plain data


def test_words_say_what_was_found(images):
    text = str(graph(MLP(num_outputs=3, num_hiddens=5), images, gradients=True))
    assert "MLP on a batch of 8; the loss is " in text
    assert "5 operations, 5 of them on the longest path" in text
    assert "4 tensors with 103 numbers" in text
    assert re.search(r"norms from \S+ at linear to 1 at cross_entropy", text)


def test_a_data_frame_has_a_row_for_each_operation(features):
    frame = graph(Net(nn.Linear(4, 3)), features, values=True).to_pandas()
    assert list(frame.index) == ["linear", "cross_entropy"]
    assert frame.loc["linear", "layer"] == "net.0"
    assert frame.loc["cross_entropy", "min"] == frame.loc["cross_entropy", "max"]


def test_networkx_gets_nodes_and_edges(features):
    networkx = pytest.importorskip("networkx")
    found = graph(Net(nn.Linear(4, 3)), features).to_networkx()
    assert networkx.is_directed_acyclic_graph(found)
    assert set(found.predecessors("linear")) == {"X", "net.0.weight", "net.0.bias"}
    assert found.nodes["linear"]["shape"] == (8, 3)


def test_facts_are_json(features):
    facts = json.loads(json.dumps(finite(graph(Net(nn.Linear(4, 3)), features).facts())))
    assert facts["operations"][0]["layers"] == ["net Sequential", "net.0 Linear"]
    assert facts["longest_path"] == ["linear", "cross_entropy"]


@pytest.mark.slow
def test_shapes_alone_are_enough():
    with torch.device("meta"):
        model, batch = Net(nn.Linear(4, 3)), (torch.empty(8, 4), torch.empty(8, dtype=torch.int64))
    found = graph(model, batch, values=True)
    assert math.isnan(found.loss)
    assert found.saved_bytes == 4 * (8 * 3 + 1)
