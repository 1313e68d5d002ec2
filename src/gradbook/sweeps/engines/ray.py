"""Calls on a Ray cluster."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from gradbook.errors import ConfigError
from gradbook.sweeps.engines.call import THREAD_VARIABLES, Call, perform
from gradbook.sweeps.engines.cluster import Cluster


class Ray(Cluster):
    """A Ray cluster: at an address, or the one that this process is connected to, or our own."""

    package = "ray"
    question = ("-m", "ray.scripts.scripts", "status", "--address")
    own_addresses = ("auto", "local")

    @classmethod
    def check(cls, address: Any) -> None:
        """Raises MissingExtraError without Ray, ConfigError where no cluster answers."""
        # Ray asks whether it may report its use at the first start, and takes silence for a yes.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray would replace this process's print by one that takes a lock. A look at a step that
        # prints is stopped in the middle of it, and the next print would wait for ever.
        os.environ.setdefault("RAY_TQDM_PATCH_PRINT", "0")
        super().check(address)

    @classmethod
    def exists(cls, address: Any) -> bool:
        """Whether there is an address, or a connection already."""
        return address is not None or import_module("ray").is_initialized()

    @contextmanager
    def workers(self) -> Iterator[None]:
        """Connects, unless this process is connected.

        When left, ends the tasks, and the connection if it is ours; of our own cluster, its files
        too.
        """
        self._ray = ray = import_module("ray")
        self._refs: WeakKeyDictionary[Future[bytes], Any] = WeakKeyDictionary()
        with ExitStack() as stack:
            if not ray.is_initialized():
                self._connect(stack)
            if not self.num_workers:
                num_cpus = ray.cluster_resources().get("CPU", 1)
                self.num_workers = max(1, int(num_cpus) // self.num_threads)
            self._task = ray.remote(perform).options(
                max_retries=0,  # we retry, and count
                num_cpus=self.num_threads if self.is_elsewhere else 1,
            )
            try:
                yield
            finally:
                with suppress(Exception):  # a cluster that is gone
                    self._cancel(force=True)

    def _connect(self, stack: ExitStack) -> None:
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
        stack.callback(self._ray.shutdown)
        try:
            with _own_signals():
                context = self._ray.init(self.address or "local", **options)
        except (Exception, SystemExit) as error:  # Ray has many, and no base for them
            if self.address is not None:
                raise self.unanswered(self.address, error) from None
            raise ConfigError(f"A local Ray cluster cannot be started: {error}") from None
        if self.address is None:
            session = Path(context.address_info["session_dir"])
            stack.callback(_remove, session)
            # Before the files go, for callbacks are called in reverse: `shutdown` may come twice.
            stack.callback(self._ray.shutdown)

    def submit(self, call: Call) -> Future[bytes]:
        """Begins a task."""
        ref = self._task.remote(call)
        future: Future[bytes] = ref.future()
        self._refs[future] = ref
        return future

    def loss(self, error: Exception) -> str | None:
        """What Ray says of a worker that was lost."""
        errors = self._ray.exceptions
        if isinstance(error, errors.RayError) and not isinstance(error, errors.RayTaskError):
            return f"its Ray worker was lost: {str(error).splitlines()[0]}"
        return None

    def interrupt(self) -> None:
        """Has Ray raise KeyboardInterrupt in the tasks."""
        self._cancel(force=False)

    def _cancel(self, force: bool) -> None:
        for future in self.running:
            self._ray.cancel(self._refs[future], force=force)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Puts the handler of SIGTERM back, which Ray replaces."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _remove(session: Path) -> None:
    """Removes the files of a cluster of ours, and the link to them."""
    shutil.rmtree(session, ignore_errors=True)
    latest = session.with_name("session_latest")
    if latest.is_symlink() and not latest.exists():
        latest.unlink(missing_ok=True)
