"""The exact means of a training's epochs, and where it first went wrong."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradbook.errors import ConfigError, GradbookWarning, did_you_mean, warn
from gradbook.labels import higher_is_better, is_loss
from gradbook.record import (
    Meters,
    Metric,
    Sink,
    YScale,
    meters_from_plain,
    meters_to_plain,
)
from gradbook.table import Table, data_frame
from gradbook.upward import above

if TYPE_CHECKING:
    import pandas
    import torch
    from matplotlib.axes import Axes

    from gradbook.board import ProgressBoard
    from gradbook.trainer import Trainer


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
        self.meters = Meters()
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
        return repr(self.table(self.rows))

    def _repr_html_(self) -> str:
        """The same as a table of a notebook."""
        return self.table(self.rows)._repr_html_() if self.rows else f"<p>{self!r}</p>"

    def table(self, rows: Sequence[Mapping[str, float]]) -> Table:
        """Some of the epochs as a table.

        Args:
            rows: Those of `rows` that are wanted.
        """
        labels = self.labels
        cells = [
            [f"{row['epoch']:.0f}", *(f"{row.get(label, math.nan):.4g}" for label in labels)]
            for row in rows
        ]
        return Table(["epoch", *labels], cells)

    def to_pandas(self) -> "pandas.DataFrame":
        """The epochs as a DataFrame with a column for each label, indexed by "epoch"."""
        return data_frame(self.rows, "epoch", ["epoch", *self.labels])

    def plot(self, *labels: str, axes: "Axes | None" = None, yscale: YScale = "auto") -> "Axes":
        """Draws the epoch means against the epochs.

        Args:
            labels: What to draw; without any, everything.
            axes: Matplotlib axes to draw on; without them, a new figure's.
            yscale: "linear", "log", or "auto": logarithmic where losses span decades, and linear
                where a value is not positive. Axes that are given then keep their scale.

        Returns:
            The axes.

        Raises:
            ConfigError: If a label was not recorded, or there is no such scale.
        """
        for label in labels:
            if label not in self.labels:
                raise ConfigError(
                    f"{label!r} was not recorded.{did_you_mean(label, self.labels)} "
                    f"There are {', '.join(self.labels) or 'no values yet'}."
                )
        draw_history = above("display.epochs").draw_history
        drawn: Axes = draw_history(self, labels or self.labels, axes, yscale)
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
        self.meters[label].add(x, value)

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
