"""What a process knows of those that were started together with it, as by `torchrun`.

It stands in the environment, by the names that PyTorch has for it.
"""

import os
import sys


def is_launched() -> bool:
    """Whether this process is one of several that were started together."""
    return size() > 1 and "RANK" in os.environ


def size() -> int:
    """How many processes were started together."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def local_size() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or 1) if is_launched() else 1


def local_rank() -> int:
    """The number of this one among those on this machine, from 0."""
    return int(os.environ.get("LOCAL_RANK") or 0) if is_launched() else 0


def max_restarts() -> int:
    """How often an agent may start all of them again."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS") or 0)


def num_restarts() -> int:
    """How often the agent of this machine has done so, because one of its own was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0)


def speaks() -> bool:
    """Whether this is the process that shows and keeps what happens: a single one, or the first."""
    return not is_launched() or os.environ["RANK"] == "0"


def start_command(num_processes: int) -> str:
    """What starts the running script in several processes, as words that follow a comma."""
    how = f"torchrun --standalone --nproc-per-node {num_processes}"
    if sys.argv[0].endswith(".py"):
        return f"start it with `{how} {sys.argv[0]}`"
    return f"keep the code in a script, and start it with `{how} script.py`"
