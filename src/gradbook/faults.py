"""What goes wrong where several processes train together: one is lost, or one has an error.

What is told of that, and which of them tells it.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache, partial
from typing import Any

import torch
import torch.distributed as dist

from gradbook import launched
from gradbook.errors import RankLostError, told


@contextmanager
def collectively() -> Iterator[None]:
    """What all ranks do together; a rank that is lost meanwhile is told as that.

    Raises:
        RankLostError: If PyTorch could not reach one.
    """
    try:
        yield
    except torch.OutOfMemoryError:  # a RuntimeError as well, and this rank's own
        raise
    except RuntimeError as error:
        raise lost(error) from error


def lost(error: BaseException) -> RankLostError:
    """What is said instead of an error of PyTorch's that another rank has caused."""
    # Without where in PyTorch's source that was, and gloo's advice to its own developers.
    reason = re.sub(r"\[/\S+\] ", "", told(error)).partition(". This is typically")[0]
    if "connectFullMesh" in reason and "remote=[127." in reason:
        return RankLostError(
            f"The processes cannot connect to each other ({reason}). If they are on several "
            f"machines, one's own name leads to 127.x.x.x there, which no other can reach: give it "
            f"the machine's address in /etc/hosts, or name the network interface that is to be "
            f"used, on each machine, in the variable GLOO_SOCKET_IFNAME."
        )
    return RankLostError(
        f"Another process of this training has ended or cannot be reached ({reason}). "
        f"What was reached is in the last checkpoint of its run, if it keeps one."
    )


@cache
def tell_errors_once() -> None:
    """From now on, an error that ends several ranks is shown by one of them, with its rank."""
    sys.excepthook = partial(_tell_error, sys.excepthook)


def _tell_error(before: Any, kind: type, error: BaseException, trace: Any) -> None:
    if not tells(error):
        return
    rank = os.environ.get("RANK")
    if isinstance(error, RankLostError):
        print(f"Rank {rank} stops: {error}", file=sys.stderr, flush=True)
        return
    if not isinstance(error, KeyboardInterrupt):
        print(f"Rank {rank} has failed:", file=sys.stderr, flush=True)
    before(kind, error, trace)


def tells(error: BaseException) -> bool:
    """Whether this process is the one to show an error.

    That others were lost, and an interrupt, the first one on each machine tells. What several
    ranks have come by, as a setting that cannot be used, tells the first to come by it.
    """
    if not launched.is_launched():
        return True
    if isinstance(error, RankLostError | KeyboardInterrupt):
        return launched.local_rank() == 0
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=2),
        )
        return bool(store.add(f"gradbook/told/{launched.num_restarts()}/{told(error)}", 1) == 1)
    except (RuntimeError, ValueError, KeyError):  # who keeps the store may have ended
        return True
