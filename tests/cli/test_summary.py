"""`gradbook summary`, as it is typed."""

import json

from gradbook.cli.entry import main

MODEL = ["summary", "mlp-scratch", "--data", "moons", "--num-inputs", "2", "--num-outputs", "2"]


def test_the_layers_of_a_model_are_listed(capsys):
    assert main([*MODEL, "--num-hiddens", "3"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("MLPScratch on an input of (32, 2)\n")
    assert "17 parameters" in out
    assert f"{32 * (6 + 6)} multiply-adds" in out


def test_they_are_given_as_json_up_to_a_depth(capsys):
    assert main(["summary", "linear-regression", "--depth", "1", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["parameters"], facts["multiply_adds"]) == (3, 64)
    assert [row["name"] for row in facts["rows"]] == ["", "net"]
