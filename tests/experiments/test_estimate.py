from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dgl_mutual.experiments import estimate
from dgl_mutual.experiments.configuration.config import parse_config
from dgl_mutual.experiments.estimate import seconds_left, seconds_per_trial
from dgl_mutual.experiments.plan import prepare
from tests.reporting.folders import write_run
from tests.training.small_data import graphs, multi_label_graphs


def plan(folder: Path, points: int = 1) -> Any:
    return SimpleNamespace(name=folder.name, points=[None] * points)


def test_the_time_left_follows_from_finished_trials_of_the_run_or_else_of_the_others(tmp_path: Path) -> None:
    seconds = 0.12  # of each trial that `write_run` writes
    begun, new = write_run(tmp_path, strategy="gml", seeds=3), tmp_path / "new"
    assert seconds_left([plan(begun)], tmp_path, {0: 4}, 2) == pytest.approx(4 * seconds / 2)
    assert seconds_left([plan(begun, points=3), plan(new)], tmp_path, {0: 1, 1: 2}, 1) == pytest.approx(3 * 3 * seconds)
    assert seconds_left([plan(new)], tmp_path, {0: 4}, 2) is None


def test_a_schedule_that_ends_with_the_warm_up_is_no_fault(tmp_path: Path) -> None:
    options = {"entropy_weight": 0.1, "entropy_schedule": "warmup"}
    values = {
        "task": "graph",
        "students": "gcn,sage",
        "strategy": "gml",
        "strategy_options": options,
        "folds": 4,
        "training": {"epochs": 8},
    }
    assert seconds_per_trial(prepare(parse_config(values), graphs()[0], "graphs", in_memory=True), tmp_path) > 0


def test_where_a_part_of_the_graphs_lacks_a_label_all_of_them_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_threads: Callable[[int], None]
) -> None:
    """The validation part of a tenth of 40 graphs is one graph, for which no ROC-AUC is defined."""
    measured = []

    def seconds(config: Any, dataset: Any, split: Any, *, fit: Any = estimate._seconds) -> float:
        measured.append(len(split.train))
        return float(fit(config, dataset, split))

    monkeypatch.setattr(estimate, "_GRAPHS", 4)
    monkeypatch.setattr(estimate, "_seconds", seconds)
    config = parse_config({"task": "graph", "students": "gcn", "strategy": "independent", "folds": 4, "training": {"epochs": 3}})
    plan = prepare(config, multi_label_graphs()[0], "graphs", in_memory=True)
    set_threads(2)
    assert seconds_per_trial(plan, tmp_path) > 0 and torch.get_num_threads() == 2
    assert measured[-1] == len(plan.trials[0].split.train) > measured[0]
