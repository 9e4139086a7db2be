"""Who hears whom in one convolution."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TypeAlias

import dgl
import torch
from torch import Tensor

#: Row numbers, or ``slice(None)`` for all rows: indexing with it copies nothing.
Rows: TypeAlias = "Tensor | slice"


class Structure:
    """Destinations with their in-neighbours, the sources; every destination is a source, too. On a whole graph they are the same nodes.

    What K students need is computed once, on first use, and kept.

    Attributes:
        in_offsets, sources: CSC form without self-loops: the in-neighbours of destination v are sources[in_offsets[v]:in_offsets[v + 1]].
        num_sources: number of sources.
        own: where the destinations stand among the sources; ``slice(None)`` where they are the same nodes.
        dtype: floating-point type of what is computed here.
    """

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

    @property
    def num_destinations(self) -> int:
        return len(self.in_offsets) - 1

    @property
    def device(self) -> torch.device:
        return self.in_offsets.device

    @property
    def pieces(self) -> Iterator[Structure]:
        """Structures with the same sources that have the destinations between them, in order."""
        yield self

    def at_destinations(self, x: Tensor) -> Tensor:
        """The rows of the destinations among those of the sources."""
        return x if self.own == slice(None) else x[self.own]

    @cached_property
    def graph(self) -> dgl.DGLGraph:
        """The structure as DGL message passing takes it."""
        return _csc_graph(self.in_offsets, self.sources, self.num_sources)

    @cached_property
    def looped_graph(self) -> dgl.DGLGraph:
        """`graph` with one self-loop on every destination."""
        nodes = torch.arange(self.num_sources, device=self.device)[self.own]
        offsets = self.in_offsets + torch.arange(len(self.in_offsets), device=self.device)
        sources = torch.empty(len(self.sources) + len(nodes), dtype=torch.int64, device=self.device)
        is_loop = torch.zeros(len(sources), dtype=torch.bool, device=self.device)
        is_loop[offsets[1:] - 1] = True
        sources[is_loop] = nodes
        sources[~is_loop] = self.sources
        return _csc_graph(offsets, sources, self.num_sources)

    @cached_property
    def reversed_graph(self) -> dgl.DGLGraph:
        """`graph` with every edge turned round and the same edge numbers."""
        return _reversed(self.graph)

    @cached_property
    def reversed_looped_graph(self) -> dgl.DGLGraph:
        """`looped_graph` with every edge turned round and the same edge numbers."""
        return _reversed(self.looped_graph)

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

    @cached_property
    def mean_scale(self) -> Tensor:
        """(destinations, 1): 1 / max(in-degree, 1)."""
        return self.in_degrees.clamp(min=1).reciprocal()

    @cached_property
    def destination_scale(self) -> Tensor:
        """(destinations, 1): (in-degree + 1)^-1/2, the self-loop counted. Source: Kipf and Welling, arXiv 1609.02907, eq. 2."""
        return (self.in_degrees + 1).rsqrt()

    @cached_property
    def source_scale(self) -> Tensor:
        """(sources, 1): (out-degree + 1)^-1/2, the self-loop counted: equal to `destination_scale` where edges run both ways."""
        return (self.out_degrees + 1).rsqrt()

    @cached_property
    def sampling_scale(self) -> Tensor | None:
        """(destinations, 1): by how much a sum over sampled neighbours falls short of that over all, in expectation; None: by nothing.

        NOTE: without it a sum (gin, gcn) would be of another size in training than over all neighbours in evaluation.
        """
        return None if self._degrees is None else self.in_degrees / self._seen_degrees.clamp(min=1)


def _csc_graph(in_offsets: Tensor, sources: Tensor, num_sources: int) -> dgl.DGLGraph:
    # DGL 1.1's CPU kernels need the edge numbers spelled out even where they are 0, 1, 2, ...
    edge_numbers = torch.arange(len(sources), device=sources.device)
    num_destinations = len(in_offsets) - 1
    if num_destinations == num_sources:
        return dgl.graph(("csc", (in_offsets, sources, edge_numbers)), num_nodes=num_sources)
    return dgl.create_block(("csc", (in_offsets, sources, edge_numbers)), num_src_nodes=num_sources, num_dst_nodes=num_destinations)


def _reversed(graph: dgl.DGLGraph) -> dgl.DGLGraph:
    if not graph.is_block:
        return dgl.reverse(graph)
    csr = graph.adj_tensors("csc")  # of the reversed graph, since DGL reverses no blocks
    return dgl.create_block(("csr", csr), num_src_nodes=graph.num_dst_nodes(), num_dst_nodes=graph.num_src_nodes())
