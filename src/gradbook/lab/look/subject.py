"""A run that is looked at: rebuilt once, and kept for the next question."""

import shlex
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradbook.cli import classes
from gradbook.cli.restored import as_written, run_command
from gradbook.errors import ConfigError
from gradbook.registry import known_name
from gradbook.runs.format import RUN_FILE
from gradbook.runs.restored import (
    GIVEN,
    GIVEN_TEXT,
    Recipe,
    Restored,
    arguments_of,
    checkpoint_of,
    rebuild,
)
from gradbook.runs.stored import StoredRun
from gradbook.untrusted import is_a_place

if TYPE_CHECKING:
    from gradbook.inspection import ClassifierReport, RegressionReport

_KINDS = {"model": classes.MODEL, "data": classes.DATA_SET}


class Subject:
    """A run that is looked at.

    Args:
        wanted: The folder, what changes with its files, and the checkpoint: what tells it from
            another.
        folder: The run's folder.
        given: The learner's own classes, as the command line named them. No other is loaded.

    Attributes:
        wanted, folder: The same.
        checkpoint: Which checkpoint the parameters come from; None takes the best, or the last.
        warnings: What was warned of so far.
    """

    def __init__(self, wanted: tuple[Any, ...], folder: Path, given: Sequence[str]) -> None:
        self.wanted, self.folder = wanted, folder
        self.checkpoint: str | None = wanted[2]
        self.warnings: list[str] = []
        self._given = given
        self._reports: dict[bool, ClassifierReport | RegressionReport] = {}

    @cached_property
    def run(self) -> StoredRun:
        """The run as its folder holds it."""
        return StoredRun(self.folder)

    @cached_property
    def restored(self) -> Restored:
        """The run with its model and data.

        Raises:
            ConfigError: If there is no checkpoint yet, or it needs a class or a place that the
                lab was not given.
            CorruptFileError: If a file of the run is damaged.
            CheckpointError: If the parameters do not fit the model.
        """
        return self._rebuilt(with_data=True)

    @cached_property
    def model_alone(self) -> Restored:
        """The same without data, for a run whose data are not to be had."""
        return self._rebuilt(with_data=False)

    @property
    def epoch(self) -> int | None:
        """The epoch of the checkpoint that is looked at."""
        which = checkpoint_of(self.run, self.checkpoint).stem
        return self.run.checkpoint_epoch(which)

    def report(self, train: bool) -> "ClassifierReport | RegressionReport":
        """What `gradbook.inspection.inspect` says of the validation set, or the training set."""
        from gradbook.inspection import inspect

        if train not in self._reports:
            restored = self.restored
            self._reports[train] = inspect(restored.model, restored.data, train)
        return self._reports[train]

    def check(self, with_data: bool = True) -> None:
        """Says what is missing before any code is loaded, PyTorch included: it takes seconds.

        Raises:
            ConfigError: If there is no checkpoint, or a class that the lab cannot have.
        """
        run = self.run
        try:
            checkpoint_of(run, self.checkpoint)
        except ConfigError:
            if run.status == "running":
                raise ConfigError(
                    f"{run.name} has no checkpoint yet: it is written when an epoch ends. Look "
                    f"again then."
                ) from None
            raise
        for kind in ("model", "data") if with_data else ("model",):
            if not known_name(run.facts[kind]["class"], _KINDS[kind].known):
                self._check_own_class(kind)

    def _check_own_class(self, kind: str) -> None:
        """An error where a class that is not ours cannot be among those that the lab was given."""
        if self.run.facts[kind]["class"] == GIVEN:
            raise ConfigError(
                f"{self.run.name} {GIVEN_TEXT}. Write a class that makes these data "
                f"(docs/own-data.md), and look at them in a terminal: "
                f"{run_command('inspect', self.run)}"
            )
        if not self._given:
            raise ConfigError(self._must_be_given())

    def _rebuilt(self, with_data: bool) -> Restored:
        self.check(with_data)
        run = self.run
        model = self._class("model")
        data = self._class("data") if with_data else None
        arguments = arguments_of(run, model, data, self._trusted)
        recipe = Recipe(model, data, arguments, run.facts["seed"])
        return rebuild(run, recipe, self.checkpoint, with_data)

    def _class(self, kind: str) -> type:
        """The class of the run's model or data: ours, or one that the command line named."""
        written: str = self.run.facts[kind]["class"]
        name = known_name(written, _KINDS[kind].known)
        if name:
            return _KINDS[kind].known[name].load()
        self._check_own_class(kind)
        found = [Class for text in self._given if (Class := _found(text, _KINDS[kind])) is not None]
        whole = [C for C in found if f"{C.__module__}.{C.__qualname__}" == written]
        alike = [C for C in found if C.__name__ == written.rpartition(".")[2]]
        if not whole + alike:
            raise ConfigError(self._must_be_given())
        return (whole + alike)[0]

    def _must_be_given(self) -> str:
        facts = self.run.facts
        own = {
            kind: facts[kind]
            for kind, each in _KINDS.items()
            if facts[kind]["class"] != GIVEN and not known_name(facts[kind]["class"], each.known)
        }
        told = " and ".join(f"its {kind} is {each['class']}" for kind, each in own.items())
        names = [as_written(each["name"]) for each in own.values()]
        command = shlex.join(["gradbook", "lab", *names])
        return (
            f"{self.run.name} needs you to name code: {told}, a class of your own. The lab runs no "
            f"code because a folder names it. If you trust that file, stop the lab and start it "
            f"with: {command}"
        )

    def _trusted(self, group: str, name: str, value: Any, default: Any) -> Any:
        if not is_a_place(name, value) or value == default:
            return value
        raise ConfigError(
            f"{self.folder / RUN_FILE} names a place: {name} is {value!r}. The lab reads and "
            f"writes nowhere because a folder names it. If you trust it, look in a terminal: "
            f"{run_command('inspect', self.run)}"
        )


def _found(text: str, kind: classes.Kind) -> type | None:
    """The class of a kind that a text names; None if it names something else."""
    try:
        return classes.find(text, kind).Class
    except ConfigError:
        return None
