"""New data in the columns that a trained student knows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from dgl_mutual.data.dataset import Dataset, FeatureKind
from dgl_mutual.data.features import compact
from dgl_mutual.errors import DataError


def align_features(dataset: Dataset, columns: Sequence[str], kinds: Sequence[FeatureKind]) -> Dataset:
    """The dataset with the feature columns `columns` of these kinds, in this order, found by their names.

    An indicator column that the dataset lacks is all zeros: none of its nodes has that label or degree.

    Raises:
        DataError: the dataset has a column that is not among `columns`, or lacks one that is no indicator; both sides are shown.
    """
    found = dataset.feature_names
    if found == tuple(columns):
        return dataset
    indicators = {name for name, kind in zip(columns, kinds, strict=True) if kind == "indicator"}
    place = {name: position for position, name in enumerate(columns)}
    fits = len(place) == len(columns) and len(set(found)) == len(found) and set(found) <= set(place)
    if not fits or any(name not in set(found) and name not in indicators for name in columns):
        raise DataError(_mismatch(columns, indicators, dataset))
    ones, rows, targets = np.ones(len(found), dtype=np.float32), np.arange(len(found)), [place[name] for name in found]
    moved = sparse.csr_matrix((ones, (rows, targets)), shape=(len(found), len(columns)))
    features = compact(sparse.csr_matrix(dataset.features) @ moved)
    return dataset.replaced(features=features, feature_names=tuple(columns), feature_kinds=tuple(kinds))


def _mismatch(columns: Sequence[str], indicators: set[str], dataset: Dataset) -> str:
    found = dataset.feature_names
    missing = [name for name in columns if name not in set(found) and name not in indicators]
    surplus = [name for name in found if name not in set(columns)]
    return (
        f"The model expects {len(columns)} feature columns and {dataset.name} has {len(found)}. "
        f"Missing: {_some(missing)}; not known to the model: {_some(surplus)}. "
        f"The model's columns: {_some(columns)}. The data's columns: {_some(found)}. "
        "Encode the new data as the training data was encoded."
    )


def _some(names: Sequence[str], most: int = 8) -> str:
    return (", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")) or "none"
