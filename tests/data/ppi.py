"""PPI's raw form in small: 24 graphs of a few nodes, numbered 1 to 24 over the three parts, as in the set itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

PARTS = {"train": range(1, 21), "valid": range(21, 23), "test": range(23, 25)}


def ppi_files(seed: int = 0, nodes: tuple[int, int] = (4, 9), num_labels: int = 7) -> dict[str, Any]:
    """Contents by file name. Features tell labels, more or less; edges join nodes of one graph, some of them twice or to itself."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(5, num_labels))
    files: dict[str, Any] = {}
    for part, graphs in PARTS.items():
        graph_id = np.repeat(np.array(graphs), random.integers(*nodes, size=len(graphs)))
        features = random.normal(size=(len(graph_id), 5))
        links = []
        for graph in graphs:
            here = np.flatnonzero(graph_id == graph)
            links += [{"source": int(a), "target": int(b)} for a, b in random.choice(here, size=(2 * len(here), 2))]
        ids = random.permutation(len(graph_id))  # the order of listing does not matter, ids do
        files[f"{part}_graph.json"] = {
            "directed": False,
            "multigraph": False,
            "graph": {},
            "nodes": [{"id": int(node)} for node in ids],
            "links": links,
        }
        files[f"{part}_feats.npy"] = features
        files[f"{part}_labels.npy"] = (features @ mixing > 0).astype(np.int64)
        files[f"{part}_graph_id.npy"] = graph_id
    return files


def write_ppi(folder: Path, files: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if content is None:
            continue
        if name.endswith(".npy"):
            np.save(folder / name, content)
        else:
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder
