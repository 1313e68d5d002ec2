"""What a training depends on besides its state: told, and compared before it goes on."""

import inspect
import sys
import types
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import torch

from gradbook.checks import is_ours
from gradbook.data import TensorLoader
from gradbook.errors import CheckpointError, GradbookWarning, warn
from gradbook.hparams import differences, plain, qualified_name, shortened
from gradbook.lookalikes import frozen_in, layers_of, model_tensors
from gradbook.seeds import random_state
from gradbook.settings import FREE, compared_settings
from gradbook.untrained import closed_over

#: So many rows of a data set stand for all of it.
_NUM_ROWS = 1024


def describe_setup(
    trainer: Any, loaders: tuple[Any, Any], beginning: dict[str, Any]
) -> dict[str, Any]:
    """Model, data, optimizer and settings of a training, as plain values.

    The loaders are those of both sets with all their minibatches, and the beginning is what
    `describe_beginning` gave before the first step.
    """
    model, data = trainer.model, trainer.data
    train, val = loaders
    steps = trainer.stepper_class
    return {
        "model": {
            "class": qualified_name(type(model)),
            "hyperparameters": plain(getattr(model, "hparams", {})),
            **beginning["model"],
        },
        "data": {
            "class": qualified_name(type(data)),
            "hyperparameters": _without_places(plain(getattr(data, "hparams", {}))),
            "batch_size": plain(getattr(train, "batch_size", None)),
            "num_train_batches": trainer.num_train_batches,
            "num_val_batches": trainer.num_val_batches,
            "train": content_of(train),
            "val": content_of(val),
        },
        "optimizer": beginning["optimizer"],
        "trainer": {
            "class": qualified_name(type(trainer)),
            **compared_settings(trainer),
            **({} if is_ours(steps) else {"stepper": qualified_name(steps)}),
        },
        "code": code_of({*map(type, layers_of(model))} | {type(data), type(trainer), steps}),
        "place": {
            "device": trainer.device.type,
            "torch": str(torch.__version__),
            "number of threads": torch.get_num_threads(),
            "number of processes": trainer.training.group.size,
            "compile": bool(trainer.compile),
            "deterministic": bool(trainer.deterministic),
        },
    }


def describe_beginning(model: Any, optimizer: Any, schedules: Sequence[Any]) -> dict[str, Any]:
    """What steps change and a training that goes on must begin with, as it is before the first."""
    layers = model.named_modules() if isinstance(model, torch.nn.Module) else ()
    return {
        "model": {
            "parameters": {name: form_of(tensor) for name, tensor in model_tensors(model).items()},
            "frozen": frozen_in(model),
            "layers": {
                name: f"{qualified_name(type(layer))}({layer.extra_repr()})"
                for name, layer in layers
                if name
            },
        },
        "optimizer": {
            "class": qualified_name(type(optimizer)),
            "groups": _settings_of(optimizer),
            "schedulers": [
                {
                    "class": qualified_name(type(schedule.scheduler)),
                    "settings": plain(schedule.scheduler.state_dict()),
                    "interval": schedule.interval,
                    "frequency": schedule.frequency,
                }
                for schedule in schedules
            ],
        },
    }


def describe_optimizer(optimizer: Any) -> dict[str, Any]:
    """The class of an optimizer, and its settings; of a group's, those of the first."""
    return {"class": qualified_name(type(optimizer)), "settings": _settings_of(optimizer)[0]}


def _settings_of(optimizer: Any) -> list[dict[str, Any]]:
    """The settings of each group of parameters; of a learner's own optimizer, its rate."""
    groups = getattr(optimizer, "param_groups", None) or [{"lr": getattr(optimizer, "lr", None)}]
    return [
        {name: plain(value) for name, value in group.items() if name != "params"}
        for group in groups
    ]


def check_setup(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises CheckpointError, with a list of what differs, unless the two setups are the same."""
    before, now = dict(before), dict(now)
    code, place = (before.pop("code"), now.pop("code")), (before.pop("place"), now.pop("place"))
    found = [
        f"  {path}: {shortened(old, 100)} in the checkpoint, {shortened(new, 100)} now"
        for path, old, new in differences(before, now)
    ]
    found += [
        f"  {name}: the methods of the class have changed since" for name in changed_classes(*code)
    ]
    if any(line.startswith("  optimizer.schedulers") for line in found):
        found.append(
            "A learning-rate schedule resumes with the settings that it began with. If they are "
            "computed from max_epochs, write fixed numbers there instead: those of the checkpoint."
        )
    if found:
        raise CheckpointError(
            "This checkpoint was made by a different training, which cannot resume as it is now:\n"
            + "\n".join(found)
            + "\n"
            f"Resume with what it was made with. Only {', '.join(FREE)}, and where it is shown "
            "and kept, may change. To start a new "
            "training from its parameters, load them into the model: "
            "`model.load_state_dict(gradbook.checkpoint.load(path)['model'])`."
        )
    for path, old, new in differences(*place):
        warn(
            f"The checkpoint was made with another {path}, {old}, and the training resumes with "
            f"{new}: its numbers may differ in their last digits from those of one that was never "
            f"stopped.",
            GradbookWarning,
        )


def code_of(classes: Iterable[type]) -> dict[str, Any]:
    """Checksums of the methods that a learner gave classes, wherever they were written.

    They are those of the compiled code, so that comments and formatting do not count. Python's own
    version stands beside them, because each compiles in its own way.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    sums = {qualified_name(Class): _sum_of_methods(Class) for Class in classes}
    return {"python": version, "classes": dict(sorted(sums.items()))}


def changed_classes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The classes whose methods differ between two results of `code_of`."""
    if before["python"] != now["python"]:  # which compiles the same code to another
        return []
    old, new = before["classes"], now["classes"]
    return [name for name, crc in new.items() if old.get(name, crc) != crc]


def warn_of_changed_code(model: Any, before: dict[str, Any] | None, when: str) -> None:
    """Says so if the methods of a model's classes are no longer those that `code_of` noted."""
    changed = changed_classes(before, code_of({type(m) for m in model.modules()})) if before else []
    if changed:
        warn(
            f"The methods of {', '.join(changed)} have changed since {when}: what is computed "
            f"here is not what was learned.",
            GradbookWarning,
        )


def _sum_of_methods(Class: type) -> int:
    methods = []
    for base in Class.__mro__:
        for name, value in sorted(vars(base).items()):
            function = getattr(value, "fget", None) or getattr(value, "__func__", value)
            function = inspect.unwrap(function) if callable(function) else function
            if not isinstance(function, types.FunctionType):
                continue
            if (function.__module__ or "").partition(".")[0] in ("gradbook", "torch"):
                continue  # a library's own; what `add_to_class` has put in its place is not
            variables = list(closed_over(function).values())
            around = plain([function.__defaults__, function.__kwdefaults__, variables])
            methods.append(f"{name} {_code(function.__code__)} {around}")
    return zlib.crc32("\n".join(methods).encode())


def _code(code: types.CodeType) -> str:
    constants = list(map(_constant, code.co_consts))
    return f"{code.co_code.hex()} {constants} {code.co_names}"


def _constant(value: Any) -> str:
    if isinstance(value, types.CodeType):
        return _code(value)
    return str(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def form_of(tensor: torch.Tensor) -> str:
    """Shape and dtype in words: "(784, 10) float32"; of a sparse tensor also its layout."""
    words = [tensor.dtype] if tensor.layout is torch.strided else [tensor.dtype, tensor.layout]
    return " ".join([str(tuple(tensor.shape)), *(str(w).removeprefix("torch.") for w in words)])


def _without_places(hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """Where data lie and how many workers fetch them makes no other data."""
    return {k: v for k, v in hyperparameters.items() if k not in ("root", "num_workers")}


def content_of(loader: Any) -> list[str] | None:
    """The form and a checksum of data in memory, one text a tensor; None for other loaders.

    Only some rows are read, for speed.
    """
    if not isinstance(loader, TensorLoader):
        return None
    contents = []
    for tensor in loader.tensors:
        step = -(-len(tensor) // _NUM_ROWS)
        rows = tensor.detach()[::step].cpu().contiguous()
        crc = zlib.crc32(rows.reshape(-1).view(torch.uint8).numpy().tobytes())
        contents.append(f"{form_of(tensor)}, checksum {crc:08x}")
    return contents


def begun_from(model: Any) -> str:
    """A checksum of what a training begins with: the random generators and the parameters.

    Only some values of a parameter are read, for speed, and none of a layer without a shape.
    """
    state = random_state()
    crc = zlib.crc32(repr([state["python"], *state["numpy"][2:]]).encode())
    crc = zlib.crc32(state["numpy"][1].tobytes(), crc)
    crc = zlib.crc32(state["torch"].numpy().tobytes(), crc)
    for tensor in model_tensors(model).values():
        with suppress(RuntimeError, TypeError, ValueError):  # a sparse one, or without values
            some = tensor.detach().reshape(-1)[:: 1 + tensor.numel() // _NUM_ROWS]
            content = some.cpu().contiguous().view(torch.uint8).numpy().tobytes()
            crc = zlib.crc32(content, crc)
    return f"{crc:08x}"
