"""Why a number became NaN or infinite: what speaks for which cause.

It is long because the rules are tried in order, and the first that holds wins: which one that is
can be seen only where all of them stand together.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Literal

import torch

from gradbook.data import TensorLoader
from gradbook.lookalikes import groups_of
from gradbook.optim import SGD
from gradbook.untrained import tensors_in
from gradbook.watching.observer import Call, Observer, are_finite, largest
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

#: Causes, with what speaks for each and one change to try.
Found = Iterator[tuple[Cause, str, str]]

#: Stands for the call where none is known.
_NO_CALL = Call(0, "", (), {}, [], [], [], is_wrong=False, layer=None, line=None)
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
    # A logarithm of 0 is a cause of its own.
    **dict.fromkeys(("log", "log2", "log10", "sqrt"), (0.0, math.inf, True)),
    "rsqrt": (0.0, math.inf, False),
    "log1p": (-1.0, math.inf, False),
    "logit": (0.0, 1.0, False),
}
_SOFTMAXES = {"softmax", "log_softmax", "softmin"}
_WITH_SOFTMAX = {"cross_entropy", "multi_head_attention_forward", "scaled_dot_product_attention"}
_SYMBOLS = {
    **{"add": "+", "radd": "+", "sub": "-", "rsub": "-", "mul": "*", "rmul": "*", "div": "/"},
    **{"truediv": "/", "rdiv": "/", "rtruediv": "/", "pow": "**", "rpow": "**", "matmul": "@"},
}

_FINITE_MASK = "mask with a large finite number, such as -1e9, or leave"
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

    It knows `what` became NaN or infinite first, in which `phase` of the step and by which `call`,
    which has no name if it is not known; and what came of the changes that were `tried`.
    """

    def __init__(self, repetition: Repetition, observer: Observer, trials: Trials) -> None:
        self.repetition, self.observer, self.trials = repetition, observer, trials
        self.tried = ""
        self._changes: list[Change] = []
        self.trainer = repetition.copy
        self.at, self.steps = repetition.at, list(repetition.steps)
        self.what, self.phase = repetition.what, repetition.phase
        if self.phase == "backward" and observer.root is not None:
            self.what, self.phase = "the loss", "forward"  # which is not what was plotted
        origin: Call | torch.Tensor | None = None
        if self.phase == "update":
            origin = observer.origin_in_update()
        elif self.phase == "forward" or observer.node is not None:
            origin = observer.origin()
        self.call = origin if isinstance(origin, Call) else _NO_CALL
        self.source = origin if isinstance(origin, torch.Tensor) else None
        self.node = observer.node if self.call is observer.caller else None
        schedulers = [type(schedule.scheduler).__name__ for schedule in self.trainer.schedules]
        self._scheduler = f"scheduler {schedulers[0]}" if schedulers else ""

    @property
    def operation(self) -> str | None:
        """The operation; in the backward pass, the node of the graph."""
        return (_symbol(self.call) if self.node is None else self.node.name()) or None

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
            self._overflow,
        )
        found = next(found for look in looks for found in look())
        self.tried = self.trials.told(self._changes)
        return found

    def _helps(self, *changes: Change) -> Change | None:
        """The first of some changes with which the training does not go wrong any more."""
        helping = self.trials.first_that_helps(changes)
        # Of those that were of no use nothing need be said any more where another one is.
        self._changes = [helping] if helping is not None else [*self._changes, *changes]
        return helping

    def _bad_parameter(self) -> Found:
        """A tensor of the model that was wrong before the step."""
        wrong = self.repetition.wrong_before()
        name = "" if self.source is None else self.repetition.name_of(self.source)
        if not name and self.call is _NO_CALL:
            name = next(iter(wrong), "")
        tensor = wrong.get(name, self.source)
        if not name or tensor is None:
            return
        place, value, more = _first_wrong(tensor, name)
        is_trained = name in self.repetition.parameters
        when, edit = "this step", f"look at what writes into {name}."
        if self.at.step == 1:
            when = "the first step"
            edit = f"give {name} finite numbers where it is made or initialized."
        elif is_trained:
            when += ", though all was finite after the step before"
            edit = f"look for what writes into {name} between two steps, such as a sink or a hook."
        reason = (
            f"The {'parameter' if is_trained else 'tensor'} {name} of the model holds {value} at "
            f"{place}{more}, and did so before {when}."
        )
        yield "bad parameter value", reason, edit

    def _bad_rate(self) -> Found:
        """A learning rate that is infinite, NaN or negative."""
        before = [step.lr for step in self.steps if step.lr is not None]
        bad = [rate for rate in [*self.repetition.rates, *before] if not 0 <= rate < math.inf]
        if not bad:
            return
        good = [rate for rate in before if 0 < rate < math.inf][-1:]
        first = [group.get("initial_lr") for group in groups_of(self.trainer.optim)][:1]
        to_try = next(iter(good or first), None)
        if to_try is not None and 0 < to_try < math.inf:
            self._helps(Change("lr", to_try))
        setter = f"the {self._scheduler}" if self._scheduler else "the code"
        ours = f"let {setter} give" if self._scheduler else "give the optimizer"
        was = f", after {good[0]:g} in a step before" if good else ""
        worse = " With a negative rate, each step makes the loss larger." if bad[0] < 0 else ""
        reason = f"The learning rate was {bad[0]:g}{was}: {setter} had set it.{worse}"
        edit = f"{ours} finite rates of at least 0 only."
        yield "bad learning rate", reason, edit

    def _bad_setting(self) -> Found:
        """Another setting of the optimizer with which no training goes well."""
        for group in groups_of(self.trainer.optim) if self.steps or self.phase == "update" else ():
            rate, decay, momentum = (
                float(value) if isinstance(value, int | float) else 0.0
                for value in (group.get(name) for name in ("lr", "weight_decay", "momentum"))
            )
            if rate * decay > 2 and self._helps(Change("weight_decay", 1e-3)):
                yield (
                    "weight decay too high",
                    f"With lr={rate:g} and weight_decay={decay:g}, each step multiplies the "
                    f"parameters by 1 - {rate:g} * {decay:g} = {1 - rate * decay:.3g}, besides "
                    f"what the gradient does.",
                    "weight_decay=0.001, a usual value.",
                )
            if momentum >= 1 and self._helps(Change("momentum", 0.9)):
                yield (
                    "momentum too high",
                    f"The momentum is {momentum:g}. From 1 on, no gradient is ever forgotten, and "
                    f"the steps become longer and longer.",
                    "momentum=0.9, a usual value.",
                )
            is_zero = group.get("eps") == 0 and self._is_in_update()
            if is_zero and self._helps(Change("eps", 1e-8)):
                yield (
                    "division by zero",
                    "The optimizer divides by the size of the gradients so far plus eps. With "
                    "eps=0 it divides 0 by 0 where they were 0.",
                    "eps=1e-8, as by default.",
                )

    def _is_in_update(self) -> bool:
        """Whether it is the optimizer's own update that went wrong."""
        return self.phase == "update" and self.call is _NO_CALL

    def _bad_input(self) -> Found:
        tensors = tensors_in(self.repetition.batch)
        wrong = [i for i, tensor in enumerate(tensors) if not are_finite([tensor])]
        if not wrong:
            return
        # What the steps before were given as well did no harm, unless it led here.
        place = next((i for i in wrong if tensors[i] is self.source), wrong[0])
        is_new = all(math.isfinite(step.largest_input) for step in self.steps)
        if tensors[place] is not self.source and not is_new:
            return
        name = "y" if place == len(tensors) - 1 else "X" if len(tensors) == 2 else f"input {place}"
        element, value, more = _first_wrong(tensors[place], name)
        reason = f"{element} of the batch is {value}{more}"
        rows = self._bad_rows(place)
        if rows:
            kind = {"train": "training", "val": "validation"}[self.repetition.split]
            more = "" if len(rows) == 1 else f", the first of {len(rows)}"
            reason += f"; it is in row {rows[0]} of the {kind} set{more}"
        edit = "leave such examples out, or fill in a value such as the mean of the column."
        yield "bad input value", f"{reason}.", edit

    def _bad_rows(self, place: int) -> list[int]:
        """The rows of the set whose tensor at this place of a batch has wrong numbers."""
        owners = self.trainer.position.owners
        ours = [owner for owner in owners if isinstance(owner, TensorLoader)]
        loader = ours[0 if self.repetition.split == "train" else -1] if ours else None
        if loader is None or loader.transform is not None or place >= len(loader.tensors):
            return []
        wrong = ~loader.tensors[place].isfinite()
        rows: list[int] = wrong.reshape(len(wrong), -1).any(dim=1).nonzero().flatten().tolist()
        return rows

    def _masked(self) -> Found:
        call = self.call
        if call.is_misled or (self.node is not None and call.name in _SOFTMAXES):
            has_rows = call.name in _SOFTMAXES | _WITH_SOFTMAX
            for x in call.wrong_inputs if has_rows else ():
                masked = (x == -math.inf).all(dim=_masked_dim(call, x))
                if _some(masked):
                    yield (
                        "fully masked row",
                        f"{_some(masked)} rows that `{call.name}` was given "
                        f"{'is' if int(masked.sum()) == 1 else 'are'} -inf from end to end, so "
                        f"that all of the row is masked and 0 is divided by 0.",
                        f"{_FINITE_MASK} one position of each row open.",
                    )
            if self.node is None:
                yield (
                    "bad constant",
                    f"`{self.operation}` made {_first_wrong(_wrong_result(call))[1]} of the -inf "
                    f"that it was given, which a mask holds.",
                    f"{_FINITE_MASK} open what is needed here.",
                )

    def _too_few(self) -> Found:
        call = self.call
        if self.node is not None or not call.inputs:
            return
        x, labels = call.inputs[0], call.inputs[1:2]
        if not x.numel():
            yield (
                "too few numbers",
                f"`{call.name}` was given a tensor of shape {tuple(x.shape)}, which holds no "
                f"number, so that 0 is divided by 0.",
                "leave the term out where nothing is left, as by `if len(x) > 0:`.",
            )
        if call.name in _DEVIATIONS and x.numel() == call.results[0].numel():
            yield (
                "too few numbers",
                f"`{call.name}` was taken over one number. It divides by their number less 1, "
                f"which is 0.",
                "leave out a last batch of one example, as a DataLoader does with "
                "`drop_last=True`, or do not divide where there is one number, whose deviation "
                "is not known.",
            )
        ignored = call.kwargs.get("ignore_index", -100)
        if call.name in ("cross_entropy", "nll_loss") and bool((labels[0] == ignored).all()):
            yield (
                "too few numbers",
                f"All labels are {ignored}, which `{call.name}` leaves out, so that nothing is "
                f"left to be averaged.",
                "leave such a batch out.",
            )

    def _constant(self) -> Found:
        call = self.call
        if self.node is not None or not call.is_wrong:
            return
        wrong, edit = _wrong_result(call), "look where that number comes from."
        if not call.inputs:
            value = _first_wrong(wrong)[1]
            yield "bad constant", f"The tensor that `{call.name}` makes holds {value}.", edit
        limits = torch.finfo(wrong.dtype)
        name = str(wrong.dtype).removeprefix("torch.")
        for number in call.numbers:
            given = f"{number:g}, which the code itself gives to the operation, is"
            if not math.isfinite(number):
                reason = f"A number that the code itself gives to the operation is {number}"
                if call.name in ("mul", "rmul") and bool(wrong.isnan().any()):
                    reason += ", and 0 times infinity is NaN"
                    edit = "take `masked_fill`, or a large finite number such as -1e9."
                yield "bad constant", f"{reason}.", edit
            elif abs(number) > limits.max:
                reason = f"{given} infinite in {name}, which ends at {limits.max:.3g}."
                yield "bad constant", reason, "take a smaller number, or a dtype that holds it."
            elif number and not float(torch.tensor(float(number), dtype=wrong.dtype)):
                reason = f"{given} 0 in {name}, whose precise numbers begin at {limits.tiny:.3g}."
                yield "bad constant", reason, "take a larger number, such as 1e-8."

    def _zero_divided_by(self) -> Found:
        call = self.call
        is_normalized = call.name in _NORMALIZERS and self.node is None
        if is_normalized and _are_nan(call.results) and not largest(call.inputs) > _MODEST:
            reason = f"The norm or deviation that `{call.name}` divides by is 0."
            edit = "leave `eps` at its default, or make it larger."
            yield "division by zero", reason, edit
        divisor = self._argument(_QUOTIENTS[call.name]) if call.name in _QUOTIENTS else None
        if divisor is None:
            return
        are = "divisors is" if divisor.numel() == 1 else "divisors are"
        zeros, reason = _some(divisor == 0), f"{_some(divisor == 0)} {are} 0."
        if self.phase == "backward" and zeros:
            yield (
                "division by zero",
                f"{reason} Its derivative is infinite there, even where the result is not used.",
                "replace the zeros before the division, not its results after it.",
            )
        if self.phase == "backward" and divisor.is_floating_point():
            zeros = _some(divisor.abs() < torch.finfo(divisor.dtype).tiny)
            reason = (
                f"{zeros} {are} almost 0, down to {float(divisor.abs().min()):.3g}, so that the "
                f"derivative overflows."
            )
        exponentials = [c for c in self.observer.calls if c.name in _EXPONENTIALS]
        sums = [t for c in exponentials for sum_ in self._uses(c, "sum") for t in sum_.results]
        is_softmax = any(tensor is t for tensor in call.inputs for t in sums)
        if zeros:
            edit = "add a small number to the divisor, such as 1e-5."
            yield "division by zero", reason, _LARGEST_OFF if is_softmax else edit

    def _power(self) -> Found:
        base, exponent = self._argument(0), self._argument(1)
        if self.call.name not in ("pow", "rpow") or base is None or exponent is None:
            return
        if self.call.name == "rpow":
            base, exponent = exponent, base
        if zeros := _some((base == 0) & (exponent < 0)):
            reason = f"{zeros} bases of `**` are 0, and a negative exponent divides by them."
            edit = "add a small number to the base, such as 1e-5."
            yield "division by zero", reason, edit
        if negative := _some((base < 0) & (exponent % 1 != 0)):
            yield (
                "outside the domain",
                f"{negative} bases of `**` are negative, down to {float(base.min()):.3g}, and the "
                f"exponent is no whole number.",
                "keep the base above 0, as by `.clamp(min=1e-8)`.",
            )

    def _root(self) -> Found:
        """A root whose derivative is infinite."""
        call, x, power = self.call, self._argument(0), self._argument(1)
        if call.name not in _ROOTS or self.phase != "backward" or x is None:
            return
        is_power = call.name == "pow"
        if is_power and (power is None or float(power.max()) >= 1):
            return
        # Of a norm, it is the result that is 0.
        of = x if is_power or call.name in ("sqrt", "rsqrt") else call.results[0]
        if zeros := _some(of == 0):
            yield (
                "root of zero",
                f"The derivative of a root at 0 is infinite, and {zeros} "
                f"{'arguments' if of is x else 'results'} of `{_symbol(call)}` are 0.",
                "add a small number under the root, such as 1e-8.",
            )

    def _domain(self) -> Found:
        x, name = self._argument(0), self.call.name
        # In the backward pass, the derivative of a logarithm is defined for negative numbers.
        if x is None or name not in _DOMAINS or (name in _LOGARITHMS and self.phase == "backward"):
            return
        low, high, with_ends = _DOMAINS[name]
        outside = (x < low) | (x > high) if with_ends else (x <= low) | (x >= high)
        if not outside.any():
            return
        values = x[outside]
        middle = low if math.isinf(high) else (low + high) / 2
        farthest = float(values[(values - middle).abs().argmax()]) + 0.0  # no -0
        reason = (
            f"`{name}` is defined {_interval(low, high, with_ends)}, and {_some(outside)} "
            f"arguments are outside; the farthest is {farthest:.3g}."
        )
        negative = _some(x < 0)
        if low == 0 and math.isinf(high) and negative:
            reason = f"{negative} arguments of `{name}` are negative, down to {farthest:.3g}."
        edit = self._into_domain(name, low, high, farthest)
        if self.phase == "backward":
            reason += " Its derivative is not defined there, even where the result is not used."
            edit = "replace such arguments before the operation, not its results after it."
        yield "outside the domain", reason, edit

    def _into_domain(self, name: str, low: float, high: float, farthest: float) -> str:
        """What brings the arguments of an operation to where it is defined."""
        if math.isfinite(high):
            bounds = f"{_short(low + 1e-6)}, {_short(high - 1e-6)}"
            return f"bring the argument into that range, or bound it by `.clamp({bounds})`."
        # So that the derivative of a root stays finite, too.
        edit = f"bound the argument by `.clamp(min={_short(low + 1e-6 if low else 1e-8)})`."
        if name not in _LOGARITHMS:
            return edit
        if farthest < -1e-5:
            before = "put a softmax, sigmoid or softplus before it, whose results are positive, or "
            edit = before + edit
        return self._without_logarithm() or edit

    def _half_overflow(self) -> Found:
        if not _are_half(self.call.results):
            return
        edit = "take bfloat16 in the place of float16, which has the range of float32."
        calls = [*self.observer.upstream(self.call), self.call]
        made = [c for c in calls if _are_half(c.results) and not _are_half(c.inputs)]
        if self.trainer.arithmetic.dtype == torch.float16:
            self._helps(Change("precision", "bf16-mixed"))
            edit = 'train with precision="bf16-mixed", which has the range of float32.'
        elif _are_half(self.repetition.parameters.values()):
            edit = "leave the model's parameters in float32, without `.half()`."
        # What is in float16 because the code says so is not changed by a setting.
        elif made and made[0].line is not None:
            edit = (
                f"take bfloat16, which has the range of float32, where `{made[0].name}` makes "
                f"float16 in {made[0].line}; or leave all in float32."
            )
        yield "float16 overflow", "float16 ends at 65504, and the result is larger.", edit

    def _outlier(self) -> Found:
        sizes = [step.largest_input for step in self.steps]
        now = max([self.at.largest_input, *sizes[-1:]])
        usual = sorted(sizes[:-1])[len(sizes[:-1]) // 2] if len(sizes) > 1 else math.nan
        if now >= _BLOWN_UP * usual > 0:
            yield (
                "bad input value",
                f"The largest number in the batch of this step or the one before is {now:.3g}, and "
                f"{usual:.3g} is usual.",
                "leave that example out, or correct it.",
            )

    def _unbounded(self) -> Found:
        """A loss that falls below every number, where each smaller rate only takes longer."""
        losses = [step.loss for step in self.steps if math.isfinite(step.loss)]
        if losses and losses[-1] <= min(-(_BLOWN_UP**2), min(losses) / 2):
            yield (
                "loss without a bound",
                f"The loss fell and fell, down to {losses[-1]:.3g}: it has no least value that a "
                f"training could come to, at any learning rate.",
                "look at the sign of the loss, or bound the part of it that falls without end.",
            )

    def _rate(self) -> Found:
        if not self.at.lr or not (self.steps or self._is_in_update()):
            return
        norms = [s.gradient_norm for s in (*self.steps, self.at)]
        norms = [norm for norm in norms if math.isfinite(norm) and norm > 0]
        low = norms.index(min(norms)) if norms else 0
        rising = norms[low:]
        # It is no growth if the gradients had been as large before.
        blown = len(rising) > 2 and rising[-2] >= 10 * rising[0]
        blown = blown and rising[-1] >= _BLOWN_UP * max(norms[: low + 1])
        size = self.at.largest_parameter
        if not blown and size < _BLOWN_UP**2 and not self._is_in_update():
            return
        rate = self.at.lr
        reason = f"The largest number in a parameter had the size {size:.3g}."
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
            if is_steady and self._is_quadratic():
                # With gradient descent on a quadratic, the gradient along the steepest direction
                # is multiplied by 1 - lr * curvature in each step.
                edit = f"lr={rounded_down(rate / 10)}, a tenth of {rate:g}."
                if factor > 9:
                    edit = (
                        f"lr={rounded_down(rate / (1 + factor))}, because a gradient that grows "
                        f"{factor:.3g}-fold needs a rate so much smaller."
                    )
        yield from self._too_high(rate, reason, edit)

    def _too_high(self, rate: float, reason: str, edit: str) -> Found:
        """That a rate is too high, if a smaller one helps, beginning with that of an edit.

        Where there was no time to try it, it is proposed as it is.
        """
        raised = self._raised(rate)
        text = edit.partition("lr=")[2].split()[0].strip(",.;")
        lower = [float(rounded_down(float(text) / divisor)) for divisor in (1, 10, 100)]
        changes = [Change("lr", value) for value in dict.fromkeys(lower) if 0 < value < rate]
        helping = self._helps(*changes)
        if helping is None and self.trials.told(changes):
            return
        if helping is not None and helping is not changes[0]:
            larger = " and ".join(f"{c.value:g}" for c in changes[: changes.index(helping)])
            edit = f"lr={helping.value:g}, with which it does not happen; with {larger} it does."
        if helping is not None and raised:
            edit = f"let the {self._scheduler} give rates up to {helping.value:g} only."
        yield "rate too high", reason + raised, edit

    def _raised(self, rate: float) -> str:
        """That a scheduler had raised the rate, if it had."""
        rates = [step.lr for step in self.steps if step.lr] + [
            group["initial_lr"] for group in groups_of(self.trainer.optim) if "initial_lr" in group
        ]
        if not self._scheduler or not rates or min(rates) >= rate / 2:
            return ""
        return f" The {self._scheduler} had raised the learning rate to {rate:g}."

    def _is_quadratic(self) -> bool:
        """Whether it is plain gradient descent, and outputs are linear in what it trains."""
        optimizer = self.trainer.optim
        is_plain = isinstance(optimizer, SGD)
        if isinstance(optimizer, torch.optim.SGD):
            is_plain = not any(group["momentum"] for group in optimizer.param_groups)
        return is_plain and sum(p.dim() > 1 for p in self.repetition.parameters.values()) <= 1

    def _exponential(self) -> Found:
        call, x = self.call, self._argument(0)
        if call.name not in _EXPONENTIALS or x is None:
            return
        x = x if x.is_floating_point() else x.float()
        limit = math.log(torch.finfo(x.dtype).max) / _EXPONENTIALS[call.name]
        if float((x.abs() if call.name in ("sinh", "cosh") else x).max()) <= limit:
            return
        # Squared, it is to be finite as well.
        edit = "bound the argument first, as by `.clamp(max=20)`."
        sums = self._uses(call, "sum", "mean")
        if any(self._uses(each, *_LOGARITHMS) for each in sums):
            edit = (
                "take `torch.logsumexp`, which takes the largest argument off before the "
                "exponential (of a mean, take off the logarithm of their number as well)."
            )
        elif sums and x.dim() > 1 and x.shape[-1] > 1:
            edit = _LARGEST_OFF
        reason = (
            f"The argument of `{call.name}` reached {float(x.max()):.4g}, and "
            f"{str(x.dtype).removeprefix('torch.')} overflows beyond {limit:.1f}."
        )
        yield "exp overflow", reason, edit

    def _uses(self, made: Call, *names: str) -> list[Call]:
        """The calls of some operations that were given what a call made."""
        return [
            call
            for call in self.observer.calls[made.index + 1 :]
            if call.name in names and any(t is r for t in call.inputs for r in made.results)
        ]

    def _logarithm(self) -> Found:
        x, name = self._argument(0), self.call.name
        if name not in _LOGARITHMS or x is None or not (x == 0).any():
            return
        reason = f"{_some(x == 0)} arguments of `{name}` are 0."
        edit = self._without_logarithm() or "add a small number to the argument, such as 1e-8."
        calls = [*self.observer.upstream(self.call), self.call]
        is_of_model = any(tensor.requires_grad for call in calls for tensor in call.inputs)
        if self.phase != "update" and not is_of_model:
            reason += " No parameter has a part in them: they come from the data."
            if not bool((x < 0).any()):
                edit = f"take `torch.log1p` in the place of `{name}`: it is finite at 0."
        yield "log of zero", reason, edit

    def _without_logarithm(self) -> str | None:
        """The loss that needs no logarithm, if this one is of a probability."""
        before = {call.name for call in self.observer.upstream(self.call)}
        labels = tensors_in(self.repetition.batch)[-1:]
        if "sigmoid" in before and not before & _SOFTMAXES:
            return _BINARY_CROSS_ENTROPY
        has_classes = bool(labels) and not labels[0].is_floating_point()
        is_of_classes = bool(before & (_SOFTMAXES | {"exp"})) or self._uses(self.call, "nll_loss")
        return _CROSS_ENTROPY if has_classes and is_of_classes else None

    def _derivative(self) -> Found:
        if self.node is not None and not largest(self.observer.incoming) > _BLOWN_UP**4:
            yield (
                "infinite derivative",
                f"The derivative of `{self.call.name}` is infinite or not defined at one of its "
                f"arguments.",
                "keep its argument away from there, as by `.clamp()` or a small number added to "
                "it.",
            )

    def _overflow(self) -> Found:
        call, at = self.call, self.at
        if self.source is not None:
            yield (
                "unknown",
                "A tensor that is not of the batch, and that no operation of this step made, "
                "holds NaN or infinity.",
                "look at the tensors and buffers that the model keeps.",
            )
        size = largest(call.inputs if self.node is None else self.observer.incoming)
        given = (
            "" if math.isnan(size) else f"`{self.operation}` was given numbers up to {size:.3g}. "
        )
        if size <= _MODEST and self.node is None and _are_nan(call.results):
            reason = f"{given}`{self.operation}` is not defined for some of them."
            edit = "look at what it is given, and keep it to where the operation is defined."
            yield "outside the domain", reason, edit
        if self.phase == "forward" and call is _NO_CALL:
            yield (
                "unknown",
                "No operation gave a wrong number when all were looked at one by one. PyTorch has "
                "faster ways for some layers, such as attention in evaluation, which it does not "
                "take then.",
                "look at such layers: a row of attention that is masked from end to end is NaN.",
            )
        reason = (
            f"{given}The largest number in the batch had the size {at.largest_input:.3g}, the "
            f"largest in a parameter {at.largest_parameter:.3g}."
        )
        yield from self._too_large(reason)
        where = "the model and its loss"
        if call is not _NO_CALL:
            line = f" in {call.line}" if call.line else ""
            layer = f" of layer {call.layer}" if call.layer else ""
            where = f"`{self.operation}`{layer}{line}"
        no = "nothing that was tried helps. L" if self._changes else "l"
        edit = f"{no}ook at the numbers that are given to {where}: they become too large."
        yield "overflow", reason, edit

    def _too_large(self, reason: str) -> Found:
        """What was too large from the beginning, as far as it helps to make it smaller."""
        at = self.at
        if at.largest_input > _BLOWN_UP and self._helps(Change("inputs")):
            edit = "scale the inputs and targets to a mean of 0 and a deviation of 1."
            yield "inputs too large", reason, edit
        for call in self.observer.calls:
            factor = _factor(call)
            if factor is not None and call.line is not None:
                yield (
                    "bad constant",
                    f"{reason} `{_symbol(call)}` in {call.line}, is given the number {factor:g} by "
                    f"the code itself.",
                    "take a number there that is nearer to 1.",
                )
        if self.trials.is_from_first_step and self._helps(Change("weights")):
            edit = (
                "begin with smaller weights, by `nn.init.xavier_uniform_` for each matrix "
                "(book: 5.4.2)."
            )
            yield "initial weights too large", reason, edit
        is_tried = any(change.name == "lr" for change in self._changes)
        if at.lr and at.lr > 0 and at.step > 1 and not is_tried:
            yield from self._too_high(at.lr, reason, smaller_rate(self.trainer.optim, at.lr))

    def _argument(self, place: int) -> torch.Tensor | None:
        """An argument of the call, a number as a tensor."""
        value = self.call.args[place] if len(self.call.args) > place else None
        is_number = isinstance(value, torch.Tensor | int | float)
        return torch.as_tensor(value).detach() if is_number else None


def _symbol(call: Call) -> str:
    return _SYMBOLS.get(call.name, call.name)


def _factor(call: Call) -> float | None:
    """A factor or divisor that the code gives and that makes a number far larger."""
    sizes = [abs(number) for number in call.numbers if number]
    if call.name in ("mul", "rmul"):
        return next((size for size in sizes if size >= _BLOWN_UP**2), None)
    if call.name in ("div", "truediv", "true_divide"):
        return next((size for size in sizes if size <= _BLOWN_UP**-2), None)
    return None


def _masked_dim(call: Call, x: torch.Tensor) -> int:
    """The dimension along which an operation takes a softmax."""
    if call.name == "cross_entropy":
        return min(1, x.dim() - 1)
    dim = call.kwargs.get("dim", call.args[1] if len(call.args) > 1 else -1)
    return dim if call.name in _SOFTMAXES and type(dim) is int else -1


def _wrong_result(call: Call) -> torch.Tensor:
    return next(t for t in call.results if not are_finite([t]))


def _are_nan(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether any number of some tensors is NaN."""
    return any(bool(tensor.isnan().any()) for tensor in tensors)


def _are_half(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether any of some tensors is in float16."""
    return any(tensor.dtype == torch.float16 for tensor in tensors)


def _some(is_so: torch.Tensor) -> str:
    """Of how many numbers something is so, as "3 of 5"; empty if of none."""
    num = int(is_so.sum())
    return f"{num} of {is_so.numel()}" if num else ""


def _first_wrong(tensor: torch.Tensor, name: str = "") -> tuple[str, Any, str]:
    """The place and value of a tensor's first wrong number, and of how many it is the first."""
    where = (~tensor.isfinite()).nonzero()
    index = where[0].tolist()
    place = f"{name}[{', '.join(map(str, index))}]" if index else name
    more = f", the first of {len(where)} such numbers" if len(where) > 1 else ""
    return place, tensor.detach()[tuple(index)].item(), more


def _short(number: float) -> str:
    return f"{number:.7g}".replace("e-0", "e-")


def _interval(low: float, high: float, with_ends: bool) -> str:
    if math.isfinite(high):
        return f"from {low:g} to {high:g}" if with_ends else f"between {low:g} and {high:g}"
    return f"from {low:g} on" if with_ends else f"above {low:g}"


def smaller_rate(optimizer: Any, rate: float, growth: float = 0.0) -> str:
    """A rate to try instead of one that is too high, and why it is that one.

    `growth` is the factor by which the gradient norm grew in the first step. Later steps tell
    nothing about a network, whose curvature grows with its weights.
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
