"""The learning-rate range test: a short training in which the rate grows until it breaks.

Smith (2017), "Cyclical Learning Rates for Training Neural Networks", sec. 3.3. There the rate
grows linearly; here it grows by the same factor with each step, so that one test covers all
orders of magnitude.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gradbook import checks
from gradbook.checks import check_positive, check_rate, check_whole_number
from gradbook.devices import device_of
from gradbook.display.file import new_figure
from gradbook.display.finding import Finding
from gradbook.display.palette import COLORS
from gradbook.errors import ConfigError, DataError, ModelError
from gradbook.experiments.trial import copy_to_try, is_interrupted, measuring
from gradbook.interrupts import Interrupts, interruptible
from gradbook.schedules import needs_closure, read_optimizers
from gradbook.seeds import SEED_LIMIT
from gradbook.table import data_frame
from gradbook.tensors import to_device

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

#: The loss has exploded when its mean over the last steps is so many times that of the first.
_EXPLODED = 4.0
#: The standard deviation of the smoothing, as a part of all steps.
_SMOOTHING = 1 / 50
#: The suggestion, as a part of the rate at which the loss was lowest.
_PART = 0.5
#: Why `sharpness` may say that the suggestion is too large.
_BESIDE_SHARPNESS = (
    "sharpness may call this rate too large: it looks at many examples together, at the weights as "
    "they are now, while lr_range trains with minibatches, so that the weights change (full-batch "
    "gradient descent at one point, as against stochastic gradient descent along a path)."
)


@dataclass(frozen=True, repr=False, eq=False)
class RateRange(Finding):
    """How the training loss went while the learning rate grew.

    Attributes:
        rates: The rate of each step.
        losses: The loss of each step's minibatch, before the step.
        smoothed: The same, averaged over the steps around each: their logarithms if all are
            positive.
        steepest: The rate at which the smoothed loss fell fastest; None if it did not fall.
        largest: The rate at which it was lowest, beyond which training breaks; None likewise.
        suggestion: A rate to begin with, half of `largest`; None likewise.
        reason: Where the suggestion comes from, or why there is none.
        status: "finished", if the highest rate was reached; "exploded", if the loss rose far
            above the first before that; "diverged", if it became NaN or infinite; "interrupted".
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float | None
    largest: float | None
    suggestion: float | None
    reason: str
    status: str

    def _words(self) -> str:
        ends = {
            "finished": "up to the highest rate",
            "exploded": "then the loss exploded",
            "diverged": "then the loss was NaN or infinite",
            "interrupted": "then it was interrupted",
        }
        lines = [
            f"learning-rate range test: {len(self.rates)} steps from {self.rates[0]:.2g} to "
            f"{self.rates[-1]:.2g}, {ends[self.status]}"
        ]
        if self.suggestion is None:
            return "\n".join([*lines, f"no suggestion: {self.reason}"])
        lines += [
            f"the loss fell fastest at lr={self.steepest:.2g} and was lowest at "
            f"lr={self.largest:.2g}",
            f"suggestion: lr={self.suggestion:.2g}, {self.reason}",
            _BESIDE_SHARPNESS,
        ]
        return "\n".join(lines)

    def facts(self) -> dict[str, Any]:
        """The figures as plain values, for JSON."""
        found = self._plain("suggestion", "steepest", "largest", "reason", "status")
        return found | self._plain("rates", "losses", "smoothed")

    def to_pandas(self) -> "pandas.DataFrame":
        """A row for each step, indexed by "rate": "loss" and "smoothed"."""
        steps = zip(self.rates, self.losses, self.smoothed, strict=True)
        rows = [{"rate": rate, "loss": loss, "smoothed": mean} for rate, loss, mean in steps]
        return data_frame(rows, "rate")

    def figure(self) -> "Figure":
        """Draws the loss against the rate, with what was found marked."""
        from gradbook.display.ticks import plain_ticks

        figure = new_figure(6.0, 3.8)
        axes = figure.subplots()
        losses = np.array(self.losses)
        losses = np.where(np.isfinite(losses), losses, np.nan)
        axes.plot(self.rates, losses, ".", color="silver", label="a minibatch")
        axes.plot(self.rates, self.smoothed, color=COLORS[0], label="smoothed")
        marks = (
            ("fell fastest", self.steepest, COLORS[1], ":"),
            ("suggestion", self.suggestion, COLORS[2], "-"),
            ("lowest", self.largest, COLORS[3], "--"),
        )
        for name, rate, color, style in marks:
            if rate is not None:
                axes.axvline(rate, color=color, linestyle=style, label=f"{name}: {rate:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
        lowest, first = np.nanmin(self.smoothed), self.smoothed[0]
        if first > 30 * lowest > 0:
            axes.set_yscale("log")
        elif lowest < first:
            axes.set_ylim(lowest - 0.5 * (first - lowest), first + 1.5 * (first - lowest))
        plain_ticks(axes)
        figure.legend(fontsize="small", loc="outside upper center", ncols=3, frameon=False)
        axes.grid(True, which="major")
        return figure


@interruptible()
def lr_range(
    model: Any,
    data: Any,
    *,
    lowest: float = 1e-5,
    highest: float = 10.0,
    num_steps: int = 100,
    seed: int = 0,
) -> RateRange:
    """Trains a copy of a model while the learning rate grows with each minibatch.

    At small rates the loss stays where it is, then it falls, and at last the steps are too large
    and it rises: Smith (2017), sec. 3.3. The suggestion is half the rate at which it was lowest.
    That leaves room for what one short test does not see: the noise of other minibatches, and a
    network whose sharpness grows while it is trained.

    The copy is trained by the model's own `training_step` and its own optimizer, without its
    schedules. The model is left as it is.

    Args:
        model: The model.
        data: A DataModule, whose training batches are used; a tuple of tensors
            (inputs..., labels), which are one batch; or a list or loader of batches.
        lowest: The first rate.
        highest: The last rate.
        num_steps: The steps, at least 10. The loss is smoothed over about a tenth of them.
        seed: The order of the batches, and what else is random in a step.

    Returns:
        Rates, losses and the suggestion, with words and a figure.

    Raises:
        ConfigError: If a setting cannot be used.
        ModelError: If the model lacks a method, or its optimizer has no rate to set.
        DataError: If there are no examples.
        BatchError: If they do not fit the model.
    """
    check_positive(lowest, "lowest")
    check_positive(highest, "highest")
    check_rate(highest, "highest")
    if lowest >= highest:
        raise ConfigError(f"highest must be above lowest={lowest:g}, but it is {highest:g}.")
    check_whole_number(num_steps, "num_steps", at_least=10)
    check_whole_number(seed, "seed", at_least=0)
    checks.check_model(model, data, "lr_range")
    # The quotient of the two may be larger than a number can be.
    factor = math.exp((math.log(highest) - math.log(lowest)) / (num_steps - 1))
    rates: list[float] = []
    losses: list[float] = []
    status = "finished"
    with measuring(data, "lr_range") as loader, Interrupts() as interrupts:
        trial = copy_to_try(model, loader)
        optimizer, set_rate = _optimizer_of(trial)
        trial.trainer.optim = optimizer
        trial.train()
        random.seed(seed)
        np.random.seed(seed % SEED_LIMIT)
        torch.manual_seed(seed)
        batches = _endless(loader)
        for step in range(num_steps):
            rates.append(lowest * factor**step)
            set_rate(rates[-1])
            loss = trial.training_step(to_device(next(batches), device_of(trial)))
            if not (isinstance(loss, torch.Tensor) and loss.requires_grad and loss.numel() == 1):
                raise ModelError(checks.useless_loss(model, loss))
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                status = "diverged"
                break
            if _has_exploded(losses, num_steps):
                status = "exploded"
                break
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            trial.trainer.train_batch_idx += 1
            if is_interrupted(interrupts):
                status = "interrupted"
                break
    smoothed = _smooth(losses, num_steps)
    steepest, largest, reason = _judge(rates, losses, smoothed, num_steps)
    curves = tuple(rates), tuple(losses), tuple(smoothed)
    suggestion = None if largest is None else _PART * largest
    return RateRange(*curves, steepest, largest, suggestion, reason, status)


def _optimizer_of(model: Any) -> tuple[Any, Callable[[float], None]]:
    """The model's optimizer, and what sets its rate; several groups keep their proportions."""
    optimizer, _ = read_optimizers(model.configure_optimizers(), model)
    name = type(optimizer).__name__
    if needs_closure(optimizer.step):
        raise ModelError(
            f"{name} calls a closure to compute the loss several times in a step, and a range test "
            f"gives it none. Take another optimizer."
        )
    groups = getattr(optimizer, "param_groups", None)
    if not groups:
        if not hasattr(optimizer, "lr"):
            raise ModelError(
                f"{name} has no learning rate that could be set: neither `param_groups`, as the "
                f"optimizers of PyTorch have, nor `lr`."
            )
        return optimizer, lambda rate: setattr(optimizer, "lr", rate)
    first = float(groups[0]["lr"])
    parts = [float(group["lr"]) / first if first else 1.0 for group in groups]

    def set_rate(rate: float) -> None:
        for group, part in zip(groups, parts, strict=True):
            group["lr"] = rate * part

    return optimizer, set_rate


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise DataError("There are no examples: the training set gave no batch.")


def _has_exploded(losses: list[float], num_steps: int) -> bool:
    last = max(3, num_steps // 20)
    if len(losses) < 3 * last:
        return False
    return float(np.mean(losses[-last:])) > _EXPLODED * abs(float(np.mean(losses[: 2 * last])))


def _smooth(losses: list[float], num_steps: int) -> list[float]:
    """The losses averaged with the weights of a normal distribution, without what is not finite.

    The mean of logarithms keeps an explosion from raising the loss of the steps before it.
    """
    known = np.array([loss for loss in losses if math.isfinite(loss)])
    if not len(known):
        return [math.nan] * len(losses)
    is_positive = bool(known.min() > 0)
    values = np.log(known) if is_positive else known
    places = np.arange(len(known))
    offsets = (places[:, None] - places[None, :]) / _width(num_steps)
    weights = np.exp(-(offsets**2) / 2)
    means = weights @ values / weights.sum(axis=1)
    means = np.exp(means) if is_positive else means
    # Only the last can be something else, because the test ends there.
    return [*means.tolist(), *[math.nan] * (len(losses) - len(known))]


def _width(num_steps: int) -> float:
    return max(1.0, _SMOOTHING * num_steps)


def _judge(
    rates: list[float], losses: list[float], smoothed: list[float], num_steps: int
) -> tuple[float | None, float | None, str]:
    """The rates at which the smoothed loss fell fastest and was lowest, and what that means."""
    known = np.isfinite(losses)
    loss, mean = np.array(losses)[known], np.array(smoothed)[known]
    if len(loss) < num_steps // 3:
        return None, None, "there are too few steps. Begin at a lower rate"
    if loss.min() > 0:
        loss, mean = np.log(loss), np.log(mean)
    early = loss[: num_steps // 3]
    start = float(early[: max(3, num_steps // 10)].mean())
    at = int(mean.argmin())
    # At the first rates nothing is learned, so that losses differ by the noise of batches alone.
    noise = float(np.diff(early).std()) / math.sqrt(2)
    noise /= math.sqrt(2 * math.sqrt(math.pi) * _width(num_steps))  # what smoothing leaves of it
    if start - mean[at] <= max(4 * noise, 0.01 * abs(start), 1e-12):
        reason = (
            "the loss never fell by more than the noise of its minibatches. Try more steps, larger "
            "batches or higher rates"
        )
        return None, None, reason
    slope = np.gradient(mean, np.log(np.array(rates)[known]))
    steepest, largest = rates[int(slope[: at + 1].argmin())], rates[at]
    reason = "half the rate at which the loss was lowest"
    if at >= num_steps - 1 - 3 * _width(num_steps):
        reason += (
            "; that is near the end of the test, and higher rates may do better: raise `highest`"
        )
    return steepest, largest, reason
