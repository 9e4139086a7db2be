"""Message passing over edges that have features, with gradients: what no product with an adjacency matrix can say."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dgl_mutual.nn import kernels
from dgl_mutual.nn.adjacency import Adjacency, Norm
from dgl_mutual.nn.autograd import apply
from dgl_mutual.nn.csr import NodeFeatures, Pattern, SparseMatrix
from dgl_mutual.nn.functional import linear, spmm


def aggregate_messages(graph: Adjacency, norm: Norm, x: Tensor, edge_weight: Tensor) -> Tensor:
    """sum_{j in N(i)} A_ij relu(x_j + W e_ij), where A is the adjacency matrix with a normalisation: (destinations, width).

    Args:
        graph: with `edge_features` (edges, D).
        x: states of the sources (sources, width).
        edge_weight: W (D, width).
    """
    parts = [
        apply(_Messages, x, edge_weight, part.edge_sums(norm), part.pattern, part.edge_features, norm == "sum" and not part.is_sample)
        for _, part in graph.chunks()
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def edge_scores(graph: Adjacency, weight: Tensor) -> Tensor:
    """W e_ij for each edge and head, and for each self-loop the mean over the node's in-edges, in the order of `attention_pattern(heads)`.

    Args:
        graph: one chunk, with `edge_features` (edges, D).
        weight: W (D, heads).

    Returns:
        (heads * (edges + destinations),).
    """
    assert graph.edge_features is not None
    scores = spmm(graph.edge_loops, linear(graph.edge_features, weight))
    heads = weight.shape[1]
    if heads == 1:
        return scores.view(-1)
    return apply(_Permuted, scores.view(-1), *graph.attention_order(heads))


class _Messages(torch.autograd.Function):
    """y_i = sum_j A_ij relu(x_j + W e_ij): the rows of x are gathered along the edges, and the messages summed at the destinations."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, sums: SparseMatrix, pattern: Pattern, features: NodeFeatures, is_plain: bool
    ) -> Tensor:
        messages = x.index_select(0, pattern.indices)
        messages = kernels.spmm(features, weight, messages) if isinstance(features, SparseMatrix) else messages.addmm_(features, weight)
        messages.relu_()
        ctx.save_for_backward(messages)
        ctx.pattern, ctx.features = pattern, features
        ctx.weights = None if is_plain else sums.values
        return kernels.spmm(sums, messages)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        (messages,) = ctx.saved_tensors
        of_messages = grads[0].index_select(0, ctx.pattern.rows)  # the transpose of `sums`: half the time of a product with it
        if ctx.weights is not None:
            of_messages.mul_(ctx.weights.unsqueeze(1))
        torch.ops.aten.threshold_backward.grad_input(of_messages, messages, 0, grad_input=of_messages)
        features = ctx.features
        of_weight = kernels.spmm(features.transposed, of_messages) if isinstance(features, SparseMatrix) else features.t() @ of_messages
        return kernels.spmm(ctx.pattern.incidence(messages.dtype)[1], of_messages), of_weight, None, None, None, None


class _Permuted(torch.autograd.Function):
    """x[order], where `inverse` is the inverse permutation: its backward pass gathers, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.inverse = inverse
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0].index_select(0, ctx.inverse), None, None
