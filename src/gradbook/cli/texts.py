"""How values of a run are written for a person."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from gradbook.cli.options import show
from gradbook.runs.stored import StoredRun
from gradbook.storage import as_word
from gradbook.table import Table
from gradbook.wrapping import page


def table(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Columns, by their headings, as aligned lines. Numbers stand on the right."""
    rows = list(zip(*columns.values(), strict=True))
    return repr(Table(list(columns), rows)).split("\n")


def sweep_lines(found: Any) -> list[str]:
    """What a sweep has found, its picture, and how its runs are listed."""
    members = shlex.join(["gradbook", "runs", "--runs", as_word(found.folder)])
    pictures = [f"picture: {path}" for path in found.pictures]
    return [page(found.words), "", *pictures, page(f"members: {members}")]


def checkpoint_text(run: StoredRun, which: str) -> str:
    """Which checkpoint of a run is looked at, and how far it had been trained then."""
    epoch, best = run.checkpoint_epoch(which), run.best_checkpoint
    text = f"checkpoint {which}" if epoch is None else f"checkpoint {which}, after epoch {epoch}"
    if which == "best" and best is not None:
        text += f", chosen by {best['label']} {rounded(best, 'value')}"
    return text


def rounded(values: Mapping[str, Any], key: str) -> str:
    """A loss or accuracy; "-" if there is none, "NaN" if it was not finite."""
    if key not in values:
        return "-"
    value = values[key]
    if value is None:
        return "NaN"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"


def shortened(value: Any, widest: int = 20) -> str:
    """A setting in at most `widest` characters."""
    text = show(value)
    return text if len(text) <= widest else f"{text[: widest - 3]}..."
