"""Reports as files: what they are on, the page, and what may be overwritten."""

import hashlib
import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import gradbook
from gradbook.display.words import counted, listed
from gradbook.errors import ConfigError, CorruptFileError, GradbookWarning, warn
from gradbook.escape import printable
from gradbook.registry import DATA, MODELS, known_name
from gradbook.reports.blocks import Section
from gradbook.reports.comparison import section_of_comparison
from gradbook.reports.run import Rebuild, is_damaged, section_of_damage, section_of_run
from gradbook.reports.sweep import section_of_sweep
from gradbook.runs.restored import Restored, restore
from gradbook.runs.stored import DamagedRun, StoredRun, find_folder, load
from gradbook.storage import check_path, write_atomically
from gradbook.sweeps.format import SWEEP_FILE
from gradbook.sweeps.results import Sweep
from gradbook.table import Table
from gradbook.untrusted import read_file

#: What a report is on.
Subject = StoredRun | Sweep | DamagedRun

#: What the file of a report says that it is, near its beginning.
GENERATOR = "gradbook report"

#: A page may load nothing; its own style alone is taken, and pictures that are within it.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'"
)


def report(
    runs: Any,
    path: Path | str = "report.html",
    *,
    title: str | None = None,
    author: str | None = None,
    root: Path | str = "runs",
    inspect: bool = True,
    classes: Sequence[type] = (),
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a report on runs and sweeps: one page to hand in, which opens without a network.

    It has the configuration, the curves, the verdicts and what was noticed, the results, and what
    the model gets right and wrong; of several runs also what differs, and what that shows. What
    stands in notes.md or notes.txt of a run's folder is shown with it.

    Args:
        runs: A run or a sweep, its name, or the path of its folder; or a list of these.
        path: The file, whose name ends in .html. An earlier report there is replaced.
        title: What stands above everything; None names the runs.
        author: Who hands it in.
        root: The folder in which runs are looked for by name.
        inspect: Whether the models are rebuilt, and measured on their validation data.
        classes: Your own models and data sets that runs were trained with: gradbook runs no code
            because a folder names it.
        settings: The settings that are files, folders or addresses, by name, as for
            `gradbook.runs.restore`.

    Returns:
        The file.

    Raises:
        ConfigError: If there is no such run, one is named twice, or the file is something else
            than a report.
        StorageError: If the file cannot be written.
    """
    is_one = isinstance(runs, str | os.PathLike | StoredRun | Sweep | DamagedRun)
    subjects = subjects_of([runs] if is_one else list(runs), root)
    check_target(path)
    rebuild = partial(_rebuilt, classes=tuple(classes), settings=settings) if inspect else None
    write_atomically(path, page_of(subjects, title, author, rebuild).encode())
    for subject in damaged_among(subjects):
        warn(f"{subject.name} is damaged, and the report says so: {path}.", GradbookWarning)
    return Path(path)


def _rebuilt(
    run: StoredRun, classes: Sequence[type], settings: Mapping[str, Any] | None
) -> Restored:
    """A run's model and data, of those classes that the caller has given where it needs them."""
    own = {}
    for kind, known in (("model", MODELS), ("data", DATA)):
        written = run.facts[kind]["class"]
        if not known_name(written, known):
            name = written.rpartition(".")[2]
            own[kind] = next((each for each in classes if each.__name__ == name), None)
    return restore(run, own.get("model"), own.get("data"), settings=settings)


# What a report is on


def subjects_of(given: Sequence[Any], root: Path | str = "runs") -> list[Subject]:
    """The runs and sweeps that are named, or given. A damaged one is there as such.

    Raises:
        ConfigError: If there is none of them, one does not exist, or one is named twice.
    """
    if not given:
        raise ConfigError("Name a run or a sweep to report on, such as mlp-1.")
    subjects = [each if isinstance(each, Subject) else _found(each, root) for each in given]
    folders = [os.path.realpath(subject.folder) for subject in subjects]
    for subject, folder in zip(subjects, folders, strict=True):
        if folders.count(folder) > 1:
            raise ConfigError(f"{subject.name!r} is named more than once. Name each run once.")
    return subjects


def _found(name: Any, root: Path | str) -> Subject:
    folder = find_folder(name, root)
    try:
        if os.path.lexists(folder / SWEEP_FILE):
            return Sweep(folder)
        return load(name, root)
    except CorruptFileError as error:
        return DamagedRun(folder, str(error))


def damaged_among(subjects: Sequence[Subject]) -> list[Subject]:
    """Those that cannot be read, or not as a whole."""
    return [
        each
        for each in subjects
        if isinstance(each, DamagedRun) or (isinstance(each, StoredRun) and is_damaged(each))
    ]


# The page


def page_of(
    subjects: Sequence[Subject], title: str | None, author: str | None, rebuild: Rebuild | None
) -> str:
    """The report as HTML. Its date is the only thing that changes from one call to the next."""
    names = _names_of(subjects)
    whole = [
        (each, name)
        for each, name in zip(subjects, names, strict=True)
        if isinstance(each, StoredRun) and not is_damaged(each)
    ]
    sections: list[Section] = []
    if len(whole) > 1:
        runs, called = zip(*whole, strict=True)
        sections.append(section_of_comparison(runs, called))
    for subject, name in zip(subjects, names, strict=True):
        if isinstance(subject, DamagedRun):
            sections.append(section_of_damage(subject, name))
        elif isinstance(subject, Sweep):
            sections.append(section_of_sweep(subject, name))
        else:
            sections.append(section_of_run(subject, name, rebuild))
    what = names[0] if len(names) == 1 else _counted(subjects)
    return _rendered(sections, title or f"Report on {what}", author)


def _counted(subjects: Sequence[Subject]) -> str:
    """How many runs and sweeps there are, in words."""
    num_sweeps = sum(isinstance(subject, Sweep) for subject in subjects)
    counts = ((num_sweeps, "sweep"), (len(subjects) - num_sweeps, "run"))
    return listed([counted(number, noun) for number, noun in counts if number])


def _names_of(subjects: Sequence[Subject]) -> list[str]:
    """A name for each that no other one has: its folder's, with a number where it is shared."""
    names = [subject.name for subject in subjects]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: place + 1].count(name)})"
        for place, name in enumerate(names)
    ]


def _rendered(sections: Sequence[Section], title: str, author: str | None) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def shown(given: Any) -> Any:
        """What stands in the page: strangers' texts have no characters that would steer it."""
        return given if isinstance(given, Markup) else printable(str(given))

    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(here),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
    )
    style = here.joinpath("page.css").read_text(encoding="utf-8")
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page: str = environment.get_template("page.html").render(
        sections=sections,
        title=title,
        author=author,
        date=today(),
        version=gradbook.__version__,
        generator=GENERATOR,
        policy=Markup(_POLICY.format(digest)),
        style=Markup(style),
        side=_side,
    )
    return page + "\n"


def _side(table: Table, column: int) -> str:
    """The class of a column's cells: numbers stand on the right."""
    return "number" if table.is_numeric(column) else "text"


def today() -> str:
    """The date, as a report has it."""
    return f"{datetime.now().astimezone():%Y-%m-%d}"


# The file


def check_target(path: Path | str) -> None:
    """Says what is wrong with a file for a report before any work is done.

    Raises:
        ConfigError: If its name does not end in .html, or it is there and is no report.
    """
    check_path(path, "The file of a report", "report.html")
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"A report's name ends in .html, but {str(path)!r} does not.")
    if not os.path.lexists(path):
        return
    try:
        begin = read_file(path)[:2000]
    except (FileNotFoundError, CorruptFileError):  # a link to nothing, a folder, a pipe
        begin = b""
    if f'name="generator" content="{GENERATOR}"'.encode() not in begin:
        raise ConfigError(
            f"{str(path)!r} is there already, and is no report of gradbook's, so that it is not "
            f"overwritten. Name another file, or remove it."
        )
