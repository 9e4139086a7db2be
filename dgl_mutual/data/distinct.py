"""Which rows of a feature matrix are the same."""

from __future__ import annotations

import numpy as np

from dgl_mutual.data.dataset import Features, FloatArray, IntArray

#: At most so many distinct rows, and one in so many rows: with more of them nothing is gained.
MOST, SHARE = 4096, 8


def distinct_rows(features: Features) -> tuple[FloatArray, IntArray] | None:
    """The distinct rows of a matrix (R, F), dense, and which of them each of its rows is; None where they are many."""
    rows, columns = features.shape
    if not rows or not columns:
        return None
    # Rows that are the same have the same product with random numbers; whether the others differ is looked at afterwards.
    _, first, codes = np.unique(features @ np.random.default_rng(0).random(columns), return_index=True, return_inverse=True)
    if len(first) > min(MOST, rows // SHARE):
        return None
    if isinstance(features, np.ndarray):
        table = features[first]
        return (table, codes) if np.array_equal(table[codes], features) else None
    few = features[first]
    same = few[codes]
    equal = all(np.array_equal(getattr(same, part), getattr(features, part)) for part in ("indptr", "indices", "data"))
    return (few.toarray(), codes) if equal else None
