"""The kernel of the chapter on Gaussian processes. Book: 18."""

from typing import TYPE_CHECKING, Any

from gradbook.checks import check_positive
from gradbook.errors import ShapeError

if TYPE_CHECKING:
    import numpy as np


def rbfkernel(x1: Any, x2: Any, ls: float = 4.0) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """The radial basis function kernel exp(-(x - x')² / (2 ls)) of all pairs of points.

    Args:
        x1: Points (n,).
        x2: Points (m,).
        ls: The square of the length scale, above 0: that is what the book's code calls `ls`.

    Returns:
        The kernel's values (n, m), from 0 to 1. Book: 18.1.4.

    Example:
        >>> print(rbfkernel([0.0, 1.0], [0.0, 1.0, 2.0], ls=0.5).round(3))
        [[1.    0.368 0.018]
         [0.368 1.    0.368]]
    """
    import numpy as np

    check_positive(ls, "ls")
    x1, x2 = np.asarray(x1, dtype=np.float64), np.asarray(x2, dtype=np.float64)
    for name, x in (("x1", x1), ("x2", x2)):
        if x.ndim != 1:
            raise ShapeError(f"{name} must be points on a line, of shape (n,), not {x.shape}.")
    values: np.ndarray[Any, np.dtype[np.float64]] = np.exp(
        (x1[:, None] - x2[None, :]) ** 2 / (-2 * ls)
    )
    return values
