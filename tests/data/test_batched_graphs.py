"""Batched graphs of DGL, graphs without nodes, and graphs that are restricted to some formats."""

from __future__ import annotations

from typing import Any

import dgl
import numpy as np
import pytest
import torch

import dgl_mutual as dm
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.errors import DataError


def some_graphs() -> list[dgl.DGLGraph]:
    torch.manual_seed(0)
    graphs = []
    for size in (4, 3, 5, 6, 4, 5):
        graph = dgl.rand_graph(size, 3 * size)
        graph.ndata["feat"], graph.edata["feat"] = torch.rand(size, 3), torch.rand(3 * size, 2)
        graphs.append(graph)
    return graphs


LABELS = torch.tensor([0, 1, 0, 1, 0, 1])


@pytest.fixture(scope="module")
def result() -> Any:
    split = dm.Split([0, 1], [2, 3], [4, 5])
    dataset = dm.Dataset.from_dgl(some_graphs(), labels=LABELS)
    return dm.fit(dataset, "gcn,sage", split=split, training={"epochs": 2}, student={"hidden": 4})


@pytest.mark.filterwarnings("ignore:Edges are repeated with different features")
def test_a_batch_is_its_graphs_with_or_without_their_numbers_of_edges(result: Any) -> None:
    graphs = some_graphs()
    batch, expected = dgl.batch(graphs), fingerprint(dm.Dataset.from_dgl(graphs, labels=LABELS))
    assert fingerprint(dm.Dataset.from_dgl(batch, labels=LABELS)) == expected
    pairs = [(dgl.batch(graphs[:4]), LABELS[:4]), (dgl.batch(graphs[4:]), LABELS[4:])]  # as a list of a GraphDataLoader
    assert fingerprint(dm.Dataset.from_dgl(pairs)) == expected
    both = [dgl.add_reverse_edges(graph, copy_edata=True) for graph in graphs]
    joined = dgl.add_reverse_edges(batch, copy_edata=True)  # all reverses stand behind all edges
    joined.set_batch_num_nodes(batch.batch_num_nodes())
    assert fingerprint(dm.Dataset.from_dgl(joined, labels=LABELS)) == fingerprint(dm.Dataset.from_dgl(both, labels=LABELS))
    np.testing.assert_allclose(result.predict(joined), result.predict(both), rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError, match=r"Item 0 is a batch of 6 graphs, with a Tensor of the shape \(2,\) beside it"):
        dm.Dataset.from_dgl([(batch, LABELS[:2])])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([4, 3, 5], "has 27 nodes, and its batch information is for 4, 3, 5"),
        ([4, 3, 5, 6, 4, 6], "has 27 nodes, and its batch information is for 4, 3, 5, 6, 4, 6"),
        ([4, 3, 5, 6, 10, -1], "has 27 nodes, and its batch information is for"),
        ([5, 2, 5, 6, 4, 5], "has an edge from node . to node ., and by its batch information these are nodes of graphs . and ."),
    ],
)
@pytest.mark.filterwarnings("ignore:Edges are repeated with different features")
def test_batch_information_that_does_not_fit_is_refused(sizes: list[int], message: str, result: Any) -> None:
    batch = dgl.batch(some_graphs())
    batch.set_batch_num_nodes(torch.tensor(sizes))
    for take in (result.predict, dm.Dataset.from_dgl, lambda graph: result.cohort.members[0](graph, graph.ndata["feat"])):
        with pytest.raises(DataError, match=rf"{message}.* to set_batch_num_nodes and set_batch_num_edges"):
            take(batch)


def test_nothing_is_predicted_for_a_graph_without_nodes(result: Any) -> None:
    empty, graph = dgl.graph(([], []), num_nodes=0), some_graphs()[0]
    empty.ndata["feat"], empty.edata["feat"] = torch.zeros(0, 3), torch.zeros(0, 2)
    for data, number in ((empty, 0), (dgl.batch([graph, empty]), 1), ([graph, empty], 1)):
        with pytest.raises(DataError, match=f"Graph {number} has no nodes, and nothing can be predicted"):
            result.predict(data)


@pytest.mark.parametrize("formats", ["csc", "csr", ["csr", "csc"], "coo"])
@pytest.mark.filterwarnings("ignore:Edges are repeated with different features")
def test_a_graph_of_any_formats(formats: Any, result: Any) -> None:
    graphs = some_graphs()
    kept, batch = [graph.formats(formats) for graph in graphs], dgl.batch(graphs)
    expected = fingerprint(dm.Dataset.from_dgl(graphs, labels=LABELS))
    for data in (kept, batch.formats(formats)):
        assert fingerprint(dm.Dataset.from_dgl(data, labels=LABELS)) == expected
        np.testing.assert_allclose(result.predict(data), result.predict(graphs), rtol=1e-5, atol=1e-6)
    assert fingerprint(dm.Dataset.from_dgl(kept[0], task="node")) == fingerprint(dm.Dataset.from_dgl(graphs[0], task="node"))
    assert kept[0].formats() == graphs[0].formats(formats).formats()  # the user's own graph stays as it is
