"""Carries a plan of a training out: from the run's folder to the summary."""

import textwrap
import time
from pathlib import Path
from typing import Any

import torch

import gradbook
from gradbook.cli.plan import Plan
from gradbook.cli.report import Outcome, ending
from gradbook.cli.restored import resume_command
from gradbook.display.choose import choose
from gradbook.display.lines import LinesDisplay
from gradbook.display.words import CHART_AND_TABLE
from gradbook.errors import GradbookError
from gradbook.history import History
from gradbook.hparams import make
from gradbook.interrupts import undisturbed
from gradbook.record import Sink
from gradbook.runs.format import CHECKPOINT_FILES, CURVE_FILES, results_of
from gradbook.runs.recorder import Run
from gradbook.runs.stored import StoredRun
from gradbook.seeds import seed_everything
from gradbook.timing import Timer
from gradbook.trainer import Trainer
from gradbook.verdicts import verdict

#: The width of the summary's sentences, in characters.
_WIDTH = 96


class Clock(Sink):
    """Measures each epoch, its validation included; there is no timer until a training opens."""

    timer: Timer | None = None

    def open(self, board: Any, trainer: Any = None) -> None:
        """Training begins."""
        self.timer = Timer()

    def end_epoch(self, trainer: Any) -> None:
        """An epoch is over."""
        assert self.timer is not None
        self.timer.stop()
        self.timer.start()


def fit(plan: Plan, resume: Path | None = None) -> Outcome:
    """Trains as planned, in a new folder or on in `resume`; keeps the run however it ends."""
    started = time.perf_counter()
    data = model = trainer = None
    error: BaseException | None = None
    clock = Clock()
    recorder = Run(
        plan.runs,
        plan.name,
        every_n_steps=plan.checkpoint_steps,
        command=plan.words,
        model_name=plan.model.name,
        data_name=plan.data.name,
    )
    try:
        if resume is None:
            recorder.claim(plan.name)  # a folder that cannot be written costs no work
        seed_everything(plan.seed)
        data = make(plan.data.Class, plan.arguments["data"])
        model = make(plan.model.Class, plan.arguments["model"])
        # The display is closed first: what it leaves on the screen comes before the summary.
        sinks = [clock, _display(plan.display)]
        places: dict[str, Any] = {"display": "off", "yscale": plan.yscale, "sinks": sinks}
        trainer = Trainer(**plan.arguments["trainer"], **places, run=recorder)
        trainer.fit(model, data, resume=resume)
    except BaseException as raised:
        error = ending(raised)
    with undisturbed():
        recorder.discard()  # where nothing was trained
        facts = _facts(plan, data, model, trainer, clock, error)
        folder = recorder.folder if trainer is not None else None
        curves = [] if folder is None else [folder / name for name in CURVE_FILES]
        facts |= {
            "seconds": time.perf_counter() - started,
            "folder": None if folder is None else str(folder),
            "curves": [str(curve) for curve in curves if curve.exists()],
            "repeat": plan.repeat,
            "resume": None,
        }
        if folder is not None and facts["status"] in ("interrupted", "failed"):
            facts["resume"] = _resume_command(folder)
        code = 0 if facts["status"] == "finished" else 1
        text = _summary(plan, facts, trainer) if clock.timer is not None else ""
        return Outcome(facts, text, code, error)


def _resume_command(folder: Path) -> str | None:
    """The command that resumes a run; None if it has left too little for that."""
    if not (folder / CHECKPOINT_FILES["last"]).exists():
        return None
    try:
        return resume_command(StoredRun(folder))
    except GradbookError:  # a full disk may have left no run.json
        return None


def _display(name: str) -> Sink:
    """The display for this process; unlike a script's, it saves no curves of its own."""
    sink = choose(name)
    return LinesDisplay() if isinstance(sink, LinesDisplay) else sink


def _facts(
    plan: Plan, data: Any, model: Any, trainer: Any, clock: Clock, error: BaseException | None
) -> dict[str, Any]:
    history: History = getattr(trainer, "history", None) or History()
    status = getattr(trainer, "status", None)
    if error is not None and status not in ("finished", "diverged"):  # it may fail to be kept
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    reached = results_of(history)
    labels = [label for label in reached["final"] if label.startswith("val_")]
    seconds = clock.timer.times if clock.timer is not None else []
    judged = verdict(history if trainer is None or len(history) == 0 else trainer)
    return {
        "status": status,
        "model": plan.model.name,
        "data": plan.data.name,
        "data_source": getattr(data, "source", None),
        "data_is_sample": bool(getattr(data, "is_sample", False)),
        "settings": plan.settings,
        "seed": plan.seed,
        "device": _device(model),
        **reached,
        "best": {label: reached["best"].get(label) for label in labels},
        "diverged": history.diverged,
        "verdict": {"label": judged.label, "reason": judged.reason, "text": str(judged)},
        "findings": list(getattr(trainer, "findings", ())),
        "epoch_seconds": seconds,
        "seconds_per_epoch": sum(seconds) / len(seconds) if seconds else None,
        "versions": {"gradbook": gradbook.__version__, "torch": torch.__version__},
    }


def _device(model: Any) -> str | None:
    parameters = list(model.parameters()) if model is not None else []
    return str(parameters[0].device) if parameters else None


def _summary(plan: Plan, facts: dict[str, Any], trainer: Any) -> str:
    """What was reached, for a person."""
    wanted = plan.settings["trainer"]["max_epochs"]
    lines = [] if plan.display == "off" else [""]
    lines += [
        f"{plan.model.name} on {plan.data.name}: {facts['status']}, "
        f"{facts['epochs']} of {wanted} epochs{_part_of_an_epoch(facts, trainer)}",
        "",
    ]
    if facts["final"]:
        lines.append(f"  {'':<12}{'final':>9}   best")
    for label, value in facts["final"].items():
        best = facts["best"].get(label)
        told = f"   {best['value']:<9.4g} (epoch {best['epoch']})" if best else ""
        lines.append(f"  {label:<12}{value:>9.4g}{told}")
    if facts["final"]:
        has_lines = any(isinstance(sink, LinesDisplay) for sink in trainer.sinks)
        has_chart = plan.display != "off" and not has_lines
        lines += ["", f"  {CHART_AND_TABLE}", ""] if has_chart else [""]
    each = facts["seconds_per_epoch"]
    rate = f", {each:.3g} an epoch" if each is not None else ""
    lines.append(f"  seconds   {facts['seconds']:.3g} with loading{rate}")
    if facts["epochs"] or facts["diverged"]:
        lines += textwrap.wrap(
            f"  verdict   {facts['verdict']['text']}",
            _WIDTH,
            subsequent_indent=" " * 12,
            break_on_hyphens=False,
        )
    for name, report in getattr(trainer, "reports", {}).items():
        if report:
            where = f", see {Path(facts['folder'], f'{name}.png')}" if facts["folder"] else ""
            lines.append(f"  {name:<9} {report.summary()}{where}")
    if facts["data_is_sample"]:
        lines.append("  data      a sample only; `gradbook data` says how to get all")
    elif isinstance(facts["data_source"], str | Path):
        lines.append(f"  data      {facts['data']}, {facts['data_source']}")
    for name, key in (("run", "folder"), ("repeat", "repeat"), ("resume", "resume")):
        if facts[key]:
            lines.append(f"  {name:<10}{facts[key]}")
    return "\n".join(lines)


def _part_of_an_epoch(facts: dict[str, Any], trainer: Any) -> str:
    """How much of the next epoch is kept as well, for one who pressed Ctrl-C."""
    position = trainer.position
    if facts["status"] != "interrupted" or not position.batches or not position.between_steps:
        return ""
    if position.split == "val":
        return " and the training of the next"
    return f" and {position.batches} of {trainer.num_train_batches} batches of the next"
