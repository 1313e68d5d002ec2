"""What a trained model of sentences says of one sentence, or of two.

Book: 16.2 (sec_sentiment_rnn), 16.5 (sec_natural-language-inference-attention).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gradbook.checks import at_rest, check_text, check_tokens
from gradbook.datasets.snli import RELATIONS
from gradbook.devices import device_of
from gradbook.errors import DataError


def predict_sentiment(net: nn.Module, vocab: Any, sequence: str) -> str:
    """Whether a text is "positive" or "negative".

    The network is in evaluation mode meanwhile.

    Args:
        net: Called with token numbers (1, n); gives scores (1, 2), the second for positive.
        vocab: The `Vocab`.
        sequence: The text, with spaces between its tokens.

    Raises:
        ConfigError: If it is no text.
        DataError: If the text is empty.

    Book: 16.2.4.
    """
    check_text(sequence, "sequence")
    (tokens,) = _numbers(net, vocab, sequence.split())
    with at_rest(net):
        label = int(net(tokens).argmax(dim=1))
    return "positive" if label == 1 else "negative"


def predict_snli(
    net: nn.Module, vocab: Any, premise: Sequence[str], hypothesis: Sequence[str]
) -> str:
    """Whether a hypothesis is "entailment", "contradiction" or "neutral" to a premise.

    The network is in evaluation mode meanwhile.

    Args:
        net: Called with a list of two tensors of token numbers, (1, n) and (1, m); gives scores
            (1, 3).
        vocab: The `Vocab`.
        premise: The tokens of the premise, n.
        hypothesis: The tokens of the hypothesis, m.

    Raises:
        ConfigError: If a sentence is no list of tokens.
        DataError: If a sentence is empty.

    Book: 16.5.2.
    """
    check_tokens(premise, "premise")
    check_tokens(hypothesis, "hypothesis")
    pair = _numbers(net, vocab, list(premise), list(hypothesis))
    with at_rest(net):
        return RELATIONS[int(net(pair).argmax(dim=1))]


def _numbers(net: nn.Module, vocab: Any, *sentences: list[str]) -> list[torch.Tensor]:
    """The token numbers (1, n) of each sentence, where the network is."""
    if not all(sentences):
        raise DataError("There is nothing to predict of a sentence without a token.")
    device = device_of(net)
    return [torch.tensor([vocab[tokens]], device=device) for tokens in sentences]
