"""The computational graph: what is recorded, how it is grouped, and that it can be read."""

import copy
import json
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from gradbook import (
    MLP,
    Classifier,
    DataModule,
    LinearRegressionScratch,
    MLPScratch,
    Module,
    SyntheticRegressionData,
    Trainer,
)
from gradbook.cli.report import plain
from gradbook.errors import BatchError, ConfigError, DataError, ModelError
from gradbook.experiments.graphs import _cells, _rows_and_routes, graph, spread


class Net(Classifier):
    def __init__(self, *layers):
        super().__init__()
        self.net = nn.Sequential(*layers)
        self.lr = 0.1


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, X):
        Y = torch.relu(self.inner(X))
        Y += X
        return Y


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, X):
        Y = X * 2
        ctx.save_for_backward(Y)
        return Y

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


@pytest.fixture
def images():
    return torch.rand(8, 1, 4, 4), torch.arange(8) % 3


@pytest.fixture
def features():
    return torch.randn(8, 4), torch.arange(8) % 3


def by_name(found):
    return {operation.name: operation for operation in found.operations}


# What is recorded


def test_operations_are_the_functions_that_the_model_calls():
    found = graph(LinearRegressionScratch(), (torch.randn(5, 2), torch.randn(5, 1)))
    assert [operation.name for operation in found.operations] == [
        "matmul",
        "add",
        "sub",
        "pow",
        "div",
        "mean",
    ]
    operations = by_name(found)
    assert operations["matmul"].inputs == ("X", "w")
    assert operations["matmul"].parameters == ("w",)
    assert operations["sub"].inputs == ("add", "y")
    assert operations["pow"].number == 2
    assert operations["add"].shape == (5, 1)
    assert operations["mean"].shape == ()


def test_layers_are_named_and_numbered_by_their_calls(features):
    shared = nn.Linear(4, 4)
    found = graph(Net(shared, nn.ReLU(), shared, nn.Linear(4, 3)), features)
    calls = [operation.layers[-1] for operation in found.operations if operation.layers]
    assert [(c.name, c.kind, c.number) for c in calls] == [
        ("net.0", "Linear", 1),
        ("net.1", "ReLU", 1),
        ("net.0", "Linear", 2),
        ("net.3", "Linear", 1),
    ]
    assert len(found.parameters) == 4


def test_backward_nodes_are_those_of_autograd(images):
    found = graph(MLP(num_outputs=3, num_hiddens=5), images)
    operations = by_name(found)
    assert operations["flatten"].backward == ()
    assert operations["relu"].backward == ("ReluBackward0",)
    assert operations["cross_entropy"].backward == ("NllLossBackward0", "LogSoftmaxBackward0")
    assert operations["linear"].backward[0] == "AddmmBackward0"


def test_every_backward_node_of_the_loss_belongs_to_one_operation(features):
    model = Net(nn.Linear(4, 4), Residual(), nn.Linear(4, 3))
    waiting, nodes = [model.loss(model(features[0]), features[1]).grad_fn], []
    while waiting:
        node = waiting.pop()
        if node is not None and node not in nodes and "AccumulateGrad" not in node.name():
            nodes.append(node)
            waiting += [following for following, _ in node.next_functions]
    found = graph(model, features)
    recorded = [name for operation in found.operations for name in operation.backward]
    assert sorted(recorded) == sorted(node.name() for node in nodes)


def test_what_is_kept_is_named(images):
    operations = by_name(graph(MLP(num_outputs=3, num_hiddens=5), images))
    assert operations["linear"].saved == ("flatten",)
    assert operations["relu"].saved == ("relu",)
    assert operations["linear_2"].saved == ("relu", "net.3.weight")
    assert operations["cross_entropy"].saved[:2] == ("inner (8, 3)", "y")


def test_what_is_kept_counts_once():
    X, y = torch.randn(6, 4), torch.arange(6) % 3
    found = graph(MLP(num_outputs=3, num_hiddens=5), (X, y))
    # The output of ReLU, log-probabilities, and the sum of the labels' weights, in float32.
    assert found.saved_bytes == 4 * (6 * 5 + 6 * 3 + 1)


def test_what_the_loss_does_not_depend_on_is_left_out(features):
    class Curious(Net):
        def forward(self, X):
            Y = self.net(X)
            Y.exp().mean()
            return Y

    names = [o.name for o in graph(Curious(nn.Linear(4, 3)), features).operations]
    assert names == ["linear", "cross_entropy"]


def test_a_function_that_changes_nothing_is_no_operation(features):
    class Careful(Net):
        def forward(self, X):
            return self.net(X.float().contiguous())

    names = [o.name for o in graph(Careful(nn.Linear(4, 3)), features).operations]
    assert names == ["linear", "cross_entropy"]


def test_an_operation_in_place_follows_what_it_changes(features):
    found = graph(Net(Residual(), nn.Linear(4, 3)), features, gradients=True)
    operations = by_name(found)
    assert operations["add"].function == "add_"
    assert operations["add"].inputs == ("relu", "X")
    assert operations["linear_2"].inputs[0] == "add"
    assert operations["relu"].gradient_norm == pytest.approx(operations["add"].gradient_norm)


def test_a_loop_over_a_tensor_is_followed(features):
    class Recurrent(Net):
        def forward(self, X):
            H = torch.zeros(8, 4)
            for part in X.reshape(2, 8, 2):
                H = torch.tanh(self.net(torch.cat((part, H[:, :2]), 1)))
            return H

    found = graph(Recurrent(nn.Linear(4, 4)), features)
    operations = by_name(found)
    assert operations["unbind"].inputs == ("reshape",)
    assert operations["cat"].inputs[0] == operations["cat_2"].inputs[0] == "unbind"
    assert operations["linear_2"].layers[-1].number == 2


def test_assignment_to_a_part_is_followed(features):
    class Masked(Net):
        def forward(self, X):
            Y = self.net(X)
            Y[:, 0] = 0
            return Y

    found = graph(Masked(nn.Linear(4, 3)), features)
    assert [o.name for o in found.operations] == ["linear", "setitem", "cross_entropy"]


def test_an_autograd_function_is_followed(features):
    class Custom(Net):
        def forward(self, X):
            return Double.apply(self.net(X))

    operations = by_name(graph(Custom(nn.Linear(4, 3)), features))
    assert operations["mul"].backward == ("DoubleBackward",)
    assert operations["mul"].saved == ("mul",)
    assert operations["mul"].saved_bytes == 4 * 8 * 3


def test_several_inputs_buffers_and_constants_are_told_apart():
    class Gated(Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 1), nn.BatchNorm1d(1))
            self.scale = torch.tensor(2.0)

        def forward(self, X, gate):
            return self.net(X) * gate * self.scale

        def loss(self, y_hat, y):
            return ((y_hat - y) ** 2).mean()

    batch = (torch.randn(5, 3), torch.rand(5, 1), torch.randn(5, 1))
    kinds = {v.name: v.kind for v in graph(Gated(), batch).variables}
    assert kinds["X1"] == kinds["X2"] == kinds["y"] == "batch"
    assert kinds["net.0.weight"] == "parameter"
    assert kinds["net.1.running_mean"] == "buffer"
    assert kinds["scale"] == "constant"


def test_the_longest_path_is_found(features):
    found = graph(Net(nn.Linear(4, 4), Residual(), nn.Linear(4, 3)), features)
    assert found.longest_path == ("linear", "linear_2", "relu", "add", "linear_3", "cross_entropy")


# Values and gradients


def test_values_and_loss_are_those_of_numpy():
    model = LinearRegressionScratch()
    X, y = torch.randn(5, 2), torch.randn(5, 1)
    found = graph(model, (X, y), values=True)
    y_hat = X.numpy() @ model.w.detach().numpy() + model.b.detach().numpy()
    squares = (y_hat - y.numpy()) ** 2
    values = by_name(found)["pow"].values
    expected = (squares.min(), squares.mean(), squares.max())
    assert values == pytest.approx(expected, rel=1e-5)
    assert found.loss == pytest.approx(squares.mean() / 2, rel=1e-5)


def test_gradient_norms_are_those_of_the_formula():
    model = LinearRegressionScratch()
    X, y = torch.randn(5, 2), torch.randn(5, 1)
    found = graph(model, (X, y), gradients=True)
    error = X.numpy() @ model.w.detach().numpy() - y.numpy()
    operations = by_name(found)
    assert operations["add"].gradient_norm == pytest.approx(np.linalg.norm(error / 5), rel=1e-5)
    norms = {variable.name: variable.gradient_norm for variable in found.variables}
    assert norms["w"] == pytest.approx(np.linalg.norm(X.numpy().T @ error / 5), rel=1e-5)
    assert norms["b"] == pytest.approx(abs(error.mean()), rel=1e-5)
    assert norms["X"] is None
    assert operations["mean"].gradient_norm == 1


def test_without_being_asked_there_are_neither(features):
    found = graph(Net(nn.Linear(4, 3)), features)
    assert all(o.values is None and o.gradient_norm is None for o in found.operations)


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


def test_layers_without_a_shape_stay_without(images):
    model = Net(nn.Flatten(), nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.LazyLinear(3))
    state = torch.get_rng_state()
    found = graph(model, images)
    assert {v.name: v.shape for v in found.parameters}["net.1.weight"] == (5, 16)
    assert isinstance(model.net[1].weight, nn.UninitializedParameter)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_computation_is_that_of_training(features):
    model = Net(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 3)).eval()
    assert by_name(graph(model, features))["dropout"].backward == ("MulBackward0",)


def test_a_trained_model_that_keeps_a_result_is_looked_at():
    class Keeping(LinearRegressionScratch):
        def forward(self, X):
            self.last = super().forward(X)
            return self.last

    model, data = Keeping(), SyntheticRegressionData(num_train=32, num_val=0)
    Trainer(max_epochs=1).fit(model, data)
    last, trainer = model.last, model.trainer
    assert len(graph(model, data).operations) == 6
    assert model.last is last
    assert model.trainer is trainer


def test_no_hook_remains(features):
    from torch.nn.modules import module

    graph(Net(nn.Linear(4, 3)), features)
    with pytest.raises(BatchError):
        graph(Net(nn.Linear(4, 3)), (torch.randn(8, 5), features[1]))
    assert not module._global_forward_hooks
    assert not module._global_forward_pre_hooks


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


def test_an_iterable_gives_its_first_batch(features):
    found = graph(Net(nn.Linear(4, 3)), iter([features]))
    assert found.batch_size == 8


def test_data_without_a_batch_are_refused():
    class Empty(DataModule):
        def get_dataloader(self, train):
            return iter(())

    with pytest.raises(DataError, match="Empty gives no batch"):
        graph(LinearRegressionScratch(), Empty())
    with pytest.raises(DataError, match="but got 3"):
        graph(LinearRegressionScratch(), 3)


def test_a_batch_without_labels_is_refused():
    with pytest.raises(BatchError, match="inputs and then the labels"):
        graph(LinearRegressionScratch(), torch.randn(5, 2))


def test_what_is_no_model_is_refused(features):
    with pytest.raises(ModelError, match="the class MLP itself"):
        graph(MLP, features)
    with pytest.raises(ModelError, match="Linear does not define a loss"):
        graph(nn.Linear(4, 3), features)


def test_a_loss_without_a_gradient_is_refused(features):
    class Detached(Net):
        def loss(self, y_hat, y):
            return super().loss(y_hat, y).detach()

    with pytest.raises(ModelError, match="does not depend on a parameter"):
        graph(Detached(nn.Linear(4, 3)), features)


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
    facts = json.loads(json.dumps(plain(graph(Net(nn.Linear(4, 3)), features).facts())))
    assert facts["operations"][0]["layers"] == ["net Sequential", "net.0 Linear"]
    assert facts["longest_path"] == ["linear", "cross_entropy"]


def test_shapes_alone_are_enough():
    with torch.device("meta"):
        model, batch = Net(nn.Linear(4, 3)), (torch.empty(8, 4), torch.empty(8, dtype=torch.int64))
    found = graph(model, batch, values=True)
    assert math.isnan(found.loss)
    assert found.saved_bytes == 4 * (8 * 3 + 1)


# The picture


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


def test_edges_run_from_the_batch_to_the_loss(features):
    found = graph(Net(nn.Linear(4, 4), Residual(), nn.Linear(4, 3)), features)
    rows, routes = _rows_and_routes(_cells(found))
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


def test_names_are_never_read_as_formulas(features):
    class Odd(nn.Linear):
        pass

    Odd.__name__ = "$\\frac$"
    figure = graph(Net(Odd(4, 3)), features).figure()
    figure.draw_without_rendering()
    assert any("$\\frac$" in text.get_text() for text in figure.axes[0].texts)
