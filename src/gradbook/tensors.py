"""Arrays, tables and lists as tensors that PyTorch computes with; batches moved and copied."""

from collections.abc import Callable, Mapping
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, TensorDataset

from gradbook.errors import DataError


def as_tensors(values: Any) -> list[torch.Tensor]:
    """The inputs and labels of a data set, each as a tensor, all of the same length.

    Raises:
        DataError: If they are not a list of such, or differ in length.
    """
    if hasattr(values, "__array__") or isinstance(values, str | Mapping | Dataset | Real | None):
        inner = "its `tensors`" if isinstance(values, TensorDataset) else "a list"
        raise DataError(
            f"A list of tensors is needed, the labels last, such as `(X, y)`, but got one "
            f"{type(values).__name__}. Give {inner}, also of a single tensor: `(X,)`."
        )
    values = list(values)
    tensors = [
        as_tensor(value, f"tensors[{i}]", is_label=0 < i == len(values) - 1)
        for i, value in enumerate(values)
    ]
    lengths = [len(tensor) for tensor in tensors]
    if len(set(lengths)) > 1:
        raise DataError(
            f"All tensors of a data set must have the same length, one entry for each example, "
            f"but these have {lengths}."
        )
    return tensors


#: Of these PyTorch computes little: it cannot even compare them.
_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


def as_tensor(values: Any, name: str, is_label: bool = False) -> torch.Tensor:
    """An array, a table or a list of numbers as a tensor that PyTorch computes with.

    Floating-point numbers get PyTorch's default dtype, float32, which layers have too: NumPy's,
    pandas' and Python's have 64 bits only because there they always do. Integers become int64,
    the dtype of class numbers, but uint8 stays, as of images. A tensor keeps its dtype, but for
    uint16, uint32 and uint64, which become int64.

    Args:
        values: The values, of shape (n, ...).
        name: What errors call them.
        is_label: Whether errors should tell how to number classes.

    Raises:
        DataError: If some are not numbers, or there is no first dimension of examples.
    """
    layout = getattr(values, "layout", torch.strided)
    if layout is not torch.strided or hasattr(values, "toarray"):
        dense = "toarray" if hasattr(values, "toarray") else "to_dense"
        raise DataError(
            f"{name} is sparse, and batches are cut from dense tensors. Give `.{dense}()` of it."
        )
    tensor = values if isinstance(values, torch.Tensor) else _converted(values, name, is_label)
    if tensor.dim() == 0:
        raise DataError(
            f"{name} has no dimension of examples: it is a single value, {values!r:.80}."
        )
    if tensor.dtype in _UNSIGNED:
        tensor = tensor.long()
        if bool((tensor < 0).any()):
            raise DataError(f"{name} has an integer above 2**63 - 1, the largest int64.")
    return tensor


def _converted(values: Any, name: str, is_label: bool) -> torch.Tensor:
    """Values that are no tensor, as one; unsigned integers as they are."""
    try:
        if isinstance(values, list | tuple) and any(isinstance(v, torch.Tensor) for v in values):
            return torch.stack([torch.as_tensor(value) for value in values])
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"{name} cannot be made into a tensor: its rows must be numbers, and all of the same "
            f"length. {error}"
        ) from error
    if array.dtype == object and not _first_unusable(array):
        array = np.array(array.tolist())  # as of a table with columns of several dtypes
    kind = array.dtype.kind
    if kind not in "fiubc":
        raise DataError(_not_numbers(values, array, name, is_label))
    if kind == "f" and array.itemsize > 8:
        array = array.astype(np.float64)
    if kind == "i":
        array = array.astype(np.int64, copy=False)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    if kind != "f":
        return tensor
    rounded = tensor.to(torch.get_default_dtype())
    lost = rounded.isinf() & tensor.isfinite()
    if lost.any():
        raise DataError(
            f"{name} holds {tensor[lost][0].item():g}, which is too large for {rounded.dtype}, the "
            f"dtype of layers: it can hold {torch.finfo(rounded.dtype).max:.1e} at most. Choose "
            f"another unit, or leave such examples out."
        )
    return rounded


def _first_unusable(array: Any) -> tuple[int, ...] | None:
    """Where the first value that is no number stands; None if all are numbers."""
    if array.dtype.kind != "O":
        return (0,) * array.ndim if array.size else None
    for at in np.ndindex(array.shape):
        value = array[at]
        is_number = isinstance(value, Real | np.bool_)
        if not is_number or (type(value) is int and abs(value) >> 63):
            return at
    return None


def _not_numbers(values: Any, array: Any, name: str, is_label: bool) -> str:
    """What to say of values that are no numbers."""
    at = _first_unusable(array)
    value: Any = None if at is None else array[at]
    if isinstance(value, np.generic) and array.dtype.kind not in "mM":
        value = value.item()  # whose text names no class of NumPy
    shown = str(value) if isinstance(value, np.generic) else repr(value)
    head = f"{name} must be numbers, but holds {shown:.80}"
    columns = getattr(values, "columns", None)
    if at and columns is not None and len(at) == 2:
        head += f" in the column {columns[at[1]]!r}"
    if isinstance(value, str | bytes) and is_label:
        return (
            f"{head}, a text. Number the classes: `classes, labels = np.unique(labels, "
            f"return_inverse=True)` gives the labels as numbers from 0, and classes[i] is the text "
            f"of number i."
        )
    if isinstance(value, str | bytes):
        return (
            f"{head}, a text. Turn it into numbers first; of a table, "
            f"`pd.get_dummies(table, dtype=float)` makes a column of 0 and 1 for each text."
        )
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return f"{head}, where a value is missing. Fill it in, or leave such examples out."
    if array.dtype.kind in "mM":
        return f"{head}. Turn dates into numbers, such as the days since the first of them."
    if isinstance(value, int):
        return f"{head}, an integer above 2**63 - 1 in size, the largest int64."
    return f"{head}, of type {type(value).__name__}."


def to_device(value: Any, device: torch.device) -> Any:
    """A batch on `device`: whatever has a method `to`, also in lists, tuples and dictionaries."""
    if callable(getattr(value, "to", None)):
        return value.to(device)
    return _in_each(value, partial(to_device, device=device))


def copy_batch(value: Any, device: torch.device | None = None) -> Any:
    """A batch with memory of its own, on `device` if one is given.

    Tensors and arrays are copied, also in lists, tuples and dictionaries, and whatever has a
    method `clone`. Other objects are given as they are.
    """
    if isinstance(value, torch.Tensor):
        return value.to(value.device if device is None else device, copy=True)
    if isinstance(value, np.ndarray):
        return value.copy()
    if callable(getattr(value, "clone", None)):
        return value.clone()
    return _in_each(value, partial(copy_batch, device=device))


def _in_each(value: Any, do: Callable[[Any], Any]) -> Any:
    """A list, tuple or dictionary anew, with what `do` makes of each item; others as they are."""
    if isinstance(value, list | tuple):
        items = [do(item) for item in value]
        if hasattr(value, "_fields"):
            return type(value)(*items)
        return items if isinstance(value, list) else tuple(items)
    return {key: do(item) for key, item in value.items()} if isinstance(value, dict) else value
