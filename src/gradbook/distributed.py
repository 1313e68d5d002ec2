"""One training in several processes, each with a part of every batch.

Started by `torchrun`, each process runs the same script. The processes are called ranks. All have
the whole model and come by the same batches; of each batch every rank takes its own rows, and at
the end of the backward pass the gradients of all become those of the whole batch. So each rank
takes the same step, and the numbers are those of one process, but for the last digits: sums are
added up in another order.

Of `torch.distributed` only this file, `sharding.py` and `shards.py` know. Whatever else takes part
in a training asks its `Group`, and a single process is one, too.
"""

import atexit
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from functools import cache, partial
from typing import Any
from uuid import uuid4

import torch
import torch.distributed as dist

from gradbook import devices, launched, record
from gradbook.errors import ConfigError, GradbookWarning, ModelError, RankLostError, told, warn
from gradbook.interrupts import SIGNALS, Interrupts
from gradbook.lookalikes import layers_of
from gradbook.message import Message, give
from gradbook.parts import is_sharded
from gradbook.record import Meter
from gradbook.rows import Rows, cut, has_rows
from gradbook.seeds import draw_from, other_numbers
from gradbook.sharding import Alone, Sharding, is_connection_error, wrong_use

#: How many seconds a rank waits for the others before it takes them for lost, and the variable of
#: the environment that says otherwise. What the first rank does alone, as to look for the cause of
#: a divergence, has to be done by then.
TIMEOUT_SECONDS, TIMEOUT_VARIABLE = 600, "GRADBOOK_TIMEOUT_SECONDS"

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
        self.launch = os.environ.get("TORCHELASTIC_RUN_ID", "none")
        if self.launch == "none":  # by no agent, or by one that was given no name
            self.launch = f"{os.environ.get('MASTER_PORT')}-{os.getppid()}"
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
        if _backend_of(device) is None:
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
        places = [
            (layer._modules, name, child)
            for layer in (model.modules() if isinstance(model, torch.nn.Module) else ())
            for name, child in layer._modules.items()
            if isinstance(child, _BatchNorm) and not isinstance(child, torch.nn.SyncBatchNorm)
        ]
        if places and not together:
            warn(
                f"{type(model).__name__} has BatchNorm layers, and each of the {self.size} "
                f"processes normalizes its own rows of a batch. So the numbers are not those of "
                f"one process, but of batches that are {self.size} times smaller. On accelerators, "
                f"Trainer(sync_batchnorm=True) normalizes the rows of all processes together.",
                GradbookWarning,
            )
        if together and device.type == "cpu":
            raise ConfigError(
                "sync_batchnorm=True needs an accelerator: PyTorch's SyncBatchNorm does not work "
                "on the CPU. Leave it out, and each process normalizes its own rows of a batch; or "
                "train in one process."
            )
        for children, name, child in places if together else ():
            children[name] = torch.nn.SyncBatchNorm.convert_sync_batchnorm(child)  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            for children, name, child in places:  # whose tensors the others have shared
                children[name] = child

    @contextmanager
    def sharding(
        self, model: Any, device: torch.device, at_end: Callable[[], None]
    ) -> Iterator[Sharding]:
        """While it lasts, each rank holds a part of every parameter."""
        sharding = Sharding(model, device, lambda: self.share)
        self._is_sharded = True
        try:
            yield sharding
        except BaseException as error:
            self.is_broken = not self._is_agreed
            if is_connection_error(error):
                raise _lost(error) from error
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
                with _together():
                    at_end()
                    sharding.make_whole()

    @contextmanager
    def training(self, parameters: Sequence[torch.Tensor], model: Any) -> Iterator[None]:
        """While it lasts, gradients and recorded values are those of all ranks."""
        _check_changes_nothing(model)
        whole = [each for each in parameters if not is_sharded(each)]
        self._settle_down(whole)
        self._model = model
        self._message = Message(whole, _running_means(model), NUM_REQUESTS)
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
        self._in_step = True
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
        if abs(shares - 1) > 0.01:
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
        with torch.no_grad():
            for tensor in tensors:
                if tensor.layout == torch.strided:
                    sent = tensor.detach().contiguous()
                    with _together():
                        dist.broadcast(sent, 0)
                    tensor.copy_(sent)

    def settle(self) -> None:
        """Gives all ranks the mean of what layers of a learner's own average outside parameters."""
        with torch.no_grad():
            for tensor in _averages(self._model):
                first = tensor.contiguous().clone()
                with _together():
                    dist.broadcast(first, 0)
                # What is the same on all ranks stays so to the last bit.
                difference = (tensor - first) / self.size
                self._sum(difference)
                tensor.copy_(first + difference)

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
                    f"let nothing depend on the process or its machine."
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
        with _together():
            dist.all_gather_object(every, value)
        return every

    def next_launch(self) -> str | None:
        """What tells the training that begins from all others, also after a restart."""
        self._num_trainings += 1
        return f"{self.launch}/{self._num_trainings}"


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


def _running_means(model: Any) -> list[torch.Tensor]:
    """What the BatchNorm layers of PyTorch average, which is sent with every step's gradients."""
    layers = [each for each in layers_of(model) if isinstance(each, _Normalizing)]
    found = [mean for each in layers for mean in (each.running_mean, each.running_var)]
    return [mean for mean in found if mean is not None]


_BatchNorm = torch.nn.modules.batchnorm._BatchNorm
_Normalizing = torch.nn.modules.batchnorm._NormBase


def _averages(model: Any) -> list[torch.Tensor]:
    """What else layers may average: buffers and plain attributes that are not trained."""
    known = set(map(id, _running_means(model)))
    found: dict[int, torch.Tensor] = {}
    for layer in layers_of(model):
        for value in (*getattr(layer, "_buffers", {}).values(), *vars(layer).values()):
            if isinstance(value, torch.Tensor) and not value.requires_grad:
                found[id(value)] = value
    return [
        each
        for each in found.values()
        if each.is_floating_point() and each.layout == torch.strided and id(each) not in known
    ]


# Joining


@contextmanager
def _together() -> Iterator[None]:
    """What all ranks do together; a rank that is lost meanwhile is told as that."""
    try:
        yield
    except RuntimeError as error:
        raise _lost(error) from error


def _lost(error: BaseException) -> RankLostError:
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
def _joined() -> Ranks:
    sys.excepthook = partial(_tell_error, sys.excepthook)
    num_restarts = 0
    if not dist.is_initialized():
        # PyTorch's optimizers load it, too. Loaded after the group was made, it would keep the
        # group's threads beyond their end, where one that runs aborts the process.
        import torch._dynamo  # noqa: F401

        backend, accelerator = "gloo", devices.gpu()
        if devices.num_gpus() and (sending := _backend_of(accelerator)):
            backend = f"cpu:gloo,{accelerator.type}:{sending}"
        timeout = timedelta(seconds=_timeout_seconds())
        with _together():
            rendezvous = dist.rendezvous  # type: ignore[attr-defined]
            store, rank, size = next(rendezvous("env://", timeout=timeout))
            ours, num_restarts = _met(store, rank, size)
            dist.init_process_group(
                backend, store=ours, rank=rank, world_size=size, timeout=timeout
            )
    joined = Ranks(num_restarts)
    atexit.register(_part, joined)
    return joined


def _backend_of(accelerator: torch.device) -> str | None:
    """What sends an accelerator's tensors; None where nothing does, as for Apple's MPS."""
    try:
        backend = dist.get_default_backend_for_device(accelerator)
    except ValueError:
        return None
    return backend if backend != "gloo" and dist.is_backend_available(backend) else None


def _met(store: Any, rank: int, size: int) -> tuple[Any, int]:
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
    end = time.monotonic() + _timeout_seconds()
    while time.monotonic() < end:
        first = store.get("gradbook/first").decode()  # or that of a start before, still
        store.set(f"gradbook/{first}/{rank}", f"{name} {count}")
        if store.check([f"gradbook/{first}/heard"]):
            total, *names = store.get(f"gradbook/{first}/heard").decode().split()
            if name in names:
                return dist.PrefixStore(f"gradbook/{first}", store), int(total)  # type: ignore[attr-defined]
        time.sleep(0.05)
    raise RuntimeError("rank 0 has not come")


def _part(joined: Ranks) -> None:
    """Leaves the others at the end of the program; its threads would not end otherwise."""
    # An accelerator's collective that waits for a lost rank cannot be left.
    if dist.is_initialized() and not (joined.is_broken and devices.num_gpus()):
        with suppress(RuntimeError):
            dist.destroy_process_group()


def _timeout_seconds() -> float:
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


def _tell_error(before: Any, kind: type, error: BaseException, trace: Any) -> None:
    """Shows an error once, with its rank."""
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


def group() -> Group:
    """The processes that this one trains with; joins them when it is first asked for."""
    return _joined() if launched.is_launched() else Group()
