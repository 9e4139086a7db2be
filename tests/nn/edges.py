"""Datasets whose edges have features."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from dgl_mutual.data.dataset import Dataset


def with_edges(dataset: Dataset, width: int = 3, *, sparse_: bool = False, **changed: Any) -> Dataset:
    """The dataset with random edge features, different in the two directions of an edge."""
    random = np.random.default_rng(7)
    values = (random.normal(size=(dataset.num_edges, width)) * (random.random((dataset.num_edges, width)) < 0.7)).astype(np.float32)
    names = tuple(f"e{column}" for column in range(width))
    return dataset.replaced(edge_features=sparse.csr_matrix(values) if sparse_ else values, edge_feature_names=names, **changed)
