"""Training several models in one pass, their parameters stacked.

Models that share an architecture and differ in numbers (learning rate, weight decay, seed, initial
scale) do the same operations at every step. Their parameters are laid into one tensor with a
leading dimension k, of which each model's own parameters become views; one `Program` then computes
all losses and gradients. Each model has a `Trainer` of its own, to which every epoch is handed as
if it had trained it, so that curves, checkpoints and runs are as they always are.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch.func import functional_call, grad_and_value, vmap

from gradbook.data import Batch, TensorLoader
from gradbook.interrupts import Interrupts
from gradbook.module import Classifier, Module
from gradbook.seeds import random_state, restore_random_state
from gradbook.sweeps.loops import is_usual_epoch, is_usual_preparation
from gradbook.sweeps.optimizers import form_of, stacked_optimizer
from gradbook.sweeps.program import Program
from gradbook.trainer import Trainer
from gradbook.watching import DivergenceWatcher

#: A batch with more numbers than this is not copied for each model, but shared by those that see
#: the same one.
_LARGE_BATCH = 4096

#: How far a stacked loss or gradient may be from the model's own, relative to its size.
_TOLERANCE = 1e-3

#: Attributes of every layer, and of a model beside its network, that no result depends on.
_UNCOUNTED = {*vars(torch.nn.Module()), "board", "plot_train_per_epoch", "plot_valid_per_epoch"}


class CannotStack(Exception):  # noqa: N818 - no error: the training goes on alone
    """Why a model cannot be trained in a stack; the message completes "alone, because ..."."""


@dataclass
class Training:
    """One training of a stack.

    Attributes:
        trainer, model, data: As for `Trainer.fit`, not yet begun.
        resume: Where it goes on from, as for `Trainer.fit`.
        alone: Why it was trained alone, if it was.
        error: What ended it, if something did.
    """

    trainer: Trainer
    model: Any
    data: Any
    resume: Any = None
    alone: str | None = None
    error: BaseException | None = None
    # While it lasts:
    _context: Any = None
    random_state: dict[str, Any] = field(default_factory=dict)
    reads: list[tuple[int, str, Any]] = field(default_factory=list)

    @contextmanager
    def ending_with(self) -> Iterator[None]:
        """Ends the training with this block, however it ends; only Ctrl-C is passed on."""
        try:
            yield
        except BaseException as error:
            self._end(error)
            if not isinstance(error, Exception):
                raise
        else:
            self._end(None)

    def begin(self, interrupts: Interrupts) -> bool:
        """Prepares it, with the random state at hand; whether that went well."""
        context = self.trainer.fitting(self.model, self.data, self.resume, interrupts)
        try:
            context.__enter__()
        except Exception as error:
            self.error = error
            return False
        self._context = context
        self.random_state = random_state()
        return True

    def _end(self, error: BaseException | None) -> None:
        context, self._context = self._context, None
        if context is None:  # ended already
            return
        self.error = error
        trace = None if error is None else error.__traceback__
        try:
            context.__exit__(None if error is None else type(error), error, trace)
        except BaseException as raised:
            self.error = raised
            if not isinstance(raised, Exception) and raised is not error:
                raise

    def train_alone(self, reason: str) -> None:
        """Trains what is left of it without the others."""
        self.alone = reason
        with self.ending_with():
            restore_random_state(self.random_state)
            self.trainer.run_epochs()


def fit_stacked(builders: Sequence[Callable[[], Training]]) -> list[Training | BaseException]:
    """Trains several models, in stacks as far as that is possible.

    Args:
        builders: Each makes one training, the random generators seeded as it would be alone.

    Returns:
        The trainings, ended; or the error of a builder that could not make one. The error of one
        does not touch the others.

    Raises:
        KeyboardInterrupt: After every training has kept what it has reached.
    """
    results: list[Training | BaseException] = []
    begun: list[Training] = []
    with Interrupts(terminations=True, unit="epoch") as interrupts:
        try:
            for build in builders:
                interrupts.raise_pending()
                try:
                    training = build()
                except Exception as error:
                    results.append(error)
                    continue
                results.append(training)
                if training.begin(interrupts):
                    begun.append(training)
            _train(begun, interrupts)
        except BaseException as error:
            for training in begun:
                training._end(error)
            raise
    return results


def _train(begun: Sequence[Training], interrupts: Interrupts) -> None:
    able: list[Training] = []
    alone: list[tuple[Training, str]] = []
    for training in begun:
        try:
            check_alone(training)
            able.append(training)
        except CannotStack as why:
            alone.append((training, str(why)))
    for group in _groups(able):
        if len(group) == 1:
            alone.append((group[0], "no other member does the same operations"))
            continue
        try:
            stack = _Stack(group, interrupts)
            alone += stack.train()
        except CannotStack as why:
            alone += [(training, str(why)) for training in group]
        except Exception as error:  # nothing is known of how far each has come
            for training in group:
                training._end(error)
    for training, reason in alone:
        if training._context is not None:
            interrupts.raise_pending()
            training.train_alone(reason)


# What can be stacked


def why_alone(training: Training) -> str | None:
    """Why a training cannot be one of a stack; None if it can. It is begun for that, and ended."""
    if not training.begin(Interrupts()):
        return "it cannot be begun"
    try:
        with training.ending_with():
            check_alone(training)
            _Stack([training], Interrupts())._part()
    except CannotStack:  # pragma: no cover - ending_with keeps it
        pass
    return str(training.error) if training.error is not None else None


def check_alone(training: Training) -> None:
    """Raises CannotStack if this training cannot be one of a stack, whatever the others are.

    Notes which attributes its steps read, in which it must be like the others.
    """
    trainer, model = training.trainer, training.model
    name = type(model).__name__
    if not isinstance(model, Module):
        raise CannotStack(f"{name} is not derived from Module")
    for method, known in (
        ("training_step", (Module.training_step,)),
        ("validation_step", (Module.validation_step, Classifier.validation_step)),
        ("plot", (Module.plot,)),
    ):
        if getattr(type(model), method) not in known:
            raise CannotStack(f"{name}.{method} is the learner's own")
    Trainers = type(trainer)
    if Trainers.fit_epoch is not _FIT_EPOCH and not is_usual_epoch(Trainers.fit_epoch):
        raise CannotStack("Trainer.fit_epoch was replaced by another loop")
    if Trainers.prepare_batch is not _PREPARE and not is_usual_preparation(Trainers.prepare_batch):
        raise CannotStack("Trainer.prepare_batch was replaced by one that changes batches")
    for setting, neutral in _NEUTRAL.items():
        if getattr(trainer, setting) != neutral:
            raise CannotStack(f"{setting} works on one model at a time")
    if trainer.watch:
        raise CannotStack("its gradients are watched")
    if any(schedule.interval == "step" for schedule in trainer.schedules):
        raise CannotStack("its learning rate changes with every step")
    listed = {id(parameter) for parameter in model.parameters()}
    if any(id(tensor) not in listed for tensor in _updated(trainer.optim)):
        raise CannotStack(f"its optimizer updates tensors that are no parameters of {name}")
    if any(hook for module in model.modules() for hook in _hooks(module)):
        raise CannotStack(f"{name} has hooks")
    if trainer.position.batches or trainer.position.split != "train":
        raise CannotStack("it goes on in the middle of an epoch")
    if trainer.position.generators:
        raise CannotStack("its data or model have a random generator of their own")
    for loader in _loaders(trainer):
        if type(loader) is not TensorLoader:
            raise CannotStack("its minibatches do not come from tensors in memory")
    training.reads = _reads(training)


#: The library's own, which `add_to_class` may have replaced since.
_FIT_EPOCH, _PREPARE = Trainer.fit_epoch, Trainer.prepare_batch
_NEUTRAL: dict[str, Any] = {
    "gradient_clip_val": 0,
    "accumulate_grad_batches": 1,
    "precision": "32",
    "compile": False,
    "deterministic": False,
    "patience": None,
}


def _updated(optimizer: Any) -> list[Any]:
    """The tensors that an optimizer updates, of a learner's own as well."""
    groups = getattr(optimizer, "param_groups", None)
    tensors = (
        [p for g in groups for p in g["params"]] if groups else getattr(optimizer, "params", ())
    )
    return [tensor for tensor in tensors if isinstance(tensor, torch.Tensor)]


def _hooks(module: torch.nn.Module) -> Iterator[Any]:
    for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
        yield from getattr(module, name).values()


def _loaders(trainer: Trainer) -> list[Any]:
    """The loaders of both sets, without what tells the training's place."""
    both = (trainer.train_dataloader, trainer.val_dataloader)
    return [loader.loader for loader in both if loader is not None]


def _reads(training: Training) -> list[tuple[int, str, Any]]:
    """The attributes that a step of this model reads: the layer's place, the name, the value."""
    model, trainer = training.model, training.trainer
    names: set[tuple[int, str]] = set()
    modules = list(model.modules())
    classes = [type(module) for module in modules]
    modes = [module.training for module in modules]
    before = trainer.position.sources()
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        batches = [trainer.prepare_batch(loader.first()) for loader in _loaders(trainer)]
        for place, module in enumerate(modules):
            object.__setattr__(module, "__class__", _watched(type(module), place, names))
        with torch.no_grad():
            for step in (True, False):
                model.train(step)
                batch = batches[0] if step else batches[-1]
                Y_hat = model(*batch[:-1])
                model.loss(Y_hat, batch[-1])
                if not step and isinstance(model, Classifier):
                    model.accuracy(Y_hat, batch[-1])
    except Exception as error:
        raise CannotStack(f"a first step failed ({_first_line(error)})") from error
    finally:
        for module, Class, mode in zip(modules, classes, modes, strict=True):
            object.__setattr__(module, "__class__", Class)
            module.training = mode
        after = trainer.position.sources()
        trainer.position.restore_sources(before)
        changed = [
            (module, name, buffer, kept)
            for module, name, buffer, kept in buffers
            if module._buffers[name] is not buffer or not torch.equal(buffer, kept)
        ]
        with torch.no_grad():
            for module, name, buffer, kept in changed:
                module._buffers[name] = buffer.copy_(kept)
    if not same_random_state(before, after):
        raise CannotStack("its steps draw random numbers, as dropout does")
    if changed:
        raise CannotStack("its steps change a buffer, as batch normalization does")
    if before["numbers"] != after["numbers"]:
        raise CannotStack("its steps count in an attribute")
    if any(name == "trainer" for _, name in names):
        raise CannotStack("its steps look at the trainer")
    return [
        (place, name, vars(modules[place])[name])
        for place, name in sorted(names)
        if name in vars(modules[place]) and name not in _UNCOUNTED
    ]


def _watched(Class: type, place: int, names: set[tuple[int, str]]) -> type:
    class Watched(Class):  # type: ignore[misc]
        def __getattribute__(self, name: str) -> Any:
            names.add((place, name))
            return super().__getattribute__(name)

    Watched.__name__, Watched.__qualname__ = Class.__name__, Class.__qualname__
    return Watched


# Who goes together


def _groups(trainings: Sequence[Training]) -> list[list[Training]]:
    """The trainings in stacks: of one form each, and such that large batches are shared."""
    forms: list[tuple[list[Any], list[Training]]] = []
    for training in trainings:
        form = _form(training)
        for known, group in forms:
            if _are_equal(known, form) and _read_the_same(group[0], training):
                group.append(training)
                break
        else:
            forms.append((form, [training]))
    groups: list[list[Training]] = []
    for _, group in forms:
        streams = _streams(group)
        first = _loaders(group[0].trainer)[0].first()
        if len(streams) == 1 or sum(tensor.numel() for tensor in first) <= _LARGE_BATCH:
            groups.append(group)
            continue
        # Batches that several models see are shared among these; the others are laid together.
        groups += [stream for stream in streams if len(stream) > 1]
        single = [stream[0] for stream in streams if len(stream) == 1]
        groups += [single] if single else []
    return groups


def _form(training: Training) -> list[Any]:
    """What must be equal for models to do the same operations."""
    model, trainer = training.model, training.trainer
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return [
        [type(module) for module in model.modules()],
        [(name, t.shape, t.dtype, t.device, t.requires_grad) for name, t in tensors],
        form_of(trainer.optim, list(model.parameters())),
        type(trainer.optim) is not object and len(trainer.schedules),
        (trainer.position.epoch, trainer.max_epochs),
        (trainer.num_train_batches, trainer.num_val_batches),
        [
            [(tensor.shape, tensor.dtype) for tensor in (*loader.tensors, *loader.first())]
            + [loader.batch_size]
            for loader in _loaders(trainer)
        ],
    ]


def _read_the_same(one: Training, other: Training) -> bool:
    return len(one.reads) == len(other.reads) and all(
        a[:2] == b[:2] and _are_equal(a[2], b[2])
        for a, b in zip(one.reads, other.reads, strict=True)
    )


def _are_equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)
    try:
        return a is b or (type(a) is type(b) and bool(a == b))
    except (RuntimeError, TypeError, ValueError):  # such as arrays of several elements
        return False


def _streams(trainings: Sequence[Training]) -> list[list[Training]]:
    """The trainings by the batches that they see."""
    streams: list[list[Training]] = []
    for training in trainings:
        for stream in streams:
            if _see_the_same(stream[0], training):
                stream.append(training)
                break
        else:
            streams.append([training])
    return streams


def _see_the_same(one: Training, other: Training) -> bool:
    if not same_random_state(one.random_state, other.random_state):
        return False
    for a, b in zip(_loaders(one.trainer), _loaders(other.trainer), strict=True):
        if (a.batch_size, a.shuffle, a.transform) != (b.batch_size, b.shuffle, b.transform):
            return False
        if not all(s is t or torch.equal(s, t) for s, t in zip(a.tensors, b.tensors, strict=True)):
            return False
    return True


def same_random_state(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two states of the global random generators are the same."""
    numpy_one, numpy_other = one["numpy"], other["numpy"]
    return bool(
        torch.equal(one["torch"], other["torch"])
        and one["python"] == other["python"]
        and numpy_one[2] == numpy_other[2]
        and (numpy_one[1] == numpy_other[1]).all()
    )


# Training


class _Stack:
    """Models in training together.

    Args:
        trainings: Begun trainings of one form.
        interrupts: What keeps Ctrl-C waiting.

    Raises:
        CannotStack: If their steps cannot be traced, or what is traced gives other numbers; the
            models are then as they were.
    """

    def __init__(self, trainings: Sequence[Training], interrupts: Interrupts) -> None:
        self.trainings, self._interrupts = trainings, interrupts
        self._template = trainings[0].model
        every = [p for training in trainings for p in training.model.parameters()]
        if len({id(parameter) for parameter in every}) < len(every):
            raise CannotStack("it shares parameters with another member")
        self._streams = _streams(trainings)
        self._programs: dict[tuple[Any, ...], Program] = {}
        named = [list(training.model.named_parameters()) for training in trainings]
        buffers = [list(training.model.named_buffers()) for training in trainings]
        self._parameters = [[p for _, p in own if p.requires_grad] for own in named]
        #: All names by which layers of the model know each of them.
        self._names = _names_of(self._template, self._parameters[0])
        #: What no step changes: buffers, and parameters that are frozen.
        fixed = [
            [(n, p) for n, p in own if not p.requires_grad] + held
            for own, held in zip(named, buffers, strict=True)
        ]
        self._fixed_names = _names_of(self._template, [tensor for _, tensor in fixed[0]])
        self._fixed = [
            torch.stack([own[place][1].detach() for own in fixed])
            for place in range(len(self._fixed_names))
        ]
        self._transposed: set[int] = set()
        self._plan()
        self._stacked = self._lay_out()
        try:
            self._optimizer = stacked_optimizer(
                [training.trainer.optim for training in trainings], self._parameters, self._stacked
            )
            self._check_all()
        except BaseException:
            self._part()
            raise

    def train(self) -> list[tuple[Training, str]]:
        """Trains all epochs that are left.

        Returns:
            Those that have to go on alone, and why.
        """
        trainers = [training.trainer for training in self.trainings]
        for sink in (sink for trainer in trainers for sink in trainer._listeners):
            if isinstance(sink, DivergenceWatcher):
                sink.share = len(trainers)
        try:
            for epoch in range(trainers[0].position.epoch, trainers[0].max_epochs):
                self._check_one(epoch)
                self._train_epoch(epoch)
                if epoch + 1 < trainers[0].max_epochs:  # otherwise it finishes, as one alone does
                    self._interrupts.raise_pending()
        except CannotStack as reason:
            return [(training, str(reason)) for training in self.trainings]
        finally:
            self._part()
        for training in self.trainings:
            with training.ending_with():
                training.trainer.take_best()
        return []

    # Memory

    def _plan(self) -> None:
        """Finds out how the parameters had better lie, on a first batch."""
        batch = self._first_batch()
        copies = [torch.stack([own[i].detach() for own in self._parameters]) for i in self._places]
        program = self._trace("train", [*copies, *self._fixed, *batch])
        self._transposed = {place for place in program.transposed if place < len(copies)}
        if not self._transposed:
            self._programs[_key("train", batch)] = program

    @property
    def _places(self) -> range:
        return range(len(self._names))

    def _lay_out(self) -> list[torch.Tensor]:
        """Lays the parameters together; each model's own become views."""
        stacked = []
        for place in self._places:
            own = [parameters[place] for parameters in self._parameters]
            stack = torch.stack([parameter.detach() for parameter in own])
            if place in self._transposed:
                stack = stack.transpose(1, 2).contiguous().transpose(1, 2)
            for k, parameter in enumerate(own):
                parameter.data = stack[k]
            stacked.append(stack)
        return stacked

    def _part(self) -> None:
        """Gives each model memory of its own again."""
        for training, own in zip(self.trainings, self._parameters, strict=True):
            for parameter in own:
                parameter.data = parameter.detach().clone(memory_format=torch.contiguous_format)
            state = getattr(training.trainer.optim, "state", {})
            for held in state.values():
                for name, value in held.items():
                    if isinstance(value, torch.Tensor):
                        held[name] = value.clone(memory_format=torch.contiguous_format)

    # Epochs

    def _train_epoch(self, epoch: int) -> None:
        self._optimizer.read_settings()
        first = self.trainings[0].trainer
        for training in self.trainings:
            training.trainer.epoch = epoch
            training.trainer.position.between_steps = False
            training.model.train()
        losses = []
        with torch.no_grad():
            for batch in self._batches(0, first.num_train_batches):
                *gradients, loss = self._step("train", batch)
                self._optimizer.step(gradients)
                losses.append(loss.clone())
        results: list[torch.Tensor] = []
        if first.val_dataloader is not None:
            for training in self.trainings:
                training.model.eval()
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
        for stream in self._streams:
            restore_random_state(stream[0].random_state)
            batches = iter(_loaders(stream[0].trainer)[split])
            first = next(batches)  # draws the order
            state = random_state()
            for training in stream:
                training.random_state = state
            passes.append(_chain(first, batches))
        shared = len(passes) == 1
        order = [self._stream_of(training) for training in self.trainings]
        for parts in islice(zip(*passes, strict=True), num_batches):
            if shared:
                yield list(parts[0])
            else:
                yield [
                    torch.stack([parts[stream][item] for stream in order])
                    for item in range(len(parts[0]))
                ]

    def _stream_of(self, training: Training) -> int:
        return next(i for i, s in enumerate(self._streams) if any(t is training for t in s))

    def _hand_over(self, losses: torch.Tensor, results: torch.Tensor | None) -> None:
        """Gives each trainer the values of its epoch, as if it had recorded them one by one.

        Args:
            losses: Of shape (batches, k).
            results: Of shape (batches, values, k): losses and, for a classifier, accuracies.
        """
        train = losses.t().tolist()
        val = None if results is None else results.permute(2, 1, 0).tolist()
        for k, training in enumerate(self.trainings):
            trainer, model = training.trainer, training.model
            begin, n = trainer.train_batch_idx, trainer.num_train_batches
            model.board.xlabel = "epoch"
            xs = [(begin + i) / n for i in range(len(losses))]
            every_n = int(n / model.plot_train_per_epoch)
            model.board.draw_many(xs, train[k], "train_loss", every_n)
            trainer.train_batch_idx += len(losses)
            if val is not None and results is not None:
                every_n = int(trainer.num_val_batches / model.plot_valid_per_epoch)
                for label, ys in zip(("val_loss", "val_acc"), val[k], strict=False):
                    xs = [float(trainer.epoch + 1)] * len(ys)
                    model.board.draw_many(xs, ys, label, every_n)
                trainer.val_batch_idx += len(results)
            trainer._is_own_loop = True
            if trainer.schedules:
                trainer.optim._opt_called = True  # or a scheduler warns that no step was taken
        for stream in self._streams:
            restore_random_state(stream[0].random_state)
            for training in stream:
                if training._context is None:
                    continue
                try:
                    training.trainer.end_epoch()
                except Exception as error:  # such as a full disk, or a learner's scheduler
                    training._end(error)

    # Steps

    def _step(self, kind: str, batch: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The gradients and the losses of all models; or, of kind "val", what is validated."""
        inputs = [*self._stacked, *self._fixed, *batch]
        key = _key(kind, batch)
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = self._trace(kind, inputs)
        return program(*inputs)

    def _trace(self, kind: str, inputs: Sequence[torch.Tensor]) -> Program:
        model, num_names, num_fixed = self._template, len(self._names), len(self._fixed)
        batched = None if len(self._streams) == 1 else 0
        step = _Step(model)

        def values(W: Sequence[Any], fixed: Sequence[Any], batch: Batch, kind: str) -> Any:
            tensors = {
                f"model.{name}": tensor
                for names, tensor in zip(
                    (*self._names, *self._fixed_names), (*W, *fixed), strict=True
                )
                for name in names
            }
            # Tied by the names: PyTorch's own way leaves a layer that is used twice changed.
            return functional_call(step, tensors, (batch, kind), tie_weights=False)

        def loss(W: Sequence[Any], fixed: Sequence[Any], *batch: Any) -> torch.Tensor:
            value: torch.Tensor = values(W, fixed, batch, "train")[0]
            return value

        def validation(W: Sequence[Any], fixed: Sequence[Any], *batch: Any) -> list[torch.Tensor]:
            both: list[torch.Tensor] = values(W, fixed, batch, "val")
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
        try:
            return Program(function, inputs)
        except Exception as error:  # a learner's code may look at values, or do anything else
            raise CannotStack(f"its step cannot be traced ({_first_line(error)})") from error
        finally:
            model.train()

    # Trust

    def _first_batch(self, split: int = 0) -> list[torch.Tensor]:
        """A batch of a set as the stack gets it; no random number is drawn."""
        batches = [list(_loaders(stream[0].trainer)[split].first()) for stream in self._streams]
        if len(batches) == 1:
            return batches[0]
        order = [self._stream_of(training) for training in self.trainings]
        return [torch.stack([batches[s][i] for s in order]) for i in range(len(batches[0]))]

    def _first_batches(self, split: int) -> Iterator[list[torch.Tensor]]:
        """A batch of a set, and one as small as its last."""
        yield (batch := self._first_batch(split))
        loader = _loaders(self.trainings[0].trainer)[split]
        left = len(loader.tensors[0]) % loader.batch_size
        if left and loader.batch_size < len(loader.tensors[0]):
            shared = len(self._streams) == 1
            yield [item[:left] if shared else item[:, :left] for item in batch]

    def _check_all(self) -> None:
        """Traces all steps, and compares a first one with what each model itself gives.

        Raises:
            CannotStack: If they do not agree. No step has been taken then.
        """
        with torch.no_grad():
            for split, kind in enumerate(
                ("train", "val")[: len(_loaders(self.trainings[0].trainer))]
            ):
                for part in self._first_batches(split):
                    self._step(kind, part)
        batch = self._first_batch()
        *gradients, losses = (result.clone() for result in self._step("train", batch))
        for k, training in enumerate(self.trainings):
            own = [item if len(self._streams) == 1 else item[k] for item in batch]
            loss = training.model.loss(training.model(*own[:-1]), own[-1])
            expected = torch.autograd.grad(loss, self._parameters[k], allow_unused=True)
            if any(gradient is None for gradient in expected):
                # An optimizer passes it over alone, and would let it decay in a stack.
                raise CannotStack("a parameter takes no part in its loss")
            pairs = [(loss.detach().reshape(()), losses[k])]
            pairs += [(e, g[k]) for e, g in zip(expected, gradients, strict=True)]
            if not all(_agree(a, b) for a, b in pairs):
                raise CannotStack("a stacked step gave other numbers than the model's own")

    def _check_one(self, epoch: int) -> None:
        """Compares one model's loss at the beginning of each epoch: its code may count epochs."""
        k = epoch % len(self.trainings)
        batch, model = self._first_batch(), self.trainings[k].model
        own = [item if len(self._streams) == 1 else item[k] for item in batch]
        model.train()
        with torch.no_grad():
            expected = model.loss(model(*own[:-1]), own[-1]).reshape(())
            if not _agree(expected, self._step("train", batch)[-1][k]):
                raise CannotStack("its step has changed since the training began")


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


def _key(kind: str, batch: Batch) -> tuple[Any, ...]:
    return (kind, *(tensor.shape for tensor in batch))


def _chain(first: Batch, rest: Iterator[Batch]) -> Iterator[Batch]:
    yield first
    yield from rest


def _agree(a: torch.Tensor, b: torch.Tensor) -> bool:
    if not (a.isfinite().all() and b.isfinite().all()):
        return True  # rounding decides when a number overflows
    scale = float(torch.linalg.vector_norm(a)) + 1e-12
    return float(torch.linalg.vector_norm(a - b)) <= _TOLERANCE * scale + 1e-9


def _first_line(error: BaseException) -> str:
    text = ""
    with suppress(Exception):
        text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
