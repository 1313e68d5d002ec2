"""The book's older way to draw curves that grow. Book: Appendix, Utility Functions."""

from collections.abc import Iterable, Sequence
from typing import Any

from gradbook.board import ProgressBoard
from gradbook.errors import ConfigError


class Animator:
    """Draws several curves as their points come in. A `ProgressBoard` does the work.

    The curves appear wherever a board's would: in a notebook, a terminal or a file.

    Args:
        xlabel, ylabel: Names of the axes.
        legend: The curves' names.
        xlim, ylim: Ranges as (low, high), or None to fit the data.
        xscale, yscale: "linear" or "log".
        fmts: Matplotlib's line formats, used in turn. Their color and line style are taken.
        nrows, ncols: The grid of axes. The curves are drawn on the first; the others, in
            `axes`, are the caller's.
        figsize: Width and height in inches.

    Attributes:
        fig: The figure.
        axes: Its axes, a list.
        X, Y: For each curve the list of its positions and of its values.
    """

    def __init__(
        self,
        xlabel: str | None = None,
        ylabel: str | None = None,
        legend: Sequence[str] | None = None,
        xlim: Sequence[float] | None = None,
        ylim: Sequence[float] | None = None,
        xscale: str = "linear",
        yscale: str = "linear",
        fmts: Sequence[str] = ("-", "m--", "g-.", "r:"),
        nrows: int = 1,
        ncols: int = 1,
        figsize: tuple[float, float] = (3.5, 2.5),
    ) -> None:
        from matplotlib.colors import to_hex
        from matplotlib.figure import Figure

        if not fmts:
            raise ConfigError("fmts is empty, but a curve needs a format, such as '-'.")
        self.fig = Figure(figsize=figsize)
        self.axes: list[Any] = list(self.fig.subplots(nrows, ncols, squeeze=False).flatten())
        self.axes[0].grid()
        # Matplotlib reads the formats: these lines are drawn nowhere.
        styles = [Figure().add_subplot().plot([], [], fmt)[0] for fmt in fmts]
        self.X: list[list[float]] = []
        self.Y: list[list[float]] = []
        self._legend = list(legend or [])
        self._board = ProgressBoard(
            xlabel,
            ylabel,
            xlim,
            ylim,
            xscale,
            yscale,
            ls=[str(line.get_linestyle()) for line in styles],
            colors=[to_hex(line.get_color()) for line in styles],
            fig=self.fig,
            axes=self.axes[0],
            figsize=figsize,
        )

    def add(self, x: Any, y: Any) -> None:
        """Adds a point to each curve.

        Args:
            x: The position of all, or one for each curve.
            y: The values, one for each curve; a curve whose value (or position) is None gets
                no point.

        Raises:
            ConfigError: If positions and values differ in number.
        """
        values = list(y) if _is_many(y) else [y]
        positions = list(x) if _is_many(x) else [x] * len(values)
        if len(positions) != len(values):
            raise ConfigError(
                f"There are {len(positions)} positions for {len(values)} values. Give one x for "
                f"all curves, or one for each."
            )
        for number, (position, value) in enumerate(zip(positions, values, strict=True)):
            if number == len(self.X):
                self.X.append([])
                self.Y.append([])
            if position is None or value is None:
                continue
            self.X[number].append(float(position))
            self.Y[number].append(float(value))
            known = number < len(self._legend)
            label = self._legend[number] if known else f"curve {number + 1}"
            self._board.draw(float(position), float(value), label)


def _is_many(values: Any) -> bool:
    """Whether it is a sequence; a tensor without dimensions only looks like one."""
    return isinstance(values, Iterable) and getattr(values, "ndim", 1) > 0
