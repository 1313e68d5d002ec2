"""Where a training goes on from."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch.utils.data import DataLoader

from gradbook import checkpoint
from gradbook.errors import ConfigError, CorruptFileError
from gradbook.resume.start import Resumption

STATE = {"model": {}, "recorded_lines": 3}


def make_run(name="runs/mlp-1", state=STATE):
    """A folder with as much of a run as is looked at here."""
    folder = Path(name)
    folder.mkdir(parents=True)
    (folder / "run.json").touch()
    for which in ("last", "best"):
        checkpoint.save(folder / f"checkpoints/{which}.pt", state)
    return folder


def test_a_run_goes_on_from_its_last_checkpoint():
    folder = make_run()
    resumption = Resumption.of("runs/mlp-1", None)
    assert (resumption.folder, resumption.path) == (folder, folder / "checkpoints/last.pt")
    assert resumption.state["recorded_lines"] == 3


def test_a_run_may_be_named_below_the_folder_of_runs():
    assert Resumption.of("mlp-1", make_run().parent).folder == Path("runs/mlp-1")


def test_a_loaded_run_may_be_given():
    assert Resumption.of(SimpleNamespace(folder=make_run()), None).folder == Path("runs/mlp-1")


def test_another_checkpoint_of_a_run_belongs_to_it_too():
    folder = make_run()
    assert Resumption.of(folder / "checkpoints/best.pt", None).folder == folder


def test_a_state_in_memory_belongs_to_no_run():
    resumption = Resumption.of(STATE, Path("runs"))
    assert (resumption.state, resumption.folder) == (STATE, None)
    resumption.check_unchanged()


def test_a_checkpoint_saved_by_hand_belongs_to_no_run_wherever_it_lies():
    checkpoint.save("checkpoints/mid.pt", {"model": {}})
    assert Resumption.of("checkpoints/mid.pt", None).folder is None
    folder = make_run()
    checkpoint.save(folder / "checkpoints/mid.pt", {"model": {}})
    assert Resumption.of(folder / "checkpoints/mid.pt", None).folder is None


def test_a_copy_of_a_run_s_checkpoint_belongs_to_no_run():
    checkpoint.save("checkpoints/last.pt", STATE)
    assert Resumption.of("checkpoints/last.pt", None).folder is None


def test_what_is_not_there_is_told():
    with pytest.raises(ConfigError, match="There is no checkpoint 'runs/mlp-2'"):
        Resumption.of("runs/mlp-2", Path("runs"))


def test_a_folder_that_is_no_run_is_told_what_it_lacks():
    Path("other").mkdir()
    with pytest.raises(ConfigError, match=r"folder 'other': it has no checkpoints/last\.pt.*mlp-1"):
        Resumption.of("other", None)


@pytest.mark.parametrize("given", [True, False])
def test_yes_or_no_is_no_checkpoint(given):
    with pytest.raises(ConfigError, match=rf"resume is {given}.*'runs/mlp-1'.*begin anew, leave"):
        Resumption.of(given, None)


@pytest.mark.parametrize("given", [1, b"runs/mlp-1", "", SimpleNamespace(folder=3)])
def test_what_is_no_path_says_what_is_taken(given):
    with pytest.raises(
        ConfigError, match=r"names no checkpoint\. fit\(model, data, resume=\.\.\.\)"
    ):
        Resumption.of(given, None)


@pytest.mark.parametrize("given", [[1, 2], DataLoader([1, 2]), (1, 2)])
def test_batches_for_validation_belong_into_the_data(given):
    with pytest.raises(ConfigError, match=r"third argument.*`fit\(model, \(train, val\)\)`"):
        Resumption.of(given, None)


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
def test_a_link_out_of_the_run_is_not_followed():
    folder = make_run()
    checkpoint.save("elsewhere.pt", STATE)
    (folder / "checkpoints/last.pt").unlink()
    (folder / "checkpoints/last.pt").symlink_to(Path("elsewhere.pt").absolute())
    with pytest.raises(CorruptFileError, match="leads out of the run's folder"):
        Resumption.of(folder, None)


def test_a_run_that_another_process_has_trained_meanwhile_is_told():
    folder = make_run()
    resumption = Resumption.of(folder, None)
    resumption.check_unchanged()
    checkpoint.save(folder / "checkpoints/last.pt", {**STATE, "recorded_lines": 4})
    with pytest.raises(ConfigError, match="has just been written by another process"):
        resumption.check_unchanged()


def test_a_name_too_long_for_a_file_is_no_checkpoint():
    with pytest.raises(ConfigError, match=r"There is no checkpoint 'aaa.*10000 characters"):
        Resumption.of("a" * 10000, None)
