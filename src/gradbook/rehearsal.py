"""What is tried out with a first batch before a training, and leaves no trace in model and data."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice, pairwise
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader, IterableDataset

from gradbook.board import ProgressBoard
from gradbook.checks import (
    at_rest,
    check_batch,
    check_label_range,
    describe,
    explain_not_one_tensor,
    gives_probability,
    in_mode,
    is_one_column,
    is_one_of,
    is_ours,
    reshaped,
    write_accuracy,
)
from gradbook.data import AroundLoader, TensorLoader, giving_copies
from gradbook.errors import BatchError, GradbookWarning, ModelError, warn
from gradbook.evaluation import off_stage
from gradbook.lookalikes import is_unshaped, keeping_gradients
from gradbook.module import Classifier, Module
from gradbook.no_trace import untouched
from gradbook.resume.loader import batch_sizes, parts_of
from gradbook.tensors import copy_batch, to_device

_KNOWN_STEPS = (Module.training_step, Module.validation_step, Classifier.validation_step)


def rehearse(trainer: Any, owners: Iterable[Any], needs_shapes: bool) -> "Begun | None":
    """Sends one batch of each set through the model, and gives lazy layers their shapes.

    Args:
        trainer: A trainer that knows its model and loaders, and has no optimizer yet.
        owners: What batches may depend on: data, and parts of loaders.
        needs_shapes: Whether a step of the learner's own is tried, too, for the shapes' sake.

    Returns:
        The training loader with its first pass begun, if it may give its batches only once.
    """
    model, owners, begun = trainer.model, list(owners), None
    if not isinstance(model, nn.Module):
        return None
    loaders = {"training_step": trainer.train_dataloader, "validation_step": trainer.val_dataloader}
    with rehearsing(trainer) as stand_in:
        for step, loader in loaders.items():
            is_known = _is_known(model, step)
            is_shaping = step == "training_step" and bool(unshaped_layers(model))
            is_shaping = is_shaping and (is_known or needs_shapes)
            if is_shaping and not begins_again(loader):
                begun = Begun(loader)
                batch = begun.batch
            elif is_shaping:
                batch = first_batch(loader, owners)
            else:
                batch = _harmless_look(loader, owners) if is_known else None
            if batch is None:
                continue
            batch = stand_in.prepare_batch(batch)
            if trainer.shards:  # whose model is still whole, and not on the device
                batch = to_device(batch, torch.device("cpu"))
            if is_known:
                with untouched(owners, model), _without_what_comes_later(model):
                    _rehearse_step(model, batch, step, loader)
            if is_shaping:
                give_shapes(model, batch, owners)
            if is_known and step == "training_step" and is_ours(type(trainer).fit_epoch):
                sizes = batch_sizes(loader)[: trainer.num_train_batches]
                _check_lone_example(model, batch, sizes, owners)
    return begun


def try_step(trainer: Any, loader: Any, owners: Iterable[Any], cut: Callable[[Any], Any]) -> None:
    """Lets the model compute something with a batch, if there is one that costs nothing.

    Args:
        trainer: A trainer that knows its model.
        loader: The minibatches.
        owners: What batches may depend on: data, and parts of loaders.
        cut: Gives what is tried of a batch.
    """
    model, owners = trainer.model, list(owners)
    batch = _harmless_look(loader, owners)
    if batch is None:
        return
    with rehearsing(trainer) as stand_in, untouched(owners, model), at_rest(model):
        batch = stand_in.prepare_batch(cut(batch))
        if _is_known(model, "training_step"):
            model(*batch[:-1])
        else:
            model.training_step(batch)


def _is_known(model: Any, step: str) -> bool:
    """Whether a step is the library's: a learner's may use a batch in ways not to be foreseen."""
    return isinstance(model, Module) and getattr(type(model), step) in _KNOWN_STEPS


def _harmless_look(loader: Any, owners: Iterable[Any]) -> Any:
    """A first batch, or None where a look might cost something, or fails."""
    # What a data set opens must be opened by its worker processes.
    if begins_again(loader) and not getattr(loader, "num_workers", 0):
        with suppress(Exception):  # the training will meet it, and say so
            return first_batch(loader, owners)
    return None


@contextmanager
def rehearsing(trainer: Any) -> Iterator[Any]:
    """While it lasts, a step draws nothing, and reaches no optimizer of a training before."""
    with off_stage(trainer, trainer.model, ProgressBoard(display=False)) as stand_in:
        vars(stand_in).pop("optim", None)
        yield stand_in


@contextmanager
def _without_what_comes_later(model: Any) -> Iterator[None]:
    """A model or its trainer may lack what comes with the optimizer: the training will tell."""
    try:
        yield
    except AttributeError as error:
        if error.obj is not model and error.obj is not model.trainer:
            raise


def _rehearse_step(model: Any, batch: Any, step: str, loader: Any) -> None:
    """What the library's own step does with a batch, and what it could meet in later ones."""
    y: Any = copy_batch(batch[-1]) if isinstance(batch, Sequence) and batch else None
    y_hat = rehearse_loss(model, copy_batch(batch))
    tensors = isinstance(y_hat, torch.Tensor) and isinstance(y, torch.Tensor)
    if not isinstance(model, Classifier) or not tensors:
        return
    if is_ours(model.loss):  # what a learner's own makes of labels is the learner's to say
        is_known = isinstance(loader, TensorLoader) and y.dim() > 0
        given = loader.tensors[-1][: len(y)] if is_known else None
        # A transform may have made other labels of them.
        is_all = given is not None and torch.equal(given, y.to(given.device))
        check_label_range(loader.tensors[-1] if is_all else y, y_hat.shape[-1])
    elif is_ours(model.accuracy) and step == "validation_step":
        rehearse_accuracy(model, y_hat, y)


def _check_lone_example(
    model: Any, batch: Any, sizes: Sequence[int], owners: Iterable[Any]
) -> None:
    """Raises BatchError if a batch of one example is to come that the network cannot train on.

    A BatchNorm has nothing to normalize over then, but for the pixels of an image. PyTorch says so
    when that batch comes, which is the last of an epoch.
    """
    has_norm = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules())
    if 1 not in sizes or not has_norm or unshaped_layers(model):
        return
    inputs = [X[:1] if isinstance(X, torch.Tensor) else X for X in copy_batch(batch)[:-1]]
    try:
        with untouched(owners, model), in_mode(model, training=True), torch.no_grad():
            model(*inputs)
    except Exception as error:
        if "more than 1 value per channel" not in str(error):
            return  # it may need the whole batch: the training will tell
    else:
        return
    n, size = sum(sizes), max(sizes)
    which = "The last training batch has" if size > 1 else "Each training batch has"
    if n == 1:
        advice = "Train on at least two."
    else:
        better = next(other for other in range(size + 1, n + 1) if n % other != 1)
        advice = f"Set batch_size={better}"
        if size > 1:
            advice += f", or leave that batch out: `DataLoader(dataset, {size}, drop_last=True)`"
        advice += "."
    raise BatchError(
        f"{which} one example ({n} in batches of {size}), and a BatchNorm layer of "
        f"{type(model).__name__} cannot normalize over a single one. {advice}"
    )


# A look at a loader


def begins_again(loader: Any) -> bool:
    """Whether it is known that a look at the first batch takes none from the passes to come.

    Of a stream, or of a class of the learner's own, it is not: what was read may be gone.
    """
    if not isinstance(loader, DataLoader):
        return isinstance(loader, TensorLoader | list | tuple)
    if loader.num_workers:  # which read from copies of the data set
        return True
    return not isinstance(loader.dataset, IterableDataset) and not any(
        hasattr(part, "__next__") for part in parts_of(loader)
    )


def first_batch(loader: Any, owners: Iterable[Any] = ()) -> Any:
    """A copy of the first batch that a loader gives; None if it gives none.

    Afterwards the random generators are as they were before, and so is what the loader and
    `owners` count; worker processes have ended. Whatever is no data, such as None, has no batch.
    """
    if not hasattr(loader, "__iter__"):
        return None
    with untouched([*owners, *parts_of(loader)]):
        if type(loader).__iter__ is TensorLoader.__iter__:
            return loader.first()
        if isinstance(loader, DataLoader) and loader.persistent_workers:
            loader = copy.copy(loader)  # which may keep its workers, and they must not last
            vars(loader)["persistent_workers"] = False
        return next(iter(giving_copies(loader)), None)


class Begun(AroundLoader):
    """A loader whose first pass has begun with a look: it gives the batch that was looked at too.

    That is `batch`, as a copy; None if there is none.
    """

    def __init__(self, loader: Any) -> None:
        super().__init__(loader)
        self._pass: Iterator[Any] | None = iter(loader)
        self._first = list(islice(self._pass, 1))
        self.batch = copy_batch(self._first[0]) if self._first else None

    def __iter__(self) -> Iterator[Any]:
        if self._pass is None:
            return iter(self.loader)
        begun, self._pass = self._pass, None
        return chain(self._first, begun)


# Layers without a shape


def unshaped_layers(model: Any) -> list[str]:
    """The names of the layers that have no shape yet."""
    named = model.named_modules() if isinstance(model, nn.Module) else ()
    return [name for name, layer in named if is_unshaped(layer)]


def give_shapes(model: Any, batch: Any, owners: Iterable[Any]) -> None:
    """Lets a batch give a model's lazy layers their shapes, in whatever way succeeds.

    The step is what a training will do: it may take other inputs than all of the batch, and some
    networks have more parts in training mode. But it may need an optimizer, which there is not yet.
    """
    lazy = [layer for layer in model.modules() if is_unshaped(layer)]

    def step() -> None:
        keeping = keeping_gradients(model.parameters())
        with keeping, in_mode(model, training=True), torch.enable_grad():
            model.training_step(copy_batch(batch))

    def forward() -> None:
        with at_rest(model):
            model(*copy_batch(batch)[:-1])

    for attempt in (step, forward):
        if any(map(is_unshaped, lazy)):
            with suppress(Exception), untouched(owners, model):
                attempt()
    for layer in lazy:  # a step in training mode has moved them
        reset: Any = getattr(layer, "reset_running_stats", None)
        if reset is not None and not is_unshaped(layer):
            reset()


# A step without consequences


def rehearse_loss(model: Any, batch: Any) -> Any:
    """Gives the network's output for a batch that may be written into, and tries the loss.

    Nothing has a gradient then, and no random number is drawn. It warns if the learner's own loss
    stretches predictions and labels into a larger shape.

    Raises:
        BatchError: If the batch does not fit the network.
        ModelError: If the loss is not a tensor with one element.
    """
    check_batch(batch, "the data", in_step=True)
    with at_rest(model):
        y_hat = model(*batch[:-1])
        if y_hat is None:
            raise ModelError(explain_not_one_tensor(model, y_hat))
        with _ObservedLoss(y_hat, batch[-1]) as observed:
            loss = model.loss(y_hat, batch[-1])
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        raise ModelError(
            f"{type(model).__name__}.loss must return a tensor with one element, but it returned "
            f"{describe(loss)}. Average it over the batch: `.mean()`."
        )
    if observed.stretched is not None:
        warn(_stretching(model, *observed.stretched), GradbookWarning)
    return y_hat


def rehearse_accuracy(model: Any, y_hat: torch.Tensor, y: torch.Tensor) -> None:
    """Says before a training what the library's own accuracy cannot tell of a learner's own loss.

    Raises:
        BatchError: If the labels or the loss are not such as it knows.
    """
    with at_rest(model):
        model.accuracy(y_hat, y)
        if is_one_column(y_hat, y):
            if not (y == -1).any() and not gives_probability(model):
                _check_logit(model, y_hat, y)
            return
        with _ObservedLoss(y_hat, y) as observed:
            model.loss(y_hat, y.clone())
    ignored = model.ignored_labels()
    for label in observed.ignored - ignored:
        if not 0 <= label < y_hat.shape[-1] and not is_one_of(y, [label]).any():
            continue  # no label is likely to be it
        warn(
            f"{type(model).__name__}.loss leaves out the label {label}, but its accuracy counts "
            f"it. Set `self.ignore_index = {label}` in {type(model).__name__}, which the accuracy "
            f"reads.",
            GradbookWarning,
        )
    left = y[~is_one_of(y, ignored | observed.ignored)]
    try:
        check_label_range(left, y_hat.shape[-1])
    except BatchError as error:
        raise BatchError(f"{error} {write_accuracy(model)}") from None


def _check_logit(model: Any, y_hat: torch.Tensor, y: torch.Tensor) -> None:
    """Raises BatchError unless the loss takes one column for the logit of class 1.

    For that class it must then fall with the score; that of probabilities or of numbers does not.
    """
    ones = torch.ones_like(y)
    losses: list[float] = []
    with suppress(Exception):  # a cross-entropy of probabilities refuses what is none
        losses += (
            float(model.loss(torch.full_like(y_hat, s), ones.clone())) for s in (-1, 0, 1, 2)
        )
    falls = all(before >= after for before, after in pairwise(losses))
    if len(losses) < 4 or not falls or not losses[0] > losses[-1]:
        raise BatchError(
            f"With one score for each example, accuracy takes the score for a logit (class 1 where "
            f"it is above 0), but {type(model).__name__}.loss does not. Use "
            f"F.binary_cross_entropy_with_logits. {write_accuracy(model)}"
        )


#: Functions that stretch their arguments to one shape, and say nothing.
_ELEMENTWISE = {
    *("add", "radd", "sub", "rsub", "subtract", "mul", "rmul", "multiply", "div", "rdiv"),
    *("divide", "truediv", "rtruediv", "true_divide", "pow", "rpow", "maximum", "minimum"),
    *("poisson_nll_loss", "kl_div", "soft_margin_loss", "hinge_embedding_loss"),
}


class _ObservedLoss(TorchFunctionMode):
    """Sees what functions of PyTorch a loss calls with predictions and labels.

    Attributes:
        stretched: The shapes of predictions, labels and result, where the first two as they were
            given met in a function that made both of them larger; None if they never did.
        ignored: The labels that a cross-entropy leaves out.
    """

    def __init__(self, y_hat: Any, y: Any) -> None:
        super().__init__()
        self._given = {1: getattr(y_hat, "shape", None), 2: getattr(y, "shape", None)}
        #: Of what each tensor is made: 1, predictions; 2, labels; 3, both. Kept, so that ids stay.
        self._made_of = {id(y_hat): 1, id(y): 2}
        self._alive = [y_hat, y]
        self.stretched: tuple[torch.Size, torch.Size, torch.Size] | None = None
        self.ignored: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").strip("_")
        found: dict[int, torch.Size] = {}
        source = 0
        for value in (*args, *kwargs.values()):
            for item in value if isinstance(value, list | tuple) else (value,):
                made_of = self._made_of.get(id(item), 0)
                source |= made_of
                if made_of and item.shape == self._given[made_of & 1 or 2]:
                    found[made_of] = item.shape
        if name in _ELEMENTWISE and {1, 2} <= found.keys() and self.stretched is None:
            with suppress(RuntimeError):
                shape = torch.broadcast_shapes(found[1], found[2])  # type: ignore[no-untyped-call]
                if shape.numel() > max(found[1].numel(), found[2].numel()):
                    self.stretched = found[1], found[2], shape
        if name in ("cross_entropy", "nll_loss") and "ignore_index" in kwargs:
            self.ignored.add(kwargs["ignore_index"])
        output = func(*args, **kwargs)
        if source and isinstance(output, torch.Tensor):
            self._made_of[id(output)] = source
            self._alive.append(output)
        return output


def _stretching(model: Any, y_hat: torch.Size, y: torch.Size, shape: torch.Size) -> str:
    same = y_hat.numel() == y.numel()
    advice = reshaped(y_hat) if same else "Give both one shape."
    return (
        f"{type(model).__name__}.loss compares predictions of shape {tuple(y_hat)} with labels of "
        f"shape {tuple(y)}. PyTorch stretches both to {tuple(shape)}, so that each prediction is "
        f"compared with every label, and the model learns their mean. {advice}"
    )
