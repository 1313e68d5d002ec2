"""The training loop of chapters 14 to 16, for networks that come without a `Module`.

Book: 14.1 (sec_image_augmentation).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from gradbook.book.classic import accuracy_sum, draw_training
from gradbook.devices import as_devices, try_all_gpus

Device = torch.device | str


def train_batch_ch13(
    net: nn.Module,
    X: Any,
    y: torch.Tensor,
    loss: Callable[..., torch.Tensor],
    trainer: Any,
    devices: Sequence[Device] | Device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step of training.

    Args:
        net: The network, in training mode afterwards.
        X: The inputs, (B, ...), or a list of them.
        y: The labels, (B, ...).
        loss: Called with the output and y. It gives the loss of each example, whose sum is
            minimized, or their mean.
        trainer: The optimizer.
        devices: The batch is brought to the first.

    Returns:
        The sum of the losses of the batch, and the number of right predictions, both tensors with
        one element, so that nothing waits for a GPU.

    Book: 14.1.2.
    """
    device = as_devices(devices)[0]
    X = [x.to(device) for x in X] if isinstance(X, list | tuple) else X.to(device)
    y = y.to(device)
    net.train()
    trainer.zero_grad()
    y_hat = net(X)
    value = loss(y_hat, y)
    value.sum().backward()  # type: ignore[no-untyped-call]
    trainer.step()
    with torch.no_grad():
        total = value * len(y) if value.dim() == 0 else value.sum()
        return total, accuracy_sum(y_hat, y)


def train_ch13(
    net: nn.Module,
    train_iter: Any,
    test_iter: Any,
    loss: Callable[..., torch.Tensor],
    trainer: Any,
    num_epochs: int,
    devices: Sequence[Device] | Device | None = None,
) -> None:
    """Trains a classifier, draws its curves and prints the result.

    Args:
        net: The network, which gives logits (B, num_classes, ...). It is moved to the devices.
        train_iter: Training batches (X, y), with a length.
        test_iter: Test batches.
        loss: See `train_batch_ch13`.
        trainer: The optimizer of the network's parameters.
        num_epochs: Passes over the training batches.
        devices: Where to train: one device, or several GPUs among which each batch is divided.
            None takes all GPUs, or the CPU if there is none.

    Raises:
        DataError: If there is no training batch.

    Book: 14.1.2.
    """
    places = try_all_gpus() if devices is None else as_devices(devices)
    net = net.to(places[0])
    parallel: nn.Module = nn.DataParallel(net, places) if len(places) > 1 else net

    def step(X: Any, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return train_batch_ch13(parallel, X, y, loss, trainer, places)

    where = str(list(map(str, places)))
    draw_training(parallel, step, train_iter, test_iter, num_epochs, places[0], where, ylim=[0, 1])
