"""What a model makes of every input, where there are one or two: a decision boundary or a curve.

`boundary(model, data)` draws it; `Trainer(watch="boundary")` keeps it in the run, and draws it
below a notebook's cell while the model trains.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from gradbook.checks import at_rest, check_batch, gives_probability, is_one_column
from gradbook.data import are_examples, as_data, inmost
from gradbook.devices import device_of
from gradbook.display.choose import place
from gradbook.display.finding import Report
from gradbook.display.images import bundle_of_figure
from gradbook.display.palette import COLORS
from gradbook.errors import ConfigError, DataError, GradbookWarning, ModelError, told, warn
from gradbook.evaluation import batches_of
from gradbook.inspection.classification import class_names, classifies, gives_probabilities
from gradbook.interrupts import interruptible
from gradbook.lookalikes import copied_model
from gradbook.no_trace import untouched
from gradbook.record import Sink
from gradbook.rehearsal import begins_again
from gradbook.resume.loader import always_the_same, parts_of
from gradbook.seeds import generators_in, untouched_generators
from gradbook.tensors import as_tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gradbook.board import ProgressBoard
    from gradbook.trainer import Trainer

#: Places along each axis of two, and along one alone.
_SIDE, _LINE = 200, 400
#: So many points of a set are drawn at most; more would hide what lies behind them.
_MAX_DRAWN = 500
#: How far beyond the points is looked, as a part of their range.
_MARGIN = 0.1
#: A marker for each of the colors besides.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True, eq=False)
class Points:
    """The examples of a set with the model's output for each, on the CPU.

    Attributes:
        X: Inputs, of shape (n, 1) or (n, 2).
        y: Labels, of shape (n,).
        predicted: The predicted classes or values, of the same shape.
    """

    X: torch.Tensor
    y: torch.Tensor
    predicted: torch.Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Boundary(Report):
    """What a model gives for every input in the range of its data.

    Attributes:
        title: The names of model and data.
        sets: The examples, by the name of their set.
        names: The names of the classes; empty for a regression.
        axes: For each input, the places that were looked at.
        grid: The predicted class (int64) or value at each place, of shape (places,) for one input
            and (places of the second, places of the first) for two.
    """

    name: ClassVar[str] = "boundary"

    title: str
    sets: dict[str, Points]
    names: list[str]
    axes: list[torch.Tensor]
    grid: torch.Tensor

    def __bool__(self) -> bool:
        return True

    def state_dict(self) -> dict[str, Any]:
        """Nothing: it shows the model as it is, and is drawn anew."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes nothing over."""

    def measures(self) -> dict[str, float]:
        """The accuracy on each set, or, for a regression, the mean squared error."""
        return {
            name: float(
                (points.y == points.predicted).double().mean()
                if self.names
                else ((points.y.double() - points.predicted.double()) ** 2).mean()
            )
            for name, points in self.sets.items()
        }

    def summary(self) -> str:
        """The measure on each set."""
        kind = "accuracy" if self.names else "MSE"
        return f"{kind} " + ", ".join(f"{value:.3g} ({n})" for n, value in self.measures().items())

    def _words(self) -> str:
        kind = "decision boundary" if self.names else "fitted values"
        looked = ", ".join(
            f"x{i} from {float(axis[0]):.3g} to {float(axis[-1]):.3g}"
            for i, axis in enumerate(self.axes, start=1)
        )
        places = " x ".join(str(len(axis)) for axis in self.axes)
        counts = ", ".join(f"{len(points.y):,} {name}" for name, points in self.sets.items())
        return "\n".join(
            [
                f"{kind} of {self.title}",
                f"{self.summary()}; examples: {counts}",
                f"looked at {places} places, {looked}",
            ]
        )

    def facts(self) -> dict[str, Any]:
        """What was found as plain values, for JSON, without the grid."""
        return {
            "kind": "classification" if self.names else "regression",
            "measure": "accuracy" if self.names else "mse",
            **self.measures(),
            "ranges": [[float(axis[0]), float(axis[-1])] for axis in self.axes],
        }

    def figure(self) -> "Figure":
        """Draws regions of classes, colors of values, or a curve; points above it.

        Points of the first set, that of training, are filled, those of the second hollow.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.2, 4), layout="constrained")
        axes = figure.subplots()
        axes.set_title(f"{self.title}\n{self.summary()}", fontsize="small", parse_math=False)
        if len(self.axes) == 1:
            self._draw_curve(axes)
        elif self.names:
            self._draw_regions(axes)
        else:
            self._draw_values(axes)
        return figure

    def _draw_curve(self, axes: "Axes") -> None:
        for (name, points), hollow in zip(self.sets.items(), (False, True), strict=False):
            fill: dict[str, Any] = {"mfc": "none"} if hollow else {}
            X, y = points.X[:_MAX_DRAWN, 0].numpy(), points.y[:_MAX_DRAWN].numpy()
            axes.plot(X, y, "o", ms=3.5, color=COLORS[0], alpha=0.6, label=name, **fill)
        axes.plot(
            self.axes[0].numpy(), self.grid.numpy(), color=COLORS[1], linewidth=2, label="model"
        )
        axes.set(xlabel="x", ylabel="y")
        axes.legend(fontsize="small")
        axes.grid(True, alpha=0.4)

    def _draw_regions(self, axes: "Axes") -> None:
        from matplotlib.colors import ListedColormap

        k = len(self.names)
        colors = [COLORS[i % len(COLORS)] for i in range(k)]
        look: dict[str, Any] = {"cmap": ListedColormap(colors), "vmin": -0.5, "vmax": k - 0.5}
        self._draw_grid(axes, alpha=0.25, **look)
        for points, hollow in zip(self.sets.values(), (False, True), strict=False):
            X, y = points.X[:_MAX_DRAWN].numpy(), points.y[:_MAX_DRAWN].numpy()
            for label in sorted(set(y.tolist())):
                color, marker = colors[label % k], _MARKERS[label % len(_MARKERS)]
                fill: dict[str, Any] = {"fc": "none", "ec": color, "lw": 0.8}
                if not hollow:
                    fill = {"fc": color, "ec": "white", "lw": 0.4}
                of_class = X[y == label]
                axes.scatter(of_class[:, 0], of_class[:, 1], s=18, marker=marker, **fill)
        self._legend(axes, colors)

    def _draw_values(self, axes: "Axes") -> None:
        values = torch.cat([self.grid.reshape(-1), *(points.y for points in self.sets.values())])
        look: dict[str, Any] = {"cmap": "viridis"}
        look |= {"vmin": float(values.min()), "vmax": float(values.max())}
        image = self._draw_grid(axes, **look)
        for points, edge in zip(self.sets.values(), ("white", "black"), strict=False):
            X, y = points.X[:_MAX_DRAWN].numpy(), points.y[:_MAX_DRAWN].numpy()
            axes.scatter(X[:, 0], X[:, 1], c=y, s=18, edgecolors=edge, linewidths=0.5, **look)
        bar = axes.figure.colorbar(image, ax=axes, label="value: of the model, and of the points")
        bar.ax.tick_params(labelsize="small")

    def _draw_grid(self, axes: "Axes", **look: Any) -> Any:
        (left, right), (low, high) = ((float(axis[0]), float(axis[-1])) for axis in self.axes)
        axes.set(xlabel="$x_1$", ylabel="$x_2$")
        look |= {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}
        return axes.imshow(self.grid.numpy(), extent=(left, right, low, high), **look)

    def _legend(self, axes: "Axes", colors: list[str]) -> None:
        """What colors, filled and hollow points stand for, beside the picture."""
        from matplotlib.lines import Line2D

        seen = {label for points in self.sets.values() for label in points.y.tolist()}
        seen |= set(self.grid.reshape(-1).tolist())
        entries = [
            Line2D(
                [],
                [],
                ls="",
                marker=_MARKERS[i % len(_MARKERS)],
                color=colors[i],
                label=self.names[i],
            )
            for i in sorted(seen)
        ]
        for name, fill in zip(self.sets, ("gray", "none"), strict=False):
            entries.append(Line2D([], [], ls="", marker="o", color="gray", mfc=fill, label=name))
        legend = axes.figure.legend(handles=entries, loc="outside right upper", fontsize="small")
        for text in legend.get_texts():
            text.set_parse_math(False)


@interruptible()
def boundary(model: torch.nn.Module, data: Any) -> Boundary:
    """Draws what a model gives for every input, where its examples have one or two.

    A classifier of two inputs has regions, one for each class; a regression of two has colors,
    and of one, a curve. Examples lie above: those of training filled, those of validation hollow.
    The model is looked at in evaluation mode, by way of a copy: nothing of it changes.

    Args:
        model: The model, on any device.
        data: The data, with batches of inputs (n, 1) or (n, 2) and labels, as `Trainer.fit` takes
            them.

    Raises:
        DataError: If the inputs are others, or there are none.
        BatchError: If a batch is not (inputs, label).
        ModelError: If the outputs are no finite numbers, one or a row of scores for each example.

    >>> from gradbook import LinearRegression, Sine
    >>> found = boundary(LinearRegression(lr=0.1), Sine(num_train=20, num_val=10))
    >>> found.grid.shape
    torch.Size([400])
    """
    is_pair = isinstance(data, tuple) and not are_examples(data)
    if as_data(data, "boundary") is data or is_pair:
        loaders = {"training": batches_of(data, True), "validation": batches_of(data)}
    else:
        loaders = {"given": batches_of(data)}
    return _look(model, data, loaders)


def _look(model: Any, data: Any, loaders: dict[str, Any]) -> Boundary:
    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"A model is needed, an instance of Module, but got {model!r:.60}.")
    with resting_copy(model) as copied:
        batches = {name: _batches(loader) for name, loader in loaders.items() if loader is not None}
        batches = {name: found for name, found in batches.items() if found}
        if not batches:
            raise DataError(f"{type(data).__name__} has no examples to look at.")
        first = next(iter(batches.values()))[0]
        run = Answers(copied, first)
        if run.is_classifier and first[0].shape[1] == 1:
            raise DataError(
                f"{type(data).__name__} has one input and classes: the picture of a boundary "
                f"takes two inputs."
            )
        sets = {
            name: Points(
                torch.cat([X for X, _ in found]).float().cpu(),
                torch.cat([run.label(y) for _, y in found]),
                torch.cat([run(X) for X, _ in found]),
            )
            for name, found in batches.items()
        }
        every = torch.cat([points.X for points in sets.values()])
        axes = _axes(every)
        if len(axes) == 1:
            places = axes[0][:, None]
        else:
            x1, x2 = torch.meshgrid(*axes, indexing="xy")
            places = torch.stack([x1.reshape(-1), x2.reshape(-1)], dim=1)
        places = places.to(first[0].dtype)
        grid = torch.cat([run(part) for part in torch.split(places, 4096)])
    grid = grid if len(axes) == 1 else grid.reshape(_SIDE, _SIDE)
    names = []
    if run.is_classifier:
        labels = [grid.max(), *(points.y.max() for points in sets.values())]
        names = class_names(data, int(max(labels)) + 1)
    title = f"{type(model).__name__} on {type(data).__name__}"
    return Boundary(title, sets, names, axes, grid)


@contextmanager
def resting_copy(model: torch.nn.Module, generators: Sequence[Any] | None = None) -> Iterator[Any]:
    """A copy of a model to look at, in evaluation mode: nothing of the model itself changes.

    Args:
        model: The model.
        generators: The random generators that its layers hold; None looks for them, which takes
            longer than the copy of a small model.
    """
    shared = [value for name in ("trainer", "board") if (value := vars(model).get(name))]
    shared += generators_in(model.modules()) if generators is None else generators
    copied = copied_model(model, {id(value): value for value in shared})
    with untouched_generators(), at_rest(copied):
        yield copied


def _batches(loader: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """All inputs and labels of a loader, in their own order where that is known."""
    with untouched(parts_of(loader)):
        if hasattr(loader, "tensors"):
            loader = always_the_same(loader, len(loader))
        found = []
        for batch in loader:
            check_batch(batch, "the data")
            X, y = batch[0], as_tensor(batch[-1], "The labels", is_label=True)
            if len(batch) != 2 or X.dim() != 2 or X.shape[1] not in (1, 2):
                raise DataError(
                    f"Only data of one or two inputs can be drawn, X of shape (n, 1) or (n, 2), "
                    f"but these have {', '.join(str(tuple(part.shape)) for part in batch[:-1])}."
                )
            found.append((X, y))
    return found


class Answers:
    """A model that gives a class or a value for each of its inputs.

    Args:
        model: The model, at rest.
        first: A batch, from which is known whether it classifies.
    """

    def __init__(self, model: Any, first: tuple[torch.Tensor, torch.Tensor]) -> None:
        self._model, self._device = model, device_of(model)
        X, y = first
        output = self._output(X)
        self._is_column = is_one_column(output.cpu(), y.cpu())
        self._is_probability = gives_probability(model)
        self.is_classifier = classifies(model, (X, y.to(output.device)), output)
        if not self._is_column and not (self.is_classifier and output.dim() == 2):
            raise ModelError(
                f"{type(model).__name__} gives outputs of shape {tuple(output.shape)} for labels "
                f"of shape {tuple(y.shape)}. A picture takes one value, or one row of scores, for "
                f"each example."
            )

    def _output(self, X: torch.Tensor) -> torch.Tensor:
        output = self._model(X.clone().to(self._device))
        if not isinstance(output, torch.Tensor) or not output.isfinite().all():
            raise ModelError(f"The outputs of {type(self._model).__name__} are no finite numbers.")
        return output

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        """The class or value for each input, of shape (n,)."""
        output = self._output(X)
        if not self._is_column:
            return output.argmax(dim=-1).cpu()
        values = output.reshape(-1).float().cpu()
        if not self.is_classifier:
            return values
        return (values > (0.5 if self._is_probability else 0)).long()

    def with_certainty(self, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same, and the probability that the model gives each class; of a value it is 1."""
        output = self._output(X)
        if self._is_column:
            values = output.reshape(-1).float().cpu()
            if not self.is_classifier:
                return values, torch.ones_like(values)
            P = values if self._is_probability else values.sigmoid()
            return (P > 0.5).long(), torch.where(P > 0.5, P, 1 - P)
        P = output.float().cpu()
        if not gives_probabilities(P):
            P = P.softmax(dim=-1)
        certainty, classes = P.max(dim=-1)
        return classes, certainty

    def label(self, y: torch.Tensor) -> torch.Tensor:
        """Labels as `__call__` gives classes or values; -1 of a pair (-1, 1) is class 0."""
        y = y.reshape(-1).cpu()
        if not self.is_classifier:
            return y.float()
        return (y > 0).long() if self._is_column else y.long()


def _axes(X: torch.Tensor) -> list[torch.Tensor]:
    """For each input, places that range a little beyond its values."""
    num_places = _LINE if X.shape[1] == 1 else _SIDE
    axes = []
    for column in X.T:
        low, high = float(column.min()), float(column.max())
        margin = _MARGIN * (high - low) or 1.0
        axes.append(torch.linspace(low - margin, high + margin, num_places))
    return axes


class BoundaryWatcher(Sink):
    """Draws a model's boundary while it trains, and leaves it in `trainer.reports["boundary"]`.

    `Trainer(watch="boundary")` makes one. In a notebook the picture is below the cell, and drawn
    again when an epoch ends, for at most half of the time. The training is not changed by a bit.

    Args:
        clock: Gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._next = clock, 0.0
        self._trainer: Trainer | None = None
        self._handle: Any = None

    def open(self, board: "ProgressBoard", trainer: "Trainer | None" = None) -> None:
        """Looks once, so that what cannot be drawn is said before the training."""
        if trainer is None:
            raise ConfigError(
                "A BoundaryWatcher looks at a training. Use Trainer(watch='boundary')."
            )
        display = (
            trainer.display if trainer.display is not None else getattr(board, "display", False)
        )
        with warnings.catch_warnings(action="ignore"):  # the display itself says what it cannot do
            self._is_shown = place(display) == "notebook"
        self._trainer = trainer
        self._next = self._clock()
        self._update()

    def end_epoch(self, trainer: "Trainer") -> None:
        """Draws what there is now, where it is shown."""
        if self._is_shown and self._trainer is not None and self._clock() >= self._next:
            self._update()

    def close(self, status: str) -> None:
        """Keeps what there is at the end."""
        if self._trainer is not None:
            self._update()
        self._trainer = self._handle = None

    def _update(self) -> None:
        begin, trainer = self._clock(), self._trainer
        assert trainer is not None
        try:
            loaders = {
                name: inmost(loader)
                for name, loader in (
                    ("training", trainer.train_dataloader),
                    ("validation", trainer.val_dataloader),
                )
                if loader is not None
            }
            if not all(map(begins_again, loaders.values())):
                raise DataError("A look at the data would take examples from the training.")
            found = trainer.reports["boundary"] = _look(trainer.model, trainer.data, loaders)
            if self._is_shown:
                self._show(found)
        except Exception as error:
            # Hours of training are worth more than a picture.
            self._trainer = None
            warn(f"watch='boundary' draws nothing more: {told(error)}", GradbookWarning)
        end = self._clock()
        self._next = end + (end - begin)

    def _show(self, found: Boundary) -> None:
        bundle, sizes = bundle_of_figure(found.figure(), repr(found))
        if self._handle is None:
            from IPython.display import DisplayHandle

            self._handle = DisplayHandle()  # type: ignore[no-untyped-call]
            self._handle.display(bundle, metadata=sizes, raw=True)
        else:
            self._handle.update(bundle, metadata=sizes, raw=True)
