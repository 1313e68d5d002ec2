"""`gradbook graph`, as it is typed."""

import json
from pathlib import Path

import pytest

from gradbook.cli.entry import main

NET = """
from torch import nn
from gradbook import Module

class Net(Module):
    def __init__(self, width: int = 3):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1))

    def loss(self, y_hat, y):
        return ((y_hat - y) ** 2).mean()
"""


def run(capsys, *arguments):
    code = main(["graph", *arguments, "--json"])
    assert code == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_a_model_is_drawn_in_this_folder(capsys):
    assert main(["graph", "linear-regression-scratch", "--seed", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("LinearRegressionScratch on a batch of 32; the loss is ")
    assert "6 operations, 6 of them on the longest path" in out
    assert " ".join(out.split()).endswith("--output FILE keeps it)")
    assert Path("graph.svg").read_bytes().startswith(b"<?xml")
    assert Path("graph.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_picture_is_left_where_it_is_wanted(capsys):
    facts = run(capsys, "linear-regression", "--output", "mine.SVG")
    assert facts["pictures"] == ["mine.SVG"]
    assert [path.name for path in Path().iterdir()] == ["mine.SVG"]


@pytest.mark.slow
def test_a_learners_own_model_with_its_options(capsys, write):
    facts = run(capsys, f"{write(NET)}:Net", "--width", "5", "--batch-size", "7", "--seed", "4")
    assert facts["model"] == "Net"
    assert (facts["batch_size"], facts["seed"]) == (7, 4)
    operations = {operation["name"]: operation for operation in facts["operations"]}
    assert operations["tanh"]["shape"] == [7, 5]
    assert operations["linear"]["layers"][-1] == "net.0 Linear"


@pytest.mark.slow
def test_values_and_gradients_on_request(capsys):
    plain = run(capsys, "linear-regression-scratch")["operations"]
    assert {o["gradient_norm"] for o in plain} == {None}
    rich = run(capsys, "linear-regression-scratch", "--values", "--gradients")["operations"]
    assert rich[-1]["gradient_norm"] == 1
    assert rich[-1]["values"]["min"] == rich[-1]["values"]["max"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(capsys):
    first, second = (run(capsys, "linear-regression-scratch", "--seed", "3") for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["linear-regression", "--output", "graph.pdf"], "ends in .svg or .png"),
        (["linear-regression", "--group", "layers"], "--group"),
        (["liner-regression"], "Did you mean 'linear-regression'"),
        ([], "Name the model first"),
    ],
)
def test_a_command_line_that_cannot_be_used(arguments, message, capsys):
    assert main(["graph", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not Path("graph.svg").exists()


def test_help_has_an_example(capsys):
    assert main(["graph", "--help"]) == 0
    assert "gradbook graph mlp --num-hiddens 256,128" in capsys.readouterr().out
    assert main(["graph", "linear-regression", "--help"]) == 0
    assert "--gradients" in capsys.readouterr().out
