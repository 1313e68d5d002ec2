import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.runs.folders import make_run
from torch import nn

from gradbook import Classifier, DataModule, LinearRegression, SyntheticRegressionData
from gradbook.cli import inspect
from gradbook.cli.entry import main
from gradbook.runs import StoredRun


class Images(DataModule):
    def __init__(self, X):
        super().__init__()
        self.X, self.y, self.batch_size = X, torch.arange(len(X)) % 3, 8

    def get_dataloader(self, train):
        return self.get_tensorloader((self.X, self.y), train)


class Net(Classifier):
    def __init__(self, *widths):
        super().__init__()
        layers = [nn.Linear(*pair) for pair in pairwise(widths)]
        self.net = nn.Sequential(nn.Flatten(), *layers)


@pytest.fixture
def restored(monkeypatch):
    """Has the commands find a run of the given model and data."""

    def restore(model, data):
        run = StoredRun(Path("runs/net-1") if Path("runs/net-1").exists() else make_run("net-1"))
        found = SimpleNamespace(run=run, model=model, data=data, checkpoint=Path("best.pt"))
        monkeypatch.setattr(inspect, "restore", lambda asked: found)

    return restore


def result(capsys, *arguments):
    code = main(["inspect", "net-1", *arguments, "--json"])
    assert code == 0
    return json.loads(capsys.readouterr().out)


def pictures():
    return sorted(path.name for path in Path("runs/net-1/inspect").iterdir())


@pytest.mark.slow
def test_a_classifier_of_images(restored, capsys):
    restored(Net(30, 3), Images(torch.rand(20, 1, 6, 5)))
    facts = result(capsys)
    assert facts["kind"] == "classification"
    assert facts["checkpoint"] == "best"
    assert facts["split"] == "val"
    assert len(facts["pictures"]) == 8
    assert all(Path(file).is_file() for file in facts["pictures"])
    assert {Path(file).stem for file in facts["pictures"]} == {
        "confusion",
        "calibration",
        "mistakes",
        "weights",
    }


@pytest.mark.slow
def test_without_weights_that_are_images(restored, capsys):
    restored(Net(30, 4, 3), Images(torch.rand(20, 1, 6, 5)))
    result(capsys)
    assert "weights.png" not in pictures()
    assert "mistakes.png" in pictures()


@pytest.mark.slow
def test_without_images(restored, capsys):
    restored(Net(2, 3), Images(torch.rand(20, 2)))
    result(capsys)
    drawn = ("boundary", "calibration", "confusion")
    assert pictures() == [f"{name}.{kind}" for name in drawn for kind in ("png", "svg")]


@pytest.mark.slow
def test_pictures_of_an_earlier_report_are_removed(restored, capsys):
    restored(Net(30, 3), Images(torch.rand(20, 1, 6, 5)))
    result(capsys)
    Path("runs/net-1/inspect/mine.png").touch()
    restored(LinearRegression(), SyntheticRegressionData(num_val=10))
    result(capsys)
    left = {name.partition(".")[0] for name in pictures()}
    assert left == {"mine", "boundary", "predicted", "residuals"}


def test_an_earlier_picture_that_cannot_be_removed_is_named(restored, capsys):
    restored(LinearRegression(), SyntheticRegressionData(num_val=10))
    Path("runs/net-1/inspect/residuals.svg").mkdir(parents=True)
    assert main(["inspect", "net-1"]) == 1
    assert "residuals.svg cannot be written" in capsys.readouterr().err


@pytest.mark.slow
def test_numbers_that_are_none_are_null(restored, capsys):
    model = Net(2, 3)
    nn.init.zeros_(model.net[1].weight)
    restored(model, Images(torch.rand(20, 2)))
    precisions = [each["precision"] for each in result(capsys)["classes"]]
    assert sorted(precisions, key=str)[1:] == [None, None]


@pytest.mark.slow
def test_the_tables_are_printed(restored, capsys):
    restored(Net(2, 3), Images(torch.rand(20, 2)))
    assert main(["inspect", "net-1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("net-1: Net on Images, validation set\ncheckpoint best\n\naccuracy ")
    assert "precision  recall" in out
    assert "runs/net-1/inspect/confusion.svg" in out.replace("\\", "/")


@pytest.mark.slow
def test_the_training_set(restored, capsys):
    data = SyntheticRegressionData(num_train=20, num_val=10)
    restored(LinearRegression(), data)
    assert result(capsys)["num_examples"] == 10
    facts = result(capsys, "--train")
    assert (facts["split"], facts["num_examples"]) == ("train", 20)


@pytest.mark.slow
def test_a_regression(restored, capsys):
    restored(LinearRegression(), SyntheticRegressionData(num_val=10))
    facts = result(capsys)
    assert [each["name"] for each in facts["parameters"]] == ["w[0]", "w[1]", "b"]
    drawn = ("boundary", "predicted", "residuals")
    assert pictures() == [f"{name}.{kind}" for name in drawn for kind in ("png", "svg")]


@pytest.mark.slow
def test_a_run_that_was_kept(capsys):
    assert main(["train", "linear-regression", "--max-epochs", "2", "--quiet"]) == 0
    assert main(["inspect", "linear-regression-1", "--checkpoint", "last", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["distance"] < 1
    assert (facts["checkpoint"], facts["epoch"]) == ("last", 2)
    assert Path("runs/linear-regression-1/inspect/predicted.svg").is_file()


def test_help(capsys):
    assert main(["inspect", "--help"]) == 0
    assert "--train" in capsys.readouterr().out


@pytest.mark.slow
def test_pictures_of_the_training_set_have_names_of_their_own(restored, capsys):
    restored(Net(2, 3), Images(torch.rand(20, 2)))
    result(capsys)
    result(capsys, "--train")
    assert {"confusion.png", "confusion-train.png"} <= set(pictures())
