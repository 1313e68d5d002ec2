import pytest
import torch
from torch import nn

from gradbook import Classifier
from gradbook.errors import BatchError
from gradbook.inspection import ClassifierReport, RegressionReport, inspect


def test_a_classifier(images, linear):
    report = inspect(linear, images)
    assert isinstance(report, ClassifierReport)
    assert torch.equal(report.labels, images.y[10:])


def test_scores_for_integer_labels_are_a_classification(images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(30, 3))
    assert isinstance(inspect(model, images), ClassifierReport)


def test_targets_of_the_outputs_shape_are_a_regression(points):
    data = points(torch.rand(4, 2), torch.rand(4, 1))
    assert isinstance(inspect(nn.Linear(2, 1), data), RegressionReport)


def test_a_classifier_on_a_regressions_data(points):
    class Net(Classifier):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 1)

    with pytest.raises(BatchError, match="targets of a regression"):
        inspect(Net(), points(torch.rand(4, 2), torch.rand(4, 1)))


def test_the_training_set(images, linear):
    assert torch.equal(inspect(linear, images, train=True).labels, images.y[:10])
