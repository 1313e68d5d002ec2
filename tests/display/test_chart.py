import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradbook.display import chart
from gradbook.display.chart import FRAME, plain, render
from gradbook.display.curves import Curve

X = np.linspace(0, 10, 50)


def falling(label="loss"):
    return Curve.of(label, X, np.exp(-X / 3))


def rising(label="acc"):
    return Curve.of(label, X, 1 - np.exp(-X / 3))


def widths(lines):
    return [sum(len(span.text) for span in line) for line in lines]


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width", [30, 40, 80, 120])
@pytest.mark.parametrize("height", [1, 3, 6, 8, 12, 30])
def test_it_stays_within_its_room(width, height, unicode):
    lines = render([falling(), rising()], width, height, xlabel="epoch", unicode=unicode)
    assert len(lines) <= height
    assert max(widths(lines)) <= width


def test_ascii_is_ascii_even_for_other_names():
    curve = Curve.of("perte é\n訓練", X, X)
    assert plain(render([curve], unicode=False, ylabel="ö", xlabel="ü")).isascii()


def test_a_falling_curve_falls():
    rows = plain(render([falling()], 60, 20, unicode=False)).splitlines()[:16]
    places = [row.index("*") for row in rows if "*" in row]
    assert len(places) == 16
    assert places == sorted(places)


def test_a_lone_point_is_seen():
    assert plain(render([Curve.of("a", [1], [5])], 40, 12)).count("●") == 2  # and in the legend


def test_no_curve_gives_an_empty_frame():
    text = plain(render([], 40, 10, xlabel="epoch", xlim=(0, 5)))
    assert "└" in text
    assert "epoch" in text


def test_every_curve_has_its_color_and_its_sign():
    curves = [Curve.of(f"c{k}", X, X * k) for k in range(12)]
    lines = render(curves, 80, 40)
    legend = {span.curve: span.text for line in lines[-12:] for span in line if span.curve >= 0}
    assert set(legend) == set(range(12))
    assert len({legend[k] for k in range(10)}) == 10


def test_in_ascii_each_curve_has_its_own_letter():
    text = plain(render([falling(), rising()], 60, 16, unicode=False))
    assert text.count("*") > 5
    assert text.count("o") > 5


def test_too_many_curves_for_the_legend_are_counted():
    curves = [Curve.of(f"curve{k}", X, X * k) for k in range(60)]
    assert "more" in plain(render(curves, 60, 16)).splitlines()[-1]


def test_the_legend_has_the_last_values():
    assert "loss 0.0357" in plain(render([falling()]))


@pytest.mark.parametrize(("bad", "name"), [(math.nan, "NaN"), (math.inf, "inf")])
def test_what_is_not_finite_is_marked_at_the_top_and_said(bad, name):
    curve = Curve.of("train_loss", [1, 2, 2.5, 3], [1, 2, bad, bad])
    lines = plain(render([curve], 60, 14, xlabel="epoch")).splitlines()
    assert lines[0].count("×") == 2
    assert f"train_loss ({name} from epoch 2.5)" in lines[-1]


def test_minus_infinity_is_marked_at_the_bottom():
    lines = plain(render([Curve.of("a", [1, 2, 3], [1, -math.inf, 3])], 60, 12)).splitlines()
    assert "×" in lines[8]
    assert "-inf at x = 2" in lines[-1]


def test_only_nan_is_drawn_too():
    assert plain(render([Curve.of("a", [1, 2], [math.nan] * 2)], 40, 10)).count("×") == 2


def test_a_nan_is_a_gap_in_the_line():
    y = np.where((X > 3) & (X < 7), np.nan, 0.5)
    rows = plain(render([Curve.of("a", X, y)], 60, 14, ylim=(0, 1))).splitlines()
    assert {row.ljust(60)[4 + 56 // 2] for row in rows[1:11]} == {" "}


def test_a_log_scale_leaves_out_what_has_no_logarithm():
    curve = Curve.of("a", [1, 2, 3, 4], [0, -1, 10, 1000])
    text = plain(render([curve], 60, 14, yscale="log"))
    assert "not positive at x = 1" in text
    assert "100" in text


def test_on_a_log_scale_a_power_is_a_straight_line():
    curve = Curve.of("a", range(1, 41), [10.0**-k for k in range(1, 41)])
    rows = plain(render([curve], 50, 24, yscale="log", unicode=False)).splitlines()[:-3]
    places = [row.index("*") for row in rows]
    steps = {after - before for before, after in pairwise(places[:-1])}
    assert steps <= {1, 2, 3}


def test_a_log_x_axis_ignores_limits_that_have_no_logarithm():
    assert "└" in plain(render([falling()], xscale="log", xlim=(0, 10)))


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("ends", [(1e-308, 1.7e308), (5e-324, 1e-323), (1e300, 1.1e300)])
def test_huge_and_tiny_values(scale, ends):
    assert "●" in plain(render([Curve.of("a", [1, 2], ends)], yscale=scale))


def test_two_huge_ends_of_different_sign():
    assert "●" in plain(render([Curve.of("a", [1, 2], [-1.7e308, 1.7e308])]))


def test_points_outside_the_limits_are_cut_off():
    curve = Curve.of("a", [0, 1, 2], [0, 1e9, 0])
    lines = render([curve], 40, 12, ylim=(0, 1), xlim=(0, 2))
    assert max(widths(lines)) <= 40


def test_limits_can_be_reversed():
    up = plain(render([Curve.of("a", [0, 1], [0, 1])], 40, 12)).splitlines()
    down = plain(render([Curve.of("a", [0, 1], [0, 1])], 40, 12, ylim=(1, 0))).splitlines()
    assert "●" in up[0]
    assert "●" in down[8]


def test_ticks_are_round():
    assert [text for _, text in chart._ticks(0, 10, 5, False)] == ["0", "2", "4", "6", "8", "10"]
    assert [text for _, text in chart._ticks(0, 0.9, 4, False)] == ["0", "0.5"]
    assert [text for _, text in chart._ticks(1e-3, 1e2, 8, True)] == [
        "0.001", "0.01", "0.1", "1", "10", "100",
    ]  # fmt: skip


def test_ticks_that_are_close_together_can_be_told_apart():
    texts = [text for _, text in chart._ticks(1_000_000, 1_000_003, 4, False)]
    assert len(set(texts)) == len(texts) >= 3


def test_the_frame_belongs_to_no_curve():
    line = render([falling()], 40, 12)[-3]
    assert {span.curve for span in line} == {FRAME}


def test_without_braille_dots_are_not_dashed_away():
    first = plain(render([falling()], 60, 14, unicode=False)).count("*")
    assert plain(render([rising(), falling()], 60, 14, unicode=False)).count("o") >= first - 8


@pytest.mark.slow
@given(
    st.lists(
        st.lists(st.tuples(st.floats(), st.floats()), max_size=8),
        max_size=4,
    ),
    st.integers(1, 90),
    st.integers(1, 30),
    st.sampled_from(["linear", "log"]),
    st.sampled_from(["linear", "log"]),
    st.booleans(),
)
def test_anything_can_be_drawn(points, width, height, xscale, yscale, unicode):
    curves = [
        Curve.of(f"c{k}", [x for x, _ in pairs], [y for _, y in pairs])
        for k, pairs in enumerate(points)
    ]
    lines = render(curves, width, height, xscale=xscale, yscale=yscale, unicode=unicode)
    assert len(lines) <= height
    assert max(widths(lines), default=0) <= max(width, 10)


@pytest.mark.parametrize("size", [(80, 18), (30, 9)])
def test_points_that_would_not_show_are_left_out_of_a_long_curve(monkeypatch, size):
    x = np.linspace(0, 10, 50_000)
    y = np.exp(-x) + np.random.default_rng(0).normal(0, 0.1, len(x))
    y[20_000:21_000] = np.nan
    curve = Curve("loss", x, y)
    thinned = chart.render([curve], *size)
    monkeypatch.setattr(chart, "_MANY_POINTS", 10**9)
    assert chart.render([curve], *size) == thinned
