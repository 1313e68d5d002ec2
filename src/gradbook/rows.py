"""The rows of a batch of which each of several processes takes its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

_PLAIN = (str, bytes, int, float, bool)


def has_rows(part: Any, num_examples: int) -> bool:
    """Whether a batch can be cut: all of it has a row for each example, or is one number for all.

    What is neither a tensor nor a number, a text or a collection of these, nobody can cut.
    """
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
