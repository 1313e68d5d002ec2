"""Recording with MLflow."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from gradbook.trackers import Setting, Tracker

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


class MLflow(Tracker):
    """Records into a local folder, or into another store of MLflow's.

    MLflow knows three ends: a training that fails or diverges is FAILED, an interrupted one
    KILLED. The run's tag "status" has the exact word.

    Args:
        experiment: The experiment that the runs belong to. It is made if it does not exist.
        uri: A folder, or the address of a store, such as "http://localhost:5000" or, with the
            whole of MLflow installed, "sqlite:///mlflow.db".

    Raises:
        MissingExtraError: If MLflow is not installed.
    """

    module = "mlflow.tracking"
    package, extra = "mlflow-skinny", "mlflow"
    variables: ClassVar[Mapping[str, str]] = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # New versions want a database instead of a folder, but mlflow-skinny brings none.
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }

    _client: "MlflowClient | None" = None
    _run_id: str | None = None

    def __init__(self, experiment: str = "gradbook", uri: Path | str = "runs/mlflow") -> None:
        super().__init__()
        self.experiment = experiment
        # Absolute, because MLflow keeps one store for each address and would go on using a
        # relative one after the working folder has changed.
        self.uri = str(uri) if "://" in str(uri) else Path(uri).absolute().as_uri()

    def _begin(self, name: str, settings: Mapping[str, Setting]) -> None:
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        client = self._client = MlflowClient(tracking_uri=self.uri)
        known = client.get_experiment_by_name(self.experiment)
        experiment = known.experiment_id if known else client.create_experiment(self.experiment)
        self._run_id = client.create_run(experiment, run_name=name).info.run_id
        params = [Param(key, str(value)) for key, value in settings.items()]
        client.log_batch(self._run_id, params=params)

    def _record(self, name: str, value: float, step: int) -> None:
        if self._client is not None and self._run_id is not None:
            allowed = re.sub(r"[^\w\-. /]", "_", name)
            self._client.log_metric(self._run_id, allowed, value, step=step)

    def _end(self, status: str) -> None:
        client, run_id = self._client, self._run_id
        self._client = self._run_id = None
        if client is not None and run_id is not None:
            client.set_tag(run_id, "status", status)
            code = {"finished": "FINISHED", "interrupted": "KILLED"}.get(status, "FAILED")
            client.set_terminated(run_id, code)
