"""Node features that are derived from edges and change with them."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.features import compact, degree_names, one_hot, sums_of_edges
from dgl_mutual.errors import UsageError, shortened


def with_features_of_edges(dataset: Dataset, change: str) -> Dataset:
    """Recompute the node features that are derived from edges: sums of edge features (``edge-sum``) and one-hot degrees.

    Args:
        change: what has changed the edges, for the message.

    Raises:
        UsageError: sums over edge features that the dataset does not have.
    """
    names = dataset.feature_names
    summed = [column for column, kind in enumerate(dataset.feature_kinds) if kind == "edge-sum"]
    if summed:
        known = {name: column for column, name in enumerate(dataset.edge_feature_names)}
        missing = [names[column] for column in summed if names[column] not in known]
        if dataset.edge_features is None or missing:
            raise UsageError(
                f"Node features of {dataset.name} are sums over edges (for example {shortened((missing or names)[0])!r}), which {change} "
                "changes, and no edge feature has this name. Give the edge features that were summed, under the same names"
                f"{', or leave out the pool' if dataset.num_pool else ''}."
            )
        sums = sums_of_edges(dataset.edges, dataset.num_nodes, sparse.csr_matrix(dataset.edge_features))
        others = np.setdiff1d(np.arange(len(names)), summed)
        renewed = sums[:, [known[names[column]] for column in summed]]
        columns = sparse.hstack([sparse.csr_matrix(dataset.features)[:, others], renewed], format="csc")
        return dataset.replaced(features=compact(sparse.csr_matrix(columns[:, np.argsort([*others, *summed])])))
    if names == degree_names(len(names)):
        degrees = np.minimum(np.bincount(dataset.edges[1], minlength=dataset.num_nodes), len(names) - 1)
        return dataset.replaced(features=compact(one_hot(degrees, len(names))))
    return dataset
