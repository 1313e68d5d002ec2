"""What the page says of several runs beside each other, apart from their curves."""

from collections.abc import Sequence
from typing import Any

from gradbook.cli.texts import shortened
from gradbook.errors import CorruptFileError, GradbookError
from gradbook.lab.catalogue import Catalogue
from gradbook.runs.comparison import differing, settings_of
from gradbook.runs.overview import overview
from gradbook.runs.stored import StoredRun
from gradbook.storage import finite

#: The longest text of a setting.
_MAX_LENGTH = 60


def compare_view(catalogue: Catalogue, ids: Sequence[str]) -> dict[str, Any]:
    """What each run reached, and the settings in which they differ, plain values for JSON.

    A run that cannot be read has a "reason" instead, and counts in nothing.
    """
    told: list[dict[str, Any]] = []
    settings: dict[str, dict[str, Any]] = {}
    for run in dict.fromkeys(ids):
        try:
            stored = StoredRun(catalogue.folder(run))
            told.append({"id": run, "reason": None, **_reached(stored)})
            settings[run] = settings_of(stored)
        except GradbookError as error:
            told.append({"id": run, "reason": str(error)})
    names = differing(list(settings.values())) if settings else []
    rows = [
        {
            "name": name,
            "values": {
                run: shortened(each[name], _MAX_LENGTH)
                for run, each in settings.items()
                if name in each
            },
        }
        for name in names
    ]
    found: dict[str, Any] = finite({"runs": told, "differing": rows})
    return found


def _reached(stored: StoredRun) -> dict[str, Any]:
    view = overview(stored)
    facts, judged = view.facts, view.verdict
    error: CorruptFileError | None = view.error
    return {
        "name": stored.name,
        "status": stored.status,
        "model": facts["model"]["name"],
        "data": facts["data"]["name"],
        "epochs": facts.get("epochs"),
        "max_epochs": facts["max_epochs"],
        "final": facts.get("final", {}),
        "best": facts.get("best", {}),
        "verdict": None if judged is None else {"label": judged.label, "text": judged.sentence},
        "damage": None if error is None else str(error),
    }
