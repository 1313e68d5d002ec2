"""Random numbers that can be repeated."""

import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch

from gradbook.errors import ConfigError

#: NumPy takes seeds below this only; Python and PyTorch take larger ones.
SEED_LIMIT = 2**32

_last_seed: int | None = None


def seed_everything(seed: int | None = None) -> int:
    """Seeds the random generators of Python, NumPy and PyTorch on all devices.

    Args:
        seed: A whole number from 0 to 2**32 - 1; None draws one by chance.

    Returns:
        The seed, so that a drawn one can be noted down.

    Raises:
        ConfigError: If the seed is no such number.
    """
    if seed is None:
        seed = random.SystemRandom().randrange(SEED_LIMIT)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEED_LIMIT:
        raise ConfigError(
            f"seed must be a whole number from 0 to {SEED_LIMIT - 1}, but it is {seed!r}."
        )
    global _last_seed
    _last_seed = seed
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return seed


def last_seed() -> int | None:
    """The seed that `seed_everything` set last; None if it was never called."""
    return _last_seed


@contextmanager
def untouched_generators() -> Iterator[None]:
    """Afterwards the global generators are as they were before, whatever drew from them."""
    state = random_state()
    try:
        yield
    finally:
        restore_random_state(state)


def draw_from(seed: int) -> None:
    """Has PyTorch's generators give the numbers of a seed."""
    torch.default_generator.manual_seed(seed)  # torch.manual_seed takes forty times as long
    if _accelerator_is_used():
        _accelerator().manual_seed(seed)


@contextmanager
def other_numbers(seed: int) -> Iterator[None]:
    """While it lasts, PyTorch's generators give other numbers; afterwards they go on as before.

    Args:
        seed: What these depend on.
    """
    state = torch.get_rng_state()
    accelerator = _accelerator() if _accelerator_is_used() else None
    held = None if accelerator is None else accelerator.get_rng_state()
    draw_from(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)
        if accelerator is not None:
            accelerator.set_rng_state(held)


def random_state(generators: Sequence[Any] = ()) -> dict[str, Any]:
    """The state of the global random generators, and of `generators`, for `restore_random_state`.

    The global ones are those of Python, NumPy, PyTorch and the accelerator.
    """
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "owned": [_state_of(generator) for generator in generators],
    }
    if _accelerator_is_used():
        state["accelerator"] = _accelerator().get_rng_state()
    return state


def restore_random_state(state: dict[str, Any], generators: Sequence[Any] = ()) -> None:
    """Puts every random generator back into a state that `random_state` gave.

    The state of an accelerator that is not here is left out.
    """
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    for generator, owned in zip(generators, state["owned"], strict=True):
        if isinstance(generator, torch.Generator | np.random.RandomState):
            generator.set_state(owned)
        elif isinstance(generator, random.Random):
            generator.setstate(owned)
        else:
            generator.bit_generator.state = owned
    if "accelerator" in state and torch.accelerator.is_available():
        _accelerator().set_rng_state(state["accelerator"])


def same_random_state(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two states of the global random generators are the same."""
    numpy_one, numpy_other = one["numpy"], other["numpy"]
    return bool(
        torch.equal(one["torch"], other["torch"])
        and one["python"] == other["python"]
        and numpy_one[2] == numpy_other[2]
        and (numpy_one[1] == numpy_other[1]).all()
    )


def to_plain(state: dict[str, Any]) -> dict[str, Any]:
    """A random state as tensors and plain values, as a checkpoint holds them."""
    return {**state, **{name: _to_plain(state[name]) for name in ("python", "numpy", "owned")}}


def from_plain(plain: dict[str, Any]) -> dict[str, Any]:
    """The opposite of `to_plain`."""
    python, numpy, *owned = map(_from_plain, (plain["python"], plain["numpy"], *plain["owned"]))
    return {**plain, "python": python, "numpy": numpy, "owned": owned}


def _to_plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):  # a dictionary whose only keys no state of NumPy's has
        return {"array": torch.from_numpy(value.astype(np.int64)), "dtype": str(value.dtype)}
    if isinstance(value, dict):
        return {key: _to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple) and set(map(type, value)) == {int}:  # the numbers of Python's
        return torch.tensor(value)
    return list(map(_to_plain, value)) if isinstance(value, list | tuple) else value


def _from_plain(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"array", "dtype"}:
            return value["array"].numpy().astype(value["dtype"])
        return {key: _from_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(
            tuple(item.tolist()) if isinstance(item, torch.Tensor) else _from_plain(item)
            for item in value
        )
    return value


def _accelerator_is_used() -> bool:
    """Whether the accelerator has a state; asking CUDA for it would begin to use it."""
    if not torch.accelerator.is_available():
        return False
    return not torch.cuda.is_available() or bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _accelerator() -> Any:
    return torch.get_device_module(torch.accelerator.current_accelerator())


def generators_in(owners: Iterable[Any]) -> list[Any]:
    """The random generators that `owners` hold, each once, always in the same order.

    They are looked for in attributes, lists and dictionaries, and in what these hold, as a
    transform does that is one of several.
    """
    kinds = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
    found: list[Any] = []
    seen: set[int] = set()
    # The nearest first, so that a long way to a thing does not hide what lies behind it.
    waiting = deque((owner, 0) for owner in owners)
    while waiting:
        value, depth = waiting.popleft()
        if depth > _DEEPEST or id(value) in seen or isinstance(value, _HOLDS_NONE):
            continue
        seen.add(id(value))
        if isinstance(value, kinds):
            found.append(value)
            continue
        if isinstance(value, dict):
            inner = list(value.values())
        elif isinstance(value, list | tuple):
            inner = list(value)
        else:
            inner = [item for _, item in sorted(getattr(value, "__dict__", {}).items())]
        if len(inner) <= _LONGEST:
            waiting.extend((item, depth + 1) for item in inner)
    return found


#: What cannot hold a generator, or too much to look through; and how far is looked.
_HOLDS_NONE = (torch.Tensor, np.ndarray, str, bytes, int, float, type, ModuleType)
_DEEPEST, _LONGEST = 6, 200


def _state_of(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return generator.bit_generator.state
