"""Programs that are started in several processes, and numbers that come out of them."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from tests.patience import LONGEST

ROOT = Path(__file__).parent.parent


def environment(**more):
    """Of the programs that are started: they find the tests, and are quick."""
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GRADBOOK_OFFLINE": "1"}
    return {
        **os.environ,
        **own,
        "GRADBOOK_DISPLAY": "off",
        "GRADBOOK_TIMEOUT_SECONDS": "60",
        **more,
    }


def torchrun(num_processes, *words):
    """The command that starts a script in several processes."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*run, "--nproc-per-node", str(num_processes), *map(str, words)]


def launched(num_processes, *words, **more):
    """Starts it, waits for its end, and returns what it has said and how it has ended."""
    return subprocess.run(
        torchrun(num_processes, *words),
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


def assert_close(ours, theirs):
    """Numbers that are the same but for the last digits."""
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, equal_nan=True)
