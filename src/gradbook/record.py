"""What is recorded while a model trains, and where it goes.

Values arrive as tensors and stay on their device until a window of them closes: a `Meter`
costs one synchronization per window, never one per step. PyTorch is loaded only where values are
read, because whoever looks at finished runs needs none of it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from gradbook.labels import is_perplexity

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


class Joining(Protocol):
    """How the values become one that several processes have of a batch."""

    @property
    def share(self) -> float:
        """How much of the batch this process has, from 0 to 1."""
        ...

    def note(self, meter: "Meter") -> None:
        """A meter has got a part of a value."""

    def join(self, meters: "Sequence[Meter]") -> None:
        """Makes whole what these have parts of; all processes have to call it."""

    def aside(self) -> AbstractContextManager[None]:
        """While it lasts, this process computes alone."""


#: Set while several processes train together: each has its part of every value.
joining: Joining | None = None


def counts_elsewhere() -> bool:
    """Whether what this process has of a batch counts for nothing, and what others have does."""
    return joining is not None and joining.share == 0


def tell(sinks: Iterable[Sink], metric: Metric) -> None:
    """Tells sinks a value. What they compute with it concerns this process alone."""
    with nullcontext() if joining is None else joining.aside():
        for sink in sinks:
            sink.write(metric)


class Meter:
    """Values that wait, on their device, to be averaged together.

    While several processes train together, each keeps its part of a value: the value that it has
    of its part of the batch, times its share. Their sum is the mean of the parts' values. Of a
    perplexity, which is `exp` of a mean, it is that of the logarithms.

    Args:
        is_geometric: Whether the values are perplexities.
    """

    def __init__(self, is_geometric: bool = False) -> None:
        self.xs: list[float] = []
        self.values: list[torch.Tensor | float] = []
        self._is_geometric = is_geometric
        self._num_whole = 0  # the first values, which are no parts

    def __len__(self) -> int:
        return len(self.values)

    def add(self, x: float, value: "torch.Tensor | float") -> None:
        """Keeps one value, a number or a 0-d tensor, without looking at it."""
        if joining is not None:
            self.xs.append(x)
            self.values.append(self._part(value, joining.share))
            joining.note(self)
        else:
            self.extend([x], [value])

    def _part(self, value: "torch.Tensor | float", share: float) -> "torch.Tensor | float":
        if not share:
            return 0.0  # whatever it is, as NaN where no label of the part counts
        if self._is_geometric:
            import torch

            value = torch.as_tensor(value).log()
        return value * share

    def extend(self, xs: Sequence[float], values: "Sequence[torch.Tensor | float]") -> None:
        """Keeps many values, which are whole."""
        if not self.parts:
            self._num_whole += len(values)
        self.xs += xs
        self.values += values

    @property
    def parts(self) -> "list[torch.Tensor | float]":
        """What this process has of the last values, where others have the rest."""
        return self.values[self._num_whole :]

    def take_whole(self, sums: "torch.Tensor") -> None:
        """Takes the sums of all processes' parts in the place of `parts`."""
        sums = sums.exp() if self._is_geometric else sums
        is_here = sums.device.type == "cpu"
        self.values[self._num_whole :] = sums.tolist() if is_here else sums.unbind()
        self._num_whole = len(self.values)

    def split(self, size: int) -> "Meter":
        """Takes the first `size` values out, and returns them."""
        first = Meter(self._is_geometric)
        first.extend(self.xs[:size], self.values[:size])
        self._num_whole -= size
        del self.xs[:size], self.values[:size]
        return first

    def read(self) -> "torch.Tensor":
        """All values as a float64 tensor on the CPU: the one synchronization.

        While several processes train together, all of them have to read the same values.
        """
        import torch

        if joining is not None and self.parts:
            joining.join([self])
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


class Meters(defaultdict[str, Meter]):
    """The meters of curves by their labels; a new label has an empty one."""

    def __missing__(self, label: str) -> Meter:
        self[label] = meter = Meter(is_perplexity(label))
        return meter


def meters_to_plain(meters: Mapping[str, Meter]) -> dict[str, Any]:
    """Values that wait, as plain values for a checkpoint."""
    import torch

    return {
        label: {"x": torch.tensor(meter.xs, dtype=torch.float64), "y": meter.read()}
        for label, meter in meters.items()
        if len(meter)
    }


def meters_from_plain(plain: Mapping[str, "Mapping[str, torch.Tensor]"]) -> Meters:
    """What `meters_to_plain` was given."""
    meters = Meters()
    for label, values in plain.items():
        meters[label].extend(values["x"].tolist(), values["y"].tolist())
    return meters
