"""Settings chosen one after the other by Optuna, which learns from what earlier ones reached.

The study's storage is the truth about a search: which trials there are, what they tried, and what
became of them. A worker needs nothing else to choose the next setting, so that workers in other
processes and on other machines do as one in this process does.
"""

import math
import random
import re
import statistics
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from gradbook import checks
from gradbook.errors import (
    ConfigError,
    CorruptFileError,
    GradbookError,
    GradbookWarning,
    MissingExtraError,
    warn,
)
from gradbook.hparams import plain
from gradbook.record import Sink, headline, higher_is_better
from gradbook.runs.stored import StoredRun
from gradbook.seeds import untouched_generators
from gradbook.sweeps.engines import Done, run_all
from gradbook.sweeps.members import MadeData, Member, train_members
from gradbook.sweeps.plan import Plan
from gradbook.sweeps.progress import Progress
from gradbook.sweeps.values import Range, Values
from gradbook.trainer import Trainer

#: The study, unless it is in a storage of the user's own: a log to which each process appends.
STUDY_FILE = "search.journal"

#: What may end a trial before its last epoch.
PRUNERS = ("median", "halving", "hyperband", "none")

#: The first trials, and the first epoch of each, are never judged against others.
_NUM_UNJUDGED_TRIALS, _NUM_UNJUDGED_EPOCHS = 5, 1

#: Who has held the study's lock for longer was killed: an entry takes milliseconds.
_LOCK_SECONDS = 5

# Names of what is kept with a trial in the study.
_PLACE, _PRUNED, _ERROR, _REPEATS = "gradbook:place", "pruned", "error", "repeats"


class Search:
    """A search as it can be sent to another process.

    A trial is one setting, and one run in the sweep's folder for each seed. Its value is the mean
    over the seeds of the last epoch's `label`. One that diverges or is pruned counts as worse than
    all that come to their end, without a number that would distort what is learned from those;
    one that fails counts as not tried, for a full memory says nothing about a setting.

    Args:
        plan: What is searched.
        storage: The URL of a database for the study, such as "sqlite:///studies.db"; None keeps
            it in the sweep's folder.
        pruner: What ends trials early that do badly: "median", "halving", "hyperband" or "none".

    Attributes:
        label: By what trials are judged; None before `begin` or `go_on`.

    Raises:
        ConfigError: If there is no such pruner, or the storage cannot be used.
        MissingExtraError: If Optuna is not installed.
    """

    def __init__(self, plan: Plan, storage: str | None = None, pruner: str = "median") -> None:
        checks.check_choice(pruner, "pruner", PRUNERS)
        self.plan, self._url, self._pruner = plan, storage, pruner
        self._folder, self._name = Path(), ""
        self.label: str | None = None
        self._seeds = _listed(plan.swept.get("seed", [plan.fixed.get("seed", 0)]))
        _optuna()
        if storage is not None:
            if not isinstance(storage, str) or "://" not in storage:
                raise ConfigError(
                    f"storage is the URL of a database, such as 'sqlite:///studies.db', but it is "
                    f"{storage!r}."
                )
            self._storage()

    # The study

    def rehearse(self) -> None:
        """Finds out with one batch what a training records, and so what is the best.

        Raises:
            ConfigError: If neither the lowest nor the highest values can be trained, or nothing
                is recorded.
        """
        failure: Exception | None = None
        for lowest in (True, False):
            values = {key: _end(each, lowest) for key, each in self.plan.swept.items()}
            member = self.plan.member(0, values, Path())
            settings = {"max_epochs": 1, "limit_batches": 1, "compile": False, "watch": ()}
            member = replace(member, trainer_arguments={**member.trainer_arguments, **settings})
            try:
                with untouched_generators(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    training = member.prepare(MadeData(), kept=False)
                    training.trainer.fit(training.model, training.data)
            except Exception as error:  # a learner's code may raise anything
                failure = failure or error
                continue
            self.label = headline(training.trainer.history.labels)
            if self.label is None:
                raise ConfigError(
                    f"{self.plan.Model.__name__} records nothing by which settings could be "
                    f"judged. Plot a loss or an accuracy in its validation_step."
                )
            return
        raise ConfigError(
            f"No trial could be trained. One batch with the lowest values fails: "
            f"{type(failure).__name__}: {failure}"
        ) from failure

    def begin(self, folder: Path) -> None:
        """Makes the study of a new sweep."""
        assert self.label is not None
        self._folder, self._name = folder, f"{folder.name}-{uuid.uuid4().hex[:8]}"
        optuna = _optuna()
        with _quietly():
            optuna.create_study(
                study_name=self._name,
                storage=self._storage(),
                direction="maximize" if higher_is_better(self.label) else "minimize",
            )

    def go_on(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Finds the study of a search that was stopped.

        Raises:
            ConfigError: If it is not where it should be.
            CorruptFileError: If its file is damaged.
        """
        study = facts.get("study")
        if not isinstance(study, dict) or not {"name", "label", "in_folder"} <= set(study):
            raise CorruptFileError(f"{folder} has a damaged sweep.json: it names no study.")
        if study["in_folder"] != (self._url is None):
            raise ConfigError(
                f"The study of {folder} is "
                + (
                    "in its folder. Leave storage out."
                    if study["in_folder"]
                    else "in a storage of your own. Give storage (--storage) as it was given then."
                )
            )
        if study["in_folder"] and not (folder / STUDY_FILE).is_file():
            raise ConfigError(f"{folder} has lost its study: there is no {STUDY_FILE}.")
        self._folder, self._name, self.label = folder, study["name"], study["label"]
        optuna, study = _optuna(), self._study()
        with _quietly():
            for trial in study.get_trials(deepcopy=False):
                # Its process was killed while it chose the values.
                if (
                    trial.state == optuna.trial.TrialState.RUNNING
                    and _PLACE not in trial.user_attrs
                ):
                    study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def _storage(self) -> Any:
        optuna = _optuna()
        with _quietly():
            if self._url is not None:
                try:
                    return optuna.storages.get_storage(self._url)
                except Exception as error:  # that of whichever database it is
                    shown = re.sub(r"//[^/]*@", "//", self._url)
                    reason = str(error).replace(self._url, shown).strip().partition("\n")[0]
                    raise ConfigError(
                        f"The storage {shown!r} cannot be used: {reason}. A URL that can is "
                        f"'sqlite:///studies.db'."
                    ) from None
            journal = import_module("optuna.storages.journal")
            path = str(self._folder / STUDY_FILE)
            # It needs no links, which Windows has not for all, and no locks of a file system.
            lock = journal.JournalFileOpenLock(path, grace_period=_LOCK_SECONDS)
            return optuna.storages.JournalStorage(journal.JournalFileBackend(path, lock))

    def _study(self) -> Any:
        optuna = _optuna()
        try:
            with _quietly():
                return optuna.load_study(
                    study_name=self._name,
                    storage=self._storage(),
                    pruner=self._made_pruner(),
                )
        except KeyError:
            raise ConfigError(
                f"The storage has no study {self._name!r}. Give that in which the search was begun."
            ) from None
        except ValueError as error:
            if isinstance(error, GradbookError):
                raise
            path = self._folder / STUDY_FILE
            raise CorruptFileError(
                f"{path} is damaged: {error}. Put a copy in its place, or begin a new search."
            ) from None

    def _made_pruner(self) -> Any:
        pruners = _optuna().pruners
        if self._pruner == "median":
            return pruners.MedianPruner(
                n_startup_trials=_NUM_UNJUDGED_TRIALS, n_warmup_steps=_NUM_UNJUDGED_EPOCHS + 1
            )
        if self._pruner == "halving":
            return pruners.SuccessiveHalvingPruner()
        if self._pruner == "hyperband":
            return pruners.HyperbandPruner()
        return pruners.NopPruner()

    # Trials

    def run(self, on: Any, num_workers: int | None, progress: Progress) -> Iterator[dict[str, Any]]:
        """Trains the trials that are left, and yields `facts` whenever one has ended."""
        if on == "auto":
            on = "processes" if num_workers is not None and num_workers > 1 else "here"
        known = self._by_place()
        yield self.facts()
        assert self.plan.num_trials is not None
        left = [
            place
            for place in range(self.plan.num_trials)
            if place not in known or not known[place].state.is_finished()
        ]
        with closing(run_all(self.try_one, left, on=on, num_workers=num_workers)) as outcomes:  # type: ignore[type-var]
            for outcome in outcomes:
                for text in outcome.warnings:
                    warn(text, GradbookWarning)
                place = left[outcome.index]
                if not isinstance(outcome, Done):
                    self._give_up(place, outcome.error)
                facts = self.facts()
                for member in facts["members"]:
                    if member["trial"] == place + 1:
                        progress.note(_index(member["folder"]), member["error"])
                yield facts

    def try_one(self, place: int) -> None:
        """Trains one trial, or goes on with it, and tells the study what became of it.

        Args:
            place: Its place in the search, from 0.

        Raises:
            KeyboardInterrupt: If it is stopped. It can be gone on with.
        """
        states = _optuna().trial.TrialState
        study = self._study()
        with _quietly():
            trial = self._begun(study, place) or self._chosen(study, place)
        if trial is None:
            return
        assert self.label is not None
        finals = []
        for seed_idx, member in enumerate(self._trainings(place, self._values(trial.params))):
            if not member.is_done:
                # Seeds are told apart by no step: the first alone is compared with other trials.
                if seed_idx == 0:
                    sinks = [_Reporter(trial, self.label)]
                    member = _with(member, sinks=sinks)
                [result] = train_members([member])
                if result["error"] is not None:
                    self._tell(trial, states.FAIL, error=result["error"], seed_idx=seed_idx)
                    return
            run = StoredRun(member.folder)
            final = run.final.get(self.label)
            if run.status == "diverged" or trial.user_attrs.get(_PRUNED):
                self._tell(trial, states.PRUNED)
                return
            if final is None:
                error = f"it recorded no {self.label} in its last epoch"
                self._tell(trial, states.FAIL, error=error, seed_idx=seed_idx)
                return
            finals.append(final)
        self._tell(trial, states.COMPLETE, statistics.fmean(finals))

    def _begun(self, study: Any, place: int) -> Any:
        """The trial at a place, if it was stopped; None if it was not begun."""
        for frozen in study.get_trials(deepcopy=False):
            if frozen.user_attrs.get(_PLACE) == place and not frozen.state.is_finished():
                return _optuna().trial.Trial(study, frozen._trial_id)
        return None

    def _chosen(self, study: Any, place: int) -> Any:
        """A new trial; None if its values were tried before, so that there is nothing to train."""
        optuna = _optuna()
        # Of its own for each trial: a search that was stopped goes on as it would have.
        seed = random.Random(f"{int(self._seeds[0])}/{place}").getrandbits(32)
        study.sampler = optuna.samplers.TPESampler(seed=seed)
        trial = study.ask(self._distributions())
        values = plain(self._values(trial.params))
        twin = next(
            (
                other
                for other in study.get_trials(deepcopy=False)
                if other.number != trial.number
                and _PLACE in other.user_attrs
                and _REPEATS not in other.user_attrs
                and plain(self._values(other.params)) == values
            ),
            None,
        )
        if twin is not None:
            trial.set_user_attr(_REPEATS, twin.user_attrs[_PLACE] + 1)
        trial.set_user_attr(_PLACE, place)  # last: with it a trial is whole
        if twin is None:
            return trial
        states = optuna.trial.TrialState
        if twin.state == states.COMPLETE:
            study.tell(trial, twin.value)
        else:
            study.tell(trial, state=states.PRUNED if twin.state == states.PRUNED else states.FAIL)
        return None

    def _tell(
        self,
        trial: Any,
        state: Any,
        value: float | None = None,
        error: str | None = None,
        seed_idx: int = 0,
    ) -> None:
        with _quietly():
            if error is not None:
                trial.set_user_attr(_ERROR, [seed_idx, error])
            trial.study.tell(trial, value, state=state)

    def _give_up(self, place: int, error: str) -> None:
        """Tells the study that a trial's worker did not come to its end."""
        with _quietly():
            trial = self._begun(self._study(), place)
        if trial is None:
            raise ConfigError(f"Trial {place + 1} could not be begun: {error}")
        self._tell(trial, _optuna().trial.TrialState.FAIL, error=error)

    # Values

    @property
    def _searched(self) -> dict[str, Values]:
        return {name: each for name, each in self.plan.swept.items() if name != "seed"}

    def _distributions(self) -> dict[str, Any]:
        kinds = _optuna().distributions
        found: dict[str, Any] = {}
        for name, each in self._searched.items():
            if not isinstance(each, Range) or each.num is not None:
                found[name] = kinds.CategoricalDistribution(_choices(each))
            elif each.is_whole:
                found[name] = kinds.IntDistribution(int(each.low), int(each.high), log=each.is_log)
            else:
                found[name] = kinds.FloatDistribution(each.low, each.high, log=each.is_log)
        return found

    def _values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The values that a trial's parameters stand for."""
        found = {}
        for name, each in self._searched.items():
            value = params[name]
            if not isinstance(each, Range) or each.num is not None:
                found[name] = _listed(each)[_choices(each).index(value)]
            elif each.is_whole:
                found[name] = int(value)
            else:  # as people write rates, so that what a table shows is what was tried
                found[name] = min(max(float(f"{value:.4g}"), each.low), each.high)
        return found

    # Members

    def _trainings(self, place: int, values: Mapping[str, Any]) -> list[Member]:
        """The trainings of a trial, one for each seed."""
        seeds = self._seeds
        members = []
        for seed_idx, seed in enumerate(seeds):
            index = place * len(seeds) + seed_idx
            given = {**values, "seed": seed}
            members.append(self.plan.member(index, given, self._folder / f"member-{index + 1}"))
        return members

    def _by_place(self) -> dict[int, Any]:
        with _quietly():
            trials = self._study().get_trials(deepcopy=False)
        return {trial.user_attrs[_PLACE]: trial for trial in trials if _PLACE in trial.user_attrs}

    def facts(self) -> dict[str, Any]:
        """What sweep.json says of the study, and of the members begun, in the order of trials."""
        trials = self._by_place()
        repeats = [place for place, trial in trials.items() if _REPEATS in trial.user_attrs]
        return {
            "study": {
                "name": self._name,
                "label": self.label,
                "num_trials": self.plan.num_trials,
                "num_repeated": len(repeats),
                "pruner": self._pruner,
                "in_folder": self._url is None,  # without the URL, in which a password may be
            },
            "members": self._member_facts(trials),
        }

    def _member_facts(self, trials: Mapping[int, Any]) -> list[dict[str, Any]]:
        found = []
        for place, trial in sorted(trials.items()):
            if _REPEATS in trial.user_attrs:
                continue
            failed_idx, error = trial.user_attrs.get(_ERROR, (None, None))
            for seed_idx, member in enumerate(self._trainings(place, self._values(trial.params))):
                is_failed = seed_idx == failed_idx
                if seed_idx and not is_failed and not member.folder.exists():
                    continue  # the seed before was pruned, or has failed
                found.append(
                    {
                        "folder": member.folder.name,
                        "values": plain(member.values),
                        "error": error if is_failed else None,
                        "alone": None,
                        "seconds": None,
                        "setting": place,
                        "trial": place + 1,
                        "pruned": seed_idx == 0 and bool(trial.user_attrs.get(_PRUNED)),
                    }
                )
        return found

    def watched(self) -> list[Member]:
        """The trainings as their progress is shown, before it is known what they will try."""
        assert self.plan.num_trials is not None
        several = len(self._seeds) > 1
        values = {name: _end(each, lowest=True) for name, each in self._searched.items()}
        members = []
        for place in range(self.plan.num_trials):
            for member in self._trainings(place, values):
                told = {"trial": place + 1} | ({"seed": member.seed} if several else {})
                members.append(replace(member, values=told))
        return members


class _Reporter(Sink):
    """Reports each epoch to the study, and ends a training that is not worth going on with."""

    def __init__(self, trial: Any, label: str) -> None:
        self._trial, self._label = trial, label

    def end_epoch(self, trainer: Trainer) -> None:
        """Reports the epoch that is over."""
        epoch, trial = trainer.position.epoch, self._trial
        row = trainer.history[-1] if trainer.history else {}
        value = math.nan if trainer.history.diverged else row.get(self._label, math.nan)
        with _quietly(), warnings.catch_warnings():
            # A training that was killed before its checkpoint reports an epoch twice, the same.
            warnings.filterwarnings("ignore", "The reported value is ignored")
            trial.report(value, epoch)
            if epoch >= trainer.max_epochs:
                return
            if trainer.history.diverged:
                trainer.stop()
            elif trial.user_attrs.get(_PRUNED) or trial.should_prune():
                trial.set_user_attr(_PRUNED, True)
                trainer.stop()


def _with(member: Member, **trainer_arguments: Any) -> Member:
    return replace(member, trainer_arguments={**member.trainer_arguments, **trainer_arguments})


def _index(folder: str) -> int:
    return int(folder.rpartition("-")[2]) - 1


def _end(values: Values, lowest: bool) -> Any:
    if isinstance(values, Range):
        return values.low if lowest else values.high
    return values[0 if lowest else -1]


def _listed(values: Values) -> list[Any]:
    return values.values() if isinstance(values, Range) else list(values)


def _choices(values: Values) -> list[Any]:
    """What stands for a list's values in the study, where each is a number, a text or None."""
    listed = _listed(values)
    is_simple = all(isinstance(value, bool | int | float | str | None) for value in listed)
    if is_simple and len(set(listed)) == len(listed):  # 1 and True are the same to the study
        return listed
    return [f"{place}: {plain(value)}" for place, value in enumerate(listed, start=1)]


def _optuna() -> Any:
    try:
        return import_module("optuna")
    except ModuleNotFoundError:
        raise MissingExtraError.of("optuna", "A search", "optuna") from None


@contextmanager
def _quietly() -> Iterator[None]:
    """Optuna says nothing meanwhile of its trials, and of what it may change one day."""
    optuna = _optuna()
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
