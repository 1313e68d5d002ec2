"""The figures of a report, drawn with Matplotlib.

Each function draws on the figure that it is given, or on a new one of pyplot's, which a notebook
shows when its cell ends. Names of classes are never read as formulas.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from gradbook.display.palette import COLORS

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gradbook.inspection.calibration import Calibration

#: More classes than this, and counts in the cells could not be read.
_MAX_NUMBERED = 25
#: More points than this are drawn as pixels in an SVG file, which would become too large.
_MAX_VECTORS = 2000


def is_image(X: torch.Tensor | None) -> bool:
    """Whether one input is an image: (1, H, W), (3, H, W) or (H, W), and more than a line."""
    if X is None or X.dim() not in (2, 3) or (X.dim() == 3 and X.shape[0] not in (1, 3)):
        return False
    return min(X.shape[-2:]) > 1


def draw_confusion(
    confusion: "np.ndarray[Any, Any]", names: Sequence[str], figure: "Figure | None" = None
) -> "Axes":
    """Draws a matrix of counts (k, k), rows true, colored by the part of the row."""
    import numpy as np

    k = len(names)
    side = max(3.5, 0.5 * k + 1.2) if k <= _MAX_NUMBERED else 8.0
    figure = _figure(figure, side + 0.9, side)
    axes = figure.subplots()
    totals = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(totals, 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    small: dict[str, Any] = {"fontsize": "small", "parse_math": False}
    places = range(k) if k <= _MAX_NUMBERED else range(0, k, math.ceil(k / _MAX_NUMBERED))
    shown = [names[place] for place in places]
    if max(map(len, shown)) <= 3:
        axes.set_xticks(places, shown, **small)
    else:
        axes.set_xticks(places, shown, rotation=45, ha="right", rotation_mode="anchor", **small)
    axes.set_yticks(places, shown, **small)
    axes.set(xlabel="predicted", ylabel="true")
    look: dict[str, Any] = {"ha": "center", "va": "center"}
    look["fontsize"] = 9 if confusion.max() < 10_000 else 7
    look["in_layout"] = False  # measuring hundreds of texts takes seconds
    for (row, column), count in np.ndenumerate(confusion) if k <= _MAX_NUMBERED else ():
        color = "white" if shares[row, column] > 0.55 else "black" if count else "silver"
        axes.text(column, row, str(count), color=color, **look)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, label="part of the true class")
    bar.ax.tick_params(labelsize="small")
    return axes


def draw_calibration(
    calibration: "Calibration", figure: "Figure | None" = None
) -> "np.ndarray[Any, Any]":
    """Draws accuracy against probability in bins, and the number of predictions in each."""
    import numpy as np

    figure = _figure(figure, 4.2, 4.8)
    axes: np.ndarray[Any, Any] = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper, lower = axes
    edges, counts = calibration.edges.numpy(), calibration.counts.numpy()
    confidence, accuracy = calibration.confidence.numpy(), calibration.accuracy.numpy()
    left, widths = edges[:-1], edges[1:] - edges[:-1]
    bins: dict[str, Any] = {"align": "edge", "edgecolor": "white"}
    upper.bar(left, np.nan_to_num(accuracy), widths, alpha=0.7, label="right predictions", **bins)
    upper.plot([0, 1], [0, 1], "--", color="black", linewidth=1, label="perfectly calibrated")
    upper.plot(confidence, accuracy, "o", color=COLORS[1], markersize=4, label="mean of a bin")
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    upper.set_title(f"expected calibration error {calibration.error:.3f}", fontsize="medium")
    upper.legend(fontsize="small", loc="upper left")
    bars = lower.bar(left, counts, widths, color="silver", **bins)
    if len(counts) <= 12:
        lower.bar_label(bars, [f"{count:,}" for count in counts], fontsize=6, padding=1)
        lower.margins(y=0.25)
    lower.set(xlabel="probability of the prediction", ylabel="predictions")
    return axes


def draw_images(
    images: Sequence[torch.Tensor], titles: Sequence[str], figure: "Figure | None" = None
) -> "np.ndarray[Any, Any]":
    """Draws images in a grid, each under its title of two lines."""
    num_cols = min(8, math.ceil(math.sqrt(len(images))))
    figure, axes = _grid(figure, len(images), num_cols, (1.45, 1.65), (0, 0.25))
    figure.suptitle("true above predicted", fontsize=8, style="italic")
    for ax, image, title in zip(axes, images, titles, strict=True):
        pixels = image.permute(1, 2, 0).squeeze(-1) if image.dim() == 3 else image
        ax.imshow(pixels.numpy(), cmap="gray")
        ax.set_title(title, fontsize=8, parse_math=False)
    return axes


def draw_weights(
    images: "np.ndarray[Any, Any]", names: Sequence[str], figure: "Figure | None" = None
) -> "np.ndarray[Any, Any]":
    """Draws weights (k, H, W) as images with one scale of colors, white at 0."""
    figure, axes = _grid(figure, len(images), min(5, len(images)), (1.4, 1.6), (0.9, 0))
    limit = abs(images).max() or 1.0
    for ax, image, name in zip(axes, images, names, strict=True):
        drawn = ax.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_title(name, fontsize=9, parse_math=False)
    bar = figure.colorbar(drawn, ax=list(axes), shrink=0.9, label="weight")
    bar.ax.tick_params(labelsize="small")
    return axes


def draw_predicted(
    labels: "np.ndarray[Any, Any]",
    predicted: "np.ndarray[Any, Any]",
    figure: "Figure | None" = None,
) -> "Axes":
    """Draws predictions (n,) against true values (n,), and where both would be the same."""
    from gradbook.display.ticks import plain_ticks

    figure = _figure(figure, 3.8, 3.6)
    axes = figure.subplots()
    plain_ticks(axes)
    _scatter(axes, labels, predicted)
    ends = [min(labels.min(), predicted.min()), max(labels.max(), predicted.max())]
    axes.plot(ends, ends, "--", color="black", linewidth=1, label="predicted = true")
    axes.set(xlabel="true", ylabel="predicted")
    axes.legend(fontsize="small")
    axes.grid(True)
    return axes


def draw_residuals(
    predicted: "np.ndarray[Any, Any]",
    residuals: "np.ndarray[Any, Any]",
    figure: "Figure | None" = None,
) -> "np.ndarray[Any, Any]":
    """Draws residuals (n,) against predictions (n,), and beside that their histogram."""
    from gradbook.display.ticks import plain_ticks

    figure = _figure(figure, 6.2, 3.0)
    axes: np.ndarray[Any, Any] = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    left, right = axes
    _scatter(left, predicted, residuals)
    right.hist(residuals, bins=30, orientation="horizontal")
    for ax in axes:
        plain_ticks(ax)
        ax.axhline(0, color="black", linestyle="--", linewidth=1)
        ax.grid(True)
        ax.set_axisbelow(True)
    left.set(xlabel="predicted", ylabel="true - predicted")
    right.set(xlabel="examples")
    return axes


def _figure(figure: "Figure | None", width: float, height: float) -> "Figure":
    if figure is None:
        from matplotlib import pyplot as plt

        return plt.figure(figsize=(width, height), layout="constrained")
    figure.set_size_inches(width, height)
    figure.set_layout_engine("constrained")
    return figure


def _grid(
    figure: "Figure | None",
    num_images: int,
    num_cols: int,
    size: tuple[float, float],
    besides: tuple[float, float],
) -> "tuple[Figure, np.ndarray[Any, Any]]":
    """A figure with axes of a size for images, without ticks, and so much room besides."""
    num_rows = math.ceil(num_images / num_cols)
    width, height = size[0] * num_cols + besides[0], size[1] * num_rows + besides[1]
    figure = _figure(figure, width, height)
    axes: np.ndarray[Any, Any] = figure.subplots(num_rows, num_cols, squeeze=False).flatten()
    for ax in axes[num_images:]:
        ax.remove()
    for ax in axes[:num_images]:
        ax.set(xticks=[], yticks=[])
    return figure, axes[:num_images]


def _scatter(axes: "Axes", x: Any, y: Any) -> None:
    axes.plot(x, y, ".", markersize=3, alpha=0.5, rasterized=len(x) > _MAX_VECTORS)
