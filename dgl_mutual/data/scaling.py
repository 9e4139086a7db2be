"""Scaling of feature columns to a common size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.arrays import FeatureKind, Features, IntArray
from dgl_mutual.data.values.split import Split
from dgl_mutual.errors import UsageError

ScaleArray = npt.NDArray[np.float32]


def column_scales(dataset: Dataset, split: Split) -> ScaleArray:
    """Factors of the feature columns that make standard deviations on the training part, labelled or not, about one: (F,).

    On a graph task, each column that varies on the training part has its own factor. On a node task, which has few training nodes and many
    columns that hardly vary among them, all columns share one factor, computed from those that vary.

    The factors are powers of two, so that multiplication is exact: a student trained on scaled features can be converted to unscaled ones
    without changing a bit (`StudentModule.fold_input_scaling`). One-hot and non-finite columns are not scaled. Columns are not centred:
    zeros stay zeros.

    Raises:
        UsageError: the graph is partitioned.
    """
    if dataset.store is not None:
        raise UsageError("training.scale_inputs needs all training features, but a partitioned graph has them on several machines.")
    return _scales(training_rows(dataset, split), dataset.feature_kinds, by_column=dataset.task == "graph")


def edge_column_scales(dataset: Dataset, split: Split) -> ScaleArray | None:
    """As `column_scales`, for the features of edges that end in training nodes or graphs: (D,); None if edges have no features."""
    rows = training_edge_rows(dataset, split)
    if rows is None:
        return None
    if not rows.shape[0]:
        return np.ones(rows.shape[1], dtype=np.float32)
    return _scales(rows, dataset.edge_feature_kinds, by_column=dataset.task == "graph")


def training_rows(dataset: Dataset, split: Split) -> Features:
    """Features of the nodes of the training part, labelled or not: (rows, F)."""
    return dataset.features[_training_nodes(dataset, split)]


def training_edge_rows(dataset: Dataset, split: Split) -> Features | None:
    """Features of the edges that end in nodes of the training part: (rows, D); None where edges have none."""
    if dataset.edge_features is None:
        return None
    is_training = np.zeros(dataset.num_nodes, dtype=np.bool_)
    is_training[_training_nodes(dataset, split)] = True
    return dataset.edge_features[np.flatnonzero(is_training[dataset.edges[1]])]


def _scales(rows: Features, kinds: Sequence[FeatureKind], *, by_column: bool) -> ScaleArray:
    if isinstance(rows, np.ndarray):
        with np.errstate(all="ignore"):
            means, variances = rows.mean(axis=0, dtype=np.float64), rows.var(axis=0, dtype=np.float64)
    else:
        # Imported here, since it takes a quarter as long as all other imports before a training, and most features are dense.
        from sklearn.utils.sparsefuncs import mean_variance_axis

        means, variances = mean_variance_axis(rows, axis=0)
    measured = np.array([kind not in ("indicator", "edge-sum") for kind in kinds], dtype=np.bool_)
    scalable = measured & np.isfinite(variances)
    varying = scalable & (variances > 0)
    if by_column or not varying.any():
        scalable = varying
    else:
        variances = np.full_like(variances, variances[varying].mean() + means[varying].var())
    powers = -np.round(0.5 * np.log2(variances, where=scalable, out=np.zeros(len(variances))))
    scales: ScaleArray = np.exp2(powers.clip(-100, 100)).astype(np.float32)
    return scales


def with_scaled_columns(dataset: Dataset, scales: ScaleArray) -> Dataset:
    """Multiply the feature columns by `scales` (F,); the dataset itself if all of them are one."""
    return dataset if (scales == 1).all() else dataset.replaced(features=_scaled(dataset.features, scales))


def with_scaled_edge_columns(dataset: Dataset, scales: ScaleArray | None) -> Dataset:
    """Multiply the columns of edge features by `scales` (D,); the dataset itself if all of them are one, or there are none."""
    if scales is None or (scales == 1).all() or dataset.edge_features is None:
        return dataset
    return dataset.replaced(edge_features=_scaled(dataset.edge_features, scales))


def _scaled(features: Features, scales: ScaleArray) -> Features:
    return features * scales if isinstance(features, np.ndarray) else sparse.csr_matrix(features @ sparse.diags(scales))


def _training_nodes(dataset: Dataset, split: Split) -> IntArray:
    if dataset.task == "node":
        return split.seen
    return np.concatenate([np.arange(dataset.node_offsets[graph], dataset.node_offsets[graph + 1]) for graph in split.seen])
