"""Other people's tools that a training can be recorded with: each is a `record.Sink`.

No tool is imported before its sink is made. In every tool the same names mean the same:

- `train_loss`, `val_acc`, ...: points of the board, at the number of training batches so far;
- `epoch/train_loss`, `epoch/val_acc`, ...: exact means, at the number of finished epochs;
- `model/lr`, `data/batch_size`, `trainer/max_epochs`, ...: settings.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from gradbook.errors import GradbookWarning, MissingExtraError, told, warn
from gradbook.lazy import listing
from gradbook.record import Metric, Sink
from gradbook.storage import kebab_case

__all__ = ["Tracker"]

__dir__ = listing(__all__)

if TYPE_CHECKING:
    from gradbook.board import ProgressBoard
    from gradbook.trainer import Trainer

Setting = bool | int | float | str


class Tracker(Sink, ABC):
    """A sink that hands what it is told to another tool.

    A subclass says how that tool begins a run, records a value and ends the run. When one of these
    fails there is one warning; the training goes on, and nothing more is recorded.

    Raises:
        MissingExtraError: If the tool is not installed.
    """

    #: What is imported, the package that has it, and the extra of gradbook that brings it.
    module: ClassVar[str]
    package: ClassVar[str]
    extra: ClassVar[str]
    #: Environment variables for the tool, set only while its code runs.
    variables: ClassVar[Mapping[str, str]] = {}

    _trainer: "Trainer | None" = None
    _step = 0
    _failed = False

    def __init__(self) -> None:
        with _environment(self.variables):
            try:
                import_module(self.module)
            except ModuleNotFoundError:
                purpose = f"Recording with {type(self).__name__}"
                raise MissingExtraError.of(self.package, purpose, self.extra) from None

    def open(self, board: "ProgressBoard", trainer: "Trainer | None" = None) -> None:
        """Begins a run named after the model, and records the settings."""
        self._trainer, self._failed = trainer, False
        if trainer is None:
            self._try(self._begin, "board", {})
        else:
            name = kebab_case(type(trainer.model).__name__)
            self._try(lambda: self._begin(name, settings_of(trainer)))

    def write(self, metric: Metric) -> None:
        """Records a value."""
        if self._failed:
            return
        x = round(metric.x)
        self._step = self._trainer.train_batch_idx if self._trainer is not None else x
        if metric.kind == "epoch":
            self._try(self._record, f"epoch/{metric.label}", metric.y, x)
        else:
            self._try(self._record, metric.label, metric.y, self._step)

    def close(self, status: str) -> None:
        """Ends the run. What a failed one still holds is let go of too."""
        self._try(self._end, status)
        self._trainer = None

    @abstractmethod
    def _begin(self, name: str, settings: Mapping[str, Setting]) -> None:
        """Begins a run."""

    @abstractmethod
    def _record(self, name: str, value: float, step: int) -> None:
        """Records one value, which may be NaN or infinite."""

    @abstractmethod
    def _end(self, status: str) -> None:
        """Ends the run, even one that failed to begin, and leaves no thread or process."""

    def _try(self, action: Callable[..., None], *arguments: Any) -> None:
        try:
            with _environment(self.variables):
                action(*arguments)
        except Exception as error:
            # Hours of training are worth more than their record.
            failed, self._failed = self._failed, True
            if not failed:
                warn(
                    f"{type(self).__name__} records nothing more of this training "
                    f"({told(error)}). The training continues; the means of its "
                    f"epochs are in `trainer.history`.",
                    GradbookWarning,
                )


def settings_of(trainer: "Trainer") -> dict[str, Setting]:
    """The settings of a training that a tool can keep, each as a number, a truth value or a text.

    Lists of these become texts. Other settings, and those that are None, are left out.
    """
    # A learner's own classes may keep no hyperparameters, and a loader may have no batch size.
    model, data = trainer.model, trainer.data
    batch_size = getattr(trainer.train_dataloader, "batch_size", None)
    of_data = {"class": type(data).__name__, "batch_size": batch_size}
    groups: dict[str, dict[str, Any]] = {
        "model": {"class": type(model).__name__, **getattr(model, "hparams", {})},
        "data": of_data | getattr(data, "hparams", {}),
        "trainer": getattr(trainer, "hparams", {}),
    }
    return {
        f"{group}/{name}": value if isinstance(value, Setting) else str(value)
        for group, hparams in groups.items()
        for name, value in hparams.items()
        if _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, Setting)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for a while. What is changed beside them stays changed."""
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
        os.environ.update(before)
