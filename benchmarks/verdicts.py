"""What verdicts say of real trainings and of noise: the tables of docs/verdicts.md.

python benchmarks/verdicts.py linear     # linear regression at seven rates: half a minute
python benchmarks/verdicts.py fashion    # Fashion-MNIST, six settings: ten minutes
python benchmarks/verdicts.py noise      # simulated curves that do not change: five minutes
"""

import argparse
import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch

import gradbook

LINEAR_RATES = (0.003, 0.03, 0.1, 1, 1.9, 2, 3)
#: Model, learning rate, epochs, seeds.
FASHION: list[tuple[Any, float, int, int]] = [
    (gradbook.SoftmaxRegression, 0.1, 10, 5),
    (gradbook.SoftmaxRegression, 0.3, 10, 5),
    (gradbook.SoftmaxRegression, 1000, 10, 2),
    (gradbook.MLP, 0.1, 10, 3),
    (gradbook.MLP, 1, 10, 2),
    (gradbook.MLP, 1e-9, 5, 2),
]
#: Numbers of epochs, standard deviations of the logarithm, and which curves are recorded.
NOISE = ((3, 4, 5, 8, 12, 20, 40, 60), (0.005, 0.02, 0.1, 0.3))
RECORDED = (("train_loss", "val_loss"), ("val_loss",), ("train_loss",))


def trained(make: Callable[[], Any], data: Any, epochs: int, seeds: Iterable[int]) -> list[Any]:
    """A trainer for each seed, which also draws the model's first weights."""
    trainers = []
    for seed in seeds:
        gradbook.seed_everything(seed)
        trainers.append(gradbook.Trainer(max_epochs=epochs, display="off"))
        trainers[-1].fit(make(), data() if callable(data) else data)
    return trainers


def told(trainers: list[Any]) -> str:
    counts = Counter(gradbook.verdict(trainer).label for trainer in trainers)
    return ", ".join(f"{count} {label}" for label, count in counts.most_common())


def ends(trainer: Any, label: str) -> str:
    values = [f"{value:.3g}" for value in trainer.history[label]]
    return ", ".join(values if len(values) < 5 else [*values[:3], "...", *values[-3:]])


def linear() -> None:
    def data() -> Any:
        return gradbook.SyntheticRegressionData(w=torch.tensor([2, -3.4]), b=4.2)

    for lr in LINEAR_RATES:
        short, long = (
            trained(partial(gradbook.LinearRegressionScratch, 2, lr), data, epochs, range(10))
            for epochs in (3, 10)
        )
        print(f"| {lr} | {told(short)} | {told(long)} | {ends(long[0], 'val_loss')} |")


def fashion() -> None:
    data = gradbook.FashionMNIST(batch_size=256)
    for Model, lr, epochs, seeds in FASHION:
        sizes = {"num_hiddens": 256} if Model is gradbook.MLP else {}
        trainers = trained(
            partial(Model, num_outputs=10, lr=lr, **sizes), data, epochs, range(seeds)
        )
        curves = "; ".join(ends(trainers[0], label) for label in ("train_loss", "val_loss"))
        print(f"| {Model.__name__}, {lr} | {seeds} | {told(trainers)} | {curves} |", flush=True)


def noise(num: int = 200) -> None:
    """Level curves, with and without a fast fall before: every word of a change is wrong."""
    rng = np.random.default_rng(0)
    wrong = {"still improving": 0.0, "overfitting": 0.0, "diverged": 0.0, "together": 0.0}
    for epochs, spread, falls, labels in itertools.product(*NOISE, (False, True), RECORDED):
        fall = 3 * np.exp(-40 * np.arange(epochs) / epochs) if falls else 0
        counts: Counter[str] = Counter()
        for _ in range(num):
            curve = (1 + fall) * np.exp(spread * rng.standard_normal((len(labels), epochs)))
            counts[gradbook.verdict(dict(zip(labels, curve.tolist(), strict=True))).label] += 1
        parts = {word: 100 * counts[word] / num for word in list(wrong)[:3]}
        parts["together"] = sum(parts.values())
        wrong = {word: max(wrong[word], parts[word]) for word in wrong}
        if parts["together"] >= 5:
            print(f"{epochs} epochs, noise {spread:.1%}, {falls=}, {'+'.join(labels)}: {parts}")
    print(f"the most of 100 in {num} simulations each: {wrong}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("linear", "fashion", "noise"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        {"linear": linear, "fashion": fashion, "noise": noise}[parser.parse_args().what]()
