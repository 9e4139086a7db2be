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


def view(batch: GraphBatch, edge_drop: float, feature_mask: float, seed: int = 0) -> GraphBatch:
    return perturbed(
        batch,
        edge_drop=edge_drop,
        feature_mask=feature_mask,
        edges=torch.Generator().manual_seed(seed),
        columns=torch.Generator().manual_seed(seed + 1),
    )


def test_nothing_to_perturb_is_the_batch_itself():
    batch = whole()
    assert view(batch, 0.0, 0.0) is batch


@pytest.mark.parametrize("task", ["node", "graph"])
def test_edges_go_and_no_others_come(task):
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
