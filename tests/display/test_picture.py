import io
import sys
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from gradbook.board import ProgressBoard
from gradbook.display.palette import COLORS
from gradbook.display.picture import Picture


@pytest.fixture
def picture(board):
    return Picture(board)


def legend(picture):
    return [text.get_text() for text in picture.axes.get_legend().get_texts()]


def inks(png):
    """Which pixels of a PNG image are not white."""
    return (imread(io.BytesIO(png))[..., :3] < 0.95).any(-1)


def test_artists_do_not_pile_up(picture, point):
    counts = set()
    for x in range(5):
        point(x, x)
        picture.update()
        counts.add(len(picture.axes.get_children()))
    assert len(counts) == 1


def test_the_line_has_the_points(picture, point):
    point(1, 2)
    point(2, 3)
    picture.update()
    x, y = picture.axes.lines[0].get_data()
    assert (list(x), list(y)) == ([1, 2], [2, 3])


def test_it_follows_the_book_in_size_colors_and_styles(picture, point):
    for label in "abcd":
        point(0, 1, label)
        point(1, 2, label)
    picture.update()
    lines = picture.axes.lines[::3]
    assert [line.get_color() for line in lines] == list(COLORS[:4])
    assert [line.get_linestyle() for line in lines] == ["-", "--", "-.", ":"]
    assert tuple(picture.figure.get_size_inches()) == (3.5, 2.5)
    assert picture.axes.get_xlim() == (0, 4)
    assert picture.axes.get_xlabel() == "epoch"


def test_sixteen_curves_all_differ(picture, point):
    for k in range(16):
        point(0, k, f"c{k}")
    picture.update()
    lines = picture.axes.lines[::3]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 16


def test_a_lone_point_has_a_marker_until_there_are_two(picture, point):
    point(1, 2)
    picture.update()
    assert picture.axes.lines[0].get_marker() == "o"
    point(2, 2)
    picture.update()
    assert picture.axes.lines[0].get_marker() == ""


@pytest.mark.parametrize(("bad", "edge"), [(np.nan, 1), (np.inf, 1), (-np.inf, 0)])
def test_what_is_not_finite_is_a_cross_on_the_edge(picture, point, bad, edge):
    for x, y in enumerate([1, 2, bad, bad]):
        point(x, y)
    picture.update()
    high, low = picture.axes.lines[1:3]
    crosses, others = (high, low) if edge else (low, high)
    assert crosses.get_data()[0].tolist() == [2, 3]
    assert set(crosses.get_data()[1]) == {edge}
    assert len(others.get_data()[0]) == 0
    assert legend(picture)[0].startswith("train_loss (")
    assert "from epoch 2" in legend(picture)[0]


def test_crosses_are_thinned_out_and_kept_inside(picture, point):
    for x in np.linspace(0, 8, 1000):
        point(x, np.nan)
    picture.update()
    x, _ = picture.axes.lines[1].get_data()
    assert 10 < len(x) < 31
    assert x.max() <= 4


def test_a_log_scale_is_honored(board, point):
    board.yscale = "log"
    picture = Picture(board)
    for x, y in enumerate([10, 0, 1000]):
        point(x, y)
    picture.update()
    assert picture.axes.get_yscale() == "log"
    assert "not positive at epoch 1" in legend(picture)[0]
    assert picture.axes.get_ylim()[0] > 1


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("y", [[1e308, -1e308], [1e300, 1e308], [np.nan, np.nan], [0, 0], [1e-320]])
def test_no_value_breaks_it(board, point, scale, y):
    board.xscale = board.yscale = scale
    for x, value in enumerate(y):
        point(x, value)
    picture = Picture(board)
    picture.update()
    assert picture.svg().rstrip().endswith("</svg>")


def test_limits_that_cannot_be_used_are_left_out(board, point):
    board.xlim, board.ylim = (1, 1), (0, np.inf)
    point(0, 1)
    picture = Picture(board)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture.update()


def test_a_curve_that_is_gone_is_removed(board, picture, point):
    point(0, 1, "old")
    picture.update()
    board.clear()
    board.sinks = []
    point(0, 1, "new")
    picture.update()
    assert legend(picture) == ["new"]
    assert len(picture.axes.lines) == 3


def test_the_learners_axes_are_used_and_kept(point, board):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    left.plot([1, 2], [3, 4])
    right.plot([1, 2], [3, 4])
    right.set_ylabel("mine")
    board.axes = right
    point(0, 1)
    for _ in range(2):  # the second picture replaces what the first one drew
        picture = Picture(board)
        picture.update()
    assert picture.figure is figure
    assert (len(left.lines), len(right.lines)) == (1, 4)
    assert right.get_ylabel() == "mine"


def test_the_learners_figure_is_used(board, point):
    board.fig = Figure()
    point(0, 1)
    Picture(board).update()
    assert len(board.fig.axes) == 1


@pytest.mark.slow
@pytest.mark.parametrize("y", [[0.1, 0.9], [1e4, 9e5], [1e-9, 2e-9], [1e30, 2e30], [-1e5, 1e5]])
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_nothing_is_cut_off_at_the_border(board, point, y, scale):
    board.yscale, board.ylabel = scale, "loss"
    for x, value in enumerate(y):
        point(x, value)
    picture = Picture(board)
    picture.update()
    ink = inks(picture.png(dpi=100))
    assert not ink[0].any()
    assert not ink[-1].any()
    assert not ink[:, 0].any()
    assert not ink[:, -1].any()


def test_the_legend_goes_where_the_curve_is_not(board, picture, point):
    for x in range(5):
        point(x, 4 - x)
    picture.update()
    picture.figure.canvas.draw()
    box = picture.axes.get_legend().get_window_extent()
    path = picture.axes.transData.transform(picture.axes.lines[0].get_xydata())
    assert not any(box.contains(*place) for place in path)


@pytest.mark.parametrize("num_curves", [1, 3, 16])
@pytest.mark.parametrize("headline", [None, "epoch 3/10   0:12 < 0:40   1234 steps/s"])
def test_headline_legend_and_axes_are_one_below_the_other(picture, point, num_curves, headline):
    for k in range(num_curves):
        point(0, 1, f"val_loss_{k}")
        point(4, k, f"val_loss_{k}")
    picture.update(headline)
    picture.figure.draw_without_rendering()
    legend, axes = picture.axes.get_legend().get_window_extent(), picture.axes.bbox
    assert axes.y1 < legend.y0
    assert legend.x1 <= picture.figure.bbox.x1
    assert axes.height > 0.5 * 2.5 * picture.figure.dpi
    if headline:
        told = picture.figure.texts[0].get_window_extent()
        assert legend.y1 <= told.y0 + 2
        assert told.y1 <= picture.figure.bbox.y1
        assert told.x1 <= picture.figure.bbox.x1


def test_with_a_headline_the_legend_has_the_last_values(picture, point):
    for x, y in enumerate([3, 0.25, np.nan]):
        point(x, y)
        point(x, x, "val_acc")
    picture.update("epoch 3/4")
    assert legend(picture) == ["train_loss (NaN from epoch 2)", "val_acc 2.0000"]


def test_an_automatic_scale_follows_the_values(board, picture, point):
    board.yscale = "auto"
    scales = []
    for x, y in enumerate([10, 1, 1e-3, 0]):
        point(x, y)
        picture.update()
        scales.append(picture.axes.get_yscale())
    assert scales == ["linear", "linear", "log", "linear"]


def test_an_automatic_scale_leaves_the_learners_axes_logarithmic(board, point):
    board.yscale = "auto"
    board.axes = Figure().add_subplot()
    board.axes.set_yscale("log")
    for x, y in enumerate([3, 2]):
        point(x, y)
    Picture(board).update()
    assert board.axes.get_yscale() == "log"


def test_pyplot_is_not_told(point, picture):
    point(0, 1)
    picture.update()
    plt = sys.modules.get("matplotlib.pyplot")
    assert plt is None or plt.get_fignums() == []


def test_letters_are_outlines_in_a_file(picture, point):
    point(0, 1)
    picture.update()
    assert "<text" in picture.svg()
    assert "<text" not in picture.svg(text=False)


def test_the_settings_are_left_as_they_were(picture, point):
    import matplotlib as mpl

    point(0, 1)
    picture.update()
    before = dict(mpl.rcParams)
    picture.svg()
    assert dict(mpl.rcParams) == before


def test_a_board_without_a_name_for_x(point):
    board = ProgressBoard(display=False)
    board.draw(1, np.nan, "a")
    picture = Picture(board)
    picture.update()
    assert legend(picture) == ["a (NaN from x = 1)"]


def test_a_label_is_plain_text(picture, point):
    point(0, 1, r"cost in $ \\frac{$")
    picture.update()
    assert picture.png().startswith(b"\x89PNG")


def test_the_legend_shows_a_marker_only_while_the_curve_has_one(picture, point):
    markers = []
    for x in (1, 2):
        point(x, 2)
        picture.update()
        markers.append(picture.axes.get_legend().get_lines()[0].get_marker())
    assert markers[0] == "o"
    assert markers[1] in ("", "None")
