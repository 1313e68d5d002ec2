"""`gradbook doctor`."""

import importlib.util
import json
import re
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import gradbook
from gradbook.cli import doctor, main
from gradbook.datasets import fashion_mnist


@pytest.fixture
def versions(monkeypatch):
    """Versions of packages that differ from what is installed; None is not installed."""
    true = metadata.version
    changed = {}

    def version(name):
        if name not in changed:
            return true(name)
        if changed[name] is None:
            raise metadata.PackageNotFoundError(name)
        return changed[name]

    monkeypatch.setattr(metadata, "version", version)
    return changed


@pytest.fixture
def d2l_in(monkeypatch):
    """Lets Python find d2l in a folder, or not at all."""

    def put(folder: Path | None, origin: str | None = None):
        places = None if folder is None else [str(folder)]
        spec = SimpleNamespace(submodule_search_locations=places, origin=origin)
        found = None if folder is None and origin is None else spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)

    return put


def test_a_sound_installation_has_no_problem(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "data_facts", lambda problems: {})  # whatever this machine has
    code = main(["doctor"])
    text = capsys.readouterr().out
    assert (code, text.splitlines()[-1]) == (0, "No problem found.")


def test_versions_devices_and_threads_are_told(capsys):
    main(["doctor"])
    text = capsys.readouterr().out
    assert f"gradbook  {gradbook.__version__}" in text
    assert f"torch {torch.__version__}" in text
    assert "devices   cpu" in text
    assert f"threads   {torch.get_num_threads()} of " in text


def test_pytorch_s_version_is_that_of_its_build(versions, capsys, monkeypatch):
    versions["torch"] = "2.15.0"  # what pip knows of
    monkeypatch.setattr(torch, "__version__", "2.15.0+cu132")
    main(["doctor"])
    assert "torch 2.15.0+cu132" in capsys.readouterr().out


def test_the_facts_are_there_as_json(capsys):
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["problems"] == []
    assert told["d2l"]["is_gradbooks"] is True
    assert told["data"]["fashion-mnist"]["status"] in ("found", "sample")
    assert told["terminal"]["is_terminal"] is False


@pytest.mark.parametrize("name", ["rich", "pandas"])
def test_a_needed_package_that_is_missing_is_a_problem(versions, capsys, name):
    versions[name] = None
    assert main(["doctor"]) == 1
    told = f"problem: {name} is not installed. Install it: pip install {name}"
    assert told in capsys.readouterr().out


def test_what_is_needed_is_what_every_installation_brings():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    brought = {re.split(r"[^\w-]", line)[0] for line in project["dependencies"]}
    assert set(doctor.NEEDED) <= brought
    assert "pandas" in brought  # section 2.2 of the book reads a table with it


def test_an_optional_package_that_is_missing_is_none(versions):
    versions["ray"] = None
    problems = []
    assert doctor.packages(problems)["ray"] is None
    assert problems == []


def test_a_torch_that_does_not_import_is_a_problem(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gradbook.devices", None)
    problems = []
    assert doctor.torch_facts(problems)["devices"] == []
    assert "torch does not import" in problems[0]


def test_accelerators_are_named(monkeypatch):
    monkeypatch.setattr("gradbook.devices.num_gpus", lambda: 1)
    monkeypatch.setattr("gradbook.devices.try_all_gpus", lambda: [torch.device("cuda", 0)])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Fast One")
    assert doctor.torch_facts([])["devices"] == ["cpu", "cuda:0 (Fast One)"]


def test_damaged_data_are_a_problem(monkeypatch):
    monkeypatch.setattr(fashion_mnist, "SAMPLE_FOLDER", Path("nowhere"))
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", Path("nowhere"))
    problems = []
    doctor.data_facts(problems)
    assert "Fashion-MNIST is damaged or missing" in problems[0]


def test_data_that_cannot_be_looked_for_are_a_problem(monkeypatch):
    def fail(*_):
        raise OSError("no disk")

    monkeypatch.setattr("gradbook.cli.data.look", fail)
    problems = []
    assert doctor.data_facts(problems) == {}
    assert problems == ["the data sets cannot be looked for: no disk"]


def test_the_original_beside_gradbook_is_a_problem(versions, capsys):
    versions["d2l"] = "1.0.3"
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "The original d2l 1.0.3 is installed beside gradbook" in text
    assert "pip uninstall -y d2l" in text


def test_an_original_that_python_takes_instead_is_a_problem(versions, d2l_in):
    versions["d2l"] = "1.0.3"
    Path("d2l").mkdir()
    Path("d2l/torch.py").write_text("import torch")
    d2l_in(Path("d2l"))
    problems = []
    assert doctor.d2l_facts(problems)["is_gradbooks"] is False
    assert "of which Python takes the original" in problems[0]


def test_a_folder_that_hides_gradbook_s_d2l_is_a_problem(d2l_in):
    Path("d2l").mkdir()
    d2l_in(Path("d2l"))
    problems = []
    doctor.d2l_facts(problems)
    assert "`import d2l` takes d2l, which is not gradbook's" in problems[0]


def test_a_file_that_hides_gradbook_s_d2l_is_a_problem(d2l_in):
    d2l_in(None, origin="here/d2l.py")
    problems = []
    assert doctor.d2l_facts(problems)["folder"] == "here/d2l.py"
    assert "Rename it" in problems[0]


def test_no_d2l_at_all_is_a_problem(d2l_in):
    d2l_in(None)
    problems = []
    assert doctor.d2l_facts(problems)["folder"] is None
    assert "Python finds no d2l" in problems[0]


def test_a_sample_alone_is_a_note(capsys, monkeypatch):
    monkeypatch.setattr("gradbook.datasets.fashion_mnist.SYSTEM_FOLDER", Path("nowhere"))
    main(["doctor"])
    assert "note: only a sample of Fashion-MNIST is here" in capsys.readouterr().out
