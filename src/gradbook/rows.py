"""The rows of a batch of which each of several processes takes its own."""

from collections.abc import Mapping, Sequence
from typing import Any, overload

import torch

_PLAIN = (str, bytes, int, float, bool)


class Rows(Sequence[torch.Tensor]):
    """A batch of tensors in memory, of which each part is gathered when it is asked for.

    Args:
        tensors: Of which it is a batch, each with a row for each example.
        numbers: Those of its examples: a range, or a tensor of int64 on the tensors' device.
    """

    def __init__(self, tensors: Sequence[torch.Tensor], numbers: range | torch.Tensor) -> None:
        self._tensors, self._numbers = tensors, numbers

    @property
    def num_examples(self) -> int:
        """How many examples it has."""
        return len(self._numbers)

    def __len__(self) -> int:
        return len(self._tensors)

    @overload
    def __getitem__(self, index: int) -> torch.Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[torch.Tensor]: ...
    def __getitem__(self, index: int | slice) -> torch.Tensor | list[torch.Tensor]:
        if isinstance(index, slice):
            return [gathered(tensor, self._numbers) for tensor in self._tensors[index]]
        return gathered(self._tensors[index], self._numbers)

    def cut(self, begin: int, end: int) -> list[torch.Tensor]:
        """The rows from `begin` to `end` alone."""
        return [gathered(tensor, self._numbers[begin:end]) for tensor in self._tensors]


def gathered(tensor: torch.Tensor, numbers: range | torch.Tensor) -> torch.Tensor:
    """The rows of a tensor that have these numbers, with memory of their own."""
    if isinstance(numbers, range):
        return tensor[numbers.start : numbers.stop].clone()
    return tensor.index_select(0, numbers)


def has_rows(part: Any, num_examples: int) -> bool:
    """Whether a batch can be cut: all of it has a row for each example, or is one number for all.

    What is neither a tensor nor a number, a text or a collection of these, nobody can cut.
    """
    if isinstance(part, Rows):
        return True
    if isinstance(part, torch.Tensor):
        is_dense = part.layout == torch.strided
        return is_dense and (part.dim() == 0 or len(part) == num_examples)
    if isinstance(part, Mapping):
        return all(has_rows(value, num_examples) for value in part.values())
    if isinstance(part, list | tuple):
        if _are_plain(part):
            return len(part) == num_examples
        return all(has_rows(value, num_examples) for value in part)
    return part is None or isinstance(part, _PLAIN)


def cut(part: Any, begin: int, end: int) -> Any:
    """The rows from `begin` to `end` of what `has_rows`."""
    if isinstance(part, Rows):
        return part.cut(begin, end)
    if isinstance(part, torch.Tensor):
        return part[begin:end] if part.dim() else part
    if isinstance(part, Mapping):
        return {name: cut(value, begin, end) for name, value in part.items()}
    if isinstance(part, list | tuple):
        if _are_plain(part):
            return part[begin:end]
        values = [cut(value, begin, end) for value in part]
        return type(part)(*values) if hasattr(part, "_fields") else type(part)(values)
    return part


def _are_plain(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(value, _PLAIN) for value in values)
