"""tools/run_book.py: which cells of a book are PyTorch's, and what is said of one that fails."""

import argparse
import importlib.util
import sys
from pathlib import Path

import pytest

from gradbook import torchvision_standin

_PATH = Path(__file__).parent.parent / "tools" / "run_book.py"
_SPEC = importlib.util.spec_from_file_location("run_book", _PATH)
run_book = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(run_book)


def fence(code, attributes=".python .input"):
    return f"Words about it.\n\n```{{{attributes}}}\n{code}\n```\n\n"


def run(tmp_path, *cells, **options):
    (tmp_path / "book" / "chapter_one").mkdir(parents=True)
    path = tmp_path / "book" / "chapter_one" / "section.md"
    path.write_text("".join(fence(f"%%tab pytorch\n{cell}") for cell in cells))
    settings = {
        "max_epochs": None,
        "cell_seconds": 60,
        "file_seconds": 120,
        "default_tab": None,
        "jobs": 1,
        "keep": tmp_path / "kept",
    }
    settings |= options
    (result,) = run_book.run_book(tmp_path / "book", [], argparse.Namespace(**settings))
    assert result["file"] == "chapter_one/section.md"
    return result["cells"]


@pytest.mark.parametrize(
    "mark",
    [
        "%%tab pytorch",
        "%%tab all",
        "%%tab mxnet, pytorch",
        "#@tab pytorch",
        "#@tab all",
        "# @tab all",
    ],
)
def test_a_cell_with_a_mark_of_pytorch_or_of_all_is_ours_and_loses_the_mark(mark):
    assert run_book.cells_of(fence(f"{mark}\nx = 1")) == ["x = 1"]


@pytest.mark.parametrize("mark", ["%%tab mxnet", "#@tab tensorflow, jax"])
def test_a_cell_of_another_framework_is_not_ours(mark):
    assert run_book.cells_of(fence(f"{mark}\nx = 1")) == []


def test_a_cell_without_a_mark_is_ours_unless_the_book_says_otherwise():
    assert run_book.cells_of(fence("x = 1")) == ["x = 1"]
    assert run_book.cells_of(fence("x = 1"), default_tab="mxnet") == []
    assert run_book.cells_of(fence("from mxnet import np") + fence("x = 1")) == []


def test_config_ini_says_what_cells_without_a_mark_belong_to(tmp_path):
    assert run_book.default_tab_of(tmp_path) is None
    (tmp_path / "config.ini").write_text("[build]\ntabs = mxnet, pytorch\nname = 100%\n")

    assert run_book.default_tab_of(tmp_path) == "mxnet"


def test_magics_are_left_out_and_so_is_a_cell_of_nothing_else():
    text = fence('%load_ext d2lbook.tab\ntab.interact_select(["pytorch"])\n#required_libs("x")')
    text += fence("%%tab all\n%matplotlib inline\n!pip list\nx = 1  #@save", ".python .input  n=3")

    assert run_book.cells_of(text) == ["x = 1  #@save"]


def test_code_that_is_no_input_is_no_cell():
    assert run_book.cells_of("```python\nx = 1\n```\n\n```toc\nx\n```\n") == []


@pytest.mark.slow
def test_cells_share_their_names_and_go_on_after_one_that_fails(tmp_path):
    cells = run(
        tmp_path,
        "if tab.selected('mxnet'):\n    x = 1\nif tab.selected('pytorch', 'jax'):\n    x = 2",
        "assert x == 3, 'x is not 3\\nbut 2'",
        "import no_such_package",
        "y",
        "assert x == 2\nimport os\nos.makedirs('../data', exist_ok=True)",
    )

    assert [cell["ok"] for cell in cells] == [True, False, False, False, True]
    assert cells[1]["needs"] == "a look"
    assert cells[1]["error"] == "AssertionError: x is not 3"
    assert cells[2]["needs"] == "the package no_such_package"
    assert cells[3]["needs"] == "an earlier cell"
    assert (tmp_path / "kept" / "data").is_dir()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="an alarm ends the cell")
def test_a_cell_that_takes_too_long_ends_and_the_next_one_runs(tmp_path):
    cells = run(tmp_path, "while True:\n    pass", "x = 1", cell_seconds=0.2)

    assert [cell["ok"] for cell in cells] == [False, True]
    assert cells[0]["needs"] == "more time"


@pytest.mark.slow
def test_the_cells_after_one_that_ends_the_process_are_failures(tmp_path):
    cells = run(tmp_path, "x = 1", "import os\nos._exit(3)", "x = 1")

    assert [cell["ok"] for cell in cells] == [True, False, False]


@pytest.mark.slow
def test_numbers_of_epochs_are_cut_wherever_they_are_written(tmp_path):
    cells = run(
        tmp_path,
        "lr, num_epochs = 0.1, 10\nassert (lr, num_epochs) == (0.1, 2)",
        "max_epochs = 1\nassert max_epochs == 1",
        "def f(x, num_epochs=5):\n    return x, num_epochs\nassert f(7) == (7, 2)",
        "assert dict(max_epochs=9) == {'max_epochs': 2}",
        max_epochs=2,
    )

    assert all(cell["ok"] for cell in cells), cells


def test_what_a_stand_in_lacks_needs_its_package():
    with pytest.raises(AttributeError) as caught:
        _ = torchvision_standin.StandIn("torchvision.datasets").CelebA

    assert run_book._needs(caught.value, has_failed=False) == "the package torchvision"


@pytest.mark.parametrize(
    ("error", "needs"),
    [
        (ModuleNotFoundError("No module named 'gym'", name="gym.envs"), "the package gym"),
        (RuntimeError("Cannot access accelerator device when none is available."), "a GPU"),
        (AssertionError("Torch not compiled with CUDA enabled"), "a GPU"),
        (ValueError("Expected a non cpu device, but got: cpu"), "a GPU"),
        (AttributeError("module 'torch._C' has no attribute '_scatter'"), "a GPU"),
        (ConnectionRefusedError("refused"), "the network"),
        (RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nno"), "the network"),
        (FileNotFoundError(2, "No such file", "../img/catdog.jpg"), "the file catdog.jpg"),
        (ValueError("x"), "a look"),
    ],
)
def test_what_an_error_says_that_a_cell_needs(error, needs):
    assert run_book._needs(error, has_failed=False) == needs
