"""The whole state of a training between two steps: taken, and put back.

What is here is all that the rest of the training depends on, so that a training which goes on
from it gives the same numbers to the last bit as one that was never stopped.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from gradbook import attributes, checkpoint
from gradbook.board import draws_on_ours
from gradbook.errors import CheckpointError, GradbookWarning, IgnoredSettingWarning, told, warn
from gradbook.lookalikes import (
    frozen_in,
    held_by,
    layers_of,
    model_tensors,
    named_parameters,
)
from gradbook.parts import is_sharded, part_here
from gradbook.resume.loader import Position
from gradbook.resume.setup import check_setup, form_of
from gradbook.schedules import check_goes_on, note_a_step
from gradbook.seeds import from_plain, to_plain
from gradbook.sharding import like


def take(training: Any, for_itself: bool = False) -> dict[str, Any]:
    """The state of a training, for `checkpoint.save`. Its tensors are the model's own.

    Args:
        training: A training, between two steps.
        for_itself: Whether only a copy of this very training is to go on from it, which then need
            not be described.
    """
    trainer = training.trainer
    position: Position = training.position
    sources = sources_of(position)
    if position.told_unkept is not None:
        _tell(position, position.keeper.unkept)
    model, scaler = trainer.model, training.stepper.arithmetic.scaler
    return {
        **tensors_of(training, for_itself),
        "schedules": [_plain(schedule.scheduler.state_dict()) for schedule in training.schedules],
        "scaler": None if scaler is None else scaler.state_dict(),
        **sources,
        "position": {
            **position.state_dict(),
            **{name: getattr(trainer, name) for name in _COUNTERS},
        },
        "history": training.history.state_dict(),
        "board": model.board.state_dict() if draws_on_ours(model) else None,
        "ranks_seed": training.group.seed,
        "best": training.best.state_dict(),
        "stopped": training.stop_reason,
        "reports": {} if for_itself else _reports(training),
        "is_exact": position.between_steps,
        "setup": None if for_itself else training.setup,
    }


def tensors_of(training: Any, for_itself: bool = False) -> dict[str, Any]:
    """What of the state is as large as the model: parameters, and what the optimizer has kept."""
    model, optimizer = training.trainer.model, training.trainer.optim
    loose = _loose_parameters(optimizer, model_tensors(model))
    return {
        **model_state(model, training.last_model),
        "loose": [tensor.detach() for tensor in loose],
        "optimizer": _plain(_optimizer_state(optimizer, model, for_itself)),
        "best_model": training.best_model,
    }


def sources_of(position: Position) -> dict[str, Any]:
    """What of the state random generators are at, and objects have in attributes."""
    # What is resumed has these still before it, until its first batch is fetched.
    sources = position.resumed or position.sources()
    return {
        "sources": _sources_to_plain(sources),
        "pass_start": _sources_to_plain(position.pass_start) if position.batches else None,
    }


#: What a trainer counts.
_COUNTERS = ("num_train_batches", "num_val_batches", "train_batch_idx", "val_batch_idx")


def put_back(state: Mapping[str, Any], training: Any, from_itself: bool = False) -> None:
    """Makes a training that is about to begin go on from a state.

    Args:
        state: What `checkpoint.load` read, or `take` gave.
        training: The training, whose model, data and optimizer are ready.
        from_itself: Whether it is a copy of the training that gave the state.

    Raises:
        CheckpointError: If model, data or settings are not those of the checkpoint.
    """
    trainer, model = training.trainer, training.trainer.model
    if not state.get("is_exact", True):
        raise CheckpointError(
            "This checkpoint was taken within a step, where an error or a second Ctrl-C ended the "
            "training: its parameters can be used, but no training can resume from it exactly. "
            "Resume from last.pt."
        )
    try:
        if not from_itself:
            check_setup(state["setup"], training.setup)
        if training.sharding is not None:
            state = training.sharding.completed(state)
        put_model_back(model, state)
        with torch.no_grad():
            loose = _loose_parameters(trainer.optim, model_tensors(model))
            for tensor, saved in zip(loose, state["loose"], strict=True):
                tensor.copy_(saved)
        _restore_optimizer(trainer.optim, state["optimizer"])
        for schedule, saved in zip(training.schedules, state["schedules"], strict=True):
            schedule.scheduler.load_state_dict(saved)
        if len(training.schedules) == 1:
            check_goes_on(training.schedules[0].scheduler)
        scaler = training.stepper.arithmetic.scaler
        if scaler is not None and state["scaler"] is not None:
            scaler.load_state_dict(state["scaler"])
        training.history.load_state_dict(state["history"])
        if draws_on_ours(model) and state["board"] is not None:
            model.board.load_state_dict(state["board"])
        training.best.load_state_dict(state["best"])
        best, own = state["best_model"], model_tensors(model)
        training.best_model = best and {n: like(own[n], t) for n, t in best.items()}
        training.stop_reason = state.get("stopped", "")
        training.is_stopping = bool(training.stop_reason)
        training.kept_reports = state.get("reports", {})
        training.group.seed = state.get("ranks_seed", 0)
        _restore_position(state, training)
    except CheckpointError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError, OverflowError) as e:
        raise CheckpointError(
            f"The checkpoint does not hold what a training needs to resume: {told(e)}."
        ) from e


def _reports(training: Any) -> dict[str, Any]:
    """What the watchers have seen; what one saw that does not watch any more is not lost."""
    seen = {name: _plain(report.state_dict()) for name, report in training.reports.items()}
    return {**training.kept_reports, **seen}


def put_reports_back(training: Any) -> None:
    """Gives the watchers' reports what they had seen, when they have been opened."""
    for name, report in training.reports.items():
        if name not in training.kept_reports:
            continue
        try:
            report.load_state_dict(deepcopy(training.kept_reports[name]))
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            warn(
                f"What watch={name!r} saw before cannot be taken over ({told(error)}): its report "
                f"starts again from here.",
                GradbookWarning,
            )


def model_state(model: Any, tensors: Mapping[str, torch.Tensor] | None = None) -> dict[str, Any]:
    """What a checkpoint holds of a model; its tensors are the model's own, or `tensors`."""
    return {
        "model": {**(tensors or model_tensors(model)), **_extra_states(model)},
        "buffers": _other_buffers(model),
        "frozen": frozen_in(model),
    }


def put_model_back(model: Any, state: Mapping[str, Any]) -> None:
    """Gives a model what `model_state` took; raises CheckpointError as `load_parameters` does."""
    load_parameters(model, state["model"])
    for name, buffer in _other_buffers(model).items():
        fill(buffer, state["buffers"][name])
    for name, parameter in named_parameters(model):
        parameter.requires_grad_(name not in state["frozen"])


def load_parameters(model: Any, tensors: Mapping[str, torch.Tensor]) -> None:
    """Gives a model the parameters and buffers of a checkpoint, in place.

    Args:
        model: The model. Layers that have no shape yet take that of their tensors.
        tensors: What a checkpoint has under "model".

    Raises:
        CheckpointError: If names, shapes or dtypes do not fit; all that differs is listed.
    """
    own = model_tensors(model)
    listed = set(model.state_dict()) if hasattr(model, "state_dict") else set()
    wrong = [f"  {name} is not in the model" for name in tensors if name not in {*own, *listed}]
    wrong += [f"  {name} is not in the checkpoint" for name in own if name not in tensors]
    wrong += [
        f"  {name}: {form_of(tensors[name])} in the checkpoint, {form_of(own[name])} in the model"
        for name in own
        if isinstance(tensors.get(name), torch.Tensor)
        and form_of(own[name]) != form_of(tensors[name])
    ]
    if wrong:
        raise CheckpointError(
            f"The checkpoint's parameters do not fit {type(model).__name__}:\n" + "\n".join(wrong)
        )
    odd = {n: t for n, t in _named_tensors(model) if n in tensors and not _fits(t)}
    for name, tensor in odd.items():
        fill(tensor, tensors[name])
    if listed:
        # Not strict, because layers without a shape may be missing from both.
        rest = {n: t for n, t in tensors.items() if n in listed and n not in odd}
        rest |= {n: like(own[n], t) for n, t in rest.items() if n in own}
        model.load_state_dict(rest, strict=False)
        for layer in layers_of(model):
            _note_size(layer)
    with torch.no_grad():
        for name in own.keys() - listed:
            own[name].copy_(tensors[name])


def _note_size(layer: torch.nn.Module) -> None:
    """Tells a lazy layer the size of its input, where PyTorch has given it tensors and not that."""
    tensor = getattr(layer, "weight", None)
    tensor = getattr(layer, "running_mean", None) if tensor is None else tensor
    if not isinstance(layer, LazyModuleMixin) or tensor is None or is_lazy(tensor):
        return
    first = tensor.dim() == 1 or getattr(layer, "transposed", False)
    size = tensor.shape[0] if first else tensor.shape[1] * getattr(layer, "groups", 1)
    for name in ("in_features", "in_channels", "num_features"):
        if getattr(layer, name, None) == 0:
            setattr(layer, name, size)


def make_room(model: torch.nn.Module) -> None:
    """Gives expanded tensors of a model a place for each value, so that others can be copied."""
    for _, tensor in _named_tensors(model):
        if tensor.layout is torch.strided and not _fits(tensor):
            tensor.data = tensor.detach().contiguous()


def _named_tensors(model: Any) -> list[tuple[str, torch.Tensor]]:
    """Parameters and buffers themselves, under each name that they have."""
    if not isinstance(model, torch.nn.Module):
        return []
    parameters = model.named_parameters(remove_duplicate=False)
    return [*parameters, *model.named_buffers(remove_duplicate=False)]


def _fits(tensor: torch.Tensor) -> bool:
    """Whether any other values can be copied into a tensor.

    One that is expanded has not a place for each, and a sparse one has places for as many as it is.
    """
    if is_lazy(tensor) or tensor.layout is not torch.strided:
        return is_lazy(tensor)
    sizes = zip(tensor.stride(), tensor.shape, strict=True)
    return not any(stride == 0 and size > 1 for stride, size in sizes)


@torch.no_grad()
def fill(tensor: torch.Tensor, values: torch.Tensor) -> None:
    """Gives a tensor other values of its shape; where it has no places for them, other memory."""
    if tensor.layout is torch.strided:
        # Along an expanded dimension there is one place for all values, which most often agree.
        once = tuple(slice(0, 1 if stride == 0 else None) for stride in tensor.stride())
        if _fits(tensor) or torch.equal(values[once].expand_as(values), values):
            tensor[once].copy_(values[once])
            return
    if tensor.layout in (torch.strided, torch.sparse_coo):
        tensor.data = values.detach().clone().to(tensor.device)
    else:  # whose `data` cannot be set
        tensor.resize_as_sparse_(values).copy_(values)


def _restore_position(state: Mapping[str, Any], training: Any) -> None:
    saved, position, trainer = state["position"], training.position, training.trainer
    position.load_state_dict(saved)
    for name in _COUNTERS:
        setattr(trainer, name, saved[name])
    if saved["has_inner"]:
        warn(
            "When this checkpoint was taken, an iterator over a set was open beside the pass that "
            "is resumed. It starts again from its first batch, so that its batches may differ from "
            "those of a training that was never stopped.",
            GradbookWarning,
        )
    trainer.epoch = saved["epoch"]
    if training.schedules and trainer.train_batch_idx:
        note_a_step(trainer.optim)
    sources = _sources_from_plain(state["sources"])
    if position.batches:
        position.pass_start = _sources_from_plain(state["pass_start"])
        position.resumed = sources
        # A pass that is resumed puts it back once more; what does not fit is told here and now.
        position.restore_sources(position.pass_start)
    lost = position.restore_sources(sources)
    if lost:
        warn(
            f"The checkpoint holds values of {', '.join(lost)}, but there is no such object here "
            f"to put them into, and a file does not make objects. Make it in __init__, and its "
            f"values are restored.",
            GradbookWarning,
        )


def _sources_to_plain(sources: dict[str, Any]) -> dict[str, Any]:
    return {**to_plain(sources), "numbers": attributes.to_plain(sources["numbers"])}


def _sources_from_plain(plain: dict[str, Any]) -> dict[str, Any]:
    return {**from_plain(plain), "numbers": attributes.from_plain(plain["numbers"])}


def warn_of_unkept(position: Position) -> None:
    """Says what may change in a training and cannot be kept in its checkpoints.

    It is said once, and from now on of each thing that comes to it.
    """
    if position.told_unkept is None:
        position.keeper.take()
        _tell(position, [*position.keeper.unkept, *position.keeper.written_globals()])


def _tell(position: Position, unkept: Sequence[str]) -> None:
    known = position.told_unkept or set()
    new = [name for name in dict.fromkeys(unkept) if name not in known]
    position.told_unkept = known.union(new)
    if new:
        warn(
            f"A checkpoint cannot hold {'; '.join(new)}, so that a training that resumes from "
            f"one may give other numbers. Keep what changes in numbers, lists, dictionaries or "
            f"tensors that are attributes (a buffer, in a layer), or give the layer the methods "
            f"get_extra_state() and set_extra_state().",
            IgnoredSettingWarning,
        )


# What `state_dict` does not list as a tensor


def _extra_states(model: Any) -> dict[str, Any]:
    """What layers keep by `get_extra_state`."""
    state = model.state_dict() if hasattr(model, "state_dict") else {}
    return {n: _plain(v) for n, v in state.items() if n.rpartition(".")[2] == "_extra_state"}


def _other_buffers(model: Any) -> dict[str, torch.Tensor]:
    """The buffers that are not for saving, and yet change what the next step does."""
    if not isinstance(model, torch.nn.Module):
        return {}
    saved = model.state_dict()
    return {n: b for n, b in model.named_buffers() if n not in saved}


def _loose_parameters(optimizer: Any, tensors: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """Tensors that the optimizer updates, and that the model holds where nobody finds them."""
    known = {_memory_of(tensor) for tensor in tensors.values()}
    return [tensor for tensor in held_by(optimizer) if _memory_of(tensor) not in known]


def _memory_of(tensor: torch.Tensor) -> tuple[int, ...]:
    parts = checkpoint.dense_parts(part_here(tensor))
    return tuple(part.data_ptr() for part in parts)


# Optimizers

#: Optimizers of whose state a warning has spoken already.
_warned_of: "WeakSet[Any]" = WeakSet()


def _optimizer_state(optimizer: Any, model: Any, silently: bool) -> dict[str, Any]:
    """The state of one of PyTorch's optimizers, or of one that a learner wrote.

    Silently, nothing is said of what cannot be kept: that is still to come.
    """
    if hasattr(optimizer, "state_dict"):
        state: dict[str, Any] = optimizer.state_dict()
        return state
    parameters = {id(parameter) for parameter in (*held_by(optimizer), *model.parameters())}
    kept = {}
    for name, value in vars(optimizer).items():
        if _mentions(value, parameters) or callable(value):
            continue
        if checkpoint.is_plain(_plain(value)):
            kept[name] = value
        elif not silently and optimizer not in _warned_of:
            _warned_of.add(optimizer)
            warn(
                f"{type(optimizer).__name__}.{name} cannot be kept in a checkpoint, so that a "
                f"training that resumes from one may give other numbers. Give "
                f"{type(optimizer).__name__} the methods state_dict() and load_state_dict(), or "
                f"keep tensors in a list in the order of the parameters.",
                IgnoredSettingWarning,
            )
    return kept


#: How PyTorch's optimizers go about a step, which depends on where the tensors are.
_FASTER = ("foreach", "fused")


def _restore_optimizer(optimizer: Any, state: Mapping[str, Any]) -> None:
    if hasattr(optimizer, "load_state_dict"):
        groups = getattr(optimizer, "param_groups", ())
        here = [{name: group[name] for name in _FASTER if name in group} for group in groups]
        optimizer.load_state_dict(state)
        for group, own in zip(getattr(optimizer, "param_groups", ()), here, strict=True):
            group |= own
        for parameter, kept in getattr(optimizer, "state", {}).items():
            for name, value in kept.items() if is_sharded(parameter) else ():
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                    kept[name] = like(parameter, value)
        return
    for name, value in state.items():
        setattr(optimizer, name, _on_device_of(getattr(optimizer, name, None), value))


def _on_device_of(own: Any, value: Any) -> Any:
    """A value of a checkpoint, whose tensors are on the CPU, where the value it replaces was."""
    if isinstance(own, torch.Tensor) and isinstance(value, torch.Tensor):
        return like(own, value)
    if isinstance(own, list | tuple) and isinstance(value, list | tuple) and len(own) == len(value):
        moved = [_on_device_of(*pair) for pair in zip(own, value, strict=True)]
        return type(own)(moved)
    return value


def _plain(value: Any) -> Any:
    """A state with Python's numbers in the place of NumPy's, which a checkpoint cannot hold."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    if type(value) is dict:
        return {_plain(key): _plain(item) for key, item in value.items()}
    return value


def _mentions(value: Any, parameters: set[int]) -> bool:
    """Whether a value is, or has in it, one of the model's parameters."""
    if isinstance(value, torch.Tensor):
        return id(value) in parameters
    if isinstance(value, Mapping):
        return any(_mentions(item, parameters) for item in value.values())
    return isinstance(value, list | tuple) and any(_mentions(item, parameters) for item in value)
