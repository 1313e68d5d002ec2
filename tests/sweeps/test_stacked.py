"""Training in a stack: to each member as if it had been alone."""

import copy
import math
import os
import signal

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gradbook
from gradbook import Classifier, DataModule, HyperParameters, Sink, Trainer, snapshot
from gradbook.data import TensorLoader
from gradbook.runs.recorder import Run
from gradbook.seeds import seed_everything
from gradbook.sweeps.stacked import Training, fit_stacked, why_alone

# Data


class Blobs(DataModule):
    """Three classes of points; batches of 8, the last of 4; their own for each seed."""

    def __init__(self, num_train=28, num_val=8, batch_size=8, dtype=torch.float32):
        super().__init__()
        self.save_hyperparameters()
        self.y = torch.arange(num_train + num_val) % 3
        self.X = (torch.randn(len(self.y), 4) + 2 * torch.eye(4)[self.y]).to(dtype)

    def get_dataloader(self, train):
        rows = slice(0, self.num_train) if train else slice(self.num_train, None)
        if not train and not self.num_val:
            return None
        return self.get_tensorloader((self.X, self.y), train, rows)


class Same(Blobs):
    """The same points for every seed."""

    def __init__(self, **arguments):
        with torch.random.fork_rng():
            torch.manual_seed(9)
            super().__init__(**arguments)


class Images(Same):
    def get_dataloader(self, train):
        loader = super().get_dataloader(train)
        images = loader.tensors[0].repeat_interleave(16, 1).reshape(-1, 1, 8, 8)
        return TensorLoader((images, loader.tensors[1]), 8, train)


class Line(DataModule):
    def __init__(self, batch_size=8):
        super().__init__()
        self.save_hyperparameters()
        self.X = torch.randn(40, 2)
        self.y = self.X @ torch.tensor([[2.0], [-3.4]]) + 4.2

    def get_dataloader(self, train):
        return self.get_tensorloader(
            (self.X, self.y), train, slice(0, 28) if train else slice(28, 40)
        )


class Pairs(Same):
    """Batches of three tensors."""

    def get_dataloader(self, train):
        return self.get_tensorloader((self.X, self.X.flip(1), self.y), train)


# Models


class Net(Classifier):
    """A small network; its optimizer is made by the function `optimizer`."""

    def __init__(self, lr=0.1, optimizer=None, **settings):
        super().__init__()
        self.save_hyperparameters(ignore=["optimizer"])
        self.optimizer, self.settings = optimizer, settings
        self.net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 3))

    def configure_optimizers(self):
        if self.optimizer is None:
            return super().configure_optimizers()
        return self.optimizer(self.parameters(), lr=self.lr, **self.settings)


class Frozen(Net):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.net[0].requires_grad_(False)


class Buffered(Net):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.register_buffer("scale", torch.rand(4) + 0.5)

    def forward(self, X):
        return self.net(X * self.scale)


class Tied(Net):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        layer = nn.Linear(4, 4)
        self.net = nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(4, 3))


class Convolutional(Net):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.net = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 3)
        )


def squash(X):
    return torch.max(X, torch.zeros_like(X)) + 0.1 * X


class Scratch(Classifier):
    """As the book's readers write one."""

    def __init__(self, lr=0.1, sigma=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.W1 = torch.normal(0, sigma, (4, 6), requires_grad=True)
        self.b1 = torch.zeros(6, requires_grad=True)
        self.W2 = torch.normal(0, sigma, (6, 3), requires_grad=True)

    def forward(self, X):
        return squash(X.reshape(-1, 4) @ self.W1 + self.b1) @ self.W2

    def loss(self, y_hat, y):
        Z = y_hat.exp()
        return -torch.log((Z / Z.sum(1, keepdim=True))[range(len(y)), y]).mean()


class OneElement(Net):
    def loss(self, y_hat, y):
        return super().loss(y_hat, y).reshape(1)


class TwoInputs(Net):
    def forward(self, X, Z):
        return self.net(X - 0.5 * Z)


class Double(Net):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.double()


class OwnSGD(HyperParameters):
    """The homework's."""

    def __init__(self, params, lr):
        params = list(params)
        self.save_hyperparameters()

    def step(self):
        for param in self.params:
            param -= self.lr * param.grad

    def zero_grad(self):
        for param in self.params:
            if param.grad is not None:
                param.grad.zero_()


# Training alone and in a stack


class Keeper(Sink):
    """Keeps what a checkpoint would hold, after every epoch."""

    def __init__(self):
        self.states = []

    def end_epoch(self, trainer):
        self.states.append(copy.deepcopy(snapshot.take(trainer)))


def member(Model=Net, data=Same, seed=0, trainer=None, resume=None, **arguments):
    """A function that makes one training; each call makes it anew."""

    def build():
        seed_everything(seed)
        made = data() if isinstance(data, type) else data
        model = Model(**arguments)
        settings = {"max_epochs": 3, "display": "off", "sinks": Keeper(), **(trainer or {})}
        return Training(Trainer(**settings), model, made, resume)

    return build


def trained_alone(builders):
    trainings = []
    for build in builders:
        training = build()
        training.trainer.fit(training.model, training.data, training.resume)
        trainings.append(training)
    return trainings


def assert_close(one, other, path="state"):
    """Two states are equal, floating point numbers to rounding."""
    assert type(one) is type(other), path
    if isinstance(one, torch.Tensor):
        assert (one.shape, one.dtype) == (other.shape, other.dtype), path
        if one.is_floating_point():
            torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-6, equal_nan=True, msg=path)
        else:
            assert torch.equal(one, other), path
    elif isinstance(one, dict):
        assert list(one) == list(other), path
        for key in one:
            assert_close(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for place, pair in enumerate(zip(one, other, strict=True)):
            assert_close(*pair, f"{path}[{place}]")
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=2e-4, abs=2e-6, nan_ok=True), path
    else:
        assert one == other, path


def assert_same_training(one, other):
    assert one.trainer.status == other.trainer.status
    for name in ("epoch", "train_batch_idx", "val_batch_idx", "stopped_early"):
        assert getattr(one.trainer, name) == getattr(other.trainer, name)
    assert one.trainer.best.epoch == other.trainer.best.epoch
    assert_close(one.trainer.history.rows, other.trainer.history.rows)
    assert_close(
        {label: [(p.x, p.y) for p in points] for label, points in one.model.board.data.items()},
        {label: [(p.x, p.y) for p in points] for label, points in other.model.board.data.items()},
    )
    assert_close(dict(one.model.state_dict()), dict(other.model.state_dict()))
    states = [[vars(sink).get("states") for sink in t.trainer.sinks] for t in (one, other)]
    assert_close(*states)


def assert_stacked_as_alone(builders):
    alone = trained_alone(builders)
    stacked = fit_stacked(builders)
    for one, other in zip(alone, stacked, strict=True):
        assert other.error is None
        assert other.alone is None
        assert_same_training(one, other)
    return stacked


def assert_fallback(builders, reason):
    alone = trained_alone(builders)
    stacked = fit_stacked(builders)
    for one, other in zip(alone, stacked, strict=True):
        assert other.error is None
        assert reason in (other.alone or "stacked")
        assert_same_training(one, other)


# Equality

MODELS = [
    (gradbook.LinearRegressionScratch, Line),
    (gradbook.LinearRegression, Line),
    (Scratch, Same),
    (Scratch, Blobs),
    (Net, Blobs),
    (Convolutional, Images),
    (Frozen, Same),
    (Buffered, Blobs),
    (Tied, Same),
    (OneElement, Same),
    (TwoInputs, Pairs),
]


@pytest.mark.parametrize(("Model", "data"), MODELS)
def test_every_model_trains_as_it_would_alone(Model, data):
    members = ((5, 0.01), (6, 0.05), (5, 0.2))
    assert_stacked_as_alone([member(Model, data, seed, lr=lr) for seed, lr in members])


@pytest.mark.parametrize(("Model", "data"), [MODELS[0], MODELS[2], MODELS[5]])
@pytest.mark.parametrize("seeds", [(0, 0, 0), (0, 1, 2)])
def test_members_may_have_one_seed_or_each_its_own(Model, data, seeds):
    members = zip(seeds, (0.01, 0.05, 0.2), strict=True)
    assert_stacked_as_alone([member(Model, data, seed, lr=lr) for seed, lr in members])


@pytest.mark.parametrize(
    ("Model", "arguments"),
    [
        (gradbook.SoftmaxRegressionScratch, {"num_inputs": 64, "num_outputs": 3}),
        (gradbook.SoftmaxRegression, {"num_outputs": 3}),
        (gradbook.MLPScratch, {"num_inputs": 64, "num_outputs": 3, "num_hiddens": [20, 8]}),
        (gradbook.MLP, {"num_outputs": 3, "num_hiddens": [20, 8]}),
    ],
)
def test_the_book_s_classifiers_train_as_they_would_alone(Model, arguments):
    assert_stacked_as_alone(
        [member(Model, Images, seed, lr=lr, **arguments) for seed in (0, 1) for lr in (0.01, 0.03)]
    )


def test_models_and_data_in_double_precision_stay_so():
    data = Same(dtype=torch.float64)
    stacked = assert_stacked_as_alone([member(Double, data, lr=lr) for lr in (0.1, 0.3)])
    assert stacked[0].model.net[0].weight.dtype == torch.float64


def test_members_may_differ_in_the_scale_of_their_initial_weights():
    assert_stacked_as_alone([member(Scratch, sigma=sigma) for sigma in (0.01, 0.1, 0.5)])


OPTIMIZERS = {
    "sgd": (torch.optim.SGD, [{}, {}]),
    "momentum": (torch.optim.SGD, [{"momentum": 0.9}, {"momentum": 0.5}]),
    "nesterov": (torch.optim.SGD, [{"momentum": m, "nesterov": True} for m in (0.9, 0.8)]),
    "dampening": (
        torch.optim.SGD,
        [{"momentum": 0.9, "dampening": d, "weight_decay": 0.01} for d in (0.0, 0.3)],
    ),
    "decay": (torch.optim.SGD, [{"weight_decay": d} for d in (0.0, 0.1, 1.0)]),
    "adam": (torch.optim.Adam, [{"betas": (0.9, 0.999)}, {"betas": (0.5, 0.99)}]),
    "adam with decay": (torch.optim.Adam, [{"weight_decay": d, "eps": 1e-5} for d in (0, 0.1)]),
    "adamw": (
        torch.optim.AdamW,
        [{"weight_decay": d, "betas": (0.9, b)} for d, b in ((0.1, 0.9), (0.3, 0.99))],
    ),
    "amsgrad": (torch.optim.Adam, [{"amsgrad": True}, {"amsgrad": True}]),
    "maximize": (torch.optim.SGD, [{"maximize": True}, {"maximize": True}]),
    "rmsprop": (torch.optim.RMSprop, [{"alpha": 0.9}, {"alpha": 0.99}]),
    "the homework's": (OwnSGD, [{}, {}]),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_the_steps_it_would_take_alone(name):
    optimizer, settings = OPTIMIZERS[name]
    assert_stacked_as_alone(
        [
            member(Net, Blobs, seed=k % 2, optimizer=optimizer, lr=0.01 * (k + 1), **each)
            for k, each in enumerate(settings)
        ]
    )


class Grouped(Net):
    def configure_optimizers(self):
        groups = [
            {"params": self.net[0].parameters(), "lr": self.lr / 10, "weight_decay": self.lr},
            {"params": [self.net[2].weight], "momentum": 0.9},
        ]
        return torch.optim.SGD(groups, lr=self.lr)


def test_groups_of_parameters_have_settings_of_their_own_and_the_rest_stays():
    stacked = assert_stacked_as_alone([member(Grouped, lr=lr) for lr in (0.05, 0.2)])
    bias = member(Grouped, lr=0.05)().model.net[2].bias
    assert torch.equal(stacked[0].model.net[2].bias, bias)


class Scheduled(Net):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return {
            "optimizer": optimizer,
            "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, self.lr),
        }


def test_a_scheduler_changes_the_rate_after_each_epoch():
    stacked = assert_stacked_as_alone([member(Scheduled, lr=lr) for lr in (0.3, 0.5)])
    assert stacked[1].trainer.history["lr"] == [0.5, 0.25, 0.125]


def test_without_a_validation_set_there_is_only_training():
    data = Same(num_val=0)
    stacked = assert_stacked_as_alone([member(data=data, lr=lr) for lr in (0.1, 0.2)])
    assert stacked[0].trainer.history.labels == ["train_loss"]


@pytest.mark.parametrize(
    "settings",
    [
        {"limit_batches": 2},
        {"limit_batches": 0.5},
        {"keep_best": True},
        {"overfit_batches": 1},
        {"monitor": "train_loss", "mode": "min"},
        {"max_epochs": 1},
    ],
)
def test_settings_of_the_trainer_work_as_alone(settings):
    assert_stacked_as_alone([member(trainer=settings, lr=lr) for lr in (0.1, 3.0)])


def test_large_batches_are_shared_only_by_members_that_see_the_same(monkeypatch):
    monkeypatch.setattr("gradbook.sweeps.stackable._LARGE_BATCH", 10)
    builders = [member(seed=seed, lr=lr) for seed in (0, 1) for lr in (0.1, 0.3)]
    assert_stacked_as_alone([*builders, member(seed=2), member(seed=3)])


def test_each_form_has_a_stack_of_its_own():
    assert_stacked_as_alone([member(Model, lr=lr) for Model in (Net, Tied) for lr in (0.1, 0.3)])


def test_who_is_like_nobody_else_is_trained_alone():
    builders = [member(lr=0.1), member(lr=0.3), member(Tied)]
    alone, stacked = trained_alone(builders), fit_stacked(builders)
    for pair in zip(alone, stacked, strict=True):
        assert_same_training(*pair)
    assert [t.alone for t in stacked] == [None, None, "no other member does the same operations"]


# Independence


def test_one_that_diverges_leaves_the_others_as_they_are():
    builders = [member(gradbook.LinearRegressionScratch, Line, lr=lr) for lr in (0.03, 1e20, 0.1)]
    with pytest.warns(gradbook.errors.DivergenceWarning):
        stacked = fit_stacked(builders)
    assert [t.trainer.status for t in stacked] == ["finished", "diverged", "finished"]
    assert math.isnan(stacked[1].trainer.history["train_loss"][-1])
    for one, other in zip(trained_alone([builders[0], builders[2]]), stacked[::2], strict=True):
        assert_same_training(one, other)


class Refuses(Net):
    def __init__(self, lr=0.1):
        if lr > 1:
            raise ValueError("no such rate")
        super().__init__(lr=lr)


def test_one_that_cannot_be_made_leaves_the_others_as_they_are():
    good = [member(Refuses, lr=0.1), member(Refuses, lr=0.3)]
    first, error, last = fit_stacked([good[0], member(Refuses, lr=2.0), good[1]])
    assert isinstance(error, ValueError)
    for one, other in zip(trained_alone(good), (first, last), strict=True):
        assert_same_training(one, other)


def test_one_that_cannot_be_begun_leaves_the_others_as_they_are():
    good = [member(lr=0.1), member(lr=0.3)]
    first, bad, last = fit_stacked([good[0], member(lr=-1.0), good[1]])
    assert isinstance(bad.error, gradbook.errors.ConfigError)
    for one, other in zip(trained_alone(good), (first, last), strict=True):
        assert_same_training(one, other)


class Breaks(Sink):
    """Fails at the end of the second epoch, as where a disk is full."""

    def end_epoch(self, trainer):
        if trainer.epoch == 1:
            raise OSError("the disk is full")


def test_one_that_cannot_be_recorded_leaves_the_others_as_they_are():
    good = [member(lr=0.1), member(lr=0.3)]
    first, bad, last = fit_stacked([good[0], member(lr=0.2, trainer={"sinks": Breaks()}), good[1]])
    assert isinstance(bad.error, OSError)
    assert bad.trainer.status == "failed"
    for one, other in zip(trained_alone(good), (first, last), strict=True):
        assert_same_training(one, other)


def test_of_members_that_share_parameters_each_is_trained_alone():
    shared = nn.Linear(4, 3)

    class Sharing(Net):
        def __init__(self, lr=0.1):
            super().__init__(lr=lr)
            self.net = shared

    stacked = fit_stacked([member(Sharing, lr=0.1), member(Sharing, lr=0.2)])
    assert {t.alone for t in stacked} == {"it shares parameters with another member"}
    assert all(t.error is None for t in stacked)


# Fallbacks


class OwnStep(Net):
    def training_step(self, batch):
        loss = self.loss(self(*batch[:-1]), batch[-1])
        self.plot("loss", 2 * loss, train=True)
        return loss


class OwnValidation(Net):
    def validation_step(self, batch):
        self.plot("loss", self.loss(self(*batch[:-1]), batch[-1]), train=False)
        self.plot("more", 1.0, train=False)


class Dropping(Net):
    def __init__(self, lr=0.1):
        super().__init__(lr=lr)
        self.net.insert(2, nn.Dropout(0.5))


class Normalizing(Net):
    def __init__(self, lr=0.1):
        super().__init__(lr=lr)
        self.net.insert(1, nn.BatchNorm1d(5))


class Looking(Net):
    def forward(self, X):
        return self.net(X) if float(X.sum()) > -1e9 else X


class LookingWhenScored(Net):
    def accuracy(self, Y_hat, Y, averaged=True):
        right = super().accuracy(Y_hat, Y, averaged)
        return right if float(right.sum()) >= 0 else -right


class Timed(Net):
    def forward(self, X):
        return self.net(X) * (1 + 0.1 * self.trainer.epoch)


class Counting(Net):
    def __init__(self, lr=0.1):
        super().__init__(lr=lr)
        self.count = 0

    def forward(self, X):
        self.count += 1
        return self.net(X) / (1 + 0.01 * self.count)


class CountingInABuffer(Net):
    def __init__(self, lr=0.1):
        super().__init__(lr=lr)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, X):
        self.count = self.count + 1
        return self.net(X)


class Hooked(Net):
    def __init__(self, lr=0.1):
        super().__init__(lr=lr)
        self.net[0].register_forward_hook(lambda *_: None)


class Unused(Net):
    """A layer takes no part; weight decay must not shrink it."""

    def __init__(self, lr=0.1):
        super().__init__(lr=lr)
        self.spare = nn.Linear(2, 2)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr, weight_decay=0.5)


class Elsewhere(Net):
    """The optimizer holds a tensor that the model does not list."""

    def __init__(self, lr=0.1):
        super().__init__(lr=lr)
        self.held = {"scale": torch.ones(1, requires_grad=True)}

    def forward(self, X):
        return self.net(X) * self.held["scale"]

    def configure_optimizers(self):
        return torch.optim.SGD([*self.parameters(), self.held["scale"]], lr=self.lr)


class Penalized(Net):
    def __init__(self, lr=0.1, lambd=0.0):
        super().__init__(lr=lr)
        self.lambd = lambd

    def loss(self, y_hat, y):
        return super().loss(y_hat, y) + self.lambd * (self.net[0].weight ** 2).sum()


class PerStep(Net):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


class Loaded(Same):
    def get_dataloader(self, train):
        return DataLoader(TensorDataset(self.X, self.y), 8, shuffle=train)


class Noisy(Same):
    """Its batches are changed at random, as where images are turned."""

    def get_dataloader(self, train):
        loader = super().get_dataloader(train)
        loader.transform = lambda batch: [batch[0] + 0.1 * torch.randn_like(batch[0]), batch[1]]
        return loader


@pytest.mark.parametrize(
    ("Model", "data", "reason"),
    [
        (OwnStep, Same, "OwnStep.training_step is the learner's own"),
        (OwnValidation, Same, "OwnValidation.validation_step is the learner's own"),
        (Dropping, Same, "random numbers"),
        (Normalizing, Same, "change a buffer"),
        (Looking, Same, "cannot be traced"),
        (LookingWhenScored, Same, "cannot be traced"),
        (Timed, Same, "look at the trainer"),
        (Counting, Same, "count in an attribute"),
        (CountingInABuffer, Same, "change a buffer"),
        (Hooked, Same, "has hooks"),
        (Unused, Same, "takes no part in its loss"),
        (Elsewhere, Same, "no parameters of Elsewhere"),
        (PerStep, Same, "changes with every step"),
        (Net, Loaded, "tensors in memory"),
        (Net, Noisy, "random numbers"),
    ],
)
def test_what_cannot_be_stacked_is_trained_alone_and_says_why(Model, data, reason):
    assert_fallback([member(Model, data, seed=seed, lr=0.1) for seed in (0, 1)], reason)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"gradient_clip_val": 0.5}, "gradient_clip_val"),
        ({"accumulate_grad_batches": 2}, "accumulate_grad_batches"),
        ({"precision": "bf16-mixed"}, "precision"),
        ({"patience": 1}, "patience"),
        ({"deterministic": True}, "deterministic"),
        ({"watch": "gradients"}, "gradients are watched"),
    ],
)
def test_settings_that_work_on_one_model_at_a_time_keep_it_alone(settings, reason):
    assert_fallback([member(trainer=settings, lr=lr) for lr in (0.1, 0.2)], reason)


def test_a_number_that_the_loss_reads_keeps_members_apart():
    builders = [member(Penalized, lambd=lambd) for lambd in (0.0, 0.1)]
    assert_fallback(builders, "no other member does the same operations")


def test_members_with_the_same_number_in_the_loss_are_stacked():
    builders = [member(Penalized, lr=lr, lambd=0.1) for lr in (0.1, 0.2)]
    assert_stacked_as_alone(builders)


def test_a_replaced_loop_is_kept(undo_patches):
    @gradbook.add_to_class(Trainer)
    def fit_epoch(self):
        self.model.train()
        for batch in self.train_dataloader:
            loss = 2 * self.model.training_step(batch)
            self.optim.zero_grad()
            loss.backward()
            self.optim.step()
            self.train_batch_idx += 1

    assert_fallback([member(lr=lr) for lr in (0.1, 0.2)], "fit_epoch was replaced")


class Scaled(Same):
    """What differs is what its transform does."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor

    def get_dataloader(self, train):
        loader = super().get_dataloader(train)
        loader.transform = self.scale
        return loader

    def scale(self, batch):
        return [self.factor * batch[0], batch[1]]


def test_each_member_sees_the_batches_that_its_own_transform_makes():
    assert_stacked_as_alone([member(data=Scaled(factor)) for factor in (1.0, 2.0)])


class Widened(Scaled):
    def scale(self, batch):
        return [batch[0].repeat(1, int(self.factor)), batch[1]]


class Averaging(Net):
    def forward(self, X):
        return self.net(X.reshape(len(X), -1, 4).mean(1))


def test_batches_of_another_shape_keep_members_apart():
    builders = [member(Averaging, Widened(factor)) for factor in (1.0, 2.0)]
    assert_fallback(builders, "no other member does the same operations")


class Partly(Net):
    def __init__(self, lr=0.1, layer=0):
        super().__init__(lr=lr)
        self.net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3))
        self.trained = self.net[layer]

    def configure_optimizers(self):
        return torch.optim.SGD(self.trained.parameters(), lr=self.lr)


def test_optimizers_of_other_parameters_keep_members_apart():
    assert_fallback(
        [member(Partly, layer=layer) for layer in (0, 1)],
        "no other member does the same operations",
    )


def test_why_alone_answers_before_anything_is_trained():
    assert why_alone(member()()) is None
    assert "random numbers" in why_alone(member(Dropping)())
    assert why_alone(member(lr=-1.0)()) == "it cannot be begun"


# Afterwards


def test_the_models_are_ordinary_afterwards():
    stacked = assert_stacked_as_alone(
        [member(gradbook.MLP, Images, lr=lr, num_hiddens=40, num_outputs=3) for lr in (0.1, 0.2)]
    )
    for training in stacked:
        for parameter in training.model.parameters():
            assert parameter.is_contiguous()
            assert parameter.untyped_storage().nbytes() == 4 * parameter.numel()
    before = stacked[1].model.net[1].weight.clone()
    Trainer(1, display="off").fit(stacked[0].model, stacked[0].data)
    assert torch.equal(stacked[1].model.net[1].weight, before)


def test_a_checkpoint_holds_only_the_member_s_own_numbers(tmp_path):
    settings = {"lr": 0.01, "optimizer": torch.optim.Adam}
    alone, *_ = trained_alone([member(trainer={"run": Run(folder=tmp_path / "alone")}, **settings)])
    builders = [
        member(trainer={"run": Run(folder=tmp_path / str(k))}, **settings) for k in range(20)
    ]
    fit_stacked(builders)
    del alone
    size = (tmp_path / "alone/checkpoints/last.pt").stat().st_size
    for k in range(20):
        kept = (tmp_path / str(k) / "checkpoints/last.pt").stat().st_size
        assert abs(kept - size) < 2000


# Going on


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_what_was_stacked_can_go_on_alone_and_the_other_way_round(tmp_path, optimizer):
    settings = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}

    def members(epochs, folder=None, resume=None):
        return [
            member(
                seed=seed,
                lr=0.02,
                optimizer=optimizer,
                trainer={
                    "max_epochs": epochs,
                    "sinks": Keeper(),
                    "run": folder and Run(folder=tmp_path / folder / str(seed)),
                },
                resume=resume and tmp_path / resume / str(seed),
                **settings,
            )
            for seed in (0, 1)
        ]

    whole = trained_alone(members(4))
    fit_stacked(members(2, "stacked"))
    trained_alone(members(2, "alone"))
    for first, go_on in (("stacked", trained_alone), ("alone", fit_stacked)):
        for one, other in zip(whole, go_on(members(4, first, first)), strict=True):
            assert other.error is None
            assert other.alone is None
            assert_close(one.trainer.sinks[0].states[-1], other.trainer.sinks[0].states[-1])


# Ctrl-C


class Interrupting(Sink):
    """Presses Ctrl-C so many times after an epoch."""

    def __init__(self, epoch=0):
        self.epoch = epoch

    def end_epoch(self, trainer):
        if trainer.epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGINT)


class PressingSGD(OwnSGD):
    steps = 0

    def step(self):
        super().step()
        self.steps += 1
        if self.steps == 6:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)


class Pressing(Net):
    """Presses Ctrl-C twice within a step."""

    def configure_optimizers(self):
        return PressingSGD(self.parameters(), self.lr)


def own_memory(model):
    return all(
        p.untyped_storage().nbytes() == p.element_size() * p.numel() for p in model.parameters()
    )


@pytest.fixture
def catching():
    """Python's own answer to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_ctrl_c_ends_all_members_after_the_same_epoch(catching, tmp_path):
    made = []

    def keeping(build):
        return lambda: made.append(build()) or made[-1]

    builders = [
        member(
            lr=lr,
            trainer={"sinks": Interrupting(), "run": Run(folder=tmp_path / str(lr))}
            if lr == 0.1
            else {"run": Run(folder=tmp_path / str(lr))},
        )
        for lr in (0.05, 0.1, 0.2)
    ]
    with pytest.raises(KeyboardInterrupt):
        fit_stacked([keeping(build) for build in builders])
    for training in made:
        assert training.trainer.status == "interrupted"
        assert len(training.trainer.history) == 1
        assert own_memory(training.model)
        folder = training.trainer.run.folder
        assert gradbook.checkpoint.load(folder / "checkpoints/last.pt")["position"]["epoch"] == 1


def test_a_second_ctrl_c_stops_at_once_and_keeps_the_last_epoch(catching, tmp_path):
    made = []

    def keeping(build):
        return lambda: made.append(build()) or made[-1]

    builders = [
        member(Pressing, lr=lr, trainer={"run": Run(folder=tmp_path / str(lr))})
        for lr in (0.05, 0.1)
    ]
    with pytest.raises(KeyboardInterrupt):
        fit_stacked([keeping(build) for build in builders])
    for training in made:
        assert training.trainer.status == "interrupted"
        assert own_memory(training.model)
        folder = training.trainer.run.folder
        kept = gradbook.checkpoint.load(folder / "checkpoints/last.pt")
        assert kept["position"]["epoch"] == 1
        assert kept["is_exact"]


def test_ctrl_c_in_the_last_epoch_lets_all_finish(catching):
    made = []

    def keeping(build):
        return lambda: made.append(build()) or made[-1]

    builders = [member(lr=0.1, trainer={"sinks": Interrupting(2)}), member(lr=0.2)]
    with pytest.raises(KeyboardInterrupt):
        fit_stacked([keeping(build) for build in builders])
    assert [training.trainer.status for training in made] == ["finished", "finished"]
