"""The Lanczos method: the ends of the spectrum of a matrix that is known by its products alone.

Golub and Van Loan (2013), "Matrix Computations", sec. 10.1 and 10.3.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

#: The most numbers that the vectors found so far may take.
_BASIS_NUMBERS = 2**27


class Eigenpair(NamedTuple):
    """The largest eigenvalue and its unit eigenvector, as near as they were found.

    Of the smallest eigenvalue, `lowest` is a bound from above (Golub and Van Loan, theorem 10.1.2),
    and some eigenvalue lies within `lowest_residual` of it.
    """

    value: float
    vector: torch.Tensor
    residual: float
    num_products: int
    converged: bool
    lowest: float
    lowest_residual: float


def largest_eigenpair(
    product: Callable[[torch.Tensor], torch.Tensor],
    start: torch.Tensor,
    tolerance: float,
    max_products: int,
    *,
    lowest_tolerance: float = math.inf,
    lowest_products: int = 0,
) -> Eigenpair:
    """The largest eigenvalue of a symmetric matrix that is known by its products with vectors.

    The Lanczos method, each vector made orthogonal to all before it: Golub and Van Loan (2013),
    "Matrix Computations", sec. 10.1 and 10.3. Where memory is short it starts anew from the best
    vector so far.

    Args:
        product: Gives the matrix times a vector (n,).
        start: A vector (n,), not orthogonal to the eigenvector.
        tolerance: The residual at which to stop, as a part of the eigenvalue.
        max_products: The most products.
        lowest_tolerance: The same of the smallest eigenvalue, which is waited for.
        lowest_products: The products at which that waiting ends.

    Returns:
        The eigenvalue; its residual is the length of Av - value v. All are NaN if a product
        is not finite.
    """
    room = max(2, min(max_products, len(start), _BASIS_NUMBERS // len(start)))
    basis = start.new_empty(room, len(start))
    vector, num_products = start / start.norm(), 0
    lowest, lowest_residual = math.inf, math.inf
    while True:
        basis[0] = vector
        diagonal: list[float] = []
        beside: list[float] = []
        while True:
            size = len(diagonal) + 1
            known = basis[:size]
            image = product(known[-1])
            num_products += 1
            diagonal.append(float(image @ known[-1]))
            for _ in range(2):  # once leaves as much as rounding made of it
                image = image - known.T @ (known @ image)
            rest = float(image.norm())
            if not math.isfinite(diagonal[-1] + rest):
                nan = math.nan
                return Eigenpair(nan, vector, nan, num_products, False, nan, nan)
            T = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
            values, columns = np.linalg.eigh(T)
            value, coefficients = float(values[-1]), columns[:, -1]
            # The products are known no better than to the rounding of the largest eigenvalue.
            floor = torch.finfo(start.dtype).eps * float(np.abs(values).max())
            residual = max(rest * abs(float(coefficients[-1])), floor)
            converged = residual <= max(tolerance * abs(value), floor)
            if values[0] <= lowest:
                lowest = float(values[0])
                lowest_residual = max(rest * abs(float(columns[-1, 0])), floor)
            is_lowest = lowest_residual <= max(lowest_tolerance * abs(lowest), floor)
            found = converged and (is_lowest or num_products >= lowest_products)
            if found or size == room or num_products == max_products:
                break
            beside.append(rest)
            basis[size] = image / rest
        vector = known.T @ torch.tensor(coefficients, dtype=known.dtype, device=known.device)
        vector = vector / vector.norm()
        if converged or num_products == max_products or room == len(start):
            return Eigenpair(
                value, vector, residual, num_products, converged, lowest, lowest_residual
            )
