"""Conversion of PyG graphs to records. PyG is not imported here: whoever has such an object has it loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dgl_mutual.data.arrays import as_array, as_integers, as_table
from dgl_mutual.data.graph_records import GraphRecord, as_matrix, items_of, label_array, nearest_key, refuse_lacking, warn_of_weights
from dgl_mutual.data.split import MASKS
from dgl_mutual.errors import DataError, listed
from dgl_mutual.utils.wording import kind_of


def records_of_pyg(data: Any) -> list[GraphRecord]:
    """The graphs of a PyG `Data`, a `Batch`, a sequence of them, or a PyG dataset: ``x``, ``edge_index``, ``y`` and the masks.

    Raises:
        DataError: `data` is none of these, it is heterogeneous, or a graph has no ``x``.
    """
    if hasattr(data, "to_data_list"):
        data = data.to_data_list()
    graphs = [data] if hasattr(data, "edge_index") or hasattr(data, "node_types") else items_of(data, "PyG graphs")
    for number, graph in enumerate(graphs):
        if hasattr(graph, "node_types"):
            raise DataError(
                f"Graph {number} is {kind_of(graph)}, and students take homogeneous graphs. Convert it with data.to_homogeneous(), which "
                "keeps what all types of nodes have: give all of them x."
            )
        if not hasattr(graph, "edge_index"):
            raise DataError(f"Expected PyG graphs, and item {number} is {kind_of(graph)}. Give data with x and edge_index.")
        if graph.edge_index is None:
            raise DataError(f"Graph {number} has no edge_index. Set it, shape (2, edges); torch_geometric.utils converts other forms.")
    refuse_lacking(
        [number for number, graph in enumerate(graphs) if graph.x is None],
        graphs,
        "node features x",
        lambda graph: f"it has: {listed(_keys_of_pyg(graph))}",
        "Set them, for example by a transform such as torch_geometric's OneHotDegree.",
    )
    if any(getattr(graph, "edge_weight", None) is not None for graph in graphs):
        warn_of_weights("edge_weight", "data.edge_attr = data.edge_weight[:, None]")
    labels = [None if graph.y is None else label_array(graph.y) for graph in graphs]
    sizes = [len(graph.x) for graph in graphs]
    # `y` belongs to the nodes where it has a row for each of them in every graph.
    of_nodes = all(label is not None and label.ndim and len(label) == size for label, size in zip(labels, sizes, strict=True))
    of_nodes = of_nodes and (len(graphs) == 1 or max(sizes) > 1)
    return [
        GraphRecord(
            edges=as_integers(graph.edge_index, "edges", dimensions=2),
            num_nodes=size,
            features=as_table(graph.x, "node features"),
            node_labels=label if of_nodes else None,
            label=None if of_nodes else label,
            masks={mask: as_array(graph[mask], mask) for mask in MASKS if getattr(graph, mask, None) is not None},
            edge_features=None if getattr(graph, "edge_attr", None) is None else as_matrix(graph.edge_attr),
            keys=_keys_of_pyg(graph),
        )
        for graph, label, size in zip(graphs, labels, sizes, strict=True)
    ]


def no_labels_in_pyg(records: Sequence[GraphRecord]) -> str:
    """Where labels of PyG graphs were not found, and how to give them."""
    one, keys = len(records) == 1, records[0].keys
    nearest = nearest_key("label", [key for key in keys if key not in ("x", "edge_index", "edge_attr", "edge_weight", *MASKS)])
    found = f"y is missing ({'the graph' if one else 'graph 0'} has: {listed(keys)}). Set it"
    if nearest is not None:
        found += f", as in data.y = data.{nearest}"
    return f"{found}, or load the data with dgl_mutual.Dataset.from_pyg(data, labels=...), one a {'node' if one else 'graph'}"


def _keys_of_pyg(graph: Any) -> tuple[str, ...]:
    return tuple(str(key) for key, value in graph.to_dict().items() if value is not None)
