"""Training several models in one pass, their parameters stacked.

Models that share an architecture and differ in numbers (learning rate, weight decay, seed, initial
scale) do the same operations at every step. Their parameters are laid into one tensor with a
leading dimension k, of which each model's own parameters become views; one `Program` then computes
all losses and gradients. Each model has a `Trainer` of its own, to which every epoch is handed as
if it had trained it, so that curves, checkpoints and runs are as they always are.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

import torch
from torch.func import functional_call, grad_and_value, vjp, vmap

from gradbook import double_softmax
from gradbook.data import Batch
from gradbook.interrupts import Interrupts
from gradbook.module import Classifier, Module
from gradbook.seeds import random_state, restore_random_state
from gradbook.sweeps.candidate import Candidate
from gradbook.sweeps.optimizers import stacked_optimizer
from gradbook.sweeps.program import Program
from gradbook.sweeps.reasons import Failing
from gradbook.sweeps.stackable import CannotStack, check_alone, groups_of, streams_of, why_unlike
from gradbook.training import Training
from gradbook.watching import DivergenceWatcher

#: How far a stacked loss or gradient may be from the model's own, relative to its size.
_TOLERANCE = 1e-3
#: A gradient that is smaller than this, relative to the largest one, counts as that small.
_NOISE = 1e-3
#: Tracing takes as long as so many steps of the models themselves. A batch that comes more often
#: than that, of another size than the first, is worth it: most are the last of an epoch.
_WORTH_TRACING = 16


def fit_stacked(builders: Sequence[Callable[[], Candidate]]) -> list[Candidate | BaseException]:
    """Trains several models, in stacks as far as that is possible.

    Each builder makes one training, the random generators seeded as it would be alone. Returns the
    trainings, ended, or the error of a builder that could not make one; the error of one does not
    touch the others. Ctrl-C is passed on after every training has kept what it has reached.
    """
    results: list[Candidate | BaseException] = []
    begun: list[Candidate] = []
    with Interrupts(terminations=True, unit="epoch") as interrupts:
        try:
            for build in builders:
                interrupts.raise_pending()
                try:
                    candidate = build()
                except (Exception, SystemExit) as error:
                    results.append(error)
                    continue
                results.append(candidate)
                if candidate.begin(interrupts):
                    begun.append(candidate)
            _train(begun, interrupts)
        except BaseException as error:
            for candidate in begun:
                candidate.end(error)
            raise
    return results


def _train(begun: Sequence[Candidate], interrupts: Interrupts) -> None:
    able: list[Candidate] = []
    alone: list[tuple[Candidate, str]] = []
    for candidate in begun:
        try:
            check_alone(candidate)
            able.append(candidate)
        except CannotStack as why:
            alone.append((candidate, str(why)))
    groups = groups_of(able)
    # Before the first is trained, for what has ended cannot be compared any more.
    alone += [(group[0], why_unlike(group[0], able)) for group in groups if len(group) == 1]
    for group in groups:
        if len(group) == 1:
            continue
        try:
            alone += _Stack(group, interrupts).train()
        except CannotStack as why:
            alone += [(candidate, str(why)) for candidate in group]
        except (Exception, SystemExit) as error:  # nothing is known of how far each has come
            for candidate in group:
                candidate.end(error)
    for candidate, reason in alone:
        if candidate.live is not None:
            interrupts.raise_pending()
            candidate.train_alone(reason)


def why_alone(candidate: Candidate, make_another: Callable[[], Any]) -> str | None:
    """Why a training cannot be one of a stack; None if it can. It is begun for that, and ended.

    Before its first step another member is made, as all are made before that of a stack.
    """
    if not candidate.begin(Interrupts()):
        return "it cannot be begun"
    with candidate.ending_with():
        check_alone(candidate)
        assert candidate.reached is not None
        make_another()
        changed = candidate.reached.changed()
        if changed is not None:
            raise CannotStack(
                f"its loss depends on {changed}, something that making another member changes"
            )
        _Stack([candidate], Interrupts()).part()
    return None if candidate.error is None else str(candidate.error)


class _Stack:
    """Models in training together: begun trainings of one form.

    If their steps cannot be traced, or what is traced gives other numbers, it raises CannotStack,
    and the models are as they were.
    """

    def __init__(self, candidates: Sequence[Candidate], interrupts: Interrupts) -> None:
        self.candidates, self._interrupts = candidates, interrupts
        self._template = candidates[0].model
        every = [p for candidate in candidates for p in candidate.model.parameters()]
        if len({id(parameter) for parameter in every}) < len(every):
            raise CannotStack("it shares parameters with another member")
        self._streams = streams_of(candidates)
        self._is_shared = len(self._streams) == 1
        self._stream_of = [
            next(i for i, stream in enumerate(self._streams) if candidate in stream)
            for candidate in candidates
        ]
        #: The loaders of each stream, which outlast a training that ends before the others.
        self._loaders = [stream[0].loaders for stream in self._streams]
        self._programs: dict[tuple[Any, ...], Callable[..., list[torch.Tensor]]] = {}
        #: How often batches have come of which no step was traced.
        self._untraced: Counter[tuple[Any, ...]] = Counter()
        models = [candidate.model for candidate in candidates]
        self._parameters = [[p for p in model.parameters() if p.requires_grad] for model in models]
        #: All names by which layers of the model know each of them.
        self._names = _names_of(self._template, self._parameters[0])
        #: What no step changes: parameters that are frozen, and buffers.
        fixed = [
            [*(p for p in model.parameters() if not p.requires_grad), *model.buffers()]
            for model in models
        ]
        self._fixed_names = _names_of(self._template, fixed[0])
        self._fixed = [torch.stack([t.detach() for t in own]) for own in zip(*fixed, strict=True)]
        self._stacked = self._lay_out()
        try:
            self._optimizer = stacked_optimizer(
                [candidate.trainer.optim for candidate in candidates],
                self._parameters,
                self._stacked,
            )
            self._check_all()
        except BaseException:
            self.part()
            raise

    def train(self) -> list[tuple[Candidate, str]]:
        """Trains all epochs that are left. Gives those that have to go on alone, and why."""
        for live in self._live():
            for sink in live.listeners:
                if isinstance(sink, DivergenceWatcher):
                    sink.share = len(self.candidates)
        first = self.candidates[0].trainer
        try:
            for epoch in range(first.position.epoch, first.max_epochs):
                self._check_one(epoch)
                self._train_epoch(epoch)
                if epoch + 1 < first.max_epochs:  # otherwise it finishes, as one alone does
                    self._interrupts.raise_pending()
        except CannotStack as reason:
            return [(candidate, str(reason)) for candidate in self.candidates]
        finally:
            self.part()
        for candidate in self.candidates:
            with candidate.ending_with():
                if candidate.live is not None:  # otherwise it has failed
                    candidate.live.take_best()
        return []

    def _live(self) -> list[Training]:
        """The trainings that have not failed."""
        return [candidate.live for candidate in self.candidates if candidate.live is not None]

    # Memory

    def _lay_out(self) -> list[torch.Tensor]:
        """Lays the parameters together; each model's own become views.

        Those lie transposed that had better, as the first traced step finds out.
        """
        batch = self._first_batch()
        stacked = [
            torch.stack([parameter.detach() for parameter in own])
            for own in zip(*self._parameters, strict=True)
        ]
        program = self._trace("train", [*stacked, *self._fixed, *batch])
        transposed = [place for place in program.transposed if place < len(stacked)]
        for place in transposed:
            stacked[place] = stacked[place].mT.contiguous().mT
        if transposed:
            program.lay_out([*stacked, *self._fixed, *batch])
        self._programs[_key("train", batch)] = program
        for stack, own in zip(stacked, zip(*self._parameters, strict=True), strict=True):
            for k, parameter in enumerate(own):
                parameter.data = stack[k]
        return stacked

    def part(self) -> None:
        """Gives each model memory of its own again."""
        for candidate, own in zip(self.candidates, self._parameters, strict=True):
            for parameter in own:
                parameter.data = _own_memory(parameter.detach())
            for held in getattr(candidate.trainer.optim, "state", {}).values():
                held |= {k: _own_memory(v) for k, v in held.items() if isinstance(v, torch.Tensor)}

    # Epochs

    def _train_epoch(self, epoch: int) -> None:
        self._optimizer.read_settings()
        first = self.candidates[0].trainer
        for live in self._live():
            live.lend_epoch(epoch)
        for candidate in self.candidates:
            candidate.model.train()
        losses = []
        with torch.no_grad():
            for batch in self._batches(0, first.num_train_batches):
                *gradients, loss = self._step("train", batch)
                self._optimizer.step(gradients)
                losses.append(loss.clone())
        results: list[torch.Tensor] = []
        if first.val_dataloader is not None:
            for candidate in self.candidates:
                candidate.model.eval()
            with torch.no_grad():
                for batch in self._batches(1, first.num_val_batches):
                    results.append(torch.stack(self._step("val", batch)))
        self._interrupts.is_held = True  # until every model has got its epoch
        try:
            self._hand_over(torch.stack(losses), torch.stack(results) if results else None)
        finally:
            self._interrupts.is_held = False

    def _batches(self, split: int, num_batches: int) -> Iterator[list[torch.Tensor]]:
        """The batches of a pass: what all see, or for each model its own, stacked."""
        passes = []
        for stream, loaders in zip(self._streams, self._loaders, strict=True):
            restore_random_state(stream[0].random_state)
            batches = iter(loaders[split])
            first = next(batches)  # draws the order
            state = random_state()
            for candidate in stream:
                candidate.random_state = state
            passes.append(chain([first], batches))
        yield from map(self._together, islice(zip(*passes, strict=True), num_batches))

    def _together(self, batches: Sequence[Batch]) -> list[torch.Tensor]:
        """The batches of all streams as one: the only one, or each model's own, stacked."""
        if self._is_shared:
            return list(batches[0])
        parts = zip(*(batches[stream] for stream in self._stream_of), strict=True)
        return [torch.stack(part) for part in parts]

    def _hand_over(self, losses: torch.Tensor, results: torch.Tensor | None) -> None:
        """Gives each trainer the values of its epoch, as if it had recorded them one by one.

        `losses` is of shape (batches, k), `results` (batches, values, k): losses and accuracies.
        """
        train = losses.t().tolist()
        labels = ("val_loss", "val_acc")
        val = [] if results is None else results.permute(2, 1, 0).tolist()
        for k, candidate in enumerate(self.candidates):
            if candidate.live is None:  # it has failed
                continue
            restore_random_state(candidate.random_state)
            validated = dict(zip(labels, val[k], strict=False)) if val else {}
            try:
                candidate.live.record_epoch(train[k], validated)
            except (Exception, SystemExit) as error:  # a full disk, or a learner's scheduler
                candidate.end(error)

    # Steps

    def _step(self, kind: str, batch: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The gradients and the losses of all models; or, of kind "val", what is validated."""
        inputs = [*self._stacked, *self._fixed, *batch]
        key = _key(kind, batch)
        program = self._programs.get(key)
        if program is None:
            self._untraced[key] += 1
            if self._untraced[key] != _WORTH_TRACING:
                return self._own_step(kind, batch)
            try:
                program = self._programs[key] = self._trace(kind, inputs)
            except CannotStack:  # as with a last batch of one example; it is done as before
                return self._own_step(kind, batch)
            finally:
                self._template.train(kind == "train")  # as the epoch has it
        return program(*inputs)

    def _own_step(self, kind: str, batch: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What `_step` gives, as each of the models itself computes it."""
        results = []
        for k, parameters in enumerate(self._parameters):
            with torch.set_grad_enabled(kind == "train"):
                values = self._own_values(k, batch, kind)
            if kind == "train":
                values = [*torch.autograd.grad(values[0], parameters), values[0].detach()]
            results.append(values)
        return [torch.stack(values) for values in zip(*results, strict=True)]

    def _trace(self, kind: str, inputs: Sequence[torch.Tensor]) -> Program:
        model, num_names, num_fixed = self._template, len(self._names), len(self._fixed)
        batched = None if self._is_shared else 0
        step, failing = _Step(model), Failing()

        def values(W: Sequence[Any], fixed: Sequence[Any], batch: Batch, kind: str) -> Any:
            named = zip((*self._names, *self._fixed_names), (*W, *fixed), strict=True)
            tensors = {f"model.{name}": tensor for names, tensor in named for name in names}
            # Tied by the names: PyTorch's own way leaves a layer that is used twice changed.
            return functional_call(step, tensors, (batch, kind), tie_weights=False)

        def loss(W: Sequence[Any], fixed: Sequence[Any], *batch: Any) -> torch.Tensor:
            value: torch.Tensor = values(W, fixed, batch, "train")[0]
            failing.has_loss = True
            return value

        def validation(W: Sequence[Any], fixed: Sequence[Any], *batch: Any) -> list[torch.Tensor]:
            # As if gradients were asked for: only then does PyTorch take recurrent layers apart.
            both: list[torch.Tensor] = vjp(lambda W: values(W, fixed, batch, "val"), W)[0]
            return both

        def function(*tensors: torch.Tensor) -> list[torch.Tensor]:
            W, fixed = list(tensors[:num_names]), list(tensors[num_names : num_names + num_fixed])
            batch = tensors[num_names + num_fixed :]
            places = (0, 0, *[batched] * len(batch))
            if kind == "train":
                gradients, losses = vmap(grad_and_value(loss), in_dims=places)(W, fixed, *batch)
                return [*gradients, losses]
            return list(vmap(validation, in_dims=places)(W, fixed, *batch))

        model.train(kind == "train")
        held = [dict(vars(layer)) for layer in model.modules()]
        try:
            with failing:
                program = Program(function, inputs)
            program(*inputs)
        except Exception as error:  # a learner's code may look at values, or do anything else
            raise CannotStack(failing.why(error)) from error
        finally:
            for layer, before in zip(model.modules(), held, strict=True):
                vars(layer).update(before)  # a recurrent one keeps a list of its weights
            model.train()
        return program

    # Trust

    def _first_batch(self, split: int = 0) -> list[torch.Tensor]:
        """A batch of a set as the stack gets it; no random number is drawn."""
        return self._together([stream[0].loaders[split].first() for stream in self._streams])

    def _check_all(self) -> None:
        """Compares a first traced step with what each model itself gives; none has been taken."""
        if len(self.candidates[0].loaders) > 1:
            batch = self._first_batch(1)
            with torch.no_grad():
                inputs = [*self._stacked, *self._fixed, *batch]
                self._programs[_key("val", batch)] = self._trace("val", inputs)
        batch = self._first_batch()
        *gradients, losses = (result.clone() for result in self._step("train", batch))
        for k in range(len(self.candidates)):
            loss = self._own_loss(k, batch)
            if k == 0:  # the others do the same; their own steps, which would tell it, never run
                double_softmax.tell(self._template, partial(self._own_loss, k), batch, loss)
            expected = torch.autograd.grad(loss, self._parameters[k], allow_unused=True)
            if any(gradient is None for gradient in expected):
                # An optimizer passes it over alone, and would let it decay in a stack.
                raise CannotStack("a parameter takes no part in its loss")
            pairs = [(loss.detach(), losses[k])]
            pairs += [(e, g[k]) for e, g in zip(expected, gradients, strict=True)]
            largest = max(_size(gradient) for gradient in expected)
            if not all(_agree(a, b, largest) for a, b in pairs):
                raise CannotStack("a stacked step gave other numbers than the model's own")

    def _check_one(self, epoch: int) -> None:
        """Compares what steps depend on, and one model's loss, at the beginning of each epoch."""
        for candidate in self.candidates:
            changed = None if candidate.reached is None else candidate.reached.changed()
            if changed is not None:  # a scheduler or a sink of the learner's may have done it
                raise CannotStack(f"its step has changed since the training began ({changed})")
        k = epoch % len(self.candidates)
        batch = self._first_batch()
        self.candidates[k].model.train()
        with torch.no_grad():
            if not _agree(self._own_loss(k, batch), self._step("train", batch)[-1][k]):
                raise CannotStack("its step has changed since the training began")

    def _own_loss(self, k: int, batch: Sequence[torch.Tensor]) -> torch.Tensor:
        """The loss as one of the models itself gives it, of shape ()."""
        return self._own_values(k, batch, "train")[0]

    def _own_values(self, k: int, batch: Sequence[torch.Tensor], kind: str) -> list[torch.Tensor]:
        own = batch if self._is_shared else [item[k] for item in batch]
        values: list[torch.Tensor] = _Step(self.candidates[k].model)(own, kind)
        return values


class _Step(torch.nn.Module):
    """What is computed of a batch: a module, so that the loss gets the stacked parameters too."""

    def __init__(self, model: Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, kind: str) -> list[torch.Tensor]:
        """The loss; and in validation a classifier's accuracy."""
        Y_hat = self.model(*batch[:-1])
        values = [self.model.loss(Y_hat, batch[-1])]
        is_scored = type(self.model).validation_step is Classifier.validation_step
        if kind == "val" and is_scored and isinstance(self.model, Classifier):
            values.append(self.model.accuracy(Y_hat, batch[-1]))
        return [value.reshape(()) for value in values]


def _names_of(model: torch.nn.Module, tensors: Sequence[torch.Tensor]) -> list[list[str]]:
    """The names of each tensor in a model: several, where layers share it."""
    names: list[list[str]] = [[] for _ in tensors]
    places = {id(tensor): place for place, tensor in enumerate(tensors)}
    for prefix, module in model.named_modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if id(tensor) in places:
                names[places[id(tensor)]].append(f"{prefix}.{name}" if prefix else name)
    return names


def _own_memory(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


def _key(kind: str, batch: Batch) -> tuple[Any, ...]:
    return (kind, *(tensor.shape for tensor in batch))


def _size(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))


def _agree(a: torch.Tensor, b: torch.Tensor, largest: float = 0.0) -> bool:
    """Whether two results are equal to rounding, where the largest has that size.

    A gradient that is 0 but for rounding, as of a bias before a normalization, is noise.
    """
    if not (a.isfinite().all() and b.isfinite().all()):
        return True  # rounding decides when a number overflows
    return _size(a - b) <= _TOLERANCE * max(_size(a), _NOISE * largest) + 1e-9
