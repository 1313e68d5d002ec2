"""What chapter 14 of the book uses of torchvision, for machines without torchvision.

Images from files and from folders, the transforms of PIL images, and RoI pooling, with
torchvision's signatures and results; random transforms draw the same numbers in the same order.
`torchvision_standin` gives them out.

Book: 14.1 (sec_image_augmentation), 14.8, 14.9, 14.13.
"""

import enum
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch.utils.data import Dataset

from gradbook.checks import check_whole_number
from gradbook.datasets import image_files
from gradbook.errors import ConfigError, DataError


class ImageReadMode(enum.Enum):
    """The channels that `read_image` gives."""

    UNCHANGED = 0
    RGB = 3


def read_image(path: str, mode: ImageReadMode = ImageReadMode.UNCHANGED) -> torch.Tensor:
    """An image from a file, as a uint8 tensor (channels, height, width).

    Args:
        path: The file.
        mode: The channels: those of the file, or red, green and blue.
    """
    return image_files.read_image(path, is_rgb=mode is ImageReadMode.RGB)


class ImageFolder(Dataset[tuple[Any, int]]):
    """Images in a folder for each class, as pairs of a PIL image and the number of its class.

    Args:
        root: The folder of the folders.
        transform: Called with each image.
        target_transform: Called with each number.

    Attributes:
        classes: The names of the folders, sorted.
        class_to_idx: The number of each class.
        samples, imgs: The path and the class of each image.
        targets: The class of each image.
    """

    _ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.root, self.transform, self.target_transform = root, transform, target_transform
        folders = sorted(path for path in Path(root).iterdir() if path.is_dir())
        self.classes = [folder.name for folder in folders]
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}
        self.samples = self.imgs = [
            (str(path), i)
            for i, folder in enumerate(folders)
            for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in self._ENDINGS
        ]
        self.targets = [i for _, i in self.samples]
        if not self.samples:
            raise DataError(f"There is no folder with images in {root}.")

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        with Image.open(path) as file:
            image: Any = file.convert("RGB")
        if self.transform is not None:
            image = self.transform(image)
        return image, target if self.target_transform is None else self.target_transform(target)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """A part of a PIL image or of a tensor (..., H, W); black where it reaches beyond the image.

    Args:
        img: The image.
        top: The first row.
        left: The first column.
        height: The number of rows.
        width: The number of columns.
    """
    if not isinstance(img, torch.Tensor):
        return img.crop((left, top, left + width, top + height))
    rows, columns = img.shape[-2:]
    inside = img[..., max(top, 0) : top + height, max(left, 0) : left + width]
    beyond = (-left, left + width - columns, -top, top + height - rows)
    return torch.nn.functional.pad(inside, [max(pixels, 0) for pixels in beyond])


def roi_pool(
    input: torch.Tensor,
    boxes: torch.Tensor | Sequence[torch.Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
) -> torch.Tensor:
    """The largest values in the parts of boxes, each box divided into equally many parts.

    Args:
        input: Feature maps (B, channels, H, W).
        boxes: (num_boxes, 5): the number of the example, then left, top, right, bottom; or for
            each example its boxes, (num_boxes, 4).
        output_size: The number of parts, down and across, or one number for both.
        spatial_scale: By how much the boxes are multiplied to be in the maps' pixels.

    Returns:
        (num_boxes, channels, parts down, parts across); 0 where a part holds no pixel.

    Book: 14.8 (sec_rcnn).
    """
    if not isinstance(boxes, torch.Tensor):
        numbered = [torch.nn.functional.pad(own, (1, 0), value=i) for i, own in enumerate(boxes)]
        boxes = torch.cat(numbered)
    if boxes.dim() != 2 or boxes.shape[1] != 5:
        raise ConfigError(
            f"boxes must be a tensor (num_boxes, 5) or a list of (num_boxes, 4), not of shape "
            f"{tuple(boxes.shape)}."
        )
    size = _pair(output_size)
    output = input.new_zeros(len(boxes), input.shape[1], *size)
    for number, (example, *box) in enumerate(boxes.tolist()):
        edges = torch.tensor(box, dtype=boxes.dtype) * spatial_scale
        edges = (edges.abs() + 0.5).floor() * edges.sign()  # rounded, halves away from 0
        left, top, right, bottom = map(int, edges.tolist())
        rows = _part_ends(top, bottom, size[0], input.shape[2])
        columns = _part_ends(left, right, size[1], input.shape[3])
        for i, (first, last) in enumerate(rows):
            for j, (start, end) in enumerate(columns):
                if first < last and start < end:
                    part = input[int(example), :, first:last, start:end]
                    output[number, :, i, j] = part.amax(dim=(1, 2))
    return output


def _part_ends(low: int, high: int, num_parts: int, length: int) -> list[tuple[int, int]]:
    """Where each part of the pixels from low to high begins and ends, within 0 to length."""
    part = max(high - low + 1, 1) / num_parts
    ends = [(low + math.floor(i * part), low + math.ceil((i + 1) * part)) for i in range(num_parts)]
    return [(min(max(begin, 0), length), min(max(end, 0), length)) for begin, end in ends]


def _height_and_width(img: Any) -> tuple[int, int]:
    if isinstance(img, torch.Tensor):
        return img.shape[-2], img.shape[-1]
    width, height = img.size
    return height, width


def side_lengths(size: int | Sequence[int]) -> list[int]:
    """A size of one number, or of (height, width), as a list.

    Args:
        size: What a transform was given.

    Raises:
        ConfigError: If it is neither.
    """
    lengths = [size] if isinstance(size, int) else list(size)
    if len(lengths) not in (1, 2):
        raise ConfigError(f"size must be a number or (height, width), but it is {size!r}.")
    return [check_whole_number(length, "size", at_least=1) for length in lengths]


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    lengths = side_lengths(size)
    return lengths[0], lengths[-1]


class Normalize:
    """A float tensor (channels, H, W) less a mean and by a standard deviation of each channel.

    Args:
        mean: One number for each channel.
        std: One number for each channel.
        inplace: Whether to change the tensor itself.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        self.mean, self.std, self.inplace = mean, std, inplace

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor, normalized."""
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            raise TypeError("Normalize takes a tensor of floats, as ToTensor makes one.")
        mean, std = (
            torch.as_tensor(values, dtype=tensor.dtype, device=tensor.device).reshape(-1, 1, 1)
            for values in (self.mean, self.std)
        )
        return (tensor if self.inplace else tensor.clone()).sub_(mean).div_(std)


class RandomHorizontalFlip:
    """An image, mirrored left to right with a probability.

    Args:
        p: The probability.
    """

    _turn = Image.Transpose.FLIP_LEFT_RIGHT
    _dim = -1

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, img: Any) -> Any:
        """The image or its mirror image."""
        if torch.rand(1) >= self.p:
            return img
        return img.flip(self._dim) if isinstance(img, torch.Tensor) else img.transpose(self._turn)


class RandomVerticalFlip(RandomHorizontalFlip):
    """An image, mirrored top to bottom with a probability."""

    _turn = Image.Transpose.FLIP_TOP_BOTTOM
    _dim = -2


class CenterCrop:
    """The middle of an image.

    Args:
        size: Height and width in pixels, or one number for both.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _pair(size)

    def __call__(self, img: Any) -> Any:
        """The middle; black where it reaches beyond the image."""
        (rows, columns), (height, width) = _height_and_width(img), self.size
        return crop(img, round((rows - height) / 2), round((columns - width) / 2), height, width)


class RandomCrop:
    """A part of an image at a random place.

    Args:
        size: Height and width in pixels, or one number for both.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _pair(size)

    @staticmethod
    def get_params(img: Any, output_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Draws a place: the first row and column, and height and width.

        Args:
            img: The image.
            output_size: Height and width.
        """
        (rows, columns), (height, width) = _height_and_width(img), output_size
        if rows < height or columns < width:
            raise ValueError(
                f"The crop of {height} x {width} is larger than the image of {rows} x {columns}."
            )
        if (rows, columns) == (height, width):
            return 0, 0, rows, columns
        top = int(torch.randint(rows - height + 1, (1,)))
        return top, int(torch.randint(columns - width + 1, (1,))), height, width

    def __call__(self, img: Any) -> Any:
        """The part."""
        return crop(img, *self.get_params(img, self.size))


class RandomResizedCrop:
    """A random part of a PIL image, of random size and ratio, brought to one size.

    Args:
        size: Height and width of the result in pixels, or one number for both.
        scale: The smallest and the largest part of the image's area.
        ratio: The smallest and the largest ratio of width to height.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        self.size, self.scale, self.ratio = _pair(size), scale, ratio

    @staticmethod
    def get_params(
        img: Any, scale: tuple[float, float], ratio: tuple[float, float]
    ) -> tuple[int, int, int, int]:
        """Draws a part: the first row and column, and height and width.

        Args:
            img: The image.
            scale: See the class.
            ratio: See the class.
        """
        rows, columns = _height_and_width(img)
        ends = torch.log(torch.tensor(ratio))
        for _ in range(10):
            area = rows * columns * torch.empty(1).uniform_(scale[0], scale[1]).item()
            drawn = torch.exp(torch.empty(1).uniform_(float(ends[0]), float(ends[1]))).item()
            width, height = round(math.sqrt(area * drawn)), round(math.sqrt(area / drawn))
            if 0 < width <= columns and 0 < height <= rows:
                top = int(torch.randint(rows - height + 1, (1,)))
                return top, int(torch.randint(columns - width + 1, (1,))), height, width
        width, height = columns, rows  # as much of the middle as the ratio allows
        if columns / rows < min(ratio):
            height = round(columns / min(ratio))
        elif columns / rows > max(ratio):
            width = round(rows * max(ratio))
        return (rows - height) // 2, (columns - width) // 2, height, width

    def __call__(self, img: Any) -> Any:
        """The part in the new size."""
        part = crop(img, *self.get_params(img, self.scale, self.ratio))
        return part.resize(self.size[::-1], Image.Resampling.BILINEAR)


class ColorJitter:
    """A PIL image in other colors: brightness, contrast, saturation and hue, in random order.

    Args:
        brightness: By how much the factor may differ from 1; or its smallest and largest value.
        contrast: Likewise.
        saturation: Likewise.
        hue: By how much the hue may move, up to 0.5 of the color circle; or from where to where.
    """

    def __init__(
        self,
        brightness: float | tuple[float, float] = 0,
        contrast: float | tuple[float, float] = 0,
        saturation: float | tuple[float, float] = 0,
        hue: float | tuple[float, float] = 0,
    ) -> None:
        self._ranges = [
            _factors(brightness, "brightness"),
            _factors(contrast, "contrast"),
            _factors(saturation, "saturation"),
            _range((-hue, hue) if isinstance(hue, int | float) else hue, "hue", -0.5, 0.5, same=0),
        ]

    def __call__(self, img: Any) -> Any:
        """The image in other colors."""
        order = torch.randperm(4).tolist()
        factors = [
            None if ends is None else float(torch.empty(1).uniform_(*ends)) for ends in self._ranges
        ]
        ways = (_enhance("Brightness"), _enhance("Contrast"), _enhance("Color"), _move_hue)
        for i in order:
            factor = factors[i]
            if factor is not None:
                img = ways[i](img, factor)
        return img


def _factors(value: Any, name: str) -> tuple[float, float] | None:
    """The range of a factor; None where it is always 1."""
    if isinstance(value, int | float):
        value = (max(0.0, 1 - value), 1 + value) if value >= 0 else (value, value)
    return _range(value, name, 0, math.inf, same=1)


def _range(
    value: Any, name: str, least: float, most: float, same: float
) -> tuple[float, float] | None:
    """The ends of a range, checked; None where it holds nothing but what changes nothing."""
    low, high = map(float, value)
    if not least <= low <= high <= most:
        raise ValueError(f"{name} from {low:g} to {high:g} is no range within {least}, {most}.")
    return None if low == high == same else (low, high)


def _enhance(kind: str) -> Callable[[Any, float], Any]:
    return lambda img, factor: getattr(ImageEnhance, kind)(img).enhance(factor)


def _move_hue(img: Any, factor: float) -> Any:
    if img.mode in ("L", "1", "I", "F"):
        return img
    hue, saturation, value = img.convert("HSV").split()
    moved = np.array(hue, dtype=np.uint8) + np.int64(factor * 255).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(moved), saturation, value)).convert(img.mode)
