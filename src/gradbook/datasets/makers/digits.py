"""Drawn digits that stand in for MNIST's handwritten ones.

Each digit is a path of straight pieces and arcs. For each image it is moved, turned, slanted and
stretched anew, and drawn with a pen of another width. All images of a digit are drawn at once: the
gray value of a pixel follows from its distance to the path.

Book: 22.9 (sec_naive_bayes).
"""

import math
from typing import Any

import numpy as np

Array = Any  # a NumPy array: what NumPy's functions give differs between its versions

EDGE = 28
#: Half the height of a digit, in pixels, before it is stretched.
_SIZE = 9.0


def _arc(x: float, y: float, width: float, height: float, start: float, end: float) -> Array:
    """Points of an arc; the angles in turns, 0 to the right, clockwise, for y goes downwards."""
    angles = np.linspace(start, end, 9) * math.tau
    return np.stack([x + width * np.cos(angles), y + height * np.sin(angles)], axis=1)


#: The paths of each digit: points (x, y), from -1 to 1, x to the right, y downwards.
_PATHS: dict[int, list[Array]] = {
    0: [_arc(0, 0, 0.62, 1, 0, 1)],
    1: [np.array([(-0.35, -0.6), (0.05, -1), (0.05, 1)])],
    2: [
        np.concatenate(
            [_arc(0, -0.45, 0.55, 0.55, 0.5, 1.1), np.array([(-0.6, 1), (0.65, 1)])], axis=0
        )
    ],
    3: [_arc(0, -0.5, 0.5, 0.5, 0.55, 1.25), _arc(0, 0.5, 0.58, 0.5, 0.75, 1.45)],
    4: [np.array([(0.3, 1), (0.3, -1), (-0.65, 0.35), (0.7, 0.35)])],
    5: [
        np.concatenate(
            [
                np.array([(0.55, -1), (-0.4, -1), (-0.45, -0.1)]),
                _arc(-0.05, 0.4, 0.6, 0.6, 0.65, 1.4),
            ],
            axis=0,
        )
    ],
    6: [
        np.concatenate(
            [np.array([(0.35, -1), (-0.3, -0.3)]), _arc(0, 0.42, 0.55, 0.58, 0.5, 1.5)], axis=0
        )
    ],
    7: [np.array([(-0.6, -1), (0.6, -1), (-0.15, 1)])],
    8: [_arc(0, -0.5, 0.45, 0.5, 0.25, 1.25), _arc(0, 0.5, 0.58, 0.5, 0.75, 1.75)],
    9: [np.concatenate([_arc(0, -0.42, 0.55, 0.55, 0, 1), np.array([(0.55, -0.42), (0.3, 1)])], 0)],
}


def digits(seed: int, num_images: int) -> tuple[Array, Array]:
    """Images of digits in random order, about as many of each.

    Args:
        seed: The same seed gives the same images.
        num_images: How many.

    Returns:
        The images, uint8 (num_images, 28, 28), white on black; and the digits, int64 (num_images,).
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num_images) % len(_PATHS))
    images = np.zeros((num_images, EDGE, EDGE), dtype=np.uint8)
    for digit, paths in _PATHS.items():
        chosen = np.flatnonzero(labels == digit)
        images[chosen] = _drawn(rng, paths, len(chosen))
    return images, labels


def _drawn(rng: Any, paths: list[Array], num_images: int) -> Array:
    """Images of one digit, uint8 (num_images, 28, 28)."""
    angle, slant = rng.uniform(-0.2, 0.2, num_images), rng.uniform(-0.25, 0.25, num_images)
    width, height = rng.uniform(0.75, 1.1, num_images), rng.uniform(0.85, 1.05, num_images)
    cos, sin = np.cos(angle), np.sin(angle)
    stretched = np.stack([width, slant * height, 0 * width, height], axis=1).reshape(-1, 2, 2)
    turned = np.stack([cos, -sin, sin, cos], axis=1).reshape(-1, 2, 2)
    moved = EDGE / 2 - 0.5 + rng.uniform(-1.2, 1.2, (num_images, 1, 2))
    pen = rng.uniform(0.9, 1.9, (num_images, 1, 1))
    rows, columns = (side.reshape(1, -1).astype(np.float32) for side in np.mgrid[:EDGE, :EDGE])
    nearest = np.full((num_images, EDGE * EDGE), np.inf, dtype=np.float32)
    for path in paths:
        shaken = path + rng.normal(0, 0.03, (num_images, *path.shape))
        points = (_SIZE * shaken @ (turned @ stretched).swapaxes(1, 2) + moved).astype(np.float32)
        for i in range(len(path) - 1):
            square = _squared_distance(columns, rows, points[:, i], points[:, i + 1])
            np.minimum(nearest, square, out=nearest)
    ink = np.clip(pen - np.sqrt(nearest).reshape(-1, EDGE, EDGE) + 0.5, 0, 1)
    return (255 * ink).round().astype(np.uint8)


def _squared_distance(x: Array, y: Array, begin: Array, end: Array) -> Array:
    """From the points x, y (1, n) to straight pieces between (B, 2) and (B, 2), as (B, n)."""
    (x0, y0), (dx, dy) = begin.T[:, :, None], (end - begin).T[:, :, None]
    right, down = x - x0, y - y0
    place = np.clip((right * dx + down * dy) / np.maximum(dx * dx + dy * dy, 1e-9), 0, 1)
    right -= place * dx
    down -= place * dy
    return right * right + down * down
