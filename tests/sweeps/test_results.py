"""What a sweep has found: tables, figures, the usable range, and files that cannot be trusted."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.runs.folders import facts_of

from gradbook.errors import ConfigError, CorruptFileError
from gradbook.record import History, Metric
from gradbook.runs.format import MetricsLog, results_of, write_run
from gradbook.sweeps.format import read_sweep, write_sweep
from gradbook.sweeps.results import Sweep, load


def write_member(folder, curves, start=None, status="finished", seconds=2.0):
    """A run whose epoch means are `curves`, by label; `start` is its first recorded point."""
    folder.mkdir(parents=True)
    log = MetricsLog(folder)
    history = History()
    if start is not None:
        log.append(Metric("train_loss", 0.5, start))
    num_epochs = max(map(len, curves.values()), default=0)
    for epoch in range(1, num_epochs + 1):
        row = {"epoch": epoch}
        for label, values in curves.items():
            row[label] = values[epoch - 1]
            log.append(Metric(label, epoch, values[epoch - 1], kind="epoch"))
        history.rows.append(row)
    log.close()
    facts = facts_of(
        folder.name,
        status=status,
        seconds=seconds,
        metrics={"lines": log.lines, "crc": log.crc},
    )
    write_run(folder, facts | results_of(history))


def make(values_and_curves, folder="runs/net-sweep-1", start=2.0, level=None, errors=()):
    """A sweep with one member for each pair of values and curves; no curves leave no run."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    members, swept = [], {}
    for k, (values, curves) in enumerate(values_and_curves):
        values = {"seed": 0, **values}
        for name, value in values.items():
            known = swept.setdefault(name, [])
            known += [value] if value not in known else []
        error = dict(errors).get(k)
        members.append(
            {"folder": f"member-{k + 1}", "values": values, "error": error, "alone": None}
        )
        if curves:
            diverged = any(not math.isfinite(v) for c in curves.values() for v in c)
            status = "diverged" if diverged else "finished"
            write_member(folder / f"member-{k + 1}", curves, start, status)
    write_sweep(
        folder,
        {
            "model": "my.Net",
            "data": "my.Data",
            "swept": swept,
            "fixed": {"max_epochs": 3},
            "num_samples": None,
            "search": None,
            "level": level,
            "seconds": 3.0,
            "members": members,
        },
    )
    return Sweep(folder)


def losses(*values):
    return {"val_loss": list(values)}


RATES = {
    0.001: (1.99, 1.98, 1.97),
    0.01: (1.5, 1.0, 0.6),
    0.1: (0.8, 0.5, 0.3),
    1.0: (0.6, 0.5, 0.5),
    10.0: (5.0, math.nan, math.nan),
}


@pytest.fixture
def rates():
    return make([({"lr": lr}, losses(*curve)) for lr, curve in RATES.items()])


@pytest.fixture
def seeded():
    return make(
        [
            ({"lr": lr, "seed": seed}, losses(1.5, final + 0.01 * seed))
            for lr, final in ((0.1, 0.5), (0.2, 0.4))
            for seed in (0, 1, 2)
        ],
        "runs/seeded-sweep-1",
    )


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


# Figures


def axes_of(sweep):
    figure = sweep.figure()
    figure.canvas.draw()
    return figure.axes


def test_the_figure_has_curves_and_the_final_loss_against_the_rate(rates):
    curves, finals = axes_of(rates)
    assert (curves.get_xlabel(), curves.get_ylabel()) == ("epoch", "val_loss")
    assert (finals.get_xlabel(), finals.get_ylabel()) == ("lr", "final val_loss")
    assert finals.get_xscale() == "log"
    assert finals.get_title() == "usable 0.01 to 1"


def test_what_diverged_is_a_cross_at_the_upper_edge(rates):
    finals = axes_of(rates)[1]
    crosses = [line for line in finals.lines if line.get_marker() == "x"]
    assert [line.get_xdata()[0] for line in crosses] == [10.0]


def test_a_line_is_the_mean_of_the_seeds_and_the_band_their_extremes(seeded):
    curves = axes_of(seeded)[0]
    lines = [line for line in curves.lines if len(line.get_xdata())]
    np.testing.assert_allclose(lines[0].get_ydata(), [1.5, 0.51])
    band = curves.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.5)
    at_end = band[band[:, 0] == 2][:, 1]
    assert (at_end.min(), at_end.max()) == pytest.approx((0.5, 0.52))


def test_the_legend_names_every_setting_by_its_value(rates):
    legend = rates.figure().legends[0]
    assert [text.get_text() for text in legend.get_texts()] == [f"lr {lr:g}" for lr in RATES]


@pytest.mark.parametrize(
    "members",
    [
        [({"lr": 0.1}, losses(0.5))],
        [({"lr": k / 100}, losses(1.0, 1 / (k + 1))) for k in range(40)],
        [({"act": act}, losses(1.0, 0.5)) for act in ("relu", "$x^2$", "a\x1b")],
        [({"lr": lr, "width": w}, losses(lr, lr * w)) for lr in (0.1, 0.2) for w in (4, 8)],
        [({"lr": lr}, losses(math.nan, math.nan)) for lr in (0.1, 0.2)],
        [({"lr": 0.1}, losses(math.inf)), ({"lr": 0.2}, losses(0.5))],
        [({"lr": 0.1}, None), ({"lr": 0.2}, losses(0.5, 0.4))],
        [({"lr": lr}, {"train_loss": [1.0, 0.5]}) for lr in (-1, 0, 1)],
        [({"lr": 0.1}, losses(0.5)), ({"lr": 0.2}, losses(0.9, 0.4))],
        [({"lr": 1e-3}, losses(1e20)), ({"lr": 1.0}, losses(1e-20))],
    ],
)
def test_a_figure_is_drawn_of_whatever_there_is(members, tmp_path):
    sweep = make(members)
    sweep.save(tmp_path / "sweep.png")
    str(sweep)
    sweep.to_pandas()
    json.dumps(sweep.summary())


def test_many_settings_leave_a_short_legend():
    sweep = make([({"lr": k / 100}, losses(1.0, 1 / (k + 1))) for k in range(40)])
    assert len(sweep.figure().legends[0].get_texts()) == 14


def test_two_swept_numbers_are_told_apart_by_colour_and_line():
    sweep = make([({"lr": lr, "w": w}, losses(1, lr * w)) for lr in (0.1, 0.2) for w in (4, 8)])
    lines = [line for line in sweep.figure().axes[0].lines if len(line.get_xdata())]
    looks = {(str(line.get_color()), line.get_linestyle()) for line in lines}
    assert len(looks) == 4


def test_without_a_finished_epoch_there_is_nothing_to_draw():
    sweep = make([({"lr": 0.1}, None)])
    with pytest.raises(ConfigError, match="no run of the sweep has finished an epoch"):
        sweep.figure()
    assert sweep.best is None
    assert "not begun" in str(sweep)


# Files


def test_it_is_loaded_by_name_and_by_path(rates):
    assert load("net-sweep-1").name == "net-sweep-1"
    assert load(rates.folder).members[0].values["lr"] == 0.001
    with pytest.raises(ConfigError, match="no sweep 'other'"):
        load("other")


def test_a_sweep_that_was_moved_is_read_where_it_is(rates, tmp_path):
    moved = shutil.move(rates.folder, tmp_path / "elsewhere")
    assert len(Sweep(moved).runs) == 5


def changed(sweep, change):
    facts = read_sweep(sweep.folder)
    change(facts)
    (sweep.folder / "sweep.json").write_text(json.dumps(facts))
    return sweep.folder


@pytest.mark.parametrize("name", ["..", ".", "", "../../secret", "/etc", "a/b", "a\x00b"])
def test_a_folder_that_leads_elsewhere_is_refused(rates, name):
    folder = changed(rates, lambda facts: facts["members"][0].update(folder=name))
    with pytest.raises((CorruptFileError, ConfigError)):
        Sweep(folder).members  # noqa: B018


def set_to(path, value):
    def change(facts):
        *keys, last = path
        for key in keys:
            facts = facts[key]
        facts[last] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        set_to(["members"], None),
        set_to(["members"], {}),
        set_to(["members", 0], []),
        set_to(["members", 0, "values"], [1]),
        set_to(["members", 0, "folder"], 3),
        set_to(["members", 0, "error"], 3),
        set_to(["members", 0, "alone"], {}),
        set_to(["members", 0, "values"], {}),
        set_to(["swept"], ["lr"]),
        set_to(["level"], "high"),
        set_to(["format"], "other"),
        set_to(["version"], 99),
    ],
)
def test_a_damaged_file_is_named(rates, change):
    folder = changed(rates, change)
    with pytest.raises(CorruptFileError, match=r"sweep\.json"):
        Sweep(folder)


def test_a_value_of_any_kind_is_shown(rates):
    sweep = Sweep(changed(rates, set_to(["members", 0, "values", "lr"], {"a": []})))
    assert "{'a': []}" in str(sweep)
    sweep.figure()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_json_is_damage(rates, content):
    (rates.folder / "sweep.json").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"sweep\.json"):
        Sweep(rates.folder)


def test_a_damaged_member_does_not_hide_the_others(rates):
    (rates.folder / "member-2" / "run.json").write_text("{")
    sweep = Sweep(rates.folder)
    assert len(sweep.runs) == 4
    assert "run.json" in sweep.members[1].error
    assert "run.json" in str(sweep)


def test_a_member_whose_values_are_damaged_is_shown_without_a_curve(rates):
    (rates.folder / "member-2" / "metrics.jsonl").write_text("{}\n")
    sweep = Sweep(rates.folder)
    str(sweep)
    sweep.figure()
    sweep.to_pandas()


def test_control_characters_do_not_reach_the_terminal():
    sweep = make([({"act": "a\x1b[2J"}, losses(0.5)), ({"act": "b"}, losses(0.4))])
    assert "\x1b" not in repr(sweep)
    assert "\x1b" not in sweep._repr_html_()
