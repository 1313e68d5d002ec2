"""Settings compared: simulated ties and differences, pairs, lost seeds."""

import math

import numpy as np
import pytest
import torch
from tests.verdicts.trainings import regression

from gradbook.errors import ConfigError
from gradbook.verdicts import compare_settings
from gradbook.verdicts.student_t import t_test

NUM = 800


def seen(percent):
    """What errs so often is seen to err at most so often in NUM simulations: 3 deviations more."""
    return percent + 3 * math.sqrt(percent * (100 - percent) / NUM)


SEEN = seen(5)


def told_apart(draw, counts, scale=1, **options):
    """How many percent of simulated ties are told apart."""
    wrong = 0
    for _ in range(NUM):
        found = compare_settings(draw(counts[0]), scale * draw(counts[1]), "val_loss", **options)
        wrong += found.better is not None
    print(f"{counts} seeds, {scale} times the spread: {wrong} of {NUM} ties told apart")
    return 100 * wrong / NUM


SHAPES = ["standard_normal", "random", "standard_exponential"]


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(2, 2), (3, 3), (10, 10), (3, 10)])
@pytest.mark.parametrize("shape", SHAPES)
def test_ties_are_seldom_told_apart(counts, shape):
    draw = getattr(np.random.default_rng(3), shape)
    assert told_apart(draw, counts) <= SEEN


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_ties_in_pairs_are_seldom_told_apart(count, shape):
    draw = getattr(np.random.default_rng(3), shape)
    assert told_apart(draw, (count, count), paired=True) <= SEEN


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(3, 3), (10, 10), (3, 10), (10, 3)])
def test_ties_of_settings_that_spread_differently_are_seldom_told_apart(counts):
    draw = np.random.default_rng(3).standard_normal
    assert told_apart(draw, counts, scale=4) <= SEEN


#: Values of each shape with the mean 0, so that a scale leaves a tie a tie; and the most ties that
#: docs/verdicts.md says are told apart, in percent: of equal spread, and of three times the spread.
CENTERED = {
    "normal": (lambda rng, n: rng.standard_normal(n), 5, 5),
    "heavy tails": (lambda rng, n: rng.standard_t(3, n), 5, 5),
    "uniform": (lambda rng, n: rng.random(n) - 0.5, 6, 8),
    "exponential": (lambda rng, n: rng.standard_exponential(n) - 1, 4, 10),
    "lognormal": (lambda rng, n: rng.lognormal(size=n) - math.exp(0.5), 3, 13),
}
COUNTS = [(2, 2), (3, 3), (5, 5), (10, 10), (3, 10), (10, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("shape", CENTERED)
def test_ties_are_told_apart_as_seldom_as_the_docs_say(shape):
    draw, equal, unequal = CENTERED[shape]
    for scale, most in ((1, equal), (3, unequal)):
        for counts in COUNTS:
            rng = np.random.default_rng(6)
            assert told_apart(lambda n, rng=rng: draw(rng, n), counts, scale) <= seen(most)


@pytest.mark.slow
@pytest.mark.parametrize("shape", CENTERED)
def test_ties_in_pairs_are_told_apart_as_seldom_as_the_docs_say(shape):
    draw, equal, unequal = CENTERED[shape]
    for scale, most in ((1, equal), (3, unequal)):
        for count in (2, 3, 5, 10):
            rng = np.random.default_rng(7)
            counts = (count, count)
            rate = told_apart(lambda n, rng=rng: draw(rng, n), counts, scale, paired=True)
            assert rate <= seen(most)


@pytest.mark.slow
def test_skewed_values_of_unequal_spread_break_the_assumption():
    draw, _, _ = CENTERED["lognormal"]
    rng = np.random.default_rng(8)
    assert 9 < told_apart(lambda n: draw(rng, n), (5, 5), 3) < 17
    assert told_apart(lambda n: draw(rng, n), (5, 5), 3, alpha=0.01) <= seen(6)


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
    assert "which may be no difference at all" in found.reason


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


def test_a_loss_that_rises_by_little_is_not_left_out():
    rising = {"train_loss": [2, 1, 0.5, 0.3, 0.4, 0.6, 0.8, 1, 1.2, 1.4]}
    good = {"train_loss": [1.0, 0.5]}
    found = compare_settings([rising, rising], [good, good])
    assert found.difference == pytest.approx(0.9)


@pytest.mark.parametrize("exponent", [-1000, -600, 600, 1000])
@pytest.mark.parametrize("paired", [False, True])
def test_values_may_be_as_large_or_small_as_floats_are(exponent, paired):
    a, b, unit = np.array([1.0, 2.0, 4.0]), np.array([3.0, 5.0, 5.5]), 2.0**exponent
    found = compare_settings(unit * a, unit * b, "val_loss", paired=paired)
    same = compare_settings(a, b, "val_loss", paired=paired)
    assert (found.p_value, found.better) == (same.p_value, same.better)
    assert found.difference == unit * same.difference
    assert found.interval == tuple(unit * end for end in same.interval)


def test_large_and_small_values_are_compared_without_nan():
    found = compare_settings([1e200, 1.1e200, 1.2e200], [1e-200, 1.1e-200, 1.3e-200], "val_loss")
    assert found.better == "b"
    assert str(found).startswith("b is better than a by 1.1e+200 ± 2.5e+199")


def test_rounding_is_no_spread_of_seeds():
    for paired, a, b in [(False, [0.1] * 3, [0.2] * 3), (True, [1.0, 1.1, 1.2], [0.9, 1.0, 1.1])]:
        assert compare_settings(a, b, "val_loss", paired=paired).better is None


@pytest.mark.parametrize("read", [torch.tensor, np.array, lambda ys: [torch.tensor(y) for y in ys]])
def test_final_values_may_be_tensors_or_arrays(read):
    a, b = [1.0, 1.125, 1.25], [2.0, 2.25, 2.5]
    assert compare_settings(read(a), read(b), "val_loss") == compare_settings(a, b, "val_loss")


def test_a_name_does_not_reach_the_terminal_raw():
    found = compare_settings([1.0, 1.1], [2.0, 2.2], "val_loss", names=("a\x1b[31m", "b\n"))
    assert str(found).startswith(r"a\x1b[31m is better than b\n by")


@pytest.mark.parametrize("names", [("a",), ("a", "b", "c"), "ab", None])
def test_there_must_be_a_name_for_each_setting(names):
    with pytest.raises(ConfigError, match="names must be two"):
        compare_settings([1.0], [2.0], "val_loss", names=names)


@pytest.mark.parametrize("wrong", [0.5, "val_loss", {"val_loss": [1.0, 0.5]}, torch.tensor(0.5)])
def test_one_training_that_is_not_in_a_list_is_refused(wrong):
    with pytest.raises(ConfigError, match="a list of its trainings"):
        compare_settings([1.0], wrong, "val_loss")


@pytest.mark.slow
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
