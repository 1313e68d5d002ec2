"""The values that a sweep tries."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradbook.errors import ConfigError
from gradbook.sweeps.values import (
    Range,
    grid,
    grouped,
    is_swept,
    lin_range,
    log_range,
    read_values,
    sampled,
)


def test_a_log_range_has_equal_ratios():
    values = log_range(0.01, 1.0, 5).values()
    assert values == pytest.approx(np.geomspace(0.01, 1, 5), rel=1e-3)
    assert (values[0], values[-1]) == (0.01, 1.0)


def test_a_linear_range_has_equal_differences():
    assert lin_range(0.0, 1.0, 5).values() == [0, 0.25, 0.5, 0.75, 1]


def test_a_range_of_whole_numbers_has_whole_numbers_each_once():
    assert lin_range(1, 3, 9).values() == [1, 2, 3]
    assert log_range(16, 256, 5).values() == [16, 32, 64, 128, 256]
    assert all(type(value) is int for value in log_range(16, 256, 5).values())


@pytest.mark.slow
@given(
    low=st.floats(1e-6, 1e3),
    factor=st.floats(1.01, 1e6),
    place=st.floats(0, 1),
    is_log=st.booleans(),
)
def test_every_value_lies_within_the_range_to_its_four_digits(low, factor, place, is_log):
    value = Range(low, low * factor, is_log=is_log).at(place)
    assert low * (1 - 1e-3) <= value <= low * factor * (1 + 1e-3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((1, 1), "from a lower to a higher"),
        ((2, 1), "goes from 2 to 1"),
        ((0, 1, None, True), "must begin above 0"),
        ((math.nan, 1), "finite"),
        ((0, math.inf), "finite"),
        (("a", 1), "'a'"),
        ((True, 2), "True"),
        ((0, 1, 1), "at least 2"),
        ((0, 1, 2.5), "2.5"),
        ((0, 1, True), "True"),
    ],
)
def test_a_range_that_is_none_is_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        Range(*arguments)


def test_a_range_without_a_number_has_no_grid():
    with pytest.raises(ConfigError, match="num_samples"):
        log_range(0.1, 1).values()


@pytest.mark.parametrize("value", [[1], (1, 2), range(3), np.arange(2), lin_range(0, 1), {1, 2}])
def test_several_values_are_swept(value):
    assert is_swept(value)


@pytest.mark.parametrize("value", [1, 0.5, "adam", b"x", None, {"a": 1}, torch.zeros(3)])
def test_one_value_is_not(value):
    assert not is_swept(value)


def test_an_array_becomes_python_s_numbers():
    assert [type(v) for v in read_values("lr", np.array([0.1, 0.2]))] == [float, float]


def test_an_empty_list_is_refused():
    with pytest.raises(ConfigError, match="lr has no values"):
        read_values("lr", [])


def test_a_value_that_comes_twice_is_refused():
    with pytest.raises(ConfigError, match=r"lr names 0\.1 twice"):
        read_values("lr", [0.1, 0.2, 0.1])


def test_true_and_one_are_two_values():
    assert read_values("x", [True, 1]) == [True, 1]


def test_a_grid_has_every_combination_the_last_name_fastest():
    assert grid({"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_samples_are_different_lie_in_their_ranges_and_come_again():
    values = {"lr": log_range(0.001, 1.0), "width": [16, 32]}
    drawn = sampled(values, 12, seed=3)
    assert len({(d["lr"], d["width"]) for d in drawn}) == 12
    assert all(0.001 <= d["lr"] <= 1 and d["width"] in (16, 32) for d in drawn)
    assert sampled(values, 12, seed=3) == drawn != sampled(values, 12, seed=4)


def test_log_samples_are_even_in_their_logarithm():
    drawn = [d["lr"] for d in sampled({"lr": log_range(1e-4, 1.0)}, 400, seed=0)]
    logs = np.log10(drawn)
    assert abs(logs.mean() + 2) < 0.2
    assert abs((logs < -3).mean() - 0.25) < 0.1


def test_of_a_small_grid_there_are_no_more_samples_than_combinations():
    assert len(sampled({"a": [1, 2]}, 10, seed=0)) == 2


@pytest.mark.parametrize(
    ("value", "count"), [(range(10**9), "1,000,000,000"), (iter(int, 1), "more")]
)
def test_values_without_end_are_refused_before_they_are_listed(value, count):
    with pytest.raises(ConfigError, match=f"lr alone has {count} values"):
        read_values("lr", value)


def test_a_range_has_no_more_values_than_a_sweep_can_have():
    with pytest.raises(ConfigError, match="this range has 99,999,999 values"):
        log_range(0.1, 1, 99_999_999)


@pytest.mark.parametrize("make", [log_range, lin_range])
def test_a_range_ends_where_a_float_does(make):
    with pytest.raises(ConfigError, match=r"finite numbers, of 1.8e\+308 at most, but one is 1000"):
        make(1, 10**400)


def test_a_column_of_a_table_names_several_values():
    assert is_swept(pd.Series([0.1, 0.5]))


def test_only_what_has_the_same_key_is_compared():
    compared = []

    def are_alike(one, other):
        compared.append((one, other))
        return one == other

    groups = grouped([3, "a", 4, "b", 3, "a"], are_alike, key=type)
    assert groups == [[3, 3], ["a", "a"], [4], ["b"]]
    assert compared == [(3, 4), ("a", "b"), (3, 3), ("a", "a")]
    assert grouped([1, 12, 2], key=lambda n: len(str(n))) == [[1, 2], [12]]
