"""The benchmark runs: few images, one round, nothing said about speed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.patience import LONGEST

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "training.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


def test_training_measures_and_reports(tmp_path):
    report_file = tmp_path / "report.json"
    trial = "--rounds 1 --warmups 0 --limit 300 --patience 0 --imports 0 --quality 1 --epochs 1"
    names = "plain,gradbook-own"

    done = run(*trial.split(), "--contenders", names, "--json", str(report_file))

    assert done.returncode == 0, done.stderr
    report = json.loads(report_file.read_text(encoding="utf-8"))
    measured = [(result["model"], result["name"]) for result in report["epochs"]]
    assert measured == [
        (model, name) for model in ("softmax", "concise", "mlp") for name in names.split(",")
    ], done.stderr
    assert all(len(result["seconds"]) == 1 for result in report["epochs"])
    assert all(0 < result["accuracy"] <= 1 for result in report["epochs"])
    assert "MLP 784-256-10" in done.stdout


@pytest.mark.parametrize(
    "arguments", [["--models", "cnn"], ["--contenders", "nobody"], ["--python", "keras"]]
)
def test_unknown_names_are_refused(arguments):
    done = run(*arguments)

    assert done.returncode == 2
    assert "usage" in done.stderr
