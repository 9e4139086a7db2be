"""The sparse kernels, bare: the one place that knows how DGL and MKL spell them. Nothing here has a gradient.

Message passing is three kernels over the non-zeros of a matrix, which are edges. DGL's run on every device. On a CPU torch's products with
CSR matrices, which are MKL's, take less: for 64 columns 10 microseconds against 100 (547 nodes), 70 against 250 (2,708 nodes), for eight
heads of attention 170 against 860. So they are taken where MKL is there, and DGL's everywhere else.

`dgl.ops` wraps each kernel in an autograd function and looks its arguments over on every call, which costs more than the kernel itself on
the graphs of this field (50 microseconds against 5-60), so they are called directly here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dgl_mutual.dgl_compat import dgl

if TYPE_CHECKING:
    from dgl_mutual.nn.sparse import SparseMatrix

dgl_kernels = dgl._sparse_ops
HAS_MKL: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]  # torch's own gap


def product(matrix: SparseMatrix, x: Tensor, plus: Tensor | None = None) -> Tensor:
    """M X + P for X (columns, width) and P, if any: (rows, width), which then holds the result, or (width,)."""
    in_place = plus is not None and plus.ndim == 2
    if _by_mkl(x):
        if plus is not None:
            return torch.addmm(plus, matrix.csr, x, out=plus if in_place else None)  # costs no more than the product alone
        result = x.new_empty(matrix.shape[0], x.shape[1])
        return torch.addmm(result, matrix.csr, x, beta=0, out=result)  # M @ X would fill and copy its result first: twice the time
    graph = matrix.pattern.graph
    product: Tensor = dgl_kernels._gspmm(graph._graph, "mul", "sum", x.contiguous(), matrix.values.unsqueeze(-1))[0]
    if plus is None:
        return product
    return plus.add_(product) if in_place else product.add_(plus)


def row_sums(matrix: SparseMatrix) -> Tensor:
    """The sums of the rows: (rows,)."""
    values, pattern = matrix.values, matrix.pattern
    if not _by_mkl(values):
        sums: Tensor = dgl_kernels._gspmm(pattern.graph._graph, "copy_rhs", "sum", None, values.unsqueeze(-1))[0]
        return sums.squeeze(-1)
    if torch.get_num_threads() == 1:  # one thread sums 24,000 non-zeros in 26 microseconds like this, and in 49 by MKL; two in 27 and 20
        return values.new_zeros(pattern.shape[0]).index_add_(0, pattern.rows, values)
    # A one for every column would be looked up for each non-zero: 20 times as long where columns are many more than rows.
    one_column = torch.sparse_csr_tensor(pattern.indptr, pattern.one_column, values, (pattern.shape[0], 1), check_invariants=False)
    return torch.mv(one_column, values.new_ones(1))


def column_sums(matrix: SparseMatrix) -> Tensor:
    """The sums of the columns: (columns,)."""
    values, pattern = matrix.values, matrix.pattern
    if not _by_mkl(values):
        return row_sums(matrix.transposed)
    return values.new_zeros(pattern.shape[1]).index_add_(0, pattern.indices, values)  # half the time of the rows of the transpose


def sampled_product(matrix: SparseMatrix, x: Tensor, y: Tensor) -> Tensor:
    """<x_i, y_j> for each non-zero (i, j) of M: x (rows, width), y (columns, width), result (non-zeros,)."""
    if _by_mkl(x):
        values, pattern = torch.zeros_like(matrix.values), matrix.pattern
        sampled = torch.sparse_csr_tensor(pattern.indptr, pattern.indices, values, pattern.shape, check_invariants=False)
        torch.sparse.sampled_addmm(sampled, x, y.t(), beta=0.0, out=sampled)  # without `out` it would copy the pattern
        return values
    products: Tensor = dgl_kernels._gsddmm(matrix.pattern.graph._graph, "dot", y.contiguous(), x.contiguous(), "u", "v")
    return products.squeeze(-1)


def _by_mkl(x: Tensor) -> bool:
    return HAS_MKL and x.device.type == "cpu"
