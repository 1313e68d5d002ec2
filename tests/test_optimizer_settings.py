"""`Trainer(optimizer=..., momentum=..., weight_decay=..., scheduler=...)`."""

import copy
import math

import pytest
import torch
from tests.small import Always, Blobs, Net, fit
from torch import nn

import gradbook
from gradbook import SGD, Trainer
from gradbook.errors import CheckpointError, ConfigError, IgnoredSettingWarning

pytestmark = pytest.mark.usefixtures("blank_figures")

THEIRS = {
    "sgd": lambda params: torch.optim.SGD(params, 0.05, momentum=0.9, weight_decay=0.01),
    "adagrad": lambda params: torch.optim.Adagrad(params, 0.05, weight_decay=0.01),
    "rmsprop": lambda params: torch.optim.RMSprop(params, 0.05, momentum=0.9, weight_decay=0.01),
    "adadelta": lambda params: torch.optim.Adadelta(params, 0.05, weight_decay=0.01),
    "adam": lambda params: torch.optim.Adam(params, 0.05, weight_decay=0.01),
    "adamw": lambda params: torch.optim.AdamW(params, 0.05, weight_decay=0.01),
}


def net(lr=0.05):
    torch.manual_seed(0)
    return Net(nn.Linear(6, 3), lr=lr)


class Once(Always):
    """The same examples, in the same order."""

    def get_dataloader(self, train):
        return self.get_tensorloader((self.X, self.y), False, slice(0, 24))


@pytest.mark.parametrize("name", THEIRS)
def test_each_optimizer_takes_the_steps_of_torchs(name):
    theirs = copy.deepcopy(net().net)
    optimizer = THEIRS[name](theirs.parameters())
    for _ in range(2):
        for X, y in Once().train_dataloader():
            optimizer.zero_grad()
            nn.functional.cross_entropy(theirs(X), y).backward()
            optimizer.step()
    model = net()
    momentum = 0.9 if name in ("sgd", "rmsprop") else 0
    fit(model, Once(), 2, display="off", optimizer=name, momentum=momentum, weight_decay=0.01)

    for ours, other in zip(model.net.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=0)


@pytest.mark.parametrize("settings", [{}, {"optimizer": "sgd"}, {"momentum": 0}])
def test_what_is_not_set_leaves_the_sgd_of_the_book(settings):
    assert type(fit(net(), Always(), display="off", **settings).optim) is SGD


def test_a_model_from_scratch_takes_them_too():
    model = gradbook.LinearRegressionScratch(2)
    data = gradbook.SyntheticRegressionData()
    trainer = fit(model, data, display="off", optimizer="adam")

    assert type(trainer.optim) is torch.optim.Adam


def test_a_cosine_falls_to_zero_over_the_epochs():
    trainer = fit(net(lr=1.0), Always(), 4, display="off", scheduler="cosine")

    expected = [(1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]
    assert trainer.history["lr"] == pytest.approx(expected)


class Rates(gradbook.Sink):
    """Notes the learning rate of each update to come."""

    def __init__(self):
        self.rates = []

    def end_step(self, trainer):
        self.rates.append(trainer.optim.param_groups[0]["lr"])


@pytest.mark.parametrize("together", [1, 2])
def test_onecycle_ends_with_the_last_update(together):
    noted, settings = Rates(), {"scheduler": "onecycle", "accumulate_grad_batches": together}
    trainer = fit(net(lr=1.0), Always(), 4, display="off", sinks=[noted], **settings)

    assert trainer.num_steps == 4 * math.ceil(3 / together)
    assert max(noted.rates) == pytest.approx(1, abs=0.1)
    assert noted.rates[-2] == pytest.approx(1 / 25 / 1e4)  # that of the last update


@pytest.mark.parametrize(
    ("settings", "watched", "mode"),
    [
        ({}, "val_loss", "min"),
        ({"monitor": "val_acc"}, "val_acc", "max"),
        ({"monitor": "train_loss"}, "train_loss", "min"),
    ],
)
def test_a_plateau_watches_what_is_monitored(settings, watched, mode):
    (schedule,) = fit(net(), Always(), display="off", scheduler="plateau", **settings).schedules

    assert (schedule.monitor, schedule.scheduler.mode) == (watched, mode)


def test_a_plateau_without_a_validation_set_watches_the_training_loss():
    model = Net(nn.Linear(4, 3), lr=0.05)
    (schedule,) = fit(model, Blobs(num_val=0), display="off", scheduler="plateau").schedules

    assert schedule.monitor == "train_loss"


def test_a_rate_on_a_plateau_is_divided_by_ten():
    trainer = fit(net(lr=1e-12), Once(), 6, display="off", scheduler="plateau")

    assert trainer.history["lr"][-1] == pytest.approx(1e-13)


@pytest.mark.parametrize("scheduler", [None, "cosine", "onecycle"])
def test_a_training_resumes_with_them_to_the_last_bit(scheduler):
    settings = {"display": "off", "optimizer": "adam", "scheduler": scheduler}
    whole = net()
    fit(whole, Always(), 4, **settings)

    trainer = Trainer(4, run="runs", **settings)
    trainer.sinks = [StopAfter(2)]
    model = net()
    trainer.fit(model, Always())
    assert len(trainer.history) == 2
    torch.manual_seed(1)
    again = Net(nn.Linear(6, 3), lr=0.05)
    Trainer(4, run="runs", **settings).fit(again, Always(), resume="runs/net-1")

    for a, b in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)


class StopAfter(gradbook.Sink):
    """Stops a training after so many epochs."""

    def __init__(self, epochs):
        self.epochs = epochs

    def end_epoch(self, trainer):
        if trainer.epoch + 1 == self.epochs:
            trainer.stop()


def test_another_optimizer_is_no_continuation():
    fit(net(), Always(), 1, display="off", optimizer="adam", run="runs")
    trainer = Trainer(2, display="off", optimizer="sgd", run="runs")

    with pytest.raises(CheckpointError, match=r"trainer\.optimizer: 'adam'"):
        trainer.fit(net(), Always(), resume="runs/net-1")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"optimizer": "adm"}, "optimizer is one of sgd, .*'adm'. Did you mean 'adam'"),
        ({"scheduler": "cos"}, "scheduler is one of cosine, onecycle, plateau"),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum=0.9 is a setting of sgd and rmsprop"),
        ({"weight_decay": -1}, "weight_decay must be a finite number of at least 0"),
    ],
)
def test_what_cannot_be_is_refused_before_training(settings, told):
    with pytest.raises(ConfigError, match=told):
        Trainer(1, **settings)


class Own(Net):
    """Makes its optimizer by itself."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)


class Extended(Net):
    """Takes the optimizer of its base class."""

    def configure_optimizers(self):
        return super().configure_optimizers()


def test_a_model_that_makes_its_own_optimizer_has_no_use_for_them():
    with pytest.warns(IgnoredSettingWarning, match="optimizer='adam' has no effect"):
        trainer = fit(Own(nn.Linear(6, 3)), Always(), display="off", optimizer="adam")
    assert type(trainer.optim) is torch.optim.SGD


def test_a_model_that_asks_its_base_class_gets_what_is_set():
    trainer = fit(Extended(nn.Linear(6, 3)), Always(), display="off", optimizer="adam")
    assert type(trainer.optim) is torch.optim.Adam


@pytest.mark.slow
def test_a_sweep_compares_optimizers(tmp_path):
    found = gradbook.sweep(
        *(gradbook.SoftmaxRegression, Always()),
        **{"num_outputs": 3, "lr": 0.01, "optimizer": ["sgd", "adam"], "max_epochs": 2},
        **{"display": "off", "runs": tmp_path},
    )

    assert [member.values["optimizer"] for member in found.members] == ["sgd", "adam"]
    sgd, adam = found.runs
    assert sgd.final["train_loss"] != adam.final["train_loss"]
