"""Sharpness: the largest eigenvalue of a loss's Hessian, and the learning rates that it allows.

On a quadratic loss with the curvature c, a step of gradient descent multiplies the distance from
the minimum by 1 - lr c. Beyond lr = 2 / c that is below -1: each step lands further away on the
other side. The direction of the largest eigenvalue is the first in which that happens.
Cohen et al. (2021), "Gradient Descent on Neural Networks Typically Occurs at the Edge of
Stability", sec. 2. Book: 12.3 (sec_gd).
"""

import copy
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, Subset

from gradbook.board import ProgressBoard
from gradbook.checks import (
    check_positive,
    check_whole_number,
    first_batch,
    missing_loss,
    rehearse,
)
from gradbook.data import TensorLoader, to_device
from gradbook.display.finding import Finding
from gradbook.errors import DataError, GradbookError, MissingExtraError, ModelError
from gradbook.interrupts import Interrupts, Terminated
from gradbook.optim import SGD
from gradbook.record import History, Sink
from gradbook.resumable_loader import batch_sizes, parts_of
from gradbook.schedules import learning_rate, read_optimizers
from gradbook.seeds import generators_in, random_state, restore_random_state
from gradbook.trainer import Trainer

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

#: As many examples are taken as make one Hessian-vector product cost about a second: their number
#: times that of the parameters. Of Fashion-MNIST a softmax regression gets all, an MLP a sample.
_CHEAP = 2**31
#: Inputs that go through the network together, as numbers, and the numbers of a Lanczos basis.
_CHUNK_NUMBERS = 2**20
_BASIS_NUMBERS = 2**27
#: A warm start is so much of a random vector: an eigenvector that overtakes another is orthogonal
#: to it, and would never be found from there.
_FRESH_PART = 0.1


# One measurement


@dataclass(frozen=True, repr=False, eq=False)
class Sharpness(Finding):
    """How sharply the training loss is curved at a model's weights.

    Attributes:
        eigenvalue: The largest eigenvalue of the Hessian of the training loss.
        critical_lr: 2 / eigenvalue, beyond which gradient descent cannot be stable; infinite if
            the loss curves upward in no direction.
        residual: The length of Hv - eigenvalue v for the unit vector v that was found, divided by
            the eigenvalue's size: the largest possible relative error.
        converged: Whether the residual came below the tolerance.
        num_products: The Hessian-vector products that were computed.
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
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"sharpness {self.eigenvalue:.4g}, the largest eigenvalue of the loss's Hessian",
            f"  {self._accuracy()}",
            f"critical learning rate {_critical_text(self.eigenvalue, self.critical_lr)}",
            f"  {_examples_text(self.num_examples, self.num_available)}, "
            f"where the loss is {self.loss:.4g}",
            *(f"  {note}" for note in self.notes),
        ]
        return "\n".join([*lines, *_wrapped(self._verdict())])

    def _accuracy(self) -> str:
        products = f"{self.num_products} Hessian-vector products"
        if self.converged:
            return f"exact to {self.residual:.1g} of it, after {products}"
        return (
            f"not converged: within {self.residual:.2g} of it after {products}. Allow more with "
            f"max_products"
        )

    def _verdict(self) -> str:
        if self.lr is None or math.isinf(self.critical_lr):
            return ""
        critical = self.optimizer_critical_lr
        if critical is None:
            return (
                f"lr={self.lr:g} is of {self.optimizer}: the critical rate is its edge only if its "
                f"step is lr times the gradient."
            )
        if math.isclose(critical, self.critical_lr):
            which = "the critical rate"
        else:
            which = f"the {critical:.3g} that its momentum and weight decay make of it"
        share = f"lr={self.lr:g} is {self.lr / critical:.2g} times {which}"
        if self.lr > critical:
            return (
                f"{share}: beyond the edge. Steps along the sharpest direction grow, until the "
                f"loss explodes or the weights have come to where it is flatter."
            )
        return (
            f"{share}: stable here, with the gradient of all examples. The noise of small "
            f"minibatches lowers the edge, and sharpness changes while a network trains."
        )

    def facts(self) -> dict[str, Any]:
        """The figures as plain values, for JSON."""
        return {
            "eigenvalue": self.eigenvalue,
            "critical_lr": self.critical_lr,
            "residual": self.residual,
            "converged": self.converged,
            "num_products": self.num_products,
            "num_examples": self.num_examples,
            "num_available": self.num_available,
            "loss": self.loss,
            "optimizer": self.optimizer,
            "lr": self.lr,
            "optimizer_critical_lr": self.optimizer_critical_lr,
            "notes": list(self.notes),
        }

    def to_pandas(self) -> "pandas.DataFrame":
        """The loss along the sharpest direction: a column "loss", indexed by "distance".

        Raises:
            MissingExtraError: If pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise MissingExtraError.of("pandas", "A table as a DataFrame", "tabular") from None
        return pd.DataFrame({"loss": self.losses}, index=pd.Index(self.distances, name="distance"))

    def figure(self) -> "Figure":
        """Draws the loss along the sharpest direction, and what gradient descent does there."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.2, 3.4), layout="constrained")
        if self.eigenvalue <= 0:
            self._draw_profile(figure.subplots())
            return figure
        left, right = figure.subplots(1, 2)
        self._draw_profile(left)
        steps = np.arange(13)
        for part, style, color in ((0.5, ":", "C0"), (0.95, "--", "C1"), (1.05, "-", "C3")):
            rate = part * self.critical_lr
            label = f"lr = {rate:.3g}, {part:g} times the critical rate"
            place = (1 - rate * self.eigenvalue) ** steps
            right.plot(steps, place, style, color=color, marker=".", label=label)
        right.axhline(0, color="black", linewidth=0.8)
        right.set_ylim(-3.6, 5.4)
        right.set_xlabel("step of gradient descent")
        right.set_ylabel("distance from the lowest point\n(at the start: 1)")
        right.set_title("steps on the parabola", fontsize="medium")
        right.legend(fontsize="small", loc="upper left")
        right.grid(True)
        return figure

    def _draw_profile(self, axes: Any) -> None:
        t = np.array(self.distances)
        parabola = self.loss + self.slope * t + self.eigenvalue / 2 * t**2
        axes.plot(t, self.losses, color="C0", label="training loss")
        axes.plot(t, parabola, "--", color="C1", label="parabola of the same slope and curvature")
        axes.plot([0], [self.loss], "o", color="black", label="the model's weights")
        finite = np.concatenate([parabola, np.array(self.losses)])
        finite = finite[np.isfinite(finite)]
        top = max(parabola.max(), self.loss)
        margin = 0.35 * (top - finite.min()) or 1.0
        axes.set_ylim(finite.min() - margin / 4, top + margin)
        axes.set_xlabel("distance along the sharpest direction")
        axes.set_ylabel("training loss")
        axes.set_title(f"sharpness {self.eigenvalue:.3g}", fontsize="medium")
        axes.legend(fontsize="small", loc="upper center")
        axes.grid(True)


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
    with measuring(data) as loader:
        trial = copy_to_try(model, loader)
        optimizer, lr, critical_of = _read_optimizer(trial)
        landscape = Landscape(trial, loader, num_examples, seed)
        start = landscape.random_vector(seed)
        loss, gradient = landscape.loss_and_gradient()
        found = largest_eigenpair(landscape.product, start, tolerance, max_products)
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
            raise ModelError(_not_twice(model, "the second derivative is 0 everywhere."))
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


# Following it through a training


@dataclass(frozen=True, repr=False, eq=False)
class EdgeOfStability(Finding):
    """Sharpness during full-batch gradient descent.

    Attributes:
        lr: The learning rate.
        edge: 2 / lr, the sharpness beyond which that rate is unstable.
        steps: The steps before which the sharpness was measured, from 0.
        sharpness: The sharpness there.
        losses: The training loss before each step, and after the last.
        status: "finished"; "diverged", if the loss became NaN or infinite; "interrupted".
        num_examples: The examples that were trained on.
        num_available: The examples of the training set; None if their number is not known.
    """

    lr: float
    edge: float
    steps: tuple[int, ...]
    sharpness: tuple[float, ...]
    losses: tuple[float, ...]
    status: str
    num_examples: int
    num_available: int | None

    @property
    def reached(self) -> int | None:
        """The first step at which the sharpness was 2 / lr, or 5% less; None if it never was."""
        pairs = zip(self.steps, self.sharpness, strict=True)
        return next((step for step, value in pairs if value >= 0.95 * self.edge), None)

    def __str__(self) -> str:
        num_steps = len(self.losses) - 1
        first, last = self.losses[0], self.losses[-1]
        return "\n".join(
            [
                f"full-batch gradient descent with lr={self.lr:g}: {self.status} after "
                f"{num_steps} steps, loss {first:.4g} to {last:.4g}",
                f"  {_examples_text(self.num_examples, self.num_available)}",
                *_wrapped(f"sharpness {self._story()}."),
            ]
        )

    def _story(self) -> str:
        values, edge = self.sharpness, f"2 / lr = {self.edge:.3g}"
        highest = max(values)
        if self.reached is None:
            return (
                f"went from {values[0]:.3g} to {values[-1]:.3g} and stayed below {edge}; the "
                f"highest was {highest:.3g}, {highest / self.edge:.2g} of it. A larger rate or "
                f"more steps may reach it"
            )
        if self.reached == 0:
            begin = f"began at {values[0]:.3g}, beyond {edge}, where this rate is unstable"
            if self.status == "diverged":
                return f"{begin}: the loss diverged"
            below = [step for step, v in zip(self.steps, values, strict=True) if v < self.edge]
            if not below:
                return f"{begin}, and ended at {values[-1]:.3g}"
            return (
                f"{begin}: the weights were thrown to where it is less, below the edge from step "
                f"{below[0]}; it ended at {values[-1]:.3g}"
            )
        story = f"rose from {values[0]:.3g} to {edge} by step {self.reached}"
        if self.status == "diverged":
            return f"{story}, and the loss diverged"
        after = [v for step, v in zip(self.steps, values, strict=True) if step > self.reached]
        if not after:
            return story
        middle = float(np.median(after))
        part = middle / self.edge
        hovered = ", and hovered about there: the edge of stability" if 0.8 <= part <= 1.6 else ""
        return (
            f"{story}{hovered}. Its median was then {middle:.3g}, {part:.2g} times that, and at "
            f"the end it was {after[-1]:.3g}"
        )

    def facts(self) -> dict[str, Any]:
        """The figures as plain values, for JSON."""
        return {
            "lr": self.lr,
            "edge": self.edge,
            "reached": self.reached,
            "status": self.status,
            "num_examples": self.num_examples,
            "num_available": self.num_available,
            "steps": list(self.steps),
            "sharpness": list(self.sharpness),
            "losses": list(self.losses),
        }

    def to_pandas(self) -> "pandas.DataFrame":
        """A row for each step, indexed by "step": "loss", and "sharpness" where it was measured.

        Raises:
            MissingExtraError: If pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise MissingExtraError.of("pandas", "A table as a DataFrame", "tabular") from None
        table = pd.DataFrame({"loss": self.losses})
        table["sharpness"] = pd.Series(self.sharpness, index=self.steps, dtype=float)
        return table.rename_axis("step")

    def figure(self) -> "Figure":
        """Draws the loss and, below it, the sharpness with the line 2 / lr."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.6, 4.8), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        losses = np.array(self.losses)
        upper.plot(np.where(np.isfinite(losses), losses, np.nan), color="C0")
        upper.set_ylabel("training loss")
        lower.plot(self.steps, self.sharpness, color="C0", marker=".", label="sharpness")
        label = f"2 / lr = {self.edge:.3g}"
        lower.axhline(self.edge, color="C1", linestyle="--", label=label)
        lower.set_xlabel("step of full-batch gradient descent")
        lower.set_ylabel("sharpness")
        lower.set_ylim(bottom=min(0, *self.sharpness))
        lower.legend(fontsize="small")
        for axes in (upper, lower):
            axes.grid(True)
        return figure


def edge_of_stability(
    model: Any,
    data: Any,
    *,
    lr: float,
    num_steps: int = 400,
    every: int = 10,
    num_examples: int | None = 1000,
    tolerance: float = 1e-2,
    max_products: int = 100,
    seed: int = 0,
    display: bool | str = True,
) -> EdgeOfStability:
    """Follows the sharpness while a copy of a model is trained by full-batch gradient descent.

    In networks it tends to rise until it reaches 2 / lr, and then to hover there, while the loss
    falls in jerks: Cohen et al. (2021), sec. 3. Of the cross-entropy it falls at last, when the
    examples are nearly learned. Sharpness and 2 / lr are drawn while it goes on. The model is
    left as it is; loss and examples are as in `sharpness`.

    Ctrl-C ends it after the running step, and what was measured is returned.

    Args:
        model: The model, of which a copy is trained, whatever optimizer it names.
        data: The data, as for `sharpness`.
        lr: The learning rate.
        num_steps: The steps, each with the gradient of all examples.
        every: The steps from one measurement to the next.
        num_examples: How many examples to take; None as for `sharpness`.
        tolerance: The relative error of the sharpness at which to stop.
        max_products: The most Hessian-vector products of one measurement.
        seed: Which examples are drawn, and where the first search starts.
        display: Where to draw meanwhile, as for a `ProgressBoard`.

    Returns:
        What was measured, with words and a figure.

    Raises:
        ConfigError: If a setting cannot be used.
        ModelError, DataError, BatchError: As `sharpness` does.
    """
    check_positive(lr, "lr")
    lr = float(lr)
    check_positive(tolerance, "tolerance")
    check_whole_number(num_steps, "num_steps", at_least=1)
    check_whole_number(every, "every", at_least=1)
    check_whole_number(max_products, "max_products", at_least=1)
    steps: list[int] = []
    values: list[float] = []
    losses: list[float] = []
    status = "finished"
    with measuring(data) as loader, Interrupts() as interrupts:
        trial = copy_to_try(model, loader)
        landscape = Landscape(trial, loader, num_examples, seed)
        vector = landscape.random_vector(seed)
        with _live(trial, num_steps, display) as (board, trainer):
            for step in range(num_steps + 1):
                loss, gradient = landscape.loss_and_gradient(finite=step == 0)
                losses.append(loss)
                if not math.isfinite(loss) or not gradient.isfinite().all():
                    status = "diverged"
                    break
                if step % every == 0 or step == num_steps:
                    if step:
                        fresh = landscape.random_vector(seed + step)
                        vector = vector + _FRESH_PART * fresh / fresh.norm()
                    found = largest_eigenpair(landscape.product, vector, tolerance, max_products)
                    if math.isnan(found.value):
                        status = "diverged"
                        break
                    vector = found.vector
                    steps.append(step)
                    values.append(found.value)
                    board.draw(step, found.value, "sharpness")
                    board.draw(step, 2 / lr, "2 / lr")
                if step < num_steps:
                    landscape.move(gradient, -lr)
                    trainer.epoch = trainer.train_batch_idx = step + 1
                    trainer.history.note(step + 1, "train_loss", loss)
                if is_interrupted(interrupts):
                    status = "interrupted"
                    break
            trainer.status = status
    return EdgeOfStability(
        lr=lr,
        edge=2 / lr,
        steps=tuple(steps),
        sharpness=tuple(values),
        losses=tuple(losses),
        status=status,
        num_examples=landscape.num_examples,
        num_available=landscape.num_available,
    )


@contextmanager
def _live(
    model: Any, num_steps: int, display: bool | str
) -> Iterator[tuple[ProgressBoard, Trainer]]:
    """A board that is drawn while steps are taken, and the trainer by which it shows progress."""
    board = ProgressBoard(xlabel="step", xlim=[0, num_steps], display=display)
    sink: Sink = board.choose_display()
    trainer: Trainer = model.trainer
    trainer.max_epochs, trainer.history = num_steps, History()
    trainer.num_train_batches = 1  # with the gradient of all examples, a step is an epoch
    trainer.status = "failed"
    board.sinks = [sink]
    sink.open(board, trainer)
    try:
        yield board, trainer
    except KeyboardInterrupt:
        trainer.status = "interrupted"
        raise
    finally:
        sink.close(trainer.status or "failed")
        board.sinks = None


# The loss as a function of the weights


class Landscape:
    """The training loss of a model as a function of what it trains.

    Args:
        model: The model, which this may change.
        loader: Its training batches.
        num_examples: How many examples to average over; None chooses.
        seed: Which examples are drawn.

    Attributes:
        parameters: The tensors that are trained, by name.
        num_examples: The number of examples.
        num_available: How many there are; None if that is not known.
        notes: What the figures depend on, in words.
    """

    def __init__(self, model: Any, loader: Any, num_examples: int | None, seed: int) -> None:
        check_whole_number(seed, "seed", at_least=0)
        self.parameters = _trained(model)
        if not self.parameters:
            raise ModelError(
                f"{type(model).__name__} has no parameter that requires a gradient, so its loss "
                f"has no curvature."
            )
        self._model, self._seed = model.eval(), seed
        self._tensors = list(self.parameters.values())
        self._device = self._tensors[0].device
        num_numbers = sum(tensor.numel() for tensor in self._tensors)
        if num_examples is None:
            wanted = _round_down(max(1000, _CHEAP // num_numbers))
        else:
            wanted = check_whole_number(num_examples, "num_examples", at_least=1)
        is_mean = self._is_mean(loader)
        self._batches, sizes, self.num_available = _sample(loader, wanted, seed, is_mean)
        self.num_examples = sum(sizes)
        # Of a loss that is no mean over its batch, what the training steps give on average.
        weights = sizes if is_mean else [1] * len(sizes)
        self._weights = [weight / sum(weights) for weight in weights]
        self.notes: list[str] = []
        if not is_mean:
            self.notes.append(
                f"its loss depends on the batch's size: it is measured for batches of {max(sizes)}"
            )
        kinds = [type(layer).__name__ for layer in model.modules()]
        if any("Dropout" in kind for kind in kinds):
            self.notes.append("measured without dropout")
        if any("BatchNorm" in kind for kind in kinds):
            self.notes.append("measured with the running statistics of batch normalization")

    def random_vector(self, seed: int) -> torch.Tensor:
        """A random direction in the space of the parameters, a float tensor (n,)."""
        generator = torch.Generator().manual_seed(seed)
        num_numbers = sum(tensor.numel() for tensor in self._tensors)
        vector = torch.randn(num_numbers, generator=generator, dtype=self._tensors[0].dtype)
        return vector.to(self._device)

    def loss_and_gradient(self, finite: bool = True) -> tuple[float, torch.Tensor]:
        """The loss and its gradient (n,).

        Raises:
            ModelError: If `finite`, and the loss is not.
        """
        total = 0.0
        gradient: Any = 0
        for weight, loss in self._terms():
            self._check(loss)
            total += weight * loss.item()
            gradient = gradient + weight * self._flat(self._gradients(loss))
        if finite and not math.isfinite(total):
            raise ModelError(
                f"The loss of {type(self._model).__name__} is {total}, so its curvature says "
                f"nothing. Its training has probably diverged: train again with a smaller rate."
            )
        return total, gradient

    def product(self, vector: torch.Tensor) -> torch.Tensor:
        """The Hessian times a vector (n,)."""
        parts = self._shaped(vector)
        total = torch.zeros_like(vector)
        for weight, loss in self._terms():
            gradients = self._gradients(loss, create_graph=True)
            slope = sum((g * part).sum() for g, part in zip(gradients, parts, strict=True))
            if not isinstance(slope, torch.Tensor) or not slope.requires_grad:
                continue  # the loss is linear in the parameters
            try:
                second = self._gradients(slope)
            except RuntimeError as error:
                raise ModelError(_not_twice(self._model, str(error))) from error
            total += weight * self._flat(second)
        return total

    def losses_along(self, vector: torch.Tensor, distances: Iterable[float]) -> list[float]:
        """The loss at so many distances along a vector (n,) from here."""
        begin = [tensor.detach().clone() for tensor in self._tensors]
        losses = []
        for distance in distances:
            self.move(vector, distance)
            with torch.no_grad():
                losses.append(sum(weight * loss.item() for weight, loss in self._terms()))
                for tensor, before in zip(self._tensors, begin, strict=True):
                    tensor.copy_(before)
        return losses

    def move(self, vector: torch.Tensor, distance: float) -> None:
        """Moves the parameters by `distance` times a vector (n,)."""
        with torch.no_grad():
            for tensor, part in zip(self._tensors, self._shaped(vector), strict=True):
                tensor.add_(part, alpha=distance)

    def by_name(self, vector: torch.Tensor) -> dict[str, torch.Tensor]:
        """A vector (n,) as a tensor for each parameter."""
        return dict(zip(self.parameters, self._shaped(vector), strict=True))

    def _terms(self) -> Iterator[tuple[float, torch.Tensor]]:
        """The weight and the loss of each batch. Every pass draws the same random numbers."""
        torch.manual_seed(self._seed)
        for weight, batch in zip(self._weights, self._batches, strict=True):
            yield weight, self._loss(to_device(batch, self._device))

    def _loss(self, batch: Any) -> torch.Tensor:
        loss: torch.Tensor = self._model.loss(self._model(*batch[:-1]), batch[-1])
        return loss.reshape(())

    def _check(self, loss: torch.Tensor) -> None:
        if not loss.requires_grad:
            raise ModelError(
                f"The loss of {type(self._model).__name__} does not depend on a parameter that "
                f"requires a gradient. Do not detach it, and compute it as floating point."
            )

    def _gradients(self, y: torch.Tensor, create_graph: bool = False) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(
            y, self._tensors, create_graph=create_graph, allow_unused=True, materialize_grads=True
        )

    def _flat(self, tensors: Iterable[torch.Tensor]) -> torch.Tensor:
        return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])

    def _shaped(self, vector: torch.Tensor) -> list[torch.Tensor]:
        parts = torch.split(vector, [tensor.numel() for tensor in self._tensors])
        return [
            part.reshape(tensor.shape) for part, tensor in zip(parts, self._tensors, strict=True)
        ]

    def _is_mean(self, loader: Any) -> bool:
        """Whether the loss of a batch stays the same when all its examples come twice."""
        batch = to_device(_look(loader), self._device)
        if not all(isinstance(item, torch.Tensor) and item.dim() for item in batch):
            return False
        batch = [item[:32] for item in batch]
        with torch.no_grad():
            once = self._loss(batch).item()
            twice = self._loss([torch.cat([item, item]) for item in batch]).item()
        return not math.isfinite(once) or math.isclose(once, twice, rel_tol=1e-3, abs_tol=1e-12)


class Eigenpair(NamedTuple):
    """An eigenvalue and its unit eigenvector, as near as they were found."""

    value: float
    vector: torch.Tensor
    residual: float
    num_products: int
    converged: bool


def largest_eigenpair(
    product: Callable[[torch.Tensor], torch.Tensor],
    start: torch.Tensor,
    tolerance: float,
    max_products: int,
) -> Eigenpair:
    """The largest eigenvalue of a symmetric matrix that is known by its products with vectors.

    The Lanczos method, each vector made orthogonal to all before it: Golub and Van Loan (2013),
    "Matrix Computations", sec. 10.1 and 10.3. Where memory is short it starts anew from the best
    vector so far.

    Args:
        product: Gives the matrix times a vector (n,).
        start: A vector (n,), not orthogonal to the eigenvector.
        tolerance: The residual at which to stop, as a part of the eigenvalue.
        max_products: The most products.

    Returns:
        The eigenvalue; its residual is the length of Av - value v. Both are NaN if a product
        is not finite.
    """
    room = max(2, min(max_products, len(start), _BASIS_NUMBERS // len(start)))
    basis = start.new_empty(room, len(start))
    vector, num_products = start / start.norm(), 0
    while True:
        basis[0] = vector
        diagonal: list[float] = []
        beside: list[float] = []
        while True:
            size = len(diagonal) + 1
            known = basis[:size]
            image = product(known[-1])
            num_products += 1
            diagonal.append(float(image @ known[-1]))
            for _ in range(2):  # once leaves as much as rounding made of it
                image = image - known.T @ (known @ image)
            rest = float(image.norm())
            if not math.isfinite(diagonal[-1] + rest):
                return Eigenpair(math.nan, vector, math.nan, num_products, False)
            T = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
            values, columns = np.linalg.eigh(T)
            value, coefficients = float(values[-1]), columns[:, -1]
            # The products are known no better than to the rounding of the largest eigenvalue.
            floor = torch.finfo(start.dtype).eps * float(np.abs(values).max())
            residual = max(rest * abs(float(coefficients[-1])), floor)
            converged = residual <= max(tolerance * abs(value), floor)
            if converged or size == room or num_products == max_products:
                break
            beside.append(rest)
            basis[size] = image / rest
        vector = known.T @ torch.tensor(coefficients, dtype=known.dtype, device=known.device)
        vector = vector / vector.norm()
        if converged or num_products == max_products or room == len(start):
            return Eigenpair(value, vector, residual, num_products, converged)


# Models and data that stay as they are


@contextmanager
def measuring(data: Any) -> Iterator[Any]:
    """The training batches of `data`; afterwards every random generator is as it was before.

    Args:
        data: A DataModule; a tuple of tensors (inputs..., labels), which are one batch; or an
            iterable of batches.

    Raises:
        DataError: If it is none of these.
    """
    loader = _training_batches(data)
    generators = generators_in([data, *parts_of(loader)])
    state = random_state(generators)
    try:
        yield loader
    finally:
        restore_random_state(state, generators)


def copy_to_try(model: Any, loader: Any) -> Any:
    """A copy of a model that may be trained, with a board that draws nothing.

    Layers without a shape get one from the first batch. What the copy draws is what `Trainer.fit`
    would draw if it came next.

    Raises:
        ModelError: If the model is none, cannot be copied, or lacks a loss.
        BatchError: If the batch does not fit it.
    """
    if isinstance(model, type) or not isinstance(model, nn.Module):
        what = f"the class {model.__name__} itself" if isinstance(model, type) else repr(model)
        raise ModelError(f"A model is needed, an instance of Module, but got {what:.80}.")
    if not hasattr(model, "loss"):
        raise ModelError(missing_loss(model))
    # A trainer holds the data, and a board may hold a figure. A tensor with a graph, such as the
    # attention weights that a model keeps to be looked at, cannot be copied.
    stand_ins = {"trainer": _stand_in(loader), "board": ProgressBoard(display=False)}
    memo: dict[int, Any] = {
        id(vars(model)[name]): value for name, value in stand_ins.items() if name in vars(model)
    }
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        trial = copy.deepcopy(model, memo)
    except (RuntimeError, TypeError) as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied, and only a copy is measured, so that the "
            f"model stays as it is. Python says: {error}"
        ) from error
    trainer: Any = stand_ins["trainer"]
    trial.trainer, trainer.model = trainer, trial
    rehearse(trial, to_device(_look(loader), device_of(trial)))
    return trial


def device_of(model: nn.Module) -> torch.device:
    """Where a model's parameters are; the CPU if it has none."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def is_interrupted(interrupts: Interrupts) -> bool:
    """Whether Ctrl-C has come, which ends an experiment with what it has measured so far."""
    try:
        interrupts.raise_pending()
    except Terminated:
        raise
    except KeyboardInterrupt:
        return True
    return False


def _stand_in(loader: Any) -> Trainer:
    """What a step or a loss may read of its trainer, such as where to plot."""
    trainer = Trainer(1)
    trainer.train_dataloader = loader
    trainer.num_train_batches = len(loader) if hasattr(loader, "__len__") else 1
    trainer.num_val_batches = trainer.epoch = 0
    trainer.train_batch_idx = trainer.val_batch_idx = 0
    return trainer


def _training_batches(data: Any) -> Any:
    if isinstance(data, type):
        raise DataError(
            f"Data are needed, but got the class {data.__name__} itself. Make an instance: "
            f"`{data.__name__}(...)`."
        )
    if hasattr(data, "train_dataloader"):
        loader = data.train_dataloader()
    elif isinstance(data, tuple) and data and all(isinstance(t, torch.Tensor) for t in data):
        loader = TensorLoader(data, max(1, len(data[-1])))
    else:
        loader = data
    is_spent_once = hasattr(loader, "__next__")
    if (
        is_spent_once
        or not hasattr(loader, "__iter__")
        or isinstance(loader, torch.Tensor | str | dict)
    ):
        raise DataError(
            f"Data are a DataModule, a tuple of tensors (X, y), or a list or loader of such "
            f"batches, but got {data!r:.80}."
        )
    return loader


def _look(loader: Any) -> Any:
    """One batch, checked to be (inputs..., labels)."""
    batch = first_batch(loader)
    if batch is None:
        batch = next(iter(loader), None)
    if batch is None:
        raise DataError("There are no examples: the training set gave no batch.")
    return batch


def _sample(
    loader: Any, wanted: int, seed: int, is_mean: bool
) -> tuple[Any, list[int], int | None]:
    """So many examples of a loader, in the same batches in every pass.

    Of a loss that is a mean, the batches may be of any size, and large ones are faster.

    Returns:
        The batches, their sizes, and how many examples there are; None if that is not known.
    """
    # Another sampler may leave out examples, because they are not of the training set.
    takes_all = type(getattr(loader, "sampler", None)) in (RandomSampler, SequentialSampler)
    batches: Any
    if isinstance(loader, TensorLoader):
        available = len(loader.tensors[-1])
        rows = _rows(available, wanted, seed)
        tensors = loader.tensors
        if rows is not None:
            tensors = tuple(tensor[rows.to(tensor.device)] for tensor in tensors)
        size = loader.batch_size
        if is_mean:
            first = loader.first()
            numbers = sum(item.numel() for item in first[:-1]) // len(first[-1])
            size = min(len(tensors[-1]), max(1, _CHUNK_NUMBERS // max(1, numbers)))
        batches = TensorLoader(tensors, size, transform=loader.transform)
        return batches, batch_sizes(batches), available
    if isinstance(loader, DataLoader) and loader.batch_size and takes_all:
        available = len(loader.dataset)  # type: ignore[arg-type]
        rows = _rows(available, wanted, seed)
        dataset = loader.dataset if rows is None else Subset(loader.dataset, rows.tolist())
        batches = DataLoader(dataset, loader.batch_size, collate_fn=loader.collate_fn)
        return batches, batch_sizes(batches), available
    batches, sizes = [], []
    for batch in loader:
        batches.append(batch)
        sizes.append(len(batch[-1]))
        if sum(sizes) >= wanted:
            break
    return batches, sizes, sum(batch_sizes(loader)) or None


def _rows(available: int, wanted: int, seed: int) -> torch.Tensor | None:
    """Which examples to take, in their own order; None for all."""
    if wanted >= available:
        return None
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(available, generator=generator)[:wanted].sort().values


def _trained(model: Any) -> dict[str, torch.Tensor]:
    """What a model trains, by name; a class of a learner's own may keep plain tensors."""
    named = dict(model.named_parameters())
    for name, value in vars(model).items():
        if isinstance(value, torch.Tensor) and value.is_leaf:
            named.setdefault(name, value)
    return {name: tensor for name, tensor in named.items() if tensor.requires_grad}


def _read_optimizer(
    model: Any,
) -> tuple[str | None, float | None, Callable[[float], float] | None]:
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
    rates = {group["lr"] for group in optimizer.param_groups}
    keys = ("momentum", "weight_decay", "nesterov", "dampening")
    first, *others = [
        {key: group[key] for key in keys if key in group} for group in optimizer.param_groups
    ]
    if len(rates) > 1 or any(other != first for other in others):
        return name, lr, None
    return name, lr, partial(critical_rate, **first)


# Words


def _critical_text(eigenvalue: float, critical: float) -> str:
    if math.isinf(critical):
        return "none: the loss curves upward in no direction"
    return f"2 / {eigenvalue:.4g} = {critical:.4g}"


def _examples_text(num_examples: int, num_available: int | None) -> str:
    if num_available == num_examples:
        return f"measured on all {num_examples:,} training examples"
    of = "" if num_available is None else f" of {num_available:,}"
    return f"measured on {num_examples:,}{of} training examples"


def _not_twice(model: Any, said: str) -> str:
    return (
        f"{type(model).__name__} has a part without a second derivative in PyTorch, so that its "
        f"Hessian cannot be computed. PyTorch says: {said}"
    )


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, width=88, subsequent_indent="  ")


def _round_down(number: int) -> int:
    """The number with its first digit only: 10,551 becomes 10,000."""
    unit: int = 10 ** (len(str(number)) - 1)
    return number // unit * unit
