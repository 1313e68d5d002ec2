"""What a sweep has found: its best setting, the usable range, tables and words."""

import json
import math
import shutil

import numpy as np
import pytest
from tests.sweeps.written import losses, make, make_rates, make_seeded

from gradbook.errors import ConfigError
from gradbook.sweeps.results import Sweep, load


@pytest.fixture
def rates():
    return make_rates()


@pytest.fixture
def seeded():
    return make_seeded()


def test_the_best_setting_has_the_best_mean_at_the_end(rates):
    assert rates.best.values == {"lr": 0.1}


def test_a_setting_in_which_a_seed_diverged_is_not_the_best():
    sweep = make(
        [
            ({"lr": 0.1, "seed": 0}, losses(0.1)),
            ({"lr": 0.1, "seed": 1}, losses(math.nan)),
            ({"lr": 0.2, "seed": 0}, losses(0.5)),
            ({"lr": 0.2, "seed": 1}, losses(0.5)),
        ]
    )
    assert sweep.best.values == {"lr": 0.2}


def test_accuracies_are_better_when_they_are_higher():
    sweep = make([({"lr": lr}, {"val_acc": [acc]}) for lr, acc in ((0.1, 0.5), (0.2, 0.9))])
    assert sweep.best.values == {"lr": 0.2}
    assert sweep.label == "val_acc"


def test_the_usable_range_ends_a_quarter_of_the_way_back_to_the_start(rates):
    assert rates.start == 2.0
    assert rates.usable_loss == pytest.approx(0.3 + 0.25 * (2.0 - 0.3))
    assert rates.usable_range() == (0.01, 1.0)


def test_the_usable_range_has_no_gap():
    sweep = make(
        [({"lr": lr}, losses(y)) for lr, y in ((1, 0.3), (2, 1.9), (4, 0.2), (8, 0.25), (16, 1.9))]
    )
    assert sweep.usable_range() == (4, 8)


def test_without_numbers_there_is_no_range():
    sweep = make([({"act": act}, losses(0.5)) for act in ("relu", "tanh")])
    assert sweep.axis is None
    assert sweep.usable_range() is None


def test_the_table_has_what_each_setting_reached(rates):
    table = rates.table()
    assert table.heading[:3] == ["lr", "best val_loss", "last val_loss"]
    assert table.rows[2][:3] == ["0.1", "0.3", "0.3"]
    assert table.rows[4][2] == "-"
    assert [row[-1] for row in table.rows][-1] == "diverged"


def test_the_table_has_mean_and_standard_deviation_over_the_seeds(seeded):
    cell = seeded.table().rows[0][2]
    assert cell == f"{0.51:.4g} ± {np.std([0.5, 0.51, 0.52], ddof=1):.1g}"


def test_epochs_to_a_level_count_from_one(rates):
    sweep = make([({"lr": 1}, losses(0.9, 0.5, 0.4))], "runs/b-sweep-1", level=0.5)
    assert sweep.settings[0].epochs_to(0.5, "val_loss") == 2
    assert sweep.settings[0].epochs_to(0.1, "val_loss") is None
    assert "epochs to 0.5" in sweep.table().heading
    assert rates.level() == pytest.approx(np.median([1.97, 0.6, 0.3, 0.5, 5.0]))


def test_settings_are_compared_by_their_seeds(seeded):
    assert abs(seeded.compare(0, 1).difference) == pytest.approx(0.1)


@pytest.mark.slow
def test_a_data_frame_has_a_row_for_each_training(seeded):
    frame = seeded.to_pandas()
    assert len(frame) == 6
    assert frame["val_loss"].tolist() == pytest.approx([0.5, 0.51, 0.52, 0.4, 0.41, 0.42])
    assert set(frame["status"]) == {"finished"}


def test_the_summary_is_json(rates):
    summary = json.loads(json.dumps(rates.summary(), allow_nan=True))
    assert summary["best"] == {"lr": 0.1}
    assert summary["usable_range"] == {"lr": [0.01, 1.0]}


def test_the_words_name_the_best_and_the_failed(rates):
    assert "Best: lr 0.1" in str(rates)
    assert "Usable range: lr from 0.01 to 1" in str(rates)
    failed = make([({"lr": 1}, None)], "runs/c-sweep-1", errors=[(0, "ValueError: no\x1b[31m")])
    assert r"Failed: seed 0, lr 1: ValueError: no\x1b[31m" in str(failed)
    assert "\x1b" not in str(failed)


RISING = (0.5, 0.6, 0.7, 0.75, 0.79, 0.82, 0.84, 0.85, 0.86, 0.865)
SWINGING = (0.5, 0.8, 0.55, 0.82, 0.6, 0.84, 0.58, 0.86, 0.6, 0.866)


def swept(finals, restless=()):
    """Accuracies of a few seeds each, which end as `finals` say; those of `restless` swing."""
    members = []
    for lr, values in finals.items():
        for seed, last in enumerate(values):
            accs = [*(SWINGING if lr in restless else RISING)[:-1], last]
            curves = {"val_acc": accs, "val_loss": [2 * (1 - acc) for acc in accs]}
            members.append(({"lr": lr, "seed": seed}, curves))
    return make(members)


def test_settings_that_the_seeds_cannot_tell_apart_are_called_tied_and_the_calmer_is_named():
    sweep = swept(
        {0.01: (0.7, 0.71, 0.705), 0.1: (0.86, 0.87, 0.866), 0.3: (0.868, 0.861, 0.87)}, [0.3]
    )
    assert sweep.best.values == {"lr": 0.3}
    assert [setting.values["lr"] for setting in sweep.tied] == [0.1, 0.3]
    assert sweep.summary()["tied"] == [{"lr": 0.1}, {"lr": 0.3}]
    text = str(sweep)
    assert (
        "Tied, as far as 3 seeds each can tell: lr 0.1 (val_acc 0.8653 ± 0.005) and lr 0.3 "
        "(val_acc 0.8663 ± 0.005). lr 0.1 is the calmer: lr 0.3 is oscillating.\n"
    ) in text
    assert "Best:" not in text
    assert "no difference at all" not in text


@pytest.mark.slow
def test_of_tied_settings_that_are_alike_none_is_called_calmer():
    finals = {lr: (0.86 + lr / 1000, 0.87, 0.866) for lr in (1, 2, 3, 4, 5, 6)}
    assert "calmer" not in str(swept(finals))
    assert "and 2 others." in str(load("net-sweep-1"))


def test_one_setting_that_is_better_than_the_others_is_the_best_and_its_swings_are_said():
    sweep = swept({0.1: (0.8, 0.801, 0.802), 0.3: (0.866, 0.868, 0.864)}, [0.3])
    assert [setting.values for setting in sweep.tied] == [{"lr": 0.3}]
    text = str(sweep)
    assert "Best: lr 0.3, with val_acc 0.866 ± 0.002 at the end, although it is oscill" in text
    assert "lr 0.3 is better than lr 0.1 by" in text


def test_of_one_seed_each_nothing_is_tied(rates):
    assert [setting.values for setting in rates.tied] == [{"lr": 0.1}]
    assert (
        "at the end.\nEach setting has one seed, and with another seed the order may be different."
        in str(rates)
    )


def test_of_two_seeds_each_it_is_said_that_they_cannot_tell():
    sweep = swept({0.1: (0.7, 0.81), 0.3: (0.866, 0.858)})
    assert [setting.values for setting in sweep.tied] == [{"lr": 0.3}]
    text = str(sweep)
    assert "Best: lr 0.3, with val_acc 0.862 ± 0.006 at the end.\n" in text
    advice = "take more: seed=range(5), or --seeds 5."
    assert f"it cannot be told whether it is better than lr 0.1: {advice}\n" in text


def test_seeds_that_all_give_the_same_difference_are_asked_about(seeded):
    assert [setting.values for setting in seeded.tied] == [{"lr": 0.2}]
    text = str(seeded)
    assert "Best: lr 0.2" in text
    assert "Other seeds may not agree: every pair of seeds differs by as much" in text
    assert "Were they different seeds?" in text


def test_what_was_pruned_is_tied_with_nothing():
    values = {0.1: (0.5, 0.52, 0.49), 0.2: (0.51, 0.5, 0.53)}
    members = [
        ({"lr": lr, "seed": seed}, losses(0.9, 0.7, final))
        for lr, finals in values.items()
        for seed, final in enumerate(finals)
    ]
    sweep = make(members, search="optuna", pruned=(0,))
    assert [setting.values for setting in sweep.tied] == [{"lr": 0.2}]


def test_it_is_loaded_by_name_and_by_path(rates):
    assert load("net-sweep-1").name == "net-sweep-1"
    assert load(rates.folder).members[0].values["lr"] == 0.001
    with pytest.raises(ConfigError, match="no sweep 'other'"):
        load("other")


def test_a_sweep_that_was_moved_is_read_where_it_is(rates, tmp_path):
    moved = shutil.move(rates.folder, tmp_path / "elsewhere")
    assert len(Sweep(moved).runs) == 5


def test_a_damaged_member_does_not_hide_the_others(rates):
    (rates.folder / "member-2" / "run.json").write_text("{")
    sweep = Sweep(rates.folder)
    assert len(sweep.runs) == 4
    assert "run.json" in sweep.members[1].error
    assert "run.json" in str(sweep)


@pytest.mark.slow
def test_control_characters_do_not_reach_the_terminal():
    sweep = make([({"act": "a\x1b[2J"}, losses(0.5)), ({"act": "b"}, losses(0.4))])
    assert "\x1b" not in repr(sweep)
    assert "\x1b" not in sweep._repr_html_()


def test_what_was_not_recorded_is_not_compared():
    sweep = swept({0.1: (0.86, 0.87, 0.866), 0.3: (0.868, 0.861, 0.87)})
    with pytest.raises(ConfigError, match=r"'val_accuracy' was not .*mean 'val_acc"):
        sweep.compare(0, 1, "val_accuracy")


@pytest.mark.parametrize("place", [2, -3, 0.1, "a"])
def test_a_setting_is_named_by_its_place(place):
    sweep = swept({0.1: (0.86, 0.87, 0.866), 0.3: (0.868, 0.861, 0.87)})
    with pytest.raises(ConfigError, match="by its place in `settings`, from 0 to 1"):
        sweep.compare(0, place)
