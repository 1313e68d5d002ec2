"""Why a number became NaN or infinite: what speaks for which cause."""

import math
from itertools import pairwise
from typing import Any, Literal

import torch

from gradbook.data import TensorLoader
from gradbook.lookalikes import groups_of
from gradbook.optim import SGD
from gradbook.watching.observer import Call, Observer, are_finite, largest, tensors_in
from gradbook.watching.repetition import Change, Repetition
from gradbook.watching.trials import Trials

Cause = Literal[
    "rate too high",
    "bad learning rate",
    "weight decay too high",
    "momentum too high",
    "loss without a bound",
    "initial weights too large",
    "inputs too large",
    "bad parameter value",
    "exp overflow",
    "log of zero",
    "division by zero",
    "root of zero",
    "infinite derivative",
    "outside the domain",
    "too few numbers",
    "fully masked row",
    "bad constant",
    "bad input value",
    "float16 overflow",
    "overflow",
    "unknown",
]

#: Numbers up to here overflow in few operations.
_MODEST = 1e5
#: Optimizers whose steps are about as long as the rate, however large the gradient.
_ADAM_AND_KIN = (
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.Adamax,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.RMSprop,
)
#: The highest rate that is usual, and one that mostly trains: for these, and for the others.
_USUAL_RATES = {True: (0.01, 0.001), False: (1.0, 0.1)}
#: A gradient or parameter that has become so many times larger has not done so by chance.
_BLOWN_UP = 1e3

_EXPONENTIALS = {"exp": 1.0, "expm1": 1.0, "sinh": 1.0, "cosh": 1.0, "exp2": math.log(2)}
_LOGARITHMS = {"log", "log2", "log10"}
_QUOTIENTS = {
    **{"div": 1, "truediv": 1, "true_divide": 1, "rdiv": 0, "rtruediv": 0, "reciprocal": 0},
    **{"fmod": 1, "remainder": 1, "mod": 1},
}
_ROOTS = {"sqrt", "rsqrt", "pow", "norm", "linalg_norm", "vector_norm", "std", "cdist", "var"}
_NORMALIZERS = {"normalize", "layer_norm", "batch_norm", "group_norm", "instance_norm", "rms_norm"}
_DEVIATIONS = {"std", "var", "std_mean", "var_mean"}
#: From where to where an operation is defined, and whether at the ends, too.
_DOMAINS = {
    **dict.fromkeys(("acos", "arccos", "asin", "arcsin"), (-1.0, 1.0, True)),
    **dict.fromkeys(("atanh", "arctanh", "erfinv"), (-1.0, 1.0, False)),
    **dict.fromkeys(("acosh", "arccosh"), (1.0, math.inf, True)),
    **dict.fromkeys(("log", "log2", "log10", "rsqrt"), (0.0, math.inf, False)),
    "sqrt": (0.0, math.inf, True),
    "log1p": (-1.0, math.inf, False),
    "logit": (0.0, 1.0, False),
}
_SOFTMAXES = {"softmax", "log_softmax", "softmin"}
_WITH_SOFTMAX = {"cross_entropy", "multi_head_attention_forward", "scaled_dot_product_attention"}
_SYMBOLS = {
    **{"add": "+", "radd": "+", "sub": "-", "rsub": "-", "mul": "*", "rmul": "*", "div": "/"},
    **{"truediv": "/", "rdiv": "/", "rtruediv": "/", "pow": "**", "rpow": "**", "matmul": "@"},
}

_LARGEST_OFF = (
    "take the largest of each row off first, `X - X.amax(dim=-1, keepdim=True)`, which changes no "
    "softmax (book: 4.5.2)."
)
_CROSS_ENTROPY = (
    "let the network give logits and take F.cross_entropy as the loss, which needs no logarithm "
    "of a probability (book: 4.5.2)."
)
_BINARY_CROSS_ENTROPY = (
    "leave out the sigmoid and take F.binary_cross_entropy_with_logits as the loss, which needs no "
    "logarithm of a probability."
)


class Diagnosis:
    """Reads a cause off what a repetition and an observer have seen.

    Attributes:
        what: What became NaN or infinite first.
        phase: In which part of the step.
        call: The call that gave it, if it is known.
        tried: What came of the changes that were tried, in a sentence.
    """

    def __init__(self, repetition: Repetition, observer: Observer, trials: Trials) -> None:
        self.repetition, self.observer, self.trials = repetition, observer, trials
        self.tried = ""
        self._changes: list[Change] = []
        self.trainer = repetition.copy
        self.at = repetition.at
        self.steps = list(repetition.steps)
        self.what, self.phase = repetition.what, repetition.phase
        if self.phase == "backward" and observer.root is not None:
            self.what, self.phase = "the loss", "forward"  # which is not what was plotted
        self.node, self.incoming = observer.node, observer.incoming
        self.calls = observer.calls
        origin: Call | torch.Tensor | None = None
        if self.phase == "update":
            origin = observer.origin_in_update()
        elif self.phase == "forward" or observer.node is not None:
            origin = observer.origin()
        self.call = origin if isinstance(origin, Call) else None
        self.source = origin if isinstance(origin, torch.Tensor) else None
        if self.call is not observer.caller:
            self.node = None

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
            self._bad_parameter,
            self._bad_rate,
            self._bad_setting,
            self._masked,
            self._too_few,
            self._constant,
            self._zero_divided_by,
            self._power,
            self._root,
            self._outlier,
            self._unbounded,
            self._rate,
            self._domain,
            self._logarithm,
            self._half_overflow,
            self._exponential,
            self._derivative,
        )
        found = next((found for look in looks if (found := look())), None) or self._overflow()
        self.tried = self.trials.told(self._changes)
        return found

    def _helps(self, *changes: Change) -> Change | None:
        """The first of some changes with which the training does not go wrong any more."""
        helping = self.trials.first_that_helps(changes)
        # Of those that were of no use nothing need be said any more where another one is.
        self._changes = [helping] if helping is not None else [*self._changes, *changes]
        return helping

    def _bad_parameter(self) -> tuple[Cause, str, str] | None:
        """A tensor of the model that was wrong before the step."""
        wrong = self.repetition.wrong_before()
        name = None if self.source is None else self.repetition.name_of(self.source)
        if name is None and self.call is None and wrong:
            name = wrong[0][0]
        tensor = next((tensor for ours, tensor in wrong if ours == name), self.source)
        if name is None or tensor is None:
            return None
        where = (~tensor.isfinite()).nonzero()
        place = f"{name}[{', '.join(map(str, where[0].tolist()))}]" if tensor.dim() else name
        is_trained = name in self.repetition.parameters
        reason = (
            f"The {'parameter' if is_trained else 'tensor'} {name} of the model holds "
            f"{_not_finite(tensor)} at {place}"
            f"{f', the first of {len(where)} such numbers' if len(where) > 1 else ''}, "
        )
        if self.at is not None and self.at.step == 1:
            return (
                "bad parameter value",
                f"{reason}and did so before the first step.",
                f"give {name} finite numbers where it is made or initialized.",
            )
        if not is_trained:
            edit = f"look at what writes into {name}."
            return "bad parameter value", f"{reason}and did so before this step.", edit
        return (
            "bad parameter value",
            f"{reason}and did so before this step, though all was finite after the step before.",
            f"look for what writes into {name} between two steps, such as a sink or a hook.",
        )

    def _bad_rate(self) -> tuple[Cause, str, str] | None:
        """A learning rate that is infinite, NaN or negative."""
        before = [step.lr for step in self.steps if step.lr is not None]
        rates = [*self.repetition.rates, *before]
        bad = next((rate for rate in rates if not 0 <= rate < math.inf), None)
        if bad is None:
            return None
        good = next((rate for rate in reversed(before) if 0 < rate < math.inf), None)
        first = [group.get("initial_lr") for group in groups_of(self.trainer.optim)]
        to_try = good if good is not None else next(iter(first), None)
        schedulers = [type(schedule.scheduler).__name__ for schedule in self.trainer.schedules]
        setter = f"the scheduler {schedulers[0]}" if schedulers else "the code"
        was = f", after {good:g} in a step before" if good is not None else ""
        reason = f"The learning rate was {bad:g}{was}: {setter} had set it."
        if bad < 0:
            reason += " With a negative rate, each step makes the loss larger."
        if to_try is not None and 0 < to_try < math.inf:
            self._helps(Change("lr", to_try))
        ours = f"let {setter} give" if schedulers else "give the optimizer"
        return "bad learning rate", reason, f"{ours} finite rates of at least 0 only."

    def _bad_setting(self) -> tuple[Cause, str, str] | None:
        """Another setting of the optimizer with which no training goes well."""
        if self.at is None or not (self.steps or self.phase == "update"):
            return None
        for group in groups_of(self.trainer.optim):
            rate, decay, momentum = (
                float(value) if isinstance(value, int | float) else 0.0
                for value in (group.get(name) for name in ("lr", "weight_decay", "momentum"))
            )
            if rate * decay > 2 and self._helps(Change("weight_decay", 1e-3)):
                return (
                    "weight decay too high",
                    f"With lr={rate:g} and weight_decay={decay:g}, each step multiplies the "
                    f"parameters by 1 - {rate:g} * {decay:g} = {1 - rate * decay:.3g}, besides "
                    f"what the gradient does.",
                    "weight_decay=0.001, a usual value.",
                )
            if momentum >= 1 and self._helps(Change("momentum", 0.9)):
                return (
                    "momentum too high",
                    f"The momentum is {momentum:g}. From 1 on, no gradient is ever forgotten, and "
                    f"the steps become longer and longer.",
                    "momentum=0.9, a usual value.",
                )
            is_zero = group.get("eps") == 0 and self.phase == "update" and self.call is None
            if is_zero and self._helps(Change("eps", 1e-8)):
                return (
                    "division by zero",
                    "The optimizer divides by the size of the gradients so far plus eps. With "
                    "eps=0 it divides 0 by 0 where they were 0.",
                    "eps=1e-8, as by default.",
                )
        return None

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

    def _masked(self) -> tuple[Cause, str, str] | None:
        call = self.call
        if call is None or not (
            call.is_misled or (self.node is not None and call.name in _SOFTMAXES)
        ):
            return None
        edit = (
            "mask with a large finite number, such as -1e9, or leave one position of each row open."
        )
        for x in call.wrong_inputs:
            rows = (x == -math.inf).all(dim=self._masked_dim(call, x))
            num_rows = int(rows.sum())
            if num_rows and call.name in _SOFTMAXES | _WITH_SOFTMAX:
                are = "is" if num_rows == 1 else "are"
                reason = (
                    f"{num_rows} of {rows.numel()} rows that `{call.name}` was given {are} -inf "
                    f"from end to end, so that all of the row is masked and 0 is divided by 0."
                )
                return "fully masked row", reason, edit
        if self.node is not None:
            return None
        wrong = next(t for t in call.results if not are_finite([t]))
        return (
            "bad constant",
            f"`{self.operation}` made {_not_finite(wrong)} of the -inf that it was given, which a "
            f"mask holds.",
            "mask with a large finite number, such as -1e9, or leave open what is needed here.",
        )

    def _masked_dim(self, call: Call, x: torch.Tensor) -> int:
        if call.name == "cross_entropy":
            return min(1, x.dim() - 1)
        dim = call.kwargs.get("dim", call.args[1] if len(call.args) > 1 else -1)
        return dim if call.name in _SOFTMAXES and type(dim) is int else -1

    def _too_few(self) -> tuple[Cause, str, str] | None:
        call = self.call
        if call is None or self.node is not None or not call.inputs:
            return None
        x, labels = call.inputs[0], call.inputs[1:2]
        if not x.numel():
            return (
                "too few numbers",
                f"`{call.name}` was given a tensor of shape {tuple(x.shape)}, which holds no "
                f"number, so that 0 is divided by 0.",
                "leave the term out where nothing is left, as by `if len(x) > 0:`.",
            )
        if call.name in _DEVIATIONS and x.numel() == call.results[0].numel():
            return (
                "too few numbers",
                f"`{call.name}` was taken over one number. It divides by their number less 1, "
                f"which is 0.",
                "leave out a last batch of one example, as a DataLoader does with "
                "`drop_last=True`, or do not divide where there is one number, whose deviation "
                "is not known.",
            )
        ignored = call.kwargs.get("ignore_index", -100)
        if call.name in ("cross_entropy", "nll_loss") and bool((labels[0] == ignored).all()):
            return (
                "too few numbers",
                f"All labels are {ignored}, which `{call.name}` leaves out, so that nothing is "
                f"left to be averaged.",
                "leave such a batch out.",
            )
        return None

    def _constant(self) -> tuple[Cause, str, str] | None:
        call = self.call
        if call is None or self.node is not None or not call.is_wrong:
            return None
        wrong = next(t for t in call.results if not are_finite([t]))
        if not call.inputs:
            return (
                "bad constant",
                f"The tensor that `{call.name}` makes holds {_not_finite(wrong)}.",
                "look where that number comes from.",
            )
        limits = torch.finfo(wrong.dtype)
        name = str(wrong.dtype).removeprefix("torch.")
        for number in call.numbers:
            if not math.isfinite(number):
                reason = f"A number that the code itself gives to the operation is {number}"
                edit = "look where that number comes from."
                if call.name in ("mul", "rmul") and bool(wrong.isnan().any()):
                    reason += ", and 0 times infinity is NaN"
                    edit = "take `masked_fill`, or a large finite number such as -1e9."
                return "bad constant", f"{reason}.", edit
            if abs(number) > limits.max:
                return (
                    "bad constant",
                    f"{number:g}, which the code itself gives to the operation, is infinite in "
                    f"{name}, which ends at {limits.max:.3g}.",
                    "take a smaller number, or a dtype that holds it.",
                )
            if number and not float(torch.tensor(float(number), dtype=wrong.dtype)):
                return (
                    "bad constant",
                    f"{number:g}, which the code itself gives to the operation, is 0 in {name}, "
                    f"whose precise numbers begin at {limits.tiny:.3g}.",
                    "take a larger number, such as 1e-8.",
                )
        return None

    def _zero_divided_by(self) -> tuple[Cause, str, str] | None:
        call = self.call
        if call is not None and call.name in _NORMALIZERS and self.node is None:
            if largest(call.inputs) > _MODEST or not any(t.isnan().any() for t in call.results):
                return None
            return (
                "division by zero",
                f"The norm or deviation that `{call.name}` divides by is 0.",
                "leave `eps` at its default, or make it larger.",
            )
        if call is None or call.name not in _QUOTIENTS:
            return None
        divisor = self._argument(_QUOTIENTS[call.name])
        if divisor is None:
            return None
        zeros = int((divisor == 0).sum())
        reason = f"{zeros} of {divisor.numel()} {_divisors(divisor)} 0."
        if self.phase == "backward" and zeros:
            return (
                "division by zero",
                f"{reason} Its derivative is infinite there, even where the result is not used.",
                "replace the zeros before the division, not its results after it.",
            )
        if self.phase == "backward" and divisor.is_floating_point():
            tiny = divisor.abs() < torch.finfo(divisor.dtype).tiny
            zeros = int(tiny.sum())
            reason = (
                f"{zeros} of {divisor.numel()} {_divisors(divisor)} almost 0, down to "
                f"{float(divisor.abs().min()):.3g}, so that the derivative overflows."
            )
        if not zeros:
            return None
        exponentials = [c for c in self.calls if c.name in _EXPONENTIALS]
        sums = [t for c in exponentials for sum_ in self._uses(c, "sum") for t in sum_.results]
        if any(tensor is t for tensor in call.inputs for t in sums):
            return "division by zero", reason, _LARGEST_OFF
        return "division by zero", reason, "add a small number to the divisor, such as 1e-5."

    def _power(self) -> tuple[Cause, str, str] | None:
        if self.call is None or self.call.name not in ("pow", "rpow"):
            return None
        base, exponent = self._argument(0), self._argument(1)
        if base is None or exponent is None:
            return None
        if self.call.name == "rpow":
            base, exponent = exponent, base
        num_powers = self.call.results[0].numel()
        zeros = int(((base == 0) & (exponent < 0)).sum())
        if zeros:
            return (
                "division by zero",
                f"{zeros} of {num_powers} bases of `**` are 0, and a negative exponent divides by "
                f"them.",
                "add a small number to the base, such as 1e-5.",
            )
        negative = int(((base < 0) & (exponent % 1 != 0)).sum())
        if negative:
            return (
                "outside the domain",
                f"{negative} of {num_powers} bases of `**` are negative, down to "
                f"{float(base.min()):.3g}, and the exponent is no whole number.",
                "keep the base above 0, as by `.clamp(min=1e-8)`.",
            )
        return None

    def _root(self) -> tuple[Cause, str, str] | None:
        """A root whose derivative is infinite."""
        if self.call is None or self.call.name not in _ROOTS or self.phase != "backward":
            return None
        x, power = self._argument(0), self._argument(1)
        is_power = self.call.name == "pow"
        if x is None or (is_power and (power is None or float(power.max()) >= 1)):
            return None
        # Of a norm, it is the result that is 0.
        of = x if is_power or self.call.name in ("sqrt", "rsqrt") else self.call.results[0]
        zeros = int((of == 0).sum())
        if not zeros:
            return None
        name = _SYMBOLS.get(self.call.name, self.call.name)
        return (
            "root of zero",
            f"The derivative of a root at 0 is infinite, and {zeros} of {of.numel()} "
            f"{'arguments' if of is x else 'results'} of `{name}` are 0.",
            "add a small number under the root, such as 1e-8.",
        )

    def _domain(self) -> tuple[Cause, str, str] | None:
        x = self._argument(0)
        name = self.call.name if self.call is not None else ""
        if x is None or name not in _DOMAINS:
            return None
        if name in _LOGARITHMS and self.phase == "backward":
            return None  # its derivative is defined for negative numbers
        low, high, with_ends = _DOMAINS[name]
        outside = (x < low) | (x > high)
        # A logarithm of 0 is a cause of its own.
        if not with_ends and (name not in _LOGARITHMS or bool(outside.any())):
            outside = outside | (x == low) | (x == high)
        num_outside = int(outside.sum())
        if not num_outside:
            return None
        values = x[outside]
        middle = low if math.isinf(high) else (low + high) / 2
        farthest = float(values[(values - middle).abs().argmax()]) + 0.0  # no -0
        reason = (
            f"`{name}` is defined {_interval(low, high, with_ends)}, and {num_outside} of "
            f"{x.numel()} arguments are outside; the farthest is {farthest:.3g}."
        )
        negative = int((x < 0).sum())
        if low == 0 and math.isinf(high) and negative:
            reason = (
                f"{negative} of {x.numel()} arguments of `{name}` are negative, down to "
                f"{farthest:.3g}."
            )
        if self.phase == "backward":
            reason += " Its derivative is not defined there, even where the result is not used."
            return (
                "outside the domain",
                reason,
                "replace such arguments before the operation, not its results after it.",
            )
        return "outside the domain", reason, self._into_domain(name, low, high, farthest)

    def _into_domain(self, name: str, low: float, high: float, farthest: float) -> str:
        """What brings the arguments of an operation to where it is defined."""
        if math.isfinite(high):
            bounds = f"{_short(low + 1e-6)}, {_short(high - 1e-6)}"
            return f"bring the argument into that range, or bound it by `.clamp({bounds})`."
        # So that the derivative of a root stays finite, too.
        bound = f"`.clamp(min={_short(low + 1e-6 if low else 1e-8)})`"
        if name in _LOGARITHMS and (edit := self._without_logarithm()):
            return edit
        if name in _LOGARITHMS and farthest < -1e-5:
            return (
                f"put a softmax, sigmoid or softplus before it, whose results are positive, or "
                f"bound the argument by {bound}."
            )
        return f"bound the argument by {bound}."

    def _half_overflow(self) -> tuple[Cause, str, str] | None:
        if self.call is None or not any(t.dtype == torch.float16 for t in self.call.results):
            return None
        reason = "float16 ends at 65504, and the result is larger."
        if self.trainer.arithmetic.dtype == torch.float16:
            self._helps(Change("precision", "bf16-mixed"))
            edit = 'train with precision="bf16-mixed", which has the range of float32.'
            return "float16 overflow", reason, edit
        if any(p.dtype == torch.float16 for p in self.repetition.parameters.values()):
            edit = "leave the model's parameters in float32, without `.half()`."
            return "float16 overflow", reason, edit
        # What is in float16 because the code says so is not changed by a setting.
        made = next(
            (
                call
                for call in [*self.observer.upstream(self.call), self.call]
                if any(t.dtype == torch.float16 for t in call.results)
                and not any(t.dtype == torch.float16 for t in call.inputs)
            ),
            None,
        )
        if made is None or made.line is None:
            edit = "take bfloat16 in the place of float16, which has the range of float32."
        else:
            edit = (
                f"take bfloat16, which has the range of float32, where `{made.name}` makes float16 "
                f"in {made.line}; or leave all in float32."
            )
        return "float16 overflow", reason, edit

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

    def _unbounded(self) -> tuple[Cause, str, str] | None:
        """A loss that falls below every number, where each smaller rate only takes longer."""
        losses = [step.loss for step in self.steps if math.isfinite(step.loss)]
        if not losses or losses[-1] > -(_BLOWN_UP**2) or losses[-1] > min(losses) / 2:
            return None
        return (
            "loss without a bound",
            f"The loss fell and fell, down to {losses[-1]:.3g}: it has no least value that a "
            f"training could come to, at any learning rate.",
            "look at the sign of the loss, or bound the part of it that falls without end.",
        )

    def _rate(self) -> tuple[Cause, str, str] | None:
        is_update = self.phase == "update" and self.call is None
        if self.at is None or not self.at.lr or not (self.steps or is_update):
            return None
        norms = [s.gradient_norm for s in (*self.steps, self.at)]
        norms = [norm for norm in norms if math.isfinite(norm) and norm > 0]
        sizes = [s.largest_parameter for s in (*self.steps, self.at)]
        low = norms.index(min(norms)) if norms else 0
        rising = norms[low:]
        # It is no growth if the gradients had been as large before.
        blown = len(rising) > 2 and rising[-2] >= 10 * rising[0]
        blown = blown and rising[-1] >= _BLOWN_UP * max(norms[: low + 1])
        if not blown and sizes[-1] < _BLOWN_UP**2 and not is_update:
            return None
        rate = self.at.lr
        reason = f"The largest number in a parameter had the size {sizes[-1]:.3g}."
        edit = smaller_rate(self.trainer.optim, rate)
        if len(rising) > 1:
            num_steps = len(rising) - 1
            factor = (rising[-1] / rising[0]) ** (1 / num_steps)
            reason = (
                f"The gradient norm grew by a factor of {factor:.3g} a step, from {rising[0]:.3g} "
                f"to {rising[-1]:.3g} in {num_steps} step{'s' if num_steps > 1 else ''}."
            )
            growths = [after / before for before, after in pairwise(rising)]
            edit = smaller_rate(self.trainer.optim, rate, growths[0])
            is_steady = all(factor / 10 < growth < factor * 10 for growth in growths)
            if is_steady and self._is_plain() and self._is_linear():
                # With gradient descent on a quadratic, the gradient along the steepest direction
                # is multiplied by 1 - lr * curvature in each step.
                edit = f"lr={rounded_down(rate / 10)}, a tenth of {rate:g}."
                if factor > 9:
                    edit = (
                        f"lr={rounded_down(rate / (1 + factor))}, because a gradient that grows "
                        f"{factor:.3g}-fold needs a rate so much smaller."
                    )
        edit = self._rate_that_helps(rate, edit)
        return ("rate too high", reason + self._raised(rate), edit) if edit else None

    def _rate_that_helps(self, rate: float, edit: str) -> str:
        """An edit with a smaller rate that helps, beginning with a proposed one; or an empty text.

        Where there was no time to try it, it is proposed as it is.
        """
        text = edit.partition("lr=")[2].split()[0].strip(",.;")
        lower = [float(rounded_down(float(text) / divisor)) for divisor in (1, 10, 100)]
        changes = [Change("lr", value) for value in dict.fromkeys(lower) if 0 < value < rate]
        helping = self._helps(*changes)
        if helping is None:
            return "" if self.trials.told(changes) else edit
        if helping is not changes[0]:
            larger = " and ".join(f"{c.value:g}" for c in changes[: changes.index(helping)])
            edit = f"lr={helping.value:g}, with which it does not happen; with {larger} it does."
        schedulers = [type(schedule.scheduler).__name__ for schedule in self.trainer.schedules]
        if schedulers and self._raised(rate):
            edit = f"let the scheduler {schedulers[0]} give rates up to {helping.value:g} only."
        return edit

    def _raised(self, rate: float) -> str:
        """That a scheduler had raised the rate, if it had."""
        rates = [step.lr for step in self.steps if step.lr] + [
            group["initial_lr"] for group in groups_of(self.trainer.optim) if "initial_lr" in group
        ]
        if not self.trainer.schedules or not rates or min(rates) >= rate / 2:
            return ""
        name = type(self.trainer.schedules[0].scheduler).__name__
        return f" The scheduler {name} had raised the learning rate to {rate:g}."

    def _is_plain(self) -> bool:
        """Whether the optimizer is gradient descent without memory."""
        optimizer = self.trainer.optim
        if isinstance(optimizer, torch.optim.SGD):
            return not any(group["momentum"] for group in optimizer.param_groups)
        return isinstance(optimizer, SGD)

    def _is_linear(self) -> bool:
        """Whether there is one layer of weights, so that outputs are linear in what is trained."""
        return sum(p.dim() > 1 for p in self.repetition.parameters.values()) <= 1

    def _exponential(self) -> tuple[Cause, str, str] | None:
        x = self._argument(0)
        if self.call is None or self.call.name not in _EXPONENTIALS or x is None:
            return None
        x = x if x.is_floating_point() else x.float()
        limit = math.log(torch.finfo(x.dtype).max) / _EXPONENTIALS[self.call.name]
        dtype = str(x.dtype).removeprefix("torch.")
        if float((x.abs() if self.call.name in ("sinh", "cosh") else x).max()) <= limit:
            return None
        # Squared, it is to be finite as well.
        edit = "bound the argument first, as by `.clamp(max=20)`."
        sums = self._uses(self.call, "sum", "mean")
        if any(self._uses(call, *_LOGARITHMS) for call in sums):
            edit = (
                "take `torch.logsumexp`, which takes the largest argument off before the "
                "exponential (of a mean, take off the logarithm of their number as well)."
            )
        elif sums and x.dim() > 1 and x.shape[-1] > 1:
            edit = _LARGEST_OFF
        return (
            "exp overflow",
            f"The argument of `{self.call.name}` reached {float(x.max()):.4g}, and {dtype} "
            f"overflows beyond {limit:.1f}.",
            edit,
        )

    def _uses(self, made: Call, *names: str) -> list[Call]:
        """The calls of some operations that were given what a call made."""
        return [
            call
            for call in self.calls[made.index + 1 :]
            if call.name in names and any(t is r for t in call.inputs for r in made.results)
        ]

    def _logarithm(self) -> tuple[Cause, str, str] | None:
        x = self._argument(0)
        if self.call is None or self.call.name not in _LOGARITHMS or x is None:
            return None
        zeros = int((x == 0).sum())
        if not zeros:
            return None
        reason = f"{zeros} of {x.numel()} arguments of `{self.call.name}` are 0."
        edit = self._without_logarithm() or ("add a small number to the argument, such as 1e-8.")
        if self._is_of_batch():
            reason += " No parameter has a part in them: they come from the data."
            if not bool((x < 0).any()):
                edit = f"take `torch.log1p` in the place of `{self.call.name}`: it is finite at 0."
        return "log of zero", reason, edit

    def _is_of_batch(self) -> bool:
        """Whether the call was given numbers that no parameter has a part in."""
        assert self.call is not None
        calls = [*self.observer.upstream(self.call), self.call]
        given = [tensor for call in calls for tensor in call.inputs]
        return self.phase != "update" and not any(tensor.requires_grad for tensor in given)

    def _without_logarithm(self) -> str | None:
        """The loss that needs no logarithm, if this one is of a probability."""
        assert self.call is not None
        before = {call.name for call in self.observer.upstream(self.call)}
        labels = tensors_in(self.repetition.batch)[-1:]
        if "sigmoid" in before and not before & _SOFTMAXES:
            return _BINARY_CROSS_ENTROPY
        has_classes = bool(labels) and not labels[0].is_floating_point()
        is_of_classes = bool(before & (_SOFTMAXES | {"exp"})) or self._uses(self.call, "nll_loss")
        return _CROSS_ENTROPY if has_classes and is_of_classes else None

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
        given = f"`{self.operation}` was given numbers up to {size:.3g}. "
        given = "" if math.isnan(size) or self.operation is None else given
        at = self.at
        if self.source is not None:
            return (
                "unknown",
                "A tensor that is not of the batch, and that no operation of this step made, "
                "holds NaN or infinity.",
                "look at the tensors and buffers that the model keeps.",
            )
        results = self.call.results if self.call is not None and self.node is None else []
        if size <= _MODEST and any(t.isnan().any() for t in results):
            return (
                "outside the domain",
                f"{given}`{self.operation}` is not defined for some of them.",
                "look at what it is given, and keep it to where the operation is defined.",
            )
        if self.phase == "forward" and self.call is None:
            return (
                "unknown",
                "No operation gave a wrong number when all were looked at one by one. PyTorch has "
                "faster ways for some layers, such as attention in evaluation, which it does not "
                "take then.",
                "look at such layers: a row of attention that is masked from end to end is NaN.",
            )
        reason = f"{given}The largest number in the batch had the size "
        reason += f"{at.largest_input if at else math.nan:.3g}, the largest in a parameter "
        reason += f"{at.largest_parameter if at else math.nan:.3g}."
        return self._too_large(reason) or ("overflow", reason, self._nothing_helps())

    def _too_large(self, reason: str) -> tuple[Cause, str, str] | None:
        """What was too large from the beginning, as far as it helps to make it smaller."""
        at = self.at
        if at is None:
            return None
        scale = "scale the inputs and targets to a mean of 0 and a deviation of 1."
        if at.largest_input > _BLOWN_UP and self._helps(Change("inputs")):
            return "inputs too large", reason, scale
        for call in self.calls:
            factor = self._factor(call)
            if factor is not None and call.line is not None:
                return (
                    "bad constant",
                    f"{reason} `{_SYMBOLS.get(call.name, call.name)}` in {call.line}, is given "
                    f"the number {factor:g} by the code itself.",
                    "take a number there that is nearer to 1.",
                )
        if self.trials.is_from_first_step and self._helps(Change("weights")):
            return (
                "initial weights too large",
                reason,
                "begin with smaller weights, by `nn.init.xavier_uniform_` for each matrix "
                "(book: 5.4.2).",
            )
        is_tried = any(change.name == "lr" for change in self._changes)
        if at.lr and at.lr > 0 and at.step > 1 and not is_tried:
            edit = self._rate_that_helps(at.lr, smaller_rate(self.trainer.optim, at.lr))
            if edit:
                return "rate too high", reason + self._raised(at.lr), edit
        return None

    def _factor(self, call: Call) -> float | None:
        """A factor or divisor that the code gives and that makes a number far larger."""
        sizes = [abs(number) for number in call.numbers if number]
        if call.name in ("mul", "rmul"):
            return next((size for size in sizes if size >= _BLOWN_UP**2), None)
        if call.name in ("div", "truediv", "true_divide"):
            return next((size for size in sizes if size <= _BLOWN_UP**-2), None)
        return None

    def _nothing_helps(self) -> str:
        """What is left to say where no change is known that helps."""
        where = "the model and its loss"
        if self.call is not None:
            line = f" in {self.call.line}" if self.call.line else ""
            layer = f" of layer {self.call.layer}" if self.call.layer else ""
            where = f"`{self.operation}`{layer}{line}"
        no = "nothing that was tried helps. L" if self._changes else "l"
        return f"{no}ook at the numbers that are given to {where}: they become too large."

    def _argument(self, place: int) -> torch.Tensor | None:
        """An argument of the call, a number as a tensor."""
        args = self.call.args if self.call is not None else ()
        if len(args) <= place or not isinstance(args[place], torch.Tensor | int | float):
            return None
        return torch.as_tensor(args[place]).detach()


def _divisors(divisor: torch.Tensor) -> str:
    return "divisors is" if divisor.numel() == 1 else "divisors are"


def _not_finite(tensor: torch.Tensor) -> float:
    """The first number of a tensor that is not finite."""
    return float(tensor.detach()[~tensor.isfinite()][0])


def _short(number: float) -> str:
    return f"{number:.7g}".replace("e-0", "e-")


def _interval(low: float, high: float, with_ends: bool) -> str:
    if math.isfinite(high):
        return f"from {low:g} to {high:g}" if with_ends else f"between {low:g} and {high:g}"
    return f"from {low:g} on" if with_ends else f"above {low:g}"


def smaller_rate(optimizer: Any, rate: float, growth: float = 0.0) -> str:
    """A rate to try instead of one that is too high, and why it is that one.

    Args:
        optimizer: The optimizer.
        rate: Its rate.
        growth: By which factor the gradient norm grew in the first step. Later ones tell nothing
            about a network, whose curvature grows with its weights.
    """
    is_adaptive = isinstance(optimizer, _ADAM_AND_KIN)
    highest, usual = _USUAL_RATES[is_adaptive]
    divisor = 10.0 if is_adaptive else min(max(10.0, 1 + growth), 1000.0)
    proposal, why = rate / divisor, f"because the gradient norm grew {growth:.3g}-fold in one step"
    if not rate <= highest and not proposal < usual:
        proposal = usual
        why = f"a usual rate for {'Adam and its kin' if is_adaptive else 'gradient descent'}"
    elif divisor == 10:
        return f"lr={rounded_down(proposal)}, a tenth of {rate:g}."
    elif divisor == 1000:
        why = f"a thousandth of {rate:g}"
    return (
        f"lr={rounded_down(proposal)}, {why}; `gradbook.lr_range` or the command "
        f"`gradbook lr-range` shows which rates train the model."
    )


def rounded_down(value: float) -> str:
    """A number with one digit, none larger than it."""
    power = 10.0 ** math.floor(math.log10(value) + 1e-9)
    return f"{math.floor(value / power + 1e-9) * power:g}"
