"""What `configure_optimizers` may return, and when a scheduler is asked for the next rate."""

import math
import warnings

import pytest
import torch
from torch.optim import lr_scheduler as S
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from gradbook.errors import ConfigError, IgnoredSettingWarning, ModelError
from gradbook.optim import SGD
from gradbook.schedules import (
    Length,
    Schedule,
    check_schedules,
    learning_rate,
    read_optimizers,
)


class Mine:
    """A model, whose name the errors carry."""


class Counter:
    """A scheduler of the learner's own, which counts its steps."""

    def __init__(self):
        self.num_steps = 0

    def step(self):
        self.num_steps += 1

    def state_dict(self):
        return {"num_steps": self.num_steps}


@pytest.fixture
def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.8)


@pytest.fixture
def scheduler(optimizer):
    return StepLR(optimizer, 1, gamma=0.5)


# The forms


def test_an_optimizer_alone_has_no_schedule(optimizer):
    assert read_optimizers(optimizer, Mine()) == (optimizer, [])


def test_an_optimizer_of_the_learner_s_own_will_do():
    class Own:
        def step(self):
            pass

        def zero_grad(self):
            pass

    own = Own()
    assert read_optimizers(own, Mine()) == (own, [])


@pytest.mark.parametrize(
    "form",
    [
        lambda o, s: (o, s),
        lambda o, s: [o, s],
        lambda o, s: ([o], [s]),
        lambda o, s: ([o], s),
        lambda o, s: ([o], [{"scheduler": s}]),
        lambda o, s: (o, {"scheduler": s}),
        lambda o, s: {"optimizer": o, "lr_scheduler": s},
        lambda o, s: {"optimizer": o, "lr_scheduler": {"scheduler": s}},
    ],
)
def test_every_usual_form_gives_the_optimizer_and_the_schedule(form, optimizer, scheduler):
    assert read_optimizers(form(optimizer, scheduler), Mine()) == (optimizer, [Schedule(scheduler)])


@pytest.mark.parametrize(
    "form",
    [
        lambda o: [o],
        lambda o: ([o], []),
        lambda o: {"optimizer": o},
        lambda o: {"optimizer": o, "lr_scheduler": None},
        lambda o: {"optimizer": o, "lr_scheduler": None, "monitor": "val_acc"},
    ],
)
def test_a_form_without_a_scheduler_gives_no_schedule(form, optimizer):
    assert read_optimizers(form(optimizer), Mine()) == (optimizer, [])


def test_several_schedulers_keep_their_order(optimizer):
    first, second = (StepLR(optimizer, 1), Counter())
    _, schedules = read_optimizers(([optimizer], [first, second]), Mine())
    assert [schedule.scheduler for schedule in schedules] == [first, second]


def test_a_dictionary_says_when_and_what_to_watch(optimizer, scheduler):
    given = {"scheduler": scheduler, "interval": "step", "frequency": 3, "monitor": "val_acc"}
    _, schedules = read_optimizers((optimizer, given), Mine())
    assert schedules == [Schedule(scheduler, "step", 3, "val_acc")]


def test_a_scheduler_steps_once_an_epoch_unless_told_otherwise(scheduler):
    schedule = Schedule(scheduler)
    assert (schedule.interval, schedule.frequency, schedule.monitor) == ("epoch", 1, "val_loss")


@pytest.mark.parametrize("as_dict", [False, True])
def test_what_to_watch_may_stand_beside_the_scheduler(as_dict, optimizer, scheduler):
    given = {"scheduler": scheduler} if as_dict else scheduler
    returned = {"optimizer": optimizer, "lr_scheduler": given, "monitor": "train_loss"}
    assert read_optimizers(returned, Mine())[1][0].monitor == "train_loss"


def test_what_the_scheduler_s_own_dictionary_says_comes_first(optimizer, scheduler):
    given = {"scheduler": scheduler, "monitor": "inner"}
    returned = {"optimizer": optimizer, "lr_scheduler": given, "monitor": "outer"}
    assert read_optimizers(returned, Mine())[1][0].monitor == "inner"


# Wrong forms


@pytest.mark.parametrize(
    ("form", "found"),
    [
        (lambda o, s: [], "no optimizer"),
        (lambda o, s: [o, o], "several optimizers"),
        (lambda o, s: ([o, o], []), "several optimizers"),
        (lambda o, s: ([o, o], [s]), "several optimizers"),
        (lambda o, s: 0.1, r"float 0\.1"),
        (lambda o, s: s, "StepLR"),
        (lambda o, s: torch.optim.SGD, "type <class 'torch.optim.sgd.SGD'>"),
        (lambda o, s: {"optim": o}, r"a dictionary with the keys \['optim'\]"),
        (lambda o, s: {"optimizer": o, "scheduler": s}, r"a dictionary .*'scheduler'\]"),
        (lambda o, s: {"optimizer": [o]}, "list"),
        (lambda o, s: (o, 3), "int 3 as a scheduler"),
        (lambda o, s: (o, None), "NoneType None as a scheduler"),
        (lambda o, s: ([o], [StepLR]), "type .*StepLR.* as a scheduler"),
        (lambda o, s: (o, {"interval": "step"}), "dict .* as a scheduler"),
        (lambda o, s: (o, {"scheduler": 3}), "int 3 as a scheduler"),
        (lambda o, s: {"optimizer": o, "lr_scheduler": [s]}, "list .* as a scheduler"),
    ],
)
def test_another_form_is_shown_beside_the_right_ones(form, found, optimizer, scheduler):
    with pytest.raises(ModelError, match=rf"(?s)Mine\.configure_optimizers returned {found}") as e:
        read_optimizers(form(optimizer, scheduler), Mine())
    assert "It returns one optimizer, or `[optimizer], [scheduler]`" in str(e.value)


@pytest.mark.parametrize("returned", [None, {"optimizer": None}, [None]])
def test_a_forgotten_return_is_named(returned):
    with pytest.raises(ModelError, match=r"Mine has no optimizer.*configure_optimizers\(self\)"):
        read_optimizers(returned, Mine())


def test_a_misspelled_key_is_corrected(optimizer, scheduler):
    with pytest.raises(ConfigError, match=r"no key 'intervall'\. Did you mean 'interval'\?"):
        read_optimizers((optimizer, {"scheduler": scheduler, "intervall": "step"}), Mine())


def test_a_key_that_is_no_text_is_shown(optimizer, scheduler):
    with pytest.raises(ConfigError, match="no key 1"):
        read_optimizers((optimizer, {"scheduler": scheduler, 1: 2}), Mine())


@pytest.mark.parametrize("interval", ["batch", None, 1])
def test_an_interval_that_is_neither_epoch_nor_step_is_shown(interval, optimizer, scheduler):
    with pytest.raises(ConfigError, match=rf'"epoch" or "step", but it is {interval!r}'):
        read_optimizers((optimizer, {"scheduler": scheduler, "interval": interval}), Mine())


@pytest.mark.parametrize("frequency", [0, -1, 1.5, "2", True])
def test_a_frequency_that_is_no_positive_whole_number_is_shown(frequency, optimizer, scheduler):
    with pytest.raises(ConfigError, match=f"frequency must be .* 1, but it is {frequency!r}"):
        read_optimizers((optimizer, {"scheduler": scheduler, "frequency": frequency}), Mine())


def test_a_scheduler_that_watches_epochs_cannot_be_asked_at_each_step(optimizer):
    given = {"scheduler": ReduceLROnPlateau(optimizer), "interval": "step"}
    with pytest.raises(ConfigError, match='interval of ReduceLROnPlateau is "epoch"'):
        read_optimizers((optimizer, given), Mine())


# When it steps


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_a_scheduler_steps_at_its_own_interval_only(interval):
    counter = Counter()
    schedule = Schedule(counter, interval)
    schedule.end("epoch", 1, {})
    for count in (1, 2, 3):
        schedule.end("step", count)
    assert counter.num_steps == {"epoch": 1, "step": 3}[interval]


def test_a_frequency_counts_from_the_beginning_of_the_training():
    counter, seen = Counter(), []
    schedule = Schedule(counter, "step", frequency=3)
    for count in range(1, 8):
        schedule.end("step", count)
        seen.append(counter.num_steps)
    assert seen == [0, 0, 1, 1, 1, 2, 2]


def test_a_plateau_is_told_the_mean_that_it_watches(optimizer):
    schedule = Schedule(ReduceLROnPlateau(optimizer, factor=0.5, patience=0), monitor="val_loss")
    for epoch, value in enumerate([1.0, 0.5, 0.7], start=1):
        schedule.end("epoch", epoch, {"epoch": epoch, "train_loss": -epoch, "val_loss": value})
    assert learning_rate(optimizer) == 0.4


def test_a_plateau_that_watches_what_is_not_recorded_warns_and_changes_nothing(optimizer):
    schedule = Schedule(ReduceLROnPlateau(optimizer, patience=0), monitor="val_los")
    with pytest.warns(
        IgnoredSettingWarning,
        match=r"stays as it is: .*'val_los'.* Did you mean 'val_loss'\? There are val_loss\.",
    ):
        schedule.end("epoch", 1, {"epoch": 1, "val_loss": 1.0})
    assert learning_rate(optimizer) == 0.8


def test_a_plateau_without_any_value_says_that_there_are_none(optimizer):
    with pytest.warns(IgnoredSettingWarning, match="There are no values"):
        Schedule(ReduceLROnPlateau(optimizer)).end("epoch", 1, {})


# The learning rate


def test_the_learning_rate_is_that_of_the_first_group():
    params = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    groups = [{"params": params[:1], "lr": 0.3}, {"params": params[1:]}]
    assert learning_rate(torch.optim.SGD(groups, lr=0.1)) == 0.3


def test_the_learning_rate_of_our_own_optimizer_is_known():
    assert learning_rate(SGD([torch.nn.Parameter(torch.ones(1))], lr=0.2)) == 0.2


def test_a_learning_rate_in_a_tensor_becomes_a_number():
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=torch.tensor(0.5))
    assert learning_rate(optimizer) == 0.5


def test_an_optimizer_without_groups_may_have_a_rate_as_an_attribute():
    own = Mine()
    assert learning_rate(own) is None
    own.lr = 0.1
    assert learning_rate(own) == 0.1


# What cannot do what was meant


def told(optimizer, *schedulers, epochs=10, updates=20, **settings):
    """What is said of schedulers, or of one with the keys of a `Schedule`."""
    options = {
        k: settings.pop(k) for k in ("is_cut", "has_validation", "is_resumed") if k in settings
    }
    schedules = [Schedule(scheduler, **settings) for scheduler in schedulers]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        check_schedules(optimizer, schedules, Length(epochs, updates, **options))
    assert all(issubclass(one.category, IgnoredSettingWarning) for one in seen)
    return [str(one.message) for one in seen]


@pytest.mark.parametrize(
    ("make", "interval", "said"),
    [
        (
            lambda o: S.OneCycleLR(o, 1, total_steps=200),
            "epoch",
            "(after each epoch, in 10 epochs): it does not reach its end. Return it with "
            '"interval": "step" if updates are meant, or give it total_steps=10.',
        ),
        (
            lambda o: S.OneCycleLR(o, 1, total_steps=201),
            "step",
            "it does not reach its end. Give it total_steps=200.",
        ),
        (
            lambda o: S.OneCycleLR(o, 1, total_steps=199),
            "step",
            "beyond total_steps it raises an error",
        ),
        (
            lambda o: S.CosineAnnealingLR(o, 10),
            "step",
            'beyond T_max the rate goes up again. Return it with "interval": "epoch"',
        ),
        (
            lambda o: S.CosineAnnealingLR(o, 200),
            "epoch",
            'not reach its end. Return it with "interval": "step"',
        ),
        (lambda o: S.PolynomialLR(o, 5), "epoch", "beyond total_iters the rate is 0"),
        (lambda o: S.LinearLR(o, 1.0, 0.0, 5), "epoch", "beyond total_iters the rate is 0"),
        (lambda o: S.LinearLR(o, 0.1, 1.0, 12), "epoch", "total_iters=12, but is stepped 10 times"),
        (
            lambda o: S.SequentialLR(
                o, [S.LinearLR(o, 0.1, 1.0, 50), S.CosineAnnealingLR(o, 150)], [50]
            ),
            "epoch",
            "reaches its last scheduler after 50 steps",
        ),
        (
            lambda o: S.SequentialLR(
                o, [S.LinearLR(o, 0.1, 1.0, 2), S.CosineAnnealingLR(o, 6)], [2]
            ),
            "epoch",
            "CosineAnnealingLR has T_max=6, but is stepped 8 times",
        ),
        (
            lambda o: S.ChainedScheduler([S.ExponentialLR(o, 0.9), S.CosineAnnealingLR(o, 6)]),
            "epoch",
            "T_max=6, but is stepped 10 times",
        ),
        (
            lambda o: S.CosineAnnealingWarmRestarts(o, 30),
            "epoch",
            "T_0=30, but is stepped 10 times (after each epoch, in 10 epochs): it does not reach",
        ),
        (lambda o: S.LambdaLR(o, lambda i: 1 - i / 8), "epoch", "gives the factor -0.125 at 9"),
        (
            lambda o: S.LambdaLR(o, lambda i: math.inf if i > 3 else 1),
            "epoch",
            "gives the factor inf at 4",
        ),
        (lambda o: S.LambdaLR(o, lambda i: [1, 0.5, 0.1][i]), "epoch", "raises IndexError at 3"),
        (lambda o: S.MultiplicativeLR(o, lambda i: -1), "epoch", "gives the factor -1 at 0"),
    ],
)
def test_a_schedule_of_another_length_or_without_a_rate_is_told(make, interval, said, optimizer):
    [message] = told(optimizer, make(optimizer), interval=interval)
    assert said in message


@pytest.mark.parametrize(
    ("make", "interval"),
    [
        (lambda o: S.OneCycleLR(o, 1, total_steps=200), "step"),
        (lambda o: S.CosineAnnealingLR(o, 10), "epoch"),
        (lambda o: S.CosineAnnealingLR(o, 200), "step"),
        (lambda o: S.CosineAnnealingLR(o, 15), "epoch"),  # does not reach its end, on purpose
        (lambda o: S.CosineAnnealingWarmRestarts(o, 3), "epoch"),
        (lambda o: S.CosineAnnealingLR(o, 9), "epoch"),  # the last of 10 steps trains nothing
        (lambda o: S.LinearLR(o, 1.0, 0.0, 9), "epoch"),
        (lambda o: S.LinearLR(o, 0.1, 1.0, 5), "epoch"),
        (lambda o: S.LinearLR(o, 1.0, 0.1, 5), "epoch"),
        (
            lambda o: S.SequentialLR(
                o, [S.LinearLR(o, 0.1, 1.0, 2), S.CosineAnnealingLR(o, 8)], [2]
            ),
            "epoch",
        ),
        (lambda o: S.StepLR(o, 100), "epoch"),
        (lambda o: S.MultiStepLR(o, [30, 60]), "epoch"),
        (lambda o: S.ExponentialLR(o, 0.9), "step"),
        (lambda o: S.CyclicLR(o, 0.1, 1), "step"),
        (lambda o: S.LambdaLR(o, lambda i: 1 / (1 + i)), "step"),
        (lambda o: ReduceLROnPlateau(o), "epoch"),
    ],
)
def test_a_schedule_that_fits_gets_no_word(make, interval, optimizer):
    assert told(optimizer, make(optimizer), interval=interval) == []


@pytest.mark.parametrize(
    ("mode", "monitor", "wanted"), [("min", "val_acc", "max"), ("max", "val_loss", "min")]
)
def test_a_plateau_in_the_wrong_direction_is_told(mode, monitor, wanted, optimizer):
    plateau = ReduceLROnPlateau(optimizer, mode=mode)
    [message] = told(optimizer, plateau, monitor=monitor)
    assert f"watches {monitor!r}" in message
    assert message.endswith(f'Make it with mode="{wanted}".')
    assert told(optimizer, plateau, monitor="val_something") == []


def test_a_plateau_that_watches_a_validation_that_is_not_there_is_told(optimizer):
    [message] = told(optimizer, ReduceLROnPlateau(optimizer), has_validation=False)
    assert "watches 'val_loss', but there is no validation set" in message


def test_a_scheduler_of_another_optimizer_is_told(optimizer):
    other = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])
    [message] = told(optimizer, StepLR(other, 1))
    assert (
        "StepLR sets the rate of another optimizer (Adam) than the one that trains (SGD)" in message
    )


def test_an_optimizer_that_wraps_the_scheduler_s_is_the_same(optimizer, scheduler):
    class Wraps:
        param_groups = optimizer.param_groups

    assert told(Wraps(), scheduler) == []


def test_a_scheduler_that_was_stepped_before_is_told(optimizer, scheduler):
    optimizer.step()
    scheduler.step()
    [message] = told(optimizer, scheduler)
    assert "StepLR was stepped 1 times before the training" in message
    assert told(optimizer, scheduler, is_resumed=True) == []


def test_an_object_with_a_state_is_not_asked_for_its_factors(optimizer):
    class Factors:
        asked = 0

        def __call__(self, step):
            self.asked += 1
            return 1.0

    factors = Factors()
    schedule = S.LambdaLR(optimizer, factors)
    before = factors.asked
    assert told(optimizer, schedule) == []
    assert factors.asked == before


def test_the_later_parts_of_a_cut_training_are_not_looked_at(optimizer):
    parts = [S.LambdaLR(optimizer, lambda i: 1 - i / 8), S.LambdaLR(optimizer, lambda i: -1.0)]
    schedule = S.SequentialLR(optimizer, parts, [10])
    assert told(optimizer, schedule, epochs=3, is_cut=True) == []
    [message] = told(optimizer, schedule, epochs=9, is_cut=True)
    assert "gives the factor -0.125 at 9" in message


def function_with_a_state(kind):
    """A function of a step that counts its calls, and how the calls are read."""
    if kind == "variable":
        count = 0

        def factor(step):
            nonlocal count
            count += 1
            return 1.0

        return factor, lambda: count
    calls = []
    if kind == "list":
        return lambda step: calls.append(step) or 1.0, lambda: len(calls)
    if kind == "default":

        def factor(step, seen=calls):
            seen.append(step)
            return 1.0

        return factor, lambda: len(calls)
    if kind == "within":

        def factor(step):
            return sum(calls.append(i) or 1.0 for i in [0])

        return factor, lambda: len(calls)

    def factor(step):
        factor.calls = getattr(factor, "calls", 0) + 1
        return 1.0

    return factor, lambda: factor.calls


@pytest.mark.parametrize("kind", ["variable", "list", "default", "within", "attribute"])
def test_a_function_that_may_have_a_state_is_not_called_in_advance(kind, optimizer):
    factor, num_calls = function_with_a_state(kind)
    schedule = S.LambdaLR(optimizer, factor)
    before = num_calls()
    assert told(optimizer, schedule) == []
    assert num_calls() == before


def test_a_function_of_numbers_around_it_is_asked(optimizer):
    end = 8
    [message] = told(optimizer, S.LambdaLR(optimizer, lambda i: math.cos(0) - i / end))
    assert "gives the factor -0.125 at 9" in message


def test_asking_for_factors_leaves_the_random_state(optimizer):
    schedule = S.LambdaLR(optimizer, lambda step: torch.rand(1).item())
    torch.manual_seed(0)
    told(optimizer, schedule)
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), after)
