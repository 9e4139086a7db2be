from __future__ import annotations

from collections.abc import Callable

import dgl
import numpy as np
import pytest
import torch
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.nn.csr import NodeFeatures, Pattern, SparseMatrix

MakeDataset = Callable[..., Dataset]
AsDGL = Callable[[Dataset], dgl.DGLGraph]
SIZES = (4, 0, 1, 7, 3)


def edge_set(graph: dgl.DGLGraph | GraphBatch) -> list[tuple[int, int]]:
    source, destination = graph.edges() if isinstance(graph, dgl.DGLGraph) else (graph.pattern.indices, graph.pattern.rows)
    return sorted(zip(source.tolist(), destination.tolist(), strict=True))


def dense(features: NodeFeatures) -> Tensor:
    return features.csr.to_dense() if isinstance(features, SparseMatrix) else features


@pytest.mark.parametrize("sparse_", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("directed", [False, True], ids=["undirected", "directed"])
@pytest.mark.parametrize("chosen", [[0, 1, 2, 3, 4], [3, 0], [2], [1], [4, 4, 1, 3, 4], []], ids=str)
def test_collator_equals_dgl_batch(chosen: list[int], directed: bool, sparse_: bool, make_dataset: MakeDataset, as_dgl: AsDGL) -> None:
    dataset = make_dataset(SIZES, directed=directed, sparse_=sparse_)
    batch = Collator(dataset, dtype=torch.float64)(chosen)
    graphs = dgl.unbatch(as_dgl(dataset))
    if not chosen:
        assert (batch.num_graphs, batch.num_nodes, len(batch.sources)) == (0, 0, 0)
        return
    expected = dgl.batch([graphs[number] for number in chosen])
    assert edge_set(batch) == edge_set(expected)
    assert batch.num_nodes == expected.num_nodes()
    assert batch.num_graphs == len(chosen)
    assert batch.dtype == torch.float64
    torch.testing.assert_close(dense(batch.features), expected.ndata["feat"])
    torch.testing.assert_close(batch.graph_sizes, expected.batch_num_nodes())
    torch.testing.assert_close(batch.batch_index, torch.repeat_interleave(torch.arange(len(chosen)), expected.batch_num_nodes()))
    torch.testing.assert_close(batch.in_degrees.squeeze(1), expected.in_degrees().double())
    # The dataset's own order of edges gives the transpose that the batch alone has.
    (ours, order), (alone, expected_order) = (
        p.transpose for p in (batch.pattern, Pattern(batch.in_offsets, batch.sources, batch.num_nodes))
    )
    for found, known in ((ours.indptr, alone.indptr), (ours.indices, alone.indices), (order, expected_order)):
        assert torch.equal(found, known) and found.dtype == known.dtype


@pytest.mark.parametrize("sparse_", [False, True], ids=["dense", "sparse"])
def test_collator_all_is_every_graph_in_order(sparse_: bool, make_dataset: MakeDataset) -> None:
    collate = Collator(make_dataset(SIZES, sparse_=sparse_))
    everything, one_by_one = collate.all(), collate(range(len(SIZES)))
    assert edge_set(everything) == edge_set(one_by_one)
    assert torch.equal(dense(everything.features), dense(one_by_one.features))
    assert torch.equal(everything.node_offsets, one_by_one.node_offsets)
    assert everything.dtype == torch.float32


def test_collating_does_not_touch_the_dataset(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(SIZES)
    edges, features = dataset.edges.copy(), np.array(dataset.features)
    batch = Collator(dataset)([3, 0])
    assert isinstance(batch.features, Tensor)
    batch.features.zero_()
    np.testing.assert_array_equal(dataset.edges, edges)
    np.testing.assert_array_equal(dataset.features, features)


@pytest.fixture(params=["undirected", "directed"])
def adjacency(request: pytest.FixtureRequest, make_dataset: MakeDataset, as_dgl: AsDGL) -> tuple[GraphBatch, Tensor]:
    """A batch, and its adjacency matrix as DGL has it: one row per destination."""
    dataset = make_dataset(SIZES, directed=request.param == "directed")
    source, destination = as_dgl(dataset).edges()
    matrix = torch.zeros(dataset.num_nodes, dataset.num_nodes, dtype=torch.float64)
    matrix[destination, source] = 1.0
    return Collator(dataset, dtype=torch.float64).all(), matrix


def test_patterns(adjacency: tuple[GraphBatch, Tensor]) -> None:
    batch, matrix = adjacency
    looped = matrix + torch.eye(len(matrix))
    for pattern, expected in ((batch.pattern, matrix), (batch.looped_pattern, looped), (batch.attention_pattern(1), looped)):
        ones = torch.ones(len(pattern.indices), dtype=torch.float64)
        torch.testing.assert_close(SparseMatrix(pattern, ones).csr.to_dense(), expected)
    last_of_rows = batch.looped_pattern.indices[batch.looped_pattern.indptr[1:] - 1]
    assert last_of_rows.tolist() == list(range(batch.num_nodes))


def test_attention_pattern_is_each_head_by_itself(adjacency: tuple[GraphBatch, Tensor]) -> None:
    batch, matrix = adjacency
    pattern = batch.attention_pattern(3)
    everything = SparseMatrix(pattern, torch.ones(len(pattern.indices), dtype=torch.float64)).csr.to_dense()
    torch.testing.assert_close(everything, torch.kron(matrix + torch.eye(len(matrix)), torch.eye(3, dtype=torch.float64)))
    assert batch.attention_pattern(3) is pattern


def test_normalised_adjacency_matrices(adjacency: tuple[GraphBatch, Tensor]) -> None:
    batch, matrix = adjacency
    looped = matrix + torch.eye(len(matrix))
    expected = looped / (looped.sum(1, keepdim=True) * looped.sum(0)).sqrt()
    torch.testing.assert_close(batch.normalised("symmetric").csr.to_dense(), expected)
    torch.testing.assert_close(batch.normalised("mean").csr.to_dense(), matrix / matrix.sum(1, keepdim=True).clamp(min=1))
    torch.testing.assert_close(batch.normalised("sum").csr.to_dense(), matrix)
    assert isinstance(batch.features, Tensor)
    torch.testing.assert_close(batch.aggregated_features("sum"), matrix @ batch.features)


@pytest.mark.parametrize("idtype", [torch.int32, torch.int64])
def test_from_dgl_takes_out_self_loops(idtype: torch.dtype, make_dataset: MakeDataset, as_dgl: AsDGL) -> None:
    plain = as_dgl(make_dataset((4, 1, 7), directed=True)).astype(idtype)
    looped = dgl.add_self_loop(plain)
    num_nodes, num_edges = (numbers().to(idtype) for numbers in (plain.batch_num_nodes, plain.batch_num_edges))
    looped.set_batch_num_nodes(num_nodes)
    looped.set_batch_num_edges(num_edges + num_nodes)
    for graph in (plain, looped):
        batch = GraphBatch.from_dgl(graph)
        assert edge_set(batch) == edge_set(plain)
        assert batch.node_offsets.tolist() == [0, 4, 5, 12]
        assert batch.dtype == torch.float32
        torch.testing.assert_close(batch.features, plain.ndata["feat"].float())
    assert looped.num_edges() == plain.num_edges() + 12, "the caller's graph is as it was"


def test_from_dgl_refuses_missing_features_and_vectors() -> None:
    graph = dgl.graph(([0], [1]))
    graph.ndata["x"] = torch.zeros(2, 3)
    with pytest.raises(UsageError, match=r"'feat'.*it has: x"):
        GraphBatch.from_dgl(graph)
    graph.ndata["feat"] = torch.zeros(2)
    with pytest.raises(UsageError, match=r"shape \(2,\)"):
        GraphBatch.from_dgl(graph)


def test_from_dgl_removes_duplicate_edges(make_dataset: MakeDataset, as_dgl: AsDGL) -> None:
    plain = as_dgl(make_dataset((4, 1, 7), directed=True))
    source, destination = plain.edges()
    order = torch.randperm(2 * len(source))
    doubled = dgl.graph((source.repeat(2)[order], destination.repeat(2)[order]), num_nodes=12)
    ours, expected = (GraphBatch.from_dgl(graph, feat=plain.ndata["feat"]) for graph in (doubled, plain))
    assert torch.equal(ours.in_offsets, expected.in_offsets)
    assert torch.equal(ours.sources, expected.sources)


def test_from_dgl_gives_the_batch_of_the_dataset_to_the_bit(make_dataset: MakeDataset, as_dgl: AsDGL) -> None:
    dataset = make_dataset(SIZES, directed=True)
    ours, expected = GraphBatch.from_dgl(as_dgl(dataset)), Collator(dataset).all()
    for name in ("in_offsets", "sources", "features", "node_offsets"):
        assert torch.equal(getattr(ours, name), getattr(expected, name)), name


def test_from_dgl_refuses_all_but_homogeneous_graphs() -> None:
    feat = torch.zeros(2, 3)
    with pytest.raises(UsageError, match=r"heterogeneous.*user.*buys.*item.*dgl.to_homogeneous"):
        GraphBatch.from_dgl(dgl.heterograph({("user", "buys", "item"): ([0], [1])}), feat=feat)
    with pytest.raises(UsageError, match="heterogeneous or bipartite"):
        GraphBatch.from_dgl(dgl.to_block(dgl.graph(([0], [1]))), feat=feat)
    with pytest.raises(UsageError, match="Expected a DGLGraph, found a list"):
        GraphBatch.from_dgl([dgl.graph(([0], [1]))], feat=feat)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(UsageError, match=r"shape \(2, 3\) and the graph has 5 nodes"):
        GraphBatch.from_dgl(dgl.graph(([0], [1]), num_nodes=5), feat=feat)


def test_from_dgl_takes_a_graph_without_edges() -> None:
    graph = dgl.graph((torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)), num_nodes=3)
    batch = GraphBatch.from_dgl(graph, feat=torch.ones(3, 2))
    assert (batch.num_nodes, len(batch.sources)) == (3, 0)


def test_one_number_per_edge_needs_no_second_dimension() -> None:
    graph = dgl.graph(([0, 1, 2], [1, 2, 0]))
    graph.ndata["feat"], graph.edata["feat"] = torch.rand(3, 2), torch.rand(3)
    flat = GraphBatch.from_dgl(graph, edge_features=1).edge_features
    graph.edata["feat"] = graph.edata["feat"].unsqueeze(1)
    assert torch.equal(flat, GraphBatch.from_dgl(graph, edge_features=1).edge_features)


def test_from_dgl_warns_of_repeated_edges_with_different_features() -> None:
    graph = dgl.graph(([0, 0, 1], [1, 1, 2]))
    graph.ndata["feat"], graph.edata["feat"] = torch.rand(3, 2), torch.tensor([[1.0], [2.0], [3.0]])
    with pytest.warns(UserWarning, match="repeated with different features .1 in all., for example 0 -> 1"):
        batch = GraphBatch.from_dgl(graph, edge_features=1)
    assert batch.edge_features is not None and batch.edge_features.flatten().tolist() == [1.0, 3.0]
