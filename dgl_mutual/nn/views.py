"""Perturbed views of a batch: students may train on other edges and features than those of their peers' clean predictions."""

from __future__ import annotations

import torch

from dgl_mutual.nn.batch import Batch, GraphBatch
from dgl_mutual.nn.blocks import BlockBatch
from dgl_mutual.nn.csr import NodeFeatures, SparseMatrix, take_rows


def perturbed(batch: Batch, *, edge_drop: float, feature_mask: float, edges: torch.Generator, columns: torch.Generator) -> Batch:
    """A batch without some edges and feature columns, each left out with the given probability; the batch itself if both are 0.

    Source: Rong et al., ICLR 2020, arXiv 1907.10903 (edges); Zhu et al., arXiv 2006.04131, section 3.2 (columns, the same for all nodes).

    Args:
        edges, columns: where the draws of each come from, on the batch's device. They are apart, since processes that divide a batch must
            mask the same columns, and have different numbers of edges.
    """
    if edge_drop == 0.0 and feature_mask == 0.0:
        return batch
    if isinstance(batch, BlockBatch):
        assert edge_drop == 0.0, "sampling neighbours leaves out edges already"
        return batch.with_features(_masked(batch.features, feature_mask, columns))
    assert isinstance(batch, GraphBatch)
    features = _masked(batch.features, feature_mask, columns)
    if edge_drop == 0.0:
        return GraphBatch(batch.in_offsets, batch.sources, features, batch.node_offsets, batch.edge_features)
    kept = torch.rand(len(batch.sources), generator=edges, device=batch.device) >= edge_drop
    num_kept_before = torch.cat([kept.new_zeros(1, dtype=torch.int64), kept.cumsum(0)])
    of_edges = None if batch.edge_features is None else take_rows(batch.edge_features, torch.nonzero(kept).squeeze(1))
    return GraphBatch(num_kept_before[batch.in_offsets], batch.sources[kept], features, batch.node_offsets, of_edges)


def _masked(features: NodeFeatures, rate: float, generator: torch.Generator) -> NodeFeatures:
    columns = torch.rand(features.shape[1], generator=generator, device=generator.device) >= rate
    if isinstance(features, SparseMatrix):
        return SparseMatrix(features.pattern, features.values * columns[features.pattern.indices])
    return features * columns
