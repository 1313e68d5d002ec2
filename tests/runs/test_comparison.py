import math
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from tests.runs.folders import facts_of, make_run, metrics_of

from gradbook.display.palette import COLORS
from gradbook.errors import ConfigError
from gradbook.record import Metric
from gradbook.runs.comparison import (
    differing,
    hyperparameters_of,
    names_of,
    overlay,
    save_overlay,
    settings_of,
    summary_of,
)
from gradbook.runs.stored import StoredRun


def runs(*rates, **changes):
    return [
        StoredRun(make_run(f"mlp-{i}", metrics_of(rate=rate), {"lr": rate}, seed=i, **changes))
        for i, rate in enumerate(rates, start=1)
    ]


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_only_what_differs_is_named_and_the_prominent_first():
    first, second = runs(0.1, 0.3)
    second.facts["versions"]["torch"] = "2.7.0"
    assert differing([settings_of(first), settings_of(second)]) == ["lr", "seed", "torch_version"]


def test_a_setting_that_one_run_lacks_differs():
    assert differing([{"a": None}, {}]) == ["a"]


def test_equal_runs_differ_in_nothing():
    assert differing([{"a": 1}, {"a": 1}]) == []


def test_a_name_that_two_owners_share_carries_the_later_one_s():
    facts = facts_of("a")
    facts["data"]["hyperparameters"]["lr"] = 5
    run = StoredRun(make_run(data=facts["data"]))
    settings = hyperparameters_of(run)
    assert (settings["lr"], settings["data_lr"]) == (0.1, 5)


def test_a_run_without_optimizer_and_commit_has_no_such_settings():
    settings = settings_of(StoredRun(make_run(optimizer=None, git=None)))
    assert not {"optimizer", "git_commit"} & set(settings)


def test_runs_of_the_same_name_are_named_by_their_folders():
    make_run("a/mlp-1")
    make_run("b/mlp-1")
    found = [StoredRun("runs/a/mlp-1"), StoredRun("runs/b/mlp-1")]
    assert names_of(found) == [str(Path("runs/a/mlp-1")), str(Path("runs/b/mlp-1"))]


def test_a_summary_says_what_was_trained_and_what_came_of_it():
    summary = summary_of(StoredRun(make_run("mlp-1")))
    assert (summary["name"], summary["model"], summary["seconds"]) == ("mlp-1", "mlp", 12.5)
    assert summary["hyperparameters"]["lr"] == 0.1
    assert summary["best"]["val_acc"]["epoch"] == 3


def test_losses_have_one_panel_and_accuracies_another():
    figure = overlay(runs(0.1, 0.3))
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["epoch", "epoch"]
    assert [len(axes.lines) for axes in figure.axes] == [4, 2]


def test_each_run_has_a_color_and_each_split_a_line_style():
    figure = overlay(runs(0.1, 0.3))
    lines = figure.axes[0].lines
    one, other = (color.lower() for color in COLORS[:2])
    assert [to_hex(line.get_color()) for line in lines] == [one] * 2 + [other] * 2
    assert [line.get_linestyle() for line in lines] == ["--", "-"] * 2


@pytest.mark.parametrize("count", [2, 8, 24])
def test_every_run_has_its_own_color(count):
    found = runs(*(0.1 * i for i in range(1, count + 1)))
    lines = overlay(found).axes[1].lines
    assert len({to_hex(line.get_color()) for line in lines}) == count


def test_the_legend_says_what_tells_the_runs_apart():
    assert legend_of(overlay(runs(0.1, 0.3))) == [
        "mlp-1 (lr 0.1)",
        "mlp-2 (lr 0.3)",
        "validation",
        "training",
    ]


def test_a_legend_of_runs_of_one_name_has_of_their_folders_what_differs():
    make_run("a/anna/runs/mlp-1", hyperparameters={"lr": 0.1})
    make_run("a/ben/runs/mlp-1", hyperparameters={"lr": 0.3})
    found = [StoredRun(f"runs/a/{name}/runs/mlp-1") for name in ("anna", "ben")]
    texts = legend_of(overlay(found))
    assert texts[:2] == ["anna/runs/mlp-1 (lr 0.1)", "ben/runs/mlp-1 (lr 0.3)"]


def test_where_only_the_seed_differs_the_legend_says_the_seed():
    assert legend_of(overlay(runs(0.1, 0.1)))[0] == "mlp-1 (seed 1)"


@pytest.mark.slow
def test_the_legend_hides_no_curve():
    figure = overlay(runs(*(0.1 * i for i in range(1, 9))))
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    for axes in figure.axes:
        assert not legend.overlaps(axes.get_window_extent())


def test_values_of_many_magnitudes_have_a_logarithmic_scale():
    figure = overlay(runs(0.1, 10_000.0))
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]


def test_what_is_not_finite_is_a_gap():
    metrics = [Metric("val_loss", e, y, "epoch") for e, y in enumerate([1, math.inf, 2, math.nan])]
    line = overlay([StoredRun(make_run(metrics=metrics))]).axes[0].lines[0]
    assert [math.isnan(y) for y in line.get_ydata()] == [False, True, False, True]


def test_a_lone_epoch_is_a_dot():
    figure = overlay([StoredRun(make_run(metrics=metrics_of(epochs=1)))])
    assert {line.get_marker() for axes in figure.axes for line in axes.lines} == {"o"}


def test_a_setting_that_was_recorded_has_no_panel():
    metrics = [*metrics_of(), Metric("lr", 1, 0.1, "epoch")]
    assert len(overlay([StoredRun(make_run(metrics=metrics))]).axes) == 2


def test_a_run_without_an_epoch_is_only_named():
    found = [StoredRun(make_run("mlp-1")), StoredRun(make_run("mlp-2", metrics=[]))]
    figure = overlay(found)
    assert len(figure.axes[1].lines) == 1
    assert "mlp-2" in " ".join(legend_of(figure))


def test_nothing_to_draw_is_explained():
    with pytest.raises(ConfigError, match="no epoch is finished in mlp-1"):
        overlay([StoredRun(make_run(metrics=[]))])


@pytest.mark.slow
def test_a_dollar_in_a_name_is_no_formula():
    folder = make_run("cost-$a$-1")
    save_overlay([StoredRun(folder)], [Path("picture.svg")])
    assert not overlay([StoredRun(folder)]).legends[0].get_texts()[0].get_parse_math()


def test_a_label_is_drawn_as_it_is_written():
    folder = make_run("mlp-1", [Metric("val_$a\x1b", 1, 0.5, "epoch")])
    label = overlay([StoredRun(folder)]).axes[0].yaxis.label
    assert (label.get_text(), label.get_parse_math()) == (r"$a\x1b", False)


def test_control_characters_in_a_name_are_escaped():
    folder = make_run("mlp\x1b-1")
    texts = overlay([StoredRun(folder)]).legends[0].get_texts()
    assert texts[0].get_text() == r"mlp\x1b-1"


@pytest.mark.parametrize(("label", "scale"), [("val_f1", "linear"), ("val_mse", "log")])
def test_a_measure_that_is_to_be_high_has_no_logarithmic_scale(label, scale):
    metrics = [Metric(label, 1, 0.001, "epoch"), Metric(label, 2, 0.9, "epoch")]
    assert overlay([StoredRun(make_run("mlp-1", metrics))]).axes[0].get_yscale() == scale


@pytest.mark.slow
def test_a_picture_is_saved_as_svg_and_as_png():
    save_overlay(runs(0.1, 0.3), [Path("a.svg"), Path("new/b.PNG")])
    assert Path("a.svg").read_bytes().startswith(b"<?xml")
    assert Path("new/b.PNG").read_bytes().startswith(b"\x89PNG")


def test_another_kind_of_picture_is_refused_before_any_is_written():
    with pytest.raises(ConfigError, match=r"ends in \.svg or \.png, but 'b\.pdf' does not"):
        save_overlay(runs(0.1, 0.3), [Path("a.svg"), Path("b.pdf")])
    assert not Path("a.svg").exists()


def test_the_optimizer_s_rate_is_named_only_where_it_is_not_the_model_s():
    optimizer = {"class": "gradbook.optim.SGD", "settings": {"lr": 0.5}}
    assert "optimizer_lr" not in settings_of(StoredRun(make_run("a-1")))
    assert settings_of(StoredRun(make_run("a-2", optimizer=optimizer)))["optimizer_lr"] == 0.5
