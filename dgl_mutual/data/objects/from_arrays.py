"""Conversion of a user's arrays to attributes of a `Dataset`; see `Dataset.from_arrays`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from dgl_mutual.data.values.arrays import FeatureKind, Features, as_integers, by_column, number_of_rows
from dgl_mutual.data.values.edges import as_edges, canonical_edges, checked_edges, edge_array, edges_with_features
from dgl_mutual.data.values.features import check_features, columns_of, compact
from dgl_mutual.data.values.graph_records import number_of_labels, refuse_transposed
from dgl_mutual.data.values.row_order import refuse_other_order
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import DataError
from dgl_mutual.utils.wording import counted

#: The most nodes per edge of a graph without features: numeric identifiers can be too large for memory.
_NODES_PER_EDGE = 1000


def compact_copy(features: npt.NDArray[Any] | sparse.csr_matrix) -> Features:
    """As `compact`, without sharing memory: later changes of the user's array must not change the dataset. The memory layout is kept."""
    if sparse.issparse(features):
        return compact(features.copy())  # `compact` sorts in place
    result = compact(features)
    return result.copy(order="K") if isinstance(result, np.ndarray) and np.may_share_memory(result, features) else result


def check_row_orders(edges: Any, features: Any, labels: Any, edge_features: Any) -> None:
    """Refuse pandas tables whose rows are in another order than their index says (see `refuse_other_order`)."""
    targets = {f"labels[{name!r}]": values for name, values in labels.items()} if isinstance(labels, Mapping) else {"labels": labels}
    refuse_other_order({"features": features, **targets})
    refuse_other_order({"edges": edges, "edge features": edge_features}, numbered=not isinstance(edges, pd.DataFrame))


def number_of_nodes(edges: Any, features: Any, labels: Any, node_offsets: Any, task: TaskName | None) -> int:
    """|V|: from the features; without them from the offsets of many graphs, else from edges and labels.

    Raises:
        DataError: features that do not have a row for each node, or no features and a node index far beyond the number of edges.
    """
    if features is not None:
        num_nodes = number_of_rows(features, "features")
        if labels is not None and node_offsets is None and task != "graph":
            refuse_transposed(features, num_nodes, labels)
        return num_nodes
    offsets = as_integers([] if node_offsets is None else node_offsets, "node offsets")
    if len(offsets):
        return int(offsets[-1])
    ends = edge_array(edges)
    num_labels = 1 if labels is None else number_of_labels(labels)
    highest = int(ends.max(initial=-1))
    if highest >= max(num_labels, _NODES_PER_EDGE * (ends.shape[1] + 1)):
        raise DataError(
            f"The edges ({counted(ends.shape[1], 'edge')}) name the node {highest}, and no features say how many nodes there "
            "are. Number the nodes from 0 without gaps, for example with pandas.factorize."
        )
    return max(highest + 1, num_labels)


def edge_attributes(
    edges: Any,
    features: Any,
    num_nodes: int,
    *,
    symmetric: bool,
    names: Sequence[str] | None,
    kinds: FeatureKind | Sequence[FeatureKind],
) -> dict[str, Any]:
    """Edges and their features as attributes of a `Dataset`, by name.

    Raises:
        DataError: they are invalid, or there are names or kinds of features that they do not have.
    """
    if features is not None:
        ends = checked_edges(edges, num_nodes)
        columns = columns_of(features, names, kinds, "edge")
        check_features(columns.values, ends.shape[1], "edge features", "edge")
        return edges_with_features(ends[0], ends[1], num_nodes, columns, symmetric=symmetric)
    ends = as_edges(edges, num_nodes)
    for what, texts in (("names", names), ("kinds", kinds)):
        if (isinstance(texts, str) or by_column(texts, f"{what} of edge features")) and ends.shape[1]:  # without edges none are needed
            raise DataError(f"There are {what} of edge features, but no edge features. Give these, too, or leave the {what} out.")
    return {"edges": canonical_edges(ends[0], ends[1], num_nodes, symmetric=True) if symmetric else ends.copy()}
