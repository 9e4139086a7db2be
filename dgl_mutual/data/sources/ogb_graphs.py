"""OGB's molecule datasets (Hu et al., NeurIPS 2020), read from the raw files that OGB unpacks.

The meaning of the files (widths of the features, metric, number of tasks) comes from the `ogb` package. The files are read here, because
ogb's own dataset class writes beside them, asks questions on standard input, and raises an unhelpful traceback for a damaged file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.files.number_tables import NumberTable, read_numbers
from dgl_mutual.data.sources.ogb_package import feature_widths, master_facts, read_split
from dgl_mutual.data.values.arrays import IntArray, as_kinds, offsets_of
from dgl_mutual.data.values.edges import canonical_edge_rows
from dgl_mutual.data.values.faults import Faults, Request
from dgl_mutual.data.values.features import compact, indicator_name, one_hot, sums_of_edges
from dgl_mutual.data.values.split import as_splits
from dgl_mutual.data.values.target import Target

_ATOM_FEATURES = (
    *("atomic number", "chirality", "degree", "formal charge", "hydrogens", "radical electrons", "hybridization"),
    *("is aromatic", "is in ring"),
)
_BOND_FEATURES = ("bond type", "bond stereo", "bond is conjugated")


def read_ogb(folder: Path, name: str, faults: Faults, request: Request) -> Dataset:
    """Read an ``ogbg-mol*`` dataset with binary tasks and its scaffold split.

    The features are multi-hot (CSR): x W is exactly the output of OGB's `AtomEncoder` with its tables stacked into W, and for edge features
    that of its `BondEncoder`.
    NOTE: For students that take no edge features, bonds are additional columns of their end atoms (of the kind ``edge-sum``): the sum of
    the one-hot features of an atom's bonds, so that x W includes the sum of the outputs of OGB's `BondEncoder` for all incoming edges.

    Labels are float32, shape (graphs, tasks), NaN where unknown; a binary task is one label.

    Raises:
        DataError: a file is missing, cannot be read, or breaks a rule of the format.
    """
    num_tasks, metric = master_facts(name)
    atom_widths, bond_widths = feature_widths()
    widths = {"num-node-list": 1, "num-edge-list": 1, "edge": 2, "node-feat": len(atom_widths), "edge-feat": len(bond_widths)}
    tables = {part: read_numbers(folder / "raw" / f"{part}.csv.gz", faults, columns=width) for part, width in widths.items()}
    labels = read_numbers(folder / "raw" / "graph-label.csv.gz", faults, columns=num_tasks, allow_missing=True)
    if labels is not None:
        is_wrong = ~np.all(np.isnan(labels.values) | np.isin(labels.values, (0, 1)), axis=1)
        labels.refuse(faults, is_wrong, "expected 0, 1 or nothing (unknown)")
    split = read_split(folder / "split" / "scaffold", None if labels is None else len(labels), "graph", faults)
    arrays = {part: table.integers(faults) for part, table in tables.items() if table is not None}
    _check_counts(tables, arrays, labels, faults)
    _check_widths(tables["node-feat"], atom_widths, faults)
    _check_widths(tables["edge-feat"], bond_widths, faults)
    faults.check()
    assert labels is not None
    tables.clear()  # here and below: free data that are as large as the dataset

    node_offsets = offsets_of(arrays["num-node-list"][:, 0])
    ends = arrays.pop("edge").T + np.repeat(node_offsets[:-1], arrays["num-edge-list"][:, 0])
    num_nodes = int(node_offsets[-1])
    edges, rows = canonical_edge_rows(ends[0], ends[1], num_nodes, symmetric=True, features=arrays["edge-feat"])
    bonds = _multi_hot(arrays.pop("edge-feat")[rows], bond_widths)
    atoms = _multi_hot(arrays.pop("node-feat"), atom_widths)
    del ends, rows
    features = sparse.hstack([atoms, sums_of_edges(edges, num_nodes, bonds)])
    return Dataset(
        name=name,
        task="graph",
        edges=edges,
        features=compact(sparse.csr_matrix(features)),
        labels=labels.values.astype(np.float32),
        node_offsets=node_offsets,
        target=Target("multi-label", tuple(f"task {task}" for task in range(num_tasks)), metric),
        feature_names=(*_column_names(_ATOM_FEATURES, atom_widths), *_column_names(_BOND_FEATURES, bond_widths)),
        feature_kinds=(*as_kinds("indicator", atoms.shape[1]), *as_kinds("edge-sum", bonds.shape[1])),
        edge_features=compact(bonds, "edge features", "edge"),
        edge_feature_names=tuple(_column_names(_BOND_FEATURES, bond_widths)),
        edge_feature_kinds=as_kinds("indicator", bonds.shape[1]),
        official_splits=as_splits(split),
        evaluator=name,
    )


def _multi_hot(codes: IntArray, widths: list[int]) -> sparse.csr_matrix:
    """One-hot of each column of `codes`, side by side: shape (rows, sum of widths)."""
    return sparse.csr_matrix(sparse.hstack([one_hot(codes[:, column], width) for column, width in enumerate(widths)]))


def _column_names(features: tuple[str, ...], widths: list[int]) -> list[str]:
    return [indicator_name(feature, value) for feature, width in zip(features, widths, strict=True) for value in range(width)]


def _check_counts(tables: dict[str, NumberTable | None], arrays: dict[str, IntArray], labels: NumberTable | None, faults: Faults) -> None:
    """Check that counts fit each other, and that edges stay within their graph."""
    node_counts, edge_counts, edge = tables["num-node-list"], tables["num-edge-list"], tables["edge"]
    if node_counts is None:
        return
    num_nodes = arrays["num-node-list"][:, 0]
    node_counts.refuse(faults, num_nodes < 1, "expected at least one node")
    if labels is not None:
        labels.expect_rows(faults, len(num_nodes), "graph of num-node-list")
    if node_counts.valid.all():
        _expect_total(tables["node-feat"], num_nodes, "node that num-node-list counts", faults)
    if edge_counts is None or not edge_counts.expect_rows(faults, len(num_nodes), "graph of num-node-list"):
        return
    num_edges = arrays["num-edge-list"][:, 0]
    edge_counts.refuse(faults, num_edges < 0, "expected a number of edges")
    if not edge_counts.valid.all():
        return
    fits = [_expect_total(tables[part], num_edges, "edge that num-edge-list counts", faults) for part in ("edge-feat", "edge")]
    if edge is not None and fits[-1] and node_counts.valid.all():
        size = np.repeat(num_nodes, num_edges)[:, None]
        inside = (arrays["edge"] >= 0) & (arrays["edge"] < size)
        edge.refuse(faults, ~np.all(inside, axis=1), "expected both ends of an edge among the nodes of its graph, counted from 0")


def _expect_total(table: NumberTable | None, counts: IntArray, what: str, faults: Faults) -> bool:
    # As floats: the sum of counts near 2^63 would overflow.
    return table is not None and table.expect_rows(faults, int(counts.sum(dtype=np.float64)), what)


def _check_widths(table: NumberTable | None, widths: list[int], faults: Faults) -> None:
    if table is not None:
        outside = np.any((table.values < 0) | (table.values >= np.array(widths)), axis=1)
        table.refuse(faults, outside, f"expected codes below {', '.join(map(str, widths))}")
