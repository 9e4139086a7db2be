"""The implementations of the sparse kernels give the same values, and students the same gradients by each."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.dgl_compat import dgl
from dgl_mutual.nn import kernels
from dgl_mutual.nn.batch import Batch, Collator
from dgl_mutual.nn.blocks import BlockBatch
from dgl_mutual.nn.convolutions import CONVOLUTIONS
from dgl_mutual.nn.csr import Pattern, SparseMatrix
from dgl_mutual.nn.dgl_graphs import graph_of
from dgl_mutual.nn.kernels import dgl_kernels
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.student import Student

needs_mkl = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this torch comes without MKL")
#: Row counts of non-zeros, and columns: a square matrix, a block, empty rows at both ends, one column, no non-zeros, no rows.
SHAPES = [((2, 1, 3, 2), 4), ((3, 1), 7), ((0, 4, 0, 2, 0), 5), ((1, 1, 1), 1), ((0, 0, 0), 3), ((), 3)]


def random_matrix(counts: tuple[int, ...], columns: int, dtype: torch.dtype) -> SparseMatrix:
    random = torch.Generator().manual_seed(len(counts) + columns)
    indptr = torch.tensor([0, *torch.tensor(counts, dtype=torch.int64).cumsum(0).tolist()])
    indices = [torch.randperm(columns, generator=random)[:count].sort().values for count in counts]
    pattern = Pattern(indptr, torch.cat(indices) if indices else torch.empty(0, dtype=torch.int64), columns)
    return SparseMatrix(pattern, torch.randn(len(pattern.indices), dtype=dtype, generator=random))


@needs_mkl
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("counts", "columns"), SHAPES)
@pytest.mark.parametrize("name", kernels.IMPLEMENTATIONS)
def test_each_equals_the_dense_operation(name: str, counts: tuple[int, ...], columns: int, dtype: torch.dtype) -> None:
    implementation, matrix = kernels.IMPLEMENTATIONS[name], random_matrix(counts, columns, dtype)
    pattern, rows = matrix.pattern, len(counts)
    dense = torch.zeros(rows, columns, dtype=dtype).index_put((pattern.rows.long(), pattern.indices.long()), matrix.values)
    x, y = torch.randn(columns, 5, dtype=dtype), torch.randn(rows, 5, dtype=dtype)
    for plus in (None, torch.randn(5, dtype=dtype), torch.randn(rows, 5, dtype=dtype)):
        expected = dense @ x if plus is None else dense @ x + plus
        result = implementation.spmm(matrix, x, plus)
        torch.testing.assert_close(result, expected)
        assert result.dtype == dtype
    torch.testing.assert_close(implementation.sddmm(matrix, y, x), (y @ x.t())[pattern.rows.long(), pattern.indices.long()])
    torch.testing.assert_close(implementation.row_sums(matrix), dense.sum(1))
    torch.testing.assert_close(implementation.column_sums(matrix), dense.sum(0))


def passes(student: Student, batch: Batch) -> list[Tensor]:
    student.zero_grad()
    logits = student.forward_batch(batch).logits
    (logits * torch.arange(3)).square().sum().backward()
    return [logits, *(parameter.grad for parameter in student.parameters() if parameter.grad is not None)]


@needs_mkl
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sparse_", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("architecture", CONVOLUTIONS)
def test_students_have_the_same_values_and_gradients_by_each(
    architecture: str, sparse_: bool, dtype: torch.dtype, make_dataset: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a whole graph with an isolated node, on blocks, and on a graph without edges."""
    torch.manual_seed(0)
    student = Student(StudentOptions(architecture=architecture, hidden=8, heads=4), "node", 5, 3).to(dtype).eval()  # type: ignore[arg-type]  # a str
    results: dict[str, list[Tensor]] = {}
    for name in kernels.IMPLEMENTATIONS:
        monkeypatch.setattr(kernels, "choose", lambda device_type, name=name: name)
        whole, empty = (Collator(make_dataset((23,), edges_per_node=edges, sparse_=sparse_), dtype=dtype).all() for edges in (2, 0))
        sampler = dgl.dataloading.MultiLayerFullNeighborSampler(2)
        blocks = sampler.sample_blocks(graph_of(whole), torch.tensor([3, 22, 4]))[2]
        batches = (whole, empty, BlockBatch.of(blocks, whole, whole.device))
        results[name] = [tensor for batch in batches for tensor in passes(student, batch)]
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    for found in results.values():
        torch.testing.assert_close(found, results["torch_csr"], **tolerance)


def test_the_implementation_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    choose = kernels.choose.__wrapped__
    for has_mkl, expected in ((True, "torch_csr"), (False, "dgl")):
        monkeypatch.setattr(torch.backends.mkl, "is_available", lambda has_mkl=has_mkl: has_mkl)
        assert choose("cpu") == expected
    for dgl_has_cuda, expected in ((True, "dgl"), (False, "torch_csr")):
        monkeypatch.setattr(dgl_kernels, "supports", lambda device, answer=dgl_has_cuda: answer)
        assert choose("cuda") == expected
