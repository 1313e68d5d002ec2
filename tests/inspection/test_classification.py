import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import nn
from torchmetrics.functional import classification as oracle

from gradbook import Classifier, DataModule, SoftmaxRegression, SoftmaxRegressionScratch
from gradbook.errors import BatchError, ConfigError, DataError, ModelError
from gradbook.inspection import ClassifierReport, inspect
from gradbook.inspection.classification import NUM_KEPT, class_names, gives_probabilities
from gradbook.table import Table


def report_on(points, given, logits, labels, **kwargs):
    return inspect(given, points(logits, labels, **kwargs))


@pytest.fixture
def logits():
    return 2 * torch.randn(200, 5)


@pytest.fixture
def labels():
    return torch.randint(5, (200,))


@pytest.fixture
def report(points, given, logits, labels):
    return report_on(points, given, logits, labels, batch_size=32)


# Numbers


def test_accuracy(report, logits, labels):
    expected = oracle.multiclass_accuracy(logits, labels, 5, average="micro")
    assert report.accuracy == pytest.approx(float(expected))


def test_the_confusion_matrix(report, logits, labels):
    assert torch.equal(report.confusion, oracle.multiclass_confusion_matrix(logits, labels, 5))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("precision", oracle.multiclass_precision),
        ("recall", oracle.multiclass_recall),
        ("f1", oracle.multiclass_f1_score),
    ],
)
def test_the_measures_of_a_class(report, logits, labels, name, function):
    expected = function(logits, labels, 5, average="none")
    assert getattr(report, name).tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("num_bins", [1, 7, 10])
def test_the_calibration_error(report, logits, labels, num_bins):
    expected = oracle.multiclass_calibration_error(logits, labels, 5, n_bins=num_bins)
    assert report.calibration(num_bins).error == pytest.approx(float(expected), abs=1e-6)


def test_a_sure_prediction_is_in_the_last_bin(points, given):
    report = report_on(points, given, torch.eye(3), torch.arange(3))
    assert report.calibration(4).counts.tolist() == [0, 0, 0, 3]


def test_the_loss_is_the_mean_over_examples(report, logits, labels):
    expected = nn.functional.cross_entropy(logits, labels)
    assert report.loss == pytest.approx(float(expected), rel=1e-5)


def test_a_model_without_a_loss(points, logits, labels):
    report = inspect(nn.Identity(), points(logits, labels))
    assert math.isnan(report.loss)
    assert "loss" not in repr(report)


def test_a_class_that_is_never_predicted(points, given):
    report = report_on(points, given, torch.tensor([[1.0, 0, 2]] * 2), torch.tensor([0, 1]))
    assert report.precision.isnan().tolist() == [True, True, False]
    assert report.recall.isnan().tolist() == [False, False, True]
    assert report.f1[:2].tolist() == [0, 0]
    assert repr(report.table()).splitlines()[1].split() == ["0", "-", "0.000", "0.000", "1"]


def test_labels_that_do_not_count(points, given, logits, labels):
    ignored = labels.clone()
    ignored[:150] = -100
    report = report_on(points, given, logits, ignored)
    expected = nn.functional.cross_entropy(logits[150:], labels[150:])
    assert torch.equal(report.labels, labels[150:])
    assert report.loss == pytest.approx(float(expected), rel=1e-5)
    assert min(mistake.example for mistake in report.mistakes) >= 150


def test_no_label_that_counts(points, given):
    with pytest.raises(DataError, match="all of them are -100"):
        report_on(points, given, torch.rand(3, 2), torch.full((3,), -100))


def test_several_labels_for_each_example(points, given):
    logits, labels = torch.randn(6, 7, 3), torch.randint(3, (6, 7))
    report = report_on(points, given, logits, labels)
    assert len(report.labels) == 42
    assert report.accuracy == pytest.approx(float((logits.argmax(-1) == labels).double().mean()))
    assert report.mistakes[0].input is None
    assert "-" in repr(report.show_mistakes())


# Logits and probabilities


def test_logits_become_probabilities(report, logits):
    assert torch.allclose(report.confidence, logits.softmax(-1).max(-1).values)


def test_probabilities_are_taken_as_they_are(points, given, logits, labels):
    P = logits.softmax(-1)
    report = report_on(points, given, P, labels)
    assert torch.equal(report.confidence, P.max(-1).values)


def test_the_scratch_model_and_the_concise_one_agree(images):
    scratch = SoftmaxRegressionScratch(num_inputs=30, num_outputs=3, sigma=1)
    concise = SoftmaxRegression(num_outputs=3)
    concise.apply_init([images.X])
    with torch.no_grad():
        concise.net[1].weight.copy_(scratch.W.t())
        concise.net[1].bias.zero_()
    one, other = inspect(scratch, images), inspect(concise, images)
    assert torch.allclose(one.confidence, other.confidence, atol=1e-5)
    assert one.loss == pytest.approx(other.loss, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_probabilities_in_another_precision(dtype):
    assert gives_probabilities(torch.randn(8, 20).softmax(-1).to(dtype))


@pytest.mark.parametrize(
    "outputs",
    [torch.zeros(4, 3), torch.tensor([[0.5, 0.5], [0.5, 0.6]]), torch.tensor([[2.0, -1.0]])],
)
def test_logits_are_not_taken_for_probabilities(outputs):
    assert not gives_probabilities(outputs)


def test_outputs_that_are_no_numbers(points, given):
    with pytest.raises(ModelError, match=r"outputs of Given are NaN.*smaller learning rate"):
        report_on(points, given, torch.full((3, 2), math.nan), torch.zeros(3, dtype=torch.int64))


def test_a_label_that_the_model_does_not_know(points, given):
    with pytest.raises(BatchError, match="a label is 7"):
        report_on(points, given, torch.rand(3, 2), torch.tensor([0, 7, 1]))


# Names


def test_the_names_come_from_the_data():
    assert class_names(SimpleNamespace(text_labels=lambda i: ["no", "yes"]), 2) == ["no", "yes"]


@pytest.mark.parametrize("error", [DataError("11"), IndexError()])
def test_too_few_names(error):
    def text_labels(indices):
        raise error

    assert class_names(SimpleNamespace(text_labels=text_labels), 2) == ["0", "1"]


def test_data_without_names():
    assert class_names(object(), 3) == ["0", "1", "2"]


# Mistakes


def test_the_surest_mistakes_come_first(report, logits, labels):
    P = logits.softmax(-1)
    confidence, predicted = P.max(-1)
    confidence[predicted == labels] = -1
    wrong = confidence.argsort(descending=True)[: int((predicted != labels).sum())]
    assert [mistake.example for mistake in report.mistakes] == wrong.tolist()[:NUM_KEPT]
    for mistake in report.mistakes:
        assert torch.equal(mistake.input, logits[mistake.example])
        assert mistake.true == labels[mistake.example]
        assert mistake.predicted == predicted[mistake.example]


def test_a_kept_input_does_not_hold_its_batch(report):
    assert report.mistakes[0].input.untyped_storage().nbytes() == 5 * 4


def test_mistakes_on_images_are_drawn(images, linear):
    report = inspect(linear, images)
    axes = report.show_mistakes(3)
    mistake = report.mistakes[0]
    assert axes.shape == (3,)
    title = f"{mistake.true}\n{mistake.predicted} {mistake.probability:.2f}"
    assert axes[0].get_title() == title
    drawn = axes[0].images[0].get_array()
    assert np.allclose(drawn, mistake.input[0])
    assert plt.get_fignums() == [axes[0].figure.number]


def test_other_mistakes_are_listed(report):
    table = report.show_mistakes(2)
    assert isinstance(table, Table)
    assert len(table.rows) == 2
    assert table.rows[0][3] == str(report.mistakes[0].example)


def test_a_long_input_is_cut(points, given):
    report = report_on(points, given, torch.arange(8.0).repeat(2, 1), torch.tensor([0, 1]))
    assert report.show_mistakes().rows[0][-1] == "0 1 2 3 4 5 ..."


def test_no_mistakes(points, given):
    report = report_on(points, given, torch.eye(3), torch.arange(3))
    assert report.show_mistakes().rows == []
    assert report.confusions().rows == []
    assert "confused" not in repr(report)
    assert not report.has_images


def test_more_mistakes_than_are_kept(report):
    with pytest.raises(ConfigError, match=f"at most {NUM_KEPT}.*but it is 101"):
        report.show_mistakes(101)


def test_the_most_frequent_confusions(points, given):
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    predicted = torch.tensor([1, 1, 0, 2, 1, 2])
    report = report_on(points, given, torch.eye(3)[predicted], labels)
    assert report.confusions(5).rows == [["0", "1", "2", "66.7%"], ["1", "2", "1", "50.0%"]]


# Pictures


def test_the_confusion_matrix_is_drawn_with_its_numbers(points, given):
    report = report_on(points, given, torch.eye(2)[[0, 1, 1]], torch.tensor([0, 0, 1]))
    axes = report.plot_confusion()
    assert [text.get_text() for text in axes.texts] == ["1", "1", "0", "1"]
    assert axes.images[0].get_array().tolist() == [[0.5, 0.5], [0, 1]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


def test_the_calibration_is_drawn_with_counts(report):
    upper, lower = report.plot_calibration(5)
    calibration = report.calibration(5)
    heights = [bar.get_height() for bar in upper.containers[0]]
    assert heights == calibration.accuracy.nan_to_num(0).tolist()
    assert [text.get_text() for text in lower.texts] == [str(int(c)) for c in calibration.counts]
    assert f"{calibration.error:.3f}" in upper.get_title()


def test_a_figure_of_ones_own(report):
    figure = Figure()
    report.plot_calibration(figure=figure)
    assert len(figure.axes) == 2
    assert plt.get_fignums() == []


# Words


def test_the_report_in_words(report):
    text = repr(report)
    assert text.startswith(
        f"accuracy {report.accuracy:.4f} on 200 examples, loss {report.loss:.4f}"
    )
    assert "most often confused" in text


def test_the_report_in_a_notebook(report):
    html = report._repr_html_()
    assert f"accuracy {report.accuracy:.4f}" in html
    assert html.count("<tr>") == 6 + 6  # five classes, five pairs of them, and two headings


def test_the_facts_are_plain(report):
    facts = report.facts()
    assert facts["accuracy"] == report.accuracy
    assert facts["classes"][2]["recall"] == float(report.recall[2])
    assert facts["confusion"] == report.confusion.tolist()
    assert sum(facts["calibration"]["counts"]) == facts["num_examples"] == 200
    assert facts["mistakes"][0]["probability"] == report.mistakes[0].probability


def test_a_report_is_made_of_plain_tensors():
    report = ClassifierReport(
        ["a", "b"], torch.tensor([0, 1]), torch.tensor([0, 0]), torch.tensor([0.9, 0.6]), 0.5, []
    )
    assert report.accuracy == 0.5
    assert report.support.tolist() == [1, 1]


# One score for each example


class OneScore(Classifier):
    def __init__(self, *more):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 1), *more)

    def loss(self, Y_hat, Y):
        return Y_hat.mean() * 0 + 2


@pytest.mark.parametrize("labels", [[0, 1, 1, 0], [-1, 1, 1, -1], [[0.0], [1.0], [1.0], [0.0]]])
@pytest.mark.parametrize("more", [[], [nn.Sigmoid()]])
def test_one_score_chooses_between_two_classes(more, labels):
    model, X = OneScore(*more), torch.tensor([[-2.0], [-1.0], [1.0], [3.0]])
    with torch.no_grad():
        model.net[0].weight.fill_(1)
        model.net[0].bias.zero_()

    class Data(DataModule):
        def get_dataloader(self, train):
            return [(X, torch.tensor(labels))]

    report = inspect(model, Data())
    assert report.predicted.tolist() == [0, 0, 1, 1]
    assert report.labels.tolist() == [0, 1, 1, 0]
    assert (report.accuracy, report.loss) == (0.5, 2)
    assert torch.allclose(report.confidence, X[:, 0].abs().sigmoid())
