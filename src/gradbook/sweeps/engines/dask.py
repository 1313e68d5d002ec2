"""Calls on a Dask cluster."""

import asyncio
import concurrent.futures
import ctypes
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from typing import Any

from gradbook.errors import ConfigError, MissingExtraError
from gradbook.sweeps.engines.call import Call, describe, failure, perform
from gradbook.sweeps.engines.engine import ANSWER_SECONDS, Engine, Lost, check_answers
from gradbook.sweeps.engines.local_dask import START_SECONDS, LocalDask


class Dask(Engine):
    """A Dask cluster: at an address, or that of a Client, or our own.

    Each call is sent to a worker that has no other, and may not go to another one: so whose call
    was lost when a worker dies is certain.
    """

    @classmethod
    def check(cls, address: Any) -> None:
        """Raises MissingExtraError without Dask, ConfigError where no cluster answers."""
        try:
            import_module("distributed")
        except ModuleNotFoundError:
            raise MissingExtraError.of("distributed", "Running on Dask", "dask") from None
        if isinstance(address, str):
            check_answers("dask", address, _ask)

    def open(self) -> None:
        """Connects, to a cluster of our own if there is no address, and awaits its workers."""
        self._distributed = distributed = import_module("distributed")
        self._local: LocalDask | None = None
        self._client: Any = None
        self._place_of: dict[Any, str] = {}
        self._sender = uuid.uuid4().hex
        self._is_client_ours = self.address is None or isinstance(self.address, str)
        if self._is_client_ours:
            address = self.address
            if address is None:
                self._local = LocalDask()
                address = self._local.start(self.num_workers, self.num_threads)
            self._client = distributed.Client(address, timeout=ANSWER_SECONDS, set_as_default=False)
        else:
            self._client = self.address
        wanted, seconds = (self.num_workers, START_SECONDS) if self._local else (1, ANSWER_SECONDS)
        self._await_workers(wanted, seconds)
        self.num_workers = self.num_workers or len(self._workers())

    def _await_workers(self, number: int, seconds: float) -> None:
        with self._answering():
            try:
                self._client.wait_for_workers(number, timeout=seconds)
            except TimeoutError:
                address = self._client.scheduler.address
                raise ConfigError(
                    f"The Dask cluster at {address} has fewer than {number} workers, for "
                    f"{seconds:g} s. Start some: `dask worker {address} --nthreads 1`."
                ) from None

    def _workers(self) -> list[str]:
        with self._answering():
            return list(self._client.nthreads())

    def has_room(self) -> bool:
        """Whether a worker has no call of ours; `submit` takes one that was found here."""
        busy = self._place_of.values()
        self._idle = [place for place in self._workers() if place not in busy]
        return super().has_room() and bool(self._idle)

    def submit(self, index: int, call: Call) -> None:
        """Sends a call to one idle worker."""
        place = self._idle.pop()
        future = self._client.submit(
            _perform_in_thread,
            # Workers of ours work in this folder; others may have other tasks, in theirs.
            replace(call, folder=None),
            self._sender,
            key=f"gradbook-{uuid.uuid4().hex}",
            workers=[place],
            pure=False,
        )
        self.running[future] = index
        self._place_of[future] = place

    def ended(self, timeout: float | None) -> Iterable[Any]:
        """Waits for a call; and for workers, if there are none left to run one."""
        if not self.running:
            self._await_workers(1, START_SECONDS)
            return []
        seconds = 1.0 if timeout is None else min(timeout, 1.0)  # then to look after the workers
        with self._answering(), self._client.as_current(), suppress(TimeoutError):
            self._distributed.wait(
                list(self.running), timeout=seconds, return_when="FIRST_COMPLETED"
            )
        workers = self._workers()
        # A call whose worker has gone without a word would wait for ever.
        return [f for f in self.running if f.done() or self._place_of[f] not in workers]

    def reply(self, handle: Any) -> bytes | Lost:
        """What a call returned, or why there is nothing."""
        place = self._place_of.pop(handle)
        if not handle.done():
            with self._answering():
                handle.cancel()
            return Lost(f"its Dask worker has gone: {place}")
        try:
            reply: bytes = handle.result()
        except self._distributed.KilledWorker:
            return Lost(f"its Dask worker was killed: {place}")
        except Exception as error:  # the worker lacks what we need of it
            return failure(f"the worker failed: {describe(error)}")
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
        """Asks each worker to raise KeyboardInterrupt in our call."""
        with suppress(OSError):  # a cluster that is gone
            self._client.run(_interrupt, self._sender)

    def close(self) -> None:
        """Gives the calls up, and ends the connection and the cluster if they are ours."""
        if self._client is not None:
            with suppress(Exception):  # a cluster that is gone
                self._client.cancel(list(self.running))
            if self._is_client_ours:
                self._client.close()
        if self._local is not None:
            self._local.end()


def _ask(address: str) -> None:
    """Raises OSError unless Dask answers. Its Client would wait for what says nothing."""
    security = import_module("distributed").Security().get_connection_args("client")
    connect = import_module("distributed.comm").connect

    async def ask() -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                comm = await connect(address, **security)
        except TimeoutError:
            raise OSError(f"no answer within {ANSWER_SECONDS:g} s") from None
        comm.abort()

    # In a thread, for a notebook has a loop that runs in this one.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, ask()).result()


# In a worker, whose calls run in threads: no signal interrupts them

#: Several calls at once would share the random generators.
_one_at_a_time = threading.Lock()

#: The running call's thread and sender, and the senders whose calls are to stop.
_running: tuple[int, str] | None = None
_stopped: set[str] = set()
_interrupting = threading.RLock()


def _perform_in_thread(call: Call, sender: str) -> bytes:
    try:
        with _one_at_a_time, _interruptible(sender):
            return perform(call)
    except KeyboardInterrupt:
        return failure("KeyboardInterrupt")


@contextmanager
def _interruptible(sender: str) -> Iterator[None]:
    global _running
    with _interrupting:
        if sender in _stopped:
            raise KeyboardInterrupt
        _running = threading.get_ident(), sender
    try:
        yield
    finally:
        with _interrupting:
            _running = None


def _interrupt(sender: str) -> None:
    """Raises KeyboardInterrupt in a worker's call of one sender, and in those still to come."""
    with _interrupting:
        _stopped.add(sender)
        if _running is not None and _running[1] == sender:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(_running[0]), ctypes.py_object(KeyboardInterrupt)
            )
