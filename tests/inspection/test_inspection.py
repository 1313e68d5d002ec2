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


@pytest.mark.slow
def test_a_notebook_gets_the_figures_of_a_classifier_and_its_tables(images, linear, outputs):
    inspect(linear, images)._ipython_display_()
    *figures, words = outputs
    assert len(figures) == 4  # confusion, calibration, mistakes, weights
    assert all(set(figure) >= {"image/png", "text/plain"} for figure in figures)
    assert "<table>" in words["text/html"]
    assert words["text/plain"].startswith("accuracy ")


@pytest.mark.slow
def test_weights_that_are_images_have_a_figure_without_the_data(images, linear):
    batch = images.X[:10], images.y[:10]
    report = inspect(linear, [batch])
    assert set(report.figures()) == {"confusion", "calibration", "mistakes", "weights"}
    assert torch.equal(report.weights, linear.net[1].weight.detach().reshape(3, 6, 5))


@pytest.mark.slow
def test_other_weights_have_no_figure(images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(30, 4), nn.ReLU(), nn.Linear(4, 3))
    assert "weights" not in inspect(model, images).figures()


@pytest.mark.slow
def test_a_notebook_gets_the_figures_of_a_regression(points, outputs):
    data = points(torch.rand(4, 2), torch.rand(4, 1))
    inspect(nn.Linear(2, 1), data)._ipython_display_()
    assert len(outputs) == 3
    assert "MSE" in outputs[-1]["text/html"]
