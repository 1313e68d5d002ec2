"""What the page of one run says, beside its curves."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradbook.cli.options import show
from gradbook.cli.restored import run_command
from gradbook.errors import ConfigError, CorruptFileError
from gradbook.lab.answers import MAX_PICTURE_BYTES
from gradbook.lab.catalogue import Catalogue
from gradbook.runs.format import CHECKPOINT_FILES, FILES, json_number
from gradbook.runs.overview import overview
from gradbook.runs.stored import StoredRun
from gradbook.storage import finite
from gradbook.sweeps.format import PICTURE_FILES
from gradbook.watching.gradient_report import GradientReport

#: How the names of pictures end.
_KINDS = (".svg", ".png")

#: Of an SVG file that is larger, in bytes, the PNG file is shown.
_MAX_SVG_BYTES = 1 << 22

#: So much of a stranger's folder is told: files, settings of one kind, characters of a value, and
#: layers and epochs of the gradients.
_MAX_FILES, _MAX_SETTINGS, _MAX_LENGTH = 200, 200, 300
_MAX_LAYERS, _MAX_EPOCHS = 200, 25

#: What is told of each layer, as the page names it.
_MEASURES = {
    "gradient": "grad_rms",
    "update": "update_ratio",
    "activation": "activation_rms",
    "dead": "dead",
    "saturated": "saturated",
}


def run_view(catalogue: Catalogue, run: str) -> dict[str, Any]:
    """What is said of a run, plain values for JSON.

    Raises:
        ConfigError: If there is no such run.
        CorruptFileError: If its run.json is damaged.
    """
    stored = StoredRun(catalogue.folder(run))
    view = overview(stored)
    facts = view.facts
    judged = None
    if view.verdict is not None:
        text = view.verdict.label if view.is_told else view.verdict.sentence
        judged = {"label": view.verdict.label, "text": text}
    command = facts["command"]
    told: dict[str, Any] = finite(
        {
            "id": run,
            "name": stored.name,
            "sweep": run.rpartition("/")[0] or None,
            "folder": str(stored.folder),
            "status": stored.status,
            "seconds": stored.seconds,
            "started": facts["started"],
            "epochs": facts.get("epochs"),
            "max_epochs": facts["max_epochs"],
            "final": facts.get("final", {}),
            "best": facts.get("best", {}),
            "best_checkpoint": stored.best_checkpoint,
            "damage": None if view.error is None else str(view.error),
            "error": facts["error"],
            "diverged": facts["diverged"],
            "findings": list(facts.get("findings", ())),
            "verdict": judged,
            "settings": _settings(facts),
            "command": shlex.join(["gradbook", *command]) if command else None,
            "resume": _resume(stored),
            "gradients": _gradients(stored.folder),
            "pictures": _pictures(facts["files"]),
            "files": [
                {"name": name, "bytes": facts["files"][name]}
                for name in sorted(facts["files"])[:_MAX_FILES]
            ],
            "num_files": len(facts["files"]),
        }
    )
    return told


def folder_of_picture(catalogue: Catalogue, item: str, name: str) -> Path:
    """The folder of a run or a sweep that may have a picture of this name.

    Raises:
        ConfigError: If there is no such run, or it can have no such picture.
    """
    is_picture = os.path.splitext(name)[1] in _KINDS
    if is_picture and name in PICTURE_FILES:
        return catalogue.folder(item, "sweep")
    if is_picture and name in FILES:
        return catalogue.folder(item)
    raise ConfigError(f"A run has no picture {name!r:.60}.")


def _settings(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was trained, in groups: each with what it is and its settings, as texts."""
    model, data, optimizer = facts["model"], facts["data"], facts["optimizer"]
    about = {
        "source": data["source"],
        "num_train": data["num_train"],
        "num_val": data["num_val"],
        "is_sample": data["is_sample"] or None,
    }
    groups = [
        (
            *("model", f"{model['name']} ({model['class']})"),
            model["hyperparameters"] | {"num_parameters": model["num_parameters"]},
        ),
        ("data", f"{data['name']} ({data['class']})", data["hyperparameters"] | about),
        ("trainer", facts["trainer"]["class"], facts["trainer"]["hyperparameters"]),
    ]
    if optimizer is not None:
        groups.append(("optimizer", optimizer["class"], optimizer["settings"]))
    git = facts["git"] or {}
    where = {"seed": facts["seed"], "device": facts["device"], "git_commit": git.get("commit")}
    versions = {f"{name}_version": text for name, text in facts["versions"].items()}
    where |= {"git_changed": git.get("dirty"), "platform": facts["platform"], **versions}
    groups.append(("environment", "", where))
    return [
        {
            "kind": kind,
            "name": name[:_MAX_LENGTH],
            "pairs": [
                [key[:_MAX_LENGTH], show(value)[:_MAX_LENGTH]]
                for key, value in list(pairs.items())[:_MAX_SETTINGS]
                if value is not None or kind in ("model", "trainer")
            ],
        }
        for kind, name, pairs in groups
    ]


def _resume(stored: StoredRun) -> dict[str, Any] | None:
    """How a run goes on that was stopped; None for one that was not."""
    if stored.status not in ("killed", "interrupted", "failed"):
        return None
    is_kept = os.path.isfile(stored.folder / CHECKPOINT_FILES["last"])
    return {"command": run_command("resume", stored) if is_kept else None}


def _gradients(folder: Path) -> dict[str, Any] | None:
    """What was seen of the gradients, layer by layer; None if nothing was."""
    try:
        report = GradientReport.read(folder)
    except ConfigError:
        return None
    except CorruptFileError as error:
        return {"damage": str(error)}
    if not report:
        return None
    titles = {row.layer: row.title for row in report.rows}
    layers, epochs = list(titles)[:_MAX_LAYERS], _spread(report.epochs, _MAX_EPOCHS)
    rows = {(row.layer, row.epoch): row for row in report.rows}
    return {
        "damage": None,
        "layers": [titles[layer] for layer in layers],
        "epochs": epochs,
        "num_epochs": len(report.epochs),
        "measures": {
            name: [
                [
                    None if (row := rows.get((layer, epoch))) is None
                    else json_number(getattr(row, attribute))
                    for epoch in epochs
                ]
                for layer in layers
            ]
            for name, attribute in _MEASURES.items()
        },
        "findings": [symptom.text for symptom in report.findings],
    }  # fmt: skip


def _pictures(sizes: Mapping[str, int]) -> list[str]:
    """The names of the pictures to show: of each one, the sharper of its files."""
    found: dict[str, str] = {}
    for name in FILES:
        base, kind = os.path.splitext(name)
        is_shown = kind in _KINDS and 0 < sizes.get(name, 0) <= MAX_PICTURE_BYTES
        if is_shown and (base not in found or sizes[found[base]] > _MAX_SVG_BYTES):
            found[base] = name
    return list(found.values())


def _spread(items: list[int], most: int) -> list[int]:
    """At most so many of the items, evenly, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
