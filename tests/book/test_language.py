import pytest
import torch
from torch import nn

from gradbook.book.language import predict_sentiment, predict_snli
from gradbook.datasets.text import Vocab
from gradbook.errors import DataError

VOCAB = Vocab(["good", "bad", "film"])


class Counts(nn.Module):
    """Scores by how often words occur; wrong in training mode."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, X):
        assert not self.training
        first, last = (X, X) if isinstance(X, torch.Tensor) else X
        good = (first == VOCAB["good"]).sum(1) * self.weight
        bad = (last == VOCAB["bad"]).sum(1) * self.weight
        scores = [bad, good] if isinstance(X, torch.Tensor) else [good, bad, bad * 0 + 0.5]
        return torch.stack(scores, 1)


def test_a_text_is_positive_or_negative():
    net = Counts()
    assert predict_sentiment(net, VOCAB, "a good film") == "positive"
    assert predict_sentiment(net, VOCAB, "a bad film") == "negative"
    assert net.training  # as before


def test_two_sentences_have_one_of_three_relations():
    net = Counts().eval()
    assert predict_snli(net, VOCAB, ["good"], ["film"]) == "entailment"
    assert predict_snli(net, VOCAB, ["film"], ["bad", "film"]) == "contradiction"
    assert predict_snli(net, VOCAB, ["film"], ["film"]) == "neutral"
    assert not net.training


def test_nothing_is_predicted_of_nothing():
    with pytest.raises(DataError, match="without a token"):
        predict_sentiment(Counts(), VOCAB, "  ")
    with pytest.raises(DataError, match="without a token"):
        predict_snli(Counts(), VOCAB, ["good"], [])
