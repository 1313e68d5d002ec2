"""A model at work on data, without training it."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch

from gradbook import checks
from gradbook.board import ProgressBoard
from gradbook.data import GivenData, are_examples, as_data, giving_copies, is_numbers
from gradbook.errors import BatchError, DataError, ModelError, ShapeError
from gradbook.execution import Precision
from gradbook.history import History
from gradbook.interrupts import interruptible
from gradbook.resume.loader import num_examples, weights_of
from gradbook.seeds import untouched_generators
from gradbook.tensors import as_tensor


@interruptible()
def validate(trainer: Any, model: Any, data: Any) -> dict[str, float]:
    """The exact means of what `validation_step` plots: see `Trainer.validate`."""
    checks.check_model(model, data, "validate")
    loader = batches_of(data)
    if loader is None:
        raise DataError(f"{type(data).__name__} has no validation set to look at.")
    history, board = History(), ProgressBoard(display=False)
    board.history = history
    sizes: list[tuple[int, int]] = []
    with off_stage(trainer, model, board) as stand_in, _looking(trainer, model):
        stand_in.epoch, stand_in.num_val_batches = 0, 1
        with suppress(TypeError):  # a stream has no length
            stand_in.num_val_batches = len(loader)
        for batch in giving_copies(loader):
            sizes.append((num_examples(batch, getattr(loader, "batch_size", None)), 1))
            batch = trainer.prepare_batch(batch)
            if checks.is_ours(type(model).validation_step):
                checks.check_batch(batch, type(data).__name__, in_step=True)
            model.validation_step(batch)
    weights = weights_of(loader, sizes, history.meters, "val_")
    means = history.close_epoch(1, {"val": weights})
    return {metric.label: metric.y for metric in means}


@interruptible()
def predict(trainer: Any, model: Any, data: Any) -> torch.Tensor:
    """The outputs for all examples: see `Trainer.predict`."""
    checks.check_order(model, data, "predict")
    if isinstance(model, type):
        checks.check_model(model, call="predict")
    if not callable(model):
        raise ModelError(f"predict(model, data) needs a model, but got a {type(model).__name__}.")
    X = as_tensor(data, "The data") if is_numbers(data) else None
    if X is None and are_examples(data):
        raise DataError(
            f"A {type(data).__name__} of tensors may be batches of inputs, or inputs and their "
            f"labels. Give batches of inputs and labels, such as `[(X, y)]`, or all inputs as one "
            f"tensor, as `torch.stack` makes it."
        )
    batches = (
        batches_of(data, call="predict") if X is None else [[part] for part in torch.split(X, 1024)]
    )
    if batches is None:
        raise DataError(
            f"There is nothing to predict: {type(data).__name__} has no validation set."
        )
    outputs = []
    with _looking(trainer, model):
        for batch in giving_copies(batches):
            if isinstance(batch, torch.Tensor) or (isinstance(batch, Sequence) and len(batch) == 1):
                batch = [batch if isinstance(batch, torch.Tensor) else batch[0], None]  # no labels
            batch = trainer.prepare_batch(batch)
            checks.check_batch(batch, type(data).__name__)
            try:
                output = model(*batch[:-1])
            except ShapeError as error:
                raise _explained(error, trainer, model, X) from error
            if not isinstance(output, torch.Tensor):
                raise ModelError(checks.explain_not_one_tensor(model, output))
            if not output.dim() or (X is not None and X.dim() == 1 and len(output) != len(X)):
                raise BatchError(
                    f"The output of {type(model).__name__} has the shape {tuple(output.shape)} for "
                    f"inputs of shape {tuple(batch[0].shape)}, and not one row for each example. "
                    f"If the input is a single example, give it as a batch of one: `X[None]`."
                )
            outputs.append(output.cpu())
    if not outputs:
        raise DataError("There is nothing to predict: there is no batch.")
    return torch.cat(outputs)


def _explained(error: ShapeError, trainer: Any, model: Any, X: torch.Tensor | None) -> ShapeError:
    """The error, with what to write where the input is an example without its batch dimension."""
    with suppress(Exception):
        if X is not None and len(model(X[None].to(trainer.device))) == 1:
            return ShapeError(
                f"The input of shape {tuple(X.shape)} does not fit {type(model).__name__} as a "
                f"batch of examples, but does as a single one. Give it as a batch of one: "
                f"`X[None]`.\n{error}"
            )
    return error


def batches_of(data: Any, train: bool = False, call: str = "validate") -> Any:
    """The minibatches that `data` stand for; None if it is a DataModule without such a set.

    Args:
        data: A DataModule, or what `as_data` takes; a single set is the one that is looked at.
        train: Whether to give those of the training set.
        call: The function, for errors.

    Raises:
        DataError: If it is none of these.
    """
    if isinstance(data, type) or not hasattr(data, "val_dataloader"):
        given = as_data(data, call)
        one = given.train if train or given.val is None else given.val
        return GivenData(None, one, batch_size=1024).val_dataloader()
    return data.train_dataloader() if train else data.val_dataloader()


@contextmanager
def off_stage(trainer: Any, model: Any, board: ProgressBoard) -> Iterator[Any]:
    """While it lasts, a model draws on another board, and has a copy of a trainer for its own.

    So nothing that a step does to its trainer lasts, or reaches the training of it.
    """
    stand_in = copy.copy(trainer)
    if getattr(stand_in, "training", None) is not None:
        stand_in.training = copy.copy(stand_in.training)
    own = {name: vars(model)[name] for name in ("board", "trainer") if name in vars(model)}
    model.board, model.trainer = board, stand_in
    try:
        yield stand_in
    finally:
        for name, value in own.items():  # in its old place among the attributes
            setattr(model, name, value)
        for name in {"board", "trainer"} - own.keys():
            delattr(model, name)


@contextmanager
def _looking(trainer: Any, model: Any) -> Iterator[None]:
    """While it lasts, the model learns nothing, and generators come out as they went in."""
    if trainer.gpus:
        model.to(trainer.gpus[0])
    precision = Precision(trainer.precision, trainer.device)
    with untouched_generators(), checks.at_rest(model), precision.autocast():
        yield
