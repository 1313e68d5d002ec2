"""What watching the gradients costs, at its default interval.

    OMP_NUM_THREADS=1 python benchmarks/gradients.py [--rounds 15]

Linear regression (32 batches an epoch, the shortest steps there are), softmax regression and an
MLP on Fashion-MNIST are trained with `watch="gradients"` and without, in turn, in one process. The
figure is the ratio of the two in the same round, of the epochs alone: begin and end are left out.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import gradbook
from gradbook.watching.gradients import GradientWatcher


class Clock(gradbook.Sink):
    """Notes when the last epoch ends."""

    def end_epoch(self, trainer):
        """An epoch is over."""
        self.end = time.perf_counter()


class Timed(gradbook.Trainer):
    """A trainer that notes when its first epoch begins."""

    def fit_epoch(self):
        """One epoch."""
        if self.epoch == 0:
            self.begin = time.perf_counter()
        super().fit_epoch()


def train(Model: Callable[[], Any], data: Any, epochs: int, watched: bool) -> float:
    """Seconds of the epochs."""
    gradbook.seed_everything(0)
    clock = Clock()
    # The clock comes last, so that it looks when the watcher has done its work.
    sinks = [GradientWatcher(), clock] if watched else [clock]
    trainer = Timed(epochs, display=False, sinks=sinks)
    trainer.fit(Model(), data)
    return clock.end - trainer.begin


def measure(name: str, Model: Callable[[], Any], data: Any, epochs: int, rounds: int) -> None:
    """Prints what watching one model costs."""
    pairs = []
    for number in range(rounds + 1):
        order = (False, True) if number % 2 else (True, False)
        seconds = {watched: train(Model, data, epochs, watched) for watched in order}
        if number:  # the first is to warm up
            pairs.append((seconds[False], seconds[True]))
    ratios = [watched / free for free, watched in pairs]
    free = statistics.median(free for free, _ in pairs)
    print(
        f"{name}, {epochs} epochs: {free:.3f} s; watched {statistics.median(ratios):.3f} times "
        f"({min(ratios):.3f} to {max(ratios):.3f}), {rounds} rounds"
    )


def main() -> None:
    """Measures each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    numbers = gradbook.SyntheticRegressionData()
    images = gradbook.FashionMNIST(batch_size=256)
    regression = gradbook.LinearRegressionScratch
    measure("linear regression from scratch", regression, numbers, 60, asked.rounds)
    measure("linear regression", gradbook.LinearRegression, numbers, 60, asked.rounds)
    measure("softmax regression", gradbook.SoftmaxRegression, images, 3, asked.rounds)
    measure("MLP", gradbook.MLP, images, 1, asked.rounds)


if __name__ == "__main__":
    main()
