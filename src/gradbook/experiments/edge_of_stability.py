"""The edge of stability: sharpness while a network is trained by full-batch gradient descent.

Cohen et al. (2021), "Gradient Descent on Neural Networks Typically Occurs at the Edge of
Stability".
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradbook.board import ProgressBoard
from gradbook.checks import check_positive, check_rate, check_whole_number
from gradbook.display.file import new_figure
from gradbook.display.finding import Finding
from gradbook.display.palette import COLORS
from gradbook.experiments.lanczos import largest_eigenpair
from gradbook.experiments.landscape import Landscape, examples_text
from gradbook.experiments.trial import copy_to_try, is_interrupted, measuring
from gradbook.interrupts import Interrupts, interruptible
from gradbook.table import data_frame
from gradbook.training import Training

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

#: A warm start is so much of a random vector: an eigenvector that overtakes another is orthogonal
#: to it, and would never be found from there.
_FRESH_PART = 0.1


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

    def _words(self) -> str:
        return (
            f"full-batch gradient descent with lr={self.lr:g}: {self.status} after "
            f"{len(self.losses) - 1} steps, training loss {self.losses[0]:.4g} to "
            f"{self.losses[-1]:.4g}\n"
            f"  {examples_text(self.num_examples, self.num_available)}\n"
            f"sharpness {self._story()}."
        )

    def _story(self) -> str:
        values, edge = self.sharpness, f"2 / lr = {self.edge:.3g}"
        highest = max(values)
        if self.reached is None:
            return (
                f"went from {values[0]:.3g} to {values[-1]:.3g} and stayed below {edge}; the "
                f"highest was {highest:.3g}, {highest / self.edge:.2g} times 2 / lr. With a larger "
                f"learning rate or more steps it may reach 2 / lr"
            )
        if self.reached == 0:
            begin = f"began at {values[0]:.3g}, beyond {edge}, where this rate is unstable"
            if self.status == "diverged":
                return f"{begin}: the loss diverged"
            below = [step for step, v in zip(self.steps, values, strict=True) if v < self.edge]
            if not below:
                return f"{begin}. Its last value was {values[-1]:.3g}"
            return (
                f"{begin}; the steps moved the weights to a flatter region. The sharpness was "
                f"first below 2 / lr at step {below[0]}, and its last value was {values[-1]:.3g}"
            )
        story = f"rose from {values[0]:.3g} to {edge} by step {self.reached}"
        if self.status == "diverged":
            return f"{story}, and the loss diverged"
        after = [v for step, v in zip(self.steps, values, strict=True) if step > self.reached]
        if not after:
            return story
        middle = float(np.median(after))
        part = middle / self.edge
        hovered = ""
        if 0.8 <= part <= 1.2:
            hovered = ", and hovered about there: the edge of stability"
        elif 1.2 < part <= 1.8:  # the loss is no parabola: beyond the edge it grows more slowly
            hovered = ", and stayed somewhat above it: the edge of stability"
        return (
            f"{story}{hovered}. From then on its median was {middle:.3g}, {part:.2g} times 2 / lr, "
            f"and its last value was {after[-1]:.3g}"
        )

    def facts(self) -> dict[str, Any]:
        """The figures as plain values, for JSON."""
        numbers = self._plain("lr", "edge", "reached", "status", "num_examples", "num_available")
        return numbers | self._plain("steps", "sharpness", "losses")

    def to_pandas(self) -> "pandas.DataFrame":
        """A row for each step, indexed by "step": "loss", and "sharpness" where it was measured."""
        known = dict(zip(self.steps, self.sharpness, strict=True))
        rows = [
            {"step": step, "loss": loss, "sharpness": known.get(step, math.nan)}
            for step, loss in enumerate(self.losses)
        ]
        return data_frame(rows, "step")

    def figure(self) -> "Figure":
        """Draws the loss and, below it, the sharpness with the line 2 / lr."""
        from gradbook.display.ticks import plain_ticks

        figure = new_figure(5.6, 4.8)
        upper, lower = figure.subplots(2, 1, sharex=True)
        losses = np.array(self.losses)
        upper.plot(np.where(np.isfinite(losses), losses, np.nan), color=COLORS[0])
        upper.set(ylabel="training loss")
        lower.plot(self.steps, self.sharpness, color=COLORS[0], marker=".", label="sharpness")
        label = f"2 / lr = {self.edge:.3g}"
        lower.axhline(self.edge, color=COLORS[1], linestyle="--", label=label)
        lower.set(xlabel="step of full-batch gradient descent", ylabel="sharpness")
        lower.set_ylim(bottom=min(0, *self.sharpness))
        lower.legend(fontsize="small")
        for axes in (upper, lower):
            plain_ticks(axes)
            axes.grid(True)
        return figure


@interruptible()
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
    check_rate(lr)
    lr = float(lr)
    check_positive(tolerance, "tolerance")
    check_whole_number(num_steps, "num_steps", at_least=1)
    check_whole_number(every, "every", at_least=1)
    check_whole_number(max_products, "max_products", at_least=1)
    steps: list[int] = []
    values: list[float] = []
    losses: list[float] = []
    status = "finished"
    with measuring(data, "edge_of_stability") as loader, Interrupts() as interrupts:
        trial = copy_to_try(model, loader)
        landscape = Landscape(trial, loader, num_examples, seed)
        vector = landscape.random_vector(seed)
        with _live(trial, num_steps, display) as (board, training):
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
                    training.trainer.epoch = training.trainer.train_batch_idx = step + 1
                    training.history.note(step + 1, "train_loss", loss)
                if is_interrupted(interrupts):
                    status = "interrupted"
                    break
            training.status = status
    curves = tuple(steps), tuple(values), tuple(losses)
    examples = landscape.num_examples, landscape.num_available
    return EdgeOfStability(lr, 2 / lr, *curves, status, *examples)


@contextmanager
def _live(
    model: Any, num_steps: int, display: bool | str
) -> Iterator[tuple[ProgressBoard, Training]]:
    """A board that is drawn while steps are taken, and the training by which it shows progress."""
    board = ProgressBoard(xlabel="step", xlim=[0, num_steps], display=display)
    sink = board.choose_display()
    trainer = model.trainer
    trainer.training = training = Training(trainer, model, None)
    trainer.max_epochs = num_steps
    trainer.num_train_batches = 1  # with the gradient of all examples, a step is an epoch
    board.sinks = [sink]
    sink.open(board, trainer)
    try:
        yield board, training
    except KeyboardInterrupt:
        training.status = "interrupted"
        raise
    finally:
        sink.close(training.status or "failed")
        board.sinks = None
