"""MLflow: an experiment a run, an MLflow run a training."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any

from dgl_mutual.training.trackers.base import Tracker

#: MLflow refuses longer values of parameters.
_LONGEST = 500


class MLflowTracker(Tracker):
    """Sends figures by an `MlflowClient` to MLFLOW_TRACKING_URI; where that is not set, to files in the run's folder, below ``mlruns/``."""

    title, package, extra = "MLflow", "mlflow", "mlflow"
    _client: Any
    _id: str

    def open(self) -> None:
        mlflow = self.client()
        self._client = mlflow.MlflowClient(
            tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or (self.run.folder / "mlruns").resolve().as_uri()
        )
        self._id = self._client.create_run(self._experiment(), run_name=self.run.name).info.run_id
        for name, value in self.run.parameters.items():
            self._client.log_param(self._id, name, str(value)[:_LONGEST])

    def _experiment(self) -> str:
        """The id of the run's experiment, made where it is not there."""
        found = self._client.get_experiment_by_name(self.run.group)
        if found is None:
            try:
                return str(self._client.create_experiment(self.run.group))
            except Exception:  # another process has made it meanwhile
                found = self._client.get_experiment_by_name(self.run.group)
                if found is None:
                    raise
        return str(found.experiment_id)

    def log(self, figures: Mapping[str, float], step: int) -> None:
        metric, now = self.client().entities.Metric, int(time.time() * 1000)
        # MLflow takes few characters in a name.
        metrics = [metric(re.sub(r"[^\w\-./ ]", "_", name), value, now, step) for name, value in figures.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self, failed: bool) -> None:
        self._client.set_terminated(self._id, status="FAILED" if failed else "FINISHED")
