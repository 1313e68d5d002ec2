"""Explanations of what does not fit: a model, a batch, or the two together.

A healthy step runs nothing of this but `check_labels` or `check_targets`, which compare shapes. It
is long because whoever words an error should find the others here, and word it like them.
"""

import inspect
import math
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import nn

from gradbook.errors import (
    BatchError,
    ConfigError,
    DataError,
    GradbookError,
    ModelError,
    ShapeError,
    did_you_mean,
    module_of,
    shown,
)

#: What PyTorch says when shapes or dtypes do not fit; other errors are the learner's own.
_MISFIT = re.compile(
    r"shapes cannot be multiplied|size mismatch|must match|sizes? of tensor|is invalid for input"
    r"|Expected .*(input|dim|\dD\b)|expected input|expected m1 and m2|same dtype|scalar type"
    r"|same reduction dim|given groups|normalized_shape|not implemented for|vector \+ matrix"
    r"|expanded size|inconsistent tensor size|1D tensors expected|mat1 and mat2|running_mean"
    r"|should be the same|Kernel size can't be greater|Output size is too small"
    r"|must be Tensor, not|Dimension out of range|index out of range in self"
    r"|must be equal to input_size|Expected hidden size",
    re.IGNORECASE,
)


#: What to do about tokens that a model does not know.
_OWN_VOCABULARY = (
    "Make the model with the vocabulary of its data, such as `vocab_size=len(data.vocab)`."
)


# What a model lacks


def missing_loss(model: object) -> str:
    """What to say of a model without a loss."""
    name = type(model).__name__
    return (
        f"{name} does not define a loss. Write a method `loss(self, y_hat, y)` in {name} that "
        f"returns a tensor with one element, or derive {name} from Classifier to get the "
        f"cross-entropy."
    )


def useless_loss(model: object, loss: Any) -> str:
    """What to say of a training step's result that no gradient can be computed from."""
    name = type(model).__name__
    head = f"{name}.training_step must return the loss, a tensor with one element, but it returned"
    if not isinstance(loss, torch.Tensor):
        return f"{head} {describe(loss)}. End it with `return loss`, without `.item()`."
    if loss.numel() != 1:
        shape = tuple(loss.shape)
        return f"{head} one of shape {shape}. Average it over the batch: `return loss.mean()`."
    return (
        f"The loss of {name} does not depend on a parameter that requires a gradient. Do not "
        f"detach it, compute it as floating point, and call fit() outside torch.no_grad() and "
        f"torch.inference_mode()."
    )


def missing_optimizer(model: object) -> str:
    """What to say of a model that does not say how it is optimized."""
    name = type(model).__name__
    return (
        f"{name} has no optimizer. Set `self.lr` (a constructor argument `lr` kept by "
        f"save_hyperparameters() does), or write a method `configure_optimizers(self)` in {name} "
        f"that returns one, for example `torch.optim.SGD(self.parameters(), lr=0.1)`."
    )


# Settings


#: The largest numbers that PyTorch's usual types can hold.
_LARGEST_FLOAT = torch.finfo(torch.float32).max
_LARGEST_COUNT = torch.iinfo(torch.int64).max


def check_rate(value: Any, name: str = "lr") -> None:
    """Raises ConfigError unless `value` is a number of at least 0 that a float32 can hold."""
    check_number(value, name)
    if value > _LARGEST_FLOAT:
        raise ConfigError(
            f"{name} is {shown(value)}, which is too large: PyTorch computes with float32 numbers, "
            f"and the largest of these is {_LARGEST_FLOAT:.1e}."
        )


def check_number(value: Any, name: str) -> None:
    """Raises ConfigError unless `value` is a finite number of at least 0."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number and isinstance(value, torch.Tensor) and value.numel() == 1:
        number, value = True, value.item()
    if not number or not 0 <= value < math.inf:
        several = "" if not getattr(value, "shape", ()) else " Several to try are given as a list."
        raise ConfigError(
            f"{name} must be a finite number of at least 0, but it is {shown(value)}.{several}"
        )


def check_positive(value: Any, name: str) -> None:
    """Raises ConfigError unless `value` is a finite number above 0."""
    check_number(value, name)
    if value == 0:
        raise ConfigError(f"{name} must be above 0, but it is {value!r}.")


def check_dropout(value: Any) -> None:
    """Raises ConfigError unless `value` is a probability that leaves some units: below 1."""
    check_rate(value, "dropout")
    if value >= 1:
        raise ConfigError(f"dropout={value} leaves no unit: it must be below 1.")


def check_whole_number(value: Any, name: str, at_least: int) -> int:
    """Returns `value` as an int, or raises ConfigError unless it is one of at least `at_least`."""
    try:  # also of NumPy's integers, and of tensors that hold one
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < at_least:
        raise ConfigError(
            f"{name} must be a whole number of at least {at_least}, but it is {shown(value)}."
        )
    if number > _LARGEST_COUNT:
        raise ConfigError(
            f"{name} is {shown(value)}, which is too large: PyTorch counts up to {_LARGEST_COUNT}."
        )
    return number


def check_switch(value: Any, name: str) -> None:
    """Raises ConfigError unless `value` is True or False: of texts, "no" would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise ConfigError(f"{name} must be True or False, but it is {shown(value)}.")


def check_choice(value: Any, name: str, choices: Sequence[str]) -> None:
    """Raises ConfigError unless `value` is one of `choices`."""
    if value not in choices:
        raise ConfigError(
            f"{name} is one of {', '.join(choices)}, but it is {shown(value)}."
            f"{did_you_mean(str(value), choices)}"
        )


#: What PyTorch says where a size is too large for the main memory, or for a number.
_NO_MEMORY = re.compile(
    r"you tried to allocate \d+ bytes|Storage size calculation overflowed|Overflow when unpacking"
    r"|multiplication overflow"
)


@contextmanager
def enough_memory(owner: Any) -> Iterator[None]:
    """Raises ConfigError where what `owner` makes, of sizes in its hparams, is too large."""
    try:
        yield
    except RuntimeError as error:
        lack = _lack_of_memory(owner, error)
        if lack is None:
            raise
        raise lack from error


def _lack_of_memory(owner: Any, error: Exception) -> ConfigError | None:
    if not isinstance(error, RuntimeError) or not _NO_MEMORY.search(str(error)):
        return None
    sizes = [
        f"{name}={shown(value)}"
        for name, value in getattr(owner, "hparams", {}).items()
        for size in (value if isinstance(value, list | tuple) else [value])
        if isinstance(size, int) and size >= 1000
    ]
    return ConfigError(
        f"There is not enough memory for what {type(owner).__name__} computes"
        f"{' with ' if sizes else ''}{', '.join(dict.fromkeys(sizes))}. Choose smaller sizes, or a "
        f"smaller batch."
    )


# Labels


def check_labels(Y_hat: torch.Tensor, Y: torch.Tensor) -> None:
    """Raises BatchError unless the labels have the shape and dtype that go with the scores."""
    try:
        is_whole = Y.dtype is torch.int64 or not (Y.is_floating_point() or Y.is_complex())
        if is_whole and Y.shape == Y_hat.shape[:-1]:
            return
    except AttributeError as error:  # which costs a step that is sound nothing
        raise _no_tensor(Y_hat, Y) or error from None
    expected = Y_hat.shape[:-1]
    rows, labels = expected.numel(), Y.numel()
    if Y.is_floating_point() and Y.shape == (*expected, 1):
        advice = f"{_REGRESSION} Class numbers are integers: `Y.reshape(-1).long()`."
    elif Y.shape == Y_hat.shape and Y.dim() > 1:
        advice = "These look one-hot: give class numbers instead, `Y.argmax(dim=-1)`."
    elif Y_hat.dim() == 2 and Y.dim() == 1 and rows > labels > 0 and rows % labels == 0:
        advice = (
            f"The network cut each example into {rows // labels}: compare its number of inputs "
            f"with the size of an example."
        )
    elif labels == rows and Y.shape != expected:
        advice = reshaped(expected, "Y")
    elif Y.is_complex():
        advice = "Class numbers are integers, and these are complex: `Y.real.long()`."
    elif Y.is_floating_point() and Y.shape == expected:
        advice = "Class numbers are integers: `Y.long()`. For a regression derive from Module."
    elif Y.dim() == 1 and Y_hat.dim() > 2 and len(Y) == len(Y_hat):
        advice = "There are scores for every row of an image: put nn.Flatten() in the network."
    else:
        advice = "Each example needs one label."
    raise BatchError(
        f"Expected integer labels of shape {tuple(expected)} for scores of shape "
        f"{tuple(Y_hat.shape)}, but got {describe(Y)}. {advice}"
    )


def _no_tensor(Y_hat: Any, Y: Any) -> GradbookError | None:
    """The error for an output or labels that are no tensor, None if both are."""
    if not isinstance(Y_hat, torch.Tensor):
        if Y_hat is None:
            return ModelError("The model's forward returned nothing. End it with `return`.")
        return ModelError(
            f"The output of the model's forward must be one tensor here, but it is a "
            f"{type(Y_hat).__name__}. Let forward return one tensor, or write the model's methods "
            f"that take what it returns: `loss(self, y_hat, y)`, and for a classifier also "
            f"`accuracy(self, y_hat, y, averaged=True)`."
        )
    if isinstance(Y, torch.Tensor):
        return None
    advice = "Convert them in the data: `torch.as_tensor(y)`."
    if Y is None:
        advice = "Give each batch its labels: (X, y)."
    elif isinstance(Y, str) or (isinstance(Y, list | tuple) and any(isinstance(y, str) for y in Y)):
        advice = (
            "Number the classes: `classes, labels = np.unique(labels, return_inverse=True)` gives "
            "numbers from 0."
        )
    found = "None" if Y is None else describe(Y)
    return BatchError(f"The labels of a batch must be a tensor, but got {found}. {advice}")


def check_label_range(Y: torch.Tensor, num_classes: int) -> None:
    """Raises BatchError if a label is not one of the classes 0 to num_classes - 1.

    The value -100 is allowed: PyTorch's cross-entropy leaves such labels out.
    """
    if Y.dtype in (torch.uint16, torch.uint32, torch.uint64):  # which PyTorch cannot compare
        Y = Y.long()
    wrong = Y[((Y < 0) & (Y != -100)) | (num_classes <= Y)]
    if len(wrong):
        raise BatchError(
            f"The model gives {num_classes} classes, so labels go from 0 to {num_classes - 1}, "
            f"but a label is {wrong[0].item()}. Give the model more outputs (num_outputs), or "
            f"number the classes from 0."
        )


def is_one_column(Y_hat: torch.Tensor, Y: torch.Tensor) -> bool:
    """Whether there is one score for each label: of shape (..., 1), or that of the labels (n,)."""
    try:
        if Y_hat.dim() == 1:
            return Y.shape == Y_hat.shape
    except AttributeError as error:
        raise _no_tensor(Y_hat, Y) or error from None
    return Y_hat.dim() > 1 and Y_hat.shape[-1] == 1 and Y.shape in (Y_hat.shape, Y_hat.shape[:-1])


def is_one_of(Y: torch.Tensor, labels: Iterable[int]) -> torch.Tensor:
    """For each label whether it is one of `labels`; True or False, in the shape of Y."""
    found = torch.zeros_like(Y, dtype=torch.bool)
    for label in labels:
        if label >= 0 or Y.dtype.is_signed:
            found = found | Y.eq(label)
    return found


def check_two_classes(Y: torch.Tensor, model: object) -> None:
    """Raises BatchError unless all labels are 0 and 1, or all are -1 and 1."""
    for known in ((0, 1), (-1, 1)):
        if bool(is_one_of(Y, known).all()):
            return
    wrong = Y[~is_one_of(Y, (0, 1))][0].item()
    regression = "" if float(wrong).is_integer() else f" {_REGRESSION}"
    raise BatchError(
        f"One score for each example chooses between two classes, labeled 0 and 1 or -1 and 1, "
        f"but a label is {wrong}.{regression} {write_accuracy(model)}"
    )


_REGRESSION = "These look like the targets of a regression, and this model is a classifier."


def write_accuracy(model: object) -> str:
    """What to do where the accuracy that goes with a learner's own loss is not known."""
    name = type(model).__name__
    return (
        f"If that is right, write a method `accuracy(self, Y_hat, Y, averaged=True)` in {name} "
        f"that goes with its loss."
    )


def gives_probability(model: object) -> bool:
    """Whether a network is known to end with a sigmoid."""
    net = getattr(model, "net", None)
    if isinstance(net, nn.Sequential) and len(net):
        net = net[-1]
    return isinstance(net, nn.Sigmoid)


def is_ours(method: Any) -> bool:
    """Whether a method is the library's own, and not one that a learner wrote."""
    return (getattr(method, "__module__", None) or "").partition(".")[0] == "gradbook"


def check_targets(y_hat: torch.Tensor, y: torch.Tensor) -> None:
    """Raises BatchError unless predictions and targets have the same shape.

    PyTorch would stretch (n, 1) and (n,) to (n, n), and the model would learn the mean of all y.
    """
    try:
        if y_hat.size() == y.size():  # a method, which arrays do not have, as they do `shape`
            return
    except (AttributeError, TypeError) as error:
        raise _no_tensor(y_hat, y) or error from None
    advice = reshaped(y_hat.shape) if y.numel() == y_hat.numel() else ""
    raise BatchError(
        f"Expected targets of the predictions' shape {tuple(y_hat.shape)}, but got "
        f"{describe(y)}. {advice or 'Each prediction needs one target.'}"
    )


def reshaped(shape: Sequence[int], name: str = "y") -> str:
    """How to give targets the shape of predictions, in a batch of any size."""
    return f"Reshape them: `{name}.reshape({', '.join(map(str, (-1, *shape[1:])))})`."


# What functions and layers are called with


def check_tensor(X: Any, name: str, *axes: str | int) -> None:
    """Raises ShapeError unless `X` is a tensor with such axes.

    Args:
        X: What was given.
        name: What it is called.
        axes: A word for each axis of any length, and a number for one of that length; "..." as the
            first stands for any number of axes.
    """
    if isinstance(X, torch.Tensor):
        lengths, last = X.shape, axes
        if axes[0] == "...":
            last = axes[1:]
            lengths = lengths[max(len(lengths) - len(last), 0) :]
        if len(lengths) == len(last):
            for axis, length in zip(last, lengths, strict=True):
                if axis != length and not isinstance(axis, str):
                    break
            else:
                return
    shape = ", ".join(map(str, axes)) + ("," if len(axes) == 1 else "")
    advice = "" if isinstance(X, torch.Tensor) else " Convert it: `torch.as_tensor(...)`."
    raise ShapeError(
        f"{name} must be a tensor of shape ({shape}), but it is {describe(X)}.{advice}"
    )


def check_text(value: Any, name: str) -> None:
    """Raises ConfigError unless `value` is one text."""
    if not isinstance(value, str):
        words = " Join a list of words: `" + '" ".join(words)`.' if _is_list(value) else ""
        raise ConfigError(f"{name} must be one text, but it is {shown(value)}.{words}")


def check_tokens(value: Any, name: str) -> None:
    """Raises ConfigError unless `value` is a list of tokens: of a text, each character was one."""
    if not _is_list(value):
        split = f" Split it: `{name}.split()`." if isinstance(value, str) else ""
        raise ConfigError(f"{name} must be a list of tokens, but it is {shown(value)}.{split}")


def check_lines(value: Any, name: str, kind: str = "tokens") -> None:
    """Raises ConfigError unless `value` is a list of lists: of tokens, or of another kind."""
    wrong = value
    if _is_list(value):
        wrong = next((line for line in value if not _is_list(line)), ())
        if _is_list(wrong):
            return
    found = "it is" if wrong is value else "it holds"
    raise ConfigError(
        f"{name} must be a list of lists of {kind}, such as one for each sentence, but {found} "
        f"{shown(wrong)}."
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def embedded(
    embedding: nn.Embedding, X: torch.Tensor, name: str = "tokens", advice: str = _OWN_VOCABULARY
) -> torch.Tensor:
    """The vectors of an embedding for whole numbers; those that it does not have are told.

    Args:
        embedding: The layer.
        X: The numbers, integers of any shape.
        name: What they are called.
        advice: What to do about numbers that are too large.

    Raises:
        BatchError: If they are no integers, or one is none of the embedding's. On a GPU, PyTorch
            itself stops there.
    """
    try:
        out: torch.Tensor = embedding(X)
    except (IndexError, RuntimeError, TypeError) as error:
        check_numbers(X, embedding.num_embeddings, name, advice)
        raise error
    return out


def check_numbers(
    X: Any, how_many: int, name: str = "tokens", advice: str = _OWN_VOCABULARY
) -> None:
    """Raises BatchError unless `X` is a tensor of whole numbers from 0 to `how_many` - 1."""
    if not isinstance(X, torch.Tensor) or X.is_floating_point():
        raise BatchError(
            f"{name} must be a tensor of integers, but got {describe(X)}. Convert them: "
            f"`torch.as_tensor({name}).long()`."
        )
    if X.numel() and not 0 <= int(X.min()) <= int(X.max()) < how_many:
        raise BatchError(
            f"{name} must be numbers from 0 to {how_many - 1}, but those of a batch go from "
            f"{int(X.min())} to {int(X.max())}. {advice}"
        )


# A batch


def check_batch(batch: Any, giver: str, in_step: bool = False) -> None:
    """Raises BatchError unless a batch that `giver` gave is (inputs..., labels).

    In a step, the model's own methods could take another one.
    """
    if isinstance(batch, Sequence) and not isinstance(batch, str) and len(batch) > 1:
        return
    found = f"a {type(batch).__name__}"
    advice = "Give each batch its labels, also where they are not used."
    if isinstance(batch, Mapping):
        found += f" with {', '.join(map(repr, batch))}"
        methods = (
            ", or write the model's `training_step(self, batch)` and "
            "`validation_step(self, batch)`, which may take anything"
        )
        advice = f"Give a tuple instead{methods if in_step else ''}."
    elif isinstance(batch, Sequence):
        found += f" of {len(batch)}"
    raise BatchError(
        f"A batch must hold the inputs and then the labels, such as (X, y), but "
        f"{giver} gave {found}. {advice}"
    )


def explain_not_one_tensor(model: object, output: Any) -> str:
    """What to say of a model whose output is not one tensor."""
    if output is None:
        return f"{type(model).__name__}.forward returned nothing. End it with `return`."
    return (
        f"The output of {type(model).__name__}.forward must be one tensor here, but it is a "
        f"{type(output).__name__}. Wrap the model in one that returns the tensor to look at."
    )


# The forward pass


def explain_forward(
    model: nn.Module, inputs: Sequence[Any], kwargs: Mapping[str, Any], error: Exception
) -> GradbookError | None:
    """Says where in the network an input stopped fitting, or None if that is not the matter.

    The input goes through the network once more, with an observer at every layer.
    """
    if not _comes_from_torch(error) or not _MISFIT.search(str(error)):
        return _explain_inputs(model, inputs, kwargs, error)
    paths = {layer: path for path, layer in model.named_modules() if not list(layer.children())}
    paths.pop(model, None)
    trail: list[tuple[nn.Module, str]] = []
    running: list[tuple[nn.Module, Sequence[Any]]] = []

    def enter(layer: nn.Module, args: Any) -> None:
        running.append((layer, args))

    def leave(layer: nn.Module, args: Any, output: Any) -> None:
        running.pop()
        trail.append((layer, describe(output)))

    hooks = [layer.register_forward_pre_hook(enter) for layer in paths]
    hooks += [layer.register_forward_hook(leave) for layer in paths]
    try:
        with torch.no_grad():
            model.forward(*inputs, **kwargs)
    except Exception:
        pass  # expected: it failed before; what matters is how far it came
    else:
        return None  # it depends on more than the input, so there is nothing sure to say
    finally:
        for hook in hooks:
            hook.remove()

    name = type(model).__name__
    lines = [f"  input{'s' if len(inputs) > 1 else ''}: {', '.join(map(describe, inputs))}"]
    lines += [f"  {paths[layer]} {_layer(layer)}: {shape}" for layer, shape in trail]
    if running:
        layer, args = running[-1]
        path, received = paths[layer], ", ".join(map(describe, args))
        lines.append(f"  {path} {_layer(layer)}: received {received}  <- does not fit")
        expected, advice = _repair(layer, args[0] if args else None)
        head = f"Layer {path!r} ({_layer(layer)}) of {name} expected {expected}, but received "
        head += f"{received}."
    else:
        lines.append(f"  {name}.forward  <- does not fit")
        head = f"The input does not fit in {name}.forward."
        advice = _repair_scratch(model, inputs)
    return ShapeError(
        f"{head} {advice}\nShapes on the way:\n" + "\n".join(lines) + f"\nPyTorch says: {error}"
    )


def _explain_inputs(
    model: nn.Module, inputs: Sequence[Any], kwargs: Mapping[str, Any], error: Exception
) -> GradbookError | None:
    """Says which inputs a network cannot take at all: too many or few, or such as are no tensors.

    What `error` says of the learner's own code must be left to speak.
    """
    name = type(model).__name__
    if lack := _lack_of_memory(model, error):
        return lack
    with suppress(ValueError):  # it has no signature
        try:
            inspect.signature(model.forward).bind(*inputs, **kwargs)
        except TypeError as misfit:
            return BatchError(
                f"{name}.forward cannot take what it was called with: {misfit}, for inputs "
                f"{', '.join(map(describe, inputs))}. Of a batch these are all its items but the "
                f"last, which holds the labels: give batches such as (X, y)."
            )
    for X in inputs:
        kind = type(X).__name__
        is_told = kind in str(error) or (X is not None and _comes_from_torch(error))
        if not isinstance(X, torch.Tensor) and is_told:
            return BatchError(
                f"The input of {name} must be a tensor, but it is {describe(X)}. Convert it in the "
                f"data: `torch.as_tensor(X, dtype=torch.float32)`.\nPyTorch says: {error}"
            )
    return None


def _comes_from_torch(error: Exception) -> bool:
    """Whether PyTorch raised an error, and not the learner's code, which must be left to speak."""
    if type(error) is RuntimeError:
        return "same device" not in str(error)
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    module = module_of(frame.tb_frame) if frame is not None else ""
    return module.partition(".")[0] == "torch"


def _repair(layer: nn.Module, X: Any) -> tuple[str, str]:
    """What a layer expects, and what to change, for an input X that it refused."""
    if not isinstance(X, torch.Tensor):
        return "a tensor", "Convert the input: `torch.as_tensor(X, dtype=torch.float32)`."
    weight = getattr(layer, "weight", None)
    if isinstance(layer, nn.Flatten) and X.dim() <= layer.start_dim:
        return "a batch", "If this is a single example, give it as a batch of one: `X[None]`."
    if isinstance(layer, nn.Embedding):
        if X.dtype in (torch.int64, torch.int32) and X.numel():
            expected = f"numbers from 0 to {layer.num_embeddings - 1}"
            found = f"These go from {int(X.min())} to {int(X.max())}."
            return expected, f"{found} {_OWN_VOCABULARY}"
        return "integers", "Convert the input: `X.long()`."
    if isinstance(weight, torch.Tensor) and X.dtype != weight.dtype:
        wanted = str(weight.dtype).removeprefix("torch.")
        return f"dtype {wanted}", f"Convert the input: `X.to(torch.{wanted})`."
    if isinstance(layer, nn.Linear):
        expected, flat = f"shape (..., {layer.in_features})", math.prod(X.shape[1:])
        if X.dim() == 1:
            return expected, f"Give it a batch: `X.reshape((-1, {layer.in_features}))`."
        if X.dim() > 2 and flat == layer.in_features:
            sizes = "*".join(map(str, X.shape[1:]))
            return expected, f"Put nn.Flatten() before it ({sizes} = {layer.in_features})."
        if X.dim() > 2:
            return expected, (
                f"Put nn.Flatten() before it and set in_features={flat}, or set "
                f"in_features={X.shape[-1]} to work on the last dimension alone."
            )
        return expected, (
            f"Set in_features={X.shape[-1]}, or use nn.LazyLinear, which takes the width of "
            f"the first batch and keeps it: make the model anew for another."
        )
    if isinstance(layer, nn.RNNBase):
        expected = f"shape (num_steps, batch, {layer.input_size})"
        if X.dim() == 3 and X.shape[2] != layer.input_size:
            return expected, f"Make the recurrent layer with num_inputs={X.shape[2]}."
        return expected, "Compare it, and the state, with what the layer received."
    if isinstance(layer, nn.Conv2d):
        expected = f"shape (batch, {layer.in_channels}, height, width)"
        if X.dim() == 3:
            return expected, "Add the channel dimension: `X.unsqueeze(1)`."
        if X.dim() == 2:
            return expected, "Give it images, not flattened ones."
        if X.dim() == 4 and X.shape[3] == layer.in_channels != X.shape[1]:
            return expected, "The channels come second: `X.permute(0, 3, 1, 2)`."
        if X.shape[1] != layer.in_channels:
            return expected, f"Set in_channels={X.shape[1]}, or use nn.LazyConv2d."
    if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and X.dim() == 4:
        advice = "Give it larger images, or set a padding or a smaller kernel_size here or before."
        return f"a height and width that its kernel of {layer.kernel_size} fits in", advice
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        is_flat = isinstance(layer, nn.BatchNorm1d)
        sides = "" if is_flat else ", height, width"
        expected = f"shape (batch, {layer.num_features}{sides})"
        if X.dim() not in ((2, 3) if is_flat else (4,)):
            return expected, f"Use nn.BatchNorm{'2d' if is_flat else '1d'} here."
        if X.shape[1] != layer.num_features:
            return expected, f"Set num_features={X.shape[1]}, or use the Lazy form of the layer."
        return "more than one example to normalize over", (
            "One example has no spread. Leave such a batch out (if it is the last, with "
            "`DataLoader(..., drop_last=True)`), or choose another batch_size."
        )
    return "another shape or dtype", "Compare its settings with what it received."


def _repair_scratch(model: nn.Module, inputs: Sequence[Any]) -> str:
    """What to change in a forward method that works on parameters directly."""
    X = inputs[0] if inputs else None
    shapes = dict(model.named_parameters(recurse=False))
    listed = ", ".join(f"{name} {tuple(param.shape)}" for name, param in shapes.items())
    advice = f"Its parameters are {listed}. " if listed else ""
    if not isinstance(X, torch.Tensor):
        return advice
    for name, param in shapes.items():
        if X.dtype != param.dtype:
            wanted = str(param.dtype).removeprefix("torch.")
            return advice + f"The input is {X.dtype}: convert it with `X.to(torch.{wanted})`."
        if X.dim() > 2 and param.dim() == 2 and math.prod(X.shape[1:]) == param.shape[0]:
            return advice + f"Flatten the batch first: `X.reshape((-1, self.{name}.shape[0]))`."
    return advice + "Compare these shapes with the input's."


# A whole training, before it begins


def missing_shapes(model: object, layers: Sequence[str]) -> str:
    """What to say of a model whose lazy layers no batch gave their shapes."""
    name = type(model).__name__
    return (
        f"Layer {layers[0]!r} of {name} has no shape yet, and the first batch did not give it one, "
        f"so that its parameters can neither be optimized nor kept. Leave it out if it is not "
        f"used, or give the model its shapes first, with the inputs of a batch: "
        f"`model.apply_init([X])`."
    )


def check_order(model: Any, data: Any, call: str = "fit") -> None:
    """Raises ModelError if model and data were given the other way round."""
    if is_model(data) and not is_model(model):
        raise ModelError(
            f"{call}() takes the model first and then the data, but got {_called(model)} as the "
            f"model and {_called(data)} as the data. Write `{call}(model, data)`."
        )


def is_model(value: Any) -> bool:
    """Whether a value is a model or a network, or the class of one."""
    Class = value if isinstance(value, type) else type(value)
    return hasattr(value, "training_step") or issubclass(Class, nn.Module)


def model_first(data: Any) -> str:
    """What to add to an error about data that are a model."""
    return " The model comes first, and then the data." if is_model(data) else ""


def _called(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return "None" if value is None else f"a {type(value).__name__}"


def check_model(model: Any, data: Any = None, call: str = "fit") -> None:
    """Raises ModelError if `model` lacks what any training needs, or changed places with `data`."""
    check_order(model, data, call)
    if isinstance(model, type):
        raise ModelError(f"{call}() needs a model, but {only_a_class(model)}")
    if model is None:
        raise ModelError(
            f"{call}() needs a model, but got None. A function that makes a model ends with "
            f"`return model`."
        )
    lacking = [
        a for a in ("board", "training_step", "configure_optimizers") if not hasattr(model, a)
    ]
    if lacking:
        advice = "Derive it from gradbook.Module or gradbook.Classifier."
        if lacking[0] == "board" and "training_step" not in lacking:
            advice = "Call super().__init__() first in its __init__."
        elif isinstance(model, nn.Module) and "training_step" in lacking:
            advice = (
                "A network alone has neither a loss nor an optimizer: derive a class from "
                "gradbook.Module or gradbook.Classifier, and set `self.net` to the network in "
                "its __init__."
            )
        name = type(model).__name__
        raise ModelError(f"{name} has no `{lacking[0]}`, which training needs. {advice}")
    if "lr" in getattr(model, "hparams", {}):
        check_rate(model.lr)


def only_a_class(given: type) -> str:
    """What to say of a class where an instance is needed."""
    name = given.__name__
    return f"got the class {name} itself. Make an instance: `{name}(...)`."


def unknown_settings(names: Sequence[str], known: Sequence[str]) -> str:
    """What to say of settings that a trainer does not have: what they are called, or belong to."""
    told, unclear = [], ""
    for name in names:
        advice = _ELSEWHERE.get(name) or did_you_mean(name, known).strip()
        if name in _CALLED_HERE:
            advice = f"It is called {_CALLED_HERE[name]!r} here."
            if _CALLED_HERE[name] == "num_gpus":
                advice += " Write num_gpus=1 to train on the accelerator, or 0 for the CPU."
        told.append(f"Trainer has no setting {name!r}. {advice}".rstrip())
        unclear = unclear if advice else f" It has {', '.join(known)}."
    return " ".join(told) + unclear


def foreign_to_fit(name: str) -> str:
    """What to say of a setting that was given to `fit`."""
    known = _CALLED_HERE.get(name, name)
    advice = _ELSEWHERE.get(name)
    if advice is None and (name in _CALLED_HERE or name in _CALLED_HERE.values()):
        advice = f"It belongs to the trainer, as `Trainer({known}=...)`."
    return f"fit() takes model, data and resume, but no {name!r}. {advice or ''}".rstrip()


def _each(answers: Mapping[str, str]) -> dict[str, str]:
    """The answer for each name, of names in one text."""
    return {name: answer for answer, names in answers.items() for name in names.split()}


#: The trainer's setting for each name that other libraries, or learners, have for it.
_CALLED_HERE = _each(
    {
        "max_epochs": "epochs num_epochs n_epochs nb_epochs epoch max_epoch number_of_epochs",
        "num_gpus": "gpus gpu use_gpu cuda devices device accelerator",
        "gradient_clip_val": "clip clip_norm grad_clip grad_clip_val gradient_clip max_grad_norm",
        "patience": "early_stop early_stopping",
        "display": "verbose enable_progress_bar progress_bar",
        "sinks": "callbacks logger loggers callback",
        "run": "log_dir default_root_dir runs checkpoint_dir",
        "precision": "amp fp16 bf16 mixed_precision",
        "accumulate_grad_batches": "gradient_accumulation_steps accumulate",
        "limit_batches": "limit_train_batches num_batches",
        "optimizer": "optim optimizers",
        "scheduler": "lr_scheduler schedule",
        "weight_decay": "wd decay l2",
        "keep_best": "save_best",
    }
)

#: Where what belongs elsewhere does.
_ELSEWHERE = _each(
    {
        "It belongs to the model, as in `MLP(..., lr=0.1)`; what only an optimizer takes, to the "
        "model's configure_optimizers().": "lr learning_rate betas eps",
        "It belongs to the model: write its method `loss(self, y_hat, y)`.": (
            "loss criterion loss_fn metrics"
        ),
        "It belongs to the data, as in `FashionMNIST(batch_size=64)`.": (
            "batch_size num_workers shuffle"
        ),
        "Before the model is made, write `gradbook.seed_everything(0)`.": "seed random_state",
        "It belongs to fit, as in `Trainer(max_epochs=10).fit(model, data)`.": (
            "model data train_dataloader val_dataloader resume"
        ),
    }
)


def check_loaders(data: Any, train: Any, val: Any) -> None:
    """Raises DataError if the minibatches cannot be counted or there are none."""
    for loader, split in ((train, "training"), (val, "validation")):
        if loader is None and split == "validation":
            continue
        num_batches = None
        # A DataLoader of an IterableDataset has a __len__, which raises a TypeError.
        with suppress(TypeError):
            num_batches = len(loader)
        if num_batches is None or not hasattr(loader, "__iter__"):
            raise DataError(
                f"{type(data).__name__} must give its {split} batches as an iterable whose "
                f"length is known, as that of a DataLoader over a data set with a `__len__` is, "
                f"but gave {type(loader).__name__}."
            )
        if num_batches == 0:
            raise DataError(
                f"The {split} set of {type(data).__name__} is empty: it has no batch. "
                f"Check its size and its batch_size."
            )


@contextmanager
def in_mode(model: Any, training: bool) -> Iterator[None]:
    """While it lasts, all layers are in training mode, or none is; a model may have no layers."""
    modes = {}
    if isinstance(model, nn.Module):
        modes = {module: module.training for module in model.modules()}
        model.train(training)
    try:
        yield
    finally:
        for module, before in modes.items():  # each its own: a frozen layer stays so
            module.training = before


@contextmanager
def at_rest(model: Any) -> Iterator[None]:
    """While it lasts, a call leaves no gradient, no statistics and no random number drawn."""
    with in_mode(model, training=False), torch.no_grad():
        yield


def _layer(layer: nn.Module) -> str:
    return f"{type(layer).__name__}({layer.extra_repr()})"


def describe(value: Any) -> str:
    """A value in few words: of a tensor, its shape and dtype."""
    if isinstance(value, torch.Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}"
    if hasattr(value, "__array__") and hasattr(value, "shape"):  # an array, or a table
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    return f"{type(value).__name__} {value!r}"
