"""Curves of many points as fewer, which look the same: no peak and no gap is lost."""

import numpy as np


def thinned(x: np.ndarray, y: np.ndarray, num_points: int = 2000) -> np.ndarray:
    """Which points to draw of a curve.

    The curve is cut into parts of equally many points, and of each the lowest and the highest are
    taken; of a part with values that are NaN or infinite also the first of these, for the gap.

    Args:
        x: Where the points stand, of shape (n,), rising.
        y: Their values, of shape (n,).
        num_points: At most about so many are taken. If there are no more, all are.

    Returns:
        Their places, an int64 array, rising; the first and the last point are among them.
    """
    num = len(y)
    if num <= num_points:
        return np.arange(num)
    size = -(-num // max(num_points // 3, 1))
    padded = np.full(-(-num // size) * size, np.nan)
    padded[:num] = y
    parts = padded.reshape(-1, size)
    is_finite = np.isfinite(parts)
    begin = np.arange(0, len(padded), size)
    low = np.where(is_finite, parts, np.inf).argmin(axis=1) + begin
    high = np.where(is_finite, parts, -np.inf).argmax(axis=1) + begin
    gap = ((~is_finite).argmax(axis=1) + begin)[~is_finite.all(axis=1)]
    chosen = np.concatenate([[0, num - 1], low, high, gap])
    return np.unique(chosen[chosen < num])
