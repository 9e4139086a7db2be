"""The sparse kernels of message passing, without gradients. Only this package chooses a library for them.

A matrix has a non-zero for each edge, in the row of its destination and the column of its source. Two implementations have the same
functions:

`torch_csr`      torch's products with CSR matrices: MKL on a CPU, cuSPARSE on a GPU.
`dgl_kernels`    DGL's kernels, the only ones that touch DGL's private parts.

On a CPU MKL takes less time than DGL: for 64 columns 10 microseconds against 100 (547 nodes), 70 against 250 (2,708 nodes), for eight heads
of attention 170 against 860. So `torch_csr` runs where torch has MKL, and DGL on other CPUs. On a GPU DGL runs if its build supports CUDA,
and `torch_csr` if not.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol, cast

import torch
from torch import Tensor

from dgl_mutual.nn.csr import Pattern, SparseMatrix
from dgl_mutual.nn.kernels import dgl_kernels, torch_csr


class Kernels(Protocol):
    """The functions of an implementation."""

    def spmm(self, matrix: SparseMatrix, x: Tensor, plus: Tensor | None) -> Tensor: ...
    def sddmm(self, matrix: SparseMatrix, x: Tensor, y: Tensor) -> Tensor: ...
    def row_sums(self, matrix: SparseMatrix) -> Tensor: ...
    def column_sums(self, matrix: SparseMatrix) -> Tensor: ...


IMPLEMENTATIONS: dict[str, Kernels] = {
    "torch_csr": cast("Kernels", torch_csr),
    "dgl": cast("Kernels", dgl_kernels),
}


@cache
def choose(device_type: str) -> str:
    """The implementation for a type of device: a key of `IMPLEMENTATIONS`."""
    if device_type == "cpu":
        return "torch_csr" if torch.backends.mkl.is_available() else "dgl"  # type: ignore[no-untyped-call]  # torch's own gap
    return "dgl" if dgl_kernels.supports(device_type) else "torch_csr"


def spmm(matrix: SparseMatrix, x: Tensor, plus: Tensor | None = None) -> Tensor:
    """M X + P for X (columns, width) and P, if any: (rows, width), which is overwritten with the result, or (width,)."""
    return IMPLEMENTATIONS[choose(x.device.type)].spmm(matrix, x, plus)


def sddmm(matrix: SparseMatrix, x: Tensor, y: Tensor) -> Tensor:
    """<x_i, y_j> for each non-zero (i, j) of M: x (rows, width), y (columns, width), result (non-zeros,)."""
    return IMPLEMENTATIONS[choose(x.device.type)].sddmm(matrix, x, y)


def row_sums(matrix: SparseMatrix) -> Tensor:
    """The sum of each row: (rows,)."""
    return IMPLEMENTATIONS[choose(matrix.values.device.type)].row_sums(matrix)


def column_sums(matrix: SparseMatrix) -> Tensor:
    """The sum of each column: (columns,)."""
    return IMPLEMENTATIONS[choose(matrix.values.device.type)].column_sums(matrix)


def segment_sums(x: Tensor, offsets: Tensor, order: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """sum over k in offsets[s] ... offsets[s + 1] - 1 of w_k x_order[k] for each segment s: (segments, width); zeros for an empty one.

    One implementation for all devices: on a CPU, 2,360 rows of 64 columns take 9 microseconds, and 20 by MKL's product.

    Args:
        x: (rows, width).
        offsets: (segments + 1,).
        order: numbers of rows (rows,), of the same integer type as `offsets`; default: 0, 1, 2, ...
        weights: w (rows,); default: 1.
    """
    if order is None:
        order = torch.arange(len(x), dtype=offsets.dtype, device=x.device)
    # Without `detach` torch also computes what its own backward pass needs: 38 microseconds in place of 31 for 4,000 rows in 128 segments.
    # It is needed in a backward pass that records gradients, for second derivatives.
    x = x if torch.is_grad_enabled() else x.detach()
    sums: Tensor = torch.embedding_bag(x, order, offsets, mode=0, per_sample_weights=weights, include_last_offset=True)[0]
    return sums


def row_max(pattern: Pattern, values: Tensor) -> Tensor:
    """The largest value of each row: (rows,); -inf for an empty row. Values: (non-zeros,)."""
    return torch.segment_reduce(values, "max", offsets=pattern.indptr.long(), axis=0)
