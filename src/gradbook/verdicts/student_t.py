"""Student's t distribution: how often noise gives so much."""

import math
from functools import cache, lru_cache

import numpy as np


def t_test(t: float, freedom: float) -> float:
    """The probability that Student's t is further from 0 than `t`.

    With t = sqrt(freedom) tan(angle), its density is proportional to cos(angle)^(freedom - 1).

    Args:
        t: A number.
        freedom: The degrees of freedom, at least 1; need not be whole.
    """
    angle = math.atan(abs(t) / math.sqrt(freedom))
    nodes, weights = _gauss_legendre()
    inside = angle / 2 * float(weights @ np.cos(angle / 2 * (nodes + 1)) ** (freedom - 1))
    log_beta = math.lgamma(freedom / 2) + math.lgamma(0.5) - math.lgamma((freedom + 1) / 2)
    return min(1.0, max(0.0, 1 - 2 * inside * math.exp(-log_beta)))


@lru_cache(maxsize=256)
def t_quantile(p_value: float, freedom: float) -> float:
    """The t from 0 up that `t_test` gives `p_value` for, by bisection."""
    low, high = 0.0, math.pi / 2
    while high - low > 1e-13:
        middle = (low + high) / 2
        if t_test(math.tan(middle), freedom) > p_value:
            low = middle
        else:
            high = middle
    return math.tan(low)


@cache
def _gauss_legendre() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of numerical integration from -1 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(100)
    return nodes, weights
