"""How far a regression's predictions are from the truth.

Book: 3.4 (sec_linear_scratch).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from gradbook.checks import check_targets
from gradbook.data import Batch
from gradbook.errors import ModelError
from gradbook.inspection import pictures
from gradbook.inspection.classification import Inspection, explain_nonfinite
from gradbook.table import Table

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ParameterComparison:
    """A parameter beside the one that the data were made with.

    Attributes:
        name: Such as "w[0]" or "b".
        true, learned: The values.
    """

    name: str
    true: float
    learned: float

    @property
    def error(self) -> float:
        """What is missing from the learned value: true - learned, as in the book."""
        return self.true - self.learned


@dataclass(frozen=True, eq=False, repr=False)
class RegressionReport(Inspection):
    """A regression's predictions over a set, and what follows from them.

    Attributes:
        labels: The true values, of shape (n,) or (n, m).
        predicted: The predictions, of the same shape.
        parameters: Every parameter beside the true one, where the data know these (`data.w` and
            `data.b`) and the model is linear; otherwise empty. Book: 3.4.4.
    """

    labels: torch.Tensor
    predicted: torch.Tensor
    parameters: list[ParameterComparison]

    @classmethod
    def of(
        cls, model: torch.nn.Module, data: Any, batches: Iterable[tuple[Batch, torch.Tensor]]
    ) -> "RegressionReport":
        """The report on a pass of `batches_and_outputs`. See `gradbook.inspection.inspect`."""
        labels, predicted = [], []
        for batch, y_hat in batches:
            check_targets(y_hat, batch[-1])
            if not y_hat.isfinite().all():
                raise ModelError(explain_nonfinite(model))
            labels.append(batch[-1].cpu())
            predicted.append(y_hat.cpu())
        return cls(torch.cat(labels), torch.cat(predicted), _parameters(model, data))

    @property
    def residuals(self) -> torch.Tensor:
        """True minus predicted, float64 of the labels' shape."""
        return self.labels.double() - self.predicted.double()

    @property
    def mse(self) -> float:
        """The mean squared error."""
        return float((self.residuals**2).mean())

    @property
    def mae(self) -> float:
        """The mean absolute error."""
        return float(self.residuals.abs().mean())

    @property
    def r2(self) -> float:
        """The part of the labels' variance that the predictions explain, at most 1.

        NaN if the labels do not vary. Several outputs are weighted by their variance.
        """
        y = self.labels.double()
        spread = float(((y - y.mean(dim=0)) ** 2).sum())
        return 1 - float((self.residuals**2).sum()) / spread if spread else math.nan

    @property
    def distance(self) -> float:
        """The Euclidean distance from the true parameters; NaN where these are not known."""
        errors = [parameter.error for parameter in self.parameters]
        return math.hypot(*errors) if errors else math.nan

    def table(self) -> Table:
        """The measures."""
        rows = [["MSE", f"{self.mse:.4g}"], ["MAE", f"{self.mae:.4g}"], ["R2", f"{self.r2:.4f}"]]
        return Table(["measure", "value"], rows)

    def parameter_table(self) -> Table:
        """Every parameter beside the true one."""
        rows = [
            [each.name, f"{each.true:.4f}", f"{each.learned:.4f}", f"{each.error:.2g}"]
            for each in self.parameters
        ]
        return Table(["parameter", "true", "learned", "error"], rows)

    def plot_predicted(self, figure: "Figure | None" = None) -> "Axes":
        """Draws the predictions against the true values.

        Args:
            figure: A Matplotlib figure to draw on; without it, a new one of pyplot's.

        Returns:
            The axes.
        """
        labels, predicted = self.labels.reshape(-1), self.predicted.reshape(-1)
        return pictures.draw_predicted(labels.numpy(), predicted.numpy(), figure)

    def plot_residuals(self, figure: "Figure | None" = None) -> "np.ndarray[Any, Any]":
        """Draws the residuals against the predictions, and their histogram.

        Args:
            figure: A Matplotlib figure to draw on; without it, a new one of pyplot's.

        Returns:
            The two axes, as an array of shape (2,).
        """
        predicted, residuals = self.predicted.reshape(-1), self.residuals.reshape(-1)
        return pictures.draw_residuals(predicted.numpy(), residuals.numpy(), figure)

    def figures(self) -> "dict[str, Figure]":
        """New figures, which pyplot does not know of: "predicted" and "residuals"."""
        from matplotlib.figure import Figure

        figures = {"predicted": Figure(), "residuals": Figure()}
        self.plot_predicted(figures["predicted"])
        self.plot_residuals(figures["residuals"])
        return figures

    def facts(self) -> dict[str, Any]:
        """All numbers as plain values, for JSON; NaN stays NaN."""
        return {
            "kind": "regression",
            "num_examples": len(self.labels),
            "mse": self.mse,
            "mae": self.mae,
            "r2": self.r2,
            "parameters": [{**vars(each), "error": each.error} for each in self.parameters],
            "distance": self.distance,
        }

    def _summary(self) -> str:
        return f"regression on {len(self.labels):,} examples"

    def _second_table(self) -> tuple[str, Table]:
        return f"distance from the true parameters {self.distance:.4g}", self.parameter_table()


def _parameters(model: torch.nn.Module, data: Any) -> list[ParameterComparison]:
    """Weights and bias beside the true ones; none unless the model has just these two."""
    true_w, true_b = getattr(data, "w", None), getattr(data, "b", None)
    if true_w is None or true_b is None:
        return []
    by_dims = {parameter.dim(): parameter for parameter in model.parameters()}
    if len(list(model.parameters())) != 2 or set(by_dims) != {1, 2}:
        return []
    pairs = [("w", true_w, by_dims[2]), ("b", true_b, by_dims[1])]
    found = []
    for name, true, learned in pairs:
        truth = torch.as_tensor(true).reshape(-1).tolist()
        values = learned.detach().reshape(-1).tolist()
        if len(truth) != len(values):
            return []
        names = [name] if name == "b" else [f"{name}[{i}]" for i in range(len(truth))]
        found += [ParameterComparison(*each) for each in zip(names, truth, values, strict=True)]
    return found
