"""Penn Treebank for word2vec: words in the middle, their neighbors, and noise words.

Book: 15.3 (sec_word2vec_data).
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch

from gradbook.checks import check_lines, check_whole_number
from gradbook.data import TensorLoader
from gradbook.datasets.files import download_extract
from gradbook.datasets.padding import pad, valid_steps
from gradbook.datasets.text import Vocab
from gradbook.errors import ConfigError, DataError, shown

#: A word that makes up this part of a text, or less, is never left out.
THRESHOLD = 1e-4
#: How many numbers a `RandomGenerator` draws at once.
_NUM_DRAWN = 10_000


def read_ptb() -> list[list[str]]:
    """The words of each sentence of the training text.

    The text is looked for in `../data` and downloaded into it. When that fails, three novels stand
    in, with a warning.

    Book: 15.3.1.
    """
    path = Path(download_extract("ptb")) / "ptb.train.txt"
    return [line.split() for line in path.read_text(encoding="utf-8").split("\n")]


def subsample(
    sentences: Sequence[Sequence[str]], vocab: Any
) -> tuple[list[list[str]], Counter[str]]:
    """The sentences without unknown words, and with a part of the frequent ones left out.

    A word that makes up the part f of the text is kept with probability sqrt(1e-4 / f).

    Args:
        sentences: The words of each sentence.
        vocab: The `Vocab`.

    Returns:
        The sentences, and how often each known word occurred before any was left out.

    Raises:
        ConfigError: If `sentences` is no list of lists.

    Book: 15.3.2.
    """
    check_lines(sentences, "sentences")
    unknown = vocab.unk
    distinct = set(chain.from_iterable(sentences))
    known = {token for token in distinct if vocab[token] != unknown}
    lines = [[token for token in line if token in known] for line in sentences]
    counter = Counter(chain.from_iterable(lines))
    num_tokens = counter.total()
    kept = {token: math.sqrt(THRESHOLD * num_tokens / count) for token, count in counter.items()}
    draws = iter(torch.rand(num_tokens).tolist())
    subsampled = [[token for token in line if next(draws) < kept[token]] for line in lines]
    return subsampled, counter


def get_centers_and_contexts(
    corpus: Sequence[Sequence[int]], max_window_size: int
) -> tuple[list[int], list[list[int]]]:
    """Each word of the text as a center, with the words around it.

    How far the window reaches on either side is drawn for each word, uniformly from 1 to
    `max_window_size`. Sentences of one word give nothing.

    Args:
        corpus: The numbers of each sentence's words.
        max_window_size: The largest window, in words on one side.

    Returns:
        The centers, and for each the list of its context words.

    Raises:
        ConfigError: If `max_window_size` is not at least 1, or `corpus` is no list of lists.

    Book: 15.3.3.
    """
    check_whole_number(max_window_size, "max_window_size", at_least=1)
    check_lines(corpus, "corpus", "numbers")
    lines = [list(line) for line in corpus if len(line) > 1]
    centers = list(chain.from_iterable(lines))
    windows = iter(torch.randint(1, max_window_size + 1, (len(centers),)).tolist())
    contexts = [
        line[max(i - window, 0) : i] + line[i + 1 : i + 1 + window]
        for line in lines
        for i, window in enumerate(islice(windows, len(line)))
    ]
    return centers, contexts


class RandomGenerator:
    """Draws whole numbers from 1 to n, each with a probability proportional to its weight.

    Args:
        sampling_weights: n weights of at least 0.

    Attributes:
        population: The numbers from 1 to n, a list.
        sampling_weights: The weights.

    Raises:
        ConfigError: If no weight is above 0, or one is below.

    >>> generator = RandomGenerator([0, 3, 0])
    >>> [generator.draw() for _ in range(3)]
    [2, 2, 2]

    Book: 15.3.4.
    """

    def __init__(self, sampling_weights: Sequence[float]) -> None:
        try:
            weights = torch.as_tensor(sampling_weights, dtype=torch.float64)
        except (TypeError, ValueError):
            weights = torch.empty(0)
        is_list = weights.dim() == 1 and len(weights) > 0
        if not is_list or weights.min() < 0 or not 0 < float(weights.sum()) < math.inf:
            raise ConfigError(
                f"sampling_weights must be numbers of at least 0, of which one is above 0, but "
                f"it is {shown(sampling_weights)}."
            )
        self.population = list(range(1, len(weights) + 1))
        self.sampling_weights = sampling_weights
        self._bounds = weights.cumsum(0)
        self._drawn: Iterator[int] = iter(())

    def draw(self) -> int:
        """The next number."""
        number = next(self._drawn, None)
        if number is None:
            self._drawn = iter(self.draw_many(_NUM_DRAWN))
            number = next(self._drawn)
        return number

    def draw_many(self, num: int) -> list[int]:
        """The next `num` numbers, which takes a fraction of the time that so many `draw`s take."""
        total = self._bounds[-1]
        u = torch.rand(num, dtype=torch.float64) * total
        # `right`, as a number without weight has the same bound as the one before it.
        drawn = torch.searchsorted(self._bounds, u, right=True).tolist()
        return [self.population[i] for i in drawn]  # the same objects each time, which saves memory


def get_negatives(
    all_contexts: Sequence[Sequence[int]], vocab: Any, counter: Mapping[str, int], K: int
) -> list[list[int]]:
    """The noise words of each center: `K` for each of its context words, and none of them.

    A word is drawn with a probability proportional to its frequency to the power of 0.75; the first
    of the vocabulary, "<unk>", never is.

    Args:
        all_contexts: The context words of each center.
        vocab: The `Vocab`.
        counter: How often each word occurs.
        K: Noise words for each context word.

    Raises:
        DataError: If the context of a center holds every word that can be drawn.

    Book: 15.3.4.
    """
    check_whole_number(K, "K", at_least=0)
    weights = [
        counter.get(token, 0) ** 0.75 for token in vocab.to_tokens(list(range(1, len(vocab))))
    ]
    generator = RandomGenerator(weights)
    num_words = sum(weight > 0 for weight in weights)
    drawn = iter(generator.draw_many(K * sum(map(len, all_contexts))))
    all_negatives = []
    for contexts in all_contexts:
        num, words = K * len(contexts), set(contexts)
        negatives = list(islice(drawn, num))
        if not words.isdisjoint(negatives):
            if len(words) >= num_words and words.issuperset(
                i for i, weight in enumerate(weights, start=1) if weight
            ):
                raise DataError(
                    f"No noise word is left for a center: its context holds all {num_words} words "
                    f"that can be drawn. Use a longer text, or a smaller max_window_size."
                )
            negatives = [word for word in negatives if word not in words]
            while len(negatives) < num:
                word = generator.draw()
                if word not in words:
                    negatives.append(word)
        all_negatives.append(negatives)
    return all_negatives


def batchify(
    data: Sequence[tuple[int, Sequence[int], Sequence[int]]],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A minibatch for the skip-gram model with negative sampling.

    Args:
        data: For each of n examples its center, its context words, and its noise words.

    Returns:
        Int64 tensors: the centers (n, 1); context and noise words (n, L), filled up with zeros to
        the length L of the longest; the masks (n, L), 0 where filled up and 1 elsewhere; and the
        labels (n, L), 1 for context words and 0 elsewhere.

    Raises:
        DataError: If there is no example, or one has other parts.

    >>> for part in batchify([(1, [2, 2], [3, 3, 3, 3]), (1, [2, 2, 2], [3, 3])]):
    ...     print(part.tolist())
    [[1], [1]]
    [[2, 2, 3, 3, 3, 3], [2, 2, 2, 3, 3, 0]]
    [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]]
    [[1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]]

    Book: 15.3.5.
    """
    if not len(data):
        raise DataError("A minibatch needs at least one example, but data is empty.")
    for example in data:
        if len(example) != 3:
            raise DataError(
                f"An example is a center, its context words and its noise words, but this is "
                f"{shown(example)}."
            )
    return _batch(_packed(*zip(*data, strict=True)))


def load_data_ptb(
    batch_size: int, max_window_size: int, num_noise_words: int
) -> tuple[TensorLoader, Vocab]:
    """The minibatches of Penn Treebank for word2vec, in a new order at each pass.

    Args:
        batch_size: Centers in a batch.
        max_window_size: The largest window, in words on one side.
        num_noise_words: Noise words for each context word.

    Returns:
        An iterable of what `batchify` returns, and the vocabulary, of words that occur at least
        ten times.

    Book: 15.3.6.
    """
    sentences = read_ptb()
    vocab = Vocab(sentences, min_freq=10)
    subsampled, counter = subsample(sentences, vocab)
    centers, contexts = get_centers_and_contexts(
        [vocab[line] for line in subsampled], max_window_size
    )
    negatives = get_negatives(contexts, vocab, counter, num_noise_words)
    packed = _packed(centers, contexts, negatives)
    return TensorLoader(packed, batch_size, shuffle=True, transform=_batch), vocab


def _packed(
    centers: Sequence[int], contexts: Sequence[Sequence[int]], negatives: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, ...]:
    """Centers, words, how many of them are context, and how many there are: small numbers."""
    words = [[*context, *negative] for context, negative in zip(contexts, negatives, strict=True)]
    return (
        torch.tensor(centers, dtype=torch.int32),
        pad(words, dtype=torch.int32),
        torch.tensor([len(context) for context in contexts], dtype=torch.int32),
        torch.tensor([len(line) for line in words], dtype=torch.int32),
    )


def _batch(
    packed: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    centers, words, num_contexts, num_words = packed
    num_steps = int(num_words.max())
    return (
        centers.long().unsqueeze(1),
        words[:, :num_steps].long(),
        valid_steps(num_words, num_steps).long(),
        valid_steps(num_contexts, num_steps).long(),
    )
