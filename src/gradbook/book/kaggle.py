"""Images of a Kaggle competition, put into a folder for each class.

Book: 14.13 (sec_kaggle_cifar10).
"""

import csv
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from gradbook.checks import check_rate
from gradbook.errors import ConfigError, DataError

StrPath = str | os.PathLike[str]


def read_csv_labels(fname: StrPath) -> dict[str, str]:
    """The labels of a competition: the label of each file, by its name without the ending.

    Args:
        fname: A table with a header, and a name and a label in each row.

    Raises:
        DataError: If a row has another number of columns.

    Book: 14.13.1.
    """
    with open(fname, newline="") as file:
        rows = [row for row in csv.reader(file) if row][1:]
    for row in rows:
        if len(row) != 2:
            raise DataError(f"{fname} must have a name and a label in each row, not {row!r}.")
    return dict(rows)


def copyfile(filename: StrPath, target_dir: StrPath) -> None:
    """Copies a file into a folder, which is made if need be. Book: 14.13.1."""
    os.makedirs(target_dir, exist_ok=True)
    shutil.copy(filename, target_dir)


def reorg_train_valid(data_dir: StrPath, labels: Mapping[str, str], valid_ratio: float) -> int:
    """Copies the training images into a folder for each class, and some into a validation set.

    They go from `data_dir/train` to `data_dir/train_valid_test`: all into `train_valid`, and each
    either into `valid` or into `train`. Of each class the first ones, by name, are for validation.
    With another `valid_ratio`, copies of an earlier call are moved.

    Args:
        data_dir: The competition's folder.
        labels: The label of each image; see `read_csv_labels`.
        valid_ratio: How much of the smallest class is for validation; of every class as many
            images, and at least one.

    Returns:
        The number of images of each class in the validation set.

    Raises:
        DataError: If an image has no label, or there is none.
        ConfigError: If `valid_ratio` is not from 0 to 1.

    Book: 14.13.1.
    """
    check_rate(valid_ratio, "valid_ratio")
    if valid_ratio > 1:
        raise ConfigError(f"valid_ratio={valid_ratio} must be a fraction from 0 to 1.")
    if not labels:
        raise DataError("There are no labels, so no image has a class.")
    num_valid = max(1, int(min(Counter(labels.values()).values()) * valid_ratio))
    target = Path(data_dir, "train_valid_test")
    seen: Counter[str] = Counter()
    for path in _files(Path(data_dir, "train")):
        label = labels.get(path.stem)
        if label is None:
            raise DataError(f"{path} has no label: {path.stem!r} is not in the table of labels.")
        seen[label] += 1
        place, other = ("valid", "train") if seen[label] <= num_valid else ("train", "valid")
        copyfile(path, target / "train_valid" / label)
        copyfile(path, target / place / label)
        (target / other / label / path.name).unlink(missing_ok=True)
    return num_valid


def reorg_test(data_dir: StrPath) -> None:
    """Copies the test images, whose class nobody knows, into a folder of a class "unknown".

    They go from `data_dir/test` to `data_dir/train_valid_test/test/unknown`.

    Args:
        data_dir: The competition's folder.

    Book: 14.13.1.
    """
    for path in _files(Path(data_dir, "test")):
        copyfile(path, Path(data_dir, "train_valid_test", "test", "unknown"))


def _files(folder: Path) -> list[Path]:
    """The files of a folder, in the order of their names: 2 before 10."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder} with images.")
    return sorted(folder.iterdir(), key=lambda path: (len(path.name), path.name))
