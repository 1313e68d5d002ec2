"""Data sets: made (synthetic), found or fetched (Fashion-MNIST), or read from a table."""

from gradbook.datasets.fashion_mnist import FashionMNIST, locate, text_labels
from gradbook.datasets.files import DATA_HUB, DATA_URL, download, download_extract, extract
from gradbook.datasets.idx import read_idx, write_idx
from gradbook.datasets.synthetic import SyntheticRegressionData, synthetic_data
from gradbook.datasets.tabular import TabularEncoder

__all__ = [
    "DATA_HUB",
    "DATA_URL",
    "FashionMNIST",
    "SyntheticRegressionData",
    "TabularEncoder",
    "download",
    "download_extract",
    "extract",
    "locate",
    "read_idx",
    "synthetic_data",
    "text_labels",
    "write_idx",
]
