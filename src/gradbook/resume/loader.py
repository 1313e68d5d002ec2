"""One pass after another over a loader: limited, interrupted between batches, and gone on with."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, Subset

from gradbook.attributes import Keeper
from gradbook.data import AroundLoader, Batch, KeptBatches, TensorLoader
from gradbook.distributed import Group, Weigh
from gradbook.errors import DataError, GradbookWarning, warn
from gradbook.rows import Rows
from gradbook.seeds import generators_in, random_state, restore_random_state

Split = Literal["train", "val"]


def _lists() -> dict[Split, list[tuple[int, int]]]:
    return {"train": [], "val": []}


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
        elsewhere: What owners may hold, and a checkpoint has in another place, as the optimizer.
        told_unkept: What was told not to be kept; None where no checkpoint is.
        earlier: The passes of this epoch that came before, each with its set and its batches that
            were done.
        running: Who holds the place: the pass that is running, or whoever wants none to begin.
            What is iterated over meanwhile is an inner pass, and moves nothing here. None between
            the passes of an epoch.
        inner: The inner passes that are open.
        steps: The updates of the optimizer since the training began.
        sizes: For each set, the number of examples in each batch that it gave in this epoch (0 if
            it cannot be told), and 1 if that was in a pass of the epoch's own, otherwise 0.
        given: For each set, the batches of its last pass that came to an end in this epoch.
        counted: For each set, the batches by which epochs are counted.
        is_cut: Whether the running epoch trains on no further batch.
        told: The sets of which was said that they give another number, each time it was.
        group: The processes that train together, each on its part of the epoch's batches.
        weigh: How much a batch counts; None counts its examples.
    """

    owners: Sequence[Any] = ()
    epoch: int = 0
    split: Split = "train"
    batches: int = 0
    pass_start: dict[str, Any] = field(default_factory=dict)
    resumed: dict[str, Any] | None = None
    labels: int = 0
    between_steps: bool = True
    elsewhere: Sequence[Any] = ()
    told_unkept: set[str] | None = None
    earlier: list[tuple[Split, int]] = field(default_factory=list)
    running: object | None = None
    inner: int = 0
    steps: int = 0
    sizes: dict[Split, list[tuple[int, int]]] = field(default_factory=_lists)
    given: dict[Split, int] = field(default_factory=dict)
    counted: dict[Split, int] = field(default_factory=dict)
    is_cut: bool = False
    told: list[Split] = field(default_factory=list)
    group: Group = field(default_factory=Group)
    weigh: Weigh | None = None
    _again: int = 0  # of `earlier`, those that a resumed training has come to once more

    @cached_property
    def keeper(self) -> Keeper:
        """Who takes what the owners keep in attributes."""
        # Of a loader itself nothing is state; how many workers fetch may change.
        loaders = [o for o in self.owners if isinstance(o, DataLoader | TensorLoader)]
        owners = [o for o in self.owners if not isinstance(o, DataLoader | TensorLoader)]
        return Keeper(owners, [*loaders, *self.elsewhere])

    @cached_property
    def generators(self) -> list[Any]:
        """The random generators of the owners' own."""
        return generators_in(self.owners)

    def sources(self) -> dict[str, Any]:
        """The state of every random generator, and what the owners count and collect."""
        return {**random_state(self.generators), "numbers": self.keeper.take()}

    def restore_sources(self, sources: dict[str, Any]) -> list[str]:
        """Puts back what `sources` gave; returns the names of what there is no place for."""
        restore_random_state(sources, self.generators)
        return self.keeper.put_back(sources["numbers"])

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the state of `sources`."""
        return {
            **{name: copy(getattr(self, name)) for name in _KEPT},
            "is_cut": self.is_cut,
            "earlier": [list(before) for before in self.earlier],
            "sizes": {
                split: torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2)
                for split, sizes in self.sizes.items()
            },
            "has_inner": self.inner > 0,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        for name in _KEPT:
            kind = type(getattr(self, name))
            setattr(self, name, kind(state[name]))
        self.is_cut = state.get("is_cut", False)
        self.earlier = [(split, batches) for split, batches in state["earlier"]]
        self.sizes = {
            split: [(size, own) for size, own in sizes.tolist()]
            for split, sizes in state["sizes"].items()
        }

    def begin_epoch(self) -> None:
        """The passes that begin from here on are the epoch's own."""
        self.running = None

    def begin_pass(self, split: Split) -> None:
        """A pass begins that is not the rest of one."""
        if self.pass_start:
            self.earlier.append((self.split, self.batches))
        self.split, self.batches, self.labels = split, 0, 0
        self.pass_start = self.sources()

    def come_again(self, split: Split) -> Literal["rest", "done", "look"]:
        """What a pass is that begins in a resumed epoch before the one that was stopped goes on.

        Returns:
            "rest" if it is the one that was stopped; "done" if it was done before; "look" if only
            its first batch was taken then.

        Raises:
            DataError: If the epoch goes through its sets in another order than before.
        """
        if self._again == len(self.earlier):
            return "rest" if split == self.split else "done"
        before, batches = self.earlier[self._again]
        self._again += 1
        if before != split:
            raise DataError(
                f"Epoch {self.epoch + 1}, which is resumed in its middle, now iterates over the "
                f"{split} set where it iterated over the {before} set before. Resume from the end "
                f"of an epoch instead."
            )
        if batches:
            return "done"
        warn(
            f"Before the training was stopped, this epoch had taken only the first batch of a pass "
            f"over the {split} set, as `next(iter(...))` does. It now takes a first batch again, "
            f"which may be a different one; if the model trains on it, it does so twice.",
            GradbookWarning,
        )
        return "look"

    def end_epoch(self) -> None:
        """The next epoch is about to begin. Until then, no pass is one of the training."""
        passes = [*self.earlier, (self.split, self.batches)]
        trained = any(split == "train" and batches for split, batches in passes)
        if not trained and not all(own for _, own in self.sizes["train"]):
            warn(
                "The training set was iterated over while another iterator over a set was still "
                "open, and that one counts as the epoch's pass. So Ctrl-C waits for the end of an "
                "epoch, and no schedule steps with each batch. Begin no other iterator before the "
                "training set's, or close it, as `next(iter(...))` does by itself.",
                GradbookWarning,
            )
        self.epoch += 1
        self.split, self.batches, self.pass_start = "train", 0, {}
        self.between_steps = True
        self.earlier, self._again, self.running = [], 0, self
        self.sizes, self.given, self.is_cut = _lists(), {}, False


#: The attributes of a position that a checkpoint has as they are.
_KEPT = ("epoch", "split", "batches", "labels", "steps", "given", "counted", "told")


class ResumableLoader(AroundLoader):
    """The minibatches of a loader, in passes whose place a `Position` knows.

    Everything that a training loop needs beyond the batches hangs here, and not on the loop,
    because the book's readers replace the loop. Whoever iterates over it gets what the loader
    gives; attributes are the loader's.

    A pass that is resumed begins with the generators' state of its own beginning, so that the
    loader draws the same order again. The batches that were done are passed over, and the
    generators then go on from where they were when it was stopped.

    A pass that begins while another one is running is an inner one: a step that looks at a batch,
    or at all of them. It gives what the loader gives, and leaves the place as it is.

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
        super().__init__(loader)
        self.limit = limit
        self._split, self._position = split, position
        self._after_batch = after_batch
        self._is_foreign = not isinstance(loader, TensorLoader)  # ours draws before it gives any
        self._batch_size = getattr(loader, "batch_size", None)

    def __len__(self) -> int:
        return len(self.loader) if self.limit is None else min(len(self.loader), self.limit)

    def __iter__(self) -> Iterator[Batch]:
        # A generator, so that this is asked when the first batch is: zip() makes all its iterators
        # before it takes of any.
        position = self._position
        if position.running is not None:
            yield from self._inner_pass()
            return
        kind = "new" if position.resumed is None else position.come_again(self._split)
        if kind == "look":
            yield from self._inner_pass()
        elif kind != "done":
            yield from self._own_pass()

    def _own_pass(self) -> Iterator[Batch]:
        """One of the epoch's passes, whose place is known."""
        position, me = self._position, object()
        position.running, position.between_steps = me, False
        try:
            if self._split == "val":
                position.group.settle()
            if position.resumed is None:
                position.begin_pass(self._split)
                batches = self._begun()
            else:
                resumed, position.resumed = position.resumed, None
                position.restore_sources(position.pass_start)
                batches = self._begun()
                self._pass_over(batches)
                position.restore_sources(resumed)
            left = None if self.limit is None else self.limit - position.batches
            left = 0 if self._is_cut else left
            rest = islice(batches, left)
            for batch in rest:
                if self._is_foreign:
                    position.labels = _checksum(batch, position.labels)
                size = self._note(batch, own=True)
                number = (position.epoch, self._split == "val", position.batches)
                if isinstance(self._batch_size, int) and size > self._batch_size:
                    size = 0  # its first dimension counts something else
                with position.group.stepping(batch, size, position.weigh, number) as part:
                    yield part
                if position.running is not me:  # it was kept from an epoch that is over
                    yield from (list(late) if isinstance(late, Rows) else late for late in rest)
                    return
                position.batches += 1
                self._after_batch(self._split)
                if self._is_cut:
                    return
            if self._is_cut:  # before it was resumed
                return
            self._ended(position.batches)
        finally:
            if position.running is me:
                position.running = None

    def _begun(self) -> Iterator[Any]:
        """A pass over the loader; one of several processes gathers none but its own rows."""
        loader = self.loader
        is_ours = type(loader).__iter__ is TensorLoader.__iter__ and loader.transform is None
        return loader.ungathered() if is_ours and self._position.group.size > 1 else iter(loader)

    @property
    def _is_cut(self) -> bool:
        return self._position.is_cut and self._split == "train"

    def _inner_pass(self) -> Iterator[Batch]:
        """A pass within another one."""
        position, given = self._position, 0
        position.inner += 1
        try:
            for batch in islice(self.loader, self.limit):
                given += 1
                self._note(batch, own=False)
                yield batch
            self._ended(given)
        finally:
            position.inner -= 1

    def _note(self, batch: Any, own: bool) -> int:
        """Notes how many examples a batch has, and returns it."""
        size = num_examples(batch, self._batch_size)
        self._position.sizes[self._split].append((size, own))
        return size

    def _ended(self, given: int) -> None:
        """A pass has come to its end."""
        position = self._position
        if not given and len(self):
            name = {"train": "training", "val": "validation"}[self._split]
            raise DataError(
                f"The {name} set gave no batch in epoch {position.epoch + 1}. What "
                f"`{self._split}_dataloader()` returns must give all its batches each time it is "
                f"iterated over."
            )
        position.given[self._split] = given

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
                f"of its own, or resume from the end of an epoch.",
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


def num_examples(batch: Any, batch_size: Any) -> int:
    """How many examples a batch has; 0 where that cannot be told.

    Labels of a sequence may have its steps first. So without a loader's `batch_size` to compare
    with, all tensors of the batch have to be of the same length.
    """
    if isinstance(batch, Rows):
        return batch.num_examples
    tensors = list(batch.values()) if isinstance(batch, Mapping) else batch
    try:
        size: int = len(tensors) if isinstance(tensors, torch.Tensor) else tensors[-1].shape[0]
    except (AttributeError, LookupError, TypeError):
        return 0
    if batch_size is None and not isinstance(tensors, torch.Tensor):
        lengths = (tensor.shape[:1] for tensor in tensors if isinstance(tensor, torch.Tensor))
        return size if all(length == (size,) for length in lengths) else 0
    return size


def weights_of(
    loader: Any, given: Sequence[tuple[int, int]], meters: Mapping[str, Sized], prefix: str
) -> list[int]:
    """The number of examples in each batch of an epoch whose values were recorded.

    Args:
        loader: The minibatches.
        given: What `Position.sizes` has of them.
        meters: The values, by label.
        prefix: What the labels of this set begin with.

    Returns:
        As many numbers as there are values of a label; empty where they cannot be known.
    """
    own, all_given = [size for size, own in given if own], [size for size, _ in given]
    batch_size: Any = getattr(loader, "batch_size", None)
    largest = max(all_given, default=0)
    # Smaller ones that differ: some were left out. Where they are equal, they count no examples.
    is_known = batch_size is None or largest == batch_size
    is_known = is_known or min(all_given, default=0) < largest < batch_size
    if not (is_known and all(all_given)):
        # The first dimension of the labels may not be the one that counts examples.
        one_pass = batch_sizes(loader)
        own, all_given = one_pass, one_pass * (len(given) // max(len(one_pass), 1))
    counts = {len(meter) for label, meter in meters.items() if label.startswith(prefix)}
    return next((sizes for sizes in (own, all_given) if len(sizes) in counts), [])


def check_begins_anew(loader: Any) -> None:
    """Raises DataError of a loader that can be seen to give its batches only once."""
    streams = [loader]
    if not getattr(loader, "num_workers", 0):  # each worker begins with a copy
        streams.append(getattr(loader, "dataset", None))
    for stream in streams:
        begin = getattr(type(stream), "__iter__", None)
        code = getattr(begin, "__code__", None)
        # An iterator returns itself and does no more; what does, may go back to its beginning.
        if hasattr(stream, "__next__") and (code is None or code.co_code == _RETURNS_ITSELF):
            raise DataError(
                f"{type(stream).__name__} gives its batches only once: it is an iterator, and "
                f"training needs them in every epoch. Keep them in a list, or give it an "
                f"`__iter__` that starts again from the first batch, as one with `yield` does."
            )


_RETURNS_ITSELF = Iterator.__iter__.__code__.co_code


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
        tensors = [tensor[:rows] for tensor in loader.tensors]
        return TensorLoader(tensors, loader.batch_size, transform=loader.transform)
    if takes_all(loader):
        rows = min(num_batches * loader.batch_size, len(loader.dataset))
        subset = Subset(loader.dataset, range(rows))
        return DataLoader(subset, loader.batch_size, collate_fn=loader.collate_fn)
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
