import sys
from pathlib import Path

import pytest

from gradbook.errors import DivergenceWarning, GradbookWarning, MissingExtraError
from gradbook.trackers.tensorboard import TensorBoard

pytest.importorskip("tensorboard", reason="tensorboard is not installed")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata


def read(folder):
    """The events of the only run below `folder`."""
    (run,) = Path(folder).iterdir()
    events = EventAccumulator(str(run))
    events.Reload()
    return events


def points(events, name):
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_points_and_means_are_in_the_event_file(fit):
    trainer = fit(TensorBoard())
    events = read("runs/tensorboard")
    board = [point.y for point in trainer.model.board.data["train_loss"]]
    assert points(events, "train_loss") == list(
        zip([1, 3, 5, 7], map(pytest.approx, board), strict=True)
    )
    means = [pytest.approx(mean) for mean in trainer.history["val_loss"]]
    assert points(events, "epoch/val_loss") == list(zip([1, 2], means, strict=True))


def hparams(folder, tag):
    return read(folder).PluginTagToContent("hparams")[tag]


def test_nan_and_infinity_are_recorded(fit, tmp_path):
    with pytest.warns(DivergenceWarning):
        trainer = fit(TensorBoard(tmp_path / "runs"), lr=1e30, max_epochs=3)
    assert trainer.status == "diverged"
    events = read(tmp_path / "runs")
    (last, *_) = reversed(points(events, "epoch/train_loss"))
    assert last == (3, pytest.approx(float("nan"), nan_ok=True))


def test_the_settings_are_those_of_hparams(fit, tmp_path):
    fit(TensorBoard(tmp_path / "runs"), lr=0.25)
    session = hparams(tmp_path / "runs", metadata.SESSION_START_INFO_TAG)
    start = metadata.parse_session_start_info_plugin_data(session)
    assert start.hparams["model/class"].string_value == "LinearRegression"
    assert start.hparams["model/lr"].number_value == 0.25


def ending(folder):
    session = hparams(folder, metadata.SESSION_END_INFO_TAG)
    return metadata.parse_session_end_info_plugin_data(session).status


def test_a_finished_training_is_a_success(fit, tmp_path):
    fit(TensorBoard(tmp_path / "runs"))
    assert ending(tmp_path / "runs") == api_pb2.STATUS_SUCCESS


def test_an_interrupted_training_is_a_failure(fit, tmp_path, interrupted_model):
    with pytest.raises(KeyboardInterrupt):
        fit(TensorBoard(tmp_path / "runs"), model=interrupted_model)
    assert ending(tmp_path / "runs") == api_pb2.STATUS_FAILURE
    (text,) = read(tmp_path / "runs").Tensors("status/text_summary")
    assert text.tensor_proto.string_val == [b"interrupted"]


def test_every_training_has_a_folder_of_its_own(fit, tmp_path):
    tracker = TensorBoard(tmp_path / "runs")
    fit(tracker)
    fit(tracker)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "linear-regression-1",
        "linear-regression-2",
    }


def test_a_folder_that_cannot_be_made_stops_no_training(fit, tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(GradbookWarning, match="No folder for a run can be made"):
        trainer = fit(TensorBoard(tmp_path / "file"))
    assert trainer.status == "finished"


def test_without_tensorboard_the_way_to_install_it_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"'tensorboard'.*pip install tensorboard"):
        TensorBoard()
