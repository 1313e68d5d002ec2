"""From sampled steps to the rows of a gradient report, an epoch at a time."""

import math
from collections.abc import Iterable, Sequence
from itertools import islice

import torch

from gradbook.watching.gradient_rows import SATURATING, LayerRow
from gradbook.watching.layers import Layer
from gradbook.watching.sampled_step import SampledStep

#: What was seen of a layer in a step, as `SampledStep.seen` has it: for each parameter or call, one
#: number or one for each unit.
_Seen = dict[str, list[list[float]]]


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
    """All that was seen in some steps, by layer: the one synchronization."""
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
