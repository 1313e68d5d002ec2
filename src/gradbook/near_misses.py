"""Methods whose names are nearly, but not quite, those that a training calls."""

import inspect
import re
import types
from collections.abc import Iterable, Iterator

from gradbook.checks import is_ours
from gradbook.errors import DataError, GradbookWarning, ModelError, warn

#: What the library calls, and a learner's class may define, by what the object is for.
_CALLED = {
    "model": (
        *("forward", "loss", "accuracy", "training_step", "validation_step"),
        "configure_optimizers",
    ),
    "data": ("get_dataloader", "train_dataloader", "val_dataloader"),
    "trainer": ("prepare_data", "prepare_model", "prepare_batch", "fit_epoch", "clip_gradients"),
}

#: Words that stand for each other in such names.
_SAME = {
    **dict.fromkeys(("val", "valid", "validate"), "validation"),
    **dict.fromkeys(("train",), "training"),
    **dict.fromkeys(("optim", "optims", "optimizer", "optimiser", "optimisers"), "optimizers"),
    **dict.fromkeys(("config", "configuration"), "configure"),
}


def warn_of_near_misses(model: object, data: object, trainer: object) -> None:
    """Warns of each method that was surely meant to take the place of one that a training calls.

    A method that a learner's own code calls is a helper, whatever its name; so is one beside the
    method that it could be mistaken for.
    """
    objects = {"model": model, "data": data, "trainer": trainer}
    used = set()
    for thing in objects.values():
        for Class in type(thing).__mro__:
            for function in _own_functions(Class).values():
                used |= set(_names_in(function.__code__))
    for role, thing in objects.items():
        classes = type(thing).__mro__
        for place, Class in enumerate(classes):
            nearer = set().union(*(_own_functions(base) for base in classes[: place + 1]))
            for name in _own_functions(Class).keys() - used:
                for known in set(_CALLED[role]) - nearer:
                    if is_near(name, known):
                        warn(
                            f"{Class.__name__} defines a method {name!r}, which nothing calls, so "
                            f"that it has no effect. Did you mean {known!r}? If it is a helper, "
                            f"give it a name of its own.",
                            GradbookWarning,
                        )


def check_signatures(model: object, data: object, trainer: object) -> None:
    """Raises an error for each method that cannot be called as a training calls it.

    Raises:
        ModelError: If it is a method of the model or of the trainer.
        DataError: If it is one of the data.
    """
    calls: list[tuple[object, str, tuple[str, ...]]] = [
        (model, "training_step", ("batch",)),
        (model, "validation_step", ("batch",)),
        (model, "configure_optimizers", ()),
        (trainer, "prepare_data", ("data",)),
        (trainer, "prepare_model", ("model",)),
        (trainer, "prepare_batch", ("batch",)),
        (trainer, "fit_epoch", ()),
        (data, "train_dataloader", ()),
        (data, "val_dataloader", ()),
    ]
    if is_ours(getattr(model, "training_step", None)):
        calls.append((model, "loss", ("y_hat", "y")))
    if is_ours(getattr(data, "train_dataloader", None)):
        calls.append((data, "get_dataloader", ("train",)))
    for thing, name, names in calls:
        method = getattr(thing, name, None)
        if not isinstance(method, types.MethodType) or is_ours(method):
            continue
        taken = inspect.signature(method)
        try:
            if name == "get_dataloader":
                taken.bind(train=True)
            else:
                taken.bind(*names)
        except TypeError:
            Error = DataError if thing is data else ModelError
            raise Error(
                f"{type(thing).__name__}.{name} takes {taken}, but training calls it with "
                f"({', '.join(names)}). Define it as `def {name}({', '.join(('self', *names))})`."
            ) from None


def is_near(name: str, known: str) -> bool:
    """Whether `name` can only be a misspelling of `known`, and not the name of a helper."""
    if name == known or name.startswith("_"):
        return False
    plain, other = _normal(name), _normal(known)
    if plain in (other, _shortened(other), other + other[-1]):
        return True
    plural = "_" in known and plain in (other + "s", other + "es")
    if not plural and (plain.startswith(other) or plain.endswith(other)):
        return False  # forward_features, my_loss, plots: one more method beside it
    if len(known) < 6:  # where another letter makes another word
        return len(plain) != len(other) and _distance(plain, other) == 1
    return plain[0] == other[0] and _distance(plain, other) <= (2 if len(known) >= 10 else 1)


def _normal(name: str) -> str:
    """A name in small letters, without underscores, each word in one form."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")
    return "".join(_SAME.get(word, word) for word in words)


def _shortened(name: str) -> str:
    """A name in its usual short form, for one that is written as one word, such as trainstep."""
    return name.replace("training", "train").replace("validation", "val")


def _distance(one: str, other: str) -> int:
    """How many letters must be added, left out, changed, or swapped with the next one."""
    before, row = [0] * (len(other) + 1), list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b)))
            if i > 1 and j > 1 and (a, one[i - 2]) == (other[j - 2], b):
                row[j] = min(row[j], earlier[j - 2] + 1)
    return row[-1]


def _own_functions(Class: type) -> dict[str, types.FunctionType]:
    """The methods that a learner wrote in a class, or added to it."""
    functions = {name: getattr(value, "__func__", value) for name, value in vars(Class).items()}
    return {
        name: function
        for name, function in functions.items()
        if isinstance(function, types.FunctionType)
        and (function.__module__ or "").partition(".")[0] not in ("gradbook", "torch")
    }


def _names_in(code: types.CodeType) -> Iterator[str]:
    """The names of attributes and globals that a function uses, and those within it."""
    yield from code.co_names
    inner: Iterable[types.CodeType] = (c for c in code.co_consts if isinstance(c, types.CodeType))
    for each in inner:
        yield from _names_in(each)
