"""BatchNorm where several processes train: whose rows a layer normalizes, and what it averages."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from gradbook.errors import ConfigError, GradbookWarning, warn
from gradbook.lookalikes import layers_of


@contextmanager
def synchronized(
    model: Any, num_ranks: int, together: bool, device: torch.device
) -> Iterator[None]:
    """While it lasts, BatchNorm layers may normalize the rows of all ranks together.

    Args:
        model: The model.
        num_ranks: How many processes train it. They are warned if each is to normalize its own.
        together: Whether the layers are to.
        device: Where the model is.

    Raises:
        ConfigError: If they cannot.
    """
    places = [
        (layer._modules, name, child)
        for layer in (model.modules() if isinstance(model, torch.nn.Module) else ())
        for name, child in layer._modules.items()
        if isinstance(child, _BatchNorm) and not isinstance(child, torch.nn.SyncBatchNorm)
    ]
    if places and not together:
        warn(
            f"{type(model).__name__} has BatchNorm layers, and each of the {num_ranks} "
            f"processes normalizes its own rows of a batch. So the numbers are not those of "
            f"one process, but of batches that are {num_ranks} times smaller. On accelerators, "
            f"Trainer(sync_batchnorm=True) normalizes the rows of all processes together.",
            GradbookWarning,
        )
    if together and device.type == "cpu":
        raise ConfigError(
            "sync_batchnorm=True needs an accelerator: PyTorch's SyncBatchNorm does not work "
            "on the CPU. Leave it out, and each process normalizes its own rows of a batch; or "
            "train in one process."
        )
    for children, name, child in places if together else ():
        children[name] = torch.nn.SyncBatchNorm.convert_sync_batchnorm(child)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for children, name, child in places:  # whose tensors the others have shared
            children[name] = child


def running_means(model: Any) -> list[torch.Tensor]:
    """What the layers of PyTorch average that normalize batches: running means and variances."""
    layers = [each for each in layers_of(model) if isinstance(each, _NormBase)]
    found = [mean for each in layers for mean in (each.running_mean, each.running_var)]
    return [mean for mean in found if mean is not None]


def other_averages(model: Any) -> list[torch.Tensor]:
    """What else layers may average: buffers and plain attributes that are not trained."""
    known = set(map(id, running_means(model)))
    found: dict[int, torch.Tensor] = {}
    for layer in layers_of(model):
        for value in (*getattr(layer, "_buffers", {}).values(), *vars(layer).values()):
            if isinstance(value, torch.Tensor) and not value.requires_grad:
                found[id(value)] = value
    return [
        each
        for each in found.values()
        if each.is_floating_point() and each.layout == torch.strided and id(each) not in known
    ]
