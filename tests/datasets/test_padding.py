import torch

from gradbook.datasets.padding import pad, valid_steps


def test_lists_are_cut_or_filled_up():
    assert pad([[1, 2, 3], [4], []], 2, padding=9).tolist() == [[1, 2], [4, 9], [9, 9]]


def test_without_a_length_the_longest_list_decides():
    assert pad([[1, 2, 3], [4]]).tolist() == [[1, 2, 3], [4, 0, 0]]
    assert pad([]).shape == (0, 0)


def test_the_dtype_can_be_chosen():
    assert pad([[1]], dtype=torch.int32).dtype is torch.int32
    assert pad([[1]]).dtype is torch.int64


def test_the_steps_before_the_valid_length_are_told():
    assert valid_steps(torch.tensor([0, 2]), 3).int().tolist() == [[0, 0, 0], [1, 1, 0]]
