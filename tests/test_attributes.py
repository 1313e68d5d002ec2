"""What is kept of plain attributes: taken, written down, and put back in place."""

import importlib
import io
import itertools
import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import gradbook
from gradbook import checkpoint
from gradbook.attributes import DEEPEST, LARGEST, LONGEST, Keeper, from_plain, is_learners, to_plain


class Phase(Enum):
    WARM_UP = 1
    FULL = 2


@dataclass
class Statistics:
    count: int = 0
    means: list = field(default_factory=list)


@dataclass(frozen=True)
class Frozen:
    count: int = 0


@dataclass(slots=True)
class Slots:
    count: int = 0


class Inner:
    def __init__(self):
        self.count = 0


Pair = namedtuple("Pair", "a b")


class Net(nn.Module):
    """Has one attribute, called `t`."""

    def __init__(self, t):
        super().__init__()
        self.net = nn.Linear(2, 1)
        self.t = t


class Model(Net):
    def training_step(self, batch):
        return None


class Data:
    def __init__(self, t):
        self.t = t


def set_count(inner):
    inner.count += 5
    return inner


def grown(values):
    values.append(7)
    return values


def counted(values):
    values["new"] = 7
    return values


def filled(values):
    values += 3
    return values


def averaged(averages):
    for average in averages.values():
        average.mul_(0.5)
    averages["new"] = torch.full((3,), 9.0)
    return averages


#: What an attribute is at first, and how a training changes it.
CASES = {
    "int": (lambda: 0, lambda t: t + 1),
    "float": (lambda: 0.0, lambda t: t + 0.1),
    "bool": (lambda: False, lambda t: True),
    "None": (lambda: None, lambda t: 3),
    "to None": (lambda: 3, lambda t: None),
    "text": (lambda: "warm-up", lambda t: "full"),
    "large": (lambda: 0, lambda t: 2**100),
    "complex": (lambda: 0j, lambda t: t + 2 - 1j),
    "float64": (lambda: np.float64(0), lambda t: t + 1),
    "int8": (lambda: np.int8(0), lambda t: np.int8(5)),
    "numpy bool": (lambda: np.bool_(False), lambda t: np.bool_(True)),
    "float16": (lambda: np.float16(0), lambda t: np.float16(0.1)),
    "Decimal": (lambda: Decimal(0), lambda t: t + Decimal("0.1")),
    "Fraction": (lambda: Fraction(0), lambda t: t + Fraction(-1, 3)),
    "array": (lambda: np.zeros(3, np.float32), filled),
    "array of integers": (lambda: np.zeros((2, 2), np.uint8), filled),
    "array without dimensions": (lambda: np.array(0.0), lambda t: np.array(3.0)),
    "bytes": (lambda: b"", lambda t: t + b"\x00\xff"),
    "bytearray": (lambda: bytearray(2), grown),
    "list": (lambda: [1, 2.0], grown),
    "nested": (lambda: {"a": [1, {"b": 2}]}, lambda t: {"a": [5, {"b": 7}, (1,)]}),
    "dict": (lambda: {"steps": 0}, lambda t: {**t, "steps": 4, 3: "x", (1, 2): None}),
    "dict in place": (lambda: {"steps": 0}, counted),
    "tuple": (lambda: (0, 0), lambda t: (1, 2, 3)),
    "set": (lambda: {1}, lambda t: {1, 5, "x"}),
    "frozenset": (lambda: frozenset(), lambda t: frozenset({1, (2, 3)})),
    "deque": (lambda: deque([1], maxlen=3), grown),
    "Counter": (lambda: Counter("ab"), lambda t: t + Counter("aab")),
    "defaultdict": (lambda: defaultdict(int), counted),
    "OrderedDict": (lambda: OrderedDict(b=1), counted),
    "count": (lambda: itertools.count(5, 2), lambda t: [next(t), t][1]),
    "enum": (lambda: Phase.WARM_UP, lambda t: Phase.FULL),
    "dataclass": (lambda: Statistics(), lambda t: Statistics(3, [0.5])),
    "frozen dataclass": (lambda: Frozen(), lambda t: Frozen(3)),
    "namespace": (lambda: SimpleNamespace(count=0), set_count),
    "slots": (lambda: Slots(), set_count),
    "named tuple": (lambda: Pair(0, 1), lambda t: Pair(5, 1)),
}
TENSORS = {
    "tensor": (lambda: torch.zeros(3), lambda t: t + 1),
    "tensor in place": (lambda: torch.zeros(3), lambda t: t.add_(1)),
    "bfloat16": (lambda: torch.zeros(3, dtype=torch.bfloat16), lambda t: t + 1),
    "new form": (lambda: torch.zeros(3), lambda t: torch.ones(4, dtype=torch.int64)),
    "averages": (lambda: {"w": torch.ones(3)}, averaged),
    "list of tensors": (lambda: [torch.ones(2)], lambda t: [t[0] * 3, torch.zeros(1)]),
}


def plainly(value):
    """A value as something that two can be compared by, types included."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return type(value), str(value.dtype), value.tolist()
    if isinstance(value, dict):
        return type(value), [(key, plainly(item)) for key, item in value.items()]
    if isinstance(value, list | tuple | deque):
        return type(value), [plainly(item) for item in value]
    return type(value), repr(value) if isinstance(value, itertools.count) else value


def through_a_file(states, tmp_path):
    checkpoint.save(tmp_path / "a.pt", {"numbers": to_plain(states)})
    return from_plain(checkpoint.load(tmp_path / "a.pt")["numbers"])


@pytest.mark.parametrize("name", [*CASES, *TENSORS])
def test_a_new_model_takes_it_from_a_checkpoint(name, tmp_path):
    make, change = {**CASES, **TENSORS}[name]
    old, new = Net(make()), Net(make())
    old.t = change(old.t)
    states = Keeper([old]).take()
    assert Keeper([new]).put_back(through_a_file(states, tmp_path)) == []
    assert plainly(new.t) == plainly(old.t)


@pytest.mark.parametrize("name", CASES)
def test_so_do_new_data_but_for_arrays(name, tmp_path):
    make, change = CASES[name]
    old, new = Data(make()), Data(make())
    old.t = change(old.t)
    states = Keeper([old]).take()
    Keeper([new]).put_back(through_a_file(states, tmp_path))
    assert plainly(new.t) == plainly(make() if isinstance(make(), np.ndarray) else old.t)


@pytest.mark.parametrize("name", [*CASES, *TENSORS])
def test_what_was_taken_is_put_back_whatever_has_happened_since(name):
    make, change = {**CASES, **TENSORS}[name]
    net, keeper = Net(make()), None
    keeper = Keeper([net])
    before, states = net.t, keeper.take()
    net.t = change(net.t)
    net.late = 3
    keeper.put_back(states)
    assert plainly(net.t) == plainly(make())
    assert not hasattr(net, "late")
    if isinstance(before, list | dict | deque | torch.Tensor | np.ndarray):
        assert net.t is before


@pytest.mark.parametrize("name", [*CASES, *TENSORS])
def test_a_change_is_seen_by_comparing(name):
    make, change = {**CASES, **TENSORS}[name]
    net = Net(make())
    keeper = Keeper([net])
    before = keeper.take()
    assert keeper.take() == before
    net.t = change(net.t)
    assert keeper.take() != before


def test_objects_and_collections_are_filled_in_place(tmp_path):
    def make():
        net = Net([1])
        net.alias = net.t
        net.inner = Inner()
        net.average = torch.zeros(2)
        return net

    old, new = make(), make()
    old.t.append(2)
    old.inner.count = 5
    old.average += 1
    held = new.t, new.inner, new.average
    Keeper([new]).put_back(through_a_file(Keeper([old]).take(), tmp_path))
    assert (new.t, new.inner, new.average) == held
    assert new.alias is new.t == [1, 2]
    assert new.inner.count == 5
    assert new.average.tolist() == [1, 1]


class Holder:
    def __init__(self, value):
        self.value, self.function = value, torch.relu


#: An attribute's first value, and how another one is made from it.
SHARED = {
    "list": (lambda: [0.0], lambda t: [*t, 1.0]),
    "dict": (lambda: {"a": 0}, lambda t: {"a": 1}),
    "set": (lambda: {1}, lambda t: t | {2}),
    "deque": (lambda: deque([0]), lambda t: deque([1])),
    "defaultdict": (lambda: defaultdict(int), lambda t: defaultdict(int, a=1)),
    "count": (lambda: itertools.count(), lambda t: itertools.count(5)),
    "equal counts": (lambda: itertools.count(), lambda t: itertools.count()),
    "tensor": (lambda: torch.zeros(2), lambda t: t + 1),
    "equal tensors": (lambda: torch.zeros(2), lambda t: t + 0),
    "array": (lambda: np.zeros(2), lambda t: t + 1),
    "list in a tuple": (lambda: ([0],), lambda t: ([1],)),
    "functions in a list": (lambda: [torch.relu, 0], lambda t: [torch.relu, 1]),
    "object": (lambda: Holder([0]), lambda t: Holder([1])),
    "object with slots": (lambda: Slots(), lambda t: Slots(5)),
    "tensor in an object": (lambda: Holder(torch.zeros(2)), lambda t: Holder(torch.ones(2))),
}


def contents(value):
    """A value without what it shares with others."""
    return contents(value.value) if isinstance(value, Holder) else plainly(value)


@pytest.mark.parametrize("name", SHARED)
def test_attributes_that_were_one_object_in_init_become_two(name, tmp_path):
    make, other = SHARED[name]

    def shared():
        net = Net(make())
        net.last = net.t
        return net

    old, new = shared(), shared()
    old.last = other(old.t)
    assert Keeper([new]).put_back(through_a_file(Keeper([old]).take(), tmp_path)) == []
    assert (contents(new.t), contents(new.last)) == (contents(old.t), contents(old.last))
    assert new.last is not new.t
    if isinstance(new.t, Holder):
        assert new.last.value is not new.t.value


@pytest.mark.parametrize("name", SHARED)
def test_attributes_that_were_two_objects_in_init_become_one(name, tmp_path):
    make, other = SHARED[name]
    old, new = Net(make()), Net(make())
    old.last, new.last = make(), make()
    old.t = old.last = other(old.t)
    assert Keeper([new]).put_back(through_a_file(Keeper([old]).take(), tmp_path)) == []
    assert new.last is new.t
    assert contents(new.t) == contents(old.t)


def test_objects_that_model_and_data_share_are_shared_afterwards(tmp_path):
    old, new = (Data([0]), Net([0])), (Data([0]), Net([0]))
    old[0].t = old[1].t = [1, "a/b"]
    Keeper(new).put_back(through_a_file(Keeper(old).take(), tmp_path))
    assert new[0].t is new[1].t
    assert new[1].t == [1, "a/b"]


def test_what_was_read_and_is_written_again_shares_the_same(tmp_path):
    old, new = Net([0]), Net([0])
    old.last, new.last = old.t, [0]
    read = through_a_file(Keeper([old]).take(), tmp_path)
    Keeper([new]).put_back(through_a_file(read, tmp_path))
    assert new.last is new.t


def test_an_object_within_itself_is_so_afterwards(tmp_path):
    old, new = Net([0]), Net([0])
    old.t.append(old.t)
    old.layers, new.layers = [old.net, None], [new.net, None]
    old.layers[1] = old.net
    through = through_a_file(Keeper([old, old.net]).take(), tmp_path)
    assert Keeper([new, new.net]).put_back(through) == []
    assert new.t[1] is new.t
    assert new.layers == [new.net, new.net]


def test_what_takes_the_place_of_a_parameter_does_not_change_it(tmp_path):
    def make():
        net = Net([])
        net.t.append(net.net.weight)
        net.best = net.net.weight.detach()
        net.array = net.net.bias.detach().numpy()
        return net

    old, new = make(), make()
    weight, bias = (parameter.detach().clone() for parameter in new.net.parameters())
    old.t, old.best, old.array = [torch.ones(1, 2)], torch.ones(1, 2), np.ones(1, np.float32)
    owners = [old, old.net], [new, new.net]
    Keeper(owners[1]).put_back(through_a_file(Keeper(owners[0]).take(), tmp_path))
    assert torch.equal(new.net.weight, weight)
    assert torch.equal(new.net.bias, bias)
    assert new.t[0].tolist() == new.best.tolist() == [[1, 1]]
    assert new.array.tolist() == [1]


def test_views_of_one_memory_remain_so_and_others_are_not_written_into_it(tmp_path):
    def make():
        net = Net(torch.zeros(2, 2))
        net.row, net.other = net.t[0], net.t[1]
        return net

    old, new = make(), make()
    old.t += 1
    old.other = torch.full((2,), 5.0)
    Keeper([new]).put_back(through_a_file(Keeper([old]).take(), tmp_path))
    assert new.t.tolist() == [[1, 1], [1, 1]]
    assert new.other.tolist() == [5, 5]
    new.t += 1
    assert new.row.tolist() == [2, 2]


def test_a_deque_of_another_length_takes_that(tmp_path):
    old, new = Net(deque([1], 2)), Net(deque([1], 2))
    old.t = deque([1, 2, 3], 3)
    Keeper([new]).put_back(through_a_file(Keeper([old]).take(), tmp_path))
    assert new.t == deque([1, 2, 3])
    assert new.t.maxlen == 3


def test_a_layer_of_which_there_is_but_one_is_told_where_there_were_two(tmp_path):
    def shared():
        net = Net([nn.Linear(2, 2)])
        net.last = [net.t[0]]
        return net

    old, new = shared(), shared()
    old.last = [nn.Linear(2, 2)]
    states = through_a_file(Keeper([old]).take(), tmp_path)
    assert Keeper([new]).put_back(states) == ["Net.last"]
    assert torch.equal(new.t[0].weight, old.t[0].weight)


def test_unregistered_layers_and_optimizers_are_kept_by_their_own_state(tmp_path):
    def make():
        net = Net([nn.Linear(2, 2)])
        net.second = torch.optim.Adam(net.t[0].parameters())
        return net

    old, new = make(), make()
    old.t[0](torch.ones(1, 2)).sum().backward()
    old.second.step()
    Keeper([new]).put_back(through_a_file(Keeper([old]).take(), tmp_path))
    assert torch.equal(new.t[0].weight, old.t[0].weight)
    assert new.second.state_dict()["state"][0]["step"] == 1


def test_a_class_counts_on(tmp_path):
    class Counting(Net):
        seen = 0
        parts: list = []  # noqa: RUF012 - a fault that learners make
        phase = "warm-up"

        def shout(self):
            return "!"

    Counting.seen, net = 5, Counting(0)
    Counting.parts.append(1)
    Counting.phase = "full"
    states = through_a_file(Keeper([net]).take(), tmp_path)
    Counting.seen, Counting.phase = 0, "warm-up"
    Counting.parts.clear()
    Keeper([net]).put_back(states)
    assert (Counting.seen, Counting.parts, Counting.phase) == (5, [1], "full")


class Loading(Data):
    def train_dataloader(self):
        return []


class Examples(Data, Dataset):
    pass


@pytest.mark.parametrize("Class", [Loading, Examples])
def test_where_things_are_is_no_state(Class, tmp_path):
    old, new = Class("/data/old"), Class("/data/new")
    old.root, new.root = "old", "new"
    Keeper([new]).put_back(through_a_file(Keeper([old]).take(), tmp_path))
    assert (new.t, new.root) == ("/data/new", "new")


def test_how_many_workers_fetch_and_what_a_model_is_connected_to_are_no_state(tmp_path):
    def make(number):
        data, model = gradbook.DataModule(num_workers=number), gradbook.Module(number)
        model.trainer = model.training_step = number
        return [data, model]

    old, new = make(1), make(2)
    board, hparams = new[1].board, new[1].hparams
    Keeper(new).put_back(through_a_file(Keeper(old).take(), tmp_path))
    assert (new[0].num_workers, new[0].hparams["num_workers"]) == (2, 2)
    assert (new[1].trainer, new[1].training_step, new[1].plot_train_per_epoch) == (2, 2, 1)
    assert new[1].board is board
    assert new[1].hparams is hparams == {"plot_train_per_epoch": 2, "plot_valid_per_epoch": 1}


@pytest.mark.parametrize("Owner", [Net, Data])
@pytest.mark.parametrize("name", ["root", "num_workers", "board", "trainer", "hparams"])
def test_other_objects_may_use_these_names_for_what_they_like(Owner, name, tmp_path):
    old, new = Owner(Inner()), Owner(Inner())
    for owner, value in ((old, [3, 4]), (new, [3])):
        setattr(owner, name, value)
        setattr(owner.t, name, value)
    Keeper([new]).put_back(through_a_file(Keeper([old]).take(), tmp_path))
    assert getattr(new, name) == getattr(new.t, name) == [3, 4]


def test_of_a_model_texts_with_a_slash_are_kept_too(tmp_path):
    old, new = Net({"rate": "1/2"}), Net({"rate": "1/2"})
    old.t["rate"], old.phase = "1/4", "warm/up"
    Keeper([new]).put_back(through_a_file(Keeper([old]).take(), tmp_path))
    assert (new.t, new.phase) == ({"rate": "1/4"}, "warm/up")


class Private:
    __slots__ = ("__count", "unset")

    def __init__(self):
        self.__count = 0

    def add(self):
        self.__count += 1
        return self.__count


class MorePrivate(Private):
    __slots__ = "__count"

    def __init__(self):
        super().__init__()
        self.__count = 10

    def more(self):
        self.__count += 1
        return self.__count


def test_private_slots_are_kept_those_of_a_base_too(tmp_path):
    old, new = Net(MorePrivate()), Net(MorePrivate())
    assert (old.t.add(), old.t.more()) == (1, 11)
    old.t.unset = 4
    Keeper([new]).put_back(through_a_file(Keeper([old]).take(), tmp_path))
    assert (new.t.add(), new.t.more(), new.t.unset) == (2, 12, 4)


def test_data_are_not_repeated():
    data = Data([1.0] * 2000)
    data.X, data.parts = torch.zeros(5), {"X": np.zeros(5), "rows": list(range(1500))}
    assert "0.0" not in str(to_plain(Keeper([data]).take()))
    assert len(str(to_plain(Keeper([data]).take()))) < 500


def test_what_is_the_same_object_is_not_followed_for_ever():
    net = Net([1])
    net.t.append(net.t)
    net.inner = Inner()
    net.inner.itself = net.inner
    keeper = Keeper([net])
    states = keeper.take()
    keeper.put_back(states)
    assert net.t[1] is net.t
    assert net.inner.itself is net.inner


def test_results_of_a_graph_are_left_alone_if_they_have_not_changed():
    net = Net(0)
    net.cached = net.net(torch.ones(1, 2))
    keeper = Keeper([net])
    states = keeper.take()
    cached = net.cached
    net.cached = None
    keeper.put_back(states)
    assert net.cached is cached
    net.cached.sum().backward()


def test_a_tensor_that_a_new_model_lacks_is_made(tmp_path):
    old, new = Net(0), Net(0)
    old.average = torch.ones(2)
    Keeper([new]).put_back(through_a_file(Keeper([old]).take(), tmp_path))
    assert torch.equal(new.average, old.average)


# What cannot be kept


def unkept(keeper):
    keeper.take()
    return keeper.unkept


def generator():
    yield 1


class Own(list):
    pass


UNKEPT = {
    "generator": (lambda: generator(), "generator"),
    "iterator": (lambda: iter([1, 2]), "list_iterator"),
    "zip": (lambda: zip([1], [2], strict=True), "zip"),
    "within": (lambda: {"batches": [generator()]}, r"t\['batches'\]\[0\]"),
    "cycle": (lambda: itertools.cycle([1]), "cycle"),
    "own list": (lambda: Own([1]), "derived from a collection"),
    "dates": (lambda: np.zeros(2, "datetime64[s]"), "array"),
    "sparse": (lambda: torch.eye(2).to_sparse(), "tensor"),
    "large": (lambda: torch.zeros(1).expand(LARGEST + 1), "tensor"),
    "long": (lambda: [0] * (LONGEST + 1), "more than 100,000 values"),
}


@pytest.mark.parametrize("name", UNKEPT)
def test_what_cannot_be_kept_is_named(name):
    make, told = UNKEPT[name]
    net = Net(make())
    keeper, t = Keeper([net]), net.t
    (text,) = unkept(keeper)
    assert text.startswith("Net.t")
    assert re.search(told, text)
    keeper.put_back(keeper.take())
    assert net.t is t


class Node:
    def __init__(self, value, following):
        self.value, self.following = value, following


def chain(length):
    node = None
    for i in range(length):
        node = Node(i, node)
    return node


def nested(length):
    value = 0
    for _ in range(length):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize("Owner", [Net, Data])
def test_what_lies_deep_is_kept_and_deeper_is_named(Owner, tmp_path):
    old, new = Owner(chain(DEEPEST)), Owner(chain(DEEPEST))
    old.nested = nested(DEEPEST // 2)
    node = old.t
    while node.following:
        node = node.following
    node.value = 7
    keeper = Keeper([old])
    assert unkept(keeper) == []
    assert Keeper([new]).put_back(through_a_file(keeper.take(), tmp_path)) == []
    node = new.t
    while node.following:
        node = node.following
    assert node.value == 7
    assert new.nested == old.nested
    for deeper in (chain(DEEPEST + 1), nested(DEEPEST)):
        told = f"{Owner.__name__}.t (more than {DEEPEST} things within one another)"
        assert unkept(Keeper([Owner(deeper)])) == [told]


def test_of_data_it_is_not_where_there_is_too_much_anyway():
    assert unkept(Keeper([Data([chain(DEEPEST + 1), list(range(1000))])])) == []


def test_a_file_that_is_read_is_named_and_one_that_is_written_is_not(tmp_path):
    path = tmp_path / "log"
    with path.open("w") as log, path.open() as read:
        assert unkept(Keeper([Net(log)])) == []
        assert unkept(Keeper([Net(read)])) == ["Net.t (an open file)"]
    assert unkept(Keeper([Net(io.BytesIO())])) == ["Net.t (an open file)"]


calls = 0


def test_a_global_counter_is_named():
    class Counting(Net):
        def forward(self, X):
            global calls
            calls += 1
            return X

    assert Keeper([Counting(0)]).written_globals() == [
        "calls (a global variable, which Counting.forward sets)"
    ]


def test_who_says_what_is_to_be_kept_knows_better():
    class Extra(Net):
        def get_extra_state(self):
            return {}

    assert unkept(Keeper([Extra(generator())])) == []


class Transform:
    def __call__(self, X):
        return X


@pytest.mark.parametrize(
    "value",
    [
        *(torch.relu, len, Inner, io, nn.ReLU(), nn.CrossEntropyLoss(), lambda X: X, Transform()),
        *([Transform(), torch.relu], torch.Generator(), np.random.default_rng(1), torch.float32),
        *(torch.device("cpu"), range(3), slice(2), Phase, object(), b"x", np.random.RandomState(1)),
        *({"activation": nn.ReLU}, torch.Size([2]), vars(io), np.dtype("f4"), "a/b"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_false_alarm_of_what_configures(value):
    for owner in (Net(value), Data(value)):
        keeper = Keeper([owner])
        assert unkept(keeper) == []
        keeper.put_back(keeper.take())
        # Bytes are made anew; a single one may be the same object, or not.
        assert owner.t is value or (isinstance(value, bytes) and owner.t == value)


def test_objects_that_are_not_there_are_told(tmp_path):
    old, new = Net([]), Net([])
    old.t.append(Inner())
    lost = Keeper([new]).put_back(through_a_file(Keeper([old]).take(), tmp_path))
    assert lost == ["Net.t"]
    assert new.t == []


@pytest.mark.parametrize(
    "Class", [int, io.BytesIO, Counter, nn.Linear, np.ndarray, Keeper, type(pytest), re.Pattern]
)
def test_a_library_s_class_is_no_learner_s(Class):
    assert not is_learners(Class)


def test_a_learner_s_file_may_have_a_name_of_python_s(tmp_path, monkeypatch):
    (tmp_path / "colorsys.py").write_text("class Net:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "colorsys", None)  # what is there now comes back at the end
    del sys.modules["colorsys"]
    module = importlib.import_module("colorsys")
    assert is_learners(module.Net)
    assert is_learners(Inner)
    assert is_learners(type("Cell", (), {"__module__": "__main__"}))


# Forged


ERRORS = (LookupError, TypeError, AttributeError, ValueError, RuntimeError, OverflowError)


@pytest.mark.parametrize(
    "attributes",
    [
        {"forward": 3},
        {"__class__": 3},
        {"net": 3},
        {"_modules": {"is": "dict", "keys": [], "values": []}},
        {"trainer": 3},
        {"t": {"source": 1, "is": "code"}},
        {"t": {"kind": "list"}},
        {"t": [1]},
        {"t": {"source": 1, "is": "list"}},
        {"t": {"source": 1, "is": "list", "items": 5}},
        {"t": {"source": 1, "is": "set", "items": [{"source": 1, "is": "list", "items": []}]}},
        {"t": {"is": "number", "dtype": "O", "value": 1}},
        {"t": {"is": "number", "dtype": "V999999999", "value": 1}},
        {
            "t": {
                "source": 1,
                "is": "array",
                "dtype": "U999999999",
                "memory": 1,
                "content": torch.zeros(2),
            }
        },
        {"t": {"source": 1, "is": "array", "dtype": "<f8", "memory": 1, "content": 3}},
        {"t": {"is": "Fraction", "value": "1e999999999"}},
        {"t": {"source": 1, "is": "count", "value": ["a"]}},
        {"t": {"source": 1, "is": "tensor", "memory": 1, "content": torch.ones(2)}},
        {
            "t": {
                "source": 1,
                "is": "tensor",
                "memory": 1,
                "content": torch.ones(2).long(),
                "requires": True,
                "on_cpu": True,
            }
        },
        {"t": {"is": "list", "items": []}},  # without a source
        {"t": {"source": [], "is": "list", "items": []}},
        {3: 4},
    ],
    ids=str,
)
def test_a_forged_state_is_an_error_that_a_checkpoint_knows(attributes):
    net = Model(0)
    with pytest.raises(ERRORS):
        Keeper([net]).put_back([from_plain({"attributes": attributes, "classes": {}})])
    assert type(net.net) is nn.Linear


def test_a_forged_state_deletes_nothing():
    net = Net(0)
    Keeper([net]).put_back([{"attributes": {}, "classes": {}}])
    assert net.t == 0
