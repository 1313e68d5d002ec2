"""The numbers of a curve's final phase."""

import math

import numpy as np
import pytest
from tests.verdicts.test_student_t import closed_form

from gradbook.verdicts import verdict


def test_the_numbers_are_those_of_the_line_through_the_final_phase():
    rng = np.random.default_rng(0)
    curve = 0.5 * np.exp(-0.1 * np.arange(12) + 0.01 * rng.standard_normal(12))
    found = verdict({"train_loss": list(curve)})
    last, x = np.log(curve[6:]), np.arange(6)
    slope, intercept = np.polyfit(x, last, 1)
    residuals = last - slope * x - intercept
    noise = math.sqrt(residuals @ residuals / 4)
    assert (found.epochs, found.curve, found.start) == (12, "train_loss", curve[0])
    assert found.level == pytest.approx(np.median(curve[6:]))
    assert found.slope == pytest.approx(slope * found.level)
    assert found.noise == pytest.approx(noise * found.level)
    t = slope / (noise / math.sqrt(((x - x.mean()) ** 2).sum()))
    assert found.p_value == pytest.approx(closed_form(t, 4), abs=1e-12)
