"""A model or a data set is added with its file and one line."""

import importlib.util
import re
import sys
import types
from pathlib import Path

import pytest

import d2l.torch
import gradbook
from gradbook import registry
from gradbook.cli import main
from gradbook.registry import DATA, MODELS, Entry

ROOT = Path(__file__).parent.parent
PAGES = "".join(p.read_text("utf-8") for p in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
EVERY = {**MODELS, **DATA}


class MadeUp(gradbook.LinearRegression):
    """A model that nobody needs."""


class MadeUpData(gradbook.SyntheticRegressionData):
    """Data that nobody needs."""


@pytest.fixture
def made_up(monkeypatch):
    """Adds a line for a model and one for a data set; their file is a module of this name."""
    module = types.ModuleType("made_up")
    module.MadeUp, module.MadeUpData = MadeUp, MadeUpData
    monkeypatch.setitem(sys.modules, "made_up", module)
    monkeypatch.setitem(MODELS, "made-up", Entry("made_up", "MadeUp", "a model of a test"))
    entry = Entry("made_up", "MadeUpData", "data of a test", ("made",), {"num_train": 64})
    monkeypatch.setitem(DATA, "made-up-data", entry)


def loaded_anew(module):
    """The module as it is when it is imported now."""
    spec = importlib.util.spec_from_file_location(module.__name__, module.__file__)
    new = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(new)
    return new


@pytest.mark.parametrize("module", [gradbook, d2l.torch], ids=["gradbook", "d2l"])
def test_one_line_makes_a_class_a_name_of_the_library(made_up, module):
    new = loaded_anew(module)
    assert {"MadeUp", "MadeUpData"} <= set(new.__all__)
    assert (new.__getattr__("MadeUp"), new.__getattr__("MadeUpData")) == (MadeUp, MadeUpData)
    for name in ("MadeUp", "MadeUpData"):  # where it was kept
        vars(module).pop(name, None)


@pytest.mark.parametrize(("package", "name"), [("models", "MadeUp"), ("datasets", "MadeUpData")])
def test_one_line_makes_a_class_a_name_of_its_package(made_up, package, name):
    new = loaded_anew(importlib.import_module(f"gradbook.{package}"))
    assert name in new.__all__
    assert getattr(new, name) is globals()[name]


def test_one_line_makes_a_class_known_to_the_command(made_up, capsys):
    assert main(["train", "--help"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"made-up +a model of a test\n", told)
    assert re.search(r"made-up-data +data of a test\n", told)
    assert main(["train", "made-up", "--data", "made", "--help"]) == 0
    told = capsys.readouterr().out
    assert "Data: made-up-data" in told
    assert re.search(r"--num-train .*\(default: 64\)", told, re.DOTALL)


def test_one_line_makes_the_run_of_a_class_one_that_can_be_rebuilt(made_up, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(MODELS, "made-up", Entry(__name__, "MadeUp", ""))
    gradbook.Trainer(1, run="runs", display="off").fit(MadeUp(), MadeUpData(num_train=64))
    assert (
        type(gradbook.runs.restore("made-up-1", data=MadeUpData, need_data=False).model) is MadeUp
    )


@pytest.mark.parametrize("entry", EVERY.values(), ids=EVERY)
def test_a_line_names_a_class_that_is_there_and_documented(entry):
    Class = entry.load()
    assert (Class.__module__, Class.__name__) == (entry.home, entry.class_name)
    assert getattr(gradbook, entry.class_name) is getattr(d2l.torch, entry.class_name) is Class
    assert entry.text


@pytest.mark.parametrize("name", EVERY)
def test_a_finished_class_is_in_the_docs(name):
    assert f"`{EVERY[name].class_name}" in PAGES, f"README.md or docs/ must name {name}"


def test_no_two_lines_have_a_name_in_common():
    names = [name for entry in EVERY.values() for name in entry.aliases] + list(EVERY)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("gradbook.models.mlp.MLP", "mlp"),
        ("gradbook.models.older.MLP", "mlp"),
        ("elsewhere.models.mlp.MLP", ""),
        ("gradbook.models.mlp.MyMLP", ""),
    ],
)
def test_a_class_is_known_by_what_a_run_has_written(written, name):
    assert registry.known_name(written, MODELS) == name
