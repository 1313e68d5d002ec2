import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.runs.folders import make_run
from torch import nn

from gradbook import Classifier, DataModule, LinearRegression, SyntheticRegressionData
from gradbook.cli import predict
from gradbook.cli.entry import main
from gradbook.runs import StoredRun


class Spots(DataModule):
    """Images of 6 x 6 pixels with a bright spot, whose place is the class."""

    def __init__(self, shape=(1, 6, 6), num_classes=4):
        super().__init__()
        self.X = torch.zeros(16, 36)
        self.y = torch.arange(16) % num_classes
        self.X[range(16), self.y + 14] = 1
        self.X, self.batch_size = self.X.reshape(16, *shape), 8

    def text_labels(self, indices):
        return [("zero", "one", "two", "three")[int(i)] for i in indices]

    def get_dataloader(self, train):
        return self.get_tensorloader((self.X, self.y), train)


class Finder(Classifier):
    """Knows where the spots are."""

    def __init__(self, num_classes=4, factor=3.0):
        super().__init__()
        self.register_buffer("factor", torch.tensor(factor))
        self.num_classes = num_classes

    def forward(self, X):
        return self.factor * X.flatten(1)[:, 14 : 14 + self.num_classes]


@pytest.fixture
def restored(monkeypatch):
    """Has the command find a run of the given model and data."""

    def restore(model, data):
        run = StoredRun(make_run("net-1"))
        found = SimpleNamespace(run=run, model=model, data=data, checkpoint=Path("best.pt"))
        monkeypatch.setattr(predict, "restore", lambda asked: found)

    return restore


@pytest.fixture
def finder(restored):
    restored(Finder(), Spots())


def answers(told):
    """What was printed of the images, without the lines about the checkpoint."""
    text = told.out if hasattr(told, "out") else told.readouterr().out
    return text.partition("\n\n")[2]


def draw(name, label, dark=0, bright=255):
    pixels = np.full(36, dark, np.uint8)
    pixels[14 + label] = bright
    Image.fromarray(pixels.reshape(6, 6)).save(name)
    return name


def test_the_three_best_classes_of_each_image(finder, capsys):
    draw("a.png", 2)
    draw("longer.png", 0)
    assert main(["predict", "net-1", "a.png", "longer.png"]) == 0
    first, second = capsys.readouterr().out.splitlines()[2:]
    best, other = (torch.tensor([3.0, 0, 0, 0]).softmax(0)[i] for i in (0, 1))
    assert first.split()[:3] == ["a.png", "two", f"{best:.2f}"]
    assert len(first.split()) == 7
    assert f" {other:.2f}" in first
    assert second.split()[:2] == ["longer.png", "zero"]
    assert first.index("two") == second.index("zero")


def test_the_result_as_json(finder, capsys):
    assert main(["predict", "net-1", draw("a.png", 3), "--json"]) == 0
    (image,) = json.loads(capsys.readouterr().out)["images"]
    assert image["file"] == "a.png"
    assert image["looks_inverted"] is False
    assert [image["classes"][0][key] for key in ("class", "name")] == [3, "three"]
    probability = float(torch.tensor([3.0, 0, 0, 0]).softmax(0)[0])
    assert image["classes"][0]["probability"] == pytest.approx(probability)
    assert len(image["classes"]) == 3


def test_the_checkpoint_is_told(finder, capsys):
    assert main(["predict", "net-1", draw("a.png", 3)]) == 0
    assert capsys.readouterr().out.startswith("checkpoint best\n\na.png")


def test_a_model_that_gives_probabilities(restored, capsys):
    restored(Finder(factor=1.0), Spots())
    assert main(["predict", "net-1", draw("a.png", 1)]) == 0
    assert answers(capsys).split()[:3] == ["a.png", "one", "1.00"]


def test_fewer_than_three_classes(restored, capsys):
    restored(Finder(num_classes=2), Spots(num_classes=2))
    assert main(["predict", "net-1", draw("a.png", 1)]) == 0
    assert len(answers(capsys).split()) == 5


def test_data_without_a_channel(restored, capsys):
    restored(Finder(), Spots(shape=(6, 6)))
    assert main(["predict", "net-1", draw("a.png", 1)]) == 0
    assert answers(capsys).split()[1] == "one"


@pytest.mark.filterwarnings("always::gradbook.errors.GradbookWarning")
def test_an_inverted_image_is_classified_as_it_is_with_a_warning(finder, capsys):
    assert main(["predict", "net-1", draw("a.png", 1, dark=255, bright=0)]) == 0
    captured = capsys.readouterr()
    assert "a.png has a border of brightness 1.00" in captured.err
    assert "try --invert" in captured.err
    assert answers(captured).split()[1] != "one"


def test_an_inverted_image_is_put_right_when_asked(finder, capsys):
    name = draw("a.png", 1, dark=255, bright=0)
    assert main(["predict", "net-1", name, "--invert"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert answers(captured).split()[1] == "one"


@pytest.mark.filterwarnings("always::gradbook.errors.GradbookWarning")
def test_an_image_that_was_right_before_it_was_inverted(finder, capsys):
    assert main(["predict", "net-1", draw("a.png", 1), "--invert"]) == 0
    assert "do without --invert" in capsys.readouterr().err


def test_what_cannot_be_read_does_not_keep_the_others_from_it(finder, capsys):
    Path("text.png").write_text("no image")
    assert main(["predict", "net-1", "text.png", draw("a.png", 1), "nothing.png"]) == 1
    captured = capsys.readouterr()
    assert answers(captured).split()[:2] == ["a.png", "one"]
    assert captured.err.splitlines() == [
        "error: text.png is not a PNG or JPEG image. Give it as one.",
        "error: There is no file 'nothing.png'.",
    ]


def test_what_cannot_be_read_is_in_the_json_too(finder, capsys):
    assert main(["predict", "net-1", draw("a.png", 1), "nothing.png", "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["exit_code"] == 1
    assert "classes" in facts["images"][0]
    assert "no file 'nothing.png'" in facts["images"][1]["error"]


def test_only_files_that_cannot_be_read(finder, capsys):
    assert main(["predict", "net-1", "nothing.png"]) == 1
    assert capsys.readouterr().out == ""


def test_a_regression_classifies_nothing(restored, capsys):
    restored(LinearRegression(), SyntheticRegressionData())
    assert main(["predict", "net-1", draw("a.png", 1)]) == 2
    assert "LinearRegression is a regression" in capsys.readouterr().err


def test_a_classifier_of_something_else(restored, capsys):
    restored(nn.Linear(36, 4), Spots(shape=(36,)))
    assert main(["predict", "net-1", draw("a.png", 1)]) == 2
    assert "net-1 does not classify images" in capsys.readouterr().err


def test_no_image(capsys):
    assert main(["predict", "net-1"]) == 2
    assert "IMAGE" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_was_kept(write, capsys):
    source = Path(__file__).read_text(encoding="utf-8")
    own = source[source.index("class Spots") : source.index("class Finder")]
    place = write(f"import torch\nfrom gradbook import DataModule\n\n\n{own}")
    options = ["--data", f"{place}:Spots"]
    training = ["softmax", *options, "--num-outputs", "4", "--max-epochs", "40", "--lr", "1"]
    assert main(["train", *training, "--quiet"]) == 0
    name = draw("a.png", 3)
    assert main(["predict", "softmax-regression-1", name, *options]) == 0
    assert answers(capsys).split()[1] == "three"


def test_help(capsys):
    assert main(["predict", "--help"]) == 0
    assert "--invert" in capsys.readouterr().out
