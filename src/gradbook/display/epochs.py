"""The epoch means of a history as a Matplotlib figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradbook.escape import on_one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gradbook.history import History


def draw_history(history: "History", labels: Sequence[str], axes: "Axes | None" = None) -> "Axes":
    """Draws the means of `labels` against the epochs, on `axes` or in a new figure of pyplot's.

    What cannot be drawn (NaN, infinity) is a gap in its curve.
    """
    if axes is None:
        from matplotlib import pyplot as plt
        from matplotlib.ticker import MaxNLocator

        _, axes = plt.subplots(figsize=(3.5, 2.5), layout="constrained")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    epochs = [row["epoch"] for row in history]
    for label in labels:
        y = np.array([row.get(label, np.nan) for row in history], float)
        shown = on_one_line(label)
        axes.plot(epochs, np.where(np.isfinite(y), y, np.nan), label=shown, marker=".")
    axes.set_xlabel("epoch")
    if labels:
        for text in axes.legend().get_texts():
            text.set_parse_math(False)  # a label may hold a $
    axes.grid(True)
    return axes
