"""Perturbed views of a batch: what students train on may differ from what their peers' clean predictions see."""

from __future__ import annotations

from dataclasses import replace

import torch

from dgl_mutual.nn.batch import GraphBatch
from dgl_mutual.nn.sparse import SparseFeatures


def perturbed(batch: GraphBatch, *, edge_drop: float, feature_mask: float, generator: torch.Generator) -> GraphBatch:
    """A batch without some edges and feature columns, each left out with the given probability; the batch itself if both are 0.

    Source: Rong et al., ICLR 2020, arXiv 1907.10903 (edges); Zhu et al., arXiv 2006.04131, section 3.2 (columns, the same for all nodes).

    Args:
        generator: where the draws come from, on the batch's device.
    """
    if edge_drop == 0.0 and feature_mask == 0.0:
        return batch
    in_offsets, sources, _ = batch.graph.adj_tensors("csc")
    kept = torch.rand(len(sources), generator=generator, device=batch.device) >= edge_drop
    num_kept_before = torch.cat([kept.new_zeros(1, dtype=torch.int64), kept.cumsum(0)])
    columns = torch.rand(batch.features.shape[1], generator=generator, device=batch.device) >= feature_mask
    if isinstance(batch.features, SparseFeatures):
        features: torch.Tensor | SparseFeatures = replace(batch.features, values=batch.features.values * columns[batch.features.indices])
    else:
        features = batch.features * columns
    return GraphBatch(num_kept_before[in_offsets], sources[kept], features, batch.node_offsets)
