from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.errors import DataError
from tests.strategies.cases import make_dataset

pytest.importorskip("torch_geometric", reason="needs torch_geometric")

from dgl_mutual.reference.graphs import from_graphs, to_graphs


@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
@pytest.mark.parametrize("task", ["node", "graph"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_graphs_hold_the_same_data(task: str, kind: str, dtype: torch.dtype) -> None:
    dataset = make_dataset(task, kind)
    graphs = to_graphs(dataset, dtype)
    assert len(graphs) == dataset.num_graphs
    assert fingerprint(from_graphs(graphs, dataset)) == fingerprint(dataset)


def test_features_may_be_sparse() -> None:
    dataset = make_dataset("node", "single-label")
    sparsely = replace(dataset, features=sparse.csr_matrix(dataset.features))
    assert torch.equal(to_graphs(sparsely)[0].x, torch.as_tensor(dataset.features))


def test_a_graph_has_its_own_edges_numbered_from_zero() -> None:
    dataset = make_dataset("graph", "single-label")
    for number, graph in enumerate(to_graphs(dataset)):
        first, last = dataset.node_offsets[number : number + 2]
        mine = (dataset.edges[1] >= first) & (dataset.edges[1] < last)
        np.testing.assert_array_equal(graph.edge_index.numpy() + first, dataset.edges[:, mine])
        assert graph.sample.tolist() == [number] and graph.y.tolist() == [dataset.labels[number]]


def test_a_lost_edge_changes_the_fingerprint() -> None:
    dataset = make_dataset("graph", "single-label")
    graphs = to_graphs(dataset)
    graphs[0].edge_index = graphs[0].edge_index[:, 1:]
    assert fingerprint(from_graphs(graphs, dataset)) != fingerprint(dataset)


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="the system does not tell how much memory it has")
def test_features_that_are_too_large_once_dense_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", lambda name: 1)  # a page of a byte
    dataset = make_dataset("node", "single-label")
    huge = replace(dataset, features=sparse.csr_matrix(dataset.features))
    with pytest.raises(DataError, match="dense features"):
        to_graphs(huge)
