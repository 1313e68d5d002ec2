"""Calls on a Ray cluster."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from gradbook.errors import ConfigError, MissingExtraError
from gradbook.sweeps.engines.call import THREAD_VARIABLES, Call, failure, perform
from gradbook.sweeps.engines.engine import (
    ANSWER_SECONDS,
    Engine,
    Lost,
    check_answers,
    unanswered,
)


class Ray(Engine):
    """A Ray cluster: at an address, or the one that this process is connected to, or our own."""

    @classmethod
    def check(cls, address: Any) -> None:
        """Raises MissingExtraError without Ray, ConfigError where no cluster answers."""
        # Ray asks whether it may report its use at the first start, and takes silence for a yes.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import_module("ray")
        except ModuleNotFoundError:
            raise MissingExtraError.of("ray", "Running on Ray", "ray") from None
        if address not in (None, "auto", "local"):  # Ray's own words
            check_answers("ray", address, _ask)

    @classmethod
    def exists(cls, address: Any) -> bool:
        """Whether there is an address, or a connection already."""
        return address is not None or import_module("ray").is_initialized()

    def open(self) -> None:
        """Connects, unless this process is connected, and prepares the task."""
        self._ray = ray = import_module("ray")
        self._session: Path | None = None
        self._is_connected_here = not ray.is_initialized()
        if self._is_connected_here:
            with _own_signals():
                self._connect()
        if not self.num_workers:
            num_cpus = ray.cluster_resources().get("CPU", 1)
            self.num_workers = max(1, int(num_cpus) // self.num_threads)
        self._task = ray.remote(perform).options(
            max_retries=0,  # we retry, and count
            num_cpus=self.num_threads if self.is_elsewhere else 1,
        )

    def _connect(self) -> None:
        # Without this a call that asks for no accelerator is shown none.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        variables = dict.fromkeys(THREAD_VARIABLES, str(self.num_threads))
        variables["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
        options: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": "error",
            "runtime_env": {"env_vars": variables},
        }
        if self.address is None:
            options |= {"num_cpus": self.num_workers, "include_dashboard": False}
        try:
            context = self._ray.init(self.address or "local", **options)
        except (Exception, SystemExit) as error:  # Ray has many, and no base for them
            if self.address is not None:
                raise unanswered("ray", self.address, str(error)) from None
            raise ConfigError(f"A local Ray cluster cannot be started: {error}") from None
        if self.address is None:
            self._session = Path(context.address_info["session_dir"])

    def submit(self, index: int, call: Call) -> None:
        """Begins a task."""
        self.running[self._task.remote(call)] = index

    def ended(self, timeout: float | None) -> Iterable[Any]:
        """Waits for a task."""
        ended: list[Any]
        ended, _ = self._ray.wait(list(self.running), num_returns=1, timeout=timeout)
        return ended

    def reply(self, handle: Any) -> bytes | Lost:
        """What a task returned, or why there is nothing."""
        try:
            reply: bytes = self._ray.get(handle)
        except self._ray.exceptions.RayTaskError as error:  # the worker lacks what we need of it
            return failure(f"the worker failed: {error.cause!r}")
        except self._ray.exceptions.RayError as error:
            return Lost(f"its Ray worker was lost: {str(error).splitlines()[0]}")
        return reply

    def interrupt(self) -> None:
        """Has Ray raise KeyboardInterrupt in the tasks."""
        for handle in self.running:
            self._ray.cancel(handle, force=False)

    def close(self) -> None:
        """Ends the tasks, and the connection if it is ours; of our own cluster, its files too."""
        for handle in self.running:
            with suppress(Exception):  # a cluster that is gone
                self._ray.cancel(handle, force=True)
        if self._is_connected_here:
            self._ray.shutdown()
        if self._session is not None:
            shutil.rmtree(self._session, ignore_errors=True)
            latest = self._session.with_name("session_latest")
            if latest.is_symlink() and not latest.exists():
                latest.unlink(missing_ok=True)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Puts the handler of SIGTERM back, which Ray replaces."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@lru_cache  # it takes seconds; what has answered is still Ray while something listens there
def _ask(address: str) -> None:
    """Raises OSError unless Ray answers. A process asks, for Ray would wait for two minutes."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        raise OSError(f"no answer within {ANSWER_SECONDS:g} s") from None
    if asked.returncode != 0:  # a process of Ray's that misses a token aborts with a long trace
        lines = re.findall(r"Check failed: (.*)|(.*Error.*)", asked.stderr) or [("no Ray", "")]
        raise OSError("".join(lines[-1]))
