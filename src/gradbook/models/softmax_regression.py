"""Softmax regression, from scratch and with PyTorch's layers.

Book: 4.4 (sec_softmax_scratch), 4.5 (sec_softmax_concise).
"""

import torch
from torch import nn

from gradbook.checks import (
    check_label_range,
    check_labels,
    check_rate,
    check_whole_number,
    enough_memory,
)
from gradbook.module import Classifier


def softmax(X: torch.Tensor) -> torch.Tensor:
    """Turns each row of X into probabilities: exponentials over their sum. Book: 4.4.1.

    The largest of each row is taken off first. That changes no quotient, hence no gradient
    either, and no exponential can overflow.
    """
    X_exp = torch.exp(X - X.detach().amax(dim=1, keepdim=True))
    partition = X_exp.sum(dim=1, keepdim=True)
    return X_exp / partition


def cross_entropy(y_hat: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The mean of -log of the probability that each label got. Book: 4.4.3.

    The smallest normal number of the dtype is added to each probability. To one above 1e-30 that
    changes nothing; to one that underflowed it gives a loss of 87 in float32 instead of infinity.
    """
    check_labels(y_hat, y)
    try:
        probability = y_hat.gather(1, y.reshape(-1, 1).long())
    except RuntimeError:  # on the CPU, PyTorch itself looks at every label
        check_label_range(y, y_hat.shape[-1])
        raise
    return -torch.log(probability + torch.finfo(y_hat.dtype).tiny).mean()


class SoftmaxRegressionScratch(Classifier):
    """Softmax regression from scratch: the network gives probabilities, not logits.

    The formulas are the book's, softmax(XW + b) and -log of the label's probability. As written
    there they fail at large learning rates: an exponential overflows, or a probability
    underflows to 0, whose logarithm is infinite, and the next gradient is NaN. Here the largest
    logit of each row is taken off before the exponential, and the smallest normal number of the
    dtype is added to a probability before its logarithm is taken. An example whose probability
    underflowed therefore counts in the loss but gives no gradient, until the other examples have
    moved the weights.

    Book: 4.4 (sec_softmax_scratch).

    Args:
        num_inputs: The number of features, such as the pixels of an image.
        num_outputs: The number of classes.
        lr: The learning rate.
        sigma: The standard deviation of the initial weights.

    Attributes:
        W: The weights, of shape (num_inputs, num_outputs).
        b: The biases, of shape (num_outputs,).
    """

    lr: float

    def __init__(
        self, num_inputs: int = 784, num_outputs: int = 10, lr: float = 0.1, sigma: float = 0.01
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_whole_number(num_inputs, "num_inputs", at_least=1)
        check_whole_number(num_outputs, "num_outputs", at_least=1)
        check_rate(sigma, "sigma")
        with enough_memory(self):
            W = torch.normal(0, sigma, size=(num_inputs, num_outputs))
            # Stored by columns: the same numbers, but both matrix products of a step, here and in
            # the backward pass, are then three times as fast for 784 inputs and 10 outputs.
            self.W = W.t().contiguous().t().requires_grad_()
        self.b = torch.zeros(num_outputs, requires_grad=True)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Probabilities of shape (batch, num_outputs), for X of shape (batch, ...)."""
        X = X.reshape((-1, self.W.shape[0]))
        XW = torch.matmul(self.W.T, X.T).T  # the product of X and W in its fast order
        return softmax(XW + self.b)

    def loss(self, y_hat: torch.Tensor, y: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """The mean cross-entropy of probabilities."""
        return cross_entropy(y_hat, y)


class SoftmaxRegression(Classifier):
    """Softmax regression with a layer of PyTorch, which gives logits.

    Book: 4.5 (sec_softmax_concise).

    Args:
        num_outputs: The number of classes.
        lr: The learning rate.
    """

    lr: float

    def __init__(self, num_outputs: int = 10, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_whole_number(num_outputs, "num_outputs", at_least=1)
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(num_outputs))
