"""Data modules, and minibatches from tensors that are in memory.

Book: 3.2.3 (oo-design-data).
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset, default_collate

from gradbook.checks import check_whole_number
from gradbook.errors import DataError
from gradbook.hparams import HyperParameters

Batch = Sequence[torch.Tensor]


class TensorLoader:
    """Minibatches of tensors in memory, as a `DataLoader` over a `TensorDataset` gives them.

    It needs no worker processes and no work per example: a batch is one gather, and a
    `transform` for what must not be kept in memory for all examples, such as images as floats.
    A batch has memory of its own: what is written into it does not change the data.

    Args:
        tensors: Tensors of the same length n; the last one holds the labels.
        batch_size: Examples in a batch. The last batch may be smaller.
        shuffle: Whether each pass takes a new random order, from PyTorch's default generator.
        transform: Called with the list of a batch's tensors; returns the batch.

    Raises:
        ConfigError: If `batch_size` is not a positive integer.
        DataError: If there are no examples, or the tensors differ in length.
    """

    def __init__(
        self,
        tensors: Sequence[torch.Tensor],
        batch_size: int,
        shuffle: bool = False,
        transform: Callable[[list[torch.Tensor]], Batch] | None = None,
    ) -> None:
        self.tensors = tuple(tensors)
        self.batch_size = check_whole_number(batch_size, "batch_size", at_least=1)
        self.shuffle = shuffle
        self.transform = transform
        lengths = [len(tensor) for tensor in self.tensors]
        if len(set(lengths)) > 1:
            raise DataError(
                f"All tensors of a data set must have the same length, but these have {lengths}."
            )
        if not lengths or lengths[0] == 0:
            raise DataError("The data set is empty: it has no examples to make a batch of.")

    @property
    def dataset(self) -> TensorDataset:
        """The tensors as a PyTorch data set, without the transform."""
        return TensorDataset(*self.tensors)

    def __len__(self) -> int:
        return -(-len(self.tensors[0]) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for rows in self._rows():
            if isinstance(rows, slice):
                batch = [tensor[rows].clone() for tensor in self.tensors]  # no views
            else:
                batch = [tensor.index_select(0, rows) for tensor in self.tensors]
            yield batch if self.transform is None else self.transform(batch)

    def _rows(self) -> Iterable[slice | torch.Tensor]:
        """Which examples go into each batch of one pass."""
        num_examples = len(self.tensors[0])
        if not self.shuffle:
            starts = range(0, num_examples, self.batch_size)
            return (slice(start, start + self.batch_size) for start in starts)
        # The order is drawn on the CPU, so that a seed gives the same batches on every device.
        order = torch.randperm(num_examples).to(self.tensors[0].device)
        return iter(torch.split(order, self.batch_size))

    def first(self) -> Batch:
        """The first examples in their own order: a look at a batch that draws no random number."""
        batch = [tensor[: self.batch_size].clone() for tensor in self.tensors]
        return batch if self.transform is None else self.transform(batch)

    def to(self, device: torch.device) -> "TensorLoader":
        """The same loader over tensors on `device`."""
        moved = copy.copy(self)
        moved.tensors = tuple(tensor.to(device) for tensor in self.tensors)
        return moved


class KeptBatches(list[Any]):
    """Batches that are kept in a list; each pass gives copies, and leaves them as they are."""

    def __iter__(self) -> Iterator[Any]:
        return map(copy_batch, super().__iter__())


class AroundLoader:
    """The base class of what stands around a loader, and has its length and its attributes.

    Args:
        loader: The minibatches.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # not there yet, as while a copy is made
            raise AttributeError(name)
        return getattr(self.loader, name)


def inmost(loader: Any) -> Any:
    """The loader within all that stands around it."""
    while isinstance(loader, AroundLoader):
        loader = loader.loader
    return loader


class _Copies(AroundLoader):
    """Minibatches of a loader that may give parts of its data: each pass gives copies."""

    def __iter__(self) -> Iterator[Any]:
        return map(copy_batch, self.loader)


def giving_copies(loader: Any) -> Any:
    """The batches of `loader`, to be written into without a change of the data."""
    if type(loader) in (list, tuple):
        return KeptBatches(loader)
    # These make each batch anew: ours, and a DataLoader that puts examples together, or whose
    # worker processes do.
    is_new = isinstance(loader, TensorLoader) or (
        isinstance(loader, DataLoader)
        and (loader.num_workers > 0 or loader.collate_fn is default_collate)
    )
    return loader if is_new else _Copies(loader)


class DataModule(HyperParameters):
    """The base class of data: it knows its examples and cuts them into minibatches.

    A subclass defines `get_dataloader(train)`.

    Args:
        root: The folder for files.
        num_workers: Has no effect: worker processes do not make data in memory faster. It is
            taken because the book's code gives it.
    """

    root: str
    num_workers: int
    batch_size: int

    def __init__(self, root: str = "../data", num_workers: int = 4) -> None:
        self.save_hyperparameters()

    def get_dataloader(self, train: bool) -> Any:
        """The minibatches of the training set or of the validation set, as an iterable."""
        name = type(self).__name__
        raise DataError(
            f"{name} does not say how to get its batches. Write a method "
            f"`get_dataloader(self, train)` in {name} that returns an iterable of batches, "
            f"for example `self.get_tensorloader((self.X, self.y), train)`."
        )

    def train_dataloader(self) -> Any:
        """The minibatches of the training set."""
        return self.get_dataloader(train=True)

    def val_dataloader(self) -> Any:
        """The minibatches of the validation set; None if there is none."""
        return self.get_dataloader(train=False)

    def get_tensorloader(
        self,
        tensors: Sequence[torch.Tensor],
        train: bool,
        indices: slice | torch.Tensor = slice(0, None),
    ) -> Any:
        """Minibatches of `self.batch_size` examples from tensors; shuffled when training.

        Args:
            tensors: Tensors of the same length, the labels last.
            train: Whether the batches are for training.
            indices: The examples to use. Book: 3.3.4.
        """
        if not hasattr(self, "batch_size"):
            name = type(self).__name__
            raise DataError(
                f"{name} has no batch_size. Give its __init__ an argument `batch_size` that "
                f"save_hyperparameters() keeps, or set `self.batch_size`."
            )
        chosen = [tensor[indices] for tensor in tensors]
        if chosen and len(chosen[0]) == 0:
            raise DataError(
                f"The {'training' if train else 'validation'} set of {type(self).__name__} is "
                f"empty: it has no examples to make a batch of."
            )
        return TensorLoader(chosen, self.batch_size, train)


def to_device(value: Any, device: torch.device) -> Any:
    """A tensor, or tensors in lists, tuples and dictionaries, on `device`."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, list | tuple):
        return [to_device(item, device) for item in value]
    if isinstance(value, dict):
        return {key: to_device(item, device) for key, item in value.items()}
    return value


def copy_batch(value: Any, device: torch.device | None = None) -> Any:
    """A batch with memory of its own, on `device` if one is given.

    Tensors and arrays are copied, also in lists, tuples and dictionaries, and whatever has a
    method `clone`. Other objects are given as they are.
    """
    if isinstance(value, torch.Tensor):
        return value.to(value.device if device is None else device, copy=True)
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, list | tuple):
        items = [copy_batch(item, device) for item in value]
        if isinstance(value, list):
            return items
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, dict):
        return {key: copy_batch(item, device) for key, item in value.items()}
    return value.clone() if callable(getattr(value, "clone", None)) else value
