"""The progress board: curves as data. Drawing them is a display's work.

Book: 3.2.2 (oo-design-models).
"""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from gradbook.errors import ConfigError, shown
from gradbook.escape import printable
from gradbook.hparams import HyperParameters
from gradbook.record import (
    Meter,
    Meters,
    Metric,
    Sink,
    meters_from_plain,
    meters_to_plain,
    tell,
)
from gradbook.upward import above

if TYPE_CHECKING:
    from gradbook.history import History


class ProgressBoard(HyperParameters):
    """Collects points of named curves, and tells its sinks about each.

    In the book's arithmetic, every `every_n` values become one point, the mean of their x and
    of their y. `data` maps a label to its points (each with `.x` and `.y`), in the order in
    which the labels came.

    Args:
        xlabel, ylabel: Names of the axes.
        xlim, ylim: Ranges of the axes as (low, high), or None to fit the data.
        xscale: "linear" or "log".
        yscale: "linear" or "log"; or "auto", which is "log" where losses span decades, and what a
            model's board has.
        ls, colors: Line styles and colors, used in turn; there may be more curves than either.
        fig, axes: A Matplotlib figure and axes to draw on instead of new ones.
        figsize: Width and height in inches.
        display: Where to draw: True or "auto" chooses; "notebook", "terminal" and "lines" are
            places; False or "off" draws nothing.
    """

    xlabel: str | None
    ylabel: str | None
    xlim: Sequence[float] | None
    ylim: Sequence[float] | None
    xscale: str
    yscale: str
    ls: Sequence[str]
    colors: Sequence[str]
    fig: Any
    axes: Any
    figsize: tuple[float, float]
    display: bool | str

    def __init__(
        self,
        xlabel: str | None = None,
        ylabel: str | None = None,
        xlim: Sequence[float] | None = None,
        ylim: Sequence[float] | None = None,
        xscale: str = "linear",
        yscale: str = "linear",
        ls: Sequence[str] = ("-", "--", "-.", ":"),
        colors: Sequence[str] = ("C0", "C1", "C2", "C3"),
        fig: Any = None,
        axes: Any = None,
        figsize: tuple[float, float] = (3.5, 2.5),
        display: bool | str = True,
    ) -> None:
        self.save_hyperparameters()
        self.clear()

    def __repr__(self) -> str:
        curves = (f"{label} ({len(points)})" for label, points in self.data.items())
        return printable(f"ProgressBoard: {', '.join(curves) or 'no points yet'}")

    def clear(self) -> None:
        """Forgets all curves, and who was listening."""
        self.data: dict[str, list[Metric]] = {}
        self.sinks: list[Sink] | None = None
        self.history: History | None = None
        self.trained = False
        self.windows = Meters()
        #: The labels of the points that `flush` made, each the last of its curve.
        self.provisional: list[str] = []
        self.is_flushing = False

    def __getstate__(self) -> dict[str, Any]:
        """What a copy keeps: all but the listeners, which may hold a terminal."""
        return {**self.__dict__, "sinks": None, "history": None}

    def choose_display(self, display: bool | str | None = None) -> Sink:
        """The place to draw this board, not yet open.

        Args:
            display: Where to draw; None is the board's own `display`.

        Raises:
            ConfigError: If there is no such place.
        """
        choose = above("display.choose").choose
        sink: Sink = choose(self.display if display is None else display)
        return sink

    def draw(self, x: float, y: torch.Tensor | float, label: str, every_n: int = 1) -> None:
        """Adds one value to the curve `label`.

        Args:
            x: The position.
            y: The value, a number or a tensor with one element. It is not read before its
                window closes, so that the device need not be waited for.
            label: The curve; a new label begins a new one.
            every_n: How many values make one point. Less than 1 counts as 1.

        Raises:
            ConfigError: If `x` is no finite number, `y` is not one number, or `label` is no text
                that a file can hold.
        """
        if label not in self.data:
            _check_label(label)
        try:
            is_position = math.isfinite(x)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            is_position = False
        if not is_position:
            raise ConfigError(
                f"x must be a finite number, but a point of the curve {label!r} has "
                f"x={shown(x)}. Count steps or epochs, or leave the point out.{_too_large(x)}"
            )
        x = float(x)
        if isinstance(y, torch.Tensor):
            if y.numel() != 1:
                raise ConfigError(f"A point has one y, but the tensor has shape {tuple(y.shape)}.")
            # A copy: the caller may change the tensor in place before the window closes.
            value: torch.Tensor | float = y.detach().clone()
        else:
            try:
                value = float(y)
            except (TypeError, ValueError, OverflowError):
                raise ConfigError(
                    f"y must be a number, but a point of the curve {label!r} has "
                    f"y={shown(y)}.{_too_large(y)}"
                ) from None
        if self.history is not None:
            self.history.add(label, x, value)
        window = self.windows[label]
        window.add(x, value)
        try:
            if len(window) < every_n:
                return
        except TypeError:
            raise ConfigError(
                f"every_n is how many values make one point, but it is {shown(every_n)}."
            ) from None
        self._close_window(label)

    def draw_many(
        self, xs: Sequence[float], ys: Sequence[float], label: str, every_n: int = 1
    ) -> None:
        """Adds values to the curve `label` as `draw` would, one after the other.

        Args:
            xs: The positions.
            ys: As many values.
            label: The curve.
            every_n: How many values make one point. Less than 1 counts as 1.
        """
        if self.history is not None:
            self.history.meters[label].extend(xs, ys)
        window = self.windows.pop(label, None) or Meter()
        window.extend(xs, ys)
        size = max(1, every_n)
        while len(window) >= size:
            self._draw_point(label, window.split(size))
        if len(window):
            self.windows[label] = window

    def flush(self) -> None:
        """Makes points of what was collected since the last ones, however little it is.

        They are provisional: a training that goes on from here collects the rest of the window.
        """
        self.is_flushing = True
        try:
            for label, window in list(self.windows.items()):
                self.provisional.append(label)
                self._draw_point(label, window)
        finally:
            self.is_flushing = False

    def close_windows(self, prefix: str) -> None:
        """Makes points of what waits for the rest of a window, where labels begin with `prefix`."""
        for label in [label for label in self.windows if label.startswith(prefix)]:
            self._close_window(label)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the points that are final, and what waits for the next."""
        return {
            "points": {
                label: _points_to_plain(points[:-1] if label in self.provisional else points)
                for label, points in self.data.items()
            },
            "windows": meters_to_plain(self.windows),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self.data = {
            label: _points_from_plain(label, plain)
            for label, plain in state["points"].items()
            if len(plain["x"])
        }
        self.windows = meters_from_plain(state["windows"])

    def _close_window(self, label: str) -> None:
        self._draw_point(label, self.windows.pop(label))

    def _draw_point(self, label: str, window: Meter) -> None:
        point = Metric(label, *window.mean())
        self.data.setdefault(label, []).append(point)
        if self.history is not None:
            self.history.write(point)
        if self.sinks is None:  # drawn on outside any training
            self.sinks = [self.choose_display()]
            self.sinks[0].open(self)
        tell(self.sinks, point)


def _points_to_plain(points: Iterable[Metric]) -> dict[str, Any]:
    xs, ys = [point.x for point in points], [point.y for point in points]
    return {"x": torch.tensor(xs, dtype=torch.float64), "y": torch.tensor(ys, dtype=torch.float64)}


def _points_from_plain(label: str, plain: Mapping[str, torch.Tensor]) -> list[Metric]:
    pairs = zip(plain["x"].tolist(), plain["y"].tolist(), strict=True)
    return [Metric(label, x, y) for x, y in pairs]


def draws_on_ours(model: Any) -> bool:
    """Whether what `model` plots comes to a board of ours; a learner may have made another."""
    return isinstance(model.board, ProgressBoard)


def _too_large(value: Any) -> str:
    is_whole = isinstance(value, int) and abs(value) > sys.float_info.max
    return f" It is too large for a float, {sys.float_info.max:.1e} at most." if is_whole else ""


def _check_label(label: object) -> None:
    """Raises ConfigError unless a label is text that can be written to a file."""
    if not isinstance(label, str):
        raise ConfigError(
            f"A curve's label must be text, such as 'train_loss', but it is {label!r:.80}."
        )
    try:
        label.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"The label {label!r} holds {label[error.start]!r}, half of a character, which no file "
            f"can hold. Leave it out."
        ) from None
