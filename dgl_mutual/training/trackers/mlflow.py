"""MLflow: one experiment for each run, one MLflow run for each training."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any

from filelock import FileLock

from dgl_mutual.training.trackers.base import Tracker
from dgl_mutual.utils.paths import refuse_links

#: Maximum length of parameter values in MLflow.
_LONGEST = 500
#: Files that MLflow writes into the folder of a run.
_FILES = (".mlflow.lock", "mlflow.db", "mlflow.db-journal", "mlflow.db-wal", "mlflow.db-shm", "mlartifacts")


class MLflowTracker(Tracker):
    """Sends metrics by an `MlflowClient` to MLFLOW_TRACKING_URI; if it is not set, to the database ``mlflow.db`` in the run's folder.

    ``mlflow ui --backend-store-uri sqlite:///RUN/mlflow.db`` shows it.
    """

    title, package, extra = "MLflow", "mlflow", "mlflow"
    _client: Any
    _id: str

    def open(self) -> None:
        mlflow, folder = self.client(), self.run.folder.resolve()
        if uri := os.environ.get("MLFLOW_TRACKING_URI"):
            self._client = mlflow.MlflowClient(tracking_uri=uri)
            experiment = self._experiment()
        else:
            folder.mkdir(parents=True, exist_ok=True)
            for name in _FILES:
                refuse_links(folder / name, folder)
            with FileLock(folder / ".mlflow.lock"):  # the first of several processes creates the tables
                self._client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{(folder / 'mlflow.db').as_posix()}")
                experiment = self._experiment(artifact_location=(folder / "mlartifacts").as_uri())
        self._id = self._client.create_run(experiment, run_name=self.run.name).info.run_id
        for name, value in self.run.parameters.items():
            self._client.log_param(self._id, name, str(value)[:_LONGEST])

    def _experiment(self, **options: str) -> str:
        """Return the id of the run's experiment, which is created with these options if it does not exist."""
        experiment = self._client.get_experiment_by_name(self.run.group)
        if experiment is None:
            try:
                return str(self._client.create_experiment(self.run.group, **options))
            except Exception:  # another process has created it meanwhile
                experiment = self._client.get_experiment_by_name(self.run.group)
                if experiment is None:
                    raise
        return str(experiment.experiment_id)

    def log(self, figures: Mapping[str, float], step: int) -> None:
        metric, now = self.client().entities.Metric, int(time.time() * 1000)
        # MLflow allows few characters in a name.
        metrics = [metric(re.sub(r"[^\w\-./ ]", "_", name), value, now, step) for name, value in figures.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self, failed: bool) -> None:
        self._client.set_terminated(self._id, status="FAILED" if failed else "FINISHED")
