"""Positional features of nodes."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.arrays import FloatArray, as_kinds
from dgl_mutual.data.values.features import compact

#: The most steps of the random walk.
MAX_POSITIONS = 1024


def random_walk_positions(dataset: Dataset, steps: int) -> FloatArray:
    """Probabilities that a random walk is back at its start after 1, 2, ..., `steps` steps: (|V|, steps).

    Source: Dwivedi et al., ICLR 2022, arXiv 2110.07875. The same numbers as `dgl.random_walk_pe`, whose matrices are dense, |V| x |V|.
    """
    source, destination = dataset.edges
    shape = (dataset.num_nodes, dataset.num_nodes)
    adjacency = sparse.csr_matrix((np.ones(dataset.num_edges), (source, destination)), shape=shape)
    degrees = np.bincount(source, minlength=dataset.num_nodes)
    walk = sparse.csr_matrix(sparse.diags(1 / np.maximum(degrees, 1)) @ adjacency)
    # diag(P^(a + b)) = rowsum(P^a * (P^b)^T): powers up to half the number of steps suffice, which are still sparse.
    powers = [sparse.identity(dataset.num_nodes, format="csr"), walk]
    while 2 * (len(powers) - 1) < steps:
        powers.append(powers[-1] @ walk)
    columns = [powers[(step + 1) // 2].multiply(powers[step // 2].T).sum(axis=1) for step in range(1, steps + 1)]
    return np.asarray(np.concatenate(columns, axis=1), dtype=np.float32)


def with_positions(dataset: Dataset, steps: int) -> Dataset:
    """The dataset with `random_walk_positions` as additional feature columns; the dataset itself for no steps."""
    if steps == 0:
        return dataset
    positions = random_walk_positions(dataset, steps)
    names = tuple(f"return-after-{step}" for step in range(1, steps + 1))
    features = compact(sparse.hstack([sparse.csr_matrix(dataset.features), sparse.csr_matrix(positions)], format="csr"))
    kinds = (*dataset.feature_kinds, *as_kinds("number", steps))
    return dataset.replaced(features=features, feature_names=(*dataset.feature_names, *names), feature_kinds=kinds)
