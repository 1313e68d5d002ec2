"""The figure of a gradient report."""

import io
import math

import numpy as np
import pytest
from matplotlib.colors import to_hex
from tests.watching.watched import Deep, fit

from gradbook.watching.gradient_picture import draw_gradients
from gradbook.watching.gradient_rows import LayerRow

pytestmark = pytest.mark.slow


def test_the_figure_has_the_layers_and_at_most_five_epochs():
    report = fit(Deep(num_layers=4), max_epochs=7).gradients
    figure = report.figure()
    axes, names = figure.axes[0], [each.get_text() for each in figure.axes[2].get_xticklabels()]
    assert names == ["net.0", "net.2", "net.4", "net.6"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "epoch 1"
    assert labels[-1] == "epoch 7"
    assert len({to_hex(line.get_color()) for line in axes.lines}) == 5
    assert len({line.get_linestyle() for line in axes.lines}) >= 4
    heights = axes.lines[0].get_ydata()
    expected = [row.grad_rms for row in report.rows if row.epoch == 1]
    np.testing.assert_allclose(heights, expected)


def test_nan_is_drawn_as_nothing():
    row = LayerRow(1, "w", "", 2, True, 1, *[math.nan] * 4, "", 0, 0, math.nan, math.nan)
    figure = draw_gradients([row])
    assert "no finite gradient" in figure.legends[0].get_texts()[0].get_text()
    figure.savefig(io.BytesIO(), format="png")
