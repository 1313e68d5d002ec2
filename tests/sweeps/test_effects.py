"""What a step does beside its result keeps its model out of a stack, and is undone."""

import array
import contextlib
import contextvars
import enum
import functools
import gc
import importlib
import itertools
import math
import os
import random
import re
import sys
import time
import types
import warnings
import weakref
from collections import Counter as Counter_
from collections import OrderedDict, deque
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from tests.sweeps.stacking import (
    Net,
    Same,
    assert_fallback,
    assert_same_training,
    assert_stacked_as_alone,
    member,
    trained_alone,
)
from torch import nn
from torch.nn import functional as F

import gradbook
from gradbook import Classifier, HyperParameters, Sink
from gradbook.interrupts import Interrupts
from gradbook.sweeps.stackable import CannotStack, check_alone
from gradbook.sweeps.stacked import fit_stacked, why_alone

pytestmark = pytest.mark.slow


class WarmedUp(Net):
    """Its loss has a penalty whose weight grows with the calls that `count` has counted."""

    def __init__(self, lr=0.1):
        super().__init__(lr=lr)
        self.prepare()

    def prepare(self):
        pass

    def count(self):
        raise NotImplementedError

    def loss(self, y_hat, y, averaged=True):
        penalty = (self.net[0].weight ** 2).sum()
        return super().loss(y_hat, y) + 0.02 * math.tanh(float(self.count()) / 20) * penalty


# Counters that belong to a model


class InADict(WarmedUp):
    def prepare(self):
        self.counts = {"calls": 0}

    def count(self):
        self.counts["calls"] += 1
        return self.counts["calls"]


class InAList(WarmedUp):
    def prepare(self):
        self.calls = []

    def count(self):
        self.calls.append(1)
        return len(self.calls)


class InANestedList(WarmedUp):
    def prepare(self):
        self.counts = ([{"calls": [0]}],)

    def count(self):
        self.counts[0][0]["calls"][0] += 1
        return self.counts[0][0]["calls"][0]


class InASet(WarmedUp):
    def prepare(self):
        self.calls = set()

    def count(self):
        self.calls.add(len(self.calls))
        return len(self.calls)


class InANumPyNumber(WarmedUp):
    def prepare(self):
        self.calls = np.int64(0)

    def count(self):
        self.calls += 1
        return self.calls


class InAnArray(WarmedUp):
    def prepare(self):
        self.calls = np.zeros(2)

    def count(self):
        self.calls[0] += 1
        return self.calls[0]


class InATensor(WarmedUp):
    def prepare(self):
        self.calls = torch.zeros(())

    def count(self):
        self.calls += 1
        return 1


class ByMovingAverage(WarmedUp):
    """A list of tensors that follow the outputs."""

    def prepare(self):
        self.means = [torch.zeros(3)]

    def forward(self, X):
        Y_hat = super().forward(X)
        self.means[0] = 0.9 * self.means[0] + 0.1 * Y_hat.detach().mean(0)
        return Y_hat - self.means[0]

    def count(self):
        return 0


class Counter:
    def __init__(self):
        self.calls = 0

    def next(self):
        self.calls += 1
        return self.calls


class InAnObject(WarmedUp):
    def prepare(self):
        self.counter = Counter()

    def count(self):
        return self.counter.next()


@dataclass
class Counts:
    calls: int = 0
    names: list = field(default_factory=list)


class InADataclass(WarmedUp):
    def prepare(self):
        self.counts = Counts()

    def count(self):
        self.counts.calls += 1
        return self.counts.calls


class Slotted:
    __slots__ = ("calls",)

    def __init__(self):
        self.calls = 0


class InASlot(WarmedUp):
    def prepare(self):
        self.counter = Slotted()

    def count(self):
        self.counter.calls += 1
        return self.counter.calls


class BehindAProperty(WarmedUp):
    def prepare(self):
        self._calls = [0]

    @property
    def calls(self):
        self._calls[0] += 1
        return self._calls[0]

    def count(self):
        return self.calls


class PastSetattr(WarmedUp):
    def prepare(self):
        object.__setattr__(self, "calls", 0)

    def count(self):
        self.__dict__["calls"] += 1
        return self.__dict__["calls"]


class Tricky:
    """Keeps its attributes elsewhere."""

    def __init__(self):
        object.__setattr__(self, "kept", {"calls": 0})

    def __getattr__(self, name):
        return object.__getattribute__(self, "kept")[name]

    def __setattr__(self, name, value):
        object.__getattribute__(self, "kept")[name] = value


class InATrickyObject(WarmedUp):
    def prepare(self):
        self.tricky = Tricky()

    def count(self):
        self.tricky.calls += 1
        return self.tricky.calls


class BehindAWeakReference(WarmedUp):
    def prepare(self):
        self.own = Counter()
        self.seen = weakref.ref(self.own)

    def count(self):
        return self.seen().next()


class InACachedProperty(WarmedUp):
    @functools.cached_property
    def calls(self):
        return [0]

    def count(self):
        self.calls[0] += 1
        return self.calls[0]


class InAPartial(WarmedUp):
    def prepare(self):
        self.next = functools.partial(Counter.next, Counter())

    def count(self):
        return self.next()


class InAClosure(WarmedUp):
    def prepare(self):
        calls = 0

        def following():
            nonlocal calls
            calls += 1
            return calls

        self.following = following

    def count(self):
        return self.following()


class InTheSmallBatch(WarmedUp):
    """Counts only where a batch is smaller than the others."""

    def prepare(self):
        self.counter = Counter()

    def loss(self, y_hat, y, averaged=True):
        if len(y) < 8:
            self.counter.next()
        return super().loss(y_hat, y)

    def count(self):
        return self.counter.calls


class OnTheWayBack(WarmedUp):
    """Counts in a hook of a tensor, which runs with the gradients."""

    def prepare(self):
        self.counter = Counter()

    def forward(self, X):
        Y_hat = super().forward(X)
        if Y_hat.requires_grad:
            Y_hat.register_hook(lambda gradient: gradient * (1 + 0.01 * self.counter.next()))
        return Y_hat

    def count(self):
        return 0


class ByIteration(WarmedUp):
    def prepare(self):
        self.numbers = itertools.count(1)

    def count(self):
        return next(self.numbers)


class ByGenerator(WarmedUp):
    def prepare(self):
        self.numbers = (number for number in range(1, 10**6))

    def count(self):
        return next(self.numbers)


class OwnRandomState(WarmedUp):
    def prepare(self):
        self.drawn = np.random.RandomState(3)

    def count(self):
        return self.drawn.rand()


OWNED = [
    (InADict, "change InADict.counts['calls']"),
    (InAList, "change InAList.calls["),
    (InANestedList, "change InANestedList.counts[...]['calls'][0]"),
    (InASet, "change InASet.calls"),
    (InANumPyNumber, "change InANumPyNumber.calls"),
    (InAnArray, "change InAnArray.calls"),
    (InATensor, "change InATensor.calls"),
    (ByMovingAverage, "change ByMovingAverage.means[0]"),
    (InAnObject, "change Counter.calls"),
    (InADataclass, "change Counts.calls"),
    (InASlot, "change Slotted.calls"),
    (BehindAProperty, "change BehindAProperty._calls[0]"),
    (PastSetattr, "change a counter, PastSetattr.calls"),
    (InATrickyObject, "change Tricky.kept['calls']"),
    (BehindAWeakReference, "change Counter.calls"),
    (InACachedProperty, "change InACachedProperty.calls"),
    (InAPartial, "change Counter.calls"),
    (InAClosure, "change calls"),
    (InTheSmallBatch, "change Counter.calls"),
    (OnTheWayBack, "change Counter.calls"),
    (ByIteration, "use up ByIteration.numbers, of the type itertools.count"),
    (ByGenerator, "use up ByGenerator.numbers, of the type generator"),
    (OwnRandomState, "random generator of their own"),
]


def uneven():
    return Same(num_train=28)


@pytest.mark.parametrize(("Model", "reason"), OWNED)
def test_a_step_that_counts_in_what_its_model_holds_is_trained_alone(Model, reason):
    assert_fallback([member(Model, uneven, lr=lr) for lr in (0.1, 0.2)], reason)


# Counters that all members share, which are set back before each training

SHARED = {"calls": 0}
CALLS = 0
TOTALS = types.ModuleType("totals")
TOTALS.calls = 0
NUMBERS = itertools.count(1)
VARIABLE = contextvars.ContextVar("calls", default=0)


class InAGlobalDict(WarmedUp):
    def count(self):
        SHARED["calls"] += 1
        return SHARED["calls"]


class InAGlobal(WarmedUp):
    def count(self):
        global CALLS
        CALLS += 1
        return CALLS


class InAnotherModule(WarmedUp):
    def count(self):
        TOTALS.calls += 1
        return TOTALS.calls


class InItsClass(WarmedUp):
    calls = 0

    def count(self):
        type(self).calls += 1
        return self.calls


def counted(calls=[0]):  # noqa: B006 - which is what is tried
    calls[0] += 1
    return calls[0]


class InADefault(WarmedUp):
    def count(self):
        return counted()


def noted():
    noted.calls += 1
    return noted.calls


noted.calls = 0


class InAFunction(WarmedUp):
    def count(self):
        return noted()


@functools.lru_cache
def cached(number):
    return [0]


class InACache(WarmedUp):
    def count(self):
        cached(1)[0] += 1
        return cached(1)[0]


class ByGlobalIteration(WarmedUp):
    def count(self):
        return next(NUMBERS)


class InAContext(WarmedUp):
    def count(self):
        VARIABLE.set(VARIABLE.get() + 1)
        return VARIABLE.get()


COMMON = [
    (InAGlobalDict, "change SHARED['calls']"),
    (InAGlobal, "test_effects.CALLS"),
    (InAnotherModule, "change totals.calls"),
    (InItsClass, "change InItsClass.calls"),
    (InADefault, "change a default of counted[0]"),
    (InAFunction, "change noted.calls"),
    (InACache, "on cached, of the type functools._lru_cache_wrapper"),
    (ByGlobalIteration, "use up NUMBERS, of the type itertools.count"),
    (InAContext, "on VARIABLE, of the type _contextvars.ContextVar"),
]


def reset():
    global CALLS, NUMBERS
    SHARED["calls"] = CALLS = TOTALS.calls = InItsClass.calls = noted.calls = 0
    counted.__defaults__[0][0] = 0
    cached.cache_clear()
    NUMBERS = itertools.count(1)
    VARIABLE.set(0)


def state():
    kept = counted.__defaults__[0][0]
    return [SHARED["calls"], CALLS, TOTALS.calls, InItsClass.calls, noted.calls, kept]


@pytest.mark.parametrize(("Model", "reason"), COMMON)
def test_a_step_that_counts_in_what_all_members_share_is_trained_alone(Model, reason):
    reset()
    assert reason in fit_stacked([member(Model, lr=lr) for lr in (0.1, 0.2)])[0].alone


@pytest.mark.parametrize("Model", [Model for Model, _ in COMMON[:6]])
def test_a_look_at_a_step_leaves_no_trace(Model):
    reset()
    training = member(Model)()
    assert training.begin(Interrupts())
    before = state()
    with pytest.raises(CannotStack):
        check_alone(training)
    assert state() == before
    training.end(None)


# What a look could not put back is known before a step runs, and the rest is put back


class Unset:
    __slots__ = ("calls",)


class WithAttributes(np.ndarray):
    pass


class Level(enum.Enum):
    LOW = 1


def in_a_default(*, calls=0):
    return calls


def large(calls):
    return torch.full((2**20 + 1,), float(calls))


class Holding(Net):
    """Counts in `held`, which `make` makes, with each call of its loss."""

    def __init__(self, lr=0.1):
        super().__init__(lr=lr)
        self.held = self.make()

    def loss(self, y_hat, y, averaged=True):
        self.move(self.held)
        return super().loss(y_hat, y)


def move_first(held):
    held[0] += 1


def move_inner(held):
    held[0][0] += 1


def move_attribute(held):
    held.calls = getattr(held, "calls", 0) + 1


def move_keyword(held):
    held.__kwdefaults__["own"] = held.__kwdefaults__.get("own", 0) + 1


def move_data(held):
    held.data = held.data + 1


def move_written(held):
    held.data.add_(1)


def move_aliased(held):
    held[0].data = held[1].data
    held[1].data.add_(1)


def move_values(held):
    held.values().add_(1)


def move_set(held):
    held.add(len(held))


def first(held):
    return int(held[0])


def keywords(held):
    return str(held.__kwdefaults__)


def attribute(held):
    return getattr(held, "calls", None)


TOO_LONG, UNKNOWN = "too long to be looked through", "may depend on"
HELD = [
    # How it is made, how a step moves it, how it is read, why it is trained alone.
    (lambda: large(0), move_first, first, "change"),
    (lambda: large(0), move_written, first, "change"),
    (lambda: torch.zeros(3), move_data, first, "change"),
    (lambda: [torch.zeros(2), torch.ones(2)], move_aliased, lambda held: str(held), "change"),
    (lambda: torch.eye(2).to_sparse(), move_values, lambda held: str(held), "a sparse tensor"),
    (lambda: dict.fromkeys(range(3000), 0), move_first, first, "change"),
    (lambda: [0] * 3000, move_first, first, "change"),
    (lambda: deque([0] * 3000), move_first, first, "change"),
    (lambda: set(range(3000)), move_set, len, "change"),
    (lambda: [[0] for _ in range(3000)], move_inner, lambda held: first(held[0]), TOO_LONG),
    (lambda: [0] * 300_000, move_first, first, TOO_LONG),
    (lambda: np.zeros(2**20 + 1), move_first, first, "an array that is not compared"),
    (lambda: np.array([0, None]), move_first, first, "an array that is not compared"),
    (lambda: np.zeros(1).view(WithAttributes), move_attribute, attribute, "change"),
    (lambda: bytearray(2), move_first, first, UNKNOWN),
    (lambda: array.array("i", [0]), move_first, first, UNKNOWN),
    (lambda: memoryview(bytearray(2)), move_first, first, UNKNOWN),
    (lambda: type("Own", (Counter_,), {})({0: 0}), move_first, first, "change"),
    (lambda: OrderedDict({0: 0, 1: 1}), move_first, lambda held: str(held), "change"),
    (lambda: torch.ones(2), move_attribute, attribute, "change"),
    (lambda: functools.partial(len), move_attribute, attribute, "change"),
    (lambda: Level.LOW, move_attribute, attribute, "change"),
    (lambda: types.ModuleType("held"), move_attribute, attribute, "change held.calls"),
    (lambda: Unset(), move_attribute, attribute, "change Unset.calls"),
    (
        lambda: types.FunctionType(in_a_default.__code__, globals()),
        move_keyword,
        keywords,
        "change",
    ),
]


@pytest.mark.parametrize(("make", "move", "read", "reason"), HELD)
def test_a_look_puts_back_what_a_step_moves_or_runs_no_step(make, move, read, reason):
    class Moving(Holding):
        def make(self):
            held = make()
            if isinstance(held, types.FunctionType):
                held.__kwdefaults__ = {"calls": 0}
            return held

        def move(self, held):
            move(held)

    training = member(Moving)()
    assert training.begin(Interrupts())
    if isinstance(training.model.held, Level | Unset):
        with contextlib.suppress(AttributeError):  # so that a step sets it anew
            del training.model.held.calls
    before = read(training.model.held)
    with pytest.raises(CannotStack, match=re.escape(reason)):
        check_alone(training)
    assert read(training.model.held) == before
    training.end(None)


@pytest.mark.parametrize(
    ("Model", "read"),
    [
        (InACache, lambda: cached(1)[0]),
        (InAContext, VARIABLE.get),
    ],
)
def test_a_look_runs_no_step_that_reaches_what_cannot_be_put_back(Model, read):
    reset()
    training = member(Model)()
    assert training.begin(Interrupts())
    before = read()
    with pytest.raises(CannotStack):
        check_alone(training)
    assert read() == before
    training.end(None)


def test_a_look_stops_a_step_before_it_prints(capsys):
    training = member(Printing)()
    assert training.begin(Interrupts())
    capsys.readouterr()
    with pytest.raises(CannotStack, match="call print"):
        check_alone(training)
    assert capsys.readouterr().out == ""
    training.end(None)


def test_a_name_that_two_functions_take_from_one_module_is_not_passed_by():
    def bump():
        TOTALS.calls += 1

    class Twice(Net):
        def forward(self, X):
            return super().forward(X) * TOTALS.factor

        def loss(self, y_hat, y, averaged=True):
            bump()
            return super().loss(y_hat, y)

    TOTALS.factor, TOTALS.calls = 1.0, 0
    assert "change totals.calls" in why_alone(member(Twice)(), list)


def test_a_name_of_a_module_is_not_taken_for_that_of_an_attribute():
    class Own:
        CALLS = 0

    def read(own):
        return own.CALLS

    def bump():
        global CALLS
        CALLS += 1

    class Both(Net):
        def loss(self, y_hat, y, averaged=True):
            read(Own)
            bump()
            return super().loss(y_hat, y)

    assert "test_effects.CALLS" in why_alone(member(Both)(), list)


# What the optimizer changes and the loss reads


class Shared:
    scale = 1.0


def shared():
    return shared.scale


class DecayingAClass:
    def decay(self):
        Shared.scale *= 0.9


class DecayingAModule:
    def decay(self):
        TOTALS.factor *= 0.9


class DecayingAFunction:
    def decay(self):
        shared.scale *= 0.9


class DecayingAHeldModule:
    held = TOTALS

    def decay(self):
        self.held.factor *= 0.9


class DecayingByName:
    def decay(self):
        setattr(TOTALS, "factor", TOTALS.factor * 0.9)  # noqa: B010 - which is what is tried


class NotDecaying:
    def decay(self):
        pass


def scaled_by(Decaying):
    class Own(Decaying, CountingSGD):
        def step(self):
            super().step()
            self.decay()

    class Reading(Net):
        def configure_optimizers(self):
            return Own(self.parameters(), self.lr)

        def loss(self, y_hat, y, averaged=True):
            scale = Shared.scale * TOTALS.factor * shared()
            return super().loss(y_hat, y) * scale

    def build(lr):
        make = member(Reading, lr=lr)

        def made():
            Shared.scale = TOTALS.factor = shared.scale = 1.0
            return make()

        return made

    return [build(lr) for lr in (0.1, 0.2)]


@pytest.mark.parametrize(
    "Decaying",
    [DecayingAClass, DecayingAModule, DecayingAHeldModule, DecayingAFunction, DecayingByName],
)
def test_what_the_optimizer_changes_and_the_loss_reads_is_trained_as_alone(Decaying):
    # Members begin before the first one trains: what they share then goes on from one to the next.
    (alone,) = trained_alone(scaled_by(Decaying)[:1])
    stacked = fit_stacked(scaled_by(Decaying))
    assert "something that its optimizer holds" in stacked[0].alone
    assert_same_training(alone, stacked[0])


def test_an_optimizer_that_changes_nothing_that_the_loss_reads_is_stacked():
    assert fit_stacked(scaled_by(NotDecaying))[0].alone is None


# Effects that no object shows


class Printing(Net):
    def forward(self, X):
        print("forward")
        return super().forward(X)


class Writing(Net):
    def forward(self, X):
        with open("log.txt", "a") as file:
            file.write("forward\n")
        return super().forward(X)


class Warning_(Net):
    def forward(self, X):
        warnings.warn("forward", DeprecationWarning, stacklevel=1)
        return super().forward(X)


class ByTime(Net):
    def forward(self, X):
        return super().forward(X) * (1 + 0 * time.time())


class ByEnvironment(Net):
    def forward(self, X):
        return super().forward(X) * float(os.environ.get("SCALE", "1"))


class ByChance(Net):
    def forward(self, X):
        return super().forward(X) * (1 + 0.1 * random.random())


class ByNumPyChance(Net):
    def forward(self, X):
        return super().forward(X) * (1 + 0.1 * np.random.rand())


class Saving(Net):
    def forward(self, X):
        torch.save({"calls": 1}, "calls.pt")
        return super().forward(X)


class Setting(Net):
    def forward(self, X):
        other = {"highest": "high", "high": "highest"}[torch.get_float32_matmul_precision()]
        torch.set_float32_matmul_precision(other)
        return super().forward(X)


class Switching(Net):
    def forward(self, X):
        self.net[1].eval()
        return super().forward(X)


class Drawing(Net):
    def loss(self, y_hat, y, averaged=True):
        loss = super().loss(y_hat, y)
        self.board.draw(len(self.board.data.get("own", ())), 1.0, "own")
        return loss


class ChangingItsBatch(Net):
    def forward(self, X):
        X -= 1.0
        return super().forward(X)


class Clamping(Net):
    def forward(self, X):
        self.net[0].weight.data.clamp_(-0.2, 0.2)
        return super().forward(X)


class Keeping(Net):
    def forward(self, X):
        self.last = super().forward(X)
        return self.last


class HookedParameter(Net):
    def __init__(self, lr=0.1):
        super().__init__(lr=lr)
        self.net[0].weight.register_post_accumulate_grad_hook(self.halve)

    def halve(self, parameter):
        parameter.grad.mul_(0.5)


class AskingItsOptimizer(Net):
    def __init__(self, lr=0.1):
        super().__init__(lr=lr)
        self.held = CountingSGD(self.parameters(), lr)

    def loss(self, y_hat, y, averaged=True):
        return super().loss(y_hat, y) * (1 + 0.1 * self.held.steps)

    def configure_optimizers(self):
        return self.held


class CountingSGD(HyperParameters):
    def __init__(self, params, lr):
        self.params, self.lr, self.steps = list(params), lr, 0

    def step(self):
        self.steps += 1
        for param in self.params:
            param -= self.lr * param.grad

    def zero_grad(self):
        for param in self.params:
            param.grad = None


@pytest.fixture(autouse=True)
def settings_of_torch():
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.filterwarnings("ignore:forward")
@pytest.mark.parametrize(
    ("Model", "reason"),
    [
        (Printing, "call print"),
        (Writing, "open"),
        (Warning_, "warn"),
        (ByTime, "call time.time"),
        (ByEnvironment, "call os.__getitem__"),
        (ByChance, "random numbers"),
        (ByNumPyChance, "random numbers"),
        (Saving, "call torch.serialization.save"),
        (Setting, "call torch.set_float32_matmul_precision"),
        (Switching, "switch between training and validation"),
        (Drawing, "look at the board"),
        (Clamping, "change a parameter"),
        (Keeping, "change Keeping.last"),
        (HookedParameter, "have hooks"),
        (AskingItsOptimizer, "its optimizer holds"),
    ],
)
def test_a_step_that_does_more_than_compute_is_trained_alone(Model, reason):
    trained = fit_stacked([member(Model, lr=lr) for lr in (0.1, 0.2)])
    assert [training.error for training in trained] == [None, None]
    assert reason in trained[0].alone


def test_a_step_that_changes_its_batch_is_trained_alone():
    trained = fit_stacked([member(ChangingItsBatch, lr=lr) for lr in (0.1, 0.2)])
    assert "change their batch" in trained[0].alone


# What changes from outside


EPOCH = {"factor": 1.0}


class Scaled(Net):
    def loss(self, y_hat, y, averaged=True):
        return super().loss(y_hat, y) + (EPOCH["factor"] - 1.0) * 1e-6 * y_hat.pow(2).mean()


class Scaling(Sink):
    """Changes what all losses read, a little, after the first epoch."""

    def end_epoch(self, trainer):
        if trainer.epoch == 0:
            EPOCH["factor"] = 2.0


def test_what_steps_read_is_compared_at_the_beginning_of_each_epoch():
    EPOCH["factor"] = 1.0
    trained = fit_stacked([member(Scaled, lr=lr, trainer={"sinks": Scaling()}) for lr in (0.1, 1)])
    assert "has changed since the training began (EPOCH['factor'])" in trained[0].alone


# What is harmless

SLOPE = 0.1
TABLE = {"slope": 0.1, "layers": ["first", "second"]}


def leaky(X, slope=SLOPE):
    return torch.where(X > 0, X, slope * X)


def attention(Q, K, V):
    return torch.softmax(Q @ K.transpose(1, 2) / math.sqrt(Q.shape[-1]), -1) @ V


@dataclass
class Config:
    num_hiddens: int = 6
    slope: float = 0.1
    sizes: tuple = (4, 3)


class Helped(Classifier):
    """Own methods, functions and constants of a module, a dataclass of settings."""

    def __init__(self, lr=0.1, config=None):
        super().__init__()
        self.save_hyperparameters()
        self.config = config or Config()
        self.first = nn.Linear(4, self.config.num_hiddens)
        self.last = nn.Linear(self.config.num_hiddens, 3)
        self.steps, self.log = 0, []

    def activation(self, X):
        return leaky(X, self.config.slope) + TABLE["slope"] * F.gelu(X)

    def forward(self, X):
        if X.dim() != 2:
            raise ValueError("a batch of rows is needed")
        parts = [getattr(self, name) for name in ("first", "last")]
        return parts[1](self.activation(parts[0](X.reshape(-1, 4))))

    def loss(self, y_hat, y, averaged=True):
        penalty = sum((p**2).sum() for p in self.parameters())
        return F.cross_entropy(y_hat, y) + 1e-3 * penalty


class Attending(Net):
    def __init__(self, lr=0.1):
        super().__init__(lr=lr)
        del self.net
        self.W_q, self.W_k, self.W_v = nn.Linear(1, 2), nn.Linear(1, 2), nn.Linear(1, 2)
        self.out = nn.Linear(2, 3)

    def forward(self, X):
        tokens = X.unsqueeze(-1)
        return self.out(attention(self.W_q(tokens), self.W_k(tokens), self.W_v(tokens)).mean(1))


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear, self.norm = nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, X):
        return X + torch.relu(self.norm(self.linear(X)))


class Stacked(Net):
    def __init__(self, lr=0.1):
        super().__init__(lr=lr)
        del self.net
        self.blocks = nn.ModuleList(Block(4) for _ in range(2))
        self.head = nn.Sequential(nn.Linear(4, 5), nn.LeakyReLU(0.1), nn.Linear(5, 3))

    def forward(self, X):
        for block in self.blocks:
            X = block(X)
        return self.head(X)


@pytest.mark.parametrize("Model", [Helped, Stacked])
def test_a_step_that_only_computes_is_stacked(Model):
    members = ((0, 0.1), (1, 0.3))
    assert_stacked_as_alone([member(Model, uneven, seed=seed, lr=lr) for seed, lr in members])


def test_what_a_step_does_not_touch_keeps_nobody_out_of_a_stack():
    class Busy(Net):
        def __init__(self, lr=0.1):
            super().__init__(lr=lr)
            self.file, self.random = sys.stdout, len
            self.made = time.time()
            self.cache = functools.lru_cache(len)

        def report(self):
            print(next(NUMBERS) if False else time.time())

    assert why_alone(member(Busy)(), list) is None


def test_what_others_do_at_a_garbage_collection_is_not_taken_for_a_step_s():
    def timed(phase, info):
        time.perf_counter()

    class Allocating(Net):
        def forward(self, X):
            [[] for _ in range(5000)]  # enough for a collection
            return super().forward(X)

    gc.callbacks.append(timed)
    try:
        assert why_alone(member(Allocating)(), list) is None
    finally:
        gc.callbacks.remove(timed)
    assert gc.isenabled()


def test_members_that_read_different_numbers_by_another_way_are_kept_apart():
    class Sly(Net):
        def __init__(self, lr=0.1, weight=0.0):
            super().__init__(lr=lr)
            self.weight = weight

        def loss(self, y_hat, y, averaged=True):
            return super().loss(y_hat, y) + vars(self)["weight"] * y_hat.pow(2).mean()

    builders = [member(Sly, weight=weight) for weight in (0.0, 1e-5)]
    assert_fallback(builders, "no other member does the same operations")


def test_a_learner_s_file_may_have_the_name_of_a_standard_one(tmp_path, monkeypatch):
    (tmp_path / "chunk.py").write_text("calls = [0]\ndef count():\n    calls[0] += 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "stdlib_module_names", {*sys.stdlib_module_names, "chunk"})
    monkeypatch.delitem(sys.modules, "chunk", raising=False)
    count = importlib.import_module("chunk").count

    class Counting(Net):
        def forward(self, X):
            count()
            return super().forward(X)

    assert "change calls[0]" in why_alone(member(Counting)(), list)
    del sys.modules["chunk"]


def test_the_patched_methods_of_a_base_class_count_as_a_learner_s(undo_patches):
    @gradbook.add_to_class(gradbook.Module)
    def training_step(self, batch):
        loss = 2 * self.loss(self(*batch[:-1]), batch[-1])
        self.plot("loss", loss, train=True)
        return loss

    alone, stacked = [], fit_stacked([member(lr=lr) for lr in (0.1, 0.2)])
    assert "training_step is a method of your own" in stacked[0].alone
    alone = trained_alone([member(lr=lr) for lr in (0.1, 0.2)])
    for pair in zip(alone, stacked, strict=True):
        assert_same_training(*pair)
