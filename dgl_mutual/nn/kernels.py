"""DGL's sparse kernels, bare: the one place that knows how DGL spells them.

`dgl.ops` wraps each kernel in an autograd function and looks its arguments over on every call, which costs more than the kernel itself on
the graphs of this field (50 microseconds against 5-60). The differentiable operations of this package call the kernels directly and bring
their own backward pass. Nothing here has a gradient.

Shapes: node values (|V|, width) or (|V|, heads, width), edge values (|E|, heads) in the order of the graph's edge numbers.
"""

from __future__ import annotations

import dgl
from dgl import _sparse_ops as ops
from torch import Tensor


def sum_neighbours(graph: dgl.DGLGraph, x: Tensor) -> Tensor:
    """y_i = sum over in-edges (j, i) of x_j."""
    result: Tensor = ops._gspmm(graph._graph, "copy_lhs", "sum", x, None)[0]
    return result


def sum_weighted_neighbours(graph: dgl.DGLGraph, x: Tensor, weight: Tensor) -> Tensor:
    """y_i = sum over in-edges e = (j, i) of weight_e x_j, head by head: x (|V|, heads, width), weight (|E|, heads)."""
    result: Tensor = ops._gspmm(graph._graph, "mul", "sum", x, weight.unsqueeze(-1))[0]
    return result


def sum_edges(graph: dgl.DGLGraph, weight: Tensor) -> Tensor:
    """y_i = sum over in-edges e of weight_e."""
    result: Tensor = ops._gspmm(graph._graph, "copy_rhs", "sum", None, weight)[0]
    return result


def add_ends(graph: dgl.DGLGraph, source: Tensor, destination: Tensor) -> Tensor:
    """w_e = source_j + destination_i for e = (j, i)."""
    result: Tensor = ops._gsddmm(graph._graph, "add", source, destination, "u", "v")
    return result


def dot_ends(graph: dgl.DGLGraph, source: Tensor, destination: Tensor) -> Tensor:
    """w_e = <source_j, destination_i> for e = (j, i), head by head: (|E|, heads)."""
    result: Tensor = ops._gsddmm(graph._graph, "dot", source, destination, "u", "v")
    return result.squeeze(-1)


def scale_by_destination(graph: dgl.DGLGraph, weight: Tensor, destination: Tensor) -> Tensor:
    """w_e = weight_e * destination_i for e = (j, i)."""
    result: Tensor = ops._gsddmm(graph._graph, "mul", weight, destination, "e", "v")
    return result


def softmax_over_in_edges(graph: dgl.DGLGraph, scores: Tensor) -> Tensor:
    """a_e = exp(s_e) / sum over the in-edges e' of the same node of exp(s_e')."""
    result: Tensor = dgl.ops.edge_softmax(graph, scores)
    return result
