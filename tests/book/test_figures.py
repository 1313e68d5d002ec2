import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from gradbook.book.figures import plot, set_axes, set_figsize, show_images, use_svg_display
from gradbook.errors import ConfigError, GradbookWarning


@pytest.fixture(autouse=True)
def restore_settings():
    with mpl.rc_context():
        yield


def drawn():
    return [
        tuple(np.asarray(part).tolist() for part in line.get_data()) for line in plt.gca().lines
    ]


def test_outside_a_notebook_svg_is_harmless(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    use_svg_display()


def test_in_a_notebook_svg_is_chosen(monkeypatch):
    chosen = []
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    backend = SimpleNamespace(set_matplotlib_formats=chosen.append)
    monkeypatch.setitem(sys.modules, "matplotlib_inline", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "matplotlib_inline.backend_inline", backend)
    use_svg_display()
    assert chosen == ["svg"]


def test_the_size_of_figures():
    set_figsize((4, 3))
    assert plt.rcParams["figure.figsize"] == [4, 3]


@pytest.mark.parametrize("size", [(1,), (0, 2), (1, 2, 3)])
def test_an_impossible_size(size):
    with pytest.raises(ConfigError, match="width and a height"):
        set_figsize(size)


def test_set_axes_sets_all():
    _, axes = plt.subplots()
    axes.plot([1, 10], [1, 10])
    set_axes(axes, "x", "y", [1, 10], [1, 100], "log", "log", ["line"])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "y")
    assert (axes.get_xlim(), axes.get_ylim()) == ((1, 10), (1, 100))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_legend().get_texts()[0].get_text() == "line"


X = [0, 1, 2]
Y = [3.0, 4.0, 5.0]


@pytest.mark.parametrize("x", [X, tuple(X), np.array(X), torch.tensor(X), range(3)])
@pytest.mark.parametrize(
    "y", [Y, np.array(Y), torch.tensor(Y), torch.tensor(Y, requires_grad=True)]
)
def test_one_curve_of_any_kind(x, y):
    plot(x, y)
    assert drawn() == [(X, Y)]


@pytest.mark.parametrize(
    "ys",
    [
        [Y, Y],
        [np.array(Y), torch.tensor(Y)],
        np.array([Y, Y]),
        torch.tensor([Y, Y]),
        [[torch.tensor(y) for y in Y]] * 2,
    ],
)
def test_one_x_serves_many_y(ys):
    plot(torch.tensor(X), ys)
    assert drawn() == [(X, Y), (X, Y)]


def test_each_curve_has_its_own_x():
    plot([X, [5, 6]], [Y, [7, 8]])
    assert drawn() == [(X, Y), ([5, 6], [7, 8])]


def test_x_alone_is_drawn_against_its_index():
    plot([Y, [7]])
    assert drawn() == [(X, Y), ([0], [7])]


def test_numbers_of_many_kinds_make_one_curve():
    plot([np.float64(1), torch.tensor(2.0, requires_grad=True), 3])
    assert drawn()[0][1] == [1, 2, 3]


def test_more_curves_than_formats_are_all_drawn():
    plot(X, [Y] * 9)
    assert len(drawn()) == 9


def test_an_iterator_is_a_curve():
    plot(X, map(float, Y))
    assert drawn() == [(X, Y)]


def test_nothing_is_drawn_of_nothing():
    plot([], [])
    assert drawn() == [([], [])]


def test_bfloat16():
    plot(torch.tensor(Y, dtype=torch.bfloat16))
    assert drawn()[0][1] == Y


def test_the_axes_are_cleared_first():
    plot(X, Y)
    plot(X, Y)
    assert len(drawn()) == 1
    assert len(plt.get_fignums()) == 1


def test_given_axes_are_used():
    _, (left, right) = plt.subplots(1, 2)
    plot(X, Y, axes=left, xlabel="x", legend=["a"])
    assert (len(left.lines), len(right.lines)) == (1, 0)
    assert left.get_xlabel() == "x"


def test_points_that_differ_in_number():
    with pytest.raises(ConfigError, match="X has 3 points, but Y has 2"):
        plot(X, [1, 2])


def test_points_of_one_of_several_curves():
    with pytest.raises(ConfigError, match="X of curve 1 has 3 points, but Y has 2"):
        plot(X, [Y, [1, 2]])


def test_curves_that_differ_in_number():
    with pytest.raises(ConfigError, match="X has 2 curves, but Y has 3"):
        plot([X, X], [Y, Y, Y])


def test_a_single_number_is_no_curve():
    with pytest.raises(ConfigError, match="one number"):
        plot(torch.tensor(1.0))


def test_curves_and_numbers_do_not_mix():
    with pytest.raises(ConfigError, match="item 1 is the number 3"):
        plot([X, 3])


def test_images_of_any_kind():
    images = [
        torch.zeros(4, 5),
        np.zeros((4, 5, 3)),
        torch.zeros(1, 4, 5),
        torch.zeros(3, 4, 5),
        Image.new("L", (5, 4)),
        torch.zeros(4, 5, requires_grad=True),
    ]
    axes = show_images(images, 2, 3)
    assert axes.shape == (6,)
    assert [ax.images[0].get_array().shape[:2] for ax in axes] == [(4, 5)] * 6


def test_a_batch_tensor_is_a_list_of_images():
    assert len(show_images(torch.zeros(4, 6, 6), 2, 2)[3].images) == 1


def test_cells_without_an_image_are_blank():
    axes = show_images([np.zeros((2, 2))], 1, 3)
    assert [len(ax.images) for ax in axes] == [1, 0, 0]
    assert [ax.axison for ax in axes] == [True, False, False]


def test_images_without_a_cell_are_left_out():
    with pytest.warns(GradbookWarning, match=r"Of 9 images, 7 have no place in a grid of 1 x 2"):
        assert len(show_images(np.zeros((9, 2, 2)), 1, 2)) == 2


@pytest.mark.parametrize(
    ("imgs", "grid", "drawn"),
    [
        (np.zeros((8, 9)), {}, 1),
        (np.zeros((6, 2, 2)), {}, 6),
        ([np.zeros((8, 9))] * 5, {"num_rows": 2}, 5),
        (np.zeros((3, 8, 9)), {}, 1),
    ],
)
def test_without_a_grid_there_is_a_place_for_each_image(imgs, grid, drawn):
    axes = show_images(imgs, **grid)
    assert sum(len(ax.images) for ax in axes) == drawn
    assert len(axes) - drawn <= 1


@pytest.mark.parametrize(
    ("imgs", "told"),
    [
        (torch.rand(6, 784), r"one row of 784 numbers.*`X.reshape\(-1, 28, 28\)`"),
        ([torch.rand(784)], r"one row of 784 numbers.*`X.reshape\(-1, 28, 28\)`"),
        ([torch.rand(10)], r"`X.reshape\(-1, height, width\)`"),
        (["cat.png"], r"PIL images, but got 'cat.png'\. .*`PIL.Image.open\(path\)`"),
        ("cat.png", r"but got 'cat.png'\. .*`PIL.Image.open\(path\)`"),
        ([Path("cat.png")], r"`PIL.Image.open\(path\)`"),
        ([None], r"PIL images, but got None\."),
        ([], "There is no image"),
        (torch.zeros(0, 2, 2), "There is no image"),
    ],
)
def test_what_cannot_be_drawn_is_told_what_to_write(imgs, told):
    with pytest.raises(ConfigError, match=told):
        show_images(imgs, 2, 3)
    assert plt.get_fignums() == []


def test_titles_may_be_fewer():
    axes = show_images(np.zeros((3, 2, 2)), 1, 3, titles=["a", "b"])
    assert [ax.get_title() for ax in axes] == ["a", "b", ""]


def test_one_cell_is_an_array_too():
    assert show_images([np.zeros((2, 2))], 1, 1, scale=2).shape == (1,)
    assert plt.gcf().get_size_inches().tolist() == [2, 2]


def test_a_batch_with_a_channel_is_a_list_of_gray_images():
    axes = show_images(torch.zeros(2, 1, 5, 4), 1, 2)
    assert [ax.images[0].get_array().shape for ax in axes] == [(5, 4)] * 2


@pytest.mark.parametrize("shape", [(4,), (2, 2, 3, 6, 6), (1, 5, 6, 7)])
def test_what_has_no_shape_of_images(shape):
    with pytest.raises(ConfigError, match="An image has the shape"):
        show_images(torch.zeros(shape), 1, 2)
    assert plt.get_fignums() == []


def test_a_legend_may_be_none():
    plot(X, Y, legend=None)
    assert plt.gca().get_legend() is None


@pytest.mark.parametrize("ends", [[float("nan"), 1], [1], 3, ["a", "b"]])
def test_what_is_no_range(ends):
    with pytest.raises(ConfigError, match=r"xlim=.*two finite numbers"):
        plot(X, Y, xlim=ends)


@pytest.mark.parametrize("num_rows", [0, 1.5])
def test_a_grid_without_a_place(num_rows):
    with pytest.raises(ConfigError, match="num_rows"):
        show_images([], num_rows, 3)


COLUMN = torch.tensor(Y).reshape(3, 1)


@pytest.mark.parametrize(
    "y",
    [
        COLUMN,
        COLUMN.numpy(),
        [COLUMN],
        pd.Series(Y),
        pd.DataFrame({"a": Y}),
        [torch.tensor([y]) for y in Y],
        [np.array([[y]]) for y in Y],
    ],
)
def test_a_column_is_one_curve(y):
    plot(X, y)
    assert drawn() == [(X, Y)]


def test_positions_may_be_a_column_too():
    plot(torch.tensor(X).reshape(3, 1), [COLUMN, COLUMN])
    assert drawn() == [(X, Y), (X, Y)]


def test_curves_of_one_point_stay_curves():
    plot([[1], [2]], [[3], [4]])
    assert drawn() == [([1], [3]), ([2], [4])]


@pytest.mark.parametrize("make", [pd.DataFrame, dict])
@pytest.mark.parametrize("x", [(), (X,)])
def test_each_column_of_a_table_is_a_curve_with_its_name(make, x):
    plot(*x, make({"a": Y, "b": X}))
    assert drawn() == [(X, Y), (X, X)]
    assert [text.get_text() for text in plt.gca().get_legend().get_texts()] == ["a", "b"]


def test_a_legend_of_one_s_own_comes_before_the_names_of_columns():
    plot(pd.DataFrame({"a": Y}), legend="mine")
    assert [text.get_text() for text in plt.gca().get_legend().get_texts()] == ["mine"]


def test_text_gives_positions_by_name():
    plot(["mon", "tue"], [1, 2])
    assert drawn() == [(["mon", "tue"], [1, 2])]


def test_what_has_more_dimensions_is_no_curve():
    with pytest.raises(ConfigError, match=r"item 0 of a list of curves has \(3, 2\)"):
        plot(torch.ones(2, 3, 2))


def test_a_single_format_is_one_format():
    plot(X, [Y, Y], fmts="ro")
    assert [(line.get_marker(), line.get_color()) for line in plt.gca().lines] == [("o", "r")] * 2


@pytest.mark.parametrize(
    ("image", "shape"),
    [
        (torch.zeros(8, 9), (8, 9)),
        (np.zeros((8, 9, 3)), (8, 9, 3)),
        (np.zeros((8, 9, 1)), (8, 9)),
        (torch.zeros(3, 8, 9), (8, 9, 3)),
        (torch.zeros(1, 8, 9), (8, 9)),
        (Image.new("L", (9, 8)), (8, 9)),
    ],
)
def test_a_lone_image_needs_no_list(image, shape):
    (axes,) = show_images(image, 1, 1, titles="cat")
    assert axes.images[0].get_array().shape == shape
    assert axes.get_title() == "cat"


@pytest.mark.parametrize("shape", [(3, 8, 9), (4, 3, 3), (16, 3, 3)])
def test_several_gray_images_stay_several(shape):
    axes = show_images(torch.zeros(shape), 2, 8)[: shape[0]]
    assert [ax.images[0].get_array().shape for ax in axes] == [shape[1:]] * shape[0]


@pytest.mark.parametrize("titles", [7, torch.tensor(7), torch.tensor([7]), iter([7])])
def test_a_title_may_be_a_number(titles):
    assert show_images(torch.zeros(8, 9), 1, 1, titles=titles)[0].get_title() == "7"


@pytest.mark.parametrize("imgs", [None, 3])
def test_what_is_no_image(imgs):
    with pytest.raises(ConfigError, match=f"tensors, arrays or PIL images, but got {imgs}"):
        show_images(imgs, 1, 1)


def test_an_image_of_lists():
    assert show_images([[[1, 2], [3, 4]]], 1, 1)[0].images[0].get_array().shape == (2, 2)


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        ((None,), {}, "this is None"),
        (([1, 2], torch.sin), {}, r"a function. Give its values, such as f\(x\)"),
        ((np.arange(5), np.zeros((5, 2))), {}, "5 points, but Y has 2.*give `Y.T`"),
        ((torch.arange(5), torch.zeros(5, 2)), {}, "give `Y.T`"),
        (([1, 2],), {"xscale": "logarithmic"}, "xscale is one of linear, log.*'logarithmic'"),
        (([1, 2],), {"yscale": None}, "yscale is one of linear"),
        (([1, 2],), {"fmts": ["zz"]}, "with the format 'zz'"),
    ],
)
def test_what_cannot_be_plotted_is_told_what_to_write(args, kwargs, told):
    with pytest.raises(ConfigError, match=told):
        plot(*args, **kwargs)


def test_a_sparse_tensor_is_drawn_as_its_values():
    plot(torch.tensor([0.0, 2.0]).to_sparse())
    assert drawn() == [([0, 1], [0, 2])]
