"""Processes that train and look for the page: the server itself runs no model.

A worker is another Python that imports from where this one does. Messages are JSON objects, a line
each: the server's come over its standard input, its own over what was its standard output. What a
learner's code prints goes to the server's standard error.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
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


class Worker:
    """A process that runs `main(channel)` of a module.

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
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message. A process that has ended does not get it."""
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):
            self._process.stdin.write(_line(message))
            self._process.stdin.flush()

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    async def end(self) -> None:
        """Ends the process: asks it first, and kills it when it does not come to its end."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            await asyncio.to_thread(self._process.wait, _GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with suppress(RuntimeError), self._process.stdout:  # the loop is closed: the server ends
            for line in self._process.stdout:
                with suppress(ValueError):
                    self._loop.call_soon_threadsafe(self._told, json.loads(line))
            self._process.wait()
            self._loop.call_soon_threadsafe(self._told, None)


class Channel:
    """A worker's connection with the server."""

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        self._source, self._sink = source, sink
        self._lock = threading.Lock()

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
        for line in self._source:
            yield json.loads(line)


def run(module: str) -> None:
    """What a worker does: runs `main` of a module, with the streams put out of the way."""
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    source = os.fdopen(os.dup(0), "rb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)  # a learner's code that asks for input gets none
    import_module(module).main(Channel(source, sink))


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, allow_nan=False, separators=(",", ":")).encode() + b"\n"
