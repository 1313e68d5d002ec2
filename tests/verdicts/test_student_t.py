"""Student's t distribution against closed forms, tables and sums."""

import math

import numpy as np
import pytest

from gradbook.verdicts.student_t import t_quantile, t_test


def closed_form(t, freedom):
    """The two-sided p-value for 1, 2 and 4 degrees of freedom (Abramowitz and Stegun, 26.7)."""
    t = abs(t)
    sine = t / math.sqrt(freedom + t * t)
    if freedom == 1:
        return 1 - 2 / math.pi * math.atan(t)
    return 1 - sine if freedom == 2 else 1 - sine * (1 + (1 - sine**2) / 2)


@pytest.mark.parametrize("freedom", [1, 2, 4])
@pytest.mark.parametrize("t", [0, 0.1, -1, 2.5, 12.7, 100])
def test_a_p_value_is_that_of_the_closed_form(t, freedom):
    assert t_test(t, freedom) == pytest.approx(closed_form(t, freedom), abs=1e-12)


@pytest.mark.parametrize(
    ("p_value", "freedom", "t"),
    [
        (0.05, 1, 12.706),
        (0.05, 2, 4.303),
        (0.05, 3, 3.182),
        (0.05, 4, 2.776),
        (0.05, 10, 2.228),
        (0.05, 30, 2.042),
        (0.05, 120, 1.980),
        (0.1, 5, 2.015),
        (0.01, 2, 9.925),
        (0.01, 8, 3.355),
        (0.001, 3, 12.924),
        (0.001, 20, 3.850),
    ],
)
def test_a_quantile_is_that_of_the_tables(p_value, freedom, t):
    assert t_quantile(p_value, freedom) == pytest.approx(t, abs=6e-4)


@pytest.mark.slow
@pytest.mark.parametrize("freedom", [1.5, 2.7, 7.3])
def test_degrees_of_freedom_need_not_be_whole(freedom):
    x = np.linspace(1.7, 4000, 4_000_001)
    density = (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    norm = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    norm /= math.sqrt(freedom * math.pi)
    tail = 4000**-freedom * freedom ** ((freedom + 1) / 2) / freedom  # beyond the grid
    expected = 2 * norm * (np.trapezoid(density, x) + tail)
    assert t_test(1.7, freedom) == pytest.approx(expected, rel=1e-5)


def test_many_degrees_of_freedom_are_the_normal_distribution():
    assert t_test(1.5, 1e6) == pytest.approx(math.erfc(1.5 / math.sqrt(2)), rel=1e-5)
