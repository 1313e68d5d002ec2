"""Multilayer perceptrons, from scratch and with PyTorch's layers.

Book: 5.2 (sec_mlp-implementation).
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from gradbook.checks import check_rate, check_whole_number, enough_memory
from gradbook.module import Classifier


def relu(X: torch.Tensor) -> torch.Tensor:
    """The larger of each element and 0. Book: 5.2.1."""
    return torch.max(X, torch.zeros_like(X))


def hidden_widths(num_hiddens: Any) -> list[int]:
    """The widths of the hidden layers as a list, checked.

    Raises:
        ConfigError: If a width is not a positive whole number.
    """
    if isinstance(num_hiddens, Iterable) and not isinstance(num_hiddens, str):
        widths = list(num_hiddens)
    else:
        widths = [num_hiddens]
    for width in widths:
        check_whole_number(width, "num_hiddens", at_least=1)
    return widths


class MLPScratch(Classifier):
    """A multilayer perceptron from scratch: ReLU after each hidden layer.

    Book: 5.2.1 (sec_mlp-implementation).

    Args:
        num_inputs: The number of features, such as the pixels of an image.
        num_outputs: The number of classes.
        num_hiddens: The width of the hidden layer, or a list of widths for several.
        lr: The learning rate.
        sigma: The standard deviation of the initial weights.

    Attributes:
        W1, b1, W2, b2, ...: Weights of shape (inputs, outputs) and biases of each layer.
    """

    lr: float
    W1: torch.Tensor

    def __init__(
        self,
        num_inputs: int = 784,
        num_outputs: int = 10,
        num_hiddens: int | Sequence[int] = 256,
        lr: float = 0.1,
        sigma: float = 0.01,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_whole_number(num_inputs, "num_inputs", at_least=1)
        check_whole_number(num_outputs, "num_outputs", at_least=1)
        sizes = [num_inputs, *hidden_widths(num_hiddens), num_outputs]
        self.num_layers = len(sizes) - 1
        check_rate(sigma, "sigma")
        with enough_memory(self):
            for i, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
                setattr(self, f"W{i}", nn.Parameter(torch.randn(inputs, outputs) * sigma))
                setattr(self, f"b{i}", nn.Parameter(torch.zeros(outputs)))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Logits of shape (batch, num_outputs), for X of shape (batch, ...)."""
        H = X.reshape((-1, self.W1.shape[0]))
        for i in range(1, self.num_layers + 1):
            H = torch.matmul(H, getattr(self, f"W{i}")) + getattr(self, f"b{i}")
            if i < self.num_layers:
                H = relu(H)
        return H


class MLP(Classifier):
    """A multilayer perceptron with PyTorch's layers: ReLU after each hidden layer.

    Book: 5.2.2 (sec_mlp-implementation).

    Args:
        num_outputs: The number of classes.
        num_hiddens: The width of the hidden layer, or a list of widths for several.
        lr: The learning rate.
    """

    lr: float

    def __init__(
        self, num_outputs: int = 10, num_hiddens: int | Sequence[int] = 256, lr: float = 0.1
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_whole_number(num_outputs, "num_outputs", at_least=1)
        layers: list[nn.Module] = [nn.Flatten()]
        for width in hidden_widths(num_hiddens):
            layers += [nn.LazyLinear(width), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.LazyLinear(num_outputs))
