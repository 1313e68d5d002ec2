"""A trained model's outputs over a whole set."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from gradbook.checks import at_rest, check_batch, explain_not_one_tensor
from gradbook.data import Batch, TensorLoader
from gradbook.devices import device_of
from gradbook.errors import DataError, ModelError
from gradbook.evaluation import batches_of
from gradbook.interrupts import interruptible
from gradbook.resume.loader import always_the_same
from gradbook.tensors import as_tensor, copy_batch, to_device


class Predictions(NamedTuple):
    """What a model gives for each example, and what it should give, on the CPU.

    Attributes:
        outputs: The outputs, of shape (n, ...).
        labels: The labels, of shape (n, ...).
    """

    outputs: torch.Tensor
    labels: torch.Tensor


@interruptible()
def predictions(model: torch.nn.Module, data: Any, train: bool = False) -> Predictions:
    """The outputs of `model` for all examples of the validation set.

    The model computes in evaluation mode and without gradients, batch by batch on its own device,
    and is left in its own mode. The inputs are not kept.

    Args:
        model: The model.
        data: The data, with batches of (inputs..., label): a DataModule, a data set of PyTorch,
            or such batches themselves.
        train: Whether to take a DataModule's training set instead. Where it is in memory it
            comes in its own order; another loader gives the order that it draws.

    Returns:
        The outputs and the labels; `Y_hat, y = predictions(model, data)` takes them apart.

    Raises:
        DataError: If there is no such set, or it is empty.
        BatchError: If a batch is not (inputs..., label).
        ModelError: If the model is none, or its output is not one tensor.
    """
    outputs, labels = [], []
    for batch, output in batches_and_outputs(model, data, train):
        outputs.append(output.cpu())
        labels.append(batch[-1].cpu())
    return Predictions(torch.cat(outputs), torch.cat(labels))


def batches_and_outputs(
    model: Any, data: Any, train: bool = False
) -> Iterator[tuple[Batch, torch.Tensor]]:
    """Each batch of a set with the model's output for it, both on the model's device.

    Between two batches the model is in its own mode, so that a loop over them may be left.
    Arguments and errors are those of `predictions`; there is at least one batch.
    """
    if not isinstance(model, torch.nn.Module):
        what = f"the class {model.__name__} itself" if isinstance(model, type) else repr(model)
        raise ModelError(f"A trained model is needed, an instance of Module, but got {what}.")
    split = "training" if train else "validation"
    loader = batches_of(data, train, "inspect")
    if loader is None:
        name = type(data).__name__
        raise DataError(f"{name} has no {split} set. Give it one, or pass train=True.")
    if isinstance(loader, TensorLoader):  # in its own order, and without drawing random numbers
        loader = always_the_same(loader, len(loader))
    device = device_of(model)
    empty = True
    for batch in loader:
        check_batch(batch, type(data).__name__)
        y = as_tensor(batch[-1], "The labels", is_label=True)
        batch = to_device([*batch[:-1], y], device)
        with at_rest(model):
            output = model(*copy_batch(batch[:-1]))
        if not isinstance(output, torch.Tensor):
            raise ModelError(explain_not_one_tensor(model, output))
        empty = False
        yield batch, output
    if empty:
        raise DataError(f"The {split} set of {type(data).__name__} is empty.")
