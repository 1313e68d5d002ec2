"""Many independent calls at once: in processes of this machine, or on a cluster that is there.

`run_all` sends calls to workers and gives each outcome as it comes. A call travels as bytes that
are pickled here, by cloudpickle, and unpickled in the worker, so that every engine carries classes
of a notebook, of a script or of a learner's file in the same way.
"""

import asyncio
import concurrent.futures
import ctypes
import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import traceback
import uuid
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import cloudpickle
from joblib import cpu_count
from joblib.externals.loky import ProcessPoolExecutor, process_executor

from gradbook.errors import ConfigError, GradbookError, MissingExtraError
from gradbook.interrupts import undisturbed

#: Where calls can be run. An address may follow the last two, as in "dask:tcp://10.0.0.1:8786".
ENGINES = ("here", "processes", "ray", "dask")

#: How long a worker that is asked to stop may take to finish its step and write its checkpoint.
GRACE_SECONDS = 10.0

#: How long a cluster may take to answer, and one of ours to start.
_ANSWER_SECONDS, _START_SECONDS = 8.0, 60.0

#: What tells the libraries under NumPy and PyTorch how many threads to use, when they are loaded.
_THREAD_VARIABLES = (
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
    attempts: int
    was_killed: bool
    warnings: tuple[str, ...] = ()


Outcome = Done | Failed


def run_all(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    on: Any = "processes",
    num_workers: int | None = None,
    retries: int = 1,
    threads_per_worker: int | None = None,
) -> Iterator[Outcome]:
    """Calls `function` with each item, several at once, and yields each outcome as it comes.

    An exception is an outcome, and is not retried: it would come again. A call whose worker is
    killed, as for lack of memory, is begun anew. Neither disturbs the other calls.

    Ctrl-C, and leaving the iterator before its end, ask the running calls to stop as Ctrl-C does,
    and end their workers when they have, or after `GRACE_SECONDS`. To be sure of that when the
    loop over the outcomes raises an exception, put the iterator into `contextlib.closing`.

    Args:
        function: What to call. With its items and results it must be such that cloudpickle can
            pickle it. Files that it writes should have absolute paths, on a cluster in a folder
            that all its machines share.
        items: What to call it with.
        on: "here" is this process, one call after the other. "processes" are worker processes of
            this machine. "ray" and "dask" are clusters: a local one is started and ended, except
            that "ray" alone follows the environment variable RAY_ADDRESS or a `ray.init` that
            was called before. "ray:HOST:PORT", "dask:tcp://HOST:PORT" and a `distributed.Client`
            are clusters that exist.
        num_workers: How many calls run at once; None takes the number of processors, or what an
            existing cluster has, but no more than there are items.
        retries: How often a call is begun anew after its worker was killed.
        threads_per_worker: How many threads PyTorch and NumPy use in a call; None shares the
            processors among the workers, takes 1 on an existing cluster, and changes nothing for
            "here".

    Returns:
        An iterator over the outcomes, which are in no certain order.

    Raises:
        ConfigError: If there is no such engine, no cluster answers at the address, or the
            function cannot be pickled. All this is found out before anything runs.
        MissingExtraError: If the package of the engine is not installed.
    """
    # Not at the top, for it loads PyTorch: a worker process loads what its calls need.
    from gradbook.checks import check_whole_number

    items = list(items)
    check_whole_number(retries, "retries", at_least=0)
    if num_workers is not None:
        check_whole_number(num_workers, "num_workers", at_least=1)
    if threads_per_worker is not None:
        check_whole_number(threads_per_worker, "threads_per_worker", at_least=1)
    check_engine(on)
    name, address = _parsed(on)
    if name == "here":
        return _run_here(function, items, threads_per_worker)
    engine = _engine(name, address, num_workers, threads_per_worker, len(items))
    outcomes = _run(engine, function, items, retries)
    # Up to the first yield, which connects: whatever is wrong is said now. And an iterator that
    # has begun is closed properly even if nobody ever asks it for an outcome.
    next(outcomes)
    return outcomes  # type: ignore[return-value]


def check_engine(on: Any) -> None:
    """Raises ConfigError or MissingExtraError if `run_all` could not run anything on `on`."""
    name, address = _parsed(on)
    if name == "ray":
        _imported("ray", "Running on Ray", "ray")
    elif name == "dask":
        _imported("distributed", "Running on Dask", "dask")
    if isinstance(address, str) and address not in ("auto", "local"):  # Ray's own words
        _check_answers(name, address)


def _parsed(on: Any) -> tuple[str, Any]:
    """The engine's name, and the address after it; None if there is none."""
    if not isinstance(on, str):
        if type(on).__module__.partition(".")[0] == "distributed":
            return "dask", on
        raise ConfigError(
            f"on must be one of {', '.join(ENGINES)}, or a Client of Dask's, but it is {on!r}."
        )
    from gradbook.checks import check_choice

    name, colon, address = on.partition(":")
    check_choice(name, "on", ENGINES)
    if colon and name not in ("ray", "dask"):
        raise ConfigError(f"{name!r} has no address, but on is {on!r}. Write on={name!r}.")
    if name == "ray" and not colon:
        return name, os.environ.get("RAY_ADDRESS")
    return name, address if colon else None


def _imported(package: str, purpose: str, extra: str) -> Any:
    # Ray asks for permission to report its use at the first start, and counts silence as consent.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return import_module(package)
    except ModuleNotFoundError:
        raise MissingExtraError.of(package, purpose, extra) from None


def _check_answers(name: str, address: str) -> None:
    """Raises ConfigError unless a cluster of this kind answers at an address."""
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is no number
        host = port = None
    if host is None or port is None:
        raise ConfigError(
            f"on='{name}:{address}' has no address of the form HOST:PORT, such as "
            f"127.0.0.1:8786, after the engine."
        )
    try:
        socket.create_connection((host, port), timeout=_ANSWER_SECONDS).close()
        if name == "ray":
            _ask_ray(address)
        else:
            _ask_dask(address)
    except (OSError, ValueError) as error:
        raise _unanswered(name, address, str(error)) from None


def _ask_ray(address: str) -> None:
    """Raises OSError unless Ray answers. A process asks, for Ray would wait for two minutes."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        raise OSError(f"no answer within {_ANSWER_SECONDS:g} s") from None
    if asked.returncode != 0:  # a process of Ray's that misses a token aborts with a long trace
        lines = re.findall(r"Check failed: (.*)|(.*Error.*)", asked.stderr) or [("no Ray", "")]
        raise OSError("".join(lines[-1]))


def _ask_dask(address: str) -> None:
    """Raises OSError unless Dask answers. Its Client would wait for what says nothing."""
    security = import_module("distributed").Security().get_connection_args("client")
    connect = import_module("distributed.comm").connect

    async def ask() -> None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                comm = await connect(address, **security)
        except TimeoutError:
            raise OSError(f"no answer within {_ANSWER_SECONDS:g} s") from None
        comm.abort()

    # In a thread, for a notebook has a loop that runs in this one.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, ask()).result()


def _unanswered(name: str, address: str, reason: str) -> ConfigError:
    return ConfigError(
        f"No cluster answers at the address in on='{name}:{address}': {reason}. Compare it with "
        f"what the cluster said when it was started."
    )


def _engine(
    name: str, address: Any, num_workers: int | None, num_threads: int | None, num_items: int
) -> "_Engine":
    exists = address is not None or (name == "ray" and import_module("ray").is_initialized())
    if not exists:
        num_workers = min(num_workers or cpu_count(), max(1, num_items))
    if num_threads is None:
        num_threads = 1 if exists or num_workers is None else max(1, cpu_count() // num_workers)
    kinds: dict[str, type[_Engine]] = {"processes": _Processes, "ray": _Ray, "dask": _Dask}
    return kinds[name](address, num_workers, num_threads, is_elsewhere=exists)


# The calls, one after the other or side by side


def _run_here(
    function: Callable[[Any], Any], items: Sequence[Any], num_threads: int | None
) -> Iterator[Outcome]:
    for index, item in enumerate(items):
        with _threads(num_threads):
            reply = _attempt(function, item)
        yield _outcome(index, reply, attempts=1)


def _run(
    engine: "_Engine", function: Callable[[Any], Any], items: Sequence[Any], retries: int
) -> Iterator[Outcome | None]:
    try:
        pickled = _pickled(function, engine.is_elsewhere)
    except Exception as error:  # what may go wrong in pickling is not limited
        raise ConfigError(
            f"The function cannot be sent to a worker: {_describe(error)}. What it uses must be "
            f"picklable: make files, locks and connections inside it."
        ) from None
    waiting, attempts = deque(range(len(items))), [0] * len(items)
    ready: deque[Outcome] = deque()
    with engine:
        yield None
        while True:
            while waiting and engine.has_room():
                index = waiting.popleft()
                try:
                    call = pickle.dumps((pickled, _pickled(items[index], engine.is_elsewhere)))
                except Exception as error:
                    reason = f"cannot be sent to a worker: {_describe(error)}"
                    ready.append(Failed(index, reason, attempts=0, was_killed=False))
                else:
                    engine.submit(index, call)
            while ready:  # only now, so that workers are busy while the caller is
                yield ready.popleft()
            if not waiting and not engine.running:
                return
            for index, reply in engine.arrived(timeout=1.0 if waiting else None):
                if not isinstance(reply, _Lost):
                    ready.append(_outcome(index, pickle.loads(reply), attempts[index] + 1))
                    continue
                attempts[index] += reply.attempts
                if attempts[index] > retries:
                    ready.append(Failed(index, reply.reason, attempts[index], was_killed=True))
                else:
                    waiting.append(index)  # behind those that have not been tried


#: Whether a call returned, what it returned or what was wrong, and its warnings.
_Reply = tuple[bool, Any, tuple[str, ...]]


@dataclass(frozen=True)
class _Lost:
    """A call whose worker died."""

    reason: str
    attempts: int = 1


def _outcome(index: int, reply: _Reply, attempts: int) -> Outcome:
    returned, value, warned = reply
    if returned:
        return Done(index, value, warned)
    return Failed(index, value, attempts, was_killed=False, warnings=warned)


def _attempt(function: Callable[[Any], Any], item: Any) -> _Reply:
    with warnings.catch_warnings(record=True) as caught:
        try:
            returned, value = True, function(item)
        except (Exception, SystemExit) as error:  # KeyboardInterrupt is the user's
            returned, value = False, _describe(error)
    warned = (f"{warning.category.__name__}: {warning.message}" for warning in caught)
    return returned, value, tuple(dict.fromkeys(warned))


def _describe(error: BaseException) -> str:
    """An exception, and the last line of the caller's own code on the way to it."""
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    frames = list(traceback.extract_tb(error.__traceback__))
    own = [frame for frame in frames if not _is_library(frame.filename)]
    if not own and isinstance(error, GradbookError):  # which says all there is to say
        return text
    place = "".join(f" ({frame.filename}, line {frame.lineno})" for frame in (own or frames)[-1:])
    return text + place


def _is_library(file: str) -> bool:
    path = Path(file)
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    libraries = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    libraries += [str(Path(__file__).parents[1]), "<frozen"]
    return any(file.startswith(library) for library in libraries)


# What travels


def _pickled(value: Any, is_elsewhere: bool) -> bytes:
    """`value` as bytes. What a worker could not import goes along as a copy of its code."""
    registered = cloudpickle.list_registry_pickle_by_value()
    modules = [
        module
        for module in _own_modules()
        if module.__name__ not in registered and (is_elsewhere or not _is_importable(module))
    ]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        pickled: bytes = cloudpickle.dumps(value)
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
    return pickled


def _own_modules() -> Iterator[ModuleType]:
    """The user's own modules; those of libraries are installed where a worker runs."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        ours = name.partition(".")[0] in ("gradbook", "d2l", "gradbook_standin", "__main__")
        if not isinstance(module, ModuleType) or not file or ours or _is_library(file):
            continue
        if module.__name__ == name:  # not one that goes by a second name as well
            yield module


def _is_importable(module: ModuleType) -> bool:
    """Whether another process finds the module by its name."""
    top = module.__name__.partition(".")[0]
    spec = PathFinder.find_spec(top, _search_path())
    return spec is not None and (top != module.__name__ or spec.origin == module.__file__)


def _search_path() -> list[str]:
    return [folder or os.getcwd() for folder in sys.path]  # "" is the folder one works in


@dataclass(frozen=True)
class _Surroundings:
    """What a call finds in its worker as it is here.

    Attributes:
        search_path: Where modules are imported from, after the worker's own places.
        num_threads: For PyTorch and NumPy.
        folder: The folder to work in; None leaves it.
        sender: Who sent the call, so that it can be interrupted.
    """

    search_path: list[str]
    num_threads: int
    folder: str | None
    sender: str


#: A cluster's worker may run several calls in threads. They would share the random generators.
_one_at_a_time = threading.Lock()

#: The threads of a worker that run a call, with its sender; and the senders that want to stop.
_threads_of_calls: dict[int, str] = {}
_stopped: set[str] = set()
_interrupting = threading.RLock()


def _perform(call: bytes, around: _Surroundings) -> bytes:
    """A call, in a worker. Gives a pickled `_Reply`, whatever happens."""
    thread = threading.get_ident()
    try:
        with _one_at_a_time, _threads(around.num_threads), _interruptible(thread, around.sender):
            sys.path += [folder for folder in around.search_path if folder not in sys.path]
            if around.folder is not None and os.path.isdir(around.folder):
                os.chdir(around.folder)
            function, item = (pickle.loads(part) for part in pickle.loads(call))
            reply: bytes = cloudpickle.dumps(_attempt(function, item))
            return reply
    except KeyboardInterrupt:
        return pickle.dumps((False, "KeyboardInterrupt", ()))
    except Exception as error:  # in unpickling the call, or in pickling what it returned
        return pickle.dumps((False, _describe(error), ()))


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Limits the threads of PyTorch, and of what is loaded or started meanwhile."""
    if number is None:
        yield
        return
    torch = sys.modules.get("torch")  # which reads the variables when it is loaded, and only then
    before = torch.get_num_threads() if torch is not None else 0
    variables = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(number)))
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


@contextmanager
def _interruptible(thread: int, sender: str) -> Iterator[None]:
    with _interrupting:
        if sender in _stopped:
            raise KeyboardInterrupt
        _threads_of_calls[thread] = sender
    try:
        yield
    finally:
        with _interrupting:
            del _threads_of_calls[thread]


def _interrupt(sender: str) -> None:
    """Raises KeyboardInterrupt in a worker's calls of one sender, and in those still to come."""
    with _interrupting:
        _stopped.add(sender)
        for thread, other in _threads_of_calls.items():
            if other == sender:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt)
                )


# The engines


class _Engine(ABC):
    """Something that carries calls to workers. While entered, its workers are there.

    Args:
        address: Where a cluster is; None starts one.
        num_workers: How many calls run at once; None asks the cluster.
        num_threads: How many threads each may use.
        is_elsewhere: Whether the workers are not ours, so that they may be on other machines.

    Attributes:
        running: The handle of each running call, with the index of its item.
    """

    def __init__(
        self, address: Any, num_workers: int | None, num_threads: int, *, is_elsewhere: bool
    ) -> None:
        self.address, self.is_elsewhere = address, is_elsewhere
        self.num_workers, self.num_threads = num_workers, num_threads
        self.running: dict[Any, int] = {}
        self.sender = uuid.uuid4().hex

    def __enter__(self) -> "_Engine":
        try:
            self.open()
        except BaseException:
            with undisturbed():
                self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.running:
                self.interrupt()
            end = time.monotonic() + GRACE_SECONDS
            while self.running and (left := end - time.monotonic()) > 0:
                self.arrived(timeout=left)
        finally:  # also after a second Ctrl-C
            with undisturbed():
                self.close()

    def around(self, folder: str | None) -> _Surroundings:
        """What a call is to find in its worker."""
        return _Surroundings(_search_path(), self.num_threads, folder, self.sender)

    def has_room(self) -> bool:
        """Whether another call could run now."""
        return len(self.running) < (self.num_workers or 1)

    @abstractmethod
    def open(self) -> None:
        """Connects, or starts what is needed."""

    @abstractmethod
    def submit(self, index: int, call: bytes) -> None:
        """Begins a call."""

    @abstractmethod
    def arrived(self, timeout: float | None) -> list[tuple[int, bytes | _Lost]]:
        """Waits until a call has ended, for at most `timeout` seconds, and gives those that have.

        They are no longer running.
        """

    @abstractmethod
    def interrupt(self) -> None:
        """Asks the running calls to stop as Ctrl-C does."""

    @abstractmethod
    def close(self) -> None:
        """Ends what was started, and what still runs."""


class _Processes(_Engine):
    """Worker processes of this machine, by loky, the library under joblib.

    When a process of an executor dies, loky gives up the whole executor. So each worker is an
    executor of one process: whose call was lost is then certain, and no other one is disturbed.
    """

    def open(self) -> None:
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._worker_of: dict[Any, _Worker] = {}

    def submit(self, index: int, call: bytes) -> None:
        with undisturbed(later=True):  # a worker must not be started by halves
            if not self._idle:
                worker = _Worker(self.num_threads)
                self._workers.append(worker)
                self._idle.append(worker)
            worker = self._idle.pop()
            future = worker.submit(call, self.around(os.getcwd()))
            self.running[future] = index
            self._worker_of[future] = worker

    def arrived(self, timeout: float | None) -> list[tuple[int, bytes | _Lost]]:
        ended, _ = concurrent.futures.wait(
            self.running, timeout, return_when=concurrent.futures.FIRST_COMPLETED
        )
        arrived: list[tuple[int, bytes | _Lost]] = []
        for future in ended:
            index, worker = self.running.pop(future), self._worker_of.pop(future)
            error = future.exception()
            if error is None:
                self._idle.append(worker)
                arrived.append((index, future.result()))
            else:
                self._workers.remove(worker)
                worker.end()
                arrived.append((index, _Lost(_why_lost(error))))
        return arrived

    def interrupt(self) -> None:
        for worker in self._worker_of.values():
            worker.interrupt()

    def close(self) -> None:
        busy = list(self._worker_of.values())
        for worker in self._workers:
            worker.end(kill=worker in busy)


class _Worker:
    """A process that performs one call after the other."""

    def __init__(self, num_threads: int) -> None:
        self._executor = ProcessPoolExecutor(
            max_workers=1,
            initializer=_settle_in,
            initargs=(os.getpid(),),
            env=dict.fromkeys(_THREAD_VARIABLES, str(num_threads)),
        )
        self._pid: concurrent.futures.Future[int]

    def submit(self, call: bytes, around: _Surroundings) -> "concurrent.futures.Future[bytes]":
        with _without_ctrl_c():
            self._pid = self._executor.submit(os.getpid)
            future: concurrent.futures.Future[bytes] = self._executor.submit(
                _perform_in_process, call, around
            )
        return future

    def interrupt(self) -> None:
        # Windows has told the worker already: Ctrl-C goes to all processes of a console there.
        if self._pid.done() and self._pid.exception() is None and sys.platform != "win32":
            with suppress(ProcessLookupError):
                os.kill(self._pid.result(), signal.SIGINT)

    def end(self, kill: bool = False) -> None:
        self._executor.shutdown(wait=True, kill_workers=kill)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """A process that is started meanwhile cannot be told of Ctrl-C before it has settled in."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # It is started on first use, and would lift the block.
    import_module("multiprocessing.resource_tracker").ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _settle_in(parent: int) -> None:
    """Makes a worker process ready for calls."""
    # A worker that has grown by 300 MB would be replaced, with a warning. Trainings are larger.
    process_executor._MAX_MEMORY_LEAK_SIZE = float("inf")
    # The terminal's Ctrl-C is for the parent, which then tells its workers, once.
    signal.signal(signal.SIGINT, _note_ctrl_c)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    if sys.platform == "linux":
        # When the parent is killed, a training is to keep its checkpoint and end: SIGTERM.
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)
    # Outside the terminal's group a process that asks for input would stand still for ever.
    with open(os.devnull) as nothing, suppress(OSError, ValueError, AttributeError):
        os.dup2(nothing.fileno(), sys.stdin.fileno())


_came_early = False


def _note_ctrl_c(*_: object) -> None:
    global _came_early
    _came_early = True


def _perform_in_process(call: bytes, around: _Surroundings) -> bytes:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if _came_early:
            raise KeyboardInterrupt
        return _perform(call, around)
    finally:
        signal.signal(signal.SIGINT, before)


def _why_lost(error: BaseException) -> str:
    codes = re.search(r"exit codes of the workers are \{(.+?)\}", str(error))
    if codes is not None:
        return (
            f"its worker process was killed or crashed: {codes[1]}. SIGKILL often means that "
            f"memory ran out."
        )
    if isinstance(error, BrokenProcessPool):
        return f"its worker process broke: {error}"
    return f"its worker process stopped: {_describe(error)}"


class _Ray(_Engine):
    """A Ray cluster."""

    def open(self) -> None:
        self._ray = ray = import_module("ray")
        self._session: Path | None = None
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            with _own_signals():
                self._connect()
        if self.num_workers is None:
            num_cpus = ray.cluster_resources().get("CPU", 1)
            self.num_workers = max(1, int(num_cpus) // self.num_threads)
        self._task = ray.remote(_perform).options(
            max_retries=0,  # we retry, and count
            num_cpus=self.num_threads if self.is_elsewhere else 1,
        )

    def _connect(self) -> None:
        variables = dict.fromkeys(_THREAD_VARIABLES, str(self.num_threads))
        # Without this a call that asks for no accelerator is shown none.
        variables["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        options = {
            "log_to_driver": False,
            "logging_level": "error",
            "runtime_env": {"env_vars": variables},
        }
        try:
            if self.address is not None:
                self._ray.init(self.address, **options)
                return
            context = self._ray.init(
                "local", num_cpus=self.num_workers, include_dashboard=False, **options
            )
        except (Exception, SystemExit) as error:  # Ray has many, and no base for them
            if self.address is not None:
                raise _unanswered("ray", self.address, str(error)) from None
            raise ConfigError(f"A local Ray cluster cannot be started: {error}") from None
        self._session = Path(context.address_info["session_dir"])

    def submit(self, index: int, call: bytes) -> None:
        self.running[self._task.remote(call, self.around(os.getcwd()))] = index

    def arrived(self, timeout: float | None) -> list[tuple[int, bytes | _Lost]]:
        if not self.running:
            return []
        ended, _ = self._ray.wait(list(self.running), num_returns=1, timeout=timeout)
        arrived: list[tuple[int, bytes | _Lost]] = []
        for reference in ended:
            index, reply = self.running.pop(reference), self._reply(reference)
            arrived.append((index, reply))
        return arrived

    def _reply(self, reference: Any) -> bytes | _Lost:
        try:
            reply: bytes = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:  # the worker lacks what we need of it
            return pickle.dumps((False, f"the worker failed: {error.cause!r}", ()))
        except self._ray.exceptions.RayError as error:
            return _Lost(f"its Ray worker was lost: {str(error).splitlines()[0]}")
        return reply

    def interrupt(self) -> None:
        for reference in self.running:
            self._ray.cancel(reference, force=False)

    def close(self) -> None:
        for reference in self.running:
            with suppress(Exception):  # a cluster that is gone
                self._ray.cancel(reference, force=True)
        if self._is_ours:
            self._ray.shutdown()
        if self._session is not None:
            shutil.rmtree(self._session, ignore_errors=True)
            latest = self._session.with_name("session_latest")
            if latest.is_symlink() and not latest.exists():
                latest.unlink(missing_ok=True)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Puts the handler of SIGTERM back, which Ray replaces."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


class _Dask(_Engine):
    """A Dask cluster.

    Each call is sent to a worker that has no other, and may not go to another one: so whose call
    was lost when a worker dies is certain.
    """

    def open(self) -> None:
        distributed = import_module("distributed")
        self._cluster: _LocalDask | None = None
        self._client: Any = None
        self._is_ours = isinstance(self.address, str | None)
        self._place_of: dict[Any, str] = {}
        self._gone_since: dict[Any, float] = {}
        self._last_seen = time.monotonic()
        if not self._is_ours:
            self._client = self.address
        elif self.address is None:
            self._cluster = _LocalDask(self.num_workers or 1, self.num_threads)
            self._client = distributed.Client(
                self._cluster.start(), timeout=_ANSWER_SECONDS, set_as_default=False
            )
            self._client.wait_for_workers(self.num_workers, timeout=_START_SECONDS)
        else:
            self._client = distributed.Client(
                self.address, timeout=_ANSWER_SECONDS, set_as_default=False
            )
        try:
            self._client.wait_for_workers(1, timeout=_ANSWER_SECONDS)
        except TimeoutError:
            raise self._no_workers("has no workers") from None
        if self.num_workers is None:
            self.num_workers = len(self._client.nthreads())

    def has_room(self) -> bool:
        return super().has_room() and bool(self._idle_workers())

    def _idle_workers(self) -> list[str]:
        return [place for place in self._all_workers() if place not in self._place_of.values()]

    def _all_workers(self) -> list[str]:
        with self._answering():
            workers = list(self._client.nthreads())
        if workers:
            self._last_seen = time.monotonic()
        elif time.monotonic() - self._last_seen > _START_SECONDS:
            raise self._no_workers("has lost its workers")
        return workers

    def _no_workers(self, what: str) -> ConfigError:
        address = self._client.scheduler.address
        return ConfigError(
            f"The Dask cluster at {address} {what}. Start some: `dask worker {address} "
            f"--nthreads 1`."
        )

    def submit(self, index: int, call: bytes) -> None:
        place = self._idle_workers()[0]
        future = self._client.submit(
            _perform,
            call,
            # Workers of ours work in this folder; others may have other tasks, in theirs.
            self.around(folder=None),
            key=f"gradbook-{uuid.uuid4().hex}",
            workers=[place],
            pure=False,
        )
        self.running[future] = index
        self._place_of[future] = place

    def arrived(self, timeout: float | None) -> list[tuple[int, bytes | _Lost]]:
        seconds = 1.0 if timeout is None else min(timeout, 1.0)
        if not self.running:
            time.sleep(seconds)
            return []
        distributed = import_module("distributed")
        with self._answering(), self._client.as_current(), suppress(TimeoutError):
            distributed.wait(list(self.running), timeout=seconds, return_when="FIRST_COMPLETED")
        arrived: list[tuple[int, bytes | _Lost]] = []
        for future in [future for future in self.running if future.done()]:
            arrived.append((self._removed(future), self._reply(future)))
        for future in self._left_alone():
            future.cancel()
            arrived.append((self._removed(future), _Lost("its Dask worker has gone")))
        return arrived

    def _left_alone(self) -> list[Any]:
        """The calls whose workers have gone without a word: they would wait for ever."""
        workers, now = self._all_workers(), time.monotonic()
        gone = [future for future, place in self._place_of.items() if place not in workers]
        self._gone_since = {future: self._gone_since.get(future, now) for future in gone}
        return [future for future in gone if now - self._gone_since[future] > 3]

    def _removed(self, future: Any) -> int:
        del self._place_of[future]
        return self.running.pop(future)

    def _reply(self, future: Any) -> bytes | _Lost:
        try:
            reply: bytes = future.result()
        except import_module("distributed").scheduler.KilledWorker as error:
            attempts = getattr(error, "allowed_failures", 0) + 1
            return _Lost(f"its Dask worker was killed: {error.last_worker}", attempts)
        except Exception as error:  # the worker lacks what we need of it
            return pickle.dumps((False, f"the worker failed: {_describe(error)}", ()))
        return reply

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Says it when the cluster has gone meanwhile."""
        try:
            yield
        except (OSError, concurrent.futures.CancelledError):
            address = self._client.scheduler.address
            raise ConfigError(f"The Dask cluster at {address} no longer answers.") from None

    def interrupt(self) -> None:
        with suppress(OSError):  # a cluster that is gone
            self._client.run(_interrupt, self.sender)

    def close(self) -> None:
        if self._client is not None:
            with suppress(Exception):  # a cluster that is gone
                self._client.cancel(list(self.running))
            if self._is_ours:
                self._client.close()
        if self._cluster is not None:
            self._cluster.end()


class _LocalDask:
    """A Dask cluster in processes of its own.

    Dask's LocalCluster would run the user's script once more in each worker, and would have its
    scheduler in a thread of this process.
    """

    def __init__(self, num_workers: int, num_threads: int) -> None:
        self._num_workers, self._num_threads = num_workers, num_threads
        self._processes: list[subprocess.Popen[bytes]] = []
        self._folder = Path(tempfile.mkdtemp(prefix="gradbook-dask-"))

    def start(self) -> str:
        """Starts the scheduler and the workers, and gives the scheduler's address."""
        address = self._folder / "scheduler.json"
        file = ["--scheduler-file", str(address), "--no-dashboard"]
        self._run("scheduler", *file, "--host", "127.0.0.1", "--port", "0")
        self._run(
            "worker",
            *file,
            *("--nworkers", str(self._num_workers), "--nthreads", "1"),
            *("--local-directory", str(self._folder), "--memory-limit", "0"),
            *("--death-timeout", "60"),
        )
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and all(p.poll() is None for p in self._processes):
            with suppress(OSError, ValueError, KeyError):  # not there yet, or half written
                return str(json.loads(address.read_text())["address"])
            time.sleep(0.05)
        said = (self._folder / "log.txt").read_text(errors="replace").strip().splitlines()
        raise ConfigError(f"A local Dask cluster cannot be started: {(said or ['it ended'])[-1]}")

    def _run(self, part: str, *options: str) -> None:
        variables = {
            **os.environ,
            **dict.fromkeys(_THREAD_VARIABLES, str(self._num_threads)),
            "DASK_TEMPORARY_DIRECTORY": str(self._folder),
            # Not as many as it likes, but as we do: we retry, and count.
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
            # Should this process be killed, its cluster ends by itself.
            "DASK_DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT": "600s",
        }
        with open(self._folder / "log.txt", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{part}", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=variables,
                start_new_session=True,  # Ctrl-C is for this process alone
            )
        self._processes.append(process)

    def end(self) -> None:
        """Ends all processes at once: no call is left that could lose anything."""
        for process in reversed(self._processes):
            with suppress(ProcessLookupError):
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
