"""What is recorded while a model trains, and where it goes.

Values arrive as tensors and stay on their device until a window of them closes: a `Meter`
costs one synchronisation per window, never one per step. PyTorch is loaded only where values are
read, because whoever looks at finished runs needs none of it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gradbook.errors import (
    ConfigError,
    GradbookWarning,
    did_you_mean,
    warn,
)
from gradbook.escape import on_one_line
from gradbook.upward import above

if TYPE_CHECKING:
    import pandas
    import torch
    from matplotlib.axes import Axes

    from gradbook.board import ProgressBoard
    from gradbook.trainer import Trainer


class Metric(NamedTuple):
    """One recorded value.

    Attributes:
        label: What it is, such as "train_loss", "val_loss" or "val_acc".
        x: Where it stands on the horizontal axis; in training, in epochs.
        y: The value.
        kind: "point" is a point of the board, the plain mean of a window as in the book.
            "epoch" is the mean of a whole epoch, each batch weighted by its size.
    """

    label: str
    x: float
    y: float
    kind: Literal["point", "epoch"] = "point"


class Sink:
    """A place that is told what happens. Override what you need; every method may be left out.

    `open` comes first, then any number of the others, then `close` exactly once.

    Attributes:
        keeps_curves: Whether it leaves the curves in files, so that no display need do it, too.
    """

    keeps_curves = False

    def open(self, board: "ProgressBoard", trainer: "Trainer | None" = None) -> None:
        """Training begins, or a board outside training gets its first point."""

    def write(self, metric: Metric) -> None:
        """A value was recorded."""

    def end_step(self, trainer: "Trainer") -> None:
        """A training step is over: its state is complete, and could be saved."""

    def end_epoch(self, trainer: "Trainer") -> None:
        """An epoch and its validation are over, and all its means have been written."""

    def close(self, status: str) -> None:
        """All is over. `status` is "finished", "interrupted", "diverged" or "failed"."""


class Meter:
    """Values that wait, on their device, to be averaged together."""

    def __init__(self) -> None:
        self.xs: list[float] = []
        self.values: list[torch.Tensor | float] = []

    def __len__(self) -> int:
        return len(self.values)

    def add(self, x: float, value: "torch.Tensor | float") -> None:
        """Keeps one value, a number or a 0-d tensor, without looking at it."""
        self.xs.append(x)
        self.values.append(value)

    def extend(self, xs: Sequence[float], values: "Sequence[torch.Tensor | float]") -> None:
        """Keeps many values."""
        self.xs += xs
        self.values += values

    def split(self, size: int) -> "Meter":
        """Takes the first `size` values out, and returns them."""
        first = Meter()
        first.extend(self.xs[:size], self.values[:size])
        del self.xs[:size], self.values[:size]
        return first

    def read(self) -> "torch.Tensor":
        """All values as a float64 tensor on the CPU: the one synchronisation."""
        import torch

        values = self.values
        if all(isinstance(value, torch.Tensor) for value in values):
            # Each may be of shape () or (1,), as backward() accepts both for a loss.
            stacked = torch.stack(values).reshape(len(values))  # type: ignore[arg-type]
            return stacked.cpu().double()  # in this order: MPS has no float64
        return torch.tensor([float(value) for value in values], dtype=torch.float64)

    def mean(self, weights: Sequence[float] | None = None) -> tuple[float, float]:
        """The mean of the positions and of the values; `weights` apply to the values only."""
        values = self.read()
        x = sum(self.xs) / len(self.xs)
        if weights is None or len(weights) != len(values):
            return x, values.mean().item()
        import torch

        weight = torch.tensor(weights, dtype=torch.float64)
        return x, (torch.dot(values, weight) / weight.sum()).item()

    def first_nonfinite(self) -> float | None:
        """The position of the first value that is NaN or infinite, or None."""
        import torch

        wrong = (~torch.isfinite(self.read())).nonzero()
        return self.xs[int(wrong[0])] if len(wrong) else None


class History(Sink):
    """The exact epoch means of one training, and where it first went wrong.

    `history["val_acc"]` is the list of a label's means, and `history[-1]` the last epoch as a
    dictionary, in which the key "epoch" counts finished epochs from 1. Unlike the board's points,
    which follow the book (the plain mean of batch means), these weight every batch by its number
    of examples.

    Args:
        rows: Epochs that are there already, as those of a training that goes on.

    Attributes:
        rows: The epochs, oldest first.
        diverged: What of the training was first NaN or infinite, and where: the label of a loss,
            or a parameter at the end of an epoch. None while all of it is finite. Another value
            may be NaN all the same, as an F1 without positives, and so may a validation loss, as
            with a batch without a valid label; it counts where it was finite, and is so in no
            batch any more.
        undefined: Where other values were first NaN or infinite, by label.
        num_classes: How many classes the model chooses from, as far as it tells: see
            `num_classes_of`.
        lr: The model's learning rate, if it has one.

    Of a divergence nothing is said here: why it came is known at the end, and is said there once,
    by `gradbook.watching.DivergenceWatcher`.
    """

    def __init__(self, rows: Iterable[Mapping[str, float]] = ()) -> None:
        self.rows: list[dict[str, float]] = [dict(row) for row in rows]
        self.diverged: str | None = None
        self.undefined: dict[str, str] = {}
        self.meters: dict[str, Meter] = {}
        self.steps_per_epoch = self._num_val_batches = 0
        self.num_classes: int | None = None
        self.lr: float | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | str) -> Any:
        if isinstance(index, str):
            if not any(index in row for row in self.rows):
                known = dict.fromkeys(label for row in self.rows for label in row)
                raise KeyError(
                    f"{index!r}; recorded are {', '.join(known) or 'no values yet'}."
                    f"{did_you_mean(index, known)}"
                )
            return [row.get(index, math.nan) for row in self.rows]
        return self.rows[index]

    def __iter__(self) -> Iterator[dict[str, float]]:
        return iter(self.rows)

    @property
    def labels(self) -> list[str]:
        """What was recorded, in the order in which it came."""
        return list(dict.fromkeys(name for row in self.rows for name in row if name != "epoch"))

    def __repr__(self) -> str:
        if not self.rows:
            return "History: no finished epoch"
        return "\n".join(self.lines(self.rows))

    def lines(self, rows: Sequence[Mapping[str, float]]) -> list[str]:
        """Some of the epochs as the lines of a table, below a line of names.

        Args:
            rows: Those of `rows` that are wanted.
        """
        cells = self._cells(rows)
        widths = [max(10, *map(len, column)) for column in zip(*cells, strict=True)]
        return [
            "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
            for line in cells
        ]

    def _repr_html_(self) -> str:
        """The same as a table of a notebook."""
        if not self.rows:
            return f"<p>{self!r}</p>"
        head, *body = self._cells(self.rows)
        lines = ["<thead>" + _html_row("th", head) + "</thead>", "<tbody>"]
        lines += [_html_row("td", line) for line in body]
        return "<table>" + "\n".join([*lines, "</tbody>"]) + "</table>"

    def _cells(self, rows: Sequence[Mapping[str, float]]) -> list[list[str]]:
        names = ["epoch", *self.labels]
        body = [[_cell(name, row.get(name, math.nan)) for name in names] for row in rows]
        return [list(map(on_one_line, names)), *body]

    def to_pandas(self) -> "pandas.DataFrame":
        """The epochs as a DataFrame with a column for each label, indexed by "epoch"."""
        return data_frame(self.rows, "epoch", ["epoch", *self.labels])

    def plot(self, *labels: str, axes: "Axes | None" = None) -> "Axes":
        """Draws the epoch means against the epochs.

        Args:
            labels: What to draw; without any, everything.
            axes: Matplotlib axes to draw on; without them, a new figure's.

        Returns:
            The axes.

        Raises:
            ConfigError: If a label was not recorded.
        """
        for label in labels:
            if label not in self.labels:
                raise ConfigError(
                    f"{label!r} was not recorded.{did_you_mean(label, self.labels)} "
                    f"There are {', '.join(self.labels) or 'no values yet'}."
                )
        draw_history = above("display.epochs").draw_history
        drawn: Axes = draw_history(self, labels or self.labels, axes)
        return drawn

    def open(self, board: "ProgressBoard", trainer: "Trainer | None" = None) -> None:
        """Notes what is needed to name a step."""
        if trainer is not None:
            self.steps_per_epoch = trainer.num_train_batches
            self._num_val_batches = getattr(trainer, "num_val_batches", 0)
            model = getattr(trainer, "model", None)
            self.num_classes = num_classes_of(model)
            rate = getattr(model, "lr", None)
            self.lr = float(rate) if isinstance(rate, float | int) else None

    def add(self, label: str, x: float, value: "torch.Tensor | float") -> None:
        """Keeps one raw value of the running epoch."""
        self.meter(label).add(x, value)

    def meter(self, label: str) -> Meter:
        """The raw values of the running epoch."""
        meter = self.meters.get(label)
        if meter is None:
            meter = self.meters[label] = Meter()
        return meter

    def write(self, metric: Metric) -> None:
        """Looks, whenever a mean is known, whether training has gone wrong."""
        if self.diverged is not None or math.isfinite(metric.y):
            return
        label, is_validated = metric.label, metric.label.startswith("val_")
        is_part = len(self.meters.get(label, ())) < self._num_val_batches
        if is_loss(label) and is_validated and metric.kind == "point" and is_part:
            return  # the other batches of the epoch have a say in it
        if is_loss(label) and (not is_validated or self._is_lost(label)):
            self.diverged = f"{label} {self._place(label)}"
        elif label not in self.undefined:
            self._report_undefined(metric)

    def _is_lost(self, label: str) -> bool:
        """Whether a validation loss that was finite before is so in no batch any more.

        The data are the same, so that the model has changed. A batch without a valid label among
        others says nothing of the model.
        """
        meter = self.meters.get(label)
        was_finite = any(math.isfinite(row.get(label, math.nan)) for row in self.rows)
        return was_finite and meter is not None and not meter.read().isfinite().any()

    def close_epoch(self, epoch: int, weights: Mapping[str, Sequence[float]]) -> list[Metric]:
        """Closes an epoch and returns its means.

        Args:
            epoch: The number of finished epochs, this one included.
            weights: The number of examples of each batch, under "train" and "val". Where there
                are not as many weights as values, the plain mean is taken.
        """
        metrics = []
        for label, meter in self.meters.items():
            _, y = meter.mean(weights.get(label.partition("_")[0]))
            metrics.append(Metric(label, epoch, y, kind="epoch"))
        if metrics:
            self.rows.append({"epoch": epoch, **{metric.label: metric.y for metric in metrics}})
        for metric in metrics:
            self.write(metric)
        self.meters.clear()
        return metrics

    def note(self, epoch: int, label: str, y: float) -> Metric:
        """Adds a value to an epoch that is closed already, such as its learning rate."""
        if not self.rows or self.rows[-1]["epoch"] != epoch:
            self.rows.append({"epoch": epoch})
        self.rows[-1][label] = y
        return Metric(label, epoch, y, kind="epoch")

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "rows": self.rows,
            "diverged": self.diverged,
            "meters": meters_to_plain(self.meters),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self.rows = [dict(row) for row in state["rows"]]
        self.diverged = state["diverged"]
        self.meters = meters_from_plain(state["meters"])

    def best(self, label: str) -> dict[str, float] | None:
        """The row with the best finite value of `label`, or None if there is none.

        The best accuracy is the highest, the best loss the lowest: see `higher_is_better`.
        """
        rows = [row for row in self.rows if math.isfinite(row.get(label, math.nan))]
        if not rows:
            return None
        pick = max if higher_is_better(label) else min
        return pick(rows, key=lambda row: row[label])

    def _report_undefined(self, metric: Metric) -> None:
        label, where = metric.label, self._place(metric.label)
        self.undefined[label] = where
        value = "NaN" if math.isnan(metric.y) else "infinite"
        # The parameters show at the epoch's end whether there is more to a loss.
        if not is_loss(label):
            warn(
                f"{label} became {value} {where}. That alone is no divergence: most often such a "
                f"value is not defined for a batch, as an F1 without positives. It is recorded as "
                f"it is, no epoch with it is the best one, and the curve has a gap.",
                GradbookWarning,
            )

    def _place(self, label: str) -> str:
        meter = self.meters.get(label)
        x = meter.first_nonfinite() if meter is not None else None
        if x is None:
            return "during training"
        if label.startswith("val_"):
            return f"in the validation of epoch {x:g}"
        step = round(x * self.steps_per_epoch) + 1
        return f"at step {step} (epoch {(step - 1) // max(self.steps_per_epoch, 1) + 1})"


def meters_to_plain(meters: Mapping[str, Meter]) -> dict[str, Any]:
    """Values that wait, as plain values for a checkpoint."""
    import torch

    return {
        label: {"x": torch.tensor(meter.xs, dtype=torch.float64), "y": meter.read()}
        for label, meter in meters.items()
        if len(meter)
    }


def meters_from_plain(plain: Mapping[str, "Mapping[str, torch.Tensor]"]) -> dict[str, Meter]:
    """What `meters_to_plain` was given."""
    meters = {}
    for label, values in plain.items():
        meter = meters[label] = Meter()
        meter.xs, meter.values = values["x"].tolist(), list(values["y"].tolist())
    return meters


def higher_is_better(label: str) -> bool | None:
    """Whether a larger value of `label` is the better one; None where its name does not tell.

    What tells is the last part of the name, as "acc" of "val_acc".
    """
    name = label.rpartition("_")[2].lower()
    if name in _HIGHER:
        return True
    return False if name in _LOWER else None


def is_loss(label: str) -> bool:
    """Whether a training whose value of `label` is NaN or infinite has gone wrong.

    By its name it is a loss, or a measure of error, which is lowest where training is best.
    """
    return higher_is_better(label) is False


def num_classes_of(model: Any) -> int | None:
    """How many classes a model chooses from, or None where nothing tells, or it has no accuracy.

    It is `num_outputs` or `num_classes` of the model, or the outputs of the last layer of its
    `net`. One output is a score that chooses between two.
    """
    if not callable(getattr(model, "accuracy", None)):
        return None
    parts = getattr(getattr(model, "net", None), "_modules", None) or {}
    last = getattr(next(reversed(parts.values()), None), "out_features", None)
    for count in (getattr(model, "num_outputs", None), getattr(model, "num_classes", None), last):
        if isinstance(count, int) and not isinstance(count, bool) and count >= 1:
            return max(2, count)
    return None


def headline(labels: Iterable[str]) -> str | None:
    """The label by which a training is judged, if nobody names another.

    A validation accuracy, or else a validation loss, or else what else is validated, or else the
    same of training, or else what there is. A learning rate that falls makes no epoch a better one.
    """
    labels = [label for label in labels if label != "lr"]
    for split in ("val_", "train_"):
        ours = [label for label in labels if label.startswith(split)]
        for label in (f"{split}acc", f"{split}loss", *ours):
            if label in ours:
                return label
    return next(iter(labels), None)


def data_frame(
    rows: Sequence[Mapping[str, Any]],
    index: str | None = None,
    columns: list[str] | None = None,
) -> "pandas.DataFrame":
    """Rows as a DataFrame.

    Args:
        rows: The rows, by the names of their columns.
        index: The column that becomes the index, if any.
        columns: The columns and their order; None takes those of the rows.
    """
    import pandas as pd

    frame = pd.DataFrame(rows, columns=columns)
    return frame if index is None else frame.set_index(index)


_HIGHER = {"acc", "accuracy", "f1", "auc", "auroc", "r2", "precision", "recall", "iou", "bleu"}
_LOWER = {"loss", "error", "err", "mse", "mae", "rmse", "nll", "perplexity", "ppl"}


def _cell(label: str, value: float) -> str:
    return f"{value:.0f}" if label == "epoch" else f"{value:.4g}"


def _html_row(tag: str, cells: Sequence[str]) -> str:
    from html import escape

    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
