"""A training, once more, on a copy: from a state that was kept to its first wrong number."""

import copy
import io
import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from gradbook.data import Batch
from gradbook.execution import Precision
from gradbook.labels import is_loss
from gradbook.lookalikes import (
    groups_of,
    keeping_gradients,
    model_tensors,
    parameters_of,
    trained_tensors,
)
from gradbook.resume import snapshot
from gradbook.resume.loader import ResumableLoader, Split
from gradbook.schedules import learning_rate
from gradbook.tensors import copy_batch
from gradbook.untrained import tensors_in
from gradbook.watching.observer import Observer, Stop, are_finite, largest, norm_of

if TYPE_CHECKING:
    from gradbook.trainer import Trainer

Phase = Literal["forward", "backward", "update"]

#: A repetition takes at most so long.
_LIMIT_SECONDS = 60.0
#: The last steps that are remembered.
_NUM_STEPS = 50


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


@dataclass(frozen=True)
class Change:
    """One thing that a repetition does otherwise than the training.

    Attributes:
        name: What is changed: "lr", "weight_decay", "momentum" and "eps" are settings of the
            optimizer, "gradient_clip_val" and "precision" the trainer's; "inputs" divides each
            tensor of a batch by its largest number, and "weights" draws the initial weights anew,
            by Xavier's rule.
        value: What it becomes. A rate is brought down to it, so that a schedule may go below.
    """

    name: str
    value: Any = None


class _Loader(ResumableLoader):
    """A loader that tells when a batch was fetched, and gives what it is told to instead."""

    before_batch: Callable[[Batch], Batch]
    #: All that a pass gives while one step is repeated; a pass within the step gives what it gave.
    only: Sequence[Batch] | None = None

    def _own_pass(self) -> Iterator[Batch]:
        if self.only is not None:
            self._position.running = self
            try:
                yield from self.only
            finally:
                self._position.running = None
            return
        for batch in super()._own_pass():
            yield self.before_batch(batch)


class Repetition:
    """A training, once more, on a copy, from what `state_of` gave at the end of an earlier epoch.

    Attributes:
        change: What is done otherwise, to see whether it helps.
        fork: The copy, and
        copy: its trainer.
        steps: The last steps before, oldest first.
        at: The step that was looked at last; at the end, the one that went wrong.
        what: What became NaN or infinite first.
        phase: In which part of the step; None if nothing did.
    """

    def __init__(
        self, trainer: "Trainer", kept: dict[str, Any], change: Change | None = None
    ) -> None:
        self.trainer, self.change = trainer, change
        assert trainer.training is not None
        self.fork = fork = trainer.training.fork()
        self.copy = copied = fork.trainer
        # An optimizer may take what it is given as its own memory, and change it.
        snapshot.put_back(_copied(kept), fork, from_itself=True)
        self.steps: deque[Step] = deque(maxlen=_NUM_STEPS)
        self.parameters = trained_tensors(copied.model, copied.optim)
        self.norms: dict[str, float] = {}
        for name, parameter in self.parameters.items():
            if parameter.requires_grad and parameter.is_leaf:
                note: Any = partial(self._note_norm, name)
                parameter.register_post_accumulate_grad_hook(note)  # type: ignore[no-untyped-call]
        for split in ("train", "val"):
            loader = getattr(copied, f"{split}_dataloader")
            if loader is not None:
                limit, do = loader.limit, self._after_batch
                again = _Loader(loader.loader, split, fork.position, limit, do)
                again.before_batch = self._before_batch
                setattr(copied, f"{split}_dataloader", again)
        if change is not None:
            self._begin_with(change)
        self.losses: list[float] = []
        self.seconds = 0.0
        self._observer: Observer | None = None
        self._observing = ExitStack()
        self._observed = self._until = math.inf
        # Of the step that runs.
        self.rates: list[float] = []
        self._settings: list[tuple[dict[str, Any], str, Any]] = []
        self.batch: Batch = ()
        self.before: dict[str, torch.Tensor] = {}
        self.sources: dict[str, Any] = {}
        self.counts = (0, 0)
        self.at = Step(0, 0, None)
        # Of the first wrong one.
        self.what = ""
        self.phase: Phase | None = None
        self.split: Split = "train"

    def run(self) -> str | None:
        """Repeats all up to the first wrong number; says why, if there was no time to."""
        if self._run(self.trainer.epoch + 1, _LIMIT_SECONDS):
            return f"its repetition took more than {_LIMIT_SECONDS:g} seconds"
        return None

    def run_until(self, step: int, seconds: float) -> bool:
        """Repeats all up to a step, or less far; returns whether the seconds sufficed."""
        self._until = step
        return not self._run(self.trainer.max_epochs, seconds)

    def _run(self, epochs: int, seconds: float) -> bool:
        """Repeats the epochs up to a number of them; returns whether the time did not suffice."""
        began = time.perf_counter()
        self.ends_at = began + seconds
        try:
            for epoch in range(self.fork.position.epoch, epochs):
                self.fork.begin_epoch(epoch)
                self.copy.fit_epoch()
                self.fork.end_epoch()
        except Stop:
            pass
        finally:
            self._observing.close()
        self.seconds = time.perf_counter() - began
        return self.phase is None and time.perf_counter() > self.ends_at

    def observe(self) -> Observer:
        """Repeats the step that went wrong, up to its gradients."""
        observer = Observer(self._repeat_step.__code__)
        self._repeat_step(observer)
        return observer

    def observe_update(self, step: int) -> Observer:
        """Repeats all up to a step, and looks at this one and its update.

        What an optimizer keeps cannot be put back for one step alone.
        """
        observer = Observer(self._run.__code__, sees_update=True)
        self._observer, self._observed = observer, step
        observer.parameters = list(self.parameters.values())
        self._run(self.trainer.epoch + 1, _LIMIT_SECONDS)
        return observer

    def wrong_before(self) -> dict[str, torch.Tensor]:
        """The tensors of the model that were wrong before the step, by name."""
        return {name: t for name, t in self.before.items() if not are_finite([t])}

    def name_of(self, tensor: torch.Tensor) -> str:
        """The name of a tensor of the model; empty if it is no such tensor."""
        model, named = self.copy.model, list(_changed_by_steps(self.copy).items())
        layers = model.named_modules() if isinstance(model, nn.Module) else [("", model)]
        for prefix, layer in layers:
            named += [(f"{prefix}.{name}".strip("."), t) for name, t in vars(layer).items()]
        return next((name for name, ours in named if ours is tensor), "")

    def _begin_with(self, change: Change) -> None:
        copied = self.copy
        if change.name == "gradient_clip_val":
            copied.gradient_clip_val = change.value
        elif change.name == "precision":
            self.fork.stepper.arithmetic = Precision(change.value, copied.device)
        elif change.name == "weights":
            for parameter in self.parameters.values():
                if parameter.dim() > 1 and parameter.layout == torch.strided:
                    with torch.no_grad():
                        nn.init.xavier_uniform_(parameter)

    def _set(self, change: Change) -> None:
        """Changes a setting of the optimizer for a step, between what schedules do with it."""
        self._put_back_settings()  # a pass may have been left
        for group in groups_of(self.copy.optim):
            if change.name in group:
                old = group[change.name]
                self._settings.append((group, change.name, old))
                if change.name != "lr" or not 0 <= float(old) <= change.value:
                    group[change.name] = change.value

    def _put_back_settings(self) -> None:
        while self._settings:
            group, name, old = self._settings.pop()
            group[name] = old

    def _before_batch(self, batch: Batch) -> Batch:
        copied = self.copy
        if self.change is not None:
            if self.change.name in ("lr", "weight_decay", "momentum", "eps"):
                self._set(self.change)
            if self.change.name == "inputs":
                batch = copy_batch(batch)
                for tensor in tensors_in(batch):
                    if largest([tensor]) > 1:
                        tensor /= largest([tensor])
        self.batch = copy_batch(batch)
        rates = [group.get("lr") for group in groups_of(copied.optim)]
        self.rates = [float(rate) for rate in rates if isinstance(rate, int | float | torch.Tensor)]
        self.before = {n: t.detach().clone() for n, t in _changed_by_steps(copied).items()}
        self.sources = copied.position.sources()
        self.counts = (copied.train_batch_idx, copied.val_batch_idx)
        self.norms.clear()
        position = copied.position
        done = position.batches if position.split == "train" else copied.num_train_batches
        self.at = Step(
            position.epoch * copied.num_train_batches + done + (position.split == "train"),
            position.epoch + 1,
            learning_rate(copied.optim),
            largest_parameter=largest(self.parameters.values()),
            largest_input=largest(tensors_in(batch)),
        )
        if self._observer is not None and self.at.step == self._observed:
            self._observing.enter_context(self._observer)
        return batch

    def _after_batch(self, split: Split) -> None:
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
        wrong: list[tuple[Phase, str]] = [
            ("forward", label)
            for label, value in values.items()
            if self._is_looked_for(label) and not math.isfinite(value)
        ]
        # A scaler leaves out a step whose scaled gradients have overflowed.
        norms = {} if scaler else self.norms
        grads = [name for name, norm in norms.items() if not math.isfinite(norm)]
        wrong += [("backward", f"the gradient of {name}") for name in grads]
        params = [name for name, p in self.parameters.items() if not are_finite([p])]
        wrong += [("update", f"the parameter {name}") for name in params]
        if wrong:
            self.split, (self.phase, self.what) = split, wrong[0]
            raise Stop
        if time.perf_counter() > self.ends_at or self.at.step >= self._observed:
            raise Stop
        if split == "train":
            self.steps.append(self.at)
            self.losses.append(self.at.loss)
            if self.at.step >= self._until:
                raise Stop
        self._put_back_settings()
        self.fork.end_batch(split)

    def _is_looked_for(self, label: str) -> bool:
        """Whether a value that is not finite is what the training is repeated for."""
        diverged = self.trainer.history.diverged
        in_training = diverged is not None and not diverged.startswith("val_")
        return is_loss(label) and not (in_training and label.startswith("val_"))

    def _note_norm(self, name: str, parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            self.norms[name] = norm_of(parameter.grad)

    def _repeat_step(self, observer: Observer) -> None:
        copied = self.copy
        with torch.no_grad():
            for name, tensor in _changed_by_steps(copied).items():
                tensor.copy_(self.before[name])
        copied.position.restore_sources(self.sources)
        copied.train_batch_idx, copied.val_batch_idx = self.counts
        copied.history.meters.clear()
        for split in ("train", "val"):
            loader = getattr(copied, f"{split}_dataloader")
            if loader is not None:
                loader.only = [copy_batch(self.batch)] if split == self.split else []
        copied.position.begin_epoch()
        try:
            with observer.at_layers(copied.model), observer:
                copied.fit_epoch()
        except Stop:
            pass
        if observer.root is None:
            meters = copied.history.meters.items()
            values = [m.values[-1] for label, m in meters if self._is_looked_for(label)]
            tensors = [value for value in values if isinstance(value, torch.Tensor)]
            observer.root = next((t for t in tensors if not are_finite([t])), None)


def _changed_by_steps(trainer: Any) -> dict[str, torch.Tensor]:
    """The tensors that a step may change, by name: themselves, and those that are trained first."""
    model = trainer.model
    buffers = dict(model.named_buffers()) if isinstance(model, nn.Module) else {}
    # The last come in the place of what `model_tensors` gives detached.
    named = trained_tensors(model, trainer.optim) | model_tensors(model)
    named |= buffers | parameters_of(model)
    return {name: tensor for name, tensor in named.items() if not is_lazy(tensor)}


def state_of(trainer: "Trainer") -> dict[str, Any]:
    """The state of a training at the end of an epoch, from which a `Repetition` can begin."""
    state: dict[str, Any] = _copied(snapshot.take(trainer.training, for_itself=True))
    return state


def num_bytes(state: Any) -> int:
    """How much memory the tensors of a state take."""
    if isinstance(state, torch.Tensor):
        return state.nbytes
    items = state.values() if isinstance(state, dict) else state
    return sum(map(num_bytes, items)) if isinstance(state, dict | list | tuple) else 0


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
def undisturbed(trainer: "Trainer") -> Iterator[None]:
    """Afterwards generators, counters and gradients are as they were, and nothing was said.

    What runs a second time says nothing a second time.
    """
    sources = trainer.position.sources()
    trained = trained_tensors(trainer.model, trainer.optim).values()
    try:
        with keeping_gradients(trained), warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            for parameter in trained:
                parameter.grad = None
            yield
    finally:
        trainer.position.restore_sources(sources)
