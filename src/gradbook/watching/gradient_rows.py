"""The rows of a gradient report: what each layer was like in an epoch, from its sampled steps."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from gradbook.watching.layers import Layer
from gradbook.watching.sampled_step import SATURATING, SampledStep

#: What was seen of a layer in a step, as `SampledStep.seen` has it: for each parameter or call, one
#: number or one for each unit.
_Seen = dict[str, list[list[float]]]


@dataclass(frozen=True)
class LayerRow:
    """One layer in one epoch: means over the steps that were sampled.

    What could not be seen is NaN: a gradient of a frozen layer, the activations of a model that
    is compiled.

    Attributes:
        epoch: The epoch, from 1.
        layer: Where it is in the model, as "net.1", or its parameter's name, as "W1".
        kind: Its class, as "Linear"; "" for a parameter of the model's own.
        num_weights: The elements of its parameters.
        is_matrix: Whether it has a parameter of two or more dimensions.
        num_steps: The steps sampled.
        grad_norm: The Euclidean norm of its gradient before clipping.
        weight_norm: That of its parameters.
        update_ratio: The norm of a step's change divided by that of the parameters.
        activation_rms: The root mean square of its output, after the activation function.
        function: The activation function that follows it, of those that docs/gradients.md names,
            as "relu"; or "".
        num_units: The outputs of that function for an example, or its channels.
        num_examples: For how many examples they were looked at, toward the end of the epoch.
        dead: The part of the units whose ReLU, or the like, was flat for all of these examples.
        saturated: The part of the units whose sigmoid, tanh or Hardtanh had less than 5% of its
            largest slope for most of these examples.
    """

    epoch: int
    layer: str
    kind: str
    num_weights: int
    is_matrix: bool
    num_steps: int
    grad_norm: float
    weight_norm: float
    update_ratio: float
    activation_rms: float
    function: str
    num_units: int
    num_examples: int
    dead: float
    saturated: float

    @property
    def grad_rms(self) -> float:
        """The gradient's root mean square over the weights: layers of any width compare."""
        return self.grad_norm / math.sqrt(self.num_weights)

    @property
    def title(self) -> str:
        """The layer and its class."""
        return f"{self.layer} ({self.kind})" if self.kind else self.layer


def summarize(
    steps: Sequence[SampledStep], epoch: int
) -> tuple[list[LayerRow], list[tuple[float, float]]]:
    """The rows of an epoch, from 1, and where each step was, with the norm of its gradients."""
    seen = _fetched(steps)
    layers = {layer.name: layer for step in steps for layer in step.layers}
    called = [name for step in steps for name in step.order]
    rows = [
        _row(epoch, layers[name], steps, [each.get(name, {}) for each in seen])
        for name in dict.fromkeys([*called, *layers])  # those that were not called come last
    ]
    totals = []
    for step, each in zip(steps, seen, strict=True):
        norms = [norm for whats in each.values() for (norm,) in whats.get("gradient", [])]
        totals.append((step.place, math.hypot(*norms)))
    return rows, totals


def _row(epoch: int, layer: Layer, steps: Sequence[SampledStep], seen: Sequence[_Seen]) -> LayerRow:
    """A layer's row, from what was seen of it in each step."""
    gradients, weights, updates = (
        [_norm_of(each, what) for each in seen] for what in ("gradient", "weight", "update")
    )
    if steps[0].is_scaled:  # some overflow, and their steps are not taken
        gradients = [norm if math.isfinite(norm) else math.nan for norm in gradients]
    squares = [_mean([square for (square,) in each.get("activation", [])]) for each in seen]
    late = slice(len(steps) // 2, None)  # in what state the units end the epoch
    useful = [units for each in seen[late] for units in each.get("useful", [])]
    shares = [sum(unit) / len(unit) for unit in zip(*useful, strict=False)]
    function = next((f for step in steps if (f := step.functions.get(layer.name))), "")
    saturates = function in SATURATING
    dead = [share == 0 for share in shares if not saturates]
    flat = [share < 0.5 for share in shares if saturates]
    return LayerRow(
        epoch=epoch,
        layer=layer.name,
        kind=layer.kind,
        num_weights=sum(param.numel() for param in layer.params),
        is_matrix=any(param.dim() > 1 for param in layer.params),
        num_steps=len(steps),
        grad_norm=_mean(gradients),
        weight_norm=_mean(weights),
        update_ratio=_mean([u / w for u, w in zip(updates, weights, strict=True) if w]),
        activation_rms=_mean([math.sqrt(square) for square in squares]),
        function=function,
        num_units=len(shares),
        num_examples=sum(step.num_examples.get(layer.name, 0) for step in steps[late]),
        dead=_mean(dead),
        saturated=_mean(flat),
    )


def _fetched(steps: Sequence[SampledStep]) -> list[dict[str, _Seen]]:
    """All that was seen in some steps, by layer: the one synchronisation."""
    tensors = [
        each.reshape(-1) for step in steps for values in step.seen.values() for each in values
    ]
    if not tensors:
        return [{} for _ in steps]
    place = tensors[0].device
    numbers = iter(torch.cat([each.to(place) for each in tensors]).tolist())
    found = []
    for step in steps:
        of_step: dict[str, _Seen] = {}
        for (layer, what), values in step.seen.items():
            there = [list(islice(numbers, each.numel())) for each in values]
            of_step.setdefault(layer, {})[what] = there
        found.append(of_step)
    return found


def _norm_of(seen: _Seen, what: str) -> float:
    """The norm of several parts together; NaN if there are none."""
    return math.hypot(*(norm for (norm,) in seen[what])) if what in seen else math.nan


def _mean(values: Iterable[float]) -> float:
    """The mean of what there is: NaN is what there is not."""
    there = [value for value in values if not math.isnan(value)]
    return sum(there) / len(there) if there else math.nan
