"""Conversion of DGL graphs to records. DGL is not imported here: whoever has such an object has it loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dgl_mutual.data.arrays import as_array, as_integers
from dgl_mutual.data.graph_records import GraphRecord, as_matrix, items_of, label_array, nearest_key, refuse_lacking, warn_of_weights
from dgl_mutual.data.split import MASKS
from dgl_mutual.errors import DataError, listed
from dgl_mutual.utils.wording import counted, kind_of, value_and_kind

#: Where labels of DGL graphs are looked up, if nothing else is said.
LABEL = "label"
#: What edge weights are called in DGL graphs.
_WEIGHTS = ("weight", "edge_weight", "w")


def records_of_dgl(data: Any, feat: str | None, label: str | None = None, edge_feat: str | None = None) -> list[GraphRecord]:
    """The graphs of a DGLGraph (each part of a batched one), of a sequence of them, or of a DGL dataset of graphs or (graph, label) pairs.

    Args:
        feat, edge_feat: keys of node and edge features; missing edge features of the key ``feat`` are none, and so are features of the key
            None.
        label: the key of the labels; None: ``label``, where there are such labels.

    Raises:
        DataError: `data` is none of these, a graph is heterogeneous or a block, or it lacks a key that is asked for.
    """
    for name, key in (("feat", feat), ("label", label), ("edge_feat", edge_feat)):
        if key is not None and not isinstance(key, str):
            found = value_and_kind(key) if isinstance(key, tuple | list) else kind_of(key)
            raise DataError(
                f"{name} = {found} is no key of the graph's data. Give the name of one tensor, for example {name}='mine' "
                f"after graph.{'edata' if name == 'edge_feat' else 'ndata'}['mine'] = ...; several can be joined before."
            )
    graphs, own = _graphs_of_dgl(data, feat, label or LABEL, edge_feat)
    _check_keys(graphs, own, feat, label, edge_feat)
    return [_record_of_dgl(graph, one, feat, label or LABEL, edge_feat) for graph, one in zip(graphs, own, strict=True)]


def no_labels_in_dgl(records: Sequence[GraphRecord], feat: str | None, label: str) -> str:
    """Where labels of DGL graphs were not found, and how to give them."""
    one, keys = len(records) == 1, records[0].keys
    found = f"ndata[{label!r}] is missing ({'' if one else 'of graph 0, '}ndata has: {listed(keys) or 'nothing'}). Set it"
    nearest = nearest_key(label, [key for key in keys if key not in (feat, *MASKS)])
    given = "labels=..." if nearest is None else f"label={nearest!r}"
    if one:
        return f"{found}, or load the graph with dgl_mutual.Dataset.from_dgl(graph, {given})"
    return (
        f"the graphs are no (graph, label) pairs, and {found} if nodes are to be classified, or give pairs, or load the graphs with "
        f"dgl_mutual.Dataset.from_dgl(graphs, {given})"
    )


def _graphs_of_dgl(data: Any, feat: str | None, label: str, edge_feat: str | None) -> tuple[list[Any], list[Any]]:
    """The graphs, and the label that comes beside each, or None. Errors as in `records_of_dgl`."""
    if hasattr(data, "adj_tensors"):
        _check_dgl(data, feat, label, edge_feat)
        graphs = list(_unbatched(data)) if len(data.batch_num_nodes()) > 1 else [data]
        return graphs, [None] * len(graphs)
    graphs, labels = [], []
    if isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], list) and all(hasattr(one, "adj_tensors") for one in data[0]):
        given = "labels=labels" if not isinstance(data[1], Mapping) else "".join(f"labels=labels[{key!r}]" for key in list(data[1])[:1])
        raise DataError(
            f"Expected DGL graphs, found a tuple of a list of them and {kind_of(data[1])}, as dgl.load_graphs gives. Unpack it: "
            f"graphs, labels = dgl.load_graphs(...), then dgl_mutual.Dataset.from_dgl(graphs{given and f', {given}'})."
        )
    for number, item in enumerate(items_of(data, "DGL graphs")):
        graph, own = (item[0], item[1]) if isinstance(item, tuple) and len(item) == 2 else (item, None)
        if not hasattr(graph, "adj_tensors"):
            hint = "Make it a tuple" if isinstance(item, list) and len(item) == 2 and hasattr(item[0], "adj_tensors") else "Leave it out"
            raise DataError(f"Expected DGL graphs or (graph, label) pairs, and item {number} is {kind_of(graph)}. {hint}.")
        _check_dgl(graph, feat, label, edge_feat)
        graphs.append(graph)
        labels.append(own.get(label) if isinstance(own, Mapping) else own)  # CSVDataset gives a mapping
    return graphs, labels


def _check_keys(graphs: Sequence[Any], own_labels: Sequence[Any], feat: str | None, label: str | None, edge_feat: str | None) -> None:
    """Raise `DataError` where graphs lack data of a key that is asked for. Edges of the key ``feat`` may have none."""

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
        pairs = zip(graphs, own_labels, strict=True)
        lacking = [number for number, (graph, own) in enumerate(pairs) if own is None and label not in graph.ndata]
        refuse_lacking(lacking, graphs, f"labels {label!r}", of_nodes, hint)
    if edge_feat not in (None, "feat"):
        hint = f"Set graph.edata[{edge_feat!r}], name another key with edge_feat=..., or leave edge features out with edge_feat=None."
        lacking = [number for number, graph in enumerate(graphs) if edge_feat not in graph.edata]
        if len(lacking) < len(graphs):  # a graph without edges need not have any
            lacking = [number for number in lacking if graphs[number].num_edges()]
        refuse_lacking(lacking, graphs, f"edge features {edge_feat!r}", lambda graph: has("edata", graph.edata), hint)


def _record_of_dgl(graph: Any, own_label: Any, feat: str | None, label: str, edge_feat: str | None) -> GraphRecord:
    source, destination = graph.edges()
    weights = [key for key in _WEIGHTS if key in graph.edata and edge_feat not in (None, key)]
    if weights:
        warn_of_weights(f"edata[{weights[0]!r}]", f"edge_feat={weights[0]!r}")
    return GraphRecord(
        edges=np.stack([as_integers(source, "edges"), as_integers(destination, "edges")]),
        num_nodes=int(graph.num_nodes()),
        features=None if feat is None else as_array(graph.ndata[feat], "node features"),
        node_labels=label_array(graph.ndata[label]) if label in graph.ndata else None,
        label=None if own_label is None else label_array(own_label),
        masks={mask: as_array(graph.ndata[mask], mask) for mask in MASKS if mask in graph.ndata},
        edge_features=as_matrix(graph.edata[edge_feat]) if edge_feat is not None and edge_feat in graph.edata else None,
        keys=tuple(graph.ndata),
    )


def _check_dgl(graph: Any, feat: str | None, label: str, edge_feat: str | None) -> None:
    if graph.is_block:
        raise DataError("The graph is a block, a step of sampling; students take whole graphs. Give the graph that it was sampled from.")
    if graph.is_homogeneous:
        return
    nodes, edges = [graph.nodes[kind].data for kind in graph.ntypes], [graph.edges[kind].data for kind in graph.canonical_etypes]
    keys = [key for key in (feat, label, *MASKS) if key is not None and (key == feat or any(key in data for data in nodes))]
    of_edges = [edge_feat] if edge_feat is not None and all(edge_feat in data for data in edges) else []
    lacking = [
        f"graph.nodes[{kind!r}].data[{key!r}]" for kind, data in zip(graph.ntypes, nodes, strict=True) for key in keys if key not in data
    ]
    first = f" First set {', '.join(lacking)}, in the form that other types of nodes have (unknown labels are -1)." if lacking else ""
    named = f"ndata={keys}" + (f", edata={of_edges}" if of_edges else "")
    raise DataError(
        f"The graph is heterogeneous ({counted(len(graph.ntypes), 'type')} of nodes, {len(graph.etypes)} of edges); students take "
        f"homogeneous graphs.{first} Convert it with dgl.to_homogeneous(graph, {named}), which drops data that are not named."
    )


def _unbatched(graph: Any) -> Sequence[Any]:
    from dgl_mutual.dgl_compat import dgl

    parts: Sequence[Any] = dgl.unbatch(graph)
    return parts
