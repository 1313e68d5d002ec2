"""Word vectors that were trained on large texts: GloVe and fastText.

Book: 15.7 (sec_synonyms).
"""

from array import array
from collections.abc import Sequence
from pathlib import Path

import torch

from gradbook.datasets.files import download_extract
from gradbook.datasets.text import UNKNOWN
from gradbook.errors import ConfigError, DataError, shown


class TokenEmbedding:
    """Word vectors that were trained on large texts: `embedding[tokens]` gives those of tokens.

    The file is looked for in `../data` and downloaded into it. When that fails, vectors that were
    not trained, but made, stand in, with a warning.

    Args:
        embedding_name: "glove.6b.50d", "glove.6b.100d", "glove.42b.300d" or "wiki.en", or another
            name in `DATA_HUB` whose archive holds a file vec.txt: a token and its numbers, with
            spaces between them, in each line.

    Attributes:
        idx_to_token: The token of each number, a list; the first is "<unk>".
        idx_to_vec: The vector of each number: a float32 tensor (tokens, dimensions). That of
            "<unk>" is zero.
        token_to_idx: The number of each token, a dictionary.
        unknown_idx: The number of the unknown token, 0.

    Raises:
        ConfigError: If `embedding_name` is not a name in `DATA_HUB`.
        DataError: If the file is not such a file.

    Book: 15.7.1.
    """

    def __init__(self, embedding_name: str) -> None:
        self.idx_to_token, self.idx_to_vec = _read(Path(download_extract(embedding_name)))
        self.unknown_idx = 0
        self.token_to_idx = {token: i for i, token in enumerate(self.idx_to_token)}

    def __repr__(self) -> str:
        return f"TokenEmbedding: {len(self):,} tokens, {self.idx_to_vec.shape[1]} dimensions"

    def __len__(self) -> int:
        return len(self.idx_to_token)

    def __getitem__(self, tokens: str | Sequence[str]) -> torch.Tensor:
        """The vectors (n, dimensions) of n tokens; of one token that is no list, (dimensions,).

        Raises:
            ConfigError: If a token is no text.
        """
        number, unknown = self.token_to_idx.get, self.unknown_idx
        if isinstance(tokens, str):
            return self.idx_to_vec[number(tokens, unknown)]
        if not isinstance(tokens, Sequence) or not all(isinstance(t, str) for t in tokens):
            raise ConfigError(
                f"An embedding gives the vectors of a list of tokens, which are texts, but this is "
                f"{shown(tokens)}. The vector of a number is `embedding.idx_to_vec[number]`."
            )
        return self.idx_to_vec[[number(token, unknown) for token in tokens]]


def _read(folder: Path) -> tuple[list[str], torch.Tensor]:
    """The tokens and their vectors; the first of both is of the unknown token."""
    path = folder / "vec.txt"
    tokens, numbers, size = [UNKNOWN], array("f"), 0
    # Some tokens hold what Python takes for the end of a line.
    with open(path, encoding="utf-8", newline="\n") as file:
        for i, line in enumerate(file, start=1):
            token, *values = line.rstrip().split(" ")
            if len(values) == 1:  # fastText's first line: how many tokens, how many dimensions
                continue
            if not size:
                size = len(values)
                numbers.extend([0.0] * size)
            try:
                if len(values) != size:
                    raise ValueError
                numbers.extend(map(float, values))
            except ValueError:
                raise DataError(
                    f"{path} is no file of word vectors: line {i} must be a token and "
                    f"{size or 'some'} numbers, with spaces between, but it is "
                    f"{line.strip()!r:.60}."
                ) from None
            tokens.append(token)
    if len(tokens) == 1:
        raise DataError(f"{path} holds no word vectors.")
    return tokens, torch.frombuffer(numbers, dtype=torch.float32).view(len(tokens), size)
