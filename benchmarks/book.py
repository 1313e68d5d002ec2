"""How long the later chapters' models train, against a plain loop on the same tensors.

    python benchmarks/book.py [--rounds 5] [--models lenet,gru] [--json results.json]

A round trains each model twice for two epochs, in turn: by a plain PyTorch loop, and by a `Trainer`
that prints a line an epoch and keeps its curves. Both have the same tensors, batches of the same
size, the same optimizer and the same validation. Where PyTorch has the layers, the plain loop uses
those and not ours. The figure is the ratio of the two in the same round; reported are its median
and range. Begin and end of a training are left out: the clock runs from the first step's end to the
last epoch's.
"""

import argparse
import contextlib
import io
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import gradbook
from gradbook.models.attention import MultiHeadAttention
from gradbook.models.bert import BERTModel
from gradbook.models.convolutional import LeNet, Residual
from gradbook.models.recurrent import GRU, RNN, RNNLM, RNNLMScratch, RNNScratch
from gradbook.models.seq2seq import AttentionDecoder, Seq2Seq, Seq2SeqEncoder
from gradbook.models.transformer import AddNorm, PositionWiseFFN, TransformerEncoder

EPOCHS = 2
NUM_TOKENS, NUM_STEPS = 28, 32


class Tensors(gradbook.DataModule):
    """Examples in memory; the first `num_train` are for training."""

    def __init__(self, tensors, num_train, batch_size):
        super().__init__()
        self.save_hyperparameters()

    def get_dataloader(self, train):
        """Minibatches of the training set, shuffled, or of the validation set."""
        rows = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader(self.tensors, train, rows)


class Plain(NamedTuple):
    """What a plain loop needs: a network, the loss of a batch, and an optimizer."""

    net: nn.Module
    loss: Callable[[nn.Module, tuple[torch.Tensor, ...]], torch.Tensor]
    optimizer: torch.optim.Optimizer
    clip: float = 0.0


def of_logits(net, batch):
    """Cross-entropy of a classifier's logits, also for each token."""
    X, y = batch
    logits = net(X)
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))


def images(num_train=2560, num_val=512, batch_size=128):
    """Random images and labels: what is timed does not depend on them."""
    n = num_train + num_val
    return Tensors((torch.rand(n, 1, 28, 28), torch.randint(10, (n,))), num_train, batch_size)


def texts(num_train=10240, num_val=1024, batch_size=1024):
    """Random tokens, each with the next one as its label."""
    tokens = torch.randint(NUM_TOKENS, (num_train + num_val, NUM_STEPS + 1))
    return Tensors((tokens[:, :-1], tokens[:, 1:]), num_train, batch_size)


# Convolutional networks


def lenet():
    """LeNet of section 7.6 on 2,560 images."""
    model = LeNet()
    net = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.Sigmoid()),
        *(nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10)),
    )
    return model, Plain(net, of_logits, torch.optim.SGD(net.parameters(), lr=0.1)), images()


class Net(gradbook.Classifier):
    """A classifier of one network."""

    def __init__(self, net, lr=0.1):
        super().__init__()
        self.save_hyperparameters(ignore=["net"])
        self.net = net


class PlainResidual(nn.Module):
    """The block of section 8.6 with PyTorch's layers."""

    def __init__(self, inputs, outputs, strides):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(inputs, outputs, 3, strides, 1), nn.BatchNorm2d(outputs), nn.ReLU()),
            *(nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)),
        )
        self.side = nn.Conv2d(inputs, outputs, 1, strides) if strides > 1 else nn.Identity()

    def forward(self, X):
        """The sum of both ways."""
        return F.relu(self.body(X) + self.side(X))


def resnet():
    """A small residual network: two blocks of 16 channels, two of 32."""

    def network(block):
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
        blocks = [block(16, 16, 1), block(16, 16, 1), block(16, 32, 2), block(32, 32, 1)]
        stem = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(*stem, *blocks, head)

    model = Net(network(lambda inputs, outputs, s: Residual(outputs, s > 1, s)))
    net = network(PlainResidual)
    plain = Plain(net, of_logits, torch.optim.SGD(net.parameters(), lr=0.1))
    return model, plain, images(1280, 256)


# Recurrent networks


class PlainRNN(nn.Module):
    """The language model of section 9.5 as one would write it by hand."""

    def __init__(self, num_hiddens=32):
        super().__init__()
        self.W_xh = nn.Parameter(torch.randn(NUM_TOKENS, num_hiddens) * 0.01)
        self.W_hh = nn.Parameter(torch.randn(num_hiddens, num_hiddens) * 0.01)
        self.b_h = nn.Parameter(torch.zeros(num_hiddens))
        self.out = nn.Linear(num_hiddens, NUM_TOKENS)

    def forward(self, X):
        """Logits of each next token."""
        H, outputs = torch.zeros(len(X), self.W_hh.shape[0]), []
        for inputs in F.one_hot(X.T, NUM_TOKENS).float():
            H = torch.tanh(inputs @ self.W_xh + H @ self.W_hh + self.b_h)
            outputs.append(self.out(H))
        return torch.stack(outputs, 1)


class PlainLayers(nn.Module):
    """The same with a recurrent layer of PyTorch's."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.out = layer, nn.Linear(32, NUM_TOKENS)

    def forward(self, X):
        """Logits of each next token."""
        return self.out(self.layer(F.one_hot(X.T, NUM_TOKENS).float())[0].transpose(0, 1))


def _language_model(model, net):
    return model, Plain(net, of_logits, torch.optim.SGD(net.parameters(), lr=1.0), 1.0), texts()


def rnn_scratch():
    """The RNN from scratch of section 9.5: 32 steps, 32 hidden units, batches of 1,024."""
    return _language_model(RNNLMScratch(RNNScratch(NUM_TOKENS, 32), NUM_TOKENS, 1.0), PlainRNN())


def rnn():
    """The same with PyTorch's layer, section 9.6."""
    model = RNNLM(RNN(NUM_TOKENS, 32), NUM_TOKENS, 1.0)
    return _language_model(model, PlainLayers(nn.RNN(NUM_TOKENS, 32)))


def gru():
    """The same with gated recurrent units, section 10.2."""
    model = RNNLM(GRU(NUM_TOKENS, 32), NUM_TOKENS, 1.0)
    return _language_model(model, PlainLayers(nn.GRU(NUM_TOKENS, 32)))


# Encoders and decoders: the plain loop trains the same network


class GRUDecoder(AttentionDecoder):
    """A decoder of gated recurrent units."""

    def __init__(self, num_hiddens=64):
        super().__init__()
        self.embedding = nn.Embedding(200, num_hiddens)
        self.rnn = nn.GRU(num_hiddens, num_hiddens, 2)
        self.dense = nn.Linear(num_hiddens, 200)

    def init_state(self, enc_all_outputs, *args):
        """The encoder's states."""
        return enc_all_outputs[1]

    def forward(self, X, state):
        """Scores of the next tokens, and the state."""
        outputs, state = self.rnn(self.embedding(X.T), state)
        return self.dense(outputs).swapaxes(0, 1), state


class AttendingDecoder(AttentionDecoder):
    """A transformer's decoder of one block."""

    def __init__(self, num_hiddens=64):
        super().__init__()
        self.embedding = nn.Embedding(200, num_hiddens)
        self.own = MultiHeadAttention(num_hiddens, 4, 0.0)
        self.cross = MultiHeadAttention(num_hiddens, 4, 0.0)
        self.ffn = PositionWiseFFN(64, num_hiddens)
        self.norms = nn.ModuleList(AddNorm(num_hiddens, 0.0) for _ in range(3))
        self.dense = nn.Linear(num_hiddens, 200)

    def init_state(self, enc_all_outputs, *args):
        """The encoder's outputs and the lengths of the sources."""
        return [enc_all_outputs, *args]

    def forward(self, X, state):
        """Scores of the next tokens, and the state."""
        outputs, valid_lens = state
        steps = torch.arange(1, X.shape[1] + 1).repeat(len(X), 1)
        X = self.embedding(X)
        Y = self.norms[0](X, self.own(X, X, X, steps))
        Z = self.norms[1](Y, self.cross(Y, outputs, outputs, valid_lens))
        return self.dense(self.norms[2](Z, self.ffn(Z))), state


def _translation(encoder, decoder):
    model = Seq2Seq(encoder, decoder, tgt_pad=0, lr=0.005)
    source, target = torch.randint(1, 200, (2, 1280, 10))
    labels, lengths = target.roll(-1, 1), torch.randint(4, 11, (1280,))
    data = Tensors((source, target, lengths, labels), 1024, 128)
    net = Seq2Seq(encoder, decoder, tgt_pad=0, lr=0.005)
    net(*(tensor[:2] for tensor in data.tensors[:-1]))

    def loss(net, batch):
        return net.loss(net(*batch[:-1]), batch[-1])

    return model, Plain(net, loss, torch.optim.Adam(net.parameters(), lr=0.005), 1.0), data


def seq2seq():
    """An encoder and a decoder of two layers of 64 gated recurrent units, section 10.7."""
    return _translation(Seq2SeqEncoder(200, 64, 64, 2), GRUDecoder())


def transformer():
    """An encoder of two blocks, a decoder of one, 64 features, four heads, section 11.7."""
    return _translation(TransformerEncoder(200, 64, 64, 4, 2, 0.0), AttendingDecoder())


class Masked(gradbook.Module):
    """BERT that is trained to fill in masked tokens."""

    def __init__(self, lr=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.net = BERTModel(1000, 128, 256, 2, 2, 0.2)

    def forward(self, tokens, segments, lengths, positions):
        """Scores of the tokens at the masked positions."""
        return self.net(tokens, segments, lengths, positions)[1]

    def loss(self, y_hat, y):
        """Cross-entropy at the masked positions."""
        return F.cross_entropy(y_hat.reshape(-1, y_hat.shape[-1]), y.reshape(-1))


def bert():
    """BERT's small model of section 15.10: two blocks, 128 features, 64 tokens a sequence."""
    n, steps = 640, 64
    tokens, segments = torch.randint(1000, (n, steps)), torch.randint(2, (n, steps))
    lengths = torch.full((n,), float(steps))
    positions, labels = torch.randint(steps, (n, 10)), torch.randint(1000, (n, 10))
    data = Tensors((tokens, segments, lengths, positions, labels), 512, 128)
    model, net = Masked(), Masked()
    net(*(tensor[:2] for tensor in data.tensors[:-1]))

    def loss(net, batch):
        return net.loss(net(*batch[:-1]), batch[-1])

    return model, Plain(net, loss, torch.optim.SGD(net.parameters(), lr=0.01)), data


MODELS = (lenet, resnet, rnn_scratch, rnn, gru, seq2seq, transformer, bert)


class Clock(gradbook.Sink):
    """Notes when the first step and the last epoch ended."""

    begin = end = 0.0

    def end_step(self, trainer):
        """A step is over."""
        self.begin = self.begin or time.perf_counter()

    def end_epoch(self, trainer):
        """An epoch is over."""
        self.end = time.perf_counter()


def seconds_of_ours(model: Any, data: Tensors, clip: float) -> float:
    """Seconds of a training by a Trainer."""
    clock = Clock()
    trainer = gradbook.Trainer(EPOCHS, gradient_clip_val=clip, display="lines", sinks=[clock])
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.fit(model, data)
    return clock.end - clock.begin


def seconds_of_plain(plain: Plain, data: Tensors) -> float:
    """Seconds of the same training by a plain loop."""
    net, loss, optimizer, clip = plain
    size, begin = data.batch_size, 0.0
    training = [tensor[: data.num_train] for tensor in data.tensors]
    validation = [tensor[data.num_train :] for tensor in data.tensors]
    for _ in range(EPOCHS):
        net.train()
        for rows in torch.randperm(data.num_train).split(size):
            value = loss(net, tuple(tensor[rows] for tensor in training))
            optimizer.zero_grad()
            value.backward()
            if clip:
                nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimizer.step()
            begin = begin or time.perf_counter()
        net.eval()
        with torch.no_grad():
            for batch in zip(*(tensor.split(size) for tensor in validation), strict=True):
                loss(net, batch)
    return time.perf_counter() - begin


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", default=",".join(make.__name__ for make in MODELS))
    parser.add_argument("--json")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, PyTorch {torch.__version__}", end=", ")
    print(f"{torch.get_num_threads()} threads, {options.rounds} rounds of {EPOCHS} epochs")
    print(f"{'model':12}  {'plain s':>8}  {'ours s':>8}  {'ratio':>5}  range")
    results = {}
    for make in MODELS:
        if make.__name__ not in options.models.split(","):
            continue
        model, plain, data = make()
        pairs = []
        for number in range(options.rounds + 1):
            runs = [
                lambda: seconds_of_plain(plain, data),  # noqa: B023
                lambda: seconds_of_ours(model, data, plain.clip),  # noqa: B023
            ]
            order = (0, 1) if number % 2 else (1, 0)
            taken = {which: runs[which]() for which in order}
            pairs.append((taken[0], taken[1]))
        pairs = pairs[1:]  # the first round warms up
        ratios = sorted(ours / loop for loop, ours in pairs)
        loop, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(ratios)
        results[make.__name__] = {"plain": loop, "ours": ours, "ratios": ratios}
        print(
            f"{make.__name__:12}  {loop:8.3f}  {ours:8.3f}  {ratio:5.2f}  "
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
            flush=True,
        )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
