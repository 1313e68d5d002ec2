"""What a classifier gets right and wrong.

Book: 4.3 (sec_classification), 4.4.6.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from gradbook.checks import (
    at_rest,
    check_label_range,
    check_labels,
    check_two_classes,
    check_whole_number,
    gives_probability,
    is_one_column,
    is_one_of,
)
from gradbook.data import Batch
from gradbook.display.images import show
from gradbook.errors import ConfigError, DataError, ModelError
from gradbook.inspection import pictures
from gradbook.inspection.calibration import Calibration
from gradbook.module import Classifier, Module
from gradbook.table import Table

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: How many mistakes a report keeps with their inputs, the most confident ones.
NUM_KEPT = 100
#: How far from 1 the sum of probabilities may be, also in half precision.
_SUM_TOLERANCE = 1e-2


@dataclass(frozen=True, eq=False)
class Mistake:
    """An example that was put into the wrong class.

    Attributes:
        example: Its place in the set, from 0.
        true, predicted: The classes.
        probability: What the model gave the wrong class.
        input: The input on the CPU, without the batch dimension; the first, if there are several.
            None if an example has several labels.
    """

    example: int
    true: int
    predicted: int
    probability: float
    input: torch.Tensor | None


class Inspection:
    """The base of reports: two tables in words, and in a notebook the figures as well."""

    table: Callable[[], Table]
    figures: "Callable[[], dict[str, Figure]]"
    _summary: Callable[[], str]
    _second_table: Callable[[], tuple[str, Table]]

    def __repr__(self) -> str:
        parts, (heading, second) = [self._summary(), repr(self.table())], self._second_table()
        return "\n\n".join([*parts, *[f"{heading}\n{second!r}"] * bool(second.rows)])

    def _repr_html_(self) -> str:
        pairs = [(self._summary(), self.table()), self._second_table()]
        shown = (f"<p>{text}</p>\n{table._repr_html_()}" for text, table in pairs if table.rows)
        return "\n".join(shown)

    def _ipython_display_(self) -> None:
        show(self, self.figures().values())


@dataclass(frozen=True, eq=False, repr=False)
class ClassifierReport(Inspection):
    """A classifier's predictions over a set, and what follows from them.

    Attributes:
        names: The names of the classes, k of them.
        labels: The true classes, int64 of shape (n,).
        predicted: The predicted classes, int64 of shape (n,).
        confidence: The probability of each predicted class, float32 of shape (n,).
        loss: The model's own loss: the mean of its batches', weighted by their examples; NaN if
            it has none.
        mistakes: The most confident mistakes, at most `NUM_KEPT`.
        weights: What the model looks for in each pixel, for each class, of shape (k, H, W), where
            its weights are images: see `weight_images`.
    """

    names: list[str]
    labels: torch.Tensor
    predicted: torch.Tensor
    confidence: torch.Tensor
    loss: float
    mistakes: list[Mistake]
    weights: torch.Tensor | None = None

    @classmethod
    def of(
        cls, model: torch.nn.Module, data: Any, batches: Iterable[tuple[Batch, torch.Tensor]]
    ) -> "ClassifierReport":
        """The report on a pass of `batches_and_outputs`. See `gradbook.inspection.inspect`."""
        mistakes: list[Mistake] = []
        parts: list[list[torch.Tensor]] = []
        are_probabilities: bool | None = None
        num_examples, total, num_classes = 0, 0.0, 0
        for batch, Y_hat in batches:
            y = batch[-1]
            loss = functools.partial(_loss, model, Y_hat, y)
            if is_one_column(Y_hat, y):
                are_probabilities = gives_probability(model)
                Y_hat, y = _two_columns(model, Y_hat, y, are_probabilities)
            check_labels(Y_hat, y)
            num_classes = Y_hat.shape[-1]
            check_label_range(y, num_classes)
            counted = (y != -100).reshape(-1)
            if not counted.any():  # PyTorch's mean over no label is NaN
                num_examples += y.numel()
                continue
            total += loss() * int(counted.sum())
            if are_probabilities is None:
                are_probabilities = gives_probabilities(Y_hat)
            confidence, predicted = probabilities(model, Y_hat, are_probabilities).max(dim=-1)
            part = [value.reshape(-1).cpu() for value in (y.long(), predicted, confidence.float())]
            X = batch[0] if Y_hat.dim() == 2 else None
            mistakes = _most_confident(mistakes, part, X, num_examples)
            num_examples += y.numel()
            parts.append([value[counted.cpu()] for value in part])
        if not parts:
            raise DataError(f"{type(data).__name__} has no label: all of them are -100.")
        labels, predicted, confidence = (torch.cat(values) for values in zip(*parts, strict=True))
        names = class_names(data, num_classes)
        return cls(names, labels, predicted, confidence, total / len(labels), mistakes)

    @property
    def accuracy(self) -> float:
        """The part of right predictions."""
        return float((self.predicted == self.labels).double().mean())

    @property
    def confusion(self) -> torch.Tensor:
        """How many examples of each true class (row) were put into each class (column).

        An int64 tensor of shape (k, k).
        """
        k = len(self.names)
        return torch.bincount(self.labels * k + self.predicted, minlength=k * k).reshape(k, k)

    @property
    def support(self) -> torch.Tensor:
        """The examples of each class, int64 of shape (k,)."""
        return self.confusion.sum(dim=1)

    @property
    def precision(self) -> torch.Tensor:
        """The part of what was put into a class that belongs there, float64 of shape (k,).

        NaN for a class that was never predicted.
        """
        return self.confusion.diag().double() / self.confusion.sum(dim=0)

    @property
    def recall(self) -> torch.Tensor:
        """The part of a class that was put there, float64 of shape (k,).

        NaN for a class without examples.
        """
        return self.confusion.diag().double() / self.support

    @property
    def f1(self) -> torch.Tensor:
        """The harmonic mean of precision and recall, float64 of shape (k,).

        0 for a class that was never predicted; NaN if it has no example either.
        """
        either = self.confusion.sum(dim=0) + self.support
        return 2 * self.confusion.diag().double() / either

    def table(self) -> Table:
        """Precision, recall, F1 and support of each class."""
        columns = zip(self.precision, self.recall, self.f1, strict=True)
        rows = [
            [name, *(_cell(float(value)) for value in values), f"{int(count):,}"]
            for name, values, count in zip(self.names, columns, self.support, strict=True)
        ]
        return Table(["class", "precision", "recall", "F1", "support"], rows)

    def confusions(self, n: int = 5) -> Table:
        """The `n` pairs of classes that are mistaken for one another most often.

        Args:
            n: How many pairs, at least 1; pairs that never occur are left out.
        """
        n = check_whole_number(n, "n", at_least=1)
        wrong = self.confusion.clone().fill_diagonal_(0)
        rows = []
        for place in wrong.flatten().argsort(descending=True, stable=True)[:n].tolist():
            true, predicted = divmod(place, len(self.names))
            count = int(wrong[true, predicted])
            if count:
                share = f"{count / int(self.support[true]):.1%}"
                rows.append([self.names[true], self.names[predicted], f"{count:,}", share])
        return Table(["true", "predicted", "count", "of the class"], rows)

    def calibration(self, num_bins: int = 10) -> Calibration:
        """Compares the probabilities of the predictions with how often these are right.

        Args:
            num_bins: Bins of equal width between 0 and 1, at least 1. Each includes its lower
                edge, and the last one 1 as well.
        """
        num_bins = check_whole_number(num_bins, "num_bins", at_least=1)
        edges = torch.linspace(0, 1, num_bins + 1)
        which = (torch.bucketize(self.confidence, edges, right=True) - 1).clamp(0, num_bins - 1)
        counts = torch.bincount(which, minlength=num_bins)

        def mean(values: torch.Tensor) -> torch.Tensor:
            return torch.bincount(which, values.double(), minlength=num_bins) / counts

        right = self.predicted == self.labels
        return Calibration(edges, counts, mean(self.confidence), mean(right))

    def plot_confusion(self, figure: "Figure | None" = None) -> "Axes":
        """Draws the confusion matrix: counts, colored by their part of the true class.

        Args:
            figure: A Matplotlib figure to draw on; without it, a new one of pyplot's.

        Returns:
            The axes.
        """
        return pictures.draw_confusion(self.confusion.numpy(), self.names, figure)

    def plot_calibration(
        self, num_bins: int = 10, figure: "Figure | None" = None
    ) -> "np.ndarray[Any, Any]":
        """Draws the reliability diagram, and below it how many predictions are in each bin.

        Args:
            num_bins: Bins of equal width between 0 and 1, at least 1.
            figure: A Matplotlib figure to draw on; without it, a new one of pyplot's.

        Returns:
            The two axes, as an array of shape (2,).
        """
        return pictures.draw_calibration(self.calibration(num_bins), figure)

    def show_mistakes(
        self, n: int = 16, figure: "Figure | None" = None
    ) -> "np.ndarray[Any, Any] | Table":
        """Shows the mistakes that were made with the highest probability.

        Images are drawn, each under its true class, the predicted class and the probability of
        that. Other inputs are listed in a table.

        Args:
            n: How many, from 1 to `NUM_KEPT`; there may be fewer mistakes.
            figure: A Matplotlib figure to draw on; without it, a new one of pyplot's.

        Returns:
            The axes as an array of shape (number of images,), or the table.
        """
        if check_whole_number(n, "n", at_least=1) > NUM_KEPT:
            raise ConfigError(
                f"n must be at most {NUM_KEPT}, because a report keeps no more mistakes, but it "
                f"is {n}."
            )
        shown = self.mistakes[:n]
        if not shown or not self.has_images:
            return self._mistake_table(shown)
        titles = [
            f"{self.names[m.true]}\n{self.names[m.predicted]} {m.probability:.2f}" for m in shown
        ]
        images = [m.input for m in shown if m.input is not None]
        return pictures.draw_images(images, titles, figure)

    @property
    def has_images(self) -> bool:
        """Whether there are mistakes, and their inputs are images."""
        return bool(self.mistakes) and pictures.is_image(self.mistakes[0].input)

    def figures(self) -> "dict[str, Figure]":
        """New figures, which pyplot does not know of.

        They are "confusion" and "calibration", and where there are such images, "mistakes" and
        "weights".
        """
        from matplotlib.figure import Figure

        figures: defaultdict[str, Figure] = defaultdict(Figure)
        self.plot_confusion(figures["confusion"])
        self.plot_calibration(figure=figures["calibration"])
        if self.has_images:
            self.show_mistakes(figure=figures["mistakes"])
        if self.weights is not None and len(self.weights) == len(self.names):
            pictures.draw_weights(self.weights.numpy(), self.names, figures["weights"])
        return figures

    def facts(self) -> dict[str, Any]:
        """All numbers as plain values, for JSON; NaN stays NaN."""
        calibration = self.calibration()
        columns = ("precision", "recall", "f1", "support")
        values = zip(*(getattr(self, column).tolist() for column in columns), strict=True)
        return {
            "kind": "classification",
            "num_examples": len(self.labels),
            "accuracy": self.accuracy,
            "loss": self.loss,
            "classes": [
                {"name": name, **dict(zip(columns, row, strict=True))}
                for name, row in zip(self.names, values, strict=True)
            ],
            "confusion": self.confusion.tolist(),
            "calibration": {
                "error": calibration.error,
                **{name: values.tolist() for name, values in vars(calibration).items()},
            },
            "mistakes": [
                {
                    "example": mistake.example,
                    "true": self.names[mistake.true],
                    "predicted": self.names[mistake.predicted],
                    "probability": mistake.probability,
                }
                for mistake in self.mistakes
            ],
        }

    def _second_table(self) -> tuple[str, Table]:
        return "most often confused:", self.confusions()

    def _summary(self) -> str:
        loss = "" if math.isnan(self.loss) else f", loss {self.loss:.4f}"
        return f"accuracy {self.accuracy:.4f} on {len(self.labels):,} examples{loss}"

    def _mistake_table(self, shown: Sequence[Mistake]) -> Table:
        rows = []
        for mistake in shown:
            classes = [self.names[mistake.true], self.names[mistake.predicted]]
            numbers = [f"{mistake.probability:.2f}", str(mistake.example)]
            rows.append([*classes, *numbers, _excerpt(mistake.input)])
        return Table(["true", "predicted", "probability", "example", "input"], rows)


def classifies(model: torch.nn.Module, batch: Batch, Y_hat: torch.Tensor) -> bool:
    """Whether a model is a classifier, by its class or by one batch and the output for it."""
    y = batch[-1]
    scores = Y_hat.dim() >= 2 and y.shape == Y_hat.shape[:-1] and not y.is_floating_point()
    return isinstance(model, Classifier) or scores


def gives_probabilities(Y_hat: torch.Tensor) -> bool:
    """Whether outputs are probabilities: none is negative, and every row sums to 1.

    Otherwise they are taken for logits, as those of PyTorch's cross-entropy. Ask with a whole
    batch: the logits of one example could look like that by chance.
    """
    total = Y_hat.sum(dim=-1)
    return bool((Y_hat >= 0).all() and ((total - 1).abs() < _SUM_TOLERANCE).all())


def probabilities(
    model: torch.nn.Module, Y_hat: torch.Tensor, are_probabilities: bool
) -> torch.Tensor:
    """The probabilities that outputs stand for, of the same shape; an error if they are NaN."""
    P = Y_hat if are_probabilities else Y_hat.softmax(dim=-1)
    if P.isnan().any():
        raise ModelError(explain_nonfinite(model))
    return P


def _two_columns(
    model: torch.nn.Module, Y_hat: torch.Tensor, Y: torch.Tensor, are_probabilities: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """One score for each label as scores of two classes, and the labels as their numbers."""
    Y_hat, Y = Y_hat.reshape(-1), Y.reshape(-1)
    left_out = is_one_of(Y, model.ignored_labels() if isinstance(model, Classifier) else {-100})
    check_two_classes(Y[~left_out], model)
    others = 1 - Y_hat if are_probabilities else torch.zeros_like(Y_hat)
    return torch.stack([others, Y_hat], dim=1), (Y > 0).long().masked_fill(left_out, -100)


def explain_nonfinite(model: torch.nn.Module) -> str:
    """What to say of a model whose outputs are NaN or infinite."""
    return (
        f"The outputs of {type(model).__name__} are NaN or infinite, so that they say nothing. Its "
        f"training has probably diverged: train again with a smaller learning rate."
    )


def class_names(data: Any, num_classes: int) -> list[str]:
    """The names of the classes: those of `data.text_labels` where they suffice, else numbers."""
    text_labels = getattr(data, "text_labels", None)
    if callable(text_labels):
        try:
            return [str(name) for name in text_labels(range(num_classes))]
        except (DataError, LookupError):  # the model has more outputs than there are classes
            pass
    return [str(label) for label in range(num_classes)]


def _loss(model: torch.nn.Module, Y_hat: torch.Tensor, y: torch.Tensor) -> float:
    loss: Any = getattr(model, "loss", None)
    if loss is None or getattr(loss, "__func__", None) is Module.loss:
        return math.nan
    with at_rest(model):
        return float(loss(Y_hat.clone(), y.clone()))  # which it may write into


def _most_confident(
    kept: list[Mistake], part: Sequence[torch.Tensor], X: torch.Tensor | None, start: int
) -> list[Mistake]:
    """`kept` with the mistakes of one more batch, as many as a report keeps, the surest first.

    `part` are its labels, predictions and their probabilities, each (n,); `start` is the place of
    its first example in the set.
    """
    labels, predicted, confidence = part
    wrong = ((predicted != labels) & (labels != -100)).nonzero().reshape(-1)
    surest = wrong[confidence[wrong].argsort(descending=True, stable=True)][:NUM_KEPT]
    least = kept[-1].probability if len(kept) == NUM_KEPT else -1.0
    found = [
        Mistake(
            start + row,
            int(labels[row]),
            int(predicted[row]),
            float(confidence[row]),
            # A copy: a view would keep the whole batch in memory.
            None if X is None else X[row].to("cpu", copy=True),
        )
        for row in surest.tolist()
        if confidence[row] > least
    ]
    return sorted([*kept, *found], key=lambda mistake: -mistake.probability)[:NUM_KEPT]


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _excerpt(values: torch.Tensor | None, num_shown: int = 6) -> str:
    """The first numbers of an input."""
    if values is None:
        return "-"
    numbers = [f"{value:.4g}" for value in values.reshape(-1)[:num_shown].tolist()]
    return " ".join([*numbers, *(["..."] if values.numel() > num_shown else [])])
