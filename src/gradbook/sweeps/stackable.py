"""What can be trained in a stack, and who goes together: found out before anything is trained."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch

from gradbook.data import TensorLoader
from gradbook.module import Classifier, Module
from gradbook.seeds import same_random_state
from gradbook.sweeps.loops import is_usual_epoch, is_usual_preparation
from gradbook.sweeps.optimizers import form_of
from gradbook.sweeps.training import Training
from gradbook.sweeps.values import are_equal
from gradbook.trainer import Trainer

#: A batch with more numbers than this is not copied for each model, but shared by those that see
#: the same one.
_LARGE_BATCH = 4096

#: Attributes of every layer, and of a model beside its network, that no result depends on.
_UNCOUNTED = {*vars(torch.nn.Module()), "board", "plot_train_per_epoch", "plot_valid_per_epoch"}

#: The library's own, which `add_to_class` may have replaced since.
_FIT_EPOCH, _PREPARE = Trainer.fit_epoch, Trainer.prepare_batch

#: Settings of the trainer, and their values, with which all models do what one does.
_NEUTRAL: dict[str, Any] = {
    "gradient_clip_val": 0,
    "accumulate_grad_batches": 1,
    "precision": "32",
    "compile": False,
    "deterministic": False,
    "patience": None,
}


class CannotStack(Exception):  # noqa: N818 - no error: the training goes on alone
    """Why a model cannot be trained in a stack; the message completes "alone, because ..."."""


# Each by itself


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
    for loader in training.loaders:
        if type(loader) is not TensorLoader:
            raise CannotStack("its minibatches do not come from tensors in memory")
    training.reads = _reads(training)


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


def _reads(training: Training) -> list[tuple[int, str, Any]]:
    """What a step of this model reads, as `Training.reads` has it."""
    model, trainer = training.model, training.trainer
    modules = list(model.modules())
    before = trainer.position.sources()
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        batches = [trainer.prepare_batch(loader.first()) for loader in training.loaders]
        with _listening(modules) as names, torch.no_grad():
            for step in (True, False):
                model.train(step)
                batch = batches[0] if step else batches[-1]
                Y_hat = model(*batch[:-1])
                model.loss(Y_hat, batch[-1])
                if not step and isinstance(model, Classifier):
                    model.accuracy(Y_hat, batch[-1])
    except Exception as error:
        raise CannotStack(f"a first step failed ({first_line(error)})") from error
    finally:
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


@contextmanager
def _listening(modules: Sequence[torch.nn.Module]) -> Iterator[set[tuple[int, str]]]:
    """Notes which attributes of these layers are read meanwhile: the layer's place, the name."""
    names: set[tuple[int, str]] = set()
    classes = [type(module) for module in modules]
    modes = [module.training for module in modules]
    try:
        for place, module in enumerate(modules):
            object.__setattr__(module, "__class__", _heard(type(module), place, names))
        yield names
    finally:
        for module, Class, mode in zip(modules, classes, modes, strict=True):
            object.__setattr__(module, "__class__", Class)
            module.training = mode


def _heard(Class: type, place: int, names: set[tuple[int, str]]) -> type:
    """A layer's class that notes, in `names`, what is read of the layer."""

    class Heard(Class):  # type: ignore[misc]
        def __getattribute__(self, name: str) -> Any:
            names.add((place, name))
            return super().__getattribute__(name)

    Heard.__name__, Heard.__qualname__ = Class.__name__, Class.__qualname__
    return Heard


def first_line(error: BaseException) -> str:
    """The kind of an error, and the first line of its message."""
    text = ""
    with suppress(Exception):
        text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# Who goes together


def groups_of(trainings: Sequence[Training]) -> list[list[Training]]:
    """The trainings in stacks: of one form each, and such that large batches are shared."""
    forms: list[tuple[list[Any], list[Training]]] = []
    for training in trainings:
        form = _form(training)
        for known, group in forms:
            if are_equal(known, form) and _read_the_same(group[0], training):
                group.append(training)
                break
        else:
            forms.append((form, [training]))
    found: list[list[Training]] = []
    for _, group in forms:
        streams = streams_of(group)
        first = group[0].loaders[0].first()
        if len(streams) == 1 or sum(tensor.numel() for tensor in first) <= _LARGE_BATCH:
            found.append(group)
            continue
        # Batches that several models see are shared among these; the others are laid together.
        found += [stream for stream in streams if len(stream) > 1]
        single = [stream[0] for stream in streams if len(stream) == 1]
        found += [single] if single else []
    return found


def _form(training: Training) -> list[Any]:
    """What must be equal for models to do the same operations."""
    model, trainer = training.model, training.trainer
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return [
        [type(module) for module in model.modules()],
        [(name, t.shape, t.dtype, t.device, t.requires_grad) for name, t in tensors],
        form_of(trainer.optim, list(model.parameters())),
        len(trainer.schedules),
        (trainer.position.epoch, trainer.max_epochs),
        (trainer.num_train_batches, trainer.num_val_batches),
        [
            [(tensor.shape, tensor.dtype) for tensor in (*loader.tensors, *loader.first())]
            + [loader.batch_size]
            for loader in training.loaders
        ],
    ]


def _read_the_same(one: Training, other: Training) -> bool:
    return len(one.reads) == len(other.reads) and all(
        a[:2] == b[:2] and are_equal(a[2], b[2])
        for a, b in zip(one.reads, other.reads, strict=True)
    )


def streams_of(trainings: Sequence[Training]) -> list[list[Training]]:
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
    for a, b in zip(one.loaders, other.loaders, strict=True):
        if (a.batch_size, a.shuffle, a.transform) != (b.batch_size, b.shuffle, b.transform):
            return False
        if not all(s is t or torch.equal(s, t) for s, t in zip(a.tensors, b.tensors, strict=True)):
            return False
    return True
