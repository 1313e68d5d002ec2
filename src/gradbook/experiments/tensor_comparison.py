"""Two tensors that should be equal: whether they are, up to rounding, or how they differ."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

Stage = Literal["parameter", "activation", "output", "loss", "gradient", "update"]

#: The relation of two tensors that are both NaN or infinite throughout.
NO_NUMBER = "neither has a finite number"

#: What a network may apply once more, or once too little.
_FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softmax": lambda X: X.softmax(dim=-1),
    "log_softmax": lambda X: X.log_softmax(dim=-1),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "exp": torch.exp,
}


@dataclass(frozen=True)
class ComparedTensor:
    """A tensor of the first model beside its counterpart in the second.

    Attributes:
        stage: "parameter" for one without a counterpart; "activation", the output of a layer;
            "output", of the network; "loss"; "gradient" and "update", of a parameter, the latter
            by one step of the optimizer.
        name_a: Its name in the first model; None if it has none there.
        name_b: Its name in the second model; None if it has none there.
        shape: Its shape in the first model, or in the second if it is only there.
        difference: The largest difference between two elements, as a part of the largest finite
            one; NaN if they cannot be compared, as of two tensors that are NaN throughout.
        ratio: What the second is times the first, if that is the same everywhere.
        same: Whether they are equal up to rounding.
        relation: How they differ, in words, if it is known; A and B are the two tensors.
    """

    stage: Stage
    name_a: str | None
    name_b: str | None
    shape: tuple[int, ...]
    difference: float
    ratio: float | None
    same: bool
    relation: str = ""


def compared(
    stage: Stage,
    name_a: str,
    name_b: str,
    first: torch.Tensor,
    second: torch.Tensor,
    size: float = 0.0,
) -> ComparedTensor:
    """Compares two tensors; `size` is that of what they are differences of, and as exact as."""
    row = partial(ComparedTensor, stage, name_a, name_b, tuple(first.shape))
    first, second = first.detach(), second.detach()
    if first.shape != second.shape:
        relation = f"A has shape {tuple(first.shape)}, and B {tuple(second.shape)}"
        if first.dim() == 2 and are_close(first.T, second):
            relation += ": they are each other's transpose"
        return row(math.nan, None, False, relation)
    tolerance = _tolerance(first, second)
    x, y = first.double(), second.double()
    if relation := _without_numbers(x, y):
        return row(math.nan, None, False, relation)
    x, y = (t.masked_fill(~t.isfinite(), 0.0) for t in (x, y))  # which are at the same places
    scale = _size(x, y)
    gap = _size(x - y)
    difference = gap / scale if gap else 0.0
    if gap == 0 or gap <= tolerance * max(scale, size):
        return row(difference, 1.0, True)
    ratio = _ratio(x, y, tolerance, size)
    return row(difference, ratio, False, _relation(x, y, tolerance) if ratio is None else "")


def _without_numbers(x: torch.Tensor, y: torch.Tensor) -> str:
    """What to say of tensors that cannot be compared, as NaN or infinity stands in them; or ""."""
    lost_x, lost_y = ~x.isfinite(), ~y.isfinite()
    if x.numel() and bool(lost_x.all()) and bool(lost_y.all()):
        return NO_NUMBER
    if torch.equal(x[lost_x].nan_to_num(), y[lost_x].nan_to_num()) and torch.equal(lost_x, lost_y):
        return ""
    return (
        f"of {x.numel()} elements, {int(lost_x.sum())} of A and {int(lost_y.sum())} of B are NaN "
        f"or infinite"
    )


def _tolerance(*tensors: torch.Tensor) -> float:
    """What rounding may change, as a part of the largest element."""
    kinds = [t.dtype for t in tensors if t.is_floating_point()]
    eps = max((torch.finfo(kind).eps for kind in kinds), default=0.0)
    return min(256 * eps, 0.05)


def _size(*tensors: torch.Tensor) -> float:
    return max(float(t.abs().max()) if t.numel() else 0.0 for t in tensors)


def are_close(x: torch.Tensor, y: torch.Tensor, tolerance: float | None = None) -> bool:
    """Whether two tensors are equal up to rounding, or to a part of their largest element."""
    if tolerance is None:
        tolerance = _tolerance(x, y)
    return x.shape == y.shape and _size(x - y) <= tolerance * _size(x, y)


def _ratio(x: torch.Tensor, y: torch.Tensor, tolerance: float, size: float) -> float | None:
    """The number by which all of x is to be multiplied for y, if there is one."""
    square = float((x * x).sum())
    if not square or not math.isfinite(square):
        return None
    ratio = float((x * y).sum()) / square
    scale = max(_size(y), abs(ratio) * _size(x), size)
    # A number of one element is a ratio too, and says nothing if it is 0.
    return ratio if ratio and _size(y - ratio * x) <= tolerance * scale else None


def _relation(x: torch.Tensor, y: torch.Tensor, tolerance: float) -> str:
    """How y comes from x or x from y, if it is a common way."""
    if x.dim() == 0:
        return ""
    for name, function in _FUNCTIONS.items():
        if name.endswith("softmax") and x.shape[-1] == 1:
            continue
        if are_close(function(x), y, tolerance):
            return f"B is the {name} of A"
        if are_close(function(y), x, tolerance):
            return f"A is the {name} of B"
    if x.dim() == 2 and are_close(x.T, y, tolerance):
        return "they are each other's transpose"
    gap = y - x
    room = tolerance * _size(x, y)
    if _size(gap - gap.mean()) <= room:
        return f"B is A plus {float(gap.mean()):.6g} everywhere"
    if x.dim() == 2 and len(x) > 1 and _size(gap - gap.mean(dim=0)) <= room:
        return "all rows differ by the same row, as by a bias"
    # Of a single column the next would be said of any two.
    if x.dim() == 2 and x.shape[1] > 1 and _size(gap - gap.mean(dim=1, keepdim=True)) <= room:
        return "each row differs by a constant of its own, which does not change a softmax"
    return ""


def followers(different: Sequence[ComparedTensor], rows: Sequence[ComparedTensor]) -> list[str]:
    """What became of the first difference later on, in sentences."""
    findings = []
    gradients = [row for row in rows if row.stage == "gradient"]
    updates = [row for row in rows if row.stage == "update"]
    if different[0].stage not in ("gradient", "update") and gradients:
        if all(row.same for row in gradients):
            findings.append("Nevertheless the gradients are equal.")
        elif ratio := _common_ratio(gradients):
            one = gradients[0]
            small, large = (
                (f"{one.name_b} in the second model", f"{one.name_a} in the first")
                if abs(ratio) < 1
                else (f"{one.name_a} in the first model", f"{one.name_b} in the second")
            )
            findings.append(
                f"The gradient of {small} is {min(ratio, 1 / ratio, key=abs):.4g} times that of "
                f"{large} everywhere{', as for all others' if len(gradients) > 1 else ''}."
            )
    if updates and all(row.same for row in gradients) and (ratio := _common_ratio(updates)):
        findings.append(
            f"With equal gradients, the updates of the second model are {ratio:.4g} times "
            f"those of the first: compare learning rates and optimizers."
        )
    return findings


def _common_ratio(rows: Sequence[ComparedTensor]) -> float | None:
    ratios = [row.ratio for row in rows if not (row.same and row.difference == 0)]
    if not ratios or ratios[0] is None or math.isclose(ratios[0], 1, rel_tol=1e-6):
        return None
    first = ratios[0]
    agree = all(ratio is not None and math.isclose(ratio, first, rel_tol=1e-3) for ratio in ratios)
    return first if agree else None
