"""What learning curves say in words: synthetic curves and real trainings."""

import copy
import math
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.verdicts.trainings import regression, trained

from gradbook.data import DataModule
from gradbook.datasets import SyntheticRegressionData
from gradbook.errors import ConfigError
from gradbook.history import History
from gradbook.models import MLP, LinearRegression, LinearRegressionScratch, SoftmaxRegression
from gradbook.runs import load
from gradbook.verdicts import verdict
from gradbook.verdicts.recorded import Recorded

#: What errs 5 times in 100 is seen to err at most so often, in percent, in so many simulations:
#: three standard deviations more.
NUM = 400
SEEN = 5 + 3 * math.sqrt(5 * 95 / NUM)


def rates(make, num=NUM):
    """How many percent of the curves that `make(generator)` gives get each label."""
    generator = np.random.default_rng(7)
    counts = Counter(verdict(make(generator)).label for _ in range(num))
    return Counter({label: 100 * count / num for label, count in counts.items()})


def false_alarms(seen):
    """How many percent of curves of noise are said to go somewhere."""
    return seen["still improving"] + seen["overfitting"] + seen["diverged"]


def both(curve):
    return {"train_loss": curve, "val_loss": curve}


def noisy(values, size, generator):
    """A curve times lognormal noise."""
    return list(np.asarray(values) * np.exp(size * generator.standard_normal(len(values))))


# Synthetic curves


@pytest.mark.slow
@pytest.mark.parametrize("num_epochs", [4, 6, 10, 30])
@pytest.mark.parametrize("size", [0.005, 0.05, 0.3])
def test_noise_about_a_level_neither_improves_nor_gets_worse(num_epochs, size):
    level = np.full(num_epochs, 0.7)
    seen = rates(
        lambda generator: {
            "train_loss": noisy(level, size, generator),
            "val_loss": noisy(level, size, generator),
        }
    )
    assert false_alarms(seen) <= SEEN


@pytest.mark.slow
@pytest.mark.parametrize("num_epochs", [5, 8, 10, 30])
@pytest.mark.parametrize("size", [0.005, 0.05, 0.15])
def test_noise_after_a_fall_neither_improves_nor_gets_worse(num_epochs, size):
    curve = np.array([2.3] + [0.5] * (num_epochs - 1))
    seen = rates(
        lambda generator: {
            "train_loss": noisy(curve, size, generator),
            "val_loss": noisy(curve, size, generator),
        }
    )
    assert false_alarms(seen) <= SEEN
    if size < 0.1:
        assert seen["converged"] > 85


@pytest.mark.slow
@pytest.mark.parametrize("num_epochs", [10, 20, 30])
def test_a_curve_that_falls_beyond_its_noise_is_improving(num_epochs):
    epochs = np.arange(1, num_epochs + 1)
    seen = rates(
        lambda generator: {
            "train_loss": noisy(2 * epochs**-0.6, 0.01, generator),
            "val_loss": noisy(2 * epochs**-0.5, 0.03, generator),
        },
        num=200,
    )
    assert seen["still improving"] > 90


@pytest.mark.slow
@pytest.mark.parametrize("num_epochs", [10, 20, 40])
def test_a_validation_that_rises_while_training_falls_is_overfitting(num_epochs):
    x = np.linspace(0, 1, num_epochs)
    seen = rates(
        lambda generator: {
            "train_loss": noisy(2 * np.exp(-4 * x), 0.02, generator),
            "val_loss": noisy(0.6 + 1.5 * np.exp(-10 * x) + 0.5 * x, 0.02, generator),
        },
        num=200,
    )
    assert seen["overfitting"] > 95


@pytest.mark.slow
@pytest.mark.parametrize("num_epochs", [6, 10, 30])
@pytest.mark.parametrize("size", [0.05, 0.3])
def test_noise_in_the_training_alone_is_seldom_called_diverged(num_epochs, size):
    curve = np.array([1.5] + [0.5] * (num_epochs - 1))
    seen = rates(lambda generator: {"train_loss": noisy(curve, size, generator)}, num=400)
    assert false_alarms(seen) <= 5 + 3 * math.sqrt(5 * 95 / 400)


def test_a_validation_that_rises_after_training_has_come_to_a_level_is_overfitting():
    val = [1.0, 0.6, 0.5, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8]
    found = verdict({"train_loss": [1.0, 0.5] + [0.3] * 8, "val_loss": val})
    assert (found.label, found.curve) == ("overfitting", "val_loss")
    assert "while train_loss went from 1 to 0.3" in found.reason
    assert found.reason.endswith("val_loss was best in epoch 3, with 0.5, and is now 0.8.")


@pytest.mark.slow
@pytest.mark.parametrize("train_falls", [True, False])
@pytest.mark.parametrize("size", [0, 0.03])
def test_a_validation_that_has_risen_to_a_plateau_is_overfitting(size, train_falls):
    epochs = np.arange(60)
    train = 2 * 0.01 ** (epochs / 59) if train_falls else 0.1 + 2 * np.exp(-epochs)
    plateau = 0.6 * (1 - np.exp(-0.2 * np.maximum(0, epochs - 5)))
    seen = rates(
        lambda generator: {
            "train_loss": noisy(train, size, generator),
            "val_loss": noisy(2 * np.exp(-0.5 * epochs) + 0.4 + plateau, size, generator),
        },
        num=1 if size == 0 else 100,
    )
    assert seen["overfitting"] > 95


def test_a_plateau_above_the_best_names_the_best():
    curve = [2.0, 1.0, 0.6, 0.5, 0.51, 0.6, 0.7, 0.8, *[0.9, 0.89, 0.91] * 4]
    found = verdict({"train_loss": list(2 * 0.8 ** np.arange(20)), "val_loss": curve})
    assert found.label == "overfitting"
    mean = math.exp(np.mean(np.log([0.6, 0.5, 0.51])))
    worse = math.exp(np.mean(np.log(curve[10:]))) / mean - 1
    told = f"over the last 10 of 20 epochs, worse by {100 * worse:.2g}% than over its best three"
    assert told in str(found)
    assert "best in epoch 4, with 0.5" in found.reason


@pytest.mark.slow
@pytest.mark.parametrize("size", [0.05, 0.2])
def test_a_lucky_epoch_on_a_noisy_level_is_no_best_that_was_left(size):
    epochs = np.arange(40)
    seen = rates(
        lambda generator: {
            "train_loss": noisy(0.2 + 2 * np.exp(-epochs), 0.01, generator),
            "val_loss": noisy(0.5 + 2 * np.exp(-epochs), size, generator),
        },
        num=300,
    )
    assert seen["overfitting"] + seen["diverged"] <= SEEN


@pytest.mark.slow
def test_noise_that_begins_late_leaves_no_best():
    train = 0.2 + 2 * np.exp(-np.arange(40.0))
    seen = rates(
        lambda generator: {
            "train_loss": noisy(train, 0.01, generator),
            "val_loss": noisy(np.full(20, 0.5), 0.001, generator)
            + noisy(np.full(20, 0.5), 0.8, generator),
        },
        num=200,
    )
    assert seen["overfitting"] + seen["diverged"] <= SEEN


def test_a_validation_that_has_risen_while_training_was_stuck_is_not_overfitting():
    val = [1.0] * 4 + [1.5] * 16
    assert verdict({"train_loss": [1.0] * 20, "val_loss": val}).label == "cannot tell"


def test_a_rise_that_is_little_against_the_fall_before_it_is_no_divergence():
    found = verdict(both([10.0, 0.01, *(1e-4 * 1.05 ** np.arange(10))]))
    assert found.label == "cannot tell"
    assert "rises by 5% an epoch" in found.reason


def test_what_has_converged_does_not_hide_a_training_that_rises_a_little():
    rising, level = list(1e-4 * 1.005 ** np.arange(10)), [1e-4, 1.001e-4] * 5
    found = verdict({"train_loss": [10.0, 0.01, *rising], "val_loss": [10.0, 0.01, *level]})
    assert (found.label, found.curve) == ("converged", "val_loss")
    assert "Meanwhile train_loss rises by 0.5%" in found.reason


def test_a_validation_that_comes_down_again_is_still_improving():
    val = [2.0, 1.0, 0.6, 0.5, 0.5, 0.6, 0.8, 1.0, *np.linspace(1.0, 0.7, 17)]
    found = verdict({"train_loss": list(2 * 0.9 ** np.arange(25)), "val_loss": val})
    assert found.label == "still improving"


def test_an_accuracy_that_falls_in_validation_alone_is_overfitting():
    train = [0.5, 0.7, 0.9, 0.95, 0.99, 1.0, 1.0, 1.0]
    val = [0.5, 0.6, 0.65, 0.64, 0.62, 0.6, 0.58, 0.55]
    found = verdict({"train_acc": train, "val_acc": val})
    assert found.label == "overfitting"
    assert "val_acc falls by 0.023 an epoch" in found.reason
    assert "val_acc was best in epoch 3, with 0.65" in found.reason


RISING = {
    "after a fall": [2, 1, 0.5, 0.3, 0.4, 0.6, 0.8, 1, 1.2, 1.4],
    "a little after a fall": [1.0, 0.5, 0.4, 0.42, 0.45, 0.47, 0.50, 0.53],
    "from the first epoch": list(np.arange(1, 1.81, 0.05)),
    "to a plateau": [2, 1, 0.5, 0.3, 0.4, 0.6, 0.8, *[1.0] * 12],
    "below zero": list(np.arange(-2.0, -1.0, 0.1)),
}


@pytest.mark.parametrize("curve", RISING.values(), ids=RISING)
@pytest.mark.parametrize("splits", [["train_loss"], ["train_loss", "val_loss"]])
def test_a_loss_that_rises_in_training_has_diverged(curve, splits):
    found = verdict(dict.fromkeys(splits, curve))
    assert (found.label, found.curve) == ("diverged", "train_loss")
    best = int(np.argmin(curve))
    assert f"best in epoch {best + 1}, with {curve[best]:.4g}, and is now" in found.reason


@pytest.mark.slow
def test_a_rise_beyond_its_noise_is_diverged_with_noise_too():
    curve = np.array(RISING["after a fall"])
    seen = rates(
        lambda generator: {
            "train_loss": noisy(curve, 0.03, generator),
            "val_loss": noisy(curve, 0.03, generator),
        },
        num=200,
    )
    assert seen["diverged"] > 95


@pytest.mark.parametrize("splits", [["val_acc"], ["train_acc", "val_acc"]])
def test_an_accuracy_that_falls_from_the_first_epoch_has_diverged(splits):
    found = verdict({split: [0.9, 0.8, 0.6, 0.4, 0.2, 0.1] for split in splits})
    assert (found.label, found.curve) == ("diverged", splits[0])
    assert f"{splits[0]} was best in epoch 1, with 0.9, and is now 0.1" in found.reason


def test_what_has_lost_a_small_part_of_its_gain_has_neither_converged_nor_diverged():
    found = verdict(both([2.0, 0.5, 0.4, 0.4, *[0.6] * 8]))
    assert found.label == "cannot tell"
    assert "best in epoch 3, with 0.4, and is now 0.6" in found.reason


@pytest.mark.parametrize("step", [0.002, 0.008])
def test_a_rise_by_a_few_percent_is_stuck(step):
    assert verdict(both([1 + step * n for n in range(10)])).label == "stuck"


def test_what_is_stuck_above_its_first_epoch_is_said_to_be_worse():
    found = verdict(both([1.0, 2.5, 2.4, 2.6, 2.5, 2.5, 2.45]))
    assert found.label == "stuck"
    assert "worse by a factor of 2.5" in found.reason


def test_a_training_that_returns_to_where_it_began_is_not_called_converged():
    found = verdict(
        {  # an MLP on Fashion-MNIST at a learning rate of 1
            "train_loss": [2.09, 1.87, 1.69, 1.75, 1.75, 2.02, 2.25, 2.29, 2.06, 2.12],
            "val_loss": [2.08, 1.94, 1.91, 2.01, 2.13, 2.37, 2.30, 2.06, 1.73, 2.11],
            "val_acc": [0.21, 0.303, 0.274, 0.222, 0.158, 0.134, 0.1, 0.192, 0.264, 0.2],
        }
    )
    assert found.label == "cannot tell"
    assert "train_loss was best in epoch 3, with 1.69, and is now 2.12" in found.reason


def test_a_training_that_rises_while_validation_falls_cannot_be_told():
    rising, falling = [1 + 0.05 * n for n in range(10)], [2 * 0.9**n for n in range(10)]
    found = verdict({"train_loss": rising, "val_loss": falling})
    assert found.label == "cannot tell"
    assert "train_loss rises by" in found.reason
    assert "while val_loss falls by 10% an epoch" in found.reason


def test_a_validation_that_rises_while_training_is_stuck_cannot_be_told():
    found = verdict({"train_loss": [1.0] * 10, "val_loss": [1 + 0.1 * n for n in range(10)]})
    assert found.label == "cannot tell"
    assert "val_loss rises by" in found.reason
    assert "while train_loss is 1." in found.reason


def test_a_fall_that_becomes_steeper_is_still_improving():
    found = verdict(both([-1, -2, -30, -500, -1e4, -1e6]))
    assert found.label == "still improving"
    assert "from each of them to the next" in found.reason


def test_a_fall_in_order_that_slows_down_need_not_go_on():
    assert verdict(both([5.35, 0.134, 0.005, 2e-4, 5.21e-5, 5.12e-5])).label != "still improving"


@pytest.mark.parametrize("curve", [[1.0, 0.9, 0.5], [3.0, 4.5, 1.0, 3.0]])
def test_what_noise_hides_is_not_said_to_be_no_better(curve):
    found = verdict({"val_loss": curve})
    assert found.label == "cannot tell"
    assert "hides whether it is better than at first" in found.reason


def test_a_validation_alone_cannot_show_overfitting():
    found = verdict({"val_loss": [1.0, 0.5, 0.4, 0.42, 0.45, 0.47, 0.50, 0.53]})
    assert found.label == "cannot tell"
    assert "there is no curve of the training to tell why" in found.reason


@pytest.mark.slow
def test_swings_that_are_large_against_the_fall_are_oscillating():
    epochs = np.arange(15)
    seen = rates(
        lambda generator: {
            "train_loss": noisy(0.5 + np.exp(-epochs), 0.01, generator),
            "val_loss": noisy(0.5 + np.exp(-epochs), 0.4, generator),
        },
        num=200,
    )
    assert seen["oscillating"] > 85


@pytest.mark.slow
def test_the_same_swings_after_a_long_fall_are_a_noisy_floor():
    epochs = np.arange(15)
    seen = rates(
        lambda generator: {"val_loss": noisy(1e-5 + 10.0 ** -(2.0 * epochs), 0.4, generator)},
        num=200,
    )
    assert seen["oscillating"] == 0
    assert seen["converged"] > 85
    found = verdict({"val_loss": [9, 3e-5, 1e-5, 2.5e-5, 1.1e-5, 2e-5, 1.2e-5, 2.4e-5]})
    assert found.label == "converged"
    assert "noisy floor" in found.reason


def test_swings_that_die_away_are_not_oscillating():
    epochs = np.arange(1, 16)
    curve = 0.5 * np.exp(0.8 * (-1.0) ** epochs * 0.6**epochs)
    assert verdict({"train_loss": [2.0, *curve]}).label == "converged"


def test_alternating_values_are_oscillating():
    found = verdict({"train_loss": [2.0, 0.5, 1.1, 0.5, 1.2, 0.4, 1.1, 0.5]})
    assert found.label == "oscillating"
    # About the mean of the logarithms, the values alternate by half of log(1.1 / 0.5).
    assert found.noise > 0.5 * math.log(1.1 / 0.5) * found.level


def test_a_loss_that_does_not_move_is_stuck():
    found = verdict({"train_loss": [2.303] * 5, "val_loss": [2.302] * 5, "val_acc": [0.1] * 5})
    assert found.label == "stuck"
    assert "val_acc is 0.1" in found.reason


def test_a_loss_that_does_not_move_at_a_good_accuracy_has_converged():
    curves = {"train_loss": [0.3] * 5, "val_loss": [0.31] * 5, "val_acc": [0.9] * 5}
    assert verdict(curves).label == "converged"


def test_a_slow_but_steady_fall_is_not_stuck():
    curve = list(2.3 * 0.995 ** np.arange(10))
    assert verdict({"train_loss": curve}).label == "still improving"


def test_what_three_epochs_leave_open_is_not_called_stuck():
    assert verdict({"train_loss": [1.0, 0.85, 0.8]}).label == "cannot tell"


@pytest.mark.parametrize("label", ["val_loss", "val_f1"])
def test_what_is_nan_in_a_training_that_went_on_is_left_out(label):
    rows = [{"epoch": i, "train_loss": 1 / i, label: 1 / i} for i in range(1, 9)]
    rows[3][label] = math.nan
    history = History(rows)
    assert verdict(history).label != "diverged"
    assert len(Recorded.of(history).curves[label].ys) == 7


def test_a_metric_that_is_nan_is_no_divergence_in_a_mapping():
    assert verdict({"val_f1": [0.5, math.nan, 0.6]}).label != "diverged"
    assert verdict({"val_loss": [0.5, math.nan, 0.6]}).label != "diverged"
    assert verdict({"val_loss": [0.5, 0.6, math.nan]}).label == "diverged"


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_value_that_is_not_finite_has_diverged_at_once(wrong):
    found = verdict({"train_loss": [wrong], "val_loss": [1.0]})
    assert found.label == "diverged"
    assert "train_loss in epoch 1" in found.reason


@pytest.mark.parametrize("curve", [[2.3, 1e13], [4.3, 310, 4e6], [1.0, 1.5, 2.2, 3.2, 4.8]])
def test_a_finite_loss_that_explodes_has_diverged(curve):
    assert verdict({"train_loss": curve, "val_acc": [0.1] * len(curve)}).label == "diverged"


def test_a_validation_that_explodes_while_training_falls_is_overfitting():
    train = list(np.exp(-np.arange(12.0)))
    val = [1.0, 0.8, 0.7, 0.9, 1.3, 1.9, 2.8, 4.0, 6.0, 8.5, 11.0, 13.0]
    assert verdict({"train_loss": train, "val_loss": val}).label == "overfitting"


@pytest.mark.parametrize("num_epochs", [0, 1, 2])
def test_two_epochs_tell_nothing(num_epochs):
    found = verdict({"val_loss": [1.0, 0.5][:num_epochs], "train_loss": [1.0, 0.4][:num_epochs]})
    assert found.label == "cannot tell"
    assert str(found).startswith(f"cannot tell from {num_epochs} epoch")


def test_a_loss_that_may_be_negative_is_judged_too():
    falling = [3.0, 1.0, -1.0, -3.1, -5.0, -7.1]
    assert verdict({"train_loss": falling}).label == "still improving"


curves = st.lists(st.floats(0.01, 100), min_size=3, max_size=15)


@pytest.mark.slow
@settings(max_examples=60)
@given(curves, st.sampled_from([2.0**-20, 2.0**-3, 4.0, 2.0**30]))
def test_the_unit_of_a_loss_does_not_matter(curve, unit):
    before = verdict({"train_loss": curve, "val_loss": curve[::-1]})
    scaled = [y * unit for y in curve]
    after = verdict({"train_loss": scaled, "val_loss": scaled[::-1]})
    assert after.label == before.label


@pytest.mark.slow
@settings(max_examples=60)
@given(st.permutations(list(np.linspace(-1, 1, 9))))
def test_permuted_noise_that_is_small_changes_nothing(noise):
    small = 0.5 * np.exp(0.001 * np.array(noise))
    curve = [3.0, *small]
    assert verdict({"train_loss": curve}).label == "converged"
    falling = 3.0 * np.exp(-0.2 * np.arange(10)) * np.exp(0.01 * np.array([0, *noise]))
    assert verdict({"train_loss": list(falling)}).label == "still improving"


@pytest.mark.slow
@settings(max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from(["train_loss", "val_loss", "val_acc"]),
        st.lists(st.floats(allow_nan=True), max_size=8),
    )
)
def test_any_numbers_get_a_verdict(recorded):
    found = verdict(recorded)
    assert str(found).startswith(found.label)
    assert found.label != "diverged" or any(
        word in found.reason for word in ("NaN", "times", "was best")
    )


def test_a_verdict_shows_its_words():
    found = verdict({"train_loss": [math.nan]})
    assert repr(found) == str(found) == f"diverged: {found.reason}"


@pytest.mark.slow
def test_the_module_does_not_need_torch():
    code = "import gradbook.verdicts, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Real trainings


class Clouds(DataModule):
    """Points whose class is the largest of 3 linear functions, with some noise."""

    def __init__(self, num_train, batch_size=20, center=0):
        super().__init__()
        self.save_hyperparameters()
        W = torch.randn(20, 3)
        self.X = torch.randn(num_train + 300, 20)
        scores = self.X @ W
        self.y = (scores + 0.9 * torch.randn_like(scores)).argmax(dim=1)
        self.X += center

    def get_dataloader(self, train):
        indices = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, indices)


IN_THREE_EPOCHS = [(0.03, "still improving"), (1, "converged"), (3, "diverged")]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("lr", "label"), IN_THREE_EPOCHS)
def test_a_linear_regression_in_three_epochs(lr, label, seed):
    assert verdict(regression(lr, 3, seed)).label == label


@pytest.mark.slow
@pytest.mark.parametrize(("lr", "label"), IN_THREE_EPOCHS)
def test_a_linear_regression_with_a_layer_in_three_epochs(lr, label):
    # Its loss is not halved, so that half the rate gives the same steps.
    trainer = trained(lambda: LinearRegression(lr / 2), SyntheticRegressionData, 3, 0)
    assert verdict(trainer).label == label


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_linear_regression_at_the_limit_oscillates_or_diverges(seed):
    assert verdict(regression(2, 10, seed)).label in ("oscillating", "diverged")


@pytest.mark.slow
def test_the_floor_of_a_large_rate_is_called_noisy():
    found = verdict(regression(1, 10, 0))
    assert found.label == "converged"
    assert "noisy floor" in found.reason


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_few_examples_are_overfitted(seed):
    trainer = trained(lambda: MLP(3, 256, lr=0.3), lambda: Clouds(40), 40, seed)
    assert verdict(trainer).label == "overfitting"


@pytest.mark.parametrize("seed", range(3))
def test_a_vanishing_rate_is_stuck(seed):
    trainer = trained(lambda: MLP(3, 32, lr=1e-9), lambda: Clouds(200), 4, seed)
    assert verdict(trainer).label == "stuck"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_dead_network_is_stuck(seed):
    def dead():
        model = MLP(3, 32, lr=0.1)
        model.net(torch.zeros(1, 20))
        with torch.no_grad():
            model.net[1].bias.fill_(-100)
            model.net[-1].weight.zero_()
        return model

    assert verdict(trained(dead, lambda: Clouds(200), 8, seed)).label == "stuck"


@pytest.mark.parametrize("seed", range(3))
def test_a_moderate_rate_is_still_improving(seed):
    trainer = trained(lambda: SoftmaxRegression(3, lr=0.03), lambda: Clouds(500), 6, seed)
    assert verdict(trainer).label == "still improving"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_large_rate_oscillates(seed):
    # Features that are not centered: the loss is steep in one direction.
    trainer = trained(lambda: SoftmaxRegression(3, lr=1), lambda: Clouds(500, center=2), 10, seed)
    assert verdict(trainer).label == "oscillating"


@pytest.mark.slow
def test_a_run_in_a_folder_gets_the_verdict_of_its_training():
    trainer = trained(
        lambda: LinearRegressionScratch(2, lr=1), SyntheticRegressionData, 3, 0, run="runs"
    )
    assert verdict(load("linear-regression-scratch-1")) == verdict(trainer)


def test_a_verdict_leaves_the_training_as_it_was():
    trainer = regression(0.03, 3, 0)
    rows, points = copy.deepcopy(trainer.history.rows), copy.deepcopy(trainer.model.board.data)
    state = torch.get_rng_state()
    verdict(trainer)
    assert (trainer.history.rows, trainer.model.board.data) == (rows, points)
    assert torch.equal(torch.get_rng_state(), state)


# Rates that docs/verdicts.md tells


def counted(make, num=150):
    """How many of `num` curves get each label; printed, for who wants to see them."""
    generator = np.random.default_rng(11)
    counts = Counter(verdict(make(generator)).label for _ in range(num))
    print(dict(counts))
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("num_epochs", [8, 10, 12, 20, 30, 50])
def test_a_best_that_is_left_in_the_last_fifth_is_not_called_converged(num_epochs):
    x, best = np.arange(1, num_epochs + 1), 0.8 * num_epochs
    down = np.where(x < best, np.exp(-5 * x / best) - math.exp(-5), 0)
    val = 0.5 * (1 + down) * (1 + 0.2 * np.maximum(0, x - best) / (num_epochs - best))
    counts = counted(
        lambda generator: {
            "train_loss": noisy(np.exp(-3 * x / num_epochs), 0.02, generator),
            "val_loss": noisy(val, 0.02, generator),
        }
    )
    assert counts["converged"] < 0.02 * 150


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ([0.8, 0.4, 0.2, 0.1, 0.05, 0.02], [0.9, 0.6, 0.5, 0.5, 0.75, 1.1]),
        ([0.6, 0.4, 0.3], [0.76, 1.1, 1.47]),
    ],
)
def test_a_validation_that_doubles_at_its_end_is_not_called_converged(train, val):
    found = verdict({"train_loss": train, "val_loss": val})
    assert found.label in ("overfitting", "cannot tell")


@pytest.mark.slow
@pytest.mark.parametrize("num_epochs", [5, 6, 8, 10, 20, 60])
def test_one_spike_is_named_and_is_not_oscillating(num_epochs):
    places = []

    def make(generator):
        curve = np.array([2.0] + [0.5] * (num_epochs - 1))
        places.append(int(generator.integers(1, num_epochs)))
        curve[places[-1]] *= 10
        return {
            "train_loss": noisy(np.full(num_epochs, 0.4), 0.02, generator),
            "val_loss": noisy(curve, 0.02, generator),
        }

    counts = counted(make)
    assert counts["oscillating"] == 0
    found = verdict({"train_loss": [2.0, *[0.4] * 9], "val_loss": [2.0, *[0.5] * 6, 5, 0.5, 0.5]})
    assert found.label == "converged"
    assert found.reason.endswith("val_loss has a spike of 5 in epoch 8, and is judged without it.")


def test_many_spikes_are_counted_and_not_named():
    places = (35, 41, 47, 53)
    val_loss = [2.0, *[5 if epoch in places else 0.5 for epoch in range(2, 61)]]
    found = verdict({"train_loss": [2.0, *[0.4] * 59], "val_loss": val_loss})
    assert "val_loss has 4 spikes from epoch 35 to epoch 53, and is judged" in found.reason


def test_a_jump_in_the_last_epoch_leaves_open_what_follows():
    found = verdict(both([2.0, *[0.5] * 8, 5.0]))
    assert found.label == "cannot tell"
    assert "5 in epoch 10" in found.reason


def test_two_spikes_are_named_where_there_are_enough_epochs():
    curve = [2.0, *[0.5] * 5, 5.0, *[0.5] * 5, 4.0, *[0.5] * 3]
    found = verdict(both(curve))
    assert found.label == "converged"
    assert "5 in epoch 7 and 4 in epoch 13" in found.reason


@pytest.mark.slow
@pytest.mark.parametrize("size", [0.005, 0.02])
@pytest.mark.parametrize("num_epochs", [6, 8, 10, 20, 60])
def test_a_step_of_a_schedule_with_a_level_after_it_is_not_still_improving(num_epochs, size):
    curve = np.where(np.arange(1, num_epochs + 1) <= 0.6 * num_epochs, 1.0, 0.5)
    counts = counted(
        lambda generator: {
            "train_loss": noisy(curve, size, generator),
            "val_loss": noisy(1.1 * curve, size, generator),
        }
    )
    assert counts["still improving"] < 0.05 * 150
    assert counts["oscillating"] < 0.02 * 150


def test_a_tiny_loss_by_luck_is_no_best_that_was_left():
    generator = np.random.default_rng(0)
    val = generator.uniform(0, 1, 400) + 1e-3
    val[50] = 1e-9
    train = list(np.exp(-np.arange(400) / 100))
    assert verdict({"train_loss": train, "val_loss": list(val)}).label != "overfitting"


def at_chance(num_classes, losses, accuracy=0.1):
    rows = [
        {"epoch": n, "train_loss": y, "val_loss": y, "val_acc": accuracy}
        for n, y in enumerate(losses, 1)
    ]
    history = History(rows)
    history.num_classes, history.lr = num_classes, 100.0
    return verdict(history)


WILD = [900.0, 4.0, 2.6, 3.9, 2.5, 4.1, 2.4, 3.8]


def test_a_classifier_that_guesses_is_stuck_and_is_told_what_to_try():
    found = at_chance(10, WILD)
    assert found.label == "stuck"
    assert "guessing among 10 classes gives 0.1" in found.reason
    assert "try a tenth of the learning rate: 10 instead of 100" in found.reason


def test_an_accuracy_is_by_chance_only_for_its_number_of_classes():
    assert "guessing" not in at_chance(100, WILD, accuracy=0.1).reason
    assert "the same answers" in at_chance(None, WILD).reason


def test_labels_known_by_heart_are_not_nothing_learned():
    rows = [
        {"epoch": n, "train_loss": 2.3 * 0.5**n, "val_loss": 2.3 + 0.3 * n, "val_acc": 0.1}
        for n in range(1, 11)
    ]
    history = History(rows)
    history.num_classes = 10
    assert verdict(history).label == "overfitting"


@pytest.mark.slow
def test_a_run_knows_the_number_of_classes_of_a_network_of_ones_own():
    trainer = trained(lambda: MLP(3, 32, lr=1e-9), lambda: Clouds(200), 4, 0, run="runs")
    assert trainer.history.num_classes == 3
    assert verdict(load("mlp-1")) == verdict(trainer)


def test_few_epochs_are_said_to_tell_almost_nothing():
    found = verdict(regression(0.03, 3, 0))
    assert found.label == "still improving"
    assert found.reason.endswith("3 epochs tell almost nothing: train longer to be sure of it.")


# Words


def test_an_accuracy_does_not_fall_to_its_level():
    found = verdict({"val_acc": [0.1, 0.5, 0.7, 0.8, 0.85, 0.88, 0.89, 0.895, 0.897, 0.898]})
    assert found.label == "converged"
    assert "val_acc went from 0.1 to 0.895, and hardly improves any more" in found.reason


def test_a_loss_of_zero_in_every_epoch_is_no_improvement():
    found = verdict({"val_loss": [0.0] * 10})
    assert found.label == "stuck"
    assert "which is no improvement of 2% or more" in found.reason


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ([math.nan] * 10, "still improving"),
        ([0.9, 0.8, math.nan, *[0.7 * 0.9**n for n in range(7)]], "still improving"),
        ([0.9, 0.8, 0.7, 0.6, 0.5, *[math.nan] * 5], "diverged"),
    ],
)
def test_a_validation_loss_of_a_mapping_has_diverged_if_it_was_lost_for_good(values, label):
    falling = [0.9**n for n in range(10)]
    assert verdict({"train_loss": falling, "val_loss": values}).label == label


def test_a_number_that_no_float_can_hold_is_refused():
    with pytest.raises(ConfigError, match="'val_loss' holds a whole number that no float"):
        verdict({"val_loss": [10**400, 1]})
