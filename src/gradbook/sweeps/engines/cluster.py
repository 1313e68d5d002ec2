"""An engine that a library of its own carries, and that may be there already."""

import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, ClassVar
from urllib.parse import urlsplit

from gradbook.errors import ConfigError, MissingExtraError
from gradbook.sweeps.engines.engine import Engine

#: How long a cluster may take to answer, and the library to be loaded by the process that asks.
ANSWER_SECONDS = 15.0


class Cluster(Engine):
    """A cluster: at an address, or of our own.

    Attributes:
        package: What is imported.
        question: What Python runs, with an address after it, to ask whether a cluster is there.
        own_addresses: What the library itself takes for an address.
    """

    package: ClassVar[str]
    question: ClassVar[Sequence[str]]
    own_addresses: ClassVar[Sequence[str]] = ()

    @classmethod
    def check(cls, address: Any) -> None:
        """Raises MissingExtraError without the package, ConfigError where no cluster answers."""
        name = cls.__name__
        try:
            import_module(cls.package)
        except ModuleNotFoundError:
            raise MissingExtraError.of(cls.package, f"Running on {name}", name.lower()) from None
        if not isinstance(address, str) or address in cls.own_addresses:
            return
        try:
            parts = urlsplit(address if "//" in address else f"//{address}")
            host, port = parts.hostname, parts.port
        except ValueError:  # a port that is no number
            host = port = None
        if host is None or port is None:
            raise ConfigError(
                f"on='{name.lower()}:{address}' has no address of the form HOST:PORT, such as "
                f"127.0.0.1:8786, after the engine."
            )
        try:
            socket.create_connection((host, port), timeout=ANSWER_SECONDS).close()
            _ask(*cls.question, address)
        except (OSError, ValueError) as error:
            raise cls.unanswered(address, error) from None

    @classmethod
    def unanswered(cls, address: str, error: BaseException) -> ConfigError:
        """The error for an address where no cluster is."""
        return ConfigError(
            f"No cluster answers at the address in on='{cls.__name__.lower()}:{address}': {error}. "
            f"Compare it with what the cluster said when it was started."
        )


@lru_cache  # it takes seconds; what has answered is still a cluster while something listens there
def _ask(*question: str) -> None:
    """Raises OSError unless a cluster answers.

    A process asks: the libraries would wait for minutes for what says nothing.
    """
    command = [sys.executable, *question]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        raise OSError(f"no answer within {ANSWER_SECONDS:g} s") from None
    if asked.returncode != 0:  # a process of Ray's that misses a token aborts with a long trace
        lines = re.findall(r"Check failed: (.*)|(.*Error.*)", asked.stderr) or [("no cluster", "")]
        raise OSError("".join(lines[-1]))
