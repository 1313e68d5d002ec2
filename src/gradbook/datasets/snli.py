"""Pairs of sentences, and whether the second follows from the first.

Book: 16.4 (sec_natural-language-inference-and-dataset).
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from gradbook.checks import check_whole_number, describe
from gradbook.data import TensorLoader
from gradbook.datasets.files import download_extract
from gradbook.datasets.padding import pad
from gradbook.datasets.text import PAD, Vocab, check_holds, tokenize
from gradbook.errors import DataError
from gradbook.storage import check_path

#: The relations of a hypothesis to its premise, each in the place of its label.
RELATIONS = ("entailment", "contradiction", "neutral")

Pairs = tuple[list[str], list[str], list[int]]


def read_snli(data_dir: str | os.PathLike[str], is_train: bool) -> Pairs:
    """The premises, the hypotheses, and the labels of their relations.

    Pairs on whose relation the annotators did not agree are left out.

    Args:
        data_dir: The folder with snli_1.0_train.txt and snli_1.0_test.txt.
        is_train: Whether to read the training set; otherwise the test set.

    Returns:
        Sentences whose tokens are separated by one space, and labels: 0 for entailment, 1 for
        contradiction, 2 for neutral.

    Raises:
        DataError: If there is no such file, or it is none of the data set's.

    Book: 16.4.2.
    """
    check_path(data_dir, "data_dir", "../data/snli_1.0")
    path = Path(data_dir) / f"snli_1.0_{'train' if is_train else 'test'}.txt"
    if not path.is_file():
        raise DataError(
            f"There is no {path}. data_dir must be the folder of the data set: what "
            f"download_extract('SNLI') returns."
        )
    labels = {relation: label for label, relation in enumerate(RELATIONS)}
    premises, hypotheses, known = [], [], []
    with open(path, encoding="utf-8") as file:
        next(file, None)  # the names of the columns
        for line in file:
            relation, *parses = line.split("\t", 3)
            if relation in labels:
                if len(parses) < 2:
                    raise DataError(f"{path} is damaged: a line is {line.strip()!r:.60}.")
                premises.append(_plain(parses[0]))
                hypotheses.append(_plain(parses[1]))
                known.append(labels[relation])
    return premises, hypotheses, known


def _plain(parse: str) -> str:
    """The sentence of a parse: "( ( A man ) sleeps )" is "A man sleeps"."""
    return re.sub(r"\s{2,}", " ", re.sub("[()]", "", parse)).strip()


class SNLIDataset(Dataset[tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]]):
    """Pairs of sentences as numbers: `dataset[i]` is ((premise, hypothesis), label).

    It prints how many examples it has.

    Args:
        dataset: Premises, hypotheses and labels, as `read_snli` returns them.
        num_steps: Tokens of a sentence: a longer one is cut, a shorter one filled up with "<pad>".
        vocab: The `Vocab`; without one, it is made of the tokens that occur at least five times.

    Attributes:
        premises: Int64 (n, num_steps).
        hypotheses: Int64 (n, num_steps).
        labels: Int64 (n,).
        vocab: The vocabulary.

    Raises:
        ConfigError: If the vocabulary lacks "<pad>".
        DataError: If there are not as many hypotheses and labels as premises.

    Book: 16.4.3.
    """

    def __init__(
        self,
        dataset: tuple[Sequence[str], Sequence[str], Sequence[int]],
        num_steps: int,
        vocab: Any = None,
    ) -> None:
        self.num_steps = check_whole_number(num_steps, "num_steps", at_least=1)
        lengths = [len(part) for part in dataset] if isinstance(dataset, tuple | list) else []
        if len(lengths) != 3 or len(set(lengths)) > 1:
            of_each = f" with {lengths} items" if lengths else ""
            raise DataError(
                f"dataset must be premises, hypotheses and labels, as many of each, as read_snli "
                f"returns them, but it is {describe(dataset)}{of_each}."
            )
        premises, hypotheses = tokenize(dataset[0]), tokenize(dataset[1])
        if vocab is None:
            vocab = Vocab(premises + hypotheses, min_freq=5, reserved_tokens=[PAD])
        check_holds(vocab, [PAD])
        self.vocab = vocab
        self.premises, self.hypotheses = (
            pad([vocab[line] for line in lines], num_steps, vocab[PAD])
            for lines in (premises, hypotheses)
        )
        self.labels = torch.tensor(dataset[2])
        print(f"read {len(self)} examples")

    def __len__(self) -> int:
        return len(self.premises)

    def __getitem__(self, idx: int) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        return (self.premises[idx], self.hypotheses[idx]), self.labels[idx]


def load_data_snli(
    batch_size: int, num_steps: int = 50
) -> tuple[TensorLoader, TensorLoader, Vocab]:
    """The training and the test minibatches of pairs of sentences, and the vocabulary.

    The file is looked for in `../data` and downloaded into it. When that fails, made pairs stand
    in, with a warning.

    Args:
        batch_size: Pairs in a batch.
        num_steps: Tokens of a sentence.

    Returns:
        Two iterables of ([premises, hypotheses], labels), int64 (n, num_steps) twice and (n,), of
        which the first is shuffled, and the vocabulary of the training set.

    Book: 16.4.4.
    """
    data_dir = download_extract("SNLI")
    train = SNLIDataset(read_snli(data_dir, True), num_steps)
    test = SNLIDataset(read_snli(data_dir, False), num_steps, train.vocab)
    loaders = [
        TensorLoader((data.premises, data.hypotheses, data.labels), batch_size, is_train, _as_pairs)
        for data, is_train in ((train, True), (test, False))
    ]
    return loaders[0], loaders[1], train.vocab


def _as_pairs(batch: list[torch.Tensor]) -> Any:
    premises, hypotheses, labels = batch
    return [premises, hypotheses], labels
