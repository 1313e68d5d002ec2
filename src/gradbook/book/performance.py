"""What the chapter on computational performance measures and splits with. Book: 13."""

from collections.abc import Sequence
from typing import Any

import torch

from gradbook.devices import as_devices
from gradbook.errors import ShapeError
from gradbook.timing import Timer


class Benchmark:
    """Prints how long the block of a `with` statement took. Book: 13.1.3.

    On a GPU, work is queued and not awaited: end the block with `torch.accelerator.synchronize()`
    to measure the work and not the queueing.

    Args:
        description: What was measured.

    Attributes:
        timer: The `Timer`, once the block has begun.
    """

    def __init__(self, description: str = "Done") -> None:
        self.description = description

    def __enter__(self) -> "Benchmark":
        self.timer = Timer()
        return self

    def __exit__(self, *args: object) -> None:
        print(f"{self.description}: {self.timer.stop():.4f} sec")


def split_batch(
    X: torch.Tensor, y: torch.Tensor, devices: Sequence[torch.device | str] | torch.device | str
) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """Splits a batch into one part for each device, and moves each part there. Book: 13.5.4.

    Args:
        X: Inputs (n, ...).
        y: Labels (n, ...).
        devices: One or more devices, of any kind; one may be named more than once.

    Returns:
        The parts of X and those of y, in the order of the devices. The last is the smallest if n
        is no multiple of their number; devices that get no example get no part.

    Raises:
        ShapeError: If X and y have different numbers of examples.
        ConfigError: If there is no device, or one is unknown.

    Example:
        >>> X_parts, y_parts = split_batch(torch.zeros(5, 2), torch.arange(5), ["cpu", "cpu"])
        >>> [len(part) for part in X_parts], y_parts
        ([3, 2], (tensor([0, 1, 2]), tensor([3, 4])))
    """
    if len(X) != len(y):
        raise ShapeError(f"X has {len(X)} examples and y has {len(y)}, but each X needs its y.")
    places = as_devices(devices)

    def parts(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
        chunks: Any = tensor.chunk(len(places))
        return tuple(part.to(place) for part, place in zip(chunks, places, strict=False))

    return parts(X), parts(y)
