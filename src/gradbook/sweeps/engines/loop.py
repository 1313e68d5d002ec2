"""The loop that keeps workers busy, and gives each outcome as it comes."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from gradbook.errors import ConfigError
from gradbook.sweeps.engines.call import (
    Call,
    Failed,
    Outcome,
    attempt,
    describe,
    limited_threads,
    pickled,
    search_path,
)
from gradbook.sweeps.engines.cluster import Cluster
from gradbook.sweeps.engines.dask import Dask
from gradbook.sweeps.engines.engine import Engine
from gradbook.sweeps.engines.processes import Processes
from gradbook.sweeps.engines.ray import Ray

_CLUSTERS: dict[str, type[Cluster]] = {"ray": Ray, "dask": Dask}
_KINDS: dict[str, type[Engine]] = {"processes": Processes, **_CLUSTERS}

#: Where calls can be run. An address may follow the last two, as in "dask:tcp://10.0.0.1:8786".
ENGINES = ("here", *_KINDS)


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
    engine = _KINDS[name](address, num_workers, threads_per_worker, len(items))
    outcomes = _run(engine, function, items, retries)
    # Up to the first yield, which connects: whatever is wrong is said now. And an iterator that
    # has begun is closed properly even if nobody ever asks it for an outcome.
    next(outcomes)
    return outcomes  # type: ignore[return-value]


def check_engine(on: Any) -> None:
    """Raises ConfigError or MissingExtraError if `run_all` could not run anything on `on`."""
    name, address = _parsed(on)
    if name in _CLUSTERS:
        _CLUSTERS[name].check(address)


def _parsed(on: Any) -> tuple[str, Any]:
    """The engine's name, and the address after it; None if there is none."""
    if not isinstance(on, str):
        if (type(on).__module__ or "").partition(".")[0] == "distributed":
            return "dask", on
        raise ConfigError(
            f"on must be one of {', '.join(ENGINES)}, or a Client of Dask's, but it is {on!r}."
        )
    from gradbook.checks import check_choice

    name, colon, address = on.partition(":")
    check_choice(name, "on", ENGINES)
    if colon and name not in _CLUSTERS:
        raise ConfigError(f"{name!r} has no address, but on is {on!r}. Write on={name!r}.")
    if name == "ray" and not colon:
        return name, os.environ.get("RAY_ADDRESS")
    return name, address if colon else None


def _run_here(
    function: Callable[[Any], Any], items: Sequence[Any], num_threads: int | None
) -> Iterator[Outcome]:
    for index, item in enumerate(items):
        with limited_threads(num_threads) if num_threads is not None else nullcontext():
            outcome = attempt(index, function, item)
        yield outcome


def _run(
    engine: Engine, function: Callable[[Any], Any], items: Sequence[Any], retries: int
) -> Iterator[Outcome | None]:
    try:
        function_bytes = pickled(function, engine.is_elsewhere)
    except Exception as error:  # what may go wrong in pickling is not limited
        raise ConfigError(
            f"The function cannot be sent to a worker: {describe(error)}. What it uses must be "
            f"picklable: make files, locks and connections inside it."
        ) from None
    waiting, attempts = deque(range(len(items))), [0] * len(items)
    ready: deque[Outcome] = deque()
    with engine:
        yield None
        while waiting or engine.running or ready:
            while waiting and engine.has_room():
                index = waiting.popleft()
                try:
                    item = pickled(items[index], engine.is_elsewhere)
                except Exception as error:
                    reason = f"cannot be sent to a worker: {describe(error)}"
                    ready.append(Failed(index, reason, attempts=0))
                    continue
                call = Call(
                    index, function_bytes, item, engine.num_threads, search_path(), os.getcwd()
                )
                engine.running[engine.submit(call)] = index
                attempts[index] += 1
            while ready:  # only now, so that workers are busy while the caller is
                yield ready.popleft()
            for outcome in engine.arrived():
                index = outcome.index
                if isinstance(outcome, Failed):
                    outcome = replace(outcome, attempts=attempts[index])
                    if outcome.was_killed and attempts[index] <= retries:
                        waiting.append(index)  # behind those that have not been tried
                        continue
                ready.append(outcome)
