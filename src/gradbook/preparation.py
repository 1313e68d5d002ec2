"""What is done, checked and said before the first step of a training."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from gradbook import checks, execution, rehearsal
from gradbook.data import inmost
from gradbook.distributed import group
from gradbook.errors import (
    ConfigError,
    GradbookError,
    GradbookWarning,
    IgnoredSettingWarning,
    ModelError,
    warn,
)
from gradbook.execution import Precision
from gradbook.leaf_parameters import adopt_late
from gradbook.module import Module
from gradbook.optim import updates_per_epoch
from gradbook.record import Sink
from gradbook.resume.loader import always_the_same, limited, num_examples, parts_of
from gradbook.schedules import Length, check_schedules, needs_closure
from gradbook.settings import warn_of_ignored
from gradbook.upward import above

if TYPE_CHECKING:
    from gradbook.trainer import Trainer
    from gradbook.training import Training


def limit_batches(trainer: "Trainer") -> None:
    """Leaves the trainer as many of its minibatches as the settings say."""
    if trainer.overfit_batches is not None:
        same = always_the_same(trainer.train_dataloader, trainer.overfit_batches)
        trainer.train_dataloader = same
        trainer.val_dataloader = same if trainer.val_dataloader is not None else None
    trainer.num_train_batches = limited(trainer.train_dataloader, trainer.limit_batches)
    trainer.num_val_batches = limited(trainer.val_dataloader, trainer.limit_batches)


def owners_of(trainer: "Trainer") -> list[Any]:
    """On whose state batches may depend."""
    loaders = trainer.train_dataloader, trainer.val_dataloader
    return [trainer.data, *(part for loader in loaders for part in parts_of(loader))]


def configured(trainer: "Trainer", shard: Callable[[], None]) -> tuple[Any, Any]:
    """What `configure_optimizers` gives, after a rehearsal before any long work.

    A run needs layers that have a shape, and so do several processes that train together, and some
    optimizers, as Adagrad.

    Args:
        trainer: The trainer, which knows model and data.
        shard: Shards the model, where that is wanted, when all its layers have a shape.

    Returns:
        It, and the first pass over the training set where the rehearsal has begun it.
    """
    model: Any = trainer.model
    must_be_shaped = trainer.run is not None or group().size > 1
    needs_shapes = must_be_shaped or trainer.compile
    begun = rehearsal.rehearse(trainer, owners_of(trainer), needs_shapes)
    unshaped = rehearsal.unshaped_layers(model)
    if unshaped and must_be_shaped:
        raise ModelError(checks.missing_shapes(model, unshaped))
    if isinstance(model, torch.nn.Module):
        adopt_late(model)
    _warn_of_own_optimizer(trainer)
    shard()
    try:
        return model.configure_optimizers(), begun
    except ValueError as error:
        if not unshaped:
            raise
        if begun is None:
            begun = rehearsal.rehearse(trainer, owners_of(trainer), needs_shapes=True)
        if unshaped := rehearsal.unshaped_layers(model):
            raise ModelError(checks.missing_shapes(model, unshaped)) from error
        return model.configure_optimizers(), begun


def _warn_of_own_optimizer(trainer: "Trainer") -> None:
    """Says which settings a model does not know that makes its optimizer by itself."""
    method = "configure_optimizers"
    own = getattr(type(trainer.model), method, None)
    known = getattr(getattr(own, "__code__", None), "co_names", ())
    if own is not Module.configure_optimizers and not {"trainer", method} & {*known}:
        warn_of_ignored(trainer, method)


def check_needs_no_closure(trainer: "Trainer") -> None:
    """Raises ModelError if the library's own loop lacks what the optimizer's step needs."""
    if checks.is_ours(type(trainer).fit_epoch) and needs_closure(trainer.optim.step):
        raise ModelError(
            f"{type(trainer.optim).__name__} computes the loss several times in a step, with a "
            f"closure that Trainer.fit_epoch does not give it. Take another optimizer, or "
            f"write a fit_epoch of your own that calls optim.step(closure)."
        )


def arithmetic_of(trainer: "Trainer") -> Precision:
    """How losses and gradients are computed, as far as device and optimizer allow."""
    arithmetic = Precision(trainer.precision, trainer.device)
    if arithmetic.scaler is None or hasattr(trainer.optim, "param_groups"):
        return arithmetic
    warn(
        f'precision="{trainer.precision}" needs an optimizer of PyTorch, and '
        f"{type(trainer.optim).__name__} is none. Training in 32 bits.",
        IgnoredSettingWarning,
    )
    return Precision("32", trainer.device)


@contextmanager
def computed_as_set(trainer: "Trainer") -> Iterator[None]:
    """While it lasts, steps are computed as the settings say."""
    with ExitStack() as stack:
        if trainer.compile:
            loader = inmost(trainer.train_dataloader)  # not its counted passes
            # With as many rows as steps will have: what is compiled for other ones is slower.
            cut = partial(_part_of, loader)
            attempt = partial(rehearsal.try_step, trainer, loader, owners_of(trainer), cut)
            stack.enter_context(execution.compiled(trainer.model, attempt))
        if trainer.deterministic:
            stack.enter_context(execution.deterministic())
        yield


def _part_of(loader: Any, batch: Any) -> Any:
    """What this process trains on of a batch of a loader."""
    return group().part(batch, num_examples(batch, getattr(loader, "batch_size", None)))


def check_planned(training: "Training") -> None:
    """Says which schedules cannot do what they were meant to in the steps to come."""
    trainer = training.trainer
    is_own = checks.is_ours(type(trainer).fit_epoch)
    length = Length(
        trainer.max_epochs,
        updates_per_epoch(trainer) if is_own else trainer.num_train_batches,
        is_cut=trainer.limit_batches is not None or trainer.overfit_batches is not None,
        has_validation=trainer.val_dataloader is not None,
        is_resumed=training.resumption is not None,
    )
    check_schedules(trainer.optim, training.schedules, length)


def check_left_to_do(training: "Training") -> None:
    """Raises ConfigError if a resumed training has come to its end already."""
    trainer, done, resumed = training.trainer, training.position.epoch, training.resumption
    if done < trainer.max_epochs and not training.is_over:
        return
    if training.group.num_restarts:  # a script that is run again comes by what was finished
        return
    if resumed is not None and resumed.folder is not None:
        read_run = above("runs.format").read_run
        with suppress(GradbookError):
            if read_run(resumed.folder)["status"] not in ("finished", "diverged"):
                return  # it was stopped after its last step, and is still to be closed
    if training.best.is_spent:
        reason = f"its patience of {trainer.patience} was at an end. Start a new training"
    elif training.is_over:
        reason = f"{training.stop_reason}. Start a new training"
    else:
        reason = f"max_epochs is {trainer.max_epochs}. Set it (--max-epochs) to more than {done}"
    raise ConfigError(
        f"There is nothing left to do: the checkpoint has {done} finished epochs, and {reason}."
    )


def warn_of_counters(training: "Training") -> None:
    """Says what the rest of an epoch cannot know of its beginning."""
    Class = type(training.trainer)
    code = getattr(Class.fit_epoch, "__code__", None)
    if training.position.resumed is not None and "enumerate" in getattr(code, "co_names", ()):
        warn(
            f"{Class.__name__}.fit_epoch counts with enumerate, and this training resumes "
            f"in the middle of an epoch, whose rest is counted from 0. If what it does depends "
            f"on that number, count with self.train_batch_idx, or resume from the end of an "
            f"epoch.",
            GradbookWarning,
        )


def warn_of_unkept(training: "Training", sinks: Sequence[Sink]) -> None:
    """Says that a resumed run is kept nowhere, if none of these sinks does."""
    folder = training.resumption.folder if training.resumption is not None else None
    if folder is not None and not any(sink.keeps_curves for sink in sinks):
        warn(
            f"The training resumes from {folder}, but is not kept there. Give the Trainer "
            f"run={str(folder.parent)!r} to keep it in that folder.",
            GradbookWarning,
        )
