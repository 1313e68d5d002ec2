"""The functions of the book's earlier editions, which its appendix keeps.

They train a network without the classes of section 3.2.

Book: 23.8 (sec_utils).
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from gradbook.checks import at_rest, check_labels, check_rate, check_whole_number
from gradbook.data import TensorLoader
from gradbook.datasets import FashionMNIST, text_labels
from gradbook.errors import ConfigError, DataError, ShapeError
from gradbook.timing import Timer


class Accumulator:
    """Sums of several quantities.

    Args:
        n: How many.

    Attributes:
        data: The sums, as floats.
    """

    def __init__(self, n: int) -> None:
        check_whole_number(n, "n", at_least=1)
        self.data = [0.0] * n

    def __repr__(self) -> str:
        return f"Accumulator: {self.data}"

    def add(self, *args: Any) -> None:
        """Adds one value to each sum: a number, or a tensor with one element."""
        if len(args) != len(self.data):
            raise ConfigError(
                f"This Accumulator keeps {len(self.data)} sums, but add() got {len(args)} values."
            )
        values = [arg.detach() if isinstance(arg, torch.Tensor) else arg for arg in args]
        self.data = [total + float(value) for total, value in zip(self.data, values, strict=True)]

    def reset(self) -> None:
        """Sets every sum to zero."""
        self.data = [0.0] * len(self.data)

    def __getitem__(self, idx: int) -> float:
        return self.data[idx]


# Data


def load_array(data_arrays: Sequence[Any], batch_size: int, is_train: bool = True) -> TensorLoader:
    """Minibatches from tensors in memory.

    Args:
        data_arrays: Tensors of the same length, the labels last, or what `TensorLoader` converts.
        batch_size: Examples in a batch.
        is_train: Whether each pass takes a new random order.
    """
    return TensorLoader(data_arrays, batch_size, is_train)


def load_data_fashion_mnist(
    batch_size: int, resize: int | tuple[int, int] | None = None
) -> tuple[TensorLoader, TensorLoader]:
    """The training and the test minibatches of Fashion-MNIST.

    Args:
        batch_size: Images in a batch.
        resize: Height and width in pixels, or one number for both; None leaves 28 x 28.

    Returns:
        Two iterables of (float32 (B, 1, H, W) in [0, 1], int64 (B,)); the first is shuffled.
    """
    data = FashionMNIST(batch_size, (28, 28) if resize is None else resize)
    return data.get_dataloader(train=True), data.get_dataloader(train=False)


def get_fashion_mnist_labels(labels: Sequence[int] | torch.Tensor) -> list[str]:
    """The names of Fashion-MNIST labels, integers from 0 to 9."""
    return text_labels(labels)


def get_dataloader_workers() -> int:
    """How many worker processes a `DataLoader` of your own may well have: at most 4.

    One for each processor that this process may use. None where new processes do not begin as a
    copy of this one (Windows, macOS, and Linux from Python 3.14 on): they could not find a data
    set that is defined in a notebook.
    """
    method = multiprocessing.get_start_method(allow_none=True)
    if (method or multiprocessing.get_all_start_methods()[0]) != "fork":
        return 0
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(4, usable or 1)


# Linear regression


def linreg(X: torch.Tensor, w: torch.Tensor, b: torch.Tensor | float) -> torch.Tensor:
    """The linear model Xw + b.

    Args:
        X: Features (n, d).
        w: Weights (d, 1) or (d,).
        b: The bias, a number or a tensor (1,).

    Returns:
        A tensor (n, 1) or (n,). Book: 3.4.1.
    """
    return torch.matmul(X, w) + b


def squared_loss(y_hat: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Half the squared error of each prediction, in the shape of `y_hat`. Book: 3.4.2."""
    return (y_hat - y.reshape(y_hat.shape)) ** 2 / 2


@torch.no_grad()
def sgd(params: Iterable[torch.Tensor], lr: float, batch_size: int) -> None:
    """One step of minibatch SGD, for gradients that were summed over a batch; clears them.

    Args:
        params: Leaf tensors with gradients; one without a gradient stays as it is.
        lr: The learning rate.
        batch_size: Examples in the batch.
    """
    check_rate(lr)
    check_whole_number(batch_size, "batch_size", at_least=1)
    for param in params:
        if param.grad is not None:
            param -= lr * param.grad / batch_size
            param.grad.zero_()


# Training and evaluation


def accuracy(y_hat: torch.Tensor, y: torch.Tensor) -> float:
    """The number of right predictions, as a float.

    Args:
        y_hat: Scores (n, num_classes) or (n, num_classes, ...), of which the largest is the
            prediction; or the predicted labels (n,).
        y: Labels (n,) or (n, ...).
    """
    return float(accuracy_sum(y_hat, y))


def evaluate_loss(
    net: Callable[..., Any], data_iter: Iterable[Any], loss: Callable[..., torch.Tensor]
) -> float:
    """The mean loss over all examples.

    A network of PyTorch is in evaluation mode meanwhile, and no gradients are kept.

    Args:
        net: Called with X.
        data_iter: Batches (X, y).
        loss: Called with the output and y, which is brought into the output's shape where that
            only moves axes of length 1. It gives the loss of each example, or their mean.
    """
    total, count = torch.zeros((), dtype=torch.float64), 0
    with at_rest(net):
        for X, y in data_iter:
            out = net(X)
            value = loss(out, y.reshape(out.shape) if y.numel() == out.numel() else y)
            # A mean counts as often as it has examples, so that a short last batch counts less.
            weight = len(y) if value.numel() == 1 else 1
            total += value.sum().cpu() * weight
            count += value.numel() * weight
    check_any(count)
    return float(total) / count


def evaluate_accuracy_gpu(
    net: Callable[..., Any], data_iter: Iterable[Any], device: torch.device | str | None = None
) -> float:
    """The fraction of right predictions over all examples, on any device. Book: 7.6.2.

    Args:
        net: The network, in evaluation mode meanwhile.
        data_iter: Batches (X, y), where X may be a list of tensors.
        device: Where to compute; None takes that of the network's parameters.
    """
    if device is None and isinstance(net, nn.Module):
        device = next((param.device for param in net.parameters()), None)
    num_correct, count = torch.zeros((), dtype=torch.int64, device=device), 0
    with at_rest(net):
        for X, y in data_iter:
            X = [x.to(device) for x in X] if isinstance(X, list | tuple) else X.to(device)
            y = y.to(device)
            num_correct += accuracy_sum(net(X), y)  # read once, at the end
            count += y.numel()
    check_any(count)
    return num_correct.item() / count


def train_ch6(
    net: nn.Module,
    train_iter: Any,
    test_iter: Any,
    num_epochs: int,
    lr: float,
    device: torch.device | str,
) -> None:
    """Trains a classifier with SGD and cross-entropy, draws its curves and prints the result.

    The weights of linear and convolutional layers begin with Xavier's uniform distribution.

    Args:
        net: The network, which gives logits. It is moved to the device.
        train_iter: Training batches (X, y), with a length.
        test_iter: Test batches.
        num_epochs: Passes over the training batches.
        lr: The learning rate.
        device: Where to train.
    """
    check_rate(lr)
    check_whole_number(num_epochs, "num_epochs", at_least=1)
    check_any(len(train_iter))
    net.to(device)
    if any(is_lazy(param) for param in net.parameters()):
        with at_rest(net):
            net(next(iter(train_iter))[0].to(device))
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
    print(f"training on {device}")
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    loss = nn.CrossEntropyLoss()

    def step(X: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        optimizer.zero_grad()
        X, y = X.to(device), y.to(device)
        y_hat = net(X)
        value = loss(y_hat, y)
        value.backward()
        optimizer.step()
        with torch.no_grad():
            return value * len(y), accuracy_sum(y_hat, y)

    draw_training(net, step, train_iter, test_iter, num_epochs, device, str(device))


def draw_training(
    net: nn.Module,
    step: Callable[[Any, torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    train_iter: Any,
    test_iter: Any,
    num_epochs: int,
    device: torch.device | str,
    where: str,
    ylim: Sequence[float] | None = None,
) -> None:
    """Trains a classifier step by step, draws its loss and accuracies and prints the result.

    Args:
        net: The classifier.
        step: Trains with a batch (X, y); returns the sum of its losses and the number of right
            predictions, tensors on `device`.
        train_iter: Training batches (X, y), with a length.
        test_iter: Test batches.
        num_epochs: Passes over the training batches.
        device: Where the network is.
        where: How the printed line names that.
        ylim: The smallest and the largest value of the y axis.
    """
    check_whole_number(num_epochs, "num_epochs", at_least=1)
    num_batches = len(train_iter)
    check_any(num_batches)
    from gradbook.display.animator import Animator  # loads Matplotlib, which is slow

    animator = Animator(
        xlabel="epoch",
        xlim=[1, num_epochs],
        ylim=ylim,
        legend=["train loss", "train acc", "test acc"],
    )
    timer, num_examples = Timer(), 0
    for epoch in range(num_epochs):
        # The sum of losses, and the number of right predictions: on the device until drawn.
        sums, count, num_labels = torch.zeros(2, device=device), 0, 0
        net.train()
        for i, (X, y) in enumerate(train_iter):
            timer.start()
            total, num_right = step(X, y)
            sums += torch.stack([total.to(sums.dtype), num_right.to(sums.dtype)])
            count, num_labels = count + len(y), num_labels + y.numel()
            timer.stop()
            if (i + 1) % max(num_batches // 5, 1) == 0 or i == num_batches - 1:
                loss_sum, num_correct = sums.tolist()
                train_loss, train_acc = loss_sum / count, num_correct / num_labels
                animator.add(epoch + (i + 1) / num_batches, (train_loss, train_acc, None))
        num_examples += count
        test_acc = evaluate_accuracy_gpu(net, test_iter, device)
        animator.add(epoch + 1, (None, None, test_acc))
    print(f"loss {train_loss:.3f}, train acc {train_acc:.3f}, test acc {test_acc:.3f}")
    print(f"{num_examples / timer.sum():.1f} examples/sec on {where}")


@torch.no_grad()
def grad_clipping(net: Any, theta: float) -> None:
    """Scales all gradients together so that their global norm is at most `theta`. Book: 9.5.3.

    Args:
        net: A network, or a model from scratch with a list `params`.
        theta: The largest norm, above 0.
    """
    if not theta > 0:
        raise ConfigError(f"theta must be a number above 0, but it is {theta!r}.")
    params = net.parameters() if isinstance(net, nn.Module) else net.params
    grads = [param.grad for param in params if param.grad is not None]
    if grads:
        norm = torch.nn.utils.get_total_norm(grads)
        torch._foreach_mul_(grads, torch.clamp(theta / norm, max=1.0))


# Checks


def check_len(a: Any, n: int) -> None:
    """Raises ShapeError unless `a` has the length n. Book: 9.5.1."""
    if len(a) != n:
        raise ShapeError(f"The length must be {n}, but it is {len(a)}.")


def check_shape(a: Any, shape: Sequence[int]) -> None:
    """Raises ShapeError unless the tensor `a` has the given shape. Book: 9.5.1."""
    if tuple(a.shape) != tuple(shape):
        raise ShapeError(f"The shape must be {tuple(shape)}, but it is {tuple(a.shape)}.")


def accuracy_sum(y_hat: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The number of right predictions as an integer tensor, which stays on its device.

    Args:
        y_hat: Scores (B, num_classes, ...), or the predicted labels.
        y: Labels (B, ...).
    """
    if y_hat.dim() > 1 and y_hat.shape[1] > 1:
        check_labels(y_hat.movedim(1, -1), y)
        y_hat = y_hat.argmax(dim=1)
    return (y_hat.reshape(-1).to(y.dtype) == y.reshape(-1)).sum()


def check_any(count: int) -> None:
    """Raises DataError if there are no batches, or no examples."""
    if count == 0:
        raise DataError("The data set is empty: it has no batch.")
