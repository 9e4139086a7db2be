"""What a saved student cannot predict for, and what cannot be a pool, is refused with a mend that works."""

from __future__ import annotations

from pathlib import Path

import pytest

import dgl_mutual
from dgl_mutual.errors import TaskMismatchError, UsageError
from dgl_mutual.experiments.predictions import predict_dataset

QUICK = {"students": "gcn,gin", "training": {"epochs": 1}, "student": {"hidden": 4}}


def test_data_of_the_other_task_are_not_asked_for_with_a_task(tmp_path: Path) -> None:
    dgl_mutual.fit(dgl_mutual.load("digits"), **QUICK).save(tmp_path)
    with pytest.raises(UsageError, match="was trained for the node task, and MUTAG is a dataset for the other") as caught:
        predict_dataset(tmp_path, "MUTAG")
    assert "Ask for task" not in str(caught.value)
    with pytest.raises(UsageError, match="trained for the node task, not for 'graph'"):
        predict_dataset(tmp_path, "digits", "graph")


def test_a_pool_by_name() -> None:
    graphs = dgl_mutual.load("digits", "graph")
    with pytest.raises(UsageError, match="is for graph tasks, and Cora is a dataset for the node task"):
        dgl_mutual.fit(graphs, unlabelled="Cora", **QUICK)
    with pytest.raises(UsageError, match="All 1797 graphs of the pool digits are graphs of digits"):  # loaded for the task of the dataset
        dgl_mutual.fit(graphs, unlabelled="digits", **QUICK)
    with pytest.raises(TaskMismatchError, match="Ask for task 'node'"):
        dgl_mutual.load("Cora", "graph")
