"""Aggregation over a structure's edges, as differentiable operations over bare kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dgl_mutual.nn import kernels
from dgl_mutual.nn.adjacency import Adjacency, Operator
from dgl_mutual.nn.autograd import apply
from dgl_mutual.nn.sparse import Pattern, SparseFeatures, SparseMatrix

#: Scores up to this size, of either sign, are taken the exponential of as they are: neither it nor a sum of it leaves the range of a float.
_EASY_SCORE = 30.0


class Projected:
    """x W, and what a sum over neighbours makes of it: S (x W), or (S x) W where that is less work."""

    def __init__(self, structure: Adjacency, x: Tensor | SparseFeatures, weight: Tensor) -> None:
        self._x = x
        self._weight = weight
        # A sample's first sources are many times its destinations, and W is multiplied by rows of the fewer. A gradient of x would cost
        # a product in return.
        self._sums_first = structure.narrows and isinstance(x, Tensor) and not x.requires_grad

    @cached_property
    def own(self) -> Tensor:
        """x W: (sources, width)."""
        return self._x @ self._weight

    def own_plus(self, structure: Adjacency, row: Tensor) -> Tensor:
        """W x_i + r: (destinations, width), r (width,)."""
        if isinstance(self._x, Tensor):
            return torch.addmm(row, structure.at_destinations(self._x), self._weight)
        return self._x.times_plus(self._weight, row) if structure.is_whole else structure.at_destinations(self.own) + row

    def gathered_with_own(self, structure: Adjacency, factor: Tensor, row: Tensor) -> Tensor:
        """sum_{j in N(i)} W x_j + f W x_i + r: (destinations, width); f (1,), r (width,)."""
        x, gathered = self._x, self._gathered(structure.neighbour_sum)
        if gathered is not None and isinstance(x, Tensor):
            return torch.addmm(row, torch.addcmul(gathered, structure.at_destinations(x), factor), self._weight)
        if structure.is_whole:
            return apply(_SumWithOwn, self.own, factor, row, structure)
        own = torch.addcmul(row, structure.at_destinations(self.own), factor)
        return structure.neighbour_sum.times_plus(self.own, own)

    def gathered_plus(self, operator: Operator, plus: Tensor) -> Tensor:
        """S (x W) + P: (destinations, width); P of the same shape, which is overwritten, or (width,)."""
        gathered = self._gathered(operator)
        if gathered is None:
            return operator.times_plus(self.own, plus)
        return torch.addmm(plus, gathered, self._weight) if plus.ndim == 1 else plus.addmm_(gathered, self._weight)

    def _gathered(self, operator: Operator) -> Tensor | None:
        """S x, where it is better had before the product with W: (destinations, F)."""
        if self._x is operator.constant and self._x.shape[1] <= self._weight.shape[1]:
            return operator.of_constant  # once for all students and passes
        return operator @ self._x if self._sums_first and isinstance(self._x, Tensor) else None


class _SumWithOwn(torch.autograd.Function):
    """Y = (S + f I) X + r on a whole graph. The loops are entries of the matrix: as arrays they would be most of what the layer moves."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor, row: Tensor, structure: Adjacency) -> Tensor:
        edges, loops = structure.sum_and_loops
        ctx.matrix = SparseMatrix(structure.looped_pattern, torch.addcmul(edges, loops, factor))
        ctx.save_for_backward(x)
        return kernels.product(ctx.matrix, x, row)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        grad = grads[0].contiguous()
        of_factor = torch.dot(ctx.saved_tensors[0].reshape(-1), grad.view(-1)).view(1)
        return kernels.product(ctx.matrix.transposed, grad), of_factor, grad.sum(0), None


def attend(
    structure: Adjacency, values: Tensor, source: Tensor, destination: Tensor, multiplier: Tensor | None, negative_slope: float = 0.2
) -> Tensor:
    """sum_{j in N(i) + i} m_ij a_ij v_j with a_ij = softmax_j(LeakyReLU(s_j + d_i)), head by head.

    Args:
        values: (sources, heads * width), heads side by side.
        source, destination: s (sources, heads) and d (destinations, heads).
        multiplier: m, dropout on the attention weights, in the order of `structure.attention_pattern(heads)`, or None.

    Returns:
        (destinations, heads * width).
    """
    return apply(_Attend, structure.attention_pattern(source.shape[1]), values, source, destination, multiplier, negative_slope)


def score_heads(values: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
    """<a_h, v_ih> of each head h of each node i, for each of the vectors a.

    Shapes: values (nodes, heads * width), vectors (heads, width), results (nodes, heads).
    """
    apply_all: Callable[..., tuple[Tensor, ...]] = _ScoreHeads.apply
    return apply_all(values, *vectors)


class _ScoreHeads(torch.autograd.Function):
    """V A for block-diagonal matrices A (heads * width, heads)."""

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
        of_values = grads[0] @ matrices[0].t()
        for grad, matrix in zip(grads[1:], matrices[1:], strict=True):
            of_values.addmm_(grad, matrix.t())
        heads = grads[0].shape[1]
        of_vectors = ((values.t() @ grad).view(heads, -1, heads).diagonal(dim1=0, dim2=2).t() for grad in grads)
        return of_values, *of_vectors


class _Attend(torch.autograd.Function):
    """Attention of one head over a pattern: w = exp(LeakyReLU(s_j + d_i)), y_i = sum_j m_ij w_ij v_j / z_i, z_i = sum_j w_ij.

    The softmax is divided out at the rows, not along the edges. With g the gradient of y_i / z_i, that of a score is
    w_ij (m_ij <v_j, g_i> - <y_i, g_i>): the inner product at the row is the sum over its edges that a softmax's backward pass takes.
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
    ) -> Tensor:
        heads = source.shape[1]
        values = values.reshape(len(values) * heads, -1)
        scores = source.reshape(-1).index_select(0, pattern.indices).add_(destination.reshape(-1).index_select(0, pattern.rows))
        scores = F.leaky_relu_(scores, negative_slope)
        weights = SparseMatrix(pattern, scores.exp() if _are_easy(scores) else _exp_below_one(pattern, scores))
        kept = weights if multiplier is None else SparseMatrix(pattern, weights.values * multiplier)
        scale = kernels.row_sums(weights).reciprocal_().unsqueeze(1)
        result = kernels.product(kept, values).mul_(scale)
        ctx.save_for_backward(values, scores, scale, result)
        ctx.weights, ctx.kept, ctx.heads, ctx.negative_slope = weights, kept, heads, negative_slope
        return result.view(len(destination), -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor, Tensor, None, None]:
        values, scores, scale, result = ctx.saved_tensors
        heads: int = ctx.heads
        weights: SparseMatrix = ctx.weights
        kept: SparseMatrix = ctx.kept
        grad = grads[0].reshape(result.shape) * scale
        at_rows = (result * grad).sum(1)
        of_scores = kernels.sampled_product(kept, grad, values).mul_(kept.values)
        of_scores.addcmul_(weights.values, at_rows.index_select(0, kept.pattern.rows), value=-1)
        # LeakyReLU keeps the sign, so its output says which branch was taken.
        grad_scores = SparseMatrix(kept.pattern, torch.ops.aten.leaky_relu_backward(of_scores, scores, ctx.negative_slope, True))
        of_source, of_destination = kernels.column_sums(grad_scores), kernels.row_sums(grad_scores)
        of_values = kernels.product(kept.transposed, grad)
        return None, of_values.view(-1, heads * values.shape[1]), of_source.view(-1, heads), of_destination.view(-1, heads), None, None


def _are_easy(scores: Tensor) -> bool:
    if len(scores) == 0:
        return True
    lowest, highest = scores.aminmax()
    return lowest.item() >= -_EASY_SCORE and highest.item() <= _EASY_SCORE


def _exp_below_one(pattern: Pattern, scores: Tensor) -> Tensor:
    """exp(scores) over its largest value in the row."""
    highest = torch.segment_reduce(scores, "max", offsets=pattern.indptr.long(), axis=0)
    return (scores - highest.index_select(0, pattern.rows)).exp_()
