"""Pairs of English and French sentences, for models that translate.

Book: 10.5 (sec_machine_translation), and the utilities of the appendix.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gradbook.checks import check_lines, check_text, check_tokens, check_whole_number
from gradbook.data import TensorLoader
from gradbook.datasets.archives import extract
from gradbook.datasets.files import download_extract
from gradbook.datasets.padding import pad
from gradbook.datasets.text import PAD, SequenceData, Vocab, check_holds
from gradbook.errors import DataError

#: The tokens that begin a sequence and end one.
BOS, EOS = "<bos>", "<eos>"

Arrays = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class MTFraEng(SequenceData):
    """English sentences and their French translations, the shortest ones first.

    A sentence is a sequence of words and marks in small letters, ended by "<eos>", and cut, or
    padded with "<pad>", to `num_steps` tokens.

    The file is looked for in `root` and downloaded into it. When that fails, sentences that a small
    grammar makes stand in, with a warning.

    Args:
        batch_size: Examples in a batch.
        num_steps: Tokens in a sequence.
        num_train: Pairs for training: the first ones of the file.
        num_val: Pairs for validation: those after these.
        root: The folder for data.

    Attributes:
        book_files: The names in `DATA_HUB` of the files that are looked for.
        arrays: Sources (n, num_steps), decoder inputs (n, num_steps), which begin with "<bos>",
            how many tokens of each source are no padding (n,), and labels (n, num_steps), the
            decoder inputs one token on. int64, the lengths int32.
        src_vocab, tgt_vocab: The `Vocab` of each language: the tokens that occur at least twice.
        source: The file from which the sentences came.
        is_sample: Whether the sentences of a grammar stand in.

    Raises:
        ConfigError: If an argument cannot be used.

    Book: 10.5 (sec_machine_translation).
    """

    book_files = ("fra-eng",)

    def __init__(
        self,
        batch_size: int,
        num_steps: int = 9,
        num_train: int = 512,
        num_val: int = 128,
        *,
        root: str = "../data",
    ) -> None:
        super().__init__(root)
        self.save_hyperparameters()
        self._check_sizes()
        self.arrays, self.src_vocab, self.tgt_vocab = self._build_arrays(self._download())
        num_pairs = len(self.arrays[0])
        self._check_enough(num_pairs, f"there are only {num_pairs:,} pairs of sentences")

    def get_dataloader(self, train: bool) -> Any:
        """Minibatches of the four `arrays`, shuffled for training; None if `num_val` is 0.

        Book: 10.5.4.
        """
        return self._loader(self.arrays, train)

    def build(self, src_sentences: Sequence[str], tgt_sentences: Sequence[str]) -> Arrays:
        """What `arrays` holds, of other sentences, with these vocabularies.

        Args:
            src_sentences: English sentences.
            tgt_sentences: Their translations.

        Raises:
            DataError: If they differ in number.

        Book: 10.5.4.
        """
        if len(src_sentences) != len(tgt_sentences):
            raise DataError(
                f"There are {len(src_sentences)} source sentences, but {len(tgt_sentences)} "
                f"target sentences: each needs its translation."
            )
        pairs = zip(src_sentences, tgt_sentences, strict=True)
        text = "\n".join(f"{src}\t{tgt}" for src, tgt in pairs)
        return self._build_arrays(text, self.src_vocab, self.tgt_vocab)[0]

    def _download(self) -> str:
        """The pairs as they are in the file: one a line, the languages separated by a tab."""
        archive = self._fetch()
        extract(archive)
        return (archive.parent / "fra-eng" / "fra.txt").read_text(encoding="utf-8")

    def _preprocess(self, text: str) -> str:
        """Small letters, with a space before each mark. Book: 10.5.1."""
        return preprocess_nmt(text)

    def _tokenize(
        self, text: str, max_examples: int | None = None
    ) -> tuple[list[list[str]], list[list[str]]]:
        """The tokens of the sources and of the targets, each sentence with "<eos>" at its end.

        Args:
            text: Preprocessed pairs.
            max_examples: How many pairs to take, from the first on; None for all.

        Book: 10.5.2.
        """
        src, tgt = tokenize_nmt(text, max_examples)
        return tuple([[*filter(None, line), EOS] for line in lines] for lines in (src, tgt))  # type: ignore[return-value]

    def _build_arrays(
        self, raw_text: str, src_vocab: Vocab | None = None, tgt_vocab: Vocab | None = None
    ) -> tuple[Arrays, Vocab, Vocab]:
        """The four arrays, and both vocabularies, which are made of the text if none is given.

        Book: 10.5.3.
        """
        is_new = src_vocab is None
        src, tgt = self._tokenize(
            self._preprocess(raw_text), self.num_train + self.num_val if is_new else None
        )
        src = [truncate_pad(line, self.num_steps, PAD) for line in src]
        tgt = [[BOS, *truncate_pad(line, self.num_steps, PAD)] for line in tgt]
        if src_vocab is None:
            src_vocab = Vocab(src, min_freq=2, reserved_tokens=[PAD, EOS])
        if tgt_vocab is None:
            tgt_vocab = Vocab(tgt, min_freq=2, reserved_tokens=[PAD, BOS, EOS])
        sources, targets = torch.tensor(src_vocab[src]), torch.tensor(tgt_vocab[tgt])
        lengths = (sources != src_vocab[PAD]).sum(dim=1, dtype=torch.int32)
        return (sources, targets[:, :-1], lengths, targets[:, 1:]), src_vocab, tgt_vocab


# The functions of the book's earlier editions


def read_data_nmt() -> str:
    """The pairs of English and French sentences: one a line, the languages separated by a tab.

    They are looked for in ../data and downloaded; as in `MTFraEng`, others may stand in.
    Book: 23.8.
    """
    folder = Path(download_extract("fra-eng"))
    return (folder / "fra.txt").read_text(encoding="utf-8")


def preprocess_nmt(text: str) -> str:
    r"""A text in small letters, with a space before each mark, and no space that does not break.

    >>> preprocess_nmt("Go.\tVa\u202f!")
    'go .\tva !'

    Book: 23.8.
    """
    check_text(text, "text")
    text = text.replace("\u202f", " ").replace("\xa0", " ").lower()
    return re.sub(r"[,.!?](?<=[^ ].)", r" \g<0>", text)  # what follows no space


def tokenize_nmt(
    text: str, num_examples: int | None = None
) -> tuple[list[list[str]], list[list[str]]]:
    r"""The tokens of the sources and of the targets.

    Args:
        text: Preprocessed pairs, one a line. A line that is no pair is left out.
        num_examples: How many pairs to take, from the first on; None for all.

    Raises:
        ConfigError: If an argument cannot be used.

    >>> tokenize_nmt("go .\tva !\nhi .\tsalut !")
    ([['go', '.'], ['hi', '.']], [['va', '!'], ['salut', '!']])

    Book: 23.8.
    """
    check_text(text, "text")
    if num_examples is not None:
        check_whole_number(num_examples, "num_examples", at_least=1)
    pairs: list[list[str]] = []
    for line in text.split("\n"):
        if len(pairs) == num_examples:
            break
        if len(pair := line.split("\t")) == 2:
            pairs.append(pair)
    src, tgt = ([pair[i].split(" ") for pair in pairs] for i in (0, 1))
    return src, tgt


def truncate_pad(line: list[Any], num_steps: int, padding_token: Any) -> list[Any]:
    """A sequence of exactly `num_steps` items: cut at its end, or padded there.

    Args:
        line: The items, as a list.
        num_steps: How many there are to be.
        padding_token: What fills up a shorter sequence.

    Raises:
        ConfigError: If `line` is no list, or `num_steps` no whole number of at least 0.

    >>> truncate_pad([1, 2], 4, 0), truncate_pad([1, 2, 3], 2, 0)
    ([1, 2, 0, 0], [1, 2])

    Book: 23.8.
    """
    check_tokens(line, "line")
    check_whole_number(num_steps, "num_steps", at_least=0)
    return [*line[:num_steps], *[padding_token] * (num_steps - len(line))]


def build_array_nmt(
    lines: Sequence[list[str]], vocab: Vocab, num_steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The numbers of the tokens, each sequence ended by "<eos>" and brought to one length.

    Args:
        lines: Sequences of tokens.
        vocab: A vocabulary that holds "<pad>" and "<eos>".
        num_steps: The length.

    Returns:
        An int64 tensor (n, num_steps), and how many tokens are no padding, int32 (n,).

    Raises:
        ConfigError: If the vocabulary lacks these tokens, or another argument cannot be used.

    Book: 23.8.
    """
    check_lines(lines, "lines")
    check_whole_number(num_steps, "num_steps", at_least=1)
    check_holds(vocab, [PAD, EOS])
    array = pad([[*vocab[line], vocab[EOS]] for line in lines], num_steps, vocab[PAD])
    return array, (array != vocab[PAD]).sum(dim=1, dtype=torch.int32)


def load_data_nmt(
    batch_size: int, num_steps: int, num_examples: int = 600
) -> tuple[TensorLoader, Vocab, Vocab]:
    """Minibatches of sentence pairs, shuffled, and the vocabularies of both languages.

    Args:
        batch_size: Examples in a batch.
        num_steps: Tokens in a sequence.
        num_examples: How many pairs to take, from the first on.

    Returns:
        Batches of (sources (B, num_steps), their lengths (B,), targets (B, num_steps), their
        lengths (B,)), and the English and the French vocabulary.

    Raises:
        ConfigError: If an argument cannot be used.

    Book: 23.8.
    """
    check_whole_number(num_steps, "num_steps", at_least=1)
    parts: list[torch.Tensor] = []
    vocabs = []
    for lines in tokenize_nmt(preprocess_nmt(read_data_nmt()), num_examples):
        vocab = Vocab(lines, min_freq=2, reserved_tokens=[PAD, BOS, EOS])
        parts += build_array_nmt(lines, vocab, num_steps)
        vocabs.append(vocab)
    return TensorLoader(parts, batch_size, shuffle=True), *vocabs  # type: ignore[return-value]
