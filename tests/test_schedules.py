"""What `configure_optimizers` may return, and when a scheduler is asked for the next rate."""

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from gradbook.errors import ConfigError, IgnoredSettingWarning, ModelError
from gradbook.optim import SGD
from gradbook.schedules import Schedule, learning_rate, read_optimizers


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


def test_a_misspelt_key_is_corrected(optimizer, scheduler):
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
