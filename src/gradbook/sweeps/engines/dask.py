"""Calls on a Dask cluster."""

import concurrent.futures
import logging
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib import import_module

from gradbook.errors import ConfigError
from gradbook.sweeps.engines import cluster, engine
from gradbook.sweeps.engines.call import Call, Outcome
from gradbook.sweeps.engines.processes import Worker

#: How long workers may be away.
START_SECONDS = 60.0


class Dask(cluster.Cluster):
    """A Dask cluster: at an address, or that of a Client, or our own.

    Dask's workers perform calls in threads, which share the random generators, and which no signal
    interrupts. So each starts a process for its call: that can be interrupted, and when it is
    killed it is certain whose call was lost.
    """

    package = "distributed"
    question = ("-c", "import distributed, sys; distributed.Client(sys.argv[1]).close()")

    @contextmanager
    def workers(self) -> Iterator[None]:
        """Connects, to a cluster in threads of ours if there is no address, and awaits its workers.

        When left, gives the calls up, and ends the connection and the cluster if they are ours.
        """
        distributed, client = import_module("distributed"), self.address
        self._sender = uuid.uuid4().hex
        with ExitStack() as stack:
            if client is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gradbook-dask-"))
                set_config = import_module("dask.config").set
                stack.enter_context(set_config({"temporary-directory": folder}))
                client = distributed.LocalCluster(
                    n_workers=self.num_workers,
                    threads_per_worker=1,
                    processes=False,
                    memory_limit=0,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,  # of what is ended while it works
                )
                stack.enter_context(closing(client))
            if not isinstance(client, distributed.Client):
                seconds = cluster.ANSWER_SECONDS
                client = distributed.Client(client, timeout=seconds, set_as_default=False)
                stack.enter_context(closing(client))
            self._client, self._executor = client, client.get_executor(pure=False)
            self._await_workers(cluster.ANSWER_SECONDS)
            self.num_workers = self.num_workers or self._num_workers()
            try:
                yield
            finally:
                with suppress(Exception):  # a cluster that is gone
                    self._executor.shutdown(wait=False)
                    client.run(_stop, self._sender, is_last=True)

    def _await_workers(self, seconds: float) -> None:
        with self._answering():
            try:
                self._client.wait_for_workers(1, timeout=seconds)
            except TimeoutError:
                address = self._client.scheduler.address
                raise ConfigError(
                    f"The Dask cluster at {address} has no worker, for {seconds:g} s. Start some: "
                    f"`dask worker {address}`."
                ) from None

    def _num_workers(self) -> int:
        with self._answering():
            return len(self._client.nthreads())

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Says it when the cluster has gone meanwhile."""
        try:
            yield
        except (OSError, concurrent.futures.CancelledError):
            address = self._client.scheduler.address
            raise ConfigError(f"The Dask cluster at {address} no longer answers.") from None

    def has_room(self) -> bool:
        """Whether another call could run now: no more than there are workers at the moment."""
        return super().has_room() and len(self.running) < self._num_workers()

    def arrived(self, timeout: float = 1.0) -> list[Outcome]:
        """Waits for a call; and for workers, if there are none left to run one."""
        if not self._num_workers():
            self._await_workers(START_SECONDS)
        return super().arrived(min(timeout, 1.0))

    def submit(self, call: Call) -> Future[bytes]:
        """Sends a call to the cluster."""
        future: Future[bytes] = self._executor.submit(_perform_in_process, call, self._sender)
        return future

    def loss(self, error: Exception) -> str | None:
        """What a call's process died of, or that Dask's worker was killed."""
        if isinstance(error, import_module("distributed").KilledWorker):
            return f"its Dask worker was killed: {error}"
        return super().loss(error)

    def interrupt(self) -> None:
        """Interrupts the processes of our calls."""
        with suppress(OSError):  # a cluster that is gone
            self._client.run(_stop, self._sender, is_last=False)


# In a worker

#: The processes of each sender's running calls, and whose calls are to stop.
_processes: dict[str, list[Worker]] = {}
_stopped: set[str] = set()


def _perform_in_process(call: Call, sender: str) -> bytes:
    if sender in _stopped:
        raise ChildProcessError("it was to stop")
    worker = Worker(call.num_threads)
    _processes.setdefault(sender, []).append(worker)
    try:
        return worker.perform(call)
    finally:
        _processes[sender].remove(worker)
        worker.dismiss()
        worker.end(engine.GRACE_SECONDS)


def _stop(sender: str, is_last: bool) -> None:
    """Interrupts a sender's calls, once even if several workers are in this process; or ends them.

    With `is_last` they end at once.
    """
    for worker in list(_processes.get(sender, ())):
        if is_last:
            worker.end(0)
        elif sender not in _stopped:
            worker.interrupt()
    _stopped.add(sender)
