"""What an engine is: it carries calls to workers, and brings their outcomes as futures.

Joblib's `Parallel` would be shorter, and cannot be it: a worker that is killed ends every call that
runs beside it (`TerminatedWorkerError`), whose call it was is not said, and at Ctrl-C it kills its
workers before they have written a checkpoint. So here a call has its worker to itself.
"""

import atexit
import pickle
import sys
import time
from abc import ABC, abstractmethod
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any

from gradbook.interrupts import undisturbed
from gradbook.sweeps.engines.call import Call, Failed, Outcome, describe

#: How long a worker that is asked to stop may take to finish its step and write its checkpoint.
GRACE_SECONDS = 10.0


class Engine(ABC):
    """Something that carries calls to workers. While entered, its workers are there.

    Args:
        address: Where a cluster is; None starts workers on this machine.
        num_workers: How many calls run at once; None takes the number of processors, but no more
            than there are items, or what an existing cluster has.
        num_threads: How many threads each may use; None shares the processors, and takes 1 on an
            existing cluster.
        num_items: How many calls there will be.

    Attributes:
        is_elsewhere: Whether the workers are not ours, so that they may be on other machines.
        running: Of each running call the future of its pickled outcome, and its item's index.
    """

    def __init__(
        self, address: Any, num_workers: int | None, num_threads: int | None, num_items: int
    ) -> None:
        self.address, self.is_elsewhere = address, self.exists(address)
        if not self.is_elsewhere:
            from joblib import cpu_count  # here: the lab, whose server needs none, starts fast

            num_workers = min(num_workers or cpu_count(), max(1, num_items))
            num_threads = num_threads or max(1, cpu_count() // num_workers)
        self.num_workers = num_workers or 0  # which `workers` finds out
        self.num_threads = num_threads or 1
        self.running: dict[Future[bytes], int] = {}
        self._stack, self._is_open = ExitStack(), True

    @classmethod
    def exists(cls, address: Any) -> bool:
        """Whether its workers are there already."""
        return address is not None

    def __enter__(self) -> "Engine":
        atexit.register(self.__exit__)  # for a program that never closes its outcomes
        try:
            self._stack.enter_context(self.workers())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        if not self._is_open:  # the outcomes outlived the exit of the program
            return
        try:
            if self.running:
                self.interrupt()
                if kind is not None and issubclass(kind, KeyboardInterrupt):
                    with suppress(OSError):  # a terminal that was closed
                        print("\nStopping what runs; Ctrl-C again ends it.", file=sys.stderr)
            end = time.monotonic() + GRACE_SECONDS
            while self.running and (left := end - time.monotonic()) > 0:
                self.arrived(left)
        finally:  # also after a second Ctrl-C
            self._end()

    def _end(self) -> None:
        with undisturbed():
            self._stack.close()
        self._is_open = False
        atexit.unregister(self.__exit__)

    def arrived(self, timeout: float = 1.0) -> list[Outcome]:
        """Waits for an end for at most `timeout` seconds; what has ended, is no longer running."""
        wait(self.running, timeout, FIRST_COMPLETED)
        ended = [future for future in self.running if future.done()]
        return [self._outcome(future, self.running.pop(future)) for future in ended]

    def _outcome(self, future: Future[bytes], index: int) -> Outcome:
        try:
            outcome: Outcome = pickle.loads(future.result())
            return outcome
        except Exception as error:  # what may go wrong in a cluster is not limited
            loss = self.loss(error)
            reason = loss or f"the worker failed: {describe(error)}"  # it lacks what we need of it
            return Failed(index, reason, was_killed=loss is not None)

    def has_room(self) -> bool:
        """Whether another call could run now."""
        return len(self.running) < self.num_workers

    @abstractmethod
    def workers(self) -> AbstractContextManager[None]:
        """Connects, or starts what is needed; when left, ends that and what still runs."""

    @abstractmethod
    def submit(self, call: Call) -> Future[bytes]:
        """Begins a call. There is room, as `has_room` has just said."""

    @abstractmethod
    def interrupt(self) -> None:
        """Asks the running calls to stop as Ctrl-C does."""

    def loss(self, error: Exception) -> str | None:
        """What became of a call's worker, if that is why there is no outcome."""
        return str(error) if isinstance(error, ChildProcessError) else None
