"""Summary statistics of a dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_mutual.data.conversion import as_dataset
from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.fingerprint import fingerprint
from dgl_mutual.data.several_targets import one_by_one
from dgl_mutual.data.values.arrays import Features


def describe_dataset(dataset: Dataset | Any) -> dict[str, object]:
    """Summary statistics as plain numbers and names (ready for JSON). Edges are counted as stored: an undirected edge twice.

    ``edge_homophily`` (single-label node task only): the share of edges between nodes of the same class, among edges between labelled
    nodes; None without such edges.

    Raises:
        UsageError, DataError: see `as_dataset`.
    """
    dataset = as_dataset(dataset)
    degrees = np.diff(dataset.in_offsets)
    features = dataset.features
    nonzero = np.count_nonzero(features) if isinstance(features, np.ndarray) else features.nnz
    facts: dict[str, object] = {
        "name": dataset.name,
        "task": dataset.task,
        "target": dataset.target.kind,
        "metric": dataset.target.metric,
        "graphs": dataset.num_graphs,
        "nodes": dataset.num_nodes,
        "edges": dataset.num_edges,
        "mean_nodes_per_graph": dataset.num_nodes / dataset.num_graphs,
        "mean_edges_per_graph": dataset.num_edges / dataset.num_graphs,
        "features": dataset.num_features,
        "feature_density": float(nonzero) / (dataset.num_nodes * dataset.num_features),
        "feature_storage": "dense" if isinstance(features, np.ndarray) else "sparse",
        **_range("feature", features),
        **({"edge_features": dataset.num_edge_features} if dataset.num_edge_features else {}),
        **({} if dataset.edge_features is None else _range("edge_feature", dataset.edge_features)),
        "outputs": dataset.target.num_outputs,
        "label_counts": _label_counts(dataset),
        "unlabelled": int((~dataset.is_labelled).sum()),
        "degree_min": int(degrees.min()),
        "degree_mean": float(degrees.mean()),
        "degree_max": int(degrees.max()),
        "isolated_nodes": _num_isolated(dataset),
    }
    if dataset.task == "node" and dataset.target.kind == "single-label":
        facts["edge_homophily"] = edge_homophily(dataset)
    parts = [{"train": len(split.train), "val": len(split.val), "test": len(split.test)} for split in dataset.official_splits]
    if len(parts) > 1:
        facts["official_splits"] = parts
    else:
        facts["official_split"] = parts[0] if parts else None
    facts["fingerprint"] = fingerprint(dataset)
    return facts


def _range(prefix: str, features: Features) -> dict[str, float]:
    """The smallest and the largest feature, if there are any: extreme values make logits overflow."""
    if not features.shape[0] * features.shape[1]:
        return {}
    return {f"{prefix}_min": float(features.min()), f"{prefix}_max": float(features.max())}


def edge_homophily(dataset: Dataset) -> float | None:
    """Share of edges between labelled nodes whose two nodes have the same class (Zhu et al., NeurIPS 2020)."""
    source, destination = dataset.labels[dataset.edges]
    known = (source >= 0) & (destination >= 0)
    return float((source == destination)[known].mean()) if known.any() else None


def _label_counts(dataset: Dataset) -> dict[str, int]:
    """Number of samples of each class, or, for a multi-label target, of positive samples of each label."""
    counts = np.concatenate([_counts(part) for part in one_by_one(dataset)])
    return {name: int(count) for name, count in zip(dataset.target.names, counts, strict=True)}


def _counts(dataset: Dataset) -> npt.NDArray[Any]:
    if dataset.target.kind == "single-label":
        return np.bincount(dataset.labels[dataset.labels >= 0].astype(np.int64), minlength=dataset.target.num_outputs)
    return np.asarray(np.nansum(dataset.labels, axis=0))


def _num_isolated(dataset: Dataset) -> int:
    touched = np.zeros(dataset.num_nodes, dtype=np.bool_)
    touched[dataset.edges.ravel()] = True
    return int((~touched).sum())
