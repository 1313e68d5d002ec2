"""One sampled step of a training: the gradients, weights and activations of each layer in it."""

import math
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from gradbook.untrained import tensors_in
from gradbook.watching.gradient_rows import FLAT
from gradbook.watching.layers import Layer

#: Between which outputs a function is not flat, if that is all there is to it.
_Interval = tuple[float, float] | None
#: Activation functions by the name of PyTorch's function.
_ACTIVATIONS = {
    **{name: name for name in ("relu", "relu6", "sigmoid", "tanh", "gelu", "silu", "mish")},
    **{"expit": "sigmoid", **dict.fromkeys(("elu", "selu", "leaky_relu", "softplus"), "other")},
}
#: Between which outputs a function is not flat. A sigmoid y has the slope y (1 - y), of which the
#: largest is 1/4, and a tanh 1 - y^2.
_ACTIVE = {
    "relu": (0.0, math.inf),
    "relu6": (0.0, 6.0),
    "sigmoid": ((1 - math.sqrt(1 - FLAT)) / 2, (1 + math.sqrt(1 - FLAT)) / 2),
    "tanh": (-math.sqrt(1 - FLAT), math.sqrt(1 - FLAT)),
}
#: A GELU, SiLU or Mish is flat where it gives no less than this and less than 0: far to the left.
_FLAT_TAIL = -0.01
_RELU = ("relu", _ACTIVE["relu"])


class SampledStep:
    """Sees what happens in one step of a training, `place` epochs after its beginning.

    From when it is made until `finish` or `release`, each parameter tells when its gradient is
    complete, which is before it can be clipped, and the calls of the modules with some ids are
    observed; of none, if None are given.

    Attributes:
        seen: By (layer, what), tensors that are still on their devices: of "gradient", "weight"
            and "update" the norms for each parameter, of "activation" the mean square for each
            call, and of "useful" for each unit the part of the examples for which it was not
            flat.
        functions: By layer, the activation function that follows it.
        num_examples: By layer, the examples for which its units were looked at.
        order: The names of the layers in the order in which they were called.
    """

    def __init__(
        self, trainer: Any, place: float, layers: list[Layer], modules: set[int] | None
    ) -> None:
        self.place, self.layers = place, layers
        self.seen: dict[tuple[str, str], list[torch.Tensor]] = {}
        self.functions: dict[str, str] = {}
        self.num_examples: dict[str, int] = {}
        self.order: dict[str, None] = {}
        self.is_scaled = trainer.arithmetic.scaler is not None
        # A tensor, because asking for the number would wait for the device.
        self._scale = (
            trainer.arithmetic.scaler.scale(torch.ones((), device=trainer.device))
            if self.is_scaled
            else None
        )
        self._gradients: dict[int, torch.Tensor] = {}
        self._before = [[param.detach().clone() for param in layer.params] for layer in self.layers]
        self._handles: list[Any] = []
        self._modules = modules or set()
        self._call: tuple[nn.Module, _ObservedFunctions] | None = None
        try:
            for layer in self.layers:
                for param in layer.params:
                    if param.requires_grad:
                        hook = param.register_post_accumulate_grad_hook
                        self._handles.append(hook(self._note_gradient))  # type: ignore[no-untyped-call]
            if modules is not None:
                # PyTorch's global ones and not the model's own, so that a copy or a pickle of the
                # model has nothing of them.
                self._handles.append(register_module_forward_pre_hook(self._enter))
                leave = register_module_forward_hook(self._leave, always_call=True)
                self._handles.append(leave)
        except BaseException:
            self.release()
            raise

    def note(self, layer: str, what: str, value: torch.Tensor) -> None:
        """Keeps something that was seen, without looking at it."""
        self.seen.setdefault((layer, what), []).append(value)

    def finish(self) -> None:
        """Compares the weights with those before, and lets the model go."""
        self.release()
        for layer, before in zip(self.layers, self._before, strict=True):
            for param, old in zip(layer.params, before, strict=True):
                self.note(layer.name, "weight", _norm(old))
                self.note(layer.name, "update", _norm(param.detach() - old))
                gradient = self._gradients.get(id(param))
                if gradient is not None:
                    if self._scale is not None:
                        gradient = gradient / self._scale.to(gradient.device)
                    self.note(layer.name, "gradient", gradient)
        self._before, self._gradients = [], {}

    def release(self) -> None:
        """Takes back what was registered, whatever has happened."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._call is not None:  # a second Ctrl-C passes by the hook that leaves
            self._leave(self._call[0])

    def _note_gradient(self, param: torch.Tensor) -> None:
        if param.grad is not None:  # with accumulation, the last of several calls counts
            self._gradients[id(param)] = _norm(param.grad)

    def _enter(self, module: nn.Module, *_: Any) -> None:
        # Without gradients it is no step of the training.
        is_outermost = self._call is None and id(module) in self._modules
        if is_outermost and torch.is_grad_enabled():
            functions = _ObservedFunctions(self)
            self._call = module, functions
            functions.__enter__()  # type: ignore[no-untyped-call]

    def _leave(self, module: nn.Module, *_: Any) -> None:
        if self._call is not None and self._call[0] is module:
            functions, self._call = self._call[1], None
            functions.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            functions.end_layer()


def _norm(tensor: torch.Tensor) -> torch.Tensor:
    """The Euclidean norm, on the tensor's device."""
    tensor = tensor.detach()
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()  # whose squares have a larger range
    norm: torch.Tensor = torch.linalg.vector_norm(tensor)
    return norm


class _ObservedFunctions(TorchFunctionMode):
    """Sees every function of PyTorch's that one call of the model calls.

    A function of a parameter and of something else is a layer, and a ReLU, sigmoid or the like that
    comes next is its activation function. So a model written with tensors only is seen as well as
    one of modules.
    """

    def __init__(self, step: SampledStep) -> None:
        super().__init__()
        self._step = step
        self._layer_of = {id(param): layer for layer in step.layers for param in layer.params}
        #: Tensors that are functions of parameters alone, and zeros: kept, so that each id is one.
        self._kept: list[torch.Tensor] = []
        self._zeros: set[int] = set()
        self._last: tuple[Layer, torch.Tensor] | None = None
        self._is_activated = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        first = output[0] if isinstance(output, tuple) and output else output
        if isinstance(first, torch.Tensor) and torch.is_grad_enabled():
            with torch.no_grad():
                self._look(getattr(func, "__name__", ""), args, kwargs, first)
        return output

    def _look(self, name: str, args: Any, kwargs: Any, output: torch.Tensor) -> None:
        if name in ("zeros", "zeros_like", "new_zeros"):
            self._kept.append(output)
            self._zeros.add(id(output))
            return
        layers = [self._layer_of.get(id(tensor)) for tensor in tensors_in([args, kwargs])]
        known = [layer for layer in layers if layer is not None]
        if known and len(known) == len(layers):
            self._kept.append(output)
            self._layer_of[id(output)] = known[-1]
        elif known and (output.is_floating_point() or output.is_complex()):
            for layer in known:  # a fused function has several
                self._step.order.setdefault(layer.name)
            self._begin_layer(known[-1], output)
        elif self._last is not None and output.dim() > 1:
            function, active = self._function(name, args, kwargs)
            if function:
                inputs = args[0] if args and not kwargs.get("inplace", False) else None
                if not isinstance(inputs, torch.Tensor) or inputs is output:  # as relu_() does
                    inputs = None
                self._activate(self._last[0], function, active, output, inputs)

    def _begin_layer(self, layer: Layer, output: torch.Tensor) -> None:
        """A layer has given its output. Another of the same may follow, when a bias is added."""
        if self._last is not None and (self._last[0] is not layer or self._is_activated):
            self.end_layer()
        self._last, self._is_activated = (layer, output.detach()), False

    def _activate(
        self,
        layer: Layer,
        function: str,
        active: _Interval,
        output: torch.Tensor,
        inputs: torch.Tensor | None,
    ) -> None:
        output = output.detach()
        self._last, self._is_activated = (layer, output), True
        if output.is_complex():
            return
        # NaN is not flat: it is another matter.
        if active is not None:
            useful = ~((output <= active[0]) | (output >= active[1]))
        elif function in ("gelu", "silu", "mish"):
            # The zero that they give at 0 is not flat. Where the inputs are gone, its sign tells it
            # from those far to the left, which is not so of a GELU on every processor.
            left = output.signbit() if inputs is None else inputs < 0
            useful = ~((output >= _FLAT_TAIL) & (output <= 0) & left)
        else:
            return
        # A convolution's units are its channels.
        has_channels = output.dim() > 3 or any(param.dim() > 2 for param in layer.params)
        units = 1 if has_channels else useful.dim() - 1
        examples = [dim for dim in range(useful.dim()) if dim != units]
        self._step.note(layer.name, "useful", useful.float().mean(dim=examples))
        self._step.functions[layer.name] = function
        self._step.num_examples.setdefault(layer.name, 0)
        self._step.num_examples[layer.name] += len(useful)

    def end_layer(self) -> None:
        """Keeps the output of the last layer: its activation function, if any, was called."""
        if self._last is not None:
            layer, output = self._last
            self._step.note(layer.name, "activation", _norm(output) ** 2 / max(output.numel(), 1))
        self._last = None

    def _function(self, name: str, args: Any, kwargs: Any) -> tuple[str, _Interval]:
        """The activation function that a call is of, or "", and between what it is not flat."""
        name = name.removesuffix("_")
        if name == "hardtanh":
            low = args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)
            high = args[2] if len(args) > 2 else kwargs.get("max_val", 1.0)
            return "hardtanh" if low < 0 else "relu6", (low, high)
        if name in ("clamp", "clip", "clamp_min"):
            low = args[1] if len(args) > 1 else kwargs.get("min")
            high = args[2] if len(args) > 2 else kwargs.get("max")
            if not self._is_zero(low):
                return "", None
            return ("relu6", (0.0, high)) if isinstance(high, int | float) else _RELU
        if name in ("max", "maximum"):
            both = [*args, *kwargs.values()]
            return _RELU if len(both) == 2 and any(map(self._is_zero, both)) else ("", None)
        function = _ACTIVATIONS.get(name, "")
        return function, _ACTIVE.get(function)

    def _is_zero(self, value: Any) -> bool:
        if id(value) in self._zeros:
            return True
        if isinstance(value, torch.Tensor):
            # Of a tensor on another device the value is not known without waiting for it.
            return value.numel() == 1 and value.device.type == "cpu" and not value.item()
        return isinstance(value, int | float) and value == 0
