"""Aggregation over a structure's edges, as differentiable operations over DGL's kernels.

Attention composed of DGL's differentiable operators keeps six tensors per edge and head for the backward pass and pays autograd's
bookkeeping eleven times; written as one it keeps three and takes about two thirds of the time. The tests show that both are the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dgl_mutual.nn import kernels
from dgl_mutual.nn.autograd import apply
from dgl_mutual.nn.structure import Structure


def attend(
    structure: Structure, values: Tensor, source: Tensor, destination: Tensor, multiplier: Tensor | None, negative_slope: float = 0.2
) -> Tensor:
    """sum_{j in N(i) + i} m_ij a_ij v_j with a_ij = softmax_j(LeakyReLU(s_j + d_i)), head by head.

    Args:
        values: (sources, heads * width), heads side by side.
        source, destination: s (sources, heads) and d (destinations, heads).
        multiplier: m, dropout on the attention weights: (|E| + destinations, heads) in the order of `structure.looped_graph`'s edges, or
            None.

    Returns:
        (destinations, heads * width).
    """
    return apply(_Attend, structure, values, source, destination, multiplier, negative_slope)


def sum_neighbours(structure: Structure, x: Tensor) -> Tensor:
    """y_i = sum_{j in N(i)} x_j: (sources, F) to (destinations, F). Of a sample of the neighbours: the estimate of the sum over all."""
    total = apply(_SumNeighbours, structure, x)
    return total if structure.sampling_scale is None else total * structure.sampling_scale


class _SumNeighbours(torch.autograd.Function):
    """Y = A X; dX = A^T dY."""

    @staticmethod
    def forward(ctx: Any, structure: Structure, x: Tensor) -> Tensor:
        ctx.structure = structure
        return kernels.sum_neighbours(structure.graph, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        return None, kernels.sum_neighbours(ctx.structure.reversed_graph, grads[0])


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        structure: Structure,
        values: Tensor,
        source: Tensor,
        destination: Tensor,
        multiplier: Tensor | None,
        negative_slope: float,
    ) -> Tensor:
        graph, heads, values = structure.looped_graph, source.shape[1], values.contiguous()
        scores = F.leaky_relu_(kernels.add_ends(graph, source, destination), negative_slope)
        attention = kernels.softmax_over_in_edges(graph, scores)
        ctx.save_for_backward(values, scores, attention, multiplier)
        ctx.structure, ctx.negative_slope = structure, negative_slope
        kept = attention if multiplier is None else attention * multiplier
        return kernels.sum_weighted_neighbours(graph, _by_head(values, heads), kept).flatten(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor, Tensor, None, None]:
        values, scores, attention, multiplier = ctx.saved_tensors
        graph, backwards, heads = ctx.structure.looped_graph, ctx.structure.reversed_looped_graph, attention.shape[1]
        grad = _by_head(grads[0].contiguous(), heads)
        kept = attention if multiplier is None else attention * multiplier
        grad_values = kernels.sum_weighted_neighbours(backwards, grad, kept).flatten(1)
        weighted = kernels.dot_ends(graph, _by_head(values, heads), grad).mul_(kept)
        grad_scores = weighted.sub_(kernels.scale_by_destination(graph, attention, kernels.sum_edges(graph, weighted)))
        # LeakyReLU keeps the sign, so its output says which branch was taken.
        grad_scores = torch.ops.aten.leaky_relu_backward(grad_scores, scores, ctx.negative_slope, True)
        return None, grad_values, kernels.sum_edges(backwards, grad_scores), kernels.sum_edges(graph, grad_scores), None, None


def _by_head(x: Tensor, heads: int) -> Tensor:
    return x.view(len(x), heads, -1)
