"""Leaf tensors that are set on a model are its parameters, as in `self.w = torch.zeros(2, 1, ...)`.

PyTorch takes no tensor for a parameter but an `nn.Parameter`. Which ones are meant, and which are a
batch or a result that is kept for later, is told apart here by what is going on meanwhile.
"""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from types import FrameType
from typing import Any, Literal

import torch
from torch import nn

from gradbook import checks
from gradbook.errors import ModelError, module_of


class LeafParameters(nn.Module):
    """A network whose leaf tensors that require a gradient become parameters when they are set.

    `gradbook.Module`, its only heir, says what holds for whoever writes a model.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter):
            self._look_at(name, value)
            if name in self.__dict__.get("_parameters", ()) and not isinstance(value, nn.Parameter):
                raise ModelError(
                    f"{type(self).__name__}.{name} is a parameter, and a tensor that is none "
                    f"cannot take its place. Change it in place, as in `with torch.no_grad(): "
                    f"model.{name}.copy_(...)` or `model.{name} -= ...`."
                )
        elif type(value) in (list, tuple, dict):
            for place, item in _tensors_in(value, name):
                _check_not_lost(self, place, item)
        try:
            super().__setattr__(name, value)
        except AttributeError as error:
            if "_modules" in self.__dict__:
                raise
            raise ModelError(
                f"{type(self).__name__}.{name} cannot be set yet: write `super().__init__()` as "
                f"the first line of {type(self).__name__}.__init__."
            ) from error
        if isinstance(value, nn.Module) and checks.is_ours(getattr(type(self), name, None)):
            # PyTorch keeps a layer where a method of the same name would hide it, so that
            # `self.loss = nn.MSELoss()` had no effect.
            self.__dict__[name] = value

    def _look_at(self, name: str, value: torch.Tensor) -> None:
        """Makes a tensor that is about to be set a parameter, if it is or may become one."""
        late: dict[str, None] = self.__dict__.setdefault("_may_be_trained", {})
        late.pop(name, None)
        if not value.is_leaf:
            _check_not_lost(self, name, value)
        elif value.is_floating_point() or value.is_complex():
            replaces = value.requires_grad and name in self.__dict__.get("_parameters", ())
            if not replaces and _occasion(self) == "work":
                return  # a batch or a result that is kept for later
            if value.requires_grad:
                # Changing the class keeps the identity: a list of tensors that an optimizer already
                # holds goes on naming this one. PyTorch's own lazy parameters do the same.
                value.__class__ = nn.Parameter
            else:
                late[name] = None

    def _adopt_late(self) -> None:
        """Makes the tensors parameters that were told to require a gradient after they were set."""
        late: dict[str, None] = self.__dict__.get("_may_be_trained", {})
        for name in tuple(late):
            value = self.__dict__.get(name)
            if isinstance(value, torch.Tensor) and value.requires_grad and value.is_leaf:
                setattr(self, name, value)

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters with their names, as of every `nn.Module`."""
        yield from self._named_members(
            _parameters_of, prefix=prefix, recurse=recurse, remove_duplicate=remove_duplicate
        )

    # What PyTorch calls of each module, wherever it stands in another.

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        self._adopt_late()
        return super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]

    def _save_to_state_dict(self, *args: Any) -> None:
        self._adopt_late()
        super()._save_to_state_dict(*args)

    def _load_from_state_dict(self, *args: Any) -> None:
        self._adopt_late()
        super()._load_from_state_dict(*args)


def adopt_late(model: nn.Module) -> None:
    """Makes parameters of what became trainable after it was set, in all modules of a model.

    It is the last time: what is told to require a gradient from now on, as inputs are by an
    attack on the model, is none.
    """
    for module in model.modules():
        if isinstance(module, LeafParameters):
            module._adopt_late()
            module.__dict__.get("_may_be_trained", {}).clear()


def _parameters_of(module: nn.Module) -> Iterable[tuple[str, nn.Parameter | None]]:
    if isinstance(module, LeafParameters):
        module._adopt_late()
    return module._parameters.items()


#: Functions of a model within which nothing that is set becomes a parameter.
_WORK = {"forward", "loss", "accuracy", "training_step", "validation_step"}
#: And others: the training loop's, those that call a layer and its hooks, and a tensor's hooks.
_CALLERS = {"fit_epoch", "prepare_batch", "_call_impl", "_engine_run_backward"}


def _occasion(module: nn.Module) -> Literal["making", "work", "outside"]:
    """What is going on: the module is being made, something computes, or neither."""
    if torch.compiler.is_compiling():
        return "work"
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_name
        if name == "__init__" and _first_argument(frame) is module:
            return "making"
        if name in _CALLERS or (name in _WORK and isinstance(_first_argument(frame), nn.Module)):
            return "work"
        frame = frame.f_back
    return "outside"


def _first_argument(frame: FrameType) -> Any:
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None


def _check_not_lost(module: nn.Module, place: str, value: torch.Tensor) -> None:
    """Raises ModelError for a result that is set, while a module is made, as if it were a leaf."""
    # A view of a parameter, such as its transpose, follows what the optimizer does to that.
    if value.is_leaf or isinstance(value._base, nn.Parameter) or _occasion(module) != "making":
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals is globals():
        frame = frame.f_back
    if frame is not None and module_of(frame).startswith("torch."):
        return  # as of `weight_norm`, which computes the tensor anew at each call
    shape = ", ".join(map(str, value.shape))
    raise ModelError(
        f"{type(module).__name__}.{place} was computed from a tensor that requires a gradient, and "
        f"no optimizer can train it: its updates would go to that other tensor, which nobody "
        f"keeps. Compute first, and require the gradient of the result, as in "
        f"`self.{place} = (torch.randn({shape}) * 0.01).requires_grad_()`."
    )


def _tensors_in(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in a list, tuple or dictionary, and in those within it, with where they are."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in islice(items, 1000):  # parameters are few, and data need not be looked at
        if isinstance(item, torch.Tensor):
            yield f"{name}[{key!r}]", item
        elif type(item) in (list, tuple, dict) and item is not value:
            yield from _tensors_in(item, f"{name}[{key!r}]")
