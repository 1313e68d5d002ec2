"""Lists of different lengths as the rows of one tensor."""

from collections.abc import Iterable, Sequence
from itertools import chain, islice

import torch


def pad(
    lines: Sequence[Sequence[int]],
    num_steps: int | None = None,
    padding: int = 0,
    dtype: torch.dtype = torch.int64,
) -> torch.Tensor:
    """The lists as the rows of a tensor: cut, or filled up at the end.

    Args:
        lines: Lists of whole numbers.
        num_steps: The length of a row; None takes that of the longest list.
        padding: What a shorter list is filled with.
        dtype: The tensor's dtype.

    >>> pad([[1, 2, 3], [4]], num_steps=2)
    tensor([[1, 2],
            [4, 0]])
    """
    lengths = torch.tensor([len(line) for line in lines], dtype=torch.int64)
    if num_steps is None:
        num_steps = int(lengths.max()) if len(lines) else 0
    kept: Iterable[Iterable[int]] = lines
    if len(lines) and int(lengths.max()) > num_steps:
        kept = (islice(line, num_steps) for line in lines)
    padded = torch.full((len(lines), num_steps), padding, dtype=dtype)
    # One tensor of all numbers, put to their places at once: a tensor of lists of lists takes ten
    # times as long.
    padded[valid_steps(lengths, num_steps)] = torch.tensor(
        list(chain.from_iterable(kept)), dtype=dtype
    )
    return padded


def valid_steps(valid_lens: torch.Tensor, num_steps: int) -> torch.Tensor:
    """Which steps of each row come before its valid length: a bool tensor (rows, num_steps).

    Args:
        valid_lens: The valid length of each row, a tensor (rows,).
        num_steps: The length of a row.

    >>> valid_steps(torch.tensor([1, 3]), num_steps=3).int()
    tensor([[1, 0, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    return torch.arange(num_steps, device=valid_lens.device) < valid_lens.unsqueeze(1)
