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
    assert "Usable: lr from 0.01 to 1" in str(rates)
    failed = make([({"lr": 1}, None)], "runs/c-sweep-1", errors=[(0, "ValueError: no\x1b[31m")])
    assert r"Failed: seed 0, lr 1: ValueError: no\x1b[31m" in str(failed)
    assert "\x1b" not in str(failed)


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


def test_control_characters_do_not_reach_the_terminal():
    sweep = make([({"act": "a\x1b[2J"}, losses(0.5)), ({"act": "b"}, losses(0.4))])
    assert "\x1b" not in repr(sweep)
    assert "\x1b" not in sweep._repr_html_()
