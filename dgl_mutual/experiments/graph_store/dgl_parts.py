"""DGL's objects of a part, made from arrays that this package has read and checked.

A damaged or forged file crashes DGL's own readers, which are C++, so they never read files of a partition.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dgl_mutual.data.sources.partition import Partition
from dgl_mutual.dgl_compat import dgl

#: The name of the graph in the store, and DGL's names of nodes and edges in a homogeneous graph.
GRAPH = "graph"
_NODES, _EDGES = "_N", ("_N", "_E", "_N")


def book_of(partition: Partition, part: int) -> Any:
    """DGL's `RangePartitionBook`, which tells the process of one part where each node is."""
    nodes, edges = (np.array([(numbers.start, numbers.stop) for numbers in ranges]) for ranges in (partition.nodes, partition.edges))
    return dgl.distributed.graph_partition_book.RangePartitionBook(
        part, partition.num_parts, {_NODES: nodes}, {_EDGES: edges}, {_NODES: 0}, {_EDGES: 0}
    )


def let_dgl_load(partition: Partition, part: int) -> None:
    """Make DGL's server in this process load the part through `Partition`. Loading raises DataError for a damaged part."""
    module = dgl.distributed.dist_graph
    module.load_partition = lambda *_, **__: (_graph_of(partition, part), {}, {}, book_of(partition, part), GRAPH, [_NODES], [_EDGES])
    # Called for node data first, and then for edge data.
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
