"""The data of a trial. In some node tasks, test nodes and their edges are removed from the graph that training sees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.features_of_edges import with_features_of_edges
from dgl_mutual.data.protocols import splits_whole_graphs
from dgl_mutual.data.values.arrays import IntArray, offsets_of
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError


@dataclass(frozen=True, eq=False)
class TrialData:
    """The data of training and of assessment in a trial: the same, unless test nodes are removed from training.

    Attributes:
        seen, seen_split: data on which the cohort and the MLP are trained.
        dataset, split: data on which they are assessed; the test part consists of the removed nodes, if there are any.
        nodes: indices of the seen nodes in `dataset`, in order; None if all were seen.
    """

    seen: Dataset
    seen_split: Split
    dataset: Dataset
    split: Split
    nodes: IntArray | None = None


def make_trial_data(dataset: Dataset, split: Split, unseen: float, *, seed: int) -> TrialData:
    """Create the data of a trial. A share of the test nodes is removed from training, with their edges.

    Args:
        unseen: the share, in [0, 1); 0 removes nothing.
        seed: seed of the choice of nodes.

    Raises:
        UsageError: a graph task, where test graphs are never seen in training; a share that leaves no test node on either side; or node
            features that are sums over edges whose features are missing.
    """
    if unseen == 0.0:
        return TrialData(dataset, split, dataset, split)
    if dataset.task == "graph" or splits_whole_graphs(dataset, split):
        raise UsageError("distill.unseen removes test nodes from the graph; here test graphs are never seen anyway. Leave it at 0.")
    count = round(unseen * len(split.test))
    if not 0 < count < len(split.test):
        raise UsageError(
            f"distill.unseen = {unseen} of {len(split.test)} test nodes leaves none in training or none outside. Choose another share."
        )
    hidden = np.random.default_rng(seed).permutation(split.test)[:count]
    is_seen = np.ones(dataset.num_nodes, dtype=np.bool_)
    is_seen[hidden] = False
    number = np.cumsum(is_seen) - 1
    inside = is_seen[dataset.edges].all(axis=0)
    seen = replace(
        dataset,
        edges=number[dataset.edges[:, inside]],
        edge_features=None if dataset.edge_features is None else dataset.edge_features[inside],
        features=dataset.features[is_seen],
        labels=dataset.labels[is_seen],
        node_offsets=offsets_of(is_seen)[dataset.node_offsets],
        official_splits=(),
        sample_ids=None,
    )
    seen_split = Split(number[split.train], number[split.val], number[split.test[is_seen[split.test]]], number[split.unlabelled])
    seen = with_features_of_edges(seen, "distill.unseen")  # otherwise degrees would reveal the removed edges
    return TrialData(seen, seen_split, dataset, replace(split, test=np.sort(hidden)), np.flatnonzero(is_seen))
