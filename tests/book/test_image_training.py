"""The training loop of chapters 14 to 16."""

import copy
import re

import pytest
import torch
from torch import nn

from gradbook.book import image_training
from gradbook.book.classic import accuracy, evaluate_accuracy_gpu
from gradbook.data import TensorLoader
from gradbook.display.animator import Animator
from gradbook.errors import DataError

CPU = [torch.device("cpu")]


def separable(num_examples=64):
    X = torch.randn(num_examples, 2)
    return X, (X[:, 0] > X[:, 1]).long()


def test_a_step_is_that_of_plain_pytorch():
    net, (X, y) = nn.Linear(2, 2), separable()
    other, before = copy.deepcopy(net), copy.deepcopy(net)
    loss = nn.CrossEntropyLoss(reduction="none")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    total, num_right = image_training.train_batch_ch13(net, X, y, loss, optimizer, CPU)
    value = loss(other(X), y).sum()
    value.backward()
    with torch.no_grad():
        other.weight -= 0.1 * other.weight.grad
    torch.testing.assert_close(net.weight, other.weight)
    torch.testing.assert_close(total, value.detach())
    assert not total.requires_grad
    assert num_right == accuracy(before(X), y)


def test_a_loss_that_is_a_mean_counts_for_each_example():
    net, (X, y) = nn.Linear(2, 2), separable()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    one, many = (
        image_training.train_batch_ch13(net, X, y, nn.CrossEntropyLoss(reduction=r), optimizer, CPU)
        for r in ("none", "mean")
    )
    torch.testing.assert_close(one[0], many[0])


def test_inputs_may_be_several():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, inputs):
            return self.layer(inputs[0] + inputs[1])

    net, (X, y) = Sum(), separable()
    right_before = accuracy(net([X, X]), y)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loss = nn.CrossEntropyLoss(reduction="none")
    _, num_right = image_training.train_batch_ch13(net, [X, X], y, loss, optimizer, CPU)
    assert num_right == right_before


@pytest.mark.parametrize("devices", [None, ["cpu"]])
def test_a_network_is_trained_and_its_curves_are_drawn(capsys, monkeypatch, devices):
    made = []
    monkeypatch.setattr(
        "gradbook.display.animator.Animator",
        lambda *args, **kwargs: made.append(Animator(*args, **kwargs)) or made[0],
    )
    net, batches = nn.Linear(2, 2), TensorLoader(separable(), 16, shuffle=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    loss = nn.CrossEntropyLoss(reduction="none")
    image_training.train_ch13(net, batches, batches, loss, optimizer, 3, devices)
    told = capsys.readouterr().out
    assert re.search(r"^loss 0\.\d+, train acc 0\.9\d+, test acc (0\.9\d+|1\.000)$", told, re.M)
    assert re.search(r"^\d+\.\d examples/sec on \['(cpu|cuda:0|mps:0)'\]$", told, re.M)
    (animator,) = made
    assert animator.X[2] == [1, 2, 3]
    assert len(animator.X[0]) == 12  # fewer than five batches: each is drawn
    assert animator.Y[0][-1] < animator.Y[0][0]


def test_labels_of_pixels_are_counted_pixel_by_pixel(capsys):
    X = torch.rand(4, 1, 5, 6)
    y = (X[:, 0] > 0.5).long()
    net = nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        net.weight[:, 0, 0, 0], net.bias[:] = torch.tensor([-9.0, 9.0]), torch.tensor([4.5, -4.5])
    assert accuracy(net(X), y) == y.numel()
    batches = [(X, y)]
    assert evaluate_accuracy_gpu(net, batches) == 1

    def loss(y_hat, y):
        return nn.functional.cross_entropy(y_hat, y, reduction="none").mean((1, 2))

    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    image_training.train_ch13(net, batches, batches, loss, optimizer, 1, CPU)
    assert "train acc 1.000, test acc 1.000" in capsys.readouterr().out


def test_data_without_a_batch_are_refused():
    net = nn.Linear(2, 2)
    with pytest.raises(DataError, match="it has no batch"):
        image_training.train_ch13(
            net, [], [], None, torch.optim.SGD(net.parameters(), lr=0.1), 1, CPU
        )
