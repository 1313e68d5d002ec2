"""What keeping a run costs, and how fast many runs are listed.

    python benchmarks/runs.py [--rounds 12] [--epochs 10] [--folders 1000]

Softmax regression on Fashion-MNIST, the shortest epoch of the book's examples, is trained with a
run folder (values, the last and the best checkpoint each epoch) and without, in turn, in one
process. The figure is the ratio of the two in the same round. Begin and end (git is asked, the
curves are drawn) are measured apart from the epochs, because a longer training has them only once.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gradbook
from gradbook.runs.format import read_run, write_run


class Clock(gradbook.Sink):
    """Notes when the first epoch begins and the last one ends."""

    def open(self, board, trainer=None):
        """The first sink is opened before the others, so the first step is waited for."""
        self.begin = None

    def end_step(self, trainer):
        """The first step is over."""
        if self.begin is None:
            self.begin = time.perf_counter()

    def end_epoch(self, trainer):
        """An epoch is over."""
        self.end = time.perf_counter()


def train(data, epochs: int, run: str | None) -> tuple[float, float]:
    """Seconds of the epochs alone, and of all that `fit` does."""
    clock = Clock()
    # The clock comes last, so that it looks when the others have done their work.
    sinks = [gradbook.runs.Run(run), clock] if run else [clock]
    trainer = gradbook.Trainer(epochs, display=False, sinks=sinks)
    model = gradbook.SoftmaxRegressionScratch()
    begin = time.perf_counter()
    trainer.fit(model, data)
    return clock.end - clock.begin, time.perf_counter() - begin


def measure_training(rounds: int, epochs: int) -> None:
    """Prints what a run folder costs."""
    data = gradbook.FashionMNIST(batch_size=256)
    with tempfile.TemporaryDirectory() as folder:
        pairs = []
        for number in range(rounds + 1):
            order = (None, folder) if number % 2 else (folder, None)
            seconds = {run: train(data, epochs, run) for run in order}
            if number:  # the first is to warm up
                pairs.append((seconds[None], seconds[folder]))
    for index, what in enumerate(("epochs alone", "with begin and end")):
        ratios = [kept[index] / free[index] for free, kept in pairs]
        free = statistics.median(free[index] for free, _ in pairs)
        print(
            f"{epochs} epochs, {what}: {free:.3f} s; with a run folder "
            f"{statistics.median(ratios):.3f} times ({min(ratios):.3f} to {max(ratios):.3f}), "
            f"{rounds} rounds"
        )


def measure_listing(num_folders: int) -> None:
    """Prints how long `gradbook runs` takes for many runs, and for none."""
    with tempfile.TemporaryDirectory() as folder:
        data = gradbook.SyntheticRegressionData(num_train=64, num_val=32)
        gradbook.Trainer(5, display=False, run=folder).fit(gradbook.LinearRegression(), data)
        (first,) = Path(folder).iterdir()
        facts = read_run(first)
        for number in range(2, num_folders + 1):
            copy = shutil.copytree(first, Path(folder, f"linear-regression-{number}"))
            write_run(copy, {**facts, "name": copy.name, "seed": number})
        empty = Path(folder, "empty")
        empty.mkdir()
        seconds = {
            place: statistics.median(_listing_seconds(place) for _ in range(5))
            for place in (empty, Path(folder))
        }
    print(
        f"{num_folders} run folders: listed in {seconds[Path(folder)]:.2f} s, "
        f"of which {seconds[empty]:.2f} s are Python's start-up (medians of 5)"
    )


def _listing_seconds(folder: Path) -> float:
    begin = time.perf_counter()
    command = [sys.executable, "-m", "gradbook", "runs", "--runs", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, check=True)
    json.loads(done.stdout)
    return time.perf_counter() - begin


def main() -> None:
    """Measures both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--folders", type=int, default=1000)
    asked = parser.parse_args()
    measure_training(asked.rounds, asked.epochs)
    measure_listing(asked.folders)


if __name__ == "__main__":
    main()
