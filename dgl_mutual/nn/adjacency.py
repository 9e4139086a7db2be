"""Adjacency of a convolution: the edges along which nodes receive messages."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from dgl_mutual.nn import kernels
from dgl_mutual.nn.csr import Codes, NodeFeatures, Pattern, RepeatedRows, Rows, SparseMatrix, offsets_of, take_rows
from dgl_mutual.utils.caching import cached_method

#: How neighbours' states are aggregated: their sum; their mean; or the sum over j in N(i) + i with the weights 1 / sqrt(d_i d_j).
Norm: TypeAlias = Literal["sum", "mean", "symmetric"]


class Adjacency:
    """A bipartite graph whose destinations are a subset of its sources; on a whole graph both are all nodes.

    DGL calls it a block, or message-flow graph. Quantities that all students share are computed on first use and cached.

    Attributes:
        in_offsets, sources: CSC form without self-loops: the in-neighbours of destination v are sources[in_offsets[v]:in_offsets[v + 1]].
        num_sources: number of sources.
        dst_index: positions of the destinations among the sources; ``slice(None)`` where they are the same nodes.
        dtype: floating-point type of computed values.
        is_chunked: whether it is too large for operations on all edges at once, which then go through `chunks` (evaluation only).
        edge_features: e_ij (edges, D) in the order of `sources`, if students take any.
        constant_features: features of the sources that stay the same for all students and passes (sources, F), if any.
    """

    is_chunked: bool = False
    constant_features: Tensor | None = None
    edge_features: NodeFeatures | None = None

    def __init__(
        self,
        in_offsets: Tensor,
        sources: Tensor,
        dtype: torch.dtype,
        *,
        num_sources: int | None = None,
        dst_index: Rows = slice(None),
        degrees: tuple[Tensor, Tensor] | None = None,
        edge_features: NodeFeatures | None = None,
        by_source: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Take the arrays of the CSC form.

        Args:
            num_sources, dst_index: default: as on a whole graph.
            degrees: in-degrees of the destinations (destinations, 1) and out-degrees of the sources (sources, 1) in the graph that this
                one was sampled from; default: those of this graph.
            edge_features: see the attribute.
            by_source: the bounds of the sources (sources + 1,) among the edges in order of source, and the numbers of these (edges,);
                default: found where they are needed.
        """
        self.in_offsets = in_offsets
        self.sources = sources
        self.dtype = dtype
        self.num_sources = len(in_offsets) - 1 if num_sources is None else num_sources
        self.dst_index = dst_index
        self.edge_features = edge_features
        self._degrees = degrees
        self._by_source = by_source

    @property
    def num_destinations(self) -> int:
        return len(self.in_offsets) - 1

    @property
    def device(self) -> torch.device:
        return self.in_offsets.device

    @property
    def is_whole(self) -> bool:
        """Whether the destinations are the sources."""
        return self.dst_index == slice(None)

    @property
    def is_sample(self) -> bool:
        """Whether its edges are sampled from those of another graph, whose degrees it keeps."""
        return self._degrees is not None

    @property
    def narrows(self) -> bool:
        """Whether there are at least twice as many sources as destinations, as with sampled neighbours."""
        return self.num_sources >= 2 * self.num_destinations

    def at_destinations(self, x: Tensor) -> Tensor:
        """Select the rows of the destinations from those of the sources."""
        return x if self.is_whole else take_rows(x, self.dst_index)

    @property
    def whole(self) -> Adjacency:
        """The entire graph of a chunked adjacency; otherwise the adjacency itself."""
        return self

    def chunks(self) -> Iterator[tuple[slice, Adjacency]]:
        """Yield ranges of destinations and the adjacency of each, over the same sources. One chunk unless `is_chunked`."""
        yield slice(None), self

    @cached_property
    def pattern(self) -> Pattern:
        """A non-zero for each edge, in the row of its destination and the column of its source; in the order of `sources`."""
        return Pattern(self.in_offsets, self.sources, self.num_sources, self._by_source)

    @cached_property
    def looped_pattern(self) -> Pattern:
        """`pattern` with a self-loop for each destination, as the last non-zero of its row."""
        nodes = torch.arange(self.num_sources, device=self.device)[self.dst_index]
        offsets = self.in_offsets + torch.arange(len(self.in_offsets), device=self.device)
        return Pattern(offsets, self._with_loops(self.sources, nodes), self.num_sources)

    @cached_method
    def attention_pattern(self, heads: int) -> Pattern:
        """`looped_pattern` once per head: row i * heads + h has the columns j * heads + h.

        Rows are thus positions in a flattened array (nodes, heads), and no array needs another layout.
        """
        return self.looped_pattern if heads == 1 else _by_head(self.looped_pattern, heads)

    @cached_method
    def normalised(self, norm: Norm) -> SparseMatrix:
        """The adjacency matrix A (destinations, sources) with a normalisation; ``symmetric`` counts self-loops.

        sum: A_ij = 1; with sampled neighbours, an estimate of the sum over all. mean: A_ij = 1 / |N(i)|; an empty row is 0.
        symmetric: A_ij = 1 / sqrt(d_i d_j), d_i in-degrees and d_j out-degrees with self-loops (Kipf and Welling, ICLR 2017, eq. 2).
        """
        weights = self.edge_weights(norm)
        if norm != "symmetric":
            return SparseMatrix(self.pattern, weights)
        return SparseMatrix(self.looped_pattern, self._with_loops(weights, self.loop_weights.squeeze(1)))

    @cached_method
    def edge_weights(self, norm: Norm) -> Tensor:
        """A_ij of each edge, in the order of `sources`: (edges,)."""
        scale = self._sampling_scale
        if norm == "sum":
            return self.in_offsets.new_ones(len(self.sources), dtype=self.dtype) if scale is None else self._along_edges(scale)
        if norm == "mean":
            return self._along_edges(self._seen_degrees.clamp(min=1).reciprocal())
        destination, source = (self.in_degrees + 1).rsqrt(), (self.out_degrees + 1).rsqrt()
        return self._along_edges(destination if scale is None else destination * scale) * source.squeeze(1).index_select(0, self.sources)

    @cached_method
    def pair_codes(self, sources: Codes) -> Codes:
        """For each edge the index of its pair of codes (c_j, c_ij) in a table of all pairs, where those of the first c_j come first.

        Args:
            sources: the codes c_j of the sources; those of the edges, c_ij, are those of `edge_features`, which are `RepeatedRows`.
        """
        assert isinstance(self.edge_features, RepeatedRows)
        edges = self.edge_features.codes
        numbers = sources.numbers.index_select(0, self.sources) * edges.count + edges.numbers
        return Codes(numbers, sources.count * edges.count)

    @cached_property
    def loop_weights(self) -> Tensor:
        """(destinations, 1): A_ii of the norm ``symmetric``."""
        return (self.in_degrees + 1).rsqrt() * self.at_destinations((self.out_degrees + 1).rsqrt())

    @cached_property
    def edge_loops(self) -> SparseMatrix:
        """The matrix (edges + destinations, edges) that maps edge values to the order of `looped_pattern`.

        A self-loop gets the mean over the in-edges, as in `torch_geometric.nn.GATConv(fill_value="mean")`; over none it is 0.
        """
        looped, count = self.looped_pattern, len(self.sources)
        loops = looped.indptr[1:].long() - 1
        sizes = torch.ones(count + self.num_destinations, dtype=torch.int64, device=self.device)
        sizes[loops] = self.in_offsets.diff()
        indptr = offsets_of(sizes)
        # Each row of the looped pattern takes its edges one by one, then all of them again for the mean.
        numbers = torch.arange(count, device=self.device)
        rows = self.pattern.rows.long()
        columns, values = numbers.new_empty(2 * count), self.in_offsets.new_ones(2 * count, dtype=self.dtype)
        first, again = numbers + self.in_offsets[rows], numbers + self.in_offsets[rows + 1]
        columns[first], columns[again] = numbers, numbers
        values[again] = self.edge_weights("mean")
        return SparseMatrix(Pattern(indptr, columns, count), values)

    @cached_method
    def attention_order(self, heads: int) -> tuple[Tensor, Tensor]:
        """The permutation from the order of `looped_pattern` to that of `attention_pattern`, and its inverse.

        They index the flattened array (edges + destinations, heads).
        """
        pattern = self.looped_pattern
        starts, rows = pattern.indptr[:-1].long(), pattern.rows.long()
        numbers = torch.arange(len(rows), device=self.device)
        place = numbers + (starts * (heads - 1))[rows]
        inverse = place.unsqueeze(1) + pattern.indptr.diff().long()[rows].unsqueeze(1) * torch.arange(heads, device=self.device)
        inverse = inverse.flatten()
        order = torch.empty_like(inverse)
        order[inverse] = torch.arange(len(inverse), device=self.device)
        return order, inverse

    @cached_method
    def aggregated_features(self, norm: Norm) -> Tensor:
        """A X for the constant features X: (destinations, F)."""
        assert self.constant_features is not None
        return kernels.spmm(self.normalised(norm), self.constant_features)

    @cached_property
    def sum_and_loops(self) -> tuple[Tensor, Tensor]:
        """Two arrays in the order of `looped_pattern`: the values of the norm ``sum``, 0 at the loops; and 1 at the loops, 0 elsewhere."""
        edges = self.normalised("sum").values
        loops = edges.new_ones(self.num_destinations)
        return self._with_loops(edges, torch.zeros_like(loops)), self._with_loops(torch.zeros_like(edges), loops)

    @cached_property
    def in_degrees(self) -> Tensor:
        """(destinations, 1): number of in-neighbours without the node itself; for a sample, in the graph that it was drawn from."""
        return self._seen_degrees if self._degrees is None else self._degrees[0]

    @cached_property
    def out_degrees(self) -> Tensor:
        """(sources, 1): number of out-neighbours, counted as in `in_degrees`."""
        if self._degrees is not None:
            return self._degrees[1]
        return torch.bincount(self.sources, minlength=self.num_sources).to(self.dtype).unsqueeze(1)

    @cached_property
    def _seen_degrees(self) -> Tensor:
        return self.in_offsets.diff().to(self.dtype).unsqueeze(1)

    @property
    def _sampling_scale(self) -> Tensor | None:
        """(destinations, 1): number of neighbours over number of sampled neighbours; None without sampling.

        NOTE: without it, sums (gin, gcn) would have another scale in training than over all neighbours in evaluation.
        """
        return None if not self.is_sample else self.in_degrees / self._seen_degrees.clamp(min=1)

    def _with_loops(self, edge_values: Tensor, loop_values: Tensor) -> Tensor:
        """Merge the values of the edges and of the destinations' self-loops in the order of `looped_pattern`."""
        edges = torch.arange(len(edge_values), device=self.device) + self.pattern.rows
        loops = self.in_offsets[1:] + torch.arange(self.num_destinations, device=self.device)
        values = edge_values.new_empty(len(edge_values) + len(loop_values))
        values[edges], values[loops] = edge_values, loop_values
        return values

    def _along_edges(self, destination_values: Tensor) -> Tensor:
        """Repeat the value of each destination (destinations, 1) for its in-edges: (edges,)."""
        return torch.repeat_interleave(destination_values.squeeze(1), self.in_offsets.diff(), output_size=len(self.sources))


def _by_head(pattern: Pattern, heads: int) -> Pattern:
    rows, columns = pattern.shape
    count = heads * len(pattern.indices)
    dtype = torch.int32 if max(count, heads * rows, heads * columns) < 2**31 else torch.int64
    starts, degrees, indices = (part.to(dtype) for part in (pattern.indptr[:-1], pattern.indptr.diff(), pattern.indices))
    head = torch.arange(heads, dtype=dtype, device=starts.device)
    new_starts = torch.addcmul(starts.unsqueeze(1) * heads, degrees.unsqueeze(1), head).flatten()
    # One head at a time: with all heads in one array this takes four times as long.
    place = torch.arange(len(indices), device=starts.device) + (starts * (heads - 1)).index_select(0, pattern.rows)
    step = degrees.index_select(0, pattern.rows)
    new_columns, first_columns = indices.new_empty(count), indices * heads
    for h in range(heads):
        new_columns[place + step * h] = first_columns + h
    return Pattern(torch.cat([new_starts, new_starts.new_full((1,), count)]), new_columns, columns * heads)
