"""Labels of graph objects: whether they belong to nodes or graphs, their forms, and that they are read only if they are used."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import dgl
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import dgl_mutual as dm
from dgl_mutual.data import Dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.errors import DataError, UsageError
from tests import small_graph
from tests.data.test_dataset import EDGES, FEATURES
from tests.data.test_graph_objects import dgl_graph


def data(**more: Any) -> Any:
    pyg = pytest.importorskip("torch_geometric.data", reason="PyG is of the extra reference")
    return pyg.Data(x=torch.as_tensor(FEATURES), edge_index=torch.as_tensor(EDGES), **more)


def path_data(size: int, **more: Any) -> Any:
    pyg = pytest.importorskip("torch_geometric.data", reason="PyG is of the extra reference")
    return pyg.Data(x=torch.ones(size, 2), edge_index=torch.tensor([[0], [1]]), **more)


def test_the_task_says_what_labels_of_pyg_are_of() -> None:
    rows = np.random.default_rng(0).integers(0, 2, (6, 4))
    graphs = [data(y=torch.as_tensor(row)) for row in rows]
    with pytest.warns(UserWarning, match=r"y of each of the 6 graphs has as many entries as the graph has nodes, 4, .*task='graph'"):
        assert Dataset.from_pyg(graphs).task == "node"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nodes, whole = Dataset.from_pyg(graphs, task="node"), Dataset.from_pyg(graphs, task="graph")
        assert (Dataset.from_pyg(graphs, labels=[0, 1] * 3).task, Dataset.from_pyg(graphs[0]).task) == ("graph", "node")
        masks = {f"{part}_mask": torch.arange(4) == place for place, part in enumerate(("train", "val", "test"))}
        assert Dataset.from_pyg([data(y=torch.as_tensor(row), **masks) for row in rows]).task == "node"
        sizes = [path_data(size, y=torch.arange(size) % 2) for size in (2, 3)]
        assert Dataset.from_pyg(sizes).task == "node"
    np.testing.assert_array_equal(nodes.labels, rows.ravel())
    np.testing.assert_array_equal(whole.labels, rows)
    assert whole.target.kind == "multi-label"


@pytest.mark.filterwarnings("ignore:None of 1 test sample of graphs has a known label")
def test_labels_of_the_other_task_are_named() -> None:
    split = dm.Split([0], [1], [2])
    of_nodes = [path_data(size, y=torch.arange(size) % 2) for size in (2, 3, 4)]
    with pytest.raises(UsageError, match=r"y has labels of nodes, and the task is 'graph'\. To classify nodes, leave task='graph' out"):
        dm.fit(Dataset.from_pyg(of_nodes, task="graph"), "gcn,sage", split=split)
    with pytest.raises(UsageError, match=r"ndata\['label'\] has labels of nodes, and the task is 'graph'"):
        dm.fit(Dataset.from_dgl([dgl_graph()] * 3, task="graph"), "gcn,sage", split=split)
    shape = r"The labels of graph 0 have the shape \(\), but it has 4 nodes.*task='graph'"
    with pytest.raises(DataError, match=shape):
        Dataset.from_pyg([data(y=1), data(y=0)], task="node")
    bare = dgl_graph()
    del bare.ndata["label"]
    with pytest.raises(DataError, match=shape):
        Dataset.from_dgl([(bare, 1), (bare, 0)], task="node")
    pairs = [(bare, torch.tensor([0, 1, 1, 0]))] * 2
    assert Dataset.from_dgl(pairs, task="node").labels.tolist() == [0, 1, 1, 0] * 2
    assert Dataset.from_dgl(pairs).target.kind == "multi-label"
    of_one_node = dgl.node_subgraph(bare, [0])
    assert Dataset.from_dgl([(of_one_node, torch.tensor([1]))]).task == "graph"


def test_graphs_of_which_some_have_labels_of_nodes_are_refused() -> None:
    bare = dgl_graph()
    del bare.ndata["label"]
    message = "labels of graph 1 have no rows, but those of graph 0 rows"
    with pytest.raises(DataError, match=message):
        Dataset.from_dgl([dgl_graph(), bare])
    with pytest.raises(DataError, match=message):
        Dataset.from_pyg([path_data(2, y=torch.tensor([0, 1])), path_data(3), path_data(3, y=torch.tensor([0, 1, 0]))])


def test_labels_and_masks_are_not_read_for_predictions() -> None:
    result = small_graph.fit()
    labelled = small_graph.graph()
    graph = small_graph.graph(label=np.full(small_graph.N, 0.5), train_mask=np.full(small_graph.N, 7))
    expected = result.predict(labelled)
    several = np.concatenate([expected, expected])
    for graphs in ([graph, graph], [(graph, 0.5), (graph, None)], [(graph, object()), (graph, 1)], [labelled, graph]):
        np.testing.assert_allclose(result.predict(graphs), several, rtol=1e-5, atol=1e-6)
    pyg = pytest.importorskip("torch_geometric.data", reason="PyG is of the extra reference")
    plain = pyg.Data(x=torch.as_tensor(small_graph.FEATURES), edge_index=torch.as_tensor(small_graph.EDGES))
    for more in ({"y": torch.rand(small_graph.N)}, {"train_mask": torch.ones(3)}, {"y": [object()]}):
        changed = pyg.Data(**plain.to_dict(), **more)
        np.testing.assert_allclose(result.predict(changed), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(result.predict([plain, changed]), several, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(result.embeddings([plain, changed]), np.tile(result.embeddings(plain), (2, 1)), rtol=1e-5, atol=1e-6)


def test_labels_of_a_pool_are_not_read() -> None:
    def ring(size: int) -> Any:
        graph = dgl.graph((torch.arange(size), (torch.arange(size) + 1) % size))
        graph.ndata["feat"] = torch.ones(size, 2)
        return graph

    known = Dataset.from_dgl([ring(size) for size in range(3, 9)], labels=[0, 1] * 3)
    options = {"split": dm.Split([0, 1], [2, 3], [4, 5]), "training": {"epochs": 1}, "student": {"hidden": 4}}
    pool = [ring(size) for size in range(9, 12)]
    results = [dm.fit(known, "gcn,sage", "gml", unlabelled=graphs, **options) for graphs in (pool, [(graph, 0.5) for graph in pool])]
    np.testing.assert_array_equal(results[0].predict(), results[1].predict())
    assert results[1].dataset.num_pool == 3


def test_sparse_labels_are_those_of_the_dense_matrix() -> None:
    labels = np.array([[0, 1, 1], [1, 0, 1], [0, 0, 0], [1, 1, 0]])
    edges, expected = torch.as_tensor(EDGES), Dataset.from_arrays(EDGES, FEATURES, labels)
    for own in (sparse.csr_matrix(labels), sparse.csc_array(labels), sparse.coo_matrix(labels), torch.as_tensor(labels).to_sparse()):
        assert fingerprint(Dataset.from_dgl(dgl_graph(), labels=own)) == fingerprint(expected)
        assert fingerprint(Dataset.from_arrays(edges, FEATURES, own)) == fingerprint(expected)
        assert Dataset.from_arrays(edges, None, own).labels.shape == (4, 3)
        assert fingerprint(Dataset.from_pyg(data(y=own))) == fingerprint(expected)
        by_name = Dataset.from_dgl(dgl_graph(), labels={"colour": own})
        assert (by_name.target.name, by_name.labels.tolist()) == ("colour", labels.tolist())


@pytest.mark.parametrize(
    "as_labels",
    [
        *(np.asarray, np.ndarray.tolist, pd.DataFrame, sparse.csr_matrix, sparse.csc_array),
        *(torch.as_tensor, lambda rows: torch.as_tensor(rows).to_sparse()),
    ],
)
def test_the_advice_on_one_hot_labels_works(as_labels: Callable[[np.ndarray], Any]) -> None:
    labels = as_labels(np.eye(3, dtype=np.int64)[[2, 0, 1, 1]])
    with pytest.warns(UserWarning, match="if they are one-hot classes, give the number of the class instead, for example ") as caught:
        Dataset.from_arrays(EDGES, FEATURES, labels)
    fix = str(caught[0].message).split("for example ")[1].removesuffix(".")
    assert Dataset.from_arrays(EDGES, FEATURES, eval(fix, {"labels": labels, "np": np})).labels.tolist() == [2, 0, 1, 1]


def test_a_single_column_of_numpys_matrix_holds_classes() -> None:
    labels = sparse.csr_matrix(np.eye(3)[[2, 0, 1, 1]]).argmax(axis=1)
    assert labels.shape == (4, 1) and Dataset.from_arrays(EDGES, FEATURES, labels).labels.tolist() == [2, 0, 1, 1]
    assert Dataset.from_dgl(dgl_graph(), labels=labels).labels.tolist() == [2, 0, 1, 1]


@pytest.mark.parametrize("labels", [torch.tensor(3), np.array(3), np.int64(3), 3])
def test_a_single_value_is_not_a_list_of_labels(labels: Any) -> None:
    for make in (lambda: Dataset.from_dgl(dgl_graph(), labels=labels), lambda: Dataset.from_arrays(EDGES, None, labels)):
        with pytest.raises(DataError, match=r"The labels are an? (Tensor|ndarray|int64|int)( of one value)?\. Give a list or an array"):
            make()
    with pytest.raises(DataError, match="labels: expected shape"):
        Dataset.from_arrays(EDGES, FEATURES, labels)
