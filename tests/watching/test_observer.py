"""Where a wrong number comes from: traced through the operations of a step."""

import linecache
import math

import pytest
import torch
from tests.watching.trainings import Blobs, examined, regression
from torch import nn

from gradbook import Classifier, LinearRegression, SoftmaxRegression
from gradbook.watching import postmortem
from gradbook.watching.observer import CodeLine


@pytest.fixture(autouse=True)
def repeated_from_the_beginning(monkeypatch):
    """No state is kept later, however slow the machine is."""
    monkeypatch.setattr(postmortem, "_INTERVAL_SECONDS", math.inf)


def test_a_mask_of_infinities_is_not_taken_for_the_cause():
    class Attention(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.net = nn.LazyLinear(3)

        def forward(self, X):
            mask = torch.zeros(4).masked_fill(torch.arange(4) == 3, -math.inf)
            return self.net(X * (X + mask).softmax(dim=1)) * torch.exp(100 + self.net.bias)

    found = examined(Attention(), Blobs())
    assert (found.cause, found.operation) == ("exp overflow", "exp")


def test_what_is_no_number_is_followed_before_what_is_infinite():
    class Masked(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.net = nn.LazyLinear(3)

        def forward(self, X):
            mask = torch.zeros(4).masked_fill(torch.arange(4) == 3, -math.inf)
            return self.net((torch.sqrt(-1 - X**2) + mask).softmax(dim=1))

    found = examined(Masked(), Blobs())
    assert (found.operation, found.phase) == ("sqrt", "forward")
    assert "64 of 64 arguments of `sqrt` are negative" in found.reason


def test_the_layer_is_named():
    class Exp(nn.Module):
        def forward(self, X):
            return torch.exp(X * 1000)

    class Net(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.net = nn.Sequential(nn.LazyLinear(8), Exp(), nn.LazyLinear(3))

    found = examined(Net(), Blobs())
    assert (found.layer, found.operation) == ("net.1", "exp")
    assert "`exp` of layer net.1 in line" in str(found)


def test_nan_that_the_loss_leaves_out_is_followed_to_where_it_came_from():
    class LeftOut(SoftmaxRegression):
        def loss(self, y_hat, y):
            inner = torch.sqrt(-1 - y_hat**2)
            return torch.where(y_hat > 1e9, torch.log(inner), y_hat**2).mean()

    found = examined(LeftOut(3), Blobs())
    assert (found.operation, found.phase) == ("sqrt", "backward")
    assert found.line.text == "inner = torch.sqrt(-1 - y_hat**2)"


def test_a_loss_that_is_plotted_as_a_number_is_found_behind_a_mask():
    class Plain(SoftmaxRegression):
        def training_step(self, batch):
            X, y = batch
            scores = self(X).masked_fill(torch.ones(3, dtype=torch.bool), -math.inf)
            loss = scores.softmax(dim=1).sum()
            self.board.draw(0, loss.item(), "train_loss")
            return self.loss(self(X), y)

    found = examined(Plain(3), Blobs())
    assert (found.cause, found.operation) == ("fully masked row", "softmax")


def test_what_only_goes_wrong_unobserved_is_said_to():
    class Shy(LinearRegression):
        def loss(self, y_hat, y):
            is_observed = torch.overrides._get_current_function_mode() is not None
            return (y_hat - y).square().mean() * (1.0 if is_observed else math.nan)

    found = examined(Shy(0.01), regression())
    assert (found.cause, found.operation) == ("unknown", None)
    assert "when all were looked at one by one" in found.reason


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("/tmp/ipykernel_4242/2234189995.py", "line 18 of a notebook's cell"),
        ("/tmp/xpython_7/31.py", "line 18 of a notebook's cell"),
        ("<ipython-input-3-0f1e>", "line 18 of the cell"),
        ("/home/me/softmax.py", "line 18 of softmax.py"),
    ],
)
def test_a_line_s_file_is_named_unless_it_is_a_cell(file, place):
    assert str(CodeLine(file, 18, "")) == place
    assert str(CodeLine(file, 18, "x = 1")) == f"{place}, `x = 1`"


def test_a_cell_s_line_is_shown_in_the_post_mortem():
    file = "/tmp/ipykernel_4242/2234189995.py"
    code = """
class OfCell(SoftmaxRegression):
    def loss(self, y_hat, y):
        return torch.log(y_hat - 1e3).mean()
"""
    linecache.cache[file] = len(code), None, code.splitlines(keepends=True), file
    names = {"__name__": "__main__", "torch": torch, "SoftmaxRegression": SoftmaxRegression}
    exec(compile(code, file, "exec"), names)
    found = examined(names["OfCell"](3), Blobs())
    assert "`log` in line 4 of a notebook's cell, `return torch.log(y" in str(found)
