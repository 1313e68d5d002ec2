"""Data sets: made (synthetic), found or fetched (Fashion-MNIST), or read from a table."""

from typing import TYPE_CHECKING

from gradbook import registry
from gradbook.datasets.archives import extract
from gradbook.datasets.fashion_mnist import locate, text_labels
from gradbook.datasets.files import DATA_HUB, DATA_URL, download, download_extract
from gradbook.datasets.idx import read_idx, write_idx
from gradbook.datasets.synthetic import synthetic_data
from gradbook.datasets.tabular import TabularEncoder

if TYPE_CHECKING:  # what type checkers and editors see
    from gradbook.datasets.fashion_mnist import FashionMNIST as FashionMNIST
    from gradbook.datasets.synthetic import SyntheticRegressionData as SyntheticRegressionData
else:
    globals().update(registry.classes_of(registry.DATA))

__all__ = [
    "DATA_HUB",
    "DATA_URL",
    "TabularEncoder",
    "download",
    "download_extract",
    "extract",
    "locate",
    "read_idx",
    "synthetic_data",
    "text_labels",
    "write_idx",
    *registry.homes(registry.DATA),
]
