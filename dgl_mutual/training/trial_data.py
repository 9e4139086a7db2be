"""What a trial trains on and is assessed on: in some node tasks test nodes, with their edges, are taken out of what training sees."""

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
    """What a trial trains on, and what its outcome is assessed on: the same, unless test nodes are taken out.

    Attributes:
        seen, seen_split: what the cohort and the MLP are trained on.
        dataset, split: what they are assessed on; its test part is what was not seen, if anything was not.
        nodes: indices of the seen nodes in `dataset`, in order; None if all were seen.
    """

    seen: Dataset
    seen_split: Split
    dataset: Dataset
    split: Split
    nodes: IntArray | None = None


def make_trial_data(dataset: Dataset, split: Split, unseen: float, *, seed: int) -> TrialData:
    """The data of a trial: a share of the test nodes, with their edges, is taken out of what training sees.

    Args:
        unseen: the share, in [0, 1); 0 takes nothing out.
        seed: decides which nodes.

    Raises:
        UsageError: a graph task, where test graphs are never seen in training; a share that leaves no test node on either side; or node
            features that are sums over edges, of which the features are missing.
    """
    if unseen == 0.0:
        return TrialData(dataset, split, dataset, split)
    if dataset.task == "graph" or splits_whole_graphs(dataset, split):
        raise UsageError("distill.unseen takes test nodes out of the graph; here test graphs are never seen anyway. Leave it at 0.")
    count = round(unseen * len(split.test))
    if not 0 < count < len(split.test):
        raise UsageError(f"distill.unseen = {unseen} of {len(split.test)} test nodes leaves none on one side. Choose another share.")
    hidden = np.random.default_rng(seed).permutation(split.test)[:count]
    kept = np.ones(dataset.num_nodes, dtype=np.bool_)
    kept[hidden] = False
    number = np.cumsum(kept) - 1
    inside = kept[dataset.edges].all(axis=0)
    seen = replace(
        dataset,
        edges=number[dataset.edges[:, inside]],
        edge_features=None if dataset.edge_features is None else dataset.edge_features[inside],
        features=dataset.features[kept],
        labels=dataset.labels[kept],
        node_offsets=offsets_of(kept)[dataset.node_offsets],
        official_splits=(),
        sample_ids=None,
    )
    seen_split = Split(number[split.train], number[split.val], number[split.test[kept[split.test]]], number[split.unlabelled])
    seen = with_features_of_edges(seen, "distill.unseen")  # else degrees would tell of the edges that were taken out
    return TrialData(seen, seen_split, dataset, replace(split, test=np.sort(hidden)), np.flatnonzero(kept))
