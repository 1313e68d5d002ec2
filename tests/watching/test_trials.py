"""Changes tried on a copy of a training that went wrong."""

import math
import re

import pytest
import torch
from tests.watching.trainings import Blobs, examined, fit, regression
from torch.optim.lr_scheduler import LambdaLR

from gradbook import MLP, LinearRegression, MLPScratch, SoftmaxRegressionScratch
from gradbook.watching import postmortem, trials

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def repeated_from_the_beginning(monkeypatch):
    """No state is kept later, however slow the machine is."""
    monkeypatch.setattr(postmortem, "_INTERVAL_SECONDS", math.inf)


def test_what_is_told_of_a_trial_is_what_the_training_does_with_the_change():
    found = examined(LinearRegression(3.0), regression(), max_epochs=8)
    assert found.edit == "lr=0.3, a tenth of 3."
    told = "This was tried on a copy of the training, starting from the beginning: nothing became "
    assert found.tried.startswith(
        f"{told}NaN or infinite in 64 steps, and the mean loss fell from "
    )
    first, last = map(float, re.findall(r"([\d.e-]+) in the (?:first|last)", found.tried))
    again = fit(LinearRegression(0.3), regression(), max_epochs=8)
    assert again.history["train_loss"][-1] == pytest.approx(last, rel=0.01)
    assert again.history["train_loss"][0] == pytest.approx(first, rel=0.01)


def test_rates_are_tried_until_one_helps():
    class Large(MLP):
        """Its loss is so large that a thousandth of the rate is still too high."""

        def loss(self, y_hat, y):
            return super().loss(y_hat, y) * torch.tensor(1e5)

    found = examined(Large(3, 16), Blobs(), max_epochs=8)
    assert found.edit == "lr=1e-05, with which it does not happen; with 0.0001 it does."
    assert fit(Large(3, 16, lr=1e-5), Blobs(), max_epochs=8).postmortem is None


def test_a_rate_so_small_that_nothing_is_learned_is_of_no_use():
    class Steep(LinearRegression):
        def loss(self, y_hat, y):
            return super().loss(y_hat, y) + (100 * self.net.weight).pow(4).sum()

    found = examined(Steep(0.01), regression(), max_epochs=8)
    assert found.cause != "rate too high"
    assert ", or the loss did not change." in found.tried


def test_a_trial_leaves_the_training_as_it_was():
    model = MLPScratch(4, 3, 16, lr=1e4)
    trainer = fit(model, Blobs(), max_epochs=2)
    assert trainer.postmortem.tried
    assert model.lr == 1e4
    assert trainer.optim.lr == 1e4
    assert model.W1.grad is not None


def test_without_time_nothing_is_claimed(monkeypatch):
    monkeypatch.setattr(trials, "_LIMIT_SECONDS", 0.0)
    found = examined(LinearRegression(3.0), regression(), max_epochs=8)
    assert (found.cause, found.edit) == ("rate too high", "lr=0.3, a tenth of 3.")
    assert found.tried == ""


class Jumping(LinearRegression):
    """Its rate is far too high from the fourth epoch on."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        jump = LambdaLR(optimizer, lambda epoch: 1.0 if epoch < 3 else 1e20)
        return {"optimizer": optimizer, "lr_scheduler": jump}


def test_trials_begin_where_there_is_time_for_it(monkeypatch):
    monkeypatch.setattr(postmortem, "_INTERVAL_SECONDS", 0.0)
    found = examined(LinearRegression(3.0), regression(), max_epochs=8)
    assert "starting from the beginning" in found.tried
    monkeypatch.setattr(trials, "_NUM_EXPECTED", 1e9)
    found = examined(Jumping(0.03), regression(), max_epochs=8)
    assert f"starting from the end of epoch {found.epoch - 1}:" in found.tried


def test_of_large_states_the_last_alone_is_kept_and_trials_begin_there(monkeypatch):
    monkeypatch.setattr(postmortem, "_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(postmortem, "_MOST_BYTES", 0)
    found = examined(Jumping(0.03), regression(), max_epochs=8)
    assert f"starting from the end of epoch {found.epoch - 1}:" in found.tried


def test_a_trial_begins_at_the_beginning_where_the_last_state_is_lost(monkeypatch):
    """A loss that has grown by many times leaves a state from which no setting looks good."""
    monkeypatch.setattr(postmortem, "_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(trials, "_NUM_EXPECTED", 1e9)
    found = examined(LinearRegression(3.0), regression(), max_epochs=8)
    assert (found.cause, found.edit) == ("rate too high", "lr=0.3, a tenth of 3.")
    assert "starting from the beginning" in found.tried


def test_momentum_that_was_kept_is_not_changed_by_the_trials(monkeypatch):
    """A state is put back for each trial: PyTorch's optimizers take it as their own memory."""
    monkeypatch.setattr(postmortem, "_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(trials, "_NUM_EXPECTED", 1e9)
    states = []
    inner = postmortem.examine

    def watched(trainer, kept, share):
        before = [state["optimizer"] for state in kept]
        texts = [repr(state) for state in before]
        found = inner(trainer, kept, share)
        states.append((texts, [repr(state["optimizer"]) for state in kept]))
        return found

    class Heavy(LinearRegression):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)

    monkeypatch.setattr(postmortem, "examine", watched)
    found = examined(Heavy(3.0), regression(), max_epochs=8)
    assert found.tried
    assert states
    assert all(before == after for before, after in states)


def test_a_step_that_overflows_in_the_update_is_tried_too():
    found = examined(SoftmaxRegressionScratch(4, 3, lr=3e38), Blobs(scale=30), max_epochs=1)
    assert (found.cause, found.phase) == ("rate too high", "update")
    assert "nothing became NaN or infinite in 8 steps" in found.tried
