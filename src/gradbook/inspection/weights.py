"""The weights of a softmax regression as images. Book: 4.4 (sec_softmax_scratch)."""

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parameter import is_lazy

from gradbook.errors import ModelError
from gradbook.inspection import pictures
from gradbook.inspection.classification import class_names
from gradbook.inspection.images import image_shape

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure


def weight_images(model: torch.nn.Module, data: Any) -> torch.Tensor:
    """What a model looks for in each pixel, for each class.

    Args:
        model: A model whose only weights lead from the pixels of a gray image to the classes:
            a matrix (pixels, classes), or that of an `nn.Linear`, (classes, pixels).
        data: The data that it was trained on, which give the height and width.

    Returns:
        The weights on the CPU, of shape (classes, height, width).

    Raises:
        ModelError: If the model has other weights.
        DataError: If the data hold no images.
    """
    return images_of_weights(model, image_shape(data))


def images_of_weights(model: torch.nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """The same for images of a shape (channels, height, width)."""
    name = type(model).__name__
    channels, height, width = shape
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise ModelError(f"{name} has no weights yet. Train it first.")
    matrices = {key: W for key, W in model.named_parameters() if W.dim() > 1}
    num_pixels = height * width
    if len(matrices) == 1 and channels == 1:
        (W,) = matrices.values()
        if W.dim() == 2 and num_pixels in W.shape:
            rows = W if W.shape[1] == num_pixels else W.t()
            return rows.detach().cpu().reshape(-1, height, width)
    listed = ", ".join(f"{key} {tuple(W.shape)}" for key, W in matrices.items())
    raise ModelError(
        f"The weights of {name} cannot be shown as images of {height} x {width} pixels. That takes "
        f"one matrix from {num_pixels} gray pixels straight to the classes, as in a softmax "
        f"regression, but {name} has {listed or 'no weights'}"
        f"{f' and images of {channels} channels' if channels > 1 else ''}."
    )


def show_weights(
    model: torch.nn.Module, data: Any, figure: "Figure | None" = None
) -> "np.ndarray[Any, Any]":
    """Draws the weights of each class as an image: red speaks for the class, blue against it.

    All images have one scale of colors, with white at 0.

    Args:
        model: A model whose only weights lead from the pixels to the classes.
        data: The data that it was trained on.
        figure: A Matplotlib figure to draw on; without it, a new one of pyplot's.

    Returns:
        The axes as an array of shape (classes,).

    Raises:
        ModelError: If the model has other weights.
        DataError: If the data hold no images.
    """
    images = weight_images(model, data)
    return pictures.draw_weights(images.numpy(), class_names(data, len(images)), figure)
