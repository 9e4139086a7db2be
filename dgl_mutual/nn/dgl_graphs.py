"""The package's batches in DGL's own form, for DGL's layers and for custom modules."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from dgl_mutual.dgl_compat import dgl
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.adjacency import Adjacency
from dgl_mutual.nn.batch import GraphBatch
from dgl_mutual.nn.csr import NodeFeatures, RepeatedRows, SparseMatrix, take_rows
from dgl_mutual.nn.kernels import dgl_kernels

_CACHE: WeakKeyDictionary[Adjacency, dict[bool, dgl.DGLGraph]] = WeakKeyDictionary()


def check_device(device: torch.device, name: str) -> None:
    """Check that DGL supports graphs on a device, for a student that runs on them.

    Args:
        name: the name of the student in the message.

    Raises:
        UsageError: DGL's build does not support the device.
    """
    if device.type != "cpu" and not dgl_kernels.supports(str(device)):
        raise UsageError(
            f"The student {name!r} runs on DGLGraphs, and this build of DGL {dgl.__version__} cannot put one on {device}. Train with "
            "--device cpu, choose gcn, gat, gin or sage, which need no DGL on the device, or install a CUDA build of DGL "
            "(https://www.dgl.ai/pages/start.html)."
        )


def graph_of(adjacency: Adjacency, *, loops: bool = False) -> dgl.DGLGraph:
    """Convert an adjacency to a DGLGraph: a batched graph for a `GraphBatch`, a block if the destinations are the first sources.

    Data written to its nodes and edges is not kept.

    Args:
        loops: whether every destination has a self-loop; otherwise there are none.
    """
    graphs = _CACHE.setdefault(adjacency, {})
    if loops not in graphs:
        graphs[loops] = _graph_of(adjacency, loops)
    return graphs[loops].local_var()


def _graph_of(adjacency: Adjacency, loops: bool) -> dgl.DGLGraph:
    if loops:
        pattern = adjacency.looped_pattern
        offsets, sources = pattern.indptr.to(torch.int64), pattern.indices.to(torch.int64)
    else:
        offsets, sources = adjacency.in_offsets, adjacency.sources
    # DGL 1.1's CPU kernels need the edge indices even where they are 0, 1, 2, ...
    csc = ("csc", (offsets, sources, torch.arange(len(sources), device=sources.device)))
    if not adjacency.is_whole:
        return dgl.create_block(csc, num_src_nodes=adjacency.num_sources, num_dst_nodes=adjacency.num_destinations)
    graph = dgl.graph(csc, num_nodes=adjacency.num_sources)
    if isinstance(adjacency, GraphBatch):
        graph.set_batch_num_nodes(adjacency.graph_sizes)
        graph.set_batch_num_edges(offsets[adjacency.node_offsets].diff())
    return graph


def compact_block(adjacency: Adjacency, *, loops: bool = False) -> tuple[dgl.DGLGraph, Tensor]:
    """Make a block of the sources that its destinations need, the destinations first; return it and the indices of these sources."""
    destinations = torch.arange(adjacency.num_sources, device=adjacency.device)[adjacency.dst_index]
    place = adjacency.sources.new_full((adjacency.num_sources,), -1)
    place[destinations] = torch.arange(len(destinations), device=adjacency.device)
    others = adjacency.sources[place[adjacency.sources] < 0].unique()  # type: ignore[no-untyped-call]  # torch's own gap
    place[others] = torch.arange(len(destinations), len(destinations) + len(others), device=adjacency.device)
    local = Adjacency(
        adjacency.in_offsets,
        place[adjacency.sources],
        adjacency.dtype,
        num_sources=len(destinations) + len(others),
        dst_index=slice(0, len(destinations)),
    )
    return _graph_of(local, loops), torch.cat([destinations, others])


def dense(x: NodeFeatures, rows: Tensor | None = None) -> Tensor:
    """Convert features, or the given rows of them, to a dense tensor."""
    if rows is not None:
        x = take_rows(x, rows)
    if isinstance(x, RepeatedRows):
        return x.dense
    return x.csr.to_dense() if isinstance(x, SparseMatrix) else x
