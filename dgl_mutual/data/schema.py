"""New data in the columns that a trained student knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.features import compact, is_indicator
from dgl_mutual.errors import DataError


def align_features(dataset: Dataset, columns: Sequence[str]) -> Dataset:
    """The dataset with the feature columns `columns`, in this order, found by their names.

    A one-hot column that the dataset lacks is all zeros: none of its nodes has that label or degree.

    Raises:
        DataError: the dataset has a column that is not among `columns`, or lacks one that is not one-hot; both sides are shown.
    """
    found = dataset.feature_names
    if found == tuple(columns):
        return dataset
    place = {name: position for position, name in enumerate(columns)}
    fits = len(place) == len(columns) and len(set(found)) == len(found) and set(found) <= set(place)
    if not fits or any(name not in set(found) and not is_indicator(name) for name in columns):
        raise DataError(_mismatch(columns, dataset))
    ones, rows, targets = np.ones(len(found), dtype=np.float32), np.arange(len(found)), [place[name] for name in found]
    moved = sparse.csr_matrix((ones, (rows, targets)), shape=(len(found), len(columns)))
    return replace(dataset, features=compact(sparse.csr_matrix(dataset.features) @ moved), feature_names=tuple(columns))


def _mismatch(columns: Sequence[str], dataset: Dataset) -> str:
    found = dataset.feature_names
    missing = [name for name in columns if name not in set(found) and not is_indicator(name)]
    surplus = [name for name in found if name not in set(columns)]
    return (
        f"The model expects {len(columns)} feature columns and {dataset.name} has {len(found)}. "
        f"Missing: {_some(missing)}; not known to the model: {_some(surplus)}. "
        f"The model's columns: {_some(columns)}. The data's columns: {_some(found)}. "
        "Encode the new data as the training data was encoded."
    )


def _some(names: Sequence[str], most: int = 8) -> str:
    return (", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")) or "none"
