"""A function, its derivative, and what is left of a gradient that passes through it many times.

Book: 5.1.2 (activation functions), 5.4.1 (vanishing gradients).
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from gradbook.checks import check_whole_number
from gradbook.display.file import new_figure
from gradbook.display.finding import Finding
from gradbook.errors import ConfigError, did_you_mean
from gradbook.interrupts import interruptible
from gradbook.seeds import untouched_generators

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Function = Callable[[torch.Tensor], torch.Tensor]

#: What can be named. The names are PyTorch's, with hyphens.
FUNCTIONS: dict[str, Function] = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "silu": F.silu,
    "leaky-relu": F.leaky_relu,
    "elu": F.elu,
    "selu": torch.selu,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "mish": F.mish,
    "hardtanh": F.hardtanh,
}

#: Points of a curve. An odd number: the middle of the range is one of them.
_NUM_POINTS = 2001
#: The depths that the words tell of, and the largest that may be asked for.
_TOLD, _DEEPEST = (1, 2, 3, 10), 100
_STYLES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Slope:
    """The steepest place of a function that is applied several times.

    Attributes:
        depth: How many times it is applied.
        largest: The largest size of the derivative in the range; NaN if it has none there.
        x: Where that is; None if it is so at many places, or at none.
    """

    depth: int
    largest: float
    x: float | None


@dataclass(frozen=True, repr=False, eq=False)
class Activation(Finding):
    """A function and its compositions with itself, each with its derivative.

    Attributes:
        name: The function's name.
        compose: How many times it is applied at most.
        x: The places, float64 of shape (n,).
        values: By depth from 1, what the function gives when it is applied so many times, (n,).
        derivatives: Their derivatives with respect to x, (n,).
        slopes: The largest derivatives, for each depth from 1 to `compose`, and to 10 at least.
        undefined: The part of the places where it is not defined (NaN) when it is applied so
            many times or fewer.
    """

    name: str
    compose: int
    x: torch.Tensor
    values: tuple[torch.Tensor, ...]
    derivatives: tuple[torch.Tensor, ...]
    slopes: tuple[Slope, ...]
    undefined: float = 0.0

    @property
    def maximum_derivative(self) -> list[float]:
        """The largest size of the derivative for each depth from 1 to `compose`."""
        return [slope.largest for slope in self.slopes[: self.compose]]

    @property
    def depths(self) -> list[int]:
        """The depths that are drawn."""
        return list(range(1, self.compose + 1)) if self.compose <= 4 else [1, 2, 3, self.compose]

    def facts(self) -> dict[str, Any]:
        """The numbers as plain values, for JSON, without the curves."""
        return {
            "function": self.name,
            "compose": self.compose,
            "range": [float(self.x[0]), float(self.x[-1])],
            "maximum_derivative": self.maximum_derivative,
            "slopes": list(map(asdict, self._told())),
        }

    def _words(self) -> str:
        lines = [f"{self.name} for x from {float(self.x[0]):g} to {float(self.x[-1]):g}:"]
        width = max(len(self._label(slope.depth)) for slope in self._told())
        for slope in self._told():
            place = "" if slope.x is None else f" at x = {slope.x:.4g}"
            size = f"max slope {slope.largest:.4g}"
            if math.isnan(slope.largest):
                size = "no finite slope"
            lines.append(f"  {self._label(slope.depth):<{width}}  {size}{place}")
        gaps = float((~torch.isfinite(self.values[0])).double().mean())
        if gaps:
            lines.append(f"It has no finite value at {100 * gaps:.3g}% of these x.")
        return "\n".join([*lines, self._verdict()])

    def figure(self) -> "Figure":
        """Draws the function on the left and its derivative on the right, a curve a depth."""
        figure = new_figure(9, 3.6)
        left, right = figure.subplots(1, 2)
        x = self.x.numpy()
        for index, depth in enumerate(self.depths):
            look: dict[str, Any] = {"color": f"C{index}", "ls": _STYLES[index], "lw": 2}
            values, derivatives = (
                torch.where(curve.isfinite(), curve, math.nan).numpy()
                for curve in (self.values[depth - 1], self.derivatives[depth - 1])
            )
            left.plot(x, values, label=self._label(depth), **look)
            largest = self.slopes[depth - 1].largest
            size = "no finite slope" if math.isnan(largest) else f"max slope {largest:.3g}"
            right.plot(x, derivatives, label=f"{self._label(depth)}: {size}", **look)
        left.set(xlabel="x", ylabel="value")
        right.set(xlabel="x", ylabel="derivative with respect to x")
        for axes in (left, right):
            axes.grid(True, alpha=0.4)
            # Above the axes, where no curve is behind it.
            legend = axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
            for text in legend.get_texts():
                text.set_parse_math(False)
        return figure

    def _told(self) -> list[Slope]:
        return [self.slopes[depth - 1] for depth in sorted({*_TOLD, *self.depths})]

    def _label(self, depth: int) -> str:
        if depth == 1:
            return self.name
        return f"{self.name} of {self.name}" if depth == 2 else f"{self.name}, {depth} times"

    def _verdict(self) -> str:
        """What a gradient is multiplied with on its way back through ten layers."""
        one, ten = self.slopes[0].largest, self.slopes[9].largest
        if self.undefined or not math.isfinite(one):
            reason = (
                f"applied up to {len(self.slopes)} times, {self.name} has no finite value "
                f"at {100 * self.undefined:.3g}% of these x"
                if self.undefined
                else f"the slope of {self.name} is unbounded"
            )
            return (
                f"How depth changes the size of a gradient cannot be told from these slopes: "
                f"{reason}. Choose another range with low and high."
            )
        if ten < 1e-2:
            return (
                f"In the backward pass, one {self.name} multiplies a gradient by at most "
                f"{one:.3g}, two in a row by at most {self.slopes[1].largest:.3g}, three by "
                f"{self.slopes[2].largest:.3g} and ten by {ten:.2g}: in a deep network, gradients "
                f"vanish unless the weights make up for it (book 5.4.1)."
            )
        if ten > 1e2:
            return (
                f"In the backward pass, one {self.name} multiplies a gradient by up to {one:.3g}, "
                f"ten in a row by up to {ten:.2g}: in a deep network, gradients explode (book "
                f"5.4.1)."
            )
        return (
            f"In the backward pass, one {self.name} multiplies a gradient by at most {one:.3g}, "
            f"ten in a row by at most {ten:.3g}: where {self.name} is steepest, a gradient keeps "
            f"about its size from layer to layer."
        )


@interruptible("Interrupted.")
def activation(
    f: str | Function, compose: int = 1, *, low: float = -8.0, high: float = 8.0
) -> Activation:
    """Draws a function, its derivative, and the same for the function of the function.

    Book: 5.1.2; the sigmoid of a sigmoid: 5.4.1.

    Args:
        f: A name, one of `FUNCTIONS` ("relu", "sigmoid", "tanh", "gelu", "silu", ...); or any
            function that takes a float64 tensor and gives, element by element, one of its shape.
        compose: How many times to apply it: depths 1 to `compose` are computed, from 1 to 100.
        low: Where x begins.
        high: Where x ends.

    Returns:
        The finding: shown in a notebook it is a figure, printed it is words.

    Raises:
        ConfigError: If there is no such function, or it cannot be differentiated element by
            element, or the range is none.
    """
    compose = check_whole_number(compose, "compose", at_least=1)
    if compose > _DEEPEST:
        raise ConfigError(f"compose must be at most {_DEEPEST}, but it is {compose}.")
    ends: list[Any] = [low, high]
    are_finite = all(isinstance(end, Real) and math.isfinite(end) for end in ends)
    if not (are_finite and low < high):
        raise ConfigError(
            f"low must be less than high, both finite, but they are {low!r} and {high!r}."
        )
    name, function = _named(f)
    depth = max(compose, _TOLD[-1])
    with untouched_generators():
        x = _places(low, high, _NUM_POINTS)
        _check_elementwise(name, function, x)
        values, derivatives = _chain(name, function, x, depth)
        if not values[0].isfinite().any():
            raise ConfigError(
                f"{name} gives NaN or infinity everywhere from {low:g} to {high:g}. Choose another "
                f"range with low and high."
            )
        # What grows beyond all numbers has a value, too.
        lost = [inner.isfinite() & outer.isnan() for inner, outer in pairwise([x, *values])]
        undefined = torch.stack(lost).any(dim=0).double().mean().item()
        slopes = tuple(
            _steepest(name, function, x, derivatives[index], index + 1) for index in range(depth)
        )
    return Activation(
        name, compose, x, tuple(values[:compose]), tuple(derivatives[:compose]), slopes, undefined
    )


def _places(low: float, high: float, num_points: int) -> torch.Tensor:
    """Places at equal distances; torch.linspace misses the middle by a rounding error."""
    part = torch.arange(num_points, dtype=torch.float64) / (num_points - 1)
    return low + (high - low) * part


def _named(f: Any) -> tuple[str, Function]:
    if isinstance(f, str):
        name = f.lower().replace("_", "-")
        if name not in FUNCTIONS:
            raise ConfigError(
                f"There is no activation function {f!r}.{did_you_mean(name, FUNCTIONS)} There are "
                f"{', '.join(FUNCTIONS)}."
            )
        return name, FUNCTIONS[name]
    if isinstance(f, type) and issubclass(f, nn.Module):
        raise ConfigError(
            f"activation() needs a function, but got the class {f.__name__} itself. Make an "
            f"instance: `{f.__name__}()`."
        )
    if not callable(f):
        raise ConfigError(f"activation() needs a function or its name, but got {f!r}.")
    name = getattr(f, "__name__", type(f).__name__)
    return ("f" if name == "<lambda>" else name), f


def _values(name: str, function: Function, x: torch.Tensor) -> torch.Tensor:
    """The function's values, or an error that says what such a function must do."""
    try:
        values: Any = function(x)
    except Exception as error:  # it may be a learner's, and raise anything
        first = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(
            f"{name} cannot be applied to a float64 tensor of shape {tuple(x.shape)}: "
            f"{type(error).__name__}: {first}. Write it with PyTorch's functions (torch.exp, not "
            f"math.exp or np.exp), and make a module with parameters float64: `module.double()`."
        ) from error
    if not isinstance(values, torch.Tensor) or values.shape != x.shape:
        what = tuple(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
        raise ConfigError(
            f"{name} must give a tensor of its input's shape {tuple(x.shape)}, but it gave {what}."
        )
    return values


def _check_elementwise(name: str, function: Function, x: torch.Tensor) -> None:
    some = x[::7]
    with torch.no_grad():
        apart, together = _values(name, function, some.clone()), _values(name, function, x.clone())
    if not torch.allclose(apart, together[::7], rtol=1e-6, atol=1e-9, equal_nan=True):
        raise ConfigError(
            f"What {name} gives for an element depends on the other elements, or differs from "
            f"call to call. Only an elementwise function that gives the same each time can be "
            f"drawn."
        )


def _chain(
    name: str, function: Function, x: torch.Tensor, depth: int
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Values and derivatives of the function applied 1 to `depth` times, by the chain rule."""
    values: list[torch.Tensor] = []
    derivatives: list[torch.Tensor] = []
    inner, so_far = x, torch.ones_like(x)
    for _ in range(depth):
        with torch.enable_grad():
            inner = inner.detach().clone().requires_grad_()
            outer = _values(name, function, inner * 1)  # which it may change in place
            if not outer.requires_grad:
                raise ConfigError(
                    f"{name} has no derivative that PyTorch could compute: its result does not "
                    f"depend on x, or x was detached, rounded or made another tensor in it."
                )
            (slope,) = torch.autograd.grad(outer.sum(), inner, allow_unused=True)
        so_far = so_far * (torch.zeros_like(x) if slope is None else slope)
        # PyTorch's derivative of a logarithm is 1 / x below 0, too.
        so_far = so_far.masked_fill(outer.isnan(), math.nan)
        inner = outer.detach().double()
        values.append(inner)
        derivatives.append(so_far)
    return values, derivatives


def _steepest(
    name: str, function: Function, x: torch.Tensor, derivative: torch.Tensor, depth: int
) -> Slope:
    """The largest derivative, looked for between the places of the grid as well."""
    if derivative.isnan().all():
        return Slope(depth, math.nan, None)
    size = derivative.abs().nan_to_num(0.0, posinf=math.inf)
    index = int(size.argmax())
    best, place = float(size[index]), float(x[index])
    if not math.isfinite(best):
        return Slope(depth, best, place)
    if int((size >= best * (1 - 1e-12)).sum()) > 2 or best == 0:
        return Slope(depth, best, None)
    for _ in range(6):  # each time 50 times finer
        x = _places(float(x[max(index - 1, 0)]), float(x[min(index + 1, len(x) - 1)]), 101)
        size = _chain(name, function, x, depth)[1][-1].abs().nan_to_num(0.0)
        index = int(size.argmax())
        if float(size[index]) > best:
            best, place = float(size[index]), float(x[index])
    return Slope(depth, best, place)
