"""Differentiable message passing over edges with features, which no product with an adjacency matrix can express."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor

from dgl_mutual.nn import kernels
from dgl_mutual.nn.adjacency import Adjacency, Norm
from dgl_mutual.nn.autograd import apply
from dgl_mutual.nn.csr import Codes, NodeFeatures, Pattern, RepeatedRows, SparseMatrix
from dgl_mutual.nn.functional import linear, spmm


def aggregate_messages(
    graph: Adjacency, norm: Norm, x: Tensor, edge_weight: Tensor, bias: Tensor | None = None, self_weight: Tensor | None = None
) -> Tensor:
    """sum_{j in N(i)} A_ij relu(x_j + W e_ij + b) + f x_i, where A is the adjacency matrix with a normalisation: (destinations, width).

    Args:
        graph: with `edge_features` (edges, D).
        x: states of the sources (sources, width).
        edge_weight: W (D, width).
        bias: b (width,); None for 0.
        self_weight: f (1,); None for 0.
    """
    fused_weight = self_weight if graph.is_whole and not graph.is_chunked else None
    parts = [_aggregated(part, norm, x, edge_weight, bias, fused_weight) for _, part in graph.chunks()]
    sums = parts[0] if len(parts) == 1 else torch.cat(parts)
    if self_weight is None or fused_weight is not None:
        return sums
    return torch.addcmul(sums, graph.at_destinations(x), self_weight)


def are_repeated(x: NodeFeatures, graph: Adjacency) -> TypeGuard[RepeatedRows]:
    """Whether messages of x and the edge features are few: there are no more pairs of distinct rows of the two than there are nodes.

    Then each message is computed once, in a table (see `aggregate_repeated`), and projections are products with the table. For 32 molecules
    of NCI1 and 64 columns, both passes of the first layer of gin take 0.3 ms in place of 0.65, for 128 molecules 0.45 in place of 2.1.
    """
    features = graph.edge_features
    if not (isinstance(x, RepeatedRows) and isinstance(features, RepeatedRows)) or not graph.is_whole or graph.is_chunked:
        return False
    return x.codes.count * features.codes.count <= graph.num_destinations


def repeated_messages(graph: Adjacency, states: Tensor, edge_weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """relu(s + W e + b) for each pair of distinct states s (R, width) and edge features e, in the order of `Adjacency.pair_codes`."""
    assert isinstance(graph.edge_features, RepeatedRows)
    return torch.relu_(states.unsqueeze(1) + linear(graph.edge_features.table, edge_weight, bias)).flatten(0, 1)


def aggregate_repeated(graph: Adjacency, norm: Norm, x: RepeatedRows, messages: Tensor) -> Tensor:
    """sum_{j in N(i)} A_ij m_ij, where `messages` has a row for each pair of codes, as `repeated_messages`: (destinations, width)."""
    return apply(_RepeatedSums, messages, graph.pair_codes(x.codes), _weights(graph, norm), graph.pattern)


def _weights(graph: Adjacency, norm: Norm) -> Tensor | None:
    """A_ij of each edge; None if all are 1."""
    return None if norm == "sum" and not graph.is_sample else graph.edge_weights(norm)


def _aggregated(graph: Adjacency, norm: Norm, x: Tensor, weight: Tensor, bias: Tensor | None, self_weight: Tensor | None) -> Tensor:
    features = graph.edge_features
    assert features is not None
    weights = _weights(graph, norm)
    if isinstance(features, RepeatedRows):
        return apply(_RepeatedMessages, x, self_weight, linear(features.table, weight, bias), features.codes, weights, graph.pattern)
    if bias is not None:
        # b is part of the gathered states, but not of the node's own.
        sums = apply(_Messages, x + bias, None, weight, features, weights, graph.pattern)
        return sums if self_weight is None else torch.addcmul(sums, x, self_weight)
    return apply(_Messages, x, self_weight, weight, features, weights, graph.pattern)


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
    """y_i = sum_j A_ij relu(x_j + W e_ij) + f x_i: rows of x are gathered along the edges, and the messages summed at the destinations."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, self_weight: Tensor | None, weight: Tensor, features: NodeFeatures, weights: Tensor | None, pattern: Pattern
    ) -> Tensor:
        messages = x.index_select(0, pattern.indices)
        messages = kernels.spmm(features, weight, messages) if isinstance(features, SparseMatrix) else messages.addmm_(features, weight)
        ctx.features = features
        return _aggregate(ctx, x, self_weight, messages, weights, pattern)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor, None, None, None]:
        grad_x, grad_self_weight, grad_messages = _gradients(ctx, grads[0])
        features = ctx.features
        is_sparse = isinstance(features, SparseMatrix)
        grad_weight = kernels.spmm(features.transposed, grad_messages) if is_sparse else features.t() @ grad_messages
        return grad_x, grad_self_weight, grad_weight, None, None, None


class _RepeatedMessages(torch.autograd.Function):
    """`_Messages` for edges with few distinct features, projected beforehand: y_i = sum_j A_ij relu(x_j + t_c(ij)) + f x_i."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, self_weight: Tensor | None, table: Tensor, codes: Codes, weights: Tensor | None, pattern: Pattern
    ) -> Tensor:
        messages = x.index_select(0, pattern.indices).add_(table.index_select(0, codes.numbers))
        ctx.codes = codes
        return _aggregate(ctx, x, self_weight, messages, weights, pattern)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor, None, None, None]:
        grad_x, grad_self_weight, grad_messages = _gradients(ctx, grads[0])
        return grad_x, grad_self_weight, kernels.segment_sums(grad_messages, *ctx.codes.groups), None, None, None


class _RepeatedSums(torch.autograd.Function):
    """y_i = sum_j A_ij t_c(ij); dt_c is the sum of A_ij dy_i over the edges with code c."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, codes: Codes, weights: Tensor | None, pattern: Pattern) -> Tensor:
        ctx.codes, ctx.weights, ctx.pattern = codes, weights, pattern
        return kernels.segment_sums(table, pattern.indptr, codes.numbers, weights)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        offsets, edges = ctx.codes.groups
        weights = None if ctx.weights is None else ctx.weights.index_select(0, edges)
        rows = ctx.pattern.rows.index_select(0, edges)
        return kernels.segment_sums(grads[0].contiguous(), offsets, rows, weights), None, None, None


def _aggregate(ctx: Any, x: Tensor, self_weight: Tensor | None, messages: Tensor, weights: Tensor | None, pattern: Pattern) -> Tensor:
    """sum_j A_ij relu(m_ij) + f x_i; the messages are overwritten."""
    messages.relu_()
    ctx.weights, ctx.pattern = weights, pattern
    sums = kernels.segment_sums(messages, pattern.indptr, weights=weights)
    if self_weight is None:
        ctx.save_for_backward(messages)
        return sums
    ctx.save_for_backward(messages, x, self_weight)
    return sums.addcmul_(x, self_weight)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """The gradients of x, of f, and of the messages before the ReLU."""
    messages, *self_term = ctx.saved_tensors
    pattern: Pattern = ctx.pattern
    grad = grad.contiguous()
    grad_messages = grad.index_select(0, pattern.rows)
    if ctx.weights is not None:
        grad_messages.mul_(ctx.weights.unsqueeze(1))
    torch.ops.aten.threshold_backward.grad_input(grad_messages, messages, 0, grad_input=grad_messages)
    transpose, order = pattern.transpose
    grad_x = kernels.segment_sums(grad_messages, transpose.indptr, order)
    if not self_term:
        return grad_x, None, grad_messages
    x, self_weight = self_term
    return grad_x.addcmul_(grad, self_weight), torch.dot(x.reshape(-1), grad.view(-1)).view(1), grad_messages


class _Permuted(torch.autograd.Function):
    """x[order], where `inverse` is the inverse permutation: with it the backward pass gathers, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.inverse = inverse
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0].index_select(0, ctx.inverse), None, None
