"""What a sweep costs when its members are trained in a stack, against one after the other.

    python benchmarks/sweeps.py [--models softmax,mlp] [--rounds 7] [--epochs 3] [--runs] [--whole]

The same members (8 learning rates on Fashion-MNIST; for linear regression 32) are trained both
ways in turn, in one process. The figure is the ratio of the seconds in the same round: stacked by
sequential. Everything is in it, the tracing of the steps too, so it falls with more epochs; what
an epoch costs in the long run is measured apart, by the epochs between the first and the last.
With `--runs` each member also keeps a run folder. With `--whole` it is `gradbook.sweep` that is
measured, with its looks at what can be stacked, its run folders, table and figure, against plain
trainings that keep nothing.

"own" is a model as a learner writes it: tensors as attributes, a function of its own, its own loss.

Small steps suffer when other programs use the processors: a measurement waits until the machine is
quiet, as long as the patience lasts.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

import gradbook
from gradbook.seeds import seed_everything
from gradbook.sweeps.candidate import Candidate
from gradbook.sweeps.stacked import fit_stacked

# The same folder's, which waits for a quiet machine.
from training import Quiet, processor


class Own(gradbook.Classifier):
    """Softmax regression with a hidden layer, as the book's readers write it."""

    def __init__(self, lr: float, sigma: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.W1 = torch.normal(0, sigma, (784, 64), requires_grad=True)
        self.b1 = torch.zeros(64, requires_grad=True)
        self.W2 = torch.normal(0, sigma, (64, 10), requires_grad=True)
        self.b2 = torch.zeros(10, requires_grad=True)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Logits of shape (batch, 10)."""
        return leaky(X.reshape(-1, 784) @ self.W1 + self.b1) @ self.W2 + self.b2

    def loss(self, y_hat: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The cross-entropy, written out."""
        Z = y_hat - torch.logsumexp(y_hat, dim=1, keepdim=True)
        return -Z[range(len(y)), y].mean()


class OwnSoftmax(gradbook.Classifier):
    """Softmax regression with the formula of section 4.4, as the book's readers write it."""

    def __init__(self, lr: float, sigma: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.W = torch.normal(0, sigma, (784, 10), requires_grad=True)
        self.b = torch.zeros(10, requires_grad=True)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Probabilities of shape (batch, 10)."""
        X_exp = torch.exp(X.reshape(-1, 784) @ self.W + self.b)
        return X_exp / X_exp.sum(1, keepdims=True)

    def loss(self, y_hat: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The cross-entropy of probabilities."""
        return -torch.log(y_hat[list(range(len(y_hat))), y]).mean()


def leaky(X: torch.Tensor) -> torch.Tensor:
    """A ReLU that lets a tenth through."""
    return torch.max(X, 0.1 * X)


@dataclass(frozen=True)
class Case:
    """A model, its data, and the rates that are tried."""

    title: str
    make: Callable[..., Any]
    rates: Sequence[float]
    is_regression: bool = False


_EIGHT = [0.01 * 1.5**k for k in range(8)]
CASES = {
    "softmax-scratch": Case(
        "softmax regression from scratch", gradbook.SoftmaxRegressionScratch, _EIGHT
    ),
    "softmax": Case("softmax regression", gradbook.SoftmaxRegression, _EIGHT),
    "mlp": Case("MLP 784-256-10", gradbook.MLP, _EIGHT),
    "own": Case("a learner's own MLP 784-64-10", Own, _EIGHT),
    "own-softmax": Case("a learner's own softmax regression", OwnSoftmax, _EIGHT),
    "linear-regression": Case(
        "linear regression",
        gradbook.LinearRegression,
        [0.001 * 1.1**k for k in range(32)],
        is_regression=True,
    ),
}


class Clock(gradbook.Sink):
    """Notes when epochs end."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def end_epoch(self, trainer: gradbook.Trainer) -> None:
        """An epoch is over."""
        self.ends.append(time.perf_counter())


@dataclass
class Seconds:
    """The seconds of one way to train, of each round."""

    whole: list[float] = field(default_factory=list)
    epoch: list[float] = field(default_factory=list)  # all members, after the first


def prepare(case: Case, data: Any, rate: float, epochs: int, runs: str | None) -> Candidate:
    """One member."""
    seed_everything(0)
    model = case.make(lr=rate)
    trainer = gradbook.Trainer(epochs, display="off", sinks=[Clock()], run=runs)
    return Candidate(trainer, model, data)


def train(
    case: Case, data: Any, epochs: int, is_stacked: bool, runs: str | None, seconds: Seconds
) -> list[float]:
    """Trains all members once, and returns the last loss of each."""
    builders = [partial(prepare, case, data, rate, epochs, runs) for rate in case.rates]
    begin = time.perf_counter()
    if is_stacked:
        trainings = fit_stacked(builders)
    else:
        trainings = []
        for build in builders:
            training = build()
            training.trainer.fit(training.model, training.data)
            trainings.append(training)
    seconds.whole.append(time.perf_counter() - begin)
    alone = {training.alone for training in trainings} - {None}
    if alone:
        raise SystemExit(f"{case.title} was not stacked: {alone}")
    ends = [training.trainer.sinks[0].ends for training in trainings]
    spans = [own[-1] - own[0] for own in ends]
    seconds.epoch.append((max(spans) if is_stacked else sum(spans)) / max(1, epochs - 1))
    return [training.trainer.history["train_loss"][-1] for training in trainings]


def sweep(case: Case, data: Any, epochs: int, runs: str | None, seconds: Seconds) -> list[float]:
    """Has all members trained by one call, and returns the last loss of each."""
    begin = time.perf_counter()
    done = gradbook.sweep(
        case.make, data, lr=list(case.rates), max_epochs=epochs, display="off", runs=runs or "runs"
    )
    seconds.whole.append(time.perf_counter() - begin)
    facts = json.loads((Path(done.folder) / "sweep.json").read_text())
    alone = {member["alone"] for member in facts["members"]} - {None}
    if alone:
        raise SystemExit(f"{case.title} was not stacked: {alone}")
    return [run.final["train_loss"] for run in done.runs]


def measure(case: Case, options: argparse.Namespace, quiet: Quiet) -> dict[str, Any]:
    """Both ways in turn, after a round to warm up."""
    seed_everything(0)
    if case.is_regression:
        data: Any = gradbook.SyntheticRegressionData(w=torch.tensor([2, -3.4]), b=4.2)
    else:
        data = gradbook.FashionMNIST(batch_size=256)
    seconds = {True: Seconds(), False: Seconds()}
    difference = 0.0
    for number in range(options.rounds + 1):
        losses = {}
        for is_stacked in (True, False) if number % 2 else (False, True):
            quiet.wait()
            with tempfile.TemporaryDirectory() as folder:
                kept = seconds[is_stacked] if number else Seconds()
                if options.whole and is_stacked:
                    losses[is_stacked] = sweep(case, data, options.epochs, folder, kept)
                    continue
                runs = folder if options.runs else None
                losses[is_stacked] = train(case, data, options.epochs, is_stacked, runs, kept)
        pairs = zip(losses[True], losses[False], strict=True)
        difference = max(difference, *(abs(a - b) / abs(b) for a, b in pairs))
    found: dict[str, Any] = {"title": case.title, "members": len(case.rates)}
    for name in ("whole",) if options.whole else ("whole", "epoch"):
        stacked, alone = (getattr(seconds[key], name) for key in (True, False))
        ratios = [a / b for a, b in zip(stacked, alone, strict=True)]
        found[name] = {"stacked": stacked, "sequential": alone, "ratios": ratios}
    return {**found, "largest_difference": difference}


def tell(found: dict[str, Any], options: argparse.Namespace) -> None:
    """Prints the ratios of one case."""
    print(f"\n{found['title']}, {found['members']} rates", flush=True)
    for name, what in (
        ("whole", f"{options.epochs} epochs with begin and end"),
        ("epoch", "an epoch, after the first"),
    ):
        if name not in found:
            continue
        values = found[name]
        ratios = values["ratios"]
        print(
            f"  {what}: {statistics.median(values['sequential']):.3f} s one after the other; "
            f"stacked {statistics.median(ratios):.3f} times "
            f"({min(ratios):.3f} to {max(ratios):.3f}), {len(ratios)} rounds"
        )
    print(f"  largest relative difference of the last losses: {found['largest_difference']:.1e}")


def main() -> None:
    """Measures what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--patience", type=float, default=300, metavar="SECONDS")
    parser.add_argument("--runs", action="store_true", help="keep a run folder of each member")
    parser.add_argument("--whole", action="store_true", help="measure gradbook.sweep")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    names = options.models.split(",")
    for name in names:
        if name not in CASES:
            parser.error(f"no model {name!r}; there are {', '.join(CASES)}")
    torch.set_num_threads(options.threads)
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "processors": os.cpu_count(),
        "threads": options.threads,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gradbook": gradbook.__version__,
        "runs": options.runs,
    }
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    quiet = Quiet(options.patience)
    results = {}
    for name in names:
        results[name] = measure(CASES[name], options, quiet)
        tell(results[name], options)
    if options.json:
        options.json.write_text(json.dumps({"about": about, "results": results}, indent=1))


if __name__ == "__main__":
    main()
