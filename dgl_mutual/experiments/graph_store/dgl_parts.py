"""What DGL's graph store is made of, from arrays that were read and checked here.

DGL's own readers of graphs and tensors are C++ that a damaged or forged file crashes, so they are given no file of a partition.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dgl_mutual.data.sources.partition import Partition
from dgl_mutual.dgl_compat import dgl

#: The name of the graph in the store, and DGL's names of the nodes and edges of a graph that has one kind of each.
GRAPH = "graph"
_NODES, _EDGES = "_N", ("_N", "_E", "_N")


def book_of(partition: Partition, part: int) -> Any:
    """DGL's `RangePartitionBook`, by which the process of one part knows who has which nodes."""
    nodes, edges = (np.array([(numbers.start, numbers.stop) for numbers in ranges]) for ranges in (partition.nodes, partition.edges))
    return dgl.distributed.graph_partition_book.RangePartitionBook(
        part, partition.num_parts, {_NODES: nodes}, {_EDGES: edges}, {_NODES: 0}, {_EDGES: 0}
    )


def let_dgl_load(partition: Partition, part: int) -> None:
    """Have DGL's server load this part through `Partition`, in this process, from now on. Loading raises DataError for a damaged part."""
    module = dgl.distributed.dist_graph
    module.load_partition = lambda *_, **__: (_graph_of(partition, part), {}, {}, book_of(partition, part), GRAPH, [_NODES], [_EDGES])
    # Asked for node data first, and then for edge data.
    module.load_partition_feats = lambda *_, load_nodes=True, **__: (_node_data_of(partition, part) if load_nodes else {}, {})


def _graph_of(partition: Partition, part: int) -> dgl.DGLGraph:
    nodes, edges, numbers = partition.nodes[part], partition.edges[part], partition.read_edges(part)
    ends = torch.from_numpy(numbers.sources), torch.from_numpy(numbers.destinations)
    graph = dgl.graph(ends, num_nodes=len(nodes) + len(numbers.outside))
    graph.ndata[dgl.NID] = torch.cat([torch.arange(nodes.start, nodes.stop), torch.from_numpy(numbers.outside)])
    graph.edata[dgl.EID] = torch.arange(edges.start, edges.stop)
    return graph


def _node_data_of(partition: Partition, part: int) -> dict[str, torch.Tensor]:
    return {f"{_NODES}/{name}": torch.from_numpy(values) for name, values in partition.read_node_data(part).items()}
