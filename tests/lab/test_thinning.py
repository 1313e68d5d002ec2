"""Long curves as fewer points that look the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradbook.lab.thinning import thinned


def test_a_short_curve_keeps_all_its_points():
    assert thinned(np.arange(10.0), np.arange(10.0), 10).tolist() == list(range(10))
    assert thinned(np.zeros(0), np.zeros(0)).tolist() == []


@pytest.mark.parametrize("num", [2001, 2999, 3000, 10_007, 1_000_000])
def test_a_long_one_keeps_about_so_many(num):
    kept = thinned(np.arange(num), np.random.default_rng(0).normal(size=num), 2000)
    assert 600 < len(kept) <= 2010


@given(
    st.lists(st.floats(), min_size=1, max_size=400),
    st.integers(1, 40),
)
def test_no_peak_and_no_gap_is_lost(ys, num_points):
    y = np.array(ys)
    kept = thinned(np.arange(len(y)), y, num_points)
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert kept[0] == 0
    assert kept[-1] == len(y) - 1
    finite = y[np.isfinite(y)]
    if len(finite):
        assert y[kept][np.isfinite(y[kept])].max() == finite.max()
        assert y[kept][np.isfinite(y[kept])].min() == finite.min()
    assert np.isfinite(y[kept]).all() == np.isfinite(y).all()


def test_a_single_peak_among_very_many_points_is_kept():
    y = np.zeros(100_000)
    y[54_321] = 7
    y[12_345] = np.nan
    kept = thinned(np.arange(len(y)), y)
    assert {54_321, 12_345} <= set(kept.tolist())
