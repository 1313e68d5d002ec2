"""A training that goes on from a checkpoint gives the same numbers as one that never stopped."""

import functools
import itertools
import random
from collections import deque

import numpy as np
import pytest
import torch
from tests.small import book_s_epoch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gradbook
from gradbook import Classifier, DataModule, HyperParameters, Sink, Trainer, checkpoint
from gradbook.errors import (
    CheckpointError,
    ConfigError,
    GradbookWarning,
    IgnoredSettingWarning,
)
from gradbook.resume.snapshot import load_parameters

pytestmark = pytest.mark.usefixtures("blank_figures")


class Images(DataModule):
    """Small images of three classes, in ragged batches, always the same."""

    def __init__(self, batch_size=8, n=30, content=0):
        super().__init__()
        self.save_hyperparameters()
        generator = torch.Generator().manual_seed(content)
        self.X = torch.rand(n + 12, 1, 3, 3, generator=generator)
        self.y = torch.arange(n + 12) % 3

    def get_dataloader(self, train):
        rows = slice(0, self.n) if train else slice(self.n, None)
        return self.get_tensorloader((self.X, self.y), train, rows)


class LoaderImages(Images):
    """The same through PyTorch's loader, with a generator of its own and random changes."""

    def __init__(self, batch_size=8, n=30, content=0):
        super().__init__(batch_size, n, content)
        self.generator = torch.Generator().manual_seed(5)

    def get_dataloader(self, train):
        dataset = TensorDataset(self.X[: self.n], self.y[: self.n])

        def collate(examples):
            X, y = (torch.stack(part) for part in zip(*examples, strict=True))
            return X + 0.1 * torch.rand_like(X) + 0.1 * random.random() + np.random.rand(), y

        return DataLoader(
            dataset, self.batch_size, shuffle=train, generator=self.generator, collate_fn=collate
        )


class DropoutMLP(Classifier):
    """Dropout draws random numbers in every step; Adam keeps two tensors a parameter."""

    def __init__(self, lr=0.01, schedule=None, num_hiddens=8):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Flatten(),
            nn.LazyLinear(num_hiddens),
            nn.BatchNorm1d(num_hiddens),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.LazyLinear(3),
        )

    def configure_optimizers(self):
        optim = torch.optim.Adam(self.parameters(), lr=self.lr)
        if self.schedule is None:
            return optim
        if self.schedule == "step":
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optim, T_max=24)
            return {
                "optimizer": optim,
                "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
            }
        if self.schedule == "plateau":
            return [optim], [torch.optim.lr_scheduler.ReduceLROnPlateau(optim, patience=0)]
        return [optim], [torch.optim.lr_scheduler.StepLR(optim, 2, gamma=0.5)]


class MomentumSGD(HyperParameters):
    """An optimizer as a learner writes one: no state_dict, plain tensors beside the parameters."""

    def __init__(self, params, lr):
        self.save_hyperparameters()
        self.velocity = [torch.zeros_like(param) for param in params]
        self.num_steps = 0

    def step(self):
        self.num_steps += 1
        for param, velocity in zip(self.params, self.velocity, strict=True):
            velocity.mul_(0.9).add_(param.grad)
            param -= self.lr / (1 + 0.01 * self.num_steps) * velocity

    def zero_grad(self):
        for param in self.params:
            if param.grad is not None:
                param.grad.zero_()


class OwnOptimizer(gradbook.SoftmaxRegressionScratch):
    def configure_optimizers(self):
        return MomentumSGD([self.W, self.b], self.lr)


class PlainTensors(nn.Module, HyperParameters):
    """A module of a learner's own that only looks like ours: PyTorch does not list its tensors."""

    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.board = gradbook.ProgressBoard(display=False)
        self.W = torch.normal(0, 0.01, (9, 3), requires_grad=True)

    def training_step(self, batch):
        loss = nn.functional.cross_entropy(batch[0].reshape(-1, 9) @ self.W, batch[1])
        self.board.draw(self.trainer.train_batch_idx / 4, loss, "train_loss", every_n=3)
        return loss

    def validation_step(self, batch):
        pass

    def configure_optimizers(self):
        return MomentumSGD([self.W], self.lr)


def softmax_scratch():
    return gradbook.SoftmaxRegressionScratch(9, 3, lr=0.3)


def regression():
    return gradbook.LinearRegressionScratch(2, lr=0.03)


class Counted(DropoutMLP):
    """Warms up by a count of its own, and keeps what state_dict does not list as tensors."""

    def __init__(self):
        super().__init__()
        self.num_calls = 0
        self.extra = Extra()
        self.register_buffer("mean", torch.zeros(()), persistent=False)

    def training_step(self, batch):
        self.num_calls += 1
        with torch.no_grad():
            self.mean += batch[0].mean()
        self.extra.seen["calls"] = self.extra.seen.get("calls", 0) + 1
        scale = min(self.num_calls, 8) / 8 + self.mean / 100 + self.extra.seen["calls"] / 100
        return super().training_step(batch) * scale


class Extra(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = {}

    def get_extra_state(self):
        return dict(self.seen)

    def set_extra_state(self, state):
        self.seen = dict(state)


class ListOfTensors(gradbook.SoftmaxRegressionScratch):
    """Its parameters are where nobody but its own method finds them."""

    def __init__(self):
        super().__init__(9, 3, lr=0.1)
        del self.W, self.b
        self.weights = [torch.randn(9, 3, requires_grad=True), torch.zeros(3, requires_grad=True)]

    def forward(self, X):
        return torch.softmax(X.reshape(-1, 9) @ self.weights[0] + self.weights[1], dim=1)

    def parameters(self, recurse=True):
        return self.weights

    def configure_optimizers(self):
        return gradbook.SGD(self.weights, self.lr)


class Sums:
    """An ordinary object that a learner counts in."""

    def __init__(self):
        self.total = 0.0


class Collecting(DropoutMLP):
    """Counts, collects and averages in every kind of attribute; each weighs in the loss."""

    num_seen = 0

    def __init__(self):
        super().__init__()
        self.t = np.float64(0)
        self.array = np.zeros(2)
        self.counts, self.losses, self.recent = {"steps": 0}, [], deque(maxlen=3)
        self.sums, self.phase, self.seen = Sums(), "warm-up", None
        self.average, self.averages = torch.zeros(3), {"X": [torch.zeros(1, 3, 3)]}
        self.numbers = itertools.count(1)
        self.teachers = [nn.Linear(9, 3).requires_grad_(False)]
        type(self).num_seen = 0  # as in a new process

    def training_step(self, batch):
        type(self).num_seen += 1
        self.t += 1
        self.array += 0.5
        self.counts["steps"] += 1
        self.sums.total += 0.25
        self.phase = "full" if self.t > 5 else self.phase
        self.seen = (self.seen or 0) + 1
        with torch.no_grad():
            self.average += 1
            self.averages["X"][0] = 0.9 * self.averages["X"][0] + 0.1 * batch[0].mean(0)
            self.teachers[0].weight += 0.01
        weight = sum((self.t, self.array.sum(), self.counts["steps"], self.sums.total, self.seen))
        weight += next(self.numbers) + len(self.losses) + sum(self.recent) + self.num_seen
        weight += self.average.sum() + self.averages["X"][0].sum() + (self.phase == "full")
        loss = super().training_step(batch) * (1 + 0.001 * (weight + self.teachers[0].weight.sum()))
        self.losses.append(loss.item())
        self.recent.append(loss.item())
        return loss


class CurriculumImages(Images):
    """Data that count what was asked of them, in a scalar of NumPy's and a dictionary."""

    def __init__(self):
        super().__init__()
        self.asked, self.by_split = np.int64(0), {"train": 0}

    def get_dataloader(self, train):
        dataset = TensorDataset(self.X[: self.n], self.y[: self.n])

        def collate(examples):
            self.asked += 1
            self.by_split["train"] += train
            X, y = (torch.stack(part) for part in zip(*examples, strict=True))
            return X + float(0.01 * self.asked + 0.02 * self.by_split["train"]), y

        generator = torch.Generator().manual_seed(5)
        return DataLoader(
            dataset, self.batch_size, shuffle=train, generator=generator, collate_fn=collate
        )


class FrozenMidway(DropoutMLP):
    def training_step(self, batch):
        if self.trainer.train_batch_idx == 3:
            self.net[1].requires_grad_(False)
        return super().training_step(batch)


class ComposedImages(LoaderImages):
    """A transform within a transform has a generator of its own."""

    def __init__(self):
        super().__init__()
        self.noise = np.random.RandomState(7)

    def get_dataloader(self, train):
        loader = super().get_dataloader(train)
        collate = Compose([loader.collate_fn, Noise(self.noise)])
        return DataLoader(
            loader.dataset, self.batch_size, shuffle=train, generator=self.generator,
            collate_fn=collate,
        )  # fmt: skip


class Compose:
    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, batch):
        for transform in self.transforms:
            batch = transform(batch)
        return batch


class Noise:
    def __init__(self, generator):
        self.generator = generator

    def __call__(self, batch):
        X, y = batch
        return X + float(self.generator.normal()), y


MODELS = {
    "softmax-scratch": (softmax_scratch, Images),
    "dropout-adam": (DropoutMLP, Images),
    "scheduler-per-epoch": (lambda: DropoutMLP(schedule="epoch"), Images),
    "scheduler-per-step": (lambda: DropoutMLP(schedule="step"), Images),
    "scheduler-plateau": (lambda: DropoutMLP(schedule="plateau"), Images),
    "own-optimizer": (lambda: OwnOptimizer(9, 3, lr=0.1), Images),
    "own-module": (PlainTensors, Images),
    "loader-with-generator": (DropoutMLP, LoaderImages),
    "counts-of-its-own": (Counted, Images),
    "list-of-tensors": (ListOfTensors, Images),
    "collecting": (Collecting, Images),
    "data-that-count": (DropoutMLP, CurriculumImages),
    "frozen-midway": (FrozenMidway, Images),
    "transform-with-generator": (DropoutMLP, ComposedImages),
}


class Stop(Sink):
    """Saves a checkpoint when so many batches are done, and ends the training there."""

    def __init__(self, path, after):
        self.path, self.after = path, after

    def end_step(self, trainer):
        if trainer.train_batch_idx == self.after:
            trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt


def build(name):
    """The model and the data as a new process makes them, from a seed."""
    make_model, Data = MODELS[name]
    gradbook.seed_everything(3)
    data = Data()
    return make_model(), data


def result(trainer):
    """All that a training leaves behind, and what the generators give next."""
    tensors = gradbook.resume.setup.model_tensors(trainer.model)
    board = trainer.model.board
    tensors |= {str(i): p.detach() for i, p in enumerate(trainer.model.parameters())}
    return {
        "tensors": {name: tensor.clone() for name, tensor in tensors.items()},
        "history": trainer.history.rows,
        "points": {label: [(p.x, p.y) for p in points] for label, points in board.data.items()},
        "draws": (random.random(), np.random.rand(), torch.rand(()).item()),
        "steps": (trainer.train_batch_idx, trainer.val_batch_idx),
        "best": (trainer.best.epoch, trainer.best.value),
    }


def assert_same(a, b):
    assert a["tensors"].keys() == b["tensors"].keys()
    for name, tensor in a["tensors"].items():
        assert torch.equal(tensor, b["tensors"][name]), name
    assert {k: v for k, v in a.items() if k != "tensors"} == {
        k: v for k, v in b.items() if k != "tensors"
    }


def train_whole(name, epochs=6, **settings):
    model, data = build(name)
    trainer = Trainer(epochs, **settings)
    trainer.fit(model, data)
    return result(trainer)


def resume(name, path, epochs=6, **settings):
    model, data = build(name)
    torch.rand(7)  # the process has done something else meanwhile
    random.random()
    trainer = Trainer(epochs, **settings)
    trainer.fit(model, data, resume=path)
    return result(trainer)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_three_epochs_and_three_are_six(name, tmp_path):
    whole = train_whole(name)
    model, data = build(name)
    first = Trainer(3)
    first.fit(model, data)
    first.save_checkpoint(tmp_path / "half.pt")
    assert_same(resume(name, tmp_path / "half.pt"), whole)


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 4, 10, 11, 23])
@pytest.mark.parametrize("name", MODELS)
def test_a_training_stopped_in_mid_epoch_goes_on_as_if_it_had_not_been(name, after, tmp_path):
    whole = train_whole(name)
    model, data = build(name)
    with pytest.raises(KeyboardInterrupt):
        Trainer(6, sinks=[Stop(tmp_path / "middle.pt", after)]).fit(model, data)
    assert_same(resume(name, tmp_path / "middle.pt"), whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"accumulate_grad_batches": 3},
        {"gradient_clip_val": 0.1},
        {"limit_batches": 2},
        {"overfit_batches": 2},
        {"keep_best": True, "monitor": "val_acc"},
        {"patience": 2},
        {"precision": "bf16-mixed"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_every_setting_resumes(settings, tmp_path):
    whole = train_whole("dropout-adam", **settings)
    model, data = build("dropout-adam")
    steps = 3 if "accumulate_grad_batches" in settings else 5
    with pytest.raises(KeyboardInterrupt):
        Trainer(6, sinks=[Stop(tmp_path / "middle.pt", steps)], **settings).fit(model, data)
    assert_same(resume("dropout-adam", tmp_path / "middle.pt", **settings), whole)


@pytest.mark.slow
def test_a_training_stopped_in_its_validation_goes_on_there(tmp_path):
    whole = train_whole("dropout-adam")
    model, data = build("dropout-adam")
    trainer = Trainer(6)
    validation_step, seen = DropoutMLP.validation_step, []

    class Interrupted(DropoutMLP):
        def validation_step(self, batch):
            validation_step(self, batch)
            seen.append(len(batch[0]))
            if len(seen) == 5:  # the first of the two batches of epoch 3
                trainer.training.interrupts._pending = 2  # as a signal's handler does

    model.__class__ = Interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(model, data)
    assert (trainer.position.split, trainer.position.batches) == ("val", 1)
    model.__class__ = DropoutMLP
    trainer.training._setup = None
    trainer.save_checkpoint(tmp_path / "validation.pt")
    assert_same(resume("dropout-adam", tmp_path / "validation.pt"), whole)


@pytest.mark.slow
def test_the_book_s_own_loop_resumes_too(tmp_path, undo_patches):
    book_s_epoch()
    whole = train_whole("dropout-adam")
    model, data = build("dropout-adam")
    with pytest.raises(KeyboardInterrupt):
        Trainer(6, sinks=[Stop(tmp_path / "middle.pt", 6)]).fit(model, data)
    assert_same(resume("dropout-adam", tmp_path / "middle.pt"), whole)


def test_a_state_in_memory_resumes(tmp_path):
    whole = train_whole("softmax-scratch")
    model, data = build("softmax-scratch")
    trainer = Trainer(2)
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "two.pt")
    state = checkpoint.load(tmp_path / "two.pt")
    assert_same(resume("softmax-scratch", state), whole)


# What does not fit


@pytest.fixture
def half(tmp_path):
    """A checkpoint of the model with dropout after two of six epochs."""
    model, data = build("dropout-adam")
    trainer = Trainer(2, gradient_clip_val=1.0)
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "half.pt")
    return tmp_path / "half.pt"


class Changed(DropoutMLP):
    def forward(self, X):
        return -self.net(X)


@pytest.mark.parametrize(
    ("model", "data", "trainer", "told"),
    [
        (lambda: DropoutMLP(lr=0.02), Images, {}, "model.hyperparameters.lr: 0.01 in the check"),
        (lambda: DropoutMLP(num_hiddens=9), Images, {}, "hyperparameters.num_hiddens: 8 in"),
        (Changed, Images, {}, r"model.class: .*DropoutMLP' in the checkpoint, .*Changed' now"),
        (softmax_scratch, Images, {}, r"model.class: '.*DropoutMLP' in the checkpoint"),
        (DropoutMLP, lambda: Images(batch_size=4), {}, "data.batch_size: 8 in the checkpoint, 4"),
        (DropoutMLP, lambda: Images(n=24), {}, "data.hyperparameters.n: 30 in the checkpoint"),
        (DropoutMLP, lambda: Images(content=1), {}, r"data.train: .* checksum"),
        (DropoutMLP, Images, {"gradient_clip_val": 2.0}, "trainer.gradient_clip_val: 1.0 in"),
        (DropoutMLP, Images, {"limit_batches": 2}, "trainer.limit_batches: None in the"),
        (lambda: DropoutMLP(schedule="epoch"), Images, {}, "hyperparameters.schedule: None in"),
    ],
)
def test_what_has_changed_is_listed(half, model, data, trainer, told):
    trainer = Trainer(6, **{"gradient_clip_val": 1.0, **trainer})
    with pytest.raises(CheckpointError, match=told) as raised:
        trainer.fit(model(), data(), resume=half)
    assert "Only max_epochs, " in str(raised.value)


class Silent(DropoutMLP):
    def __init__(self, activation=nn.ReLU, p=0.5, group_lr=0.1, gamma=0.9, frozen=False):
        super().__init__()
        self.save_hyperparameters(ignore=["activation", "p", "group_lr", "gamma", "frozen"])
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), activation(), nn.Dropout(p))
        self.net.append(nn.Linear(4, 3))
        self.net[1].requires_grad_(not frozen)
        self.settings = group_lr, gamma

    def configure_optimizers(self):
        group_lr, gamma = self.settings
        groups = [{"params": self.net[1].parameters()}]
        groups.append({"params": self.net[4].parameters(), "lr": group_lr})
        optim = torch.optim.SGD(groups, lr=0.1)
        return [optim], [torch.optim.lr_scheduler.StepLR(optim, 2, gamma=gamma)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"activation": nn.Tanh}, r"model.layers.net.2: .*ReLU.* in the checkpoint, .*Tanh"),
        ({"p": 0.8}, r"model.layers.net.3: .*p=0.5.*p=0.8"),
        ({"group_lr": 0.2}, r"optimizer.groups\[1\].lr: .* in the checkpoint, 0.2 now"),
        (
            {"gamma": 0.1},
            r"schedulers\[0\].settings.gamma: 0.9 in the checkpoint, 0.1 now",
        ),
        ({"frozen": True}, r"model.frozen: \[\] in the checkpoint, .*net.1.weight"),
    ],
)
def test_changes_that_no_hyperparameter_tells_are_listed_too(change, told, tmp_path):
    trainer = Trainer(1)
    trainer.fit(Silent(), Images())
    trainer.save_checkpoint(tmp_path / "a.pt")
    trainer = Trainer(3)
    with pytest.raises(CheckpointError, match=told):
        trainer.fit(Silent(**change), Images(), resume=tmp_path / "a.pt")


class Scheduled(Classifier):
    """Its schedule is made from the optimizer and the number of epochs."""

    def __init__(self, make):
        super().__init__()
        self.make = make
        self.net = nn.Linear(1, 3)

    def forward(self, X):
        return self.net(X.reshape(len(X), -1)[:, :1])

    def configure_optimizers(self):
        optim = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optim], [self.make(optim, self.trainer)]


def cosine(optim, trainer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optim, trainer.max_epochs)


def linear(optim, trainer, length=None):
    num_epochs = length or trainer.max_epochs
    return torch.optim.lr_scheduler.LambdaLR(optim, lambda epoch: 1 - epoch / (num_epochs + 1))


def of_trainer(optim, trainer):
    return torch.optim.lr_scheduler.LambdaLR(optim, lambda n: 1 - n / (trainer.max_epochs + 1))


@pytest.mark.filterwarnings("ignore:CosineAnnealingLR has")
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (cosine, r"(?s)settings\.T_max: 2 in the checkpoint, 4 now.*from max_epochs, write fixed"),
        (linear, r"rate after 2 steps was 0\.0333333, and is 0\.06 now.*write a fixed number"),
        (of_trainer, r"rate after 2 steps was 0\.0333333, and is 0\.06 now.*write a fixed number"),
    ],
)
def test_a_schedule_that_follows_max_epochs_is_told_to_have_a_fixed_length(make, told, tmp_path):
    trainer = Trainer(2)
    trainer.fit(Scheduled(make), Images())
    trainer.save_checkpoint(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=told):
        Trainer(4).fit(Scheduled(make), Images(), resume=tmp_path / "a.pt")


def test_a_schedule_of_fixed_length_goes_on_for_more_epochs(tmp_path):
    make = functools.partial(linear, length=9)
    trainer = Trainer(2)
    trainer.fit(Scheduled(make), Images())
    trainer.save_checkpoint(tmp_path / "a.pt")
    trainer = Trainer(4)
    trainer.fit(Scheduled(make), Images(), resume=tmp_path / "a.pt")
    assert [row["lr"] for row in trainer.history.rows] == pytest.approx([0.1, 0.09, 0.08, 0.07])


def test_another_number_of_threads_is_told(half, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    with pytest.warns(GradbookWarning, match="another number of threads, 1, .* with 64"):
        Trainer(3, gradient_clip_val=1.0).fit(DropoutMLP(), Images(), resume=half)


def test_several_differences_are_listed_together(half):
    with pytest.raises(CheckpointError) as raised:
        Trainer(6, gradient_clip_val=1.0).fit(
            DropoutMLP(lr=0.02), Images(batch_size=4), resume=half
        )
    assert "hyperparameters.lr" in str(raised.value)
    assert "hyperparameters.batch_size" in str(raised.value)


def test_a_changed_model_keeps_its_parameters(half):
    model = DropoutMLP(lr=0.02)
    data = Images()
    Trainer(1, gradient_clip_val=1.0).fit(model, data)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError):
        Trainer(6, gradient_clip_val=1.0).fit(model, data, resume=half)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_finished_training_has_nothing_left_to_do(half):
    with pytest.raises(ConfigError, match=r"2 finished epochs.*max_epochs is 2.*more than 2"):
        Trainer(2, gradient_clip_val=1.0).fit(DropoutMLP(), Images(), resume=half)


def test_a_checkpoint_that_lacks_something_is_refused(half):
    state = checkpoint.load(half)
    del state["optimizer"]
    with pytest.raises(
        CheckpointError, match=r"does not hold what a training needs to resume: .*optimizer"
    ):
        Trainer(6, gradient_clip_val=1.0).fit(DropoutMLP(), Images(), resume=state)


def test_a_checkpoint_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match="There is no checkpoint"):
        Trainer(6).fit(DropoutMLP(), Images(), resume=tmp_path / "none.pt")


def test_an_optimizer_whose_state_cannot_be_kept_is_told(tmp_path):
    class Keyed(MomentumSGD):
        def __init__(self, params, lr):
            super().__init__(params, lr)
            self.by_parameter = dict.fromkeys(params, 0.0)

    class Model(gradbook.SoftmaxRegressionScratch):
        def configure_optimizers(self):
            return Keyed([self.W, self.b], self.lr)

    trainer = Trainer(1)
    trainer.fit(Model(9, 3), Images())
    with pytest.warns(IgnoredSettingWarning, match=r"Keyed\.by_parameter cannot be kept"):
        trainer.save_checkpoint(tmp_path / "a.pt")


# What cannot be kept


class Streaming(DropoutMLP):
    def __init__(self, kept=True):
        super().__init__()
        self.kept = [] if kept else (i for i in range(99))


def test_what_cannot_be_kept_is_told_before_a_training_with_a_run_begins(tmp_path):
    class Started(Sink):
        def open(self, board, trainer):
            raise KeyboardInterrupt

    with (
        pytest.warns(IgnoredSettingWarning, match=r"cannot hold Streaming\.kept \(a generator"),
        pytest.raises(KeyboardInterrupt),
    ):
        Trainer(2, run=tmp_path, sinks=[Started()]).fit(Streaming(kept=False), Images())


def test_without_checkpoints_nothing_is_said():
    Trainer(1).fit(Streaming(kept=False), Images())


def test_a_checkpoint_says_once_what_it_cannot_hold(tmp_path):
    trainer = Trainer(1)
    trainer.fit(Streaming(kept=False), Images())
    with pytest.warns(IgnoredSettingWarning, match=r"Streaming\.kept"):
        trainer.save_checkpoint(tmp_path / "a.pt")
    trainer.save_checkpoint(tmp_path / "b.pt")


def test_what_comes_to_it_later_is_told_then(tmp_path):
    trainer = Trainer(1)
    trainer.fit(Streaming(), Images())
    trainer.save_checkpoint(tmp_path / "a.pt")
    trainer.model.kept.append(iter([1]))
    with pytest.warns(IgnoredSettingWarning, match=r"Streaming\.kept\[0\]"):
        trainer.save_checkpoint(tmp_path / "b.pt")


def test_objects_that_a_new_model_lacks_are_told_when_it_resumes(tmp_path):
    trainer, model = Trainer(1), Streaming()
    model.kept.append(Sums())
    trainer.fit(model, Images())
    trainer.save_checkpoint(tmp_path / "a.pt")
    with pytest.warns(
        GradbookWarning, match=r"holds values of Streaming\.kept, but there is no such object"
    ):
        Trainer(2).fit(Streaming(), Images(), resume=tmp_path / "a.pt")


@pytest.mark.parametrize("after", [4, 6], ids=["at an end", "in mid-epoch"])
@pytest.mark.parametrize("place", ["sources", "pass_start"])
def test_a_forged_attribute_is_refused_before_anything_is_trained(after, place, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Trainer(4, sinks=[Stop(tmp_path / "a.pt", after)]).fit(DropoutMLP(), Images())
    state = checkpoint.load(tmp_path / "a.pt")
    state[place]["numbers"][-1]["attributes"]["forward"] = 3
    with pytest.raises(CheckpointError, match="does not hold what a training needs"):
        Trainer(4).fit(DropoutMLP(), Images(), resume=state)


# Parameters alone


def test_parameters_are_loaded_in_place():
    model, other = (gradbook.SoftmaxRegressionScratch(9, 3) for _ in range(2))
    W = model.W
    load_parameters(model, other.state_dict())
    assert model.W is W
    assert torch.equal(model.W, other.W)


def test_layers_without_a_shape_take_that_of_their_tensors():
    model, other = DropoutMLP(), DropoutMLP()
    other(torch.rand(4, 1, 3, 3))
    load_parameters(model, other.state_dict())
    X = torch.rand(4, 1, 3, 3)
    assert torch.equal(model.eval()(X), other.eval()(X))


def test_layers_without_a_shape_take_the_size_of_their_input_too():
    def layers():
        return nn.Sequential(
            nn.LazyConv2d(4, 3, groups=2),
            nn.LazyBatchNorm2d(affine=False),
            nn.LazyConvTranspose2d(6, 2, groups=2),
            nn.LazyInstanceNorm2d(affine=True),
            nn.Flatten(),
            nn.LazyLinear(3),
        )

    model, other, X = layers(), layers(), torch.rand(4, 2, 6, 6)
    other(X)
    load_parameters(model, other.state_dict())
    assert [layer.extra_repr() for layer in model] == [layer.extra_repr() for layer in other]
    assert torch.equal(model(X), other(X))


def test_parameters_that_do_not_fit_are_listed():
    with pytest.raises(CheckpointError) as raised:
        load_parameters(
            gradbook.SoftmaxRegressionScratch(9, 3), {"W": torch.zeros(4, 3), "c": torch.zeros(3)}
        )
    text = str(raised.value)
    assert "W: (4, 3) float32 in the checkpoint, (9, 3) float32 in the model" in text
    assert "c is not in the model" in text
    assert "b is not in the checkpoint" in text
