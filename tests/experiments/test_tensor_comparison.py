"""Two tensors compared: equal up to rounding, a multiple, or another relation."""

import math

import pytest
import torch

from gradbook.experiments.tensor_comparison import are_close, compared


def compare(first, second, size=0.0):
    return compared("output", "a", "b", first, second, size)


def test_rounding_is_no_difference():
    X = torch.rand(5, 3)
    row = compare(X, X / 3 * 3)
    assert row.same
    assert row.difference < 1e-6


def test_a_difference_is_a_part_of_the_largest_element():
    X = torch.tensor([4.0, -8.0])
    row = compare(X, torch.tensor([4.0, -6.0]))
    assert not row.same
    assert row.difference == 0.25


def test_a_multiple_is_told_by_its_ratio():
    X = torch.randn(4, 3)
    assert compare(X, -2.5 * X).ratio == pytest.approx(-2.5)


def test_equal_places_without_a_number_are_the_same():
    X = torch.tensor([1.0, math.nan, math.inf])
    assert compare(X, X.clone()).same


@pytest.mark.parametrize(
    ("change", "relation"),
    [
        (lambda X: X.softmax(dim=-1), "B is the softmax of A"),
        (torch.tanh, "B is the tanh of A"),
        (lambda X: X + 3, "B is A plus 3 everywhere"),
        (lambda X: X + torch.arange(3.0), "all rows differ by the same row, as by a bias"),
        (lambda X: X + torch.arange(3.0)[:, None], "each row differs by a constant of its own"),
        (lambda X: X.T, "they are each other's transpose"),
    ],
)
def test_a_common_relation_is_recognized(change, relation):
    X = torch.randn(3, 3)
    assert compare(X, change(X)).relation.startswith(relation)


def test_any_two_columns_differ_by_a_number_in_each_row_so_that_this_is_not_said():
    assert compare(torch.randn(9, 1), torch.randn(9, 1)).relation == ""


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_two_tensors_without_a_number_cannot_be_compared(value):
    row = compare(torch.full((3, 2), value), torch.full((3, 2), value))
    assert not row.same
    assert math.isnan(row.difference)
    assert row.relation == "neither has a finite number"


def test_a_nan_in_one_of_them_is_counted():
    row = compare(torch.zeros(3, 2), torch.tensor([[0, math.nan], [0, 0], [math.inf, 0]]))
    assert not row.same
    assert row.relation == "of 6 elements, 0 of A and 2 of B are NaN or infinite"


def test_beside_equal_nans_the_numbers_are_compared():
    first = torch.tensor([math.nan, -math.inf, 4.0, 8.0])
    assert compare(first, first * (1 + 1e-7)).same
    row = compare(first, torch.tensor([math.nan, -math.inf, 4.0, 6.0]))
    assert (row.same, row.difference) == (False, 0.25)


def test_other_shapes_cannot_be_compared():
    X = torch.randn(4, 3)
    row = compare(X, X.T)
    assert math.isnan(row.difference)
    assert row.relation == "A has shape (4, 3), and B (3, 4): they are each other's transpose"


def test_an_update_is_as_exact_as_its_parameters():
    update = torch.tensor([1e-6])
    assert not compare(update, update * 1.01).same
    assert compare(update, update * 1.01, size=1.0).same


def test_closeness_is_a_part_of_the_largest_element():
    x = torch.tensor([100.0, 0.0])
    assert are_close(x, torch.tensor([100.0, 0.5]), 0.01)
    assert not are_close(x, torch.tensor([100.0, 1.5]), 0.01)
    assert not are_close(x, torch.tensor([100.0]), 0.01)
