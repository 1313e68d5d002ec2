"""A board as a Matplotlib figure, made once and then kept up to date."""

import io
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from gradbook.display.curves import combination, curves_of, limits, short, vertical_scale
from gradbook.display.images import DPI
from gradbook.display.palette import color_of
from gradbook.display.ticks import plain_ticks
from gradbook.escape import on_one_line

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from gradbook.board import ProgressBoard

#: The size of small letters, and the height of a line of them, in inches.
_SMALL, _LINE = 8.3 / 72, 0.165

#: What was drawn on axes that a learner gave, so that the next picture there replaces it.
_drawn: "WeakSet[Artist]" = WeakSet()


class Picture:
    """Draws a board with Matplotlib, each curve always as the same line.

    The figure is the board's own if it has one, and otherwise a new one that pyplot does not
    know of. There the legend is above the axes, where no curve is. Its layout is computed from
    the texts alone, because measuring what was drawn takes longer than the drawing.

    Args:
        board: What to draw.

    Attributes:
        figure: The figure.
        axes: Where on it the curves are.
    """

    def __init__(self, board: "ProgressBoard") -> None:
        self._board = board
        self.figure, self.axes = _place(board)
        self._own = board.axes is None and board.fig is None
        for artist in [*self.axes.lines]:
            if artist in _drawn:
                artist.remove()
        self._lines: dict[str, Line2D] = {}
        self._marks: dict[str, tuple[Line2D, Line2D]] = {}
        self._legend_key: object = None
        self._headline: Any = None
        if self._own:
            plain_ticks(self.axes)

    def update(self, headline: str | None = None) -> None:
        """Brings the figure up to date with the board.

        Args:
            headline: What stands above everything in a figure of its own, such as how far a
                training has come. With it, the legend gives the last value of each curve.
        """
        board, axes = self._board, self.axes
        curves = curves_of(board)
        # On a learner's axes, only what the board was given takes the place of what is there.
        scales = {"x": board.xscale, "y": vertical_scale(board.yscale, curves)}
        for which, scale in scales.items():
            before = getattr(axes, f"get_{which}scale")()
            if scale != before and (self._own or scale != "linear"):
                getattr(axes, f"set_{which}scale")(scale)
                plain_ticks(axes)
        xlog, ylog = axes.get_xscale() == "log", axes.get_yscale() == "log"
        for label in set(self._lines) - {curve.label for curve in curves}:
            for line in (self._lines.pop(label), *self._marks.pop(label)):
                line.remove()
        legend = []
        for index, curve in enumerate(curves):
            if curve.label not in self._lines:
                self._add(curve.label, index)
            shown = curve.drawable(ylog) & ((curve.x > 0) | (not xlog))
            # A NaN is a gap in the line; infinity would spoil the axes' range.
            self._lines[curve.label].set_data(curve.x, np.where(shown, _tame(curve.y), np.nan))
            high, low = self._marks[curve.label]
            high.set_data(curve.high(), np.ones(len(curve.high())))
            low.set_data(curve.low(ylog), np.zeros(len(curve.low(ylog))))
            # Alone, a point makes no line. Its mark goes as soon as there is a second one.
            self._lines[curve.label].set_marker("o" if shown.sum() == 1 else "")
            trouble = curve.trouble(board.xlabel, ylog)
            name = on_one_line(curve.label)
            if headline and shown.any() and np.isfinite(curve.y[-1]):
                name += f" {short(float(curve.y[-1]))}"
            legend.append(f"{name} ({trouble})" if trouble else name)
        axes.relim()
        axes.autoscale(True)
        axes.autoscale_view()
        given = {
            "xlim": limits(board.xlim, xlog),
            "ylim": limits(board.ylim, ylog),
            "xlabel": board.xlabel,
            "ylabel": board.ylabel,
        }
        axes.set(**{name: value for name, value in given.items() if value is not None})
        for high, low in self._marks.values():
            _thin_out(high, axes, xlog)
            _thin_out(low, axes, xlog)
        columns = self._place_legend(legend)
        if self._own:
            self._lay_out(headline, math.ceil(len(legend) / columns))

    def svg(self, text: bool = True) -> str:
        """The figure as an SVG document.

        Args:
            text: Whether letters are kept as text, which is smaller and faster; otherwise they
                are outlines, which look the same wherever the file is opened.
        """
        return self._save("svg", "none" if text else "path").decode()

    def png(self, dpi: float = 200) -> bytes:
        """The figure as a PNG image with `dpi` pixels to the inch."""
        return self._save("png", "path", dpi)

    def saved(self, kind: str) -> bytes:
        """The figure as "png" or "pdf", as a notebook keeps it."""
        return self._save(kind, "path", DPI)

    def _save(self, kind: str, fonttype: str, dpi: float | str = "figure") -> bytes:
        import matplotlib as mpl

        # Faster than rc_context(), which copies all settings.
        before = mpl.rcParams["svg.fonttype"]
        mpl.rcParams["svg.fonttype"] = fonttype
        try:
            buffer = io.BytesIO()
            # A learner's figure may hold anything, so that its layout has to be measured.
            box = None if self._own else "tight"
            self.figure.savefig(buffer, format=kind, dpi=dpi, bbox_inches=box)
            return buffer.getvalue()
        finally:
            mpl.rcParams["svg.fonttype"] = before

    def _add(self, label: str, index: int) -> None:
        """Adds the line of a new curve, and its marks at the axes' upper and lower edge."""
        from matplotlib.lines import Line2D

        board, axes = self._board, self.axes
        style: Any  # Matplotlib's stubs list the styles one by one
        which_color, which_style = combination(index, len(board.colors), len(board.ls))
        color, style = color_of(board.colors[which_color]), board.ls[which_style]
        line = Line2D([], [], color=color, linestyle=style, markersize=4)
        high, low = (
            Line2D([], [], color=color, linestyle="", marker="x", markersize=5, zorder=3)
            for _ in range(2)
        )
        for mark in (high, low):
            mark.set(clip_on=False, transform=axes.get_xaxis_transform())
        for artist in (line, high, low):
            axes.add_line(artist)
            _drawn.add(artist)
        self._lines[label], self._marks[label] = line, (high, low)

    def _place_legend(self, texts: Sequence[str]) -> int:
        """Makes the legend when its texts change, and returns the number of its columns."""
        length = max(map(len, texts), default=0)
        # In widths of an M of small letters: the line and the space beside it, then the text.
        room = float(self.figure.get_size_inches()[0]) / _SMALL
        columns = max(1, min(len(texts), int(room / (3.6 + 0.58 * length))))
        # A legend copies its lines' markers when it is made.
        markers = tuple(str(line.get_marker()) for line in self._lines.values())
        key = (tuple(texts), markers, columns)
        if texts and key != self._legend_key:
            look: dict[str, Any] = {"loc": "best", "ncols": 1 + (len(texts) - 1) // 8}
            if self._own:
                look = {"loc": "upper left", "bbox_transform": self.figure.transFigure}
                look |= {"frameon": False, "borderpad": 0, "borderaxespad": 0, "ncols": columns}
                look |= {"handlelength": 1.8, "handletextpad": 0.5, "labelspacing": 0.3}
                look |= {"columnspacing": 1.2}
            legend = self.axes.legend(list(self._lines.values()), texts, fontsize="small", **look)
            for text in legend.get_texts():
                text.set_parse_math(False)  # a learner's label may hold a $
            self._legend_key = key
        return columns

    def _lay_out(self, headline: str | None, num_rows: int) -> None:
        """Leaves as much room around the axes as their texts need; a long legend makes more."""
        width, height = self._board.figsize
        above = [_LINE * bool(headline), _LINE * num_rows]
        height += max(0.0, sum(above) - 2 * _LINE)
        self.figure.set_size_inches(width, height)
        em = float(self.axes.yaxis.label.get_fontsize()) / 72
        longest = max(map(_ems, _tick_texts(self.axes)), default=1.0)
        left = em * (1.1 + longest + 1.6 * bool(self._board.ylabel))
        bottom = em * (1.9 + 1.5 * bool(self._board.xlabel))
        self.figure.subplots_adjust(
            left=min(left / width, 0.5),
            right=1 - em * 0.9 / width,
            bottom=min(bottom / height, 0.5),
            top=1 - (sum(above) + em * 0.9) / height,
        )
        corner = _SMALL / width, 1 - _SMALL / 2 / height
        if self._headline is None:
            self._headline = self.figure.text(0, 0, "", va="top", fontsize="small")
        self._headline.set(text=headline or "", position=corner)
        legend = self.axes.get_legend()
        if legend is not None:
            legend.set_bbox_to_anchor(
                (corner[0], corner[1] - above[0] / height), self.figure.transFigure
            )


def _place(board: "ProgressBoard") -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    if board.axes is not None:
        return board.axes.figure, board.axes
    figure = board.fig if board.fig is not None else Figure(figsize=board.figsize)
    return figure, figure.axes[0] if figure.axes else figure.add_subplot()


def _tame(y: Any) -> Any:
    """Values small enough for Matplotlib, which adds margins and squares."""
    return np.clip(y, -1e150, 1e150)


def _thin_out(mark: "Line2D", axes: "Axes", log: bool) -> None:
    """Leaves so few marks inside the axes that they can be told apart."""
    x, y = (np.asarray(data) for data in mark.get_data())
    if not len(x):
        return
    x, y = (x[x > 0], y[x > 0]) if log else (x, y)
    part = _along(x, *axes.get_xlim(), log)
    kept: list[int] = []
    for index in np.argsort(part):
        if 0 <= part[index] <= 1 and (not kept or part[index] - part[kept[-1]] >= 0.035):
            kept.append(int(index))
    mark.set_data(x[kept], y[kept])


def _tick_texts(axes: "Axes") -> list[str]:
    """The labels of the y axis, about as long as they are seen."""
    axis = axes.yaxis
    low, high = sorted(axes.get_ylim())
    sources = [(axis.get_majorticklocs(), axis.get_major_formatter())]
    if axes.get_yscale() == "log":  # within a decade, it is the small ticks that have labels
        sources.append((axis.get_minorticklocs(), axis.get_minor_formatter()))
    texts = []
    for locations, formatter in sources:
        formatted = zip(locations, formatter.format_ticks(list(locations)), strict=True)
        texts += [text for place, text in formatted if low <= place <= high]
    # Mathematical text, as $\mathdefault{6\times10^{-2}}$, is longer than what is seen of it.
    return [re.sub(r"\\mathdefault|[${}^]", "", t).replace(r"\times", "×") for t in texts]


def _ems(text: str) -> float:
    """About how wide a number is in Matplotlib's own font, in widths of an M."""
    return 0.64 * len(text) + 0.2 * sum(map(text.count, "-−")) + 0.7 * text.count("×")


def _along(values: Any, low: float, high: float, log: bool) -> Any:
    if log:
        values, low, high = np.log10(values), np.log10(low), np.log10(high)
    return (values - low) / (high - low)
