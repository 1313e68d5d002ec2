"""The short names for tensor functions that the book's code uses, where PyTorch's own differ.

Each is one call of PyTorch. They exist because the book's text serves several frameworks.
"""

from typing import Any

import torch


def numpy(x: torch.Tensor) -> Any:
    """The values of a tensor on any device as a NumPy array, outside the graph."""
    return x.detach().cpu().numpy()


def size(x: torch.Tensor) -> int:
    """The number of elements."""
    return x.numel()


def reshape(x: torch.Tensor, *shape: Any) -> torch.Tensor:
    """The same elements in another shape, given as numbers or as one tuple."""
    return x.reshape(*shape)


def to(x: Any, *args: Any, **kwargs: Any) -> Any:
    """A tensor or a model on another device or in another dtype."""
    return x.to(*args, **kwargs)


def reduce_sum(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """The sum over all elements or over an axis, as `x.sum` gives it."""
    return x.sum(*args, **kwargs)


def reduce_mean(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """The mean over all elements or over an axis, as `x.mean` gives it."""
    return x.mean(*args, **kwargs)


def argmax(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Where the largest element stands, as `x.argmax` gives it."""
    return x.argmax(*args, **kwargs)


def astype(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    """The same values in another dtype, as `x.type` gives them."""
    return x.type(*args, **kwargs)


def transpose(x: torch.Tensor) -> torch.Tensor:
    """A matrix with its rows and columns exchanged. Book: 2.3.3."""
    return x.t()


def expand_dims(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """The tensor with one more axis, of length 1, as `x.unsqueeze` gives it."""
    return x.unsqueeze(*args, **kwargs)


def swapaxes(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """The tensor with two axes exchanged, as `x.swapaxes` gives it."""
    return x.swapaxes(*args, **kwargs)


def repeat(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Copies of the tensor side by side along each axis, as `x.repeat` gives them."""
    return x.repeat(*args, **kwargs)


def meshgrid(*tensors: Any, indexing: str = "ij") -> Any:
    """Coordinates of a grid, as `torch.meshgrid` gives them; rows first unless told otherwise.

    PyTorch warns where `indexing` is left out, because it means to change what that means.
    """
    return torch.meshgrid(*tensors, indexing=indexing)
