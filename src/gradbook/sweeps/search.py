"""Settings chosen one after the other by Optuna, which learns from what earlier ones reached.

The study's storage is the truth about a search: which trials there are, what they tried, and what
became of them. A worker needs nothing else to choose the next setting, so that workers in other
processes and on other machines do as one in this process does.
"""

import math
import random
import statistics
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradbook.errors import ConfigError, CorruptFileError, GradbookWarning, told, warn
from gradbook.hparams import plain
from gradbook.labels import headline, higher_is_better
from gradbook.record import Sink
from gradbook.runs.stored import StoredRun
from gradbook.seeds import untouched_generators
from gradbook.sweeps.engines import Done, run_all
from gradbook.sweeps.members import MadeData, Member, member_facts, train_members
from gradbook.sweeps.plan import Plan
from gradbook.sweeps.progress import Progress
from gradbook.sweeps.search_space import SearchSpace, end_of, listed
from gradbook.sweeps.study import Study, optuna, quietly
from gradbook.sweeps.values import without
from gradbook.trainer import Trainer

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
        storage, pruner: As for `Study`.

    Attributes:
        study: In what its trials are kept.
        label: By what trials are judged; None before `begin` or `go_on`.
    """

    def __init__(self, plan: Plan, storage: str | None = None, pruner: str = "median") -> None:
        self.plan, self.study = plan, Study(storage, pruner)
        self.label: str | None = None
        self._folder = Path()
        self._seeds = listed(plan.swept.get("seed", [plan.fixed.get("seed", 0)]))
        self._space = SearchSpace(without(plan.swept, "seed"))

    def rehearse(self) -> None:
        """Finds out with one batch what a training records, and so what is the best.

        If the lowest values cannot be trained, the highest may.
        """
        failure: Exception | None = None
        for lowest in (True, False):
            values = {key: end_of(each, lowest) for key, each in self.plan.swept.items()}
            member = self.plan.member(0, values, Path())
            settings = {"max_epochs": 1, "limit_batches": 1, "compile": False, "watch": ()}
            member = replace(member, trainer_arguments=member.trainer_arguments | settings)
            try:
                quiet = warnings.catch_warnings(action="ignore")
                with untouched_generators(), quiet, closing(MadeData()) as made:
                    candidate = member.prepare(made, kept=False)
                    candidate.trainer.fit(candidate.model, candidate.data)
            except Exception as error:  # a learner's code may raise anything
                failure = failure or error
                continue
            self.label = headline(candidate.trainer.history.labels)
            if self.label is None:
                raise ConfigError(
                    f"{self.plan.Model.__name__} records nothing by which settings could be "
                    f"judged. Plot a loss or an accuracy in its validation_step."
                )
            return
        assert failure is not None
        raise ConfigError(
            f"No trial could be trained. One batch with the lowest values fails: {told(failure)}"
        ) from failure

    def begin(self, folder: Path) -> None:
        """Makes the study of a new sweep."""
        assert self.label is not None
        self._folder = folder
        self.study.create(folder, "maximize" if higher_is_better(self.label) else "minimize")

    def go_on(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Finds the study of a search that was stopped."""
        known = facts.get("study")
        if not isinstance(known, dict) or not {"name", "label", "in_folder"} <= set(known):
            raise CorruptFileError(f"{folder} has a damaged sweep.json: it names no study.")
        self.study.find(folder, known)
        self._folder, self.label = folder, known["label"]
        states, study = optuna().trial.TrialState, self.study.open()
        with quietly():
            for trial in study.get_trials(deepcopy=False):
                # Its process was killed while it chose the values.
                if trial.state == states.RUNNING and _PLACE not in trial.user_attrs:
                    study.tell(trial.number, state=states.FAIL)

    # Trials

    def run(self, on: Any, num_workers: int | None, progress: Progress) -> Iterator[dict[str, Any]]:
        """Trains the trials that are left, and yields `facts` whenever one has ended."""
        if on == "auto":
            on = "processes" if num_workers is not None and num_workers > 1 else "here"
        yield self.facts()
        assert self.plan.num_trials is not None
        ended = self.ended()
        left = [place for place in range(self.plan.num_trials) if place not in ended]
        with closing(run_all(self.try_one, left, on=on, num_workers=num_workers)) as outcomes:  # type: ignore[type-var]
            for outcome in outcomes:
                for text in outcome.warnings:
                    warn(text, GradbookWarning)
                place = left[outcome.index]
                if not isinstance(outcome, Done):
                    self._give_up(place, outcome.error)
                facts = self.facts()
                self.tell(progress, place, facts)
                yield facts

    def tell(self, progress: Progress, place: int, facts: Mapping[str, Any]) -> None:
        """Tells what became of a trial that has ended; `facts` are those of this search."""
        ours = [member for member in facts["members"] if member["trial"] == place + 1]
        numbers = [int(member["folder"].rpartition("-")[2]) for member in ours]
        pairs = zip(numbers, ours, strict=True)
        progress.end([{"index": number - 1, **member} for number, member in pairs])
        trial = None if ours else self._by_place()[place]
        progress.end_setting(place, trial and plain(self._space.values(trial.params)))

    def try_one(self, place: int) -> None:
        """Trains a trial, or goes on with it, and tells the study what became of it."""
        study = self.study.open()
        with quietly():
            trial = self._begun(study, place) or self._chosen(study, place)
        if trial is None:
            return
        assert self.label is not None
        finals = []
        for seed_idx, member in enumerate(self._trainings(place, self._space.values(trial.params))):
            if not member.is_done:
                # Only the first seed is compared with other trials, epoch by epoch.
                if seed_idx == 0:
                    arguments = {"sinks": [_Reporter(trial, self.label)]}
                    member = replace(member, trainer_arguments=member.trainer_arguments | arguments)
                [result] = train_members([member])
                if result["error"] is not None:
                    return self._fail(trial, result["error"], seed_idx)
            run = StoredRun(member.folder)
            final = run.final.get(self.label)
            if run.status == "diverged" or trial.user_attrs.get(_PRUNED):
                with quietly():
                    study.tell(trial, state=optuna().trial.TrialState.PRUNED)
                return None
            if final is None or not math.isfinite(final):
                error = f"it has no finite {self.label} in its last epoch"
                return self._fail(trial, error, seed_idx)
            finals.append(final)
        with quietly():
            study.tell(trial, statistics.fmean(finals))

    def _begun(self, study: Any, place: int) -> Any:
        """The trial at a place, if it was stopped; None if it was not begun."""
        for frozen in study.get_trials(deepcopy=False):
            if frozen.user_attrs.get(_PLACE) == place and not frozen.state.is_finished():
                return optuna().trial.Trial(study, frozen._trial_id)
        return None

    def _chosen(self, study: Any, place: int) -> Any:
        """A new trial; None if its values were tried before, so that there is nothing to train."""
        # Of its own for each trial: a search that was stopped goes on as it would have.
        seed = random.Random(f"{int(self._seeds[0])}/{place}").getrandbits(32)
        study.sampler = optuna().samplers.TPESampler(seed=seed)
        trial = study.ask(self._space.distributions())
        values = plain(self._space.values(trial.params))
        twins = (
            other
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number
            and _PLACE in other.user_attrs
            and _REPEATS not in other.user_attrs
            and plain(self._space.values(other.params)) == values
        )
        twin = next(twins, None)
        if twin is not None:
            trial.set_user_attr(_REPEATS, twin.user_attrs[_PLACE] + 1)
        trial.set_user_attr(_PLACE, place)  # last: with it a trial is whole
        if twin is None:
            return trial
        states = optuna().trial.TrialState
        if twin.state == states.COMPLETE:
            study.tell(trial, twin.value)
        else:
            study.tell(trial, state=states.PRUNED if twin.state == states.PRUNED else states.FAIL)
        return None

    def _fail(self, trial: Any, error: str, seed_idx: int = 0) -> None:
        with quietly():
            trial.set_user_attr(_ERROR, [seed_idx, error])
            trial.study.tell(trial, state=optuna().trial.TrialState.FAIL)

    def _give_up(self, place: int, error: str) -> None:
        """Tells the study that a trial's worker did not come to its end."""
        with quietly():
            trial = self._begun(self.study.open(), place)
        if trial is None:
            raise ConfigError(f"Trial {place + 1} could not be begun: {error}")
        self._fail(trial, error)

    # Members

    def _trainings(self, place: int, values: Mapping[str, Any]) -> list[Member]:
        """The trainings of a trial, one for each seed."""
        return [
            self.plan.member(index, {**values, "seed": seed}, self._folder / f"member-{index + 1}")
            for index, seed in enumerate(self._seeds, start=place * len(self._seeds))
        ]

    def ended(self) -> list[int]:
        """The places of the trials that have ended."""
        return [place for place, one in self._by_place().items() if one.state.is_finished()]

    def _by_place(self) -> dict[int, Any]:
        with quietly():
            trials = self.study.open().get_trials(deepcopy=False)
        return {trial.user_attrs[_PLACE]: trial for trial in trials if _PLACE in trial.user_attrs}

    def facts(self) -> dict[str, Any]:
        """What sweep.json says of the study, and of the members begun, in the order of trials."""
        trials = self._by_place()
        repeats = {place for place, trial in trials.items() if _REPEATS in trial.user_attrs}
        return {
            "study": {
                **self.study.facts(),
                "label": self.label,
                "num_trials": self.plan.num_trials,
                "num_repeated": len(repeats),
                "pruner": self.study.pruner,
            },
            "members": [
                facts
                for place, trial in sorted(trials.items())
                if place not in repeats
                for facts in self._member_facts(place, trial)
            ],
        }

    def _member_facts(self, place: int, trial: Any) -> Iterator[dict[str, Any]]:
        failed_idx, error = trial.user_attrs.get(_ERROR, (None, None))
        is_pruned = bool(trial.user_attrs.get(_PRUNED))
        for seed_idx, member in enumerate(self._trainings(place, self._space.values(trial.params))):
            told = {"trial": place + 1, "pruned": seed_idx == 0 and is_pruned}
            if seed_idx == failed_idx:
                yield member_facts(member, place, **told, error=error)
            elif seed_idx == 0 or member.folder.exists():  # else one before was pruned, or failed
                yield member_facts(member, place, **told)

    def trainings(self) -> list[Member]:
        """All trainings, before it is known what they will try."""
        assert self.plan.num_trials is not None
        values = {name: end_of(each, lowest=True) for name, each in self._space.swept.items()}
        trials = range(self.plan.num_trials)
        return [member for place in trials for member in self._trainings(place, values)]

    def places(self) -> list[int]:
        """The place of the trial of each training."""
        return [one.index // len(self._seeds) for one in self.trainings()]


class _Reporter(Sink):
    """Reports each epoch to the study, and ends a training that is not worth going on with."""

    def __init__(self, trial: Any, label: str) -> None:
        self._trial, self._label = trial, label

    def end_epoch(self, trainer: Trainer) -> None:
        """Reports the epoch that is over."""
        epoch, trial = trainer.position.epoch, self._trial
        row = trainer.history[-1] if trainer.history else {}
        value = math.nan if trainer.history.diverged else row.get(self._label, math.nan)
        with quietly(), warnings.catch_warnings():
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
