"""Graphs that are too large for one pass: a sample of the neighbourhoods of some nodes, or the whole graph layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from dgl_mutual.dgl_compat import dgl
from dgl_mutual.nn.adjacency import Adjacency, Rows
from dgl_mutual.nn.batch import Batch, GraphBatch
from dgl_mutual.nn.sparse import SparseFeatures, take_rows

#: Most nodes and edges (or one node's) that a convolution aggregates at a time in a layer-wise pass.
PIECE_NODES, PIECE_EDGES = 1 << 16, 1 << 20


class NodeData(Protocol):
    """What blocks need of the nodes of the whole graph: a `GraphBatch`, or something else that gives rows of these when asked."""

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def in_degrees(self) -> Any: ...

    @property
    def out_degrees(self) -> Any: ...

    @property
    def features(self) -> Any: ...


class BlockBatch(Batch):
    """A structure of its own for each convolution, the last of them for the samples: DGL's blocks (message flow graphs).

    A student with fewer convolutions than there are structures uses the last ones: the destinations of a block are its first sources, so
    what such a student starts from are the first rows of the features.
    """

    def __init__(self, structures: Sequence[Adjacency], features: Tensor | SparseFeatures) -> None:
        """Take the structures of the convolutions, first to last, and the features of the first one's sources."""
        self.features = features
        self._structures = tuple(structures)

    @classmethod
    def of(cls, blocks: Sequence[dgl.DGLGraph], whole: NodeData) -> BlockBatch:
        """What DGL's samplers draw from a graph, with what is known of its nodes."""
        structures = []
        for block in blocks:
            in_offsets, sources, _ = block.adj_tensors("csc")
            nodes, num_destinations = block.srcdata[dgl.NID], block.num_dst_nodes()
            degrees = (take_rows(whole.in_degrees, nodes[:num_destinations]), take_rows(whole.out_degrees, nodes))
            own = slice(None) if len(nodes) == num_destinations else slice(0, num_destinations)
            structures.append(Adjacency(in_offsets, sources, whole.dtype, num_sources=len(nodes), own=own, degrees=degrees))
        return cls(structures, take_rows(whole.features, blocks[0].srcdata[dgl.NID]))

    def with_features(self, features: Tensor | SparseFeatures) -> BlockBatch:
        return BlockBatch(self._structures, features)

    def adjacencies(self, depth: int) -> Sequence[Adjacency]:
        return self._structures[len(self._structures) - depth :]

    def inputs(self, depth: int) -> Tensor | SparseFeatures:
        rows = self.adjacencies(depth)[0].num_sources if depth else self._structures[-1].num_destinations
        return self.features if rows == self._structures[0].num_sources else take_rows(self.features, slice(0, rows))


class LayerwiseBatch(Batch):
    """The whole graph, every convolution on all nodes before the next one, the last one on the samples alone.

    The logits are those of one pass over the whole graph, and memory for edges is bounded. It is for evaluation: a backward pass would
    need all that is saved.
    """

    def __init__(self, whole: GraphBatch, samples: Tensor) -> None:
        self.whole = whole
        self.samples = samples
        self._everywhere, self._last = _InPieces(whole, slice(None)), _InPieces(whole, samples)

    def adjacencies(self, depth: int) -> Sequence[Adjacency]:
        return (*[self._everywhere] * (depth - 1), self._last)

    def inputs(self, depth: int) -> Tensor | SparseFeatures:
        return self.whole.features if depth else take_rows(self.whole.features, self.samples)


class _InPieces(Adjacency):
    """All sources of a graph, and some or all of them as destinations, in pieces of bounded size."""

    def __init__(self, whole: GraphBatch, own: Rows) -> None:
        super().__init__(whole.in_offsets, whole.sources, whole.dtype, num_sources=whole.num_sources, own=own)
        self._whole = whole

    @property
    def is_divided(self) -> bool:
        return True

    @property
    def whole(self) -> Adjacency:
        return self._whole

    @property
    def pieces(self) -> Iterator[Adjacency]:
        nodes = torch.arange(self.num_sources, device=self.device)[self.own]
        first, degrees = self.in_offsets[nodes], self.in_offsets[nodes + 1] - self.in_offsets[nodes]
        so_far = degrees.cumsum(0)
        start = 0
        while start < len(nodes):
            limit = so_far[start] - degrees[start] + PIECE_EDGES
            end = min(start + PIECE_NODES, max(start + 1, int(torch.searchsorted(so_far, limit, right=True))))
            yield self._piece(nodes[start:end], first[start:end], degrees[start:end])
            start = end

    def _piece(self, nodes: Tensor, first: Tensor, degrees: Tensor) -> Adjacency:
        in_offsets = torch.cat([degrees.new_zeros(1), degrees.cumsum(0)])
        if self.is_whole:  # the nodes of a piece follow each other, and so do their edges
            sources = self.sources[int(first[0]) : int(first[-1] + degrees[-1])]
        else:
            shift = torch.repeat_interleave(first - in_offsets[:-1], degrees)
            sources = self.sources[shift + torch.arange(len(shift), device=self.device)]
        all_degrees = (take_rows(self.whole.in_degrees, nodes), self.whole.out_degrees)  # those of the sources are not seen here
        return Adjacency(in_offsets, sources, self.dtype, num_sources=self.num_sources, own=nodes, degrees=all_degrees)
