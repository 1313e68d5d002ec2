"""A copy of data for each member of a sweep, as if it had been sent to a process of its own.

Data that were given as an object may count, draw from a generator of their own or keep a loader.
Each member gets them as they were given, wherever it is trained; only what is large is shared.
"""

import io
import pickle
import sys
import types
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch.nn.parameter import is_lazy

#: Tensors, arrays and texts with more bytes, and lists with more items, are shared.
_LARGE_BYTES, _LONGEST = 2**16, 10_000


class Original:
    """An object as it was, of which copies are made.

    Copies share what never changes (code, classes) and what is large: tensors and arrays above
    64 KB, lists and dictionaries of more than 10,000 items.

    Args:
        value: The object; it is not changed.

    Attributes:
        shared: What all copies share.

    Raises:
        Exception: Of any kind, if it cannot be copied: it holds a file or a lock, say.
    """

    def __init__(self, value: Any) -> None:
        memory = io.BytesIO()
        pickler = _Pickler(memory)
        pickler.dump(value)
        self._content, self.shared = memory.getvalue(), pickler.shared

    def copy(self) -> Any:
        """The object as it was."""
        return _Unpickler(io.BytesIO(self._content), self.shared).load()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Original)
            and self._content == other._content
            and len(self.shared) == len(other.shared)
            and all(map(_is_same, self.shared, other.shared))
        )

    __hash__ = None  # type: ignore[assignment]


def are_copies(a: Any, b: Any) -> bool:
    """Whether two objects are the same, or copies of one that have not changed since."""
    try:
        return bool(a is b or a == b) or Original(a) == Original(b)
    except Exception:  # what cannot be copied is no copy
        return False


class _Pickler(pickle.Pickler):
    def __init__(self, file: Any) -> None:
        super().__init__(file, protocol=5)
        self.shared: list[Any] = []
        self._places: dict[int, int] = {}

    def persistent_id(self, value: Any) -> int | None:
        """The place of what is shared, and not copied."""
        if not _is_shared(value):
            return None
        place = self._places.setdefault(id(value), len(self.shared))
        if place == len(self.shared):
            self.shared.append(value)
        return place

    def reducer_override(self, value: Any) -> Any:
        """How PyTorch's tensors, and functions that hold something, are copied."""
        if type(value) is torch.Tensor and _is_plain(value):
            form = (value.dtype, value.size(), value.stride(), value.storage_offset())
            return _tensor, (value.untyped_storage(), *form, value.requires_grad)
        if isinstance(value, torch.UntypedStorage) and value.device.type == "cpu":
            memory = torch.empty(0, dtype=torch.uint8).set_(value)
            return _storage, (memory.numpy().tobytes(),)
        if isinstance(value, types.FunctionType):
            cells = value.__closure__ or ()
            kept = (value.__defaults__, value.__kwdefaults__, vars(value), cells)
            return _function, (_Code(value), cells), kept[:3], None, None, _fill
        if isinstance(value, types.CellType):
            content = _content_of(value)
            return types.CellType, (), content or None, None, None, _fill_cell
        return NotImplemented


class _Code:
    """Stands for a function's code, name and module, which copies share."""

    def __init__(self, function: types.FunctionType) -> None:
        self.function = function
        self.parts = (id(function.__code__), id(function.__globals__))


def _is_same(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, _Code) and isinstance(b, _Code) and a.parts == b.parts)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, shared: list[Any]) -> None:
        super().__init__(file)
        self._shared = shared

    def persistent_load(self, place: int) -> Any:
        """What is shared."""
        return self._shared[place]


def _is_shared(value: Any) -> bool:
    if isinstance(value, types.FunctionType):
        holds = (value.__closure__, value.__defaults__, value.__kwdefaults__, vars(value))
        return not any(holds) or _is_imported(value)
    if isinstance(value, _Code | type | types.ModuleType | types.CodeType):
        return True
    if isinstance(value, torch.Tensor):
        is_plain = value.layout == torch.strided and not is_lazy(value)
        return is_plain and value.untyped_storage().nbytes() > _LARGE_BYTES
    if isinstance(value, np.ndarray):
        return max(value.nbytes, getattr(value.base, "nbytes", 0)) > _LARGE_BYTES
    if isinstance(value, str | bytes):
        return len(value) > _LARGE_BYTES
    return isinstance(value, list | tuple | dict | set) and len(value) > _LONGEST


def _is_imported(function: types.FunctionType) -> bool:
    """Whether a process would import a function by its name, with all that hangs on it."""
    module = sys.modules.get(function.__module__ or "")
    try:
        found = attrgetter(function.__qualname__)(module)
    except AttributeError:
        return False
    return found is function and function.__module__ != "__main__"


def _is_plain(tensor: torch.Tensor) -> bool:
    is_strided = tensor.layout == torch.strided and tensor.device.type == "cpu"
    return is_strided and tensor.is_leaf and not vars(tensor) and not tensor.is_quantized


def _storage(content: bytes) -> Any:
    if not content:
        return torch.UntypedStorage(0)  # type: ignore[no-untyped-call]
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).untyped_storage()


def _tensor(storage: Any, dtype: Any, size: Any, stride: Any, offset: int, grad: bool) -> Any:
    tensor = torch.empty(0, dtype=dtype).set_(storage, offset, size, stride)
    return tensor.requires_grad_(grad)


def _function(code: _Code, cells: tuple[types.CellType, ...]) -> types.FunctionType:
    own = code.function
    copy = types.FunctionType(own.__code__, own.__globals__, own.__name__, None, cells or None)
    copy.__qualname__, copy.__module__, copy.__doc__ = own.__qualname__, own.__module__, own.__doc__
    return copy


def _fill(copy: types.FunctionType, kept: tuple[Any, Any, dict[str, Any]]) -> None:
    copy.__defaults__, copy.__kwdefaults__, attributes = kept
    vars(copy).update(attributes)


def _content_of(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # it is empty
        return ()


def _fill_cell(copy: types.CellType, content: tuple[Any]) -> None:
    (copy.cell_contents,) = content
