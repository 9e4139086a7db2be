"""A batch of graphs in pieces: what students need of the structure is made for the whole batch at once and cut up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from torch import Tensor

from dgl_mutual.nn.adjacency import BlockOperator, Operator
from dgl_mutual.nn.batch import GraphBatch
from dgl_mutual.nn.sparse import Block, BlockPattern, Pattern, SparseMatrix, take_rows


def split_batch(whole: GraphBatch, counts: Sequence[int]) -> list[GraphBatch]:
    """The batch in pieces of so many consecutive graphs each, which `counts` adds up to; each equals a batch made of its graphs alone."""
    if len(counts) == 1:
        return [whole]
    graphs = np.concatenate([[0], np.cumsum(counts)])
    nodes: list[int] = whole.node_offsets[graphs].tolist()
    edges: list[int] = whole.in_offsets[nodes].tolist()
    return [
        _Part(whole, slice(*graphs[place : place + 2]), slice(*nodes[place : place + 2]), slice(*edges[place : place + 2]))
        for place in range(len(counts))
    ]


class _Part(GraphBatch):
    """Some consecutive graphs of a batch, with their nodes and edges."""

    def __init__(self, whole: GraphBatch, graphs: slice, nodes: slice, edges: slice) -> None:
        super().__init__(
            whole.in_offsets[nodes.start : nodes.stop + 1] - edges.start,
            whole.sources[edges] - nodes.start,
            take_rows(whole.features, nodes),
            whole.node_offsets[graphs.start : graphs.stop + 1] - nodes.start,
        )
        self._whole = whole
        self._plain = Block(nodes, nodes, edges)
        self._looped = Block(nodes, nodes, slice(edges.start + nodes.start, edges.stop + nodes.stop))
        self._pooled = Block(graphs, nodes, nodes)

    @cached_property
    def pattern(self) -> Pattern:
        return BlockPattern(self._whole.pattern, self._plain)

    @cached_property
    def looped_pattern(self) -> Pattern:
        return BlockPattern(self._whole.looped_pattern, self._looped)

    def attention_pattern(self, heads: int) -> Pattern:
        if heads not in self._attention:
            nodes, entries = (slice(part.start * heads, part.stop * heads) for part in (self._looped.rows, self._looped.entries))
            self._attention[heads] = BlockPattern(self._whole.attention_pattern(heads), Block(nodes, nodes, entries))
        return self._attention[heads]

    @cached_property
    def neighbour_sum(self) -> Operator:
        return BlockOperator(self._whole.neighbour_sum, self._plain, self.pattern, self.constant)

    @cached_property
    def sum_and_loops(self) -> tuple[Tensor, Tensor]:
        edges, loops = self._whole.sum_and_loops
        return edges[self._looped.entries], loops[self._looped.entries]

    @cached_property
    def neighbour_mean(self) -> Operator:
        return BlockOperator(self._whole.neighbour_mean, self._plain, self.pattern, self.constant)

    @cached_property
    def normalised_sum(self) -> Operator:
        return BlockOperator(self._whole.normalised_sum, self._looped, self.looped_pattern, self.constant)

    @cached_property
    def pooling(self) -> SparseMatrix:
        pattern = BlockPattern(self._whole.pooling.pattern, self._pooled)
        return SparseMatrix(pattern, self._whole.pooling.values[self._pooled.entries])
