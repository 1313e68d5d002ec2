"""`gradbook sharpness`."""

import json
from pathlib import Path

import pytest

from gradbook.cli import main


def facts_of(capsys, *arguments):
    assert main(["sharpness", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_without_a_model_the_help_has_examples(capsys):
    assert main(["sharpness", "--help"]) == 0
    text = capsys.readouterr().out
    assert "gradbook sharpness linear-regression\n" in text
    assert "mlp-scratch" in text


def test_the_help_of_a_model_has_its_options_and_the_command_s(capsys):
    assert main(["sharpness", "linear-regression", "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--lr", "--noise", "--num-examples", "--epochs", "--steps", "--output"):
        assert option in text
    assert "--max-epochs" not in text


@pytest.mark.slow
def test_it_says_what_it_found_and_leaves_two_pictures(capsys):
    assert main(["sharpness", "linear-regression-scratch", "--seed", "1"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("linear-regression-scratch on synthetic-regression, seed 1\n")
    assert "critical learning rate 2 / " in text
    assert "\npicture: sharpness.svg, sharpness.png (the next one" in text
    assert b"<svg" in Path("sharpness.svg").read_bytes()
    assert Path("sharpness.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_json_has_the_figures(capsys):
    facts = facts_of(capsys, "linear-regression", "--seed", "1", "--lr", "0.5", "--num-train", "50")
    assert facts["critical_lr"] == pytest.approx(2 / facts["eigenvalue"])
    assert facts["lr"] == 0.5
    assert (facts["model"], facts["seed"], facts["epochs"]) == ("linear-regression", 1, 0)
    assert facts["num_examples"] == 50
    assert facts["exit_code"] == 0


@pytest.mark.slow
def test_the_same_seed_gives_the_same_figures(capsys):
    first = facts_of(capsys, "linear-regression", "--seed", "4")
    assert facts_of(capsys, "linear-regression", "--seed", "4") == first
    assert facts_of(capsys, "linear-regression", "--seed", "5") != first


@pytest.mark.slow
def test_output_names_the_one_picture(capsys):
    facts = facts_of(capsys, "linear-regression", "--output", "edge.PNG")
    assert facts["pictures"] == ["edge.PNG"]
    assert Path("edge.PNG").exists()
    assert not Path("sharpness.svg").exists()


@pytest.mark.slow
def test_it_trains_first_if_it_is_asked_to(capsys):
    before = facts_of(capsys, "linear-regression", "--seed", "1")
    after = facts_of(capsys, "linear-regression", "--seed", "1", "--epochs", "2")
    assert after["epochs"] == 2
    assert after["loss"] < before["loss"] / 10


@pytest.mark.slow
def test_the_training_before_it_has_curves_and_no_summary(capsys):
    main(["sharpness", "linear-regression", "--epochs", "2", "--display", "lines"])
    text = capsys.readouterr().out
    assert text.startswith("epoch 1/2  ")
    assert "verdict" not in text


@pytest.mark.slow
def test_with_steps_it_follows_full_batch_training(capsys):
    facts = facts_of(
        capsys, "linear-regression-scratch", "--lr", "0.25", "--steps", "8", "--num-examples", "40"
    )
    assert facts["edge"] == 8
    assert facts["steps"] == list(range(9))
    assert facts["num_examples"] == 40
    assert facts["status"] == "finished"


@pytest.mark.slow
def test_a_class_of_the_learner_s_own_is_measured(capsys, write):
    write(
        "from gradbook import LinearRegression\n\n"
        "class Steep(LinearRegression):\n"
        "    def loss(self, y_hat, y):\n"
        "        return 100 * super().loss(y_hat, y)\n"
    )
    facts = facts_of(capsys, "my_file.py:Steep", "--seed", "1")
    plain = facts_of(capsys, "linear-regression", "--seed", "1")
    assert facts["eigenvalue"] == pytest.approx(100 * plain["eigenvalue"], rel=1e-3)


@pytest.mark.slow
def test_a_model_without_a_rate_cannot_be_followed(capsys, write):
    write(
        "from gradbook import Module\n"
        "import torch\n\n"
        "class Net(Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.net = torch.nn.Linear(2, 1)\n"
        "    def loss(self, y_hat, y):\n"
        "        return ((y_hat - y) ** 2).mean()\n"
    )
    assert main(["sharpness", "my_file.py:Net", "--steps", "3"]) == 1
    assert "Net has no learning rate" in capsys.readouterr().err
    assert main(["sharpness", "my_file.py:Net"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name the model first"),
        (["alexnet"], "alexnet"),
        (["mlp", "--output", "edge.gif"], "a picture ends in .svg or .png"),
        (["mlp", "--steps", "0"], "expected a whole number above 0"),
        (["mlp", "--num-example", "3"], "Did you mean '--num-examples'?"),
    ],
)
def test_a_command_line_that_cannot_be_used_is_refused(capsys, arguments, message):
    assert main(["sharpness", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_quiet_prints_nothing(capsys):
    assert main(["sharpness", "linear-regression", "--steps", "3", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert Path("sharpness.svg").exists()
