"""Rows of a table of features, as students take them."""

from __future__ import annotations

import numpy as np
import torch

from dgl_mutual.data.arrays import Features, IntArray
from dgl_mutual.data.distinct import distinct_rows
from dgl_mutual.nn.csr import NodeFeatures, RepeatedRows, SparseMatrix, take_rows


class FeatureRows:
    """The features of a dataset's nodes or edges, of which a batch takes some rows: sparse where the table is, else dense.

    Args:
        features: (rows, F).
        repeats: rows as `RepeatedRows`, if there are few distinct ones.
    """

    def __init__(self, features: Features, device: torch.device, dtype: torch.dtype, *, repeats: bool) -> None:
        self.device = device
        self.dtype = dtype
        self._features = features
        self._distinct = distinct_rows(features) if repeats else None
        is_dense = isinstance(features, np.ndarray) and self._distinct is None
        self._dense = torch.as_tensor(features, dtype=dtype, device=device) if is_dense else None

    def __getitem__(self, rows: IntArray | slice) -> NodeFeatures:
        """These rows."""
        if self._distinct is not None:
            table, codes = self._distinct
            return RepeatedRows.of_table(table, codes[rows], self.device, self.dtype)
        if self._dense is not None:
            return take_rows(self._dense, rows if isinstance(rows, slice) else torch.as_tensor(rows, device=self.device))
        return SparseMatrix.from_scipy(self._features[rows], self.device, self.dtype)
