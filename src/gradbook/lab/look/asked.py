"""What a page asks of a run's model, checked, and what can be said without the model."""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradbook.errors import ConfigError, CorruptFileError
from gradbook.lab.signatures import code_signature, signature_of
from gradbook.runs.film import FILM_FILE
from gradbook.runs.format import CHECKPOINT_FILES, RUN_FILE
from gradbook.runs.stored import StoredRun
from gradbook.storage import finite
from gradbook.untrusted import inside

#: What may be asked for, and the seconds after which it is given up.
SECONDS = {"mistakes": 120, "cell": 120, "weights": 120, "graph": 120, "sharpness": 900}

#: The options of what may be asked for, and the values that each may have.
_CHOICES: dict[str, tuple[Any, ...]] = {
    "checkpoint": (None, *CHECKPOINT_FILES),
    "split": ("val", "train"),
    "num_examples": (None, 1000, 5000),
}
_PLACES = ("true", "predicted")
_OPTIONS = {
    "mistakes": ("checkpoint", "split"),
    "cell": ("checkpoint", "split", *_PLACES),
    "weights": ("checkpoint",),
    "graph": ("checkpoint",),
    "sharpness": ("checkpoint", "num_examples"),
}


@dataclass
class Asked:
    """What a page asks for.

    Attributes:
        run: The id of the run.
        what: One of `SECONDS`.
        options: Its options by name; those that are not here have their defaults.
        page: The page, by the name that it has given itself.
        folder: The run's folder.
    """

    run: str
    what: str
    options: dict[str, Any]
    page: str
    folder: Path = field(default_factory=Path)

    def key(self, classes: Sequence[str]) -> tuple[Any, ...]:
        """What an answer depends on: the same key, the same answer."""
        options = tuple(sorted(self.options.items(), key=str))
        return (self.run, self.what, options, self.signature, code_signature(classes))

    @property
    def signature(self) -> tuple[Any, ...]:
        """What changes with the files that a look reads."""
        return signature_of(
            self.folder / name for name in (RUN_FILE, FILM_FILE, *CHECKPOINT_FILES.values())
        )


def read_asked(body: Mapping[str, Any]) -> Asked:
    """What a request asks for.

    Raises:
        ConfigError: If it asks for what there is not.
    """
    run, what, page = body.get("run"), body.get("what"), body.get("page", "page")
    options = body.get("options", {})
    if not isinstance(run, str) or not isinstance(what, str) or what not in SECONDS:
        raise ConfigError(f"`what` is one of {', '.join(SECONDS)}, but it is {what!r:.60}.")
    if not isinstance(page, str) or not re.fullmatch(r"[\w-]{1,40}", page):
        raise ConfigError(f"`page` is a short word, but it is {page!r:.60}.")
    if not isinstance(options, dict):
        raise ConfigError("`options` must be an object of JSON.")
    for name, value in options.items():
        _check_option(what, name, value)
    missing = [name for name in _PLACES if name in _OPTIONS[what] and name not in options]
    if missing:
        raise ConfigError(f"{what} needs {', '.join(missing)}.")
    return Asked(run, what, options, page)


def _check_option(what: str, name: str, value: Any) -> None:
    if name not in _OPTIONS[what]:
        raise ConfigError(f"{what} has no option {name!r:.60}.")
    if name in _PLACES:
        if type(value) is not int or not 0 <= value < 1 << 31:
            raise ConfigError(f"{name} is the number of a class, but it is {value!r:.60}.")
    elif value not in _CHOICES[name] or isinstance(value, bool | float):
        told = ", ".join(map(repr, _CHOICES[name]))
        raise ConfigError(f"{name} is one of {told}, but it is {value!r:.60}.")


def about(folder: Path) -> dict[str, Any]:
    """What there is to look at of a run: needs neither its model nor PyTorch.

    Raises:
        ConfigError: If there is no run.
        CorruptFileError: If its run.json is damaged.
    """
    run = StoredRun(folder)
    checkpoints = []
    for which in CHECKPOINT_FILES:
        with suppress(ConfigError, CorruptFileError):
            run.checkpoint_path(which)  # type: ignore[arg-type]
            checkpoints.append({"name": which, "epoch": run.checkpoint_epoch(which)})
    facts = run.facts
    has_film = False
    with suppress(CorruptFileError):
        has_film = os.path.isfile(inside(folder, FILM_FILE))
    return finite(  # type: ignore[no-any-return]
        {
            "name": run.name,
            "status": run.status,
            "model": facts["model"]["name"],
            "data": facts["data"]["name"],
            "checkpoints": checkpoints,
            "has_film": has_film,
        }
    )
