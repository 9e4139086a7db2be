"""Groups of equal rows in a feature matrix."""

from __future__ import annotations

import numpy as np

from dgl_mutual.data.values.arrays import Features, FloatArray, IntArray

#: At most this many distinct rows, and at least this many repetitions of each on average: otherwise a product with them saves nothing.
_MAX_DISTINCT, _MIN_REPEATS = 4096, 8
#: The most entries of the dense table: the distinct rows of a wide sparse matrix could take more memory than the matrix.
_MAX_ENTRIES = 1 << 24


def distinct_rows(features: Features) -> tuple[FloatArray, IntArray] | None:
    """The distinct rows of a matrix, dense, shape (R, F), and the index of each row among them, (rows,); None if there are too many."""
    rows, columns = features.shape
    if not rows or not columns:
        return None
    # Equal rows have equal products with random numbers. Different rows may have equal products, too, so the result is compared below.
    _, first, codes = np.unique(features @ np.random.default_rng(0).random(columns), return_index=True, return_inverse=True)
    if len(first) > min(_MAX_DISTINCT, rows // _MIN_REPEATS) or len(first) * columns > _MAX_ENTRIES:
        return None
    if isinstance(features, np.ndarray):
        table = features[first]
        return (table, codes) if np.array_equal(table[codes], features) else None
    sparse_table = features[first]
    rebuilt = sparse_table[codes]
    equal = all(np.array_equal(getattr(rebuilt, part), getattr(features, part)) for part in ("indptr", "indices", "data"))
    return (sparse_table.toarray(), codes) if equal else None
