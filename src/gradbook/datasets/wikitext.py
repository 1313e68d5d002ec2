"""WikiText-2 for BERT: pairs of sentences with masked words.

Book: 15.9 (sec_bert-dataset).
"""

from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path

import torch

from gradbook.checks import check_whole_number
from gradbook.data import TensorLoader
from gradbook.datasets.files import download_extract
from gradbook.datasets.padding import pad, valid_steps
from gradbook.datasets.text import PAD, Vocab
from gradbook.errors import DataError

#: The share of words that are predicted.
PREDICTED = 0.15
MASK, CLS, SEP = "<mask>", "<cls>", "<sep>"
#: Words that are less frequent are unknown.
_MIN_FREQ = 5


def load_data_wiki(batch_size: int, max_len: int) -> tuple[TensorLoader, Vocab]:
    """The minibatches of WikiText-2 for pretraining BERT, in a new order at each pass.

    An example is a sentence and, with even chances, the next sentence of its paragraph or one that
    is drawn from the whole text. Of its words 15% are to be predicted: of these, 80% are replaced
    by "<mask>", 10% by a word that is drawn, and 10% stay. What is drawn is the same at each pass.

    The text is looked for in `../data` and downloaded into it. When that fails, three novels stand
    in, with a warning.

    Args:
        batch_size: Examples in a batch.
        max_len: The length of an example in tokens; a pair that is longer is left out.

    Returns:
        An iterable of batches, with n examples and k = round(0.15 max_len):

        - tokens, int64 (n, max_len);
        - segments, int64 (n, max_len): 0 for the first sentence, 1 for the second;
        - valid lengths, float32 (n,);
        - the positions to predict, int64 (n, k), in order, filled up with 0;
        - their weights, float32 (n, k): 1, or 0 where filled up;
        - their labels, int64 (n, k);
        - whether the second sentence is the next one, int64 (n,);

        and the vocabulary, of words that occur at least five times.

    Raises:
        ConfigError: If an argument cannot be used.
        DataError: If no pair of sentences is short enough.

    Book: 15.9.
    """
    check_whole_number(max_len, "max_len", at_least=4)
    path = Path(download_extract("wikitext-2", "wikitext-2")) / "wiki.train.tokens"
    paragraphs = _read_paragraphs(path.read_text(encoding="utf-8"))
    sentences = list(chain.from_iterable(paragraphs))
    vocab = Vocab(sentences, min_freq=_MIN_FREQ, reserved_tokens=[PAD, MASK, CLS, SEP])
    tokens, segments, lens, is_next = _pairs(
        [[vocab[sentence] for sentence in paragraph] for paragraph in paragraphs], vocab, max_len
    )
    inputs, positions, weights, labels = _masked(tokens, lens, vocab)
    examples = (inputs, segments, lens.float(), positions, weights, labels, is_next)
    return TensorLoader(examples, batch_size, shuffle=True), vocab


def _read_paragraphs(text: str) -> list[list[list[str]]]:
    """The words of each sentence of each paragraph, in small letters; headings are left out."""
    # Where a line ends with a full stop, that counts as the second part, as it does in the book: so
    # a paragraph of one sentence gives no pair, but is in the vocabulary, and may be drawn.
    lines = (line for line in text.split("\n") if len(line.split(" . ")) >= 2)
    return [[sentence.split() for sentence in line.strip().lower().split(" . ")] for line in lines]


def _pairs(
    paragraphs: Sequence[Sequence[list[int]]], vocab: Vocab, max_len: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pairs of sentences: tokens, segments, lengths, and whether the second is the next one."""
    following = [pair for paragraph in paragraphs for pair in pairwise(paragraph)]
    draws = iter(torch.rand(len(following), 3).tolist())
    cls, sep = vocab[[CLS, SEP]]
    lines, first_lens, labels = [], [], []
    for (a, b), (u, v, w) in zip(following, draws, strict=True):
        if is_next := u < 0.5:
            second = b
        else:
            paragraph = paragraphs[int(v * len(paragraphs))]
            second = paragraph[int(w * len(paragraph))]
        if len(a) + len(second) + 3 <= max_len:
            lines.append([cls, *a, sep, *second, sep])
            first_lens.append(len(a) + 2)
            labels.append(is_next)
    if not lines:
        raise DataError(
            f"No pair of sentences has at most max_len={max_len} tokens. Choose a larger max_len."
        )
    lens = torch.tensor([len(line) for line in lines])
    is_second = ~valid_steps(torch.tensor(first_lens), max_len) & valid_steps(lens, max_len)
    return pad(lines, max_len, vocab[PAD]), is_second.long(), lens, torch.tensor(labels).long()


def _masked(
    tokens: torch.Tensor, lens: torch.Tensor, vocab: Vocab
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs with masked words; and the positions, weights and labels of the predictions."""
    n, max_len = tokens.shape
    special = torch.tensor(vocab[[CLS, SEP]])
    candidate = valid_steps(lens, max_len) & ~torch.isin(tokens, special)
    num_predictions = (lens * PREDICTED).round().long().clamp(min=1)
    num_predictions = torch.minimum(num_predictions, candidate.sum(1))
    k = round(max_len * PREDICTED)
    # The candidates in a random order, before all others.
    order = (torch.rand(n, max_len) + ~candidate).argsort(1)[:, :k]
    chosen = valid_steps(num_predictions, k)
    # In the order of the text, those that are not needed last.
    positions = order.masked_fill(~chosen, max_len).sort(1).values.masked_fill(~chosen, 0)
    labels = tokens.gather(1, positions).masked_fill(~chosen, 0)
    u = torch.rand(n, k)
    new = torch.where(u < 0.8, vocab[MASK], labels)
    new = torch.where(u >= 0.9, torch.randint(len(vocab), (n, k)), new)
    inputs = tokens.clone()
    row = torch.arange(n).unsqueeze(1).expand(n, k)
    inputs[row[chosen], positions[chosen]] = new[chosen]
    return inputs, positions, chosen.float(), labels
