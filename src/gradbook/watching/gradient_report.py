"""What was seen of the gradients of a training: words, a table, a figure, and files in a run."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradbook.display.finding import Report
from gradbook.display.words import counted
from gradbook.errors import ConfigError, CorruptFileError
from gradbook.table import Table, data_frame
from gradbook.untrusted import inside, parsed, read_file
from gradbook.watching.gradient_picture import draw_gradients
from gradbook.watching.gradient_rows import LayerRow
from gradbook.watching.symptoms import Symptom, find_symptoms

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

#: A gradients.json that is larger is not read: a hundred layers in thousands of epochs have less.
_MAX_BYTES = 1 << 28

_COLUMNS: Sequence[Any] = fields(LayerRow)


class GradientReport(Report):
    """What was seen of each layer in each epoch, and what is wrong with it.

    Book: 5.4.1 (sec_numerical_stability).

    Args:
        rows: What was seen, epoch after epoch, the layers from input to output.
        totals: The steps sampled, each as (epochs gone by, norm of all gradients together before
            clipping).
        clip: The `gradient_clip_val` of the trainer.
        lr: The learning rate of the model, if it has one.
    """

    name = "gradients"

    def __init__(
        self,
        rows: Iterable[LayerRow] = (),
        totals: Iterable[tuple[float, float]] = (),
        clip: float = 0,
        lr: Any = None,
    ) -> None:
        self.rows, self.totals = list(rows), list(totals)
        self.clip, self.lr = clip, lr

    def __bool__(self) -> bool:
        return bool(self.rows)

    @property
    def epochs(self) -> list[int]:
        """The epochs that were looked at, from 1."""
        return list(dict.fromkeys(row.epoch for row in self.rows))

    @property
    def findings(self) -> list[Symptom]:
        """What is wrong, each kind once, where it was first seen; empty if nothing is."""
        return find_symptoms(self.rows, self.totals, self.clip, self.lr)

    def _words(self) -> str:
        if not self.rows:
            return "Gradients: no step was sampled."
        epoch = self.epochs[-1]
        last = [row for row in self.rows if row.epoch == epoch]
        table = Table(
            ["layer", "gradient", "weight", "update/weight", "activation", "dead", "saturated"],
            [
                [
                    row.title,
                    *(_shown(value, ".3g") for value in (row.grad_norm, row.weight_norm)),
                    *(_shown(value, ".3g") for value in (row.update_ratio, row.activation_rms)),
                    *(_shown(value, ".0%") for value in (row.dead, row.saturated)),
                ]
                for row in last
            ],
        )
        steps = last[0].num_steps
        head = f"gradients in epoch {epoch}, means of {steps} sampled step{'s' * (steps != 1)}"
        return "\n\n".join([head, repr(table), *(symptom.text for symptom in self.findings)])

    def figure(self) -> "Figure":
        """Draws gradient, update, activation and lost units against the layers, epoch by epoch."""
        return draw_gradients(self.rows)

    def to_pandas(self) -> "pandas.DataFrame":
        """The rows as a DataFrame with the columns of `LayerRow`."""
        return data_frame([{**asdict(row), "grad_rms": row.grad_rms} for row in self.rows])

    def facts(self) -> dict[str, Any]:
        """All of it as plain values, for JSON; NaN stays NaN."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "totals": [list(total) for total in self.totals],
            "clip": self.clip,
            "lr": self.lr if isinstance(self.lr, float | int) else None,
            "findings": [asdict(symptom) for symptom in self.findings],
        }

    def summary(self) -> str:
        """What is wrong, in a few words."""
        said = counted(len(self.findings), "warning") if self.findings else "nothing wrong"
        return f"{said} in {counted(self.epochs[-1], 'epoch')}"

    @property
    def has_figure(self) -> bool:
        """Whether any layer had finite weights."""
        return any(math.isfinite(row.weight_norm) for row in self.rows)

    def state_dict(self) -> dict[str, Any]:
        """All that was seen, by columns: numbers are tensors, which cost a checkpoint the least."""
        import torch

        rows = {each.name: [getattr(row, each.name) for row in self.rows] for each in _COLUMNS}
        numbers = {
            each.name: torch.tensor(rows[each.name], dtype=torch.float64)
            for each in _COLUMNS
            if each.type is not str
        }
        totals = torch.tensor(self.totals, dtype=torch.float64).reshape(-1, 2)
        return {"rows": rows | numbers, "totals": totals}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what was seen before a training was resumed."""
        columns = [map(each.type, state["rows"][each.name]) for each in _COLUMNS]
        rows = [LayerRow(*values) for values in zip(*columns, strict=True)]
        self.rows, self.totals = rows, [(x, total) for x, total in state["totals"].tolist()]

    @classmethod
    def read(cls, folder: Path) -> "GradientReport":
        """What `keep` wrote into a folder. An infinite number comes back as NaN.

        Raises:
            ConfigError: If there is nothing.
            CorruptFileError: If the file is damaged.
        """
        path = inside(folder, f"{cls.name}.json")
        try:
            content = read_file(path, _MAX_BYTES)
        except FileNotFoundError:
            raise ConfigError(f"There is no {path}. Train with watch='gradients'.") from None
        try:
            facts = parsed(content, has_nan=True)
            rows = [_row(row) for row in facts["rows"]]
            totals = [(_float(x), _float(total)) for x, total in facts["totals"]]
            lr = facts["lr"]
            return cls(rows, totals, _float(facts["clip"]), None if lr is None else _float(lr))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CorruptFileError(
                f"{path} cannot be read: {error!r}. It is damaged; a training that is watched "
                f"again writes it anew."
            ) from error


def _shown(value: float, form: str) -> str:
    return "-" if math.isnan(value) else f"{value:{form}}"


def _row(facts: dict[str, Any]) -> LayerRow:
    """A row as `asdict` gives it, each value of the type that it has to have."""
    values = dict(facts)
    for each in _COLUMNS:
        value = values[each.name]
        if each.type is float:
            values[each.name] = _float(value)
        elif type(value) is not each.type:
            raise TypeError(f"{each.name} is {value!r:.60}")
    row = LayerRow(**values)
    if row.num_weights < 1:
        raise ValueError(f"the layer {row.layer} has no weights")
    return row


def _float(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise TypeError(f"{value!r:.60} is no number")
