"""A copy of a model to try something on, and the batches for it; what was given stays as it is."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from gradbook.board import ProgressBoard
from gradbook.checks import missing_loss, model_first
from gradbook.data import TensorLoader, as_data, giving_copies
from gradbook.devices import device_of
from gradbook.errors import DataError, ModelError
from gradbook.interrupts import Interrupts, Terminated
from gradbook.lookalikes import tensors_of
from gradbook.rehearsal import first_batch, rehearse_loss
from gradbook.resume.loader import parts_of
from gradbook.seeds import generators_in, random_state, restore_random_state, untouched_generators
from gradbook.tensors import copy_batch, to_device
from gradbook.trainer import Trainer

# Models


@contextmanager
def trial_of(model: Any, batch: Any) -> Iterator[tuple[Any, list[Any]]]:
    """A copy of a model in training mode, and a batch of its own on the model's device.

    Afterwards the random generators are as they were before. For `batch` see `one_batch`.
    """
    with untouched_generators(), torch.enable_grad():
        taken = one_batch(batch)
        trial = copy_to_try(model, [taken])
        # Own storages: a batch may be a piece of a data set's tensor, which is many times as large.
        tensors = [
            t.detach() if isinstance(t, torch.Tensor) else t
            for t in copy_batch(taken, device_of(trial))
        ]
        trial.train()
        yield trial, tensors


def copy_to_try(model: Any, loader: Any) -> Any:
    """A copy of a model that may be trained, with a board that draws nothing.

    Layers without a shape get one from the first batch. What the copy draws is what `Trainer.fit`
    would draw if it came next.

    Raises:
        ModelError: If the model is none, cannot be copied, or lacks a loss.
        BatchError: If the batch does not fit it.
        DataError: If there is no batch.
    """
    if not isinstance(model, nn.Module):
        what = f"the class {model.__name__} itself" if isinstance(model, type) else repr(model)
        raise ModelError(f"A model is needed, an instance of Module, but got {what:.80}.")
    if not hasattr(model, "loss"):
        raise ModelError(missing_loss(model))
    trainer = _stand_in(loader)
    trial = copy_of(model, trainer)
    trial.trainer, trainer.model = trainer, trial
    rehearse_loss(trial, to_device(example_of(loader), device_of(trial)))
    return trial


def copy_of(model: Any, trainer: Trainer | None = None) -> Any:
    """A copy of a model, or of what looks like one, with a board and maybe a trainer of its own."""
    memo: dict[int, Any] = {}
    for name, stand_in in (("trainer", trainer), ("board", ProgressBoard(display=False))):
        if vars(model).get(name) is not None:
            memo[id(vars(model)[name])] = stand_in
    for tensor in tensors_of(model):
        if is_lazy(tensor):  # a lazy buffer refuses to be copied
            Lazy: Any = type(tensor)
            memo[id(tensor)] = Lazy(tensor.requires_grad, tensor.device, tensor.dtype)
        elif not tensor.is_leaf:  # as attention weights that a model keeps to be looked at
            memo[id(tensor)] = tensor.detach().clone()
    try:
        return copy.deepcopy(model, memo)
    except (RuntimeError, TypeError) as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied, and only a copy is measured, so that the "
            f"model stays as it is. Python says: {error}"
        ) from error


def _stand_in(loader: Any) -> Trainer:
    """What a step or a loss may read of its trainer, such as where to plot."""
    trainer = Trainer(1)
    trainer.train_dataloader = loader
    trainer.num_train_batches = len(loader) if hasattr(loader, "__len__") else 1
    trainer.num_val_batches = trainer.epoch = 0
    trainer.train_batch_idx = trainer.val_batch_idx = 0
    return trainer


# Batches


@contextmanager
def measuring(data: Any, call: str) -> Iterator[Any]:
    """The training batches of `data`; afterwards every random generator is as it was before.

    Args:
        data: A DataModule; a tuple of tensors (inputs..., labels), which are one batch; or else
            what `as_data` takes.
        call: The function, for errors.
    """
    loader = _training_batches(data, call)
    generators = generators_in([data, *parts_of(loader)])
    state = random_state(generators)
    try:
        yield loader
    finally:
        restore_random_state(state, generators)


def _training_batches(data: Any, call: str) -> Any:
    if isinstance(data, tuple) and data and all(isinstance(t, torch.Tensor) for t in data):
        return TensorLoader(data, max(1, len(data[-1])))
    loader = as_data(data, call).train_dataloader()
    is_once = hasattr(loader, "__next__")
    if is_once or not hasattr(loader, "__iter__"):
        given = f"{type(data).__name__}.train_dataloader() gave" if loader is not data else "got"
        raise DataError(
            f"{call}() needs data several times, but {given} a {type(loader).__name__}, which "
            f"gives {'its batches only once' if is_once else 'no batches'}. Make a list of them, "
            f"or a loader."
        )
    return giving_copies(loader)


def one_batch(batch: Any) -> Any:
    """A batch, or the first one of a DataModule or of an iterable of batches."""
    is_list = isinstance(batch, list | tuple) and len(batch) > 0
    if isinstance(batch, torch.Tensor) or (is_list and not isinstance(batch[0], list | tuple)):
        return batch
    loader = batch.train_dataloader() if hasattr(batch, "train_dataloader") else batch
    if isinstance(batch, type) or not hasattr(loader, "__iter__"):
        raise DataError(
            f"A batch (X, y) is needed, or a DataModule or an iterable that gives one, but got "
            f"{batch!r:.80}.{model_first(batch)}"
        )
    found = first_batch(loader)
    if found is None:
        raise DataError(f"{type(batch).__name__} gives no batch: it is empty.")
    return found


def example_of(loader: Any) -> Any:
    """The first of a training set's batches."""
    batch = first_batch(loader)
    if batch is None:
        raise DataError("There are no examples: the training set gave no batch.")
    return batch


def batch_size_of(batch: Sequence[Any]) -> int:
    """The number of examples in a batch, as its labels count them."""
    labels = batch[-1]
    return len(labels) if isinstance(labels, torch.Tensor) and labels.dim() else 1


# The end of an experiment


def is_interrupted(interrupts: Interrupts) -> bool:
    """Whether Ctrl-C has come, which ends an experiment with what it has measured so far."""
    try:
        interrupts.raise_pending()
    except Terminated:
        raise
    except KeyboardInterrupt:
        return True
    return False
