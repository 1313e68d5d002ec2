"""Which runs meet what the filter box of the page says."""

import argparse
import re
import shlex
from typing import Any

from gradbook.cli.options import show
from gradbook.cli.runs import Filter, check_key, values_from
from gradbook.errors import ConfigError, CorruptFileError
from gradbook.lab.catalogue import Catalogue, Item
from gradbook.runs.comparison import settings_of
from gradbook.runs.stored import StoredRun

#: A sign with the spaces that a person writes about it.
_SPACED_SIGN = re.compile(r"\s*(!=|<=|>=|=|<|>)\s*")

#: The longest text that is read.
_MAX_LENGTH = 1000


class Filtering:
    """Looks through the runs of a catalogue. The settings of each are read once.

    Args:
        catalogue: The runs.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._settings: dict[str, tuple[Item, dict[str, Any]]] = {}

    def admitted(self, text: str) -> list[str]:
        """The ids of the runs that meet all that a text says.

        Args:
            text: Conditions, as `gradbook runs --filter` takes them, and words that a run's name,
                model, data, status or one of its settings has; all of them parted by spaces.

        Raises:
            ConfigError: If a condition cannot be read, or none of the runs has what it names.
        """
        conditions, words = _read(text)
        items = [item for item in list(self._catalogue.items.values()) if item.kind == "run"]
        values = {item.summary["id"]: self._values(item) for item in items}
        readable = [each for each in values.values() if "model" in each]
        for condition in conditions:
            try:
                check_key(condition.key, readable)
            except ConfigError as error:  # all the names would fill the page
                raise ConfigError(str(error).partition(" There are ")[0]) from None
        return [
            run
            for run, each in values.items()
            if all(_admits(condition, each) for condition in conditions)
            and all(_mentions(run, each, word) for word in words)
        ]

    def _values(self, item: Item) -> dict[str, Any]:
        summary = item.summary
        if summary["status"] == "damaged":
            return {"name": summary["name"], "status": "damaged"}
        known, settings = self._settings.get(summary["id"], (None, {}))
        if known is None or known.signature != item.signature or known.folder != item.folder:
            try:
                settings = settings_of(StoredRun(item.folder))
            except (ConfigError, CorruptFileError):  # it has just gone, which the list will say
                return {"name": summary["name"], "status": "damaged"}
            self._settings[summary["id"]] = item, settings
        # What the lab itself has added is no setting that the command would know.
        own = ("id", "kind", "sweep", "headline", "diverged")
        told = {key: value for key, value in summary.items() if key not in own}
        return values_from(told, settings)


def _read(text: str) -> tuple[list[Filter], list[str]]:
    if len(text) > _MAX_LENGTH:
        raise ConfigError(f"A filter may have {_MAX_LENGTH:,} characters, not {len(text):,}.")
    try:
        parts = shlex.split(_SPACED_SIGN.sub(r"\1", text))
    except ValueError as error:
        raise ConfigError(f"The filter cannot be read: {str(error).lower()}.") from None
    conditions, words = [], []
    for part in parts:
        if not re.search("[=<>]", part):
            words.append(part.lower())
            continue
        try:
            conditions.append(Filter.of(part))
        except argparse.ArgumentTypeError as error:
            raise ConfigError(f"{str(error).capitalize()}.") from None
    return conditions, words


def _admits(condition: Filter, values: dict[str, Any]) -> bool:
    try:
        return condition.admits(values)
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix("--filter: ")) from None


def _mentions(run: str, values: dict[str, Any], word: str) -> bool:
    texts = [run, *(str(values.get(name, "")) for name in ("name", "model", "data", "status"))]
    texts += [f"{name} {show(value)}" for name, value in values.items() if name != "folder"]
    return any(word in text.lower() for text in texts)
