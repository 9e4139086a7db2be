"""Conversion and validation of a graph's edges for `Dataset`, by the same rules for files, arrays and graph objects."""

from __future__ import annotations

from typing import Any

import numpy as np

from dgl_mutual.data.values.arrays import Features, IntArray, as_exact_array, as_integers
from dgl_mutual.data.values.features import Columns, compact
from dgl_mutual.errors import DataError, listed, shortened
from dgl_mutual.utils.arguments import check_booleans
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import counted

#: Column names of a data frame of edges, as in the CSV form.
ENDS = ("src_id", "dst_id")


def canonical_edges(source: IntArray, destination: IntArray, num_nodes: int, *, symmetric: bool) -> IntArray:
    """Edges in the form of `Dataset`: no self-loops, no duplicates, sorted by (destination, source).

    Args:
        symmetric: add the reverse of every edge.

    Raises:
        UsageError: `symmetric` is neither True nor False.
    """
    check_booleans(symmetric=symmetric)
    keep = source != destination
    source, destination = source[keep].astype(np.int64), destination[keep].astype(np.int64)
    keys = destination * num_nodes + source
    if symmetric:
        keys = np.concatenate([keys, source * num_nodes + destination])
    del source, destination  # with some 10^8 edges every copy counts
    keys.sort()
    first = np.ones(len(keys), dtype=np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    keys = keys[first]
    edges = np.empty((2, len(keys)), dtype=np.int64)
    np.divmod(keys, num_nodes, out=(edges[1], edges[0]))
    return edges


def canonical_edge_rows(
    source: IntArray, destination: IntArray, num_nodes: int, *, symmetric: bool, features: Features
) -> tuple[IntArray, IntArray]:
    """As `canonical_edges`, with the index of the input edge that each edge comes from: the first of duplicates.

    With `symmetric`, a reverse edge comes from the original edge, unless the reverse was given, too.

    Args:
        features: features of the input edges, (|E|, F_e); duplicates whose features differ cause a warning.
    """
    rows = np.flatnonzero(source != destination)
    source, destination = source[rows].astype(np.int64), destination[rows].astype(np.int64)
    keys = destination * num_nodes + source
    if symmetric:
        keys, rows = np.concatenate([keys, source * num_nodes + destination]), np.concatenate([rows, rows])
    keys, first, place = np.unique(keys, return_index=True, return_inverse=True)
    # Given edges come before reverses, so the first edge with the key of a given edge is a given edge.
    _warn_of_differing_duplicates(source, destination, features, rows[: len(source)], rows[first[place[: len(source)]]])
    return np.stack([keys % num_nodes, keys // num_nodes]), rows[first]


def edges_with_features(
    source: IntArray, destination: IntArray, num_nodes: int, features: Columns | None, *, symmetric: bool
) -> dict[str, Any]:
    """The `Dataset` attributes of edges, by name, with those of their features if there are any."""
    if features is None:
        return {"edges": canonical_edges(source, destination, num_nodes, symmetric=symmetric)}
    edges, rows = canonical_edge_rows(source, destination, num_nodes, symmetric=symmetric, features=features.values)
    return {
        "edges": edges,
        "edge_features": compact(features.values[rows], "edge features", "edge"),
        "edge_feature_names": features.names,
        "edge_feature_kinds": features.kinds,
    }


def _warn_of_differing_duplicates(source: IntArray, destination: IntArray, features: Features, rows: IntArray, firsts: IntArray) -> None:
    """Warn where the features of an edge (in `rows`) differ from those of the first edge with the same ends (in `firsts`)."""
    later = np.flatnonzero(rows != firsts)
    if not len(later):
        return
    unlike = features[rows[later]] != features[firsts[later]]
    differing = later[np.asarray(unlike.sum(axis=1)).ravel() > 0]
    if len(differing):
        warn(
            f"Edges are repeated with different features ({len(differing)} in all), for example "
            f"{source[differing[0]]} -> {destination[differing[0]]} (nodes counted over all graphs). The first of each counts. "
            "Merge their features, or leave the others out."
        )


def as_edges(edges: Any, num_nodes: int) -> IntArray:
    """Convert edges (2, |E|), sources and destinations, to the form of `Dataset`. An array in that form is returned as it is.

    Self-loops and duplicates are removed: each convolution adds the loops that it needs.

    Raises:
        DataError: not two rows, no integers, or a node that does not exist.
    """
    array = checked_edges(edges, num_nodes)
    return array if is_canonical(array) else canonical_edges(array[0], array[1], num_nodes, symmetric=False)


def is_canonical(edges: IntArray) -> bool:
    """Whether edges are sorted by (destination, source), with neither self-loops nor duplicates."""
    source, destination = edges
    later = destination[1:] > destination[:-1]
    later |= (destination[1:] == destination[:-1]) & (source[1:] > source[:-1])
    return bool(later.all()) and not bool((source == destination).any())


def edge_array(edges: Any) -> IntArray:
    """Edges as an array of integers, (2, |E|), from an array or a data frame with the columns `ENDS`.

    Raises:
        DataError: not two rows of integers, or a data frame with other columns.
    """
    if hasattr(edges, "columns"):
        edges = _rows_of_frame(edges)
    _check_two_rows(edges)  # before a large sparse matrix becomes dense, or its weights are mistaken for edges
    array = as_integers(edges, "edges", dimensions=2)
    _check_two_rows(array)
    return array


def _check_two_rows(edges: Any) -> None:
    """Raise `DataError` for a matrix with another number of rows."""
    shape = tuple(getattr(edges, "shape", ()))
    if len(shape) == 2 and shape[0] != 2:
        hint = " Transpose the array." if shape[1] == 2 else _edges_of_matrix(edges) if shape[0] == shape[1] else ""
        raise DataError(f"The edges have the shape {shape}; expected (2, number of edges): sources, then destinations.{hint}")


def _edges_of_matrix(matrix: Any) -> str:
    edges = "matrix.to_sparse().coalesce().indices()" if hasattr(matrix, "detach") else "np.stack(matrix.nonzero())"
    return f" This looks like an adjacency matrix. Give its edges: {edges}."


def _rows_of_frame(frame: Any) -> Any:
    """Sources and destinations of a data frame, by column name. A frame of two rows without names is returned unchanged."""
    columns, rows = list(frame.columns), list(getattr(frame, "index", ()))
    if columns == list(range(len(columns))) and rows == [0, 1]:
        return frame
    if sorted(map(str, columns)) == sorted(ENDS):
        return np.stack([as_exact_array(frame[end], "edges") for end in ENDS])
    source, destination = ENDS
    if set(ENDS) <= set(columns):
        others = [column for column in columns if column not in ENDS]
        hint = f"Give edges=frame[{list(ENDS)}], and features of the edges as edge_features=frame[{shortened(others)}]."
    elif len(rows) == 2 < len(columns):
        hint = f"Transpose it (frame.T), and name its columns like this: the row {rows[0]!r} is the first of them."
    else:
        hint = f"Rename the column of sources to {source!r} and that of destinations to {destination!r}."
    raise DataError(
        f"The data frame of edges has the columns {listed(columns, 8)}; expected {source} and {destination}, and a row for each edge. "
        f"{hint}"
    )


def checked_edges(edges: Any, num_nodes: int) -> IntArray:
    """Edges (2, |E|) in the given order. Errors as in `as_edges`."""
    array = edge_array(edges)
    if array.size and (array.min() < 0 or array.max() >= num_nodes):
        wrong = array.min() if array.min() < 0 else array.max()
        raise DataError(
            f"An edge names the node {wrong}, but the graph has {counted(num_nodes, 'node')}, 0 to {num_nodes - 1}. Count nodes from 0, "
            "and give features for all of them."
        )
    return array


def check_within_graphs(edges: IntArray, offsets: IntArray) -> None:
    """Raise `DataError` where an edge joins nodes of two graphs."""
    if len(offsets) == 2:
        return
    graph_of = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    across = np.flatnonzero(graph_of[edges[0]] != graph_of[edges[1]])
    if len(across):
        source, destination = edges[:, across[0]]
        raise DataError(
            f"The edge from node {source} to node {destination} joins graphs {graph_of[source]} and {graph_of[destination]}. Number the "
            "nodes of all graphs one after another, and shift each graph's edges by its first node."
        )
