"""What turned a training's numbers into NaN or infinity: the step, the operation and the cause.

While a training runs its values stay on their device, so the first wrong one is known only when a
window of them closes, and the weights of its moment are gone by then. Therefore a state of the
training is kept from time to time. When a value has become NaN or infinite, the training is
repeated from there on a copy, step by step, and the first step that goes wrong is looked at
operation by operation.
"""

import math
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.nn.parameter import is_lazy

from gradbook.board import ProgressBoard
from gradbook.display.finding import Finding
from gradbook.display.palette import COLORS
from gradbook.display.words import listed
from gradbook.errors import DivergenceWarning, told, warn
from gradbook.labels import is_loss
from gradbook.lookalikes import named_parameters
from gradbook.record import Sink
from gradbook.resume.loader import Split
from gradbook.schedules import learning_rate
from gradbook.watching.diagnosis import Cause, Diagnosis, smaller_rate
from gradbook.watching.observer import CodeLine
from gradbook.watching.repetition import Phase, Repetition, Step, num_bytes, state_of, undisturbed
from gradbook.watching.trials import Trials

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gradbook.trainer import Trainer

#: A state is kept at most so often.
_INTERVAL_SECONDS = 0.05
#: Of states that are larger, the last one alone is kept.
_MOST_BYTES = 128 * 2**20
#: The causes as they are said.
_SPOKEN: dict[Cause, str] = {
    "rate too high": "the learning rate is too high",
    "bad learning rate": "the learning rate is infinite, NaN or negative",
    "weight decay too high": "the weight decay is too high",
    "momentum too high": "the momentum is too high",
    "loss without a bound": "the loss has no lower bound",
    "initial weights too large": "the initial weights are too large",
    "inputs too large": "the inputs are too large",
    "bad parameter value": "the model itself holds NaN or infinity",
    "exp overflow": "an exponential overflows",
    "log of zero": "the logarithm of 0",
    "division by zero": "a division by 0",
    "root of zero": "the derivative of a root at 0",
    "infinite derivative": "an infinite derivative",
    "outside the domain": "numbers for which the operation is not defined",
    "too few numbers": "too few numbers for the operation",
    "fully masked row": "a row that is masked from end to end",
    "bad constant": "a number in the code itself",
    "bad input value": "a wrong number in the data",
    "float16 overflow": "a number is too large for float16",
    "overflow": "numbers become too large",
    "unknown": "not known",
}
#: So many steps are drawn with a mark at each.
_NUM_MARKED = 60


@dataclass(repr=False)
class PostMortem(Finding):
    """Where a training first met NaN or infinity, why, and what to try.

    Attributes:
        what: What became NaN or infinite first, such as "train_loss" or "the gradient of W".
        cause: The likely cause; "unknown" if the training could not be repeated.
        reason: What speaks for it, in a sentence.
        edit: One change to try.
        tried: What came of trying it, or others, on a copy of the training; empty if nothing was
            tried, because the change is one of the code.
        phase: In which part of the step: "forward", "backward" or "update"; None if not known.
        split: "train", or "val" if it was in the validation.
        operation: The operation, such as "exp"; in the backward pass, the node of the graph, such
            as "SqrtBackward0".
        layer: The name of the layer that it belongs to.
        line: The line of code that called it.
        at: The step in which it happened. Its loss and gradient norm may be NaN or infinite.
        steps: The last steps before, oldest first.
    """

    what: str
    cause: Cause
    reason: str
    edit: str
    tried: str = ""
    phase: Phase | None = None
    split: Split = "train"
    operation: str | None = None
    layer: str | None = None
    line: CodeLine | None = None
    at: Step | None = None
    steps: Sequence[Step] = ()

    @property
    def step(self) -> int | None:
        """The step, counted from 1."""
        return None if self.at is None else self.at.step

    @property
    def epoch(self) -> int | None:
        """The epoch, counted from 1."""
        return None if self.at is None else self.at.epoch

    @property
    def lr(self) -> float | None:
        """The learning rate of that step."""
        return None if self.at is None else self.at.lr

    @property
    def gradient_norm(self) -> float | None:
        """The norm of the gradients of that step or, if it is not finite, of the one before."""
        norms = [step.gradient_norm for step in self._shown()]
        return next((norm for norm in reversed(norms) if math.isfinite(norm)), None)

    @property
    def sentence(self) -> str:
        """All in one or two sentences."""
        cause = "" if self.cause == "unknown" else f"; likely cause: {_SPOKEN[self.cause]}"
        where = "" if self.at is None else f" {self._place()}"
        through = f", {self._operation()}" if self.operation else ""
        tried = f" {self.tried}" if self.tried else ""
        return (
            f"{self.what} became NaN or infinite{where}{through}{cause}. To try: {self.edit}{tried}"
        )

    def _words(self) -> str:
        lines = [f"{self.what} became NaN or infinite {self._place()}".strip() + "."]
        if self.operation:
            lines.append(f"Where: {self._operation()}.")
        if self.at is not None:
            lines.append(self._state(self.at))
        lines += [f"Likely cause: {_SPOKEN[self.cause]}. {self.reason}", f"To try: {self.edit}"]
        return "\n".join([*lines, *([self.tried] if self.tried else [])])

    def figure(self) -> "Figure":
        """Draws loss and gradient norm over the last steps."""
        from matplotlib.figure import Figure

        from gradbook.display.ticks import plain_ticks

        figure = Figure(figsize=(5, 4), layout="constrained")
        axes = figure.subplots(2, 1, sharex=True)
        shown, names, styles = self._shown(), ("loss", "gradient_norm"), ("-", "--")
        for panel, name, style, color in zip(axes, names, styles, COLORS, strict=False):
            values = [(step.step, getattr(step, name)) for step in shown]
            finite = [(x, y) for x, y in values if math.isfinite(y)]
            marker = "." if len(finite) <= _NUM_MARKED else ""
            panel.plot(
                [x for x, _ in finite], [y for _, y in finite], style, color=color, marker=marker
            )
            if any(y > 0 for _, y in finite):
                panel.set_yscale("log")
            plain_ticks(panel)
            panel.set_ylabel(name.replace("_", " "))
            if not finite:
                panel.set_yticks([])
                panel.text(0.05, 0.5, "no finite value", transform=panel.transAxes)
            if self.at is not None:
                label = "first NaN or infinite"
                panel.axvline(self.at.step, color="black", linestyle=":", label=label)
        axes[-1].set_xlabel("step")
        if len(shown) == 1:
            axes[-1].set_xlim(shown[0].step - 1, shown[0].step + 1)
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
        if self.at is not None:
            axes[0].legend()
            axes[0].set_title(f"{self.what}: {_SPOKEN[self.cause]}", parse_math=False)
        return figure

    def _shown(self) -> list[Step]:
        """The last steps, with the one in which it happened."""
        return [*self.steps, *([self.at] if self.at is not None else [])]

    def _place(self) -> str:
        if self.at is None:
            return ""
        if self.split == "val":
            return f"in the validation of epoch {self.at.epoch}"
        part = "optimizer's update" if self.phase == "update" else f"{self.phase} pass"
        within = f", in the {part}" if self.phase else ""
        return f"at step {self.at.step} (epoch {self.at.epoch}){within}"

    def _operation(self) -> str:
        layer = f" of layer {self.layer}" if self.layer else ""
        line = f" in {self.line}" if self.line else ""
        return f"`{self.operation}`{layer}{line}"

    def _state(self, at: Step) -> str:
        parts = [] if self.lr is None else [f"the learning rate was {self.lr:.3g}"]
        if math.isfinite(at.gradient_norm):
            parts.append(f"the norm of the gradients was {at.gradient_norm:.3g}")
        if math.isfinite(at.largest_parameter):
            size = f"{at.largest_parameter:.3g}"
            parts.append(f"the largest number in the parameters had the size {size}")
        norms = [step.gradient_norm for step in self.steps if math.isfinite(step.gradient_norm)]
        when = "In that epoch" if self.split == "val" else "At that step"
        text = f"{when} {listed(parts)}." if parts else ""
        if norms:
            kind = "training " if self.split == "val" else ""
            step, norm, were = (
                ("step", "norm", "was") if len(norms) == 1 else ("steps", "norms", "were")
            )
            shown = listed([f"{norm:.2g}" for norm in norms[-4:]])
            text += f" In the {kind}{step} before, the {norm} of the gradients {were} {shown}."
        return text.strip()


class DivergenceWatcher(Sink):
    """Keeps states of a training, and makes its post-mortem if it turns NaN or infinite.

    A validation loss is looked into as well where the training itself has not diverged.

    Attributes:
        share: How many trainings go on at once: each then keeps its state as many times more
            rarely, and has a part of the time in which changes are tried.
    """

    def __init__(self) -> None:
        self.share = 1
        self._trainer: Trainer | None = None
        self._first: dict[str, Any] | None = None
        self._kept: dict[str, Any] | None = None
        self._kept_at = 0.0
        self._is_over = self._is_told = False
        self._num_undefined = 0

    def open(self, board: ProgressBoard, trainer: "Trainer | None" = None) -> None:
        """Keeps the state of the beginning."""
        self._num_undefined = 0
        training = None if trainer is None else trainer.training
        sinks = () if training is None else training.listeners
        self._is_told = any(sink.tells_divergence for sink in sinks)
        # What goes on from numbers that are wrong already has met the first one before.
        self._is_over = trainer is None or trainer.history.diverged is not None
        self._trainer = None if self._is_over else trainer
        if self._trainer is not None:
            self._keep(self._trainer)
            self._first = self._kept

    def end_epoch(self, trainer: "Trainer") -> None:
        """Keeps the state if all is well; otherwise finds out what is not."""
        if self._is_over:
            return
        history = trainer.history
        is_last = trainer.epoch + 1 >= trainer.max_epochs
        is_last = is_last or trainer.best.is_spent or trainer.is_stopping
        is_due = time.perf_counter() - self._kept_at >= _INTERVAL_SECONDS * self.share
        self._is_over = history.diverged is not None
        losses = [label for label in history.undefined if is_loss(label)]
        if self._is_over or len(losses) > self._num_undefined:
            self._num_undefined = len(losses)
            states = [state for state in (self._first, self._kept) if state is not None]
            trainer.postmortem = examine(trainer, states, self.share)
            trainer.findings = [*trainer.findings, trainer.postmortem.sentence]
            self._kept = None
        if self._is_over:
            self._first = None
        elif not is_last and (is_due or self._kept is None):
            if num_bytes(self._first) > _MOST_BYTES:
                self._first = None
            self._keep(trainer)
            self._first = self._first or self._kept

    def close(self, status: str) -> None:
        """Warns of what went wrong, once for the whole training, and lets go of the states."""
        trainer, self._trainer = self._trainer, None
        self._first = self._kept = None
        if trainer is None:
            return
        history, found = trainer.history, trainer.postmortem
        if found is not None:
            place = f" {found._place()}".rstrip()
            short = f"{found.what} became NaN or infinite{place}. The post-mortem says why."
            warn(short if self._is_told else found.sentence, DivergenceWarning)
        elif history.diverged is not None:
            what, _, place = history.diverged.partition(" at step ")
            where = f" at step {place}" if place else ""
            warn(
                f"{what} became NaN or infinite{where}. The training ended before the cause was "
                f"looked for, which is done at the end of an epoch.",
                DivergenceWarning,
            )

    def _keep(self, trainer: "Trainer") -> None:
        self._kept = None
        # What cannot be kept is trained all the same. A layer that has no shape yet draws its
        # weights in the first step.
        if not any(is_lazy(parameter) for _, parameter in named_parameters(trainer.model)):
            with suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._kept = state_of(trainer)
        self._kept_at = time.perf_counter()


def examine(trainer: "Trainer", states: Sequence[dict[str, Any]], share: int = 1) -> PostMortem:
    """Repeats a training from a state on a copy, and looks for the first wrong number.

    Model, optimizer, data, curves and random generators stay as they are. What a model's own code
    does elsewhere, as with a list that it fills, it does once more. No error of the repetition is
    raised.

    Args:
        trainer: A trainer at the end of the epoch in which a number went wrong.
        states: States of it, oldest first: that of the beginning, and the last one that was kept,
            to begin with; empty if there is none.
        share: How many trainings go on at once, among which the time for trials is divided.
    """
    try:
        if not states:
            return _not_repeated(trainer, "no state of it could be kept to repeat it from")
        with undisturbed(trainer):
            repetition = Repetition(trainer, states[-1])
            why = repetition.run()
            if why is not None:
                return _not_repeated(trainer, why)
            if repetition.phase is None:
                return _finite_again(trainer)
            if repetition.phase == "update":
                observer = Repetition(trainer, states[-1]).observe_update(repetition.at.step)
            else:
                observer = repetition.observe()
            found = Diagnosis(repetition, observer, Trials(trainer, states, repetition, share))
            cause = found.cause()
            return PostMortem(
                found.what,
                *cause,
                found.tried,
                phase=found.phase,
                split=repetition.split,
                operation=found.operation,
                layer=found.call.layer,
                line=found.call.line,
                at=repetition.at,
                steps=list(repetition.steps),
            )
    except Exception as error:
        words = told(error).splitlines()[0]
        return _not_repeated(trainer, f"its repetition on a copy failed with {words}")


def _finite_again(trainer: "Trainer") -> PostMortem:
    """What can be said where the same steps on a copy went well, at the same rate."""
    history = trainer.history
    undefined = next((label for label in history.undefined if is_loss(label)), "")
    return PostMortem(
        history.diverged or undefined,
        "unknown",
        "All was finite when the epoch was repeated on a copy with the same settings. So something "
        "in the data or the steps comes out differently each time, or something other than the "
        "steps writes into the model.",
        "look for data or random numbers that no seed determines, and for code that writes into "
        "the model between two steps, such as a sink.",
        split="train" if history.diverged is not None else "val",
    )


def _not_repeated(trainer: "Trainer", why: str) -> PostMortem:
    """What can be said without a repetition."""
    history = trainer.history
    first = f"The first operation is not known, because {why}."
    causes = "the logarithm or quotient of a zero, and NaN in the data"
    if history.diverged is None:
        what = next(label for label in history.undefined if is_loss(label))
        reason = f"{first} The usual causes are a batch without a valid label, {causes}."
        edit = "a look at the batches of the validation set."
        return PostMortem(what, "unknown", reason, edit, split="val")
    rate = learning_rate(trainer.optim)
    edit = "a smaller learning rate."
    if rate is not None and rate > 0:
        edit = smaller_rate(trainer.optim, rate)
    reason = f"{first} The usual causes are a learning rate that is too high, {causes}."
    return PostMortem(history.diverged, "unknown", reason, edit)
