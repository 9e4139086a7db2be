"""TUDataset's raw text form (Morris et al., 2020): ``<NAME>_A.txt``, ``<NAME>_graph_indicator.txt``, ``<NAME>_graph_labels.txt`` ..."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.files.number_tables import NumberTable, read_numbers
from dgl_mutual.data.sources.catalog import TU_OPTIONAL_PARTS, TU_PARTS
from dgl_mutual.data.values.arrays import IntArray
from dgl_mutual.data.values.edges import edges_with_features
from dgl_mutual.data.values.faults import Faults, Request
from dgl_mutual.data.values.features import MAX_COLUMNS, Columns, compact, degree_features, indicator_name, one_hot, side_by_side
from dgl_mutual.data.values.label_rules import CONTINUOUS, fault_of_continuous, note_on_identifiers
from dgl_mutual.data.values.target import Target
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted


def read_tu(folder: Path, name: str, faults: Faults, request: Request) -> Dataset:
    """Read ``folder/<name>_*.txt``: graphs in file order, symmetric edges, neither duplicates nor self-loops.

    Node features are one-hot node labels followed by node attributes; one-hot degrees if a dataset has neither.
    NOTE: Attributes are not standardised, since that would use statistics of test graphs.
    Edge features are one-hot edge labels followed by edge attributes, if there are any; of duplicate edges the first counts. Continuous
    targets of graphs (graph attributes) are ignored. Classes are numbered in the sorted order of the file's labels, which are
    `target.names`. Graphs need not have edges. Graphs without nodes are left out with their labels, with a warning; `sample_ids` then has
    the graph numbers of the files.

    Args:
        request: if labels are not required and the file of graph labels is missing, every graph has the label -1.

    Raises:
        DataError: a file is missing, cannot be read, or breaks a rule of the format.
    """
    path = {part: folder / f"{name}_{part}.txt" for part in (*TU_PARTS, *TU_OPTIONAL_PARTS)}
    adjacency = read_numbers(path["A"], faults, columns=2, allow_empty=True)
    indicator = read_numbers(path["graph_indicator"], faults, columns=1)
    labels = _read_labels(path["graph_labels"], path["graph_attributes"], faults, request.require_labels)
    node_labels, attributes, edge_labels, edge_attributes = (
        read_numbers(path[part], faults, allow_empty=part.startswith("edge")) if os.path.lexists(path[part]) else None
        for part in ("node_labels", "node_attributes", "edge_labels", "edge_attributes")
    )

    graph_of = _graph_of_nodes(indicator, labels, faults)
    edges = _edges(adjacency, graph_of, faults)
    for table in (node_labels, attributes):
        if table is not None and graph_of is not None:
            table.expect_rows(faults, len(graph_of), "node")
    for table in (edge_labels, edge_attributes):
        if table is not None and adjacency is not None:
            table.expect_rows(faults, len(adjacency), f"edge of {path['A'].name}")
    codes, edge_codes = (table.integers(faults) if table is not None else None for table in (node_labels, edge_labels))
    values, edge_values = (table.features(faults) if table is not None else None for table in (attributes, edge_attributes))
    classes = labels.integers(faults, CONTINUOUS)[:, 0] if labels is not None else None
    if labels is not None and classes is not None and labels.valid.all():
        counts = len(np.unique(classes)), len(classes)
        if (fault := fault_of_continuous(*counts)) is not None:
            faults.add(labels.path, fault)
        elif (note := note_on_identifiers(*counts)) is not None:
            warn(f"{labels.path}: {note}.")
    faults.check()
    assert graph_of is not None and edges is not None

    starts = np.flatnonzero(np.diff(graph_of, prepend=0))
    graphs = graph_of[starts]
    num_empty = (len(classes) if classes is not None else int(graphs[-1])) - len(graphs)
    if num_empty:
        warn(
            f"{path['graph_indicator']}: {num_empty} of {counted(num_empty + len(graphs), 'graph')} have no nodes, and are left out with "
            f"their labels. The others are renumbered, 0 ... {len(graphs) - 1}, in splits and in predictions; the dataset's sample_ids, "
            "and the column id of predictions, have their numbers in the file."
        )
    known = classes[graphs - 1] if classes is not None else None
    names, numbered = np.unique(known, return_inverse=True) if known is not None else (np.zeros(0), np.full(len(graphs), -1))
    features = _columns(codes, values)
    edge_features = _columns(edge_codes, edge_values, "edge ") if edges.size else None
    for part, columns in (("node_labels", features), ("edge_labels", edge_features)):
        if columns is not None and len(columns.names) > MAX_COLUMNS:
            faults.add(path[part], f"expected at most {MAX_COLUMNS} different labels and attributes, found {len(columns.names)}")
    faults.check()
    of_edges = edges_with_features(edges[0], edges[1], len(graph_of), edge_features, symmetric=True)
    features = features or degree_features(of_edges["edges"], len(graph_of))
    return Dataset(
        name=name,
        task="graph",
        features=compact(features.values),
        labels=numbered.astype(np.int64),
        node_offsets=np.append(starts, len(graph_of)).astype(np.int64),
        target=Target("single-label", tuple(str(label) for label in names), "accuracy"),
        feature_names=features.names,
        feature_kinds=features.kinds,
        **of_edges,
        sample_ids=tuple(map(str, graphs.tolist())) if num_empty else None,
        codes_of=name if codes is not None or edge_codes is not None else None,
    )


def _read_labels(path: Path, attributes: Path, faults: Faults, required: bool) -> NumberTable | None:
    if os.path.lexists(path) or (required and not os.path.lexists(attributes)):
        return read_numbers(path, faults, columns=1)
    if required:
        faults.add(
            path,
            f"the file is missing, and {attributes.name} is a continuous target: this is a regression set, and only classification is "
            "supported",
            fix=f"Choose another dataset, or write {path.name} with the class of each graph.",
        )
    return None


def _graph_of_nodes(indicator: NumberTable | None, labels: NumberTable | None, faults: Faults) -> IntArray | None:
    """The graph of each node, from 1 on; None if the indicator cannot be read."""
    if indicator is None:
        return None
    graph_of = indicator.integers(faults)[:, 0]
    steps = np.diff(graph_of, prepend=0)
    indicator.refuse(faults, graph_of < 1, "expected a graph index from 1 on")
    indicator.refuse(faults, steps < 0, "expected the nodes in the order of their graphs")
    if labels is not None:
        num_graphs, num_numbers = len(labels), len(np.unique(graph_of[indicator.valid]))
        if int(graph_of.max()) > num_graphs == num_numbers:
            rule = f"expected the graph indices 1 ... {num_graphs}, one for each line of {labels.path.name}, but a graph index is missing"
            indicator.refuse(faults, steps > 1, rule)
        indicator.refuse(faults, graph_of > num_graphs, f"expected a graph index 1 ... {num_graphs}, the number of graph labels")
    return graph_of


def _edges(adjacency: NumberTable | None, graph_of: IntArray | None, faults: Faults) -> IntArray | None:
    """Edges in node indices from 0, shape (2, lines); None if a required file cannot be read."""
    if adjacency is None:
        return None
    edges = adjacency.integers(faults).T - 1
    if graph_of is None:
        return None
    adjacency.refuse(faults, np.any((edges < 0) | (edges >= len(graph_of)), axis=0), f"expected node indices 1 ... {len(graph_of)}")
    inside = np.where(adjacency.valid, edges, 0)
    adjacency.refuse(faults, graph_of[inside[0]] != graph_of[inside[1]], "expected both ends of an edge in one graph")
    return edges


def _columns(codes: IntArray | None, attributes: npt.NDArray[np.float64] | None, prefix: str = "") -> Columns | None:
    """One-hot labels, then attributes; None where there are neither."""
    blocks: list[Columns] = []
    for column in range(codes.shape[1] if codes is not None else 0):
        assert codes is not None
        kinds, numbered = np.unique(codes[:, column], return_inverse=True)
        name = f"{prefix}label" if column == 0 else f"{prefix}label {column}"
        blocks.append(Columns.indicators(one_hot(numbered, len(kinds)), (indicator_name(name, kind) for kind in kinds)))
    if attributes is not None:
        names = (f"{prefix}attribute {column}" for column in range(attributes.shape[1]))
        blocks.append(Columns.numbers(attributes, names))
    return side_by_side(blocks) if blocks else None
