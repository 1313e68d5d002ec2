import numpy as np
import pytest
import torch

from gradbook.display.animator import Animator
from gradbook.errors import ConfigError


def test_points_are_kept_by_curve():
    animator = Animator(legend=["loss", "acc"])
    animator.add(1, (0.5, 0.8))
    animator.add(2, (0.4, 0.9))
    assert animator.X == [[1, 2], [1, 2]]
    assert animator.Y == [[0.5, 0.4], [0.8, 0.9]]


def test_a_curve_without_a_value_gets_no_point():
    animator = Animator()
    animator.add(1, (0.5, None))
    animator.add(2, (None, 3))
    assert animator.X == [[1], [2]]


@pytest.mark.slow
@pytest.mark.parametrize("y", [0.5, np.float32(0.5), torch.tensor(0.5), [0.5]])
@pytest.mark.parametrize("x", [1, torch.tensor(1), [1]])
def test_single_values_of_any_kind(x, y):
    animator = Animator()
    animator.add(x, y)
    assert (animator.X, animator.Y) == ([[1]], [[0.5]])


def test_each_curve_may_have_its_own_position():
    animator = Animator()
    animator.add([1, 2], [3, 4])
    assert animator.X == [[1], [2]]


def test_positions_and_values_must_agree():
    with pytest.raises(ConfigError, match="2 positions for 3 values"):
        Animator().add([1, 2], [1, 2, 3])


def test_more_curves_than_formats_and_names():
    animator = Animator(legend=["a"])
    animator.add(0, range(9))
    assert len(animator._board.data) == 9


def test_the_formats_give_colors_and_styles():
    board = Animator(fmts=("-", "m--", "r:"))._board
    assert list(board.ls) == ["-", "--", ":"]
    assert board.colors[1:] == ["#bf00bf", "#ff0000"]


def test_the_other_axes_are_the_callers():
    animator = Animator(nrows=2, ncols=2)
    assert len(animator.axes) == 4
    assert animator.fig is animator.axes[3].figure


def test_a_board_draws_on_its_first_axes():
    animator = Animator(xlabel="epoch", xlim=(0, 5))
    assert animator._board.axes is animator.axes[0]


def test_formats_are_needed():
    with pytest.raises(ConfigError, match="fmts is empty"):
        Animator(fmts=())
