"""One training that may be one of a stack: it is begun and ended by itself, whoever trains it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gradbook.interrupts import Interrupts
from gradbook.seeds import random_state, restore_random_state
from gradbook.sweeps.effects import Reached
from gradbook.trainer import Trainer
from gradbook.training import Training


@dataclass(eq=False)
class Candidate:
    """One training of a sweep.

    Attributes:
        trainer, model, data: As for `Trainer.fit`, not yet begun.
        resume: Where it goes on from, as for `Trainer.fit`.
        alone: Why it was trained alone, if it was.
        error: What ended it, if something did.
        random_state: What the global random generators go on from in its next epoch.
        reads: The attributes that its steps read: the layer's place, the name, the value.
        reached: All that its steps depend on, as it was before the first one.
        live: Its live training, while that is begun and not ended.
    """

    trainer: Trainer
    model: Any
    data: Any
    resume: Any = None
    alone: str | None = None
    error: BaseException | None = None
    random_state: dict[str, Any] = field(default_factory=dict)
    reads: list[tuple[int, str, Any]] = field(default_factory=list)
    reached: Reached | None = None
    live: Training | None = None

    @property
    def loaders(self) -> list[Any]:
        """The loaders of both sets, without what tells the training's place."""
        both = (self.trainer.train_dataloader, self.trainer.val_dataloader)
        return [loader.loader for loader in both if loader is not None]

    def begin(self, interrupts: Interrupts) -> bool:
        """Prepares it, with the random state at hand; whether that went well."""
        live = Training(self.trainer, self.model, self.data, self.resume, interrupts)
        try:
            live.__enter__()
        except (Exception, SystemExit) as error:
            self.error = error
            return False
        self.live = live
        self.random_state = random_state()
        return True

    def end(self, error: BaseException | None) -> None:
        """Ends it, with an error or without; nothing happens if it has ended already."""
        live, self.live = self.live, None
        if live is None:
            return
        self.error = error
        if error is not None and self.alone is None:
            # What is kept of it now is to go on from its own state, and not from another's.
            restore_random_state(self.random_state)
        trace = None if error is None else error.__traceback__
        try:
            live.__exit__(None if error is None else type(error), error, trace)
        except BaseException as raised:
            self.error = raised
            if not isinstance(raised, Exception | SystemExit) and raised is not error:
                raise

    @contextmanager
    def ending_with(self) -> Iterator[None]:
        """Ends the training with this block, however it ends; only Ctrl-C is passed on."""
        try:
            yield
        except BaseException as error:
            self.end(error)
            if not isinstance(error, Exception | SystemExit):
                raise
        else:
            self.end(None)

    def train_alone(self, reason: str) -> None:
        """Trains what is left of it without the others."""
        self.alone = reason
        with self.ending_with():
            restore_random_state(self.random_state)
            assert self.live is not None
            self.live.run()
