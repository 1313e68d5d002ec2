"""Linear regression, from scratch and with PyTorch's layers.

Book: 3.4 (sec_linear_scratch), 3.5 (sec_linear_concise).
"""

import torch
from torch import nn

from gradbook.checks import check_rate, check_targets, check_whole_number, enough_memory
from gradbook.module import Module


class LinearRegressionScratch(Module):
    """Linear regression from scratch: y_hat = Xw + b, with half the squared error as its loss.

    Book: 3.4 (sec_linear_scratch).

    Args:
        num_inputs: The number of features.
        lr: The learning rate.
        sigma: The standard deviation of the initial weights.

    Attributes:
        w: The weights, of shape (num_inputs, 1).
        b: The bias, of shape (1,).
    """

    lr: float

    def __init__(self, num_inputs: int = 2, lr: float = 0.03, sigma: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_whole_number(num_inputs, "num_inputs", at_least=1)
        check_rate(sigma, "sigma")
        with enough_memory(self):
            self.w = torch.normal(0, sigma, (num_inputs, 1), requires_grad=True)
        self.b = torch.zeros(1, requires_grad=True)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Predictions of shape (batch, 1) for features of shape (batch, num_inputs)."""
        return torch.matmul(X, self.w) + self.b

    def loss(self, y_hat: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Half the squared error, averaged over the batch."""
        check_targets(y_hat, y)
        return ((y_hat - y) ** 2 / 2).mean()


class LinearRegression(Module):
    """Linear regression with a layer of PyTorch, and the squared error as its loss.

    The loss is `nn.MSELoss`, twice the loss of `LinearRegressionScratch`, so the same learning
    rate takes steps twice as long. Book: 3.5 (sec_linear_concise).

    Args:
        lr: The learning rate.
    """

    lr: float

    def __init__(self, lr: float = 0.03) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.LazyLinear(1)

    def loss(self, y_hat: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The squared error, averaged over the batch."""
        check_targets(y_hat, y)
        return nn.functional.mse_loss(y_hat, y)

    def get_w_b(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights, of shape (1, num_inputs), and the bias, of shape (1,)."""
        return self.net.weight.data, self.net.bias.data
