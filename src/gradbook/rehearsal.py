"""What is tried out with a first batch before a training, and leaves no trace in model and data."""

import copy
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain, islice, pairwise
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader, IterableDataset

from gradbook.board import ProgressBoard
from gradbook.checks import (
    at_rest,
    check_batch,
    check_label_range,
    describe,
    gives_probability,
    in_mode,
    is_one_column,
    is_one_of,
    is_ours,
    reshaped,
    write_accuracy,
)
from gradbook.data import AroundLoader, TensorLoader, copy_batch, giving_copies
from gradbook.errors import BatchError, GradbookWarning, ModelError, warn
from gradbook.evaluation import off_stage
from gradbook.lookalikes import keeping_gradients
from gradbook.module import Classifier, Module
from gradbook.resume.loader import batch_sizes, parts_of
from gradbook.seeds import generators_in, random_state, restore_random_state

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
            if is_known:
                with untouched(owners, model), _without_what_comes_later(model):
                    _rehearse_step(model, batch, step, loader)
            if is_shaping:
                give_shapes(model, batch, owners)
            if is_known and step == "training_step" and is_ours(type(trainer).fit_epoch):
                sizes = batch_sizes(loader)[: trainer.num_train_batches]
                _check_lone_example(model, batch, sizes, owners)
    return begun


def try_step(trainer: Any, loader: Any, owners: Iterable[Any]) -> None:
    """Lets the model compute something with a batch, if there is one that costs nothing."""
    model, owners = trainer.model, list(owners)
    batch = _harmless_look(loader, owners)
    if batch is None:
        return
    with rehearsing(trainer) as stand_in, untouched(owners, model), at_rest(model):
        batch = stand_in.prepare_batch(batch)
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


# No trace

#: What holds nothing to be put back, or what belongs to all.
_HOLDS_NOTHING = (str, bytes, int, float, type, ModuleType, FunctionType, MethodType)
#: How far is looked, into how long a list, and how long a list may be to be kept.
_DEEPEST, _LONGEST, _LARGEST = 6, 200, 10_000


@contextmanager
def untouched(owners: Iterable[Any], model: Any = None) -> Iterator[None]:
    """Afterwards all is as it was before: random generators, and what objects count or keep.

    What a model makes of itself stays: shapes of lazy layers, layers that its `forward` adds, and
    the random numbers that these drew.

    Args:
        owners: What may be changed: data, parts of loaders. Of them attributes, lists and
            dictionaries are put back, but no tensors, which may be large.
        model: A model that is run; its tensors are put back, too.
    """
    owners = list(owners)
    layers = list(model.modules()) if isinstance(model, nn.Module) else []
    lazy = [layer for layer in layers if _is_lazy(layer)]
    # Those with loaded parameters change their class too, and drop a hook, when they first run.
    settling = [layer for layer in layers if isinstance(layer, LazyModuleMixin)]
    structure = _structure(model)
    generators = generators_in([*owners, *layers])
    state = random_state(generators)
    # Of the model's own, but for what is the trainer's.
    others = [vars(model).get("trainer"), vars(model).get("board")] if layers else []
    own = _Kept(layers, map(id, [*lazy, *settling, *others]), with_tensors=True)
    data = _Kept(owners, own.seen, with_tensors=False)
    try:
        yield
    finally:
        data.put_back()
        is_the_same = _structure(model) == structure
        if is_the_same:
            own.put_back()
        if is_the_same and not lazy:
            restore_random_state(state, generators)


def _structure(model: Any) -> list[int]:
    layers = model.modules() if isinstance(model, nn.Module) else ()
    return [id(part) for layer in layers for part in (layer, *layer._parameters.values())]


class _Kept:
    """What objects hold, and lists, dictionaries and objects in them, to be put back.

    What has its id in `seen` is passed by.
    """

    def __init__(self, values: Iterable[Any], seen: Iterable[int], with_tensors: bool) -> None:
        self.seen, self._with_tensors = set(seen), with_tensors
        self._repairs: list[Callable[[], None]] = []
        # The nearest first, so that a long way to a thing does not hide what lies behind it.
        nearest = list(values)
        for _ in range(_DEEPEST + 1):
            nearest = [item for value in nearest for item in self._keep(value)]

    def _keep(self, value: Any) -> list[Any]:
        """Keeps what a value holds, and gives it."""
        if id(value) in self.seen or isinstance(value, _HOLDS_NOTHING):
            return []
        self.seen.add(id(value))
        if isinstance(value, torch.Tensor):
            if self._with_tensors and not is_lazy(value) and not value.is_inference():
                before = copy_batch(value.detach())
                self._repairs.append(partial(_give_values, value, value._version, before))
            return []
        if isinstance(value, np.ndarray):
            if self._with_tensors:
                self._repairs.append(partial(_give_numbers, value, value.copy()))
            return []
        held = getattr(value, "__dict__", None)
        containers: list[Any] = [held] if isinstance(held, dict) else []
        if isinstance(value, dict | list | set | deque):
            containers.append(value)
        for container in containers:
            if len(container) <= _LARGEST:
                self._repairs.append(partial(_give_items, container, copy.copy(container)))
        return [
            item
            for container in (*containers, value if isinstance(value, tuple) else ())
            if len(container) <= _LONGEST
            for item in (container.values() if isinstance(container, dict) else container)
        ]

    def put_back(self) -> None:
        """Gives everything that has changed what it held."""
        with torch.no_grad():
            for repair in self._repairs:
                repair()


def _give_items(value: Any, content: Any) -> None:
    if _items(value) == _items(content):
        return
    if isinstance(value, dict):  # by methods of its own, a Counter would add
        kind: Any = OrderedDict if isinstance(value, OrderedDict) else dict
        kind.clear(value)
        kind.update(value, content)
    else:
        value.clear()
        (value.update if isinstance(value, set) else value.extend)(content)


def _give_values(tensor: torch.Tensor, version: int, before: torch.Tensor) -> None:
    if (tensor.shape, tensor.dtype) != (before.shape, before.dtype):
        tensor.data = before
    elif tensor._version != version or not _are_equal(tensor, before):
        tensor.copy_(before)


def _give_numbers(array: Any, before: Any) -> None:
    if array.flags.writeable:
        array[...] = before


def _are_equal(tensor: torch.Tensor, before: torch.Tensor) -> bool:
    """Whether values are as before: PyTorch does not count what is written by way of `.data`."""
    with suppress(RuntimeError):  # sparse tensors, and those without values
        return torch.equal(tensor, before)
    return True


def _items(value: Any) -> list[Any]:
    """What a container holds, by identity."""
    return [(k, id(v)) for k, v in value.items()] if isinstance(value, dict) else [*map(id, value)]


# Layers without a shape


def _is_lazy(layer: nn.Module) -> bool:
    tensors: list[Any] = [*layer._parameters.values(), *layer._buffers.values()]
    return any(map(is_lazy, tensors))


def unshaped_layers(model: Any) -> list[str]:
    """The names of the layers that have no shape yet."""
    named = model.named_modules() if isinstance(model, nn.Module) else ()
    return [name for name, layer in named if _is_lazy(layer)]


def give_shapes(model: Any, batch: Any, owners: Iterable[Any]) -> None:
    """Lets a batch give a model's lazy layers their shapes, in whatever way succeeds.

    The step is what a training will do: it may take other inputs than all of the batch, and some
    networks have more parts in training mode. But it may need an optimizer, which there is not yet.
    """
    lazy = [layer for layer in model.modules() if _is_lazy(layer)]

    def step() -> None:
        keeping = keeping_gradients(model.parameters())
        with keeping, in_mode(model, training=True), torch.enable_grad():
            model.training_step(copy_batch(batch))

    def forward() -> None:
        with at_rest(model):
            model(*copy_batch(batch)[:-1])

    for attempt in (step, forward):
        if any(map(_is_lazy, lazy)):
            with suppress(Exception), untouched(owners, model):
                attempt()
    for layer in lazy:  # a step in training mode has moved them
        reset: Any = getattr(layer, "reset_running_stats", None)
        if reset is not None and not _is_lazy(layer):
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
            raise ModelError(
                f"{type(model).__name__}.forward returned nothing. End it with `return`."
            )
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
