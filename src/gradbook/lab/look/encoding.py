"""Tensors as what a page can draw or show."""

import base64
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812

from gradbook.inspection.pictures import is_image

#: The largest side of a picture, in pixels, and how many numbers of an input that is none are told.
MOST_PIXELS, _NUM_NUMBERS = 64, 8


def picture(X: torch.Tensor | None) -> dict[str, Any] | None:
    """An input as bytes for a canvas: gray levels, or red, green and blue; None if it is no image.

    Values from 0 to 1 are taken as they are; others are stretched from the smallest to the largest.
    """
    if X is None or not is_image(X):
        return None
    image = (X[None] if X.dim() == 2 else X).detach().double()
    if not image.isfinite().all():
        return None
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1:
        image = (image - low) / ((high - low) or 1.0)
    full = image.shape[1:]
    if max(full) > MOST_PIXELS:
        size = (min(full[0], MOST_PIXELS), min(full[1], MOST_PIXELS))
        image = F.adaptive_avg_pool2d(image[None], size)[0]
    channels, height, width = image.shape
    levels = (image * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    pixels = levels.contiguous().numpy().tobytes()
    return {
        "channels": channels,
        "height": height,
        "width": width,
        "pixels": base64.b64encode(pixels).decode(),
    }


def excerpt(X: torch.Tensor | None) -> str | None:
    """The first numbers of an input that is no image."""
    if X is None or is_image(X):
        return None
    numbers = [f"{value:.4g}" for value in X.reshape(-1)[:_NUM_NUMBERS].tolist()]
    return " ".join([*numbers, *(["..."] if X.numel() > _NUM_NUMBERS else [])])
