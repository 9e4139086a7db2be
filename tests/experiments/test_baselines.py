"""Baselines in runs, suites and estimates: the same rows and tables as any method."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import dgl_mutual
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.estimate import seconds_per_trial
from dgl_mutual.experiments.plan import prepare
from dgl_mutual.experiments.suites.suite import configurations
from dgl_mutual.experiments.suites.suite_file import Suite
from dgl_mutual.options import parse_options


def test_baselines_stand_in_the_same_tables(ring: Dataset, tmp_path: Path) -> None:
    methods = ["independent", "label-propagation", "correct-and-smooth"]
    options: dict[str, Any] = {"students": "gcn,mlp", "training": {"epochs": 2}, "seeds": 2, "jobs": 1, "out": tmp_path, "device": "cpu"}
    found = dgl_mutual.experiment(ring, methods, **options)
    assert {*methods} <= {str(part) for part in found.table(baseline="independent").reset_index().to_numpy().ravel()}
    (folder,) = tmp_path.glob("node-ring-label-propagation-*")
    trials = pd.read_csv(folder / "trials.csv")
    assert list(trials["member"][:4]) == ["label-propagation", "mean", "best_by_val", "ensemble"]
    assert set(trials["parameters"]) == set(trials["epochs"]) == {0} and trials["test"].notna().all()
    assert (folder / "summary.csv").exists() and not (folder / "checkpoints").exists() and not (folder / "history.csv").exists()
    (corrected,) = tmp_path.glob("node-ring-correct-and-smooth-*")
    assert sorted(file.name for file in (corrected / "checkpoints" / "seed-0-fold-0").glob("*.safetensors")) == [
        "ensemble.safetensors",
        "gcn-0.safetensors",
        "mlp-1.safetensors",
    ]
    before = (folder / "trials.csv").read_text()
    dgl_mutual.experiment(ring, methods, **options)  # nothing is left to do
    assert (folder / "trials.csv").read_text() == before


@pytest.mark.parametrize("strategy", ["label-propagation", "correct-and-smooth", "independent"])
def test_predictions_are_probabilities_in_float64(strategy: str, ring: Dataset) -> None:
    options: dict[str, Any] = {} if strategy == "label-propagation" else {"students": "gcn,mlp", "training": {"epochs": 2}}
    result = dgl_mutual.fit(ring, strategy=strategy, device="cpu", **options)
    for name in ("ensemble", result.members[0].member):
        probabilities = result.predict(member=name)
        assert probabilities.dtype == np.float64
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("layer", [{"strategy": "label-propagation"}, {"strategy": "correct-and-smooth"}, {"training": {"average": "swa"}}])
def test_their_time_is_estimated(layer: dict[str, Any], ring: Dataset, tmp_path: Path) -> None:
    seconds = seconds_per_trial(prepare(parse_config({"students": "gcn,sage"}, layer), ring, "ring", in_memory=True), tmp_path)
    assert math.isfinite(seconds) and seconds > 0


def test_quick_runs_average_within_their_epochs() -> None:
    values = {"training": {"average": "swa", "average_start": 90, "epochs": 100}}
    quick = configurations(parse_options(Suite, {"base": values, "datasets": ["Cora"], "methods": ["gml"]}), quick=True)
    assert quick[0].config.training.average_start == 15 and quick[0].config.training.epochs == 30


def test_quick_runs_exchange_within_their_epochs() -> None:
    values = {"strategy_options": {"exchange_warmup": [50, 10]}, "training": {"epochs": 100}}
    suite = parse_options(Suite, {"base": values, "datasets": ["Cora"], "methods": ["gml"]})
    assert configurations(suite, quick=True)[0].config.strategy_options == {}
    assert configurations(suite)[0].config.strategy_options == values["strategy_options"]
