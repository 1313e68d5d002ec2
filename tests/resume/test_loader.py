"""Passes over a loader: limited, watched, stopped and gone on with."""

import copy
import random

import numpy as np
import pytest
import torch
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

from gradbook.data import TensorLoader
from gradbook.errors import DataError, GradbookWarning
from gradbook.resume.loader import (
    Position,
    ResumableLoader,
    always_the_same,
    parts_of,
)


def rows(n=10):
    return torch.arange(n).reshape(-1, 1)


def shuffled(batch_size=2, n=10):
    return TensorLoader([rows(n), rows(n)], batch_size, shuffle=True)


def make_pass(loader, split="train", position=None, limit=None, after_batch=lambda split: None):
    return ResumableLoader(loader, split, position or Position(), limit, after_batch)


def seen(batches):
    return [batch[0].flatten().tolist() for batch in batches]


# What it gives


def test_it_gives_what_the_loader_gives():
    torch.manual_seed(1)
    expected = seen(shuffled())
    torch.manual_seed(1)
    assert seen(make_pass(shuffled())) == expected


@pytest.mark.parametrize(("limit", "length"), [(None, 5), (2, 2), (9, 5)])
def test_a_limit_ends_it(limit, length):
    limited = make_pass(shuffled(), limit=limit)
    assert len(limited) == len(list(limited)) == length


def test_a_limited_pass_fetches_no_batch_too_many():
    fetched = []

    class Loader(list):
        def __iter__(self):
            for batch in super().__iter__():
                fetched.append(batch)
                yield batch

    list(make_pass(Loader([1, 2, 3, 4]), limit=2))
    assert fetched == [1, 2]


def test_its_attributes_are_the_loader_s():
    assert make_pass(shuffled(3)).batch_size == 3
    with pytest.raises(AttributeError, match="sampler"):
        _ = make_pass(shuffled()).sampler


def test_it_can_be_copied():
    assert len(copy.deepcopy(make_pass(shuffled(), limit=2))) == 2


# What the position knows


def test_the_position_counts_batches_that_were_used():
    position = Position()
    counts = [position.batches for _ in make_pass(shuffled(), position=position)]
    assert counts == [0, 1, 2, 3, 4]
    assert (position.split, position.batches) == ("train", 5)


def test_a_batch_is_over_before_the_next_is_fetched():
    order = []

    class Loader(list):
        def __iter__(self):
            for batch in super().__iter__():
                order.append(f"fetch {batch}")
                yield batch

    def after_batch(split):
        order.append(f"after {split}")

    for batch in make_pass(Loader([1, 2]), "val", after_batch=after_batch):
        order.append(f"use {batch}")
    assert order == ["fetch 1", "use 1", "after val", "fetch 2", "use 2", "after val"]


def test_each_pass_begins_anew():
    position = Position()
    train, val = (make_pass(shuffled(n=n), s, position) for n, s in ((10, "train"), (4, "val")))
    list(train)
    list(val)
    assert (position.split, position.batches) == ("val", 2)
    position.end_epoch()
    assert (position.epoch, position.split, position.batches) == (1, "train", 0)


def test_a_loop_may_validate_before_it_trains():
    position = Position()
    train, val = (make_pass(shuffled(), split, position) for split in ("train", "val"))
    assert len(list(val)) == 5
    assert len(list(train)) == 5


def test_a_loop_may_go_through_the_training_set_after_the_validation():
    position = Position()
    train, val = (make_pass(shuffled(), split, position) for split in ("train", "val"))
    assert [len(list(part)) for part in (train, val, train)] == [5, 5, 5]


# Going on


def owners():
    """Generators of every kind, which a data set may use."""

    class Owner:
        pass

    owner = Owner()
    owner.torch = torch.Generator().manual_seed(1)
    owner.numpy = np.random.default_rng(1)
    owner.python = random.Random(1)
    return [owner]


def draws(owner):
    """A number of every generator there is."""
    return [
        random.random(),
        np.random.rand(),
        torch.rand(()).item(),
        torch.rand((), generator=owner.torch).item(),
        owner.numpy.random(),
        owner.python.random(),
    ]


def numbers_of(batches, owner):
    return [(batch[0].flatten().tolist(), draws(owner)) for batch in batches]


@pytest.mark.parametrize("stop", [1, 3, 5])
@pytest.mark.parametrize("limit", [None, 5])
def test_a_pass_that_is_resumed_goes_on_to_the_last_bit(stop, limit):
    own = owners()
    position = Position(own)
    kept = {}

    def after_batch(split):
        if position.batches == stop:
            kept.update(start=position.pass_start, now=position.sources())

    loader = shuffled(n=12)
    whole = numbers_of(make_pass(loader, "train", position, limit, after_batch), own[0])
    after = draws(own[0])

    random.seed(9)
    np.random.seed(9)
    torch.manual_seed(9)
    again = owners()
    resumed = Position(again, 0, "train", stop, kept["start"], kept["now"])
    rest = numbers_of(make_pass(shuffled(n=12), "train", resumed, limit), again[0])
    assert rest == whole[stop:]
    assert draws(again[0]) == after
    assert resumed.resumed is None


def test_a_training_that_is_resumed_in_validation_skips_its_training():
    position = Position()
    val = make_pass(shuffled(), "val", position)
    first = next(iter(val))[0]
    state = position.pass_start
    resumed = Position((), 0, "val", 0, state, state)
    assert list(make_pass(shuffled(), "train", resumed)) == []
    torch.set_rng_state(state["torch"])
    assert torch.equal(next(iter(make_pass(shuffled(), "val", resumed)))[0], first)


def test_in_the_epoch_after_a_resumed_validation_training_goes_on():
    position = Position((), 0, "val", 0)
    train, val = (make_pass(shuffled(), split, position) for split in ("train", "val"))
    list(train)
    list(val)
    position.end_epoch()
    assert len(list(train)) == 5


def test_data_that_became_shorter_cannot_be_gone_on_with():
    state = Position().sources()
    position = Position((), 0, "train", 4, state, state)
    with pytest.raises(DataError, match=r"gave 2 batches, but the checkpoint was made after 4"):
        list(make_pass(shuffled(n=4), position=position))


def test_who_may_hold_a_generator():
    generator = torch.Generator()
    dataset = TensorDataset(rows())
    loader = DataLoader(dataset, 2, shuffle=True, generator=generator)
    parts = parts_of(loader)
    assert loader in parts
    assert dataset in parts
    assert loader.sampler in parts
    assert parts_of([1])[0] == [1]


def test_who_is_wrapped_by_a_data_set_may_hold_a_generator_too():
    inner = TensorDataset(rows())
    inner.transform = object()
    parts = parts_of(DataLoader(Subset(inner, [0, 1])))
    assert inner in parts
    assert inner.transform in parts


def test_a_loop_that_validates_first_is_resumed_in_its_training():
    state = Position().sources()
    resumed = Position((), 0, "train", 2, state, state)
    assert list(make_pass(shuffled(), "val", resumed)) == []
    assert len(list(make_pass(shuffled(), "train", resumed))) == 3
    assert len(list(make_pass(shuffled(), "val", resumed))) == 5


class Counting:
    """A sampler whose order depends on how often it was asked."""

    def __init__(self):
        self.epoch = 0

    def __iter__(self):
        self.epoch += 1
        return iter(torch.randperm(6, generator=torch.Generator().manual_seed(self.epoch)).tolist())

    def __len__(self):
        return 6


def test_a_sampler_that_counts_epochs_counts_on():
    sampler = Counting()
    position = Position([sampler])
    loader = DataLoader(TensorDataset(rows(6)), 2, sampler=sampler)
    list(make_pass(loader, position=position))
    kept = position.sources()
    second = seen(make_pass(loader, position=position))
    again = Counting()
    other = Position([again])
    other.restore_sources(kept)
    loader = DataLoader(TensorDataset(rows(6)), 2, sampler=again)
    assert seen(make_pass(loader, position=other)) == second


def test_a_loader_whose_order_does_not_come_again_is_told():
    class Lazy(Counting):
        def __iter__(self):  # one number for each example, between those that training draws
            left = list(range(6))
            while left:
                yield left.pop(int(torch.randint(len(left), ())))

    def train(position):
        labels = TensorDataset(rows(6), torch.arange(6))
        batches = DataLoader(labels, 2, sampler=Lazy())
        for _ in make_pass(batches, position=position):
            torch.rand(3)
            yield position.sources()

    position = Position()
    run = train(position)
    next(run)
    now = next(run)
    resumed = Position((), 0, "train", 2, position.pass_start, now, position.labels)
    with pytest.warns(GradbookWarning, match="gave other labels than before"):
        list(train(resumed))


# Always the same batches


def test_the_first_batches_of_data_in_memory_come_in_their_own_order():
    same = always_the_same(shuffled(2), 3)
    assert seen(same) == seen(same) == [[0, 1], [2, 3], [4, 5]]


def test_the_transform_of_data_in_memory_is_kept():
    loader = TensorLoader([rows(), rows()], 2, transform=lambda batch: [-part for part in batch])
    assert seen(always_the_same(loader, 1)) == [[0, -1]]


def test_more_batches_than_there_are_take_all():
    assert len(always_the_same(shuffled(4), 99)) == 3


def test_the_first_examples_of_a_shuffled_data_loader_come_in_their_own_order():
    loader = DataLoader(TensorDataset(rows(), rows()), 2, shuffle=True)
    same = always_the_same(loader, 3)
    assert seen(same) == seen(same) == [[0, 1], [2, 3], [4, 5]]


def test_the_collation_of_a_data_loader_is_kept():
    loader = DataLoader(range(10), 2, collate_fn=lambda batch: [torch.tensor(batch), "mine"])
    assert next(iter(always_the_same(loader, 1)))[1] == "mine"


def test_a_sampler_s_choice_of_examples_is_kept():
    sampler = SubsetRandomSampler(range(6, 10))
    same = always_the_same(DataLoader(TensorDataset(rows(), rows()), 2, sampler=sampler), 1)
    assert seen(same) == seen(same)
    assert set(seen(same)[0]) <= {6, 7, 8, 9}


def test_a_stream_s_first_batches_are_kept():
    class Stream(IterableDataset):
        def __iter__(self):
            yield from ((i, -i) for i in range(10))

    same = always_the_same(DataLoader(Stream(), 2), 2)
    assert seen(same) == seen(same) == [[0, 1], [2, 3]]


def test_the_first_batches_of_a_list_are_kept():
    assert always_the_same([1, 2, 3], 2) == [1, 2]
