"""Worker processes of this machine."""

import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

from gradbook import interrupts
from gradbook.sweeps.engines import engine
from gradbook.sweeps.engines.call import THREAD_VARIABLES, Call, perform, search_path

#: What a worker runs. It imports from where this process does, and from nowhere else.
_PROGRAM = """
import sys
sys.path[:] = sys.argv[2:]
from gradbook.sweeps.engines.processes import serve
serve(int(sys.argv[1]))
"""


class Processes(engine.Engine):
    """Processes that perform one call after the other."""

    @contextmanager
    def workers(self) -> Iterator[None]:
        """Starts all workers, so that they get ready side by side.

        When left, idle ones end by themselves, and those that have not stopped in time are killed.
        """
        self._worker_of: dict[Future[bytes], Worker] = {}
        self._idle: list[Worker] = []
        try:
            for _ in range(self.num_workers):
                self._start()
            yield
        finally:
            for worker in self._idle:
                worker.dismiss()
            for worker in self._worker_of.values():
                worker.end(0)
            for worker in self._idle:
                worker.end(engine.GRACE_SECONDS)

    def _start(self) -> None:
        with interrupts.undisturbed(later=True):  # a worker must not be started by halves
            self._idle.append(Worker(self.num_threads))

    def submit(self, call: Call) -> Future[bytes]:
        """Sends a call to an idle worker, or to a new one in the place of one that has died."""
        if not self._idle:
            self._start()
        future: Future[bytes] = Future()
        self._worker_of[future] = worker = self._idle.pop()

        def ask() -> None:
            try:
                future.set_result(worker.perform(call))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=ask, daemon=True).start()
        return future

    def _outcome(self, future: Future[bytes], index: int) -> Any:
        worker = self._worker_of.pop(future)
        if future.exception() is None:
            self._idle.append(worker)
        return super()._outcome(future, index)

    def interrupt(self) -> None:
        """Tells the busy workers."""
        for worker in self._worker_of.values():
            worker.interrupt()


class Worker:
    """A process that performs one call after the other.

    It is none of the standard library's `multiprocessing`, which would run the user's script once
    more, and whose pools lose all their calls with one worker.

    Args:
        num_threads: How many threads libraries may use in it.
    """

    def __init__(self, num_threads: int) -> None:
        self._socket, theirs = socket.socketpair()
        self._stream = self._socket.makefile("rwb")
        with theirs:
            handle = theirs.fileno()
            theirs.set_inheritable(True)
            options = ["-P", *(f"-W{option}" for option in sys.warnoptions), "-c", _PROGRAM]
            inherited: Any = {"pass_fds": [handle]} if os.name == "posix" else {"close_fds": False}
            self._process = subprocess.Popen(
                [sys.executable, *options, str(handle), *search_path()],
                stdin=subprocess.DEVNULL,  # who asks for input would stand still for ever
                env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(num_threads))},
                start_new_session=True,  # Ctrl-C is for the parent, which tells its workers, once
                **inherited,
            )

    def perform(self, call: Call) -> bytes:
        """Has it perform a call. Raises ChildProcessError if it dies meanwhile."""
        try:
            _send(self._stream, call)
            outcome: bytes = pickle.load(self._stream)
            return outcome
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):  # cut off, or closed
            code = self.end(engine.GRACE_SECONDS)
        reason = f"ended, with exit code {code}."
        if code < 0:
            name = signal.Signals(-code).name
            reason = f"was killed or crashed: {name}. SIGKILL often means that memory ran out."
        raise ChildProcessError(f"its worker process {reason}")

    def interrupt(self) -> None:
        """Interrupts its call. Windows has: there Ctrl-C goes to all processes of a console."""
        with suppress(OSError):  # it has died
            _send(self._stream, None)

    def dismiss(self) -> None:
        """Has it end when it has no call."""
        with suppress(OSError):  # it has died
            self._socket.shutdown(socket.SHUT_WR)

    def end(self, seconds: float) -> int:
        """Awaits its end for so many seconds, kills it then, and gives its exit code."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        if self._process.poll() is None:
            if sys.platform == "win32":
                command = ["taskkill", "/F", "/T", "/PID", str(self._process.pid)]
                subprocess.run(command, capture_output=True, check=False)
            else:
                with suppress(ProcessLookupError):  # with those that it has started
                    os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        with suppress(OSError):  # what it was not there to read
            self._stream.close()
        self._socket.close()
        return code


def _send(stream: Any, value: Any) -> None:
    """Writes a value in one piece, so that two threads may write."""
    stream.write(pickle.dumps(value))
    stream.flush()


# In a worker


def serve(handle: int) -> None:
    """Performs the calls that come over a socket, one after the other, until it is closed."""
    interrupts.is_announced = False
    os.set_inheritable(handle, False)
    stream = socket.socket(fileno=handle).makefile("rwb")
    calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
    is_busy = threading.Event()
    with suppress(KeyboardInterrupt, OSError):  # told to stop just before a call, or just after
        threading.Thread(target=_listen, args=(stream, calls, is_busy), daemon=True).start()
        while (call := calls.get()) is not None:
            outcome = perform(call)
            is_busy.clear()
            _send(stream, outcome)


def _listen(stream: Any, calls: "queue.SimpleQueue[Call | None]", is_busy: threading.Event) -> None:
    """Passes calls on, and interrupts the running one when it is to stop."""
    with suppress(EOFError, OSError):
        while True:
            call = pickle.load(stream)
            if call is None:
                _signal(signal.SIGINT)
            else:
                is_busy.set()
                calls.put(call)
    if is_busy.is_set():  # the parent was killed: a training is to keep its checkpoint and end
        _signal(signal.SIGTERM)
    calls.put(None)


def _signal(number: int) -> None:
    main = threading.main_thread().ident
    if sys.platform != "win32" and main is not None:
        signal.pthread_kill(main, number)
