"""The figure of a sweep: the curves of its settings, and the final loss against what was swept."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gradbook.display.palette import color_of
from gradbook.errors import ConfigError
from gradbook.escape import printable
from gradbook.labels import higher_is_better
from gradbook.sweeps.values import without

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gradbook.sweeps.member_results import SettingResult

#: Losses are drawn up to so many times that with which training began.
_CEILING = 10

#: Axes are logarithmic where values differ by more than these factors.
_MANY_TIMES = 8

_MOST_IN_LEGEND = 14
_STYLES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D")

#: The names of two values on the axis are so far apart, as a part of its length.
_LEAST_DISTANCE = 0.09


class _Look(NamedTuple):
    """How a setting is drawn."""

    color: Any  # it tells the number on the axis if there is one
    style: Any = "-"  # it tells what else was swept
    kind: int = 0  # the same for settings that differ in the number on the axis alone


def draw(sweep: Any) -> "Figure":
    """Draws the curves of all settings, and the final loss against the swept number.

    A line is the mean over a setting's seeds, and the band about it goes from the lowest to the
    highest. What is NaN or infinite is not drawn.

    Args:
        sweep: A `Sweep`, whose file this one must not import.

    Raises:
        ConfigError: If no run has finished an epoch.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    labels = list(dict.fromkeys(filter(None, (sweep.loss_label, sweep.label))))
    if not labels:
        raise ConfigError("There is nothing to draw: no run of the sweep has finished an epoch.")
    axis = sweep.axis if len(sweep.settings) > 1 else None
    looks = _looks(sweep.settings, sweep.axis)
    listed = list(zip(sweep.settings, looks, strict=True))
    if sweep.is_search and axis is not None:  # its order is that in which they were tried
        listed.sort(key=lambda pair: pair[0].values[axis])
    if len(listed) > _MOST_IN_LEGEND:  # some, evenly spaced
        last, most = len(listed) - 1, _MOST_IN_LEGEND
        listed = [listed[round(i * last / (most - 1))] for i in range(most)]
    names = [setting.name for setting, _ in listed]

    panels = len(labels) + (axis is not None)
    legend_width = 0.085 * max(map(len, names)) + 0.6
    figure = Figure(figsize=(3.3 * panels + legend_width, 3.2), layout="constrained")
    for place, label in enumerate(labels, start=1):
        _draw_curves(figure.add_subplot(1, panels, place), sweep, label, looks)
    if axis is not None:
        _draw_finals(figure.add_subplot(1, panels, panels), sweep, axis, labels[0], looks)
    handles = [Line2D([], [], color=look.color, linestyle=look.style) for _, look in listed]
    legend = figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _looks(settings: Sequence["SettingResult"], axis: str | None) -> list[_Look]:
    """How each setting is drawn."""
    import matplotlib as mpl

    if axis is None:
        return [_Look(color_of(f"C{i}")) for i in range(len(settings))]
    values = sorted({setting.values[axis] for setting in settings})
    places = {value: i / max(1, len(values) - 1) for i, value in enumerate(values)}
    colors = mpl.colormaps["viridis"]
    others = [without(setting.values, axis) for setting in settings]
    kinds = [other for i, other in enumerate(others) if other not in others[:i]]
    # Where each setting is of its own kind, four styles would tell nothing.
    styles = _STYLES[:1] if len(kinds) == len(settings) > len(_STYLES) else _STYLES
    looks = []
    for setting, other in zip(settings, others, strict=True):
        kind = kinds.index(other)
        color = colors(0.85 * places[setting.values[axis]])
        looks.append(_Look(color, styles[kind % len(styles)], kind))
    return looks


def _draw_curves(axes: "Axes", sweep: Any, label: str, looks: Sequence[_Look]) -> None:
    """Draws the epoch means of all settings."""
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    for setting, look in zip(sweep.settings, looks, strict=True):
        curves = [curve for member in setting.members if (curve := member.curve(label))]
        if not curves:
            continue
        length = max(map(len, curves))
        table = np.full((len(curves), length), np.nan)
        for row, curve in zip(table, curves, strict=True):
            row[: len(curve)] = curve
        table[~np.isfinite(table)] = np.nan
        drawn = np.isfinite(table).any(axis=0)
        if not drawn.any():
            continue
        epochs, values = np.arange(1, length + 1)[drawn], table[:, drawn]
        marker = {"marker": "o" if len(epochs) == 1 else "", "markersize": 4}
        line = {"color": look.color, "linestyle": look.style, "linewidth": 1.5, **marker}
        axes.plot(epochs, np.nanmean(values, axis=0), **line)
        if len(curves) > 1:
            low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
            axes.fill_between(epochs, low, high, color=look.color, alpha=0.2, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    _dress(axes, label, label, _ceiling(sweep, label))


def _draw_finals(axes: "Axes", sweep: Any, axis: str, label: str, looks: Sequence[_Look]) -> None:
    """Draws the last epoch's means against the swept number, and the range that is usable."""
    usable, limit, ceiling = sweep.usable_range(), sweep.usable_loss, _ceiling(sweep, label)
    if usable is not None and usable[0] < usable[1]:
        axes.axvspan(*usable, color="0.92", zorder=0, label="usable")
    if limit is not None:
        axes.axhline(limit, color="0.4", linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    pairs = list(zip(sweep.settings, looks, strict=True))
    lines: dict[tuple[int, Any], list[tuple[float, float]]] = {}
    for setting, look in pairs:
        mean = setting.mean(label)
        # What was pruned is left out: its value is that of an earlier epoch.
        if not setting.is_pruned and math.isfinite(mean) and mean <= ceiling:
            points = lines.setdefault((look.kind, look.style), [])
            points.append((setting.values[axis], mean))
    for (_, style), points in lines.items():
        axes.plot(*zip(*sorted(points), strict=True), color="0.5", linestyle=style, linewidth=1)
    edge = axes.get_xaxis_transform()
    for setting, look in pairs:
        x, color = setting.values[axis], look.color
        marker = _MARKERS[look.kind % len(_MARKERS)] if look.style != "-" or look.kind else "o"
        for y in setting.finals(label):
            if math.isfinite(y) and y <= ceiling:
                inside = "white" if setting.is_pruned else color
                axes.plot([x], [y], marker, color=color, markersize=4, markerfacecolor=inside)
            else:  # at the upper edge, wherever that is
                axes.plot([x], [1], "x", color=color, markersize=6, clip_on=False, transform=edge)
    _name_values(axes, sorted({setting.values[axis] for setting in sweep.settings}))
    axes.set_xlabel(printable(axis), parse_math=False)
    _dress(axes, label, f"final {label}", ceiling)
    told = []
    if usable is not None:
        low, high = usable
        told.append(f"usable {low:g} to {high:g}" if low < high else f"usable {low:g}")
    if limit is not None:
        told.append(f"dashed: usable below {limit:.3g}")
    if any(setting.is_pruned for setting in sweep.settings):
        told.append("hollow: pruned")
    axes.set_title("\n".join(told), fontsize=9)


def _name_values(axes: "Axes", values: Sequence[float]) -> None:
    """Names the swept values on the axis, those left out that would run into others."""
    is_log = values[0] > 0 and values[-1] / values[0] >= _MANY_TIMES
    if is_log:
        axes.set_xscale("log")
    places = [math.log(value) if is_log else value for value in values]
    span = places[-1] - places[0]
    shown, last = [], math.inf
    for value, place in zip(values[::-1], places[::-1], strict=True):
        if last - place >= _LEAST_DISTANCE * span:
            shown.append(value)
            last = place
    axes.set_xticks(shown, [f"{value:g}" for value in shown], fontsize=8)
    axes.set_xticks([], minor=True)


def _ceiling(sweep: Any, label: str) -> float:
    """The largest value that is drawn: a run that diverges would flatten the others."""
    if sweep.start is None or higher_is_better(label) is not False or sweep.start <= 0:
        return math.inf
    return _CEILING * float(sweep.start)


def _dress(axes: "Axes", label: str, title: str, ceiling: float) -> None:
    """Scales and names the vertical axis, after all is drawn."""
    import numpy as np

    from gradbook.display.ticks import plain_ticks

    lines = [line for line in axes.lines if line.get_transform() == axes.transData]
    y = np.hstack([np.ravel(line.get_ydata()).astype(float) for line in lines] or [np.zeros(1)])
    y = y[np.isfinite(y)]
    shown = y[y <= ceiling]
    is_log = not higher_is_better(label) and bool(len(shown)) and shown.min() > 0
    is_log = is_log and shown.max() / shown.min() > _MANY_TIMES
    if is_log:
        axes.set_yscale("log")
    if len(shown) < len(y):
        axes.set_ylim(shown.min() / 2 if is_log else 0, ceiling)
    plain_ticks(axes)
    axes.set_ylabel(printable(title), parse_math=False)
    axes.grid(True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
