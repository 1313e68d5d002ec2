import math
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from gradbook import LinearRegression
from gradbook.errors import DivergenceWarning, GradbookWarning, MissingExtraError
from gradbook.trackers.mlflow import MLflow

# It takes seconds to import: no test run that leaves these out is to wait for it.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow-skinny is not installed"),
    pytest.mark.filterwarnings("ignore:codecs.open:DeprecationWarning"),  # MLflow's, on Python 3.14
]


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Reads the store that the trackers of these tests write to."""
    from mlflow.tracking import MlflowClient

    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        return MlflowClient((tmp_path / "work/runs/mlflow").as_uri())


def runs(client, experiment="gradbook"):
    found = client.get_experiment_by_name(experiment)
    return client.search_runs([found.experiment_id])


def points(client, name):
    (run,) = runs(client)
    history = client.get_metric_history(run.info.run_id, name)
    return [(metric.step, metric.value) for metric in history]


def test_points_and_means_are_in_the_store(fit, client):
    trainer = fit(MLflow())
    board = [point.y for point in trainer.model.board.data["train_loss"]]
    assert points(client, "train_loss") == list(zip([1, 3, 5, 7], board, strict=True))
    means = list(zip([1, 2], trainer.history["val_loss"], strict=True))
    assert points(client, "epoch/val_loss") == means


def test_nan_and_infinity_are_recorded(fit, client):
    with pytest.warns(DivergenceWarning):
        fit(MLflow(), lr=1e30)
    assert any(not math.isfinite(loss) for _, loss in points(client, "train_loss"))


def test_the_name_and_the_settings_are_recorded(fit, client):
    fit(MLflow(), lr=0.25)
    (run,) = runs(client)
    assert run.info.run_name == "linear-regression"
    assert run.data.params["model/class"] == "LinearRegression"
    assert run.data.params["model/lr"] == "0.25"


def test_a_second_training_joins_the_experiment(fit, client):
    tracker = MLflow(experiment="homework")
    fit(tracker)
    fit(tracker)
    assert len(runs(client, "homework")) == 2


def test_a_folder_may_be_named(fit, client, tmp_path):
    fit(MLflow(uri=tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere" / "0" / "meta.yaml").is_file()


def test_a_label_with_signs_that_mlflow_forbids_is_recorded(fit, client):
    class Model(LinearRegression):
        def validation_step(self, batch):
            self.plot("top-5%", 0.5, train=False)

    fit(MLflow(), model=Model(lr=0.01))
    assert points(client, "val_top-5_") == [(4, 0.5), (8, 0.5)]


def ending(client):
    (run,) = runs(client)
    return run.info.status, run.data.tags["status"]


def test_a_finished_training_is_finished(fit, client):
    fit(MLflow())
    assert ending(client) == ("FINISHED", "finished")


def test_a_training_that_diverges_has_failed(fit, client):
    with pytest.warns(DivergenceWarning):
        fit(MLflow(), lr=1e30)
    assert ending(client) == ("FAILED", "diverged")


def test_an_interrupted_training_is_killed(fit, client, interrupted_model):
    with pytest.raises(KeyboardInterrupt):
        fit(MLflow(), model=interrupted_model)
    assert ending(client) == ("KILLED", "interrupted")


def test_nothing_is_printed(fit, capfd):
    fit(MLflow())
    assert capfd.readouterr() == ("", "")


def test_a_store_that_cannot_be_reached_stops_no_training(fit, tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(GradbookWarning, match="MLflow records nothing more"):
        trainer = fit(MLflow(uri=tmp_path / "file"))
    assert trainer.status == "finished"


def test_mlflow_reports_nothing_about_its_use():
    # In a process of its own, because under pytest MLflow is silent anyhow.
    code = (
        "from gradbook.trackers.mlflow import MLflow\n"
        "MLflow()\n"
        "from importlib.util import find_spec\n"
        "if not find_spec('mlflow.telemetry'): raise SystemExit(print(None))  # before MLflow 3\n"
        "from mlflow.telemetry import get_telemetry_client\n"
        "print(get_telemetry_client())"
    )
    unset = {"PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS", "GITLAB_CI"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == "None\n"


def test_without_mlflow_the_way_to_install_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(MissingExtraError, match=r"'mlflow-skinny'.*pip install mlflow-skinny"):
        MLflow()
