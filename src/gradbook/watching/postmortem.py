"""What turned a training's numbers into NaN or infinity: the step, the operation and the cause.

While a training runs its values stay on their device, so the first wrong one is known only when a
window of them closes, and the weights of its moment are gone by then. Therefore a state of the
training is kept from time to time. When a value has become NaN or infinite, the training is
repeated from there on a copy, step by step, and the first step that goes wrong is looked at
operation by operation.
"""

import copy
import io
import linecache
import math
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode, resolve_name

from gradbook import snapshot
from gradbook.board import ProgressBoard
from gradbook.data import Batch, TensorLoader
from gradbook.display.finding import Finding
from gradbook.errors import DivergenceWarning, warn
from gradbook.execution import Precision
from gradbook.fingerprint import model_tensors, named_parameters
from gradbook.optim import SGD
from gradbook.record import History, Sink
from gradbook.resumable_loader import Position, ResumableLoader, Split
from gradbook.schedules import learning_rate, read_optimizers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gradbook.trainer import Trainer

Phase = Literal["forward", "backward", "update"]
Cause = Literal[
    "rate too high",
    "exp overflow",
    "log of zero",
    "division by zero",
    "root of zero",
    "infinite derivative",
    "bad input value",
    "float16 overflow",
    "overflow",
    "unknown",
]

#: A state is kept at most so often, and a repetition takes at most so long.
_INTERVAL_SECONDS, _LIMIT_SECONDS = 0.05, 60.0
#: The last steps that a post-mortem tells of.
_NUM_STEPS = 50
#: So many steps are drawn with a mark at each.
_NUM_MARKED = 60
#: A gradient or parameter that has become so many times larger has not done so by chance.
_BLOWN_UP = 1e3


_SAID_ALREADY = ("rate too high", "overflow", "unknown")


@dataclass(frozen=True)
class CodeLine:
    """A line of code: its file, its number from 1, and its text."""

    file: str
    number: int
    text: str

    def __str__(self) -> str:
        # A cell of a notebook has a file name that says nothing.
        name = Path(self.file).name if self.file.endswith(".py") else "the cell"
        text = f", `{self.text}`" if self.text else ""
        return f"line {self.number} of {name}{text}"


@dataclass(frozen=True)
class Step:
    """One training step.

    Attributes:
        step: The batches since the training began, this one included.
        epoch: The epoch, from 1.
        lr: The learning rate, if the optimizer has one.
        loss: The loss of its batch.
        gradient_norm: The norm of all gradients together, before any clipping.
        largest_parameter: The largest size of a parameter before the step.
        largest_input: The largest size of a number in the batch.
    """

    step: int
    epoch: int
    lr: float | None
    loss: float = math.nan
    gradient_norm: float = math.nan
    largest_parameter: float = math.nan
    largest_input: float = math.nan


@dataclass(repr=False)
class PostMortem(Finding):
    """Where a training first met NaN or infinity, why, and what to try.

    Attributes:
        what: What became NaN or infinite first, such as "train_loss" or "the gradient of W".
        cause: The likely cause; "unknown" if the training could not be repeated.
        reason: What speaks for it, in a sentence.
        edit: One change to try.
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
        before = [s.gradient_norm for s in (*self.steps, *([self.at] if self.at else []))]
        return next((norm for norm in reversed(before) if math.isfinite(norm)), None)

    @property
    def sentence(self) -> str:
        """All in one or two sentences."""
        cause = "" if self.cause == "unknown" else f"; likely cause: {self.cause}"
        where = "" if self.at is None else f" {self._place()}"
        through = f", {self._operation()}" if self.operation else ""
        return f"{self.what} became NaN or infinite{where}{through}{cause}. To try: {self.edit}"

    def __str__(self) -> str:
        lines = [f"{self.what} became NaN or infinite {self._place()}."]
        if self.operation:
            lines.append(f"Where: {self._operation()}.")
        if self.at is not None:
            lines.append(f"Then: {self._state()}.")
        cause = "not known" if self.cause == "unknown" else self.cause
        return "\n".join([*lines, f"Likely cause: {cause}. {self.reason}", f"To try: {self.edit}"])

    def figure(self) -> "Figure":
        """Draws loss and gradient norm over the last steps."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 4), layout="constrained")
        axes = figure.subplots(2, 1, sharex=True)
        shown = [*self.steps, self.at] if self.at is not None else self.steps
        for panel, name, style in zip(
            axes, ("loss", "gradient_norm"), ("C0-", "C1--"), strict=True
        ):
            values = [(step.step, getattr(step, name)) for step in shown]
            finite = [(x, y) for x, y in values if math.isfinite(y)]
            marker = "." if len(finite) <= _NUM_MARKED else ""
            panel.plot([x for x, _ in finite], [y for _, y in finite], style, marker=marker)
            if any(y > 0 for _, y in finite):
                panel.set_yscale("log")
            panel.set_ylabel(name.replace("_", " "))
            if self.at is not None:
                label = "first NaN or infinite"
                panel.axvline(self.at.step, color="black", linestyle=":", label=label)
        axes[-1].set_xlabel("step")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
        if self.at is not None:
            axes[0].legend()
            axes[0].set_title(f"{self.what}: {self.cause}", parse_math=False)
        return figure

    def _place(self) -> str:
        if self.at is None:
            return "in this training"
        if self.split == "val":
            return f"in the validation of epoch {self.at.epoch}"
        within = {
            "forward": ", in the forward pass",
            "backward": ", in the backward pass",
            "update": ", in the optimizer's update",
            None: "",
        }
        return f"at step {self.at.step} (epoch {self.at.epoch}){within[self.phase]}"

    def _operation(self) -> str:
        layer = f" of layer {self.layer}" if self.layer else ""
        line = f" in {self.line}" if self.line else ""
        return f"`{self.operation}`{layer}{line}"

    def _state(self) -> str:
        if self.at is None:
            return ""
        parts = [] if self.lr is None else [f"the learning rate was {self.lr:.3g}"]
        norms = [step.gradient_norm for step in self.steps if math.isfinite(step.gradient_norm)]
        if math.isfinite(self.at.gradient_norm):
            parts.append(f"the gradient norm {self.at.gradient_norm:.3g}")
        if norms:
            shown = ", ".join(f"{norm:.2g}" for norm in norms[-4:])
            before = "the step" if len(norms) == 1 else "the steps"
            parts.append(f"the gradient norm in {before} before {shown}")
        parts.append(f"the largest parameter {self.at.largest_parameter:.3g}")
        return ", ".join(parts)


class DivergenceWatcher(Sink):
    """Keeps states of a training, and makes its post-mortem if it turns NaN or infinite."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] | None = None
        self._kept_at = 0.0
        self._is_over = False

    def open(self, board: ProgressBoard, trainer: "Trainer | None" = None) -> None:
        """Keeps the state of the beginning."""
        # What goes on from numbers that are wrong already has met the first one before.
        self._is_over = trainer is None or trainer.history.diverged is not None
        if trainer is not None and not self._is_over:
            self._keep(trainer)

    def end_epoch(self, trainer: "Trainer") -> None:
        """Keeps the state if all is well; otherwise finds out what is not."""
        if self._is_over:
            return
        is_last = trainer.epoch + 1 >= trainer.max_epochs or trainer.best.is_spent
        is_due = time.perf_counter() - self._kept_at >= _INTERVAL_SECONDS
        is_wrong = trainer.history.diverged is not None
        if is_wrong or ((is_last or is_due) and not _are_finite(_parameters(trainer).values())):
            self._is_over = True
            trainer.postmortem = examine(trainer, self._kept)
            trainer.findings = [*trainer.findings, trainer.postmortem.sentence]
            # The history has warned of a rate that is too high, if it has seen anything.
            if not is_wrong or trainer.postmortem.cause not in _SAID_ALREADY:
                warn(trainer.postmortem.sentence, DivergenceWarning)
            self._kept = None
        elif is_due and not is_last:
            self._keep(trainer)

    def close(self, status: str) -> None:
        """Lets go of the state."""
        self._kept = None

    def _keep(self, trainer: "Trainer") -> None:
        self._kept = None
        # What cannot be kept is trained all the same. A layer that has no shape yet draws its
        # weights in the first step.
        if not any(is_lazy(parameter) for _, parameter in named_parameters(trainer.model)):
            with suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._kept = _copied(snapshot.take(_without_setup(trainer)))
        self._kept_at = time.perf_counter()


def examine(trainer: "Trainer", kept: dict[str, Any] | None) -> PostMortem:
    """Repeats a training from a state on a copy, and looks for the first wrong number.

    Model, optimizer, data, curves and random generators stay as they are. What a model's own code
    does elsewhere, as with a list that it fills, it does once more.

    Args:
        trainer: A trainer at the end of the epoch in which a number went wrong.
        kept: The state to begin with, of an earlier end of an epoch; None if there is none.

    Returns:
        What was found. No error of the repetition is raised.
    """
    try:
        if kept is None:
            return _not_repeated(trainer, "no state of it could be kept to repeat it from")
        with _quietly(), _undisturbed(trainer):
            return _Repetition(trainer, kept).look()
    except Exception as error:
        words = f"{type(error).__name__}: {error}".splitlines()[0]
        return _not_repeated(trainer, f"its repetition on a copy failed with {words}")


class _Stop(BaseException):
    """Ends a repetition, through whatever loop a learner wrote."""


class _Loader(ResumableLoader):
    """A loader that tells when a batch was fetched."""

    before_batch: Callable[[Batch], None]

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            self.before_batch(batch)
            yield batch


class _Repetition:
    """A training, once more, on a copy."""

    def __init__(self, trainer: "Trainer", kept: dict[str, Any]) -> None:
        self.trainer = trainer
        self.copy = copied = _copy_of(trainer)
        snapshot.put_back(kept, copied)
        copied.model.board.history = copied.history
        self.steps: deque[Step] = deque(maxlen=_NUM_STEPS)
        self.parameters = _parameters(copied)
        self.norms: dict[str, float] = {}
        for name, parameter in self.parameters.items():
            if parameter.requires_grad and parameter.is_leaf:
                note: Any = self._noting(name)
                parameter.register_post_accumulate_grad_hook(note)  # type: ignore[no-untyped-call]
        for split in ("train", "val"):
            loader = getattr(copied, f"{split}_dataloader")
            if loader is not None:
                limit = len(loader)
                again = _Loader(loader.loader, split, copied.position, limit, self._after_batch)
                again.before_batch = self._before_batch
                setattr(copied, f"{split}_dataloader", again)
        # Of the step that runs.
        self.batch: Batch = ()
        self.before: list[torch.Tensor] = []
        self.sources: dict[str, Any] = {}
        self.counts = (0, 0)
        self.at: Step | None = None
        # Of the first wrong one.
        self.what = ""
        self.phase: Phase | None = None
        self.split: Split = "train"

    def look(self) -> PostMortem:
        """Repeats all, then the step that went wrong."""
        copied = self.copy
        self.ends_at = time.perf_counter() + _LIMIT_SECONDS
        try:
            for epoch in range(copied.position.epoch, self.trainer.epoch + 1):
                copied.epoch = epoch
                copied.fit_epoch()
                copied.end_epoch()
        except _Stop:
            pass
        if self.phase is None or self.at is None:
            if time.perf_counter() > self.ends_at:
                return _not_repeated(
                    self.trainer, f"its repetition took more than {_LIMIT_SECONDS:g} seconds"
                )
            return _not_repeated(
                self.trainer,
                "all was finite when the epoch was repeated on a copy, so that something in the "
                "data or the steps comes out differently each time",
            )
        observer = _Observer()
        if self.phase != "update":
            self._repeat_step(observer)
        return _Diagnosis(self, observer).postmortem()

    def _before_batch(self, batch: Batch) -> None:
        copied = self.copy
        self.batch = batch
        self.before = [tensor.clone() for tensor in _state_of(copied)]
        self.sources = copied.position.sources()
        self.counts = (copied.train_batch_idx, copied.val_batch_idx)
        self.norms.clear()
        position = copied.position
        done = position.batches if position.split == "train" else copied.num_train_batches
        self.at = Step(
            position.epoch * copied.num_train_batches + done + (position.split == "train"),
            position.epoch + 1,
            learning_rate(copied.optim),
            largest_parameter=_largest(self.parameters.values()),
            largest_input=_largest(_tensors_in(batch)),
        )

    def _after_batch(self, split: Split) -> None:
        assert self.at is not None
        copied = self.copy
        values = {label: float(m.values[-1]) for label, m in copied.history.meters.items()}
        scaler = copied.arithmetic.scaler
        scale = 1.0 if scaler is None else scaler.get_scale()
        if split == "train":
            self.at = replace(
                self.at,
                loss=values.get("train_loss", math.nan),
                gradient_norm=math.hypot(*self.norms.values()) / scale if self.norms else math.nan,
            )
        wrong = [label for label, value in values.items() if not math.isfinite(value)]
        # A scaler leaves out a step whose scaled gradients have overflowed.
        grads = [] if scaler else [n for n, norm in self.norms.items() if not math.isfinite(norm)]
        params = [n for n, p in self.parameters.items() if not _are_finite([p])]
        if wrong:
            self._found(split, "forward", wrong[0])
        elif grads:
            self._found(split, "backward", f"the gradient of {grads[0]}")
        elif params:
            self._found(split, "update", f"the parameter {params[0]}")
        if time.perf_counter() > self.ends_at:
            raise _Stop
        if split == "train":
            self.steps.append(self.at)
        copied._after_batch(split)

    def _found(self, split: Split, phase: Phase, what: str) -> None:
        self.split, self.phase, self.what = split, phase, what
        raise _Stop

    def _noting(self, name: str) -> Callable[[torch.Tensor], None]:
        def note(parameter: torch.Tensor) -> None:
            if parameter.grad is not None:
                self.norms[name] = _norm(parameter.grad)

        return note

    def _repeat_step(self, observer: "_Observer") -> None:
        copied = self.copy
        with torch.no_grad():
            for tensor, before in zip(_state_of(copied), self.before, strict=True):
                tensor.copy_(before)
        copied.position.restore_sources(self.sources)
        copied.train_batch_idx, copied.val_batch_idx = self.counts
        copied.history.meters.clear()
        batches = {"train": [], "val": [], self.split: [self.batch]}
        copied.train_dataloader, copied.val_dataloader = batches["train"], batches["val"]
        try:
            with observer.at_layers(copied.model), observer:
                copied.fit_epoch()
        except _Stop:
            pass
        if observer.root is None:
            values = [m.values[-1] for m in copied.history.meters.values()]
            tensors = [value for value in values if isinstance(value, torch.Tensor)]
            observer.root = next((t for t in tensors if not _are_finite([t])), None)


@dataclass
class _Call:
    """A call of one of PyTorch's functions."""

    index: int
    name: str
    args: Sequence[Any]
    inputs: list[torch.Tensor]
    wrong_inputs: list[torch.Tensor]
    results: list[torch.Tensor]
    is_wrong: bool
    layer: str | None
    line: CodeLine | None


class _Observer(TorchFunctionMode):
    """Notes every call of a PyTorch function, until the gradients are there."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []
        self.root: torch.Tensor | None = None
        self.node: Any = None
        self.incoming: list[torch.Tensor] = []
        self._layers: list[str] = []
        self._caller_of: dict[Any, _Call] = {}

    @contextmanager
    def at_layers(self, model: Any) -> Iterator[None]:
        """While it lasts, it is known in which layer a call is made."""
        hooks = []
        for name, layer in model.named_modules() if isinstance(model, nn.Module) else ():
            if name:
                enter = self._entering(name)
                hooks.append(layer.register_forward_pre_hook(enter))
                hooks.append(layer.register_forward_hook(lambda *_: self._layers.pop() and None))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _entering(self, name: str) -> Callable[..., None]:
        return lambda *_: self._layers.append(name)

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.backward:
            return self._backward(*args, **kwargs)
        inputs = _tensors_in([args, kwargs])
        wrong = [tensor for tensor in inputs if not _are_finite([tensor])]
        output = func(*args, **kwargs)
        name = _name_of(func)
        results = _tensors_in(output)
        if name == "setitem":
            results = inputs[:1]
        layer = self._layers[-1] if self._layers else None
        call = _Call(
            *(len(self.calls), name, args, inputs, wrong, results),
            is_wrong=not _are_finite(results),
            layer=layer,
            line=_calling_line(with_ours=layer is None),
        )
        self.calls.append(call)
        for tensor in results:
            self._assign(tensor.grad_fn, call)
        return output

    def _assign(self, node: Any, call: _Call) -> None:
        """The nodes of the graph that came with a call are the call's."""
        left = [node]
        while left:
            node = left.pop()
            if node is not None and node not in self._caller_of:
                self._caller_of[node] = call
                left += [following for following, _ in node.next_functions]

    def _backward(self, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        if not _are_finite([loss]):
            self.root = loss
            raise _Stop
        self._assign(loss.grad_fn, self.calls[-1])
        for node in self._caller_of:
            node.register_hook(self._watching(node))
        loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]
        raise _Stop

    def _watching(self, node: Any) -> Callable[[Any, Any], None]:
        def watch(outgoing: Sequence[Any], incoming: Sequence[Any]) -> None:
            known = self.node is not None
            if not known and _are_finite(incoming) and not _are_finite(outgoing):
                self.node, self.incoming = node, [t for t in incoming if t is not None]

        return watch

    def origin(self) -> "_Call | torch.Tensor | None":
        """Where the first wrong number came from: a call, or a tensor that no call made.

        From the loss it is traced back through what is wrong. A call whose result is infinite,
        but does not reach the loss, is none: a mask may be made of infinities.
        """
        if self.node is not None:
            return self._caller_of[self.node]
        if self.root is None:
            return next((c for c in self.calls if c.is_wrong and not c.wrong_inputs), None)
        tensor, call = self.root, None
        index = len(self.calls)
        while True:
            made = [c for c in self.calls[:index] if any(t is tensor for t in c.results)]
            if not made:
                return tensor
            call = made[-1]
            if not call.wrong_inputs:
                return call
            index = call.index
            tensor = min(call.wrong_inputs, key=lambda t: self._rank(t, index))

    def _rank(self, tensor: torch.Tensor, index: int) -> tuple[bool, int]:
        """NaN before infinity, which may be a mask; then what was made first."""
        made = [c.index for c in self.calls[:index] if any(t is tensor for t in c.results)]
        return not bool(tensor.isnan().any()), made[-1] if made else -1


# What speaks for which cause

_EXPONENTIALS = {"exp": 1.0, "expm1": 1.0, "sinh": 1.0, "cosh": 1.0, "exp2": math.log(2)}
_LOGARITHMS = {"log", "log2", "log10"}
_QUOTIENTS = {"div": 1, "truediv": 1, "true_divide": 1, "rdiv": 0, "rtruediv": 0, "reciprocal": 0}
_ROOTS = {"sqrt", "rsqrt", "pow", "norm", "linalg_norm", "vector_norm", "std", "cdist", "var"}
_SYMBOLS = {
    **{"add": "+", "radd": "+", "sub": "-", "rsub": "-", "mul": "*", "rmul": "*", "div": "/"},
    **{"truediv": "/", "rdiv": "/", "rtruediv": "/", "pow": "**", "rpow": "**", "matmul": "@"},
}


class _Diagnosis:
    """Reads a cause off what a repetition and an observer have seen."""

    def __init__(self, repetition: _Repetition, observer: _Observer) -> None:
        self.repetition = repetition
        self.trainer = repetition.copy
        self.at = repetition.at
        self.steps = list(repetition.steps)
        self.what, self.phase = repetition.what, repetition.phase
        if self.phase == "backward" and observer.root is not None:
            self.what, self.phase = "the loss", "forward"  # which is not what was plotted
        self.node, self.incoming = observer.node, observer.incoming
        origin = None
        if self.phase == "forward" or observer.node is not None:
            origin = observer.origin()
        self.call = origin if isinstance(origin, _Call) else None
        self.source = origin if isinstance(origin, torch.Tensor) else None

    def postmortem(self) -> PostMortem:
        """What was found, in words."""
        cause, reason, edit = self._cause()
        operation = None
        if self.node is not None:
            operation = self.node.name()
        elif self.call is not None:
            operation = _SYMBOLS.get(self.call.name, self.call.name)
        return PostMortem(
            self.what,
            cause,
            reason,
            edit,
            phase=self.phase,
            split=self.repetition.split,
            operation=operation,
            layer=self.call.layer if self.call else None,
            line=self.call.line if self.call else None,
            at=self.at,
            steps=self.steps,
        )

    def _cause(self) -> tuple[Cause, str, str]:
        looks = (
            self._bad_input,
            self._zero_divided_by,
            self._root,
            self._half_overflow,
            self._outlier,
            self._rate,
            self._exponential,
            self._logarithm,
            self._derivative,
        )
        return next((found for look in looks if (found := look())), None) or self._overflow()

    def _bad_input(self) -> tuple[Cause, str, str] | None:
        tensors = _tensors_in(self.repetition.batch)
        wrong = [i for i, tensor in enumerate(tensors) if not _are_finite([tensor])]
        if not wrong:
            return None
        # What the steps before were given as well did no harm, unless it led here.
        place = next((i for i in wrong if tensors[i] is self.source), wrong[0])
        is_new = all(math.isfinite(step.largest_input) for step in self.steps)
        if tensors[place] is not self.source and not is_new:
            return None
        where = (~tensors[place].isfinite()).nonzero()
        index = where[0].tolist()
        value = tensors[place][tuple(index)].item()
        name = "y" if place == len(tensors) - 1 else "X" if len(tensors) == 2 else f"input {place}"
        element = f"{name}[{', '.join(map(str, index))}]"
        reason = f"{element} of the batch is {value}"
        if len(where) > 1:
            reason += f", the first of {len(where)} such values"
        rows = self._bad_rows(place)
        if rows:
            kind = {"train": "training", "val": "validation"}[self.repetition.split]
            more = "" if len(rows) == 1 else f", the first of {len(rows)}"
            reason += f"; it is in row {rows[0]} of the {kind} set{more}"
        edit = "leave such examples out, or fill in a value such as the mean of the column."
        return "bad input value", f"{reason}.", edit

    def _bad_rows(self, place: int) -> list[int]:
        loader = getattr(self.trainer.position, "owners", ())
        ours = [owner for owner in loader if isinstance(owner, TensorLoader)]
        loader = ours[0 if self.repetition.split == "train" else -1] if ours else None
        if loader is None or loader.transform is not None or place >= len(loader.tensors):
            return []
        tensor = loader.tensors[place]
        if not tensor.is_floating_point():
            return []
        wrong = ~tensor.isfinite().reshape(len(tensor), -1).all(dim=1)
        rows: list[int] = wrong.nonzero().flatten().tolist()
        return rows

    def _zero_divided_by(self) -> tuple[Cause, str, str] | None:
        if self.call is None or self.call.name not in _QUOTIENTS:
            return None
        divisor = self._argument(_QUOTIENTS[self.call.name])
        zeros = 0 if divisor is None else int((divisor == 0).sum())
        if divisor is None or not zeros:
            return None
        reason = f"{zeros} of {divisor.numel()} {_divisors(divisor)} 0."
        if self.phase == "backward":
            return (
                "division by zero",
                f"{reason} Its derivative is infinite there, even where the result is not used.",
                "replace the zeros before the division, not its results after it.",
            )
        return "division by zero", reason, "add a small number to the divisor, such as 1e-5."

    def _root(self) -> tuple[Cause, str, str] | None:
        if self.call is None or self.call.name not in _ROOTS:
            return None
        name = _SYMBOLS.get(self.call.name, self.call.name)
        x, power = self._argument(0), self._argument(1)
        is_power = self.call.name == "pow"
        if x is None or (is_power and (power is None or float(power.max()) >= 1)):
            return None
        if self.phase == "forward":
            negative = int((x < 0).sum())
            if not negative or self.call.name in ("norm", "std"):
                return None
            return (
                "root of zero",
                f"{negative} of {x.numel()} arguments of `{name}` are negative, down to "
                f"{float(x.min()):.3g}.",
                "keep the argument at 0 or above before the root: `.clamp(min=0)`.",
            )
        # Of a norm, it is the result that is 0.
        of = x if is_power or self.call.name in ("sqrt", "rsqrt") else self.call.results[0]
        zeros = int((of == 0).sum())
        if not zeros:
            return None
        return (
            "root of zero",
            f"The derivative of a root at 0 is infinite, and {zeros} of {of.numel()} "
            f"{'arguments' if of is x else 'results'} of `{name}` are 0.",
            "add a small number under the root, such as 1e-8.",
        )

    def _half_overflow(self) -> tuple[Cause, str, str] | None:
        if self.call is None or not any(t.dtype == torch.float16 for t in self.call.results):
            return None
        return (
            "float16 overflow",
            "float16 ends at 65504, and the result is larger.",
            'train with precision="bf16-mixed", which has the range of float32.',
        )

    def _outlier(self) -> tuple[Cause, str, str] | None:
        if self.at is None:
            return None
        sizes = [step.largest_input for step in self.steps]
        now = max([self.at.largest_input, *sizes[-1:]])
        usual = sorted(sizes[:-1])[len(sizes[:-1]) // 2] if len(sizes) > 1 else math.nan
        if not now >= _BLOWN_UP * usual > 0:
            return None
        return (
            "bad input value",
            f"The largest number in the batch of this step or the one before is {now:.3g}, and "
            f"{usual:.3g} is usual.",
            "leave that example out, or correct it.",
        )

    def _rate(self) -> tuple[Cause, str, str] | None:
        if self.at is None or self.at.lr is None or not (self.steps or self.phase == "update"):
            return None
        norms = [s.gradient_norm for s in (*self.steps, self.at)]
        norms = [norm for norm in norms if math.isfinite(norm) and norm > 0]
        sizes = [s.largest_parameter for s in (*self.steps, self.at)]
        low = norms.index(min(norms)) if norms else 0
        rising = norms[low:]
        # It is no growth if the gradients had been as large before.
        blown = len(rising) > 2 and rising[-2] >= 10 * rising[0]
        blown = blown and rising[-1] >= _BLOWN_UP * max(norms[: low + 1])
        if not blown and sizes[-1] < _BLOWN_UP**2 and self.phase != "update":
            return None
        rate = self.at.lr
        reason = f"The largest parameter was {sizes[-1]:.3g}."
        proposal, why = rate / 10, f"a tenth of {rate:g}"
        if len(rising) > 1:
            factor = (rising[-1] / rising[0]) ** (1 / (len(rising) - 1))
            reason = (
                f"The gradient norm grew by a factor of {factor:.3g} a step, from {rising[0]:.3g} "
                f"to {rising[-1]:.3g} in {len(rising) - 1} steps."
            )
            # With gradient descent on a quadratic, the gradient along the steepest direction is
            # multiplied by 1 - lr * curvature in each step.
            if factor > 9 and self._is_plain():
                proposal = rate / (1 + factor)
                why = (
                    f"because a gradient that grows {factor:.3g}-fold needs a rate so much smaller"
                )
        text = _rounded_down(proposal)
        return "rate too high", reason, f"lr={text}, {why}."

    def _is_plain(self) -> bool:
        """Whether the optimizer is gradient descent without memory."""
        optimizer = self.trainer.optim
        if isinstance(optimizer, torch.optim.SGD):
            return not any(group["momentum"] for group in optimizer.param_groups)
        return isinstance(optimizer, SGD)

    def _exponential(self) -> tuple[Cause, str, str] | None:
        x = self._argument(0)
        if self.call is None or self.call.name not in _EXPONENTIALS or x is None:
            return None
        x = x if x.is_floating_point() else x.float()
        limit = math.log(torch.finfo(x.dtype).max) / _EXPONENTIALS[self.call.name]
        dtype = str(x.dtype).removeprefix("torch.")
        edit = "bound the argument first, as by `.clamp(max=80)`."
        if x.dim() > 1 and x.shape[-1] > 1:
            edit = (
                "take the largest of each row off first, `X - X.amax(dim=-1, keepdim=True)`, "
                "which changes no softmax (book: 4.5.2)."
            )
        return (
            "exp overflow",
            f"The argument of `{self.call.name}` reached {float(x.max()):.4g}, and {dtype} "
            f"overflows beyond {limit:.1f}.",
            edit,
        )

    def _logarithm(self) -> tuple[Cause, str, str] | None:
        x = self._argument(0)
        if self.call is None or self.call.name not in _LOGARITHMS or x is None:
            return None
        zeros, negative = int((x == 0).sum()), int((x < 0).sum())
        if not zeros and not negative:
            return None
        counted = f"{zeros} of {x.numel()} arguments of `{self.call.name}` are 0"
        if negative:
            counted = f"{negative} of {x.numel()} arguments of `{self.call.name}` are negative"
        edit = "add a small number to the argument, such as 1e-8."
        labels = _tensors_in(self.repetition.batch)[-1:]
        if labels and not labels[0].is_floating_point():
            edit = (
                "let the network give logits and take F.cross_entropy as the loss, which needs no "
                "logarithm of a probability (book: 4.5.2)."
            )
        return "log of zero", f"{counted}.", edit

    def _derivative(self) -> tuple[Cause, str, str] | None:
        if self.node is None or _largest(self.incoming) > _BLOWN_UP**4:
            return None
        return (
            "infinite derivative",
            f"The derivative of `{self.call.name if self.call else self.node.name()}` is infinite "
            f"or not defined at one of its arguments.",
            "keep its argument away from there, as by `.clamp()` or a small number added to it.",
        )

    def _overflow(self) -> tuple[Cause, str, str]:
        inputs = self.call.inputs if self.call is not None and self.node is None else self.incoming
        size = _largest(inputs)
        largest = "" if math.isnan(size) else f"It was given numbers up to {size:.3g}. "
        at = self.at
        numbers = [arg for arg in (self.call.args if self.call else ()) if type(arg) is float]
        wrong = [number for number in numbers if not math.isfinite(number)]
        if wrong:
            return (
                "unknown",
                f"A number that the code itself gives to the operation is {wrong[0]}.",
                "look where that number comes from.",
            )
        if self.source is not None:
            return (
                "unknown",
                "A tensor that is not of the batch, and that no operation of this step made, "
                "holds NaN or infinity.",
                "look at the tensors and buffers that the model keeps.",
            )
        reason = f"{largest}The largest number in the batch was "
        reason += f"{at.largest_input if at else math.nan:.3g}."
        if at is not None and at.largest_input > _BLOWN_UP:
            return (
                "overflow",
                reason,
                "scale the inputs and targets to a mean of 0 and a deviation of 1.",
            )
        return "overflow", reason, "begin with smaller weights, or a smaller learning rate."

    def _argument(self, place: int) -> torch.Tensor | None:
        """An argument of the call, a number as a tensor."""
        args = self.call.args if self.call is not None else ()
        if len(args) <= place or not isinstance(args[place], torch.Tensor | int | float):
            return None
        return torch.as_tensor(args[place]).detach()


def _divisors(divisor: torch.Tensor) -> str:
    return "divisors is" if divisor.numel() == 1 else "divisors are"


def _rounded_down(value: float) -> str:
    """A number with one digit, none larger than it."""
    power = 10.0 ** math.floor(math.log10(value) + 1e-9)
    return f"{math.floor(value / power + 1e-9) * power:g}"


def _not_repeated(trainer: "Trainer", why: str) -> PostMortem:
    """What can be said without a repetition."""
    rate = learning_rate(trainer.optim)
    known = trainer.history.diverged
    edit = "a smaller learning rate."
    if rate is not None and rate > 0:
        edit = f"lr={_rounded_down(rate / 10)}, a tenth of {rate:g}."
    return PostMortem(
        known or "a parameter",
        "unknown",
        f"The first operation is not known, because {why}. The usual causes are a learning rate "
        f"that is too high, the logarithm or quotient of a zero, and NaN in the data.",
        edit,
    )


# The copy, and what it is made of

_NO_SETUP = {"code": {"python": "", "classes": {}}, "place": {}}


def _without_setup(trainer: "Trainer") -> Any:
    """A view of a trainer that need not describe its setup, which a copy of it shares anyway."""
    view = copy.copy(trainer)
    view._setup = _NO_SETUP
    if not hasattr(view.optim, "state_dict"):
        view.optim = copy.copy(view.optim)  # a checkpoint's warning of this one is still to come
    return view


def _copy_of(trainer: "Trainer") -> Any:
    """A trainer that does the same with a copy of the model, and tells nobody."""
    if any(getattr(value, "__self__", None) is trainer for value in vars(trainer).values()):
        raise TypeError("a method was replaced on the trainer itself, and not on its class")
    model, copied = trainer.model, copy.copy(trainer)
    board = ProgressBoard(display=False)
    known: dict[int, Any] = {id(trainer): copied, id(model.board): board}
    known |= {id(value): value for value in (trainer.data, *trainer.position.generators)}
    layers = list(model.modules()) if isinstance(model, nn.Module) else [model]
    for layer in layers:
        known |= {id(hook): hook for hooks in _hooks_of(layer) for hook in hooks.values()}
        for value in vars(layer).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                known[id(value)] = value.detach()  # PyTorch copies no other
    copied.model = again = copy.deepcopy(model, known)
    again.trainer, again.board = copied, board
    for layer in again.modules() if isinstance(again, nn.Module) else ():
        layer._compiled_call_impl = None
        for hooks in _hooks_of(layer):
            for key, hook in list(hooks.items()):
                # A learner's hooks record something, as a watcher's do; PyTorch's own compute.
                if not getattr(hook, "__module__", "").startswith("torch."):
                    del hooks[key]
    copied.optim, copied.schedules = read_optimizers(again.configure_optimizers(), again)
    if copied.arithmetic.scaler is not None:
        copied.arithmetic = Precision(trainer.precision, trainer.device)
    copied.position = Position([known.get(id(owner), owner) for owner in trainer.position.owners])
    copied.history, copied.best = History(), copy.deepcopy(trainer.best)
    board.sinks, board.trained = [], True
    copied.keep_best = False
    copied._listeners = copied._steppers = []
    copied._setup = _NO_SETUP
    return copied


def _hooks_of(layer: Any) -> list[Any]:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [getattr(layer, name) for name in names if hasattr(layer, name)]


def _parameters(trainer: Any) -> dict[str, torch.Tensor]:
    """What is trained, by name."""
    model, optimizer = trainer.model, trainer.optim
    named = dict(named_parameters(model))
    for name, value in vars(model).items():
        if isinstance(value, torch.Tensor) and value.requires_grad and value.is_leaf:
            named.setdefault(name, value)
    groups = getattr(optimizer, "param_groups", None)
    listed = (
        [p for g in groups for p in g["params"]] if groups else getattr(optimizer, "params", ())
    )
    known = set(map(id, named.values()))
    loose = [p for p in listed if isinstance(p, torch.Tensor) and id(p) not in known]
    named |= {f"number {i} of the optimizer": p for i, p in enumerate(loose)}
    return {name: p for name, p in named.items() if not is_lazy(p)}


def _state_of(trainer: Any) -> list[torch.Tensor]:
    """The tensors that a step changes."""
    model = trainer.model
    buffers = list(model.buffers()) if isinstance(model, nn.Module) else []
    own = [*model_tensors(model).values(), *buffers, *_parameters(trainer).values()]
    return [tensor.detach() for tensor in own if not is_lazy(tensor)]


def _copied(value: Any) -> Any:
    """A state whose tensors later steps do not change."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if type(value) in (list, tuple):
        return type(value)(_copied(item) for item in value)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return copy.copy(value)


@contextmanager
def _quietly() -> Iterator[None]:
    """What runs a second time says nothing a second time."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _undisturbed(trainer: "Trainer") -> Iterator[None]:
    """Afterwards generators, counters and gradients are as they were."""
    sources = trainer.position.sources()
    gradients = [(parameter, parameter.grad) for parameter in _parameters(trainer).values()]
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        trainer.position.restore_sources(sources)


# Tensors and code


def _tensors_in(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return (
        [t for item in value for t in _tensors_in(item)] if isinstance(value, list | tuple) else []
    )


def _are_finite(values: Any) -> bool:
    """Whether all numbers of all tensors are finite."""
    return all(
        bool(value.isfinite().all())
        for value in values
        if isinstance(value, torch.Tensor) and not is_lazy(value)
    )


def _largest(tensors: Any) -> float:
    """The largest size of a number in floating-point tensors; NaN without any."""
    sizes = [
        float(tensor.detach().abs().max())
        for tensor in tensors
        if tensor.is_floating_point() and tensor.numel() and not is_lazy(tensor)
    ]
    return max(sizes) if sizes else math.nan


def _norm(tensor: torch.Tensor) -> float:
    """The norm in 64 bits, where the squares of float32 cannot overflow."""
    return float(tensor.detach().to_dense().cpu().double().norm())


def _name_of(func: Any) -> str:
    """The name of one of PyTorch's functions, without what marks it as in place or reversed."""
    path = str(resolve_name(func) or getattr(func, "__name__", func)).split(".")
    return path[-2 if path[-1] == "__get__" and len(path) > 1 else -1].strip("_")


def _calling_line(with_ours: bool) -> CodeLine | None:
    """The line of the learner's code that led here; of a finished model, the library's."""
    frame: FrameType | None = sys._getframe(1)
    ours: FrameType | None = None
    while frame is not None and frame.f_code is not _Repetition._repeat_step.__code__:
        module = frame.f_globals.get("__name__", "")
        top = module.partition(".")[0]
        if top == "gradbook" and module != __name__:
            ours = ours or frame
        elif top not in ("torch", "gradbook", "contextlib"):
            return _line_of(frame)
        frame = frame.f_back
    return _line_of(ours) if with_ours and ours is not None else None


def _line_of(frame: FrameType) -> CodeLine:
    file, number = frame.f_code.co_filename, frame.f_lineno
    return CodeLine(file, number, linecache.getline(file, number).strip())
