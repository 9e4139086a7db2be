"""From node states to graph states."""

from __future__ import annotations

import dgl.ops
import torch
from torch import Tensor

from dgl_mutual.nn.batch import GraphBatch


def pool(batch: GraphBatch, x: Tensor, how: str) -> Tensor:
    """The sum, mean or max of the node states of each graph; zero for a graph with no nodes.

    Shapes: x (|V|, F), result (graphs, F).
    """
    if how == "max":
        highest: Tensor = dgl.ops.segment_reduce(batch.graph_sizes, x, reducer="max")
        return torch.where((batch.graph_sizes > 0).unsqueeze(1), highest, 0.0)
    total = batch.pooling @ x
    return total / batch.graph_sizes.clamp(min=1).to(x.dtype).unsqueeze(1) if how == "mean" else total
