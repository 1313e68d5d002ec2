"""Pascal VOC2012 for semantic segmentation: images, and the class of each pixel.

Book: 14.9 (sec_semantic_segmentation).
"""

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from gradbook.checks import check_tensor, check_whole_number
from gradbook.datasets.files import download_extract
from gradbook.datasets.image_files import read_image
from gradbook.errors import ConfigError, DataError, ShapeError, shown
from gradbook.storage import check_path

#: Red, green and blue of each class in a picture of labels.
VOC_COLORMAP = [
    *([0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128]),
    *([0, 128, 128], [128, 128, 128], [64, 0, 0], [192, 0, 0], [64, 128, 0], [192, 128, 0]),
    *([64, 0, 128], [192, 0, 128], [64, 128, 128], [192, 128, 128], [0, 64, 0], [128, 64, 0]),
    *([0, 192, 0], [128, 192, 0], [0, 64, 128]),
]

#: The names of the 21 classes.
VOC_CLASSES = [
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat"),
    *("chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "potted plant"),
    *("sheep", "sofa", "train", "tv/monitor"),
]


def read_voc_images(
    voc_dir: str | os.PathLike[str], is_train: bool = True
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Reads all images for segmentation, and the pictures of their labels.

    Args:
        voc_dir: The folder VOC2012 of the unpacked archive.
        is_train: Whether to read the training set; otherwise the validation set.

    Returns:
        features: uint8 tensors (3, H, W) of several sizes.
        labels: uint8 tensors (3, H, W): each pixel has the color of its class.

    Raises:
        DataError: If the folder does not hold the data set.

    Book: 14.9.2.
    """
    pairs = list(_read_pairs(voc_dir, is_train))
    return [feature for feature, _ in pairs], [label for _, label in pairs]


def _read_pairs(
    voc_dir: str | os.PathLike[str], is_train: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    check_path(voc_dir, "voc_dir", "../data/VOCdevkit/VOC2012")
    split = "train" if is_train else "val"
    path = os.path.join(voc_dir, "ImageSets", "Segmentation", f"{split}.txt")
    try:
        with open(path) as file:
            names = file.read().split()
    except OSError as error:
        raise DataError(
            f"{voc_dir} does not hold Pascal VOC2012: {path} cannot be read "
            f"({error.strerror}). Get the folder with "
            f"`download_extract('voc2012', 'VOCdevkit/VOC2012')`."
        ) from error
    for name in names:
        feature = read_image(os.path.join(voc_dir, "JPEGImages", f"{name}.jpg"), is_rgb=True)
        label = read_image(os.path.join(voc_dir, "SegmentationClass", f"{name}.png"), is_rgb=True)
        yield feature, label


def voc_colormap2label() -> torch.Tensor:
    """The class of every color, by its number (red * 256 + green) * 256 + blue.

    Returns:
        An int64 tensor (256 ** 3,): 0, the background, for a color that no class has.

    Book: 14.9.2.
    """
    colormap2label = torch.zeros(256**3, dtype=torch.int64)
    colormap2label[_number(torch.tensor(VOC_COLORMAP).T)] = torch.arange(len(VOC_COLORMAP))
    return colormap2label


def voc_label_indices(colormap: torch.Tensor, colormap2label: torch.Tensor) -> torch.Tensor:
    """The class of each pixel, of a picture of labels.

    Args:
        colormap: uint8 (3, H, W).
        colormap2label: What `voc_colormap2label` gives.

    Returns:
        A tensor (H, W) of the dtype of `colormap2label`.

    Raises:
        ShapeError: If `colormap` is no such picture, or `colormap2label` has another length.

    Book: 14.9.2.

    >>> colormap = torch.tensor([[[128, 0]], [[0, 64]], [[0, 128]]])
    >>> voc_label_indices(colormap, voc_colormap2label())
    tensor([[ 1, 20]])
    """
    check_tensor(colormap, "colormap", 3, "H", "W")
    check_tensor(colormap2label, "colormap2label", 256**3)
    if colormap.is_floating_point():  # from 0 to 1, all would be background
        raise ShapeError(
            "colormap must have the dtype uint8, with values from 0 to 255, but it is "
            f"{colormap.dtype}: read it with `torchvision.io.read_image`."
        )
    return colormap2label[_number(colormap)]


def _number(colors: torch.Tensor) -> torch.Tensor:
    """Colors (3, ...) as numbers."""
    colors = colors.long()
    return (colors[0] * 256 + colors[1]) * 256 + colors[2]


def voc_rand_crop(
    feature: torch.Tensor, label: torch.Tensor, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cuts the same part, at a random place, out of an image and its label.

    Args:
        feature: An image (..., H, W).
        label: Its label (..., H, W).
        height: The part's height in pixels.
        width: Its width.

    Raises:
        ConfigError: If the image is smaller than the part.
        ShapeError: If image and label differ in height or width.

    Book: 14.9.2.
    """
    height, width = _check_size((height, width))
    check_tensor(feature, "feature", "...", "H", "W")
    check_tensor(label, "label", "...", *feature.shape[-2:])
    room = [have - want for have, want in zip(feature.shape[-2:], (height, width), strict=True)]
    if min(room) < 0:
        raise ConfigError(
            f"An image of {feature.shape[-2]} x {feature.shape[-1]} pixels has no part of "
            f"{height} x {width}."
        )
    top, left = (int(torch.randint(pixels + 1, ())) for pixels in room)
    rows, columns = slice(top, top + height), slice(left, left + width)
    return feature[..., rows, columns], label[..., rows, columns]


def _check_size(crop_size: Any) -> tuple[int, int]:
    """The height and width, or ConfigError says what they must be."""
    if not isinstance(crop_size, tuple | list) or len(crop_size) != 2:
        raise ConfigError(
            f"crop_size must be the height and the width of the crops, such as (320, 480), but it "
            f"is {shown(crop_size)}."
        )
    height, width = crop_size
    return (
        check_whole_number(height, "The height of a crop", at_least=1),
        check_whole_number(width, "The width of a crop", at_least=1),
    )


class VOCSegDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Pascal VOC2012 in memory, as bytes; images that are smaller than the crops are left out.

    `dataset[i]` is a random crop: (float32 image (3, height, width) with mean 0 and variance 1
    over ImageNet's images, int64 classes (height, width)).

    Args:
        is_train: Whether to take the training set; otherwise the validation set.
        crop_size: Height and width of the crops in pixels.
        voc_dir: The folder VOC2012 of the unpacked archive.

    Attributes:
        features: uint8 tensors (3, H, W).
        labels: uint8 tensors (H, W) of classes.

    Raises:
        ConfigError: If `crop_size` is not two whole numbers.
        DataError: If no image is as large as the crops, or the folder does not hold the data set.

    Book: 14.9.2.
    """

    def __init__(
        self, is_train: bool, crop_size: tuple[int, int], voc_dir: str | os.PathLike[str]
    ) -> None:
        self.crop_size = height, width = _check_size(crop_size)
        self.features: list[torch.Tensor] = []
        self.labels: list[torch.Tensor] = []
        # Normalized and with labels as int64, all images would take 14 times the memory.
        colormap2label = voc_colormap2label().to(torch.uint8)
        for feature, label in _read_pairs(voc_dir, is_train):
            if feature.shape[1] >= height and feature.shape[2] >= width:
                self.features.append(feature)
                self.labels.append(voc_label_indices(label, colormap2label))
        if not self.features:
            raise DataError(f"No image in {voc_dir} is as large as {height} x {width} pixels.")
        print(f"read {len(self.features)} examples")

    def normalize_image(self, img: torch.Tensor) -> torch.Tensor:
        """An image (3, H, W) from 0 to 255, less ImageNet's mean, by its standard deviation."""
        mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
        return (img.float() / 255 - mean) / std

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, idx: int) -> tuple[torch.Tensor, torch.Tensor]:
        feature, label = voc_rand_crop(self.features[idx], self.labels[idx], *self.crop_size)
        return self.normalize_image(feature), label.long()


def load_data_voc(
    batch_size: int, crop_size: tuple[int, int]
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """The minibatches of the training set, shuffled, and of the validation set.

    The archive is looked for in `../data`, fetched if it is not there, and replaced by drawings,
    with a warning, if it cannot be fetched. Every batch is full: a last one that is not is left
    out.

    Args:
        batch_size: Images in a batch.
        crop_size: Height and width of the crops in pixels.

    Returns:
        Two iterables of (float32 (B, 3, height, width), int64 (B, height, width)).

    Raises:
        ConfigError: If an argument cannot be used.
        DataError: If there are fewer images than `batch_size`.

    Book: 14.9.2.
    """
    check_whole_number(batch_size, "batch_size", at_least=1)
    _check_size(crop_size)
    voc_dir = download_extract("voc2012", os.path.join("VOCdevkit", "VOC2012"))
    loaders = []
    for is_train in (True, False):
        dataset = VOCSegDataset(is_train, crop_size, voc_dir)
        if len(dataset) < batch_size:
            raise DataError(
                f"batch_size is {batch_size}, but only {len(dataset)} images are as large as the "
                f"crops. Take a smaller batch."
            )
        loaders.append(DataLoader(dataset, batch_size, shuffle=is_train, drop_last=True))
    train, val = loaders
    return train, val
