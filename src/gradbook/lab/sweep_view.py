"""What the page of one sweep says: what each setting reached, and what follows from it."""

from typing import Any
from urllib.parse import quote

from gradbook.cli.options import show
from gradbook.lab.catalogue import Catalogue
from gradbook.storage import finite
from gradbook.sweeps.member_results import MemberResult, SettingResult
from gradbook.sweeps.results import Sweep

#: The longest text of a swept value.
_MAX_LENGTH = 60


def sweep_view(catalogue: Catalogue, sweep: str) -> dict[str, Any]:
    """What is said of a sweep, plain values for JSON.

    Raises:
        ConfigError: If there is no such sweep.
        CorruptFileError: If its sweep.json is damaged.
    """
    found = Sweep(catalogue.folder(sweep, "sweep"))
    labels = list(dict.fromkeys(label for run in found.runs for label in run.final))
    # Members and what sweep.json says of them stand in the same order.
    folders = [facts["folder"] for facts in found.facts["members"]]
    ids = {
        id(member): f"{sweep}/{quote(folder)}"
        for member, folder in zip(found.members, folders, strict=True)
    }
    tied, best, usable = found.tied, found.best, found.usable_range()
    table = found.table()
    told: dict[str, Any] = finite(
        {
            "id": sweep,
            "name": found.name,
            "is_search": found.is_search,
            "swept": found.swept,
            "axis": found.axis,
            "label": found.label,
            "loss_label": found.loss_label,
            "labels": labels,
            "start": found.start,
            "usable_range": None if usable is None else list(usable),
            "usable_loss": found.usable_loss,
            "settings": [
                {
                    "name": setting.name,
                    "values": {name: _plain(value) for name, value in setting.values.items()},
                    "means": {label: setting.mean(label) for label in labels},
                    "verdict": setting.verdict,
                    "is_pruned": setting.is_pruned,
                    "is_best": setting is best,
                    "is_tied": len(tied) > 1 and setting in tied,
                    "members": _members(setting, ids, labels, catalogue),
                }
                for setting in found.settings
            ],
            "table": {"heading": list(table.heading), "rows": [list(row) for row in table.rows]},
            "findings": found.findings(),
        }
    )
    return told


def _members(
    setting: SettingResult, ids: dict[int, str], labels: list[str], catalogue: Catalogue
) -> list[dict[str, Any]]:
    return [_member(member, ids[id(member)], labels, catalogue) for member in setting.members]


def _member(
    member: MemberResult, run: str, labels: list[str], catalogue: Catalogue
) -> dict[str, Any]:
    status = "waiting" if member.run is None else member.run.status
    return {
        "id": run if run in catalogue.items else None,
        "seed": member.values.get("seed"),
        "status": "failed" if member.run is None and member.error else status,
        "told": member.told,
        "finals": {label: member.final(label) for label in labels},
    }


def _plain(value: Any) -> Any:
    """A number as itself, for an axis, and anything else as a text."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else show(value)[:_MAX_LENGTH]
