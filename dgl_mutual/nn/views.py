"""Perturbed views of a batch: students may train on other edges and features than their peers' clean predictions use."""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_mutual.nn.batch import Batch, GraphBatch
from dgl_mutual.nn.blocks import BlockBatch
from dgl_mutual.nn.csr import NodeFeatures, SparseMatrix, offsets_of, take_rows


def perturbed(
    batch: Batch,
    *,
    edge_drop: float,
    feature_mask: float,
    node_drop: float = 0.0,
    keeps_nodes: bool = True,
    edges: torch.Generator,
    columns: torch.Generator,
) -> Batch:
    """A batch without some edges, feature columns and nodes, each left out with the given probability; the batch itself if all are 0.

    Source: Rong et al., ICLR 2020, arXiv 1907.10903 (edges); Zhu et al., arXiv 2006.04131, section 3.2 (columns, the same for all nodes);
    Feng et al. (GRAND), NeurIPS 2020, arXiv 2005.11079, section 3.1 (nodes on node tasks: their features become zeros, and those of the
    others are divided by 1 - p); You et al. (GraphCL), NeurIPS 2020, arXiv 2010.13902 (nodes on graph tasks: removed with their edges).

    Args:
        keeps_nodes: dropped nodes lose only their features, as on a node task, where each node has a prediction. Otherwise they are removed
            with their edges; each graph keeps at least one node.
        edges, columns: random generators for edges and nodes, and for columns, on the batch's device. They are separate, since processes
            that divide a batch must mask the same columns but have different numbers of edges.
    """
    if edge_drop == feature_mask == node_drop == 0.0:
        return batch
    assert isinstance(batch, GraphBatch | BlockBatch)
    features = batch.features if feature_mask == 0.0 else _masked(batch.features, feature_mask, columns)
    if node_drop > 0.0 and keeps_nodes:
        features = _without_rows(features, node_drop, edges)
    if isinstance(batch, BlockBatch):
        assert edge_drop == 0.0, "sampling neighbours already leaves out edges"
        assert keeps_nodes, "neighbours are sampled on node tasks alone"
        return batch.with_features(features)
    view = GraphBatch(batch.in_offsets, batch.sources, features, batch.node_offsets, batch.edge_features)
    if edge_drop > 0.0:
        view = _with_edges(view, torch.rand(len(view.sources), generator=edges, device=view.device) >= edge_drop)
    return view if node_drop == 0.0 or keeps_nodes else _without_nodes(view, node_drop, edges)


def _with_edges(batch: GraphBatch, is_kept: Tensor) -> GraphBatch:
    """Keep the edges of a mask (edges,)."""
    num_kept_before = offsets_of(is_kept)
    edge_features = None if batch.edge_features is None else take_rows(batch.edge_features, torch.nonzero(is_kept).squeeze(1))
    return GraphBatch(num_kept_before[batch.in_offsets], batch.sources[is_kept], batch.features, batch.node_offsets, edge_features)


def _without_nodes(batch: GraphBatch, rate: float, generator: torch.Generator) -> GraphBatch:
    draws = torch.rand(batch.num_nodes, generator=generator, device=batch.device)
    graph_of = batch.batch_index
    highest = draws.new_zeros(batch.num_graphs).scatter_reduce(0, graph_of, draws, "amax")
    is_kept = (draws >= rate) | (draws == highest[graph_of])
    destinations = torch.repeat_interleave(torch.arange(batch.num_nodes, device=batch.device), batch.in_offsets.diff())
    fewer = _with_edges(batch, is_kept[destinations] & is_kept[batch.sources])
    num_kept_before = offsets_of(is_kept)
    rows = torch.nonzero(is_kept).squeeze(1)
    return GraphBatch(
        torch.cat([fewer.in_offsets[:1], fewer.in_offsets[1:][rows]]),  # removed nodes have no edges left
        num_kept_before[fewer.sources].to(fewer.sources.dtype),
        take_rows(fewer.features, rows),
        num_kept_before[batch.node_offsets],
        fewer.edge_features,
    )


def _without_rows(features: NodeFeatures, rate: float, generator: torch.Generator) -> NodeFeatures:
    is_kept = torch.rand(features.shape[0], generator=generator, device=generator.device) >= rate
    factors = is_kept / (1.0 - rate)
    if isinstance(features, SparseMatrix):
        return SparseMatrix(features.pattern, features.values * factors.to(features.values.dtype)[features.pattern.rows])
    return features * factors.to(features.dtype)[:, None]


def _masked(features: NodeFeatures, rate: float, generator: torch.Generator) -> NodeFeatures:
    columns = torch.rand(features.shape[1], generator=generator, device=generator.device) >= rate
    if isinstance(features, SparseMatrix):
        return SparseMatrix(features.pattern, features.values * columns[features.pattern.indices])
    return features * columns
