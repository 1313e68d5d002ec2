"""Two models given the same weights and the same batch: the first tensor that differs.

Book: the scratch and concise regressions of 3.4 and 3.5 differ by the half in the loss alone.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import nn

from gradbook import checks, double_softmax
from gradbook.data import Batch
from gradbook.devices import cpu
from gradbook.errors import BatchError, ConfigError, ModelError
from gradbook.escape import printable
from gradbook.experiments.tensor_comparison import (
    NO_NUMBER,
    ComparedTensor,
    Stage,
    compared,
    followers,
)
from gradbook.experiments.trial import batch_size_of, copy_of, one_batch
from gradbook.interrupts import interruptible
from gradbook.lookalikes import parameters_of
from gradbook.resume.snapshot import fill
from gradbook.schedules import read_optimizers
from gradbook.seeds import random_state, restore_random_state, untouched_generators
from gradbook.table import Table, data_frame
from gradbook.tensors import copy_batch, to_device

if TYPE_CHECKING:
    import pandas

Loss = Callable[[Any, Any], torch.Tensor]

#: What a group of an optimizer holds beside what decides over its steps.
_NO_SETTINGS = ("params", "initial_lr", "foreach", "fused", "capturable", "differentiable")


@dataclass(frozen=True, repr=False)
class ModelComparison:
    """What two models with the same weights make of the same batch.

    Attributes:
        name_a: What the first model is called here: its class.
        name_b: What the second one is called.
        rows: All tensors that were compared, in the order in which they are computed.
        findings: What the differences mean, in sentences; the first is of the first difference.
        optimizers: What each steps with, as "SGD(lr=0.1)", without settings that are off; None if
            it has none.
    """

    name_a: str
    name_b: str
    rows: Sequence[ComparedTensor]
    findings: Sequence[str]
    optimizers: tuple[str | None, str | None] = (None, None)

    @property
    def first_difference(self) -> ComparedTensor | None:
        """The first tensor that differs; None if there is none."""
        return next((row for row in self.rows if not row.same), None)

    @property
    def same(self) -> bool:
        """Whether all is equal, up to rounding, and with it the optimizers, if both have one."""
        return self.first_difference is None and not _differ(self.optimizers)

    @property
    def table(self) -> Table:
        """The rows as a table."""
        heading = ("stage", self.name_a, self.name_b, "shape", "difference", "ratio")
        cells = [
            (
                *(row.stage, row.name_a or "-", row.name_b or "-", str(row.shape)),
                "same" if row.same else f"{row.difference:.2g}",
                "-" if row.ratio is None else f"{row.ratio:.6g}",
            )
            for row in self.rows
        ]
        return Table(heading, cells)

    def to_pandas(self) -> "pandas.DataFrame":
        """The rows as a DataFrame, a column for each attribute of `ComparedTensor`."""
        return data_frame([vars(row) for row in self.rows])

    def __str__(self) -> str:
        return printable("\n".join([*self.findings, "", repr(self.table)]))

    def __repr__(self) -> str:
        return str(self)


@interruptible("Interrupted. The models are as they were.")
def compare_models(a: Any, b: Any, batch: Any, *, loss: Loss | None = None) -> ModelComparison:
    """Gives two models the same weights and the same batch, and finds the first difference.

    Both are copied, and stay as they are. The second copy gets the parameters of the first: by
    name, otherwise by order and shape, transposed where needed, as `nn.Linear` keeps (out, in) and
    the scratch models (in, out). Then both take one training step. What a first step does not
    show, as momentum, is compared by the settings of the optimizers.

    Args:
        a: The first model.
        b: The second model.
        batch: The inputs and then the labels, as in training; or data, of whose training set the
            first batch is taken.
        loss: `loss(y_hat, y)` for both; without it, each model's own.

    Returns:
        The comparison: activations, output, loss, gradients and updates.

    Raises:
        ConfigError: If one of the two is no model, or is a class.
        BatchError: If the batch does not hold inputs and labels, or does not fit.
        ModelError: If a model has no loss, or its loss no gradient.
    """
    for model in (a, b):
        if isinstance(model, type):
            only = checks.only_a_class(model)
            raise ConfigError(f"compare_models() needs two models, but {only}")
        if not (callable(model) and hasattr(model, "__dict__")):
            raise ConfigError(
                f"compare_models() needs two models and then a batch, but got {model!r:.80} as a "
                f"model."
            )
    names = type(a).__name__, type(b).__name__
    if names[0] == names[1]:
        names = f"the first {names[0]}", f"the second {names[1]}"
    with untouched_generators():
        examples = _examples(batch)
        sides = _Side(a, names[0], examples, loss), _Side(b, names[1], examples, loss)
        return _compare(*sides, examples)


def _examples(batch: Any) -> Batch:
    if hasattr(batch, "train_dataloader"):
        batch = one_batch(batch)
    if not isinstance(batch, Sequence) or len(batch) < 2:
        raise BatchError(
            f"A batch holds the inputs and then the labels, such as (X, y), but got "
            f"{type(batch).__name__}. Give such a batch, or data that have a train_dataloader()."
        )
    moved: Batch = to_device(list(batch), cpu())
    return moved


class _Side:
    """A copy of one of the two models, and what it computes."""

    def __init__(self, model: Any, name: str, batch: Batch, loss: Loss | None) -> None:
        self.name = name
        self.model = copy_of(model)
        if isinstance(self.model, nn.Module):
            self.model.cpu()
            with checks.at_rest(self.model):
                self.model(*copy_batch(batch[:-1]))  # gives shapes to lazy layers
        if loss is None and not callable(getattr(model, "loss", None)):
            raise ModelError(checks.missing_loss(model))
        self.loss_function = loss if loss is not None else self.model.loss
        self.parameters = parameters_of(self.model)
        is_module = isinstance(self.model, nn.Module)
        self.layers = dict(self.model.named_modules()) if is_module else {}
        self.buffers = dict(self.model.named_buffers()) if is_module else {}
        linear = [name for name, layer in self.layers.items() if isinstance(layer, nn.Linear)]
        self.linear_weights = {f"{name}.weight".lstrip(".") for name in linear}  # (out, in)
        self.activations: list[tuple[str, str, torch.Tensor]] = []
        self.changes: dict[Stage, dict[str, torch.Tensor]] = {}
        self.optimizer: str | None = None
        self.doubled: str | None = None

    def step(self, batch: Batch) -> None:
        """Takes one training step."""
        batch = copy_batch(batch)
        if isinstance(self.model, nn.Module):
            self.model.train()
        for parameter in self.parameters.values():
            parameter.grad = None
        with ExitStack() as hooks, torch.enable_grad():
            for name, layer in self.layers.items():
                if name and not list(layer.children()):
                    hooks.enter_context(layer.register_forward_hook(partial(self._note, name)))
            self.output = self.model(*batch[:-1])
            self.loss = self.loss_function(self.output, batch[-1])
            if not (isinstance(self.loss, torch.Tensor) and self.loss.requires_grad):
                raise ModelError(checks.useless_loss(self.model, self.loss))
            doubled = double_softmax.find(self.loss)
            self.doubled = None if doubled is None else double_softmax.words(doubled, self.name)
            self.loss.sum().backward()  # type: ignore[no-untyped-call]
        self.changes["gradient"] = {
            name: p.grad for name, p in self.parameters.items() if p.grad is not None
        }
        if not hasattr(self.model, "configure_optimizers"):
            return
        before = {name: p.detach().clone() for name, p in self.parameters.items()}
        optimizer, schedules = read_optimizers(self.model.configure_optimizers(), self.model)
        schedulers = [type(schedule.scheduler).__name__ for schedule in schedules]
        self.optimizer = " with ".join([_optimizer_text(optimizer), *schedulers])
        with torch.no_grad():
            optimizer.step()
        self.changes["update"] = {n: p.detach() - before[n] for n, p in self.parameters.items()}

    def _note(self, name: str, layer: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            self.activations.append((name, type(layer).__name__, output.detach().clone()))


class _Pair(NamedTuple):
    """Two parameters that get the same values, brought from one's shape to the other's."""

    name_a: str
    name_b: str
    form: Literal["same", "transposed", "reshaped"]

    def formed(self, tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        return tensor.t() if self.form == "transposed" else tensor.reshape(shape)


def _compare(a: _Side, b: _Side, batch: Batch) -> ModelComparison:
    pairs = _pairs(a, b)
    with torch.no_grad():
        for pair in pairs:
            second = b.parameters[pair.name_b]
            second.copy_(pair.formed(a.parameters[pair.name_a], second.shape))
        for name, buffer in a.buffers.items():
            if name in b.buffers and b.buffers[name].shape == buffer.shape:
                fill(b.buffers[name], buffer)
    lost = [name for name, p in a.parameters.items() if not bool(p.isfinite().all())]
    state = random_state()
    a.step(batch)
    restore_random_state(state)
    b.step(batch)
    rows = [*_unpaired(a, b, pairs), *_activations(a, b)]
    if isinstance(a.output, torch.Tensor) and isinstance(b.output, torch.Tensor):
        rows.append(compared("output", "output", "output", a.output, b.output))
    rows.append(compared("loss", "loss", "loss", a.loss, b.loss))
    for stage in a.changes:
        if stage in b.changes:
            rows += [row for pair in pairs for row in _of_pair(stage, pair, a, b)]
    findings = _findings(rows, a, b, batch, lost)
    return ModelComparison(a.name, b.name, rows, findings, (a.optimizer, b.optimizer))


def _optimizer_text(optimizer: Any) -> str:
    """An optimizer's class and settings; equal for two that do the same at every step."""
    own = {name: value for name, value in vars(optimizer).items() if isinstance(value, int | float)}
    groups = [
        ", ".join(
            f"{name}={value.item() if isinstance(value, torch.Tensor) else value}"
            for name, value in group.items()
            # What one optimizer lacks is switched off in another. A scheduler notes initial_lr.
            if name not in _NO_SETTINGS and (name == "lr" or value)
        )
        for group in getattr(optimizer, "param_groups", [own])
    ]
    return f"{type(optimizer).__name__}({'; '.join(dict.fromkeys(groups))})"


def _differ(optimizers: tuple[str | None, str | None]) -> bool:
    return None not in optimizers and optimizers[0] != optimizers[1]


def _pairs(a: _Side, b: _Side) -> list[_Pair]:
    """Which parameters belong together: those of the same name, then in order by shape."""
    left, pairs = dict(b.parameters), {}

    def form(name_a: str, name_b: str) -> Literal["same", "transposed", "reshaped"] | None:
        first, second = a.parameters[name_a].shape, left[name_b].shape
        is_turned = (name_a in a.linear_weights) != (name_b in b.linear_weights)
        if first == second:
            # A square matrix does not tell by its shape.
            is_square = len(first) == 2 and first[0] == first[1]
            return "transposed" if is_square and is_turned else "same"
        if len(first) == 2 and first == second[::-1]:
            return "transposed"
        without_ones = [[size for size in shape if size != 1] for shape in (first, second)]
        return "reshaped" if without_ones[0] == without_ones[1] else None

    for name_a in a.parameters:
        found = form(name_a, name_a) if name_a in left else None
        if found is not None:
            pairs[name_a] = _Pair(name_a, name_a, found)
            del left[name_a]
    for allowed in (("same", "transposed"), ("reshaped",)):
        for name_a in a.parameters:
            for name_b in left if name_a not in pairs else ():
                found = form(name_a, name_b)
                if found is not None and found in allowed:
                    pairs[name_a] = _Pair(name_a, name_b, found)
                    del left[name_b]
                    break
    return [pairs[name_a] for name_a in a.parameters if name_a in pairs]


def _unpaired(a: _Side, b: _Side, pairs: Sequence[_Pair]) -> list[ComparedTensor]:
    paired_a, paired_b = {pair.name_a for pair in pairs}, {pair.name_b for pair in pairs}
    names: list[tuple[str | None, str | None, torch.Tensor]]
    names = [(name, None, p) for name, p in a.parameters.items() if name not in paired_a]
    names += [(None, name, p) for name, p in b.parameters.items() if name not in paired_b]
    return [
        ComparedTensor("parameter", name_a, name_b, tuple(p.shape), math.nan, None, False)
        for name_a, name_b, p in names
    ]


def _activations(a: _Side, b: _Side) -> list[ComparedTensor]:
    """The outputs of the layers, paired in their order if they are of a kind and shape.

    A layer whose name both models have belongs to the one of that name.
    """
    common = {name for name, _, _ in a.activations} & {name for name, _, _ in b.activations}
    kinds_a, kinds_b = (
        [(name if name in common else None, kind, *t.shape) for name, kind, t in side.activations]
        for side in (a, b)
    )
    rows = []
    matcher = SequenceMatcher(a=kinds_a, b=kinds_b, autojunk=False)
    for block in matcher.get_matching_blocks():
        for i in range(block.size):
            name_a, _, first = a.activations[block.a + i]
            name_b, _, second = b.activations[block.b + i]
            rows.append(compared("activation", name_a, name_b, first, second))
    return rows


def _of_pair(stage: Stage, pair: _Pair, a: _Side, b: _Side) -> list[ComparedTensor]:
    first, second = a.changes[stage].get(pair.name_a), b.changes[stage].get(pair.name_b)
    parameter = a.parameters[pair.name_a].detach()
    if first is None and second is None:
        return []
    if first is None or second is None:
        relation = "only one of them has a gradient"
        shape = tuple(parameter.shape)
        return [ComparedTensor(stage, pair.name_a, pair.name_b, shape, 1.0, None, False, relation)]
    # An update is a difference of parameters, and as exact as these.
    size = float(parameter.abs().max()) if stage == "update" and parameter.numel() else 0.0
    second = pair.formed(second, first.shape)
    return [compared(stage, pair.name_a, pair.name_b, first, second, size)]


# In words


def _findings(
    rows: Sequence[ComparedTensor], a: _Side, b: _Side, batch: Batch, lost: Sequence[str]
) -> list[str]:
    """What the rows mean; `lost` are the parameters that were not finite before the step."""
    different = [row for row in rows if not row.same]
    optimizers = f"{a.name} is trained with {a.optimizer}, and {b.name} with {b.optimizer}"
    is_other = _differ((a.optimizer, b.optimizer))
    if not different:
        same = f"{a.name} and {b.name} do the same"
        equal = f"all {len(rows)} tensors are equal."
        if not is_other:
            return [f"{same}: {equal}"]
        other = f"Their optimizers differ: {optimizers}. Later steps will show it."
        return [f"{same} in a first step: {equal} {other}"]
    findings = []
    for row in (row for row in different if row.stage == "parameter"):
        has, lacks = (a.name, b.name) if row.name_b is None else (b.name, a.name)
        name = row.name_a or row.name_b
        what = "a bias is missing" if len(row.shape) == 1 else "a layer is missing or different"
        findings.append(
            f"{lacks} has no counterpart of the parameter {name} {row.shape} of {has}: {what}."
        )
    computed = [row for row in different if row.stage != "parameter"]
    if computed and computed[0].relation == NO_NUMBER:
        findings.append(_nothing_more(computed[0], rows, a, b) + _why_no_number(batch, lost))
    elif computed:
        findings.append(_first_of(computed[0], a, b, batch))
        findings += followers(computed, rows)
    if is_other:
        findings.append(f"Their optimizers differ: {optimizers}.")
    findings += [side.doubled for side in (a, b) if side.doubled is not None]
    return findings


def _first_of(row: ComparedTensor, a: _Side, b: _Side, batch: Batch) -> str:
    first, second = _called(row, row.name_a, a.name), _called(row, row.name_b, b.name)
    if row.ratio is not None:
        ratio = row.ratio
        if abs(ratio) > 1:
            first, second, ratio = second, first, 1 / ratio
        is_of_loss = row.stage in ("loss", "gradient")
        meaning = _meaning(ratio, a.output, batch) if is_of_loss else ""
        everywhere = " everywhere" if row.shape else ""
        return f"The first difference: {second} is {ratio:.4g} times {first}{everywhere}{meaning}."
    if row.relation:
        return f"The first difference: {first} (A) and {second} (B): {row.relation}."
    return (
        f"The first difference: {first} and {second} differ by up to {row.difference:.2g} of their "
        f"largest element."
    )


def _nothing_more(row: ComparedTensor, rows: Sequence[ComparedTensor], a: _Side, b: _Side) -> str:
    """What to say where both models give NaN or infinity, first in `row`."""
    what = f"{_called(row, row.name_a, a.name)} and {_called(row, row.name_b, b.name)}"
    if any(each.stage == "output" and each.relation == NO_NUMBER for each in rows):
        what = f"the outputs of {a.name} and {b.name}"
    much = "No more" if any(each.same for each in rows) else "Nothing"
    return f"{much} can be compared: {what} are NaN or infinite throughout."


def _why_no_number(batch: Batch, lost: Sequence[str]) -> str:
    for name, items in (("inputs", batch[:-1]), ("labels", batch[-1:])):
        tensors = [item for item in items if isinstance(item, torch.Tensor)]
        count = sum(int((~tensor.isfinite()).sum()) for tensor in tensors)
        if count:
            total = sum(tensor.numel() for tensor in tensors)
            return f" So are {count} of the batch's {total} {name}: look at the data."
    if lost:
        return f" So are weights of both models before the step: {', '.join(lost)}."
    return ""


def _called(row: ComparedTensor, name: str | None, model: str) -> str:
    if row.stage in ("output", "loss"):
        return f"the {row.stage} of {model}"
    kind = {"activation": "output", "gradient": "gradient", "update": "update"}[row.stage]
    return f"the {kind} of {name} in {model}"


def _meaning(ratio: float, output: Any, batch: Batch) -> str:
    """What a ratio below 1 usually comes from."""
    num_examples = batch_size_of(batch)
    num_outputs = output.numel() // num_examples if isinstance(output, torch.Tensor) else 1

    def near(value: float) -> bool:
        return math.isclose(ratio, value, rel_tol=1e-3)

    if near(-1):
        return ": a sign is reversed"
    if near(0.5):
        return ": one of them halves the squared error, or the other counts all twice"
    if num_examples > 1 and near(1 / num_examples):
        return f": one of them adds up the {num_examples} examples, and the other averages them"
    if num_outputs > 1 and near(1 / (num_examples * num_outputs)):
        return (
            f": one of them adds up all {num_examples * num_outputs} elements, and the other "
            f"averages them"
        )
    if num_outputs > 1 and near(1 / num_outputs):
        return f": one of them averages over the {num_outputs} outputs, too"
    return ""
