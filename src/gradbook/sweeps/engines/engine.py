"""What an engine is: it carries calls to workers, and brings their replies."""

import atexit
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from joblib import cpu_count

from gradbook.errors import ConfigError
from gradbook.interrupts import undisturbed
from gradbook.sweeps.engines.call import Call

#: How long a worker that is asked to stop may take to finish its step and write its checkpoint.
GRACE_SECONDS = 10.0

#: How long a cluster may take to answer.
ANSWER_SECONDS = 8.0


@dataclass(frozen=True)
class Lost:
    """What comes instead of a reply when a call's worker has died.

    Attributes:
        reason: What is known of it, in words.
    """

    reason: str


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
        running: The handle of each running call, with the index of its item.
    """

    def __init__(
        self, address: Any, num_workers: int | None, num_threads: int | None, num_items: int
    ) -> None:
        self.address, self.is_elsewhere = address, self.exists(address)
        if not self.is_elsewhere:
            num_workers = min(num_workers or cpu_count(), max(1, num_items))
            num_threads = num_threads or max(1, cpu_count() // num_workers)
        self.num_workers = num_workers or 0  # which `open` finds out
        self.num_threads = num_threads or 1
        self.running: dict[Any, int] = {}

    @classmethod
    @abstractmethod
    def check(cls, address: Any) -> None:
        """Raises ConfigError or MissingExtraError if it could not be opened."""

    @classmethod
    def exists(cls, address: Any) -> bool:
        """Whether its workers are there already."""
        return address is not None

    def __enter__(self) -> "Engine":
        self._is_open = True
        atexit.register(self.__exit__)  # for a program that never closes its outcomes
        try:
            self.open()
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
                self.arrived(timeout=left)
        finally:  # also after a second Ctrl-C
            self._end()

    def _end(self) -> None:
        with undisturbed():
            self.close()
        self._is_open = False
        atexit.unregister(self.__exit__)

    def has_room(self) -> bool:
        """Whether another call could run now."""
        return len(self.running) < self.num_workers

    def arrived(self, timeout: float | None) -> list[tuple[int, bytes | Lost]]:
        """Waits until a call has ended, for at most `timeout` seconds.

        Returns:
            The index and the reply of each call that has ended. They are no longer running.
        """
        return [(self.running.pop(each), self.reply(each)) for each in self.ended(timeout)]

    @abstractmethod
    def open(self) -> None:
        """Connects, or starts what is needed."""

    @abstractmethod
    def submit(self, index: int, call: Call) -> None:
        """Begins a call. There is room, as `has_room` has just said."""

    @abstractmethod
    def ended(self, timeout: float | None) -> Iterable[Any]:
        """Waits until a call has ended, and gives the handles of those that have."""

    @abstractmethod
    def reply(self, handle: Any) -> bytes | Lost:
        """The pickled reply of a call that has ended."""

    @abstractmethod
    def interrupt(self) -> None:
        """Asks the running calls to stop as Ctrl-C does."""

    @abstractmethod
    def close(self) -> None:
        """Ends what was started, and what still runs."""


def check_answers(name: str, address: str, ask: Callable[[str], None]) -> None:
    """Raises ConfigError unless a cluster of this kind answers at an address.

    Args:
        name: The engine.
        address: HOST:PORT, with or without a protocol before it.
        ask: Raises OSError if what listens there is something else.
    """
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
        socket.create_connection((host, port), timeout=ANSWER_SECONDS).close()
        ask(address)
    except (OSError, ValueError) as error:
        raise unanswered(name, address, str(error)) from None


def unanswered(name: str, address: str, reason: str) -> ConfigError:
    """The error for an address where no cluster is."""
    return ConfigError(
        f"No cluster answers at the address in on='{name}:{address}': {reason}. Compare it with "
        f"what the cluster said when it was started."
    )
