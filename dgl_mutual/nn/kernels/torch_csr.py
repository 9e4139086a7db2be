"""The kernels built on torch's products with CSR matrices: MKL on a CPU, cuSPARSE on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_mutual.nn.csr import SparseMatrix


def spmm(matrix: SparseMatrix, x: Tensor, plus: Tensor | None) -> Tensor:
    if plus is not None:
        return torch.addmm(plus, matrix.csr, x, out=plus if plus.ndim == 2 else None)  # costs no more than the product alone
    shape = (matrix.shape[0], x.shape[1])
    # M @ X would fill and copy its result first: twice the time on a CPU. MKL does not read the result where beta is 0.
    result = x.new_empty(shape) if x.device.type == "cpu" else x.new_zeros(shape)
    return torch.addmm(result, matrix.csr, x, beta=0, out=result)


def sddmm(matrix: SparseMatrix, x: Tensor, y: Tensor) -> Tensor:
    values, pattern = torch.zeros_like(matrix.values), matrix.pattern
    sampled = torch.sparse_csr_tensor(pattern.indptr, pattern.indices, values, pattern.shape, check_invariants=False)
    torch.sparse.sampled_addmm(sampled, x, y.t(), beta=0.0, out=sampled)  # without `out` it would copy the pattern
    return values


def row_sums(matrix: SparseMatrix) -> Tensor:
    values, pattern = matrix.values, matrix.pattern
    if values.device.type != "cpu":  # unlike `index_add_` it adds in the same order each time
        return torch.segment_reduce(values, "sum", offsets=pattern.indptr.long(), axis=0, initial=0)
    if torch.get_num_threads() == 1:  # one thread sums 24,000 non-zeros in 26 microseconds like this, and in 49 by MKL; two in 27 and 20
        return values.new_zeros(pattern.shape[0]).index_add_(0, pattern.rows, values)
    # With a vector of ones for all columns, each non-zero looks up its own: 20 times as long where columns far outnumber rows.
    one_column = torch.sparse_csr_tensor(pattern.indptr, pattern.one_column, values, (pattern.shape[0], 1), check_invariants=False)
    return torch.mv(one_column, values.new_ones(1))


def column_sums(matrix: SparseMatrix) -> Tensor:
    values, pattern = matrix.values, matrix.pattern
    if values.device.type != "cpu":
        return row_sums(matrix.transposed)
    return values.new_zeros(pattern.shape[1]).index_add_(0, pattern.indices, values)  # half the time of the transpose's row sums
