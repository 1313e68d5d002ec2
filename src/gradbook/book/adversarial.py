"""The two steps of a generative adversarial network. Book: 20."""

from collections.abc import Callable

import torch
from torch import nn

from gradbook.errors import ConfigError


def update_D(
    X: torch.Tensor,
    Z: torch.Tensor,
    net_D: nn.Module,
    net_G: nn.Module,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    trainer_D: torch.optim.Optimizer,
) -> torch.Tensor:
    """A step of the discriminator: real examples are to score as 1, generated ones as 0.

    Args:
        X: Real examples (n, ...).
        Z: The generator's inputs (n, ...).
        net_D: The discriminator; it gives one score for each example, in any shape.
        net_G: The generator, which stays as it is.
        loss: Called with the scores and targets of their shape, such as
            `nn.BCEWithLogitsLoss(reduction="sum")`.
        trainer_D: The optimizer of `net_D`.

    Returns:
        The loss, the mean of that over the real and that over the generated examples.
        Book: 20.1.4.

    Raises:
        ConfigError: If `loss` gives more than one number.
    """
    trainer_D.zero_grad()
    with torch.no_grad():  # the generator is not trained here
        fake_X = net_G(Z)
    real_Y, fake_Y = net_D(X), net_D(fake_X)
    value = (loss(real_Y, torch.ones_like(real_Y)) + loss(fake_Y, torch.zeros_like(fake_Y))) / 2
    _check_one(value)
    value.backward()  # type: ignore[no-untyped-call]
    trainer_D.step()
    return value


def update_G(
    Z: torch.Tensor,
    net_D: nn.Module,
    net_G: nn.Module,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    trainer_G: torch.optim.Optimizer,
) -> torch.Tensor:
    """A step of the generator: what it generates is to score as 1.

    Args:
        Z: The generator's inputs (n, ...).
        net_D: The discriminator, which stays as it is, but for gradients that its next step
            clears.
        net_G: The generator.
        loss: Called with the scores and targets of their shape.
        trainer_G: The optimizer of `net_G`.

    Returns:
        The loss. Book: 20.1.4.

    Raises:
        ConfigError: If `loss` gives more than one number.
    """
    trainer_G.zero_grad()
    fake_Y = net_D(net_G(Z))
    value = loss(fake_Y, torch.ones_like(fake_Y))
    _check_one(value)
    value.backward()  # type: ignore[no-untyped-call]
    trainer_G.step()
    return value


def _check_one(value: torch.Tensor) -> None:
    if value.numel() != 1:
        raise ConfigError(
            f"The loss of a step must be one number, but it has the shape {tuple(value.shape)}. "
            f'Give the loss reduction="sum" or "mean".'
        )
