"""Carries a plan of a training out: from the run's folder to the summary."""

import time
from pathlib import Path
from typing import Any

import torch

import gradbook
from gradbook.cli.language import sample_of
from gradbook.cli.outcome import Outcome, ending
from gradbook.cli.plan import Plan
from gradbook.cli.restored import run_command
from gradbook.constructors import make
from gradbook.display.choose import choose
from gradbook.display.lines import LinesDisplay
from gradbook.errors import GradbookError, GradbookWarning, warn
from gradbook.history import History
from gradbook.interrupts import undisturbed
from gradbook.launched import speaks
from gradbook.record import Sink
from gradbook.resume.setup import begun_from
from gradbook.runs.ending import Summary, curve_of, reports_of
from gradbook.runs.format import CHECKPOINT_FILES, CURVE_FILES, results_of
from gradbook.runs.recorder import Run, locked
from gradbook.runs.stored import StoredRun
from gradbook.seeds import seed_everything
from gradbook.timing import Timer
from gradbook.trainer import Trainer
from gradbook.verdicts import verdict


class Clock(Sink):
    """Measures each epoch, its validation included; there is no timer until a training opens."""

    tells_divergence = True  # the summary does

    timer: Timer | None = None

    def open(self, board: Any, trainer: Any = None) -> None:
        """Training begins."""
        self.timer = Timer()

    def end_epoch(self, trainer: Any) -> None:
        """An epoch is over."""
        assert self.timer is not None
        self.timer.stop()
        self.timer.start()


def fit(plan: Plan, resume: Path | None = None, repeated: StoredRun | None = None) -> Outcome:
    """Trains as planned, in a new folder or on in `resume`; keeps the run however it ends.

    Whether a run can be `repeated`, with nothing changed, is said before.
    """
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
        if speaks():  # otherwise another process keeps the run
            if resume is None:
                recorder.claim(plan.name)  # a folder that cannot be written costs no work
            elif (lock := locked(resume)) is not None:
                lock.release()  # nor does a run that another process trains
        seed_everything(plan.seed)
        data = make(plan.data.Class, plan.arguments["data"])
        model = make(plan.model.Class, plan.arguments["model"])
        if repeated is not None:
            _warn_if_begun_otherwise(repeated, model)
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
            facts["resume"] = _command("resume", folder, plan)
        code = 0 if facts["status"] == "finished" else 1
        facts["sample"] = sample_of(model, data) if code == 0 else None
        text = _summary(plan, facts, trainer) if clock.timer is not None else ""
        return Outcome(facts, text, code, error)


def _warn_if_begun_otherwise(run: StoredRun, model: Any) -> None:
    before = run.facts.get("begun_from")  # older runs do not tell
    if run.facts["seed"] is None or before is None or before == begun_from(model):
        return
    why = "its script had drawn further random numbers, as another training does, or changed it"
    if before == "a checkpoint":
        why = "it began from a checkpoint"
    warn(
        f"{run.name} cannot be repeated from its settings: its model or its random numbers were "
        f"not those that seed {run.facts['seed']} leads to ({why}). This training begins from "
        f"others, so that its figures will differ. A run comes again to the last digit if "
        f"gradbook.seed_everything(1) is called before its data and its model are made.",
        GradbookWarning,
    )


def _command(command: str, folder: Path, plan: Plan) -> str | None:
    """The command that resumes or inspects a run; None if it has left too little for that."""
    if not (folder / CHECKPOINT_FILES["last"]).exists():
        return None
    try:
        named = {"model": plan.model.name, "data": plan.data.name}
        return run_command(command, StoredRun(folder), named)
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
        "verdict": {"label": judged.label, "reason": judged.reason, "text": judged.sentence},
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
    has_lines = any(isinstance(sink, LinesDisplay) for sink in trainer.sinks)
    has_chart = plan.display != "off" and not has_lines
    what = f"{plan.model.name} on {plan.data.name}"
    summary = Summary.of(trainer, what, facts["status"], has_chart)
    each = facts["seconds_per_epoch"]
    rate = f", {each:.3g} an epoch" if each is not None else ""
    summary.rows.insert(0, ("seconds", f"{facts['seconds']:.3g} with loading{rate}"))
    folder = None if facts["folder"] is None else Path(facts["folder"])
    summary.rows += reports_of(trainer, folder)
    if facts["sample"] is not None:
        summary.rows.append(("sample", facts["sample"]))
    if facts["data_is_sample"]:
        summary.rows.append(("data", "a sample only; `gradbook data` says how to get all"))
    elif isinstance(facts["data_source"], str | Path):
        summary.rows.append(("data", f"{facts['data']}, {facts['data_source']}"))
    if folder is not None:
        summary.rows += [("run", str(folder)), *curve_of(folder)]
        if facts["status"] == "finished" and (command := _command("inspect", folder, plan)):
            summary.rows.append(("next", command))
    summary.rows += [(name, facts[name]) for name in ("repeat", "resume") if facts[name]]
    return ("" if plan.display == "off" else "\n") + str(summary)
