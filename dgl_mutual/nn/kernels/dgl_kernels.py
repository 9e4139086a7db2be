"""The kernels of DGL. No other module uses its private kernels.

`dgl.ops` wraps each kernel in an autograd function and checks its arguments on every call, which costs more than the kernel itself on the
graphs of this field (50 microseconds against 5-60), so they are called directly here.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
from torch import Tensor

from dgl_mutual.dgl_compat import dgl
from dgl_mutual.nn.csr import Pattern, SparseMatrix

_sparse_ops = dgl._sparse_ops


@cache
def supports(device: str) -> bool:
    """Whether this build of DGL has kernels for the device."""
    try:
        dgl.graph(([0], [0])).to(device)
    except Exception:  # the type of the error depends on DGL's version
        return False
    return True


def spmm(matrix: SparseMatrix, x: Tensor, plus: Tensor | None) -> Tensor:
    product: Tensor = _sparse_ops._gspmm(_index(matrix.pattern), "mul", "sum", x.contiguous(), matrix.values.unsqueeze(-1))[0]
    if plus is None:
        return product
    return plus.add_(product) if plus.ndim == 2 else product.add_(plus)


def sddmm(matrix: SparseMatrix, x: Tensor, y: Tensor) -> Tensor:
    products: Tensor = _sparse_ops._gsddmm(_index(matrix.pattern), "dot", y.contiguous(), x.contiguous(), "u", "v")
    return products.squeeze(-1)


def row_sums(matrix: SparseMatrix) -> Tensor:
    sums: Tensor = _sparse_ops._gspmm(_index(matrix.pattern), "copy_rhs", "sum", None, matrix.values.unsqueeze(-1))[0]
    return sums.squeeze(-1)


def column_sums(matrix: SparseMatrix) -> Tensor:
    return row_sums(matrix.transposed)


def _index(pattern: Pattern) -> Any:
    """The pattern as a graph index of DGL, cached on the pattern: an edge for each non-zero, from its column to its row."""
    if pattern.dgl_graph is None:
        # DGL 1.1's CPU kernels need the edge indices in full even where they are 0, 1, 2, ...
        numbers = torch.arange(len(pattern.indices), dtype=pattern.indices.dtype, device=pattern.indices.device)
        rows, columns = pattern.shape
        pattern.dgl_graph = dgl.create_block(("csc", (pattern.indptr, pattern.indices, numbers)), num_src_nodes=columns, num_dst_nodes=rows)
    return cast("dgl.DGLGraph", pattern.dgl_graph)._graph
