from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dgl_mutual.data import Dataset, describe_dataset, load_dataset
from dgl_mutual.data.values.edges import canonical_edges

Build = Callable[..., Path]


def test_numbers_of_a_small_dataset(build_tu: Build) -> None:
    facts = describe_dataset(load_dataset(build_tu(A="1, 2\n4, 5\n")))
    assert facts["graphs"] == 2 and facts["nodes"] == 5 and facts["edges"] == 4 and facts["features"] == 4
    assert facts["label_counts"] == {"-1": 1, "1": 1}
    assert (facts["degree_min"], facts["degree_mean"], facts["degree_max"], facts["isolated_nodes"]) == (0, 0.8, 1, 1)
    assert facts["feature_density"] == pytest.approx(14 / 20)
    assert (facts["feature_min"], facts["feature_max"]) == (0, 5) and "edge_feature_min" not in facts
    assert "edge_homophily" not in facts and facts["official_split"] is None
    json.dumps(facts)


def test_the_range_of_features_is_described(build_csv: Build) -> None:
    """What an error of prediction tells users to look at."""
    nodes = "node_id,label,a\n0,0,-1e30\n1,1,7\n2,0,3\n"
    edges = "src_id,dst_id,feat\n0,1,0.5\n1,2,2.5\n"
    meta = "dataset_name: toy\nnode_data: [{file_name: nodes.csv}]\nedge_data: [{file_name: edges.csv}]\n"
    facts = describe_dataset(load_dataset(build_csv(meta_yaml=meta, nodes_csv=nodes, edges_csv=edges, graphs_csv=None)))
    assert facts["feature_min"] == pytest.approx(-1e30) and facts["feature_max"] == 7
    assert (facts["edge_feature_min"], facts["edge_feature_max"]) == (0.5, 2.5)
    sparse = Dataset.from_arrays([[0, 1], [1, 2]], np.eye(40, dtype=np.float32) * 3)
    assert not isinstance(sparse.features, np.ndarray)
    assert (describe_dataset(sparse)["feature_min"], describe_dataset(sparse)["feature_max"]) == (0, 3)


def test_homophily_of_cora(data_dir: Path) -> None:
    facts = describe_dataset(load_dataset("cora", data_dir=data_dir, offline=True))
    assert facts["edge_homophily"] == pytest.approx(0.81, abs=0.005)  # Zhu et al., NeurIPS 2020, table 5
    assert facts["official_split"] == {"train": 140, "val": 500, "test": 1000}


def test_canonical_edges() -> None:
    edges = canonical_edges(np.array([2, 0, 0, 1]), np.array([0, 2, 2, 1]), 3, symmetric=False)
    assert edges.tolist() == [[2, 0], [0, 2]]
    assert canonical_edges(np.array([2]), np.array([0]), 3, symmetric=True).tolist() == [[2, 0], [0, 2]]
    assert canonical_edges(np.zeros(0, int), np.zeros(0, int), 3, symmetric=True).shape == (2, 0)
