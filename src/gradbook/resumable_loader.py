"""One pass after another over a loader: limited, interrupted between batches, and gone on with."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, Subset

from gradbook.data import Batch, KeptBatches, TensorLoader
from gradbook.errors import DataError, GradbookWarning, warn
from gradbook.seeds import generators_in, random_state, restore_random_state

Split = Literal["train", "val"]


@dataclass
class Position:
    """How far a training has come.

    Attributes:
        owners: What the batches and steps may depend on beside the global random generators:
            the data, the parts of the loaders, the model's layers.
        epoch: The number of finished epochs.
        split: The set whose pass is running.
        batches: The batches of that pass that are done.
        pass_start: What `sources` gave when that pass began.
        resumed: What it gave when the pass was stopped that is to be resumed.
        labels: A checksum of the labels of the pass, of a loader whose order may not come again.
        between_steps: Whether the state is that between two steps, from which a training can go
            on exactly: the next batch is not being fetched, and no step is running.
    """

    owners: Sequence[Any] = ()
    epoch: int = 0
    split: Split = "train"
    batches: int = 0
    pass_start: dict[str, Any] = field(default_factory=dict)
    resumed: dict[str, Any] | None = None
    labels: int = 0
    between_steps: bool = True

    @cached_property
    def generators(self) -> list[Any]:
        """The random generators of the owners' own."""
        return generators_in(self.owners)

    def sources(self) -> dict[str, Any]:
        """The state of every random generator, and the numbers that the owners count with."""
        return {**random_state(self.generators), "numbers": [_numbers(o) for o in self.owners]}

    def restore_sources(self, sources: dict[str, Any]) -> None:
        """Puts back what `sources` gave."""
        restore_random_state(sources, self.generators)
        for owner, numbers in zip(self.owners, sources["numbers"], strict=True):
            for name, value in numbers.items():
                if vars(owner).get(name) != value:
                    setattr(owner, name, value)

    def end_epoch(self) -> None:
        """The next epoch is about to begin."""
        self.epoch += 1
        self.split, self.batches, self.pass_start = "train", 0, {}
        self.between_steps = True


def _numbers(owner: Any) -> dict[str, int | float]:
    """The numbers that an object may count with, by attribute. How many workers fetch is none."""
    if isinstance(owner, DataLoader | TensorLoader) or not hasattr(owner, "__dict__"):
        return {}
    attributes = vars(owner).items()
    return {k: v for k, v in attributes if type(v) in (int, float, bool) and k != "num_workers"}


class ResumableLoader:
    """The minibatches of a loader, in passes whose place a `Position` knows.

    Everything that a training loop needs beyond the batches hangs here, and not on the loop,
    because the book's readers replace the loop. Whoever iterates over it gets what the loader
    gives; attributes are the loader's.

    A pass that is resumed begins with the generators' state of its own beginning, so that the
    loader draws the same order again. The batches that were done are passed over, and the
    generators then go on from where they were when it was stopped.

    Args:
        loader: The minibatches.
        split: Whose they are.
        position: Where the training is.
        limit: The batches of a pass; None takes all.
        after_batch: Called when a batch has been used, before the next one is fetched.
    """

    def __init__(
        self,
        loader: Any,
        split: Split,
        position: Position,
        limit: int | None,
        after_batch: Callable[[Split], None],
    ) -> None:
        self.loader = loader
        self._split, self._position, self._limit = split, position, limit
        self._after_batch = after_batch
        self._is_foreign = not isinstance(loader, TensorLoader)  # ours draws before it gives any

    def __len__(self) -> int:
        return len(self.loader) if self._limit is None else min(len(self.loader), self._limit)

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # not there yet, as while a copy is made
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Batch]:
        position = self._position
        resumed = position.resumed
        if resumed is not None and self._split != position.split:
            return  # this epoch's pass of the other set was done before the training was stopped
        position.between_steps = False
        if resumed is None:
            position.split, position.batches, position.labels = self._split, 0, 0
            position.pass_start = position.sources()
            batches = iter(self.loader)
        else:
            position.resumed = None
            position.restore_sources(position.pass_start)
            batches = iter(self.loader)
            self._pass_over(batches)
            position.restore_sources(resumed)
        left = None if self._limit is None else len(self) - position.batches
        for batch in islice(batches, left):
            if self._is_foreign:
                position.labels = _checksum(batch, position.labels)
            yield batch
            position.batches += 1
            self._after_batch(self._split)

    def _pass_over(self, batches: Iterator[Batch]) -> None:
        """Fetches the batches that were done before the training was stopped."""
        position, passed_over, labels = self._position, 0, 0
        for batch in islice(batches, position.batches):
            passed_over += 1
            if self._is_foreign:
                labels = _checksum(batch, labels)
        if passed_over < position.batches:
            raise DataError(
                f"The {self._split} set gave {passed_over} batches, but the checkpoint was "
                f"made after {position.batches}. Resume with the data it was made with."
            )
        if labels != position.labels:
            warn(
                f"The {self._split} set gave other labels than before the training was stopped, so "
                f"that some examples of this epoch may come twice and others not at all. Its "
                f"loader draws from generators that the training draws from as well: give it one "
                f"of its own, or go on from the end of an epoch.",
                GradbookWarning,
            )


def _checksum(batch: Any, before: int) -> int:
    """The checksum of a pass's labels, with those of one more batch."""
    labels = batch[-1] if isinstance(batch, Sequence) and len(batch) else None
    if not isinstance(labels, torch.Tensor) or labels.device.type != "cpu":
        return before
    content = labels.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return zlib.crc32(content, before)


def parts_of(loader: Any) -> list[Any]:
    """The parts of a loader on whose state its batches may depend.

    Its samplers, its data set and those that this one wraps, and their transforms.
    """
    batch_sampler = getattr(loader, "batch_sampler", None)
    parts = [loader, getattr(loader, "sampler", None), batch_sampler]
    parts.append(getattr(batch_sampler, "sampler", None))
    parts.append(getattr(loader, "collate_fn", None))
    dataset = getattr(loader, "dataset", None)
    while dataset is not None and not any(dataset is part for part in parts):
        parts += [dataset, getattr(dataset, "transform", None)]
        dataset = getattr(dataset, "dataset", None)
    return parts


def batch_sizes(loader: Any) -> list[int]:
    """The number of examples in each batch; empty where it cannot be known."""
    try:
        size, num_batches = loader.batch_size, len(loader)
        # A sampler may leave examples out, or take some twice.
        num_examples = len(loader.sampler if hasattr(loader, "sampler") else loader.dataset)
        last = min(size, num_examples - size * (num_batches - 1))
    except (AttributeError, TypeError):
        return []
    return [size] * (num_batches - 1) + [last]


def limited(loader: Any, limit: int | float | None) -> int:
    """The batches of a pass: all, so many, or so large a part of them."""
    if loader is None:
        return 0
    if limit is None:
        return len(loader)
    if limit < 1:
        # A little more, because 0.29 * 100 is less than 29 in floating point.
        return max(1, int(len(loader) * limit + 1e-9))
    return min(len(loader), int(limit))


def always_the_same(loader: Any, num_batches: int) -> Any:
    """The first batches of a loader's examples in their own order, the same in every pass."""
    if isinstance(loader, TensorLoader):
        rows = num_batches * loader.batch_size
        return TensorLoader(
            [tensor[:rows] for tensor in loader.tensors],
            loader.batch_size,
            transform=loader.transform,
        )
    if takes_all(loader):
        rows = min(num_batches * loader.batch_size, len(loader.dataset))
        return DataLoader(
            Subset(loader.dataset, range(rows)),
            loader.batch_size,
            collate_fn=loader.collate_fn,
        )
    return KeptBatches(islice(loader, num_batches))


def takes_all(loader: Any) -> bool:
    """Whether a loader is PyTorch's, and gives each example of its data set in a pass.

    A sampler may leave out examples, because they are not of the training set, and so may a
    loader that drops the last batch of a fixed order.
    """
    sampler: Any = getattr(loader, "sampler", None)
    return (
        isinstance(loader, DataLoader)
        and bool(loader.batch_size)
        and type(sampler) in (RandomSampler, SequentialSampler)
        and sampler.data_source is loader.dataset
        and hasattr(loader.dataset, "__len__")
        and not (loader.drop_last and type(sampler) is SequentialSampler)
    )
