from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor

from dgl_mutual.nn import kernels
from dgl_mutual.nn.csr import Pattern, SparseMatrix
from dgl_mutual.nn.dropout import dropout
from dgl_mutual.nn.functional import linear, spmm

pytestmark = pytest.mark.usefixtures("backend")


def random_matrix(rows: int = 30, columns: int = 20, density: float = 0.2, dtype: type = np.float64) -> sparse.csr_matrix:
    """Rows 0 and -1 and columns 0 and -1 are empty."""
    matrix = sparse.random(rows, columns, density, format="lil", dtype=dtype, rng=np.random.default_rng(0))
    matrix[[0, -1]] = 0
    matrix[:, [0, -1]] = 0
    result = sparse.csr_matrix(matrix)
    result.eliminate_zeros()
    return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
def test_product_and_gradient_equal_the_dense_ones(density: float, dtype: torch.dtype) -> None:
    matrix = random_matrix(density=density)
    features = SparseMatrix.from_scipy(matrix, dtype=dtype)
    dense = torch.as_tensor(matrix.toarray(), dtype=dtype)
    weight = torch.randn(20, 7, dtype=dtype, requires_grad=True)
    product = linear(features, weight)
    assert product.dtype == dtype
    torch.testing.assert_close(product, dense @ weight)
    upstream = torch.randn(7, 30, dtype=dtype).t()
    torch.testing.assert_close(torch.autograd.grad(product, weight, upstream)[0], torch.autograd.grad(dense @ weight, weight, upstream)[0])
    torch.testing.assert_close(torch.autograd.grad((linear(features, weight)).sum(), weight)[0], dense.sum(0).unsqueeze(1).expand(20, 7))


def test_gradcheck() -> None:
    features = SparseMatrix.from_scipy(random_matrix(6, 5, 0.5))
    weight = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: linear(features, w), (weight,))


@pytest.mark.parametrize("shared_row", [True, False])
def test_sum_of_product_and_another(shared_row: bool) -> None:
    matrix = SparseMatrix.from_scipy(random_matrix(6, 5, 0.5))
    x = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    plus = torch.randn((2,) if shared_row else (6, 2), dtype=torch.float64, requires_grad=True)

    def apply(x: torch.Tensor, plus: torch.Tensor) -> torch.Tensor:
        return spmm(matrix, x, plus.clone())  # what is overwritten must not be a leaf

    torch.testing.assert_close(apply(x, plus), matrix.csr.to_dense() @ x + plus)
    assert torch.autograd.gradcheck(apply, (x, plus))
    summand = plus.detach().clone()
    result = spmm(matrix, x.detach(), summand)
    assert (result.data_ptr() == summand.data_ptr()) is not shared_row


def test_products_take_slices_and_leave_them_alone() -> None:
    """A part of a wider matrix, and a transposed one: neither is laid out row after row."""
    matrix = SparseMatrix.from_scipy(random_matrix())
    wide = torch.randn(20, 9, dtype=torch.float64)
    before = wide.clone()
    for x in (wide[:, 2:5], wide.t().contiguous().t()):
        torch.testing.assert_close(kernels.spmm(matrix, x), matrix.csr.to_dense() @ x)
    assert torch.equal(wide, before)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_kernels_equal_the_dense_ones(num_threads: int, set_threads: Callable[[int], None]) -> None:
    set_threads(num_threads)
    matrix = SparseMatrix.from_scipy(random_matrix())
    dense = matrix.csr.to_dense()
    x, y = torch.randn(30, 4, dtype=torch.float64), torch.randn(20, 4, dtype=torch.float64)
    torch.testing.assert_close(kernels.row_sums(matrix), dense.sum(1))
    torch.testing.assert_close(kernels.column_sums(matrix), dense.sum(0))
    before = matrix.values.clone()
    torch.testing.assert_close(kernels.sddmm(matrix, x, y), (x @ y.t())[dense != 0])
    assert torch.equal(matrix.values, before)
    torch.testing.assert_close(matrix.pattern.rows.long(), dense.nonzero()[:, 0])


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (4, 3)])
def test_empty_matrices(shape: tuple[int, int]) -> None:
    rows, columns = shape
    pattern = Pattern(torch.zeros(rows + 1, dtype=torch.int64), torch.empty(0, dtype=torch.int64), columns)
    x = torch.randn(columns, 2, requires_grad=True)
    product = spmm(SparseMatrix(pattern, torch.empty(0)), x)
    assert torch.equal(product, torch.zeros(rows, 2))
    assert torch.equal(torch.autograd.grad(product.sum(), x)[0], torch.zeros(columns, 2))


def test_csr_forms_are_the_matrix_and_its_transpose() -> None:
    matrix = random_matrix()
    features = SparseMatrix.from_scipy(matrix)
    np.testing.assert_array_equal(features.csr.to_dense().numpy(), matrix.toarray())
    np.testing.assert_array_equal(features.transposed.csr.to_dense().numpy(), matrix.toarray().T)


def test_unsorted_indices_give_the_same_product() -> None:
    unsorted = sparse.csr_matrix((np.array([1.0, 2.0, 3.0]), np.array([2, 0, 1]), np.array([0, 2, 3])), shape=(2, 3))
    weight = torch.arange(6.0, dtype=torch.float64).view(3, 2).requires_grad_()
    product = linear(SparseMatrix.from_scipy(unsorted), weight)
    dense = torch.as_tensor(unsorted.toarray())
    torch.testing.assert_close(product, dense @ weight)
    torch.testing.assert_close(torch.autograd.grad(product.sum(), weight)[0], (dense.t() @ torch.ones(2, 2, dtype=torch.float64)))


def test_takes_a_copy_of_the_values() -> None:
    matrix = random_matrix()
    features = SparseMatrix.from_scipy(matrix)
    before = features.values.clone()
    matrix.data[:] = 0
    torch.testing.assert_close(features.values, before)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.6])
def test_dropout_draws_the_non_zeros_alone(rate: float) -> None:
    matrix = random_matrix(300, 200)
    features = SparseMatrix.from_scipy(matrix)
    dropped = dropout(features, rate, torch.Generator().manual_seed(0))
    kept = dropped.values != 0
    torch.testing.assert_close(dropped.values[kept], features.values[kept] / (1 - round(rate * 65536) / 65536), rtol=1e-12, atol=0)
    count = matrix.nnz
    assert abs((~kept).sum().item() - rate * count) < 5 * (count * rate * (1 - rate)) ** 0.5
    assert dropped.pattern is features.pattern
    assert dropped.values.dtype == torch.float64


def test_dropout_acts_alike_on_both_forms() -> None:
    """The backward pass must see the values that the forward pass used."""
    dropped = dropout(SparseMatrix.from_scipy(random_matrix()), 0.5, torch.Generator().manual_seed(1))
    dense = dropped.csr.to_dense()
    torch.testing.assert_close(dropped.transposed.csr.to_dense(), dense.t())
    weight = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    product = linear(dropped, weight)
    torch.testing.assert_close(product, dense @ weight)
    torch.testing.assert_close(torch.autograd.grad(product.sum(), weight)[0], dense.sum(0).unsqueeze(1).expand(20, 3))


def test_dropout_is_off_without_a_generator_or_rate() -> None:
    features = SparseMatrix.from_scipy(random_matrix())
    assert dropout(features, 0.5, None) is features
    assert dropout(features, 0.0, torch.Generator()) is features


def test_dropped_product_has_the_dense_distribution() -> None:
    """Mean and variance of X W under dropout of every entry: E = X W, Var = rate / (1 - rate) X^2 W^2."""
    matrix = random_matrix(8, 6, 0.6)
    features, rate, draws = SparseMatrix.from_scipy(matrix), 0.5, 4000
    weight = torch.randn(6, 2, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    products: Tensor = torch.stack([linear(dropout(features, rate, generator), weight) for _ in range(draws)])
    dense = torch.as_tensor(matrix.toarray())
    variance = rate / (1 - rate) * dense.square() @ weight.square()
    assert ((products.mean(0) - dense @ weight).abs() <= 5 * (variance / draws).sqrt() + 1e-12).all()
    torch.testing.assert_close(products.var(0), variance, rtol=0.2, atol=1e-12)
