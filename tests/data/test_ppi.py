from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import dgl.data
import numpy as np
import pytest
from networkx.readwrite import json_graph

from dgl_mutual.data import load_dataset
from dgl_mutual.data.protocols import make_splits, splits_whole_graphs
from dgl_mutual.data.sources.verify import verify_dataset
from dgl_mutual.errors import DataError
from tests.data.ppi import PARTS, ppi_files, write_ppi


class ReadByDGL(dgl.data.PPIDataset):
    """DGL's reader on files that are there already."""

    raw_path = save_path = property(lambda self: os.path.join(self.raw_dir, "ppi"))


def test_equals_what_dgl_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Newer versions of networkx look for the links under another name than the files and DGL.
    node_link_graph = json_graph.node_link_graph
    monkeypatch.setattr(json_graph, "node_link_graph", lambda data: node_link_graph({**data, "edges": data["links"]}))
    write_ppi(tmp_path / "ppi", ppi_files())
    dataset = load_dataset("PPI", data_dir=tmp_path, offline=True)
    assert (dataset.task, dataset.num_graphs, dataset.target.kind, dataset.target.metric) == ("node", 24, "multi-label", "micro-f1")
    graphs = [graph for mode in PARTS for graph in ReadByDGL(mode, raw_dir=str(tmp_path))]
    for number, graph in enumerate(graphs):
        nodes = slice(*dataset.node_offsets[[number, number + 1]])
        np.testing.assert_allclose(dataset.features[nodes], graph.ndata["feat"].numpy(), rtol=1e-6)
        np.testing.assert_array_equal(dataset.labels[nodes], graph.ndata["label"].numpy())
        ours = dataset.edges[:, slice(*dataset.edge_offsets[[number, number + 1]])] - dataset.node_offsets[number]
        theirs = {(int(u), int(v)) for u, v in zip(*graph.edges(), strict=True) if u != v}
        assert {(int(u), int(v)) for u, v in ours.T} == theirs


def test_the_split_is_by_graph(tmp_path: Path) -> None:
    write_ppi(tmp_path / "ppi", ppi_files())
    dataset = load_dataset("ppi", data_dir=tmp_path, offline=True)
    (split,) = make_splits(dataset, "public", seed=0)
    assert splits_whole_graphs(dataset, split)
    assert (split.train.max(), split.val.min(), split.val.max()) == tuple(dataset.node_offsets[[20, 20, 22]] - [1, 0, 1])
    assert len(split.train) + len(split.val) + len(split.test) == dataset.num_nodes


def test_rows_need_not_be_sorted_by_graph_and_links_between_graphs_do_not_count(tmp_path: Path) -> None:
    files = ppi_files()
    sorted_set = load_dataset("PPI", data_dir=write_ppi(tmp_path / "a" / "ppi", files).parent, offline=True)
    mixed = copy.deepcopy(files)
    order = np.random.default_rng(1).permutation(len(files["valid_graph_id.npy"]))
    place = np.argsort(order)
    for kind in ("feats", "labels", "graph_id"):
        mixed[f"valid_{kind}.npy"] = files[f"valid_{kind}.npy"][order]
    links = [{"source": int(place[link["source"]]), "target": int(place[link["target"]])} for link in files["valid_graph.json"]["links"]]
    first, last = place[0], place[len(place) - 1]  # of two graphs
    mixed["valid_graph.json"]["links"] = [*links, {"source": int(first), "target": int(last)}]
    other = load_dataset("PPI", data_dir=write_ppi(tmp_path / "b" / "ppi", mixed).parent, offline=True)
    # Within a graph the nodes stand in another order.
    assert np.array_equal(other.node_offsets, sorted_set.node_offsets) and other.num_edges == sorted_set.num_edges
    for graph in (20, 21):
        nodes = slice(*sorted_set.node_offsets[[graph, graph + 1]])
        rows = [np.lexsort(found.features[nodes].T) for found in (sorted_set, other)]
        np.testing.assert_array_equal(sorted_set.features[nodes][rows[0]], other.features[nodes][rows[1]])
        np.testing.assert_array_equal(sorted_set.labels[nodes][rows[0]], other.labels[nodes][rows[1]])
        degrees = [np.diff(found.in_offsets)[nodes][row] for found, row in zip((sorted_set, other), rows, strict=True)]
        np.testing.assert_array_equal(*degrees)


def test_directed_links_stay_directed(tmp_path: Path) -> None:
    files = ppi_files()
    for part in PARTS:
        files[f"{part}_graph.json"]["directed"] = True
    dataset = load_dataset("PPI", data_dir=write_ppi(tmp_path / "ppi", files).parent, offline=True)
    listed = {(link["source"], link["target"]) for link in files["train_graph.json"]["links"] if link["source"] != link["target"]}
    edges = dataset.edges[:, : dataset.edge_offsets[20]]
    assert {(int(u), int(v)) for u, v in edges.T} == listed


def _without(node_link: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in node_link.items() if name != key}


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("valid_graph.json", lambda _: "{", "valid_graph.json: expected JSON"),
        ("valid_graph.json", lambda graph: _without(graph, "links"), "node-link form.*KeyError..links"),
        ("train_graph.json", lambda graph: {**graph, "links": [{"source": 0, "target": 10**6}]}, "among the nodes, found 1000000"),
        ("train_graph.json", lambda graph: {**graph, "nodes": graph["nodes"][:1] * 2}, "each id once"),
        ("train_graph.json", lambda graph: {**graph, "nodes": []}, "nodes: expected at least one"),
        ("train_graph.json", lambda graph: {**graph, "links": [{"source": 0.5, "target": 1}]}, r"integers.*found 0\.5"),
        ("train_graph.json", lambda graph: {**graph, "links": [{"source": "a", "target": 1}]}, 'integers.*found "a"'),
        ("train_graph.json", lambda graph: {**graph, "links": [{"source": [0, 1], "target": [1, 0]}]}, "integers.*found a list"),
        ("train_graph.json", lambda graph: {**graph, "links": [{"source": [], "target": []}]}, "integers.*found a list"),
        ("train_graph.json", lambda graph: {**graph, "nodes": [{"id": [node["id"], 0]} for node in graph["nodes"]]}, "found a list"),
        ("train_graph.json", lambda graph: {**graph, "nodes": [{"id": False}, {"id": True}]}, "integers.*found false"),
        ("train_graph.json", lambda graph: {**graph, "nodes": [{"id": 2**63}]}, "integers.*found 9223372036854775808"),
        ("train_graph.json", lambda graph: {**graph, "directed": "false"}, 'directed: expected true or false, found "false"'),
        ("train_graph.json", lambda graph: {**graph, "directed": [0]}, "directed: expected true or false, found a list"),
        ("train_graph.json", lambda _: [1, 2], "node-link form"),
        ("test_feats.npy", lambda features: features[:-1], r"test_feats.npy: expected a row for each of the \d+ nodes"),
        (
            "test_feats.npy",
            lambda features: features[:, :-1],
            "expected features of as many columns in all parts, found 5 .train., 5 .valid., 4",
        ),
        ("test_feats.npy", lambda features: features * np.inf, "finite"),
        ("test_feats.npy", lambda features: np.full(features.shape, 1e39), r"test_feats\.npy: .*found 1e\+39 in row 0"),
        ("test_labels.npy", lambda labels: labels + 1, "expected 0 or 1 for each label"),
        ("test_feats.npy", lambda features: features[:, :0], r"test_feats\.npy: expected 1 to 1000000 columns, found 0"),
        ("test_labels.npy", lambda labels: labels[:, :0], r"test_labels\.npy: expected at least one column"),
        (
            "test_graph_id.npy",
            lambda graph_id: np.full(len(graph_id), np.nan),
            r"graph_id\.npy: expected integers, found nan in row 0",
        ),
        ("test_graph_id.npy", lambda graph_id: graph_id + np.linspace(0, 0.5, len(graph_id)), "integers, found .* in row 1"),
        ("test_graph_id.npy", lambda graph_id: graph_id[:, None], r"1 dimension, found int64 of shape"),
        ("test_graph_id.npy", lambda graph_id: graph_id.astype(object), "expected plain numbers"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, file: str, change: Any, message: str) -> None:
    files = ppi_files()
    write_ppi(tmp_path / "ppi", {**files, file: change(files[file])})
    with pytest.raises(DataError, match=message):
        load_dataset("PPI", data_dir=tmp_path, offline=True)


def test_all_faults_are_shown_and_a_sound_set_has_none(tmp_path: Path) -> None:
    files = ppi_files()
    write_ppi(tmp_path / "ppi", files)
    assert verify_dataset("PPI", data_dir=tmp_path) == []
    write_ppi(tmp_path / "ppi", {"train_labels.npy": files["train_labels.npy"] * 3, "valid_graph.json": "[]"})
    assert {fault.file.name for fault in verify_dataset("PPI", data_dir=tmp_path)} == {"train_labels.npy", "valid_graph.json"}
