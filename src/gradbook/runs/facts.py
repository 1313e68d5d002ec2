"""What run.json says of a training: what is trained, where, and how it began."""

import os
import platform
import socket
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import gradbook
from gradbook.devices import described
from gradbook.errors import CorruptFileError
from gradbook.history import num_classes_of
from gradbook.hparams import plain, qualified_name
from gradbook.registry import DATA, MODELS, known_name
from gradbook.resume.setup import describe_optimizer
from gradbook.runs.format import FORMAT, VERSION
from gradbook.runs.git import checked_out
from gradbook.seeds import last_seed
from gradbook.settings import FREE, UNRECORDED
from gradbook.storage import kebab_case

if TYPE_CHECKING:
    from gradbook.trainer import Trainer


def first_facts(
    trainer: "Trainer",
    name: str,
    command: Sequence[str] | None,
    model_name: str | None,
    data_name: str | None,
) -> dict[str, Any]:
    """What run.json says when a training begins: in the folder `name`, by this command if by one.

    The model and the data are called by their classes where the command has no names for them.
    """
    model, data, now = trainer.model, trainer.data, now_text()
    settings = plain(getattr(trainer, "hparams", {}))
    parameters = [p for p in model.parameters() if not torch.nn.parameter.is_lazy(p)]
    source = getattr(data, "source", None)
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": name,
        "id": uuid.uuid4().hex,
        "status": "running",
        "error": None,
        "command": command,
        "model": {
            **_made_from(model, model_name),
            "num_parameters": sum(p.numel() for p in parameters),
            "num_classes": num_classes_of(model),
        },
        "data": {
            **_made_from(data, data_name),
            "source": None if source is None else str(source),
            "is_sample": bool(getattr(data, "is_sample", False)),
            "num_train": _num_examples(trainer.train_dataloader),
            "num_val": _num_examples(trainer.val_dataloader),
        },
        "trainer": {
            "class": qualified_name(type(trainer)),
            "hyperparameters": {k: v for k, v in settings.items() if k not in UNRECORDED},
        },
        "optimizer": describe_optimizer(trainer.optim),
        "seed": last_seed(),
        "begun_from": None if trainer.training is None else trainer.training.begun_from,
        "launch": None if trainer.training is None else trainer.training.launch,
        "num_processes": 1 if trainer.training is None else trainer.training.group.size,
        "device": described(parameters[0].device) if parameters else None,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "gradbook": gradbook.__version__,
        },
        "platform": platform.platform(),
        "git": git_state(),
        "sessions": [_session(now, first_epoch=0)],
        "started": now,
        "ended": None,
        "seconds": 0.0,
        "max_epochs": trainer.max_epochs,
        "epochs": 0,
        "steps": 0,
        "final": {},
        "best": {},
        "diverged": None,
        "process": _process(),
        "metrics": None,
    }


def resumed_facts(
    trainer: "Trainer", facts: dict[str, Any], command: Sequence[str] | None
) -> dict[str, Any]:
    """What run.json says when a training is resumed, from what it said before."""
    sessions = [
        {**before, "status": before["status"].replace("running", "killed")}
        for before in facts["sessions"]
    ]
    now = plain({name: getattr(trainer, name) for name in FREE if name not in UNRECORDED})
    settings = facts["trainer"]["hyperparameters"] | now
    return facts | {
        "status": "running",
        "error": None,
        "command": command or facts["command"],
        "trainer": facts["trainer"] | {"hyperparameters": settings},
        "sessions": [*sessions, _session(now_text(), trainer.position.epoch)],
        "ended": None,
        "max_epochs": trainer.max_epochs,
        "process": _process(),
        "metrics": None,
    }


def _session(now: str, first_epoch: int) -> dict[str, Any]:
    return {"started": now, "ended": None, "status": "running", "first_epoch": first_epoch}


def _process() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname()}


def check_same_run(state: Mapping[str, Any], facts: Mapping[str, Any], path: Any) -> None:
    """Raises CorruptFileError if a checkpoint in a run's folder is another run's."""
    if state.get("run") != facts.get("id"):
        raise CorruptFileError(
            f"{path} is a checkpoint of another run, not of {facts['name']}, and does not fit the "
            f"values that were recorded there. Put the run's own checkpoint in its place."
        )


def git_state() -> dict[str, Any] | None:
    """The commit that is checked out in the working folder; whether files differ is not known."""
    commit = checked_out()
    return None if commit is None else {"commit": commit, "dirty": None}


def _made_from(value: Any, name: str | None) -> dict[str, Any]:
    """A class and its arguments; one of gradbook's is called as the command calls it."""
    Class = type(value)
    written = qualified_name(Class)
    if not name and (Class.__module__ or "").startswith("gradbook."):
        name = known_name(written, MODELS | DATA) or kebab_case(Class.__name__)
        name = name.removesuffix("-data")
    settings = plain(getattr(value, "hparams", {}))
    return {"name": name or Class.__name__, "class": written, "hyperparameters": settings}


def now_text() -> str:
    """The time, as run.json has it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _num_examples(loader: Any) -> int | None:
    try:
        return len(loader.dataset)
    except (AttributeError, TypeError):
        return None
