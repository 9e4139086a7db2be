"""A dataset: two rings of nodes, one a class each."""

import numpy as np

from dgl_mutual import Dataset, Split


def two_rings() -> Dataset:
    nodes = np.arange(40)
    edges = np.stack([nodes, nodes // 20 * 20 + (nodes + 1) % 20])
    features = np.random.default_rng(0).normal(size=(40, 4)) + (nodes // 20)[:, None]
    order = np.random.default_rng(1).permutation(40)
    return Dataset.from_arrays(edges, features, nodes // 20, split=Split(order[:16], order[16:26], order[26:]), symmetric=True)
