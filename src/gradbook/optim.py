"""Minibatch stochastic gradient descent, written out.

Book: 3.4.3 (sec_linear_scratch).
"""

from collections.abc import Iterable
from typing import cast

import torch

from gradbook.hparams import HyperParameters


class SGD(HyperParameters):
    """Moves every parameter against its gradient: `param -= lr * param.grad`.

    Args:
        params: The tensors to update, each a leaf that requires a gradient.
        lr: The learning rate, a float of at least 0.
    """

    params: list[torch.Tensor]
    lr: float

    def __init__(self, params: Iterable[torch.Tensor], lr: float) -> None:
        params = list(params)  # a generator would be empty at the second step
        self.save_hyperparameters()

    @torch.no_grad()
    def step(self) -> None:
        """Takes one step with the gradients at hand; a tensor without one stays as it is."""
        moved = [param for param in self.params if param.grad is not None]
        # One fused call for all tensors: the same arithmetic as a loop, without its overhead.
        torch._foreach_add_(moved, [cast(torch.Tensor, p.grad) for p in moved], alpha=-self.lr)

    def zero_grad(self) -> None:
        """Forgets the gradients, so that the next backward pass starts afresh."""
        for param in self.params:
            param.grad = None
