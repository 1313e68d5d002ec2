"""What is recorded while a model trains, and where it goes.

Values arrive as tensors and stay on their device until a window of them closes: a `Meter`
costs one synchronization per window, never one per step. PyTorch is loaded only where values are
read, because whoever looks at finished runs needs none of it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import torch

    from gradbook.board import ProgressBoard
    from gradbook.trainer import Trainer

#: The vertical axis of curves; "auto" is "log" where losses span decades.
YScale = Literal["auto", "linear", "log"]


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
        tells_divergence: Whether it shows a post-mortem at the end, so that no warning need do it.
    """

    keeps_curves = tells_divergence = False

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
        """All values as a float64 tensor on the CPU: the one synchronization."""
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


def meters_to_plain(meters: Mapping[str, Meter]) -> dict[str, Any]:
    """Values that wait, as plain values for a checkpoint."""
    import torch

    return {
        label: {"x": torch.tensor(meter.xs, dtype=torch.float64), "y": meter.read()}
        for label, meter in meters.items()
        if len(meter)
    }


def meters_from_plain(plain: Mapping[str, "Mapping[str, torch.Tensor]"]) -> defaultdict[str, Meter]:
    """What `meters_to_plain` was given; a new label has an empty meter."""
    meters: defaultdict[str, Meter] = defaultdict(Meter)
    for label, values in plain.items():
        meters[label].extend(values["x"].tolist(), values["y"].tolist())
    return meters
