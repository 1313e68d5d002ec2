"""Data for linear regression, made from a known line and some noise.

Book: 3.3 (sec_synthetic-regression-data).
"""

from collections.abc import Sequence
from typing import Any

import torch

from gradbook.checks import check_rate, check_whole_number, enough_memory
from gradbook.data import DataModule
from gradbook.errors import ConfigError


class SyntheticRegressionData(DataModule):
    """Examples of y = Xw + b + noise, with X from the standard normal distribution.

    The random numbers come from PyTorch's default generator, X before the noise.

    Args:
        w: The true weights: d numbers, or a tensor (d,) or (d, 1).
        b: The true bias.
        noise: The standard deviation of the noise.
        num_train: Examples for training, the first ones.
        num_val: Examples for validation, the others. With 0, there is no validation set.
        batch_size: Examples in a batch.

    Attributes:
        X: Tensor (num_train + num_val, d) of PyTorch's default dtype, float32.
        y: Tensor (num_train + num_val, 1) of the same.
        w, b: The true parameters, `w` as a tensor.

    Raises:
        ConfigError: If an argument cannot be used.

    Book: 3.3.1.
    """

    num_train: int
    num_val: int
    noise: float
    b: float | torch.Tensor

    def __init__(
        self,
        w: Sequence[float] | torch.Tensor = (2.0, -3.4),
        b: float | torch.Tensor = 4.2,
        noise: float = 0.01,
        num_train: int = 1000,
        num_val: int = 1000,
        batch_size: int = 32,
    ) -> None:
        super().__init__()
        num_train = check_whole_number(num_train, "num_train", at_least=1)
        num_val = check_whole_number(num_val, "num_val", at_least=0)
        batch_size = check_whole_number(batch_size, "batch_size", at_least=1)
        weights = _check_weights(w)
        bias = _check_bias(b)
        check_rate(noise, "noise")
        self.save_hyperparameters()  # `w` as it was given: a run record can hold it
        self.w = weights
        num_examples = num_train + num_val
        with enough_memory(self):
            self.X = torch.randn(num_examples, weights.numel())
            error = torch.randn(num_examples, 1) * float(noise)
            self.y = torch.matmul(self.X, weights.reshape(-1, 1)) + bias + error

    def get_dataloader(self, train: bool) -> Any:
        """Minibatches of (X, y), shuffled for training; None if `num_val` is 0. Book: 3.3.3."""
        if not train and self.num_val == 0:
            return None
        indices = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, indices)


def synthetic_data(
    w: Sequence[float] | torch.Tensor, b: float | torch.Tensor, num_examples: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Examples of y = Xw + b with noise of standard deviation 0.01.

    Args:
        w: The true weights: d numbers, or a tensor (d,).
        b: The true bias.
        num_examples: How many.

    Returns:
        X, a tensor (num_examples, d), and y, (num_examples, 1).

    Raises:
        ConfigError: If an argument cannot be used.

    Book: appendix (sec_utils).
    """
    weights, bias = _check_weights(w), _check_bias(b)
    num_examples = check_whole_number(num_examples, "num_examples", at_least=1)
    X = torch.normal(0, 1, (num_examples, weights.numel()))
    y = torch.matmul(X, weights.reshape(-1)) + bias
    y += torch.normal(0, 0.01, y.shape)
    return X, y.reshape(-1, 1)


def _check_weights(w: Any) -> torch.Tensor:
    weights = _finite(w)
    columns = weights.dim() == 1 or (weights.dim() == 2 and weights.shape[1] == 1)
    if not columns or weights.numel() == 0:
        raise ConfigError(f"w must be a sequence of at least one finite number, but it is {w!r}.")
    return weights


def _check_bias(b: Any) -> torch.Tensor:
    bias = _finite(b)
    if bias.numel() != 1:
        raise ConfigError(f"b must be one finite number, but it is {b!r}.")
    return bias.reshape(())


def _finite(value: Any) -> torch.Tensor:
    """Numbers as a tensor of PyTorch's default dtype, which X has; empty if they cannot be one."""
    try:
        numbers = torch.as_tensor(value, dtype=torch.get_default_dtype())
    except (TypeError, ValueError, RuntimeError):
        return torch.empty(0)
    return numbers if numbers.isfinite().all() else torch.empty(0)
