"""Minibatch stochastic gradient descent, written out; optimizers and schedulers by name.

Book: 3.4.3 (sec_linear_scratch), 12.4 to 12.11.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from gradbook.checks import check_rate, describe
from gradbook.errors import ConfigError
from gradbook.labels import higher_is_better


class SGD(torch.optim.Optimizer):
    """Moves every parameter against its gradient: `param -= lr * param.grad`.

    It is an optimizer of PyTorch, so that learning-rate schedulers and `state_dict()` work,
    without the layers that PyTorch's own wraps around a step. Between two large matrix products
    those layers take longer than the step itself: a tenth of the training time of a small MLP.

    Args:
        params: The tensors to update, each a leaf that requires a gradient.
        lr: The learning rate, a float of at least 0.

    Raises:
        ConfigError: If `lr` is no such number, or `params` no such tensors.
    """

    def __init__(self, params: Iterable[torch.Tensor], lr: float) -> None:
        check_rate(lr)
        try:
            super().__init__(params, {"lr": float(lr)})
        except (TypeError, ValueError) as error:
            raise ConfigError(_unusable(params, error)) from error

    @property
    def params(self) -> list[torch.Tensor]:
        """All tensors that are updated."""
        return [param for group in self.param_groups for param in group["params"]]

    @property
    def lr(self) -> float:
        """The learning rate, of the first group if there are several. Setting it sets all."""
        rate: float = self.param_groups[0]["lr"]
        return rate

    @lr.setter
    def lr(self, rate: float) -> None:
        check_rate(rate)
        for group in self.param_groups:
            group["lr"] = float(rate)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one step with the gradients at hand; a tensor without one stays as it is.

        Args:
            closure: As in PyTorch: computes the loss and its gradients anew before the step.

        Returns:
            What `closure` returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    param.add_(param.grad, alpha=-group["lr"])
        return loss

    # Tells Optimizer.__init__ not to wrap `step` in its profiling layer.
    step.hooked = True  # type: ignore[attr-defined]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients, so that the next backward pass starts afresh."""
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none or param.grad is None:
                    param.grad = None
                else:
                    param.grad.zero_()

    def register_step_pre_hook(self, hook: Any) -> Any:
        """Refused: step hooks live in the layer that is left out here."""
        raise NotImplementedError("gradbook.SGD has no step hooks; torch.optim.SGD has.")

    register_step_post_hook = register_step_pre_hook


def _unusable(params: Any, error: Exception) -> str:
    """What to say of parameters that PyTorch's optimizers refuse."""
    if isinstance(params, torch.Tensor):
        return "SGD updates a list of tensors, but got one tensor. Write `SGD([w], lr)`."
    if isinstance(params, torch.nn.Module) or callable(params):
        what = "a model" if isinstance(params, torch.nn.Module) else "a function"
        return (
            f"SGD updates tensors, but got {what} instead of what it gives. Write "
            f"`SGD(model.parameters(), lr)`, with its brackets."
        )
    if "empty parameter list" in str(error):
        return (
            "SGD got no tensor to update. Give it `model.parameters()`; a model has parameters "
            "once its __init__ has set layers, or tensors that require a gradient, as attributes."
        )
    return f"SGD updates tensors, but got {describe(params)}. PyTorch says: {error}"


#: What `Trainer(optimizer=...)` may name. Book: 12.4, 12.7 to 12.10.
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adadelta": torch.optim.Adadelta,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
#: Those of them that have a momentum. Book: 12.6.
WITH_MOMENTUM = ("sgd", "rmsprop")
#: What `Trainer(scheduler=...)` may name. Book: 12.11.
SCHEDULERS = ("cosine", "onecycle", "plateau")


def as_set(params: Sequence[torch.Tensor], lr: float, trainer: Any, default: str = "sgd") -> Any:
    """The optimizer that the settings of a trainer ask for, with the scheduler if there is one.

    Args:
        params: The tensors to update.
        lr: The learning rate; with "onecycle" the highest.
        trainer: Where `optimizer`, `momentum`, `weight_decay` and `scheduler` stand.
        default: The optimizer, if the trainer names none or there is no trainer.

    Returns:
        What `configure_optimizers` may return.

    Raises:
        ConfigError: If `lr` is no learning rate, or the optimizer has no momentum and is given one.
    """
    check_rate(lr)
    names = ("momentum", "weight_decay")
    more = {name: value for name in names if (value := getattr(trainer, name, 0))}
    name = getattr(trainer, "optimizer", None) or default
    if "momentum" in more and name not in WITH_MOMENTUM:
        raise ConfigError(
            f"momentum={more['momentum']:g} is a setting of {' and '.join(WITH_MOMENTUM)}, but "
            f"this model is optimized with {name}: name another in the trainer, or leave it out."
        )
    optimizer: Any
    if name == "sgd" and not more:
        optimizer = SGD(params, lr)
    else:
        optimizer = OPTIMIZERS[name](params, lr=lr, **more)
    scheduler = getattr(trainer, "scheduler", None)
    return optimizer if scheduler is None else _scheduled(optimizer, lr, scheduler, trainer)


def _scheduled(optimizer: Any, lr: float, scheduler: str, trainer: Any) -> dict[str, Any]:
    """An optimizer and the scheduler of that name, as long as the training."""
    how: dict[str, Any]
    if scheduler == "cosine":
        how = {"scheduler": CosineAnnealingLR(optimizer, trainer.max_epochs)}
    elif scheduler == "onecycle":
        steps = trainer.max_epochs * updates_per_epoch(trainer)
        group = optimizer.param_groups[0]
        has_momentum = bool(group.get("momentum") or group.get("betas"))
        schedule = OneCycleLR(optimizer, lr, steps, cycle_momentum=has_momentum)
        how = {"scheduler": schedule, "interval": "step"}
    else:
        label = trainer.monitor or ("train_loss" if trainer.val_dataloader is None else "val_loss")
        rises = trainer.mode == "max" or (trainer.mode == "auto" and higher_is_better(label))
        plateau = ReduceLROnPlateau(optimizer, "max" if rises else "min", patience=2)
        how = {"scheduler": plateau, "monitor": label}
    return {"optimizer": optimizer, "lr_scheduler": how}


def updates_per_epoch(trainer: Any) -> int:
    """How many updates the library's own loop takes in an epoch; the last may be a smaller one."""
    batches: int = trainer.num_train_batches
    together: int = trainer.accumulate_grad_batches
    return math.ceil(batches / together)
