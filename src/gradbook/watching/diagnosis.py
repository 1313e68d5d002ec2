"""Why a number became NaN or infinite: what speaks for which cause."""

import math
from typing import Literal

import torch

from gradbook.data import TensorLoader
from gradbook.optim import SGD
from gradbook.watching.observer import Call, Observer, are_finite, largest, tensors_in
from gradbook.watching.repetition import Repetition

Cause = Literal[
    "rate too high",
    "exp overflow",
    "log of zero",
    "division by zero",
    "root of zero",
    "infinite derivative",
    "bad input value",
    "float16 overflow",
    "overflow",
    "unknown",
]

#: A gradient or parameter that has become so many times larger has not done so by chance.
_BLOWN_UP = 1e3

_EXPONENTIALS = {"exp": 1.0, "expm1": 1.0, "sinh": 1.0, "cosh": 1.0, "exp2": math.log(2)}
_LOGARITHMS = {"log", "log2", "log10"}
_QUOTIENTS = {"div": 1, "truediv": 1, "true_divide": 1, "rdiv": 0, "rtruediv": 0, "reciprocal": 0}
_ROOTS = {"sqrt", "rsqrt", "pow", "norm", "linalg_norm", "vector_norm", "std", "cdist", "var"}
_SYMBOLS = {
    **{"add": "+", "radd": "+", "sub": "-", "rsub": "-", "mul": "*", "rmul": "*", "div": "/"},
    **{"truediv": "/", "rdiv": "/", "rtruediv": "/", "pow": "**", "rpow": "**", "matmul": "@"},
}


class Diagnosis:
    """Reads a cause off what a repetition and an observer have seen.

    Attributes:
        what: What became NaN or infinite first.
        phase: In which part of the step.
        call: The call that gave it, if it is known.
    """

    def __init__(self, repetition: Repetition, observer: Observer) -> None:
        self.repetition = repetition
        self.trainer = repetition.copy
        self.at = repetition.at
        self.steps = list(repetition.steps)
        self.what, self.phase = repetition.what, repetition.phase
        if self.phase == "backward" and observer.root is not None:
            self.what, self.phase = "the loss", "forward"  # which is not what was plotted
        self.node, self.incoming = observer.node, observer.incoming
        origin = None
        if self.phase == "forward" or observer.node is not None:
            origin = observer.origin()
        self.call = origin if isinstance(origin, Call) else None
        self.source = origin if isinstance(origin, torch.Tensor) else None

    @property
    def operation(self) -> str | None:
        """The operation; in the backward pass, the node of the graph."""
        if self.node is not None:
            name: str = self.node.name()
            return name
        return _SYMBOLS.get(self.call.name, self.call.name) if self.call else None

    def cause(self) -> tuple[Cause, str, str]:
        """The cause, what speaks for it, and one change to try."""
        looks = (
            self._bad_input,
            self._zero_divided_by,
            self._root,
            self._half_overflow,
            self._outlier,
            self._rate,
            self._exponential,
            self._logarithm,
            self._derivative,
        )
        return next((found for look in looks if (found := look())), None) or self._overflow()

    def _bad_input(self) -> tuple[Cause, str, str] | None:
        tensors = tensors_in(self.repetition.batch)
        wrong = [i for i, tensor in enumerate(tensors) if not are_finite([tensor])]
        if not wrong:
            return None
        # What the steps before were given as well did no harm, unless it led here.
        place = next((i for i in wrong if tensors[i] is self.source), wrong[0])
        is_new = all(math.isfinite(step.largest_input) for step in self.steps)
        if tensors[place] is not self.source and not is_new:
            return None
        where = (~tensors[place].isfinite()).nonzero()
        index = where[0].tolist()
        value = tensors[place][tuple(index)].item()
        name = "y" if place == len(tensors) - 1 else "X" if len(tensors) == 2 else f"input {place}"
        element = f"{name}[{', '.join(map(str, index))}]"
        reason = f"{element} of the batch is {value}"
        if len(where) > 1:
            reason += f", the first of {len(where)} such values"
        rows = self._bad_rows(place)
        if rows:
            kind = {"train": "training", "val": "validation"}[self.repetition.split]
            more = "" if len(rows) == 1 else f", the first of {len(rows)}"
            reason += f"; it is in row {rows[0]} of the {kind} set{more}"
        edit = "leave such examples out, or fill in a value such as the mean of the column."
        return "bad input value", f"{reason}.", edit

    def _bad_rows(self, place: int) -> list[int]:
        owners = self.trainer.position.owners
        ours = [owner for owner in owners if isinstance(owner, TensorLoader)]
        loader = ours[0 if self.repetition.split == "train" else -1] if ours else None
        if loader is None or loader.transform is not None or place >= len(loader.tensors):
            return []
        tensor = loader.tensors[place]
        if not tensor.is_floating_point():
            return []
        wrong = ~tensor.isfinite().reshape(len(tensor), -1).all(dim=1)
        rows: list[int] = wrong.nonzero().flatten().tolist()
        return rows

    def _zero_divided_by(self) -> tuple[Cause, str, str] | None:
        if self.call is None or self.call.name not in _QUOTIENTS:
            return None
        divisor = self._argument(_QUOTIENTS[self.call.name])
        zeros = 0 if divisor is None else int((divisor == 0).sum())
        if divisor is None or not zeros:
            return None
        reason = f"{zeros} of {divisor.numel()} {_divisors(divisor)} 0."
        if self.phase == "backward":
            return (
                "division by zero",
                f"{reason} Its derivative is infinite there, even where the result is not used.",
                "replace the zeros before the division, not its results after it.",
            )
        return "division by zero", reason, "add a small number to the divisor, such as 1e-5."

    def _root(self) -> tuple[Cause, str, str] | None:
        if self.call is None or self.call.name not in _ROOTS:
            return None
        name = _SYMBOLS.get(self.call.name, self.call.name)
        x, power = self._argument(0), self._argument(1)
        is_power = self.call.name == "pow"
        if x is None or (is_power and (power is None or float(power.max()) >= 1)):
            return None
        if self.phase == "forward":
            negative = int((x < 0).sum())
            if not negative or self.call.name in ("norm", "std"):
                return None
            return (
                "root of zero",
                f"{negative} of {x.numel()} arguments of `{name}` are negative, down to "
                f"{float(x.min()):.3g}.",
                "keep the argument at 0 or above before the root: `.clamp(min=0)`.",
            )
        # Of a norm, it is the result that is 0.
        of = x if is_power or self.call.name in ("sqrt", "rsqrt") else self.call.results[0]
        zeros = int((of == 0).sum())
        if not zeros:
            return None
        return (
            "root of zero",
            f"The derivative of a root at 0 is infinite, and {zeros} of {of.numel()} "
            f"{'arguments' if of is x else 'results'} of `{name}` are 0.",
            "add a small number under the root, such as 1e-8.",
        )

    def _half_overflow(self) -> tuple[Cause, str, str] | None:
        if self.call is None or not any(t.dtype == torch.float16 for t in self.call.results):
            return None
        return (
            "float16 overflow",
            "float16 ends at 65504, and the result is larger.",
            'train with precision="bf16-mixed", which has the range of float32.',
        )

    def _outlier(self) -> tuple[Cause, str, str] | None:
        if self.at is None:
            return None
        sizes = [step.largest_input for step in self.steps]
        now = max([self.at.largest_input, *sizes[-1:]])
        usual = sorted(sizes[:-1])[len(sizes[:-1]) // 2] if len(sizes) > 1 else math.nan
        if not now >= _BLOWN_UP * usual > 0:
            return None
        return (
            "bad input value",
            f"The largest number in the batch of this step or the one before is {now:.3g}, and "
            f"{usual:.3g} is usual.",
            "leave that example out, or correct it.",
        )

    def _rate(self) -> tuple[Cause, str, str] | None:
        if self.at is None or self.at.lr is None or not (self.steps or self.phase == "update"):
            return None
        norms = [s.gradient_norm for s in (*self.steps, self.at)]
        norms = [norm for norm in norms if math.isfinite(norm) and norm > 0]
        sizes = [s.largest_parameter for s in (*self.steps, self.at)]
        low = norms.index(min(norms)) if norms else 0
        rising = norms[low:]
        # It is no growth if the gradients had been as large before.
        blown = len(rising) > 2 and rising[-2] >= 10 * rising[0]
        blown = blown and rising[-1] >= _BLOWN_UP * max(norms[: low + 1])
        if not blown and sizes[-1] < _BLOWN_UP**2 and self.phase != "update":
            return None
        rate = self.at.lr
        reason = f"The largest parameter was {sizes[-1]:.3g}."
        proposal, why = rate / 10, f"a tenth of {rate:g}"
        if len(rising) > 1:
            factor = (rising[-1] / rising[0]) ** (1 / (len(rising) - 1))
            reason = (
                f"The gradient norm grew by a factor of {factor:.3g} a step, from {rising[0]:.3g} "
                f"to {rising[-1]:.3g} in {len(rising) - 1} steps."
            )
            # With gradient descent on a quadratic, the gradient along the steepest direction is
            # multiplied by 1 - lr * curvature in each step.
            if factor > 9 and self._is_plain():
                proposal = rate / (1 + factor)
                why = (
                    f"because a gradient that grows {factor:.3g}-fold needs a rate so much smaller"
                )
        text = rounded_down(proposal)
        return "rate too high", reason, f"lr={text}, {why}."

    def _is_plain(self) -> bool:
        """Whether the optimizer is gradient descent without memory."""
        optimizer = self.trainer.optim
        if isinstance(optimizer, torch.optim.SGD):
            return not any(group["momentum"] for group in optimizer.param_groups)
        return isinstance(optimizer, SGD)

    def _exponential(self) -> tuple[Cause, str, str] | None:
        x = self._argument(0)
        if self.call is None or self.call.name not in _EXPONENTIALS or x is None:
            return None
        x = x if x.is_floating_point() else x.float()
        limit = math.log(torch.finfo(x.dtype).max) / _EXPONENTIALS[self.call.name]
        dtype = str(x.dtype).removeprefix("torch.")
        edit = "bound the argument first, as by `.clamp(max=80)`."
        if x.dim() > 1 and x.shape[-1] > 1:
            edit = (
                "take the largest of each row off first, `X - X.amax(dim=-1, keepdim=True)`, "
                "which changes no softmax (book: 4.5.2)."
            )
        return (
            "exp overflow",
            f"The argument of `{self.call.name}` reached {float(x.max()):.4g}, and {dtype} "
            f"overflows beyond {limit:.1f}.",
            edit,
        )

    def _logarithm(self) -> tuple[Cause, str, str] | None:
        x = self._argument(0)
        if self.call is None or self.call.name not in _LOGARITHMS or x is None:
            return None
        zeros, negative = int((x == 0).sum()), int((x < 0).sum())
        if not zeros and not negative:
            return None
        counted = f"{zeros} of {x.numel()} arguments of `{self.call.name}` are 0"
        if negative:
            counted = f"{negative} of {x.numel()} arguments of `{self.call.name}` are negative"
        edit = "add a small number to the argument, such as 1e-8."
        labels = tensors_in(self.repetition.batch)[-1:]
        if labels and not labels[0].is_floating_point():
            edit = (
                "let the network give logits and take F.cross_entropy as the loss, which needs no "
                "logarithm of a probability (book: 4.5.2)."
            )
        return "log of zero", f"{counted}.", edit

    def _derivative(self) -> tuple[Cause, str, str] | None:
        if self.node is None or largest(self.incoming) > _BLOWN_UP**4:
            return None
        return (
            "infinite derivative",
            f"The derivative of `{self.call.name if self.call else self.node.name()}` is infinite "
            f"or not defined at one of its arguments.",
            "keep its argument away from there, as by `.clamp()` or a small number added to it.",
        )

    def _overflow(self) -> tuple[Cause, str, str]:
        inputs = self.call.inputs if self.call is not None and self.node is None else self.incoming
        size = largest(inputs)
        given = "" if math.isnan(size) else f"It was given numbers up to {size:.3g}. "
        at = self.at
        numbers = [arg for arg in (self.call.args if self.call else ()) if type(arg) is float]
        wrong = [number for number in numbers if not math.isfinite(number)]
        if wrong:
            return (
                "unknown",
                f"A number that the code itself gives to the operation is {wrong[0]}.",
                "look where that number comes from.",
            )
        if self.source is not None:
            return (
                "unknown",
                "A tensor that is not of the batch, and that no operation of this step made, "
                "holds NaN or infinity.",
                "look at the tensors and buffers that the model keeps.",
            )
        reason = f"{given}The largest number in the batch was "
        reason += f"{at.largest_input if at else math.nan:.3g}."
        if at is not None and at.largest_input > _BLOWN_UP:
            return (
                "overflow",
                reason,
                "scale the inputs and targets to a mean of 0 and a deviation of 1.",
            )
        return "overflow", reason, "begin with smaller weights, or a smaller learning rate."

    def _argument(self, place: int) -> torch.Tensor | None:
        """An argument of the call, a number as a tensor."""
        args = self.call.args if self.call is not None else ()
        if len(args) <= place or not isinstance(args[place], torch.Tensor | int | float):
            return None
        return torch.as_tensor(args[place]).detach()


def _divisors(divisor: torch.Tensor) -> str:
    return "divisors is" if divisor.numel() == 1 else "divisors are"


def rounded_down(value: float) -> str:
    """A number with one digit, none larger than it."""
    power = 10.0 ** math.floor(math.log10(value) + 1e-9)
    return f"{math.floor(value / power + 1e-9) * power:g}"
