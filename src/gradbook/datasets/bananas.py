"""The banana detection data set: one banana in each image, with its box.

Book: 14.6 (sec_object-detection-dataset).
"""

import csv
import os

import torch
from torch.utils.data import Dataset

from gradbook.data import TensorLoader
from gradbook.datasets.files import download_extract
from gradbook.datasets.image_files import read_image
from gradbook.errors import DataError


def read_data_bananas(is_train: bool = True) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Reads the images and their labels.

    The archive is looked for in `../data`, fetched if it is not there, and replaced by drawings,
    with a warning, if it cannot be fetched.

    Args:
        is_train: Whether to read the training set; otherwise the validation set.

    Returns:
        images: uint8 tensors (3, 256, 256).
        targets: float32 (n, 1, 5): for the one object of each image its class, 0, and its box
            (left, top, right, bottom) in fractions of the image's width and height.

    Raises:
        DataError: If the file of labels is not what it should be.

    Book: 14.6.2.
    """
    folder = os.path.join(
        download_extract("banana-detection"), "bananas_train" if is_train else "bananas_val"
    )
    path = os.path.join(folder, "label.csv")
    try:
        with open(path, newline="") as file:
            rows = list(csv.reader(file))[1:]
        names = [row[0] for row in rows]
        targets = torch.tensor([[float(value) for value in row[1:]] for row in rows])
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{path} is no table of labels: {error}.") from error
    if targets.dim() != 2 or targets.shape[1] != 5:
        raise DataError(f"{path} must have an image's name and five numbers in each row.")
    images = [read_image(os.path.join(folder, "images", name), is_rgb=True) for name in names]
    sizes = torch.tensor([[image.shape[2], image.shape[1]] * 2 for image in images])
    targets[:, 1:] /= sizes
    return images, targets.unsqueeze(1)


class BananasDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The banana detection data set in memory, as bytes.

    `dataset[i]` is (float32 image (3, 256, 256) from 0 to 255, label (1, 5)).

    Args:
        is_train: Whether to take the training set; otherwise the validation set.

    Attributes:
        features: uint8 (n, 3, 256, 256).
        labels: float32 (n, 1, 5); see `read_data_bananas`.

    Book: 14.6.2.
    """

    def __init__(self, is_train: bool) -> None:
        images, self.labels = read_data_bananas(is_train)
        self.features = torch.stack(images)
        print(f"read {len(images)} {'training' if is_train else 'validation'} examples")

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, idx: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.features[idx].float(), self.labels[idx]


def load_data_bananas(batch_size: int) -> tuple[TensorLoader, TensorLoader]:
    """The minibatches of the training set, shuffled, and of the validation set.

    Args:
        batch_size: Images in a batch.

    Returns:
        Two iterables of (float32 (B, 3, 256, 256) from 0 to 255, float32 (B, 1, 5)).

    Book: 14.6.2.
    """
    train, val = (
        TensorLoader((data.features, data.labels), batch_size, is_train, _as_floats)
        for is_train, data in ((is_train, BananasDataset(is_train)) for is_train in (True, False))
    )
    return train, val


def _as_floats(batch: list[torch.Tensor]) -> list[torch.Tensor]:
    images, labels = batch
    return [images.float(), labels]
