"""Data sets: made (synthetic, toy), found or fetched (Fashion-MNIST), or read from a table."""

from typing import TYPE_CHECKING

from gradbook import registry
from gradbook.datasets.archives import extract
from gradbook.datasets.fashion_mnist import locate, text_labels
from gradbook.datasets.files import download, download_extract
from gradbook.datasets.hub import DATA_HUB, DATA_URL
from gradbook.datasets.idx import read_idx, write_idx
from gradbook.datasets.synthetic import synthetic_data
from gradbook.datasets.tabular import TabularEncoder
from gradbook.datasets.toy import ToyData
from gradbook.lazy import lazy_names, listing

if TYPE_CHECKING:  # what type checkers and editors see
    from gradbook.datasets.fashion_mnist import FashionMNIST as FashionMNIST
    from gradbook.datasets.synthetic import SyntheticRegressionData as SyntheticRegressionData
    from gradbook.datasets.toy import Blobs as Blobs
    from gradbook.datasets.toy import Circles as Circles
    from gradbook.datasets.toy import Moons as Moons
    from gradbook.datasets.toy import Sine as Sine
    from gradbook.datasets.toy import Spirals as Spirals
    from gradbook.datasets.toy import Xor as Xor
else:
    __getattr__ = lazy_names(__name__, registry.homes(registry.DATA))

__all__ = [
    "DATA_HUB",
    "DATA_URL",
    "TabularEncoder",
    "ToyData",
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

__dir__ = listing(__all__)
