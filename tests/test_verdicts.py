"""What learning curves say in words: synthetic curves, real trainings, settings compared."""

import copy
import math
import subprocess
import sys
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradbook.data import DataModule
from gradbook.datasets import SyntheticRegressionData
from gradbook.errors import ConfigError, DivergenceWarning
from gradbook.models import MLP, LinearRegression, LinearRegressionScratch, SoftmaxRegression
from gradbook.record import History
from gradbook.runs import load
from gradbook.seeds import seed_everything
from gradbook.trainer import Trainer
from gradbook.verdicts import compare_settings, t_quantile, t_test, verdict

#: What errs 5 times in 100 is seen to err at most so often, in percent, in so many simulations:
#: three standard deviations more.
NUM = 800
SEEN = 5 + 3 * math.sqrt(5 * 95 / NUM)


def rates(make, num=NUM):
    """How many percent of the curves that `make(generator)` gives get each label."""
    generator = np.random.default_rng(7)
    counts = Counter(verdict(make(generator)).label for _ in range(num))
    return Counter({label: 100 * count / num for label, count in counts.items()})


def noisy(values, size, generator):
    """A curve times lognormal noise."""
    return list(np.asarray(values) * np.exp(size * generator.standard_normal(len(values))))


# Synthetic curves


@pytest.mark.parametrize("num_epochs", [4, 6, 10, 30])
@pytest.mark.parametrize("size", [0.005, 0.05, 0.3])
def test_noise_about_a_level_neither_improves_nor_overfits(num_epochs, size):
    level = np.full(num_epochs, 0.7)
    seen = rates(
        lambda generator: {
            "train_loss": noisy(level, size, generator),
            "val_loss": noisy(level, size, generator),
        }
    )
    assert seen["still improving"] + seen["overfitting"] <= SEEN
    assert seen["diverged"] <= 1


@pytest.mark.parametrize("num_epochs", [5, 8, 10, 30])
@pytest.mark.parametrize("size", [0.005, 0.05, 0.15])
def test_noise_after_a_fall_neither_improves_nor_overfits(num_epochs, size):
    curve = np.array([2.3] + [0.5] * (num_epochs - 1))
    seen = rates(
        lambda generator: {
            "train_loss": noisy(curve, size, generator),
            "val_loss": noisy(curve, size, generator),
        }
    )
    assert seen["still improving"] + seen["overfitting"] <= SEEN
    if size < 0.1:
        assert seen["converged"] > 85


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


def test_a_validation_that_rises_with_the_training_is_not_overfitting():
    rising = [1.0, 0.5, 0.4, 0.42, 0.45, 0.47, 0.50, 0.53]
    assert verdict({"train_loss": rising, "val_loss": rising}).label == "oscillating"


def test_a_validation_alone_cannot_show_overfitting():
    found = verdict({"val_loss": [1.0, 0.5, 0.4, 0.42, 0.45, 0.47, 0.50, 0.53]})
    assert found.label == "cannot tell"
    assert "no training loss falls" in found.reason


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


def test_a_loss_that_may_be_negative_is_judged_too():
    falling = [3.0, 1.0, -1.0, -3.1, -5.0, -7.1]
    assert verdict({"train_loss": falling}).label == "still improving"


def test_values_whose_name_does_not_tell_what_is_better_are_not_judged():
    found = verdict({"val_size": [1.0, 2.0, 3.0]})
    assert found.label == "cannot tell"
    assert "val_size" in found.reason


def test_validation_in_every_second_epoch_is_no_divergence():
    rows = [{"epoch": n, "train_loss": 2 * 0.5**n} for n in range(1, 9)]
    for row in rows[1::2]:
        row["val_loss"] = row["train_loss"] * 1.1
    assert verdict(History(rows)).label == "still improving"


def test_the_numbers_are_those_of_the_line_through_the_final_phase():
    rng = np.random.default_rng(0)
    curve = 0.5 * np.exp(-0.1 * np.arange(12) + 0.01 * rng.standard_normal(12))
    found = verdict({"train_loss": list(curve)})
    last, x = np.log(curve[6:]), np.arange(6)
    slope, intercept = np.polyfit(x, last, 1)
    residuals = last - slope * x - intercept
    noise = math.sqrt(residuals @ residuals / 4)
    assert (found.epochs, found.curve, found.start) == (12, "train_loss", curve[0])
    assert found.level == pytest.approx(np.median(curve[6:]))
    assert found.slope == pytest.approx(slope * found.level)
    assert found.noise == pytest.approx(noise * found.level)
    t = slope / (noise / math.sqrt(((x - x.mean()) ** 2).sum()))
    assert found.p_value == pytest.approx(closed_form(t, 4), abs=1e-12)


curves = st.lists(st.floats(0.01, 100), min_size=3, max_size=15)


@settings(max_examples=60, deadline=None)
@given(curves, st.sampled_from([2.0**-20, 2.0**-3, 4.0, 2.0**30]))
def test_the_unit_of_a_loss_does_not_matter(curve, unit):
    before = verdict({"train_loss": curve, "val_loss": curve[::-1]})
    scaled = [y * unit for y in curve]
    after = verdict({"train_loss": scaled, "val_loss": scaled[::-1]})
    assert after.label == before.label


@settings(max_examples=60, deadline=None)
@given(st.permutations(list(np.linspace(-1, 1, 9))))
def test_permuted_noise_that_is_small_changes_nothing(noise):
    small = 0.5 * np.exp(0.001 * np.array(noise))
    curve = [3.0, *small]
    assert verdict({"train_loss": curve}).label == "converged"
    falling = 3.0 * np.exp(-0.2 * np.arange(10)) * np.exp(0.01 * np.array([0, *noise]))
    assert verdict({"train_loss": list(falling)}).label == "still improving"


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["train_loss", "val_loss", "val_acc"]),
        st.lists(st.floats(allow_nan=True), max_size=8),
    )
)
def test_any_numbers_get_a_verdict(recorded):
    found = verdict(recorded)
    assert str(found).startswith(found.label)
    assert found.label != "diverged" or "NaN" in found.reason or "times" in found.reason


# What is taken


@pytest.mark.parametrize("wrong", [3, "runs", None, Trainer(1)])
def test_what_is_no_training_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"A verdict needs a training: .* but got"):
        verdict(wrong)


@pytest.mark.parametrize("wrong", [0.5, "abc", ["a"], [True], [None]])
def test_a_curve_of_other_things_than_numbers_is_refused(wrong):
    with pytest.raises(ConfigError, match="'val_loss' must be a list of numbers"):
        verdict({"val_loss": wrong})


def test_a_verdict_shows_its_words():
    found = verdict({"train_loss": [math.nan]})
    assert repr(found) == str(found) == f"diverged: {found.reason}"


def test_the_module_does_not_need_torch():
    code = "import gradbook.verdicts, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Real trainings


class Clouds(DataModule):
    """Points whose class is the largest of 3 linear functions, with some noise."""

    def __init__(self, num_train, batch_size=20, centre=0):
        super().__init__()
        self.save_hyperparameters()
        W = torch.randn(20, 3)
        self.X = torch.randn(num_train + 300, 20)
        scores = self.X @ W
        self.y = (scores + 0.9 * torch.randn_like(scores)).argmax(dim=1)
        self.X += centre

    def get_dataloader(self, train):
        indices = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, indices)


def trained(make_model, make_data, num_epochs, seed, **settings):
    seed_everything(seed)
    trainer = Trainer(num_epochs, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        trainer.fit(make_model(), make_data())
    return trainer


def regression(lr, num_epochs, seed):
    return trained(
        lambda: LinearRegressionScratch(2, lr), SyntheticRegressionData, num_epochs, seed
    )


IN_THREE_EPOCHS = [(0.03, "still improving"), (1, "converged"), (3, "diverged")]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("lr", "label"), IN_THREE_EPOCHS)
def test_a_linear_regression_in_three_epochs(lr, label, seed):
    assert verdict(regression(lr, 3, seed)).label == label


@pytest.mark.parametrize(("lr", "label"), IN_THREE_EPOCHS)
def test_a_linear_regression_with_a_layer_in_three_epochs(lr, label):
    # Its loss is not halved, so that half the rate gives the same steps.
    trainer = trained(lambda: LinearRegression(lr / 2), SyntheticRegressionData, 3, 0)
    assert verdict(trainer).label == label


@pytest.mark.parametrize("seed", range(4))
def test_a_linear_regression_at_the_limit_oscillates_or_diverges(seed):
    assert verdict(regression(2, 10, seed)).label in ("oscillating", "diverged")


def test_the_floor_of_a_large_rate_is_called_noisy():
    found = verdict(regression(1, 10, 0))
    assert found.label == "converged"
    assert "noisy floor" in found.reason


def test_points_are_looked_at_where_epochs_are_few():
    trainer = regression(1, 3, 0)
    assert verdict(trainer).label == "converged"
    assert verdict(trainer.history).label == "cannot tell"


@pytest.mark.parametrize("seed", range(3))
def test_few_examples_are_overfitted(seed):
    trainer = trained(lambda: MLP(3, 256, lr=0.3), lambda: Clouds(40), 40, seed)
    assert verdict(trainer).label == "overfitting"


@pytest.mark.parametrize("seed", range(3))
def test_a_vanishing_rate_is_stuck(seed):
    trainer = trained(lambda: MLP(3, 32, lr=1e-9), lambda: Clouds(200), 4, seed)
    assert verdict(trainer).label == "stuck"


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


@pytest.mark.parametrize("seed", range(3))
def test_a_large_rate_oscillates(seed):
    # Features that are not centred: the loss is steep in one direction.
    trainer = trained(lambda: SoftmaxRegression(3, lr=1), lambda: Clouds(500, centre=2), 10, seed)
    assert verdict(trainer).label == "oscillating"


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


# Settings compared


def told_apart(draw, counts, scale=1, **options):
    """How many percent of simulated ties are told apart."""
    wrong = 0
    for _ in range(NUM):
        found = compare_settings(draw(counts[0]), scale * draw(counts[1]), "val_loss", **options)
        wrong += found.better is not None
    return 100 * wrong / NUM


SHAPES = ["standard_normal", "random", "standard_exponential"]


@pytest.mark.parametrize("counts", [(2, 2), (3, 3), (10, 10), (3, 10)])
@pytest.mark.parametrize("shape", SHAPES)
def test_ties_are_seldom_told_apart(counts, shape):
    draw = getattr(np.random.default_rng(3), shape)
    assert told_apart(draw, counts) <= SEEN


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_ties_in_pairs_are_seldom_told_apart(count, shape):
    draw = getattr(np.random.default_rng(3), shape)
    assert told_apart(draw, (count, count), paired=True) <= SEEN


@pytest.mark.parametrize("counts", [(3, 3), (10, 10), (3, 10), (10, 3)])
def test_ties_of_settings_that_spread_differently_are_seldom_told_apart(counts):
    draw = np.random.default_rng(3).standard_normal
    assert told_apart(draw, counts, scale=4) <= SEEN


def test_the_level_can_be_chosen():
    draw = np.random.default_rng(4).standard_normal
    assert 24 < told_apart(draw, (4, 4), alpha=0.3, paired=True) < 36


def test_a_large_difference_is_found():
    found = compare_settings([0.84, 0.845, 0.842], [0.80, 0.801, 0.804], "val_acc")
    assert found.better == "a"
    assert found.p_value < 0.05
    low, high = found.interval
    assert low < found.difference < high
    assert found.difference == pytest.approx(0.842333 - 0.801667, abs=1e-5)
    assert low > 0


def test_the_words_name_the_settings():
    found = compare_settings(
        [0.80, 0.801, 0.804], [0.84, 0.845, 0.842], "val_acc", names=(0.1, 0.3)
    )
    assert str(found).startswith("0.3 is better than 0.1 by 0.041 ± 0.0")
    assert str(found).endswith("(95% interval) in val_acc over 3 seeds.")


def test_of_losses_the_lower_is_better():
    found = compare_settings([1.0, 1.1, 1.05], [2.0, 2.1, 2.2], "val_loss")
    assert (found.better, found.difference < 0) == ("a", True)


def test_a_difference_that_the_spread_hides_is_not_told():
    found = compare_settings([0.80, 0.86, 0.83], [0.82, 0.85, 0.81], "val_acc")
    assert found.better is None
    assert "the seeds' spread hides any difference up to" in found.reason


def test_the_interval_is_that_of_the_formula():
    a, b = np.array([1.0, 2.0, 4.0]), np.array([3.0, 5.0, 6.0])
    found = compare_settings(a, b, "val_loss")
    # Welch's formula, and the quantile of Student's t from the closed form below.
    va, vb = a.var(ddof=1) / 3, b.var(ddof=1) / 3
    freedom = (va + vb) ** 2 / (va**2 / 2 + vb**2 / 2)
    half = found.interval[1] - found.difference
    assert t_test(half / math.sqrt(va + vb), freedom) == pytest.approx(0.05)
    assert found.p_value == pytest.approx(t_test((7 - 14) / 3 / math.sqrt(va + vb), freedom))


def test_pairs_show_what_the_spread_between_seeds_hides():
    a, b = [1.0, 2.0, 3.0], [1.1, 2.1, 3.102]
    assert compare_settings(a, b, "val_loss").better is None
    found = compare_settings(a, b, "val_loss", paired=True)
    assert found.better == "a"
    assert "over 3 pairs of seeds" in found.reason


def test_one_seed_cannot_tell():
    found = compare_settings([0.9], [0.1], "val_acc")
    assert (found.better, found.interval, found.p_value) == (None, None, None)
    assert found.reason.startswith("cannot tell from one seed:")


def test_seeds_without_any_spread_cannot_tell():
    found = compare_settings([0.9, 0.9], [0.1, 0.1], "val_acc")
    assert found.better is None
    assert "Were they different seeds?" in found.reason


def test_trainings_that_diverged_are_counted_and_left_out():
    found = compare_settings([0.84, 0.85, math.nan], [0.3, 0.31, 0.32], "val_acc")
    assert found.better == "a"
    assert found.reason.endswith("; left out: 1 of 3 seeds of a diverged.")
    assert found.difference == pytest.approx(0.845 - 0.31)


def test_a_pair_that_lost_one_is_left_out():
    found = compare_settings([1.0, 2.0, 3.0], [math.inf, 2.5, 3.51], "val_loss", paired=True)
    assert found.difference == pytest.approx(-0.505)


def test_where_all_diverged_there_is_nothing_to_compare():
    found = compare_settings([0.84, 0.85], [math.nan] * 2, "val_acc")
    assert (found.better, found.difference) == (None, None)
    assert "2 of 2 seeds of b diverged" in found.reason


def test_a_finite_explosion_counts_as_diverged():
    exploded = {"train_loss": [1.0, 1e9], "val_loss": [1.0, 1e9]}
    good = {"train_loss": [1.0, 0.5], "val_loss": [1.0, 0.5]}
    found = compare_settings([exploded, good], [good, good])
    assert "1 of 2 seeds of a diverged" in found.reason


def test_trainings_are_compared_by_their_headline():
    a = [regression(0.03, 2, seed) for seed in range(3)]
    b = [regression(0.3, 2, seed).history for seed in range(3)]
    found = compare_settings(a, b, names=("0.03", "0.3"))
    assert (found.label, found.better) == ("val_loss", "b")
    means = [np.mean([h["val_loss"][-1] for h in group]) for group in ([t.history for t in a], b)]
    assert found.difference == pytest.approx(means[0] - means[1])


def test_numbers_need_a_label():
    with pytest.raises(ConfigError, match='label="val_loss" or label="val_acc"'):
        compare_settings([1.0], [2.0])


def test_a_label_that_was_not_recorded_is_refused():
    training = {"val_loss": [1.0, 0.5]}
    with pytest.raises(ConfigError, match=r"'val_los_loss' was not recorded .* Did you mean"):
        compare_settings([training], [training], "val_los_loss")


def test_a_label_that_does_not_tell_which_is_better_is_refused():
    with pytest.raises(ConfigError, match="'val_size' does not tell"):
        compare_settings([1.0], [2.0], "val_size")


@pytest.mark.parametrize("counts", [(0, 1), (1, 0)])
def test_a_setting_without_trainings_is_refused(counts):
    with pytest.raises(ConfigError, match=f"there are {counts[0]} and {counts[1]}"):
        compare_settings([1.0] * counts[0], [1.0] * counts[1], "val_loss")


def test_pairs_must_be_complete():
    with pytest.raises(ConfigError, match="there are 1 and 2"):
        compare_settings([1.0], [1.0, 2.0], "val_loss", paired=True)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, math.nan])
def test_a_level_outside_0_to_1_is_refused(alpha):
    with pytest.raises(ConfigError, match="alpha must be between 0 and 1"):
        compare_settings([1.0], [2.0], "val_loss", alpha=alpha)


# Student's t distribution


def closed_form(t, freedom):
    """The two-sided p-value for 1, 2 and 4 degrees of freedom (Abramowitz and Stegun, 26.7)."""
    t = abs(t)
    sine = t / math.sqrt(freedom + t * t)
    if freedom == 1:
        return 1 - 2 / math.pi * math.atan(t)
    return 1 - sine if freedom == 2 else 1 - sine * (1 + (1 - sine**2) / 2)


@pytest.mark.parametrize("freedom", [1, 2, 4])
@pytest.mark.parametrize("t", [0, 0.1, -1, 2.5, 12.7, 100])
def test_a_p_value_is_that_of_the_closed_form(t, freedom):
    assert t_test(t, freedom) == pytest.approx(closed_form(t, freedom), abs=1e-12)


@pytest.mark.parametrize(
    ("p_value", "freedom", "t"),
    [
        (0.05, 1, 12.706),
        (0.05, 2, 4.303),
        (0.05, 3, 3.182),
        (0.05, 4, 2.776),
        (0.05, 10, 2.228),
        (0.05, 30, 2.042),
        (0.05, 120, 1.980),
        (0.1, 5, 2.015),
        (0.01, 2, 9.925),
        (0.01, 8, 3.355),
        (0.001, 3, 12.924),
        (0.001, 20, 3.850),
    ],
)
def test_a_quantile_is_that_of_the_tables(p_value, freedom, t):
    assert t_quantile(p_value, freedom) == pytest.approx(t, abs=6e-4)


@pytest.mark.parametrize("freedom", [1.5, 2.7, 7.3])
def test_degrees_of_freedom_need_not_be_whole(freedom):
    x = np.linspace(1.7, 4000, 4_000_001)
    density = (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    norm = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    norm /= math.sqrt(freedom * math.pi)
    tail = 4000**-freedom * freedom ** ((freedom + 1) / 2) / freedom  # beyond the grid
    expected = 2 * norm * (np.trapezoid(density, x) + tail)
    assert t_test(1.7, freedom) == pytest.approx(expected, rel=1e-5)


def test_many_degrees_of_freedom_are_the_normal_distribution():
    assert t_test(1.5, 1e6) == pytest.approx(math.erfc(1.5 / math.sqrt(2)), rel=1e-5)
