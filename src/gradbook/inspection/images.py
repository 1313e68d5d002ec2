"""Image files as a model's inputs."""

import os
import struct
import warnings
from typing import TYPE_CHECKING, Any

import torch

from gradbook.errors import CorruptFileError, DataError
from gradbook.rehearsal import first_batch
from gradbook.untrusted import open_file

if TYPE_CHECKING:
    from PIL.Image import Image

#: How much brighter than expected a border is, beyond what inverting would leave, before an image
#: counts as inverted. On a scale from 0 to 1.
_MARGIN = 0.3

#: A file that is larger is not read: no image that is small enough has as many bytes.
_MAX_BYTES = 1 << 30


def image_shape(data: Any) -> tuple[int, int, int]:
    """Channels, height and width of the images of `data`; an error if its inputs are none."""
    return shape_of(first_images(data))


def shape_of(X: torch.Tensor) -> tuple[int, int, int]:
    """Channels, height and width of a batch of images."""
    _, channels, height, width = X.shape
    return channels, height, width


def first_images(data: Any) -> torch.Tensor:
    """The first batch of the training set, of shape (batch, channels, height, width).

    Raises:
        DataError: If its inputs are no images with values from 0 to 1.
    """
    X: torch.Tensor = first_batch(data.train_dataloader(), [data])[0]
    name = type(data).__name__
    if X.dim() == 3:
        X = X.unsqueeze(1)
    if X.dim() != 4 or X.shape[1] not in (1, 3):
        raise DataError(
            f"The inputs of {name} are no images: those have the shape (batch, 1 or 3, height, "
            f"width), but these have {tuple(X.shape)}."
        )
    low, high = float(X.min()), float(X.max())
    if low < 0 or high > 1:
        raise DataError(
            f"The images of {name} have values from {low:.3g} to {high:.3g}, but only images with "
            f"values from 0 to 1 are known here."
        )
    return X.float()


def read_as_input(
    path: str | os.PathLike[str], shape: tuple[int, int, int], invert: bool = False
) -> torch.Tensor:
    """An image file, PNG or JPEG, as a model's input: float32 (channels, height, width) in [0, 1].

    A photo is turned as its EXIF orientation says, what is transparent is put on white, colors
    become gray where the model knows no others, and the size is fitted. Proportions are kept: what
    is missing at two sides is filled with the mean of the border. Last, `invert` exchanges bright
    and dark.

    Raises:
        DataError: If there is no such file, it is no image, or it is too big.
        CorruptFileError: If it is damaged, or a pipe or device.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        stream = open_file(path, _MAX_BYTES)
    except FileNotFoundError:
        raise DataError(f"There is no file {str(path)!r}.") from None
    channels, height, width = shape
    with stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as those about a photo's damaged EXIF block
        # Whoever packs that many pixels into a small file means harm.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(stream, formats=("PNG", "JPEG")) as opened:
                opened.load()
                image = _flattened(opened, "L" if channels == 1 else "RGB")
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise DataError(
                f"{path} has more than {Image.MAX_IMAGE_PIXELS:,} pixels, which is too big for an "
                f"image to classify. Make it smaller."
            ) from None
        except UnidentifiedImageError:
            raise DataError(f"{path} is not a PNG or JPEG image. Give it as one.") from None
        except (OSError, SyntaxError, ValueError, struct.error) as error:  # so PIL reads rubbish
            if isinstance(error, OSError) and error.errno is not None:  # of the file
                raise DataError(f"{path} cannot be read: {error.strerror}.") from error
            raise CorruptFileError(f"{path} is a damaged image: {error}. Save it anew.") from error
    pixels = torch.frombuffer(bytearray(_fitted(image, height, width).tobytes()), dtype=torch.uint8)
    X = pixels.reshape(height, width, channels).permute(2, 0, 1).float() / 255
    return 1 - X if invert else X


def border_brightness(X: torch.Tensor) -> float:
    """The mean of the outermost pixels of images of shape (..., height, width)."""
    edges = [X[..., 0, :], X[..., -1, :], X[..., 1:-1, 0], X[..., 1:-1, -1]]
    return float(torch.cat([edge.reshape(-1) for edge in edges]).mean())


def looks_inverted(X: torch.Tensor, expected: float) -> bool:
    """Whether an image's border is nearer to the expected brightness once it is inverted."""
    brightness = border_brightness(X)
    return abs(brightness - expected) - abs(1 - brightness - expected) > _MARGIN


def _flattened(image: "Image", mode: str) -> "Image":
    """The image upright, without transparency, in gray ("L") or colors ("RGB")."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16 bits, of which a conversion would cut the upper ones
        upright = upright.convert("I").point(lambda value: value / 257).convert("L")
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return upright.convert("RGB").convert(mode)


def _fitted(image: "Image", height: int, width: int) -> "Image":
    """The image in the given size, with its own proportions."""
    from PIL import Image

    scale = min(width / image.width, height / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    inner = image.resize(size, Image.Resampling.BILINEAR)
    if size == (width, height):
        return inner
    canvas = Image.new(image.mode, (width, height), _border_color(image))
    canvas.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return canvas


def _border_color(image: "Image") -> tuple[int, ...]:
    from PIL.ImageStat import Stat

    width, height = image.size
    strips = [(0, 0, width, 1), (0, height - 1, width, height)]
    strips += [(0, 0, 1, height), (width - 1, 0, width, height)]
    means = [Stat(image.crop(strip)).mean for strip in strips]
    return tuple(round(sum(channel) / len(means)) for channel in zip(*means, strict=True))
