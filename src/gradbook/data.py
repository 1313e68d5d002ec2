"""Data modules, and minibatches from tensors that are in memory.

Book: 3.2.3 (oo-design-data).
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

from gradbook.checks import check_whole_number, describe, model_first, only_a_class
from gradbook.devices import free_bytes
from gradbook.errors import DataError, GradbookWarning, warn
from gradbook.hparams import HyperParameters
from gradbook.rows import Rows, gathered
from gradbook.tensors import as_tensors, copy_batch

Batch = Sequence[torch.Tensor]


class TensorLoader:
    """Minibatches of tensors in memory, as a `DataLoader` over a `TensorDataset` gives them.

    It needs no worker processes and no work per example: a batch is one gather, and a
    `transform` for what must not be kept in memory for all examples, such as images as floats.
    A batch has memory of its own: what is written into it does not change the data.

    Args:
        tensors: Tensors of the same length n; the last one holds the labels. Arrays, tables and
            lists of numbers are converted as `as_tensor` does.
        batch_size: Examples in a batch. The last batch may be smaller.
        shuffle: Whether each pass takes a new random order, from PyTorch's default generator.
        transform: Called with the list of a batch's tensors; returns the batch.

    Raises:
        ConfigError: If `batch_size` is not a positive integer.
        DataError: If there are no examples, or the tensors differ in length or are not numbers.
    """

    def __init__(
        self,
        tensors: Sequence[Any],
        batch_size: int,
        shuffle: bool = False,
        transform: Callable[[list[torch.Tensor]], Batch] | None = None,
    ) -> None:
        self.tensors = tuple(as_tensors(tensors))
        self.batch_size = check_whole_number(batch_size, "batch_size", at_least=1)
        self.shuffle = shuffle
        self.transform = transform
        if not self.tensors or len(self.tensors[0]) == 0:
            raise DataError("The data set is empty: it has no examples to make a batch of.")

    def __repr__(self) -> str:
        shapes = ", ".join(str(tuple(tensor.shape[1:])) for tensor in self.tensors)
        order = ", shuffled" if self.shuffle else ""
        return (
            f"TensorLoader: {len(self.tensors[0]):,} examples of shape {shapes} in {len(self):,} "
            f"batches of {self.batch_size}{order}"
        )

    @property
    def dataset(self) -> TensorDataset:
        """The tensors as a PyTorch data set, without the transform."""
        return TensorDataset(*self.tensors)

    def __len__(self) -> int:
        return -(-len(self.tensors[0]) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for numbers in self._numbers():
            batch = [gathered(tensor, numbers) for tensor in self.tensors]
            yield batch if self.transform is None else self.transform(batch)

    def ungathered(self) -> Iterator[Rows]:
        """The same pass without the transform, in batches of which nothing is gathered yet."""
        return (Rows(self.tensors, numbers) for numbers in self._numbers())

    def _numbers(self) -> Iterable[range | torch.Tensor]:
        """Which examples go into each batch of one pass."""
        n, size = len(self.tensors[0]), self.batch_size
        if not self.shuffle:
            return (range(begin, min(begin + size, n)) for begin in range(0, n, size))
        # The order is drawn on the CPU, so that a seed gives the same batches on every device.
        return torch.split(torch.randperm(n).to(self.tensors[0].device), size)

    def first(self) -> Batch:
        """The first examples in their own order: a look at a batch that draws no random number."""
        batch = [tensor[: self.batch_size].clone() for tensor in self.tensors]
        return batch if self.transform is None else self.transform(batch)

    def to(self, device: torch.device) -> "TensorLoader":
        """The same loader over tensors on `device`."""
        moved = copy.copy(self)
        moved.tensors = tuple(tensor.to(device) for tensor in self.tensors)
        return moved


#: How much of an accelerator's free memory data in memory may take; the rest is the training's.
RESIDENT_PART = 0.5


def resident(loaders: Iterable[Any], device: torch.device) -> list[Any]:
    """Minibatches of data in memory from where they are trained on: they move there once.

    Data that are too large stay where they are, and each batch is moved when its turn comes. What
    is no `TensorLoader` stays as it is.

    Args:
        loaders: The minibatches of a training; the first move first.
        device: An accelerator.
    """
    free, moved = free_bytes(device), []
    left = None if free is None else RESIDENT_PART * free
    for loader in loaders:
        if isinstance(loader, TensorLoader):
            # Those on the device already need no more.
            needed = sum(t.nbytes for t in loader.tensors if t.device != device)
            if left is None or needed <= left:
                left = None if left is None else left - needed
                loader = loader.to(device)
            else:
                warn(
                    f"The data need {needed / 1e9:.3g} GB, and {device} has {left / 1e9:.3g} GB "
                    f"for them: half of what is free. So they stay in the computer's memory, and "
                    f"each batch moves by itself, which takes longer.",
                    GradbookWarning,
                )
        moved.append(loader)
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
        self, tensors: Sequence[Any], train: bool, indices: Any = slice(0, None)
    ) -> Any:
        """Minibatches of `self.batch_size` examples from tensors; shuffled when training.

        Args:
            tensors: Tensors of the same length, the labels last. NumPy arrays, pandas tables and
                columns, and lists of numbers are converted: floating point to PyTorch's default,
                float32, and integers to int64, but uint8 stays. A tensor keeps its dtype.
            train: Whether the batches are for training.
            indices: The examples to use: a slice, their numbers, or True or False for each.
                Book: 3.3.4.

        Raises:
            DataError: If there are no such examples, or the tensors differ in length or are not
                numbers.
        """
        if not hasattr(self, "batch_size"):
            name = type(self).__name__
            raise DataError(
                f"{name} has no batch_size. Give its __init__ an argument `batch_size` that "
                f"save_hyperparameters() keeps, or set `self.batch_size`."
            )
        converted = as_tensors(tensors)
        try:
            chosen = [tensor[indices] for tensor in converted]
            is_one = any(a.dim() < b.dim() for a, b in zip(chosen, converted, strict=True))
        except (IndexError, TypeError):
            is_one = True
        if is_one:
            raise DataError(
                f"indices={indices!r:.80} does not choose among the {len(converted[0])} examples. "
                f"Give a slice, such as slice(0, 100), or a list of numbers from 0 to "
                f"{len(converted[0]) - 1}."
            )
        if chosen and len(chosen[0]) == 0:
            raise DataError(
                f"The {'training' if train else 'validation'} set of {type(self).__name__} is "
                f"empty: it has no examples to make a batch of."
            )
        return TensorLoader(chosen, self.batch_size, train)


class GivenData(DataModule):
    """A data set of what is at hand: tensors or arrays, a data set of PyTorch, or minibatches.

    `Trainer.fit` and whatever else takes data makes one of what it is given instead of a
    DataModule, with batches of 32.

    Args:
        train: The training set: inputs and labels such as `(X, y)`, each of n examples; a data set
            of PyTorch; or minibatches, such as a `DataLoader`.
        val: The validation set likewise, if there is one.
        batch_size: Examples in a batch, of what is not cut into minibatches already.

    Raises:
        DataError: If tensors differ in length, or are not numbers.

    Example:
        >>> data = GivenData((torch.randn(100, 2), torch.randn(100, 1)), batch_size=10)
        >>> [tuple(part.shape) for part in next(iter(data.train_dataloader()))]
        [(10, 2), (10, 1)]
    """

    def __init__(self, train: Any, val: Any = None, batch_size: int = 32) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["train", "val"])
        check_whole_number(batch_size, "batch_size", at_least=1)
        self.train, self.val = (
            as_tensors(given) if are_examples(given) else given for given in (train, val)
        )

    def get_dataloader(self, train: bool) -> Any:
        """The minibatches of the training set, shuffled, or of the validation set."""
        given = self.train if train else self.val
        if are_examples(given):
            return self.get_tensorloader(given, train)
        if isinstance(given, Dataset):
            shuffle = train and not isinstance(given, IterableDataset)
            return DataLoader(given, self.batch_size, shuffle=shuffle)
        return given


def as_data(given: Any, call: str = "fit") -> Any:
    """Data that give minibatches, of what a function that takes data was given.

    Args:
        given: A DataModule, which is returned; or what `GivenData` takes as `train`, or a tuple
            `(train, val)` of two such.
        call: The function, for errors.

    Raises:
        DataError: If it is none of these.
    """
    if hasattr(given, "train_dataloader") and not isinstance(given, type):
        return given
    is_pair = isinstance(given, tuple) and len(given) == 2 and _is_set(given[0])
    if is_pair and (given[1] is None or _is_set(given[1])):
        return GivenData(*given)
    if _is_set(given):
        return GivenData(given)
    if isinstance(given, type):
        raise DataError(f"{call}() needs data, but {only_a_class(given)}")
    kind = "a tensor " if isinstance(given, torch.Tensor) else ""
    raise DataError(
        f"{call}() needs data, but got {kind}{describe(given):.80}. Give a gradbook.DataModule; or "
        f"inputs and labels, `(X, y)`; or a data set of PyTorch; or minibatches, such as a "
        f"DataLoader; or two of these, `(train, val)`.{model_first(given)}"
    )


def are_examples(given: Any) -> bool:
    """Whether these are inputs and labels, each a tensor, an array or a table."""
    return (
        isinstance(given, tuple | list)
        and bool(given)
        and all(hasattr(part, "__array__") for part in given)
    )


def _is_set(given: Any) -> bool:
    """Whether this is a training or a validation set."""
    if are_examples(given) or isinstance(given, Dataset):
        return True
    is_other = isinstance(given, str | bytes | Mapping | type) or is_numbers(given)
    return hasattr(given, "__iter__") and not is_other


def is_numbers(data: Any) -> bool:
    """Whether data are one tensor, array or table, or a list of numbers, and no batches."""
    first = data
    while isinstance(first, list | tuple) and first:
        first = first[0]
    return hasattr(data, "__array__") or (first is not data and isinstance(first, Real | str))
