"""A batch of graphs split into smaller ones: matrices are made for the whole batch at once and cut into blocks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from torch import Tensor

from dgl_mutual.data.arrays import offsets_of
from dgl_mutual.nn.adjacency import Norm
from dgl_mutual.nn.batch import GraphBatch
from dgl_mutual.nn.csr import DiagonalBlock, NodeFeatures, Pattern, RepeatedRows, SparseMatrix, cut, take_rows
from dgl_mutual.utils.caching import cached_method


def split_batch(whole: GraphBatch, counts: Sequence[int]) -> list[GraphBatch]:
    """Split a batch into batches of consecutive graphs; each equals the batch that is made of its graphs alone.

    Args:
        counts: number of graphs of each; they add up to the graphs of the batch.
    """
    if len(counts) == 1:
        return [whole]
    graphs = offsets_of(counts)
    nodes: list[int] = whole.node_offsets[graphs].tolist()
    edges: list[int] = whole.in_offsets[nodes].tolist()
    spans = [[slice(*offsets[index : index + 2]) for index in range(len(counts))] for offsets in (graphs.tolist(), nodes, edges)]
    features = cut(whole.features, spans[1])
    of_edges = [None] * len(counts) if whole.edge_features is None else cut(whole.edge_features, spans[2])
    return [_Part(whole, *parts) for parts in zip(*spans, features, of_edges, strict=True)]


class _Part(GraphBatch):
    """Some consecutive graphs of a batch, with their nodes and edges: a block of each of its block-diagonal matrices."""

    def __init__(
        self, whole: GraphBatch, graphs: slice, nodes: slice, edges: slice, features: NodeFeatures, edge_features: NodeFeatures | None
    ) -> None:
        super().__init__(
            whole.in_offsets[nodes.start : nodes.stop + 1] - edges.start,
            whole.sources[edges] - nodes.start,
            features,
            whole.node_offsets[graphs.start : graphs.stop + 1] - nodes.start,
            edge_features,
        )
        self._whole = whole
        self._graphs = graphs
        self._plain = DiagonalBlock(nodes, nodes, edges)
        self._looped = DiagonalBlock(nodes, nodes, slice(edges.start + nodes.start, edges.stop + nodes.stop))
        # A loop has the edges of its node once more.
        self._doubled = DiagonalBlock(self._looped.entries, edges, slice(2 * edges.start, 2 * edges.stop))

    @cached_property
    def pattern(self) -> Pattern:
        return self._whole.pattern.block(self._plain)

    @cached_property
    def looped_pattern(self) -> Pattern:
        return self._whole.looped_pattern.block(self._looped)

    @cached_method
    def attention_pattern(self, heads: int) -> Pattern:
        nodes, entries = (slice(part.start * heads, part.stop * heads) for part in (self._looped.rows, self._looped.entries))
        return self._whole.attention_pattern(heads).block(DiagonalBlock(nodes, nodes, entries))

    @cached_method
    def normalised(self, norm: Norm) -> SparseMatrix:
        block, pattern = (self._looped, self.looped_pattern) if norm == "symmetric" else (self._plain, self.pattern)
        return self._whole.normalised(norm).block(block, pattern)

    @cached_method
    def edge_weights(self, norm: Norm) -> Tensor:
        return self._whole.edge_weights(norm)[self._plain.entries]

    @cached_property
    def loop_weights(self) -> Tensor:
        return self._whole.loop_weights[self._plain.rows]

    @cached_property
    def edge_loops(self) -> SparseMatrix:
        whole = self._whole.edge_loops
        return whole.block(self._doubled, whole.pattern.block(self._doubled))

    @cached_method
    def attention_order(self, heads: int) -> tuple[Tensor, Tensor]:
        entries = slice(self._looped.entries.start * heads, self._looped.entries.stop * heads)
        order, inverse = self._whole.attention_order(heads)
        return order[entries] - entries.start, inverse[entries] - entries.start

    @cached_method
    def with_columns(self, columns: tuple[int, ...]) -> NodeFeatures:
        taken = self._whole.with_columns(columns)
        if isinstance(taken, RepeatedRows) and isinstance(self.features, RepeatedRows):
            return RepeatedRows(taken.table, self.features.codes)
        return take_rows(taken, self._plain.rows)

    @cached_method
    def aggregated_features(self, norm: Norm) -> Tensor:
        return self._whole.aggregated_features(norm)[self._plain.rows]

    @cached_property
    def sum_and_loops(self) -> tuple[Tensor, Tensor]:
        edges, loops = self._whole.sum_and_loops
        return edges[self._looped.entries], loops[self._looped.entries]

    @cached_property
    def batch_index(self) -> Tensor:
        start: int = self._graphs.start
        return self._whole.batch_index[self._plain.rows] - start
