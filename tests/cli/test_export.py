import json
from pathlib import Path

import pytest
import torch

from gradbook import LinearRegression
from gradbook.cli.entry import main
from gradbook.inspection import export as exporting
from gradbook.inspection.export import load_safetensors

pytestmark = pytest.mark.slow


@pytest.fixture
def run():
    arguments = ["linear-regression", "--max-epochs", "1", "--num-val", "100", "--quiet"]
    assert main(["train", *arguments]) == 0
    return "linear-regression-1"


@pytest.mark.parametrize(
    ("to", "name"),
    [
        ("safetensors", "model.safetensors"),
        ("onnx", "model.onnx"),
        ("torch-export", "model.pt2"),
    ],
)
def test_an_export_into_the_runs_folder(run, capfd, to, name):
    assert main(["export", run, "--to", to]) == 0
    captured = capfd.readouterr()
    path = Path("runs", run, name)
    first, second, *_ = captured.out.splitlines()
    assert first == f"{path}  {path.stat().st_size:,} bytes"
    assert second.startswith("checkpoint best, after epoch 1, chosen by val_loss ")
    assert "\nverified: " in captured.out
    assert captured.err == ""


def test_the_result_as_json(run, capsys):
    assert main(["export", run, "--to", "safetensors", "--output", "new/a.st", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["file"] == str(Path("new/a.st"))
    assert facts["num_bytes"] == Path("new/a.st").stat().st_size
    assert facts["num_examples"] == 32
    assert (facts["checkpoint"], facts["epoch"]) == ("best", 1)
    assert 0 <= facts["difference"] <= facts["allowed"]


def test_the_parameters_of_the_run_are_exported(run, capsys):
    main(["export", run, "--to", "safetensors", "--output", "a.st"])
    model = LinearRegression()
    load_safetensors(model, "a.st")
    main(["inspect", run, "--json"])
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    learned = [each["learned"] for each in facts["parameters"]]
    assert [*model.net.weight[0].tolist(), model.net.bias.item()] == learned


def test_data_without_a_validation_set(capsys):
    training = ["linear-regression", "--max-epochs", "1", "--num-val", "0", "--quiet"]
    assert main(["train", *training]) == 0
    assert main(["export", "linear-regression-1", "--to", "safetensors"]) == 0


def test_an_export_that_fails_leaves_no_file(run, capsys, monkeypatch):
    def spoiled(model, inputs):
        return b"", lambda batch: torch.full((len(batch[0]), 1), 1e6)

    monkeypatch.setitem(exporting._FORMATS, "onnx", spoiled)
    assert main(["export", run, "--to", "onnx"]) == 1
    assert "Nothing was written" in capsys.readouterr().err
    assert not Path("runs", run, "model.onnx").exists()


def test_a_format_must_be_named(capsys):
    assert main(["export", "linear-regression-1"]) == 2
    assert "--to" in capsys.readouterr().err


def test_help(capsys):
    assert main(["export", "--help"]) == 0
    assert "torch-export" in capsys.readouterr().out
