"""What a report says of a trained model."""

from types import SimpleNamespace

import pytest
import torch
from tests.reports.reading import assert_harmless
from tests.reports.test_images import picture
from tests.runs.folders import make_run
from tests.small import Always, Net
from torch import nn

import gradbook
from gradbook import LinearRegression, SyntheticRegressionData, Trainer
from gradbook.errors import GradbookWarning, warn
from gradbook.inspection import inspect
from gradbook.reports.writing import page_of
from gradbook.runs import StoredRun, restore

pytestmark = pytest.mark.slow


class Images(gradbook.DataModule):
    """20 images in three classes."""

    def __init__(self):
        super().__init__()
        self.X, self.y, self.batch_size = torch.rand(20, 1, 6, 5), torch.arange(20) % 3, 8

    def get_dataloader(self, train):
        return self.get_tensorloader((self.X, self.y), train)


@pytest.fixture
def page():
    """The page on a run whose model and data are these."""

    def read(model, data):
        run = StoredRun(make_run())

        def rebuild(run):
            checkpoint = run.folder / "checkpoints" / "best.pt"
            return SimpleNamespace(run=run, model=model, data=data, checkpoint=checkpoint)

        return assert_harmless(page_of([run], None, None, rebuild))

    return read


def test_a_classifier_is_measured_as_inspect_does(page):
    model, data = Net(nn.LazyLinear(3)), Always()
    with torch.no_grad():
        model.net(torch.rand(1, 6))
    found = page(model, data)
    report = inspect(model, data)
    measures = dict(found.tables["Measures"][1:])
    assert float(measures["accuracy"]) == pytest.approx(report.accuracy, rel=1e-5)
    assert float(measures["loss"]) == pytest.approx(report.loss, rel=1e-5)
    counts = [[int(cell) for cell in row[1:]] for row in found.tables["The counts"][1:]]
    assert counts == report.confusion.tolist()
    _, *mistakes = found.tables["The mistakes made with the highest probability"]
    assert [int(row[3]) for row in mistakes] == [m.example for m in report.mistakes]
    assert found.tables["Each class"][1:] == [list(row) for row in report.table().rows]


def test_mistakes_are_shown_as_images(page):
    model = Net(nn.Flatten(), nn.Linear(30, 3))
    found = page(model, Images())
    assert {told.partition(":")[0] for told in found.images} >= {"Confusion matrix", "Calibration"}
    assert any(told.startswith("The mistakes made") for told in found.images)
    assert "The same mistakes" in found.tables


def test_a_regression_is_measured_as_inspect_does(page):
    torch.manual_seed(0)
    data = SyntheticRegressionData(num_train=64, num_val=32)
    model = LinearRegression(lr=0.03)
    model.forward(torch.rand(1, 2))
    found = page(model, data)
    report = inspect(model, data)
    measures = dict(found.tables["Measures"][1:])
    assert float(measures["mean squared error"]) == pytest.approx(report.mse, rel=1e-5)
    _, *rows = found.tables["The values"]
    assert [float(row[0]) for row in rows] == pytest.approx(report.labels.flatten().tolist(), 1e-4)


def test_a_run_of_ours_is_rebuilt(blank_figures):
    gradbook.seed_everything(1)
    data = SyntheticRegressionData(num_train=64, num_val=32)
    Trainer(1, run="runs", display="off").fit(LinearRegression(lr=0.03), data)
    path = gradbook.report("linear-regression-1")
    found = assert_harmless(path.read_text(encoding="utf-8"))
    assert "Measured on the validation data, with the best state after epoch 1." in found.text
    restored = restore("linear-regression-1")
    mse = inspect(restored.model, restored.data).mse
    measures = dict(found.tables["Measures"][1:])
    assert float(measures["mean squared error"]) == pytest.approx(mse, rel=1e-5)


def test_a_class_of_ones_own_is_given(blank_figures):
    torch.manual_seed(0)
    Trainer(1, run="runs", display="off").fit(Given(), Always())
    text = gradbook.report("given-1").read_text()
    assert "needs you to name code" in text
    text = gradbook.report("given-1", classes=[Always, Given]).read_text()
    assert "Measured on the validation data" in text


class Given(gradbook.Classifier):
    """A model of a learner's own."""

    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Linear(6, 3)


def test_a_model_that_cannot_be_rebuilt_is_told_with_the_reason():
    make_run(model={**StoredRun(make_run("other")).facts["model"], "class": "my.Net"})
    text = assert_harmless(gradbook.report("mlp-1").read_text()).text
    assert "The model could not be looked at for this report: mlp-1 needs you to name code" in text
    assert "Nor has `gradbook inspect` kept a picture" in text


def test_pictures_that_were_kept_stand_in():
    folder = make_run()
    folder.joinpath("inspect").mkdir()
    folder.joinpath("inspect", "confusion.png").write_bytes(picture())
    folder.joinpath("inspect", "mistakes.png").write_bytes(b"<svg>")
    page = assert_harmless(gradbook.report("mlp-1", inspect=False).read_text())
    assert "which was asked to leave that out" in page.text
    assert "A picture cannot be shown" in page.text
    kept = [told for told in page.images if "as inspect/confusion.png" in told]
    assert page.images[kept[0]] == picture()


def test_an_error_in_a_learners_code_is_told():
    run = StoredRun(make_run())

    def rebuild(run):
        raise ZeroDivisionError("in my code <b>")

    text = assert_harmless(page_of([run], None, None, rebuild)).text
    assert "ZeroDivisionError: in my code <b>" in text


def test_what_a_rebuilding_warns_of_stands_in_the_report():
    run = StoredRun(make_run())

    def rebuild(run):
        warn("the data are others", GradbookWarning)
        data = SyntheticRegressionData(num_train=64, num_val=32)
        model = LinearRegression(lr=0.03)
        model.forward(torch.rand(1, 2))
        return SimpleNamespace(run=run, model=model, data=data, checkpoint=run.folder / "last.pt")

    assert "Beware: the data are others" in page_of([run], None, None, rebuild)
