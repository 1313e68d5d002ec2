"""What a model gets right and wrong: examples, counts, calibration; or a regression's residuals."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import torch

from gradbook.errors import ConfigError, DataError
from gradbook.inspection import ClassifierReport, RegressionReport
from gradbook.inspection.predictions import batches_and_outputs
from gradbook.lab.look.encoding import excerpt, picture
from gradbook.lab.look.subject import Subject

#: The most examples of one cell, points of a figure, and worst residuals.
MOST_EXAMPLES, MOST_POINTS, MOST_WORST = 200, 2000, 50
#: With more classes than this there is a list of pairs in the place of a matrix, and with more than
#: the second number nothing but the figures of the whole.
MOST_IN_MATRIX, MOST_CLASSES = 60, 1000
_NUM_BINS, _MOST_PAIRS = 30, 100


def inspected(subject: Subject, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a model gets right and wrong on a set."""
    report = subject.report(_is_train(options))
    is_classifier = isinstance(report, ClassifierReport)
    found = _classifier(report) if is_classifier else _regression(report)  # type: ignore[arg-type]
    return {**found, "epoch": subject.epoch, "checkpoint": subject.restored.checkpoint.stem}


def of_cell(subject: Subject, options: Mapping[str, Any]) -> dict[str, Any]:
    """The examples of one class that were put into one class, the surest mistakes first.

    Of those that are right, the least sure come first.
    """
    train = _is_train(options)
    report = subject.report(train)
    true, predicted = options["true"], options["predicted"]
    if not isinstance(report, ClassifierReport):
        raise ConfigError("Only a classifier has classes.")
    if max(true, predicted) >= len(report.names):
        raise ConfigError(f"There are {len(report.names)} classes.")
    rows = ((report.labels == true) & (report.predicted == predicted)).nonzero().reshape(-1)
    order = report.confidence[rows].argsort(descending=true != predicted, stable=True)
    shown = rows[order[:MOST_EXAMPLES]].tolist()
    inputs = _inputs_of(subject, train, shown)
    return {
        "true": true,
        "predicted": predicted,
        "num_examples": len(rows),
        "examples": [
            {
                "example": inputs[row][0],
                "true": true,
                "predicted": predicted,
                "probability": float(report.confidence[row]),
                **_shown(inputs[row][1]),
            }
            for row in shown
        ],
    }


def _is_train(options: Mapping[str, Any]) -> bool:
    return bool(options.get("split", "val") == "train")


def _inputs_of(
    subject: Subject, train: bool, rows: Sequence[int]
) -> dict[int, tuple[int, torch.Tensor | None]]:
    """The place in the set, and the input, of rows of a report, which leaves out ignored labels."""
    found: dict[int, tuple[int, torch.Tensor | None]] = {}
    wanted = set(rows)
    place, row = 0, 0
    for batch, Y_hat in batches_and_outputs(subject.restored.model, subject.restored.data, train):
        y = batch[-1].reshape(-1)
        each_has_an_input = Y_hat.dim() == 2 and len(y) == len(batch[0])
        for example, is_counted in enumerate((y != -100).tolist()):
            if is_counted:
                if row in wanted:
                    X = batch[0][example].to("cpu", copy=True) if each_has_an_input else None
                    found[row] = (place + example, X)
                row += 1
        place += len(y)
        if len(found) == len(wanted):
            break
    if len(found) < len(wanted):
        raise DataError("The data gave other examples this time, so that none can be shown.")
    return found


def _shown(X: torch.Tensor | None) -> dict[str, Any]:
    return {"image": picture(X), "excerpt": excerpt(X)}


def _classifier(report: ClassifierReport) -> dict[str, Any]:
    k = len(report.names)
    found: dict[str, Any] = {
        "kind": "classification",
        "names": report.names[:MOST_CLASSES],
        "num_classes": k,
        "num_examples": len(report.labels),
        "accuracy": report.accuracy,
        "loss": report.loss,
        "classes": [],
        "confusion": None,
        "pairs": [],
        "num_mistakes": int((report.predicted != report.labels).sum()),
        "mistakes": [
            {
                "example": mistake.example,
                "true": mistake.true,
                "predicted": mistake.predicted,
                "true_name": report.names[mistake.true],
                "predicted_name": report.names[mistake.predicted],
                "probability": mistake.probability,
                **_shown(mistake.input),
            }
            for mistake in islice(report.mistakes, MOST_EXAMPLES)
        ],
    }
    calibration = report.calibration()
    found["calibration"] = {
        "error": calibration.error,
        **{name: values.tolist() for name, values in vars(calibration).items()},
    }
    if k <= MOST_CLASSES:
        columns = ("precision", "recall", "f1", "support")
        values = [getattr(report, column).tolist() for column in columns]
        found["classes"] = [
            dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)
        ]
        if k <= MOST_IN_MATRIX:
            found["confusion"] = report.confusion.tolist()
        found["pairs"] = _pairs(report.confusion)
    return found


def _pairs(confusion: torch.Tensor) -> list[dict[str, int]]:
    """The pairs of classes that are mistaken for one another most often."""
    wrong = confusion.clone().fill_diagonal_(0).flatten()
    most = wrong.argsort(descending=True, stable=True)[:_MOST_PAIRS].tolist()
    return [
        {"true": place // len(confusion), "predicted": place % len(confusion), "count": count}
        for place in most
        if (count := int(wrong[place]))
    ]


def _regression(report: RegressionReport) -> dict[str, Any]:
    labels, predicted = report.labels.reshape(-1).double(), report.predicted.reshape(-1).double()
    residuals = report.residuals.reshape(-1)
    num_points = len(labels)
    num_outputs = max(num_points // len(report.labels), 1)  # an example has so many values
    every = max(1, -(-num_points // MOST_POINTS))
    low, high = float(residuals.min()), float(residuals.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts = torch.histc(residuals, _NUM_BINS, low, high)
    worst = residuals.abs().argsort(descending=True, stable=True)[:MOST_WORST].tolist()
    return {
        **report.facts(),
        "num_points": num_points,
        "every": every,
        "points": torch.stack([labels[::every], predicted[::every]], dim=1).tolist(),
        "histogram": {
            "edges": torch.linspace(low, high, _NUM_BINS + 1, dtype=torch.float64).tolist(),
            "counts": [int(count) for count in counts.tolist()],
        },
        "worst": [
            {
                "example": place // num_outputs,
                "true": float(labels[place]),
                "predicted": float(predicted[place]),
            }
            for place in worst
        ],
    }
