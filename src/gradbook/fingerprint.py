"""What a training depends on besides its state: told, and compared before it goes on."""

import inspect
import sys
import types
import zlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from gradbook.data import TensorLoader
from gradbook.errors import CheckpointError
from gradbook.hparams import plain, qualified_name
from gradbook.passes import Pass

#: The settings of a trainer on which the result depends.
TRAINER_SETTINGS = (
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "accumulate_grad_batches",
    "precision",
    "limit_batches",
    "overfit_batches",
    "monitor",
    "mode",
    "min_delta",
    "patience",
    "keep_best",
)

#: So many rows of a data set stand for all of it.
_NUM_ROWS = 1024


def describe_setup(trainer: Any, data: Any) -> dict[str, Any]:
    """Model, data, optimizer and settings of a training, as plain values."""
    model = trainer.model
    return {
        "model": {
            "class": qualified_name(type(model)),
            "hyperparameters": plain(getattr(model, "hparams", {})),
            "parameters": {name: form_of(tensor) for name, tensor in model_tensors(model).items()},
            "code": code_of(type(model)),
        },
        "data": {
            "class": qualified_name(type(data)),
            "hyperparameters": _without_places(plain(getattr(data, "hparams", {}))),
            "batch_size": plain(getattr(trainer.train_dataloader, "batch_size", None)),
            "num_train_batches": trainer.num_train_batches,
            "num_val_batches": trainer.num_val_batches,
            "train": content_of(trainer.train_dataloader),
            "val": content_of(trainer.val_dataloader),
        },
        "optimizer": {"class": qualified_name(type(trainer.optim))},
        "trainer": {name: plain(getattr(trainer, name)) for name in TRAINER_SETTINGS},
    }


def check_setup(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises CheckpointError, with a list of what differs, unless the two setups are the same."""
    differences = [
        f"  {path}: the methods of the class have changed since"
        if path.endswith(".code")
        else f"  {path}: {_short(old)} in the checkpoint, {_short(new)} now"
        for path, old, new in _differences(before, now)
    ]
    if differences:
        raise CheckpointError(
            "This checkpoint was made by another training, so that going on from it would be "
            "neither the one nor the other:\n" + "\n".join(differences) + "\n"
            "Use what it was made with. Only max_epochs may change. To start a new training from "
            "its parameters, load them into the model: "
            "`model.load_state_dict(gradbook.checkpoint.load(path)['model'])`."
        )


def model_tensors(model: Any) -> dict[str, torch.Tensor]:
    """The parameters and buffers of a model, by name, with the values they have now.

    A model that only looks like a `Module` may hold its parameters as plain tensors, which
    PyTorch does not list.
    """
    tensors: dict[str, torch.Tensor] = {}
    if hasattr(model, "state_dict"):
        tensors.update(model.state_dict())
    for name, value in vars(model).items():
        if isinstance(value, torch.Tensor) and value.requires_grad and value.is_leaf:
            tensors.setdefault(name, value.detach())
    # What has no shape yet has no value either.
    return {
        name: value
        for name, value in tensors.items()
        if isinstance(value, torch.Tensor) and not is_lazy(value)
    }


def code_of(Class: type) -> dict[str, Any]:
    """A checksum of the methods that a learner gave a class, wherever they were written.

    It is that of the compiled code, so that comments and formatting do not count. Python's own
    version is part of it, because each compiles in its own way.
    """
    methods = []
    for base in Class.__mro__:
        ours = base.__module__.partition(".")[0] in ("gradbook", "torch", "builtins")
        for name, value in sorted(vars(base).items()):
            function = getattr(value, "fget", None) or getattr(value, "__func__", value)
            function = inspect.unwrap(function) if callable(function) else function
            if not isinstance(function, types.FunctionType):
                continue
            if ours and function.__module__ == base.__module__:
                continue  # the library's own; what `add_to_class` put in its place counts
            defaults = plain([function.__defaults__, function.__kwdefaults__])
            methods.append(f"{name} {_code(function.__code__)} {defaults}")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": version, "crc": zlib.crc32("\n".join(methods).encode())}


def _code(code: types.CodeType) -> str:
    constants = [
        _code(value) if isinstance(value, types.CodeType) else _constant(value)
        for value in code.co_consts
    ]
    return f"{code.co_code.hex()} {constants} {code.co_names}"


def _constant(value: Any) -> str:
    return str(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def form_of(tensor: torch.Tensor) -> str:
    """Shape and dtype in words: "(784, 10) float32"."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _without_places(hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """Where data lie and how many workers fetch them makes no other data."""
    return {k: v for k, v in hyperparameters.items() if k not in ("root", "num_workers")}


def content_of(loader: Any) -> list[str] | None:
    """The form and a checksum of data in memory, one text a tensor; None for other loaders.

    Only some rows are read, for speed.
    """
    loader = loader.loader if isinstance(loader, Pass) else loader
    if not isinstance(loader, TensorLoader):
        return None
    contents = []
    for tensor in loader.tensors:
        step = -(-len(tensor) // _NUM_ROWS)
        rows = tensor.detach()[::step].cpu().contiguous()
        crc = zlib.crc32(rows.reshape(-1).view(torch.uint8).numpy().tobytes())
        contents.append(f"{form_of(tensor)}, checksum {crc:08x}")
    return contents


def _differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if path.endswith(".code"):
        # Another Python compiles the same code to another.
        if old["python"] == new["python"] and old["crc"] != new["crc"]:
            yield path, old, new
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            inner = f"{path}.{key}" if path else str(key)
            yield from _differences(old.get(key), new.get(key), inner)
    elif repr(old) != repr(new):
        yield path, old, new


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."
