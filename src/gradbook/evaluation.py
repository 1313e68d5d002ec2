"""A model at work on data, without training it."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gradbook.board import ProgressBoard
from gradbook.checks import at_rest, check_data, check_model, check_order
from gradbook.data import giving_copies
from gradbook.errors import DataError
from gradbook.execution import Precision
from gradbook.record import History
from gradbook.resumable_loader import num_examples, weights_of
from gradbook.seeds import untouched_generators


def validate(trainer: Any, model: Any, data: Any) -> dict[str, float]:
    """The exact means of what `validation_step` plots: see `Trainer.validate`."""
    check_model(model, data, "validate")
    check_data(data, "validate")
    loader = data.val_dataloader()
    if loader is None:
        raise DataError(f"{type(data).__name__} has no validation set to look at.")
    history, board = History(), ProgressBoard(display=False)
    board.history = history
    stand_in = copy.copy(trainer)  # what a step reads of its trainer, beside a training's own
    stand_in.epoch, stand_in.num_val_batches = 0, len(loader)
    own = {name: vars(model)[name] for name in ("board", "trainer") if name in vars(model)}
    model.board, model.trainer = board, stand_in
    sizes: list[tuple[int, int]] = []
    try:
        with _looking(trainer, model):
            for batch in giving_copies(loader):
                sizes.append((num_examples(batch, getattr(loader, "batch_size", None)), 1))
                model.validation_step(trainer.prepare_batch(batch))
    finally:
        del model.board, model.trainer
        vars(model).update(own)
    weights = weights_of(loader, sizes, history.meters, "val_")
    means = history.close_epoch(1, {"val": weights})
    return {metric.label: metric.y for metric in means}


def predict(trainer: Any, model: Any, data: Any) -> torch.Tensor:
    """The outputs for all examples: see `Trainer.predict`."""
    check_order(model, data, "predict")
    if isinstance(model, type):
        check_model(model, call="predict")
    if isinstance(data, torch.Tensor):
        batches: Any = [(part, None) for part in torch.split(data, 1024)]
    else:
        batches = data.val_dataloader() if hasattr(data, "val_dataloader") else data
    if batches is None:
        raise DataError(
            f"There is nothing to predict: {type(data).__name__} has no validation set."
        )
    if not hasattr(batches, "__iter__"):
        raise DataError(f"predict() needs data, batches or a tensor, but got {data!r:.80}.")
    with _looking(trainer, model):
        outputs = [
            model(*trainer.prepare_batch(batch)[:-1]).cpu() for batch in giving_copies(batches)
        ]
    if not outputs:
        raise DataError("There is nothing to predict: there is no batch.")
    return torch.cat(outputs)


@contextmanager
def _looking(trainer: Any, model: Any) -> Iterator[None]:
    """While it lasts, the model learns nothing, and generators come out as they went in."""
    if trainer.gpus:
        model.to(trainer.gpus[0])
    precision = Precision(trainer.precision, trainer.device)
    with untouched_generators(), at_rest(model), precision.autocast():
        yield
