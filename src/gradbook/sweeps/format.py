"""The file that says what a sweep is: sweep.json, written whole, and checked when it is read."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradbook.errors import ConfigError, CorruptFileError
from gradbook.storage import write_atomically
from gradbook.untrusted import MAX_SETTINGS_BYTES, inside, parsed, read_file

FORMAT, VERSION = "gradbook sweep", 1
SWEEP_FILE = "sweep.json"
PICTURE_FILES = ("sweep.svg", "sweep.png")


def write_sweep(folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes sweep.json, whole or not at all."""
    content = {"format": FORMAT, "version": VERSION, **facts}
    write_atomically(folder / SWEEP_FILE, (json.dumps(content, indent=2) + "\n").encode())


def read_sweep(folder: Path) -> dict[str, Any]:
    """What sweep.json says, checked.

    Raises:
        ConfigError: If there is no sweep in the folder.
        CorruptFileError: If the file is damaged, or of a newer format.
    """
    path = inside(folder, SWEEP_FILE)
    try:
        content = read_file(path, MAX_SETTINGS_BYTES)
    except FileNotFoundError:
        raise ConfigError(
            f"There is no sweep in {str(folder)!r}: it has no {SWEEP_FILE}."
        ) from None
    try:
        facts = parsed(content, "a sweep", has_nan=True)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{path} cannot be read: {error}. A copy repairs it.") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise CorruptFileError(f"{path} is not the file of a sweep.")
    if facts.get("version") != VERSION:
        raise CorruptFileError(
            f"{path} is of version {facts.get('version')!r}; this gradbook reads {VERSION}."
        )
    members, command = facts.get("members"), facts.get("command")
    is_whole = (
        isinstance(members, list)
        and isinstance(facts.get("swept"), dict)
        and _is_number(facts.get("seconds"))
        and (facts.get("level", "") is None or _is_number(facts.get("level")))
        and _is_study(facts.get("study"))
        and (command is None or isinstance(command, list))
        and all(isinstance(word, str) for word in command or ())
        and all(_is_member(member, facts["swept"]) for member in members)
    )
    if not is_whole:
        raise CorruptFileError(f"{path} is damaged: its members or values are missing.")
    return facts


def _is_study(study: Any) -> bool:
    """Whether it says where a search's study is, and nothing of another kind; or nothing at all."""
    return study is None or (
        isinstance(study, dict)
        and all(isinstance(study.get(name, ""), str | None) for name in ("name", "label"))
        and isinstance(study.get("in_folder", False), bool)
        and isinstance(study.get("num_repeated", 0), int)
    )


def _is_member(member: Any, swept: Mapping[str, Any]) -> bool:
    return (
        isinstance(member, dict)
        and isinstance(member.get("values"), dict)
        and isinstance(member.get("folder"), str)
        and re.fullmatch(r"[\w-]+", member["folder"]) is not None  # it leads nowhere else
        and all(isinstance(member.get(name, 0), str | None) for name in ("error", "alone"))
        and (member.get("seconds", "") is None or _is_number(member.get("seconds")))
        and isinstance(member.get("setting"), int)
        and set(swept) <= {*member["values"], "seed"}
    )


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)
