"""What a `Dataset` holds, made of arrays as a user has them; see `Dataset.from_arrays`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from dgl_mutual.data.values.arrays import (
    FeatureKind,
    Features,
    IntArray,
    as_integers,
    as_offsets,
    by_column,
    number_of_rows,
    refuse_graphs_without_nodes,
)
from dgl_mutual.data.values.edges import as_edges, canonical_edges, check_ends, edge_rows, edges_with_features
from dgl_mutual.data.values.features import check_features, columns_of, compact, degree_features
from dgl_mutual.data.values.graph_records import number_of_labels, refuse_transposed
from dgl_mutual.data.values.row_order import refuse_other_order
from dgl_mutual.data.values.split import Split, as_splits
from dgl_mutual.data.values.target import ChosenMetric, TaskName, check_task, encode_targets
from dgl_mutual.errors import DataError
from dgl_mutual.utils.arguments import check_booleans
from dgl_mutual.utils.wording import counted

#: Nodes that a graph without features may have for each edge: where identifiers are numbers, the largest can be beyond all memory.
_NODES_PER_EDGE = 1000


def attributes_of(
    edges: Any,
    features: Any,
    labels: Any,
    *,
    edge_features: Any,
    node_offsets: Any,
    task: TaskName | None,
    split: Split | Sequence[Split] | None,
    metric: ChosenMetric | None,
    symmetric: bool,
    feature_names: Sequence[str] | None,
    feature_kinds: FeatureKind | Sequence[FeatureKind],
    edge_feature_names: Sequence[str] | None,
    edge_feature_kinds: FeatureKind | Sequence[FeatureKind],
) -> dict[str, Any]:
    """The attributes of a `Dataset`, all but its name, by name. For arguments and errors see `Dataset.from_arrays`.

    None of them shares memory with what is given: a change of the user's own arrays would change the dataset under its old fingerprint.
    """
    check_booleans(symmetric=symmetric)
    check_task(task)
    targets = {f"labels[{name!r}]": own for name, own in labels.items()} if isinstance(labels, Mapping) else {"labels": labels}
    refuse_other_order({"features": features, **targets})
    refuse_other_order({"edges": edges, "edge features": edge_features}, numbered=not isinstance(edges, pd.DataFrame))
    if features is None:
        num_nodes = _number_of_nodes(edges, labels, node_offsets)
    else:
        num_nodes = number_of_rows(features, "features")
        if labels is not None and node_offsets is None and task != "graph":
            refuse_transposed(features, num_nodes, labels)
    if edge_features is None:
        of_edges = {"edges": _edges_without_features(edges, num_nodes, symmetric, names=edge_feature_names, kinds=edge_feature_kinds)}
    else:
        ends = check_ends(edges, num_nodes)
        given = columns_of(edge_features, edge_feature_names, edge_feature_kinds, "edge")
        check_features(given.values, ends.shape[1], "edge features", "edge")
        of_edges = edges_with_features(ends[0], ends[1], num_nodes, given, symmetric=symmetric)
    columns = degree_features(of_edges["edges"], num_nodes) if features is None else columns_of(features, feature_names, feature_kinds)
    if task is None:
        task = "node" if node_offsets is None else "graph"
    offsets = np.array([0, num_nodes]) if node_offsets is None else as_offsets(node_offsets, num_nodes).copy()
    refuse_graphs_without_nodes(offsets)
    known, target = encode_targets(labels, num_nodes if task == "node" else len(offsets) - 1, task)
    return {
        "task": task,
        "features": _compact_copy(columns.values),
        "labels": known,
        "node_offsets": offsets,
        "target": target if metric is None else target.with_metric(metric),
        "feature_names": columns.names,
        "feature_kinds": columns.kinds,
        "official_splits": as_splits(split),
        **of_edges,
        "no_labels": "none were given to Dataset.from_arrays. Give labels=..., a class for each sample" if labels is None else "",
    }


def _compact_copy(features: npt.NDArray[Any] | sparse.csr_matrix) -> Features:
    """As `compact`, which may keep a dense array as it is, and sorts a sparse matrix in place; an array keeps its order in memory."""
    if sparse.issparse(features):
        return compact(features.copy())
    made = compact(features)
    return made.copy(order="K") if isinstance(made, np.ndarray) and np.may_share_memory(made, features) else made


def _number_of_nodes(edges: Any, labels: Any, node_offsets: Any) -> int:
    """|V| where there are no features: from the offsets of many graphs, else from edges and labels.

    Raises:
        DataError: an edge names a node that is far beyond all others.
    """
    sizes = as_integers([] if node_offsets is None else node_offsets, "node offsets")
    if len(sizes):
        return int(sizes[-1])
    ends = edge_rows(edges)
    num_labels = 1 if labels is None else number_of_labels(labels)
    highest = int(ends.max(initial=-1))
    if highest >= max(num_labels, _NODES_PER_EDGE * (ends.shape[1] + 1)):
        raise DataError(
            f"The edges ({counted(ends.shape[1], 'edge')}) name the node {highest}, and no features say how many nodes there "
            "are. Number the nodes from 0 on without gaps, for example by pandas.factorize."
        )
    return max(highest + 1, num_labels)


def _edges_without_features(
    edges: Any,
    num_nodes: int,
    symmetric: bool,
    *,
    names: Sequence[str] | None,
    kinds: FeatureKind | Sequence[FeatureKind],
) -> IntArray:
    """Edges in the form of a `Dataset`, shape (2, |E|).

    Raises:
        DataError: they are invalid, or there are names or kinds of features that they do not have.
    """
    ends = as_edges(edges, num_nodes)
    for what, given in (("names", names), ("kinds", kinds)):
        if (isinstance(given, str) or by_column(given, f"{what} of edge features")) and ends.shape[1]:  # without edges none are needed
            raise DataError(f"There are {what} of edge features, and no edge features. Give these, too, or leave the {what} out.")
    return canonical_edges(ends[0], ends[1], num_nodes, symmetric=True) if symmetric else ends.copy()
