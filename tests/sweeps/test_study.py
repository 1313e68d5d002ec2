"""A search's study: where it is kept, and what is told if it is not there."""

import os
import pickle
import sqlite3
import subprocess
import sys

import optuna
import pytest

from gradbook.errors import ConfigError, CorruptFileError, MissingExtraError
from gradbook.sweeps.study import PRUNERS, STUDY_FILE, Study, quietly


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "net-sweep-1"
    folder.mkdir()
    return folder


@pytest.fixture
def study(folder):
    study = Study(None, "median")
    study.create(folder, "maximize")
    return study


def test_it_is_kept_in_the_sweep_s_folder(study, folder):
    assert (folder / STUDY_FILE).is_file()
    assert study.open().direction.name == "MAXIMIZE"
    assert study.open().study_name.startswith("net-sweep-1-")


def test_another_process_opens_the_same(study):
    study.open().add_trial(optuna.trial.create_trial(value=0.5))
    [trial] = pickle.loads(pickle.dumps(study)).open().trials
    assert trial.value == 0.5


def test_it_is_found_again_by_what_it_tells(study, folder):
    study.open().add_trial(optuna.trial.create_trial(value=0.5))
    again = Study(None, "none")
    again.find(folder, study.facts())
    assert len(again.open().trials) == 1


@pytest.mark.slow
def test_a_storage_of_ones_own_is_not_written_down(folder):
    study = Study("sqlite:///studies.db", "none")
    study.create(folder, "minimize")
    assert list(folder.iterdir()) == []
    assert study.facts() == {"name": study.open().study_name, "in_folder": False}


@pytest.mark.slow
def test_no_connection_to_a_storage_of_ones_own_stays_open(folder, monkeypatch):
    opened, connect = [], sqlite3.connect

    class Connection(sqlite3.Connection):
        def close(self):
            opened.remove(self)
            super().close()

    def noted(*arguments, **settings):
        opened.append(connect(*arguments, factory=Connection, **settings))
        return opened[-1]

    monkeypatch.setattr(sqlite3.dbapi2, "connect", noted)
    study = Study("sqlite:///studies.db", "none")
    study.create(folder, "minimize")
    again = Study("sqlite:///studies.db", "none")
    again.find(folder, study.facts())
    again.open().add_trial(optuna.trial.create_trial(value=0.5))
    assert [trial.value for trial in study.open().trials] == [0.5]
    assert opened == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("in_folder", "storage", "message"),
    [
        (True, "sqlite:///studies.db", "in its folder. Leave storage out"),
        (False, None, "in a storage of your own. Give storage"),
        (True, None, f"has lost its study: there is no {STUDY_FILE}"),
    ],
)
def test_a_study_that_is_elsewhere_is_told(folder, in_folder, storage, message):
    with pytest.raises(ConfigError, match=message):
        Study(storage, "median").find(folder, {"name": "net", "in_folder": in_folder})


def test_a_study_that_the_storage_does_not_have_is_told(study, folder):
    study.find(folder, {"name": "another", "in_folder": True})
    with pytest.raises(ConfigError, match="has no study 'another'"):
        study.open()


def test_a_damaged_study_is_told(study, folder):
    path = folder / STUDY_FILE
    path.write_bytes(b"{nothing\n" + path.read_bytes())
    with pytest.raises(CorruptFileError, match=f"{STUDY_FILE} is damaged"):
        study.open()


def test_a_study_that_is_a_link_out_of_the_folder_is_not_added_to(study, folder, tmp_path):
    outside = tmp_path / "outside"
    (folder / STUDY_FILE).rename(outside)
    (folder / STUDY_FILE).symlink_to(outside)
    before = outside.read_bytes()
    with pytest.raises(CorruptFileError, match=f"{STUDY_FILE} is a link that leads out"):
        study.open()
    with pytest.raises(CorruptFileError, match=f"{STUDY_FILE} is a link that leads out"):
        study.create(folder, "maximize")
    assert outside.read_bytes() == before


def test_a_study_that_fills_the_memory_is_not_read(study, folder):
    os.truncate(folder / STUDY_FILE, 1 << 41)
    with pytest.raises(CorruptFileError, match=f"{STUDY_FILE} has .* bytes"):
        study.open()


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_pruner_can_be_made(folder, pruner):
    study = Study(None, pruner)
    study.create(folder, "minimize")
    names = {"none": "NopPruner", "halving": "SuccessiveHalvingPruner"}
    assert type(study.open().pruner).__name__ == names.get(pruner, f"{pruner.title()}Pruner")


@pytest.mark.parametrize(
    ("storage", "pruner", "message"),
    [
        (None, "mediann", r"Did you mean 'median'\?"),
        ("studies.db", "median", "storage is the URL of a database"),
        (3, "median", "storage is the URL of a database"),
        ("no-such://me:secret@host/x", "median", "The storage 'no-such://host/x' cannot be"),
    ],
)
def test_bad_input_is_told_without_a_password(storage, pruner, message):
    with pytest.raises(ConfigError, match=message) as told:
        Study(storage, pruner)
    assert "secret" not in str(told.value)


def test_optuna_is_quiet_meanwhile_and_as_it_was_afterwards(capfd):
    before = optuna.logging.get_verbosity()
    with quietly():
        optuna.logging.get_logger("optuna").warning("not to be seen")
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


def test_without_optuna_the_command_that_installs_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match="pip install optuna"):
        Study(None, "median")


@pytest.mark.slow
def test_optuna_is_loaded_only_for_a_study():
    code = "import sys, gradbook.sweeps.search; assert 'optuna' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
