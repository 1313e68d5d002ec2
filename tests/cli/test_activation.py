"""`gradbook activation`."""

import json
from pathlib import Path

import pytest

from gradbook.cli import main


@pytest.mark.slow
def test_it_leaves_both_pictures_and_says_what_it_found(capsys):
    assert main(["activation", "sigmoid", "--compose", "3"]) == 0
    output = capsys.readouterr().out
    assert "sigmoid             max slope 0.25 at x = 0" in output
    assert "picture: activation.svg, activation.png" in output
    assert Path("activation.svg").read_bytes().startswith(b"<?xml")
    assert Path("activation.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_picture_goes_where_it_is_wanted(capsys):
    assert main(["activation", "relu", "--output", "relu.png"]) == 0
    assert Path("relu.png").exists()
    assert not Path("activation.svg").exists()


@pytest.mark.slow
def test_json_has_the_numbers(capsys):
    assert main(["activation", "sigmoid", "--compose", "2", "--low", "-4", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["range"] == [-4, 8]
    assert facts["maximum_derivative"][0] == pytest.approx(0.25)
    assert facts["pictures"] == ["activation.svg", "activation.png"]


def test_help_has_an_example(capsys):
    assert main(["activation", "--help"]) == 0
    assert "gradbook activation sigmoid --compose 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sigmod"], "Did you mean 'sigmoid'"),
        (["relu", "--compose", "0"], "whole number above 0"),
        (["relu", "--compose", "1000"], "at most 100"),
        (["relu", "--low", "9"], "low must be less than high"),
        (["relu", "--output", "relu.gif"], ".svg or .png"),
        (["relu", "--tims", "2"], "no option '--tims'"),
        ([], "function|FUNCTION"),
    ],
)
def test_a_wrong_command_line_is_explained(capsys, arguments, message):
    assert main(["activation", *arguments]) == 2
    error = capsys.readouterr().err
    assert any(part in error for part in message.split("|"))
    assert not Path("activation.svg").exists()
