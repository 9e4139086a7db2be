"""GAT's aggregation as one differentiable operation over DGL's kernels.

Composed of DGL's differentiable operators it keeps six tensors per edge and head for the backward pass and pays autograd's bookkeeping eleven
times; written as one it keeps three and takes about two thirds of the time. `tests/nn/test_attention.py` shows that both are the same.
"""

from __future__ import annotations

from typing import Any

import dgl.ops
import torch
from torch import Tensor
from torch.nn import functional as F

from dgl_mutual.nn.batch import GraphBatch


def attend(
    batch: GraphBatch, values: Tensor, source: Tensor, destination: Tensor, multiplier: Tensor | None, negative_slope: float = 0.2
) -> Tensor:
    """sum_{j in N(i) + i} m_ij a_ij v_j with a_ij = softmax_j(LeakyReLU(s_j + d_i)), head by head.

    Args:
        values: (|V|, heads * width), heads side by side.
        source, destination: s and d, (|V|, heads).
        multiplier: m, dropout on the attention weights: (|E| + |V|, heads) in the order of `batch.looped_graph`'s edges, or None.

    Returns:
        (|V|, heads * width).
    """
    result: Tensor = _Attend.apply(batch, values, source, destination, multiplier, negative_slope)
    return result


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, batch: GraphBatch, values: Tensor, source: Tensor, destination: Tensor, multiplier: Tensor | None, negative_slope: float
    ) -> Tensor:
        graph, heads = batch.looped_graph, source.shape[1]
        scores = F.leaky_relu_(dgl.ops.u_add_v(graph, source, destination), negative_slope)
        attention = dgl.ops.edge_softmax(graph, scores)
        ctx.save_for_backward(values, scores, attention, multiplier)
        ctx.batch, ctx.negative_slope = batch, negative_slope
        kept = attention if multiplier is None else attention * multiplier
        return dgl.ops.u_mul_e_sum(graph, values.view(len(values), heads, -1), kept.unsqueeze(-1)).view_as(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor, Tensor, None, None]:
        values, scores, attention, multiplier = ctx.saved_tensors
        graph, backwards, heads = ctx.batch.looped_graph, ctx.batch.reversed_looped_graph, attention.shape[1]
        grad = grads[0].contiguous().view(len(values), heads, -1)
        kept = attention if multiplier is None else attention * multiplier
        grad_values = dgl.ops.u_mul_e_sum(backwards, grad, kept.unsqueeze(-1)).view_as(values)
        weighted = dgl.ops.u_dot_v(graph, values.view_as(grad), grad).squeeze(-1).mul_(kept)
        grad_scores = weighted.sub_(dgl.ops.e_mul_v(graph, attention, dgl.ops.copy_e_sum(graph, weighted)))
        # LeakyReLU keeps the sign, so its output says which branch was taken.
        grad_scores = torch.ops.aten.leaky_relu_backward(grad_scores, scores, ctx.negative_slope, True)
        return None, grad_values, dgl.ops.copy_e_sum(backwards, grad_scores), dgl.ops.copy_e_sum(graph, grad_scores), None, None
