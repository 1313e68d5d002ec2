"""`gradbook rm`: removes runs, and nothing else."""

import os
import sys
from pathlib import Path

from gradbook.cli.options import Parser, add_runs_option
from gradbook.cli.outcome import Outcome, UsageError
from gradbook.errors import ConfigError, CorruptFileError, GradbookError, StorageError
from gradbook.escape import printable
from gradbook.runs.format import (
    FOLDERS,
    RUN_FILE,
    files_in,
    is_folder_of_a_run,
    is_of_a_run,
    remove_files,
)
from gradbook.runs.stored import find_folder, is_being_trained


def run(arguments: list[str]) -> Outcome:
    """Removes the runs that `arguments` name, all or none of them."""
    parser = Parser("rm", "Removes runs with all their files.")
    parser.add_argument("run", metavar="RUN", nargs="*", help="a run's name, or its folder")
    parser.add_argument("--yes", action="store_true", help="remove them without asking")
    add_runs_option(parser)
    asked = parser.read_all(arguments)
    if not asked.run:
        raise UsageError("Name a run, such as mlp-1. `gradbook runs` lists them.")
    found = (find_folder(name, asked.runs) for name in asked.run)
    folders = list({os.path.realpath(folder): folder for folder in found}.values())
    for folder in folders:
        _check(folder)
    if not asked.yes:
        if not _confirmed(folders):
            return Outcome({"removed": []}, "Nothing was removed.")
        for folder in folders:  # much may have happened before the answer came
            _check(folder)
    outcome = Outcome({"removed": []})
    for folder in folders:
        try:
            _remove(folder)
        except GradbookError as error:
            outcome.error = error
            break
        outcome.facts["removed"].append(str(folder))
    outcome.text = "\n".join(f"removed {name}" for name in outcome.facts["removed"])
    return outcome


def _check(folder: Path) -> None:
    """Refuses what is not a run, holds more than a run, or is being trained."""
    if folder.is_symlink():
        raise ConfigError(
            f"{folder} is a link to {os.readlink(folder)}, and links are not followed. Name the "
            f"folder itself, or remove the link yourself."
        )
    if not os.path.lexists(folder / RUN_FILE):
        raise ConfigError(
            f"{folder} has no {RUN_FILE}, so that it may be no run. If it is to go, remove it "
            f"yourself."
        )
    links = [name for name in FOLDERS if (folder / name).is_symlink()]  # only links are removed
    unknown = [name for name in files_in(folder) if not is_of_a_run(name) and name not in links]
    unknown += [
        path.relative_to(folder).as_posix()
        for place, names, _ in os.walk(folder)
        for path in (Path(place, name) for name in names)
        if not (path.is_symlink() or is_folder_of_a_run(path.relative_to(folder).as_posix()))
    ]
    if unknown:
        listed = ", ".join([*unknown[:5], *(["..."] if len(unknown) > 5 else [])])
        raise GradbookError(
            f"{folder} holds what is not of a run: {listed}. Nothing was removed. Move it "
            f"elsewhere, and try again."
        )
    try:
        is_trained = is_being_trained(folder)
    except CorruptFileError:  # with a lock that is elsewhere, nobody trains here
        is_trained = False
    if is_trained:
        raise GradbookError(
            f"{folder} is being trained. Nothing was removed. Stop the training first, with Ctrl-C."
        )


def _confirmed(folders: list[Path]) -> bool:
    if not (sys.stdin and sys.stdin.isatty()):
        raise UsageError("There is no terminal to ask on. Give --yes to remove without a question.")
    listed = printable(", ".join(map(str, folders)))
    print(f"Remove {listed} for good? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _remove(folder: Path) -> None:
    try:
        for path in (folder / name for name in FOLDERS):
            if path.is_symlink():  # what it leads to is not the run's
                path.unlink()
        remove_files(folder)
        folder.rmdir()
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder} cannot be removed: {error.strerror or error}."
        ) from error
