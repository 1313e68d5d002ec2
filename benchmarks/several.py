"""How long two processes train together, against PyTorch's DistributedDataParallel.

    torchrun --standalone --nproc-per-node 2 benchmarks/several.py [--rounds 5]
    python benchmarks/several.py
    python benchmarks/several.py --launched

A round trains each model twice, in turn: by a plain loop around DistributedDataParallel as it is
set by default, and by a `Trainer`. Which comes first changes with each round. Both have the same
tensors, the same rows of the same batches and the same optimizer, and print nothing. The figure is
the ratio of the two in the same round; reported are its median and range. The first step is left
out, and with it what each prepares. The `Trainer` also records the losses, and its time includes
the end of the epoch, with their means. With one process, the plain loop has no wrapper.

With `--launched`, a round starts this file twice, in turn: as it is, and by torchrun as a single
process. The figure is the ratio of the second to the first, of the seconds of a `Trainer`.
"""

import argparse
import statistics
import subprocess
import sys
import time
from functools import partial

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import gradbook
from gradbook.distributed import group
from gradbook.models.transformer import TransformerEncoder
from gradbook.record import Sink

BATCH_SIZE = 256


class Attending(nn.Module):
    """A transformer's encoder, and a classifier of the mean of what it gives."""

    def __init__(self):
        super().__init__()
        self.encoder = TransformerEncoder(28, 64, 128, 4, 2, 0.0)
        self.head = nn.Linear(64, 10)

    def forward(self, X):
        """Logits (batch, 10) of tokens (batch, num_steps)."""
        return self.head(self.encoder(X, None).mean(dim=1))


def mlp():
    """The MLP of section 5.2, and its images."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    return net, torch.rand(40 * BATCH_SIZE, 1, 28, 28)


def lenet():
    """The LeNet of section 7.6, and its images."""
    net = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10)),
    )
    return net, torch.rand(16 * BATCH_SIZE, 1, 28, 28)


def transformer():
    """A small encoder, and sentences."""
    net, X = Attending(), torch.randint(0, 28, (8 * BATCH_SIZE, 32))
    net(X[:1])  # gives its lazy layers their shapes
    return net, X


MODELS = mlp, lenet, transformer


class Net(gradbook.Classifier):
    """A classifier of the network that it is given."""

    def __init__(self, net, lr=0.1):
        super().__init__()
        self.save_hyperparameters(ignore=["net"])
        self.net = net


class Clock(Sink):
    """Notes when the first step and the last epoch are over."""

    begin = end = 0.0

    def end_step(self, trainer):
        """The first step begins the measurement."""
        self.begin = self.begin or time.perf_counter()

    def end_epoch(self, trainer):
        """The last epoch ends it."""
        self.end = time.perf_counter()


class Train(gradbook.DataModule):
    """A training set alone."""

    def __init__(self, X, y, batch_size=BATCH_SIZE):
        super().__init__()
        self.save_hyperparameters()

    def get_dataloader(self, train):
        """Minibatches in random order."""
        return self.get_tensorloader((self.X, self.y), train) if train else None


def plain(net, X, y, rank, size):
    """The seconds of an epoch of a plain loop."""
    model = DistributedDataParallel(net) if size > 1 else net
    optimizer, begin = torch.optim.SGD(model.parameters(), lr=0.1), 0.0
    model.train()
    for rows in torch.randperm(len(X)).split(BATCH_SIZE):
        n = len(rows)
        mine = rows[n * rank // size : n * (rank + 1) // size]
        loss = nn.functional.cross_entropy(model(X.index_select(0, mine)), y.index_select(0, mine))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        begin = begin or time.perf_counter()
    return time.perf_counter() - begin


def ours(net, X, y):
    """The seconds of an epoch of a Trainer."""
    clock = Clock()
    gradbook.Trainer(1, display="off", sinks=[clock]).fit(Net(net), Train(X, y))
    return clock.end - clock.begin


def timed(train, make):
    """The seconds of an epoch of one of the two, always from the same beginning."""
    gradbook.seed_everything(1)
    net, X = make()
    return train(net, X, torch.arange(len(X)) % 10)


def told(name, ratios, seconds, more):
    """What was measured of a model, as a line."""
    median, low, high = statistics.median(ratios), min(ratios), max(ratios)
    took = statistics.median(seconds)
    return f"{name:<12} {median:.3f} ({low:.3f} to {high:.3f})  {took:.3f} s an epoch, {more}"


def compare(rounds):
    """Trains in both ways, and prints a line for each model."""
    ranks = group()
    trained = [ours, partial(plain, rank=ranks.rank, size=ranks.size)]
    for make in MODELS:
        ratios, seconds = [], []
        for i in range(rounds + 1):  # the first one warms up
            took = {train: timed(train, make) for train in trained[:: (-1) ** i]}
            seconds.append(took[ours])
            ratios.append(took[ours] / took[trained[1]])
        if ranks.speaks:
            print(told(make.__name__, ratios[1:], seconds[1:], f"processes: {ranks.size}"))


def compare_launched(rounds):
    """Starts this file in both ways, and prints a line for each model."""
    alone = [sys.executable]
    launched = [*alone, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]
    seconds = {len(way): [] for way in (alone, launched)}
    for i in range(rounds):
        for way in (alone, launched)[:: (-1) ** i]:
            command = [*way, __file__, "--seconds"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds[len(way)].append(list(map(float, done.stdout.split())))
    before, after = (list(zip(*each, strict=True)) for each in seconds.values())
    for make, theirs, ours in zip(MODELS, before, after, strict=True):
        ratios = [b / a for a, b in zip(theirs, ours, strict=True)]
        print(told(make.__name__, ratios, ours, "launched by torchrun"))


def main():
    """Measures what is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--launched", action="store_true")
    parser.add_argument("--seconds", action="store_true", help="a Trainer's alone, of each model")
    asked = parser.parse_args()
    if asked.seconds:
        for make in MODELS:
            print(statistics.median(timed(ours, make) for _ in range(5)))
    elif asked.launched:
        compare_launched(asked.rounds)
    else:
        compare(asked.rounds)


if __name__ == "__main__":
    main()
