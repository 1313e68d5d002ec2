import numpy as np
import pytest

from gradbook.book.gaussian_processes import rbfkernel
from gradbook.errors import ConfigError, ShapeError


def test_the_kernel_is_the_formula_for_each_pair():
    x1, x2 = np.linspace(0, 5, 7), np.linspace(-1, 2, 4)
    K = rbfkernel(x1, x2, ls=0.3)
    assert K.shape == (7, 4)
    assert K[2, 3] == pytest.approx(np.exp(-((x1[2] - x2[3]) ** 2) / 0.6))


def test_the_kernel_of_points_with_themselves_is_a_covariance():
    x = np.linspace(0, 5, 20)
    K = rbfkernel(x, x)
    np.testing.assert_array_equal(K, K.T)
    np.testing.assert_array_equal(np.diag(K), 1)
    assert np.linalg.eigvalsh(K).min() > -1e-9


def test_points_in_a_plane_are_refused():
    with pytest.raises(ShapeError, match=r"x2 .* \(3, 2\)"):
        rbfkernel(np.zeros(3), np.zeros((3, 2)))


@pytest.mark.parametrize("ls", [0, -1.0, np.nan])
def test_a_length_scale_that_is_not_above_zero_is_refused(ls):
    with pytest.raises(ConfigError, match="ls must be"):
        rbfkernel(np.zeros(3), np.zeros(2), ls)
