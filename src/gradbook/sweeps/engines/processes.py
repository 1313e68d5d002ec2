"""Worker processes of this machine."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing.connection import Connection, wait
from typing import Any

from joblib.externals.loky.backend import get_context
from joblib.externals.loky.backend.utils import kill_process_tree

from gradbook.interrupts import undisturbed
from gradbook.sweeps.engines.call import THREAD_VARIABLES, Call, failure, perform
from gradbook.sweeps.engines.engine import GRACE_SECONDS, Engine, Lost


class Processes(Engine):
    """Processes that perform one call after the other. The handle of a call is its worker."""

    @classmethod
    def check(cls, address: Any) -> None:
        """They can always be opened."""

    def open(self) -> None:
        """Starts all workers, so that they get ready side by side."""
        self._workers: list[_Worker] = []
        for _ in range(self.num_workers):
            self._start()

    def _start(self) -> "_Worker":
        with undisturbed(later=True):  # a worker must not be started by halves
            worker = _Worker(self.num_threads)
            self._workers.append(worker)
        return worker

    def submit(self, index: int, call: Call) -> None:
        """Sends a call to an idle worker, or to a new one in the place of one that has died."""
        idle = [worker for worker in self._workers if worker not in self.running]
        worker = idle[0] if idle else self._start()
        with suppress(OSError):  # it has died, which is found out when its reply is awaited
            worker.connection.send(call)
        self.running[worker] = index

    def ended(self, timeout: float | None) -> Iterable["_Worker"]:
        """The workers that have replied, or died."""
        worker_of = {worker.connection: worker for worker in self.running}
        ready = wait(list(worker_of), timeout)
        return [worker_of[connection] for connection in ready]

    def reply(self, handle: "_Worker") -> bytes | Lost:
        """The reply of a worker, which is idle then; or what it died of."""
        try:
            reply: bytes = handle.connection.recv_bytes()
        except (EOFError, OSError):
            self._workers.remove(handle)
            return Lost(handle.why_it_died())
        return reply

    def interrupt(self) -> None:
        """Sends SIGINT to the busy workers."""
        for worker in self.running:
            worker.interrupt()

    def close(self) -> None:
        """Lets idle workers end, and kills those that have not stopped in time."""
        for worker in self._workers:
            worker.connection.close()  # which ends a worker that waits for a call
        for worker in self._workers:
            worker.end(seconds=0 if worker in self.running else GRACE_SECONDS)


class _Worker:
    """A process that performs one call after the other.

    It is a process of loky's, the library under joblib, because those of the standard library run
    the user's script once more.
    """

    def __init__(self, num_threads: int) -> None:
        context = get_context("loky")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve,
            args=(theirs, os.getpid()),
            env=dict.fromkeys(THREAD_VARIABLES, str(num_threads)),
        )
        with _without_ctrl_c():
            self._process.start()
        theirs.close()  # so that its end is seen here

    def interrupt(self) -> None:
        # Windows has told the worker already: Ctrl-C goes to all processes of a console there.
        if self._process.is_alive() and sys.platform != "win32":
            os.kill(self._process.pid, signal.SIGINT)

    def why_it_died(self) -> str:
        self.end(GRACE_SECONDS)
        code = self._process.exitcode
        if code >= 0:
            return f"its worker process ended, with exit code {code}."
        return (
            f"its worker process was killed or crashed: {signal.Signals(-code).name}. SIGKILL "
            f"often means that memory ran out."
        )

    def end(self, seconds: float) -> None:
        self._process.join(seconds)
        if self._process.is_alive():
            kill_process_tree(self._process)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """A process that is started meanwhile is told of Ctrl-C only when it begins a call."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # What would start with the first process, and lift the block.
    for package in ("multiprocessing", "joblib.externals.loky.backend"):
        import_module(f"{package}.resource_tracker").ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, parent: int) -> None:
    """What a worker process does, until its connection is closed."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform != "win32":
        # The terminal's Ctrl-C is for the parent, which then tells its workers, once.
        os.setpgid(0, 0)
        # Outside the terminal's group, who asks it for input would stand still for ever.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if sys.platform == "linux":
        # When the parent is killed, a training is to keep its checkpoint and end: SIGTERM.
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
        if os.getppid() != parent:
            return
    with suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            connection.send_bytes(_perform_with_ctrl_c(connection.recv()))


def _perform_with_ctrl_c(call: Call) -> bytes:
    mask = getattr(signal, "pthread_sigmask", None)
    try:
        if mask is not None:
            mask(signal.SIG_UNBLOCK, [signal.SIGINT])
        return perform(call)
    except KeyboardInterrupt:  # just before the call, or just after
        return failure("KeyboardInterrupt")
    finally:
        if mask is not None:
            mask(signal.SIG_BLOCK, [signal.SIGINT])
