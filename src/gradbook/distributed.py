"""One training in several processes, each with a part of every batch.

Started by `torchrun`, each process runs the same script. The processes are called ranks. All have
the whole model and come by the same batches; of each batch every rank takes its own rows, and at
the end of the backward pass the gradients of all become those of the whole batch. So each rank
takes the same step, and the numbers are those of one process, but for the last digits: sums are
added up in another order.

Whatever takes part in a training asks its `Group`, and a single process is one, too. How the ranks
meet is in `meeting.py`, what goes wrong among them in `faults.py`, and what they send each other in
`message.py`.
"""

import atexit
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from typing import Any

import torch
import torch.distributed as dist

from gradbook import devices, launched, record
from gradbook.batchnorm import other_averages, running_means, synchronized
from gradbook.errors import ConfigError, GradbookWarning, ModelError, told, warn
from gradbook.faults import collectively, lost, tell_errors_once
from gradbook.hparams import differences, shortened
from gradbook.interrupts import SIGNALS, Interrupts
from gradbook.meeting import backend_of, leave, meet
from gradbook.message import Message, give
from gradbook.parts import is_sharded
from gradbook.record import Meter
from gradbook.rows import Rows, cut, has_rows
from gradbook.seeds import draw_from, other_numbers
from gradbook.sharding import Alone, Sharding, is_connection_error, wrong_use

#: What any rank may ask of all: to stop, as one of the signals does, or to end the epoch.
_REQUESTS = {number: request for request, number in enumerate(SIGNALS)}
CUT = len(_REQUESTS)
NUM_REQUESTS = CUT + 1

#: A signal is heeded in a validation after so many batches, where no gradients carry the word.
BATCHES_BETWEEN_WORDS = 16


#: How much a batch counts: see `Module.loss_weight`.
Weigh = Callable[[Any], float | torch.Tensor | None]


class Group:
    """The processes of one training; this class is that of a single one.

    Attributes:
        rank: The number of this process, from 0.
        size: How many there are.
        speaks: Whether this is the process that shows and keeps what happens: the first.
        is_broken: Whether an error has parted the ranks, so that none can ask the others.
        num_restarts: How often all ranks were started again, because one was lost.
        seed: What the ranks' own random numbers depend on, beside the rank and the step.
    """

    rank, size, speaks, is_broken = 0, 1, True, False
    num_restarts = seed = 0

    def device(self) -> torch.device:
        """The accelerator that this process is to use."""
        return devices.gpu()

    @contextmanager
    def normalizing(self, model: Any, together: bool, device: torch.device) -> Iterator[None]:
        """While it lasts, BatchNorm layers may normalize the rows of all ranks together.

        Args:
            model: The model.
            together: Whether they are to.
            device: Where the model is.

        Raises:
            ConfigError: If they cannot.
        """
        yield

    @contextmanager
    def sharding(
        self, model: Any, device: torch.device, at_end: Callable[[], None]
    ) -> Iterator[Sharding | None]:
        """While it lasts, each rank holds a part of every parameter.

        Args:
            model: The model, whole and the same on all ranks. Afterwards it is whole again, unless
                an error has parted the ranks.
            device: Where each rank keeps its part.
            at_end: What else is to be done then by all ranks.
        """
        yield None

    @contextmanager
    def training(self, parameters: Sequence[torch.Tensor], model: Any) -> Iterator[None]:
        """While it lasts, gradients and recorded values are those of all ranks.

        Args:
            parameters: What is trained.
            model: The model, whose layers may count and average besides, as a BatchNorm does.
        """
        yield

    def settle(self) -> None:
        """Gives all ranks the mean of what layers of a learner's own average outside parameters."""

    def part(self, whole: Any, num_examples: int) -> Any:
        """What this rank trains on of a batch that has so many examples."""
        return whole

    def stepping(
        self,
        whole: Any,
        num_examples: int,
        weigh: Weigh | None,
        number: tuple[int, ...],
    ) -> AbstractContextManager[Any]:
        """While it lasts, this rank trains on its part of a batch, which it is given.

        Args:
            whole: The batch.
            num_examples: How many examples it has; 0 where that cannot be told.
            weigh: Says how much a batch counts, if the model does: see `Module.loss_weight`.
            number: What tells the step from all others of the training.
        """
        return nullcontext(whole)  # quicker than a generator, once in each step

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

    def complete(self) -> None:
        """Makes whole what was recorded since the last gradients."""

    def heed(self, interrupts: Interrupts, training: Any, is_epoch_over: bool = False) -> None:
        """Raises what a signal stands for that has come to any rank, on all after the same step.

        Args:
            interrupts: What keeps the signals of this rank waiting.
            training: The training; before all ranks stop, its `settle()` is called.
            is_epoch_over: Whether an epoch is, so that there is nothing of it left to cut.
        """
        interrupts.raise_pending()

    def first_of(self, value: Any) -> Any:
        """The value of the first rank that has one which is not None, on all ranks."""
        return value

    def next_launch(self) -> str | None:
        """What tells the training that begins from all others; None in a single process."""
        return None


class Ranks(Group):
    """Several processes that `torch.distributed` has joined."""

    def __init__(self, num_restarts: int = 0) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.speaks = self.rank == 0
        # What tells this start of all ranks from others; it stays when they are restarted.
        self._start = os.environ.get("TORCHELASTIC_RUN_ID", "none")
        if self._start == "none":  # by no agent, or by one that was given no name
            self._start = f"{os.environ.get('MASTER_PORT')}-{os.getppid()}"
        self.num_restarts = num_restarts
        self._num_trainings, self._is_sharded = 0, False
        self._model: Any = None
        self._settle_down([])

    def _settle_down(self, parameters: Sequence[torch.Tensor]) -> None:
        """No step runs, and nothing is asked for."""
        self._share: Callable[[], float] = lambda: 1 / self.size
        self.is_broken = False
        self._in_step = self._is_queued = self._is_agreed = self._has_cut = False
        self._asked, self._agreed = [False] * NUM_REQUESTS, [False] * NUM_REQUESTS
        self._parameters = list(parameters)
        self._noted: list[Meter] = []

    @property
    def share(self) -> float:
        """How much of the running step's batch this rank has, from 0 to 1.

        Outside of steps, all have the same of everything.
        """
        return self._share()

    def device(self) -> torch.device:
        """The accelerator that this process is to use: each on a machine has one of its own.

        From here on it is the one that PyTorch means without a number, as of random numbers.

        Raises:
            ConfigError: If its kind cannot send gradients to other processes.
        """
        device = devices.gpu(launched.local_rank())
        if backend_of(device) is None:
            raise ConfigError(
                f"{self.size} processes cannot train together on {device.type}: this PyTorch has "
                f"no way to send what is there to another process. Train in one process, or on "
                f"the CPU with num_gpus=0."
            )
        torch.accelerator.set_device_index(device.index)
        return device

    @contextmanager
    def normalizing(self, model: Any, together: bool, device: torch.device) -> Iterator[None]:
        """While it lasts, BatchNorm layers may normalize the rows of all ranks together."""
        with synchronized(model, self.size, together, device):
            yield

    @contextmanager
    def sharding(
        self, model: Any, device: torch.device, at_end: Callable[[], None]
    ) -> Iterator[Sharding]:
        """While it lasts, each rank holds a part of every parameter."""
        self._settle_down([])
        sharding = Sharding(model, device, lambda: self.share)
        self._is_sharded = True
        try:
            yield sharding
        except BaseException as error:
            self.is_broken = not self._is_agreed
            if is_connection_error(error):
                raise lost(error) from error
            if why := wrong_use(error):
                raise ModelError(
                    f"{type(model).__name__}, or its optimizer, {why}: {told(error)} With "
                    f'strategy="fsdp", the parameters of a layer are whole while its `forward` '
                    f"runs. Call the layer, share a weight by assignment, and leave a penalty "
                    f"over weights to weight_decay; or train without this strategy."
                ) from error
            raise
        finally:
            self._is_sharded = False
            if not self.is_broken:
                with collectively():
                    at_end()
                    sharding.make_whole()

    @contextmanager
    def training(self, parameters: Sequence[torch.Tensor], model: Any) -> Iterator[None]:
        """While it lasts, gradients and recorded values are those of all ranks."""
        _check_changes_nothing(model)
        whole = [each for each in parameters if not is_sharded(each)]
        self._settle_down(whole)
        self._model = model
        self._message = Message(whole, running_means(model), NUM_REQUESTS)
        hooks = [self._hooked(each) for each in parameters]
        record.joining = self
        try:
            yield
        except BaseException:
            self.is_broken = not self._is_agreed  # the others are elsewhere, and cannot be asked
            raise
        finally:
            record.joining, self._model = None, None
            del self._message
            for hook in hooks:
                hook.remove()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """While it lasts, this process computes alone, whatever it computes."""
        before = record.joining, self._in_step
        record.joining, self._in_step = None, False
        try:
            with Alone() if self._is_sharded else nullcontext():  # type: ignore[no-untyped-call]
                yield
        finally:
            record.joining, self._in_step = before

    # Batches

    def part(self, whole: Any, num_examples: int) -> Any:
        """What this rank trains on of a batch that has so many examples."""
        return _at(self._place(whole, num_examples), whole)

    def _place(self, whole: Any, num_examples: int) -> tuple[int, int] | None:
        """Where in a batch this rank's rows begin and end; None if it cannot be cut."""
        if num_examples < 2 * self.size or not has_rows(whole, num_examples):
            return None
        begin, end = (num_examples * rank // self.size for rank in (self.rank, self.rank + 1))
        return begin, end

    @contextmanager
    def stepping(
        self,
        whole: Any,
        num_examples: int,
        weigh: Weigh | None,
        number: tuple[int, ...],
    ) -> Iterator[Any]:
        """While it lasts, this rank trains on its part of a batch, which it is given.

        All ranks train on the whole of a batch that cannot be cut: one of which nobody knows how
        many examples it has, or that has not two for each rank, as a BatchNorm needs them.

        Random numbers that are drawn meanwhile, as by dropout, are the rank's own, and depend on
        nothing but the number of the step. After the backward pass, where an optimizer may draw
        some, all ranks draw the same. Afterwards those go on that they have in common.
        """
        place = self._place(whole, num_examples)
        part = _at(place, whole)
        if place is None and not self._has_cut:
            self._tell_of_uncut(num_examples)
        self._has_cut = True  # or it was said
        if place is not None:
            mine: float | torch.Tensor | None = None
            of_all = None if weigh is None else weigh(whole)
            if weigh is not None and of_all is not None:
                mine = weigh(part)
            if mine is None or of_all is None:
                mine, of_all = place[1] - place[0], num_examples
            self._share = _share_of(mine, of_all, 1 / self.size)
        self._in_step, self._is_queued = True, False  # whatever has failed before
        self._common_seed = hash((self.seed, self.size, *number)) % 2**63
        try:
            with other_numbers(hash((self.seed, self.rank, *number)) % 2**63):
                yield part
        finally:
            self._in_step, self._share = False, lambda: 1 / self.size

    def _tell_of_uncut(self, num_examples: int) -> None:
        """Says that the first batch of a training cannot be cut, as then most of them cannot."""
        why = "they are not tensors that all have a row for each example"
        if 0 < num_examples < 2 * self.size:
            why = f"{num_examples} examples are not two for each"
        warn(
            f"These batches cannot be cut among {self.size} processes: {why}. So each process "
            f"trains on whole batches. The result is right, but takes as long as in one process.",
            GradbookWarning,
        )

    # Gradients and recorded values

    def _hooked(self, parameter: Any) -> Any:
        return parameter.register_post_accumulate_grad_hook(self._arm)

    def _arm(self, parameter: torch.Tensor) -> None:
        """A gradient is there: at the end of this backward pass, all of them are reduced."""
        if self._in_step and not self._is_queued:
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
        shares, asked = self._message.exchange(
            self.share, self._asked, self._noted_meters(), self._sum
        )
        self._agreed = [count > 0 for count in asked]
        draw_from(self._common_seed)  # an optimizer that draws has to draw alike on all ranks
        if not abs(shares - 1) <= 0.01:  # nor NaN
            raise ModelError(
                f"The parts of a batch count {shares:.3g} times as much as the whole batch, so "
                f"that its gradient is not the sum of theirs. {type(self._model).__name__}."
                f"loss_weight(batch) has to give a number that adds up, as the number of labels "
                f"does over which its loss is the mean."
            )

    def note(self, meter: Meter) -> None:
        """A meter has got a part of a value, which the next message makes whole."""
        self._noted.append(meter)

    def _noted_meters(self) -> list[Meter]:
        noted, self._noted = self._noted, []
        return [meter for meter in dict.fromkeys(noted) if meter.parts]

    def join(self, meters: Sequence[Meter]) -> None:
        """Makes whole what these have parts of."""
        parts = [float(part) for meter in meters for part in meter.parts]
        sums = torch.tensor(parts, dtype=torch.float64)
        self._sum(sums)
        give(meters, sums)

    def complete(self) -> None:
        """Makes whole what was recorded since the last gradients."""
        if meters := self._noted_meters():
            self.join(meters)

    def _sum(self, tensor: torch.Tensor) -> None:
        with collectively():
            dist.all_reduce(tensor)

    # What all ranks are to know

    def shared(self, value: Any) -> Any:
        """The first rank's value, on all ranks. Others need not have it."""
        held = [value if self.speaks else None]
        with collectively():
            dist.broadcast_object_list(held)
        return held[0]

    def align(self, tensors: Iterable[torch.Tensor]) -> None:
        """Gives tensors the first rank's values."""
        with torch.no_grad():
            for tensor in tensors:
                if tensor.layout == torch.strided:
                    sent = tensor.detach().contiguous()
                    with collectively():
                        dist.broadcast(sent, 0)
                    tensor.copy_(sent)

    def settle(self) -> None:
        """Gives all ranks the mean of what layers of a learner's own average outside parameters."""
        with torch.no_grad():
            for tensor in other_averages(self._model):
                first = tensor.contiguous().clone()
                with collectively():
                    dist.broadcast(first, 0)
                # What is the same on all ranks stays so to the last bit.
                difference = (tensor - first) / self.size
                self._sum(difference)
                tensor.copy_(first + difference)

    def check_same(self, described: Mapping[str, Any]) -> None:
        """Raises ConfigError, on all ranks, unless this is the same on all."""
        every = self._gathered(dict(described))
        for rank, other in enumerate(every[1:], start=1):
            found = [
                f"{path} is {shortened(mine, 60)} in rank 0 and {shortened(its, 60)} in rank {rank}"
                for path, mine, its in differences(every[0], other)
            ]
            if found:
                raise ConfigError(
                    f"The processes do not train the same: {'; '.join(found[:3])}. All run one "
                    f"script, and have to come by the same model and data: call "
                    f"gradbook.seed_everything(1) at its beginning, and let nothing depend on the "
                    f"process or its machine."
                )

    def ask_to_cut(self, position: Any) -> None:
        """Has the running epoch end for all ranks after the same step."""
        self._asked[CUT] = True

    def heed(self, interrupts: Interrupts, training: Any, is_epoch_over: bool = False) -> None:
        """Raises what a signal stands for that has come to any rank, on all after the same step.

        What is asked for becomes known to all ranks with the gradients of the next step. Where none
        follows soon, as in a validation, the ranks ask each other now and then.
        """
        if interrupts.pending is not None:
            self._asked[_REQUESTS[interrupts.pending]] = True
        position = training.position
        is_validating = position.split == "val" and not is_epoch_over
        if is_epoch_over or (is_validating and position.batches % BATCHES_BETWEEN_WORDS == 0):
            asked = torch.tensor([float(asked) for asked in self._asked])
            self._sum(asked)
            self._agreed = (asked > 0).tolist()
        if not any(self._agreed):
            return
        agreed, self._agreed = self._agreed, [False] * NUM_REQUESTS
        self._asked = [False] * NUM_REQUESTS
        position.is_cut |= agreed[CUT] and not is_epoch_over
        for number, request in _REQUESTS.items():
            if agreed[request]:
                training.settle()
                self._is_agreed = True
                interrupts.raise_pending(number)

    def first_of(self, value: Any) -> Any:
        """The value of the first rank that has one which is not None, on all ranks."""
        return next((each for each in self._gathered(value) if each is not None), None)

    def _gathered(self, value: Any) -> list[Any]:
        every: list[Any] = [None] * self.size
        with collectively():
            dist.all_gather_object(every, value)
        return every

    def next_launch(self) -> str | None:
        """What tells the training that begins from all others, also after a restart."""
        self._num_trainings += 1
        return f"{self._start}/{self._num_trainings}"


def _at(place: tuple[int, int] | None, whole: Any) -> Any:
    """The rows of a batch at a place; all of it where there is none."""
    if place is not None:
        return cut(whole, *place)
    return list(whole) if isinstance(whole, Rows) else whole


def _share_of(
    mine: float | torch.Tensor, of_all: float | torch.Tensor, of_none: float
) -> Callable[[], float]:
    """What says which part of a batch a rank has: asked later, it need not wait for a device.

    Args:
        mine: How much the part counts.
        of_all: How much the whole counts.
        of_none: The share in a batch that counts for nothing, as its parts do.
    """
    arrived: Callable[[], Any] = partial(tuple, (mine, of_all))
    if isinstance(mine, torch.Tensor) and isinstance(of_all, torch.Tensor):
        arrived = devices.arriving(torch.stack([mine, of_all]))

    def share() -> float:
        mine, of_all = map(float, arrived())
        return mine / of_all if of_all else of_none

    return share


def _check_changes_nothing(model: Any) -> None:
    """Raises ModelError if a layer changes its weights by the rows of a batch that it sees."""
    for name, layer in model.named_modules() if isinstance(model, torch.nn.Module) else ():
        if isinstance(layer, torch.nn.Embedding | torch.nn.EmbeddingBag) and layer.max_norm:
            raise ModelError(
                f"{name} is an {type(layer).__name__} with max_norm={layer.max_norm:g}, which "
                f"changes its weights while it computes: in each process others, by its own rows. "
                f"Train it in one process, or without max_norm."
            )


@cache
def _joined() -> Ranks:
    tell_errors_once()
    joined = Ranks(meet())
    atexit.register(lambda: leave(joined.is_broken))
    return joined


def group() -> Group:
    """The processes that this one trains with; joins them when it is first asked for."""
    return _joined() if launched.is_launched() else Group()
