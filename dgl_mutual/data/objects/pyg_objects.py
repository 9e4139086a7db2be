"""Conversion of PyG graphs to records. PyG is not imported here: callers with such an object have imported it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from dgl_mutual.data.values.arrays import as_integers, as_table
from dgl_mutual.data.values.graph_records import GraphRecord, as_matrix, items_of, nearest_key, refuse_lacking, shape_of, warn_of_weights
from dgl_mutual.data.values.split import MASKS
from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import DataError, listed
from dgl_mutual.utils.user_warnings import warn
from dgl_mutual.utils.wording import kind_of


def records_of_pyg(data: Any, task: TaskName | None) -> list[GraphRecord]:
    """Records of a PyG `Data`, a `Batch`, a sequence of them, or a PyG dataset: ``x``, ``edge_index``, ``y`` and the masks.

    Args:
        task: whether ``y`` holds labels of nodes or graphs, if it may be both; None: nodes, if it has a row for each node in every graph.

    Raises:
        DataError: `data` is none of these, it is heterogeneous, a graph has no ``x``, or a batch was changed after it was made.
    """
    graphs = _graphs_of_pyg(data)
    refuse_lacking(
        [number for number, graph in enumerate(graphs) if graph.x is None],
        graphs,
        "node features x",
        lambda graph: f"it has: {listed(_keys_of_pyg(graph))}",
        "Set them, for example by a transform such as torch_geometric's OneHotDegree.",
    )
    if any(getattr(graph, "edge_weight", None) is not None for graph in graphs):
        warn_of_weights("edge_weight", "data.edge_attr = data.edge_weight[:, None]")
    sizes = [len(graph.x) for graph in graphs]
    labels = [graph.y for graph in graphs]
    fit_nodes = all(y is None or shape_of(y)[:1] == (size,) for y, size in zip(labels, sizes, strict=True))
    of_nodes = fit_nodes and (len(graphs) == 1 or max(sizes) > 1) and not (task == "graph" and _fit_both(labels, sizes))
    return [
        GraphRecord(
            edges=as_integers(graph.edge_index, "edges", dimensions=2),
            num_nodes=size,
            features=as_table(graph.x, "node features"),
            node_labels=graph.y if of_nodes else None,
            label=None if of_nodes else graph.y,
            masks={mask: graph[mask] for mask in MASKS if getattr(graph, mask, None) is not None},
            edge_features=None if getattr(graph, "edge_attr", None) is None else as_matrix(graph.edge_attr),
            keys=_keys_of_pyg(graph),
        )
        for graph, size in zip(graphs, sizes, strict=True)
    ]


def warn_if_ambiguous(records: Sequence[GraphRecord]) -> None:
    """Warn if the labels were read as those of nodes, but may be those of graphs."""
    sizes = [record.num_nodes for record in records]
    if _fit_both([record.node_labels for record in records], sizes) and not any(record.masks for record in records):  # masks mean nodes
        warn(
            f"y of each of the {len(records)} graphs has as many entries as the graph has nodes, {sizes[0]}, and is read as labels of "
            "nodes. If it is a label of the graph, load the data with dgl_mutual.Dataset.from_pyg(data, task='graph'); if not, "
            "task='node' avoids this warning."
        )


def no_labels_in_pyg(records: Sequence[GraphRecord]) -> str:
    """Why PyG graphs have no labels, and how to give them."""
    is_single = len(records) == 1
    keys = records[0].keys
    if any(record.node_labels is not None for record in records):
        return (
            "y has labels of nodes, and the task is 'graph'. To classify nodes, leave task='graph' out. To classify graphs, set data.y of "
            "each graph to its label, or load the data with dgl_mutual.Dataset.from_pyg(data, labels=..., task='graph'), one per graph"
        )
    nearest = nearest_key("label", [key for key in keys if key not in ("x", "edge_index", "edge_attr", "edge_weight", *MASKS)])
    found = f"y is missing ({'the graph' if is_single else 'graph 0'} has: {listed(keys)}). Set it"
    if nearest is not None:
        found += f", as in data.y = data.{nearest}"
    return f"{found}, or load the data with dgl_mutual.Dataset.from_pyg(data, labels=...), one per {'node' if is_single else 'graph'}"


def _graphs_of_pyg(data: Any) -> list[Any]:
    """The graphs, with batches taken apart. Errors as in `records_of_pyg`."""
    graphs: list[Any] = []
    for number, graph in enumerate([data] if _is_graph(data) else items_of(data, "PyG graphs")):
        if hasattr(type(graph), "node_types"):
            raise DataError(
                f"Graph {number} is {kind_of(graph)}, but students take homogeneous graphs. Convert it with data.to_homogeneous(), which "
                "keeps the data that all types of nodes have: give all of them x."
            )
        if not (_is_graph(graph) and hasattr(type(graph), "x")):  # temporal data have edges, but no x
            raise DataError(f"Expected PyG graphs, and item {number} is {kind_of(graph)}. Give data with x and edge_index.")
        if graph.edge_index is None:
            raise DataError(f"Graph {number} has no edge_index. Set it, shape (2, edges); torch_geometric.utils converts other forms.")
        graphs += _parts(graph) if hasattr(graph, "to_data_list") else [graph]
    return graphs


def _is_graph(data: Any) -> bool:
    """Whether this is a graph or a batch. Only the class is checked, since a dataset object forwards attributes to its graphs."""
    return hasattr(type(data), "edge_index") or hasattr(type(data), "node_types")


def _parts(batch: Any) -> list[Any]:
    """The graphs of a batch.

    Raises:
        DataError: it was made by hand, or changed after it was made.
    """
    try:
        parts: list[Any] = batch.to_data_list()
    except RuntimeError as error:
        fault = str(error)
    else:
        counts = (
            ("nodes", sum(0 if part.x is None else len(part.x) for part in parts), 0 if batch.x is None else len(batch.x)),
            ("edges", sum(part.edge_index.shape[1] for part in parts), batch.edge_index.shape[1]),
        )
        fault = next((f"it has {held} {noun}, and its graphs {in_graphs}" for noun, in_graphs, held in counts if in_graphs != held), "")
    if fault:
        raise DataError(
            f"A batch of PyG cannot be taken apart: {fault}. Probably it was changed after it was made. Give a list of its graphs, or make "
            "it again with Batch.from_data_list(graphs)."
        )
    return parts


def _fit_both(labels: Sequence[Any], sizes: Sequence[int]) -> bool:
    """Whether labels may be those of nodes or of graphs: several graphs have the same size, and each has as many labels as nodes, or none.

    Args:
        labels: the labels of each graph, or None.
        sizes: the number of nodes of each graph.
    """
    shapes = [shape_of(y) for y in labels if y is not None]
    one_size = len(sizes) > 1 and len(set(sizes)) == 1
    return one_size and bool(shapes) and all(shape and shape[0] == prod(shape) == sizes[0] for shape in shapes)


def _keys_of_pyg(graph: Any) -> tuple[str, ...]:
    return tuple(str(key) for key, value in graph.to_dict().items() if value is not None)
