"""The figure of a sweep."""

import json
import math

import numpy as np
import pytest
from tests.sweeps.written import RATES, losses, make, make_rates, make_seeded

from gradbook.errors import ConfigError


@pytest.fixture
def rates():
    return make_rates()


@pytest.fixture
def seeded():
    return make_seeded()


def axes_of(sweep):
    figure = sweep.figure()
    figure.canvas.draw()
    return figure.axes


def test_the_figure_has_curves_and_the_final_loss_against_the_rate(rates):
    curves, finals = axes_of(rates)
    assert (curves.get_xlabel(), curves.get_ylabel()) == ("epoch", "val_loss")
    assert (finals.get_xlabel(), finals.get_ylabel()) == ("lr", "final val_loss")
    assert finals.get_xscale() == "log"
    told = f"dashed: usable below {finals.lines[0].get_ydata()[0]:.3g}"
    assert finals.get_title().splitlines() == ["usable 0.01 to 1", told]


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


@pytest.mark.slow
def test_many_settings_leave_a_short_legend():
    sweep = make([({"lr": k / 100}, losses(1.0, 1 / (k + 1))) for k in range(40)])
    assert len(sweep.figure().legends[0].get_texts()) == 14


def test_two_swept_numbers_are_told_apart_by_color_and_line():
    sweep = make([({"lr": lr, "w": w}, losses(1, lr * w)) for lr in (0.1, 0.2) for w in (4, 8)])
    lines = [line for line in sweep.figure().axes[0].lines if len(line.get_xdata())]
    looks = {(str(line.get_color()), line.get_linestyle()) for line in lines}
    assert len(looks) == 4


@pytest.mark.slow
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


def test_without_a_finished_epoch_there_is_nothing_to_draw():
    sweep = make([({"lr": 0.1}, None)])
    with pytest.raises(ConfigError, match="no run of the sweep has finished an epoch"):
        sweep.figure()
    assert sweep.best is None
    assert "not begun" in str(sweep)


@pytest.fixture
def searched():
    """Three settings of a search in the order in which they were tried, one of them pruned."""
    return make(
        [({"lr": lr}, losses(1.0, final)) for lr, final in ((0.3, 0.5), (0.1, 0.9), (0.2, 0.4))],
        search="optuna",
        pruned=[1],
    )


def test_pruned_settings_are_hollow_and_no_line_goes_through_them(searched):
    finals = axes_of(searched)[1]
    hollow = [line for line in finals.lines if line.get_markerfacecolor() == "white"]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in hollow] == [(0.1, 0.9)]
    [through] = [line for line in finals.lines if line.get_color() == "0.5"]
    np.testing.assert_allclose(through.get_xydata(), [(0.2, 0.4), (0.3, 0.5)])
    lines = finals.get_title().splitlines()
    assert (lines[0], lines[-1]) == ("usable 0.2 to 0.3", "hollow: pruned")


def test_the_legend_of_a_search_is_in_the_order_of_the_numbers(searched):
    texts = [text.get_text() for text in searched.figure().legends[0].get_texts()]
    assert texts == ["lr 0.1", "lr 0.2", "lr 0.3"]


def test_no_line_joins_settings_that_differ_in_two_numbers():
    pairs = ((1, 9), (2, 7), (3, 8), (4, 5), (5, 6))
    sweep = make([({"lr": lr, "w": w}, losses(1, lr)) for lr, w in pairs])
    curves, finals = axes_of(sweep)
    joined = [line for line in finals.lines if line.get_color() == "0.5"]
    assert [len(line.get_xdata()) for line in joined] == [1] * 5
    assert {line.get_linestyle() for line in curves.lines} == {"-"}
