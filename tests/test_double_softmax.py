"""A softmax before a loss that takes it itself: where it is, and where there is none."""

import warnings
from pathlib import Path

import pytest
import torch
from tests.sweeps.stacking import Same, member
from torch import nn
from torch.nn import functional as F

from gradbook import Classifier, Module, SoftmaxRegression, SoftmaxRegressionScratch, Trainer
from gradbook.errors import GradbookWarning
from gradbook.sweeps.stacked import fit_stacked


class Net(Classifier):
    """A classifier of three classes; `last` are the layers after its logits."""

    def __init__(self, *last, lr=0.1):
        super().__init__()
        self.save_hyperparameters(ignore=["last"])
        self.net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3), *last)


def warned(model):
    """What a training of two epochs warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = Trainer(2, display="off")
        trainer.fit(model, Same())
    assert trainer.status == "finished"
    return [str(each.message) for each in caught if issubclass(each.category, GradbookWarning)]


def softmax(X):
    X_exp = torch.exp(X - X.max(dim=1, keepdim=True).values)
    return X_exp / X_exp.sum(1, keepdim=True)


class Ending(Net):
    def forward(self, X):
        return F.softmax(self.net(X), dim=1)  # in forward


class Written(Net):
    def forward(self, X):
        return softmax(self.net(X))


class Reshaped(Net):
    def forward(self, X):
        return torch.softmax(self.net(X), dim=1).unsqueeze(1).squeeze(1)  # reshaped


class Within(Net):
    def loss(self, y_hat, y):
        return F.cross_entropy(y_hat.softmax(1), y)  # in loss


class ByLayer(Net):
    def loss(self, y_hat, y):
        return nn.CrossEntropyLoss()(nn.Softmax(dim=1)(y_hat), y)  # by a layer


class OwnStep(Net):
    def training_step(self, batch):
        loss = F.cross_entropy(F.softmax(self(batch[0]), 1), batch[1])  # in the step
        self.plot("loss", loss, train=True)
        return loss


class LogTwice(Net):
    def loss(self, y_hat, y):
        return F.nll_loss(F.log_softmax(torch.softmax(y_hat, 1), 1), y)  # log of it


class Squeezed(Net):
    def forward(self, X):
        return torch.sigmoid(self.net(X))  # squeezed


class Several(Net):
    def loss(self, y_hat, y):
        target = F.one_hot(y, 3).float()
        return F.binary_cross_entropy_with_logits(torch.sigmoid(y_hat), target)  # twice


class Mixed(Net):
    def loss(self, y_hat, y):
        target = F.one_hot(y, 3).float()
        return F.binary_cross_entropy_with_logits(F.softmax(y_hat, 1), target)  # mixed


class WithoutLogarithm(Net):
    def loss(self, y_hat, y):
        return F.nll_loss(F.softmax(y_hat, dim=1), y)  # no logarithm


TWICE = "takes the softmax twice: its loss, a cross-entropy of logits, takes it itself"
DOUBLED = {
    "layer": (lambda: Net(nn.Softmax(dim=1)), TWICE, "Delete layer net[3] (Softmax)."),
    "inner layer": (
        lambda: Net(nn.Sequential(nn.Identity(), nn.Softmax(dim=1))),
        TWICE,
        "Delete layer net[3][1] (Softmax).",
    ),
    "sigmoid layer": (
        lambda: Net(nn.Sigmoid()),
        "takes a sigmoid before its loss, a cross-entropy of logits, which takes the softmax "
        "itself",
        "Delete layer net[3] (Sigmoid).",
    ),
    "forward": (Ending, TWICE, "Delete the softmax (line {}: `return F.softmax"),
    "written out": (Written, TWICE, "Use the logits instead of the softmax that is written out"),
    "reshaped": (Reshaped, TWICE, "`return torch.softmax(self.net(X), dim=1).unsqueeze"),
    "loss": (Within, TWICE, "Delete the softmax (line {}: `return F.cross_entropy(y_hat.softmax"),
    "layer in loss": (ByLayer, TWICE, "`return nn.CrossEntropyLoss()(nn.Softmax"),
    "step": (OwnStep, TWICE, "Delete the softmax (line {}: `loss = F.cross_entropy(F.softmax"),
    "log_softmax": (LogTwice, TWICE, "`return F.nll_loss(F.log_softmax(torch.softmax"),
    "sigmoid": (Squeezed, "takes a sigmoid before its loss", "`return torch.sigmoid(self.net(X))"),
    "sigmoid twice": (
        Several,
        "takes the sigmoid twice: its loss, a binary cross-entropy of logits",
        "Delete the sigmoid (line {}: `return F.binary_cross_entropy_with_logits",
    ),
    "softmax and sigmoid": (
        Mixed,
        "takes a softmax before its loss, a binary cross-entropy of logits, which takes the "
        "sigmoid itself",
        "Delete the softmax (line {}",
    ),
    "no logarithm": (
        WithoutLogarithm,
        "gives probabilities to a loss that takes their logarithms",
        "Replace the softmax (line {}: `return F.nll_loss(F.softmax(y_hat, dim=1), y)",
    ),
}


def line_of(Model):
    """Where the line with a comment at its end stands, as a message says it."""
    lines = Path(__file__).read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith(f"class {Model.__name__}("))
    place = next(i for i, line in enumerate(lines) if i > begin and "  # " in line)
    return f"{place + 1} of test_double_softmax.py"


@pytest.mark.parametrize(("make", "what", "advice"), DOUBLED.values(), ids=DOUBLED)
def test_a_softmax_before_a_loss_of_logits_is_told_with_what_to_delete(make, what, advice):
    [text] = warned(make())
    assert what in text
    assert advice.format(line_of(make) if isinstance(make, type) else "") in text


# Healthy


class Uniform(Net):
    """Its outputs are positive and sum to 1, whatever comes in, before it has learned."""

    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.net[2].weight)
        nn.init.constant_(self.net[2].bias, 1 / 3)


class LogSoftmaxed(Net):
    def forward(self, X):
        return F.log_softmax(self.net(X), dim=1)


class Likelihood(LogSoftmaxed):
    def loss(self, y_hat, y):
        return F.nll_loss(y_hat, y)


class Scratch(Net):
    """Its own cross-entropy, of probabilities."""

    def forward(self, X):
        return softmax(self.net(X))

    def loss(self, y_hat, y):
        return -torch.log(y_hat[range(len(y_hat)), y]).mean()


class LogProbabilities(Ending):
    def loss(self, y_hat, y):
        return F.nll_loss(torch.log(y_hat), y)


class Distilled(Net):
    def __init__(self):
        super().__init__()
        self.teacher = nn.Linear(4, 3).requires_grad_(False)

    def training_step(self, batch):
        X, y = batch
        y_hat, soft = self(X), F.softmax(self.teacher(X) / 2, dim=1)
        loss = F.cross_entropy(y_hat, soft) + F.cross_entropy(y_hat, y)
        loss = loss + F.kl_div(F.log_softmax(y_hat / 2, 1), soft, reduction="batchmean")
        self.plot("loss", loss, train=True)
        return loss


class Attending(Net):
    def forward(self, X):
        return self.net(X * F.softmax(X, dim=1))


class Gated(Net):
    def forward(self, X):
        return self.net(X) * torch.sigmoid(X[:, :3])


class Squared(Net):
    def loss(self, y_hat, y):
        return F.mse_loss(F.softmax(y_hat, 1), F.one_hot(y, 3).float())


class Focal(Net):
    def loss(self, y_hat, y):
        p = F.softmax(y_hat, 1)[range(len(y)), y]
        return ((1 - p) ** 2 * F.cross_entropy(y_hat, y, reduction="none")).mean()


class Penalized(Net):
    def loss(self, y_hat, y):
        p = F.softmax(y_hat, 1)
        return F.cross_entropy(y_hat, y) - 0.1 * -(p * torch.log(p)).sum(1).mean()


class Cosine(Net):
    def forward(self, X):
        return 10 * F.normalize(X) @ F.normalize(self.net[0].weight[:3]).T + 0 * self.net(X)


class Binary(Net):
    def loss(self, y_hat, y):
        return F.binary_cross_entropy(torch.sigmoid(y_hat), F.one_hot(y, 3).float())


class Tempered(Net):
    def forward(self, X):
        return self.net(X) / 2.0


class Shares(Net):
    """Logits divided by their sum, as no softmax does."""

    def forward(self, X):
        X = F.softplus(self.net(X))
        return 5 * X / X.sum(1, keepdim=True)


HEALTHY = {
    "logits": Net,
    "relu": lambda: Net(nn.ReLU()),
    "tanh": lambda: Net(nn.Tanh()),
    "softplus": lambda: Net(nn.Softplus()),
    "softmax regression": lambda: SoftmaxRegression(3, 0.1),
    "scratch": lambda: SoftmaxRegressionScratch(4, 3, 0.1),
    "NLLLoss": Likelihood,
    **{
        Model.__name__: Model
        for Model in (
            *(Uniform, LogSoftmaxed, Scratch, LogProbabilities, Distilled, Attending, Gated),
            *(Squared, Focal, Penalized, Cosine, Binary, Tempered, Shares),
        )
    },
}


@pytest.mark.parametrize("make", HEALTHY.values(), ids=HEALTHY)
def test_a_healthy_classifier_is_not_warned_of(make):
    assert warned(make()) == []


class Dropping(Net):
    """Draws random numbers, normalizes with a batch's statistics, and counts its calls."""

    def __init__(self, *last):
        super().__init__(nn.BatchNorm1d(3), nn.Dropout(0.5), *last)
        self.calls = 0

    def forward(self, X):
        self.calls += 1
        return super().forward(X)


def test_to_find_the_line_leaves_no_trace(monkeypatch):
    def trained():
        torch.manual_seed(0)
        model = Dropping(nn.Softmax(dim=1))
        texts = warned(model)
        return texts, model.calls, {k: v.clone() for k, v in model.state_dict().items()}

    texts, calls, state = trained()
    assert "net[5] (Softmax)" in texts[0]
    monkeypatch.setattr("gradbook.double_softmax.tell", lambda *_: None)
    texts, expected_calls, expected = trained()
    assert (texts, calls) == ([], expected_calls)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


class Once(Module):
    """A model with a step that cannot be taken twice."""

    def __init__(self):
        super().__init__()
        self.net, self.left = nn.Linear(4, 3), iter(range(100))
        self.lr = 0.1

    def training_step(self, batch):
        if next(self.left) == 1:
            raise RuntimeError("twice")
        loss = F.cross_entropy(F.softmax(self.net(batch[0]), 1), batch[1])
        self.plot("loss", loss, train=True)
        return loss

    def validation_step(self, batch):
        pass


def test_a_step_that_cannot_be_taken_again_is_told_without_the_line():
    [text] = warned(Once())
    assert text.endswith("Delete the softmax.")


@pytest.mark.slow
def test_a_stack_of_members_is_told_it_once():
    builders = [member(lambda: Net(nn.Softmax(dim=1)), seed=seed) for seed in range(3)]
    with pytest.warns(GradbookWarning) as caught:
        trained = fit_stacked(builders)
    assert [training.alone for training in trained] == [None] * 3
    [text] = [str(each.message) for each in caught]
    assert TWICE in text
    assert "Delete layer net[3] (Softmax)." in text
