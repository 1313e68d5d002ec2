"""What an object held, compared and put back."""

from collections.abc import Callable
from typing import Any

import torch

#: What is not there.
MISSING = object()

#: Values that are the same if they are equal.
_COMPARED = (bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)


class Note:
    """What an object held by name or by place, and how it is read and written.

    Args:
        label: What the object is called.
        read: Gives what it holds.
        write: Makes it hold that again.
        form: How a name or a place follows the label; "" where the label says all.
    """

    def __init__(
        self,
        label: str,
        read: Callable[[], dict[Any, Any]],
        write: Callable[[dict[Any, Any]], None],
        form: str = "[{!r:.30}]",
    ) -> None:
        self.label, self._read, self._write, self._form = label, read, write, form
        self.before = read()

    def changed(self) -> str | None:
        """What is not as it was, in words; None if all is."""
        before, now = self.before, self._read()
        for key in [*before, *(key for key in now if key not in before)]:
            if not _is_same(before.get(key, MISSING), now.get(key, MISSING)):
                return self.label + self._form.format(key)
        return None if list(before) == list(now) else self.label

    def put_back(self) -> None:
        """Makes it what it was."""
        self._write(self.before)


def note_variables(
    label: str,
    read: Callable[[], dict[str, Any]],
    set_one: Callable[[str, Any], Any],
    delete_one: Callable[[str], Any],
    form: str = ".{}",
) -> Note:
    """A note of what is set and deleted one by one; what is not set may be `MISSING`."""

    def write(before: dict[str, Any]) -> None:
        now = read()
        for name in before.keys() | now.keys():
            kept = before.get(name, MISSING)
            if kept is now.get(name, MISSING):
                continue
            if kept is MISSING:
                delete_one(name)
            else:
                set_one(name, kept)

    return Note(label, read, write, form)


class TensorNote:
    """The values of a tensor."""

    def __init__(self, label: str, tensor: torch.Tensor, is_exact: bool) -> None:
        self.label, self.tensor = label, tensor
        self._grad, self._requires_grad = _gradient(tensor), tensor.requires_grad
        self._version, self._is_leaf = tensor._version, tensor.is_leaf
        with torch.no_grad():
            self._memory = tensor.detach()  # which may be exchanged, by way of `.data`
            self._values = self._memory.clone() if is_exact else None

    def changed(self) -> str | None:
        """Its name, if it is not as it was."""
        tensor = self.tensor
        if _gradient(tensor) is not self._grad or tensor.requires_grad != self._requires_grad:
            return self.label
        if self._values is None:
            return None if tensor._version == self._version else self.label
        own = tensor.detach()
        if not self._is_in_its_place(own):
            return self.label
        same = torch.equal(own, self._values) or bool(
            ((own == self._values) | ((own != own) & (self._values != self._values))).all()
        )
        return None if same else self.label

    def put_back(self) -> None:
        """Gives it its values again."""
        tensor = self.tensor
        if self._is_leaf and not tensor.is_leaf and not tensor._is_view():
            tensor.detach_()  # something with a history was written into it
        if tensor.is_leaf:
            tensor.requires_grad_(self._requires_grad)
            tensor.grad = self._grad
        if self._values is not None:
            with torch.no_grad():
                if not self._is_in_its_place(tensor):
                    tensor.data = self._memory
                tensor.copy_(self._values)

    def _is_in_its_place(self, tensor: torch.Tensor) -> bool:
        memory = self._memory
        return (
            (tensor.shape, tensor.dtype) == (memory.shape, memory.dtype)
            and tensor.stride() == memory.stride()
            and tensor.data_ptr() == memory.data_ptr()
        )


class ArrayNote:
    """The values of a NumPy array."""

    def __init__(self, label: str, array: Any) -> None:
        self.label, self.array, self._values = label, array, array.copy()

    def changed(self) -> str | None:
        """Its name, if it is not as it was."""
        # By their bytes, so that NaN is equal to NaN.
        is_same = self._has_its_shape() and self.array.tobytes() == self._values.tobytes()
        return None if is_same else self.label

    def put_back(self) -> None:
        """Gives it its values again."""
        if self.array.flags.writeable:
            if not self._has_its_shape():
                self.array.resize(self._values.shape, refcheck=False)
            self.array[...] = self._values

    def _has_its_shape(self) -> bool:
        return bool(self.array.shape == self._values.shape)


def _gradient(tensor: torch.Tensor) -> torch.Tensor | None:
    return tensor.grad if tensor.is_leaf else None


def _is_same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) in _COMPARED:
        return bool(a == b or (a != a and b != b))
    if type(a) is tuple:
        return len(a) == len(b) and all(map(_is_same, a, b))
    return False
