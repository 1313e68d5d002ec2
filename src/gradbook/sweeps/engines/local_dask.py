"""A Dask cluster of one's own, in processes of this machine."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from gradbook.errors import ConfigError
from gradbook.sweeps.engines.call import THREAD_VARIABLES

#: How long a cluster of ours may take to start.
START_SECONDS = 60.0


class LocalDask:
    """A scheduler and workers.

    Dask's LocalCluster would run the user's script once more in each worker, and would have its
    scheduler in a thread of this process.
    """

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._folder = Path(tempfile.mkdtemp(prefix="gradbook-dask-"))

    def start(self, num_workers: int, num_threads: int) -> str:
        """Starts the scheduler and the workers, and gives the scheduler's address."""
        file = self._folder / "scheduler.json"
        self._run("scheduler", file, num_threads, "--host", "127.0.0.1", "--port", "0")
        self._run(
            "worker",
            file,
            num_threads,
            *("--nworkers", str(num_workers), "--nthreads", "1"),
            *("--local-directory", str(self._folder), "--memory-limit", "0"),
            *("--death-timeout", f"{START_SECONDS:g}"),
        )
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and all(p.poll() is None for p in self._processes):
            with suppress(OSError, ValueError, KeyError):  # not there yet, or half written
                return str(json.loads(file.read_text())["address"])
            time.sleep(0.05)
        said = (self._folder / "log.txt").read_text(errors="replace").strip().splitlines()
        raise ConfigError(f"A local Dask cluster cannot be started: {(said or ['it ended'])[-1]}")

    def _run(self, part: str, file: Path, num_threads: int, *options: str) -> None:
        variables = {
            **os.environ,
            **dict.fromkeys(THREAD_VARIABLES, str(num_threads)),
            "DASK_TEMPORARY_DIRECTORY": str(self._folder),
            # Not as many as it likes, but as we do: we retry, and count.
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
            # Should this process be killed, its cluster ends by itself.
            "DASK_DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT": "600s",
        }
        command = [sys.executable, "-m", f"distributed.cli.dask_{part}"]
        with open(self._folder / "log.txt", "ab") as log:
            process = subprocess.Popen(
                [*command, "--scheduler-file", str(file), "--no-dashboard", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=variables,
                start_new_session=True,  # Ctrl-C is for this process alone
            )
        self._processes.append(process)

    def end(self) -> None:
        """Ends all processes at once: no call is left that could lose anything."""
        for process in reversed(self._processes):
            with suppress(ProcessLookupError):
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
