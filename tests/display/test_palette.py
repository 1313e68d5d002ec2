"""The colors of curves can be told apart, whoever looks."""

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest

from gradbook.display.palette import COLORS, color_of

#: What is left of linear red, green and blue for people who lack the cones for long, middle or
#: short waves, by the model of Machado, Oliveira and Fernandes (2009).
VISIONS = {
    "usual": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def linear(color):
    c = np.array(mpl.colors.to_rgb(color))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """Coordinates in which equal distances look equally far apart."""
    x = XYZ @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one, other):
    low, high = sorted((XYZ @ linear(color))[1] for color in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("vision", VISIONS)
def test_any_two_colors_differ_for_everybody(vision):
    seen = [lab(np.array(VISIONS[vision]) @ linear(color)) for color in COLORS]
    # About 2.3 is just noticed; of Matplotlib's own cycle the closest two are less than 5 apart.
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("page", ["#ffffff", "#12161c"])
def test_each_color_stands_out_from_the_page(color, page):
    assert contrast(color, page) >= 3


def test_the_names_of_matplotlibs_cycle_mean_these_colors():
    assert [color_of(f"C{number}") for number in range(9)] == [*COLORS, COLORS[0]]


def test_other_names_stay():
    assert [color_of(name) for name in ("red", "#123456", "C", "Cyan")] == [
        *("red", "#123456", "C", "Cyan")
    ]


def test_a_learners_own_cycle_stays():
    with mpl.rc_context({"axes.prop_cycle": mpl.cycler(color=["black"])}):
        assert color_of("C0") == "C0"
