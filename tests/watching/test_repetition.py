"""A training repeated on a copy, whatever loop, model and data it has."""

import math

import pytest
import torch
from tests.small import book_s_epoch
from tests.watching.trainings import Blobs, BookSoftmax, Normed, Passing, examined, fit, regression

from d2l import torch as d2l
from gradbook import (
    LinearRegression,
    LinearRegressionScratch,
    MLPScratch,
    SoftmaxRegression,
    Trainer,
)
from gradbook.errors import DivergenceWarning
from gradbook.training import Training
from gradbook.watching import postmortem, repetition


@pytest.fixture(autouse=True)
def repeated_from_the_beginning(monkeypatch):
    """No state is kept later, however slow the machine is."""
    monkeypatch.setattr(postmortem, "_INTERVAL_SECONDS", math.inf)


@pytest.mark.slow
def test_the_step_is_the_one_at_which_the_same_loop_by_hand_meets_it():
    data = regression()
    model = LinearRegressionScratch(2, 3.0)
    w, b = model.w.detach().clone(), model.b.detach().clone()
    trainer = fit(model, data, max_epochs=8)

    torch.manual_seed(0)
    step, norms = 0, []
    while True:
        for X, y in data.train_dataloader():
            step += 1
            error = X @ w + b - y
            norms.append(math.hypot(*(X.T @ error / len(X)).flatten(), error.mean()))
            if not (error**2 / 2).mean().isfinite():
                break
            w, b = w - 3.0 * X.T @ error / len(X), b - 3.0 * error.mean()
        else:
            continue
        break
    found = trainer.postmortem
    assert (found.step, found.epoch) == (step, (step - 1) // 8 + 1)
    assert found.steps[-1].gradient_norm == pytest.approx(norms[-2], rel=1e-4)
    assert found.steps[-1].step == step - 1
    assert f"at step {step} " in trainer.history.diverged


def test_a_step_that_goes_wrong_by_chance_draws_the_same_numbers_again():
    class Chance(SoftmaxRegression):
        def training_step(self, batch):
            loss = super().training_step(batch)
            return loss / (torch.rand(1) > 0.1)

    found = examined(Chance(3), Blobs())
    assert (found.what, found.cause) == ("the loss", "division by zero")


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_step_that_looks_at_another_batch_finds_it_again(split):
    class Looking(SoftmaxRegression):
        def training_step(self, batch):
            next(iter(getattr(self.trainer, f"{split}_dataloader")))
            loss = self.loss(self(*batch[:-1]), batch[-1])
            loss = loss / (0.0 if self.trainer.train_batch_idx == 3 else 1.0)
            self.plot("loss", loss, train=True)
            return loss

    found = examined(Looking(3), Blobs())
    assert (found.step, found.cause) == (4, "division by zero")


def test_a_later_epoch_is_repeated_from_its_own_beginning(monkeypatch):
    monkeypatch.setattr(postmortem, "_INTERVAL_SECONDS", 0.0)

    class Late(SoftmaxRegression):
        def training_step(self, batch):
            late = self.trainer.train_batch_idx == 19
            loss = self.loss(self(*batch[:-1]), batch[-1]) / (0.0 if late else 1.0)
            self.plot("loss", loss, train=True)
            return loss

    found = examined(Late(3), Blobs())
    assert (found.step, found.epoch, found.cause) == (20, 3, "division by zero")
    assert [step.step for step in found.steps] == [17, 18, 19]


@pytest.mark.slow
def test_a_learner_s_hooks_hear_of_the_training_only():
    model, calls = MLPScratch(4, 3, 16, lr=1e4), []
    model.register_forward_hook(lambda *_: calls.append(1))
    fit(model, Blobs(), max_epochs=2)
    rehearsals, batches = 2, 8
    assert len(calls) == rehearsals + 2 * (batches + batches)


@pytest.mark.slow
def test_what_the_steps_print_is_not_printed_twice(capsys):
    class Talks(LinearRegression):
        def training_step(self, batch):
            print("step")
            return super().training_step(batch)

    found = examined(Talks(3.0), regression(), max_epochs=8)
    assert found.cause == "rate too high"
    assert capsys.readouterr().out == "step\n" * 8 * 8


@pytest.mark.usefixtures("undo_patches")
def test_a_replaced_training_loop_is_repeated_as_it_is():
    book_s_epoch()
    found = examined(BookSoftmax(), Blobs(scale=1e4))
    assert (found.cause, found.operation) == ("exp overflow", "exp")
    assert examined(Normed(0.01), regression()).operation == "SqrtBackward0"


class Lookalike:
    """A model that knows nothing of this library but what a trainer asks for."""

    def __init__(self, lr=3.0):
        self.lr, self.trainer = lr, None
        self.board = d2l.ProgressBoard(display=False)
        self.w = torch.zeros(2, 1, requires_grad=True)

    def parameters(self):
        return [self.w]

    def train(self):
        pass

    def eval(self):
        pass

    def training_step(self, batch):
        X, y = batch
        loss = ((X @ self.w - y) ** 2).mean()
        self.board.draw(self.trainer.train_batch_idx / 8, loss, "train_loss")
        return loss

    def validation_step(self, batch):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD([self.w], self.lr)


@pytest.mark.slow
def test_a_model_that_only_looks_like_ours():
    found = examined(Lookalike(), regression(), max_epochs=8)
    assert (found.cause, found.phase) == ("rate too high", "forward")
    assert found.line.text == "loss = ((X @ self.w - y) ** 2).mean()"


def test_data_that_count_in_an_attribute_are_repeated():
    class Once(Passing):
        def __init__(self):
            super().__init__()
            self.bad = [True]

        def one_pass(self, batches):
            for i, (X, y) in enumerate(batches):
                yield X * (self.bad.pop() * math.nan if i == 3 and self.bad else 1), y

    trainer = fit(SoftmaxRegression(3), Once())
    assert trainer.postmortem.step == 4


def test_data_that_differ_each_time_are_said_to():
    bad = [True]  # where nobody finds it: what is in an attribute is put back

    class Once(Passing):
        def one_pass(self, batches):
            for i, (X, y) in enumerate(batches):
                yield X * (bad.pop() * math.nan if i == 3 and bad else 1), y

    trainer = fit(SoftmaxRegression(3), Once())
    found = trainer.postmortem
    assert (found.cause, found.step, found.phase) == ("unknown", None, None)
    assert "comes out differently each time" in found.reason
    assert found.what == trainer.history.diverged
    assert "lr" not in found.edit  # at the same rate, all was finite
    assert "rate" not in found.reason
    assert "no seed determines" in found.edit


def test_an_error_of_the_repetition_is_told_and_not_raised(monkeypatch):
    def fail(*_):
        raise RuntimeError("no copy today")

    monkeypatch.setattr(Training, "fork", fail)
    found = examined(LinearRegression(3.0), regression(), max_epochs=8)
    assert found.cause == "unknown"
    assert "RuntimeError: no copy today" in found.reason


def test_the_bytes_of_a_state_are_those_of_its_tensors():
    state = {"model": {"w": torch.zeros(10)}, "loose": [torch.zeros(2, dtype=torch.float64)]}
    assert repetition.num_bytes({**state, "best": None, "stopped": "why"}) == 40 + 16


def test_layers_without_a_shape_at_the_beginning_are_no_error():
    class Own(SoftmaxRegression):
        def training_step(self, batch):
            return super().training_step(batch) / 0

    found = examined(Own(3), Blobs())
    assert found.cause in ("unknown", "division by zero")


def test_a_repetition_ends_in_time(monkeypatch):
    monkeypatch.setattr(repetition, "_LIMIT_SECONDS", 0.0)
    found = examined(LinearRegression(3.0), regression(), max_epochs=8)
    assert found.cause == "unknown"
    assert "took more than 0 seconds" in found.reason


def test_ctrl_c_within_it_is_passed_on(monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(repetition.Repetition, "run", interrupt)
    torch.manual_seed(0)
    trainer = Trainer(max_epochs=8, display="off")
    with pytest.warns(DivergenceWarning), pytest.raises(KeyboardInterrupt):
        trainer.fit(LinearRegression(3.0), regression())
    assert trainer.status == "interrupted"


def test_a_batch_that_the_step_writes_into_is_repeated_as_it_was():
    class Writer(SoftmaxRegression):
        """Diverges with a batch as it comes, and not with one that was written into."""

        def forward(self, X):
            scale = 0.0 if X.max() > -50 else 1.0
            X -= 100
            return super().forward(X / scale)

    found = examined(Writer(3), Blobs())
    assert (found.cause, found.operation) == ("division by zero", "/")
