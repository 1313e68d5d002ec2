"""What a training and a setting have come to."""

import math

import pytest
from tests.sweeps.written import losses, make, make_rates

from gradbook.sweeps.results import Sweep


@pytest.fixture
def rates():
    return make_rates()


def test_a_training_tells_its_first_last_and_best_loss():
    [member] = make([({"lr": 1}, losses(0.9, 0.4, 0.5))], start=2.5).members
    assert member.start == 2.5
    assert (member.final("val_loss"), member.best("val_loss")) == (0.5, 0.4)
    assert member.curve("val_loss") == [0.9, 0.4, 0.5]


def test_what_was_not_recorded_is_nan_and_has_no_curve():
    [member] = make([({"lr": 1}, losses(0.9))], start=None).members
    assert math.isnan(member.final("val_acc"))
    assert math.isnan(member.best("val_acc"))
    assert member.curve("val_acc") == []
    assert member.start is None


def test_a_training_without_a_run_failed_or_was_not_begun():
    sweep = make([({"lr": 1}, None), ({"lr": 2}, None)], errors=[(0, "ValueError: no")])
    assert [member.told for member in sweep.members] == ["failed", "not begun"]
    assert math.isnan(sweep.settings[0].seconds)


def test_a_pruned_training_tells_its_last_epoch():
    [member] = make([({"lr": 1}, losses(0.9, 0.8))], search="optuna", pruned=[0]).members
    assert member.told == "pruned (epoch 2)"


def test_a_setting_whose_seeds_end_differently_counts_its_verdicts():
    curves = (losses(0.5, 0.4), losses(0.5, math.nan), losses(0.5, math.nan))
    sweep = make([({"lr": 1, "seed": seed}, curve) for seed, curve in enumerate(curves)])
    [setting] = sweep.settings
    assert setting.verdict == f"diverged (2), {setting.members[0].told} (1)"


def test_epochs_to_a_level_are_the_mean_over_the_seeds():
    curves = (losses(0.9, 0.5, 0.4), losses(0.4, 0.3, 0.2))
    sweep = make([({"lr": 1, "seed": seed}, curve) for seed, curve in enumerate(curves)])
    [setting] = sweep.settings
    assert setting.epochs_to(0.5, "val_loss") == 1.5
    assert setting.epochs_to(0.3, "val_loss") is None


def test_accuracies_reach_a_level_from_below():
    [setting] = make([({"lr": 1}, {"val_acc": [0.2, 0.6, 0.7]})]).settings
    assert setting.epochs_to(0.6, "val_acc") == 2


def test_a_setting_is_named_by_its_values():
    sweep = make([({"lr": 0.1, "act": "a\x1b"}, losses(0.5))])
    assert sweep.settings[0].name == r"lr 0.1, act a\x1b"
    assert make([({"seed": 1}, losses(0.5))], "runs/b-sweep-1").settings[0].name == "as it is"


def test_a_member_whose_values_are_damaged_is_shown_without_a_curve(rates):
    (rates.folder / "member-2" / "metrics.jsonl").write_text("{}\n")
    sweep = Sweep(rates.folder)
    str(sweep)
    sweep.figure()
    sweep.to_pandas()
