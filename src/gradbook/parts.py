"""Tensors of which each of several processes holds a part, as `strategy="fsdp"` makes them."""

from typing import Any

import torch


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether each of several processes holds a part of a tensor."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor. If it is sharded, all processes have to ask for it at once."""
    held: Any = tensor
    return held.full_tensor() if is_sharded(tensor) else held  # type: ignore[no-any-return]


def part_here(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of a tensor: all of it, unless it is sharded."""
    held: Any = tensor
    return held.to_local() if is_sharded(tensor) else held  # type: ignore[no-any-return]
