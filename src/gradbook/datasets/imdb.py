"""Reviews of films on IMDb, each positive or negative.

Book: 16.1 (sec_sentiment).
"""

import os
from pathlib import Path

import torch

from gradbook.checks import check_whole_number
from gradbook.data import TensorLoader
from gradbook.datasets.files import download_extract
from gradbook.datasets.padding import pad
from gradbook.datasets.text import PAD, Vocab, tokenize
from gradbook.errors import DataError
from gradbook.storage import check_path


def read_imdb(data_dir: str | os.PathLike[str], is_train: bool) -> tuple[list[str], list[int]]:
    """The reviews and their labels: 1 for positive ones, which come first, and 0 for negative ones.

    Args:
        data_dir: The folder of the data set, with train/pos, train/neg, test/pos and test/neg.
        is_train: Whether to read the training set; otherwise the test set.

    Raises:
        DataError: If there are no reviews.

    Book: 16.1.1.
    """
    check_path(data_dir, "data_dir", "../data/aclImdb")
    data, labels = [], []
    for label, name in ((1, "pos"), (0, "neg")):
        folder = Path(data_dir) / ("train" if is_train else "test") / name
        files = sorted(folder.glob("*.txt"))  # a folder's own order is another on each machine
        if not files:
            raise DataError(
                f"There are no reviews in {folder}. data_dir must be the folder of the data set: "
                f"what download_extract('aclImdb', 'aclImdb') returns."
            )
        data += [file.read_text(encoding="utf-8").replace("\n", "") for file in files]
        labels += [label] * len(files)
    return data, labels


def load_data_imdb(
    batch_size: int, num_steps: int = 500
) -> tuple[TensorLoader, TensorLoader, Vocab]:
    """The training and the test minibatches of reviews, and the vocabulary.

    The reviews are looked for in `../data` and downloaded into it. When that fails, made ones stand
    in, with a warning.

    Args:
        batch_size: Reviews in a batch.
        num_steps: Words of a review: a longer one is cut, a shorter one filled up with "<pad>".

    Returns:
        Two iterables of (int64 (n, num_steps), int64 (n,)), of which the first is shuffled, and the
        vocabulary of words that occur at least five times in the training set.

    Book: 16.1.4.
    """
    check_whole_number(num_steps, "num_steps", at_least=1)
    data_dir = download_extract("aclImdb", "aclImdb")
    reviews, labels = zip(*(read_imdb(data_dir, is_train) for is_train in (True, False)))  # noqa: B905
    train, test = map(tokenize, reviews)
    vocab = Vocab(train, min_freq=5, reserved_tokens=[PAD])
    loaders = [
        TensorLoader(
            (pad([vocab[line] for line in lines], num_steps, vocab[PAD]), torch.tensor(y)),
            batch_size,
            shuffle=lines is train,
        )
        for lines, y in zip((train, test), labels, strict=True)
    ]
    return loaders[0], loaders[1], vocab
