"""Images resized as Pillow's bilinear filter does, without Pillow."""

import functools

import torch
from torch.nn import functional


def resize_images(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bytes (n, h, w) as bytes (n, *size), as Pillow's bilinear filter makes them."""
    if images.device.type == "cpu":
        # PyTorch's kernel for bytes does Pillow's integer arithmetic, pass by pass. It works in
        # parts, because between the passes it holds a copy of all that it was given. One channel
        # a picture, because with many channels and a width of 1 PyTorch 2.13 is wrong.
        out = images.new_empty((len(images), *size))
        for start in range(0, len(images), 4096):
            part = slice(start, start + 4096)
            out[part] = functional.interpolate(
                images[part].unsqueeze(1), size=size, mode="bilinear", antialias=True
            ).squeeze(1)
        return out
    return resize_by_products(images, size)


def resize_by_products(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The same to one gray level, on devices that have no such kernel for bytes.

    Interpolation is linear in rows and in columns, so that it is a product with a matrix from
    each side. Pillow rounds after the first side too, which is where the gray level comes from.
    """
    rows, columns = (
        _weights(length, new).to(images.device)
        for length, new in zip(images.shape[1:], size, strict=True)
    )
    resized = rows @ images.to(torch.float32) @ columns.T
    return resized.round_().clamp_(0, 255).to(torch.uint8)


@functools.lru_cache(maxsize=8)
def _weights(length: int, new: int) -> torch.Tensor:
    """The matrix (new, length) of bilinear interpolation with antialiasing, on the CPU."""
    # One square picture: with many channels and a width of 1, PyTorch 2.13 gives wrong numbers.
    basis = torch.eye(length).reshape(1, 1, length, length)
    resized = functional.interpolate(basis, size=(new, length), mode="bilinear", antialias=True)
    return resized.reshape(new, length)
