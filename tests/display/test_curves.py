import itertools
import math

import pytest

from gradbook.display.curves import (
    Curve,
    check_scale,
    combination,
    curves_of,
    limits,
    short,
    vertical_scale,
)
from gradbook.errors import ConfigError


def test_points_without_a_position_are_left_out():
    curve = Curve.of("a", [1, math.nan, 3], [1, 2, 3])
    assert curve.y.tolist() == [1, 3]


def test_trouble_that_ends_is_at_a_place():
    assert Curve.of("a", [1, 2, 3], [1, math.nan, 3]).trouble("epoch") == "NaN at epoch 2"


def test_no_trouble_says_nothing():
    assert Curve.of("a", [1, 2], [1, 2]).trouble("epoch") == ""


def test_zero_is_trouble_on_a_log_scale_only():
    curve = Curve.of("a", [1, 2], [1, 0])
    assert not curve.trouble("x")
    assert curve.trouble("x", log=True) == "not positive from x = 2"


def test_the_curves_of_a_board_keep_their_order(board, point):
    point(1, 2, "b")
    point(1, 3, "a")
    assert [curve.label for curve in curves_of(board)] == ["b", "a"]


@pytest.mark.parametrize(
    ("given", "log", "expected"),
    [
        (None, False, None),
        ([0, 5], False, (0, 5)),
        ([5, 0], False, (5, 0)),
        ([3, 3], False, None),
        ([0, math.inf], False, None),
        ([0, 5], True, None),
    ],
)
def test_limits(given, log, expected):
    assert limits(given, log) == expected


def test_the_first_curves_go_through_both_lists_together():
    assert [combination(k, 4, 4) for k in range(4)] == [(0, 0), (1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize(("m", "n"), [(4, 4), (4, 3), (1, 5), (6, 4)])
def test_all_combinations_are_used_before_one_comes_again(m, n):
    seen = {combination(k, m, n) for k in range(m * n)}
    assert seen == set(itertools.product(range(m), range(n)))


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.0000"), (0.51234, "0.5123"), (1e-5, "1e-05"), (1e30, "1e+30")]
)
def test_short(value, text):
    assert short(value) == text


@pytest.mark.parametrize(
    ("curves", "scale"),
    [
        ({"train_loss": [20, 1e-3], "val_loss": [1, 1e-3]}, "log"),
        ({"train_loss": [1e-5, 2e-5], "val_loss": [1, 2]}, "log"),
        ({"train_loss": [2.3, 0.3], "val_acc": [0.1, 0.9]}, "linear"),
        ({"train_loss": [20, 1e-3], "val_acc": [0.0, 0.9]}, "linear"),
        ({"train_loss": [20, 1e-3, 0]}, "linear"),
        ({"train_loss": [20, 1e-3, math.nan, math.inf]}, "log"),
        ({"train_loss": [20, 1e-3], "val_loss": []}, "log"),
        ({"val_acc": [1e-3, 0.9]}, "linear"),
        ({"square": [1, 1e4]}, "linear"),
        ({"train_loss": [1e300, 1e-300]}, "log"),
        ({}, "linear"),
    ],
)
def test_auto_is_log_where_losses_span_decades_and_all_is_positive(curves, scale):
    drawn = [Curve.of(label, range(len(y)), y) for label, y in curves.items()]
    assert vertical_scale("auto", drawn) == scale
    assert vertical_scale("linear", drawn) == "linear"
    assert vertical_scale("log", drawn) == "log"


def test_a_scale_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match=r"auto, linear, log, but it is 'lgo'.*'log'"):
        check_scale("lgo")
