"""Batches of graphs that are too large for one pass: sampled neighbourhoods, or the whole graph layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dgl_mutual.dgl_compat import dgl
from dgl_mutual.nn.adjacency import Adjacency
from dgl_mutual.nn.batch import Batch, GraphBatch
from dgl_mutual.nn.csr import NodeFeatures, Rows, offsets_of, take_columns, take_rows
from dgl_mutual.utils.caching import cached_method

#: Maximum numbers of nodes and edges in a chunk of a layer-wise pass; a single node may have more edges.
CHUNK_NODES, CHUNK_EDGES = 1 << 16, 1 << 20


class BlockBatch(Batch):
    """An adjacency for each convolution, the last of them for the samples: DGL's blocks (message-flow graphs).

    A student with fewer convolutions than there are blocks uses the last ones: the destinations of a block are its first sources, so the
    inputs of such a student are the first rows of the features.
    """

    def __init__(self, adjacencies: Sequence[Adjacency], features: NodeFeatures) -> None:
        """Take the adjacencies of the convolutions, first to last, and the features of the first one's sources."""
        self.features = features
        self._adjacencies = tuple(adjacencies)

    @classmethod
    def of(cls, blocks: Sequence[dgl.DGLGraph], whole: Any, device: torch.device) -> BlockBatch:
        """Make a batch on a device from blocks that DGL's samplers drew from a graph.

        The blocks may be on the CPU: DGL itself needs no support for the device.

        Args:
            whole: a `GraphBatch`, or another object with its dtype, degrees and features, whose rows are indexed by node.
        """
        adjacencies = []
        for block in blocks:
            in_offsets, sources, nodes = (part.to(device) for part in (*block.adj_tensors("csc")[:2], block.srcdata[dgl.NID]))
            num_destinations = block.num_dst_nodes()
            degrees = (take_rows(whole.in_degrees, nodes[:num_destinations]), take_rows(whole.out_degrees, nodes))
            dst_index = slice(None) if len(nodes) == num_destinations else slice(0, num_destinations)
            edge_features = None
            if whole.edge_features is not None:
                edge_features = take_rows(whole.edge_features, _drawn_edges(block).to(device))
            adjacencies.append(
                Adjacency(
                    in_offsets,
                    sources,
                    whole.dtype,
                    num_sources=len(nodes),
                    dst_index=dst_index,
                    degrees=degrees,
                    edge_features=edge_features,
                )
            )
        return cls(adjacencies, take_rows(whole.features, blocks[0].srcdata[dgl.NID].to(device)))

    def with_features(self, features: NodeFeatures) -> BlockBatch:
        return BlockBatch(self._adjacencies, features)

    def adjacencies(self, depth: int) -> Sequence[Adjacency]:
        return self._adjacencies[len(self._adjacencies) - depth :]

    def inputs(self, depth: int, columns: tuple[int, ...] | None = None) -> NodeFeatures:
        rows = self.adjacencies(depth)[0].num_sources if depth else self._adjacencies[-1].num_destinations
        features = self.features if columns is None else self._with_columns(columns)
        return features if rows == self._adjacencies[0].num_sources else take_rows(features, slice(0, rows))

    @cached_method
    def _with_columns(self, columns: tuple[int, ...]) -> NodeFeatures:
        return take_columns(self.features, columns)


class LayerwiseBatch(Batch):
    """The whole graph layer by layer: each convolution runs on all nodes before the next one, the last one on the samples alone.

    The logits equal those of one pass over the whole graph, with bounded memory for edges. For evaluation only: a backward pass would
    need all intermediate values.
    """

    def __init__(self, whole: GraphBatch, samples: Tensor) -> None:
        self.whole = whole
        self.samples = samples
        self._everywhere, self._last = _ChunkedAdjacency(whole, slice(None)), _ChunkedAdjacency(whole, samples)

    def adjacencies(self, depth: int) -> Sequence[Adjacency]:
        return (*[self._everywhere] * (depth - 1), self._last)

    def inputs(self, depth: int, columns: tuple[int, ...] | None = None) -> NodeFeatures:
        features = self.whole.inputs(depth, columns)
        return features if depth else take_rows(features, self.samples)


class _ChunkedAdjacency(Adjacency):
    """From all nodes of a graph to some or all of them, in chunks of bounded size. `in_offsets` and `sources` are those of the graph."""

    is_chunked = True

    def __init__(self, whole: GraphBatch, dst_index: Rows) -> None:
        super().__init__(
            whole.in_offsets,
            whole.sources,
            whole.dtype,
            num_sources=whole.num_sources,
            dst_index=dst_index,
            edge_features=whole.edge_features,
        )
        self._whole = whole
        self._nodes = torch.arange(whole.num_nodes, device=whole.device)[dst_index]

    @property
    def whole(self) -> GraphBatch:
        return self._whole

    @property
    def num_destinations(self) -> int:
        return len(self._nodes)

    @cached_property
    def loop_weights(self) -> Tensor:
        return self.at_destinations(self._whole.loop_weights)

    def chunks(self) -> Iterator[tuple[slice, Adjacency]]:
        first, degrees = self.in_offsets[self._nodes], self.in_offsets[self._nodes + 1] - self.in_offsets[self._nodes]
        so_far = degrees.cumsum(0)
        start = 0
        while start < len(self._nodes):
            limit = so_far[start] - degrees[start] + CHUNK_EDGES
            end = min(start + CHUNK_NODES, max(start + 1, int(torch.searchsorted(so_far, limit, right=True))))
            rows = slice(start, end)
            yield rows, self._chunk(rows, first[rows], degrees[rows])
            start = end

    def _chunk(self, rows: slice, first: Tensor, degrees: Tensor) -> Adjacency:
        nodes = self._nodes[rows]
        in_offsets = offsets_of(degrees)
        if self.is_whole:  # the edges of consecutive nodes are consecutive
            edges: Rows = slice(int(first[0]), int(first[-1] + degrees[-1]))
        else:
            shift = torch.repeat_interleave(first - in_offsets[:-1], degrees)
            edges = shift + torch.arange(len(shift), device=self.device)
        # The degrees of the sources cannot be counted in a chunk.
        all_degrees = (take_rows(self.whole.in_degrees, nodes), self.whole.out_degrees)
        dst_index = rows if self.is_whole else nodes
        edge_features = None if self.edge_features is None else take_rows(self.edge_features, edges)
        return Adjacency(
            in_offsets,
            self.sources[edges],
            self.dtype,
            num_sources=self.num_sources,
            dst_index=dst_index,
            degrees=all_degrees,
            edge_features=edge_features,
        )


def _drawn_edges(block: dgl.DGLGraph) -> Tensor:
    """Indices of a block's edges, in CSC order, in the graph that it was drawn from."""
    order: Tensor = block.adj_tensors("csc")[2]
    numbers: Tensor = block.edata[dgl.EID]
    return numbers[order]
