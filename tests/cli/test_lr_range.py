"""`gradbook lr-range`."""

import json
from pathlib import Path

import pytest

from gradbook.cli import main


def facts_of(capsys, *arguments):
    assert main(["lr-range", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_without_a_model_the_help_has_examples(capsys):
    assert main(["lr-range", "--help"]) == 0
    assert "gradbook lr-range mlp\n" in capsys.readouterr().out


def test_the_help_of_a_model_has_its_options_and_the_command_s(capsys):
    assert main(["lr-range", "linear-regression", "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--noise", "--lowest", "--highest", "--steps", "--output"):
        assert option in text


@pytest.mark.slow
def test_it_suggests_a_rate_and_leaves_two_pictures(capsys):
    assert main(["lr-range", "linear-regression-scratch", "--seed", "1"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("linear-regression-scratch on synthetic-regression, seed 1\n")
    assert "suggestion: lr=" in text
    assert "\npicture: lr-range.svg, lr-range.png (the next one" in text
    assert b"<svg" in Path("lr-range.svg").read_bytes()
    assert Path("lr-range.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_json_has_the_rates_and_losses(capsys):
    facts = facts_of(
        capsys, "linear-regression", "--lowest", "1e-3", "--highest", "0.1", "--steps", "11"
    )
    assert facts["rates"][0] == pytest.approx(1e-3)
    assert facts["rates"][-1] == pytest.approx(0.1)
    assert len(facts["losses"]) == len(facts["smoothed"]) == 11
    assert facts["status"] == "finished"


@pytest.mark.slow
def test_the_same_seed_gives_the_same_figures(capsys):
    first = facts_of(capsys, "linear-regression", "--seed", "4")
    assert facts_of(capsys, "linear-regression", "--seed", "4") == first


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_null(capsys, write):
    write(
        "from gradbook import LinearRegression\n\n"
        "class Broken(LinearRegression):\n"
        "    def loss(self, y_hat, y):\n"
        "        self.calls = getattr(self, 'calls', 0) + 1\n"
        "        return super().loss(y_hat, y) * (float('nan') if self.calls > 50 else 1)\n"
    )
    facts = facts_of(capsys, "my_file.py:Broken")
    assert facts["losses"][-1] is None
    assert facts["status"] == "diverged"


@pytest.mark.slow
def test_output_names_the_one_picture(capsys):
    assert facts_of(capsys, "linear-regression", "--output", "r.svg")["pictures"] == ["r.svg"]
    assert not Path("lr-range.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name the model first"),
        (["linear-regression", "--lowest", "small"], "expected a number, but got 'small'"),
        (["linear-regression", "--lowest", "20"], "highest must be above lowest=20"),
        (["linear-regression", "--steps", "5"], "num_steps must be a whole number of at least 10"),
        (["linear-regression", "--output", "r.pdf"], "a picture ends in .svg or .png"),
        (["linear-regression", "--low", "1"], "There is no option '--low'"),
    ],
)
def test_a_command_line_that_cannot_be_used_is_refused(capsys, arguments, message):
    assert main(["lr-range", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_quiet_prints_nothing(capsys):
    assert main(["lr-range", "linear-regression", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
