"""PPI's raw form (Hamilton et al., NeurIPS 2017), as DGL and PyTorch Geometric fetch it: three parts of several graphs each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_mutual.data.dataset import Dataset
from dgl_mutual.data.files.numpy_files import read_npy
from dgl_mutual.data.files.untrusted_files import read_text, recording
from dgl_mutual.data.values.arrays import IntArray, offsets_of
from dgl_mutual.data.values.edges import canonical_edges
from dgl_mutual.data.values.faults import Faults, Request
from dgl_mutual.data.values.features import compact, fault_of_features
from dgl_mutual.data.values.split import Split
from dgl_mutual.data.values.target import Target
from dgl_mutual.utils.plain_json import read_json
from dgl_mutual.utils.wording import kind_of

PARTS = ("train", "valid", "test")
#: A link takes about 30 bytes of JSON; PPI's largest file has 40 MB.
_MAX_JSON = 1 << 28


@dataclass(frozen=True, eq=False)
class _Part:
    """Nodes sorted by graph id: `edges` (2, links) in row indices, `graph_of` (nodes,), and a row of features and labels for each."""

    edges: IntArray
    graph_of: IntArray
    features: npt.NDArray[Any]
    labels: npt.NDArray[Any]


def read_ppi(folder: Path, name: str, faults: Faults, request: Request) -> Dataset:
    """Read ``{train,valid,test}_graph.json`` (node-link), ``_feats.npy``, ``_labels.npy`` and ``_graph_id.npy`` (one row for each node).

    A node task on many graphs (in PPI itself 20 / 2 / 2, with 121 labels), scored by micro-averaged F1. The split is by graph, so
    training is inductive. Graphs are sorted by part and id. Features are not changed.

    NOTE: As in DGL and PyTorch Geometric, graphs are subgraphs induced by their nodes: links between different graphs are left out.

    Raises:
        DataError: a file is missing, cannot be read, or breaks a rule of the format.
    """
    parts = [_read_part(folder, name, faults) for name in PARTS]
    for array in ("features", "labels"):
        widths = {name: getattr(part, array).shape[1] for name, part in zip(PARTS, parts, strict=True) if part is not None}
        if len(set(widths.values())) > 1:
            shown = ", ".join(f"{width} ({name})" for name, width in widths.items())
            faults.add(folder, f"expected {array} of as many columns in all parts, found {shown}")
    faults.check()
    complete = [part for part in parts if part is not None]
    first = np.cumsum([0, *(len(part.graph_of) for part in complete)])
    source, destination = np.concatenate([part.edges + start for part, start in zip(complete, first, strict=False)], axis=1)
    sizes = np.concatenate([np.unique(part.graph_of, return_counts=True)[1] for part in complete])
    labels = np.concatenate([part.labels for part in complete]).astype(np.float32)
    features = np.concatenate([part.features for part in complete])
    num_nodes = int(first[-1])
    return Dataset(
        name=name,
        task="node",
        edges=canonical_edges(source, destination, num_nodes, symmetric=False),
        features=compact(features),
        labels=labels,
        node_offsets=offsets_of(sizes),
        target=Target("multi-label", tuple(f"label {label}" for label in range(labels.shape[1])), "micro-f1"),
        feature_names=tuple(f"feature {column}" for column in range(features.shape[1])),
        official_splits=(Split(*(np.arange(start, stop) for start, stop in pairwise(first))),),
    )


def _read_part(folder: Path, part: str, faults: Faults) -> _Part | None:
    """Read one part, its nodes sorted by graph, or record why not and return None."""
    path = {kind: folder / f"{part}_{kind}" for kind in ("graph.json", "feats.npy", "labels.npy", "graph_id.npy")}
    graph = _read_graph(path["graph.json"], faults)
    features, labels, graph_id = (
        read_npy(path[kind], faults, columns) for kind, columns in (("feats.npy", 2), ("labels.npy", 2), ("graph_id.npy", 1))
    )
    if graph is None or features is None or labels is None or graph_id is None:
        return None
    edges, num_nodes = graph
    lengths = {"labels.npy": len(labels), "graph_id.npy": len(graph_id)}
    wrong = {kind: length for kind, length in lengths.items() if length != num_nodes}
    for kind, length in wrong.items():
        faults.add(path[kind], f"expected {num_nodes} rows, one for each node of {path['graph.json'].name}, found {length}")
    fault = fault_of_features(features, num_nodes)
    if fault is not None:
        faults.add(path["feats.npy"], fault)
    if not (np.isnan(labels) | np.isin(labels, (0, 1))).all():
        faults.add(path["labels.npy"], "expected 0 or 1 for each label, or NaN (unknown)")
    if labels.shape[1] == 0:
        faults.add(path["labels.npy"], "expected at least one column, found none")
    fractions = ~(np.isfinite(graph_id) & (graph_id == np.round(graph_id)))
    if fractions.any():
        faults.add(path["graph_id.npy"], f"expected integers, found {graph_id[fractions][0]} in row {int(fractions.argmax())}")
    if wrong or fault is not None or fractions.any():
        return None
    order = np.argsort(graph_id, kind="stable")
    place = np.argsort(order)
    inside = graph_id[edges[0]] == graph_id[edges[1]]
    return _Part(place[edges[:, inside]], graph_id[order], features[order], labels[order])


def _read_graph(path: Path, faults: Faults) -> tuple[IntArray, int] | None:
    """Read the links, in both directions unless they are directed, as ranks of node ids; and the number of nodes."""
    with recording(path, faults, "expected JSON"):
        return _links_of(read_json(read_text(path, _MAX_JSON)), path, faults)
    return None


def _links_of(graph: Any, path: Path, faults: Faults) -> tuple[IntArray, int] | None:
    """As `_read_graph`, from the content of the file."""
    try:
        numbers = [node["id"] for node in graph["nodes"]]
        num_nodes = len(numbers)
        numbers += [link[end] for end in ("source", "target") for link in graph["links"]]
        directed = graph.get("directed", False)
    except (KeyError, TypeError, AttributeError) as error:
        faults.add(path, f"expected networkx's node-link form, nodes with an id and links with source and target ({error!r})")
        return None
    invalid = [number for number in numbers if type(number) is not int or not -(2**63) <= number < 2**63]
    if invalid:
        faults.add(path, f"expected integers as ids, sources and targets, found {_shown(invalid[0])}")
    if type(directed) is not bool:
        faults.add(path, f"directed: expected true or false, found {_shown(directed)}")
    if invalid or type(directed) is not bool:
        return None
    ids, ends = np.array(numbers[:num_nodes], dtype=np.int64), np.array(numbers[num_nodes:], dtype=np.int64).reshape(2, -1)
    known = np.unique(ids)
    if not len(ids) or len(known) < len(ids):
        faults.add(path, "nodes: expected at least one, and each id once")
        return None
    if not np.isin(ends, known).all():
        faults.add(path, f"links: expected both ends among the nodes, found {ends[~np.isin(ends, known)][0]}")
        return None
    edges = np.searchsorted(known, ends).astype(np.int64)
    return edges if directed else np.concatenate([edges, edges[::-1]], axis=1), len(ids)


def _shown(value: Any) -> str:
    """A value of JSON as a message shows it."""
    return json.dumps(value)[:60] if value is None or isinstance(value, bool | int | float | str) else kind_of(value)
