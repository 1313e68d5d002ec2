"""The best epoch so far, and when patience ends."""

import math
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradbook.errors import ConfigError, IgnoredSettingWarning
from gradbook.stopping import BestSoFar


def watch(values, label="val_loss", monitor=None, mode="auto", min_delta=0.0, patience=None):
    """What a `BestSoFar` says of each epoch, and the `BestSoFar`."""
    best = BestSoFar(monitor, mode, min_delta, patience)
    return best, [best.update({"epoch": i, label: v}) for i, v in enumerate(values, start=1)]


def test_before_an_epoch_there_is_no_best_one():
    best = BestSoFar(None, "auto", 0.0, 1)
    assert (best.value, best.epoch, best.waited, best.is_spent) == (None, None, 0, False)


def test_the_lowest_loss_is_the_best():
    best, better = watch([3.0, 1.0, 2.0, 0.5])
    assert better == [True, True, False, True]
    assert (best.value, best.epoch) == (0.5, 4)


def test_the_highest_accuracy_is_the_best():
    best, better = watch([0.3, 0.9, 0.5], "val_acc")
    assert better == [True, True, False]
    assert (best.value, best.epoch) == (0.9, 2)


@pytest.mark.parametrize(("mode", "epoch"), [("min", 2), ("max", 3)])
@pytest.mark.parametrize("label", ["val_acc", "val_loss"])
def test_the_mode_decides_whatever_the_label(mode, epoch, label):
    assert watch([2.0, 1.0, 3.0], label, mode=mode)[0].epoch == epoch


def test_an_equal_value_is_not_better():
    assert watch([1.0, 1.0])[1] == [True, False]


def test_a_gain_counts_only_above_min_delta():
    _, better = watch([1.0, 0.75, 0.5, 0.4], min_delta=0.25)
    assert better == [True, False, True, False]


@pytest.mark.slow
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_without_min_delta_the_best_is_the_first_minimum(values):
    best, _ = watch(values)
    assert best.value == min(values)
    assert best.epoch == values.index(min(values)) + 1


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_never_the_best(wrong):
    best, better = watch([wrong, 1.0, wrong], mode="min")
    assert better == [False, True, False]
    assert (best.value, best.waited) == (1.0, 1)


# What is watched


def test_the_validation_accuracy_is_watched_first():
    best = BestSoFar(None, "auto", 0.0, None)
    best.update({"epoch": 1, "train_loss": 1.0, "val_acc": 2.0, "val_loss": 3.0, "lr": 4.0})
    assert (best.label, best.value) == ("val_acc", 2.0)


def test_the_validation_loss_is_watched_where_there_is_no_accuracy():
    best = BestSoFar(None, "auto", 0.0, None)
    best.update({"epoch": 1, "train_loss": 1.0, "val_loss": 3.0})
    assert best.label == "val_loss"


def test_the_training_accuracy_is_watched_where_there_is_no_validation():
    best = BestSoFar(None, "auto", 0.0, None)
    best.update({"epoch": 1, "train_acc": 1.0, "train_loss": 2.0})
    assert best.value == 1.0


def test_without_a_loss_the_first_label_is_watched():
    best = BestSoFar(None, "auto", 0.0, None)
    best.update({"epoch": 1, "val_acc": 1.0, "val_bleu": 2.0})
    assert best.value == 1.0


def test_what_is_asked_for_is_watched():
    best = BestSoFar("val_acc", "auto", 0.0, None)
    best.update({"epoch": 1, "val_loss": 3.0, "val_acc": 0.5})
    assert best.value == 0.5


def test_the_learning_rate_makes_no_epoch_the_best():
    best = BestSoFar(None, "auto", 0.0, None)
    assert not best.update({"epoch": 1, "lr": 0.1})
    assert best.value is None


@pytest.mark.parametrize("label", ["val_accuracy", "val_f1", "epoch_auc"])
def test_a_score_is_the_better_the_higher(label):
    best, _ = watch([0.5, 0.9, 0.6], label, monitor=label)
    assert best.epoch == 2


def test_a_name_that_does_not_tell_which_way_is_better_is_refused():
    with pytest.raises(ConfigError, match=r"monitor='val_x' does not tell .*mode=\"max\" or mode"):
        BestSoFar("val_x", "auto", 0.0, None)
    assert watch([1.0, 2.0], "val_x", monitor="val_x", mode="max")[0].epoch == 2


# Patience


def test_patience_ends_after_so_many_epochs_without_a_better_one():
    best, _ = watch([1.0, 2.0], patience=2)
    assert not best.is_spent
    best.update({"epoch": 3, "val_loss": 3.0})
    assert best.is_spent


def test_a_better_epoch_renews_the_patience():
    best, _ = watch([1.0, 2.0, 0.5, 2.0], patience=2)
    assert (best.waited, best.is_spent) == (1, False)


def test_without_patience_nothing_is_spent():
    assert not watch([1.0] * 50)[0].is_spent


def test_epochs_that_are_not_finite_use_up_the_patience():
    assert watch([math.nan] * 2, patience=2)[0].is_spent


# Labels that are not recorded


def test_a_label_that_is_not_recorded_is_reported_once():
    best = BestSoFar("vall_acc", "auto", 0.0, 1)
    with pytest.warns(
        IgnoredSettingWarning,
        match=r"monitor='vall_acc'.*not stop early\. Did you mean 'val_acc'\? There are val_acc\.",
    ):
        assert not best.update({"epoch": 1, "val_acc": 1.0})
    assert not best.update({"epoch": 2, "val_acc": 1.0})  # a warning here would be an error
    assert not best.is_spent


def test_without_patience_nothing_is_said_of_stopping():
    with pytest.warns(IgnoredSettingWarning) as seen:
        BestSoFar("a_loss", "auto", 0.0, None).update({"epoch": 1, "val_loss": 1.0})
    assert "stop" not in str(seen[0].message)


def test_a_label_where_nothing_is_recorded_is_told_so():
    with pytest.warns(IgnoredSettingWarning, match="There are no values"):
        BestSoFar("val_acc", "auto", 0.0, None).update({})


def test_patience_where_nothing_is_recorded_is_reported_once():
    best = BestSoFar(None, "auto", 0.0, 2)
    with pytest.warns(IgnoredSettingWarning, match="patience=2 stops nothing"):
        best.update({})
    best.update({"epoch": 2, "lr": 0.1})
    assert not best.is_spent


def test_without_a_wish_nothing_is_said_of_values_that_are_not_there():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not BestSoFar(None, "auto", 0.0, None).update({})


# Going on


def test_what_is_kept_goes_on_where_it_was():
    before, _ = watch([2.0, 1.0, 3.0], patience=2)
    after = BestSoFar(None, "auto", 0.0, 2)
    after.load_state_dict(before.state_dict())
    assert (after.value, after.epoch, after.waited) == (1.0, 2, 1)
    after.update({"epoch": 4, "val_loss": 1.0})
    assert after.is_spent
