"""One training at a time for each trainer, model and run; and none in a process that was forked."""

import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from gradbook.errors import ConfigError
from gradbook.record import Sink

#: The trainers that train, and the models and runs with which they do, by their id.
_busy: dict[int, Any] = {}
#: What stops each of the trainings from telling anybody anything.
_silences: list[Callable[[], None]] = []
_lock = threading.Lock()


@contextmanager
def alone(trainer: Any, model: Any, silence: Callable[[], None]) -> Iterator[None]:
    """While it lasts, no other training takes this trainer or this model.

    A process that is forked meanwhile, and would leave this with an error, ends instead: all that
    would be closed, written or gone on with belongs to its parent.

    Args:
        trainer: The trainer.
        model: The model that it is to train.
        silence: Called in a process that was forked, where nothing more is to be told to anybody.

    Raises:
        ConfigError: If another training has one of them, or the run that the trainer keeps.
    """
    process = os.getpid()
    with _lock:
        if id(trainer) in _busy:
            raise ConfigError("This trainer is training already. Make another for a second fit().")
        if id(model) in _busy:
            raise ConfigError(
                f"This {type(model).__name__} is being trained already, and two trainings of one "
                f"model at once would spoil it. Make another, such as copy.deepcopy(model)."
            )
        own = [trainer, model]
        if isinstance(trainer.run, Sink):
            if id(trainer.run) in _busy:
                raise ConfigError("This Run keeps a training already. Make another for this one.")
            own.append(trainer.run)
        _busy.update((id(each), each) for each in own)
        _silences.append(silence)
    try:
        yield
    except BaseException as error:
        if os.getpid() != process:
            _end_fork(error)
        raise
    finally:
        for each in own:
            _busy.pop(id(each), None)
        with suppress(ValueError):  # in a process that was forked
            _silences.remove(silence)


def _leave_to_parent() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held it
    for silence in _silences:
        silence()
    _silences.clear()
    _busy.clear()


def _end_fork(error: BaseException) -> NoReturn:
    """Ends a process that was forked within a training, where an error would leave the training."""
    code = error.code if isinstance(error, SystemExit) else 1
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
    elif not isinstance(code, int | None):
        print(code, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # there may be none, or a closed one
            stream.flush()
    os._exit((code or 0) & 0xFF if isinstance(code, int | None) else 1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
