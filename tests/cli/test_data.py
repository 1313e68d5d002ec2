"""`gradbook data`."""

import json
from pathlib import Path

import pytest

from gradbook.cli import data, main
from gradbook.datasets import fashion_mnist


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch):
    """Fashion-MNIST is in none of the places but the bundled sample."""
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", Path("nowhere"))


def put_files(folder: Path) -> None:
    """Files that have the sizes of the true ones, and nothing in them."""
    folder.mkdir(parents=True)
    for file in fashion_mnist.FILES:
        with open(folder / file.name, "wb") as stream:
            stream.truncate(file.num_bytes)


def test_every_place_is_told_with_how_to_get_it(capsys):
    assert main(["data"]) == 0
    text = capsys.readouterr().out
    assert "fashion-mnist: only the bundled sample" in text
    assert "to have it here: sudo apt install dataset-fashion-mnist" in text
    assert str(Path("../data/FashionMNIST/raw")) in text


def test_data_that_are_made_are_listed_too(capsys):
    main(["data"])
    assert "synthetic-regression: made when it is used" in capsys.readouterr().out


def test_the_facts_are_there_as_json(capsys):
    assert main(["data", "--json"]) == 0
    fashion = json.loads(capsys.readouterr().out)["data"]["fashion-mnist"]
    assert fashion["status"] == "sample"
    assert [place["name"] for place in fashion["places"]] == ["root", "system", "cache", "sample"]


def test_data_in_the_folder_that_is_named_are_found(capsys):
    put_files(Path("mine/FashionMNIST/raw"))
    assert main(["data", "--root", "mine"]) == 0
    assert f"fashion-mnist: found, in {Path('mine/FashionMNIST/raw')}" in capsys.readouterr().out


def test_damaged_data_are_a_failure(capsys):
    put_files(Path("mine/FashionMNIST/raw"))
    assert main(["data", "--root", "mine", "--verify"]) == 1
    assert "fashion-mnist: damaged, in" in capsys.readouterr().out


def test_data_that_are_nowhere_are_told(monkeypatch):
    monkeypatch.setattr(fashion_mnist, "SAMPLE_FOLDER", Path("nowhere"))
    found = data.look()
    assert found["fashion-mnist"]["status"] == "missing"
    assert data.describe(found).startswith("fashion-mnist: not found\n")


def test_who_has_all_needs_no_advice(capsys):
    put_files(Path("mine/FashionMNIST/raw"))
    main(["data", "--root", "mine"])
    fashion, _, _ = capsys.readouterr().out.partition("\ntime-machine")
    assert "to have it here" not in fashion


def test_no_download_is_promised_offline(capsys, monkeypatch):
    monkeypatch.setenv("GRADBOOK_OFFLINE", "1")
    main(["data"])
    text = " ".join(capsys.readouterr().out.split())
    assert "nothing is downloaded, because GRADBOOK_OFFLINE is set" in text
    assert "is downloaded when" not in text


def test_a_text_that_is_not_there_has_a_stand_in_and_one_that_is_there_has_none(capsys):
    main(["data"])
    text = capsys.readouterr().out
    assert "time-machine: only a stand-in" in text
    assert "put timemachine.txt in ../data" in text
    Path("mine").mkdir()
    Path("mine/timemachine.txt").write_text("The Time Machine")
    main(["data", "--root", "mine"])
    assert "time-machine: found, in mine" in capsys.readouterr().out


def test_sentences_that_are_not_there_have_a_stand_in(capsys, monkeypatch):
    monkeypatch.delenv("GRADBOOK_OFFLINE")
    main(["data"])
    text = " ".join(capsys.readouterr().out.split())
    assert "fra-eng: only a stand-in; the true data are downloaded when they are first" in text
    assert "put fra-eng.zip in ../data" in text
