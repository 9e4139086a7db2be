"""Node datasets in OGB's raw form (Hu et al., NeurIPS 2020): ``ogbn-*`` as OGB unpacks them, and users' folders in that form.

As in `dgl_mutual.data.sources.ogb_graphs`, the files are read here, while their meaning and the evaluator come from the `ogb` package.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.files.number_tables import NumberTable, read_numbers
from dgl_mutual.data.files.numpy_files import read_npz
from dgl_mutual.data.sources.ogb_package import SPLIT_FILES, node_facts, read_split
from dgl_mutual.data.values.arrays import FloatArray, IntArray
from dgl_mutual.data.values.edges import canonical_edges
from dgl_mutual.data.values.faults import Faults, Request
from dgl_mutual.data.values.features import MAX_COLUMNS, Columns, compact, degree_features, fault_of_features
from dgl_mutual.data.values.label_rules import fault_of_continuous, note_on_identifiers
from dgl_mutual.data.values.split import Split, as_splits
from dgl_mutual.data.values.target import Target
from dgl_mutual.utils.user_warnings import warn

#: The required arrays of ``raw/data.npz``.
KEYS = ("edge_index", "num_nodes_list", "num_edges_list")
_SPLIT_FILES = ", ".join(SPLIT_FILES)
#: The most nodes that the index of a sparse matrix can number.
MAX_NODES = 2**31 - 1
_Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class _Raw:
    """Content of a graph's files: edges (|E|, 2), labels (|V|, columns), NaN where unknown, and features or None."""

    num_nodes: int
    edges: IntArray
    labels: npt.NDArray[np.float64]
    node_features: _Array | None
    edge_features: _Array | None


def is_ogb_nodes(folder: Path) -> bool:
    """Whether a folder is in this form: ``raw/data.npz``, or ``raw/edge.csv.gz`` with ``raw/node-label.csv.gz``."""
    raw = folder / "raw"
    return os.path.lexists(raw / "data.npz") or all(os.path.lexists(raw / f"{part}.csv.gz") for part in ("edge", "node-label"))


def read_ogb_nodes(folder: Path, name: str, faults: Faults, request: Request) -> Dataset:
    """Read one graph with labelled nodes: text (``raw/*.csv.gz``) or arrays (``raw/data.npz``, ``raw/node-label.npz``), and its split.

    A single label column holds classes; several hold a binary label each (multi-label, ROC-AUC). Without node features, each node gets the
    mean of the features of its edges, as in OGB's example for ogbn-proteins, and without any features one-hot degrees.

    NOTE: Edges are made symmetric, also those of ogbn-arxiv, which OGB lists in one direction: its examples add the other.

    Args:
        name: an ``ogbn-*`` name, for OGB's own metric; any other name for a user's folder.

    Raises:
        DataError: a file is missing, cannot be read, or breaks a rule of the format.
    """
    official, num_classes = node_facts(name)
    read = _read_arrays if os.path.lexists(folder / "raw" / "data.npz") else _read_text
    raw = read(folder / "raw", num_classes, faults, request.require_labels)
    faults.check()
    assert raw is not None
    split = _choose_split(folder / "split", official, raw.num_nodes, faults)
    faults.check()
    edges = canonical_edges(raw.edges[:, 0], raw.edges[:, 1], raw.num_nodes, symmetric=True)
    columns = _features(raw, edges)
    is_multi_label = raw.labels.shape[1] > 1
    if num_classes is None:
        num_classes = int(np.nanmax(raw.labels, initial=0)) + 1
    if official is None and not is_multi_label:
        known = raw.labels[~np.isnan(raw.labels[:, 0]), 0]
        if (fault := fault_of_continuous(len(np.unique(known)), len(known))) is not None:
            faults.add(folder / "raw", f"labels: {fault}")
            faults.check()
        elif (note := note_on_identifiers(num_classes, len(known))) is not None:
            warn(f"{folder / 'raw'}: labels: {note}.")
    names = [f"task {column}" for column in range(raw.labels.shape[1])] if is_multi_label else [str(label) for label in range(num_classes)]
    return Dataset(
        name=name,
        task="node",
        edges=edges,
        features=compact(columns.values),
        labels=raw.labels.astype(np.float32) if is_multi_label else np.nan_to_num(raw.labels[:, 0], nan=-1).astype(np.int64),
        node_offsets=np.array([0, raw.num_nodes]),
        target=Target("multi-label", tuple(names), "rocauc") if is_multi_label else Target("single-label", tuple(names), "accuracy"),
        feature_names=columns.names,
        feature_kinds=columns.kinds,
        official_splits=as_splits(split),
        evaluator=name if official is not None else None,
    )


def _read_text(raw: Path, num_classes: int | None, faults: Faults, require_labels: bool) -> _Raw | None:
    def read(part: str, **rules: Any) -> NumberTable | None:
        return read_numbers(raw / f"{part}.csv.gz", faults, **rules)

    def optional(part: str) -> NumberTable | None:
        return read(part) if os.path.lexists(raw / f"{part}.csv.gz") else None

    counts, num_edges, edge = read("num-node-list", columns=1), read("num-edge-list", columns=1), read("edge", columns=2)
    labels = read("node-label", allow_missing=True) if require_labels or os.path.lexists(raw / "node-label.csv.gz") else None
    node_features, edge_features = optional("node-feat"), optional("edge-feat")
    if counts is None or num_edges is None or edge is None or (labels is None and require_labels):
        return None
    if not counts.expect_rows(faults, 1, "graph; a node dataset is one graph") or not num_edges.expect_rows(faults, 1, "graph"):
        return None
    counts.refuse(faults, ~((counts.values[:, 0] >= 1) & (counts.values[:, 0] <= MAX_NODES)), f"expected 1 ... {MAX_NODES} nodes")
    num_edges.refuse(faults, ~((num_edges.values[:, 0] >= 0) & (num_edges.values[:, 0] <= MAX_NODES**2)), "expected a number of edges")
    if faults.found:
        return None
    num_nodes = int(counts.integers(faults)[0, 0])
    ends = edge.integers(faults)
    edge.expect_rows(faults, int(num_edges.integers(faults)[0, 0]), "edge that num-edge-list counts")
    edge.refuse(faults, np.any((ends < 0) | (ends >= num_nodes), axis=1), f"expected two node indices 0 ... {num_nodes - 1}")
    by_node = [table for table in (labels, node_features) if table is not None]
    if not all([table.expect_rows(faults, num_nodes, "node that num-node-list counts") for table in by_node]):
        return None
    if not by_node and num_nodes > (most := _most_nodes(len(ends))):
        faults.add(counts.path, f"expected at most {most} nodes for {len(ends)} edges where nothing else is known, found {num_nodes}", 1)
        return None
    if edge_features is not None:
        edge_features.expect_rows(faults, len(ends), "edge")
    if labels is not None:
        labels.refuse(faults, _wrong_labels(labels.values, num_nodes, num_classes), _label_rule(num_nodes, num_classes))
    return _Raw(
        num_nodes,
        ends,
        np.full((num_nodes, 1), np.nan) if labels is None else labels.values,
        *(None if table is None else table.features(faults) for table in (node_features, edge_features)),
    )


def _most_nodes(num_edges: int) -> int:
    """The most nodes of a graph without labels and features; with more of them, most would be isolated."""
    return 1_000_000 + 100 * num_edges


def _most_classes(num_nodes: int, num_classes: int | None) -> int:
    """The most classes: OGB's number, or the number of nodes. A small graph may be a sample from a dataset with many classes."""
    return num_classes if num_classes is not None else min(max(num_nodes, 10_000), MAX_COLUMNS)


def _label_rule(num_nodes: int, num_classes: int | None) -> str:
    last = _most_classes(num_nodes, num_classes) - 1
    return (
        f"expected a class index 0 ... {last} (one column), 0 or 1 (several columns), or nothing (unknown); numbers with fractions are a "
        "continuous target (regression), and only classification is supported"
    )


def _wrong_labels(labels: npt.NDArray[np.float64], num_nodes: int, num_classes: int | None) -> npt.NDArray[np.bool_]:
    if labels.shape[1] > 1:
        fits = np.isin(labels, (0, 1))
    else:
        fits = (labels >= 0) & (labels < _most_classes(num_nodes, num_classes)) & (labels == np.round(labels))
    wrong: npt.NDArray[np.bool_] = ~np.all(np.isnan(labels) | fits, axis=1)
    return wrong


def _read_arrays(raw: Path, num_classes: int | None, faults: Faults, require_labels: bool) -> _Raw | None:
    path, label_path = raw / "data.npz", raw / "node-label.npz"
    if os.path.lexists(raw / "graph-label.npz") and not os.path.lexists(label_path):
        known = "graph datasets in OGB's form are read by their names only (dgl-mutual data list)"
        faults.add(
            raw / "graph-label.npz", f"the dataset is for the graph task, and {known}. Save your own in TU's or DGL's CSVDataset form"
        )
        return None
    data = read_npz(path, KEYS, faults, optional=("node_feat", "edge_feat"))
    label_arrays = read_npz(label_path, ("node_label",), faults) if require_labels or os.path.lexists(label_path) else {}
    if faults.found:
        return None
    for key in ("num_nodes_list", "num_edges_list"):
        if data[key].shape != (1,) or data[key].dtype.kind not in "iu":
            faults.add(path, f"{key}: expected one integer (a node dataset is one graph), found {data[key].dtype} {data[key].shape}")
    if faults.found:
        return None
    num_nodes, num_edges, ends = int(data["num_nodes_list"][0]), int(data["num_edges_list"][0]), data["edge_index"]
    labels = label_arrays.get("node_label")
    _check_counts_and_edges(path, num_nodes, num_edges, ends, faults)
    for key, rows, what in (("node_feat", num_nodes, "node"), ("edge_feat", num_edges, "edge")):
        if key in data and (fault := fault_of_features(data[key], rows, what)):
            faults.add(path, f"{key}: {fault}")
    if labels is not None:
        _check_labels(label_path, labels, num_nodes, num_classes, faults)
    elif "node_feat" not in data and num_nodes > (most := _most_nodes(num_edges)):
        faults.add(path, f"num_nodes_list: expected at most {most} nodes for {num_edges} edges, found {num_nodes}")
    if faults.found:
        return None
    values = np.full((num_nodes, 1), np.nan) if labels is None else labels.astype(np.float64)
    return _Raw(num_nodes, ends.T.astype(np.int64, copy=False), values, data.get("node_feat"), data.get("edge_feat"))


def _check_counts_and_edges(path: Path, num_nodes: int, num_edges: int, ends: _Array, faults: Faults) -> None:
    if not 1 <= num_nodes <= MAX_NODES:
        faults.add(path, f"num_nodes_list: expected 1 ... {MAX_NODES} nodes, found {num_nodes}")
    if num_edges < 0:
        faults.add(path, f"num_edges_list: expected a number of edges, found {num_edges}")
    elif ends.dtype.kind not in "iu" or ends.shape != (2, num_edges):
        faults.add(path, f"edge_index: expected integers of shape (2, {num_edges}), found {ends.dtype} {ends.shape}")
    elif ends.size and not (ends.min() >= 0 and ends.max() < num_nodes):
        faults.add(path, f"edge_index: expected node indices 0 ... {num_nodes - 1}, found {ends.min()} ... {ends.max()}")


def _check_labels(path: Path, labels: _Array, num_nodes: int, num_classes: int | None, faults: Faults) -> None:
    if labels.ndim != 2 or len(labels) != num_nodes or not 1 <= labels.shape[1] <= MAX_COLUMNS:
        faults.add(path, f"node_label: expected shape ({num_nodes}, columns), found {labels.shape}")
    elif (wrong := _wrong_labels(labels.astype(np.float64), num_nodes, num_classes)).any():
        rule = _label_rule(num_nodes, num_classes)
        faults.add(path, f"node_label: {rule}, found {labels[wrong][0]} for node {np.flatnonzero(wrong)[0]}")


def _features(raw: _Raw, edges: IntArray) -> Columns:
    if raw.node_features is not None:
        return Columns.numbers(raw.node_features, (f"feature {column}" for column in range(raw.node_features.shape[1])))
    if raw.edge_features is None:
        return degree_features(edges, raw.num_nodes)
    return Columns.numbers(_mean_of_edges(raw), (f"mean edge feature {column}" for column in range(raw.edge_features.shape[1])))


def _mean_of_edges(raw: _Raw) -> FloatArray:
    """Mean features of the edges at each node, zero where there are none: (|V|, columns)."""
    assert raw.edge_features is not None
    ends = raw.edges.reshape(-1)  # both ends of the first edge, of the second, ...
    count = np.maximum(np.bincount(ends, minlength=raw.num_nodes), 1)
    columns = (np.bincount(ends, np.repeat(column, 2), minlength=raw.num_nodes) / count for column in raw.edge_features.T)
    return np.stack(list(columns), axis=1).astype(np.float32)


def _choose_split(folder: Path, wanted: str | None, num_nodes: int, faults: Faults) -> Split | None:
    """The split that OGB evaluates on; in a user's folder the only split, if there is one."""
    wanted = wanted or _only_split(folder, faults)
    if wanted is None:
        return None
    saved = folder / wanted / "split_dict.pt"
    if os.path.lexists(saved) and not any(os.path.lexists(folder / wanted / file) for file in SPLIT_FILES):
        # OGB's DatasetSaver writes this file. Unpickling can execute arbitrary code.
        advice = f"save the split as {_SPLIT_FILES}, one node index per line"
        faults.add(saved, f"a pickle is not read, since it could execute anything: {advice}")
        return None
    return read_split(folder / wanted, num_nodes, "node", faults)


def _only_split(folder: Path, faults: Faults) -> str | None:
    """The name of the only split in a folder; None if there is none, or, with a fault, several."""
    if not os.path.lexists(folder):
        return None
    try:
        content = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        faults.add(folder, f"expected a folder that holds the folder of a split ({error.strerror or error})")
        return None
    splits = [path.name for path in content if path.is_dir() or path.is_symlink()]
    if content and not splits:
        faults.add(folder, f"expected a folder with the files {_SPLIT_FILES}, found the file {content[0].name}")
    if len(splits) > 1:
        faults.add(folder, f"expected one split, found {', '.join(splits)}")
    return splits[0] if len(splits) == 1 else None
