"""The gnn-benchmark key layout (Shchur et al., 2018): a graph, its features and labels as plain arrays of one ``.npz`` file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.files.numpy_files import read_npz
from dgl_mutual.data.sources.catalog import known_datasets
from dgl_mutual.data.values.arrays import as_kinds, fault_of_csr, storable
from dgl_mutual.data.values.edges import canonical_edges
from dgl_mutual.data.values.faults import Faults, Request
from dgl_mutual.data.values.features import compact, fault_of_features, normalise_rows
from dgl_mutual.data.values.target import Target

_MATRIX = ("data", "indices", "indptr", "shape")
KEYS = (*(f"adj_{part}" for part in _MATRIX), *(f"attr_{part}" for part in _MATRIX), "labels")


def read_gnn_benchmark(folder: Path, name: str, faults: Faults, request: Request) -> Dataset:
    """Read the file of a known dataset: row-normalised features, symmetric edges, no official split. Pickled arrays are refused.

    Raises:
        DataError: the file is missing, damaged, lacks a key, or breaks a rule of the format.
    """
    path = folder / known_datasets()[name].files[0]
    arrays = read_npz(path, KEYS, faults)
    faults.check()
    adjacency, features = (_matrix(path, arrays, prefix, faults) for prefix in ("adj", "attr"))
    faults.check()
    labels = arrays["labels"]
    num_nodes = adjacency.shape[0]
    if adjacency.shape[1] != num_nodes:
        faults.add(path, f"adj_shape: expected a square matrix, found {adjacency.shape}")
    if fault := fault_of_features(features, num_nodes):
        faults.add(path, f"attr: {fault}")
    if labels.shape != (num_nodes,):
        faults.add(path, f"labels: expected {num_nodes} labels, one for each node, found shape {labels.shape}")
    elif labels.dtype.kind not in "iu" or labels.min(initial=0) < 0 or labels.max(initial=0) > num_nodes:
        faults.add(path, f"labels: expected class indices 0, 1, ..., not more than there are nodes ({num_nodes})")
    if not num_nodes:
        faults.add(path, "adj_shape: expected at least one node, found none")
    faults.check()

    edges = adjacency.tocoo()
    return Dataset(
        name=name,
        task="node",
        edges=canonical_edges(edges.row.astype(np.int64), edges.col.astype(np.int64), num_nodes, symmetric=True),
        features=compact(normalise_rows(features)),
        labels=labels.astype(np.int64),
        node_offsets=np.array([0, num_nodes]),
        target=Target("single-label", tuple(str(label) for label in range(int(labels.max()) + 1)), "accuracy"),
        feature_names=tuple(f"word {column}" for column in range(features.shape[1])),
        feature_kinds=as_kinds("count", features.shape[1]),
    )


def _matrix(path: Path, arrays: dict[str, npt.NDArray[Any]], prefix: str, faults: Faults) -> sparse.csr_matrix:
    data, indices, indptr, shape = (arrays[f"{prefix}_{part}"] for part in _MATRIX)
    fault: str | None = "its shape is not two integers"
    if shape.shape == (2,) and shape.dtype.kind in "iu" and (shape >= 0).all():
        rows, columns = (int(size) for size in shape)
        fault = fault_of_csr(data, indices, indptr, (rows, columns))
        if fault is None:
            return sparse.csr_matrix((storable(data), indices, indptr), shape=(rows, columns))
    faults.add(path, f"{prefix}_data, _indices, _indptr, _shape: expected a CSR matrix ({fault})")
    return sparse.csr_matrix((0, 0))
