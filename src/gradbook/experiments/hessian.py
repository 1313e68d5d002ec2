"""Sharpness: the largest eigenvalue of a loss's Hessian, and the learning rates that it allows.

On a quadratic loss with the curvature c, a step of gradient descent multiplies the distance from
the minimum by 1 - lr c. Beyond lr = 2 / c that is below -1: each step lands further away on the
other side. The direction of the largest eigenvalue is the first in which that happens.
Cohen et al. (2021), "Gradient Descent on Neural Networks Typically Occurs at the Edge of
Stability", sec. 2. Book: 12.3 (sec_gd).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gradbook.checks import check_positive, check_whole_number
from gradbook.display.file import new_figure
from gradbook.display.finding import Finding
from gradbook.display.palette import COLORS
from gradbook.errors import GradbookError, ModelError
from gradbook.experiments.lanczos import largest_eigenpair
from gradbook.experiments.landscape import Landscape, examples_text, no_second_derivative
from gradbook.experiments.trial import copy_to_try, measuring
from gradbook.interrupts import interruptible
from gradbook.optim import SGD
from gradbook.schedules import learning_rate, read_optimizers
from gradbook.table import data_frame

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

#: How exactly the smallest eigenvalue is looked for, and the products after which that ends: where
#: it matters they are enough, and of a loss that curves downward nowhere no number would be.
_SMALLEST_TOLERANCE = 0.01
_SMALLEST_PRODUCTS = 40
#: So small a part of the largest eigenvalue is the rounding of the products.
_ROUNDING = 1e-5
#: Why `lr_range` may suggest another rate.
_BESIDE_LR_RANGE = (
    "lr_range may suggest another rate: it trains with minibatches, so that the weights change, "
    "while sharpness looks at all these examples together, at the weights as they are now "
    "(stochastic gradient descent along a path, as against full-batch gradient descent at one "
    "point)."
)


@dataclass(frozen=True, repr=False, eq=False)
class Sharpness(Finding):
    """How sharply the training loss is curved at a model's weights.

    Attributes:
        eigenvalue: The largest eigenvalue of the Hessian of the training loss.
        critical_lr: 2 / eigenvalue, beyond which gradient descent cannot be stable; infinite if
            the loss curves upward in no direction.
        residual: The length of Hv - eigenvalue v for the unit vector v that was found, divided by
            the eigenvalue's size. Some eigenvalue is that near, relatively; that none is larger is
            very likely, and not certain, because the method begins with a random vector.
        converged: Whether the residual came below the tolerance.
        num_products: The Hessian-vector products that led to it and to `smallest`.
        num_examples: The examples that the loss was averaged over.
        num_available: The examples of the training set; None if their number is not known.
        loss: The training loss over these examples.
        direction: The unit eigenvector v, a tensor for each trained parameter by its name.
        optimizer: The class name of the model's own optimizer; None if it has none.
        lr: The model's learning rate; None if it has none.
        optimizer_critical_lr: The largest stable rate of its optimizer, which momentum and weight
            decay shift; None unless that is stochastic gradient descent.
        distances, losses: The loss at so many places along v, measured from the weights.
        slope: The derivative of the loss along v at the weights.
        smallest: The smallest eigenvalue, or a number above it: a bound. Where it is negative, the
            loss curves downward in a direction.
        smallest_residual: The same length of the smallest, not divided. Where it is at most a
            hundredth of `smallest`, or no more than rounding, `smallest` is taken as the
            eigenvalue itself; otherwise it is called a bound.
        notes: What else the figures depend on, in words.
    """

    eigenvalue: float
    critical_lr: float
    residual: float
    converged: bool
    num_products: int
    num_examples: int
    num_available: int | None
    loss: float
    direction: dict[str, torch.Tensor]
    optimizer: str | None
    lr: float | None
    optimizer_critical_lr: float | None
    distances: tuple[float, ...]
    losses: tuple[float, ...]
    slope: float
    smallest: float
    smallest_residual: float
    notes: tuple[str, ...] = ()

    def _words(self) -> str:
        critical = f"2 / {self.eigenvalue:.4g} = {self.critical_lr:.4g}"
        if math.isinf(self.critical_lr):
            critical = "none: the loss curves upward in no direction"
        lines = [
            f"sharpness {self.eigenvalue:.4g}, the largest eigenvalue of the loss's Hessian",
            f"  {self._accuracy()}",
            f"critical learning rate {critical}",
            f"  {examples_text(self.num_examples, self.num_available)}, "
            f"where the loss is {self.loss:.4g}",
            *(f"  {text}" for text in (*self.notes, self._about_smallest()) if text),
        ]
        if self.lr is not None and not math.isinf(self.critical_lr):
            lines += [self._verdict(self.lr), _BESIDE_LR_RANGE]
        return "\n".join(lines)

    def _accuracy(self) -> str:
        products = f"{self.num_products} Hessian-vector products"
        if self.converged:
            return f"an eigenvalue to within {self.residual:.1g} of its size, after {products}"
        return (
            f"not converged after {products}: the nearest eigenvalue may differ by "
            f"{self.residual:.2g} of this size, and others may be larger. Allow more with "
            f"max_products"
        )

    def _about_smallest(self) -> str:
        """What is known of the smallest eigenvalue: its value, or a bound."""
        is_negative = self.smallest < -self._rounding()
        if self._is_smallest_known():
            if is_negative:
                told = "along its direction the loss curves downward"
            elif self.smallest > self._rounding():
                told = "the loss curves upward in every direction"
            else:
                return (
                    "the smallest eigenvalue is 0 up to rounding: no direction was found in which "
                    "the loss curves downward"
                )
            return (
                f"the smallest eigenvalue is {self.smallest:.3g}, with an error of about 1%: {told}"
            )
        told = (
            "the loss curves downward in at least one direction"
            if is_negative
            else "it is not known whether the loss curves downward in some direction"
        )
        return f"the smallest eigenvalue is at most {self.smallest:.3g} (only a bound): {told}"

    def _verdict(self, lr: float) -> str:
        critical = self.optimizer_critical_lr
        if critical is None:
            return (
                f"lr={lr:g} is the learning rate of {self.optimizer}. The critical learning "
                f"rate limits it only if an update is lr times the gradient."
            )
        which = f"{critical:.3g}, the critical rate with its momentum and weight decay"
        if math.isclose(critical, self.critical_lr):
            which = "the critical rate"
        share = f"lr={lr:g} is {lr / critical:.2g} times {which}"
        if lr > critical:
            return (
                f"{share}: too large at these weights, beyond the edge of stability. Steps along "
                f"the sharpest direction grow, until the loss explodes or the weights reach a "
                f"flatter region."
            )
        if -self.smallest > self.eigenvalue:
            return (
                f"{share}: stable along the sharpest direction, but not in every direction. Along "
                f"the direction of the eigenvalue {self.smallest:.3g} the loss curves downward, "
                f"more than it curves upward in any direction, and gradient descent moves away "
                f"from here at every learning rate."
            )
        convex = self._is_smallest_known() and self.smallest >= -self._rounding()
        where = "here" if convex else "along the sharpest direction"
        return f"{share}: stable {where}."

    def _rounding(self) -> float:
        """How large a number may be that is 0 but for rounding."""
        return _ROUNDING * max(abs(self.eigenvalue), abs(self.smallest))

    def _is_smallest_known(self) -> bool:
        """Whether `smallest` is the eigenvalue, and not only a bound of it."""
        exact = max(_SMALLEST_TOLERANCE * abs(self.smallest), self._rounding())
        return self.smallest_residual <= exact

    def facts(self) -> dict[str, Any]:
        """The figures as plain values, for JSON."""
        return self._plain(
            *("eigenvalue", "smallest", "smallest_residual", "critical_lr", "residual"),
            *("converged", "num_products", "num_examples", "num_available", "loss"),
            *("optimizer", "lr", "optimizer_critical_lr", "notes"),
        )

    def to_pandas(self) -> "pandas.DataFrame":
        """The loss along the sharpest direction: a column "loss", indexed by "distance"."""
        pairs = zip(self.distances, self.losses, strict=True)
        return data_frame([{"distance": x, "loss": loss} for x, loss in pairs], "distance")

    def figure(self) -> "Figure":
        """Draws the loss along the sharpest direction, and what gradient descent does there."""
        figure = new_figure(8.2, 3.4)
        if self.eigenvalue <= 0:
            self._draw_profile(figure.subplots())
            return figure
        left, right = figure.subplots(1, 2)
        self._draw_profile(left)
        steps = np.arange(13)
        for part, style, color in (
            (0.5, ":", COLORS[0]),
            (0.95, "--", COLORS[1]),
            (1.05, "-", COLORS[3]),
        ):
            rate = part * self.critical_lr
            label = f"lr = {rate:.3g}, {part:g} times the critical rate"
            place = (1 - rate * self.eigenvalue) ** steps
            right.plot(steps, place, style, color=color, marker=".", label=label)
        right.axhline(0, color="black", linewidth=0.8)
        right.set(ylim=(-3.6, 5.4), xlabel="step of gradient descent")
        right.set(ylabel="distance from the lowest point\n(at the start: 1)")
        right.set_title("steps on the parabola", fontsize="medium")
        right.legend(fontsize="small", loc="upper left")
        right.grid(True)
        return figure

    def _draw_profile(self, axes: Any) -> None:
        from gradbook.display.ticks import plain_ticks

        t = np.array(self.distances)
        parabola = self.loss + self.slope * t + self.eigenvalue / 2 * t**2
        axes.plot(t, self.losses, color=COLORS[0], label="training loss")
        axes.plot(
            t, parabola, "--", color=COLORS[1], label="parabola of the same slope and curvature"
        )
        axes.plot([0], [self.loss], "o", color="black", label="the model's weights")
        drawn = np.concatenate([parabola, self.losses])
        lowest, top = drawn[np.isfinite(drawn)].min(), max(parabola.max(), self.loss)
        margin = 0.35 * (top - lowest) or 1.0
        axes.set_ylim(lowest - margin / 4, top + margin)
        axes.set(xlabel="distance along the sharpest direction", ylabel="training loss")
        axes.set_title(f"sharpness {self.eigenvalue:.3g}", fontsize="medium")
        plain_ticks(axes)
        axes.legend(fontsize="small", loc="upper center")
        axes.grid(True)


@interruptible()
def sharpness(
    model: Any,
    data: Any,
    *,
    num_examples: int | None = None,
    tolerance: float = 1e-3,
    max_products: int = 100,
    seed: int = 0,
) -> Sharpness:
    """Measures the largest eigenvalue of the Hessian of a model's training loss.

    The eigenvalue comes from the Lanczos method on Hessian-vector products, each a second
    backward pass: Golub and Van Loan (2013), "Matrix Computations", sec. 10.1; Pearlmutter (1994),
    "Fast Exact Multiplication by the Hessian", sec. 2. The loss is the model's own, averaged as
    its training batches are. It is computed in evaluation mode, where it is a function of the
    weights alone: without dropout, and with the running statistics of batch normalization. What
    does not require a gradient is held fixed.

    The same products lead to the smallest eigenvalue, which tells whether the loss curves downward
    in another direction. What the method has at hand is never below it: a bound. After up to 40
    products it is called the eigenvalue only if it has settled to about 1%, and otherwise a bound.

    The model is left as it is. Layers that have no shape yet get, in a copy, the weights with
    which `Trainer.fit` would begin if it came next.

    Args:
        model: The model: its network, and a `loss(y_hat, y)` of one element.
        data: A DataModule, whose training set is used; a tuple of tensors (inputs..., labels); or
            an iterable of such batches.
        num_examples: How many examples to take, drawn at random where the data can be indexed,
            and otherwise the first. None takes all where a product is then cheap, as for linear
            models, and otherwise a sample: about 10,000 for an MLP with 200,000 parameters.
        tolerance: The relative error at which to stop.
        max_products: The most Hessian-vector products. Each costs about two training passes over
            the examples.
        seed: Which examples are drawn, and where the search starts.

    Returns:
        The sharpness, with the critical learning rate, words and a figure.

    Raises:
        ModelError: If the model lacks a loss, has nothing to train, cannot be differentiated
            twice, or its loss is not finite.
        DataError: If there are no examples.
        BatchError: If they do not fit the model.
        ConfigError: If a setting cannot be used.
    """
    check_positive(tolerance, "tolerance")
    check_whole_number(max_products, "max_products", at_least=1)
    with measuring(data, "sharpness") as loader:
        trial = copy_to_try(model, loader)
        trained_by = getattr(model, "trainer", None)
        for name in ("optimizer", "momentum", "weight_decay"):  # which a trainer may name
            if hasattr(trained_by, name):
                setattr(trial.trainer, name, getattr(trained_by, name))
        optimizer, lr, critical_of = _read_optimizer(trial)
        landscape = Landscape(trial, loader, num_examples, seed)
        start = landscape.random_vector(seed)
        loss, gradient = landscape.loss_and_gradient()
        found = largest_eigenpair(
            *(landscape.product, start, tolerance, max_products),
            lowest_tolerance=_SMALLEST_TOLERANCE,
            lowest_products=_SMALLEST_PRODUCTS,
        )
        value = found.value
        if math.isnan(value):
            raise ModelError(
                f"The second derivative of the loss of {type(model).__name__} is not finite at "
                f"these weights, as that of a square root is at 0."
            )
        width = math.sqrt(2 * abs(loss / value)) if loss and value else 1.0
        distances = np.linspace(-width, width, 21).tolist()
        losses = landscape.losses_along(found.vector, distances)
        bend = abs(losses[0] + losses[-1] - 2 * loss)
        if value == 0 and bend > 1e-3 * (abs(losses[0]) + abs(losses[-1])):
            # So does PyTorch answer where only such a part leads to the parameters.
            raise ModelError(no_second_derivative(model, "the second derivative is 0 everywhere."))
    return Sharpness(
        eigenvalue=value,
        critical_lr=critical_rate(value),
        residual=found.residual / abs(value) if value else found.residual,
        converged=found.converged,
        num_products=found.num_products,
        num_examples=landscape.num_examples,
        num_available=landscape.num_available,
        loss=loss,
        direction=landscape.by_name(found.vector),
        optimizer=optimizer,
        lr=lr,
        optimizer_critical_lr=None if critical_of is None else critical_of(value),
        distances=tuple(distances),
        losses=tuple(losses),
        slope=float(gradient @ found.vector),
        smallest=found.lowest,
        smallest_residual=found.lowest_residual,
        notes=tuple(landscape.notes),
    )


def critical_rate(
    eigenvalue: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    dampening: float = 0.0,
) -> float:
    """The learning rate beyond which gradient descent is unstable along an eigenvector.

    Without momentum it is 2 / c, with the curvature c = eigenvalue + weight_decay; heavy-ball
    momentum m makes it (2 + 2m) / c: Goh (2017), "Why Momentum Really Works", section "The
    Dynamics of Momentum". Nesterov's makes it (2 + 2m) / ((1 + 2m) c), by the same argument.

    Returns:
        The rate; infinity if the curvature is not positive, as then there is no edge.
    """
    curvature = (eigenvalue + weight_decay) * (1 - dampening)
    if curvature <= 0:
        return math.inf
    return (2 + 2 * momentum) / curvature / (1 + 2 * momentum if nesterov else 1)


def _read_optimizer(model: Any) -> tuple[str | None, float | None, Callable[[float], float] | None]:
    """The class name and the rate of a model's optimizer, and its critical rate if that is known.

    The last is a function of the eigenvalue. A model need not be ready for training here.
    """
    try:
        optimizer, _ = read_optimizers(model.configure_optimizers(), model)
    except (GradbookError, AttributeError):
        return None, None, None
    name, lr = type(optimizer).__name__, learning_rate(optimizer)
    if not isinstance(optimizer, SGD | torch.optim.SGD):
        return name, lr, None
    groups = optimizer.param_groups
    keys = ("lr", "momentum", "weight_decay", "nesterov", "dampening")
    settings = [{key: group[key] for key in keys if key in group} for group in groups]
    are_alike = all(each == settings[0] for each in settings)
    is_unstable = settings[0].get("momentum", 0) >= 1 or any(g.get("maximize") for g in groups)
    if not are_alike or is_unstable:  # whatever the rate
        return name, lr, None
    del settings[0]["lr"]
    return name, lr, partial(critical_rate, **settings[0])
