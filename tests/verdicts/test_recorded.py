"""Which curves of a training are judged, wherever they were recorded."""

import numpy as np
import pytest
import torch
from tests.verdicts.trainings import regression

from gradbook.errors import ConfigError
from gradbook.history import History
from gradbook.trainer import Trainer
from gradbook.verdicts import verdict


def test_an_accuracy_is_judged_where_there_is_no_loss():
    rising = [0.50, 0.60, 0.66, 0.70, 0.74, 0.77, 0.80, 0.83, 0.86, 0.89]
    found = verdict({"val_acc": rising})
    assert (found.label, found.curve) == ("still improving", "val_acc")
    assert "val_acc rises by 0.03 an epoch" in found.reason
    assert found.slope == pytest.approx(np.polyfit(np.arange(5), rising[5:], 1)[0])
    assert verdict({"val_acc": [0.5, *[0.8, 0.801, 0.799] * 4]}).label == "converged"


def test_a_loss_may_have_another_name():
    found = verdict({"val_rmse": [4.0, 2.0, 1.0, 0.5, 0.25, 0.125]})
    assert (found.label, found.curve) == ("still improving", "val_rmse")


def test_values_whose_name_does_not_tell_what_is_better_are_not_judged():
    found = verdict({"val_size": [1.0, 2.0, 3.0]})
    assert found.label == "cannot tell"
    assert "val_size" in found.reason


def test_validation_in_every_second_epoch_is_no_divergence():
    rows = [{"epoch": n, "train_loss": 2 * 0.5**n} for n in range(1, 9)]
    for row in rows[1::2]:
        row["val_loss"] = row["train_loss"] * 1.1
    assert verdict(History(rows)).label == "still improving"


@pytest.mark.parametrize("wrong", [3, "runs", None, Trainer(1)])
def test_what_is_no_training_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"A verdict needs a training: .* but got"):
        verdict(wrong)


CURVE = [1.0, 0.5, 0.25, 0.125, 0.0625]


@pytest.mark.parametrize(
    "curve",
    [
        torch.tensor(CURVE, requires_grad=True),
        np.array(CURVE),
        [torch.tensor(y) for y in CURVE],
        [np.float32(y) for y in CURVE],
        tuple(CURVE),
    ],
)
def test_a_curve_may_be_a_tensor_or_an_array_or_a_list_of_them(curve):
    assert verdict({"train_loss": curve}) == verdict({"train_loss": CURVE})


def test_a_name_does_not_reach_the_terminal_raw():
    found = verdict({"\x1b[31m\n_loss": [1.0, 0.5, 0.2]})
    assert r"\x1b[31m\n_loss" in str(found)
    assert str(found).isprintable()


WRONG = [0.5, "abc", ["a"], [True], [None], torch.tensor(1.0), np.ones((2, 2))]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_curve_of_other_things_than_numbers_is_refused(wrong):
    with pytest.raises(ConfigError, match="'val_loss' must be a list of numbers"):
        verdict({"val_loss": wrong})


def test_points_are_looked_at_where_epochs_are_few():
    trainer = regression(1, 3, 0)
    assert verdict(trainer).label == "converged"
    assert verdict(trainer.history).label == "cannot tell"
