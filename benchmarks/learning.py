"""What the models of chapters 14 and 16 learn, from the data that there are or their stand-ins.

    python benchmarks/learning.py [--models ssd,birnn,textcnn,attention,bert] [--seeds 1] [--json F]

Each model is that of its section, written anew with the library's names, and trained with them; its
sizes and epochs fit two processor cores. Printed are what it reaches on data that it has not seen,
what whoever sees nothing reaches, and the seconds of processor time that it took.
Of the made pairs of sentences, the hypothesis alone tells the relation in about half of the cases.
"""

import argparse
import contextlib
import io
import json
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import gradbook
from d2l import torch as d2l


class Reached(NamedTuple):
    """What a trained model reaches.

    Attributes:
        what: The measure.
        value: On data that it has not seen.
        blind: What whoever sees no input reaches.
    """

    what: str
    value: float
    blind: float


# Object detection: sections 14.6 and 14.7


class TinySSD(nn.Module):
    """A single shot detector with five scales."""

    SIZES = ([0.2, 0.272], [0.37, 0.447], [0.54, 0.619], [0.71, 0.79], [0.88, 0.961])
    RATIOS = (1, 2, 0.5)

    def __init__(self, num_classes):
        super().__init__()
        num_anchors = len(self.SIZES[0]) + len(self.RATIOS) - 1
        base = [layer for pair in ((3, 16), (16, 32), (32, 64)) for layer in _halved(*pair)]
        blocks = [base, _halved(64, 128), _halved(128, 128), _halved(128, 128)]
        self.blocks = nn.ModuleList([nn.Sequential(*block) for block in blocks])
        self.blocks.append(nn.AdaptiveMaxPool2d((1, 1)))
        channels = (64, 128, 128, 128, 128)
        self.num_classes = num_classes
        self.classes = nn.ModuleList(_same(c, num_anchors * (num_classes + 1)) for c in channels)
        self.offsets = nn.ModuleList(_same(c, num_anchors * 4) for c in channels)

    def forward(self, X):
        """Anchors (1, n, 4), scores (B, n, 1 + num_classes) and offsets (B, n * 4)."""
        anchors, scores, offsets = [], [], []
        for i, block in enumerate(self.blocks):
            X = block(X)
            anchors.append(d2l.multibox_prior(X, self.SIZES[i], self.RATIOS))
            scores.append(self.classes[i](X).permute(0, 2, 3, 1).flatten(1))
            offsets.append(self.offsets[i](X).permute(0, 2, 3, 1).flatten(1))
        scores = torch.cat(scores, 1).reshape(len(X), -1, self.num_classes + 1)
        return torch.cat(anchors, 1), scores, torch.cat(offsets, 1)


def _same(inputs, outputs):
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)


def _halved(inputs, outputs):
    """Two convolutions, and a map of half the height and width."""
    layers = []
    for channels in (inputs, outputs):
        layers += [_same(channels, outputs), nn.BatchNorm2d(outputs), nn.ReLU()]
    return [*layers, nn.MaxPool2d(2)]


def ssd(num_epochs=5):
    """The mean overlap of the most probable box with the banana."""
    train_iter, val_iter = d2l.load_data_bananas(16)
    net = TinySSD(num_classes=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(num_epochs):
        net.train()
        for X, y in train_iter:
            anchors, scores, offsets = net(X)
            true_offsets, mask, labels = d2l.multibox_target(anchors, y)
            loss = F.cross_entropy(scores.flatten(0, 1), labels.flatten())
            loss = loss + F.l1_loss(offsets * mask, true_offsets * mask)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.eval()
    always = train_iter.tensors[1][:, 0, 1:].mean(0, keepdim=True)
    overlaps, blind = [], []
    with torch.no_grad():
        for X, y in val_iter:
            anchors, scores, offsets = net(X)
            probs = scores.softmax(2).transpose(1, 2)
            found = d2l.multibox_detection(probs, offsets, anchors)[:, 0, 2:]
            overlaps.append(d2l.box_iou(found, y[:, 0, 1:]).diagonal())
            blind.append(d2l.box_iou(always, y[:, 0, 1:])[0])
    return Reached("mean IoU", torch.cat(overlaps).mean().item(), torch.cat(blind).mean().item())


# Sentiment analysis: sections 16.2 and 16.3


class BiRNN(nn.Module):
    """A bidirectional LSTM, of whose first and last states the sentiment is read."""

    def __init__(self, vocab_size, embed_size=50, num_hiddens=50, num_layers=1):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.rnn = nn.LSTM(embed_size, num_hiddens, num_layers, bidirectional=True)
        self.decoder = nn.Linear(4 * num_hiddens, 2)

    def forward(self, X):
        """Scores (B, 2) of tokens (B, num_steps)."""
        states, _ = self.rnn(self.embedding(X.T))
        return self.decoder(torch.cat([states[0], states[-1]], dim=1))


class TextCNN(nn.Module):
    """Convolutions over words, of whose largest values the sentiment is read."""

    def __init__(self, vocab_size, embed_size=50, widths=(3, 4, 5), num_channels=50):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.fixed = nn.Embedding(vocab_size, embed_size)
        self.fixed.weight.requires_grad_(False)
        self.convs = nn.ModuleList(nn.Conv1d(2 * embed_size, num_channels, w) for w in widths)
        self.dropout = nn.Dropout(0.5)
        self.decoder = nn.Linear(num_channels * len(widths), 2)

    def forward(self, X):
        """Scores (B, 2) of tokens (B, num_steps)."""
        vectors = torch.cat([self.embedding(X), self.fixed(X)], 2).transpose(1, 2)
        largest = [conv(vectors).amax(2).relu() for conv in self.convs]
        return self.decoder(self.dropout(torch.cat(largest, 1)))


def sentiment(make, lr, num_epochs):
    """The accuracy on reviews that were not trained with."""
    train_iter, test_iter, vocab = d2l.load_data_imdb(64, num_steps=200)
    net = make(len(vocab))
    glove = d2l.TokenEmbedding("glove.6b.50d")[vocab.idx_to_token]
    with torch.no_grad():
        net.embedding.weight.copy_(glove)
        if hasattr(net, "fixed"):
            net.fixed.weight.copy_(glove)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    loss = nn.CrossEntropyLoss(reduction="none")
    d2l.train_ch13(net, train_iter, test_iter, loss, optimizer, num_epochs, d2l.cpu())
    return Reached("accuracy", d2l.evaluate_accuracy_gpu(net, test_iter), 0.5)


# Natural language inference: sections 16.5 and 16.7


class DecomposableAttention(nn.Module):
    """Words of each sentence compared with those of the other that they attend to."""

    def __init__(self, vocab_size, embed_size=100, num_hiddens=64):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.attend = _mlp(embed_size, num_hiddens)
        self.compare = _mlp(2 * embed_size, num_hiddens)
        self.aggregate = nn.Sequential(
            _mlp(2 * num_hiddens, num_hiddens), nn.Linear(num_hiddens, 3)
        )

    def forward(self, X):
        """Scores (B, 3) of premises and hypotheses, tokens (B, num_steps) each."""
        A, B = (self.embedding(part) for part in X)
        scores = self.attend(A) @ self.attend(B).transpose(1, 2)
        of_A = self.compare(torch.cat([A, scores.softmax(2) @ B], 2)).sum(1)
        of_B = self.compare(torch.cat([B, scores.transpose(1, 2).softmax(2) @ A], 2)).sum(1)
        return self.aggregate(torch.cat([of_A, of_B], 1))


def _mlp(inputs, num_hiddens):
    layers = []
    for size in (inputs, num_hiddens):
        layers += [nn.Dropout(0.2), nn.Linear(size, num_hiddens), nn.ReLU()]
    return nn.Sequential(*layers)


def attention(num_epochs=10):
    """The accuracy on pairs that were not trained with."""
    train_iter, test_iter, vocab = d2l.load_data_snli(64, 20)
    net = DecomposableAttention(len(vocab))
    glove = d2l.TokenEmbedding("glove.6b.100d")[vocab.idx_to_token]
    with torch.no_grad():
        net.embedding.weight.copy_(glove)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    loss = nn.CrossEntropyLoss(reduction="none")
    d2l.train_ch13(net, train_iter, test_iter, loss, optimizer, num_epochs, d2l.cpu())
    return Reached("accuracy", d2l.evaluate_accuracy_gpu(net, test_iter), 1 / 3)


class BERTClassifier(nn.Module):
    """BERT with a classifier of the representation of "<cls>"."""

    def __init__(self, bert, num_hiddens):
        super().__init__()
        self.encoder, self.hidden = bert.encoder, bert.hidden
        self.output = nn.Linear(num_hiddens, 3)

    def forward(self, X):
        """Scores (B, 3) of tokens and segments (B, num_steps) and valid lengths (B,)."""
        tokens, segments, valid_lens = X
        return self.output(self.hidden(self.encoder(tokens, segments, valid_lens)[:, 0]))


def bert(num_epochs=15, num_hiddens=64, max_len=36):
    """The accuracy of a small BERT on pairs that were not trained with."""
    train_iter, test_iter, vocab = d2l.load_data_snli(64, max_len)
    words = d2l.Vocab(vocab.idx_to_token, reserved_tokens=["<pad>", "<cls>", "<sep>"])
    loaders = [_for_bert(it, vocab, words, max_len) for it in (train_iter, test_iter)]
    net = d2l.BERTModel(len(words), num_hiddens, 2 * num_hiddens, 4, 2, 0.1, max_len)
    net(*(part[:1] for part in loaders[0].tensors[:2]))  # lazy layers get their shapes
    net = BERTClassifier(net, num_hiddens)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    loss = nn.CrossEntropyLoss(reduction="none")
    d2l.train_ch13(net, *loaders, loss, optimizer, num_epochs, d2l.cpu())
    return Reached("accuracy", d2l.evaluate_accuracy_gpu(net, loaders[1]), 1 / 3)


def _for_bert(loader, vocab, words, max_len):
    """The pairs of a loader as BERT reads them."""
    premises, hypotheses, labels = loader.tensors
    rows = []
    for sentences in zip(premises, hypotheses, strict=True):
        tokens, segments = d2l.get_tokens_and_segments(
            *([t for t in vocab.to_tokens(s) if t != "<pad>"] for s in sentences)
        )
        padded = d2l.truncate_pad(words[tokens], max_len, words["<pad>"])
        rows.append((padded, d2l.truncate_pad(segments, max_len, 0), min(len(tokens), max_len)))
    parts = [torch.tensor(part) for part in zip(*rows, strict=True)]
    return gradbook.TensorLoader(
        [*parts, labels], 64, shuffle=True, transform=lambda batch: [list(batch[:3]), batch[3]]
    )


MODELS: dict[str, Callable[[], Reached]] = {
    "ssd": ssd,
    "birnn": lambda: sentiment(BiRNN, lr=0.005, num_epochs=4),
    "textcnn": lambda: sentiment(TextCNN, lr=0.002, num_epochs=4),
    "attention": attention,
    "bert": bert,
}


def main() -> None:
    """Trains the models that were asked for, and prints what each reaches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS), help="some of: %(default)s")
    parser.add_argument("--seeds", type=int, default=1, help="how often each is trained")
    parser.add_argument("--json", help="a file for the results")
    options = parser.parse_args()
    names = options.models.split(",")
    if unknown := set(names) - set(MODELS):
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    results: list[dict[str, Any]] = []
    for name in names:
        reached, seconds = [], []
        for seed in range(options.seeds):
            gradbook.seed_everything(seed)
            began = time.process_time()
            with contextlib.redirect_stdout(io.StringIO()):  # what train_ch13 says
                reached.append(MODELS[name]())
            seconds.append(time.process_time() - began)
        values = [one.value for one in reached]
        print(
            f"{name:10} {reached[0].what:9} {statistics.mean(values):.3f} "
            f"({min(values):.3f} to {max(values):.3f}), blind {reached[0].blind:.3f}, "
            f"{statistics.median(seconds):.0f} seconds",
            flush=True,
        )
        results.append(
            {
                "model": name,
                "what": reached[0].what,
                "values": values,
                "blind": reached[0].blind,
                "seconds": seconds,
            }
        )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
