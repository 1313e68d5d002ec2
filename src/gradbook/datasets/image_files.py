"""Images from files, as tensors."""

import os
from pathlib import Path

import torch

from gradbook.errors import CorruptFileError, DataError


def read_image(path: str | os.PathLike[str], is_rgb: bool = False) -> torch.Tensor:
    """An image as torchvision's `io.read_image` gives it.

    Args:
        path: A file of PNG, JPEG or any other format that Pillow reads.
        is_rgb: Whether to convert it to red, green and blue, whatever it has. Otherwise a gray
            image has one channel, and one with transparency has two or four.

    Returns:
        A uint8 tensor (channels, height, width).

    Raises:
        DataError: If there is no such file.
        CorruptFileError: If it is no image, or damaged.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    path = Path(path)
    try:
        with Image.open(path) as image:
            is_kept = image.mode in ("L", "LA", "RGBA") and not is_rgb
            pixels = np.array(image if is_kept else image.convert("RGB"))  # such as a palette
    except UnidentifiedImageError as error:
        raise CorruptFileError(f"{path} is no image, or one that Pillow cannot read.") from error
    except FileNotFoundError as error:
        raise DataError(f"There is no image {path}.") from error
    except (OSError, SyntaxError, ValueError) as error:  # so Pillow calls what is damaged
        raise CorruptFileError(f"The image {path} cannot be read: {error}.") from error
    tensor = torch.from_numpy(pixels)
    return tensor.unsqueeze(0) if tensor.dim() == 2 else tensor.permute(2, 0, 1).contiguous()
