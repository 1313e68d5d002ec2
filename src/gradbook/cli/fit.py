"""Carries a plan of a training out: from the run's folder to the summary."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import gradbook
from gradbook.cli.report import SIGNALS, Outcome, ending
from gradbook.cli.train import Plan
from gradbook.display.choose import choose
from gradbook.display.file import claim_folder, save_curve
from gradbook.display.lines import LinesDisplay
from gradbook.errors import ConfigError, GradbookError
from gradbook.record import History, Metric, Sink
from gradbook.seeds import seed_everything
from gradbook.trainer import Trainer


class Clock(Sink):
    """Notes when each epoch ended.

    Attributes:
        epoch_seconds: The duration of each finished epoch, its validation included.
    """

    def __init__(self) -> None:
        self.epoch_seconds: list[float] = []
        self._epoch = 0.0

    def open(self, board: Any, trainer: Any = None) -> None:
        """Training begins."""
        self._before = time.perf_counter()

    def write(self, metric: Metric) -> None:
        """The first mean of an epoch says that it is over."""
        if metric.kind == "epoch" and metric.x != self._epoch:
            now = time.perf_counter()
            self.epoch_seconds.append(now - self._before)
            self._epoch, self._before = metric.x, now


def fit(plan: Plan) -> Outcome:
    """Trains as planned. The curves are written however the training ends."""
    started = time.perf_counter()
    # Before any work, so that a folder that cannot be written costs no training.
    folder = claim_folder(plan.runs, plan.name)
    data = model = trainer = None
    error: BaseException | None = None
    files: list[Path] = []
    clock = Clock()
    try:
        seed_everything(plan.seed)
        data = plan.data.Class(**plan.arguments["data"])
        model = plan.model.Class(**plan.arguments["model"])
        display = _display(plan.display)
        trainer = Trainer(**plan.arguments["trainer"], display="off", sinks=[clock, display])
        trainer.fit(model, data)
    except BaseException as raised:
        error = ending(raised)
    with _undisturbed():
        facts = _facts(plan, data, model, trainer, clock, error)
        try:
            files = _save(model, folder)
        except ConfigError as raised:  # what was learned is told nevertheless
            # The command line was right, so that this is not bad usage.
            error = error or GradbookError(str(raised))
        except Exception as raised:
            error = error or raised
        with contextlib.suppress(OSError):
            folder.rmdir()  # it stays if there is anything in it
        facts |= {"seconds": time.perf_counter() - started, "folder": None, "curves": []}
        if files:
            facts |= {"folder": str(folder), "curves": [str(file) for file in files]}
        facts["repeat"] = plan.repeat
        reached = getattr(trainer, "train_batch_idx", 0) > 0
        code = 0 if facts["status"] == "finished" else 1
        return Outcome(facts, _summary(plan, facts) if reached else "", code, error)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignores an impatient second Ctrl-C, and its kin, while what was reached is kept."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _display(name: str) -> Sink:
    """The display for this process; unlike a script's, it saves no curves of its own."""
    sink = choose(name)
    return LinesDisplay() if isinstance(sink, LinesDisplay) else sink


def _save(model: Any, folder: Path) -> list[Path]:
    """Writes the curves of `model`, if it has any."""
    board = getattr(model, "board", None)
    if board is None or not getattr(board, "data", None):
        return []
    return save_curve(board, folder)


def _facts(
    plan: Plan, data: Any, model: Any, trainer: Any, clock: Clock, error: BaseException | None
) -> dict[str, Any]:
    history: History = getattr(trainer, "history", None) or History()
    status = getattr(trainer, "status", None)
    if error is not None:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    last = history[-1] if len(history) else {}
    best = {}
    for label in last:
        if label.startswith("val_"):
            row = history.best(label)
            best[label] = {"value": row[label], "epoch": row["epoch"]} if row else None
    seconds = clock.epoch_seconds
    return {
        "status": status,
        "model": plan.model.name,
        "data": plan.data.name,
        "data_source": getattr(data, "source", None),
        "data_is_sample": bool(getattr(data, "is_sample", False)),
        "settings": plan.settings,
        "seed": plan.seed,
        "device": _device(model),
        "epochs": len(history),
        "final": {label: y for label, y in last.items() if label != "epoch"},
        "best": best,
        "diverged": history.diverged,
        "epoch_seconds": seconds,
        "seconds_per_epoch": sum(seconds) / len(seconds) if seconds else None,
        "versions": {"gradbook": gradbook.__version__, "torch": torch.__version__},
    }


def _device(model: Any) -> str | None:
    parameters = list(model.parameters()) if model is not None else []
    return str(parameters[0].device) if parameters else None


def _summary(plan: Plan, facts: dict[str, Any]) -> str:
    """What was reached, for a person."""
    wanted = plan.settings["trainer"]["max_epochs"]
    lines = [] if plan.display == "off" else [""]
    lines += [
        f"{plan.model.name} on {plan.data.name}: {facts['status']}, "
        f"{facts['epochs']} of {wanted} epochs",
        "",
    ]
    if facts["final"]:
        lines.append(f"  {'':<12}{'final':>9}   best")
    for label, value in facts["final"].items():
        best = facts["best"].get(label)
        told = f"   {best['value']:<9.4g} (epoch {best['epoch']})" if best else ""
        lines.append(f"  {label:<12}{value:>9.4g}{told}")
    if facts["final"]:
        lines.append("")
    each = facts["seconds_per_epoch"]
    rate = f", {each:.3g} an epoch" if each is not None else ""
    lines.append(f"  seconds   {facts['seconds']:.3g}{rate}")
    if facts["diverged"]:
        lines.append(f"  diverged  {facts['diverged']}")
    if facts["data_is_sample"]:
        lines.append("  data      a sample only; `gradbook data` says how to get all")
    elif isinstance(facts["data_source"], str | Path):
        lines.append(f"  data      {facts['data']}, {facts['data_source']}")
    for heading, file in zip(("curves", ""), facts["curves"], strict=False):
        lines.append(f"  {heading:<10}{file}")
    lines.append(f"  repeat    {facts['repeat']}")
    return "\n".join(lines)
