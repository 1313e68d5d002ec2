"""One training in several processes, each with a part of every batch.

Started by `torchrun`, each process runs the same script. The processes are called ranks. All have
the whole model and come by the same batches; of each batch every rank takes its own rows, and at
the end of the backward pass the gradients of all become those of the whole batch. So each rank
takes the same step, and the numbers are those of one process, but for the last digits: sums are
added up in another order.

This is the only file that knows of `torch.distributed`. Whatever else takes part in a training asks
its `Group`, and a single process is one, too.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache, partial
from typing import Any

import torch
import torch.distributed as dist

from gradbook import devices, record
from gradbook.errors import ConfigError, GradbookWarning, RankLostError, told
from gradbook.interrupts import SIGNALS, Interrupts

#: How many seconds a rank waits for the others before it takes them for lost, and the variable of
#: the environment that says otherwise. What the first rank does alone, as to look for the cause of
#: a divergence, has to be done by then.
TIMEOUT_SECONDS, TIMEOUT_VARIABLE = 600, "GRADBOOK_TIMEOUT_SECONDS"

#: What any rank may ask of all: to stop, as one of the signals does, or to end the epoch.
_REQUESTS = {number: request for request, number in enumerate(SIGNALS)}
CUT = len(_REQUESTS)
NUM_REQUESTS = CUT + 1


class Group:
    """The processes of one training; this class is that of a single one.

    Attributes:
        rank: The number of this process, from 0.
        size: How many there are.
        speaks: Whether this is the process that shows and keeps what happens: the first.
        is_broken: Whether an error has parted the ranks, so that none can ask the others.
        launch: What tells this start of all ranks from others; it stays when they are restarted.
        num_restarts: How often all ranks were started again, because one was lost.
        seed: What the ranks' own random numbers depend on, beside the rank and the step.
    """

    rank, size, speaks, is_broken = 0, 1, True, False
    launch: str | None = None
    num_restarts = seed = 0

    def device(self) -> torch.device:
        """The accelerator that this process is to use."""
        return devices.gpu()

    @contextmanager
    def training(
        self, parameters: Sequence[torch.Tensor], buffers: Sequence[torch.Tensor]
    ) -> Iterator[None]:
        """While it lasts, gradients and recorded values are those of all ranks.

        Args:
            parameters: What is trained.
            buffers: What layers count and average besides, as a BatchNorm does.
        """
        yield

    def settle(self) -> None:
        """Gives buffers the mean of what the ranks have, as validation and checkpoints need it."""

    @contextmanager
    def stepping(
        self, whole: Any, num_examples: int, weigh: Callable[[Any], float], number: tuple[int, ...]
    ) -> Iterator[Any]:
        """While it lasts, this rank trains on its part of a batch, which it is given.

        Args:
            whole: The batch.
            num_examples: How many examples it has; 0 where that cannot be told.
            weigh: Says how much a batch counts: see `Module.loss_weight`.
            number: What tells the step from all others of the training.
        """
        yield whole

    @contextmanager
    def aside(self) -> Iterator[None]:
        """While it lasts, this process computes alone, whatever it computes."""
        yield

    def shared(self, value: Any) -> Any:
        """The first rank's value, on all ranks. Others need not have it."""
        return value

    def align(self, tensors: Iterable[torch.Tensor]) -> None:
        """Gives tensors the first rank's values."""

    def check_same(self, described: Mapping[str, Any]) -> None:
        """Raises ConfigError, on all ranks, unless this is the same on all.

        Args:
            described: What is compared, each with its name.
        """

    def ask_to_cut(self, position: Any) -> None:
        """Has the running epoch end for all ranks after the same step.

        Args:
            position: The `Position` of the training, whose `is_cut` is set when all know.
        """
        position.is_cut = True

    def heed(self, interrupts: Interrupts, training: Any, at_once: bool = False) -> None:
        """Raises what a signal stands for that has come to any rank, on all after the same step.

        Args:
            interrupts: What keeps the signals of this rank waiting.
            training: The training; before all ranks stop, its `settle()` is called.
            at_once: Whether all ranks are here, so that nothing has to wait for the next step.
        """
        interrupts.raise_pending()

    def first_of(self, value: Any) -> Any:
        """The value of the first rank that has one which is not None, on all ranks."""
        return value

    def wait(self) -> None:
        """Waits until all ranks have come here."""

    def next_launch(self) -> str | None:
        """What tells the training that begins from all others; None in a single process."""
        return None


class Ranks(Group):
    """Several processes that `torch.distributed` has joined.

    Attributes:
        share: How much of the running step's batch this rank has, from 0 to 1; None where none
            runs, or this process computes alone.
    """

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.speaks = self.rank == 0
        self.launch = os.environ.get("TORCHELASTIC_RUN_ID", "none")
        if self.launch == "none":  # by no agent, or by one that was given no name
            self.launch = f"{os.environ.get('MASTER_PORT')}-{os.getppid()}"
        self.num_restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
        self._num_trainings = 0
        self.share: float | None = None
        self._parameters: list[torch.Tensor] = []
        self._is_queued = False
        self._asked, self._agreed = [False] * NUM_REQUESTS, [False] * NUM_REQUESTS

    def device(self) -> torch.device:
        """The accelerator that this process is to use: each on a machine has one of its own."""
        return devices.gpu(int(os.environ.get("LOCAL_RANK", self.rank)))

    @contextmanager
    def training(
        self, parameters: Sequence[torch.Tensor], buffers: Sequence[torch.Tensor]
    ) -> Iterator[None]:
        """While it lasts, gradients and recorded values are those of all ranks."""
        self._parameters = list(parameters)
        self._buffers = [each for each in buffers if each.is_floating_point()]
        self.is_broken = False
        kinds = dict.fromkeys((each.dtype, each.device) for each in parameters)
        self._kinds = [
            [each for each in parameters if (each.dtype, each.device) == kind]
            for kind in sorted(kinds, key=lambda kind: kind[0] != torch.float32)
        ]
        self._asked, self._agreed = [False] * NUM_REQUESTS, [False] * NUM_REQUESTS
        hooks = [self._hooked(each) for each in self._parameters]
        record.joining = self
        try:
            yield
        except Exception:
            self.is_broken = True  # the others are elsewhere: nothing can be asked of them
            raise
        finally:
            record.joining, self._parameters, self._buffers = None, [], []
            for hook in hooks:
                hook.remove()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """While it lasts, this process computes alone, whatever it computes."""
        before = record.joining, self.share
        record.joining = self.share = None
        try:
            yield
        finally:
            record.joining, self.share = before

    # Batches

    @contextmanager
    def stepping(
        self, whole: Any, num_examples: int, weigh: Callable[[Any], float], number: tuple[int, ...]
    ) -> Iterator[Any]:
        """While it lasts, this rank trains on its part of a batch, which it is given.

        Where there are fewer rows than ranks, some have the first one, which counts for nothing
        there. A batch of which nobody knows how many examples it has is trained on by all ranks.

        Random numbers that are drawn meanwhile, as by dropout, are the rank's own, and depend on
        nothing but the number of the step. Afterwards those go on that all ranks have in common.
        """
        part, self.share = whole, 1 / self.size
        begin = num_examples * self.rank // self.size
        end = num_examples * (self.rank + 1) // self.size
        if num_examples:
            part = _cut(whole, num_examples, begin, max(end, begin + 1))
            self.share = weigh(part) / (weigh(whole) or 1) if end > begin else 0.0
        state = torch.get_rng_state()
        torch.manual_seed(hash((self.seed, self.rank, *number)) % 2**63)
        try:
            yield part
        finally:
            torch.set_rng_state(state)
            self.share = None

    # Gradients and recorded values

    def _hooked(self, parameter: Any) -> Any:
        return parameter.register_post_accumulate_grad_hook(self._arm)

    def _arm(self, parameter: torch.Tensor) -> None:
        """A gradient is there: at the end of this backward pass, all of them are reduced."""
        if self.share is not None and not self._is_queued:
            self._is_queued = True
            # Where DistributedDataParallel, too, says what follows a backward pass.
            torch.autograd.Variable._execution_engine.queue_callback(self._reduce)

    def _reduce(self) -> None:
        """Makes this rank's gradients those of the whole batch.

        They become the sum of what the ranks have, each times its share. What an earlier pass has
        left in them is the same on all ranks and comes out as it is, because all shares together
        are 1. So gradients may be accumulated over several passes, by whatever loop.
        """
        self._is_queued = False
        if self.share is None:
            return
        has_any = [float(each.grad is not None) for each in self._parameters]
        told = torch.tensor([*map(float, self._asked), *has_any])
        with torch.no_grad():
            for i, of_kind in enumerate(self._kinds):
                parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in of_kind]
                flat = torch.cat([part.reshape(-1) for part in parts]).mul_(self.share)
                if i == 0:  # in one message with what else is to be known
                    message = torch.cat([flat, told.to(flat)])
                    self._sum(message)
                    flat, told = message[: len(flat)], message[len(flat) :].cpu()
                    self._agreed = (told[:NUM_REQUESTS] > 0).tolist()
                    has_any = told[NUM_REQUESTS:].tolist()
                else:
                    self._sum(flat)
                sizes = [parameter.numel() for parameter in of_kind]
                for parameter, part in zip(of_kind, torch.split(flat, sizes), strict=True):
                    if parameter.grad is None:
                        parameter.grad = part.view_as(parameter).clone()
                    else:
                        parameter.grad.copy_(part.view_as(parameter))
            for parameter, count in zip(self._parameters, has_any, strict=True):
                if not count:  # on no rank
                    parameter.grad = None

    def part_of(self, value: torch.Tensor | float) -> torch.Tensor | float:
        """What this rank adds to a value that is recorded; what is not of a batch, all have."""
        return value * (1 / self.size if self.share is None else self.share)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks of values, each of which is its rank's part of one."""
        self._sum(values)
        return values

    def _sum(self, tensor: torch.Tensor) -> None:
        with _together():
            dist.all_reduce(tensor)

    # What all ranks are to know

    def shared(self, value: Any) -> Any:
        """The first rank's value, on all ranks. Others need not have it."""
        held = [value if self.speaks else None]
        with _together():
            dist.broadcast_object_list(held)
        return held[0]

    def align(self, tensors: Iterable[torch.Tensor]) -> None:
        """Gives tensors the first rank's values."""
        with torch.no_grad(), _together():
            for tensor in tensors:
                dist.broadcast(tensor.detach(), 0)

    def settle(self) -> None:
        """Gives buffers the mean of what the ranks have, as validation and checkpoints need it."""
        with torch.no_grad():
            for buffer in self._buffers:
                self._sum(buffer.div_(self.size))

    def check_same(self, described: Mapping[str, Any]) -> None:
        """Raises ConfigError, on all ranks, unless this is the same on all."""
        every = self._gathered(dict(described))
        for rank, other in enumerate(every[1:], start=1):
            differing = [name for name in every[0] if other.get(name) != every[0][name]]
            if differing:
                raise ConfigError(
                    f"The processes do not train the same: {' and '.join(differing)} of rank "
                    f"{rank} differ from rank 0's. All run one script, and have to come by the "
                    f"same model and data: call gradbook.seed_everything(1) at its beginning, and "
                    f"let nothing depend on the process."
                )

    def ask_to_cut(self, position: Any) -> None:
        """Has the running epoch end for all ranks after the same step."""
        self._asked[CUT] = True

    def heed(self, interrupts: Interrupts, training: Any, at_once: bool = False) -> None:
        """Raises what a signal stands for that has come to any rank, on all after the same step.

        What is asked for becomes known to all ranks with the gradients of the next step.
        """
        if interrupts.pending is not None:
            self._asked[_REQUESTS[interrupts.pending]] = True
        if at_once:
            asked = torch.tensor([float(asked) for asked in self._asked])
            self._sum(asked)
            self._agreed = (asked > 0).tolist()
        if not any(self._agreed):
            return
        agreed, self._agreed = self._agreed, [False] * NUM_REQUESTS
        self._asked = [False] * NUM_REQUESTS
        if agreed[CUT]:
            training.position.is_cut = True
        for number, request in _REQUESTS.items():
            if agreed[request]:
                training.settle()
                interrupts.raise_pending(number)

    def first_of(self, value: Any) -> Any:
        """The value of the first rank that has one which is not None, on all ranks."""
        return next((each for each in self._gathered(value) if each is not None), None)

    def _gathered(self, value: Any) -> list[Any]:
        every: list[Any] = [None] * self.size
        with _together():
            dist.all_gather_object(every, value)
        return every

    def next_launch(self) -> str | None:
        """What tells the training that begins from all others, also after a restart."""
        self._num_trainings += 1
        return f"{self.launch}/{self._num_trainings}"

    def wait(self) -> None:
        """Waits until all ranks have come here."""
        with _together():
            dist.barrier()


def _cut(batch: Any, num_examples: int, begin: int, end: int) -> Any:
    """The rows of whatever has a row for each example; the rest as it is."""
    if isinstance(batch, torch.Tensor):
        is_of_rows = batch.dim() > 0 and len(batch) == num_examples
        return batch[begin:end] if is_of_rows else batch
    if isinstance(batch, Mapping):
        return {name: _cut(value, num_examples, begin, end) for name, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_cut(part, num_examples, begin, end) for part in batch))
    if isinstance(batch, list | tuple):
        is_of_rows = len(batch) == num_examples and not isinstance(batch[0], torch.Tensor)
        if is_of_rows and not isinstance(batch[0], list | tuple | Mapping):  # texts, numbers
            return batch[begin:end]
        return type(batch)(_cut(part, num_examples, begin, end) for part in batch)
    return batch


# Joining


def is_launched() -> bool:
    """Whether this process is one of several that were started together, as by torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1") or 1) > 1 and "RANK" in os.environ


@contextmanager
def _together() -> Iterator[None]:
    """What all ranks do together; a rank that is lost meanwhile is told as that."""
    try:
        yield
    except RuntimeError as error:
        raise RankLostError(
            f"Another process of this training has ended or cannot be reached ({told(error)}). "
            f"What was reached is in the last checkpoint of its run, if it keeps one."
        ) from error


@cache
def _joined() -> Group:
    if not dist.is_initialized():
        accelerator = torch.accelerator.current_accelerator() if devices.num_gpus() else None
        backend = "cpu:gloo"
        if accelerator is not None:
            backend += f",{accelerator.type}:{dist.get_default_backend_for_device(accelerator)}"
        seconds = float(os.environ.get(TIMEOUT_VARIABLE, TIMEOUT_SECONDS))
        with _together():
            dist.init_process_group(backend, timeout=timedelta(seconds=seconds))
    group = Ranks()
    if not group.speaks:  # what is to be said is said once
        warnings.filterwarnings("ignore", category=GradbookWarning)
    sys.excepthook = partial(_tell_error, group.rank, sys.excepthook)
    return group


def _tell_error(rank: int, before: Any, kind: type, error: BaseException, trace: Any) -> None:
    """Shows an error once: where it was made, and not on all who have lost that rank."""
    if isinstance(error, RankLostError) or (isinstance(error, KeyboardInterrupt) and rank):
        return
    if not isinstance(error, KeyboardInterrupt):
        print(f"Rank {rank} has failed:", file=sys.stderr, flush=True)
    before(kind, error, trace)


def group() -> Group:
    """The processes that this one trains with; joins them when it is first asked for."""
    return _joined() if is_launched() else Group()
