import pytest
import torch
from tests.models.test_seq2seq import OneBlockDecoder, RNNDecoder
from torch import nn
from torch.nn import functional as F

from gradbook import seed_everything
from gradbook.book.seq2seq_training import (
    MaskedSoftmaxCELoss,
    predict_seq2seq,
    sequence_mask,
    train_seq2seq,
)
from gradbook.data import TensorLoader
from gradbook.datasets.text import Vocab
from gradbook.errors import DataError, ShapeError
from gradbook.models.seq2seq import EncoderDecoder, Seq2SeqEncoder
from gradbook.models.transformer import TransformerEncoder

SPECIAL = ["<pad>", "<bos>", "<eos>"]


def test_what_is_beyond_the_valid_length_is_replaced_in_a_copy():
    X = torch.ones(2, 3, 2)
    masked = sequence_mask(X, torch.tensor([1, 3]), value=-1)
    assert masked[0].tolist() == [[1, 1], [-1, -1], [-1, -1]]
    assert torch.equal(masked[1], X[1])
    assert torch.equal(X, torch.ones(2, 3, 2))


@pytest.mark.parametrize(
    ("shape", "valid_len", "told"),
    [
        ((3,), torch.tensor([1]), "num_steps"),
        ((2, 3), torch.tensor([1, 2, 3]), "valid_len"),
        ((2, 3), [1, 2], "valid_len"),
    ],
)
def test_lengths_that_fit_no_sequences_are_refused(shape, valid_len, told):
    with pytest.raises(ShapeError, match=told):
        sequence_mask(torch.ones(shape), valid_len)


def test_the_loss_is_that_of_the_valid_steps_divided_by_all():
    pred, label = torch.randn(2, 3, 5), torch.randint(5, (2, 3))
    each = F.cross_entropy(pred.reshape(6, 5), label.reshape(6), reduction="none").reshape(2, 3)
    loss = MaskedSoftmaxCELoss()(pred, label, torch.tensor([3, 1]))
    torch.testing.assert_close(loss, torch.stack([each[0].mean(), each[1, 0] / 3]))


@pytest.fixture
def pairs():
    """The vocabulary, and batches of two words that are to be turned round."""
    vocab = Vocab(list("abcd"), reserved_tokens=SPECIAL)
    words = [[x, y] for x in "abcd" for y in "abcd"]
    ends = [vocab["<eos>"], vocab["<pad>"]]
    X, Y = (torch.tensor([[*vocab[w[::step]], *ends] for w in words]) for step in (1, -1))
    lengths = torch.full((16,), 3)
    return vocab, TensorLoader([X, lengths, Y, lengths], 8, shuffle=True)


class Old(nn.Module):
    """An encoder and a decoder that return the state, too, as in earlier editions."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, enc_X, dec_X, *args):
        return self.decoder(dec_X, self.decoder.init_state(self.encoder(enc_X, *args), *args))


@pytest.mark.slow
@pytest.mark.parametrize("Model", [EncoderDecoder, Old])
def test_a_trained_network_translates(Model, pairs, capsys, monkeypatch):
    monkeypatch.setenv("GRADBOOK_DISPLAY", "off")
    seed_everything(0)
    vocab, loader = pairs
    net = Model(Seq2SeqEncoder(len(vocab), 16, 32, 1), RNNDecoder(len(vocab), 16, 32))
    train_seq2seq(net, loader, 0.02, 30, vocab, "cpu")
    assert capsys.readouterr().out.startswith("loss 0.")
    assert predict_seq2seq(net, "A b", vocab, vocab, 4, "cpu") == ("b a", [])


def test_the_attention_weights_of_each_step_are_kept_if_asked_for(pairs):
    vocab, _ = pairs
    encoder = TransformerEncoder(len(vocab), 8, 8, 2, 1, 0.0)
    net = EncoderDecoder(encoder, OneBlockDecoder(len(vocab), 8, 2))
    text, weights = predict_seq2seq(net, "a b", vocab, vocab, 4, "cpu", True)
    assert len(weights) in (len(text.split()), len(text.split()) + 1)
    assert weights[0][0].shape == (2, 1, 1)
    assert net.training


def test_a_training_without_batches_is_refused(pairs):
    net = EncoderDecoder(Seq2SeqEncoder(7, 2, 2, 1), RNNDecoder(7, 2, 2))
    net(torch.zeros(1, 2).long(), torch.zeros(1, 2).long())
    with pytest.raises(DataError, match="no batch"):
        train_seq2seq(net, [], 0.1, 1, pairs[0], "cpu")
