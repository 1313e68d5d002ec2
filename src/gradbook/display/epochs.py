"""The epoch means of a history as a Matplotlib figure."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradbook.display.curves import Curve, check_scale, vertical_scale
from gradbook.display.palette import color_of
from gradbook.escape import on_one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gradbook.history import History


def draw_history(
    history: "History",
    labels: Sequence[str],
    axes: "Axes | None" = None,
    yscale: str = "auto",
) -> "Axes":
    """Draws the means of `labels` against the epochs, on `axes` or in a new figure of pyplot's.

    What cannot be drawn (NaN, infinity, and on a logarithmic axis what is not positive) is a gap in
    its curve; of the last the legend tells. With "auto", given axes keep their scale.
    """
    check_scale(yscale)
    epochs = [row["epoch"] for row in history]
    curves = [
        Curve.of(label, epochs, [row.get(label, math.nan) for row in history]) for label in labels
    ]
    is_new = axes is None
    if axes is None:
        from matplotlib import pyplot as plt
        from matplotlib.ticker import MaxNLocator

        _, axes = plt.subplots(figsize=(3.5, 2.5), layout="constrained")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if is_new or yscale != "auto":
        axes.set_yscale(vertical_scale(yscale, curves))
    is_log = axes.get_yscale() == "log"
    for index, curve in enumerate(curves):
        look: dict[str, Any] = {"color": color_of(f"C{index}")} if is_new else {}
        shown, name = curve.drawable(is_log), on_one_line(curve.label)
        if is_log and len(curve.low(is_log)):
            name = f"{name} ({curve.trouble('epoch', is_log)})"
        axes.plot(curve.x, np.where(shown, curve.y, np.nan), label=name, marker=".", **look)
    axes.set_xlabel("epoch")
    if is_new:
        from gradbook.display.ticks import plain_ticks

        plain_ticks(axes)
    if labels:
        names = [str(line.get_label()) for line in axes.lines]
        # Above the axes, where no curve is.
        above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False}
        above |= {"fontsize": "small", "ncols": 2 if max(map(len, names)) <= 16 else 1}
        for text in axes.legend(**(above if is_new else {})).get_texts():
            text.set_parse_math(False)  # a label may hold a $
    axes.grid(True)
    return axes
