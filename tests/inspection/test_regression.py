import math

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn
from torchmetrics import functional as oracle

from gradbook import LinearRegression, LinearRegressionScratch, Module, SyntheticRegressionData
from gradbook.errors import BatchError, ModelError
from gradbook.inspection import RegressionReport, inspect


class Given(Module):
    def forward(self, X):
        return X


@pytest.fixture
def report():
    y = 3 * torch.randn(100, 1) + 2
    return RegressionReport(y, y + torch.randn(100, 1), [])


def test_the_mean_squared_error(report):
    expected = oracle.mean_squared_error(report.predicted, report.labels)
    assert report.mse == pytest.approx(float(expected), rel=1e-5)


def test_the_mean_absolute_error(report):
    expected = oracle.mean_absolute_error(report.predicted, report.labels)
    assert report.mae == pytest.approx(float(expected), rel=1e-5)


def test_the_explained_part(report):
    expected = oracle.r2_score(report.predicted, report.labels)
    assert report.r2 == pytest.approx(float(expected), rel=1e-5)


def test_the_explained_part_of_several_outputs():
    y = torch.randn(50, 3) * torch.tensor([1.0, 5.0, 0.1])
    report = RegressionReport(y, y + torch.randn(50, 3), [])
    expected = oracle.r2_score(report.predicted, y, multioutput="variance_weighted")
    assert report.r2 == pytest.approx(float(expected), rel=1e-4)


def test_labels_that_do_not_vary():
    assert math.isnan(RegressionReport(torch.ones(3), torch.zeros(3), []).r2)


def test_a_pass_over_the_validation_set(points):
    X, y = torch.randn(10, 1), torch.randn(10, 1)
    report = inspect(Given(), points(X, y, num_train=3))
    assert torch.equal(report.labels, y[3:])
    assert torch.equal(report.predicted, X[3:])
    assert report.parameters == []
    assert math.isnan(report.distance)


def test_predictions_that_are_no_numbers(points):
    data = points(torch.full((3, 1), math.inf), torch.zeros(3, 1))
    with pytest.raises(ModelError, match="outputs of Given are NaN or infinite"):
        inspect(Given(), data)


def test_predictions_of_another_shape(points):
    with pytest.raises(BatchError, match="Expected targets of the predictions' shape"):
        inspect(Given(), points(torch.zeros(3, 1), torch.zeros(3)))


# The true parameters


@pytest.mark.parametrize("w", [[2.0, -3.4], [1.5]])
def test_the_distance_from_the_true_parameters(w):
    data = SyntheticRegressionData(w=w, b=4.0, num_val=10)
    model = LinearRegressionScratch(num_inputs=len(w))
    with torch.no_grad():
        model.w.copy_(data.w.reshape(-1, 1) - 0.3)
        model.b.fill_(4.4)
    report = inspect(model, data)
    assert [each.name for each in report.parameters] == [*(f"w[{i}]" for i in range(len(w))), "b"]
    assert [each.error for each in report.parameters] == pytest.approx(
        [0.3] * len(w) + [-0.4], abs=1e-5
    )
    assert report.distance == pytest.approx(math.sqrt(len(w) * 0.09 + 0.16), abs=1e-5)


def test_the_layer_of_pytorch_is_compared_too():
    report = inspect(LinearRegression(), SyntheticRegressionData(num_val=10))
    assert [each.true for each in report.parameters] == pytest.approx([2, -3.4, 4.2])


@pytest.mark.parametrize(
    "net", [nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), nn.Linear(2, 1, bias=False)]
)
def test_a_model_that_is_not_the_true_one_is_not_compared(net):
    assert inspect(net, SyntheticRegressionData(num_val=10)).parameters == []


def test_true_parameters_of_another_number(points):
    data = points(torch.rand(4, 2), torch.rand(4, 1))
    data.w, data.b = torch.ones(3), 1.0
    assert inspect(nn.Linear(2, 1), data).parameters == []


# Pictures and words


def test_predictions_are_drawn_against_the_truth(report):
    axes = report.plot_predicted()
    x, y = axes.lines[0].get_data()
    assert x.tolist() == report.labels.reshape(-1).tolist()
    assert y.tolist() == report.predicted.reshape(-1).tolist()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("true", "predicted")


def test_residuals_are_drawn(report):
    figure = Figure()
    left, right = report.plot_residuals(figure)
    assert left.lines[0].get_ydata().tolist() == report.residuals.reshape(-1).tolist()
    assert sum(bar.get_width() for bar in right.patches) == 100


def test_the_report_in_words():
    report = inspect(LinearRegression(), SyntheticRegressionData(num_val=10))
    text = repr(report)
    assert text.startswith("regression on 10 examples")
    assert f"distance from the true parameters {report.distance:.4g}" in text
    assert "R2" in text


def test_the_report_in_a_notebook(report):
    assert "MSE" in report._repr_html_()
    assert "distance" not in report._repr_html_()
    known = inspect(LinearRegression(), SyntheticRegressionData(num_val=10))
    assert "distance" in known._repr_html_()


def test_the_facts_are_plain():
    report = inspect(LinearRegression(), SyntheticRegressionData(num_val=10))
    facts = report.facts()
    assert facts["mse"] == report.mse
    assert facts["parameters"][2]["name"] == "b"
    assert facts["parameters"][2]["error"] == report.parameters[2].error
