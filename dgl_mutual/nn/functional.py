"""Differentiable operations of message passing, built on the kernels of `dgl_mutual.nn.kernels`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dgl_mutual.nn import kernels
from dgl_mutual.nn.adjacency import Adjacency, Norm
from dgl_mutual.nn.autograd import apply
from dgl_mutual.nn.csr import Codes, NodeFeatures, Pattern, RepeatedRows, SparseMatrix

#: Scores up to this absolute value need no shift before the exponential: neither it nor its sums leave the range of a float.
_SAFE_SCORE = 30.0


def spmm(matrix: SparseMatrix, x: Tensor, plus: Tensor | None = None) -> Tensor:
    """M X + P for X of shape (columns, width) and P, if any, of shape (rows, width), which is overwritten, or (width,).

    Gradients reach X and P.
    """
    return apply(_SpMM, x, matrix, plus)


def edge_softmax(pattern: Pattern, scores: Tensor) -> Tensor:
    """softmax_j(s_ij) over the in-edges of each node i, that is over each row of the pattern: (edges,)."""
    weights = _exp_below_one(pattern, scores)
    sums = weights.new_zeros(pattern.shape[0]).index_add(0, pattern.rows, weights)
    return weights / sums.index_select(0, pattern.rows)


def edge_distance(pattern: Pattern, x: Tensor) -> Tensor:
    """|x_j - x_i|_1 of each edge from j to i: x (nodes, F), result (edges,)."""
    # The sum of absolute values takes a tenth of the time of `torch.linalg.vector_norm`.
    return spmm(pattern.differences(x.dtype), x).abs().sum(1)


def linear(x: NodeFeatures, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W + b for dense or sparse x: (nodes, width); b (width,)."""
    if isinstance(x, RepeatedRows):
        return taken_rows(linear(x.table, weight, bias), x.codes)
    if isinstance(x, SparseMatrix):
        return spmm(x, weight, bias)
    return x @ weight if bias is None else torch.addmm(bias, x, weight)


def taken_rows(table: Tensor, codes: Codes) -> Tensor:
    """t_c(i) for the code c(i) of each row i: table (R, width), result (rows, width)."""
    return apply(_TakenRows, table, codes)


def self_linear(graph: Adjacency, x: NodeFeatures, weight: Tensor, bias: Tensor) -> Tensor:
    """W x_i + b for each destination i: (destinations, width)."""
    if isinstance(x, Tensor):
        return torch.addmm(bias, graph.at_destinations(x), weight)
    return linear(x, weight, bias) if graph.is_whole else graph.at_destinations(linear(x, weight)) + bias


def propagate(graph: Adjacency, norm: Norm, x: NodeFeatures, weight: Tensor, plus: Tensor, self_weight: Tensor | None = None) -> Tensor:
    """sum_j A_ij W x_j + f W x_i + P, where A is the adjacency matrix with a normalisation: (destinations, width).

    The sum comes before the product with W where that is less work.

    Args:
        x: states of the sources (sources, F_in).
        plus: P (destinations, width), which is overwritten, or (width,).
        self_weight: f (1,), with the norm ``sum`` only; None for 0.
    """
    aggregated = _aggregated_first(graph, norm, x, weight)
    if aggregated is not None:
        assert isinstance(x, Tensor)
        if self_weight is not None:
            aggregated = torch.addcmul(aggregated, graph.at_destinations(x), self_weight)
        return torch.addmm(plus, aggregated, weight) if plus.ndim == 1 else plus.addmm_(aggregated, weight)
    projected = linear(x, weight)
    if self_weight is None:
        return aggregate(graph, norm, projected, plus)
    assert norm == "sum"
    if graph.is_whole and not graph.is_chunked:
        return apply(_SumWithSelf, projected, self_weight, plus, graph)
    return aggregate(graph, norm, projected, torch.addcmul(plus, graph.at_destinations(projected), self_weight))


def aggregate(graph: Adjacency, norm: Norm, x: Tensor, plus: Tensor | None = None) -> Tensor:
    """sum_j A_ij x_j + P: (destinations, width); arguments as in `propagate`."""
    if not graph.is_chunked:
        return spmm(graph.normalised(norm), x, plus)
    shared = plus is None or plus.ndim == 1
    return torch.cat([spmm(part.normalised(norm), x, plus if plus is None or shared else plus[rows]) for rows, part in graph.chunks()])


def _aggregated_first(graph: Adjacency, norm: Norm, x: NodeFeatures, weight: Tensor) -> Tensor | None:
    """A x (destinations, F_in) if it should come before the product with W, else None."""
    if not isinstance(x, Tensor):
        return None
    if x is graph.constant_features and x.shape[1] <= weight.shape[1]:
        return graph.aggregated_features(norm)  # once for all students and passes
    # The first block of a sample has many times more sources than destinations. A gradient of x would cost another product.
    return aggregate(graph, norm, x) if graph.narrows and not x.requires_grad else None


def attention(
    graph: Adjacency,
    values: Tensor,
    source: Tensor,
    destination: Tensor,
    multiplier: Tensor | None,
    negative_slope: float = 0.2,
    edge_score_fn: Callable[[Adjacency], Tensor] | None = None,
) -> Tensor:
    """sum_{j in N(i) + i} m_ij a_ij v_j with a_ij = softmax_j(LeakyReLU(s_j + d_i + e_ij)), head by head.

    Args:
        values: (sources, heads * width), heads side by side.
        source, destination: s (sources, heads) and d (destinations, heads).
        multiplier: m, dropout on the attention weights, in the order of `graph.attention_pattern(heads)`, or None.
        edge_score_fn: returns e for a graph or chunk in the order of its attention pattern; None for 0.

    Returns:
        (destinations, heads * width).
    """
    assert multiplier is None or not graph.is_chunked, "chunks are for evaluation"
    heads, all_rows = source.shape[1], slice(None)
    parts = []
    for rows, part in graph.chunks():
        destinations = destination if rows == all_rows else destination[rows]
        edge_scores = None if edge_score_fn is None else edge_score_fn(part)
        parts.append(
            apply(_Attention, part.attention_pattern(heads), values, source, destinations, multiplier, negative_slope, edge_scores)
        )
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def score_heads(values: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
    """<a_h, v_ih> of each head h of each node i, for each of the vectors a.

    Shapes: values (nodes, heads * width), vectors (heads, width), results (nodes, heads).
    """
    apply_all: Callable[..., tuple[Tensor, ...]] = _ScoreHeads.apply
    return apply_all(values, *vectors)


class _SpMM(torch.autograd.Function):
    """Y = M X + P; dX = M^T dY. torch's own backward pass would transpose M on every step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: SparseMatrix, plus: Tensor | None) -> Tensor:
        ctx.matrix = matrix
        ctx.shared_row = plus is not None and plus.ndim == 1
        if plus is not None and not ctx.shared_row:
            ctx.mark_dirty(plus)
        return kernels.spmm(matrix, x, plus)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        matrix, grad = ctx.matrix, grads[0]
        grad_x = kernels.spmm(matrix.transposed, grad) if ctx.needs_input_grad[0] else None
        grad_plus = (grad.sum(0) if ctx.shared_row else grad) if ctx.needs_input_grad[2] else None
        return grad_x, None, grad_plus


class _TakenRows(torch.autograd.Function):
    """y_i = t_c(i); dt_c is the sum of dy over the rows with code c."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, codes: Codes) -> Tensor:
        ctx.codes = codes
        return table.index_select(0, codes.numbers)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return kernels.segment_sums(grads[0].contiguous(), *ctx.codes.groups), None


class _SumWithSelf(torch.autograd.Function):
    """Y = (A + f I) X + r on a whole graph. f I is added to the matrix: a separate product would move most of the layer's memory."""

    # Without this class an epoch of gin on Cora takes 3 to 8 % longer.

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor, row: Tensor, graph: Adjacency) -> Tensor:
        edges, loops = graph.sum_and_loops
        ctx.matrix = SparseMatrix(graph.looped_pattern, torch.addcmul(edges, loops, factor))
        ctx.save_for_backward(x)
        return kernels.spmm(ctx.matrix, x, row)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        grad = grads[0].contiguous()
        grad_factor = torch.dot(ctx.saved_tensors[0].reshape(-1), grad.view(-1)).view(1)
        return kernels.spmm(ctx.matrix.transposed, grad), grad_factor, grad.sum(0), None


class _ScoreHeads(torch.autograd.Function):
    """V A for block-diagonal matrices A (heads * width, heads)."""

    # For 169,343 nodes and 8 heads of width 8, both passes take 100 ms; by plain autograd 155 to 170.

    @staticmethod
    def forward(ctx: Any, values: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
        heads = len(vectors[0])
        blocks = torch.eye(heads, dtype=values.dtype, device=values.device).view(heads, 1, heads)
        matrices = [(vector.unsqueeze(2) * blocks).view(-1, heads) for vector in vectors]
        ctx.save_for_backward(values, *matrices)
        return tuple(values @ matrix for matrix in matrices)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        values, *matrices = ctx.saved_tensors
        grad_values = grads[0] @ matrices[0].t()
        for grad, matrix in zip(grads[1:], matrices[1:], strict=True):
            grad_values.addmm_(grad, matrix.t())
        heads = grads[0].shape[1]
        grad_vectors = ((values.t() @ grad).view(heads, -1, heads).diagonal(dim1=0, dim2=2).t() for grad in grads)
        return grad_values, *grad_vectors


class _Attention(torch.autograd.Function):
    """Attention of one head over a pattern: w = exp(LeakyReLU(s_j + d_i + e_ij)), y_i = sum_j m_ij w_ij v_j / z_i, z_i = sum_j w_ij.

    Rows are divided by z_i, not edges. With g_i the gradient of y_i, divided by z_i, the gradient of a score is
    w_ij (m_ij <v_j, g_i> - <y_i, g_i>). The second product equals the sum over a row's edges in the backward pass of a softmax.
    """

    @staticmethod
    def forward(
        ctx: Any,
        pattern: Pattern,
        values: Tensor,
        source: Tensor,
        destination: Tensor,
        multiplier: Tensor | None,
        negative_slope: float,
        edge_scores: Tensor | None,
    ) -> Tensor:
        heads = source.shape[1]
        values = values.reshape(len(values) * heads, values.shape[1] // heads)
        scores = source.reshape(-1).index_select(0, pattern.indices).add_(destination.reshape(-1).index_select(0, pattern.rows))
        if edge_scores is not None:
            scores.add_(edge_scores)
        scores = F.leaky_relu_(scores, negative_slope)
        weights = SparseMatrix(pattern, scores.exp() if _are_safe(scores) else _exp_below_one(pattern, scores))
        kept_weights = weights if multiplier is None else SparseMatrix(pattern, weights.values * multiplier)
        scale = kernels.row_sums(weights).reciprocal_().unsqueeze(1)
        result = kernels.spmm(kept_weights, values).mul_(scale)
        ctx.save_for_backward(values, scores, scale, result)
        ctx.weights, ctx.kept_weights, ctx.heads, ctx.negative_slope = weights, kept_weights, heads, negative_slope
        return result.view(len(destination), heads * values.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor, Tensor, None, None, Tensor | None]:
        values, scores, scale, result = ctx.saved_tensors
        heads: int = ctx.heads
        weights: SparseMatrix = ctx.weights
        kept_weights: SparseMatrix = ctx.kept_weights
        pattern = kept_weights.pattern
        grad = grads[0].reshape(result.shape) * scale
        at_rows = (result * grad).sum(1)
        grad_activated = kernels.sddmm(kept_weights, grad, values).mul_(kept_weights.values)
        grad_activated.addcmul_(weights.values, at_rows.index_select(0, pattern.rows), value=-1)
        # LeakyReLU keeps the sign, so its output says which branch was taken.
        grad_scores = SparseMatrix(pattern, torch.ops.aten.leaky_relu_backward(grad_activated, scores, ctx.negative_slope, True))
        grad_source, grad_destination = kernels.column_sums(grad_scores), kernels.row_sums(grad_scores)
        grad_values = kernels.spmm(kept_weights.transposed, grad)
        grad_values = grad_values.view(len(values) // heads, heads * values.shape[1])
        grad_edge_scores = grad_scores.values if ctx.needs_input_grad[6] else None
        return None, grad_values, grad_source.view(-1, heads), grad_destination.view(-1, heads), None, None, grad_edge_scores


def _are_safe(scores: Tensor) -> bool:
    """Whether all scores are small, so that no shift is needed."""
    # Without this an epoch of gat takes 3 to 6 % longer.
    if len(scores) == 0:
        return True
    if scores.device.type != "cpu":  # waiting for a GPU takes longer than the shift that it saves
        return False
    lowest, highest = scores.aminmax()
    return lowest.item() >= -_SAFE_SCORE and highest.item() <= _SAFE_SCORE


def _exp_below_one(pattern: Pattern, scores: Tensor) -> Tensor:
    """exp(scores) divided by its largest value in the row, which counts as a constant in the backward pass."""
    return (scores - kernels.row_max(pattern, scores.detach()).index_select(0, pattern.rows)).exp_()
