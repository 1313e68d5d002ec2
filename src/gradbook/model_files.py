"""A model in one file, to hand on: its parameters, and what it is made from.

Unlike a checkpoint, from which a training resumes, it holds nothing of the training. Like one, it
cannot run code.
"""

import os
from collections.abc import Mapping
from inspect import Parameter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradbook import checkpoint, registry
from gradbook.constructors import constructor_of, make
from gradbook.errors import (
    CheckpointError,
    ConfigError,
    CorruptFileError,
    GradbookWarning,
    ModelError,
    did_you_mean,
    told,
    warn,
)
from gradbook.history import num_classes_of
from gradbook.hparams import plain, qualified_name
from gradbook.lookalikes import parameters_of
from gradbook.resume.setup import code_of, warn_of_changed_code
from gradbook.resume.snapshot import model_state, put_model_back
from gradbook.seeds import untouched_generators
from gradbook.storage import check_path
from gradbook.untrained import trainable_in
from gradbook.untrusted import is_a_place

#: What tells a model's file from a checkpoint, and the version of what it holds.
HOLDS, VERSION = "model", 1


def save_model(
    model: Any,
    path: "str | os.PathLike[str]",
    *,
    data: Any = None,
    tensors: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Writes a model in one file, for `load_model`: `Trainer.save_model` does it after a training.

    The file holds the parameters and buffers, the name of the class, and the settings that its
    `save_hyperparameters()` kept.

    Args:
        model: The model.
        path: The file, such as "mlp.pt".
        data: Data whose `text_labels` name the classes.
        tensors: Parameters and buffers that are written in the place of its own.

    Raises:
        ModelError: If the model is none, or has a layer without a shape, which has no values yet.
        StorageError: If the file cannot be written.
    """
    check_path(path, "path", "mlp.pt")
    if isinstance(model, type) or not hasattr(model, "__dict__"):
        raise ModelError(f"save_model(model, path) needs a model first, but got {model!r:.60}.")
    state = model_state(model, tensors)
    lazy = [name for name in parameters_of(model) if name not in state["model"]]
    if lazy:
        raise ModelError(
            f"{type(model).__name__} has no values yet for {', '.join(lazy)}: the layers take "
            f"their shapes from a first batch. Train it, or run it once, and save it then."
        )
    known = {id(tensor) for tensor in parameters_of(model).values()}
    lost = [name for key, (name, _) in trainable_in(model).items() if key not in known]
    if lost:
        warn(
            f"{path} will not hold {', '.join(lost[:6])}, which {type(model).__name__} keeps where "
            f"nothing lists it. Set layers and tensors as attributes in __init__.",
            GradbookWarning,
        )
    hparams = getattr(model, "hparams", {})
    values = {name: _plain(v) for name, v in constructor_of(type(model)).among(hparams).items()}
    kept = {name: value for name, value in values.items() if checkpoint.is_plain(value)}
    layers = model.modules() if isinstance(model, torch.nn.Module) else [model]
    checkpoint.save(
        Path(path),
        {
            "holds": HOLDS,
            "holds_version": VERSION,
            "class": qualified_name(type(model)),
            "hyperparameters": kept,
            "unkept": {n: str(plain(v))[:200] for n, v in values.items() if n not in kept},
            "labels": _labels_of(model, data),
            "code": code_of({type(layer) for layer in layers}),
            **state,
        },
    )


def load_model(path: "str | os.PathLike[str]", Class: type | None = None, **settings: Any) -> Any:
    """Makes a model of a file that `save_model` has written.

    Nothing that the file holds is run, whoever made it: it names a class and gives numbers, texts
    and tensors. One of gradbook's own models is found by its name; any other class is yours to
    give.

    Args:
        path: The file.
        Class: The model's class. None takes gradbook's own of that name.
        settings: Arguments of the class that take precedence over the file's, or that it could not
            hold, such as a function.

    Returns:
        The model on the CPU, in evaluation mode; `fit` trains it further. Where they are known, the
        names of its classes are its `labels`. Random generators stay as they were.

    Raises:
        ConfigError: If there is no such file, or a class or an argument is needed that is not
            given.
        CorruptFileError: If the file is damaged, or not a model's.
        CheckpointError: If it is another class's, or its parameters do not fit the class.
    """
    state = _read(path)
    Model = _class_of(path, state["class"], Class)
    arguments = _arguments(path, Model, state, settings)
    with untouched_generators():
        model = make(Model, arguments)
    try:
        put_model_back(model, state)
        if isinstance(model, torch.nn.Module):
            warn_of_changed_code(model, state["code"], "it was saved")
    except CheckpointError as error:
        raise CheckpointError(f"{path} does not fit: {error}") from error
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CorruptFileError(f"{path} does not hold a whole model: {told(error)}.") from error
    if hasattr(model, "eval"):
        model.eval()
    if state["labels"] is not None and not hasattr(model, "labels"):
        model.labels = list(map(str, state["labels"]))
    return model


_KINDS: dict[str, Any] = {
    **{"class": str, "hyperparameters": dict, "unkept": dict, "labels": list | None},
    **{"model": dict, "buffers": dict, "frozen": list, "code": dict},
}


def _read(path: Any) -> dict[str, Any]:
    check_path(path, "path", "mlp.pt")
    if os.path.isdir(path):
        raise ConfigError(
            f"{str(path)!r} is a folder, and load_model() reads the file that save_model() wrote. "
            f"The model of a run: `gradbook.runs.restore({str(path)!r}).model`."
        )
    if not os.path.exists(path):
        raise ConfigError(f"There is no file {str(path)!r}. `trainer.save_model(path)` writes one.")
    state = checkpoint.load(path)
    if state.get("holds") != HOLDS:
        raise CorruptFileError(
            f"{path} is a checkpoint, from which a training resumes, and does not say what its "
            f"model is made from. `gradbook.runs.restore(run).model` is the model of a run; "
            f"`trainer.save_model(path)` writes one to hand on."
        )
    if state.get("holds_version") != VERSION:
        raise CorruptFileError(
            f"{path} has version {state.get('holds_version')!r} of a model's file, and this "
            f"gradbook reads version {VERSION}. Use the gradbook that wrote it."
        )
    for name, kind in _KINDS.items():
        if not isinstance(state.get(name), kind):
            raise CorruptFileError(f"{path} does not hold a whole model: its {name} is missing.")
    return state


def _class_of(path: Any, written: str, given: Any) -> type:
    name = written.rpartition(".")[2]
    if given is None:
        known = registry.known_name(written, registry.MODELS)
        if not known:
            raise ConfigError(
                f"{path} holds a model of the class {written}, which is none of gradbook's own. "
                f"gradbook runs no code because a file names it. Give the class: "
                f"`load_model({str(path)!r}, {name})`."
            )
        return registry.MODELS[known].load()
    if not isinstance(given, type):
        raise ConfigError(
            f"load_model(path, Class) needs the class of the model, such as {name}, but got "
            f"{given!r:.60}."
        )
    if given.__name__ != name:
        raise CheckpointError(
            f"{path} holds a model of the class {name} ({written}), and not of {given.__name__}. "
            f"Give that class."
        )
    return given


def _arguments(
    path: Any, Model: type, state: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What to make a model from: the file's arguments, and those that were given."""
    constructor = constructor_of(Model)
    names = [*constructor.parameters, *filter(None, [constructor.args])]
    for name in settings:
        if name not in names and not constructor.is_open:
            raise ConfigError(
                f"{Model.__name__} has no argument {name!r}.{did_you_mean(name, names)} It takes "
                f"{', '.join(names) or 'none'}."
            )
    kept = constructor.among(state["hyperparameters"])
    for name, value in kept.items():
        default = getattr(constructor.parameters.get(name), "default", Parameter.empty)
        is_default = type(value) is type(default) and value == default
        if name not in settings and is_a_place(name, value) and not is_default:
            raise ConfigError(
                f"{path} names a place: {name} is {value!r}. gradbook reads and writes nowhere "
                f"because a file names it. If you trust it, add {name}={value!r}."
            )
    arguments = {**kept, **settings}
    unkept = {name: text for name, text in state["unkept"].items() if name not in arguments}
    missing = [name for name in constructor.missing(arguments) if name not in unkept]
    if unkept or missing:
        why = [f"{name} was {text}, which a file cannot hold" for name, text in unkept.items()]
        why += [f"{name} was not kept by save_hyperparameters()" for name in missing]
        needed = ", ".join(f"{name}=..." for name in (*unkept, *missing))
        raise ConfigError(
            f"{Model.__name__} needs to be told again what {path} does not hold: "
            f"{'; '.join(why)}. Write load_model({str(path)!r}, {Model.__name__}, {needed})."
        )
    return arguments


def _labels_of(model: Any, data: Any) -> list[str] | None:
    """The names of the classes, where the data tell them, or the model was loaded with them."""
    number, text_labels = num_classes_of(model), getattr(data, "text_labels", None)
    if number is not None and callable(text_labels):
        try:
            return [str(name) for name in text_labels(range(number))]
        except (LookupError, ValueError):  # the model has more outputs than there are classes
            return None
    before = getattr(model, "labels", None)
    return before if isinstance(before, list) and all(type(n) is str for n in before) else None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
