"""What is put back after something was tried."""

from collections import Counter, OrderedDict

import pytest
import torch
from torch import nn

from gradbook.no_trace import untouched


class Thing:
    calls = 0


def test_what_is_put_back_may_be_nested_and_may_be_in_a_circle():
    thing = Thing()
    thing.inner = {"list": [thing, (1, [2])]}
    with untouched([thing]):
        thing.inner["list"][1][1].append(3)
        thing.inner["new"] = thing.calls = 5
    assert thing.inner == {"list": [thing, (1, [2])]}
    assert vars(thing).keys() == {"inner"}


def test_a_long_way_to_a_thing_does_not_hide_what_it_holds():
    owner, inner = Thing(), Thing()
    inner.lists = [[[1]]]
    owner.far, owner.near = [[[[inner]]]], inner
    with untouched([owner]):
        inner.lists[0][0].append(2)
    assert inner.lists == [[[1]]]


@pytest.mark.parametrize(
    "write",
    [
        lambda counts: counts.data.add_(1),
        lambda counts: setattr(counts, "data", torch.ones(2)),
        lambda counts: setattr(counts, "data", torch.ones(3, dtype=torch.int64)),
    ],
)
def test_what_is_written_by_way_of_data_is_put_back(write):
    model = nn.Linear(1, 1)
    model.register_buffer("counts", torch.zeros(3))
    with untouched([], model):
        write(model.counts)
    assert torch.equal(model.counts, torch.zeros(3))
    assert model.counts.dtype == torch.float32


def test_a_counter_and_the_order_of_a_dictionary_are_put_back():
    thing = Thing()
    thing.counter, thing.order = Counter(a=2), {"a": 1, "b": 2}
    thing.ordered = OrderedDict(a=1, b=2)
    with untouched([thing]):
        thing.counter["a"] += 1
        thing.order["a"] = thing.order.pop("a")
        thing.ordered.move_to_end("a")
    assert thing.counter == Counter(a=2)
    assert list(thing.order) == list(thing.ordered) == ["a", "b"]
