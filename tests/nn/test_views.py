from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from dgl_mutual.nn.batch import Collator, GraphBatch
from dgl_mutual.nn.csr import SparseMatrix
from dgl_mutual.nn.views import perturbed
from tests.strategies.cases import make_dataset


def whole(task: str = "graph") -> GraphBatch:
    return Collator(make_dataset(task, "single-label")).all()


def edges_of(batch: GraphBatch) -> set[tuple[int, int]]:
    return set(zip(batch.pattern.indices.tolist(), batch.pattern.rows.tolist(), strict=True))


def view(
    batch: GraphBatch, edge_drop: float, feature_mask: float, seed: int = 0, *, node_drop: float = 0.0, keeps_nodes: bool = True
) -> GraphBatch:
    return perturbed(
        batch,
        edge_drop=edge_drop,
        feature_mask=feature_mask,
        node_drop=node_drop,
        keeps_nodes=keeps_nodes,
        edges=torch.Generator().manual_seed(seed),
        columns=torch.Generator().manual_seed(seed + 1),
    )


def test_nothing_to_perturb_is_the_batch_itself():
    batch = whole()
    assert view(batch, 0.0, 0.0) is batch


@pytest.mark.parametrize("task", ["node", "graph"])
def test_edges_are_dropped_and_none_added(task):
    batch = whole(task)
    shares = []
    for seed in range(30):
        dropped = view(batch, 0.3, 0.0, seed)
        assert edges_of(dropped) < edges_of(batch)
        assert torch.equal(dropped.features, batch.features)
        assert torch.equal(dropped.node_offsets, batch.node_offsets)
        in_degrees = torch.bincount(dropped.pattern.rows, minlength=batch.num_nodes)
        assert torch.equal(dropped.in_degrees.squeeze(1).long(), in_degrees)
        shares.append(len(dropped.sources) / len(batch.sources))
    assert abs(sum(shares) / 30 - 0.7) < 0.05


def test_shares_of_a_batch_mask_the_same_columns_whatever_edges_they_have():
    shares = [Collator(make_dataset("graph", "single-label"))(np.array(graphs)) for graphs in ([0, 1, 2], [3], [4, 5, 6, 7])]
    seen = []
    for rank, share in enumerate(shares):
        edges, columns = torch.Generator().manual_seed(rank), torch.Generator().manual_seed(9)
        views = [perturbed(share, edge_drop=0.5, feature_mask=0.5, edges=edges, columns=columns) for _ in range(5)]
        seen.append([(view.features == 0).all(0).tolist() for view in views])
    assert seen[0] == seen[1] == seen[2]
    assert any(map(any, seen[0]))


def test_whole_columns_are_masked_in_dense_and_sparse_features_alike():
    batch = whole()
    features = SparseMatrix.from_scipy(sparse.csr_matrix(batch.features.numpy()))
    twin = GraphBatch(batch.in_offsets, batch.sources, features, batch.node_offsets)
    masked, seen = view(batch, 0.0, 0.5), view(twin, 0.0, 0.5)
    gone = (masked.features == 0).all(0)
    assert 0 < gone.sum() < 5
    assert torch.equal(masked.features[:, ~gone], batch.features[:, ~gone])
    torch.testing.assert_close(seen.features.csr.to_dense(), masked.features)
    assert edges_of(masked) == edges_of(batch)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_dropped_nodes_that_stay_lose_their_features_and_the_mean_stays(is_sparse):
    batch = whole("node")
    if is_sparse:
        features = SparseMatrix.from_scipy(sparse.csr_matrix(batch.features.numpy()))
        batch = GraphBatch(batch.in_offsets, batch.sources, features, batch.node_offsets)
    sums, shares = [], []
    for seed in range(300):
        dropped = view(batch, 0.0, 0.0, seed, node_drop=0.4).features
        dense = dropped.csr.to_dense() if is_sparse else dropped
        sums.append(dense)
        shares.append((dense == 0).all(1).float().mean())
        assert edges_of(view(batch, 0.0, 0.0, seed, node_drop=0.4)) == edges_of(batch)
    clean = batch.features.csr.to_dense() if is_sparse else batch.features
    gone = (sums[0] == 0).all(1)
    torch.testing.assert_close(sums[0][~gone], clean[~gone] / 0.6)
    assert abs(np.mean(shares) - 0.4) < 0.02
    assert (torch.stack(sums).mean(0) - clean).abs().mean() < 0.1


@pytest.mark.parametrize("edge_drop", [0.0, 0.3])
def test_dropped_nodes_of_graphs_go_with_their_edges(edge_drop):
    batch = whole()
    marks = torch.arange(batch.num_nodes, dtype=torch.float32)[:, None].expand(-1, 5)
    edge_features = torch.stack([batch.sources, batch.pattern.rows], 1).float()
    batch = GraphBatch(batch.in_offsets, batch.sources, marks, batch.node_offsets, edge_features)
    graph_of = torch.repeat_interleave(torch.arange(batch.num_graphs), batch.graph_sizes)
    for seed in range(20):
        dropped = view(batch, edge_drop, 0.0, seed, node_drop=0.4, keeps_nodes=False)
        kept = dropped.features[:, 0].long()
        assert 0 < len(kept) < batch.num_nodes
        assert torch.equal(torch.bincount(graph_of[kept], minlength=batch.num_graphs), dropped.graph_sizes)
        assert (dropped.graph_sizes > 0).all()
        there = {(u, v) for u, v in edges_of(batch) if u in kept and v in kept}
        found = {(int(kept[u]), int(kept[v])) for u, v in edges_of(dropped)}
        assert found == there if edge_drop == 0 else found <= there
        ends = torch.stack([kept[dropped.sources.long()], kept[dropped.pattern.rows.long()]], 1).float()
        assert torch.equal(dropped.edge_features, ends)
    assert view(batch, 0.0, 0.0, node_drop=0.999, keeps_nodes=False).graph_sizes.tolist() == [1] * batch.num_graphs
