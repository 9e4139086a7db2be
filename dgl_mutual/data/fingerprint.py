"""A short name for exactly these data: written beside every result, so that numbers from different data are never compared."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
from scipy import sparse

from dgl_mutual.data.dataset import Dataset, Split

_LENGTH = 12


def fingerprint(dataset: Dataset, split: Split | None = None) -> str:
    """First 12 hexadecimal digits of a sha256 over graphs, features, labels and, if given, the split.

    The same on every platform, for sparse and dense storage of the same features, and for any order within a part of the split.
    """
    features = sparse.csr_matrix(dataset.features, dtype=np.float32, copy=True)
    features.sum_duplicates()
    features.eliminate_zeros()
    digest = hashlib.sha256(dataset.task.encode())
    for whole in (dataset.node_offsets, dataset.edges, features.shape, features.indptr, features.indices):
        _add(digest, np.asarray(whole), "<i8")
    _add(digest, features.data, "<f4")
    if dataset.target.kind == "single-label":
        _add(digest, dataset.labels, "<i8")
    else:  # one way to write "unknown": NaN has many bit patterns
        _add(digest, np.where(np.isnan(dataset.labels), -1, dataset.labels), "<f4")
    for part in (split.train, split.val, split.test) if split is not None else ():
        _add(digest, np.sort(part), "<i8")
    return digest.hexdigest()[:_LENGTH]


def _add(digest: hashlib._Hash, array: npt.NDArray[np.generic], dtype: str) -> None:
    digest.update(np.array([array.ndim, *array.shape], dtype="<i8").tobytes())
    digest.update(np.ascontiguousarray(array, dtype=dtype).tobytes())
