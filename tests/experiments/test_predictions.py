"""What a saved student cannot predict for, and what cannot be a pool, is refused with a fix that works."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import dgl_mutual
from dgl_mutual.data.values.target import Target
from dgl_mutual.errors import DataError, TaskMismatchError, UsageError
from dgl_mutual.experiments.predictions import predict_dataset, prediction_table

QUICK = {"students": "gcn,gin", "training": {"epochs": 1}, "student": {"hidden": 4}}


def test_data_of_the_other_task_are_not_asked_for_with_a_task(tmp_path: Path) -> None:
    dgl_mutual.fit(dgl_mutual.load("digits"), **QUICK).save(tmp_path)
    with pytest.raises(UsageError, match="was trained for the node task, and MUTAG is a dataset for the graph task") as caught:
        predict_dataset(tmp_path, "MUTAG")
    assert "Ask for task" not in str(caught.value)
    with pytest.raises(UsageError, match="trained for the node task, not for 'graph'"):
        predict_dataset(tmp_path, "digits", "graph")


def test_a_pool_by_name() -> None:
    graphs = dgl_mutual.load("digits", "graph")
    with pytest.raises(UsageError, match="is for graph tasks, and Cora is a dataset for the node task"):
        dgl_mutual.fit(graphs, unlabelled="Cora", **QUICK)
    with pytest.raises(
        UsageError, match="The pool 'digits' holds nothing new: 1797 graphs, all of them in 'digits'"
    ):  # loaded for the task of the dataset
        dgl_mutual.fit(graphs, unlabelled="digits", **QUICK)
    with pytest.raises(TaskMismatchError, match="Ask for task 'node'"):
        dgl_mutual.load("Cora", "graph")


def write_star(folder: Path, neighbours: int) -> dgl_mutual.Dataset:
    """A folder in CSV form with one graph without features: node 0 has `neighbours` neighbours. The same as a dataset of arrays."""
    folder.mkdir()
    (folder / "meta.yaml").write_text("dataset_name: star\nnode_data: [{file_name: n.csv}]\nedge_data: [{file_name: e.csv}]\n")
    edges = np.array([range(1, neighbours + 1), [0] * neighbours])
    pd.DataFrame({"node_id": range(neighbours + 1)}).to_csv(folder / "n.csv", index=False)
    pd.DataFrame({"src_id": edges[0], "dst_id": edges[1]}).to_csv(folder / "e.csv", index=False)
    return dgl_mutual.Dataset.from_arrays(edges, None, [0] * (neighbours + 1), name="star")


def test_degrees_that_the_training_data_do_not_have_count_as_the_highest(tmp_path: Path) -> None:
    known = dgl_mutual.Dataset.from_arrays([[0, 1, 2, 3], [1, 2, 1, 0]], None, [0, 1, 0, 1])
    assert known.num_features == 3
    split = dgl_mutual.Split([0, 1], [2], [3])
    result = dgl_mutual.fit(known, **QUICK, split=split)
    result.save(tmp_path / "saved")
    higher = write_star(tmp_path / "higher", 6)
    features = np.zeros((7, 3), dtype=np.float32)
    features[0, 2] = features[1:, 0] = 1
    capped = higher.replaced(features=features, feature_names=known.feature_names, feature_kinds=known.feature_kinds)
    with pytest.warns(UserWarning, match="Nodes of star have in-degrees up to 6, and those of the training data at most 2. Higher"):
        found = result.predict(higher)
    assert (found == result.predict(capped)).all()
    with pytest.warns(UserWarning, match="Higher degrees count as 2"):
        table = predict_dataset(tmp_path / "saved" / "gcn-0.safetensors", str(tmp_path / "higher"))
    assert np.allclose(table[["p(0)", "p(1)"]], result.predict(capped, member="gcn-0"))


def test_degrees_beside_other_columns_are_not_known() -> None:
    known = dgl_mutual.Dataset.from_arrays([[0, 1], [1, 2]], np.eye(4, 3), [0, 1, 0, 1], feature_names=["degree=0", "degree=1", "age"])
    result = dgl_mutual.fit(known, **QUICK, split=dgl_mutual.Split([0, 1], [2], [3]))
    with pytest.raises(DataError, match="not expected: degree=2"):
        result.predict(known.replaced(feature_names=("degree=0", "degree=1", "degree=2")))


def test_a_label_of_one_half_is_not_predicted() -> None:
    """Micro-F1 counts it as not predicted, too: its logit is 0."""
    dataset = dgl_mutual.Dataset.from_arrays([[0], [1]], np.eye(2), np.array([[1, 1], [0, 1]]))
    target = Target("multi-label", ("a", "b"), "micro-f1")
    model: Any = SimpleNamespace(predict=lambda data: np.array([[0.5, 0.6], [0.5, 0.5]]), target=target)
    assert prediction_table(model, dataset)["prediction"].tolist() == ["b", ""]


def write_tu(folder: Path, name: str) -> Path:
    """Twelve graphs of two nodes each, with node and edge labels."""
    folder.mkdir()
    pairs = [(2 * graph + 1, 2 * graph + 2) for graph in range(12)]
    files = {
        "A": "".join(f"{one}, {other}\n{other}, {one}\n" for one, other in pairs),
        "graph_indicator": "".join(f"{graph + 1}\n" * 2 for graph in range(12)),
        "graph_labels": "0\n1\n" * 6,
        "node_labels": "0\n1\n2\n1\n" * 6,
        "edge_labels": "1\n1\n0\n0\n" * 6,
    }
    for part, text in files.items():
        (folder / f"{name}_{part}.txt").write_text(text)
    return folder


def test_label_codes_of_another_tu_dataset_are_predicted_with_a_warning(tmp_path: Path) -> None:
    first, second, part = (write_tu(tmp_path / folder, name) for folder, name in (("a", "FIRST"), ("b", "SECOND"), ("c", "FIRST")))
    result = dgl_mutual.fit(str(first), **QUICK, protocol="holdout")
    result.save(tmp_path / "saved")
    codes = r"label=0, label=1, label=2, edge label=0, edge label=1\) as SECOND numbers them, but the model has them as FIRST"
    with pytest.warns(UserWarning, match=codes):
        result.predict(dgl_mutual.load(second))
    with pytest.warns(UserWarning, match=codes):
        predict_dataset(tmp_path / "saved", str(second))
    with (
        pytest.warns(UserWarning, match=r"as SECOND numbers them, but FIRST has them as FIRST numbers them.*different atoms"),
        pytest.raises(UsageError, match="holds nothing new"),
    ):
        dgl_mutual.fit(str(first), **QUICK, unlabelled=str(second))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict_dataset(tmp_path / "saved", str(part))
        file = tmp_path / "saved" / "gcn-0.json"  # as versions wrote it that recorded no codes
        description = json.loads(file.read_text())
        assert description.pop("codes_of") == "FIRST"
        file.write_text(json.dumps(description))
        predict_dataset(tmp_path / "saved" / "gcn-0", str(second))
