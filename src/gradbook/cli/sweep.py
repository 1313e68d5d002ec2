"""`gradbook sweep`: train with many settings, and compare what they reach."""

import argparse
import os
import re
import shlex
from pathlib import Path

from gradbook.cli.options import (
    Given,
    Option,
    Parser,
    add_display_options,
    add_number,
    add_runs_option,
    asks_for_help,
    positive_number,
    unexpected,
    with_value,
)
from gradbook.cli.outcome import Outcome, UsageError
from gradbook.cli.plan import add_name_option
from gradbook.cli.recorded import Recorded
from gradbook.cli.restored import must_be_named
from gradbook.cli.subject import Subject, read_subject
from gradbook.cli.texts import sweep_lines
from gradbook.registry import DATA, known_name
from gradbook.storage import as_word
from gradbook.sweeps.format import SWEEP_FILE, read_sweep
from gradbook.wrapping import page

SUMMARY = """\
Trains a model with every combination of settings, and compares what they reach. Every member is a
run in the folder runs/NAME-sweep-N, beside sweep.svg and sweep.png.

Every option takes several values:
  --lr 0.01,0.1,1          these
  --lr log:0.01:1:5        5 values from 0.01 to 1, evenly spaced by ratio; lin: by difference
  --lr log:0.001:1         any value between, with --samples or --search
  --num-hiddens 64,[256,128]    a value that is a list stands in brackets

examples:
  gradbook sweep softmax-scratch --lr 0.01,0.03,0.1,0.3,1 --seeds 3 --max-epochs 10
  gradbook sweep mlp --lr log:0.01:1:5 --num-hiddens 64,256 --max-epochs 5
  gradbook sweep mlp --lr log:0.001:1 --search optuna --trials 20
  gradbook sweep mlp --resume runs/mlp-sweep-1"""

_RANGE = re.compile(r"(log|lin):([^:]+):([^:]+)(?::([^:]+))?")
_NUMBER = r"[+-]?[\d.]+(?:e[+-]?\d+)?"

#: Numbers with colons between them, as in other programs' ranges.
_ALMOST_RANGE = re.compile(rf"(?:[a-z]*:)?{_NUMBER}(?::[^:]*)+|[a-z]+:{_NUMBER}", re.IGNORECASE)


def run(arguments: list[str]) -> Outcome:
    """Trains the settings that `arguments` name."""
    arguments, before = _as_before(arguments)
    subject = read_subject(
        "sweep", arguments, _add_options, title="Sweep", summary=SUMMARY, read=_read, before=before
    )
    own = subject.own
    from gradbook.sweeps.plan import Plan, owners_of
    from gradbook.sweeps.results import load
    from gradbook.sweeps.run import run_sweep

    owners = owners_of(subject.model.Class, subject.data.Class)
    settings = {
        key: subject.arguments[group][name]
        for key, (group, name) in owners.items()
        if name in subject.arguments[group]
    }
    first = subject.seed if subject.is_seed_given else 0
    settings["seed"] = first if own.seeds is None else range(first, first + own.seeds)
    plan = Plan(
        subject.model.Class,
        subject.data.Class,
        settings,
        own.samples,
        name=own.name or subject.model.slug,
        model_name=subject.model.name,
        data_name=subject.data.name,
        command=_words(subject),
        search=own.search,
        num_trials=own.trials,
    )
    try:
        done = run_sweep(
            plan,
            runs=own.runs,
            on=own.on,
            num_workers=own.workers,
            stack=own.stack,
            level=own.level,
            display="off" if own.quiet else own.display,
            resume=own.resume,
            pruner=own.pruner,
            storage=own.storage,
            is_told_after=True,
        )
    except KeyboardInterrupt as stop:
        if plan.folder is None or not (plan.folder / SWEEP_FILE).is_file():
            raise
        done = load(Path(os.path.relpath(plan.folder)))
        words = ["gradbook", "sweep", subject.model.name, "--resume", as_word(done.folder)]
        if subject.data.name not in DATA:
            words += with_value("--data", subject.data.name)
        resume = shlex.join(words) + (" --storage URL" if own.storage else "")
        text = "\n" + page(f"{done.words}\n\nresume: {resume}")
        return Outcome({**done.summary(), "resume": resume}, text, error=stop)
    facts = done.summary()
    facts["pictures"] = [str(path) for path in done.pictures]
    failed = any(member.error for member in done.members)
    return Outcome(facts, "\n".join(["", *sweep_lines(done)]), code=1 if failed else 0)


def _add_options(group: argparse._ArgumentGroup) -> None:
    _add_what_is_tried(group)
    group.add_argument(
        "--storage",
        metavar="URL",
        help="a database for the search's study, such as sqlite:///studies.db (default: a file in "
        "the sweep's folder)",
    )
    group.add_argument(
        "--on",
        default="auto",
        metavar="WHERE",
        help="where to train: processes, here (this process alone), ray or dask; ray:HOST:PORT or "
        "dask:tcp://HOST:PORT connects to a running cluster (default: auto)",
    )
    add_number(group, "--workers", int, "the number of trainings at the same time")
    group.add_argument("--resume", metavar="DIR", help="resume the sweep in this folder")
    add_runs_option(group)
    add_name_option(group, "name of the sweep's folder (default: the model's)")
    add_display_options(group)


def _add_what_is_tried(group: argparse._ActionsContainer) -> None:
    """Adds what a sweep that was stopped takes from its file: nothing of it leads anywhere."""
    told = "train each setting with this number of seeds: --seed (default: 0) and the following"
    add_number(group, "--seeds", int, told)
    add_number(group, "--samples", int, "try so many random combinations instead of all")
    group.add_argument("--search", choices=("optuna",), help="let Optuna choose what is tried next")
    add_number(group, "--trials", int, "how many settings Optuna tries (default: 20)")
    group.add_argument(
        "--pruner",
        default="median",
        choices=("median", "halving", "hyperband", "none"),
        help="how a search decides to end bad trials early (default: median)",
    )
    group.add_argument(
        "--stack",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="train members that differ only in numbers as one, which is faster (default: true)",
    )
    told = "the table tells after how many epochs a member reached this value (default: the "
    add_number(group, "--level", float, told + "median of what the settings reach)")


def _as_before(arguments: list[str]) -> tuple[list[str], Recorded | None]:
    """With --resume, what the sweep was begun with holds once more, and need not be given.

    Returns:
        The words, with the data set if that is one of gradbook's, and what sweep.json holds.
    """
    early = Parser("sweep")
    early.add_argument("--resume")
    early.add_argument("--data")
    asked, _ = early.parse_known_args(arguments)
    if not asked.resume or asks_for_help(arguments) or arguments[0].startswith("-"):
        return arguments, None
    folder = Path(asked.resume)
    facts = read_sweep(folder)
    command = facts.get("command") or ()
    recorded = Recorded(folder / SWEEP_FILE, command[2:], _add_what_is_tried)
    if command:
        recorded.check_command(command, "sweep")
    model, *rest = arguments
    if asked.data is None:
        written = str(facts.get("data"))
        known = known_name(written, DATA)
        if not known:
            name = written.rpartition(".")[2]
            raise UsageError(must_be_named(folder.name, [("data", written, name)]))
        rest = ["--data", known, *rest]
    return [model, *rest], recorded


def _words(subject: Subject) -> list[str]:
    """The command that names the same sweep, without its first word, which is `gradbook`."""
    words, own = list(subject.words), subject.own
    for flag in ("seeds", "samples", "search", "trials", "level"):
        value = getattr(own, flag)
        if value is not None:
            words += with_value(f"--{flag}", str(value))
    if own.pruner != "median":
        words += ["--pruner", own.pruner]
    if not own.stack:
        words.append("--no-stack")
    if subject.is_seed_given:
        words += ["--seed", str(subject.seed)]
    return words


def _read(option: Option, text: str) -> Given:
    """The value, or the values, that stand in an option's text."""
    from gradbook.errors import ConfigError
    from gradbook.sweeps.values import Range

    match = _RANGE.fullmatch(text.strip())
    if match is not None:
        low, high = (option.read(end).value for end in (match[2], match[3]))
        count = None if match[4] is None else positive_number(match[4])
        try:
            return Given(text, Range(low, high, count, is_log=match[1] == "log"))
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    if _ALMOST_RANGE.fullmatch(text.strip()) and option.kind is not str:
        numbers = re.findall(_NUMBER, text)
        form = ":".join(numbers[:3]) if len(numbers) > 1 else "0.01:1:5"
        wanted = (
            f"a range: log:{form} for values evenly spaced by ratio, or lin:{form} by difference"
        )
        raise unexpected(text, f"values with commas between them, or {wanted}")
    items = _split(text)
    if len(items) == 1 and not text.strip().endswith(","):
        return option.read(items[0])
    values = [
        option.read(item.strip("[]") or item if item.startswith("[") else item) for item in items
    ]
    return Given(text, [given.value for given in values])


def _split(text: str) -> list[str]:
    """Splits at the commas that stand in no brackets."""
    item = r"\s*(?:\[[^\[\]]*\]|[^,\[\]]+)\s*"
    items = [found.strip() for found in re.findall(item, text)]
    if not re.fullmatch(f"{item}(?:,{item})*,?", text) or not all(items):
        raise unexpected(text, "values with commas between them, such as 1,2")
    return items
