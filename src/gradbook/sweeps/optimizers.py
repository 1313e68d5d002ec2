"""Optimizers that take the steps of many models at once, each with its own settings."""

from collections.abc import Sequence
from typing import Any

import torch

from gradbook import optim

Tensors = list[torch.Tensor]


class OneByOne:
    """Takes the steps of k optimizers of one class, of which nothing is known: each its own.

    What each of them keeps, such as its momentum, stays in its own `state`; of the classes below
    as views of memory that is stacked. So a checkpoint of each model holds all that it needs.

    Args:
        optimizers: The optimizer of each model.
        parameters: The parameters of each model, in the same order.
        stacked: The parameters of all, each of shape (k, ...), of which those of the models are
            views.
    """

    def __init__(
        self, optimizers: Sequence[Any], parameters: Sequence[Tensors], stacked: Tensors
    ) -> None:
        self.optimizers, self.parameters, self.stacked = optimizers, parameters, stacked
        self.read_settings()

    def read_settings(self) -> None:
        """Reads the optimizers' settings anew, such as learning rates that have been changed."""

    def step(self, gradients: Tensors) -> None:
        """Takes one step of each; the gradients are stacked like the parameters."""
        for k, optimizer in enumerate(self.optimizers):
            own = self.parameters[k]
            for parameter, gradient in zip(own, gradients, strict=True):
                parameter.grad = gradient[k]
            optimizer.step()
            for parameter, stack in zip(own, self.stacked, strict=True):
                parameter.grad = None
                if parameter.data_ptr() != stack[k].data_ptr():  # it has got other memory
                    stack[k] = parameter.data
                    parameter.data = stack[k]


class _ByGroups(OneByOne):
    """The settings of PyTorch's optimizers, by parameter, as one value or one for each model."""

    settings: tuple[str, ...]

    def __init__(
        self, optimizers: Sequence[Any], parameters: Sequence[Tensors], stacked: Tensors
    ) -> None:
        groups = [
            {id(p): group for group in optimizer.param_groups for p in group["params"]}
            for optimizer in optimizers
        ]
        #: The parameters that are updated: their place, and each model's group of settings.
        self._updated = [
            (place, [groups[k][id(own[place])] for k, own in enumerate(parameters)])
            for place in range(len(stacked))
            if id(parameters[0][place]) in groups[0]
        ]
        super().__init__(optimizers, parameters, stacked)

    def read_settings(self) -> None:
        """Reads the optimizers' settings anew."""
        self._values = [
            {name: self._read(groups, name, self.stacked[place]) for name in self.settings}
            for place, groups in self._updated
        ]

    def _read(self, groups: Sequence[dict[str, Any]], name: str, stack: torch.Tensor) -> Any:
        values = [_setting(group, name) for group in groups]
        if all(value == values[0] for value in values):
            return values[0]
        shape = (len(values), *[1] * (stack.dim() - 1))
        return torch.tensor(values, dtype=stack.dtype, device=stack.device).reshape(shape)

    def _state(self, place: int, name: str, initial: torch.Tensor | None) -> torch.Tensor:
        """A stack of what each optimizer keeps for a parameter; each then keeps a view of it."""
        states = [
            optimizer.state[own[place]]
            for optimizer, own in zip(self.optimizers, self.parameters, strict=True)
        ]
        stack = torch.stack([state[name] for state in states]) if initial is None else initial
        for k, state in enumerate(states):
            state[name] = stack[k]
        return stack

    def _has_state(self, place: int, name: str) -> bool:
        held = self.optimizers[0].state.get(self.parameters[0][place], {})
        return held.get(name) is not None


class StackedSGD(_ByGroups):
    """Stochastic gradient descent, with momentum and weight decay. Book: 12.6 (sec_momentum)."""

    settings = ("lr", "momentum", "dampening", "weight_decay")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._velocity = {
            place: self._state(place, "momentum_buffer", None)
            for place, _ in self._updated
            if self._has_state(place, "momentum_buffer")
        }

    def step(self, gradients: Tensors) -> None:
        """Takes one step of each."""
        for (place, groups), values in zip(self._updated, self._values, strict=True):
            W, gradient = self.stacked[place], gradients[place]
            if not _is_zero(values["weight_decay"]):
                gradient = gradient + values["weight_decay"] * W
            if not _is_zero(values["momentum"]):
                velocity = self._velocity.get(place)
                if velocity is None:  # the first step's is the gradient itself
                    velocity = self._state(place, "momentum_buffer", gradient.clone())
                    self._velocity[place] = velocity
                else:
                    velocity.mul_(values["momentum"]).add_(gradient * (1 - values["dampening"]))
                nesterov = _setting(groups[0], "nesterov")
                gradient = gradient + values["momentum"] * velocity if nesterov else velocity
            _descend(W, gradient, values["lr"])


class StackedAdam(_ByGroups):
    """Adam, and AdamW, which decays the weights apart from the gradient. Book: 12.10 (sec_adam)."""

    settings = ("lr", "beta_1", "beta_2", "eps", "weight_decay")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._moments: dict[int, list[torch.Tensor]] = {}
        for place, _ in self._updated:
            W, known = self.stacked[place], self._has_state(place, "exp_avg")
            initial = {
                "step": torch.zeros(len(W), dtype=torch.float32),  # on the CPU, as PyTorch's is
                "exp_avg": torch.zeros_like(W),
                "exp_avg_sq": torch.zeros_like(W),
            }
            self._moments[place] = [
                self._state(place, name, None if known else zeros)
                for name, zeros in initial.items()
            ]

    def step(self, gradients: Tensors) -> None:
        """Takes one step of each."""
        for (place, groups), values in zip(self._updated, self._values, strict=True):
            W, gradient = self.stacked[place], gradients[place]
            steps, mean, square = self._moments[place]
            steps += 1
            count = int(steps[0])
            if not _is_zero(values["weight_decay"]):
                is_adam_w = isinstance(self.optimizers[0], torch.optim.AdamW)
                if is_adam_w or groups[0].get("decoupled_weight_decay"):
                    W.mul_(1 - values["lr"] * values["weight_decay"])
                else:
                    gradient = gradient + values["weight_decay"] * W
            beta_1, beta_2 = values["beta_1"], values["beta_2"]
            mean.mul_(beta_1).add_(gradient * (1 - beta_1))
            square.mul_(beta_2).add_(gradient * gradient * (1 - beta_2))
            # The moments begin at zero, for which the powers of beta make up.
            deviation = (square / (1 - beta_2**count)).sqrt_().add_(values["eps"])
            _descend(W, mean / deviation, values["lr"] / (1 - beta_1**count))


def stacked_optimizer(
    optimizers: Sequence[Any], parameters: Sequence[Tensors], stacked: Tensors
) -> OneByOne:
    """What takes the steps of these optimizers, which are all of one class."""
    Stacked = _KNOWN.get(type(optimizers[0]), OneByOne)
    if Stacked is not OneByOne and not all(map(_is_plain, optimizers)):
        Stacked = OneByOne
    return Stacked(optimizers, parameters, stacked)


_KNOWN: dict[type, type[OneByOne]] = {
    optim.SGD: StackedSGD,
    torch.optim.SGD: StackedSGD,
    torch.optim.Adam: StackedAdam,
    torch.optim.AdamW: StackedAdam,
}


def form_of(optimizer: Any, parameters: Sequence[torch.Tensor]) -> list[Any]:
    """What optimizers must have in common, with their models, to take their steps together."""
    places = {id(parameter): place for place, parameter in enumerate(parameters)}
    form: list[Any] = [type(optimizer)]
    for group in getattr(optimizer, "param_groups", ()):
        updated = [places.get(id(parameter)) for parameter in group["params"]]
        form.append((updated, bool(group.get("nesterov")), bool(group.get("momentum"))))
    return form


def _is_plain(optimizer: Any) -> bool:
    """Whether an optimizer has only settings that the stacked ones know."""
    hooks = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
    unknown = ("amsgrad", "maximize", "differentiable", "capturable")
    return not any(getattr(optimizer, name, None) for name in hooks) and not any(
        (value if name in unknown else isinstance(value, torch.Tensor))
        for group in optimizer.param_groups
        for name, value in group.items()
    )


def _setting(group: dict[str, Any], name: str) -> Any:
    if name.startswith("beta_"):
        return group["betas"][int(name[-1]) - 1]
    return group.get(name, 0)


def _is_zero(value: Any) -> bool:
    return not isinstance(value, torch.Tensor) and value == 0


def _descend(W: torch.Tensor, direction: torch.Tensor, rate: Any) -> None:
    if isinstance(rate, torch.Tensor):
        W.addcmul_(direction, rate, value=-1)
    else:
        W.add_(direction, alpha=-rate)
