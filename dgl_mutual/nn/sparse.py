"""Sparse node features: X W with a transpose ready for the backward pass, and dropout on the non-zeros only."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from dgl_mutual.nn.autograd import apply
from dgl_mutual.nn.dropout import keep_multiplier

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)
warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled", category=UserWarning)


@dataclass(frozen=True, eq=False)
class SparseFeatures:
    """A constant matrix in CSR form, with the pattern of its transpose.

    Attributes:
        shape: (rows, columns).
        indptr, indices, values: CSR of the matrix; indptr (rows + 1,), indices and values (non-zeros,).
        t_indptr, t_indices: pattern of the transpose's CSR.
        t_order: (non-zeros,): values[t_order] are the transpose's values.
    """

    shape: tuple[int, int]
    indptr: Tensor
    indices: Tensor
    values: Tensor
    t_indptr: Tensor
    t_indices: Tensor
    t_order: Tensor

    @staticmethod
    def from_scipy(matrix: sparse.csr_matrix, device: torch.device | str = "cpu") -> SparseFeatures:
        """Take over a scipy CSR matrix; its values keep their floating-point type."""
        rows, columns = matrix.shape
        order = sparse.csr_matrix((np.arange(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape).tocsc()
        indptr, indices, t_indptr, t_indices, t_order = (
            torch.as_tensor(array.astype(np.int64), device=device)
            for array in (matrix.indptr, matrix.indices, order.indptr, order.indices, order.data)
        )
        values = torch.as_tensor(matrix.data.copy(), device=device)
        return SparseFeatures((rows, columns), indptr, indices, values, t_indptr, t_indices, t_order)

    def to(self, dtype: torch.dtype) -> SparseFeatures:
        """The same matrix with values of another floating-point type."""
        return replace(self, values=self.values.to(dtype))

    def rows(self, chosen: Tensor | slice) -> SparseFeatures:
        """The chosen rows, in this order."""
        parts = (self.values, self.indices, self.indptr)
        matrix = sparse.csr_matrix(tuple(part.cpu().numpy() for part in parts), shape=self.shape)
        picked = matrix[chosen if isinstance(chosen, slice) else chosen.cpu().numpy()]
        return SparseFeatures.from_scipy(picked, self.values.device)

    def dropout(self, rate: float, generator: torch.Generator | None) -> SparseFeatures:
        """Dropout of every entry: the same distribution as on the dense matrix, since a dropped zero is still a zero."""
        if generator is None or rate == 0.0:
            return self
        return replace(self, values=self.values * keep_multiplier(self.values.shape, rate, generator, self.values.dtype))

    def __matmul__(self, weight: Tensor) -> Tensor:
        """X W for W of shape (columns, width); the gradient reaches W alone."""
        return apply(_ConstantSparseMatmul, weight, self)

    def csr(self) -> Tensor:
        """The matrix as a torch CSR tensor."""
        return torch.sparse_csr_tensor(self.indptr, self.indices, self.values, self.shape, check_invariants=False)

    def transposed_csr(self) -> Tensor:
        """The transpose as a torch CSR tensor."""
        shape = (self.shape[1], self.shape[0])
        return torch.sparse_csr_tensor(self.t_indptr, self.t_indices, self.values[self.t_order], shape, check_invariants=False)


class _ConstantSparseMatmul(torch.autograd.Function):
    """Y = X W; dW = X^T dY. torch's own backward would first transpose X, on every step."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, matrix: SparseFeatures) -> Tensor:
        ctx.matrix = matrix
        return matrix.csr() @ weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.matrix.transposed_csr() @ grads[0], None
