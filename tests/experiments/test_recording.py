"""What is recorded of a model's way to the loss, against autograd, NumPy and formulas."""

import numpy as np
import pytest
import torch
from tests.experiments.nets import Residual
from tests.small import Net, Scratch
from torch import nn

from gradbook import (
    MLP,
    LinearRegressionScratch,
    Module,
)
from gradbook.errors import BatchError, ModelError
from gradbook.experiments.graphs import graph


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


# Values and gradients


def test_values_and_loss_are_those_of_numpy():
    model = LinearRegressionScratch()
    X, y = torch.randn(5, 2), torch.randn(5, 1)
    found = graph(model, (X, y), values=True)
    y_hat = X.numpy() @ model.w.detach().numpy() + model.b.detach().numpy()
    squares = (y_hat - y.numpy()) ** 2
    values = by_name(found)["pow"].values
    expected = (squares.min(), squares.mean(), squares.max(), np.linalg.norm(squares))
    assert values == pytest.approx(expected, rel=1e-5)
    assert found.loss == pytest.approx(squares.mean() / 2, rel=1e-5)


def test_gradient_norms_are_those_of_the_formula():
    model = LinearRegressionScratch()
    X, y = torch.randn(5, 2), torch.randn(5, 1)
    found = graph(model, (X, y), gradients=True)
    error = X.numpy() @ model.w.detach().numpy() - y.numpy()
    operations = by_name(found)
    assert operations["add"].gradient_norm == pytest.approx(np.linalg.norm(error / 5), rel=1e-5)
    assert operations["add"].gradient.norm == pytest.approx(operations["add"].gradient_norm)
    assert operations["add"].gradient.max == pytest.approx((error / 5).max(), rel=1e-5)
    norms = {variable.name: variable.gradient_norm for variable in found.variables}
    assert norms["w"] == pytest.approx(np.linalg.norm(X.numpy().T @ error / 5), rel=1e-5)
    assert norms["b"] == pytest.approx(abs(error.mean()), rel=1e-5)
    assert norms["X"] is None
    assert operations["mean"].gradient_norm == 1


def test_without_being_asked_there_are_neither(features):
    found = graph(Net(nn.Linear(4, 3)), features)
    assert all(o.values is None and o.gradient_norm is None for o in found.operations)


def test_no_hook_remains(features):
    from torch.nn.modules import module

    graph(Net(nn.Linear(4, 3)), features)
    with pytest.raises(BatchError):
        graph(Net(nn.Linear(4, 3)), (torch.randn(8, 5), features[1]))
    assert not module._global_forward_hooks
    assert not module._global_forward_pre_hooks


def test_a_loss_without_a_gradient_is_refused(features):
    class Detached(Net):
        def loss(self, y_hat, y):
            return super().loss(y_hat, y).detach()

    with pytest.raises(ModelError, match="does not depend on a parameter"):
        graph(Detached(nn.Linear(4, 3)), features)


def test_a_sparse_gradient_is_summed_up_with_its_zeros():
    class Model(Scratch):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(4, 2, sparse=True)

        def forward(self, X):
            return self.embedding(X).sum(dim=1, keepdim=True)

    found = graph(Model(), (torch.tensor([1, 1]), torch.zeros(2, 1)), gradients=True)
    (weight,) = (v for v in found.variables if v.name == "embedding.weight")
    assert weight.gradient.norm == pytest.approx(weight.gradient_norm)
    assert 0 in (weight.gradient.min, weight.gradient.max)
