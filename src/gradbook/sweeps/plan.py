"""What a sweep is to train, checked before anything is done."""

import inspect
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gradbook import checks
from gradbook.constructors import constructor_of
from gradbook.data import as_data
from gradbook.errors import ConfigError, GradbookWarning, did_you_mean, warn
from gradbook.hparams import plain, qualified_name
from gradbook.seeds import SEED_LIMIT
from gradbook.settings import PLACES
from gradbook.sweeps.members import Member
from gradbook.sweeps.values import (
    MOST_MEMBERS,
    Range,
    Values,
    as_list,
    count_of,
    grid,
    is_swept,
    read_values,
    sampled,
    without,
)
from gradbook.trainer import Trainer

#: What can choose the settings that are tried next.
SEARCHES = ("optuna",)

#: What a search tries if nobody says how many.
_NUM_TRIALS = 20

#: What `sweep` itself takes under these names. A model's or a data set's own have a prefix.
_SWEEPS_ARGUMENTS = {"Model", "data", "runs", "name", "num_samples", "search", "num_trials"}
_SWEEPS_ARGUMENTS |= {"pruner", "storage", "on", "num_workers", "stack", "level", "resume", "seed"}
_SWEEPS_ARGUMENTS |= set(PLACES)


class Plan:
    """What a sweep is to train: checked, before anything is done.

    Args:
        Model, data, settings, num_samples, name, search, num_trials: As for `sweep`.
        model_name, data_name: What the command calls them; None takes their classes.
        command: The words of the command that names the same, to go on with it.

    Attributes:
        swept: The values of what is varied, by name.
        fixed: The other settings, by name.

    Raises:
        ConfigError: If it cannot be trained.
    """

    def __init__(
        self,
        Model: type,
        data: Any,
        settings: Mapping[str, Any],
        num_samples: int | None = None,
        *,
        name: str | None = None,
        model_name: str | None = None,
        data_name: str | None = None,
        command: Sequence[str] | None = None,
        search: str | None = None,
        num_trials: int | None = None,
    ) -> None:
        self.Model = Model
        self.name, self.model_name, self.data_name = name, model_name, data_name
        self.command = command
        #: The sweep's folder, once it is known.
        self.folder: Path | None = None
        _check_classes(Model, data)
        self.data = data if isinstance(data, type) else as_data(data, "sweep")
        self._owners = owners_of(Model, self.data)
        settings = self._told_apart(settings)
        epochs = next(key for key, one in self._owners.items() if one == ("trainer", "max_epochs"))
        settings = {epochs: 10, **settings, "seed": settings.get("seed", 0)}
        for key, value in settings.items():
            self._check_known(key, value)
        self.swept: dict[str, Values] = {
            key: read_values(key, self._typed(key, value))
            for key, value in settings.items()
            if is_swept(value)
        }
        self.fixed = {key: value for key, value in settings.items() if key not in self.swept}
        for key, value in self.fixed.items():
            self._check_value(key, value)
        for key, values in self.swept.items():
            for value in _each(values):
                self._check_value(key, value)
        self._check_trainer()
        if not self.swept:
            raise ConfigError(
                "There is nothing to sweep: no setting has several values. Give one a list, such "
                "as lr=[0.03, 0.1] (--lr 0.03,0.1), or several seeds (--seeds 3)."
            )
        self.num_samples = num_samples
        if num_samples is not None:
            checks.check_whole_number(num_samples, "num_samples", at_least=1)
        self.search = search
        self.num_trials = self._read_num_trials(num_trials)
        self._check_count()

    def _check_count(self) -> None:
        """Raises ConfigError if there are too many trainings to begin with."""
        counts = {key: count_of(values) for key, values in self.swept.items()}
        seeds = {key: count for key, count in counts.items() if key == "seed"}
        advice = "Ask for fewer."
        if self.num_trials is not None:
            counts = {"num_trials": self.num_trials} | seeds
        elif self.num_samples is not None:
            counts = {"num_samples": self.num_samples} | (seeds if counts != seeds else {})
        else:
            advice = (
                "Give fewer values, or draw some combinations at random with num_samples "
                "(--samples)."
            )
        count = math.prod(counts.values())
        if count > MOST_MEMBERS:
            factors = " x ".join(f"{many:,} ({name})" for name, many in counts.items())
            told = f"{factors} = {count:,}" if len(counts) > 1 else f"{count:,}"
            raise ConfigError(
                f"A sweep has at most {MOST_MEMBERS:,} trainings, but this one would have {told}. "
                f"{advice}"
            )

    def _read_num_trials(self, num_trials: int | None) -> int | None:
        if self.search is None:
            if num_trials is not None:
                raise ConfigError(
                    f'num_trials={num_trials}, but nothing is searched. Add search="optuna" '
                    f"(--search optuna), or take num_samples (--samples) for random combinations."
                )
            return None
        checks.check_choice(self.search, "search", SEARCHES)
        if self.num_samples is not None:
            raise ConfigError(
                f"num_samples={self.num_samples} draws settings at random, and "
                f"search={self.search!r} chooses them: give one of the two. A search tries "
                f"num_trials (--trials) settings."
            )
        if not set(self.swept) - {"seed"}:
            raise ConfigError(
                f"search={self.search!r}, but there is nothing to search: no setting has several "
                f"values. Give one a range, such as lr=log_range(0.001, 1) (--lr log:0.001:1), or "
                f"a list."
            )
        if num_trials is None:
            return _NUM_TRIALS
        return checks.check_whole_number(num_trials, "num_trials", at_least=1)

    def combinations(self) -> list[dict[str, Any]]:
        """What is tried: the values of all swept settings."""
        if self.num_samples is None:
            return grid(self.swept)
        others = without(self.swept, "seed")
        if not others:
            return sampled(self.swept, self.num_samples, 0)
        drawn = sampled(others, self.num_samples, 0)
        seeds = grid({key: values for key, values in self.swept.items() if key == "seed"})
        return [values | seed for values in drawn for seed in seeds]

    def facts(self) -> dict[str, Any]:
        """What it trains, as JSON values."""
        data = self.data if isinstance(self.data, type) else type(self.data)
        return {
            "model": qualified_name(self.Model),
            "data": qualified_name(data),
            "swept": {
                key: plain(vars(value) if isinstance(value, Range) else list(value))
                for key, value in self.swept.items()
            },
            "fixed": plain(self.fixed),
            "num_samples": self.num_samples,
            "command": None if self.command is None else list(self.command),
            "search": self.search,
        }

    def member(self, index: int, values: Mapping[str, Any], folder: Path) -> Member:
        """One training, with `values` for what is swept."""
        given = {**self.fixed, **values}
        seed = int(given.pop("seed"))
        arguments: dict[str, dict[str, Any]] = {"model": {}, "data": {}, "trainer": {}}
        for key, value in given.items():
            group, name = self._owners[key]
            arguments[group][name] = value
        if ("model", "seed") in self._owners.values():
            arguments["model"].setdefault("seed", seed)
        given, names = {**values, "seed": seed}, (self.model_name, self.data_name)
        made = (self.Model, self.data, arguments["model"], arguments["data"], arguments["trainer"])
        return Member(index, given, *made, seed, folder, *names)

    def values_in(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """What the facts of a run tell of the values of what is swept, the seed left out."""
        places = {key: self._owners[key] for key in self.swept if key != "seed"}
        known = {key: facts[group]["hyperparameters"] for key, (group, _) in places.items()}
        return {key: known[key][name] for key, (_, name) in places.items() if name in known[key]}

    def _told_apart(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings by the names of `owners_of`, and a word about one that several have."""
        found = {}
        for key, value in settings.items():
            shared = [full for full, (_, name) in self._owners.items() if name == key != full]
            if key in self._owners or key == "seed" or not shared:
                found[key] = value
                continue
            first, *others = shared
            found[first] = value
            if not set(others) <= set(settings):
                warn(
                    f"{key} was given to the {self._owners[first][0]} ({first}). Write "
                    f"{', '.join(f'{full} for the {self._owners[full][0]}' for full in others)}.",
                    GradbookWarning,
                )
        return found

    def _check_known(self, key: str, value: Any) -> None:
        if key == "seed" or key in self._owners:
            return
        if key in PLACES:
            raise ConfigError(
                f"{key} is a setting of the sweep as a whole and cannot differ between its runs."
            )
        name = self.Model.__name__
        if not isinstance(self.data, type) and key in _parameters(type(self.data)):
            kind = type(self.data).__name__
            raise ConfigError(
                f"{key} is a setting of the data, which have been made already. To sweep it, give "
                f"the class {kind} instead of a {kind} object."
            )
        known = [*self._owners, "seed"]
        meant = "lr" if key == "learning_rate" else key
        if constructor_of(self.Model).is_open:
            raise ConfigError(
                f"Whether {name} has a setting {key!r} cannot be known, because it takes **kwargs "
                f"and does not only pass them on to its base class. Name {key} in {name}.__init__."
            )
        raise ConfigError(
            f"{name} has no setting {key!r}, nor have Trainer and the data."
            f"{did_you_mean(meant, {*known, *_SWEEPS_ARGUMENTS})} There are {', '.join(known)}."
        )

    def _check_value(self, key: str, value: Any) -> None:
        """Raises ConfigError if a value cannot be what the setting's default is."""
        if key == "seed":
            checks.check_whole_number(value, "seed", at_least=0)
            if value >= SEED_LIMIT:
                raise ConfigError(f"Seeds must be less than {SEED_LIMIT}, but one is {value}.")
            return
        if self._owners[key][1] == "lr":
            checks.check_rate(value)
            return
        default = self._default(key)
        is_number = isinstance(default, int | float) and not isinstance(default, bool)
        if is_number and isinstance(value, str):
            raise ConfigError(
                f"{key} must be a number, as its default {default!r} is, but it is {value!r}."
            )

    def _check_trainer(self) -> None:
        """Raises ConfigError if a setting of the trainer cannot be one."""
        ours = {key: name for key, (group, name) in self._owners.items() if group == "trainer"}
        fixed = {ours[key]: value for key, value in self.fixed.items() if key in ours}
        swept = {ours[key]: values for key, values in self.swept.items() if key in ours}
        varied = [{name: item} for name, values in swept.items() for item in _each(values)]
        with warnings.catch_warnings(action="ignore"):
            for arguments in varied or [{}]:
                Trainer(**{"max_epochs": 1, **fixed, **arguments})

    def _default(self, key: str) -> Any:
        group, name = self._owners[key]
        owner = {"model": self.Model, "trainer": Trainer}.get(group, self.data)
        return _parameters(owner if isinstance(owner, type) else type(owner))[name].default

    def _typed(self, key: str, values: Any) -> Any:
        """Whole numbers as decimal ones where those are meant: 1 is a rate like any other."""
        if isinstance(values, Range):
            return values
        values = as_list(key, values)
        if key == "seed" or (
            self._owners[key][1] != "lr" and type(self._default(key)) is not float
        ):
            return values
        return [float(value) if type(value) is int else value for value in values]


def _check_classes(Model: Any, data: Any) -> None:
    checks.check_order(Model, data, "sweep")
    if not isinstance(Model, type):
        name = type(Model).__name__ if checks.is_model(Model) else "MLP"
        raise ConfigError(
            f"A sweep makes its models itself: give the class, such as {name}, instead of "
            f"{Model!r:.60}."
        )
    if issubclass(Model, torch.nn.Module) and not hasattr(Model, "training_step"):
        raise ConfigError(
            f"{Model.__name__} is a network without a loss and an optimizer. Give the class of a "
            f"model, derived from gradbook.Module or gradbook.Classifier, that makes it in its "
            f"__init__."
        )


def owners_of(Model: type, data: Any) -> dict[str, tuple[str, str]]:
    """Whose each setting is, and what it is called there, by its name in a sweep.

    What several have, or the sweep itself, has the group before its name: "model_max_epochs".
    """
    groups = {
        "model": list(_parameters(Model)),
        "trainer": [name for name in _parameters(Trainer) if name not in PLACES],
        "data": list(_parameters(data)) if isinstance(data, type) else [],
    }
    times = Counter(name for names in groups.values() for name in names)
    return {
        f"{group}_{name}" if times[name] > 1 or name in _SWEEPS_ARGUMENTS else name: (group, name)
        for group, names in groups.items()
        for name in names
    }


def _parameters(Class: type) -> dict[str, inspect.Parameter]:
    return constructor_of(Class).parameters


def _each(value: Any) -> list[Any]:
    """The values that stand for all that a swept setting may be."""
    return [value.low, value.high] if isinstance(value, Range) else list(value)
