"""What can be trained in a stack, and who goes together: found out before anything is trained."""

import inspect
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from gradbook.checks import is_ours
from gradbook.data import TensorLoader
from gradbook.lookalikes import held_by, hooks_of
from gradbook.module import Classifier, Module
from gradbook.seeds import random_state, restore_random_state, same_random_state
from gradbook.settings import unstackable_setting
from gradbook.sweeps.calls import Calls, Doubtful, Writes, names_in
from gradbook.sweeps.candidate import Candidate
from gradbook.sweeps.copies import are_copies
from gradbook.sweeps.effects import Reached, foresee
from gradbook.sweeps.loops import is_usual_epoch, is_usual_preparation
from gradbook.sweeps.optimizers import form_of
from gradbook.sweeps.values import are_equal, grouped
from gradbook.trainer import Trainer

#: A batch with more numbers than this is not copied for each model, but shared by those that see
#: the same one.
_LARGE_BATCH = 4096

#: Attributes of every layer, and of a model beside its network, that no result depends on.
_UNCOUNTED = {*vars(torch.nn.Module()), "board", "plot_train_per_epoch", "plot_valid_per_epoch"}

#: What a model has of the library's own while it is trained: see module.py and untrained.py.
_OF_THE_LIBRARY = {"_may_be_trained", "training_step"}

_BATCH = "their batch"

#: Numbers so short that rounding could hide that a stack computes something else.
_SHORT = (torch.float16, torch.bfloat16)

#: The methods of a trainer, and those that a stack calls as one alone does, or has no use for.
_METHODS_OF_TRAINER = [n for n, v in vars(Trainer).items() if inspect.isfunction(v)]
_FREE_METHODS = {
    *("__init__", "prepare_data", "prepare_model", "clip_gradients"),
    *("validate", "predict", "save_checkpoint", "stop"),
}

#: Methods that may be replaced by one that does the same, and by what otherwise.
_REPLACEABLE: dict[str, tuple[Any, str]] = {
    "fit_epoch": (is_usual_epoch, " by another loop"),
    "prepare_batch": (is_usual_preparation, " by one that changes batches"),
}


class CannotStack(Exception):  # noqa: N818 - no error: the training goes on alone
    """Why a model cannot be trained in a stack; the message completes "alone, because ..."."""


# Each by itself


def check_alone(candidate: Candidate) -> None:
    """Raises CannotStack if this training cannot be in a stack; else notes what it depends on."""
    trainer, model = candidate.trainer, candidate.model
    assert candidate.live is not None
    name = type(model).__name__
    if not isinstance(model, Module):
        raise CannotStack(f"{name} is not derived from Module")
    for method in ("training_step", "validation_step", "plot"):
        own = getattr(type(model), method)
        if not is_ours(own):
            raise CannotStack(f"{name}.{method} is a method of your own")
        if own not in (getattr(Module, method), getattr(Classifier, method)):
            raise CannotStack(f"{name} plots other values than a loss and an accuracy")
    for method in _METHODS_OF_TRAINER:
        own = inspect.getattr_static(type(trainer), method)
        if is_ours(own) or method in _FREE_METHODS:
            continue
        is_usual, by = _REPLACEABLE.get(method, (None, ""))
        if is_usual is None or not is_usual(own):
            raise CannotStack(f"Trainer.{method} was replaced{by}")
    for Class in (trainer.stepper_class, type(candidate.live)):
        for method, own in inspect.getmembers(Class, inspect.isfunction):
            if not is_ours(own):
                raise CannotStack(f"{Class.__name__}.{method} is a method of your own")
    if trainer.watch:
        raise CannotStack(f"{' and '.join(trainer.watch)} are watched")
    setting = unstackable_setting(trainer)
    if setting is not None:
        raise CannotStack(setting)
    if not all(is_ours(type(sink)) for sink in candidate.live.told_of_steps):
        raise CannotStack("a sink of your own is told of every step")
    if any(schedule.interval == "step" for schedule in trainer.schedules):
        raise CannotStack("its learning rate changes with every step")
    listed = {id(parameter) for parameter in model.parameters()}
    if any(id(tensor) not in listed for tensor in held_by(trainer.optim)):
        raise CannotStack(f"its optimizer updates tensors that are no parameters of {name}")
    for place, module in model.named_modules():
        layer = f"its layer {place}" if place else name
        hooks = [hook for hooks in hooks_of(module) for hook in hooks.values()]
        if hooks:
            kinds = {type(hook).__name__ for hook in hooks} - {"function", "method"}
            raise CannotStack(f"{layer} has hooks{f' ({min(kinds)})' if kinds else ''}")
        if isinstance(module, torch.jit.ScriptModule):
            raise CannotStack(f"{layer} is compiled by torch.jit")
        if type(module).__name__ == "OptimizedModule" or module._compiled_call_impl is not None:
            raise CannotStack(f"{layer} is compiled by torch.compile")
    for place, parameter in model.named_parameters():
        if parameter.dtype in _SHORT:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise CannotStack(f"its parameter {place} is {kind}, which is too coarse to compare")
    if any(p._backward_hooks or p._post_accumulate_grad_hooks for p in model.parameters()):
        raise CannotStack(f"parameters of {name} have hooks")
    if trainer.position.batches or trainer.position.split != "train":
        raise CannotStack("it resumes in the middle of an epoch")
    if trainer.position.generators:
        raise CannotStack("its data or model have a random generator of their own")
    for loader in candidate.loaders:
        if type(loader) is not TensorLoader:
            raise CannotStack("its minibatches do not come from tensors in memory")
    _look_at_steps(candidate)


def _look_at_steps(candidate: Candidate) -> None:
    """Takes steps that change nothing, and sets `Candidate.reads` and `Candidate.reached`."""
    model, trainer = candidate.model, candidate.trainer
    modules = list(model.modules())
    code = [loader.transform for loader in candidate.loaders if loader.transform is not None]
    roots = [(type(model).__name__, model), *(("the transform of its data", own) for own in code)]
    parameters = [id(parameter) for parameter in model.parameters()]
    unseen = [id(trainer), id(getattr(model, "board", None))]
    # What this library keeps on a model for itself.
    unseen += [id(vars(m)[name]) for m in modules for name in _OF_THE_LIBRARY & vars(m).keys()]
    noted = Reached(roots, parameters=parameters, unseen=unseen)
    if noted.iterators:
        raise CannotStack(f"its steps may use up {noted.iterators[0]}")
    # What could not be put back must be known before a step runs.
    foreseen = foresee(roots, parameters, unseen)
    if foreseen.doubts:
        raise CannotStack(f"its steps may depend on {foreseen.doubts[0]}")
    modes = [module.training for module in modules]
    before, calls = random_state(), Calls(modules)
    switches, writes = False, Writes(noted.tensors)
    try:
        with calls.watching():
            switches = _take_steps(candidate)
        with _listening(modules) as calls.heard, writes:
            _take_steps(candidate, writes)
    except Doubtful:
        pass  # the doubt is among those of the calls
    except Exception as error:
        raise CannotStack(
            f"a first step, taken to look at it, raised {type(error).__name__}"
        ) from error
    finally:
        after = random_state()
        changed = noted.changed() or foreseen.changed()
        noted.put_back()
        foreseen.put_back()
        restore_random_state(before)
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
    if not same_random_state(before, after):
        raise CannotStack("its steps draw random numbers, as dropout does")
    if changed is not None or writes.found:
        raise CannotStack(_words_of(changed or writes.found[0], model))
    if switches:
        raise CannotStack("its steps switch between training and validation")
    for name in ("trainer", "board"):
        is_called = any(doubt.startswith(f"gradbook.{name}.") for doubt in calls.doubts)
        if is_called or any(read == name for _, read in calls.heard):
            raise CannotStack(f"its steps look at the {name}")
    if calls.doubts:
        raise CannotStack(f"its steps call {calls.doubts[0]}")
    if not calls.codes <= noted.codes:
        unknown = min(code.co_qualname for code in calls.codes - noted.codes)
        raise CannotStack(f"its steps call {unknown}, which cannot be looked into completely")
    if any("grad" in names_in(code).every for code in calls.codes):
        raise CannotStack(
            "its steps look at gradients (grad), which stacked training does not keep there"
        )
    reached = Reached(roots, calls, parameters, unseen)
    if reached.doubts:
        raise CannotStack(f"its steps may depend on {reached.doubts[0]}")
    if reached.shares_with(Reached([("its optimizer", trainer.optim)], parameters=parameters)):
        raise CannotStack("its steps read something that its optimizer holds")
    candidate.reached = reached
    named = calls.names
    own = {id(t): n for n, t in (*model.named_parameters(), *model.named_buffers())}
    candidate.reads = [
        (place, name, _by_name(value, own))
        for place, module in enumerate(modules)
        for name, value in sorted(vars(module).items())
        if name not in _UNCOUNTED
        and ((place, name) in calls.heard or named is None or name in named)
    ]


def _by_name(value: Any, own: Mapping[int, str]) -> Any:
    """A value that a layer holds, with the model's own tensors in it replaced by their names.

    In these, such as a recurrent layer's list of its weights, members of a stack may differ.
    """
    if isinstance(value, weakref.ReferenceType):
        value = value()
    if type(value) in (list, tuple):
        return [_by_name(item, own) for item in value]
    return own.get(id(value), value)


def _words_of(changed: str, model: Module) -> str:
    """Why a model whose steps change something is trained alone."""
    if changed == _BATCH:
        return "its steps change their batch"
    if "._buffers" in changed:
        return f"its steps change a buffer of {changed.partition('.')[0]}"
    if "._parameters" in changed:
        return "its steps change a parameter"
    owner, _, name = changed.partition(".")
    layers = [vars(layer) for layer in model.modules() if type(layer).__name__ == owner]
    if any(isinstance(layer.get(name), int | float) for layer in layers):
        return f"its steps change a counter, {changed}"
    return f"its steps change {changed}"


def _take_steps(candidate: Candidate, writes: Writes | None = None) -> bool:
    """Computes what steps compute, of whole batches and of those as small as the last.

    Where `writes` sees whether a batch is written into, no gradients are computed. Returns whether
    a step has switched a layer between training and validation.
    """
    model, trainer = candidate.model, candidate.trainer
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    switches = False
    for step in (True, False):
        loader = candidate.loaders[0] if step else candidate.loaders[-1]
        model.train(step)
        modes = [module.training for module in model.modules()]
        for size in _sizes_of(loader):
            batch = [item[:size].clone() for item in loader.first()]
            if writes is not None:
                for item in batch:
                    writes.add(_BATCH, item)
            *inputs, Y = trainer.prepare_batch(batch)
            with torch.set_grad_enabled(step):
                Y_hat = model(*inputs)
                loss = model.loss(Y_hat, Y)
                has_gradients = isinstance(loss, torch.Tensor) and loss.requires_grad
                if step and has_gradients and writes is None:  # once is enough
                    torch.autograd.grad(loss.reshape(()), trained, allow_unused=True)
                if not step and isinstance(model, Classifier):
                    model.accuracy(Y_hat, Y)
            switches |= modes != [module.training for module in model.modules()]
    return switches


def _sizes_of(loader: TensorLoader) -> list[int]:
    """How many examples the first batches have, and the last if it is smaller."""
    num_examples, size = len(loader.tensors[0]), loader.batch_size
    left = num_examples % size
    return [size, left] if left and num_examples > size else [min(size, num_examples)]


@contextmanager
def _listening(modules: Sequence[torch.nn.Module]) -> Iterator[set[tuple[int, str]]]:
    """Notes which attributes of these layers are read meanwhile: the layer's place, the name."""
    names: set[tuple[int, str]] = set()
    classes = [type(module) for module in modules]
    try:
        for place, module in enumerate(modules):
            object.__setattr__(module, "__class__", _heard(type(module), place, names))
        yield names
    finally:
        for module, Class in zip(modules, classes, strict=True):
            object.__setattr__(module, "__class__", Class)


def _heard(Class: type, place: int, names: set[tuple[int, str]]) -> type:
    """A layer's class that notes, in `names`, what is read of the layer."""

    class Heard(Class):  # type: ignore[misc]
        def __getattribute__(self, name: str) -> Any:
            names.add((place, name))
            return super().__getattribute__(name)

    Heard.__name__, Heard.__qualname__ = Class.__name__, Class.__qualname__
    return Heard


# Who goes together


def groups_of(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """The trainings in stacks: of one form each, and such that large batches are shared."""
    forms = {id(candidate): _form(candidate) for candidate in candidates}

    def are_alike(one: Candidate, other: Candidate) -> bool:
        return are_equal(forms[id(one)], forms[id(other)]) and _read_the_same(one, other)

    found: list[list[Candidate]] = []
    for group in grouped(candidates, are_alike):
        streams = streams_of(group)
        first = group[0].loaders[0].first()
        if len(streams) == 1 or sum(tensor.numel() for tensor in first) <= _LARGE_BATCH:
            found.append(group)
            continue
        # Batches that several models see are shared among these; the others are laid together.
        found += [stream for stream in streams if len(stream) > 1]
        found.append([stream[0] for stream in streams if len(stream) == 1])
    return [group for group in found if group]


def _form(candidate: Candidate) -> list[Any]:
    """What must be equal for models to do the same operations."""
    model, trainer = candidate.model, candidate.trainer
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return [
        [_kind_of(module) for module in model.modules()],
        [(name, t.shape, t.dtype, t.device, t.requires_grad) for name, t in tensors],
        form_of(trainer.optim, list(model.parameters())),
        len(trainer.schedules),
        (trainer.position.epoch, trainer.max_epochs),
        (trainer.num_train_batches, trainer.num_val_batches),
        [
            [(tensor.shape, tensor.dtype) for tensor in (*loader.tensors, *loader.first())]
            + [loader.batch_size]
            for loader in candidate.loaders
        ],
    ]


def _kind_of(module: torch.nn.Module) -> type:
    """A layer's class; that which it had before PyTorch made one for its parametrization."""
    is_parametrized = torch.nn.utils.parametrize.is_parametrized(module)
    return type(module).__mro__[1 if is_parametrized else 0]


_UNLIKE = "no other member does the same operations"

#: What the parts of `_form` are, in words.
_PARTS = (
    *("has the same layers", "has parameters of the same shapes", "has the same optimizer"),
    *("has as many schedulers", "trains for the same epochs", "has as many batches"),
    "has data of the same shape",
)


def why_unlike(candidate: Candidate, others: Sequence[Candidate]) -> str:
    """Why a training that could be in a stack goes with none of the others."""
    others = [other for other in others if other is not candidate]
    if not others:
        return "no other member can be stacked"
    form = _form(candidate)
    same = [[are_equal(a, b) for a, b in zip(form, _form(other), strict=True)] for other in others]
    nearest = max(same, key=sum)
    if not all(nearest):
        return f"{_UNLIKE} (none {_PARTS[nearest.index(False)]})"
    alike = [other for other, parts in zip(others, same, strict=True) if all(parts)]
    if any(_read_the_same(other, candidate) for other in alike):
        return "no other member has the same batches, and the batches are too large to be copied"
    modules = list(candidate.model.modules())
    for a, b in zip(candidate.reads, alike[0].reads, strict=False):
        if not _is_same_read(a, b):
            place, name, _ = a
            kind = type(modules[place]).__name__
            return f"{_UNLIKE} (its steps read {kind}.{name}, in which they differ)"
    return f"{_UNLIKE} (its steps read other attributes)"


def _read_the_same(one: Candidate, other: Candidate) -> bool:
    same_number = len(one.reads) == len(other.reads)
    return same_number and all(map(_is_same_read, one.reads, other.reads))


def _is_same_read(a: tuple[int, str, Any], b: tuple[int, str, Any]) -> bool:
    return a[:2] == b[:2] and are_equal(a[2], b[2])


def streams_of(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """The trainings by the batches that they see."""
    return grouped(candidates, _see_the_same)


def _see_the_same(one: Candidate, other: Candidate) -> bool:
    if not same_random_state(one.random_state, other.random_state):
        return False
    for a, b in zip(one.loaders, other.loaders, strict=True):
        if (a.batch_size, a.shuffle) != (b.batch_size, b.shuffle):
            return False
        if not are_copies(a.transform, b.transform):
            return False
        if not all(s is t or torch.equal(s, t) for s, t in zip(a.tensors, b.tensors, strict=True)):
            return False
    return True
