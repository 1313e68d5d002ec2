"""A board as a Matplotlib figure, made once and then kept up to date."""

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakSet

import numpy as np

from gradbook.display.curves import Curve, combination, curves_of, limits
from gradbook.escape import on_one_line

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from gradbook.board import ProgressBoard

#: What was drawn on axes that a learner gave, so that the next picture there replaces it.
_drawn: "WeakSet[Artist]" = WeakSet()


class Picture:
    """Draws a board with Matplotlib, each curve always as the same line.

    The figure is the board's own if it has one, and otherwise a new one that pyplot does not
    know of. Its layout is computed from the texts alone, because measuring what was drawn
    takes longer than the drawing.

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

    def update(self) -> None:
        """Brings the figure up to date with the board."""
        board, axes = self._board, self.axes
        curves = curves_of(board)
        # On a learner's axes, only what the board was given takes the place of what is there.
        if board.xscale not in ("linear", axes.get_xscale()):
            axes.set_xscale(board.xscale)
        if board.yscale not in ("linear", axes.get_yscale()):
            axes.set_yscale(board.yscale)
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
        if legend:
            self._place_legend(legend, _lines_across(axes, curves, xlog, ylog))
        if self._own:
            self._lay_out()

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
        color, style = board.colors[which_color], board.ls[which_style]
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

    def _place_legend(self, texts: Sequence[str], lines: Sequence[tuple[Any, Any]]) -> None:
        """Makes the legend when its texts change, and puts it where it hides least."""
        side, top = _emptiest_place(lines, *self._legend_size(texts))
        # A legend copies its lines' markers when it is made.
        markers = tuple(str(line.get_marker()) for line in self._lines.values())
        key = (tuple(texts), markers, side, top)
        if key != self._legend_key:
            legend = self.axes.legend(
                list(self._lines.values()),
                texts,
                loc="upper right" if side == "right" else "upper left",
                bbox_to_anchor=(1.0 if side == "right" else 0.0, top),
                fontsize="medium" if len(texts) <= 5 and max(map(len, texts)) <= 24 else "small",
                ncols=1 + (len(texts) - 1) // 8,
            )
            for text in legend.get_texts():
                text.set_parse_math(False)  # a learner's label may hold a $
            self._legend_key = key

    def _legend_size(self, texts: Sequence[str]) -> tuple[float, float]:
        """About how wide and tall the legend is, in parts of the axes."""
        box, (width, height) = self.axes.get_position(), self.figure.get_size_inches()
        em = float(self.axes.yaxis.label.get_fontsize()) / 72
        columns = 1 + (len(texts) - 1) // 8
        wide = em * columns * (0.58 * max(map(len, texts)) + 3.6)
        tall = em * (1.42 * -(-len(texts) // columns) + 1.1)
        return min(wide / (box.width * width), 1.0), min(tall / (box.height * height), 1.0)

    def _lay_out(self) -> None:
        """Leaves as much room around the axes as their tick labels need."""
        width, height = self.figure.get_size_inches()
        em = float(self.axes.yaxis.label.get_fontsize()) / 72
        longest = max(map(_ems, _tick_texts(self.axes)), default=1.0)
        left = em * (1.1 + longest + 1.6 * bool(self._board.ylabel))
        bottom = em * (1.9 + 1.5 * bool(self._board.xlabel))
        above = em * 1.4 if self.axes.yaxis.get_major_formatter().get_offset() else em * 0.7
        self.figure.subplots_adjust(
            left=min(left / width, 0.5),
            right=1 - em * 0.9 / width,
            bottom=min(bottom / height, 0.5),
            top=1 - above / height,
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


def _lines_across(
    axes: "Axes", curves: Sequence[Curve], xlog: bool, ylog: bool
) -> list[tuple[Any, Any]]:
    """The curves as evenly spaced points, in parts of the axes."""
    lines = []
    for curve in curves:
        shown = curve.drawable(ylog) & ((curve.x > 0) | (not xlog))
        if not shown.any():
            continue
        x = _along(curve.x[shown], *axes.get_xlim(), xlog)
        y = _along(_tame(curve.y[shown]), *axes.get_ylim(), ylog)
        gone = np.concatenate([[0.0], np.hypot(np.diff(x), np.diff(y)).cumsum()])
        evenly = np.linspace(0, gone[-1], 100)
        lines.append((np.interp(evenly, gone, x), np.interp(evenly, gone, y)))
    return lines


def _emptiest_place(
    lines: Sequence[tuple[Any, Any]], wide: float, tall: float
) -> tuple[Literal["right", "left"], float]:
    """The side, and the upper end in parts of the axes, where a legend hides least.

    The topmost place on the right is taken unless another hides less. Matplotlib's own search
    ("best") knows nine places, is slower, and runs on every drawing.
    """
    best: tuple[Literal["right", "left"], float] = ("right", 1.0)
    least = float("inf")
    for top in np.linspace(1, tall, 15):
        for side in ("right", "left"):
            hidden = 0
            for x, y in lines:
                beside = x > 1 - wide if side == "right" else x < wide
                hidden += int(np.count_nonzero(beside & (y < top) & (y > top - tall)))
            if hidden < least:
                best, least = (side, float(top)), hidden
    return best


def _along(values: Any, low: float, high: float, log: bool) -> Any:
    if log:
        values, low, high = np.log10(values), np.log10(low), np.log10(high)
    return (values - low) / (high - low)
