"""A call that travels to a worker, is performed there, and comes back as an outcome.

It is pickled here, by cloudpickle, and unpickled in the worker, so that every engine carries
classes of a notebook, of a script or of a learner's file in the same way.
"""

import os
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

import cloudpickle

from gradbook.errors import GradbookError, told
from gradbook.libraries import is_library

#: What tells the libraries under NumPy and PyTorch how many threads to use, when they are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@dataclass(frozen=True)
class Done:
    """A call that returned.

    Attributes:
        index: Which item it was, from 0.
        value: What the function returned.
        warnings: What the call warned of, each warning once.
    """

    index: int
    value: Any
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failed:
    """A call that raised an exception, or whose worker was killed each time.

    Attributes:
        index: Which item it was, from 0.
        error: What happened, in words: the exception and the last line of the caller's own code.
        attempts: How often the call was begun.
        was_killed: Whether the worker died, instead of the function raising an exception.
        warnings: What the call warned of before that, each warning once.
    """

    index: int
    error: str
    attempts: int = 1
    was_killed: bool = False
    warnings: tuple[str, ...] = ()


Outcome = Done | Failed


@dataclass(frozen=True)
class Call:
    """A call as it travels, and what it is to find in its worker.

    Attributes:
        index: Which item it is for, from 0.
        function: What to call, pickled.
        item: What to call it with, pickled.
        num_threads: For PyTorch and NumPy.
        search_path: Where modules are imported from, after the worker's own places.
        folder: The folder to work in, where there is one of that name.
    """

    index: int
    function: bytes
    item: bytes
    num_threads: int
    search_path: list[str]
    folder: str


def perform(call: Call) -> bytes:
    """Performs a call in a worker. Returns a pickled outcome, whatever happens."""
    try:
        with limited_threads(call.num_threads):
            sys.path += [folder for folder in call.search_path if folder not in sys.path]
            if os.path.isdir(call.folder):
                os.chdir(call.folder)
            function, item = pickle.loads(call.function), pickle.loads(call.item)
            return bytes(cloudpickle.dumps(attempt(call.index, function, item)))
    except (Exception, KeyboardInterrupt) as error:  # in unpickling, or in pickling a result
        return pickle.dumps(Failed(call.index, describe(error)))


def attempt(index: int, function: Callable[[Any], Any], item: Any) -> Outcome:
    """Calls a function. An exception is an outcome, except for KeyboardInterrupt."""
    value = error = None
    with warnings.catch_warnings(record=True) as caught:
        try:
            value = function(item)
        except (Exception, SystemExit) as raised:
            error = describe(raised)
    told = (f"{warning.category.__name__}: {warning.message}" for warning in caught)
    warned = tuple(dict.fromkeys(told))
    return Done(index, value, warned) if error is None else Failed(index, error, warnings=warned)


@contextmanager
def limited_threads(number: int) -> Iterator[None]:
    """Limits the threads of PyTorch, and of what is loaded or started meanwhile."""
    torch = sys.modules.get("torch")  # which reads the variables when it is loaded, and only then
    before = torch.get_num_threads() if torch is not None else 0
    variables = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(number)))
    if torch is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def describe(error: BaseException) -> str:
    """An exception, and the last line of the caller's own code on the way to it."""
    text = told(error).removesuffix(": ")
    frames = list(traceback.extract_tb(error.__traceback__))
    own = [frame for frame in frames if not is_library(frame.filename)]
    if not own and isinstance(error, GradbookError):  # which says all there is to say
        return text
    place = "".join(f" ({frame.filename}, line {frame.lineno})" for frame in (own or frames)[-1:])
    return text + place


def pickled(value: Any, is_elsewhere: bool) -> bytes:
    """`value` as bytes. What a worker could not import goes along as a copy of its code.

    A worker that is elsewhere may be on another machine, without the user's own modules.
    """
    registered = cloudpickle.list_registry_pickle_by_value()
    modules = [
        module
        for module in _own_modules()
        if module.__name__ not in registered and (is_elsewhere or not _is_importable(module))
    ]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(value))
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def search_path() -> list[str]:
    """Where modules are imported from in this process."""
    return [folder or os.getcwd() for folder in sys.path]  # "" is the folder one works in


def _own_modules() -> Iterator[ModuleType]:
    """The user's own modules; those of libraries are installed where a worker runs."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        ours = name.partition(".")[0] in ("gradbook", "d2l", "gradbook_standin", "__main__")
        if not isinstance(module, ModuleType) or not file or ours or is_library(file):
            continue
        if module.__name__ == name:  # not one that goes by a second name as well
            yield module


def _is_importable(module: ModuleType) -> bool:
    """Whether another process finds the module by its name."""
    top = module.__name__.partition(".")[0]
    spec = PathFinder.find_spec(top, search_path())
    return spec is not None and (top != module.__name__ or spec.origin == module.__file__)
