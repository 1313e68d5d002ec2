"""What keeps a training out of a stack, and who goes into which."""

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
from torch.utils.data import DataLoader, TensorDataset

import gradbook
from gradbook import Trainer
from gradbook.models.recurrent import RNNLMScratch
from gradbook.steps import Stepper
from gradbook.sweeps.candidate import Candidate
from gradbook.sweeps.stacked import fit_stacked
from gradbook.training import Training

pytestmark = pytest.mark.slow

# Each by itself


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


class LookingAtGradients(Net):
    def loss(self, Y_hat, Y):
        loss = super().loss(Y_hat, Y)
        return loss if self.net[0].weight.grad is None else 2 * loss


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


class Perplexity(Net):
    """A model of the library that plots a perplexity, as its language models do."""

    training_step = RNNLMScratch.training_step
    validation_step = RNNLMScratch.validation_step


class Noisy(Same):
    """Its batches are changed at random, as where images are turned."""

    def get_dataloader(self, train):
        loader = super().get_dataloader(train)
        loader.transform = lambda batch: [batch[0] + 0.1 * torch.randn_like(batch[0]), batch[1]]
        return loader


@pytest.mark.parametrize(
    ("Model", "data", "reason"),
    [
        (OwnStep, Same, "OwnStep.training_step is a method of your own"),
        (OwnValidation, Same, "OwnValidation.validation_step is a method of your own"),
        (Perplexity, Same, "Perplexity plots other values than a loss and an accuracy"),
        (Dropping, Same, "random numbers"),
        (Normalizing, Same, "change a buffer"),
        (Looking, Same, "look at the value of a tensor, with float()"),
        (LookingWhenScored, Same, "look at the value of a tensor, with "),
        (LookingAtGradients, Same, "look at gradients (grad)"),
        (Timed, Same, "look at the trainer"),
        (Counting, Same, "change a counter"),
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


class NoisyTrainer(Trainer):
    """Takes a setting that nothing else knows, and applies it in its own way."""

    def __init__(self, max_epochs, gradient_noise=0.1, **settings):
        super().__init__(max_epochs, **settings)
        self.save_hyperparameters()


def test_a_setting_that_is_not_declared_keeps_its_training_alone():
    def build():
        one = member()()
        trainer = NoisyTrainer(1, gradient_noise=0.5, display="off")
        return Candidate(trainer, one.model, one.data)

    trained = fit_stacked([build, build])
    reason = "its gradient_noise is 0.5, which works on one model at a time"
    assert [candidate.alone for candidate in trained] == [reason] * 2


@pytest.mark.parametrize(
    ("Class", "method"), [(Stepper, "add"), (Training, "run"), (Training, "end_batch")]
)
def test_a_replaced_method_that_a_stack_does_without_keeps_its_training_alone(
    Class, method, undo_patches
):
    own = getattr(Class, method)
    setattr(Class, method, lambda self, *arguments: own(self, *arguments))
    builders = [member(lr=lr) for lr in (0.1, 0.2)]
    assert_fallback(builders, f"{Class.__name__}.{method} is a method of your own")


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


# Who goes together


class Penalized(Net):
    def __init__(self, lr=0.1, lambd=0.0):
        super().__init__(lr=lr)
        self.lambd = lambd

    def loss(self, y_hat, y):
        return super().loss(y_hat, y) + self.lambd * (self.net[0].weight ** 2).sum()


def test_a_number_that_the_loss_reads_keeps_members_apart():
    builders = [member(Penalized, lambd=lambd) for lambd in (0.0, 0.1)]
    assert_fallback(builders, "no other member does the same operations")


def test_members_with_the_same_number_in_the_loss_are_stacked():
    builders = [member(Penalized, lr=lr, lambd=0.1) for lr in (0.1, 0.2)]
    assert_stacked_as_alone(builders)


class Scaled(Same):
    """What differs is what its transform does."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor

    def get_dataloader(self, train):
        loader = super().get_dataloader(train)
        loader.transform = self.change
        return loader

    def change(self, batch):
        return [self.factor * batch[0], batch[1]]


def test_each_member_sees_the_batches_that_its_own_transform_makes():
    assert_stacked_as_alone([member(data=Scaled(factor)) for factor in (1.0, 2.0)])


class Widened(Scaled):
    def change(self, batch):
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


@pytest.mark.filterwarnings("ignore:The loss of Partly depends on tensors that its optimizer")
def test_optimizers_of_other_parameters_keep_members_apart():
    assert_fallback(
        [member(Partly, layer=layer) for layer in (0, 1)],
        "no other member does the same operations",
    )


def test_who_is_like_nobody_else_is_trained_alone():
    builders = [member(lr=0.1), member(lr=0.3), member(Averaging)]
    alone, stacked = trained_alone(builders), fit_stacked(builders)
    for pair in zip(alone, stacked, strict=True):
        assert_same_training(*pair)
    reason = "no other member does the same operations (none has the same layers)"
    assert [t.alone for t in stacked] == [None, None, reason]


def test_large_batches_are_shared_only_by_members_that_see_the_same(monkeypatch):
    monkeypatch.setattr("gradbook.sweeps.stackable._LARGE_BATCH", 10)
    builders = [member(seed=seed, lr=lr) for seed in (0, 1) for lr in (0.1, 0.3)]
    assert_stacked_as_alone([*builders, member(seed=2), member(seed=3)])
