"""Conversion of DGL graphs to records. DGL is not imported here: callers with such an object have imported it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dgl_mutual.data.values.arrays import IntArray, as_array, as_integers, offsets_of
from dgl_mutual.data.values.graph_records import GraphRecord, as_matrix, items_of, nearest_key, refuse_lacking, shape_of, warn_of_weights
from dgl_mutual.data.values.split import MASKS
from dgl_mutual.errors import DataError, listed
from dgl_mutual.utils.wording import counted, kind_of, value_and_kind

#: The default key of labels in DGL graphs.
LABEL = "label"
#: Keys of edge weights in DGL graphs.
_WEIGHTS = ("weight", "edge_weight", "w")


def records_of_dgl(data: Any, feat: str | None, label: str | None = None, edge_feat: str | None = None) -> list[GraphRecord]:
    """Records of a DGLGraph, a sequence of graphs, or a DGL dataset of graphs or (graph, label) pairs. Batched graphs are taken apart.

    Args:
        feat, edge_feat: keys of node and edge features; None for no features. Edge features with the key ``feat`` may be missing.
        label: the key of the labels, which must exist; None for ``label``, which may be missing.

    Raises:
        DataError: `data` is none of these, a graph is heterogeneous or a block, it lacks a required key, or its batch information does not
            fit it (see `batch_offsets`).
    """
    for name, key in (("feat", feat), ("label", label), ("edge_feat", edge_feat)):
        if key is not None and not isinstance(key, str):
            found = value_and_kind(key) if isinstance(key, tuple | list) else kind_of(key)
            raise DataError(
                f"{name} = {found} is not a key of the graph's data. Give the name of one tensor, for example {name}='mine' "
                f"after graph.{'edata' if name == 'edge_feat' else 'ndata'}['mine'] = ...; join several tensors before."
            )
    graphs, graph_labels = _graphs_of_dgl(data, feat, label or LABEL, edge_feat)
    _check_keys(graphs, graph_labels, feat, label, edge_feat)
    records = []
    for number, (graph, graph_label) in enumerate(zip(graphs, graph_labels, strict=True)):
        record = _record_of_dgl(graph, graph_label, feat, label or LABEL, edge_feat)
        records += _parts(record, batch_offsets(graph, record.edges), number)
    return records


def edges_of(graph: Any) -> IntArray:
    """The edges (2, |E|) of a homogeneous DGLGraph in the order of their ids, whatever formats it is restricted to."""
    from dgl_mutual.dgl_compat import dgl

    try:
        source, destination = graph.edges(order="eid")
    except dgl.DGLError:  # restricted to formats without lists of edges
        source, destination = graph.formats(["coo", "csr", "csc"]).edges(order="eid")
    return np.stack([as_integers(source, "edges"), as_integers(destination, "edges")])


def batch_offsets(graph: Any, edges: IntArray) -> IntArray:
    """Node offsets (graphs + 1,) of a batched DGLGraph with these `edges`; 0 and |V| for a graph that is not batched.

    Its numbers of edges are not used: the graph of an edge follows from its nodes.

    Raises:
        DataError: its numbers of nodes do not sum to |V|, or an edge joins two of its graphs.
    """
    num_nodes = int(graph.num_nodes())
    if graph.batch_size == 1:
        return offsets_of([num_nodes])
    sizes = as_integers(graph.batch_num_nodes(), "numbers of nodes of a batch")
    offsets = offsets_of(sizes)
    fault = ""
    if offsets[-1] != num_nodes or (sizes < 0).any():
        fault = f"has {counted(num_nodes, 'node')}, and its batch information is for {listed(sizes.tolist(), 6)}"
    else:
        graph_of = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        across = np.flatnonzero(graph_of.take(edges[0]) != graph_of.take(edges[1]))
        if len(across):
            source, destination = edges[:, across[0]]
            fault = (
                f"has an edge from node {source} to node {destination}, and by its batch information these are nodes of graphs "
                f"{graph_of[source]} and {graph_of[destination]}"
            )
    if fault:
        raise DataError(
            f"A batched graph {fault}. Probably it was changed after it was made. Pass the numbers of nodes and edges of its graphs, in "
            "their order, to set_batch_num_nodes and set_batch_num_edges, or make it again with dgl.batch(graphs)."
        )
    return offsets


def no_labels_in_dgl(records: Sequence[GraphRecord], feat: str | None, label: str) -> str:
    """Why DGL graphs have no labels, and how to give them."""
    is_single = len(records) == 1
    keys = records[0].keys
    if any(record.node_labels is not None for record in records):
        return (
            f"ndata[{label!r}] has labels of nodes, and the task is 'graph'. To classify nodes, leave task='graph' out. To classify "
            "graphs, give (graph, label) pairs, or one label per graph with dgl_mutual.Dataset.from_dgl(graphs, labels=..., task='graph')"
        )
    found = f"ndata[{label!r}] is missing ({'' if is_single else 'of graph 0, '}ndata has: {listed(keys) or 'nothing'}). Set it"
    nearest = nearest_key(label, [key for key in keys if key not in (feat, *MASKS)])
    argument = "labels=..." if nearest is None else f"label={nearest!r}"
    if is_single:
        return f"{found}, or load the graph with dgl_mutual.Dataset.from_dgl(graph, {argument})"
    return (
        f"the graphs are not (graph, label) pairs, and {found} if nodes are to be classified, or give pairs, or load the graphs with "
        f"dgl_mutual.Dataset.from_dgl(graphs, {argument})"
    )


def _graphs_of_dgl(data: Any, feat: str | None, label: str, edge_feat: str | None) -> tuple[list[Any], list[Any]]:
    """The graphs, and the label paired with each, or None. Errors as in `records_of_dgl`."""
    if hasattr(data, "adj_tensors"):
        _check_dgl(data, feat, label, edge_feat)
        return [data], [None]
    if isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], list) and all(hasattr(item, "adj_tensors") for item in data[0]):
        argument = ", labels=labels"
        if isinstance(data[1], Mapping):  # dgl.load_graphs gives a dictionary, empty if no labels were saved
            argument = next((f", labels=labels[{key!r}]" for key in data[1]), "")
        raise DataError(
            f"Expected DGL graphs, found a tuple of a list of them and {kind_of(data[1])}, as dgl.load_graphs gives. Unpack it: "
            f"graphs, labels = dgl.load_graphs(...), then dgl_mutual.Dataset.from_dgl(graphs{argument})."
        )
    graphs, labels = [], []
    for number, item in enumerate(items_of(data, "DGL graphs")):
        graph, graph_label = (item[0], item[1]) if isinstance(item, tuple) and len(item) == 2 else (item, None)
        if not hasattr(graph, "adj_tensors"):
            hint = "Make it a tuple" if isinstance(item, list) and len(item) == 2 and hasattr(item[0], "adj_tensors") else "Leave it out"
            raise DataError(f"Expected DGL graphs or (graph, label) pairs, and item {number} is {kind_of(graph)}. {hint}.")
        _check_dgl(graph, feat, label, edge_feat)
        graphs.append(graph)
        labels.append(graph_label.get(label) if isinstance(graph_label, Mapping) else graph_label)  # CSVDataset gives a mapping
    return graphs, labels


def _check_keys(graphs: Sequence[Any], graph_labels: Sequence[Any], feat: str | None, label: str | None, edge_feat: str | None) -> None:
    """Raise `DataError` where graphs lack a required key. Edge features with the key ``feat`` may be missing."""

    def has(which: str, data: Mapping[str, Any]) -> str:
        return f"its {which} has: {listed(list(data)) or 'nothing'}"

    def of_nodes(graph: Any) -> str:
        return has("ndata", graph.ndata)

    graphs_are = "graph" if len(graphs) == 1 else "graphs"
    if feat is not None:
        hint = (
            f"Set graph.ndata[{feat!r}], name another key with dgl_mutual.Dataset.from_dgl({graphs_are}, feat=...), or take one-hot "
            f"in-degrees with dgl_mutual.Dataset.from_dgl({graphs_are}, feat=None)."
        )
        lacking = [number for number, graph in enumerate(graphs) if feat not in graph.ndata]
        refuse_lacking(lacking, graphs, f"node features {feat!r}", of_nodes, hint)
    if label is not None:
        hint = f"Set graph.ndata[{label!r}], name another key with label=..., or give labels=...; without label=, labels may be missing."
        pairs = zip(graphs, graph_labels, strict=True)
        lacking = [number for number, (graph, graph_label) in enumerate(pairs) if graph_label is None and label not in graph.ndata]
        refuse_lacking(lacking, graphs, f"labels {label!r}", of_nodes, hint)
    if edge_feat not in (None, "feat"):
        hint = f"Set graph.edata[{edge_feat!r}], name another key with edge_feat=..., or leave edge features out with edge_feat=None."
        lacking = [number for number, graph in enumerate(graphs) if edge_feat not in graph.edata]
        if len(lacking) < len(graphs):  # a graph without edges need not have any
            lacking = [number for number in lacking if graphs[number].num_edges()]
        refuse_lacking(lacking, graphs, f"edge features {edge_feat!r}", lambda graph: has("edata", graph.edata), hint)


def _record_of_dgl(graph: Any, graph_label: Any, feat: str | None, label: str, edge_feat: str | None) -> GraphRecord:
    weights = [key for key in _WEIGHTS if key in graph.edata and edge_feat not in (None, key)]
    if weights:
        warn_of_weights(f"edata[{weights[0]!r}]", f"edge_feat={weights[0]!r}")
    return GraphRecord(
        edges=edges_of(graph),
        num_nodes=int(graph.num_nodes()),
        features=None if feat is None else as_array(graph.ndata[feat], "node features"),
        node_labels=graph.ndata.get(label),
        label=graph_label,
        masks={mask: graph.ndata[mask] for mask in MASKS if mask in graph.ndata},
        edge_features=as_matrix(graph.edata[edge_feat]) if edge_feat is not None and edge_feat in graph.edata else None,
        keys=tuple(graph.ndata),
    )


def _check_dgl(graph: Any, feat: str | None, label: str, edge_feat: str | None) -> None:
    if graph.is_block:
        raise DataError("The graph is a block of sampled edges; students take whole graphs. Give the graph that it was sampled from.")
    if graph.is_homogeneous:
        return
    nodes, edges = [graph.nodes[kind].data for kind in graph.ntypes], [graph.edges[kind].data for kind in graph.canonical_etypes]
    keys = [key for key in (feat, label, *MASKS) if key is not None and (key == feat or any(key in data for data in nodes))]
    of_edges = [edge_feat] if edge_feat is not None and all(edge_feat in data for data in edges) else []
    lacking = [
        f"graph.nodes[{kind!r}].data[{key!r}]" for kind, data in zip(graph.ntypes, nodes, strict=True) for key in keys if key not in data
    ]
    first = f" First set {', '.join(lacking)}, in the form of the other types of nodes (unknown labels are -1)." if lacking else ""
    named = f"ndata={keys}" + (f", edata={of_edges}" if of_edges else "")
    raise DataError(
        f"The graph is heterogeneous ({counted(len(graph.ntypes), 'type')} of nodes, {len(graph.etypes)} of edges); students take "
        f"homogeneous graphs.{first} Convert it with dgl.to_homogeneous(graph, {named}), which drops data that are not named."
    )


def _parts(record: GraphRecord, offsets: IntArray, number: int) -> list[GraphRecord]:
    """Split the record of a batched graph at these node offsets (graphs + 1,); `number` is the batch's index.

    Raises:
        DataError: the paired label does not have a value for each graph.
    """
    num_graphs = len(offsets) - 1
    if num_graphs == 1:
        return [record]
    labels = record.label
    if labels is not None and shape_of(labels)[:1] != (num_graphs,):
        raise DataError(
            f"Item {number} is a batch of {num_graphs} graphs, with {kind_of(labels)} of the shape {shape_of(labels)} beside it. Give a "
            "label for each of them, or the graphs themselves: dgl.unbatch(graph)."
        )
    graph_of_edge = np.searchsorted(offsets, record.edges[0], side="right") - 1
    order = np.argsort(graph_of_edge, kind="stable")
    of_edges = np.split(order, np.cumsum(np.bincount(graph_of_edge, minlength=num_graphs))[:-1])
    return [
        replace(
            record,
            edges=record.edges[:, edges] - first,
            num_nodes=int(end - first),
            features=None if record.features is None else record.features[first:end],
            node_labels=None if record.node_labels is None else record.node_labels[first:end],
            label=None if labels is None else labels[part],
            masks={name: mask[first:end] for name, mask in record.masks.items()},
            edge_features=None if record.edge_features is None else record.edge_features[edges],
        )
        for part, (first, end, edges) in enumerate(zip(offsets[:-1], offsets[1:], of_edges, strict=True))
    ]
