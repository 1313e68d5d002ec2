"""Multilayer perceptrons, from scratch and with PyTorch's layers.

Book: 5.2 (sec_mlp-implementation).
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from gradbook.checks import check_dropout, check_rate, check_whole_number, enough_memory
from gradbook.errors import ConfigError, did_you_mean
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


#: The activations that have a name, the first one the book's.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "identity": nn.Identity,
}


class _Function(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.function(X)

    def extra_repr(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


def activation_layer(activation: Any) -> nn.Module:
    """A new layer of an activation: by its name, its class, or the function that it computes.

    Raises:
        ConfigError: If it is none of these.
    """
    if isinstance(activation, str):
        if activation not in ACTIVATIONS:
            raise ConfigError(
                f"activation={activation!r} is no activation. It is one of "
                f"{', '.join(ACTIVATIONS)}, a class of layers or a function."
                + did_you_mean(activation, ACTIVATIONS)
            )
        return ACTIVATIONS[activation]()
    if isinstance(activation, type) and issubclass(activation, nn.Module):
        return activation()
    if not callable(activation) or isinstance(activation, type | nn.Module):
        raise ConfigError(
            f"activation={activation!r:.60} cannot be used: give a name such as 'relu', a class of "
            f"layers such as nn.ReLU, of which each hidden layer gets its own, or a function such "
            f"as torch.relu."
        )
    return _Function(activation)


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
    """A multilayer perceptron with PyTorch's layers: an activation after each hidden layer.

    Book: 5.2.2 (sec_mlp-implementation); activations 5.1, dropout 5.6.

    Args:
        num_outputs: The number of classes.
        num_hiddens: The width of the hidden layer, or a list of widths for several.
        lr: The learning rate.
        activation: A name ("relu", "sigmoid", "tanh", "leaky_relu", "prelu", "elu", "selu",
            "gelu", "silu", "softplus", "identity"), a class of layers, or a function that keeps
            the shape.
        dropout: The probability with which each hidden unit is set to zero in training.

    Raises:
        ConfigError: If an argument cannot be used.

    >>> MLP(num_outputs=2, num_hiddens=8, activation="tanh", dropout=0.5).net[2:4]
    Sequential(
      (0): Tanh()
      (1): Dropout(p=0.5, inplace=False)
    )
    """

    lr: float

    def __init__(
        self,
        num_outputs: int = 10,
        num_hiddens: int | Sequence[int] = 256,
        lr: float = 0.1,
        activation: str | Callable[..., Any] = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_whole_number(num_outputs, "num_outputs", at_least=1)
        check_dropout(dropout)
        layers: list[nn.Module] = [nn.Flatten()]
        for width in hidden_widths(num_hiddens):
            layers += [nn.LazyLinear(width), activation_layer(activation)]
            if dropout:
                layers.append(nn.Dropout(dropout))
        self.net = nn.Sequential(*layers, nn.LazyLinear(num_outputs))
