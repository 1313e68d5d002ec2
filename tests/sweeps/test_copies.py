"""Copies of data: of all that may change, and of nothing that is large."""

import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from gradbook.sweeps.copies import Original, are_copies


def drawing(seed):
    """A function that counts its calls, and draws from a generator that nobody else has."""
    generator, calls = torch.Generator().manual_seed(seed), 0

    def draw():
        nonlocal calls
        calls += 1
        return calls, torch.rand(1, generator=generator).item()

    return draw


def test_generators_and_counters_begin_where_they_were():
    value = {
        "torch": torch.Generator().manual_seed(1),
        "numpy": np.random.default_rng(1),
        "state": np.random.RandomState(1),
        "python": random.Random(1),
        "closure": drawing(1),
        "count": [0],
    }
    original = Original(value)

    def use(held):
        held["count"][0] += 1
        drawn = [torch.rand(1, generator=held["torch"]).item(), held["closure"]()]
        drawn += [held["numpy"].random(), held["state"].rand(), held["python"].random()]
        return [*drawn, held["count"][0]]

    first = original.copy()
    used = use(first)
    assert use(first) != used
    assert use(original.copy()) == used
    assert use(value) == used


def test_a_function_that_refers_to_itself_is_copied():
    def make():
        calls = []

        def count(n):
            calls.append(n)
            return count(n - 1) if n else len(calls)

        return count

    count = make()
    copy = Original(count).copy()
    assert copy(2) == 3
    assert count(0) == 1


def test_tensors_keep_what_they_share_with_each_other():
    whole = torch.arange(6.0)
    held = Original({"whole": whole, "part": whole[2:4], "turned": whole.reshape(2, 3).t()}).copy()
    held["whole"].zero_()
    assert held["part"].tolist() == [0.0, 0.0]
    assert held["turned"].stride() == (1, 3)
    assert whole[2] == 2.0


@pytest.mark.parametrize("dtype", [torch.bool, torch.bfloat16, torch.complex64, torch.int64])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_tensors_of_every_kind_are_copied(dtype, shape):
    tensor = torch.ones(shape).to(dtype)
    copy = Original([tensor]).copy()[0]
    assert copy is not tensor
    assert copy.dtype == dtype
    assert torch.equal(copy, tensor)


def test_what_is_large_is_shared():
    images, table, part = torch.zeros(100, 28, 28), np.zeros(50_000), torch.zeros(20_000)[:3]
    names = [str(i) for i in range(20_000)]
    held = Original({"images": images, "table": table, "names": names, "part": part}).copy()
    assert held["images"].data_ptr() == images.data_ptr()
    assert held["table"] is table
    assert held["names"] is names
    assert held["part"].data_ptr() == part.data_ptr()


def test_a_loader_that_was_made_once_keeps_its_place_for_itself():
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(TensorDataset(torch.arange(8.0)), 4, shuffle=True, generator=generator)
    original = Original(loader)
    first, second = original.copy(), original.copy()
    passes = [[batch[0].tolist() for batch in first] for _ in range(2)]
    assert [batch[0].tolist() for batch in second] == passes[0] != passes[1]


class Holder:
    def __init__(self, scale):
        self.scale, self.weights = scale, torch.ones(3)

    def transform(self, batch):
        return [self.scale * item for item in batch]


def test_copies_are_alike_until_one_changes():
    original = Original(Holder(2.0))
    one, other = original.copy(), original.copy()
    assert are_copies(one.transform, other.transform)
    other.weights += 1
    assert not are_copies(one.transform, other.transform)
    assert not are_copies(Holder(2.0).transform, Holder(3.0).transform)


def test_what_cannot_be_copied_says_so(tmp_path):
    with open(tmp_path / "file", "w") as file, pytest.raises((TypeError, pickle.PicklingError)):
        Original([file])
