import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gradbook.display.file import save_figure
from gradbook.inspection import Calibration
from gradbook.inspection.pictures import (
    draw_calibration,
    draw_confusion,
    draw_images,
    draw_predicted,
    draw_weights,
    is_image,
)


def overlapping(texts, figure):
    """The number of texts that are drawn over another one, or over the figure's edge."""
    FigureCanvasAgg(figure).draw()
    texts = [text for text in texts if text.get_text()]
    x0, y0, x1, y1 = np.array([text.get_window_extent().extents for text in texts]).T
    width, height = figure.bbox.size
    outside = (x0 < 0) | (y0 < 0) | (x1 > width) | (y1 > height)
    beside = (x1[:, None] < x0) | (x0[:, None] > x1)
    over = ~(beside | (y1[:, None] < y0) | (y0[:, None] > y1))
    return int((outside | (over.sum(axis=1) > 1)).sum())


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 10, 25])
def test_the_counts_of_a_matrix_do_not_touch(k):
    figure = Figure()
    axes = draw_confusion(np.full((k, k), 5999), [f"class {i}" for i in range(k)], figure)
    assert len(axes.texts) == k * k
    assert overlapping(axes.texts, figure) == 0
    assert overlapping(axes.get_yticklabels(), figure) == 0


@pytest.mark.slow
def test_many_classes_have_colors_only():
    figure = Figure()
    axes = draw_confusion(np.eye(60, dtype=int), [f"class {i}" for i in range(60)], figure)
    assert len(axes.texts) == 0
    assert axes.get_yticklabels()[1].get_text() == "class 3"
    assert overlapping(axes.get_yticklabels(), figure) == 0


@pytest.mark.slow
def test_names_are_no_formulas():
    figure = Figure()
    axes = draw_confusion(np.eye(2, dtype=int), ["$a", "b$^"], figure)
    FigureCanvasAgg(figure).draw()
    assert axes.get_xticklabels()[1].get_text() == "b$^"
    assert not axes.get_xticklabels()[1].get_parse_math()


@pytest.mark.slow
def test_the_titles_of_images_do_not_touch():
    figure = Figure()
    axes = draw_images([torch.rand(1, 28, 28)] * 16, ["ankle boot\nankle boot 0.99"] * 16, figure)
    assert overlapping([ax.title for ax in axes], figure) == 0


def test_an_incomplete_row_of_images():
    figure = Figure()
    axes = draw_images([torch.rand(3, 8, 8)] * 5, ["a\nb"] * 5, figure)
    assert len(axes) == len(figure.axes) == 5


@pytest.mark.slow
def test_the_titles_of_weights_do_not_touch():
    figure = Figure()
    axes = draw_weights(
        np.random.default_rng(0).normal(size=(10, 28, 28)), ["ankle boot"] * 10, figure
    )
    assert overlapping([ax.title for ax in axes], figure) == 0


@pytest.mark.slow
def test_the_counts_of_bins_do_not_touch():
    bins = torch.linspace(0.05, 0.95, 10)
    calibration = Calibration(torch.linspace(0, 1, 11), torch.full((10,), 59999), bins, bins)
    figure = Figure()
    _, lower = draw_calibration(calibration, figure)
    assert overlapping(lower.texts, figure) == 0


@pytest.mark.slow
def test_many_points_are_no_vectors(tmp_path):
    values = np.random.default_rng(0).normal(size=20_000)
    figure = Figure()
    draw_predicted(values, values, figure)
    svg = tmp_path / "predicted.svg"
    save_figure(figure, [svg])
    assert svg.stat().st_size < 200_000


@pytest.mark.parametrize(
    ("shape", "answer"),
    [
        ((1, 4, 4), True),
        ((3, 4, 4), True),
        ((4, 4), True),
        ((2, 4, 4), False),
        ((4,), False),
        ((4, 1), False),
        ((1, 1, 4, 4), False),
    ],
)
def test_what_is_an_image(shape, answer):
    assert is_image(torch.zeros(shape)) is answer


def test_no_input_is_no_image():
    assert not is_image(None)
