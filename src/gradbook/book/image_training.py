"""The training loop of chapters 14 to 16, for networks that come without a `Module`.

Book: 14.1 (sec_image_augmentation).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from gradbook.book.classic import accuracy_sum, evaluate_accuracy_gpu
from gradbook.checks import check_whole_number
from gradbook.devices import try_all_gpus
from gradbook.errors import DataError
from gradbook.timing import Timer

Device = torch.device | str


def train_batch_ch13(
    net: nn.Module,
    X: Any,
    y: torch.Tensor,
    loss: Callable[..., torch.Tensor],
    trainer: Any,
    devices: Sequence[Device],
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
    device = devices[0]
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
    devices: Sequence[Device] | None = None,
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
    check_whole_number(num_epochs, "num_epochs", at_least=1)
    num_batches = len(train_iter)
    if num_batches == 0:
        raise DataError("The data set is empty: it has no batch.")
    from gradbook.display.animator import Animator  # loads Matplotlib, which is slow

    places = [torch.device(device) for device in devices or try_all_gpus()]
    net = net.to(places[0])
    parallel: nn.Module = nn.DataParallel(net, places) if len(places) > 1 else net
    animator = Animator(
        xlabel="epoch",
        xlim=[1, num_epochs],
        ylim=[0, 1],
        legend=["train loss", "train acc", "test acc"],
    )
    timer, num_examples = Timer(), 0
    for epoch in range(num_epochs):
        sums, count, num_labels = torch.zeros(2, device=places[0]), 0, 0
        for i, (X, y) in enumerate(train_iter):
            timer.start()
            total, num_right = train_batch_ch13(parallel, X, y, loss, trainer, places)
            sums += torch.stack([total.to(sums.dtype), num_right.to(sums.dtype)])
            count, num_labels = count + len(y), num_labels + y.numel()
            timer.stop()
            if (i + 1) % max(num_batches // 5, 1) == 0 or i == num_batches - 1:
                train_loss, train_acc = sums[0].item() / count, sums[1].item() / num_labels
                animator.add(epoch + (i + 1) / num_batches, (train_loss, train_acc, None))
        num_examples += count
        test_acc = evaluate_accuracy_gpu(parallel, test_iter, places[0])
        animator.add(epoch + 1, (None, None, test_acc))
    print(f"loss {train_loss:.3f}, train acc {train_acc:.3f}, test acc {test_acc:.3f}")
    print(f"{num_examples / timer.sum():.1f} examples/sec on {list(map(str, places))}")
