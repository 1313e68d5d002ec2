import math
import multiprocessing

import pytest
import torch
from torch import nn

from gradbook.book import classic
from gradbook.errors import BatchError, ConfigError, DataError, ShapeError


def batches(num_examples=10, batch_size=4, num_classes=3):
    X = torch.randn(num_examples, 5)
    y = torch.randint(num_classes, (num_examples,))
    return X, y, classic.load_array((X, y), batch_size, is_train=False)


# Accumulator


def test_accumulator_sums_each_quantity():
    sums = classic.Accumulator(2)
    sums.add(1, torch.tensor(2.5, requires_grad=True))
    sums.add(3, 4)
    assert [sums[0], sums[1]] == sums.data == [4.0, 6.5]


def test_accumulator_is_reset():
    sums = classic.Accumulator(1)
    sums.add(1)
    sums.reset()
    assert sums.data == [0.0]


def test_accumulator_refuses_another_number_of_values():
    with pytest.raises(ConfigError, match=r"2 sums, but add\(\) got 3"):
        classic.Accumulator(2).add(1, 2, 3)


def test_accumulator_without_sums_is_refused():
    with pytest.raises(ConfigError):
        classic.Accumulator(0)


# Data


def test_load_array_gives_batches_in_order_or_shuffled():
    X = torch.arange(10.0).reshape(10, 1)
    in_order = classic.load_array((X, X), 4, is_train=False)
    assert [len(batch) for batch, _ in in_order] == [4, 4, 2]
    assert torch.equal(torch.cat([batch for batch, _ in in_order]), X)
    shuffled = torch.cat([batch for batch, _ in classic.load_array((X, X), 4)])
    assert not torch.equal(shuffled, X)
    assert torch.equal(shuffled.sort(0).values, X)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::gradbook.errors.SampleDataWarning")
def test_load_data_fashion_mnist_gives_both_loaders():
    train, test = classic.load_data_fashion_mnist(16)
    X, y = next(iter(train))
    assert (X.shape, X.dtype, y.dtype) == ((16, 1, 28, 28), torch.float32, torch.int64)
    assert len(train) > len(test)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::gradbook.errors.SampleDataWarning")
@pytest.mark.parametrize("resize", [20, (20, 20)])
def test_load_data_fashion_mnist_resizes(resize):
    _, test = classic.load_data_fashion_mnist(16, resize=resize)
    assert next(iter(test))[0].shape == (16, 1, 20, 20)


def test_labels_get_their_names():
    assert classic.get_fashion_mnist_labels([0, torch.tensor(9)]) == ["t-shirt", "ankle boot"]


def test_workers_are_not_more_than_processors_and_none_without_fork(monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: "fork")
    monkeypatch.setattr(classic.os, "sched_getaffinity", lambda pid: range(3), raising=False)
    assert classic.get_dataloader_workers() == 3
    monkeypatch.setattr(classic.os, "sched_getaffinity", lambda pid: range(99), raising=False)
    assert classic.get_dataloader_workers() == 4
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: "spawn")
    assert classic.get_dataloader_workers() == 0


# Linear regression


def test_linreg_is_the_linear_layer():
    X, layer = torch.randn(6, 3), nn.Linear(3, 1)
    y_hat = classic.linreg(X, layer.weight.T, layer.bias)
    torch.testing.assert_close(y_hat, layer(X))


def test_squared_loss_is_half_of_mse_and_keeps_the_shape():
    y_hat, y = torch.randn(4, 1), torch.randn(4)
    loss = classic.squared_loss(y_hat, y)
    assert loss.shape == (4, 1)
    torch.testing.assert_close(2 * loss.mean(), nn.functional.mse_loss(y_hat[:, 0], y))


def test_sgd_takes_the_step_of_torch_and_clears_gradients():
    ours = torch.randn(3, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    unused = torch.ones(1, requires_grad=True)
    (ours**2).sum().backward()
    ((theirs**2).sum() / 10).backward()
    classic.sgd(iter([ours, unused]), lr=0.5, batch_size=10)
    torch.optim.SGD([theirs], lr=0.5).step()
    torch.testing.assert_close(ours, theirs)
    assert not ours.grad.any()


@pytest.mark.parametrize(("lr", "batch_size"), [(-1, 10), (math.nan, 10), (0.1, 0)])
def test_sgd_refuses_settings_that_make_no_sense(lr, batch_size):
    with pytest.raises(ConfigError):
        classic.sgd([], lr, batch_size)


# Evaluation


@pytest.mark.parametrize(
    "y_hat", [torch.tensor([[0.1, 0.3, 0.6], [0.3, 0.2, 0.5]]), torch.tensor([2.0, 2.0])]
)
def test_accuracy_is_a_count(y_hat):
    result = classic.accuracy(y_hat, torch.tensor([0, 2]))
    assert type(result) is float
    assert result == 1.0


def test_accuracy_refuses_labels_of_another_shape():
    with pytest.raises(BatchError, match="one-hot"):
        classic.accuracy(torch.zeros(2, 3), torch.zeros(2, 3))


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_evaluate_loss_weights_every_example_alike(reduction):
    X, y, data_iter = batches()
    net = nn.Linear(5, 3)
    result = classic.evaluate_loss(net, data_iter, nn.CrossEntropyLoss(reduction=reduction))
    assert result == pytest.approx(nn.functional.cross_entropy(net(X), y).item(), rel=1e-5)


def test_evaluate_loss_brings_labels_into_shape():
    X = torch.randn(6, 2)
    data_iter = classic.load_array((X, X[:, 0]), 4, is_train=False)
    result = classic.evaluate_loss(lambda X: X[:, :1], data_iter, classic.squared_loss)
    assert result == 0


def test_evaluation_leaves_no_trace_on_the_network():
    _, _, data_iter = batches()
    net = nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.5))
    first = classic.evaluate_loss(net, data_iter, nn.CrossEntropyLoss())
    assert first == classic.evaluate_loss(net, data_iter, nn.CrossEntropyLoss())
    assert net.training
    assert net[1].training


def test_evaluate_accuracy():
    X, y, data_iter = batches()
    net = nn.Linear(5, 3)
    expected = (net(X).argmax(1) == y).float().mean().item()
    assert classic.evaluate_accuracy_gpu(net, data_iter) == pytest.approx(expected)
    assert classic.evaluate_accuracy_gpu(net, data_iter, "cpu") == pytest.approx(expected)


def test_evaluate_accuracy_of_several_inputs():
    X, y, _ = batches()
    pairs = [([X, X], y)]

    class Sum(nn.Module):
        def forward(self, inputs):
            return inputs[0] + inputs[1]

    assert classic.evaluate_accuracy_gpu(Sum(), pairs) == (X.argmax(1) == y).float().mean()


@pytest.mark.parametrize("evaluate", [classic.evaluate_accuracy_gpu, classic.evaluate_loss])
def test_evaluation_of_nothing_is_an_error(evaluate):
    with pytest.raises(DataError, match="no batch"):
        evaluate(nn.Linear(1, 2), [], None)


@pytest.mark.slow
def test_train_ch6_learns_and_reports(capsys):
    X = torch.randn(200, 1, 4, 4)
    y = (X.sum((1, 2, 3)) > 0).long()
    data_iter = classic.load_array((X, y), 16)
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.Sigmoid(), nn.LazyLinear(2))
    classic.train_ch6(net, data_iter, data_iter, num_epochs=8, lr=0.9, device=torch.device("cpu"))
    assert classic.evaluate_accuracy_gpu(net, data_iter) > 0.9
    output = capsys.readouterr().out
    assert "training on cpu" in output
    assert "test acc 0.9" in output or "test acc 1.0" in output
    assert "examples/sec on cpu" in output


def test_train_ch6_refuses_no_epochs():
    with pytest.raises(ConfigError, match="num_epochs"):
        classic.train_ch6(nn.Linear(1, 1), [1], [1], 0, 0.1, "cpu")


# Gradient clipping


def params_with_gradients():
    params = [torch.zeros(2, requires_grad=True), torch.zeros(3, requires_grad=True)]
    for param in params:
        param.grad = torch.full_like(param, 3.0)
    return params


class Scratch:
    def __init__(self, params):
        self.params = params


def test_long_gradients_are_clipped_to_theta():
    params = [*params_with_gradients(), torch.ones(1, requires_grad=True)]
    classic.grad_clipping(Scratch(params), 1.5)
    norm = torch.cat([param.grad for param in params[:2]]).norm().item()
    assert norm == pytest.approx(1.5)


def test_short_gradients_stay():
    params = params_with_gradients()
    classic.grad_clipping(Scratch(params), 100)
    assert all((param.grad == 3.0).all() for param in params)


def test_gradients_of_a_network_are_clipped():
    net = nn.Linear(3, 1)
    (net(torch.ones(1, 3)) * 100).sum().backward()
    classic.grad_clipping(net, 1)
    norm = torch.cat([net.weight.grad[0], net.bias.grad]).norm()
    assert norm.item() == pytest.approx(1)


@pytest.mark.parametrize("theta", [0, -1, math.nan])
def test_clipping_refuses_a_norm_that_is_none(theta):
    with pytest.raises(ConfigError, match="theta"):
        classic.grad_clipping(Scratch([]), theta)


# Checks


def test_check_len():
    classic.check_len([1, 2], 2)
    with pytest.raises(ShapeError, match="must be 3, but it is 2"):
        classic.check_len([1, 2], 3)


def test_check_shape():
    classic.check_shape(torch.zeros(2, 3), (2, 3))
    with pytest.raises(ShapeError, match=r"must be \(3, 2\), but it is \(2, 3\)"):
        classic.check_shape(torch.zeros(2, 3), (3, 2))
