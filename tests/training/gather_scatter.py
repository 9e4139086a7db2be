"""The sparse kernels by torch's index operations, which the pretended device has: gather rows along edges, scatter sums to nodes."""

from __future__ import annotations

from torch import Tensor

from dgl_mutual.nn.csr import SparseMatrix


def spmm(matrix: SparseMatrix, x: Tensor, plus: Tensor | None) -> Tensor:
    pattern = matrix.pattern
    messages = x.index_select(0, pattern.indices) * matrix.values.unsqueeze(1)
    if plus is None:
        return x.new_zeros(matrix.shape[0], x.shape[1]).index_add_(0, pattern.rows, messages)
    if plus.ndim == 2:
        return plus.index_add_(0, pattern.rows, messages)
    return plus.repeat(matrix.shape[0], 1).index_add_(0, pattern.rows, messages)


def sddmm(matrix: SparseMatrix, x: Tensor, y: Tensor) -> Tensor:
    pattern = matrix.pattern
    return (x.index_select(0, pattern.rows) * y.index_select(0, pattern.indices)).sum(1)


def row_sums(matrix: SparseMatrix) -> Tensor:
    return matrix.values.new_zeros(matrix.shape[0]).index_add_(0, matrix.pattern.rows, matrix.values)


def column_sums(matrix: SparseMatrix) -> Tensor:
    return matrix.values.new_zeros(matrix.shape[1]).index_add_(0, matrix.pattern.indices, matrix.values)
