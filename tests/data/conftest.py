"""Small datasets in every form, written to a temporary folder; tests break one file at a time."""

from __future__ import annotations

import gzip
import pickle
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

Build = Callable[..., Path]

#: Two graphs: a path 1-2-3 and an edge 4-5.
TU_FILES = {
    "A": "1, 2\n2, 1\n2, 3\n3, 2\n4, 5\n5, 4\n",
    "graph_indicator": "1\n1\n1\n2\n2\n",
    "graph_labels": "1\n-1\n",
    "node_labels": "0\n3\n0\n3\n3\n",
    "node_attributes": "0.5, 1\n0.25, 2\n0, 3\n1, 4\n2, 5\n",
}


@pytest.fixture
def build_tu(tmp_path: Path) -> Build:
    def build(name: str = "TOY", **changed: str | None) -> Path:
        folder = tmp_path / "tu" / name
        folder.mkdir(parents=True, exist_ok=True)
        for part, content in {**TU_FILES, **changed}.items():
            if content is not None:
                (folder / f"{name}_{part}.txt").write_text(content)
        return folder

    return build


def planetoid_parts() -> dict[str, object]:
    """520 listed nodes (10 train, 500 validate) and test nodes 520, 521, 523, so that 522 is missing."""
    generator = np.random.default_rng(0)
    allx = sparse.csr_matrix((generator.random((520, 6)) < 0.3).astype(np.float32))
    tx = sparse.csr_matrix(np.array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]], dtype=np.float32))
    ally = np.eye(2, dtype=np.int32)[np.arange(520) % 2]
    graph = defaultdict(list, {node: [(node + 1) % 522] for node in range(522)})
    graph[0] += [0, 1, 523]
    return {
        "x": allx[:10],
        "tx": tx,
        "allx": allx,
        "y": ally[:10],
        "ty": np.eye(2, dtype=np.int32)[[0, 1, 1]],
        "ally": ally,
        "graph": graph,
        "test.index": "521\n523\n520\n",
    }


@pytest.fixture
def build_planetoid(tmp_path: Path) -> Build:
    def build(name: str = "cora", **changed: object) -> Path:
        folder = tmp_path / "planetoid"
        folder.mkdir(exist_ok=True)
        changed = {part.replace("test_index", "test.index"): content for part, content in changed.items()}
        for part, content in {**planetoid_parts(), **changed}.items():
            path = folder / f"ind.{name}.{part}"
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif isinstance(content, str):
                path.write_text(content)
            elif content is not None:
                path.write_bytes(pickle.dumps(content, protocol=4))
        return folder

    return build


#: What the file of Amazon-Photo is called.
NPZ_FILE = "amazon_electronics_photo.npz"


def npz_arrays() -> dict[str, np.ndarray]:
    adjacency = sparse.csr_matrix(np.array([[0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 0], [1, 0, 0, 0]], dtype=np.float32))
    features = sparse.csr_matrix(np.array([[1, 1], [2, 0], [0, 0], [1, 3]], dtype=np.float32))
    parts = {"adj": adjacency, "attr": features}
    arrays = {f"{key}_{part}": getattr(matrix, part) for key, matrix in parts.items() for part in ("data", "indices", "indptr")}
    shapes = {f"{key}_shape": np.array(matrix.shape) for key, matrix in parts.items()}
    return {**arrays, **shapes, "labels": np.array([0, 1, 1, 0])}


@pytest.fixture
def build_npz(tmp_path: Path) -> Build:
    def build(**changed: np.ndarray | None) -> Path:
        (tmp_path / "npz").mkdir(exist_ok=True)
        path = tmp_path / "npz" / NPZ_FILE
        np.savez(path, **{key: array for key, array in {**npz_arrays(), **changed}.items() if array is not None})
        return path

    return build


#: Three molecules: 0-1-2, 0-1 and a lone atom, each bond listed once.
OGB_FILES = {
    "raw/num-node-list": "3\n2\n1\n",
    "raw/num-edge-list": "2\n1\n0\n",
    "raw/edge": "0,1\n1,2\n0,1\n",
    "raw/node-feat": "5,0,4,5,3,0,2,0,0\n7,1,2,5,1,0,1,1,0\n"
    "5,0,4,5,2,0,2,0,1\n118,4,11,11,9,4,5,1,1\n0,0,0,0,0,0,0,0,0\n5,0,4,5,3,0,2,0,0\n",
    "raw/edge-feat": "0,0,0\n3,0,1\n4,5,1\n",
    "raw/graph-label": "1\n0\n1\n",
    "split/scaffold/train": "0\n",
    "split/scaffold/valid": "1\n",
    "split/scaffold/test": "2\n",
}


@pytest.fixture
def build_ogb(tmp_path: Path) -> Build:
    def build(name: str = "ogbg-molbace", **changed: str | bytes | None) -> Path:
        folder = tmp_path / "ogb" / name.replace("-", "_")
        changed = {part.replace("__", "/").replace("_", "-"): content for part, content in changed.items()}
        for part, content in {**OGB_FILES, **changed}.items():
            path = folder / f"{part}.csv.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is not None:
                path.write_bytes(content if isinstance(content, bytes) else gzip.compress(content.encode()))
        return folder

    return build


CSV_META = """
dataset_name: toy
node_data:
- file_name: nodes.csv
edge_data:
- file_name: edges.csv
graph_data:
  file_name: graphs.csv
"""
CSV_FILES = {
    "meta.yaml": CSV_META,
    "nodes.csv": 'graph_id,node_id,feat\n7,a,"1,0.5"\n7,b,"0,2"\n3,a,"4,0"\n7,c,"0,0"\n',
    "edges.csv": "graph_id,src_id,dst_id\n7,a,b\n7,b,c\n7,a,b\n3,a,a\n",
    "graphs.csv": "graph_id,label\n3,yes\n7,no\n",
}


@pytest.fixture
def build_csv(tmp_path: Path) -> Build:
    def build(**changed: str | None) -> Path:
        folder = tmp_path / "csv"
        folder.mkdir(exist_ok=True)
        changed = {part.replace("_", "."): content for part, content in changed.items()}
        for name, content in {**CSV_FILES, **changed}.items():
            if content is not None:
                (folder / name).write_text(content)
        return folder

    return build
