"""What is wrong with the gradients of a training: the rules, their limits, and what is said.

docs/gradients.md says what each rule is, and from which trainings the limits come. Book: 5.4.1
(sec_numerical_stability).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gradbook.watching.gradient_rows import FLAT, LayerRow

VANISHED = 1e-3  # the first layer's gradient, as a part of the last one's
EXPLODED = 10.0  # the same, as a multiple
GROWN, LARGE = 1000.0, 100.0  # all gradients of a step: as a multiple of the first's, and at least
DEAD = 0.4  # the part of a layer's units, and in a narrow layer a little more
SATURATED = 0.5  # the part of a layer's units
FEW = 5.0  # both are higher by so much, divided by the number of examples

_NAMES = {
    "relu": "ReLUs",
    "relu6": "ReLU6 units",
    "gelu": "GELUs",
    "silu": "SiLUs",
    "mish": "Mish units",
    "sigmoid": "sigmoids",
    "tanh": "tanh units",
    "hardtanh": "Hardtanh units",
}


@dataclass(frozen=True)
class Symptom:
    """One thing that is wrong.

    Attributes:
        kind: "vanishing", "exploding", "dead" or "saturated".
        layer: Where it begins or is worst.
        epoch: When it was first seen, from 1.
        text: What to say of it, with the usual remedies.
    """

    kind: Literal["vanishing", "exploding", "dead", "saturated"]
    layer: str
    epoch: int
    text: str


def find_symptoms(
    rows: Iterable[LayerRow], totals: Sequence[tuple[float, float]], clip: float, lr: Any
) -> list[Symptom]:
    """What is wrong, each kind once, where it was first seen; empty if nothing is.

    Args:
        rows: What was seen, epoch after epoch, the layers from input to output.
        totals: The steps sampled, each as (epochs gone by, norm of all gradients before clipping).
        clip: To what the gradients are clipped; 0 if they are not.
        lr: The learning rate; anything but a number if it is not known.
    """
    of_epoch: dict[int, list[LayerRow]] = {}
    for row in rows:
        of_epoch.setdefault(row.epoch, []).append(row)
    rate = f" Here lr={lr:g}." if isinstance(lr, float | int) else ""
    found: dict[str, Symptom] = {}
    for layers in of_epoch.values():
        dead = _dead(layers, rate)
        # Nothing comes through dead units: that is said already.
        vanishing = None if dead else _vanishing(layers)
        exploding = _exploding(layers, totals, clip, rate)
        for symptom in (exploding, dead, vanishing, _saturated(layers)):
            if symptom is not None:
                found.setdefault(symptom.kind, symptom)
    return list(found.values())


# From layer to layer


def _vanishing(rows: Sequence[LayerRow]) -> Symptom | None:
    layers = _comparable(rows)
    if not _is_systematic(layers, VANISHED):
        return None
    last = layers[-1]
    begins = next(
        index for index, row in enumerate(layers) if row.grad_rms >= last.grad_rms * VANISHED
    )
    start = layers[begins - 1]
    return Symptom(
        "vanishing",
        start.layer,
        last.epoch,
        f"Vanishing {_from_layer_to_layer(layers, '.1e')} From the input up to {start.title}, "
        f"layer {begins} of {len(layers)}, the gradient is less than a thousandth of the last "
        f"layer's, so that these layers hardly learn. Usual remedies: ReLU instead of sigmoid or "
        f"tanh, Xavier or He initialization (book 5.4), batch normalization, residual connections.",
    )


def _exploding(
    rows: Sequence[LayerRow], totals: Sequence[tuple[float, float]], clip: float, rate: str
) -> Symptom | None:
    """Gradients that grow from layer to layer, or all of them from step to step."""
    epoch, layers = rows[0].epoch, _comparable(rows)
    clipped = f" The norms are those before clipping to {clip:g}, which hides them." if clip else ""
    remedies = (
        f"Usual remedies: smaller initial weights (Xavier or He, book 5.4), a smaller learning "
        f"rate, {'' if clip else 'clipping (gradient_clip_val=1), '}batch normalization."
    )
    if _is_systematic(layers, EXPLODED):
        text = f"Exploding {_from_layer_to_layer(layers, '.3g')}{clipped} {remedies}"
        return Symptom("exploding", layers[0].layer, epoch, text)
    known = [(x, total) for x, total in totals if x < epoch]
    if not known:
        return None
    at_first = known[0][1]
    limit = max(at_first * GROWN, LARGE)
    x, total = next(((x, total) for x, total in known if not total < limit), (-1, 0))
    if x < epoch - 1:
        return None
    worst = max(rows, key=lambda row: -1 if math.isnan(row.grad_rms) else row.grad_rms)
    became = f"{total:.3g}" if math.isfinite(total) else "NaN or infinite"
    return Symptom(
        "exploding",
        worst.layer,
        epoch,
        f"Exploding gradients in epoch {epoch}: the norm of all gradients together was "
        f"{at_first:.3g} in the first step and is {became} after {x:.3g} epochs."
        f"{rate}{clipped} {remedies}",
    )


def _comparable(rows: Sequence[LayerRow]) -> list[LayerRow]:
    """The layers with a weight matrix and a gradient; a layer's mere scales are of another size."""
    return [row for row in rows if row.is_matrix and math.isfinite(row.grad_norm)]


def _is_systematic(layers: Sequence[LayerRow], threshold: float) -> bool:
    """Whether the gradient changes on the way back by `threshold`, and not only at the input.

    The first layer's gradient grows with the inputs, which may be in any unit. So from the last
    layer to the second it must have changed by the threshold's square root.
    """
    if len(layers) < 3 or not layers[-1].grad_rms:
        return False
    first, second, last = layers[0].grad_rms, layers[1].grad_rms, layers[-1].grad_rms
    if threshold < 1:
        return first < last * threshold and second < last * math.sqrt(threshold)
    return first > last * threshold and second > last * math.sqrt(threshold)


def _from_layer_to_layer(layers: Sequence[LayerRow], form: str) -> str:
    """How the gradient changes on the way back, as part of a sentence."""
    first, last = layers[0], layers[-1]
    ratio = first.grad_rms / last.grad_rms
    return (
        f"gradients in epoch {first.epoch}: in the backward pass each layer multiplies the "
        f"gradient by about {ratio ** (1 / (len(layers) - 1)):.2g}, so that the gradient of a "
        f"weight in {first.title} is {ratio:{form}} times that of a weight in {last.title}."
    )


# Within a layer


def _dead(rows: Sequence[LayerRow], rate: str) -> Symptom | None:
    worst, others = _affected(rows, _dead_part, DEAD)
    if worst is None:
        return None
    name = _NAMES[worst.function]
    if worst.function == "relu":
        gave, reason = "gave 0", "Where a ReLU gives 0, no gradient passes through it"
    elif worst.function == "relu6":
        gave = "gave 0 or the largest value"
        reason = "There the function is flat, and no gradient passes through it"
    else:
        gave = "gave about 0"
        reason = "At such inputs the function is flat, and hardly any gradient passes through it"
    return Symptom(
        "dead",
        worst.layer,
        worst.epoch,
        f"Dead {name} in epoch {worst.epoch}: {worst.dead:.0%} of the {worst.num_units} units "
        f"of {worst.title} {gave} for each of {worst.num_examples} examples{others}. {reason}, "
        f"so these units no longer learn. Usual remedies: a smaller learning rate, He "
        f"initialization (book 5.4), leaky ReLU (book 5.1).{rate}",
    )


def _dead_part(row: LayerRow) -> float:
    """The part that is dead, less what chance alone may add in a layer of few units."""
    return row.dead - 0.5 / math.sqrt(max(row.num_units, 1)) - _by_chance(row)


def _by_chance(row: LayerRow) -> float:
    """What a few examples may add to a part.

    A unit that is active for a part p of the examples is off for all of n with the probability
    (1 - p)^n. Over all p that is 1 / (n + 1) on average, and more where units are sparse.
    """
    return FEW / max(row.num_examples, 1)


def _saturated(rows: Sequence[LayerRow]) -> Symptom | None:
    worst, others = _affected(rows, lambda row: row.saturated - _by_chance(row), SATURATED)
    if worst is None:
        return None
    name = _NAMES[worst.function]
    return Symptom(
        "saturated",
        worst.layer,
        worst.epoch,
        f"Saturated {name} in epoch {worst.epoch}: {worst.saturated:.0%} of the "
        f"{worst.num_units} units of {worst.title} are where the slope is below {FLAT:.0%} of "
        f"its maximum, for most of {worst.num_examples} examples{others}. Little gradient "
        f"passes there. Usual remedies: smaller initial weights (Xavier, book 5.4), a smaller "
        f"learning rate, inputs of about unit size, batch normalization, ReLU.",
    )


def _affected(
    rows: Sequence[LayerRow], part: Callable[[LayerRow], float], threshold: float
) -> tuple[LayerRow | None, str]:
    """The hidden layer of which the largest part is lost, and what to say of the others."""
    matrices = [index for index, row in enumerate(rows) if row.is_matrix]
    # What a last sigmoid gives are probabilities: near 0 and 1 is where they belong.
    hidden = rows[: matrices[-1]] if matrices else []
    lost = sorted((row for row in hidden if part(row) >= threshold), key=part, reverse=True)
    if not lost:
        return None, ""
    told = [f"{_lost_part(row):.0%} in {row.layer}" for row in lost[1:3]]
    more = [f"and {len(lost) - 3} more layers"] if len(lost) > 3 else []
    return lost[0], f" ({'; '.join([*told, *more])})" if told else ""


def _lost_part(row: LayerRow) -> float:
    return row.saturated if math.isnan(row.dead) else row.dead
