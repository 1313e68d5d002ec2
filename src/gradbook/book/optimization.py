"""What the chapter on optimization algorithms draws and trains with. Book: 12."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gradbook.book.classic import check_any, evaluate_loss, linreg, load_array, squared_loss
from gradbook.book.figures import set_figsize
from gradbook.checks import check_whole_number
from gradbook.datasets import download
from gradbook.timing import Timer

if TYPE_CHECKING:
    from gradbook.data import TensorLoader

#: After so many examples a training of this chapter adds a point to its curve.
_EXAMPLES_A_POINT = 200


def annotate(text: str, xy: tuple[float, float], xytext: tuple[float, float]) -> None:
    """Writes text into the current axes, with an arrow to a point. Book: 12.1.2.

    Args:
        text: What to write.
        xy: The point that the arrow ends at, in the axes' data.
        xytext: Where the text stands.
    """
    from matplotlib import pyplot as plt

    plt.gca().annotate(text, xy=xy, xytext=xytext, arrowprops={"arrowstyle": "->"})


def train_2d(
    trainer: Callable[..., tuple[Any, Any, Any, Any]],
    steps: int = 20,
    f_grad: Callable[..., Any] | None = None,
) -> list[tuple[Any, Any]]:
    """Minimizes a function of two variables, from the point (-5, -2), and prints where it ends.

    Args:
        trainer: One step: called with (x1, x2, s1, s2), and with `f_grad` if there is one; it
            returns the next four. s1 and s2 begin at 0 and are the optimizer's own state.
        steps: How many.
        f_grad: The gradient of the function, handed to `trainer`.

    Returns:
        The points that were visited, steps + 1 pairs (x1, x2). Book: 12.3.2.
    """
    steps = check_whole_number(steps, "steps", at_least=0)
    given = () if f_grad is None else (f_grad,)
    x1, x2, s1, s2 = -5, -2, 0, 0
    results = [(x1, x2)]
    for _ in range(steps):
        x1, x2, s1, s2 = trainer(x1, x2, s1, s2, *given)
        results.append((x1, x2))
    print(f"epoch {steps}, x1: {float(x1):f}, x2: {float(x2):f}")
    return results


def show_trace_2d(
    f: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], results: Iterable[tuple[Any, Any]]
) -> None:
    """Draws the points that an optimizer visited, over the contours of the function.

    Args:
        f: The function; it gets tensors x1 and x2 of the same shape.
        results: Pairs (x1, x2), as `train_2d` returns them. Book: 12.3.2.
    """
    from matplotlib import pyplot as plt

    set_figsize()
    trace = [(float(x1), float(x2)) for x1, x2 in results]
    plt.plot(*zip(*trace, strict=True), "-o", color="#ff7f0e")
    x1, x2 = torch.meshgrid(torch.arange(-5.5, 1, 0.1), torch.arange(-3, 1, 0.1), indexing="ij")
    with torch.no_grad():
        heights = f(x1, x2)
    plt.contour(x1.numpy(), x2.numpy(), heights.numpy(), colors="#1f77b4")
    plt.xlabel("x1")
    plt.ylabel("x2")


def get_data_ch11(batch_size: int = 10, n: int = 1500) -> "tuple[TensorLoader, int]":
    """Minibatches of NASA's airfoil measurements, each column with mean 0 and deviation 1.

    Args:
        batch_size: Examples in a batch; each pass takes a new random order.
        n: How many of the 1,503 examples, the first ones.

    Returns:
        The minibatches, X (batch_size, 5) and y (batch_size,), the sound pressure level, both
        float32; and 5, the number of features. Book: 12.5.3.
    """
    import numpy as np

    n = check_whole_number(n, "n", at_least=1)
    table = torch.from_numpy(np.loadtxt(download("airfoil"), delimiter="\t", dtype=np.float32))
    table = (table - table.mean(0)) / table.std(0, correction=0)
    return load_array((table[:n, :-1], table[:n, -1]), batch_size), table.shape[1] - 1


def train_ch11(
    trainer_fn: Callable[..., Any],
    states: Any,
    hyperparams: dict[str, Any],
    data_iter: Any,
    feature_dim: int,
    num_epochs: int = 2,
) -> tuple[list[float], list[float]]:
    """Trains linear regression from scratch with an optimizer from scratch, and draws its loss.

    Args:
        trainer_fn: One step: called with ([w, b], states, hyperparams) when the gradients are
            there; it updates the parameters in place and clears their gradients.
        states: What the optimizer keeps from step to step.
        hyperparams: Its settings, such as {"lr": 0.1}.
        data_iter: Batches (X, y), with a length.
        feature_dim: The columns of X.
        num_epochs: Passes over the data.

    Returns:
        The seconds that training took up to each point of the curve, and the half mean squared
        error over all of `data_iter` there: a point about every 200 examples. Book: 12.5.4.

    Raises:
        ConfigError: If an argument cannot be used.
        DataError: If there is no batch.
    """
    check_whole_number(feature_dim, "feature_dim", at_least=1)
    w = (torch.randn(feature_dim, 1) * 0.01).requires_grad_()
    b = torch.zeros(1, requires_grad=True)

    def net(X: torch.Tensor) -> torch.Tensor:
        return linreg(X, w, b)

    def step(X: torch.Tensor, y: torch.Tensor) -> None:
        squared_loss(net(X), y).mean().backward()  # type: ignore[no-untyped-call]
        trainer_fn([w, b], states, hyperparams)

    return _train(net, step, data_iter, num_epochs)


def train_concise_ch11(
    trainer_fn: Callable[..., Any],
    hyperparams: dict[str, Any],
    data_iter: Any,
    num_epochs: int = 4,
) -> None:
    """Trains linear regression with an optimizer of PyTorch, and draws its loss. Book: 12.5.5.

    The loss that is minimized is the squared error, as `nn.MSELoss` has it; what is drawn is half
    of it, as `train_ch11` draws it.

    Args:
        trainer_fn: The class of an optimizer, such as `torch.optim.SGD`.
        hyperparams: Its settings, such as {"lr": 0.05}.
        data_iter: Batches (X, y), with a length.
        num_epochs: Passes over the data.

    Raises:
        ConfigError: If `num_epochs` cannot be used.
        DataError: If there is no batch.
    """
    check_any(len(data_iter))
    X, _ = next(iter(data_iter))
    net = nn.Linear(X.shape[1], 1)
    nn.init.normal_(net.weight, std=0.01)
    optimizer, loss = trainer_fn(net.parameters(), **hyperparams), nn.MSELoss()

    def step(X: torch.Tensor, y: torch.Tensor) -> None:
        optimizer.zero_grad()
        y_hat = net(X)
        loss(y_hat, y.reshape(y_hat.shape)).backward()
        optimizer.step()

    _train(net, step, data_iter, num_epochs)


def _train(
    net: Callable[..., Any],
    step: Callable[[torch.Tensor, torch.Tensor], None],
    data_iter: Any,
    num_epochs: int,
) -> tuple[list[float], list[float]]:
    """Takes a step with each batch, and draws the loss over all of them now and then."""
    from gradbook.display.animator import Animator  # loads Matplotlib, which is slow

    num_epochs = check_whole_number(num_epochs, "num_epochs", at_least=1)
    check_any(len(data_iter))
    animator = Animator(xlabel="epoch", ylabel="loss", xlim=[0, num_epochs], ylim=[0.22, 0.35])
    timer, drawn = Timer(), 0
    for done, epochs, X, y in _batches(data_iter, num_epochs):
        step(X, y)
        if done // _EXAMPLES_A_POINT > drawn // _EXAMPLES_A_POINT or epochs == num_epochs:
            timer.stop()  # what follows is no part of the training
            animator.add(epochs, evaluate_loss(net, _whole(data_iter), squared_loss))
            drawn = done
            timer.start()
    print(f"loss: {animator.Y[0][-1]:.3f}, {timer.sum() / num_epochs:.3f} sec/epoch")
    return timer.cumsum(), animator.Y[0]


def _batches(
    data_iter: Any, num_epochs: int
) -> Iterator[tuple[int, float, torch.Tensor, torch.Tensor]]:
    """The batches of all epochs, with the examples and the epochs that are done after each."""
    done = 0
    for epoch in range(num_epochs):
        for i, (X, y) in enumerate(data_iter):
            done += len(y)
            yield done, epoch + (i + 1) / len(data_iter), X, y


def _whole(data_iter: Any) -> Any:
    """All examples as one batch, if they are tensors in memory: batches of one take a second."""
    tensors = getattr(data_iter, "tensors", None)
    return data_iter if tensors is None else [tensors]
