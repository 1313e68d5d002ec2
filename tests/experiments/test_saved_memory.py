"""The memory of a training step, against an independent count and closed forms."""

import json

import pytest
import torch
from torch import nn

from gradbook import (
    MLP,
    Classifier,
    LinearRegressionScratch,
    Module,
    SoftmaxRegressionScratch,
)
from gradbook.errors import BatchError, ModelError
from gradbook.experiments.saved_memory import memory
from gradbook.storage import finite


class Net(Classifier):
    def __init__(self, *layers, optimizer=torch.optim.SGD):
        super().__init__()
        self.net = nn.Sequential(*layers)
        self.optimizer = optimizer

    def configure_optimizers(self):
        return self.optimizer(self.parameters(), lr=0.1)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)

    def forward(self, X):
        return torch.relu(self.second(self.first(X)) + X)


def images(num_examples=8):
    return torch.rand(num_examples, 1, 6, 6), torch.arange(num_examples) % 3


def conv():
    return Net(
        nn.Conv2d(1, 2, 3),
        Residual(),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def mlp(num_hiddens=5):
    model = MLP(num_outputs=3, num_hiddens=num_hiddens)
    model(images()[0])
    return model


def storages_of_graph(loss):
    """Address and size of all that the backward graph refers to, read from its nodes."""
    found, seen, waiting = {}, set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
        for name in dir(node):
            if name.startswith("_saved_"):
                value = getattr(node, name)
                for tensor in value if isinstance(value, tuple | list) else [value]:
                    if isinstance(tensor, torch.Tensor):
                        storage = tensor.untyped_storage()
                        found[storage.data_ptr()] = storage.nbytes()
    return found


# What is kept


@pytest.mark.parametrize(
    "model",
    [mlp(), mlp([5] * 9), conv(), SoftmaxRegressionScratch(36, 3)],
    ids=["mlp", "ten layers", "conv", "scratch"],
)
def test_what_is_kept_agrees_with_the_nodes_of_the_backward_graph(model):
    X, y = images()
    found = memory(model, (X, y))
    model.train()
    loss = model.loss(model(X), y)
    storages = storages_of_graph(loss)
    assert found.saved_bytes == sum(storages.values())
    there_anyway = {t.untyped_storage().data_ptr() for t in (X, y, *model.state_dict().values())}
    kept = sum(size for address, size in storages.items() if address not in there_anyway)
    assert found.activation_bytes == kept


@pytest.mark.parametrize("num_hiddens", [5, [7, 4]])
def test_an_mlp_keeps_the_outputs_of_its_activations(num_hiddens):
    found = memory(MLP(num_outputs=3, num_hiddens=num_hiddens), images())
    hidden = sum(num_hiddens) if isinstance(num_hiddens, list) else num_hiddens
    # Besides the outputs of ReLU, the log-probabilities and the labels' total weight.
    assert found.activation_bytes == 4 * (8 * hidden + 8 * 3 + 1)


def test_all_rows_together_are_what_is_kept():
    found = memory(conv(), images())
    assert sum(operation.new_bytes for operation in found.operations) == found.activation_bytes


def test_each_row_says_what_it_keeps():
    rows = {operation.name: operation for operation in memory(mlp(), images()).operations}
    assert rows["linear"].saved == ("flatten",)
    assert (rows["linear"].saved_bytes, rows["linear"].new_bytes) == (4 * 8 * 36, 0)
    assert (rows["relu"].saved_bytes, rows["relu"].new_bytes) == (4 * 8 * 5, 4 * 8 * 5)
    assert rows["linear_2"].saved == ("relu", "net.3.weight")
    assert (rows["linear_2"].saved_bytes, rows["linear_2"].new_bytes) == (4 * (40 + 15), 0)
    assert rows["linear_2"].layer == "net.3"


def test_a_batch_that_is_a_part_of_a_data_set_counts_as_a_part():
    X, y = images(100)
    found = memory(mlp(), (X[:8], y[:8]))
    assert found.batch_bytes == 8 * 36 * 4 + 8 * 8
    assert found.saved_bytes < X.untyped_storage().nbytes()


# Training and prediction


def test_the_parts_add_up():
    found = memory(mlp(), images())
    assert found.training_bytes == (
        found.parameter_bytes
        + found.gradient_bytes
        + found.optimizer_bytes
        + found.batch_bytes
        + found.training_peak_bytes
    )
    assert found.prediction_bytes == (
        found.parameter_bytes + found.batch_bytes + found.prediction_peak_bytes
    )


def test_a_prediction_holds_two_neighboring_layers_at_once():
    found = memory(mlp([7, 5, 4]), images())
    assert found.prediction_peak_bytes == 4 * 8 * (7 + 7)  # before and after the first ReLU


def test_a_prediction_needs_no_more_when_the_network_gets_deeper():
    shallow, deep = (memory(mlp([5] * depth), images()) for depth in (2, 8))
    assert deep.prediction_peak_bytes == shallow.prediction_peak_bytes
    assert deep.activation_bytes == shallow.activation_bytes + 6 * 4 * 8 * 5


def test_a_training_step_holds_what_is_kept_and_the_loss():
    found = memory(conv(), images())
    assert found.training_peak_bytes > found.activation_bytes
    assert found.training_bytes > found.prediction_bytes


def test_a_linear_regression_in_closed_form():
    found = memory(LinearRegressionScratch(3), (torch.randn(5, 3), torch.randn(5, 1)))
    assert (found.parameter_bytes, found.gradient_bytes) == (4 * 4, 4 * 4)
    assert found.batch_bytes == 4 * (15 + 5)
    assert found.activation_bytes == 4 * 5  # the errors, which are squared
    assert found.prediction_peak_bytes == 4 * (5 + 5)  # Xw, and b added to it


def test_gradients_of_parameters_are_no_results():
    class Scaled(Module):
        def __init__(self):
            super().__init__()
            self.lr, self.w = 0.1, torch.ones(1, 50, requires_grad=True)

        def forward(self, X):
            return X * self.w

        def loss(self, y_hat, y):
            return y_hat.sum()

    found = memory(Scaled(), (torch.randn(1, 50), torch.randn(1)))
    assert found.gradient_bytes == 4 * 50
    assert found.training_peak_bytes == 4 * (50 + 1)  # the product, and its sum


def test_frozen_parameters_have_no_gradient():
    model = mlp()
    model.net[1].requires_grad_(False)
    found = memory(model, images())
    assert found.gradient_bytes == 4 * (5 * 3 + 3)
    assert found.parameter_bytes == 4 * (36 * 5 + 5 + 5 * 3 + 3)


def test_buffers_count_as_parameters():
    found = memory(Net(nn.Flatten(), nn.Linear(36, 3), nn.BatchNorm1d(3)), images())
    assert found.parameter_bytes == 4 * (36 * 3 + 3 + 6) + 4 * 6 + 8
    assert found.gradient_bytes == 4 * (36 * 3 + 3 + 6)


# The optimizer


@pytest.mark.parametrize(
    ("optimizer", "copies", "counters"),
    [
        (torch.optim.SGD, 0, 0),
        (torch.optim.Adam, 2, 2),
        (torch.optim.Adagrad, 1, 2),
        (lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9), 1, 0),
    ],
    ids=["SGD", "Adam", "Adagrad", "momentum"],
)
def test_the_state_of_an_optimizer(optimizer, copies, counters):
    found = memory(Net(nn.Flatten(), nn.Linear(36, 3), optimizer=optimizer), images())
    assert found.optimizer_bytes == 4 * (copies * (36 * 3 + 3) + counters)


def test_our_own_optimizer_has_no_state():
    found = memory(mlp(), images())
    assert (found.optimizer, found.optimizer_bytes) == ("SGD", 0)


def test_an_optimizer_that_is_none_of_pytorch_counts_as_nothing():
    class Own:
        def step(self):
            raise AssertionError("a step was taken")

        def zero_grad(self):
            pass

    found = memory(Net(nn.Flatten(), nn.Linear(36, 3), optimizer=lambda p, lr: Own()), images())
    assert (found.optimizer, found.optimizer_bytes) == ("Own", 0)


def test_an_optimizer_of_the_model_itself_takes_no_step():
    model = Net(nn.Flatten(), nn.Linear(36, 3))
    model.configure_optimizers = lambda: torch.optim.Adam(model.parameters(), lr=0.1)
    X, y = images()
    model.loss(model(X), y).backward()
    before = model.net[1].weight.clone()
    assert memory(model, (X, y)).optimizer_bytes == 4 * (2 * (36 * 3 + 3) + 2)
    assert torch.equal(model.net[1].weight, before)


def test_a_model_without_an_optimizer_is_told_how_to_get_one():
    class Bare(Classifier):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(4, 3)

    with pytest.raises(ModelError, match=r"Bare has no optimizer. Set `self\.lr`"):
        memory(Bare(), (torch.randn(8, 4), torch.arange(8) % 3))


# Growth


def test_what_is_kept_grows_with_the_batch_and_nothing_else_does():
    found = memory(mlp(), images())
    assert [point.batch_size for point in found.growth] == [8, 16, 32]
    assert [p.activation_bytes - 4 for p in found.growth] == [4 * n * 8 for n in (8, 16, 32)]
    assert [p.prediction_peak_bytes for p in found.growth] == [4 * n * 10 for n in (8, 16, 32)]
    assert found.growth[0].training_peak_bytes == found.training_peak_bytes


# The model stays as it is


def test_a_model_and_the_generators_are_left_as_they_are():
    model = conv().eval()
    X, y = images()
    model.loss(model(X), y).backward()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    state = torch.get_rng_state()
    memory(model, (X, y))
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    pairs = zip(gradients, model.parameters(), strict=True)
    assert all(torch.equal(gradient, parameter.grad) for gradient, parameter in pairs)


@pytest.mark.slow
def test_on_the_meta_device_the_figures_are_the_same():
    X, y = images()
    model = mlp([7, 5])
    found = memory(model, (X, y))
    on_meta = memory(model.to("meta"), (X.to("meta"), y.to("meta")))
    assert on_meta.training_bytes == found.training_bytes
    assert on_meta.saved_bytes == found.saved_bytes
    assert on_meta.prediction_bytes == found.prediction_bytes


def test_several_inputs():
    class Gated(Module):
        def __init__(self):
            super().__init__()
            self.net, self.lr = nn.Linear(3, 1), 0.1

        def forward(self, X, gate):
            return self.net(X) * gate

        def loss(self, y_hat, y):
            return ((y_hat - y) ** 2).mean()

    found = memory(Gated(), (torch.randn(5, 3), torch.rand(5, 1), torch.randn(5, 1)))
    assert found.batch_bytes == 4 * (15 + 5 + 5)
    assert found.growth[-1].batch_size == 20


def test_a_batch_that_does_not_fit_is_refused():
    with pytest.raises(BatchError, match="36"):
        memory(Net(nn.Flatten(), nn.Linear(36, 3)), (torch.rand(8, 1, 5, 5), torch.arange(8) % 3))


# Words, data and figure


def test_words_say_why_training_needs_more():
    text = str(memory(mlp([5] * 9), images()))
    assert "MLP on a batch of 8: training needs " in text
    assert "prediction frees each result after its last use" in text
    assert "by 10 of 21 operations, most by relu in net.2, 160 bytes" in text


def test_words_where_nothing_is_kept():
    class Plain(LinearRegressionScratch):
        def loss(self, y_hat, y):
            return (y_hat - y).mean()

    text = str(memory(Plain(), (torch.randn(5, 2), torch.randn(5, 1))))
    assert "nothing but parameters and the batch, which are in memory anyway" in text


def test_a_data_frame_has_a_row_for_each_operation():
    found = memory(mlp(), images())
    frame = found.to_pandas()
    assert frame["new_bytes"].sum() == found.activation_bytes
    assert list(frame.index) == ["flatten", "linear", "relu", "linear_2", "cross_entropy"]


def test_facts_are_json():
    facts = json.loads(json.dumps(finite(memory(mlp(), images()).facts())))
    assert facts["training_bytes"] > facts["prediction_bytes"]
    assert facts["growth"][0]["batch_size"] == 8
    assert facts["operations"][2]["name"] == "relu"


@pytest.mark.slow
def test_the_figure_draws_what_adds_up():
    found = memory(mlp([5, 5, 5]), images())
    axes = found.figure().axes
    [line] = [line for line in axes[0].lines if line.get_label() == "kept by all operations so far"]
    assert line.get_xdata()[-1] == pytest.approx(found.activation_bytes, rel=1e-3)
    assert list(line.get_xdata()) == sorted(line.get_xdata())
    assert [tick.get_text() for tick in axes[1].get_yticklabels()] == ["training", "prediction"]
    widths = sum(bar.get_width() for bar in axes[1].patches if bar.get_y() < 0.5)
    assert widths == pytest.approx(found.training_bytes / 1e3)


@pytest.mark.slow
def test_a_figure_of_many_operations_draws_those_that_keep_most():
    figure = memory(mlp([5] * 30), images()).figure()
    figure.draw_without_rendering()
    assert len(figure.axes[0].get_yticks()) == 40
    assert "the 40 that keep most" in figure.axes[0].get_title()
