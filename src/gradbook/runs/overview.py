"""Everything that is said of one run: by `gradbook show`, by the page of the lab and by reports."""

from dataclasses import dataclass
from typing import Any

from gradbook.errors import CorruptFileError
from gradbook.runs.format import files_in
from gradbook.runs.stored import StoredRun
from gradbook.verdicts import Verdict, verdict


@dataclass(frozen=True)
class Overview:
    """What is said of a run.

    Attributes:
        facts: What run.json says, with "name", "folder", "status", "seconds" and the sizes of its
            "files"; and, unless the recorded values are damaged, "epochs", "final", "best",
            "history" and "verdict".
        verdict: The judgment on its curve; None if the recorded values are damaged.
        error: What is wrong with the recorded values; None if nothing is.
    """

    facts: dict[str, Any]
    verdict: Verdict | None
    error: CorruptFileError | None

    @property
    def is_told(self) -> bool:
        """Whether what was noticed of a training that diverged tells what became NaN."""
        told = self.facts.get("findings", ())
        return bool(self.facts["diverged"]) and any("became NaN" in finding for finding in told)


def overview(run: StoredRun) -> Overview:
    """What is said of a run."""
    facts: dict[str, Any] = {
        **run.facts,
        "name": run.name,
        "folder": str(run.folder),
        "status": run.status,
        "seconds": run.seconds,
        "files": files_in(run.folder),
    }
    try:
        results = {"epochs": run.epochs, "final": run.final, "best": run.best}
        results["history"] = run.history.rows
        run.check_results()
        judged = verdict(run)
    except CorruptFileError as error:  # the settings are worth having all the same
        told = {
            key: value for key, value in facts.items() if key not in ("epochs", "final", "best")
        }
        return Overview(told, None, error)
    words = {"label": judged.label, "reason": judged.reason, "text": judged.sentence}
    return Overview({**facts, **results, "verdict": words}, judged, None)
