"""Training in a stack: to each member as if it had been alone."""

import math
import os
import signal

import pytest
import torch
from tests.small import OwnSGD
from tests.sweeps.stacking import (
    Blobs,
    Images,
    Keeper,
    Line,
    Net,
    Same,
    assert_close,
    assert_same_training,
    assert_stacked_as_alone,
    member,
    trained_alone,
)
from torch import nn

import gradbook
from gradbook import Classifier, Sink, Trainer
from gradbook.runs.recorder import Run
from gradbook.sweeps.stackable import CannotStack
from gradbook.sweeps.stacked import _Stack, fit_stacked, why_alone

pytestmark = pytest.mark.slow

# Data and models


class Pairs(Same):
    """Batches of three tensors."""

    def get_dataloader(self, train):
        return self.get_tensorloader((self.X, self.X.flip(1), self.y), train)


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


class Dropping(Net):
    def __init__(self, lr=0.1):
        super().__init__(lr=lr)
        self.net.insert(2, nn.Dropout(0.5))


class Flat(Net):
    """The fewest operations, for what does not depend on them."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.net = nn.Linear(4, 3)


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


@pytest.mark.parametrize(("Model", "data"), [(Scratch, Same), (Net, Blobs)])
def test_the_last_batch_may_be_smaller(Model, data):
    def uneven():
        return data(num_train=28, num_val=12)

    stacked = assert_stacked_as_alone([member(Model, uneven, k, lr=0.1 + k) for k in (0, 1)])
    assert stacked[0].trainer.num_train_batches == 4


def test_a_size_of_batch_is_traced_when_it_has_come_often(monkeypatch):
    monkeypatch.setattr("gradbook.sweeps.stacked._WORTH_TRACING", 2)
    traced, trace = [], _Stack._trace
    monkeypatch.setattr(
        _Stack,
        "_trace",
        lambda self, kind, *inputs: [traced.append(kind), trace(self, kind, *inputs)][1],
    )

    def uneven():
        return Same(num_train=28, num_val=12)

    builders = [member(data=uneven, lr=0.1 + k) for k in (0, 1)]
    fit_stacked([member(data=uneven, lr=0.1 + k, trainer={"max_epochs": 1}) for k in (0, 1)])
    assert traced == ["train", "val"]  # whole batches
    traced.clear()
    assert_stacked_as_alone(builders)
    assert traced == ["train", "val", "train", "val"]


def test_a_size_of_batch_that_cannot_be_traced_is_still_trained(monkeypatch):
    monkeypatch.setattr("gradbook.sweeps.stacked._WORTH_TRACING", 1)
    trace = _Stack._trace

    def refused(self, kind, inputs):
        if len(inputs[-1]) < 8:
            raise CannotStack("this size cannot be traced")
        return trace(self, kind, inputs)

    monkeypatch.setattr(_Stack, "_trace", refused)
    builders = [member(data=lambda: Same(num_train=28, num_val=12), lr=0.1 + k) for k in (0, 1)]
    assert_stacked_as_alone(builders)


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
            member(Flat, Blobs, seed=k % 2, optimizer=optimizer, lr=0.01 * (k + 1), **each)
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


@pytest.mark.filterwarnings("ignore:The loss of Grouped depends on tensors that its optimizer")
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


def test_each_form_has_a_stack_of_its_own():
    assert_stacked_as_alone([member(Model, lr=lr) for Model in (Net, Tied) for lr in (0.1, 0.3)])


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


def test_why_alone_answers_before_anything_is_trained():
    assert why_alone(member()(), list) is None
    assert "random numbers" in why_alone(member(Dropping)(), list)
    assert why_alone(member(lr=-1.0)(), list) == "it cannot be begun"


# Afterwards


def test_the_models_are_ordinary_afterwards():
    stacked = assert_stacked_as_alone(
        [member(gradbook.MLP, Images, lr=lr, num_hiddens=40, num_outputs=3) for lr in (0.1, 0.2)]
    )
    for candidate in stacked:
        for parameter in candidate.model.parameters():
            assert parameter.is_contiguous()
            assert parameter.untyped_storage().nbytes() == 4 * parameter.numel()
    before = stacked[1].model.net[1].weight.clone()
    Trainer(1, display="off").fit(stacked[0].model, stacked[0].data)
    assert torch.equal(stacked[1].model.net[1].weight, before)


class Wide(Net):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.net = nn.Sequential(nn.Linear(4, 500), nn.ReLU(), nn.Linear(500, 3))


def test_a_checkpoint_holds_only_the_member_s_own_numbers(tmp_path):
    def members(*folders):
        return [
            member(
                Wide,
                optimizer=torch.optim.Adam,
                trainer={"max_epochs": 1, "run": Run(folder=tmp_path / folder, pictures=False)},
            )
            for folder in folders
        ]

    trained_alone(members("alone"))
    fit_stacked(members("first", "second", "third"))
    size, *sizes = (
        (tmp_path / folder / "checkpoints/last.pt").stat().st_size
        for folder in ("alone", "first", "second", "third")
    )
    assert size > 40_000
    assert all(abs(each - size) < 2000 for each in sizes)


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
                    "run": folder and Run(folder=tmp_path / folder / str(seed), pictures=False),
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
        if self.steps == 5:  # in the second epoch
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


def keeping(build, made):
    """A function that builds a training and keeps it in a list: Ctrl-C lets nothing be returned."""
    return lambda: made.append(build()) or made[-1]


@pytest.fixture
def catching():
    """Python's own answer to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_ctrl_c_ends_all_members_after_the_same_epoch(catching, tmp_path):
    made = []
    builders = [
        member(
            lr=lr,
            trainer={
                "run": Run(folder=tmp_path / str(lr), pictures=False),
                "sinks": Interrupting() if lr == 0.1 else (),
            },
        )
        for lr in (0.05, 0.1, 0.2)
    ]
    with pytest.raises(KeyboardInterrupt):
        fit_stacked([keeping(build, made) for build in builders])
    for candidate in made:
        assert candidate.trainer.status == "interrupted"
        assert len(candidate.trainer.history) == 1
        assert own_memory(candidate.model)
        folder = candidate.trainer.run.folder
        assert gradbook.checkpoint.load(folder / "checkpoints/last.pt")["position"]["epoch"] == 1


def test_a_second_ctrl_c_stops_at_once_and_keeps_the_last_epoch(catching, tmp_path):
    made = []
    builders = [
        member(Pressing, lr=lr, trainer={"run": Run(folder=tmp_path / str(lr), pictures=False)})
        for lr in (0.05, 0.1)
    ]
    with pytest.raises(KeyboardInterrupt):
        fit_stacked([keeping(build, made) for build in builders])
    for candidate in made:
        assert candidate.trainer.status == "interrupted"
        assert own_memory(candidate.model)
        folder = candidate.trainer.run.folder
        kept = gradbook.checkpoint.load(folder / "checkpoints/last.pt")
        assert kept["position"]["epoch"] == 1
        assert kept["is_exact"]


def test_ctrl_c_in_the_last_epoch_lets_all_finish(catching):
    made = []
    builders = [member(lr=0.1, trainer={"sinks": Interrupting(2)}), member(lr=0.2)]
    with pytest.raises(KeyboardInterrupt):
        fit_stacked([keeping(build, made) for build in builders])
    assert [candidate.trainer.status for candidate in made] == ["finished", "finished"]
