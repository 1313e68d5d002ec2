"""How the processes that train together meet, also after a restart, and how they leave."""

import os
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import torch
import torch.distributed as dist

from gradbook import devices, launched
from gradbook.errors import ConfigError
from gradbook.faults import collectively

#: How many seconds a rank waits for the others before it takes them for lost, and the variable of
#: the environment that says otherwise. What the first rank does alone, as to look for the cause of
#: a divergence, has to be done by then.
TIMEOUT_SECONDS, TIMEOUT_VARIABLE = 600, "GRADBOOK_TIMEOUT_SECONDS"

#: How long a process waits at its end for its own threads.
_SECONDS_TO_LET_GO = 0.3


def meet() -> int:
    """Joins this process to the others, unless somebody else has; returns how often before.

    Returns:
        How often all ranks were started again, because one was lost; 0 where somebody else has
        joined them.

    Raises:
        ConfigError: If the seconds to wait are no such number.
        RankLostError: If the others do not come.
    """
    if dist.is_initialized():
        return 0
    # PyTorch's optimizers load it, too. Loaded after the group was made, it would keep the
    # group's threads beyond their end, where one that runs aborts the process.
    import torch._dynamo  # noqa: F401

    backend, accelerator = "gloo", devices.gpu()
    if devices.num_gpus() and (sending := backend_of(accelerator)):
        backend = f"cpu:gloo,{accelerator.type}:{sending}"
    timeout = timedelta(seconds=timeout_seconds())
    with collectively():
        rendezvous = dist.rendezvous  # type: ignore[attr-defined]
        store, rank, size = next(rendezvous("env://", timeout=timeout))
        ours, num_restarts = _part_of_this_start(store, rank, size)
        dist.init_process_group(backend, store=ours, rank=rank, world_size=size, timeout=timeout)
    return num_restarts


def _part_of_this_start(store: Any, rank: int, size: int) -> tuple[Any, int]:
    """A part of the store that only this start of all ranks has, and how many came before it.

    An agent that starts all again keeps the store, and in it what lost ranks have written. Its
    count of restarts does not tell the starts apart: an agent on another machine, which restarts
    because this one does, does not count that. So the first rank takes a name for the start, and
    waits until each of the others has answered to it with a name of its own; an answer that the
    first one has heard is no lost rank's.
    """
    name, count = uuid4().hex, launched.num_restarts()
    if rank == 0:
        count = max(count, store.add("gradbook/starts", 1) - 1)
        store.set("gradbook/first", name)
        answers = [f"gradbook/{name}/{other}" for other in range(1, size)]
        store.wait(answers)
        heard = [store.get(answer).decode() for answer in answers]
        count = max(count, *(int(each.split()[1]) for each in heard))
        store.set(f"gradbook/{name}/heard", " ".join([str(count), *heard]))
        return dist.PrefixStore(f"gradbook/{name}", store), count  # type: ignore[attr-defined]
    end = time.monotonic() + timeout_seconds()
    while time.monotonic() < end:
        first = store.get("gradbook/first").decode()  # or that of a start before, still
        store.set(f"gradbook/{first}/{rank}", f"{name} {count}")
        if store.check([f"gradbook/{first}/heard"]):
            total, *names = store.get(f"gradbook/{first}/heard").decode().split()
            if name in names:
                return dist.PrefixStore(f"gradbook/{first}", store), int(total)  # type: ignore[attr-defined]
        time.sleep(0.05)
    raise RuntimeError("rank 0 has not come")


def leave(is_broken: bool) -> None:
    """Leaves the others at the end of the program; its threads would not end otherwise.

    Args:
        is_broken: Whether an error has parted the ranks.
    """
    # An accelerator's collective that waits for a lost rank cannot be left.
    if dist.is_initialized() and not (is_broken and devices.num_gpus()):
        with suppress(RuntimeError):
            dist.destroy_process_group()
        # PyTorch's caches of tensors in parts keep the group's threads. One that still lets go of
        # what it has sent needs Python for it, and would abort the process once that has ended.
        time.sleep(_SECONDS_TO_LET_GO)


def backend_of(accelerator: torch.device) -> str | None:
    """What sends an accelerator's tensors; None where nothing does, as for Apple's MPS."""
    try:
        backend = dist.get_default_backend_for_device(accelerator)
    except ValueError:
        return None
    return backend if backend != "gloo" and dist.is_backend_available(backend) else None


def timeout_seconds() -> float:
    """How many seconds a rank waits for the others before it takes them for lost.

    Raises:
        ConfigError: If the environment has no such number.
    """
    given = os.environ.get(TIMEOUT_VARIABLE, str(TIMEOUT_SECONDS))
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise ConfigError(
            f"{TIMEOUT_VARIABLE} is {given!r}, but has to be a number of seconds above 0: as long "
            f"as a process waits for the others before it takes them for lost."
        )
    return seconds
