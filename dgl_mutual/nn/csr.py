"""Sparse matrices in CSR form. Derived quantities are computed on first use and cached."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TypeAlias, overload

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from dgl_mutual.utils.caching import cached_method

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)
warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled", category=UserWarning)

#: Row numbers, or a slice: indexing with it copies nothing.
Rows: TypeAlias = "Tensor | slice"


class Pattern:
    """The sparsity pattern of a matrix in CSR form.

    Attributes:
        shape: (rows, columns).
        indptr, indices: (rows + 1,) and (non-zeros,), as 32-bit integers where the numbers fit: MKL takes no other form, and torch would
            convert them on every call.
        dgl_graph: the pattern as a graph of DGL, once `dgl_kernels` has made it.
    """

    def __init__(self, indptr: Tensor, indices: Tensor, num_columns: int, by_column: tuple[Tensor, Tensor] | None = None) -> None:
        """Take the arrays of the CSR form.

        Args:
            by_column: the bounds of the columns (columns + 1,) among the non-zeros in order of column, and the positions of these in
                `indices` (non-zeros,); default: found where they are needed.
        """
        self.shape = (len(indptr) - 1, num_columns)
        fits = max(*self.shape, len(indices)) < 2**31
        self.indptr, self.indices = (part.to(torch.int32 if fits else torch.int64) for part in (indptr, indices))
        self._by_column = by_column
        self.dgl_graph: object = None

    @cached_property
    def rows(self) -> Tensor:
        """(non-zeros,): the row index of each non-zero."""
        numbers = torch.arange(self.shape[0], dtype=self.indices.dtype, device=self.indices.device)
        return torch.repeat_interleave(numbers, self.indptr.diff(), output_size=len(self.indices))

    @cached_property
    def one_column(self) -> Tensor:
        """(non-zeros,): zeros, the column indices of the matrix whose columns are all merged into one."""
        return torch.zeros_like(self.indices)

    @cached_method
    def differences(self, dtype: torch.dtype) -> SparseMatrix:
        """Difference operator M of a square pattern: (M x)_e = x[column(e)] - x[row(e)]; shape (non-zeros, columns)."""
        count = len(self.indices)
        indptr = 2 * torch.arange(count + 1, device=self.indices.device)
        signs = torch.tensor([1, -1], dtype=dtype, device=self.indices.device).repeat(count)
        return SparseMatrix(Pattern(indptr, torch.stack([self.indices, self.rows], dim=1).flatten(), self.shape[1]), signs)

    @cached_property
    def transpose(self) -> tuple[Pattern, Tensor]:
        """The transposed pattern, and for each of its non-zeros the position in this pattern."""
        if self._by_column is not None:
            offsets, order = (part.to(self.indices.dtype) for part in self._by_column)
            return Pattern(offsets, self.rows.index_select(0, order), self.shape[0]), order
        if self.indices.device.type == "cpu":
            return self._transpose_by_scipy()
        in_order, order = torch.sort(self.indices, stable=True)
        # Unlike `bincount`, which asks for the largest number first, this does not wait for the device.
        indptr = torch.searchsorted(in_order, torch.arange(self.shape[1] + 1, dtype=in_order.dtype, device=in_order.device))
        return Pattern(indptr, self.rows.index_select(0, order), self.shape[0]), order.to(self.indices.dtype)

    def _transpose_by_scipy(self) -> tuple[Pattern, Tensor]:
        """Transpose on a CPU, in a fraction of the time of a sort."""
        indptr, indices = self.indptr.numpy(), self.indices.numpy()
        numbered = sparse.csr_matrix((np.arange(len(indices), dtype=indices.dtype), indices, indptr), shape=self.shape).tocsc()
        t_indptr, t_indices, order = (torch.as_tensor(part) for part in (numbered.indptr, numbered.indices, numbered.data))
        return Pattern(t_indptr, t_indices, self.shape[0]), order


class SparseMatrix:
    """A sparse matrix that is constant: gradients do not reach its values.

    Attributes:
        pattern: its sparsity pattern.
        values: (non-zeros,), in the order of the pattern.
    """

    def __init__(self, pattern: Pattern, values: Tensor) -> None:
        self.pattern = pattern
        self.values = values

    @classmethod
    def from_scipy(cls, matrix: sparse.csr_matrix, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> SparseMatrix:
        """Copy a scipy CSR matrix. By default the values keep their floating-point type."""
        indptr, indices = (torch.as_tensor(part, device=device) for part in (matrix.indptr, matrix.indices))
        return cls(Pattern(indptr, indices, matrix.shape[1]), torch.tensor(matrix.data, device=device, dtype=dtype))

    @property
    def shape(self) -> tuple[int, int]:
        return self.pattern.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.values.dtype

    @cached_property
    def transposed(self) -> SparseMatrix:
        """M^T."""
        pattern, order = self.pattern.transpose
        return SparseMatrix(pattern, self.values.index_select(0, order))

    @cached_property
    def csr(self) -> Tensor:
        """The matrix as a torch CSR tensor."""
        return torch.sparse_csr_tensor(self.pattern.indptr, self.pattern.indices, self.values, self.shape, check_invariants=False)


class Codes:
    """The index of each row of a matrix in a table of distinct rows.

    Attributes:
        numbers: table indices (rows,), as 32-bit integers.
        count: R, the number of distinct rows.
    """

    def __init__(self, numbers: Tensor, count: int) -> None:
        self.numbers = numbers
        self.count = count

    @cached_property
    def groups(self) -> tuple[Tensor, Tensor]:
        """(R + 1,) and (rows,): the rows with code c are order[offsets[c]:offsets[c + 1]]."""
        numbers = self.numbers
        if numbers.device.type != "cpu":
            in_order, places = torch.sort(numbers, stable=True)
            bounds = torch.arange(self.count + 1, dtype=in_order.dtype, device=in_order.device)
            return torch.searchsorted(in_order, bounds, out_int32=True), places.to(torch.int32)
        offsets = np.zeros(self.count + 1, dtype=np.int32)
        np.cumsum(np.bincount(numbers.numpy(), minlength=self.count), out=offsets[1:])
        # NumPy sorts 16-bit integers by their digits: a fraction of the time of torch's sort.
        order = np.argsort(numbers.numpy().astype(np.uint16) if self.count <= 1 << 16 else numbers.numpy(), kind="stable")
        return torch.as_tensor(offsets), torch.as_tensor(order.astype(np.int32))


def offsets_of(counts: Tensor) -> Tensor:
    """Cumulative sums from 0, (n + 1,): the bounds of n consecutive ranges of these sizes; for a mask, how many are True before each."""
    total = counts.cumsum(0)
    return torch.cat([total.new_zeros(1), total])


class RepeatedRows(SparseMatrix):
    """A matrix with few distinct rows, such as the features of atoms and bonds. It can be used wherever a sparse matrix can.

    Products are computed for the distinct rows only. This takes a fraction of the time, above all in the backward pass, where a sparse
    matrix has to be transposed.

    Attributes:
        table: the distinct rows (R, F), dense.
        codes: the index of each row in the table.
    """

    def __init__(self, table: Tensor, codes: Codes) -> None:
        self.table = table
        self.codes = codes

    @classmethod
    def of_table(cls, table: Tensor, codes: npt.NDArray[np.int32]) -> RepeatedRows:
        """Make the rows ``table[codes]``. A large table is replaced by its rows that occur."""
        if len(table) > 64:
            occurs = np.zeros(len(table), dtype=bool)
            occurs[codes] = True
            table = table[torch.as_tensor(occurs, device=table.device)]
            codes = (np.cumsum(occurs, dtype=np.int32) - 1)[codes]
        return cls(table, Codes(torch.as_tensor(codes, device=table.device), len(table)))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.codes.numbers), self.table.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.table.dtype

    @property
    def dense(self) -> Tensor:
        """(rows, F)."""
        return self.table.index_select(0, self.codes.numbers)

    @cached_property
    def _as_sparse(self) -> SparseMatrix:
        matrix = self.table.to_sparse_csr()
        distinct = SparseMatrix(Pattern(matrix.crow_indices(), matrix.col_indices(), self.table.shape[1]), matrix.values())
        return take_rows(distinct, self.codes.numbers.long())

    @cached_property
    def pattern(self) -> Pattern:  # type: ignore[override]  # computed on demand
        return self._as_sparse.pattern

    @cached_property
    def values(self) -> Tensor:  # type: ignore[override]  # as above
        return self._as_sparse.values

    @cached_property
    def transposed(self) -> SparseMatrix:
        return self._as_sparse.transposed


#: A dense matrix (nodes, F), or a sparse one where most features are zero.
NodeFeatures: TypeAlias = "Tensor | SparseMatrix"


@overload
def take_rows(x: Tensor, rows: Rows) -> Tensor: ...
@overload
def take_rows(x: SparseMatrix, rows: Rows) -> SparseMatrix: ...
def take_rows(x: NodeFeatures, rows: Rows) -> NodeFeatures:
    """Select rows of a dense or sparse matrix, or of any other object that can be indexed by row."""
    if isinstance(x, RepeatedRows):
        return RepeatedRows(x.table, Codes(take_rows(x.codes.numbers, rows), x.codes.count))
    if isinstance(x, SparseMatrix):
        return _sparse_rows(x, rows)
    # x[rows] takes five times as long: 20 ms against 4 for 80,000 of 600,000 rows of 64 columns.
    return x.index_select(0, rows) if isinstance(x, Tensor) and isinstance(rows, Tensor) else x[rows]


@overload
def take_columns(x: Tensor, columns: Sequence[int]) -> Tensor: ...
@overload
def take_columns(x: SparseMatrix, columns: Sequence[int]) -> SparseMatrix: ...
def take_columns(x: NodeFeatures, columns: Sequence[int]) -> NodeFeatures:
    """Select columns, given in increasing order, of a dense or sparse matrix."""
    if isinstance(x, Tensor):
        return x[:, torch.as_tensor(columns, device=x.device)]
    if isinstance(x, RepeatedRows):
        return RepeatedRows(take_columns(x.table, columns), x.codes)
    pattern = x.pattern
    place = pattern.indices.new_full((pattern.shape[1],), -1)
    place[torch.as_tensor(columns, device=place.device)] = torch.arange(len(columns), dtype=place.dtype, device=place.device)
    moved = place.index_select(0, pattern.indices)
    is_taken = moved >= 0
    before = offsets_of(is_taken)
    entries = torch.nonzero(is_taken).squeeze(1)
    taken = Pattern(before.index_select(0, pattern.indptr), moved.index_select(0, entries), len(columns))
    return SparseMatrix(taken, x.values.index_select(0, entries))


def _sparse_rows(x: SparseMatrix, rows: Rows) -> SparseMatrix:
    if isinstance(rows, slice) and rows.step in (None, 1):  # the entries of consecutive rows are consecutive
        start, stop, _ = rows.indices(x.shape[0])
        indptr = x.pattern.indptr[start : max(start, stop) + 1]
        part = slice(int(indptr[0]), int(indptr[-1]))
        return SparseMatrix(Pattern(indptr - indptr[0], x.pattern.indices[part], x.shape[1]), x.values[part])
    if x.values.device.type == "cpu":
        parts = (x.values, x.pattern.indices, x.pattern.indptr)
        matrix = sparse.csr_matrix(tuple(part.numpy() for part in parts), shape=x.shape)
        return SparseMatrix.from_scipy(matrix[rows if isinstance(rows, slice) else rows.numpy()])
    numbers = torch.arange(x.shape[0], device=x.values.device)[rows]
    first, counts = x.pattern.indptr[numbers], x.pattern.indptr.diff()[numbers]
    indptr = offsets_of(counts)
    entries = torch.repeat_interleave(first - indptr[:-1], counts)
    entries = entries + torch.arange(len(entries), device=entries.device)
    return SparseMatrix(Pattern(indptr, x.pattern.indices[entries], x.shape[1]), x.values[entries])
