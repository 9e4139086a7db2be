"""Graph pooling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dgl_mutual.nn import kernels
from dgl_mutual.nn.autograd import apply
from dgl_mutual.nn.batch import GraphBatch


def pool(batch: GraphBatch, x: Tensor, how: str) -> Tensor:
    """Pool the node states of each graph by sum, mean or max; zero for a graph without nodes.

    Shapes: x (|V|, F), result (graphs, F).
    """
    if how == "max":
        return torch.where((batch.graph_sizes > 0).unsqueeze(1), apply(_Max, x, batch), 0.0)
    total = apply(_Sum, x, batch)
    return total / batch.graph_sizes.clamp(min=1).to(x.dtype).unsqueeze(1) if how == "mean" else total


class _Sum(torch.autograd.Function):
    """The gradient of a node is a copy of its graph's."""

    # Both passes over 40,000 rows take 0.43 ms; by `embedding_bag` 2.3, by `segment_reduce` 3.1.

    @staticmethod
    def forward(ctx: Any, x: Tensor, batch: GraphBatch) -> Tensor:
        ctx.batch = batch
        return kernels.segment_sums(x, batch.node_offsets)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0].index_select(0, ctx.batch.batch_index), None


class _Max(torch.autograd.Function):
    """Nodes that attain their graph's maximum share its gradient equally, as in `Tensor.amax`.

    The gradient of `segment_reduce` does so if it is positive; a negative one reaches each of these nodes in full. Ties are frequent in
    molecules, in which many nodes have the same surroundings.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, batch: GraphBatch) -> Tensor:
        highest = torch.segment_reduce(x, "max", offsets=batch.node_offsets, axis=0)
        ctx.batch = batch
        ctx.save_for_backward(x, highest)
        return highest

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        batch: GraphBatch = ctx.batch
        x, highest = ctx.saved_tensors
        is_highest = (x == highest.index_select(0, batch.batch_index)).to(x.dtype)
        shares = grads[0] / kernels.segment_sums(is_highest, batch.node_offsets)
        return is_highest * shares.index_select(0, batch.batch_index), None
