"""What stands in examples/ runs as its README says: as a notebook, as scripts and in a shell."""

import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from sections import in_kernel

from gradbook.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::gradbook.GradbookWarning")]

EXAMPLES = Path(__file__).parent.parent / "examples"
PICTURES = {
    "vectorization",
    "regression-rates",
    "sharpness",
    "softmax-rates",
    "confusion",
    "clipping",
}
PICTURES |= {"sigmoids", "activations", "depths", "overfitting", "memory"}


def run(script, *arguments, monkeypatch):
    """A script as `python script arguments` runs it, but in this process."""
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    monkeypatch.syspath_prepend(str(Path(script).parent))
    runpy.run_path(str(script), run_name="__main__")


def cells(text):
    """The code cells of a notebook that is kept as text, in jupytext's percent format."""
    parts = re.split(r"^# %%(.*)\n", text, flags=re.MULTILINE)[1:]
    marked = zip(parts[::2], parts[1::2], strict=True)
    return [code.strip() for mark, code in marked if "[markdown]" not in mark]


def test_the_homework_runs_as_a_notebook_and_shows_its_figures(monkeypatch):
    monkeypatch.setenv("LIMIT_BATCHES", "2")

    output = in_kernel(cells((EXAMPLES / "homework.py").read_text()))

    assert "train_loss became NaN or infinite" in output
    assert output.count("<text/html>") >= len(PICTURES) - 2  # two draw with pyplot, as an image
    assert not Path("homework-pictures").exists()


def test_the_homework_runs_as_a_script_and_saves_its_figures(monkeypatch, capsys):
    monkeypatch.setenv("LIMIT_BATCHES", "2")

    run(EXAMPLES / "homework.py", monkeypatch=monkeypatch)

    assert {path.stem for path in Path("homework-pictures").iterdir()} == PICTURES
    printed = capsys.readouterr().out
    assert "A.t().reshape(6)  has the memory of A: False" in printed
    critical = [float(rate) for rate in re.findall(r"stable below lr ([\d.]+)\n", printed)]
    assert 3 * critical[0] < critical[1]  # images without their mean allow a larger rate
    assert "\noverfitting: val_loss rises" in printed


def test_own_data_and_model_are_trained_inspected_compared_and_handed_on(monkeypatch, capsys):
    run(EXAMPLES / "own_data_and_model" / "use.py", monkeypatch=monkeypatch)

    printed = capsys.readouterr().out
    assert float(re.search(r"\nR2 +([\d.]+)", printed)[1]) > 0.9
    assert all(Path(file).is_file() for file in ("runs/noon-1/run.json", "widths.png", "noon.pt"))


def test_the_commands_of_the_readme_run(capsys):
    shutil.copytree(EXAMPLES / "own_data_and_model", ".", dirs_exist_ok=True)
    commands = re.findall(
        r"^    (gradbook .+)$", (EXAMPLES / "README.md").read_text(), re.MULTILINE
    )
    assert len(commands) == 6

    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command

    printed = capsys.readouterr().out
    assert "num_hiddens 4" in printed
    assert "verified: its outputs" in printed


def test_a_class_s_runs_are_told_drawn_and_one_of_them_comes_again(monkeypatch, capsys):
    run(EXAMPLES / "class_comparison.py", monkeypatch=monkeypatch)

    printed = capsys.readouterr().out
    learners = re.findall(r"^(\w+)/linear-regression-scratch-1 +linear", printed, re.MULTILINE)
    assert learners == ["anna", "ben", "clara"]
    assert Path("class.png").is_file()
    assert "anna/linear-regression-scratch-1 trained again: the same to the last digit" in printed


def test_a_damaged_run_that_was_handed_in_is_named_and_passed_over(monkeypatch, capsys):
    run(EXAMPLES / "class_comparison.py", monkeypatch=monkeypatch)
    Path("handed-in/ben/linear-regression-scratch-1/run.json").write_text("{")
    capsys.readouterr()

    run(EXAMPLES / "class_comparison.py", "handed-in", monkeypatch=monkeypatch)

    printed = capsys.readouterr().out
    assert "damaged: handed-in/ben/linear-regression-scratch-1: " in printed
    assert "clara/linear-regression-scratch-1 " in printed
