"""`gradbook report`."""

import json
from pathlib import Path

import pytest
from tests.reports.reading import assert_harmless
from tests.runs.folders import make_run

from gradbook import SyntheticRegressionData, Trainer
from gradbook.cli.entry import main
from gradbook.models import LinearRegression

pytestmark = pytest.mark.usefixtures("blank_figures")


def written(path="report.html"):
    return assert_harmless(Path(path).read_text(encoding="utf-8"))


def test_a_report_is_written(capsys):
    make_run()
    assert main(["report", "mlp-1", "--no-inspect", "--title", "Mine", "--author", "Kim"]) == 0
    assert written().headings[0] == "Mine"
    assert capsys.readouterr().out.startswith("report: report.html  ")


def test_as_json_it_says_what_was_written(capsys):
    make_run()
    assert main(["report", "mlp-1", "-o", "a.html", "--no-inspect", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    size = Path("a.html").stat().st_size
    assert facts["report"] == "a.html"
    assert facts["num_bytes"] == size
    assert (facts["runs"], facts["damaged"], facts["exit_code"]) == (["mlp-1"], [], 0)


def test_runs_elsewhere_are_found():
    make_run()
    Path("runs").rename("others")
    assert main(["report", "mlp-1", "--runs", "others", "--no-inspect"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Name a run or a sweep"),
        (["mlp-7"], "There is no run 'mlp-7'"),
        (["mlp-1", "-o", "a.pdf"], "ends in .html"),
        (["mlp-1", "mlp-1"], "named more than once"),
    ],
)
def test_what_cannot_be_used_is_said(capsys, words, message):
    make_run()
    assert main(["report", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_file_of_ones_own_is_not_overwritten(capsys):
    make_run()
    Path("report.html").write_text("mine")
    assert main(["report", "mlp-1", "--no-inspect"]) == 2
    assert "is not overwritten" in " ".join(capsys.readouterr().err.split())
    assert Path("report.html").read_text() == "mine"


def test_with_a_damaged_run_the_report_is_written_and_the_command_fails(capsys):
    make_run()
    Path(make_run("mlp-2"), "run.json").write_text("{}")
    assert main(["report", "mlp-1", "mlp-2", "--no-inspect"]) == 1
    assert "mlp-2" in written().headings
    assert "Damaged, as the report says with the reason: mlp-2." in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_of_ours_is_measured(blank_figures):
    data = SyntheticRegressionData(num_train=64, num_val=32)
    Trainer(1, run="runs", display="off").fit(LinearRegression(lr=0.03), data)
    assert main(["report", "linear-regression-1"]) == 0
    assert "mean squared error" in dict(written().tables["Measures"])


MINE = """
import torch
from d2l import torch as d2l

class {name}(d2l.Classifier):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2))
"""


@pytest.mark.slow
def test_each_run_gets_the_class_that_has_its_name(write, capsys, blank_figures):
    for name in ("First", "Second"):
        write(MINE.format(name=name), f"{name.lower()}.py")
        words = ["train", f"{name.lower()}.py:{name}", "--data", "moons", "--max-epochs", "1"]
        assert main([*words, "--name", name.lower(), "--quiet"]) == 0
    named = ["--model", "second.py:Second", "--model", "first.py:First"]
    assert main(["report", "first-1", "second-1", *named]) == 0
    assert written().text.count("Measured on the validation data") == 2
    assert main(["report", "first-1", "second-1", *named[:2]]) == 0
    assert written().text.count("Measured on the validation data") == 1
    assert "add: --model first.py:First" in written().text
