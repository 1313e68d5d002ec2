import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradbook import DataModule, Trainer, load_model, seed_everything
from gradbook.datasets.makers.sentences import _PERSONS, _of_deeds
from gradbook.datasets.translation import MTFraEng
from gradbook.errors import BatchError, ConfigError, ModelError
from gradbook.models.attention import MultiHeadAttention, PositionalEncoding
from gradbook.models.recurrent import GRU
from gradbook.models.seq2seq import (
    AttentionDecoder,
    Decoder,
    Encoder,
    EncoderDecoder,
    Seq2Seq,
    Seq2SeqEncoder,
    bleu,
    init_seq2seq,
)
from gradbook.models.transformer import AddNorm, PositionWiseFFN, TransformerEncoder


class RNNDecoder(Decoder):
    """Gated recurrent units that begin with the encoder's state and see it in each step."""

    def __init__(self, vocab_size, embed_size, num_hiddens, num_layers=1):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.rnn = GRU(embed_size + num_hiddens, num_hiddens, num_layers)
        self.dense = nn.LazyLinear(vocab_size)

    def init_state(self, enc_all_outputs, *args):
        context = enc_all_outputs[1]
        return context, context[-1]

    def forward(self, X, state):
        hidden, context = state
        embedded = self.embedding(X.T)
        context = context.expand(len(embedded), -1, -1)
        outputs, hidden = self.rnn(torch.cat((embedded, context), dim=-1), hidden)
        return self.dense(outputs).transpose(0, 1), (hidden, context[0])


class OneBlockDecoder(AttentionDecoder):
    """One block of a transformer's decoder; its state is all that it was given so far."""

    def __init__(self, vocab_size, num_hiddens, num_heads):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, num_hiddens)
        self.positions = PositionalEncoding(num_hiddens, 0.0)
        self.to_itself, self.to_source = (
            MultiHeadAttention(num_hiddens, num_heads, 0.0) for _ in range(2)
        )
        self.norms = nn.ModuleList(AddNorm(num_hiddens, 0.0) for _ in range(3))
        self.ffn = PositionWiseFFN(2 * num_hiddens, num_hiddens)
        self.dense = nn.LazyLinear(vocab_size)

    def init_state(self, enc_all_outputs, enc_valid_lens):
        return enc_all_outputs, enc_valid_lens, None

    def forward(self, X, state):
        source, valid_lens, before = state
        tokens = X if before is None else torch.cat((before, X), dim=1)
        H = self.positions(self.embedding(tokens) * self.dense.in_features**0.5)
        so_far = torch.arange(1, tokens.shape[1] + 1, device=X.device).expand(len(X), -1)
        H = self.norms[0](H, self.to_itself(H, H, H, so_far))
        H = self.norms[1](H, self.to_source(H, source, source, valid_lens))
        H = self.norms[2](H, self.ffn(H))
        return self.dense(H[:, -X.shape[1] :]), (source, valid_lens, tokens)

    @property
    def attention_weights(self):
        return [self.to_itself.attention.attention_weights]


class Reversal(DataModule):
    """Sequences of three tokens, and the same from the last to the first."""

    def __init__(self, batch_size=8):
        super().__init__()
        self.save_hyperparameters()
        src = torch.randint(2, 6, (24, 3), generator=torch.Generator().manual_seed(0))
        tgt = torch.cat((torch.ones(24, 1, dtype=torch.int64), src.flip(1)), dim=1)
        self.arrays = src, tgt[:, :-1], torch.full((24,), 3), tgt[:, 1:]

    def get_dataloader(self, train):
        return self.get_tensorloader(self.arrays, train, slice(0, 16) if train else slice(16, 24))


def small(lr=0.01):
    return Seq2Seq(Seq2SeqEncoder(6, 4, 5, 1), RNNDecoder(6, 4, 5), tgt_pad=0, lr=lr)


# Parts


@pytest.mark.parametrize(
    ("call", "lacking"),
    [
        (lambda: Encoder()(None), r"forward\(self, X, \*args\)"),
        (lambda: Decoder()(None, None), r"forward\(self, X, state\)"),
        (lambda: Decoder().init_state(None), "init_state"),
        (lambda: AttentionDecoder().attention_weights, "attention_weights"),
    ],
)
def test_a_base_class_says_what_a_subclass_has_to_write(call, lacking):
    with pytest.raises(ModelError, match=lacking):
        call()


def test_the_encoder_is_torch_s_gru_of_the_embedded_tokens():
    encoder = Seq2SeqEncoder(10, 8, 16, 2)
    X = torch.randint(10, (4, 9))
    outputs, state = encoder(X)
    assert outputs.shape == (9, 4, 16)
    assert state.shape == (2, 4, 16)
    theirs = nn.GRU(8, 16, 2, batch_first=True)
    theirs.load_state_dict(encoder.rnn.rnn.state_dict())
    torch.testing.assert_close(outputs.transpose(0, 1), theirs(encoder.embedding(X))[0])
    torch.testing.assert_close(encoder(X.float())[1], state)  # as the book gives zeros


def test_xavier_initializes_linear_layers_and_grus_and_nothing_else():
    gru, linear, lazy = nn.GRU(4, 6, 2), nn.Linear(30, 20), nn.LazyLinear(3)
    embedding = nn.Embedding(5, 4)
    before = embedding.weight.clone(), gru.bias_ih_l0.clone()
    nn.Sequential(gru, linear, lazy, embedding).apply(init_seq2seq)
    assert linear.weight.abs().max() <= math.sqrt(6 / 50)
    assert linear.weight.std().item() == pytest.approx(math.sqrt(2 / 50), rel=0.1)
    assert gru.weight_hh_l1.abs().max() <= math.sqrt(6 / 24)
    assert torch.equal(embedding.weight, before[0])
    assert torch.equal(gru.bias_ih_l0, before[1])


def test_the_model_hands_the_lengths_to_encoder_and_decoder():
    class Told(Encoder):
        def forward(self, X, valid_lens):
            return X + valid_lens

    class Adds(Decoder):
        def init_state(self, enc_all_outputs, valid_lens):
            return enc_all_outputs * valid_lens

        def forward(self, X, state):
            return X + state, "the state after"

    assert EncoderDecoder(Told(), Adds())(torch.tensor(1), torch.tensor(5), 3) == 17


# Loss and prediction


def test_padding_does_not_count_in_the_loss():
    model = small()
    Y_hat, Y = torch.randn(2, 3, 6), torch.tensor([[1, 0, 0], [2, 3, 0]])
    counted = Y != 0
    each = F.cross_entropy(Y_hat[counted], Y[counted], reduction="none")
    torch.testing.assert_close(model.loss(Y_hat, Y), each.mean())
    torch.testing.assert_close(model.loss(Y_hat, Y, averaged=False).sum(), each.sum())
    assert model.accuracy(Y_hat, Y, averaged=False).shape == (3,)


def test_labels_that_fit_no_logits_are_explained():
    with pytest.raises(BatchError, match="Expected integer labels of shape"):
        small().loss(torch.randn(2, 3, 6), torch.tensor([1, 2]))
    with pytest.raises(BatchError, match="6"):
        small().loss(torch.randn(1, 2, 6), torch.tensor([[1, 6]]))


def test_each_predicted_token_is_the_likeliest_after_the_one_before():
    model = small()
    model(*(part[:2] for part in Reversal().arrays[:3]))
    batch = [part[:2] for part in Reversal().arrays]
    model.train()
    tokens, weights = model.predict_step(batch, "cpu", 4)
    assert tokens.shape == (2, 4)
    assert not weights
    assert model.training
    dec_X = torch.cat((batch[1][:, :1], tokens[:, :-1]), dim=1)
    assert torch.equal(model.eval()(batch[0], dec_X, batch[2]).argmax(dim=2), tokens)


def test_what_was_attended_to_is_kept_for_each_step():
    model = Seq2Seq(TransformerEncoder(6, 8, 8, 2, 1, 0.0), OneBlockDecoder(6, 8, 2), 0, 0.1)
    _, weights = model.predict_step(Reversal().arrays, "cpu", 3, save_attention_weights=True)
    assert [step[0].shape for step in weights] == [(48, n, n) for n in (1, 2, 3)]
    assert not weights[0][0].requires_grad


@pytest.mark.parametrize(
    ("pred", "label", "k", "expected"),
    [
        ("a b c", "a b c", 2, 1.0),
        ("", "a b", 2, 0.0),
        ("c d", "a b", 2, 0.0),
        ("a b", "a b c d e f", 2, math.exp(1 - 6 / 2)),
        ("a a a", "a b c", 1, (1 / 3) ** 0.5),  # each match is used once
        ("a", "a", 3, 1.0),
        (
            "A B B C D",
            "A B C D E F",
            3,
            math.exp(-1 / 5) * 0.8**0.5 * 0.75**0.25 * (1 / 3) ** 0.125,
        ),
    ],
)
def test_bleu_is_its_formula(pred, label, k, expected):
    assert bleu(pred, label, k) == pytest.approx(expected)


# Training


@pytest.mark.slow
def test_it_is_optimized_with_adam_unless_the_trainer_names_another():
    for settings, expected in (({}, torch.optim.Adam), ({"optimizer": "adamw"}, torch.optim.AdamW)):
        trainer = Trainer(max_epochs=1, display="off", **settings)
        trainer.fit(small(), Reversal())
        assert type(trainer.optim) is expected


def test_adam_has_no_momentum_to_set():
    with pytest.raises(ConfigError, match=r"momentum=0\.9 .* optimized with adam"):
        Trainer(1, display="off", momentum=0.9).fit(small(), Reversal())


@pytest.mark.slow
def test_a_resumed_training_ends_where_one_without_a_break_does(tmp_path):
    ends = []
    for stops in ([4], [2, 4]):
        seed_everything(0)
        path = tmp_path / f"{len(stops)}.pt"
        for max_epochs in stops:
            model = small()
            trainer = Trainer(max_epochs, display="off")
            trainer.fit(model, Reversal(), resume=path if path.exists() else None)
            trainer.save_checkpoint(path)
        ends.append(model.state_dict())
    for name, whole in ends[0].items():
        assert torch.equal(whole, ends[1][name]), name


@pytest.mark.slow
def test_the_model_can_be_handed_on(tmp_path):
    model, trainer = small(), Trainer(1, display="off")
    trainer.fit(model, Reversal())
    trainer.save_model(tmp_path / "model.pt")
    parts = {"encoder": Seq2SeqEncoder(6, 4, 5, 1), "decoder": RNNDecoder(6, 4, 5)}
    again = load_model(tmp_path / "model.pt", Seq2Seq, **parts)
    batch = Reversal().arrays
    assert torch.equal(again(*batch[:-1]), model.eval()(*batch[:-1]))


class Pairs(MTFraEng):
    """Who did, did not or did they eight things: of the stand-in's grammar, in a mixed order."""

    def _download(self):
        deeds = [pair for who in _PERSONS for pair in _of_deeds(who)]
        things = {"lost", "won", "ran", "slept", "left", "came", "fell", "arrived"}
        things |= {"lose", "win", "run", "sleep", "leave", "come", "fall", "arrive"}
        pairs = [pair for pair in deeds if pair[0].rstrip(".?").split()[-1] in things]
        order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
        return "\n".join("\t".join(pairs[i]) for i in order)


def scores_of(tokens, labels, vocab):
    """The BLEU of each translation."""

    def words(line):
        return " ".join(vocab.to_tokens(line)).partition(" <eos>")[0]

    pairs = zip(tokens.tolist(), labels.tolist(), strict=True)
    return [bleu(words(pred), words(label), k=2) for pred, label in pairs]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["recurrent", "transformer"])
def test_it_learns_to_translate_sentences_that_it_has_not_seen(kind):
    seed_everything(1)
    data = Pairs(16, num_steps=7, num_train=144, num_val=40)
    src_size, tgt_size = len(data.src_vocab), len(data.tgt_vocab)
    if kind == "recurrent":
        parts = Seq2SeqEncoder(src_size, 64, 64, 1), RNNDecoder(tgt_size, 64, 64)
    else:
        parts = TransformerEncoder(src_size, 32, 64, 4, 1, 0.0), OneBlockDecoder(tgt_size, 32, 4)
    model = Seq2Seq(*parts, tgt_pad=data.tgt_vocab["<pad>"], lr=0.01)
    max_epochs = 20 if kind == "recurrent" else 10
    Trainer(max_epochs, gradient_clip_val=1, display="off").fit(model, data)
    held_out = [part[data.num_train :] for part in data.arrays]
    tokens, _ = model.predict_step(held_out, "cpu", data.num_steps)
    scores = scores_of(tokens, held_out[-1], data.tgt_vocab)
    by_chance = scores_of(held_out[-1].roll(1, dims=0), held_out[-1], data.tgt_vocab)
    assert sum(scores) / len(scores) > 0.7
    assert sum(by_chance) / len(by_chance) < 0.4
    assert scores.count(1) > 0.4 * len(scores)
