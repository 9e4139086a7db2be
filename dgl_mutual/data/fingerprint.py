"""The hash of a dataset, stored with every result so that results from different data are never compared."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.values.arrays import Features
from dgl_mutual.data.values.split import Split

_LENGTH = 12
_ROWS = 1 << 17


def fingerprint(dataset: Dataset, split: Split | None = None, *, edge_features: bool = True) -> str:
    """First 12 hexadecimal digits of a sha256 over graphs, features, labels and, if given, the split.

    Without a split, it is the `fingerprint` of tables and configurations. With a split and without edge features, it is the `split` of
    trials.csv: whether students use edge features does not change the split.

    It is equal on all platforms, for sparse and dense storage of the same features, and for any order within a part of the split.
    """
    digest = hashlib.sha256(dataset.task.encode())
    _add(digest, dataset.node_offsets, "<i8")
    if dataset.store is not None:
        digest.update(dataset.store.fingerprint.encode())
    else:
        _add(digest, dataset.edges, "<i8")
        _add_features(digest, dataset.features)
        if edge_features and dataset.edge_features is not None:
            digest.update(b"edge features")
            _add_features(digest, dataset.edge_features)
    if dataset.target.kind == "single-label":
        _add(digest, dataset.labels, "<i8")
    else:  # one way to write "unknown": NaN has many bit patterns
        _add(digest, np.where(np.isnan(dataset.labels), -1, dataset.labels), "<f4")
    for part in split.parts.values() if split is not None else ():
        _add(digest, np.sort(part), "<i8")
    return digest.hexdigest()[:_LENGTH]


def _add_features(digest: hashlib._Hash, features: Features) -> None:
    """Add features as CSR, block by block: the whole CSR matrix of dense features would be three times their size."""
    starts = range(0, features.shape[0], _ROWS)
    counts = [np.diff(_csr(features, start).indptr) for start in starts]
    indptr = np.concatenate([[0], *counts]).cumsum()
    _add(digest, np.asarray(features.shape), "<i8")
    _add(digest, indptr, "<i8")
    for part, dtype in (("indices", "<i8"), ("data", "<f4")):
        _add_shape(digest, (int(indptr[-1]),))
        for start in starts:
            _add_content(digest, getattr(_csr(features, start), part), dtype)


def _csr(features: Features, start: int) -> sparse.csr_matrix:
    rows = sparse.csr_matrix(features[start : start + _ROWS], dtype=np.float32, copy=True)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    return rows


def _add(digest: hashlib._Hash, array: npt.NDArray[np.generic], dtype: str) -> None:
    _add_shape(digest, array.shape)
    _add_content(digest, array, dtype)


def _add_shape(digest: hashlib._Hash, shape: tuple[int, ...]) -> None:
    digest.update(np.array([len(shape), *shape], dtype="<i8").tobytes())


def _add_content(digest: hashlib._Hash, array: npt.NDArray[np.generic], dtype: str) -> None:
    digest.update(np.ascontiguousarray(array, dtype=dtype).reshape(-1).view(np.uint8).data)
