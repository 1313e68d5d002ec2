import math

import pytest
from matplotlib import pyplot as plt

from gradbook.display.epochs import draw_history
from gradbook.errors import ConfigError
from gradbook.history import History


@pytest.fixture
def history():
    return History(
        [
            {"epoch": 1, "train_loss": 3.0, "val_acc": 0.5},
            {"epoch": 2, "train_loss": math.nan, "val_acc": 0.6},
            {"epoch": 3, "train_loss": math.inf},
            {"epoch": 4, "train_loss": 1.0, "val_acc": 0.7},
        ]
    )


def points(line):
    """The points of a curve; where there is a gap, y is None."""
    return [(x, None if math.isnan(y) else y) for x, y in line.get_xydata()]


def test_each_label_is_a_curve_of_the_legend(history):
    axes = draw_history(history, ["train_loss", "val_acc"])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train_loss", "val_acc"]
    assert axes.get_xlabel() == "epoch"


def test_only_the_labels_asked_for_are_drawn(history):
    assert [line.get_label() for line in draw_history(history, ["val_acc"]).lines] == ["val_acc"]


def test_what_is_not_finite_is_a_gap(history):
    axes = draw_history(history, ["train_loss"])
    assert points(axes.lines[0]) == [(1, 3.0), (2, None), (3, None), (4, 1.0)]


def test_an_epoch_without_a_value_is_a_gap(history):
    axes = draw_history(history, ["val_acc"])
    assert points(axes.lines[0]) == [(1, 0.5), (2, 0.6), (3, None), (4, 0.7)]


def test_an_epoch_between_two_gaps_is_visible(history):
    assert draw_history(history, ["train_loss"]).lines[0].get_marker() == "."


@pytest.mark.parametrize("num_epochs", [1, 2, 3, 10, 200])
def test_the_axis_counts_whole_epochs(num_epochs):
    rows = [{"epoch": i, "train_loss": 1 / i} for i in range(1, num_epochs + 1)]
    axes = draw_history(History(rows), ["train_loss"])
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks
    assert all(tick == round(tick) for tick in ticks)


@pytest.mark.slow
def test_the_figure_shows_the_name_of_its_axis(history):
    figure = draw_history(history, ["train_loss"]).figure
    figure.canvas.draw()
    box = figure.axes[0].xaxis.label.get_window_extent()
    assert box.y0 >= 0


def test_given_axes_are_drawn_on(history):
    _, axes = plt.subplots()
    assert draw_history(history, ["train_loss"], axes) is axes
    assert len(plt.get_fignums()) == 1


def test_scales_that_were_chosen_before_are_kept(history):
    _, axes = plt.subplots()
    axes.set_xscale("log")
    assert draw_history(history, ["train_loss"], axes).get_xscale() == "log"


def test_a_history_without_an_epoch_has_no_legend():
    axes = draw_history(History(), [])
    assert axes.get_legend() is None
    assert not axes.lines


@pytest.mark.parametrize(
    ("values", "yscale", "scale"),
    [
        ([10, 1e-3], "auto", "log"),
        ([10, 1e-3], "linear", "linear"),
        ([2, 1], "auto", "linear"),
        ([2, 1], "log", "log"),
        ([10, 1e-3, 0], "auto", "linear"),
    ],
)
def test_the_scale_of_the_values(values, yscale, scale):
    rows = [{"epoch": i, "val_loss": y} for i, y in enumerate(values, start=1)]
    assert History(rows).plot(yscale=yscale).get_yscale() == scale


def test_what_a_logarithmic_axis_cannot_show_is_said():
    history = History([{"epoch": 1, "val_loss": 1.0}, {"epoch": 2, "val_loss": 0.0}])
    axes = history.plot(yscale="log")
    assert points(axes.lines[0]) == [(1, 1.0), (2, None)]
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["val_loss (not positive from epoch 2)"]


def test_an_unknown_scale_is_refused_before_a_figure_is_made(history):
    with pytest.raises(ConfigError, match="yscale is one of auto, linear, log"):
        history.plot(yscale="logarithmic")
    assert plt.get_fignums() == []


def test_the_legend_stands_above_the_curves(history):
    axes = history.plot()
    axes.figure.draw_without_rendering()
    assert axes.get_legend().get_window_extent().y0 >= axes.bbox.y1
