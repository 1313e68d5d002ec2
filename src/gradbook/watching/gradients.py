"""The gradients, weights and activations of each layer, sampled while a model trains.

A few steps of each epoch are looked at. Nothing hangs on the model in the others, so they cost
what they cost without a watcher. Book: 5.4.1 (sec_numerical_stability).
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from gradbook.checks import check_whole_number
from gradbook.display.finding import Finding
from gradbook.display.table import Table
from gradbook.errors import (
    ConfigError,
    CorruptFileError,
    GradbookError,
    GradbookWarning,
    IgnoredSettingWarning,
    MissingExtraError,
    warn,
)
from gradbook.record import Sink
from gradbook.storage import inside, write_atomically

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gradbook.board import ProgressBoard
    from gradbook.trainer import Trainer

#: At most so many steps of an epoch are sampled, and at most one in so many; but always the last.
MOST_SAMPLES, DENSEST = 8, 24

#: What counts as a fault; docs/gradients.md says why.
VANISHED = 1e-3  # the first layer's gradient, as a part of the last one's
EXPLODED = 10.0  # the same, as a multiple
GROWN, LARGE = 1000.0, 100.0  # all gradients of a step: as a multiple of the first's, and at least
DEAD = 0.4  # the part of a layer's units, and in a narrow layer a little more
SATURATED = 0.5  # the part of a layer's units
#: A sigmoid or tanh is saturated where its slope is below this part of its largest.
FLAT = 0.05

#: The names of the files in a run's folder.
FILES = ("gradients.svg", "gradients.png", "gradients.json")

Kind = Literal["vanishing", "exploding", "dead", "saturated"]


@dataclass(frozen=True)
class LayerRow:
    """One layer in one epoch: means over the steps that were sampled.

    What could not be seen is NaN: a gradient of a frozen layer, the activations of a model that
    is compiled.

    Attributes:
        epoch: The epoch, from 1.
        layer: Where it is in the model, as "net.1", or its parameter's name, as "W1".
        kind: Its class, as "Linear"; "" for a parameter of the model's own.
        num_weights: The elements of its parameters.
        is_matrix: Whether it has a parameter of two or more dimensions.
        num_steps: The steps sampled.
        grad_norm: The Euclidean norm of its gradient before clipping.
        weight_norm: That of its parameters.
        update_ratio: The norm of a step's change divided by that of the parameters.
        activation_rms: The root mean square of its output, after the activation function.
        function: The activation function that follows it: "relu", "sigmoid" or "tanh", or "".
        num_units: The outputs of that function for an example, or its channels.
        num_examples: For how many examples they were looked at, toward the end of the epoch.
        dead: The part of the units whose ReLU gave 0 for all of these examples.
        saturated: The part of the units whose sigmoid or tanh had less than 5% of its largest
            slope for most of these examples.
    """

    epoch: int
    layer: str
    kind: str
    num_weights: int
    is_matrix: bool
    num_steps: int
    grad_norm: float
    weight_norm: float
    update_ratio: float
    activation_rms: float
    function: str
    num_units: int
    num_examples: int
    dead: float
    saturated: float

    @property
    def grad_rms(self) -> float:
        """The gradient's root mean square over the weights: layers of any width compare."""
        return self.grad_norm / math.sqrt(self.num_weights)

    @property
    def title(self) -> str:
        """The layer and its class."""
        return f"{self.layer} ({self.kind})" if self.kind else self.layer


@dataclass(frozen=True)
class Symptom:
    """One thing that is wrong.

    Attributes:
        kind: "vanishing", "exploding", "dead" or "saturated".
        layer: Where it begins or is worst.
        epoch: When it was first seen, from 1.
        text: What to say of it, with the usual remedies.
    """

    kind: Kind
    layer: str
    epoch: int
    text: str


class GradientReport(Finding):
    """What was seen of each layer in each epoch, and what is wrong with it.

    Book: 5.4.1 (sec_numerical_stability).

    Args:
        rows: What was seen, epoch after epoch, the layers from input to output.
        totals: The steps sampled, each as (epochs gone by, norm of all gradients together before
            clipping).
        clip: The `gradient_clip_val` of the trainer.
        lr: The learning rate of the model, if it has one.
    """

    def __init__(
        self,
        rows: Iterable[LayerRow] = (),
        totals: Iterable[tuple[float, float]] = (),
        clip: float = 0,
        lr: Any = None,
    ) -> None:
        self.rows, self.totals = list(rows), list(totals)
        self.clip, self.lr = clip, lr

    @property
    def epochs(self) -> list[int]:
        """The epochs that were looked at, from 1."""
        return list(dict.fromkeys(row.epoch for row in self.rows))

    @property
    def findings(self) -> list[Symptom]:
        """What is wrong, each kind once, where it was first seen; empty if nothing is."""
        found: dict[Kind, Symptom] = {}
        for epoch in self.epochs:
            rows = [row for row in self.rows if row.epoch == epoch]
            for symptom in (
                self._exploding(rows),
                self._dead(rows),
                self._vanishing(rows),
                self._saturated(rows),
            ):
                if symptom is not None:
                    found.setdefault(symptom.kind, symptom)
        return list(found.values())

    def to_pandas(self) -> "pandas.DataFrame":
        """The rows as a DataFrame with the columns of `LayerRow`.

        Raises:
            MissingExtraError: If pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise MissingExtraError.of("pandas", "A table as a DataFrame", "tabular") from None
        return pd.DataFrame([{**asdict(row), "grad_rms": row.grad_rms} for row in self.rows])

    def facts(self) -> dict[str, Any]:
        """All of it as plain values, for JSON; NaN stays NaN."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "totals": [list(total) for total in self.totals],
            "clip": self.clip,
            "lr": self.lr if isinstance(self.lr, float | int) else None,
            "findings": [asdict(symptom) for symptom in self.findings],
        }

    def keep(self, folder: Path) -> None:
        """Writes figure and numbers into the folder of a run: see `FILES`.

        Raises:
            StorageError: If a file cannot be written.
        """
        *pictures, numbers = (inside(folder, name) for name in FILES)
        if any(math.isfinite(row.weight_norm) for row in self.rows):
            self.save(*pictures)
        text = json.dumps(_without_nan(self.facts()), allow_nan=False, indent=1) + "\n"
        write_atomically(numbers, text.encode())

    @classmethod
    def read(cls, folder: Path) -> "GradientReport":
        """What `keep` wrote into a folder. An infinite number comes back as NaN.

        Raises:
            ConfigError: If there is nothing.
            CorruptFileError: If the file is damaged.
        """
        path = Path(folder, FILES[-1])
        try:
            facts = json.loads(path.read_bytes())
            rows = [LayerRow(**_with_nan(row)) for row in facts["rows"]]
            totals = [(x, math.nan if total is None else total) for x, total in facts["totals"]]
            return cls(rows, totals, facts["clip"], facts["lr"])
        except FileNotFoundError:
            raise ConfigError(f"There is no {path}. Train with watch='gradients'.") from None
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptFileError(
                f"{path} cannot be read: {error!r}. It is damaged; a training that is watched "
                f"again writes it anew."
            ) from error

    # What is wrong

    def _vanishing(self, rows: Sequence[LayerRow]) -> Symptom | None:
        layers = _comparable(rows)
        if not _is_systematic(layers, VANISHED):
            return None
        if self._dead(rows) is not None:
            return None  # nothing comes through dead units: that is said already
        first, last = layers[0], layers[-1]
        ratio = first.grad_rms / last.grad_rms
        begins = next(
            index for index, row in enumerate(layers) if row.grad_rms >= last.grad_rms * VANISHED
        )
        start = layers[begins - 1]
        return Symptom(
            "vanishing",
            start.layer,
            first.epoch,
            f"Vanishing gradients in epoch {first.epoch}: from layer to layer on the way back "
            f"they shrink to {_each(ratio, layers):.2g} of their size, so that a weight of "
            f"{first.title} gets {ratio:.1e} of what one of {last.title} gets. It begins at "
            f"{start.title}, layer {begins} of {len(layers)}: from there to the input it is less "
            f"than a thousandth, and the layers hardly learn. Usual remedies: ReLU in the place "
            f"of sigmoid or tanh, Xavier or He initialization (book 5.4), batch normalization, "
            f"residual connections.",
        )

    def _exploding(self, rows: Sequence[LayerRow]) -> Symptom | None:
        epoch, layers = rows[0].epoch, _comparable(rows)
        remedies = "Usual remedies: smaller initial weights (Xavier or He, book 5.4), "
        if self.clip:
            clipped = f" These are norms before clipping to {self.clip:g}, which hides them."
            remedies += "a smaller learning rate, batch normalization."
        else:
            clipped = ""
            remedies += (
                "a smaller learning rate, clipping (gradient_clip_val=1), batch normalization."
            )
        if _is_systematic(layers, EXPLODED):
            first, last = layers[0], layers[-1]
            ratio = first.grad_rms / last.grad_rms
            return Symptom(
                "exploding",
                first.layer,
                epoch,
                f"Exploding gradients in epoch {epoch}: from layer to layer on the way back they "
                f"grow to {_each(ratio, layers):.2g} times their size, so that a weight of "
                f"{first.title} gets {ratio:.3g} times what one of {last.title} gets.{clipped} "
                f"{remedies}",
            )
        totals = [(x, total) for x, total in self.totals if x < epoch]
        if not totals:
            return None
        limit = max(totals[0][1] * GROWN, LARGE)
        grown = next(((x, total) for x, total in totals if not total < limit), None)
        if grown is None or grown[0] < epoch - 1:
            return None
        x, total = grown
        worst = max(rows, key=lambda row: -1 if math.isnan(row.grad_rms) else row.grad_rms)
        became = f"{total:.3g}" if math.isfinite(total) else "no finite number any more"
        return Symptom(
            "exploding",
            worst.layer,
            epoch,
            f"Exploding gradients in epoch {epoch}: the norm of all gradients together was "
            f"{totals[0][1]:.3g} in the first step and is {became} after {x:.3g} epochs."
            f"{self._rate()}{clipped} {remedies}",
        )

    def _dead(self, rows: Sequence[LayerRow]) -> Symptom | None:
        worst, others = _affected(rows, _dead_part, DEAD)
        if worst is None:
            return None
        return Symptom(
            "dead",
            worst.layer,
            worst.epoch,
            f"Dead ReLUs in epoch {worst.epoch}: {worst.dead:.0%} of the {worst.num_units} units "
            f"of {worst.title} gave 0 for each of {worst.num_examples} examples{others}. Where a "
            f"ReLU gives 0 no gradient passes, so these units learn no more. Usual remedies: a "
            f"smaller learning rate, He initialization (book 5.4), leaky ReLU (book 5.1)."
            f"{self._rate()}",
        )

    def _saturated(self, rows: Sequence[LayerRow]) -> Symptom | None:
        worst, others = _affected(rows, lambda row: row.saturated, SATURATED)
        if worst is None:
            return None
        name = {"sigmoid": "sigmoids", "tanh": "tanh units"}[worst.function]
        return Symptom(
            "saturated",
            worst.layer,
            worst.epoch,
            f"Saturated {name} in epoch {worst.epoch}: {worst.saturated:.0%} of the "
            f"{worst.num_units} units of {worst.title} are where the slope is below {FLAT:.0%} of "
            f"its largest, for most of {worst.num_examples} examples{others}. Little gradient "
            f"passes there. Usual remedies: smaller initial weights (Xavier, book 5.4), a smaller "
            f"learning rate, inputs of about unit size, batch normalization, ReLU.",
        )

    def _rate(self) -> str:
        return f" Here lr={self.lr:g}." if isinstance(self.lr, float | int) else ""

    # How it is shown

    def __str__(self) -> str:
        if not self.rows:
            return "Gradients: no step was sampled."
        last = [row for row in self.rows if row.epoch == self.epochs[-1]]
        shown: dict[str, Callable[[LayerRow], str]] = {
            "layer": lambda row: row.title,
            "gradient": lambda row: _number(row.grad_norm),
            "weight": lambda row: _number(row.weight_norm),
            "update/weight": lambda row: _number(row.update_ratio),
            "activation": lambda row: _number(row.activation_rms),
            "dead": lambda row: _percent(row.dead),
            "saturated": lambda row: _percent(row.saturated),
        }
        table = Table(list(shown), [[cell(row) for cell in shown.values()] for row in last])
        steps = last[0].num_steps
        head = f"gradients in epoch {last[0].epoch}, means of {steps} sampled steps"
        parts = [head.removesuffix("s") if steps == 1 else head, repr(table)]
        parts += [symptom.text for symptom in self.findings]
        return "\n\n".join(parts)

    def figure(self) -> "Figure":
        """Draws gradient, update, activation and lost units against the layers, epoch by epoch."""
        from matplotlib import colormaps
        from matplotlib.figure import Figure
        from matplotlib.ticker import PercentFormatter

        layers = list(dict.fromkeys(row.layer for row in self.rows))
        places = {layer: place for place, layer in enumerate(layers)}
        figure = Figure(figsize=(9, 5.6), layout="constrained")
        axes = list(figure.subplots(2, 2, sharex=True).flat)
        panels: list[tuple[Axes, str, Callable[[LayerRow], float]]] = [
            (axes[0], "gradient (RMS per weight)", lambda row: row.grad_rms),
            (axes[1], "update / weight, a step", lambda row: row.update_ratio),
            (axes[2], "activation (RMS)", lambda row: row.activation_rms),
        ]
        epochs = _spread(self.epochs, 5)
        colors = colormaps["viridis"]([0.85 * i / max(len(epochs) - 1, 1) for i in range(5)])
        for index, epoch in enumerate(epochs):
            rows = [row for row in self.rows if row.epoch == epoch]
            is_finite = any(math.isfinite(row.grad_norm) for row in rows)
            look: dict[str, Any] = {"color": colors[index], "ls": _STYLES[index], "ms": 4}
            look["label"] = f"epoch {epoch}{'' if is_finite else ' (no finite gradient)'}"
            for panel, _, value in panels:
                ys = [value(row) if 0 < value(row) < math.inf else math.nan for row in rows]
                xs = [places[row.layer] for row in rows]
                panel.plot(xs, ys, marker="o", **look)
            for part, marker in (("dead", "o"), ("saturated", "s")):
                lost = [row for row in rows if math.isfinite(getattr(row, part))]
                xs, ys = [places[row.layer] for row in lost], [getattr(row, part) for row in lost]
                axes[3].plot(xs, ys, marker=marker, **look)
        for panel, label, _ in panels:
            panel.set(ylabel=label)
            _scale(panel)
        lost_kinds = [
            name
            for name in ("dead", "saturated")
            if any(math.isfinite(getattr(row, name)) for row in self.rows)
        ]
        axes[3].set(ylabel=f"{' or '.join(lost_kinds) or 'dead or saturated'} units")
        if not lost_kinds:
            place = {"ha": "center", "va": "center", "transform": axes[3].transAxes}
            axes[3].text(0.5, 0.5, "no ReLU, sigmoid or tanh was seen", **place)
        axes[3].set_ylim(-0.03, 1.03)
        axes[3].yaxis.set_major_formatter(PercentFormatter(1))
        for panel in axes:
            panel.grid(True, alpha=0.4)
        for panel in axes[2:]:
            shown = _spread(range(len(layers)), 12)
            names = [layers[place] for place in shown]
            panel.set_xticks(
                list(shown), names, rotation=0 if len(names) < 6 else 45, parse_math=False
            )
            panel.set(xlabel="layer, from input to output", xlim=(-0.5, len(layers) - 0.5))
        figure.legend(handles=axes[0].lines, loc="outside upper center", ncols=5, frameon=False)
        return figure


# Judging


def _comparable(rows: Sequence[LayerRow]) -> list[LayerRow]:
    """The layers with a weight matrix and a gradient; a layer's mere scales are of another size."""
    return [row for row in rows if row.is_matrix and math.isfinite(row.grad_norm)]


def _is_systematic(layers: Sequence[LayerRow], threshold: float) -> bool:
    """Whether the gradient changes on the way back by `threshold`, and not only at the input.

    The first layer's gradient grows with the inputs, which may be in any unit. So from the last
    layer to the second it must have changed by the threshold's square root.
    """
    if len(layers) < 3 or not layers[-1].grad_rms:
        return False
    first, second, last = layers[0].grad_rms, layers[1].grad_rms, layers[-1].grad_rms
    if threshold < 1:
        return first < last * threshold and second < last * math.sqrt(threshold)
    return first > last * threshold and second > last * math.sqrt(threshold)


def _affected(
    rows: Sequence[LayerRow], part: Callable[[LayerRow], float], threshold: float
) -> tuple[LayerRow | None, str]:
    """The hidden layer of which the largest part is lost, and what to say of the others."""
    matrices = [index for index, row in enumerate(rows) if row.is_matrix]
    # What a last sigmoid gives are probabilities: near 0 and 1 is where they belong.
    hidden = rows[: matrices[-1]] if matrices else []
    lost = sorted((row for row in hidden if part(row) >= threshold), key=part, reverse=True)
    if not lost:
        return None, ""
    told = [f"{_lost(row):.0%} of {row.layer}" for row in lost[1:3]]
    more = [f"more in {len(lost) - 3} further layers"] if len(lost) > 3 else []
    return lost[0], f" ({'; '.join([*told, *more])})" if told else ""


def _each(ratio: float, layers: Sequence[LayerRow]) -> float:
    """What one layer contributes to a ratio of all."""
    return float(ratio ** (1 / (len(layers) - 1)))


def _lost(row: LayerRow) -> float:
    return row.saturated if math.isnan(row.dead) else row.dead


def _dead_part(row: LayerRow) -> float:
    """The part that is dead, less what chance alone may add in a layer of few units."""
    return row.dead - 0.5 / math.sqrt(max(row.num_units, 1))


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0%}"


def _spread(items: Sequence[int], most: int) -> list[int]:
    """At most so many of the items, evenly, the last among them, and the first if there are two."""
    if len(items) <= most or most == 1:
        return list(items[-most:])
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _with_nan(row: dict[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None else value for name, value in row.items()}


def _scale(axes: "Axes") -> None:
    """Makes the vertical axis logarithmic where values differ much, else begin at 0."""
    drawn: list[Any] = [line.get_ydata() for line in axes.lines]
    values = [float(y) for ys in drawn for y in ys if math.isfinite(y)]
    if values and max(values) > 30 * min(values):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


# Watching


class GradientWatcher(Sink):
    """Samples a training, and leaves a `GradientReport` in `trainer.gradients`.

    `Trainer(watch="gradients")` makes one. What is wrong is said in a warning when the training
    is over, and added to `trainer.findings`. The training itself is not changed by a bit.

    Args:
        every_n_steps: Sample each epoch's first step, and then one in so many. None takes up to
            8 steps spread over the epoch, at most one in 24; its last step is always one, and the
            first of the training.

    Attributes:
        report: What was seen, epoch by epoch.
    """

    def __init__(self, every_n_steps: int | None = None) -> None:
        if every_n_steps is not None:
            check_whole_number(every_n_steps, "every_n_steps", at_least=1)
        self.every_n_steps = every_n_steps
        self.report = GradientReport()
        self._trainer: Trainer | None = None
        self._due: list[int] = []
        self._step: _SampledStep | None = None
        self._steps: list[_SampledStep] = []
        self._layers: list[_Layer] | None = None
        self._modules: set[int] | None = None

    def open(self, board: "ProgressBoard", trainer: "Trainer | None" = None) -> None:
        """Begins, or goes on with what the resumed run has seen."""
        if trainer is None:
            raise ConfigError(
                "A GradientWatcher looks at a training. Use Trainer(watch='gradients')."
            )
        self._trainer = trainer
        self.report = trainer.gradients = GradientReport(
            clip=trainer.gradient_clip_val, lr=getattr(trainer.model, "lr", None)
        )
        resumed = trainer.resumption
        if resumed is not None and resumed.folder is not None:
            with suppress(GradbookError):  # it was not watched before
                before, done = GradientReport.read(resumed.folder), trainer.position.epoch
                self.report.rows = [row for row in before.rows if row.epoch <= done]
                self.report.totals = [total for total in before.totals if total[0] < done]
        self._layers = None
        modules = [each for _, held in _modules_held(trainer.model) for each in held.modules()]
        self._modules = {id(module) for module in modules}
        if any(map(_is_compiled, modules)):
            self._modules = None
            warn(
                "The network is compiled, so that the outputs of its layers cannot be seen: dead "
                "and saturated units are not looked for. Gradients and weights are.",
                IgnoredSettingWarning,
            )
        self._begin_epoch(trainer)

    def end_step(self, trainer: "Trainer") -> None:
        """Reads a sampled step, and prepares the next if it is to be one."""
        if self._step is not None:
            self._step.finish()
            self._steps.append(self._step)
            self._step = None
        done = trainer.position.batches
        if self._due and self._due[0] < done + trainer.accumulate_grad_batches:
            self._prepare(trainer, done)

    def end_epoch(self, trainer: "Trainer") -> None:
        """Reads what was sampled: the one synchronisation."""
        self._read(trainer.position.epoch)
        if trainer.position.epoch < trainer.max_epochs:
            self._begin_epoch(trainer)

    def close(self, status: str) -> None:
        """Says what is wrong."""
        trainer, self._trainer = self._trainer, None
        if trainer is None:  # it was not opened
            return
        self._read(trainer.position.epoch + 1)  # the part of an epoch that was not finished
        texts = [symptom.text for symptom in self.report.findings]
        trainer.findings = [*trainer.findings, *texts]
        for text in texts if status != "failed" else ():
            warn(text, GradbookWarning)

    def _begin_epoch(self, trainer: "Trainer") -> None:
        is_first = trainer.position.epoch == 0
        self._due = _places(trainer.num_train_batches, self._stride(trainer), is_first)
        done = trainer.position.batches  # not 0 where an epoch is gone on with
        while self._due and self._due[0] < done:
            self._due.pop(0)
        if self._due and self._due[0] < done + trainer.accumulate_grad_batches:
            self._prepare(trainer, done)

    def _stride(self, trainer: "Trainer") -> int | None:
        every = self.every_n_steps
        return None if every is None else every * trainer.accumulate_grad_batches

    def _prepare(self, trainer: "Trainer", done: int) -> None:
        while self._due and self._due[0] < done + trainer.accumulate_grad_batches:
            self._due.pop(0)
        if done < trainer.num_train_batches:
            place = trainer.position.epoch + done / trainer.num_train_batches
            if self._layers is None:
                layers = _layers_of(trainer.model, trainer.optim)
                if not _is_lazy(trainer.model, trainer.optim):  # else some have no shape yet
                    self._layers = layers
            else:
                layers = self._layers
            self._step = _SampledStep(trainer, place, layers, self._modules)

    def _read(self, epoch: int) -> None:
        """Makes rows of the steps that were sampled, and lets go of all that was prepared."""
        if self._step is not None:
            self._step.release()
            self._step = None
        steps, self._steps = self._steps, []
        if steps:
            rows, totals = _summary(steps, epoch)
            self.report.rows += rows
            self.report.totals += totals


def _places(num_batches: int, every: int | None, is_first: bool) -> list[int]:
    """Which batches of an epoch are sampled; the first epoch is the one that begins a training."""
    if every is not None:
        return list(range(0, num_batches, every))
    most = max(min(MOST_SAMPLES, num_batches // DENSEST), 2 if is_first else 1)
    return _spread(range(num_batches), most)


# One sampled step


@dataclass(frozen=True)
class _Layer:
    """A layer's place, class and parameters."""

    name: str
    kind: str
    params: list[torch.Tensor]

    @property
    def is_matrix(self) -> bool:
        return any(param.dim() > 1 for param in self.params)


class _SampledStep:
    """Sees what happens in one step of a training.

    From when it is made until `finish` or `release`, each parameter tells when its gradient is
    complete, which is before it can be clipped, and the calls of the model are observed.

    Args:
        trainer: The trainer, between two steps.
        place: How many epochs have gone by.
        layers: The layers, in the order in which the model lists them.
        modules: The ids of the modules whose calls are observed; None observes none.

    Attributes:
        seen: By (layer, what), tensors that are still on their devices: of "gradient", "weight"
            and "update" the norms for each parameter, of "activation" the mean square for each
            call, and of "useful" for each unit the part of the examples for which it was neither
            0 nor flat.
        functions: By layer, the activation function that follows it.
        num_examples: The examples in the step.
        order: The layers in the order in which they were called.
    """

    def __init__(
        self, trainer: Any, place: float, layers: list[_Layer], modules: set[int] | None
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
        self._calls: _ObservedCalls | None = None
        try:
            for layer in self.layers:
                for param in layer.params:
                    if param.requires_grad:
                        hook = param.register_post_accumulate_grad_hook
                        self._handles.append(hook(self._note_gradient))  # type: ignore[no-untyped-call]
            if modules is not None:
                self._calls = _ObservedCalls(modules, self)
        except BaseException:
            self.release()
            raise

    def note(self, layer: str, what: str, value: torch.Tensor) -> None:
        """Keeps something that was seen, without looking at it."""
        self.seen.setdefault((layer, what), []).append(value)

    def note_units(self, layer: str, function: str, useful: torch.Tensor, dim: int) -> None:
        """Keeps for which part of the examples each unit gave something to learn from."""
        others = [each for each in range(useful.dim()) if each != dim % useful.dim()]
        self.note(layer, "useful", useful.float().mean(dim=others))
        self.functions[layer] = function
        self.num_examples[layer] = self.num_examples.get(layer, 0) + len(useful)

    def finish(self) -> None:
        """Compares the weights with those before, and lets the model go."""
        self.release()
        for layer, before in zip(self.layers, self._before, strict=True):
            for param, old in zip(layer.params, before, strict=True):
                self.note(layer.name, "weight", _norm(old))
                self.note(layer.name, "update", _norm(param.detach() - old))
                gradient = self._gradients.get(id(param))
                if gradient is not None and self._scale is not None:
                    gradient = gradient / self._scale.to(gradient.device)
                if gradient is not None:
                    self.note(layer.name, "gradient", gradient)
        self._before, self._gradients = [], {}

    def release(self) -> None:
        """Takes back what was registered, whatever has happened."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._calls is not None:
            self._calls.release()
            self._calls = None

    def _note_gradient(self, param: torch.Tensor) -> None:
        if param.grad is not None:  # with accumulation, the last of several calls counts
            self._gradients[id(param)] = _norm(param.grad)


def _layers_of(model: Any, optimizer: Any) -> list[_Layer]:
    """The layers of a model: what each of its modules holds of its own.

    Where a module holds several matrices, as a scratch model's W1, b1, W2, b2 or an LSTM, each is
    a layer, with its vector.
    """
    layers: list[_Layer] = []
    taken: set[int] = set()
    for path, kind, own in _owners_of(model, optimizer):
        params = {
            name: param
            for name, param in own.items()
            if id(param) not in taken
            and not is_lazy(param)
            and param.is_floating_point()
            and (param.is_leaf or not param.requires_grad)
        }
        taken |= {id(param) for param in params.values()}
        matrices = [name for name, param in params.items() if param.dim() > 1]
        vectors = [name for name in params if name not in matrices]
        if len(matrices) < 2:
            if params:
                first = matrices[0] if matrices else vectors[0]
                layers.append(_Layer(path or first, kind, list(params.values())))
            continue
        together = {name: [params[name]] for name in matrices}
        names = list(params)
        for place, name in enumerate(vectors):
            if len(vectors) == len(matrices):
                matrix = matrices[place]
            else:
                before = [each for each in matrices if names.index(each) < names.index(name)]
                matrix = before[-1] if before else matrices[0]
            together[matrix].append(params[name])
        for name, each in together.items():
            layers.append(_Layer(f"{path}.{name}" if path else name, kind, each))
    return layers


def _owners_of(model: Any, optimizer: Any) -> Iterator[tuple[str, str, dict[str, torch.Tensor]]]:
    """Place, class and parameters of all that holds parameters. A model may only look like one."""
    if isinstance(model, nn.Module):
        for path, module in model.named_modules():
            kind = type(module).__name__ if path else ""
            place = path.replace("_orig_mod.", "")  # where torch.compile keeps what it compiled
            yield place, kind, dict(module.named_parameters(recurse=False))
        return
    held = {
        name: value
        for name, value in vars(model).items()
        if isinstance(value, torch.Tensor) and value.requires_grad
    }
    yield "", "", held
    for name, module in _modules_held(model):
        for path, inner in module.named_modules():
            place = f"{name}.{path}" if path else name
            yield place, type(inner).__name__, dict(inner.named_parameters(recurse=False))
    # The homework's optimizer has a list of tensors; PyTorch's, groups of them.
    groups = getattr(optimizer, "param_groups", [{"params": getattr(optimizer, "params", [])}])
    rest = [param for group in groups for param in group["params"]]
    yield "", "", {f"parameter {i}": param for i, param in enumerate(rest, start=1)}


def _is_lazy(model: Any, optimizer: Any) -> bool:
    owners = _owners_of(model, optimizer)
    return any(is_lazy(param) for _, _, own in owners for param in own.values())


def _modules_held(model: Any) -> list[tuple[str, nn.Module]]:
    if isinstance(model, nn.Module):
        return [("", model)]
    return [(name, value) for name, value in vars(model).items() if isinstance(value, nn.Module)]


def _is_compiled(module: nn.Module) -> bool:
    return module._compiled_call_impl is not None or hasattr(module, "_orig_mod")


def _norm(tensor: torch.Tensor) -> torch.Tensor:
    """The Euclidean norm, on the tensor's device."""
    tensor = tensor.detach()
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()  # whose squares have a larger range
    norm: torch.Tensor = torch.linalg.vector_norm(tensor)
    return norm


# What a layer gives


class _ObservedCalls:
    """Sees what the functions give that a model calls, until `release`.

    The hooks are PyTorch's global ones and not the model's own, so that a copy or a pickle of the
    model has nothing of them.
    """

    def __init__(self, modules: set[int], step: _SampledStep) -> None:
        self._modules = modules
        self._inside: nn.Module | None = None
        self._functions = _ObservedFunctions(step)
        self._handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]

    def release(self) -> None:
        """Takes the hooks back."""
        for handle in self._handles:
            handle.remove()
        if self._inside is not None:  # a second Ctrl-C passes by the hook that leaves
            self._leave(self._inside, None, None)

    def _enter(self, module: nn.Module, _: Any) -> None:
        # Without gradients it is no step of the training.
        is_ours = self._inside is None and id(module) in self._modules
        if is_ours and torch.is_grad_enabled():
            self._inside = module
            self._functions.__enter__()  # type: ignore[no-untyped-call]

    def _leave(self, module: nn.Module, _: Any, __: Any) -> None:
        if module is self._inside:
            self._inside = None
            self._functions.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            self._functions.end_call()


class _ObservedFunctions(TorchFunctionMode):
    """Sees every function of PyTorch's that is called.

    A function of a parameter and of something else is a layer, and a ReLU, sigmoid or tanh that
    comes next is its activation function. So a model written with tensors only is seen as well as
    one of modules.
    """

    def __init__(self, step: _SampledStep) -> None:
        super().__init__()
        self._step = step
        self._layer_of = {id(param): layer for layer in step.layers for param in layer.params}
        #: Tensors that are functions of parameters alone, and zeros: kept, so that each id is one.
        self._kept: list[torch.Tensor] = []
        self._zeros: set[int] = set()
        self._last: tuple[_Layer, torch.Tensor] | None = None
        self._is_activated = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        first = output[0] if isinstance(output, tuple) and output else output
        if isinstance(first, torch.Tensor) and torch.is_grad_enabled():
            with torch.no_grad():
                self._look(getattr(func, "__name__", ""), args, kwargs, first)
        return output

    def end_call(self) -> None:
        """The model has given its output."""
        self._flush()
        self._layer_of = {id(param): layer for layer in self._step.layers for param in layer.params}
        self._kept, self._zeros = [], set()

    def _look(self, name: str, args: Any, kwargs: Any, output: torch.Tensor) -> None:
        if name in ("zeros", "zeros_like", "new_zeros"):
            self._kept.append(output)
            self._zeros.add(id(output))
            return
        layers = [self._layer_of.get(id(tensor)) for tensor in _tensors_in(args, kwargs)]
        known = [layer for layer in layers if layer is not None]
        if known and len(known) == len(layers):
            self._kept.append(output)
            self._layer_of[id(output)] = known[-1]
        elif known and output.is_floating_point():
            for layer in known:  # a fused function has several
                self._step.order.setdefault(layer.name)
            self._begin(known[-1], output)
        elif self._last is not None and output.dim() > 1:
            function = self._function(name, args, kwargs)
            if function:
                self._activate(self._last[0], function, output)

    def _begin(self, layer: _Layer, output: torch.Tensor) -> None:
        """A layer has given its output. Another of the same may follow, when a bias is added."""
        if self._last is not None and (self._last[0] is not layer or self._is_activated):
            self._flush()
        self._last, self._is_activated = (layer, output.detach()), False

    def _activate(self, layer: _Layer, function: str, output: torch.Tensor) -> None:
        output = output.detach()
        self._last, self._is_activated = (layer, output), True
        # NaN is neither dead nor flat: it is another matter.
        if function == "relu":
            useful = ~(output <= 0)
        elif function == "sigmoid":
            useful = ~(output * (1 - output) <= FLAT / 4)  # its largest slope is 1/4
        elif function == "tanh":
            useful = ~(1 - output * output <= FLAT)
        else:
            return
        # A convolution's units are its channels.
        has_channels = output.dim() > 3 or any(param.dim() > 2 for param in layer.params)
        self._step.note_units(layer.name, function, useful, 1 if has_channels else -1)

    def _flush(self) -> None:
        if self._last is not None:
            layer, output = self._last
            self._step.note(layer.name, "activation", _norm(output) ** 2 / max(output.numel(), 1))
        self._last = None

    def _function(self, name: str, args: Any, kwargs: Any) -> str:
        """The activation function that a call is of, or ""."""
        name = name.removesuffix("_")
        if name in _ACTIVATIONS:
            return _ACTIVATIONS[name]
        if name in ("clamp", "clip", "clamp_min"):
            low = args[1] if len(args) > 1 else kwargs.get("min")
            return "relu" if self._is_zero(low) else ""
        if name in ("max", "maximum"):
            both = [*args, *kwargs.values()]
            return "relu" if len(both) == 2 and any(map(self._is_zero, both)) else ""
        return ""

    def _is_zero(self, value: Any) -> bool:
        if id(value) in self._zeros:
            return True
        if isinstance(value, torch.Tensor):
            # Of a tensor on another device the value is not known without waiting for it.
            return value.numel() == 1 and value.device.type == "cpu" and not value.item()
        return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


def _tensors_in(args: Sequence[Any], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The tensors that a function was given, those in lists as well."""
    found = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += [item for item in value if isinstance(item, torch.Tensor)]
    return found


#: Activation functions by the name of PyTorch's function.
_ACTIVATIONS = {
    **{"relu": "relu", "relu6": "relu", "sigmoid": "sigmoid", "expit": "sigmoid", "tanh": "tanh"},
    **dict.fromkeys(("gelu", "silu", "elu", "selu", "leaky_relu", "softplus", "mish"), "other"),
}


# What an epoch's steps come to


#: What was seen of a layer in a step: for each parameter or call, one number or one for each unit.
_Seen = dict[str, list[list[float]]]


def _summary(
    steps: Sequence[_SampledStep], epoch: int
) -> tuple[list[LayerRow], list[tuple[float, float]]]:
    """The rows of an epoch, and the norm of all gradients in each step."""
    seen = _fetched(steps)
    layers = {layer.name: layer for step in steps for layer in step.layers}
    called = [name for step in steps for name in step.order]
    rows = [
        _row(epoch, layers[name], steps, [each.get(name, {}) for each in seen])
        for name in dict.fromkeys([*called, *layers])  # those that were not called come last
    ]
    totals = []
    for step, each in zip(steps, seen, strict=True):
        norms = [norm for whats in each.values() for (norm,) in whats.get("gradient", [])]
        totals.append((step.place, math.hypot(*norms)))
    return rows, totals


def _row(
    epoch: int, layer: _Layer, steps: Sequence[_SampledStep], seen: Sequence[_Seen]
) -> LayerRow:
    """A layer's row, from what was seen of it in each step."""
    gradients, weights, updates = (
        [_norm_of(each, what) for each in seen] for what in ("gradient", "weight", "update")
    )
    if steps[0].is_scaled:  # some overflow, and their steps are not taken
        gradients = [norm if math.isfinite(norm) else math.nan for norm in gradients]
    squares = [_mean([square for (square,) in each.get("activation", [])]) for each in seen]
    late = slice(len(steps) // 2, None)  # in what state the units end the epoch
    useful = [units for each in seen[late] for units in each.get("useful", [])]
    shares = [sum(unit) / len(unit) for unit in zip(*useful, strict=False)]
    function = next((f for step in steps if (f := step.functions.get(layer.name))), "")
    dead = [share == 0 for share in shares if function == "relu"]
    flat = [share < 0.5 for share in shares if function != "relu"]
    return LayerRow(
        epoch=epoch,
        layer=layer.name,
        kind=layer.kind,
        num_weights=sum(param.numel() for param in layer.params),
        is_matrix=layer.is_matrix,
        num_steps=len(steps),
        grad_norm=_mean(gradients),
        weight_norm=_mean(weights),
        update_ratio=_mean([u / w for u, w in zip(updates, weights, strict=True) if w]),
        activation_rms=_mean([math.sqrt(square) for square in squares]),
        function=function,
        num_units=len(shares),
        num_examples=sum(step.num_examples.get(layer.name, 0) for step in steps[late]),
        dead=_mean(dead),
        saturated=_mean(flat),
    )


def _fetched(steps: Sequence[_SampledStep]) -> list[dict[str, _Seen]]:
    """All that was seen in some steps, by layer: the one synchronisation."""
    tensors = [
        each.reshape(-1) for step in steps for values in step.seen.values() for each in values
    ]
    if not tensors:
        return [{} for _ in steps]
    place = tensors[0].device
    numbers = iter(torch.cat([each.to(place) for each in tensors]).tolist())
    found = []
    for step in steps:
        of_step: dict[str, _Seen] = {}
        for (layer, what), values in step.seen.items():
            there = [list(islice(numbers, each.numel())) for each in values]
            of_step.setdefault(layer, {})[what] = there
        found.append(of_step)
    return found


def _norm_of(seen: _Seen, what: str) -> float:
    """The norm of several parts together; NaN if there are none."""
    return math.hypot(*(norm for (norm,) in seen[what])) if what in seen else math.nan


def _mean(values: Iterable[float]) -> float:
    """The mean of what there is: NaN is what there is not."""
    there = [value for value in values if not math.isnan(value)]
    return sum(there) / len(there) if there else math.nan
