"""`gradbook sweep`."""

import json
from pathlib import Path

import pytest

from gradbook.cli import main
from gradbook.sweeps.format import read_sweep

pytestmark = pytest.mark.usefixtures("blank_figures")

LINE = ("linear-regression-scratch", "--num-train", "64", "--num-val", "16", "--batch-size", "8")
USUAL = (*LINE, "--max-epochs", "2", "--on", "here")


def facts_of(capsys, *arguments):
    assert main(["sweep", *arguments, "--quiet", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def values(facts, name="lr"):
    return [member[name] for member in facts["members"]]


def test_without_a_model_the_help_has_examples(capsys):
    assert main(["sweep", "--help"]) == 0
    assert "gradbook sweep softmax-scratch --lr" in capsys.readouterr().out


def test_the_help_of_a_model_has_its_options_and_the_command_s(capsys):
    assert main(["sweep", "linear-regression", "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--noise", "--lr", "--seeds", "--samples", "--resume", "--on"):
        assert option in text


@pytest.mark.slow
def test_it_trains_every_combination_and_leaves_two_pictures(capsys):
    assert main(["sweep", *USUAL, "--lr", "0.03,0.1", "--seeds", "2", "--display", "lines"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("4 runs in ")
    assert "Best: lr 0.1" in text
    folder = Path("runs/linear-regression-scratch-sweep-1")
    assert f"members: gradbook runs --runs {folder}" in text
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_ranges_are_read(capsys):
    assert values(facts_of(capsys, *USUAL, "--lr", "log:0.01:0.04:3")) == [0.01, 0.02, 0.04]
    assert values(facts_of(capsys, *USUAL, "--lr", "lin:0.01:0.03:3")) == [0.01, 0.02, 0.03]


@pytest.mark.slow
def test_samples_are_drawn(capsys):
    assert len(facts_of(capsys, *USUAL, "--lr", "log:0.01:0.1", "--samples", "3")["members"]) == 3


@pytest.mark.slow
def test_seeds_begin_with_the_one_that_is_given(capsys):
    facts = facts_of(capsys, *USUAL, "--lr", "0.1", "--seed", "5", "--seeds", "2")
    assert values(facts, "seed") == [5, 6]


def test_a_value_that_is_a_list_stands_in_brackets(capsys, write):
    write(
        "from gradbook import LinearRegressionScratch\n\n"
        "class Wide(LinearRegressionScratch):\n"
        "    def __init__(self, widths=(1,), lr=0.1):\n"
        "        super().__init__(lr=lr)\n"
        "        self.save_hyperparameters()\n"
    )
    facts = facts_of(capsys, "my_file.py:Wide", *USUAL[1:], "--widths", "[1,2],[3]", "--stack")
    assert [list(value) for value in values(facts, "widths")] == [[1, 2], [3]]


@pytest.mark.slow
def test_a_sweep_is_gone_on_with(capsys):
    first = facts_of(capsys, *USUAL, "--lr", "0.03,0.1")
    again = facts_of(capsys, *USUAL, "--lr", "0.03,0.1", "--resume", first["folder"])
    assert again["members"] == first["members"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--lr", "0.1,fast"], "fast"),
        (["--lr", "log:1:0.1:3"], "from a lower to a higher"),
        (["--lr", "log:0:1:3"], "must begin above 0"),
        (["--lr", ","], "lr"),
        (["--lr", "log:0.1:1"], "num_samples"),
        (["--lrs", "0.1"], "--lr"),
        (["--lr", "0.1,0.1"], "twice"),
        (["--lr", "0.1,0.2", "--on", "spark"], "spark"),
        (["--lr", "0.1", "--samples", "3"], "no setting has several values"),
        (["--lr", "0.1,0.2", "--resume", "nowhere"], "nowhere"),
        (["--lr", "0.1,0.2", "--resume", ""], "--resume: expected a value"),
        (["--lr", "log:0.1:1:99999999"], "at most 10,000 settings, but this range has 99,999,999"),
        (["--lr", "0.1", "--seeds", "99999999"], "seed alone has 99,999,999 values"),
        (["--lr", "log:0.1:1", "--samples", "99999999"], "this one would have 99,999,999"),
        (
            ["--lr", "log:0.1:1:5000", "--noise", "0.1,0.2,0.3"],
            "would have 5,000 (lr) x 3 (noise) = 15,000",
        ),
        (["--lr", "0.1:1:3"], "log:0.1:1:3 for values evenly spaced by ratio, or lin:0.1:1:3 by"),
        (["--lr", "geom:0.1:1:3"], "a range: log:0.1:1:3 for"),
        (["--lr", "log:0.1"], "a range: log:0.01:1:5 for"),
        (["--lr", "0.1,,0.2"], "such as 1,2, but got '0.1,,0.2'"),
        (["--lr", "log:0.1:1:" + "9" * 5000], "(5000 characters)"),
        (["--lr", "9" * 5000 + ",1"], "(5000 characters)"),
    ],
)
def test_bad_input_is_refused_before_a_folder_is_made(capsys, options, words):
    assert main(["sweep", *USUAL[:-2], *options, "--quiet"]) == 2
    assert words in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_failed_member_gives_the_exit_code_one(capsys, write):
    write(
        "from gradbook import LinearRegressionScratch\n\n"
        "class Picky(LinearRegressionScratch):\n"
        "    def __init__(self, lr=0.1):\n"
        "        if lr > 1:\n"
        "            raise ValueError('no such rate')\n"
        "        super().__init__(lr=lr)\n"
    )
    options = [*USUAL[1:], "--lr", "0.1,2.0"]
    assert main(["sweep", "my_file.py:Picky", *options]) == 1
    assert "ValueError: no such rate" in capsys.readouterr().out


@pytest.mark.slow
def test_settings_that_model_and_trainer_share_are_kept_apart(capsys, write):
    place = write(
        "import gradbook\n"
        "class Net(gradbook.LinearRegression):\n"
        "    def __init__(self, max_epochs=7, lr=0.1):\n"
        "        super().__init__(lr)\n"
        "        self.save_hyperparameters()\n"
    )
    facts = facts_of(capsys, place, "--model-max-epochs", "2,3", "--trainer-max-epochs", "1")
    assert values(facts, "model_max_epochs") == [2, 3]
    kept = read_sweep(Path("runs", "net-sweep-1"))
    assert kept["fixed"]["trainer_max_epochs"] == 1
    assert "--model-max-epochs 2,3 --trainer-max-epochs 1" in " ".join(kept["command"])
