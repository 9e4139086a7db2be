"""Feature columns of one size: what students learn from, where columns are measured in units of their own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils.sparsefuncs import mean_variance_axis

from dgl_mutual.data.dataset import Dataset, IntArray, Split
from dgl_mutual.errors import UsageError

ScaleArray = npt.NDArray[np.float32]


def column_scales(dataset: Dataset, split: Split) -> ScaleArray:
    """What to multiply each feature column by so that standard deviations on the training part, labelled or not, are about one: (F,).

    On a graph task each column has a factor of its own. On a node task, where few nodes are for training and many a column hardly varies
    among them, there is one factor for all.

    Powers of two, since a product with one is exact: a student trained on scaled features can be changed to take unscaled ones, exactly to
    the bit (`StudentModule.fold_input_scaling`). Columns that are one-hot, do not vary, or are not finite stay as they are. None is
    centred: zeros stay zeros.

    Raises:
        UsageError: the features are in parts on several machines.
    """
    if dataset.store is not None:
        raise UsageError("training.scale_inputs looks at all training features, and a graph in parts has them on several machines.")
    rows = dataset.features[_training_nodes(dataset, split)]
    if isinstance(rows, np.ndarray):
        with np.errstate(all="ignore"):
            means, variances = rows.mean(axis=0, dtype=np.float64), rows.var(axis=0, dtype=np.float64)
    else:
        means, variances = mean_variance_axis(rows, axis=0)
    measured = np.array([kind not in ("indicator", "edge-sum") for kind in dataset.feature_kinds], dtype=np.bool_)
    scalable = measured & np.isfinite(variances) & (variances > 0)
    if dataset.task == "node" and scalable.any():
        variances = np.full_like(variances, variances[scalable].mean() + means[scalable].var())
    powers = -np.round(0.5 * np.log2(variances, where=scalable, out=np.zeros(len(variances))))
    scales: ScaleArray = np.exp2(powers.clip(-100, 100)).astype(np.float32)
    return scales


def with_scaled_columns(dataset: Dataset, scales: ScaleArray) -> Dataset:
    """The dataset with its feature columns times `scales` (F,); itself where all of them are one."""
    if (scales == 1).all():
        return dataset
    if isinstance(dataset.features, np.ndarray):
        return dataset.replaced(features=dataset.features * scales)
    return dataset.replaced(features=sparse.csr_matrix(dataset.features @ sparse.diags(scales)))


def _training_nodes(dataset: Dataset, split: Split) -> IntArray:
    if dataset.task == "node":
        return split.seen
    return np.concatenate([np.arange(dataset.node_offsets[graph], dataset.node_offsets[graph + 1]) for graph in split.seen])
