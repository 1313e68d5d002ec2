"""Processes that train and look for the page: the server itself runs no model.

A worker is another Python that imports from where this one does. Messages are JSON objects, a line
each: the server's come over its standard input, its own over what was its standard output. What a
learner's code prints goes to the server's standard error.
"""

import asyncio
import io
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import IO, Any

from gradbook.sweeps.engines.call import search_path

#: What a worker runs.
_PROGRAM = """
import sys
sys.path[:] = sys.argv[2:]
from gradbook.lab.worker import run
run(sys.argv[1])
"""

#: A worker that is told to end, and does not within so many seconds, is killed.
_GRACE_SECONDS = 3.0

#: So often is looked whether a worker has ended without a word, in seconds.
_LOOK_SECONDS = 0.5

#: A worker whose server has gone has so many seconds to come to its end, as to write what it keeps.
_LAST_SECONDS = 10.0

#: So many messages may wait for a worker, on each side. One that takes none for so long is stuck,
#: and ended.
_MAX_WAITING = 1000

#: The longest message of a worker, in bytes.
_MAX_LINE_BYTES = 1 << 26


class Worker:
    """A process that runs `main(channel)` of a module.

    A worker that sends faster than the server takes has to wait, and the server never waits for a
    worker.

    Args:
        module: The module, such as "gradbook.lab.playground.training".
        told: Is given each message of the process, in the thread of the running event loop; None
            is the last, when the process has ended.
        threads: How many threads PyTorch may use; None leaves that to it.
    """

    def __init__(
        self,
        module: str,
        told: Callable[[dict[str, Any] | None], None],
        threads: int | None = None,
    ) -> None:
        self._told, self._loop = told, asyncio.get_running_loop()
        limit = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        options = ["-P", *(f"-W{option}" for option in sys.warnoptions), "-c", _PROGRAM]
        self._process = subprocess.Popen(
            [sys.executable, *options, module, *search_path()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **limit},
            start_new_session=True,  # Ctrl-C is for the server, which ends its workers
        )
        self._waiting: queue.Queue[bytes | None] = queue.Queue(_MAX_WAITING)
        self._ending, self._has_ended = threading.Lock(), False
        for work in (self._write, self._listen, self._see_its_end):
            threading.Thread(target=work, name="lab-worker", daemon=True).start()

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message. A process that has ended does not get it."""
        line = _line(message)
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self._kill()

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    async def end(self) -> None:
        """Ends the process: asks it first, and kills it when it does not come to its end."""
        try:
            self._waiting.put_nowait(None)
            await asyncio.to_thread(self._process.wait, _GRACE_SECONDS)
        except (queue.Full, subprocess.TimeoutExpired):
            self._kill()
            await asyncio.to_thread(self._process.wait)
        self._kill_rest()

    def _kill(self) -> None:
        """Kills the process, and what it has started, as the workers of a loader."""
        if self.is_alive:
            with suppress(OSError):
                self._kill_group()

    def _kill_group(self) -> None:
        if hasattr(os, "killpg"):
            os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()

    def _see_its_end(self) -> None:
        """Waits until the process has ended, whoever else still holds its end of the pipe."""
        while self.is_alive:
            time.sleep(_LOOK_SECONDS)
        self._kill_rest()

    def _kill_rest(self) -> None:
        """Kills, once, what an ended process has left: what it has forked would go on for ever."""
        with self._ending:
            if not self._has_ended:  # later, the number of the group may be another's
                self._has_ended = True
                with suppress(OSError):
                    self._kill_group()

    def _write(self) -> None:
        assert self._process.stdin is not None
        with suppress(OSError), self._process.stdin as sink:
            while (line := self._waiting.get()) is not None:
                sink.write(line)
                sink.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with suppress(RuntimeError), self._process.stdout as source:  # if the loop is closed
            while line := source.readline(_MAX_LINE_BYTES):
                try:
                    message = json.loads(line)
                except (ValueError, RecursionError):  # a line that is cut off, or not a worker's
                    continue
                if isinstance(message, dict):
                    self._tell(message)
            self._process.wait()
            with suppress(queue.Full):  # of which the first is in vain, and the last
                self._waiting.put_nowait(None)
            self._tell(None)

    def _tell(self, message: dict[str, Any] | None) -> None:
        """Has a message taken by the event loop, and waits for that."""
        is_taken = threading.Event()

        def take() -> None:
            try:
                self._told(message)
            finally:
                is_taken.set()

        self._loop.call_soon_threadsafe(take)
        while not (is_taken.wait(1) or self._loop.is_closed()):
            pass


class Channel:
    """A worker's connection with the server, which is listened to whatever the worker does.

    A worker whose server has no more messages, or is gone, comes to its end by itself, or is ended
    some seconds later: a computation without an end does not outlive the page that it was for.
    """

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        self._source, self._sink = source, sink
        self._lock = threading.Lock()
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(_MAX_WAITING)
        threading.Thread(target=self._listen, name="lab-channel", daemon=True).start()

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message. Where nobody listens any more, the process is to end, and does."""
        with self._lock:
            try:
                self._sink.write(_line(message))
                self._sink.flush()
            except OSError:
                os._exit(0)

    def messages(self) -> Iterator[dict[str, Any]]:
        """The server's messages, until it has no more or has ended."""
        while (message := self._waiting.get()) is not None:
            yield message

    def _listen(self) -> None:
        with suppress(queue.Full):
            with suppress(ValueError):  # a line that is cut off: the server was killed
                for line in self._source:
                    self._waiting.put_nowait(json.loads(line))
            self._waiting.put_nowait(None)
            time.sleep(_LAST_SECONDS)
        os._exit(1)


def run(module: str) -> None:
    """What a worker does: runs `main` of a module, with the streams put out of the way."""
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):  # what is printed is seen, also if it is killed
        sys.stdout.reconfigure(line_buffering=True)
    source = os.fdopen(os.dup(0), "rb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)  # a learner's code that asks for input gets none
    import_module(module).main(Channel(source, sink))


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, allow_nan=False, separators=(",", ":")).encode() + b"\n"
