"""What a training step keeps in memory for the backward pass, beside what a prediction needs.

Book: 5.3.4 (training neural networks, in sec_backprop).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.multiprocessing.reductions import StorageWeakRef as Storage
from torch.utils._python_dispatch import TorchDispatchMode

from gradbook.display.file import new_figure
from gradbook.display.finding import Finding
from gradbook.display.palette import COLORS
from gradbook.display.words import bytes_text, bytes_unit, counted
from gradbook.experiments.recording import Recorder, Row, storage_bytes, storage_of
from gradbook.experiments.trial import batch_size_of, trial_of
from gradbook.interrupts import interruptible
from gradbook.lookalikes import tensors_of
from gradbook.schedules import needs_closure, read_optimizers
from gradbook.table import data_frame
from gradbook.tensors import copy_batch
from gradbook.untrained import tensors_in

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The batch sizes at which growth is measured, in parts of the batch that was given.
_GROWTH = (1, 2, 4)
#: The most operations that are drawn one by one; of more, those that keep most.
_MANY = 40


@dataclass(frozen=True)
class SavedByOperation:
    """What one operation keeps for the backward pass.

    Attributes:
        name: The operation, as `gradbook.graph` names it.
        layer: The layer in which it runs; empty outside all layers.
        shape: The shape of its result.
        saved: What it keeps: its own name for its result, the names of its inputs, and the shape
            of what exists only inside it.
        saved_bytes: The memory of all that it keeps, each storage once.
        new_bytes: The part of it that is kept because of this operation: what is no parameter,
            buffer or batch, and was not kept by an operation before it.
    """

    name: str
    layer: str
    shape: tuple[int, ...]
    saved: tuple[str, ...]
    saved_bytes: int
    new_bytes: int


class BatchMemory(NamedTuple):
    """The memory that grows with the batch, at one batch size.

    Attributes:
        batch_size: The number of examples.
        activation_bytes: What is kept for the backward pass.
        training_peak_bytes: The results that are alive at once in a training step.
        prediction_peak_bytes: The results that are alive at once in a prediction.
    """

    batch_size: int
    activation_bytes: int
    training_peak_bytes: int
    prediction_peak_bytes: int


@dataclass(frozen=True, repr=False, eq=False)
class Memory(Finding):
    """The memory that a training step and a prediction need, in bytes.

    `training_bytes` is the sum of `parameter_bytes`, `gradient_bytes`, `optimizer_bytes`,
    `batch_bytes` and `training_peak_bytes`; `prediction_bytes` is that of `parameter_bytes`,
    `batch_bytes` and `prediction_peak_bytes`. What an operation needs for itself while it runs is
    in neither.

    Attributes:
        model: The name of the model's class.
        batch_size: The number of examples in the batch.
        operations: What each operation of the forward pass and the loss keeps, in their order.
        parameter_bytes: The parameters and buffers.
        gradient_bytes: The gradients of the parameters that require one.
        optimizer: The name of the optimizer's class.
        optimizer_bytes: What the optimizer keeps from step to step: nothing for SGD, two numbers
            a parameter for Adam.
        batch_bytes: The inputs and labels.
        saved_bytes: All storages that the backward pass refers to, each once: parameters, buffers
            and batch, which are there anyway, and `activation_bytes`.
        activation_bytes: The part of them that is there for the backward pass only.
        training_peak_bytes: The results, and gradients with respect to them, that are alive at
            once in the forward and backward pass, at the moment where they are most. What is
            kept for the backward pass is a part of them.
        prediction_peak_bytes: The results that are alive at once when the network runs in
            evaluation mode and without gradients, at the moment where they are most.
        growth: What grows with the batch, at its size, twice and four times that.
    """

    model: str
    batch_size: int
    operations: tuple[SavedByOperation, ...]
    parameter_bytes: int
    gradient_bytes: int
    optimizer: str
    optimizer_bytes: int
    batch_bytes: int
    saved_bytes: int
    activation_bytes: int
    training_peak_bytes: int
    prediction_peak_bytes: int
    growth: tuple[BatchMemory, ...]

    @property
    def training_bytes(self) -> int:
        """All that a training step holds at once."""
        return sum(self._parts(training=True).values())

    @property
    def prediction_bytes(self) -> int:
        """All that a prediction holds at once."""
        return sum(self._parts(training=False).values())

    def _parts(self, training: bool) -> dict[str, int]:
        parts = {"parameters": self.parameter_bytes, "batch": self.batch_bytes}
        if not training:
            return {**parts, "other results": self.prediction_peak_bytes}
        return {
            **parts,
            "other results": self.training_peak_bytes - self.activation_bytes,
            "kept for backward": self.activation_bytes,
            "gradients": self.gradient_bytes,
            f"state of {self.optimizer}": self.optimizer_bytes,
        }

    def _words(self) -> str:
        ratio = self.training_bytes / max(self.prediction_bytes, 1)
        lines = [
            f"{self.model} on a batch of {self.batch_size}: training needs "
            f"{bytes_text(self.training_bytes)}, {ratio:.2g} times the "
            f"{bytes_text(self.prediction_bytes)} of prediction"
        ]
        for which, training in (("training", True), ("prediction", False)):
            parts = [f"{name} {bytes_text(n)}" for name, n in self._parts(training).items() if n]
            lines.append(f"  {which:<11} {', '.join(parts)}")
        lines.append(f"  kept        {self._story()}")
        first, last = self.growth[0], self.growth[-1]
        lines.append(
            f"  growth      for a batch of {last.batch_size} instead of {first.batch_size}, "
            f"{bytes_text(last.activation_bytes)} are kept instead of "
            f"{bytes_text(first.activation_bytes)}; parameters, gradients and the optimizer's "
            f"state stay as they are"
        )
        return "\n".join(lines)

    def _story(self) -> str:
        keeping = [operation for operation in self.operations if operation.new_bytes]
        if not keeping:
            return "nothing but parameters and the batch, which are in memory anyway"
        most = max(keeping, key=lambda operation: operation.new_bytes)
        where = f" in {most.layer}" if most.layer else ""
        return (
            f"by {len(keeping)} of {counted(len(self.operations), 'operation')}, most by "
            f"{most.name}{where}, {bytes_text(most.new_bytes)}: training keeps "
            f"{bytes_text(self.activation_bytes)} until the backward pass has used it, and "
            f"prediction frees each result after its last use"
        )

    def facts(self) -> dict[str, Any]:
        """The figures as plain values, for JSON."""
        growth = [point._asdict() for point in self.growth]
        plain = {**vars(self), "operations": list(map(asdict, self.operations)), "growth": growth}
        return plain | self._plain("training_bytes", "prediction_bytes")

    def to_pandas(self) -> "pandas.DataFrame":
        """The operations as a DataFrame, a row each, indexed by "name"."""
        return data_frame(list(map(asdict, self.operations)), "name")

    def figure(self) -> "Figure":
        """Draws what is kept operation by operation, the parts, and the growth with the batch."""
        shown = self._shown()
        figure = new_figure(10.5, max(5.4, 0.2 * len(shown) + 1.4))
        # Each with a legend of its own below it.
        halves: Any = figure.subfigures(1, 2, width_ratios=[1.15, 1])
        quarters: Any = halves[1].subfigures(2, 1)
        self._draw_operations(halves[0].subplots(), shown)
        self._draw_parts(quarters[0].subplots())
        self._draw_growth(quarters[1].subplots())
        for part, columns in ((halves[0], 2), (quarters[0], 3), (quarters[1], 2)):
            part.legend(loc="outside lower center", ncols=columns, fontsize="small")
        return figure

    def _shown(self) -> list[SavedByOperation]:
        by_size = sorted(self.operations, key=lambda o: o.new_bytes, reverse=True)
        largest = {operation.name for operation in by_size[:_MANY]}
        return [operation for operation in self.operations if operation.name in largest]

    def _draw_operations(self, axes: "Axes", shown: Sequence[SavedByOperation]) -> None:
        """The network from top to bottom, as deep as it is: what is kept adds up."""
        sums = accumulate(operation.new_bytes for operation in self.operations)
        so_far = dict(zip([operation.name for operation in self.operations], sums, strict=True))
        unit, size = bytes_unit(max(*so_far.values(), self.prediction_peak_bytes))
        places = range(len(shown))
        kept = [operation.new_bytes / size for operation in shown]
        axes.barh(places, kept, color=COLORS[0], label="kept by this operation")
        kept = [so_far[operation.name] / size for operation in shown]
        axes.plot(kept, places, color=COLORS[1], marker=".", label="kept by all operations so far")
        peak = self.prediction_peak_bytes / size
        axes.axvline(peak, color="black", linestyle="--", label="prediction, at its peak")
        labels = [f"{o.name} ({o.layer})" if o.layer else o.name for o in shown]
        axes.set_yticks(places, labels, fontsize="small", parse_math=False)
        axes.set(xlabel=f"results in memory [{unit}]")
        axes.invert_yaxis()
        most = "" if len(shown) == len(self.operations) else f"\n(the {len(shown)} that keep most)"
        axes.set_title(f"what each operation keeps, in forward order{most}", fontsize="medium")
        axes.grid(True, axis="x")
        axes.set_axisbelow(True)

    def _draw_parts(self, axes: "Axes") -> None:
        unit, size = bytes_unit(max(self.training_bytes, self.prediction_bytes))
        rows = {"training": self._parts(True), "prediction": self._parts(False)}
        names = dict.fromkeys(name for parts in rows.values() for name in parts)
        starts = [0.0, 0.0]
        hatches = ["", "///", "...", "\\\\\\", "xxx", "ooo"]
        for number, name in enumerate(names):
            widths = [parts.get(name, 0) / size for parts in rows.values()]
            if any(widths):
                look: dict[str, Any] = {"color": COLORS[number], "hatch": hatches[number]}
                axes.barh(list(rows), widths, left=starts, edgecolor="white", label=name, **look)
            starts = [start + width for start, width in zip(starts, widths, strict=True)]
        axes.invert_yaxis()
        axes.set_xlabel(f"memory [{unit}]")
        axes.set_title("what the memory is used for", fontsize="medium")

    def _draw_growth(self, axes: "Axes") -> None:
        unit, size = bytes_unit(max(point.training_peak_bytes for point in self.growth))
        sizes = [point.batch_size for point in self.growth]
        for style, color, name, label in (
            ("^-", COLORS[1], "training_peak_bytes", "training, at its peak"),
            ("o:", COLORS[0], "activation_bytes", "of that, kept for the backward pass"),
            ("s--", "black", "prediction_peak_bytes", "prediction, at its peak"),
        ):
            heights = [getattr(point, name) / size for point in self.growth]
            axes.plot(sizes, heights, style, color=color, label=label)
        axes.set(xlabel="examples in the batch", ylabel=f"results in memory [{unit}]")
        axes.set(xticks=sizes, xlim=(0, None), ylim=(0, None))
        axes.set_title("growth with the batch", fontsize="medium")
        axes.grid(True)


@interruptible()
def memory(model: Any, batch: Any) -> Memory:
    """Measures what a model keeps for the backward pass, and compares it with a prediction.

    The network and the loss are run in training mode, and every tensor that an operation keeps
    for the backward pass is noted. Then a training step, and a prediction in evaluation mode and
    without gradients, are followed operation by operation, and what is alive of their results is
    added up. Memory is counted by storages, so that what two tensors share counts once. The same
    is done with two and four copies of the batch in one. All of it happens to a copy of the model,
    and random generators are left as they are. On the device "meta" it takes no memory itself.

    Book: 5.3.4.

    Args:
        model: The model, with a `loss(y_hat, y)` of one element, and an optimizer in
            `configure_optimizers`.
        batch: The inputs and then the labels, as a list or tuple; or a DataModule or an iterable
            of batches, of which the first is taken.

    Returns:
        The memory in bytes, with words and a figure.

    Raises:
        ModelError: If the model is none, cannot be copied, or lacks a loss or an optimizer.
        BatchError: If the batch does not fit it.
        DataError: If there is no batch.
    """
    with trial_of(model, batch) as (trial, tensors):
        size = batch_size_of(tensors)
        rows: list[list[Row]] = []
        growth = []
        for times in _GROWTH:
            larger = [_repeated(tensor, size, times) for tensor in tensors]
            trial.train()
            rows.append(Recorder(trial, copy_batch(larger)).run()[1])
            growth.append(
                BatchMemory(
                    batch_size=size * times,
                    activation_bytes=sum(row.new_bytes for row in rows[-1]),
                    training_peak_bytes=_peak_bytes(trial, larger, training=True),
                    prediction_peak_bytes=_peak_bytes(trial, larger, training=False),
                )
            )
        optimizer, _ = read_optimizers(trial.configure_optimizers(), trial)
        trained = [tensor for tensor in tensors_of(trial) if tensor.requires_grad]
        storages = {ref: num_bytes for row in rows[0] for ref, num_bytes in row.sizes.items()}
        return Memory(
            model=type(model).__name__,
            batch_size=size,
            operations=tuple(map(_saved_by, rows[0])),
            parameter_bytes=num_bytes_of(tensors_of(trial)),
            gradient_bytes=sum(p.numel() * p.element_size() for p in trained),
            optimizer=type(optimizer).__name__,
            optimizer_bytes=_state_bytes(optimizer),
            batch_bytes=num_bytes_of(tensors_in(tensors)),
            saved_bytes=sum(storages.values()),
            activation_bytes=growth[0].activation_bytes,
            training_peak_bytes=growth[0].training_peak_bytes,
            prediction_peak_bytes=growth[0].prediction_peak_bytes,
            growth=tuple(growth),
        )


def _saved_by(row: Row) -> SavedByOperation:
    layer = row.layers[-1].name if row.layers else ""
    saved_bytes = sum(row.sizes.values())
    return SavedByOperation(row.name, layer, row.shape, row.kept, saved_bytes, row.new_bytes)


class _Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks after every operation what is alive of the results so far."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sizes: dict[Storage, int] = {}
        self._moments: list[dict[Storage, int]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs an operation, and then looks."""
        result = func(*args, **(kwargs or {}))
        for tensor in tensors_in(result):
            self._sizes[storage_of(tensor)] = storage_bytes(tensor)
        for ref in list(self._sizes):
            if ref.expired():  # type: ignore[no-untyped-call]
                del self._sizes[ref]
        self._moments.append(self._sizes.copy())
        return result

    def peak_bytes(self, besides: Iterable[torch.Tensor]) -> int:
        """The memory of the results at the moment where it was largest, without some tensors."""
        others = {storage_of(tensor) for tensor in besides}
        sums = [sum(n for ref, n in sizes.items() if ref not in others) for sizes in self._moments]
        return max(sums, default=0)


def _peak_bytes(model: Any, batch: Sequence[Any], training: bool) -> int:
    """The most that the results of a training step, or else of a prediction, take at once."""
    model.train(training)
    batch = copy_batch(batch)
    others = [*tensors_of(model), *tensors_in(batch)]
    living = _Living()
    with torch.set_grad_enabled(training), living:
        if training:
            trained = [tensor for tensor in tensors_of(model) if tensor.requires_grad]
            loss = model.loss(model(*batch[:-1]), batch[-1])
            others += tensors_in(torch.autograd.grad(loss, trained, allow_unused=True))
        else:
            model(*batch[:-1])
    return living.peak_bytes(others)


def _state_bytes(optimizer: Any) -> int:
    """The state that an optimizer has after a step; 0 for one that is none of PyTorch's.

    The step is taken on other tensors of the same form: a learner's optimizer may hold the
    parameters of the model itself, and not those of the copy.
    """
    if not isinstance(optimizer, torch.optim.Optimizer) or needs_closure(optimizer.step):
        return 0
    for group in optimizer.param_groups:
        stand_ins = []
        for parameter in group["params"]:
            stand_in = torch.zeros_like(parameter, requires_grad=True)
            if parameter.requires_grad:
                stand_in.grad = torch.zeros_like(parameter)
            if parameter in optimizer.state:  # Adagrad has one before its first step
                optimizer.state[stand_in] = optimizer.state.pop(parameter)
            stand_ins.append(stand_in)
        group["params"] = stand_ins
    optimizer.step()
    return num_bytes_of(tensors_in(list(optimizer.state.values())))


def num_bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    """The memory of tensors; a storage that several share counts once."""
    sizes: dict[Storage, int] = {storage_of(tensor): storage_bytes(tensor) for tensor in tensors}
    return sum(sizes.values())


def _repeated(value: Any, size: int, times: int) -> Any:
    """A batch's tensor of `size` examples, or tensors in lists, with so many copies of them."""
    if isinstance(value, list | tuple):
        return [_repeated(item, size, times) for item in value]
    if isinstance(value, torch.Tensor) and value.dim() and len(value) == size:
        return torch.cat([value] * times)
    return value
