"""Distinct rows of a matrix."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from dgl_mutual.data.values.arrays import Features
from dgl_mutual.data.values.distinct import distinct_rows

TABLE = np.array([[0, 0, 0], [1, 0, 2], [1, 0, 0], [0, -3, 0.5], [2, 0, 1]], dtype=np.float32)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_the_rows_can_be_put_together_again(form: type[Features]) -> None:
    values = TABLE[np.random.default_rng(0).integers(0, 5, 200)]
    found = distinct_rows(form(values))
    assert found is not None
    table, codes = found
    assert len(table) == len(np.unique(values, axis=0)) == 5
    np.testing.assert_array_equal(table[codes], values)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_many_distinct_rows_or_no_rows_give_none(form: type[Features]) -> None:
    random = np.random.default_rng(0)
    assert distinct_rows(form(random.random((200, 3)).astype(np.float32))) is None
    assert distinct_rows(form(TABLE[np.arange(39) % 5])) is None  # one in eight rows at most
    assert distinct_rows(form(TABLE[np.arange(40) % 5])) is not None
    assert distinct_rows(form(np.zeros((0, 3), dtype=np.float32))) is None
    assert distinct_rows(form(np.zeros((40, 0), dtype=np.float32))) is None


def test_no_dense_table_of_a_wide_sparse_matrix() -> None:
    """It would take 4 GB here, where the matrix itself takes some kilobytes."""
    rows, columns = np.arange(8000), (np.arange(8000) % 1000) * 1000
    wide = sparse.csr_matrix((np.ones(8000, dtype=np.float32), (rows, columns)), shape=(8000, 1_000_000))
    assert distinct_rows(wide) is None
    assert distinct_rows(wide[:, :1001]) is not None


def test_rows_with_the_same_product_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ones:
        def random(self, size: int) -> np.ndarray:
            return np.ones(size)

    values = np.array([[1, 0], [0, 1]] * 20, dtype=np.float32)
    assert distinct_rows(values) is not None
    monkeypatch.setattr(np.random, "default_rng", lambda _: Ones())
    assert distinct_rows(values) is None
    assert distinct_rows(sparse.csr_matrix(values)) is None
