"""The figure of a gradient report."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gradbook.watching.gradient_rows import LayerRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def draw_gradients(rows: Sequence[LayerRow]) -> "Figure":
    """Draws gradient, update, activation and lost units against the layers, of at most 5 epochs."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    from gradbook.display.ticks import plain_ticks

    layers = list(dict.fromkeys(row.layer for row in rows))
    places = {layer: place for place, layer in enumerate(layers)}
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    axes = list(figure.subplots(2, 2, sharex=True).flat)
    panels: list[tuple[Axes, str, Callable[[LayerRow], float]]] = [
        (axes[0], "gradient (RMS per weight)", lambda row: row.grad_rms),
        (axes[1], "update / weight, a step", lambda row: row.update_ratio),
        (axes[2], "activation (RMS)", lambda row: row.activation_rms),
    ]
    epochs = _spread(list(dict.fromkeys(row.epoch for row in rows)), len(_STYLES))
    for index, epoch in enumerate(epochs):
        drawn = [row for row in rows if row.epoch == epoch]
        is_finite = any(math.isfinite(row.grad_norm) for row in drawn)
        look: dict[str, Any] = {"ls": _STYLES[index], "ms": 4}
        look["color"] = colormaps["viridis"](0.85 * index / max(len(epochs) - 1, 1))
        look["label"] = f"epoch {epoch}{'' if is_finite else ' (no finite gradient)'}"
        for panel, _, value in panels:
            ys = [value(row) if 0 < value(row) < math.inf else math.nan for row in drawn]
            panel.plot([places[row.layer] for row in drawn], ys, marker="o", **look)
        for part, marker in (("dead", "o"), ("saturated", "s")):
            lost = [row for row in drawn if math.isfinite(getattr(row, part))]
            xs, ys = [places[row.layer] for row in lost], [getattr(row, part) for row in lost]
            axes[3].plot(xs, ys, marker=marker, **look)
    for panel, label, _ in panels:
        panel.set(ylabel=label)
        _scale(panel)
        plain_ticks(panel)
    lost_kinds = [
        name
        for name in ("dead", "saturated")
        if any(math.isfinite(getattr(row, name)) for row in rows)
    ]
    axes[3].set(ylabel=f"{' or '.join(lost_kinds) or 'dead or saturated'} units")
    if not lost_kinds:
        place = {"ha": "center", "va": "center", "transform": axes[3].transAxes}
        axes[3].text(0.5, 0.5, "no ReLU, sigmoid or the like was seen", **place)
    axes[3].set_ylim(-0.03, 1.03)
    axes[3].yaxis.set_major_formatter(PercentFormatter(1))
    for panel in axes:
        panel.grid(True, alpha=0.4)
    shown = _spread(range(len(layers)), 12)
    names = [layers[place] for place in shown]
    for panel in axes[2:]:
        panel.set_xticks(shown, names, rotation=0 if len(names) < 6 else 45, parse_math=False)
        panel.set(xlabel="layer, from input to output", xlim=(-0.5, len(layers) - 0.5))
    figure.legend(handles=axes[0].lines, loc="outside upper center", ncols=5, frameon=False)
    return figure


def _spread(items: Sequence[int], most: int) -> list[int]:
    """At most so many of the items, evenly, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _scale(axes: "Axes") -> None:
    """Makes the vertical axis logarithmic where values differ much, else begin at 0."""
    drawn: list[Any] = [line.get_ydata() for line in axes.lines]
    values = [float(y) for ys in drawn for y in ys if math.isfinite(y)]
    if values and max(values) > 30 * min(values):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
