"""Sweeps: one model trained with many settings, and what they reach."""

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gradbook.errors import ConfigError, GradbookWarning, warn
from gradbook.hparams import plain
from gradbook.interrupts import show_instead
from gradbook.launched import is_launched, size
from gradbook.runs.recorder import locked
from gradbook.storage import check_folder_name, check_path, claim_folder, kebab_case
from gradbook.sweeps.engines import Done, check_engine, run_all
from gradbook.sweeps.format import PICTURE_FILES, read_sweep, write_sweep
from gradbook.sweeps.members import (
    MadeData,
    Member,
    member_facts,
    outcome_of,
    reason_alone,
    train_members,
)
from gradbook.sweeps.plan import Plan
from gradbook.sweeps.progress import Progress
from gradbook.sweeps.results import Sweep
from gradbook.sweeps.search import Search
from gradbook.sweeps.values import are_equal, grouped, without
from gradbook.untrusted import inside

#: What must be the same when a sweep is gone on with, and what it is called.
_SAME = {
    "model": "the model",
    "data": "the data set",
    "swept": "the swept values",
    "fixed": "the other settings",
    "num_samples": "num_samples",
    "search": "search",
}


def sweep(
    Model: type,
    data: Any,
    *,
    runs: Path | str = "runs",
    name: str | None = None,
    num_samples: int | None = None,
    search: str | None = None,
    num_trials: int | None = None,
    pruner: str = "median",
    storage: str | None = None,
    on: Any = "auto",
    num_workers: int | None = None,
    stack: bool = True,
    level: float | None = None,
    display: bool | str = "auto",
    resume: Path | str | None = None,
    **settings: Any,
) -> Sweep:
    """Trains a model with every combination of settings, and compares what they reach.

    Every member is a run in the sweep's folder. Members that differ only in numbers are trained
    together in one pass (docs/sweeps.md); the others in worker processes, or on a cluster. What
    fails or diverges does not harm the rest. A sweep that was stopped goes on with `resume`.

    Args:
        Model: The class of the model.
        data: A data set; or the class of one, whose arguments can then be swept as well.
        runs: Where the sweep's folder is made.
        name: What the folder is called, before its number; None takes the model's class.
        num_samples: So many random combinations instead of all. Ranges without `num` need it, or
            a search.
        search: "optuna" chooses each setting by what earlier ones have reached (docs/search.md).
        num_trials: How many settings a search tries; None takes 20.
        pruner: What ends a search's trials early that do badly: "median", "halving", "hyperband"
            or "none".
        storage: The URL of a database for a search's study, such as "sqlite:///studies.db"; None
            keeps it in the sweep's folder.
        on: Where members are trained that do not go into one stack: "processes" of this machine,
            "here" in this process, "ray" or "dask", with an address after a colon if a cluster is
            running; "auto" takes processes if there is more than one thing to do, and for a search
            if `num_workers` is more than 1.
        num_workers: How many at once; None takes the number of processors.
        stack: Whether to train members together where possible.
        level: The level for "epochs to reach"; None takes the median of what settings reach.
        display: Where the progress is shown: "auto", "notebook", "terminal", "lines" or "off".
        resume: The folder of a sweep to go on with. Everything else is given as before.
        **settings: Arguments of the model, the trainer and the data set, by name: one value, or
            a list, range or `log_range` of values to try. A list that is one value is written
            within another: `num_hiddens=[[256, 128]]`. "seed" is one number (0 if it is not
            given) or several; "max_epochs" is 10 if it is not given. What several of them have
            is told apart by a prefix, as in `trainer_max_epochs` and `data_batch_size`; so is
            what `sweep` itself takes, as in `model_level`. Without it the model's is meant, and
            else the trainer's, and that is said.

    Returns:
        The sweep, with `.table()`, `.figure()`, `.runs`, `.settings`, `.best`.

    Raises:
        ConfigError: If there is nothing to try, no such setting, or a value that cannot be one.
        MissingExtraError: If the package of an engine is not installed.
        KeyboardInterrupt: If Ctrl-C stops it. What was reached is kept.

    Book: the exercises of 3.4, 4.4 and 5.2 ask for what one value at a time shows.
    """
    plan = Plan(Model, data, settings, num_samples, name=name, search=search, num_trials=num_trials)
    return run_sweep(
        plan,
        runs=runs,
        on=on,
        num_workers=num_workers,
        stack=stack,
        level=level,
        display=display,
        resume=resume,
        pruner=pruner,
        storage=storage,
    )


def run_sweep(
    plan: Plan,
    *,
    runs: Path | str,
    on: Any,
    num_workers: int | None,
    stack: bool,
    level: float | None,
    display: bool | str,
    resume: Path | str | None,
    pruner: str = "median",
    storage: str | None = None,
    is_told_after: bool = False,
) -> Sweep:
    """Trains what a plan names. See `sweep`; `is_told_after` if its caller shows the table."""
    if is_launched():
        raise ConfigError(
            f"This sweep was started in {size()} processes, which would each train all of it. "
            f"Start it once: it uses the processors by itself, or a cluster's (docs/engines.md)."
        )
    if level is not None and not (isinstance(level, int | float) and math.isfinite(level)):
        raise ConfigError(f"level must be a finite number, but it is {level!r}.")
    if resume is not None and not str(resume):
        raise ConfigError("resume must name the folder of a sweep, but it is empty.")
    check_path(runs, "runs", "runs")
    if resume is not None:
        check_path(resume, "resume", "runs/mlp-sweep-1")
    if plan.name is not None:
        check_folder_name(plan.name)
    if on != "auto":
        check_engine(on)
    if plan.search is None and (storage is not None or pruner != "median"):
        given = f"storage={storage!r}" if storage is not None else f"pruner={pruner!r}"
        raise ConfigError(f'{given}, but nothing is searched. Add search="optuna".')
    begun = time.perf_counter()
    search = None if plan.search is None else Search(plan, storage, pruner)
    if resume is None:
        if search is not None:
            search.rehearse()
        combinations = plan.combinations() if search is None else []
        is_known = plan.model_name and ":" not in plan.model_name
        slug = plan.model_name if is_known else kebab_case(plan.Model.__name__)
        folder = claim_folder(runs, f"{plan.name or slug}-sweep").absolute()
    else:
        folder = Path(resume).absolute()
        combinations = _combinations_again(plan, folder)
    members = [
        plan.member(index, values, folder / f"member-{index + 1}")
        for index, values in enumerate(combinations)
    ]
    for member in members:
        inside(folder, member.folder.name)
    lock, plan.folder = locked(folder), folder
    try:
        facts = _first_facts(plan, members, level) if resume is None else read_sweep(folder)
        facts["level"] = level if level is not None else facts["level"]
        if search is not None:
            if resume is None:
                search.begin(folder)
            else:
                search.go_on(folder, facts)
            facts |= search.facts()
            members = search.trainings()
        write_sweep(folder, facts)
        pending = [member for member in members if not member.is_done]
        shown = Progress(
            members,
            _settings_of(members) if search is None else search.places(),
            _shown(folder),
            display,
            list(without(plan.swept, "seed")),
            values_in=None if search is None else plan.values_in,
            is_told_after=is_told_after,
        )
        if search is not None:
            for place in search.ended():
                search.tell(shown, place, facts)
        with shown as progress:
            try:
                if search is not None:
                    for found in search.run(on, num_workers, progress):
                        facts |= found
                        write_sweep(folder, facts)
                    pending = []
                for result in _train(pending, on, num_workers, stack, progress):
                    told = {name: result[name] for name in ("error", "alone", "seconds")}
                    facts["members"][result["index"]] |= told
                    write_sweep(folder, facts)
            finally:
                if search is not None:
                    facts |= search.facts()  # of those, too, that were stopped
                facts["seconds"] += time.perf_counter() - begun
                write_sweep(folder, facts)
    except KeyboardInterrupt as stop:
        advice = f"Resume the sweep with resume={str(_shown(folder))!r}."
        stop.add_note(advice)
        show_instead(stop, "The sweep was interrupted. What it has trained is kept.", advice)
        raise
    finally:
        if lock is not None:
            lock.release()
    done = Sweep(_shown(folder))
    if any(run.epochs for run in done.runs):
        done.save(*(folder / file for file in PICTURE_FILES))
    return done


def _train(
    pending: Sequence[Member], on: Any, num_workers: int | None, stack: bool, progress: Progress
) -> Iterator[dict[str, Any]]:
    """Trains members, and yields what became of each."""
    items, reasons = _items(pending, stack)
    progress.train_together(items)
    if on == "auto":
        on = "here" if len(items) < 2 or num_workers == 1 else "processes"
    outcomes: Any = run_all(train_members, items, on=on, num_workers=num_workers)
    with contextlib.closing(outcomes):
        for outcome in outcomes:
            for text in outcome.warnings:
                warn(text, GradbookWarning)
            if isinstance(outcome, Done):
                results = outcome.value
            else:
                results = [outcome_of(member, outcome.error) for member in items[outcome.index]]
            for result in results:
                result["alone"] = result["alone"] or reasons.get(result["index"])
            progress.end(results)
            yield from results


def _items(pending: Sequence[Member], stack: bool) -> tuple[list[list[Member]], dict[int, str]]:
    """What is trained together, and why the others are not."""
    if not stack:
        return [[member] for member in pending], {}
    # What is not a decimal number may change an architecture.
    left_out = {
        key for member in pending for key, value in member.values.items() if type(value) is float
    } | {"seed"}

    def form(member: Member) -> str:
        kept = {k: plain(v) for k, v in member.values.items() if k not in left_out}
        return repr((kept, member.resume is not None))

    items: list[list[Member]] = []
    reasons: dict[int, str] = {}
    with contextlib.closing(MadeData()) as made:
        for group in grouped(pending, key=form):
            reason = reason_alone(group, made) if len(group) > 1 else None
            if reason is None:
                items.append(group)
            else:
                items += [[member] for member in group]
                reasons |= {member.index: reason for member in group}
    return items, reasons


# sweep.json


def _first_facts(plan: Plan, members: Sequence[Member], level: float | None) -> dict[str, Any]:
    return {
        **plan.facts(),
        "level": level,
        "seconds": 0.0,
        "members": [
            # Two values may look alike as JSON: which settings are the same is told here.
            member_facts(member, setting)
            for member, setting in zip(members, _settings_of(members), strict=True)
        ],
    }


def _settings_of(members: Sequence[Member]) -> list[int]:
    """For each member the place of its setting, which those with other seeds have as well."""
    names = without(members[0].values, "seed") if members else {}

    def are_alike(one: Member, other: Member) -> bool:
        return all(are_equal(one.values[name], other.values[name]) for name in names)

    def plain_values(member: Member) -> tuple[Any, ...]:
        values = (member.values[name] for name in names)
        return tuple(v if isinstance(v, int | float | str) else None for v in values)

    settings = grouped(members, are_alike, plain_values)
    places = {member.index: place for place, own in enumerate(settings) for member in own}
    return [places[member.index] for member in members]


def _combinations_again(plan: Plan, folder: Path) -> list[dict[str, Any]]:
    """The combinations of a sweep that is gone on with, after a look at whether it is the same."""
    facts, ours = read_sweep(folder), plan.facts()
    for key, what in _SAME.items():
        if facts.get(key) != ours[key]:
            raise ConfigError(
                f"{folder} is another sweep: {what} {'were' if what.endswith('s') else 'was'} "
                f"{_told(facts.get(key))} there, but {_told(ours[key])} now. Give the same as "
                f"there, or begin a new sweep without resume."
            )
    if plan.search is not None:
        return []
    combinations = plan.combinations()
    if len(combinations) != len(facts["members"]):
        raise ConfigError(f"{folder} is another sweep: it has {len(facts['members'])} members.")
    return combinations


def _told(value: Any) -> str:
    is_dict = isinstance(value, dict)
    text = ", ".join(f"{k}={v}" for k, v in value.items()) if is_dict else str(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _shown(folder: Path) -> Path:
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
