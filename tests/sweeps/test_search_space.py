"""Swept values as Optuna knows them, and back."""

import optuna
import pytest

from gradbook.sweeps.search_space import SearchSpace, end_of, listed
from gradbook.sweeps.values import lin_range, log_range


@pytest.mark.parametrize(
    ("values", "kind", "is_log"),
    [
        (log_range(0.001, 1.0), "FloatDistribution", True),
        (lin_range(0.1, 1.0), "FloatDistribution", False),
        (lin_range(1, 50), "IntDistribution", False),
        (log_range(1, 512), "IntDistribution", True),
    ],
)
def test_a_range_is_drawn_on_its_scale(values, kind, is_log):
    drawn = SearchSpace({"x": values}).distributions()["x"]
    assert type(drawn).__name__ == kind
    assert (drawn.low, drawn.high, drawn.log) == (values.low, values.high, is_log)


def test_a_range_with_a_number_of_values_is_a_choice_among_them():
    drawn = SearchSpace({"lr": log_range(0.01, 1.0, 3)}).distributions()["lr"]
    assert drawn.choices == (0.01, 0.1, 1.0)


@pytest.mark.parametrize(
    "choices", [[0.1, 0.3], ["relu", None], [[1], [2, 3]], [1, True], [int, float]]
)
def test_each_choice_stands_for_its_value(choices):
    space = SearchSpace({"x": choices})
    drawn = space.distributions()["x"]
    assert isinstance(drawn, optuna.distributions.CategoricalDistribution)
    found = [space.values({"x": choice})["x"] for choice in drawn.choices]
    assert all(one is other for one, other in zip(found, choices, strict=True))


def test_decimal_numbers_are_written_as_people_write_them_and_stay_in_their_range():
    space = SearchSpace({"lr": log_range(0.12344, 1.0)})
    assert space.values({"lr": 0.98765432})["lr"] == 0.9877
    assert space.values({"lr": 0.12344})["lr"] == 0.12344


def test_whole_numbers_stay_whole():
    value = SearchSpace({"n": lin_range(1, 9)}).values({"n": 3})["n"]
    assert (value, type(value)) == (3, int)


def test_ends_are_those_of_the_range_or_of_the_list():
    assert [end_of(lin_range(2, 7), lowest) for lowest in (True, False)] == [2, 7]
    assert [end_of(["a", "b", "c"], lowest) for lowest in (True, False)] == ["a", "c"]
    assert listed(lin_range(1, 3, 3)) == [1, 2, 3]
