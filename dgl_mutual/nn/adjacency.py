"""Who hears whom in one convolution."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from dgl_mutual.dgl_compat import dgl
from dgl_mutual.nn.sparse import Block, Pattern, SparseMatrix, take_rows

#: Row numbers, or ``slice(None)`` for all rows: indexing with it copies nothing.
Rows: TypeAlias = "Tensor | slice"


class Operator(SparseMatrix):
    """A sum over neighbours, y_i = sum_j w_ij x_j.

    Attributes:
        constant: features that stay the same for all students and passes (sources, F), if any.
    """

    def __init__(self, pattern: Pattern, weights: Tensor, constant: Tensor | None) -> None:
        super().__init__(pattern, weights)
        self.constant = constant

    @cached_property
    def of_constant(self) -> Tensor:
        """What becomes of `constant`: (destinations, F)."""
        assert self.constant is not None
        return self @ self.constant


class BlockOperator(Operator):
    """A block of a block-diagonal operator, as `BlockPattern`."""

    def __init__(self, whole: Operator, block: Block, pattern: Pattern, constant: Tensor | None) -> None:
        super().__init__(pattern, whole.values[block.entries], constant)
        self._whole, self._block = whole, block

    @cached_property
    def of_constant(self) -> Tensor:
        return self._whole.of_constant[self._block.rows]

    @cached_property
    def transposed(self) -> SparseMatrix:
        return SparseMatrix(self.pattern.transpose[0], self._whole.transposed.values[self._block.entries])


class Adjacency:
    """Destinations with their in-neighbours, the sources; every destination is a source, too. On a whole graph they are the same nodes.

    What K students need is computed once, on first use, and kept.

    Attributes:
        in_offsets, sources: CSC form without self-loops: the in-neighbours of destination v are sources[in_offsets[v]:in_offsets[v + 1]].
        num_sources: number of sources.
        own: where the destinations stand among the sources; ``slice(None)`` where they are the same nodes.
        dtype: floating-point type of what is computed here.
        constant: see `Operator`.
    """

    constant: Tensor | None = None

    def __init__(
        self,
        in_offsets: Tensor,
        sources: Tensor,
        dtype: torch.dtype,
        *,
        num_sources: int | None = None,
        own: Rows = slice(None),
        degrees: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Take a structure in CSC form.

        Args:
            num_sources, own: default: as on a whole graph.
            degrees: in-degrees of the destinations (destinations, 1) and out-degrees of the sources (sources, 1) in the graph that this is
                a sample of; default: those here.
        """
        self.in_offsets = in_offsets
        self.sources = sources
        self.dtype = dtype
        self.num_sources = len(in_offsets) - 1 if num_sources is None else num_sources
        self.own = own
        self._degrees = degrees
        self._attention: dict[int, Pattern] = {}

    @property
    def num_destinations(self) -> int:
        return len(self.in_offsets) - 1

    @property
    def device(self) -> torch.device:
        return self.in_offsets.device

    @property
    def is_whole(self) -> bool:
        """The destinations are the sources."""
        return self.own == slice(None)

    @property
    def narrows(self) -> bool:
        """There are at least twice as many sources as destinations, as where neighbours are sampled."""
        return self.num_sources >= 2 * self.num_destinations

    @property
    def is_divided(self) -> bool:
        """Whether a convolution goes piece by piece; `whole` is then the graph that the pieces are of."""
        return False

    @property
    def whole(self) -> Adjacency:
        """The adjacency itself; see `is_divided`."""
        return self

    @property
    def pieces(self) -> Iterator[Adjacency]:
        """Structures with the same sources that have the destinations between them, in order."""
        yield self

    def at_destinations(self, x: Tensor) -> Tensor:
        """The rows of the destinations among those of the sources."""
        return x if self.is_whole else take_rows(x, self.own)

    @cached_property
    def graph(self) -> dgl.DGLGraph:
        """The structure as DGL message passing takes it."""
        edge_numbers = torch.arange(len(self.sources), device=self.device)
        csc = ("csc", (self.in_offsets, self.sources, edge_numbers))
        if self.num_destinations == self.num_sources:
            return dgl.graph(csc, num_nodes=self.num_sources)
        return dgl.create_block(csc, num_src_nodes=self.num_sources, num_dst_nodes=self.num_destinations)

    @cached_property
    def pattern(self) -> Pattern:
        """An entry an edge, in the row of its destination and the column of its source; in the order of `sources`."""
        return Pattern(self.in_offsets, self.sources, self.num_sources)

    @cached_property
    def looped_pattern(self) -> Pattern:
        """`pattern` and an entry for each destination itself, the last in its row."""
        nodes = torch.arange(self.num_sources, device=self.device)[self.own]
        offsets = self.in_offsets + torch.arange(len(self.in_offsets), device=self.device)
        return Pattern(offsets, self._with_loops(self.sources, nodes), self.num_sources)

    def attention_pattern(self, heads: int) -> Pattern:
        """`looped_pattern` for each head by itself: row i * heads + h has the columns j * heads + h.

        So head h of node i, in an array (nodes, heads), has the row's number in the flattened array, and no array needs another layout.
        """
        if heads not in self._attention:
            self._attention[heads] = self.looped_pattern if heads == 1 else _by_head(self.looped_pattern, heads)
        return self._attention[heads]

    @cached_property
    def neighbour_sum(self) -> Operator:
        """sum_{j in N(i)} x_j; of a sample of the neighbours: the estimate of the sum over all."""
        scale = self._sampling_scale
        weights = torch.ones(len(self.sources), dtype=self.dtype, device=self.device) if scale is None else self._along_edges(scale)
        return Operator(self.pattern, weights, self.constant)

    @cached_property
    def sum_and_loops(self) -> tuple[Tensor, Tensor]:
        """The values of `neighbour_sum` in the order of `looped_pattern`, 0 at the loops; and 1 at the loops, 0 elsewhere."""
        edges, loops = self.neighbour_sum.values, self.neighbour_sum.values.new_ones(self.num_destinations)
        return self._with_loops(edges, torch.zeros_like(loops)), self._with_loops(torch.zeros_like(edges), loops)

    @cached_property
    def neighbour_mean(self) -> Operator:
        """The mean of x_j over j in N(i); 0 where there is none."""
        return Operator(self.pattern, self._along_edges(self._seen_degrees.clamp(min=1).reciprocal()), self.constant)

    @cached_property
    def normalised_sum(self) -> Operator:
        """sum_{j in N(i) + i} x_j / sqrt(d_i d_j), d_i in-degrees, d_j out-degrees, self-loops counted.

        Source: Kipf and Welling, ICLR 2017, arXiv 1609.02907, eq. 2.
        """
        destination, source = (self.in_degrees + 1).rsqrt(), (self.out_degrees + 1).rsqrt()
        of_edges = destination if self._sampling_scale is None else destination * self._sampling_scale
        edges = self._along_edges(of_edges) * source.squeeze(1).index_select(0, self.sources)
        loops = (destination * self.at_destinations(source)).squeeze(1)
        return Operator(self.looped_pattern, self._with_loops(edges, loops), self.constant)

    @cached_property
    def in_degrees(self) -> Tensor:
        """(destinations, 1): number of in-neighbours, self not counted; of a sample: in the graph that it was drawn from."""
        return self._seen_degrees if self._degrees is None else self._degrees[0]

    @cached_property
    def out_degrees(self) -> Tensor:
        """(sources, 1): number of out-neighbours, as `in_degrees`."""
        if self._degrees is not None:
            return self._degrees[1]
        return torch.bincount(self.sources, minlength=self.num_sources).to(self.dtype).unsqueeze(1)

    @cached_property
    def _seen_degrees(self) -> Tensor:
        return self.in_offsets.diff().to(self.dtype).unsqueeze(1)

    @property
    def _sampling_scale(self) -> Tensor | None:
        """(destinations, 1): by how much a sum over sampled neighbours falls short of that over all, in expectation; None: by nothing.

        NOTE: without it a sum (gin, gcn) would be of another size in training than over all neighbours in evaluation.
        """
        return None if self._degrees is None else self.in_degrees / self._seen_degrees.clamp(min=1)

    def _with_loops(self, of_edges: Tensor, of_loops: Tensor) -> Tensor:
        """One value an edge and one a destination, in the order of `looped_pattern`."""
        places = torch.arange(len(of_edges), device=self.device) + self.pattern.rows
        loops = self.in_offsets[1:] + torch.arange(self.num_destinations, device=self.device)
        together = of_edges.new_empty(len(of_edges) + len(of_loops))
        together[places], together[loops] = of_edges, of_loops
        return together

    def _along_edges(self, of_destinations: Tensor) -> Tensor:
        """(destinations, 1) as one value an edge."""
        return torch.repeat_interleave(of_destinations.squeeze(1), self.in_offsets.diff(), output_size=len(self.sources))


def _by_head(pattern: Pattern, heads: int) -> Pattern:
    rows, columns = pattern.shape
    count = heads * len(pattern.indices)
    kind = torch.int32 if max(count, heads * rows, heads * columns) < 2**31 else torch.int64
    starts, degrees, indices = (part.to(kind) for part in (pattern.indptr[:-1], pattern.indptr.diff(), pattern.indices))
    head = torch.arange(heads, dtype=kind, device=starts.device)
    new_starts = torch.addcmul(starts.unsqueeze(1) * heads, degrees.unsqueeze(1), head).flatten()
    # A head at a time: with all heads in one array this takes four times as long.
    place = torch.arange(len(indices), device=starts.device) + (starts * (heads - 1)).index_select(0, pattern.rows)
    step = degrees.index_select(0, pattern.rows)
    new_columns, first_columns = indices.new_empty(count), indices * heads
    for h in range(heads):
        new_columns[place + step * h] = first_columns + h
    return Pattern(torch.cat([new_starts, new_starts.new_tensor([count])]), new_columns, columns * heads)
