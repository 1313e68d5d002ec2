import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradbook import Trainer
from gradbook.datasets.text import TimeMachine, Vocab
from gradbook.errors import BatchError, ConfigError
from gradbook.models.recurrent import (
    GRU,
    RNN,
    RNNLM,
    RecurrentLM,
    RNNLMScratch,
    RNNScratch,
)
from gradbook.module import Module


class Sayings(TimeMachine):
    """A text that says one thing again and again."""

    def _download(self):
        return "the quick brown fox jumps over the lazy dog and " * 60


def copy_weights(scratch, concise):
    """Puts the weights of a language model from scratch into one of PyTorch's layers."""
    layer = concise.rnn.rnn
    with torch.no_grad():
        layer.weight_ih_l0.copy_(scratch.rnn.W_xh.T)
        layer.weight_hh_l0.copy_(scratch.rnn.W_hh.T)
        layer.bias_ih_l0.copy_(scratch.rnn.b_h)
        layer.bias_hh_l0.zero_()
        concise.linear.weight.copy_(scratch.W_hq.T)
        concise.linear.bias.copy_(scratch.b_q)


def both(num_inputs=7, num_hiddens=5):
    """A model from scratch and one of PyTorch's layers with the same weights."""
    scratch = RNNLMScratch(RNNScratch(num_inputs, num_hiddens, sigma=0.5), num_inputs)
    concise = RNNLM(RNN(num_inputs, num_hiddens), num_inputs)
    concise(torch.zeros(1, 1, dtype=torch.int64))  # the lazy layer gets its shape
    with torch.no_grad():
        for parameter in (scratch.rnn.b_h, scratch.b_q):
            parameter.normal_()
    copy_weights(scratch, concise)
    return scratch, concise


# RNNScratch ---------------------------------------------------------------------------------------


def test_the_layer_gives_the_state_after_each_step_and_the_last_one():
    outputs, state = RNNScratch(16, 32)(torch.ones(100, 2, 16))
    assert len(outputs) == 100
    assert outputs[0].shape == (2, 32)
    assert torch.equal(outputs[-1], state)


def test_a_state_is_the_books_formula_of_the_one_before():
    rnn = RNNScratch(3, 4, sigma=0.5)
    X, H = torch.randn(1, 2, 3), torch.randn(2, 4)
    _, state = rnn(X, H)
    expected = torch.tanh(X[0] @ rnn.W_xh + H @ rnn.W_hh + rnn.b_h)
    torch.testing.assert_close(state, expected)


def test_a_sequence_may_be_read_in_two_parts():
    rnn = RNNScratch(3, 4, sigma=0.5)
    X = torch.randn(6, 2, 3)
    whole, _ = rnn(X)
    _, state = rnn(X[:4])
    for given in (state, (state,)):
        rest, _ = rnn(X[4:], given)
        torch.testing.assert_close(rest, whole[4:])


@pytest.mark.parametrize("arguments", [(0, 4), (3, 0), (3, 4, -1), (3.5, 4)])
def test_sizes_that_cannot_be_used_are_refused(arguments):
    with pytest.raises(ConfigError):
        RNNScratch(*arguments)


# The language models ------------------------------------------------------------------------------


def test_one_hot_vectors_are_pytorchs_with_the_steps_first():
    X = torch.randint(0, 7, (2, 5))
    model = RNNLMScratch(RNNScratch(7, 3), 7)
    assert torch.equal(model.one_hot(X), F.one_hot(X.T, 7).float())
    assert torch.equal(model.one_hot(X.int()), model.one_hot(X))


def test_both_are_the_same_function_of_the_same_weights():
    scratch, concise = both()
    X = torch.randint(0, 7, (4, 6))
    assert scratch(X).shape == (4, 6, 7)
    torch.testing.assert_close(scratch(X), concise(X))


def test_both_have_the_same_gradients():
    scratch, concise = both()
    X, Y = torch.randint(0, 7, (4, 6)), torch.randint(0, 7, (4, 6))
    for model in (scratch, concise):
        model.loss(model(X), Y).backward()
    layer = concise.rnn.rnn
    pairs = [
        (scratch.rnn.W_xh.grad.T, layer.weight_ih_l0.grad),
        (scratch.rnn.W_hh.grad.T, layer.weight_hh_l0.grad),
        (scratch.rnn.b_h.grad, layer.bias_ih_l0.grad),
        (scratch.W_hq.grad.T, concise.linear.weight.grad),
        (scratch.b_q.grad, concise.linear.bias.grad),
    ]
    for ours, pytorchs in pairs:
        torch.testing.assert_close(ours, pytorchs)


def test_the_loss_is_the_mean_over_all_tokens():
    model, _ = both()
    X, Y = torch.randint(0, 7, (4, 6)), torch.randint(0, 7, (4, 6))
    expected = F.cross_entropy(model(X).reshape(24, 7), Y.reshape(24))
    torch.testing.assert_close(model.loss(model(X), Y), expected)


def test_the_output_layer_takes_states_as_a_list_or_as_a_tensor():
    model = RNNLMScratch(RNNScratch(7, 3), 7)
    states = [torch.randn(2, 3) for _ in range(5)]
    given = model.output_layer(states)
    assert torch.equal(given, model.output_layer(torch.stack(states)))
    torch.testing.assert_close(given[:, 2], states[2] @ model.W_hq + model.b_q)


def test_gated_units_are_pytorchs():
    gru = GRU(7, 5, 2)
    X, H = torch.randn(6, 4, 7), torch.randn(2, 4, 5)
    outputs, state = gru(X, H)
    expected, last = gru.rnn(X, H)
    assert torch.equal(outputs, expected)
    assert torch.equal(state, last)
    assert (gru.rnn.num_layers, gru.rnn.dropout) == (2, 0)


# predict ------------------------------------------------------------------------------------------


class Alphabet(Module):
    """A layer that answers each letter with the next one: a one-hot vector moved on by one."""

    num_hiddens, sigma = 27, 1.0

    def forward(self, inputs, state=None):
        return inputs.roll(1, dims=-1), state


def alphabet():
    """A model that says the alphabet, and its vocabulary."""
    model = RNNLMScratch(Alphabet(), 27)
    with torch.no_grad():
        model.W_hq.copy_(torch.eye(27))
    return model, Vocab(list("abcdefghijklmnopqrstuvwxyz"))


def test_a_text_is_continued_with_the_most_likely_tokens():
    model, vocab = alphabet()
    assert model.predict("abc", 4, vocab) == "abcdefg"
    assert model.predict("xa", 0, vocab) == "xa"
    assert model.predict(["q"], 2, vocab) == "qrs"


def test_a_token_that_the_vocabulary_lacks_is_shown_as_the_model_reads_it():
    model, vocab = alphabet()
    assert model.predict("A", 1, vocab) == "<unk>a"


def test_the_state_is_handed_on_from_token_to_token():
    scratch, _ = both()
    vocab = Vocab(list("abcdef"))
    text = scratch.predict("ab", 5, vocab)
    for end in range(2, 7):
        X = torch.tensor([vocab[list(text[:end])]])
        assert vocab.to_tokens(scratch(X)[0, -1].argmax()) == text[end]


def test_both_predict_the_same():
    scratch, concise = both()
    vocab = Vocab(list("abcdef"))
    assert scratch.predict("ab", 20, vocab) == concise.predict("ab", 20, vocab)


def test_predicting_leaves_the_model_in_training_and_without_gradients():
    model = RNNLM(GRU(7, 5, 2, dropout=0.5), 7).train()
    vocab = Vocab(list("abcdef"))
    assert model.predict("a", 9, vocab) == model.predict("a", 9, vocab)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_tokens_of_a_larger_vocabulary_are_told_from_the_models():
    model = RecurrentLM(num_hiddens=4, vocab_size=3)
    with pytest.raises(BatchError, match="from 0 to 2, but those of a batch go from 0 to 7"):
        model(torch.tensor([[0, 7]]))


def test_a_text_is_not_continued_by_a_negative_number_of_tokens():
    with pytest.raises(ConfigError, match="num_preds"):
        RecurrentLM(num_hiddens=4).predict("a", -1, Vocab("abc"))


def test_nothing_cannot_be_continued():
    model, vocab = alphabet()
    with pytest.raises(ConfigError, match="prefix is empty"):
        model.predict("", 3, vocab)


# RecurrentLM --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "layer"), [("rnn", nn.RNN), ("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_a_layer_is_chosen_by_name(cell, layer):
    model = RecurrentLM(cell, num_hiddens=8, num_layers=2, dropout=0.1, vocab_size=7)
    assert type(model.rnn) is layer
    assert model(torch.zeros(3, 4, dtype=torch.int64)).shape == (3, 4, 7)
    assert model.predict("a", 5, Vocab(list("abcdef")))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cell": "gur"}, "Did you mean 'gru'"),
        ({"num_hiddens": 0}, "num_hiddens"),
        ({"num_layers": 0}, "num_layers"),
        ({"dropout": 1}, "leaves no unit"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"num_hiddens": 10**9}, "num_hiddens"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(options, told):
    with pytest.raises(ConfigError, match=told):
        RecurrentLM(**options)


# Learning -----------------------------------------------------------------------------------------


def unigram_perplexity(data):
    """The perplexity of the validation labels under the frequencies of the training labels."""
    train, val = data.Y[: data.num_train, -1], data.Y[data.num_train :].reshape(-1)
    frequencies = (train.bincount(minlength=len(data.vocab)) + 1).float()
    return math.exp(-(frequencies / frequencies.sum())[val].log().mean())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scratch", "concise", "gru"])
def test_the_perplexity_falls_well_below_that_of_frequencies(kind):
    data = Sayings(batch_size=32, num_steps=8, num_train=2000, num_val=500)
    num_tokens = len(data.vocab)
    model = {
        "scratch": lambda: RNNLMScratch(RNNScratch(num_tokens, 32, sigma=0.1), num_tokens, lr=1),
        "concise": lambda: RNNLM(RNN(num_tokens, 32), num_tokens, lr=1),
        "gru": lambda: RecurrentLM("gru", lr=2, vocab_size=num_tokens),
    }[kind]()
    trainer = Trainer(max_epochs=4, gradient_clip_val=1)
    trainer.fit(model, data)
    unigram = unigram_perplexity(data)
    assert 10 < unigram < num_tokens  # the uniform model's perplexity
    assert trainer.history["val_ppl"][-1] < unigram / 4


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_resumed_training_goes_on_to_the_last_bit(cell, tmp_path, blank_figures):
    def train(max_epochs, resume=None):
        torch.manual_seed(1)
        model = RecurrentLM(cell, num_hiddens=8, num_layers=2, dropout=0.2)
        data = Sayings(batch_size=32, num_steps=8, num_train=300, num_val=100)
        trainer = Trainer(max_epochs=max_epochs, gradient_clip_val=1, run=tmp_path / "runs")
        trainer.fit(model, data, resume=resume)
        return [parameter.detach() for parameter in model.parameters()]

    train(2)
    (run,) = (tmp_path / "runs").iterdir()
    resumed, whole = train(4, resume=run), train(4)
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
