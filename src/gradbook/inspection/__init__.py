"""Looking at a trained model: what it gets right and wrong, its weights, its export."""

from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Any

import torch

from gradbook.errors import ModelError
from gradbook.inspection.boundaries import Boundary as Boundary
from gradbook.inspection.boundaries import boundary as boundary
from gradbook.inspection.calibration import Calibration as Calibration
from gradbook.inspection.classification import ClassifierReport as ClassifierReport
from gradbook.inspection.classification import Mistake as Mistake
from gradbook.inspection.classification import classifies
from gradbook.inspection.predictions import Predictions as Predictions
from gradbook.inspection.predictions import batches_and_outputs
from gradbook.inspection.predictions import predictions as predictions
from gradbook.inspection.regression import ParameterComparison as ParameterComparison
from gradbook.inspection.regression import RegressionReport as RegressionReport
from gradbook.inspection.weights import images_of_weights
from gradbook.inspection.weights import show_weights as show_weights
from gradbook.inspection.weights import weight_images as weight_images
from gradbook.interrupts import interruptible
from gradbook.lazy import listing

__all__ = [
    *("Boundary", "Calibration", "ClassifierReport", "Mistake", "ParameterComparison"),
    *("Predictions", "RegressionReport", "boundary", "inspect", "predictions"),
    *("show_weights", "weight_images"),
]

__dir__ = listing(__all__)


@interruptible()
def inspect(
    model: torch.nn.Module, data: Any, train: bool = False
) -> ClassifierReport | RegressionReport:
    """Measures a trained model on the validation set, in one pass over it.

    As the last line of a notebook's cell, the report shows its figures and its tables.

    A `Classifier` is measured as one, and so is any model that gives a row of scores for each
    integer label. Every other model is measured as a regression.

    Args:
        model: The model, on any device. It is measured in evaluation mode and left in its own.
        data: The data, with batches of (inputs..., label): a DataModule, a data set of PyTorch,
            or such batches themselves.
        train: Whether to take a DataModule's training set instead.

    Raises:
        DataError: If there is no such set, or it is empty.
        BatchError: If the labels do not fit the outputs.
        ModelError: If the outputs are not numbers.
    """
    batches = batches_and_outputs(model, data, train)
    first = next(batches)
    batches = chain([first], batches)
    if classifies(model, *first):
        report = ClassifierReport.of(model, data, batches)
        X = first[0][0]
        shape = (1, *X.shape[1:]) if X.dim() == 3 else tuple(X.shape[1:])
        if len(shape) == 3:
            with suppress(ModelError):  # most models have no weights that are images
                report = replace(report, weights=images_of_weights(model, shape))
        return report
    return RegressionReport.of(model, data, batches)
