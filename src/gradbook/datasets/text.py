"""Text as sequences of numbers: tokens, vocabularies, and The Time Machine.

Book: 9.2 (sec_text-sequence), 9.3 (sec_language-model).
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from gradbook.checks import check_choice, check_number, check_whole_number
from gradbook.data import DataModule
from gradbook.datasets.files import download
from gradbook.datasets.hub import BOOKS_FILES
from gradbook.datasets.stand_ins import is_stand_in
from gradbook.errors import ConfigError, DataError, shown

#: The token that stands for every token that a vocabulary does not hold, and the one that fills
#: up sequences.
UNKNOWN, PAD = "<unk>", "<pad>"


def tokenize(lines: Iterable[str], token: str = "word") -> list[list[str]]:
    """The tokens of each line.

    Args:
        lines: Lines of text.
        token: "word", to split at white space, or "char".

    Raises:
        ConfigError: If `token` is neither, or `lines` is no list of texts.

    >>> tokenize(["the time machine", "by"], "word")
    [['the', 'time', 'machine'], ['by']]

    Book: 9.2, and the utilities of the appendix.
    """
    check_choice(token, "token", ("word", "char"))
    lines = _as_list(lines, "lines", "texts")
    if not all(isinstance(line, str) for line in lines):
        raise ConfigError(f"lines must be a list of texts, but it is {shown(lines)}.")
    return [line.split() if token == "word" else list(line) for line in lines]


class Vocab:
    """A vocabulary: a number for each token, and the token of each number.

    The tokens are numbered in the order of their characters' codes, so that the same tokens always
    get the same numbers. One that the vocabulary does not hold has the number of "<unk>".

    Args:
        tokens: Tokens, which are texts, or lines that are lists of tokens.
        min_freq: Tokens that are less frequent are left out.
        reserved_tokens: Tokens that the vocabulary holds in any case, such as "<pad>".

    Attributes:
        idx_to_token: The token of each number, a list.
        token_to_idx: The number of each token, a dictionary.
        token_freqs: All tokens that were given, each with how often it occurs, as a list of pairs:
            the most frequent first, and among equals the one that came first.

    Raises:
        ConfigError: If tokens are no texts, or `reserved_tokens` is one text.

    >>> vocab = Vocab(list("time traveller"), min_freq=2)
    >>> vocab.idx_to_token
    ['<unk>', 'e', 'l', 'r', 't']
    >>> vocab[["t", "i"]], vocab["e"], vocab.to_tokens([4, 0])
    ([4, 0], 1, ['t', '<unk>'])

    Book: 9.2.3.
    """

    def __init__(
        self,
        tokens: Iterable[Any] = (),
        min_freq: int = 0,
        reserved_tokens: Iterable[str] = (),
    ) -> None:
        check_number(min_freq, "min_freq")
        reserved_tokens = _as_list(reserved_tokens, "reserved_tokens")
        # A text is taken as the list of its characters.
        tokens = _as_list(list(tokens) if isinstance(tokens, str) else tokens, "tokens")
        if tokens and isinstance(tokens[0], list | tuple):
            tokens = list(chain.from_iterable(tokens))
        for token in chain(reserved_tokens, tokens):
            if not isinstance(token, str):
                raise ConfigError(
                    f"A token must be a text, but one is {shown(token)}. A vocabulary is made of a "
                    f"list of tokens, or of lines that are lists of tokens."
                )
        self.token_freqs: list[tuple[str, int]] = Counter(tokens).most_common()
        frequent = (token for token, freq in self.token_freqs if freq >= min_freq)
        self.idx_to_token = sorted({UNKNOWN, *reserved_tokens, *frequent})
        self.token_to_idx = {token: i for i, token in enumerate(self.idx_to_token)}

    def __len__(self) -> int:
        return len(self.idx_to_token)

    def __repr__(self) -> str:
        return f"Vocab: {len(self):,} tokens"

    def __getitem__(self, tokens: Any) -> Any:
        """The number of a token; of a list or tuple of tokens, a list of numbers.

        Raises:
            ConfigError: If it is neither a text nor a list.
        """
        number, unknown = self.token_to_idx.get, self.unk
        if isinstance(tokens, str):
            return number(tokens, unknown)
        if not isinstance(tokens, list | tuple):
            raise ConfigError(
                f"A vocabulary gives the number of a token, which is a text, or of a list of "
                f"tokens, but this is {shown(tokens)}. The token of a number is "
                f"`vocab.to_tokens(number)`."
            )
        return [
            self[token] if isinstance(token, list | tuple) else number(token, unknown)
            for token in tokens
        ]

    def to_tokens(self, indices: Any) -> Any:
        """The token of a number; of a list, a tuple, an array or a tensor of numbers, a list.

        Raises:
            DataError: If the vocabulary has no such number.
        """
        if hasattr(indices, "tolist"):
            indices = indices.tolist()
        if isinstance(indices, list | tuple):
            return [self.to_tokens(index) for index in indices]
        if not (isinstance(indices, int) and 0 <= indices < len(self)):
            raise DataError(
                f"The vocabulary has no token number {indices!r}: its {len(self):,} tokens have "
                f"the numbers 0 to {len(self) - 1:,}."
            )
        return self.idx_to_token[indices]

    @property
    def unk(self) -> int:
        """The number of the unknown token."""
        return self.token_to_idx[UNKNOWN]


def _as_list(values: Any, name: str, of: str = "tokens") -> list[Any]:
    """The values as a list; of one text that would be its characters, which is refused."""
    if isinstance(values, str):
        raise ConfigError(
            f"{name} must be a list of {of}, such as [{shown(values)}], but it is one text."
        )
    try:
        return list(values)
    except TypeError:
        raise ConfigError(f"{name} must be a list of {of}, but it is {shown(values)}.") from None


def check_holds(vocab: Any, tokens: Sequence[str]) -> None:
    """Raises ConfigError unless a vocabulary holds tokens: else they would be unknown ones."""
    if not hasattr(vocab, "__getitem__"):
        raise ConfigError(f"A vocabulary is needed, such as a Vocab, but it is {shown(vocab)}.")
    lacking = [token for token in tokens if vocab[token] == vocab[UNKNOWN]]
    if lacking:
        raise ConfigError(
            f"The vocabulary lacks {', '.join(map(repr, lacking))}. Make it with "
            f"`Vocab(..., reserved_tokens={list(tokens)!r})`."
        )


class SequenceData(DataModule):
    """The base class of sequences of tokens that are read from a file of the book.

    A subclass keeps `batch_size`, `num_steps`, `num_train`, `num_val` and `root`, and names its
    file.

    Attributes:
        book_files: The names in `DATA_HUB` of the files that are looked for.
        source: The file that was read.
        is_sample: Whether a stand-in was.
    """

    num_steps: int
    num_train: int
    num_val: int
    book_files: tuple[str, ...]
    source: Path | None = None
    is_sample = False

    def _check_sizes(self) -> None:
        for name in ("batch_size", "num_steps", "num_train"):
            check_whole_number(getattr(self, name), name, at_least=1)
        check_whole_number(self.num_val, "num_val", at_least=0)

    def _check_enough(self, num_examples: int, there_are: str) -> None:
        if self.num_train + self.num_val > num_examples:
            raise ConfigError(
                f"num_train={self.num_train} and num_val={self.num_val} are too many: {there_are}."
            )

    def _fetch(self) -> Path:
        """The file: found in `root`, downloaded into it, or a stand-in."""
        url, checksum = BOOKS_FILES[self.book_files[0]]
        path = Path(download(url, self.root, checksum))
        self.source, self.is_sample = path, is_stand_in(path)
        return path

    def _loader(self, tensors: Sequence[torch.Tensor], train: bool) -> Any:
        """Minibatches of the first examples, or of those that follow; None if there are none."""
        if not train and self.num_val == 0:
            return None
        end = self.num_train + self.num_val
        indices = slice(0, self.num_train) if train else slice(self.num_train, end)
        return self.get_tensorloader(tensors, train, indices)


class TimeMachine(SequenceData):
    """The Time Machine by H. G. Wells, character by character, for language models.

    The letters are made small, and whatever is no letter becomes one space. An example is a part of
    `num_steps` characters, and its label the same part one character on.

    The text is looked for in `root` and downloaded into it. When that fails, another novel stands
    in, with a warning.

    Args:
        batch_size: Examples in a batch.
        num_steps: Characters in an example.
        num_train: Examples for training: those that begin at the first characters of the text.
        num_val: Examples for validation: those that begin after these.
        root: The folder for data.

    Attributes:
        book_files: The names in `DATA_HUB` of the files that are looked for.
        X: The inputs, an int64 tensor (number of examples, num_steps) of token numbers. All
            examples of the text, also those that are in neither set, share one memory: do not
            change it.
        Y: The labels, likewise.
        vocab: The `Vocab`, of 28 tokens: the letters, the space, and "<unk>".
        source: The file from which the text came.
        is_sample: Whether another novel stands in.

    Raises:
        ConfigError: If an argument cannot be used.

    Book: 9.2 (sec_text-sequence), 9.3 (sec_language-model).
    """

    book_files = ("time_machine",)

    def __init__(
        self,
        batch_size: int,
        num_steps: int,
        num_train: int = 10000,
        num_val: int = 5000,
        *,
        root: str = "../data",
    ) -> None:
        super().__init__(root)
        self.save_hyperparameters()
        self._check_sizes()
        corpus, self.vocab = self.build(self._download())
        num_examples = len(corpus) - num_steps
        self._check_enough(
            num_examples,
            f"the text has {len(corpus):,} tokens, which make {max(num_examples, 0):,} examples of "
            f"{num_steps}",
        )
        # Every example as a view of the one sequence: copies would be num_steps times as much.
        windows = torch.tensor(corpus).unfold(0, num_steps + 1, 1)
        self.X, self.Y = windows[:, :-1], windows[:, 1:]

    def get_dataloader(self, train: bool) -> Any:
        """Minibatches of (X, Y), shuffled for training; None if `num_val` is 0. Book: 9.3.5."""
        return self._loader([self.X, self.Y], train)

    def text_labels(self, indices: Any) -> list[str]:
        """The tokens of numbers, as an inspection shows them: a space is "space"."""
        return [token if token.strip() else "space" for token in self.vocab.to_tokens(indices)]

    def build(self, raw_text: str, vocab: Vocab | None = None) -> tuple[list[int], Vocab]:
        """The numbers of a text's tokens, and the vocabulary. Book: 9.2.4.

        Args:
            raw_text: The text.
            vocab: The vocabulary; without one, it is made of this text.
        """
        tokens = self._tokenize(self._preprocess(raw_text))
        if vocab is None:
            vocab = Vocab(tokens)
        return vocab[tokens], vocab

    def _download(self) -> str:
        """The text as it is in the file."""
        return self._fetch().read_text(encoding="utf-8")

    def _preprocess(self, text: str) -> str:
        """Small letters, with a space for everything else."""
        return re.sub("[^A-Za-z]+", " ", text).lower()

    def _tokenize(self, text: str) -> list[str]:
        """The characters."""
        return list(text)
